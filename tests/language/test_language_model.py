"""LanguageModel and its parts: gradients, exact scores, drawing, files, and starting a classifier."""

from __future__ import annotations

import copy
import math
import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

from clstm import LanguageModel, TextClassifier, Vocabulary
from clstm.estimators.base import NotFittedError
from clstm.files import ModelFileError
from clstm.language.characters import Characters
from clstm.language.network import LSTMLanguageNetwork
from clstm.language.text_batches import TextStreams
from clstm.layers.adaptive_softmax import AdaptiveLogSoftmax

TEXT = "Call me Ishmael. Some years ago, never mind how long precisely, I went to sea. " * 12
TEXTS = ["a fine film", "dull and long", "fine, moving", "dull!"] * 8
LABELS = ["good", "bad", "good", "bad"] * 8
SMALL = {
    "embedding_dim": 8,
    "hidden_size": 12,
    "n_epochs": 2,
    "chunk_length": 16,
    "batch_size": 4,
    "seed": 0,
    "verbose": 0,
}
KINDS = {
    "plain": {},
    "two layers": {"num_layers": 2},
    "tied": {"tied": True},
    "tied, same size": {"tied": True, "embedding_dim": 12},
    "adaptive": {"softmax": "adaptive"},
}


@pytest.fixture(scope="module")
def characters():
    return LanguageModel(**SMALL).fit(TEXT)


@pytest.fixture(scope="module")
def words():
    return LanguageModel(unit="word", **SMALL).fit(TEXTS)


# ---------------------------------------------------------------------------------------------------------- network


@pytest.mark.parametrize(
    ("embedding_dim", "options"),
    [
        (5, {}),
        (5, {"num_layers": 2}),
        (6, {"tied": True}),
        (5, {"tied": True}),  # and a projection
        (5, {"cutoffs": [3, 6]}),
    ],
)
def test_gradients_are_those_of_the_loss(embedding_dim, options):
    network = LSTMLanguageNetwork(11, embedding_dim, 6, dtype=np.float64, seed=0, **options)
    rng = np.random.default_rng(1)
    ids, targets = rng.integers(11, size=(2, 4, 3))
    state = tuple(rng.standard_normal((network.lstm.num_layers, 3, 6)) for _ in range(2))
    loss, grads, _ = network.train_step(ids, targets, state)
    assert set(grads) == set(network.parameters())
    assert loss == pytest.approx(network.losses(ids, targets, state)[0].mean(), abs=1e-12)
    for name, weight in network.parameters().items():
        for place in rng.permutation(weight.size)[:6]:
            values = []
            for change in (1e-5, -2e-5, 1e-5):
                with network.updating() as weights:
                    weights[name].reshape(-1)[place] += change
                values.append(network.losses(ids, targets, state)[0].mean())
            assert grads[name].reshape(-1)[place] == pytest.approx((values[0] - values[1]) / 2e-5, abs=1e-8), name


def test_tied_weights_are_one_array():
    network = LSTMLanguageNetwork(11, 6, 6, tied=True, seed=0)
    assert "decoder.weight" not in network.parameters()
    y = np.random.default_rng(0).standard_normal((3, 6), np.float32)
    for _ in range(2):
        parameters = network.parameters()
        expected = y @ parameters["embedding.weight"].T + parameters["decoder.bias"]
        np.testing.assert_allclose(network.scores(y), expected, rtol=1e-5, atol=1e-6)
        with network.updating() as weights:
            weights["embedding.weight"] += 1
    again = pickle.loads(pickle.dumps(network))
    np.testing.assert_array_equal(again.scores(y), network.scores(y))


@pytest.mark.smoke
def test_losses_carry_the_state(monkeypatch):
    network = LSTMLanguageNetwork(11, 5, 6, dtype=np.float64, seed=0)
    ids, targets = np.random.default_rng(1).integers(11, size=(2, 30, 2))
    whole, state = network.losses(ids, targets)
    first, carried = network.losses(ids[:10], targets[:10])
    second, carried = network.losses(ids[10:], targets[10:], carried)
    np.testing.assert_allclose(whole, np.concatenate([first, second]), atol=1e-12)
    np.testing.assert_allclose(state[0], carried[0], atol=1e-12)
    monkeypatch.setattr("clstm.language.network.READ_SCORES", 100)
    np.testing.assert_allclose(network.losses(ids, targets)[0], whole, atol=1e-12)


def test_network_refuses_wrong_arguments():
    network = LSTMLanguageNetwork(11, 5, 6, seed=0)
    with pytest.raises(ValueError, match=r"ids has shape \(3,\), expected \(time, batch\)"):
        network.losses([1, 2, 3], [1, 2, 3])
    with pytest.raises(ValueError, match=r"targets has shape \(1, 2\), expected that of ids, \(1, 3\)"):
        network.losses([[1, 2, 3]], [[1, 2]])
    with pytest.raises(ValueError, match="ids holds the id 11, expected 0 to 10"):
        network.train_step([[11]], [[1]])
    with pytest.raises(ValueError, match="tied is True and cutoffs is given"):
        LSTMLanguageNetwork(11, 5, 6, tied=True, cutoffs=[3])


# -------------------------------------------------------------------------------------------------- adaptive softmax


@pytest.mark.peer
def test_adaptive_softmax_is_pytorchs():
    torch = pytest.importorskip("torch")
    ours = AdaptiveLogSoftmax(16, 40, [8, 20], div_value=2.0, dtype=np.float64, seed=0)
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(16, 40, [8, 20], div_value=2.0).double()
    theirs.load_state_dict({name: torch.from_numpy(weight) for name, weight in ours.state_dict().items()})
    rng = np.random.default_rng(0)
    x, targets = rng.standard_normal((30, 16)), rng.integers(40, size=30)
    x_torch = torch.from_numpy(x).requires_grad_()
    np.testing.assert_allclose(ours(x), theirs.log_prob(x_torch).detach().numpy(), atol=1e-12)
    result = theirs(x_torch, torch.from_numpy(targets))
    result.loss.backward()
    loss, context = ours.forward_train(x, targets)
    grads = ours.backward(context)
    assert loss == pytest.approx(result.loss.item(), abs=1e-12)
    np.testing.assert_allclose(grads.x, x_torch.grad.numpy(), atol=1e-12)
    for name, parameter in theirs.named_parameters():
        np.testing.assert_allclose(grads.weights[name], parameter.grad.numpy(), atol=1e-12, err_msg=name)


def test_adaptive_softmax_is_a_distribution_whose_loss_it_is():
    softmax = AdaptiveLogSoftmax(6, 11, [3, 6], dtype=np.float64, seed=0)
    x, targets = np.random.default_rng(0).standard_normal((4, 6)), [0, 2, 7, 10]  # the middle cluster has none
    log_probs = softmax(x)
    np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, atol=1e-12)
    loss, context = softmax.forward_train(x, targets)
    assert loss == pytest.approx(-log_probs[range(4), targets].mean(), abs=1e-12)
    grads = softmax.backward(context)
    assert not grads.weights["tail.0.0.weight"].any()
    with pytest.raises(ValueError, match="used by an earlier backward"):
        softmax.backward(context)


@pytest.mark.parametrize(
    ("cutoffs", "error", "message"),
    [
        ([], TypeError, r"cutoffs is \[\], expected a list"),
        (5, TypeError, "cutoffs is 5, expected a list"),
        ([5, 5], ValueError, r"cutoffs is \[5, 5\], expected rising numbers"),
        ([11], ValueError, r"cutoffs\[0\] is 11, expected at most 10"),
    ],
)
def test_adaptive_softmax_refuses_cutoffs(cutoffs, error, message):
    with pytest.raises(error, match=message):
        AdaptiveLogSoftmax(6, 11, cutoffs)


# ------------------------------------------------------------------------------------------------ streams, characters


def test_streams_contain_every_token_once_and_continue():
    streams = TextStreams(np.arange(101), batch_size=4, chunk_length=7, seed=0)
    assert (streams.steps, len(streams)) == (25, 3)
    starts = set()
    for _ in range(20):
        chunks = list(streams)
        assert [len(chunk) for chunk in chunks] == [7, 7, 7]
        assert all(a.stop == b.start for a, b in pairwise(chunks))
        starts.add(chunks[0].start)
    assert starts == {0, 1, 2, 3, 4}
    ids, targets = streams.at(range(25))
    assert ids.T.ravel().tolist() == list(range(100))
    np.testing.assert_array_equal(targets, ids + 1)


def test_streams_of_a_short_text():
    streams = TextStreams([0, 5, 6], batch_size=32, chunk_length=128)
    assert (streams.batch_size, streams.steps, len(streams)) == (1, 2, 1)
    assert list(streams) == [range(2)]
    with pytest.raises(ValueError, match=r"ids has shape \(1,\), expected \(tokens,\), two or more"):
        TextStreams([0], 1, 1)


def test_characters():
    known = Characters.from_texts(["banana", "cab \U0001f433"])
    assert known.characters == " abcn\U0001f433"
    assert len(known) == 8
    assert known.encode("cab?").tolist() == [5, 3, 4, 1]
    assert "".join(known.decode(known.encode("ban\U0001f433z"))) == "ban\U0001f433\ufffd"
    assert Characters.from_texts(["banana"], max_size=4).characters == "an"
    assert Characters.from_dict(known.to_dict()) == known
    assert known.encode("").tolist() == []
    for wrong in (None, {}, {"characters": 3}, {"characters": "ba"}, {"characters": ""}):
        with pytest.raises(ValueError, match="the vocabulary"):
            Characters.from_dict(wrong)


# ------------------------------------------------------------------------------------------------------------- model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", ["character", "word"])
def test_every_kind_learns_and_can_be_saved_and_loaded(unit, kind, tmp_path):
    options = SMALL | {"unit": unit} | KINDS[kind]
    model = LanguageModel(**(options | {"n_epochs": 40, "lr": 0.03})).fit(TEXT)
    assert model.perplexity(TEXT) < 0.7 * len(model.vocabulary_)
    assert model.history_.train_loss[-1] < 0.8 * model.history_.train_loss[0]
    model.save(tmp_path / "model")
    for again in (LanguageModel.load(tmp_path / "model"), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert again.perplexity(TEXT) == model.perplexity(TEXT)
        assert again.generate("Call", 20, seed=1) == model.generate("Call", 20, seed=1)
        assert again.get_params() == model.get_params()


def test_bits_are_those_of_each_next_character(characters):
    text = "me \u00e9!"
    network, ids = characters.network_, [0, *characters.vocabulary_.encode(text).tolist()]
    expected, state = [], None
    for read, comes in pairwise(ids):
        y, state = network.lstm(network.embedding(np.array([[read]])), state)
        scores = network.scores(y)[0, 0].astype(np.float64)
        expected.append(-math.log2(np.exp(scores[comes]) / np.exp(scores).sum()))
    np.testing.assert_allclose(characters.bits(text), expected, rtol=1e-5)
    assert characters.bits_per_character(text) == pytest.approx(np.mean(expected), rel=1e-6)
    assert math.log2(characters.perplexity(text)) == pytest.approx(np.mean(expected), rel=1e-6)


def test_ends_of_several_texts_are_tokens(words):
    assert words.perplexity(["fine film", "dull"]) != words.perplexity("fine film dull")
    written = words.generate("", 200, seed=0)
    assert "\n" in written
    assert "<" not in written
    assert set(written.split()) <= set(words.vocabulary_.words)


@pytest.mark.smoke
def test_same_seed_same_bits():
    first, second = (LanguageModel(**SMALL).fit(TEXT).network_.state_dict() for _ in range(2))
    assert all((first[name] == second[name]).all() for name in first)


def test_generated_is_a_sequence_of_draws_from_the_softmax(characters):
    # Many next characters after one prompt, drawn in blocks of Gumbel noise, against the softmax.
    network, known = characters.network_, characters.vocabulary_
    y, _ = network.lstm(network.embedding(np.array([0, *known.encode("Call")])[:, np.newaxis]))
    scores = network.scores(y[-1])[0].astype(np.float64) / 0.5
    scores[known.UNKNOWN] = -np.inf
    expected = np.exp(scores) / np.exp(scores).sum()
    generator = np.random.default_rng(0)
    drawn = [characters.generate("Call", 1, temperature=0.5, seed=generator) for _ in range(3000)]
    counts = np.array([drawn.count(known.decode([number])[0]) for number in range(len(known))])
    deviation = (counts - 3000 * expected) / np.sqrt(3000 * expected * (1 - expected) + 1e-9)
    assert np.abs(deviation[expected > 0.003]).max() < 4.5


def test_generate_keeps_the_likeliest(characters):
    greedy = characters.generate("Call", 30, temperature=0)
    assert characters.generate("Call", 30, top_k=1, seed=3) == greedy
    assert characters.generate("Call", 30, top_p=1e-9, seed=3) == greedy
    generator = np.random.default_rng(3)
    drawn = {characters.generate("Call", 1, top_k=2, temperature=9, seed=generator) for _ in range(100)}
    assert len(drawn) == 2
    assert greedy[0] in drawn
    assert characters.generate("Call", 30, top_k=1000, top_p=1, seed=3) == characters.generate("Call", 30, seed=3)
    assert characters.generate("Call", 0) == ""
    assert characters.generate("Call", 30, seed=3)[:10] == characters.generate("Call", 10, seed=3)


def test_top_p_keeps_the_fewest_tokens_with_that_probability():
    from clstm.language.generation import keep_likeliest

    for share, kept in ((0.5, 1), (0.51, 2), (0.8, 2), (0.9, 3), (1.0, 4)):
        scores = np.log([0.3, 0.1, 0.5, 0.1])
        keep_likeliest(scores, share - 1e-9)
        assert np.isfinite(scores).sum() == kept


def test_arguments_set_after_fit_are_for_the_next_one(characters):
    changed = copy.deepcopy(characters).set_params(unit="word", hidden_size=3)
    assert changed.bits_per_character("the sea") == characters.bits_per_character("the sea")
    assert changed.generate("the", 9, seed=0) == characters.generate("the", 9, seed=0)
    with pytest.raises(ValueError, match="start has unit 'character'"):
        TextClassifier(start=changed).fit(["the sea", "a ship"], ["a", "b"])


def test_many_threads_use_one_model(characters):
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda seed: characters.generate("Call", 200, seed=seed % 2), range(8)))
    assert len(set(results)) == 2


def test_validation_keeps_the_best_epoch():
    model = LanguageModel(**SMALL | {"n_epochs": 4}).fit(TEXT, "Some years ago I went to sea.")
    assert len(model.history_.validation_loss) == 4
    assert model.history_.best_epoch == 1 + int(np.argmin(model.history_.validation_loss))
    held_back = LanguageModel(**SMALL, validation_fraction=0.1).fit(TEXT)
    assert len(held_back.history_.validation_loss) == 2


def test_known_tokens_can_be_limited():
    model = LanguageModel(**SMALL, unit="word", vocab_size=5).fit(TEXT)
    assert len(model.vocabulary_) == 5
    assert np.isfinite(model.perplexity("words never seen"))


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"unit": "letter"}, ValueError, "unit is 'letter', expected one of 'character', 'word'"),
        ({"hidden_size": 0}, ValueError, "hidden_size is 0, expected at least 1"),
        ({"dropout": "x"}, TypeError, "dropout is 'x', expected a number"),
        ({"tied": 1}, TypeError, "tied is 1, expected True or False"),
        ({"tied": True, "softmax": "adaptive"}, ValueError, "tied is True and softmax 'adaptive'"),
        ({"cutoffs": [3]}, ValueError, "cutoffs is given, but softmax is 'plain'"),
        ({"cutoffs": [300], "softmax": "adaptive"}, ValueError, r"cutoffs\[0\] is 300, expected at most"),
        ({"validation_fraction": 1.0}, ValueError, r"validation_fraction is 1.0, expected below 1"),
    ],
)
def test_wrong_arguments_are_named(params, error, message):
    with pytest.raises(error, match=message):
        LanguageModel(**SMALL | params).fit(TEXT)


def test_wrong_texts_are_named(characters, words):
    model = LanguageModel(**SMALL)
    with pytest.raises(TypeError, match="text is int, expected a collection of strings"):
        model.fit(3)
    with pytest.raises(ValueError, match="texts hold no characters"):
        model.fit("")
    with pytest.raises(ValueError, match="texts hold no words"):
        LanguageModel(**SMALL | {"unit": "word"}).fit("...")
    with pytest.raises(NotFittedError, match="this LanguageModel isn't fitted yet"):
        model.perplexity("x")
    with pytest.raises(ValueError, match="text has no tokens"):
        characters.perplexity("")
    with pytest.raises(ValueError, match="leave out characters; use perplexity"):
        words.bits_per_character("a film")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"prompt": 3}, TypeError, "prompt is int, expected a string"),
        ({"n": -1}, ValueError, "n is -1, expected at least 0"),
        ({"temperature": -1}, ValueError, "temperature is -1.0, expected at least 0.0"),
        ({"top_k": 0}, ValueError, "top_k is 0, expected at least 1"),
        ({"top_p": 0}, ValueError, "top_p is 0.0, expected above 0"),
        ({"top_p": 1.1}, ValueError, "top_p is 1.1, expected at most 1"),
    ],
)
def test_wrong_arguments_of_generate_are_named(characters, arguments, error, message):
    with pytest.raises(error, match=message):
        characters.generate(**{"prompt": "Call", "n": 3} | arguments)


def test_failed_fit_leaves_the_model(characters, monkeypatch):
    model = copy.deepcopy(characters)
    monkeypatch.setattr(LSTMLanguageNetwork, "train_step", lambda *arguments: (math.nan, {}, None))
    with pytest.raises(FloatingPointError):
        model.fit(TEXT)
    assert model.perplexity(TEXT) == characters.perplexity(TEXT)


def test_file_of_other_sizes_is_refused(characters, tmp_path):
    from clstm.files import save_model

    config, arrays = characters._fitted.content()
    for params in ({"hidden_size": 13}, {"num_layers": 10**9}, {"unit": "word"}, {"tied": True}):
        save_model(tmp_path / "model", "LanguageModel", {"params": SMALL | params, **config}, arrays)
        with pytest.raises(ModelFileError):
            LanguageModel.load(tmp_path / "model")


# ------------------------------------------------------------------------------------------- the start of a classifier

CLASSIFIER = {"embedding_dim": 8, "hidden_size": 12, "n_epochs": 1, "seed": 0, "verbose": 0}


@pytest.mark.parametrize("bidirectional", [False, True])
def test_classifier_begins_with_what_the_model_learnt(words, bidirectional, tmp_path):
    options = CLASSIFIER | {"bidirectional": bidirectional}
    still = TextClassifier(**options | {"lr": 0.0, "start": words}).fit(TEXTS, LABELS)
    assert still.vocabulary_ is words.vocabulary_
    learnt = words.network_.parameters()
    taken = [name for name, weight in still.network_.parameters().items() if np.array_equal(weight, learnt.get(name))]
    assert taken == [name for name in learnt if not name.startswith("decoder")]

    classifier = TextClassifier(**options, start=words).fit(TEXTS, LABELS)
    classifier.save(tmp_path / "model")
    again = TextClassifier.load(tmp_path / "model")
    assert again.start is None
    np.testing.assert_array_equal(again.predict_proba(TEXTS), classifier.predict_proba(TEXTS))
    twin = pickle.loads(pickle.dumps(classifier))
    assert twin.start.perplexity(TEXTS) == words.perplexity(TEXTS)


@pytest.mark.peer
def test_clones_of_the_classifier_start_from_the_same_model(words):
    base = pytest.importorskip("sklearn.base")
    assert base.clone(TextClassifier(start=words)).start is words


def test_wrong_models_to_start_from_are_refused(words, characters):
    for start, options, error, message in (
        (Vocabulary(["a"]), {}, TypeError, "start is Vocabulary, expected a LanguageModel"),
        (characters, {}, ValueError, "start has unit 'character', expected 'word'"),
        (LanguageModel(unit="word"), {}, NotFittedError, "isn't fitted yet"),
        (words, {"hidden_size": 64}, ValueError, "hidden_size is 64, expected that of start, 12"),
        (words, {"vocab_size": 9}, ValueError, "vocab_size is given beside start"),
    ):
        with pytest.raises(error, match=message):
            TextClassifier(**CLASSIFIER | options, start=start).fit(TEXTS, LABELS)
