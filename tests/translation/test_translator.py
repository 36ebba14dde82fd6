"""The translator: sentences split and joined, the network, beam search, learning, files, errors."""

import copy
import gzip
import pickle
import sys
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import clstm
from clstm import Translator
from clstm._checks import random_generator
from clstm.estimators.base import NotFittedError
from clstm.files import ModelFileError, load_model, save_model
from clstm.losses import cross_entropy
from clstm.translation import beam_search, bleu
from clstm.translation.encoder_decoder import EncoderDecoder
from clstm.translation.sentences import JOINER, SentenceVocabulary, cut, join

DATA = Path(__file__).parents[2] / "examples" / "data"

SUBJECTS = {"I": ("je", 0), "you": ("tu", 1), "we": ("nous", 2)}
STEMS = {"sing": "chant", "speak": "parl", "cry": "pleur", "walk": "march", "jump": "saut", "play": "jou"}
VERBS = {verb: (f"{stem}e", f"{stem}es", f"{stem}ons") for verb, stem in STEMS.items()}
TIMES = {"today": "aujourd'hui", "here": "ici", "a lot": "beaucoup", "": ""}
PAIRS = [
    (
        f"{subject} {verb} {time}".strip().capitalize() + ".",
        f"{pronoun} {forms[form]} {moment}".strip().capitalize() + ".",
    )
    for (subject, (pronoun, form)), (verb, forms), (time, moment) in product(
        SUBJECTS.items(), VERBS.items(), TIMES.items()
    )
]
HELD_OUT = PAIRS[5::9]  # 8 of 72
SOURCES, TARGETS = ([pair[side] for pair in PAIRS if pair not in HELD_OUT] * 4 for side in (0, 1))
SMALL = {"embedding_dim": 48, "hidden_size": 48, "dropout": 0.1, "batch_size": 8, "n_epochs": 30, "lr": 1e-2}
SMALL |= {"seed": 0, "verbose": 0}


@pytest.fixture(scope="module")
def fitted():
    return Translator(**SMALL).fit(SOURCES, TARGETS, tuple(zip(*HELD_OUT, strict=True)))


def tiny(**options):
    return Translator(**(SMALL | {"embedding_dim": 4, "hidden_size": 4, "n_epochs": 1} | options))


# ------------------------------------------------------------------------------------------------------ sentences


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("I'm here.", "I'~ m here ~."),
        ("John's dog doesn't bite!", "John ~'s dog doesn ~'t bite ~!"),
        ("Qu'est-ce que c'est ?", "Qu'~ est ~-~ ce que c'~ est ?"),
        ("Aujourd\u2019hui, (peut-être)\u00a0…", "Aujourd ~'hui ~, (~ peut ~-~ être ~) …"),
        ("'Yes' and 1,000.5", "'~ Yes ~' and 1 ~,~ 000 ~.~ 5"),
        ("cafe\u0301", "café"),
        ("  \n", ""),
    ],
)
def test_cut(text, tokens):
    assert cut(text) == tokens.replace("~", JOINER).split()


@given(st.text(st.one_of(st.characters(), st.sampled_from("aé'\u2019 .,-?!(l")), max_size=40))
def test_join_undoes_cut(text):
    plain = unicodedata.normalize("NFC", text).replace("\u2019", "'").replace(JOINER, " ")
    assert join(cut(text)) == " ".join(plain.split())


def test_first_words_are_read_in_the_case_that_they_have_inside_sentences():
    vocabulary = SentenceVocabulary.from_texts(["The dog saw Tom.", "Tom saw the dog.", "Never again."])
    assert vocabulary.split("The dog") == ["the", "dog"]
    assert vocabulary.split("Tom saw The dog") == ["Tom", "saw", "The", "dog"]
    assert vocabulary.split("Never") == ["never"]
    assert vocabulary.split("Elsewhere") == ["Elsewhere"]
    again = SentenceVocabulary.from_dict(vocabulary.to_dict())
    assert again == vocabulary
    assert vocabulary.decode(again.encode_tokens(["the", "cat"])) == ["the", "<unknown>", "<end>"]


# ---------------------------------------------------------------------------------------------------- the network


def make_network(dtype=np.float64, num_layers=2, **options):
    return EncoderDecoder(9, 8, 5, 6, num_layers, dtype=dtype, seed=0, **options)


SOURCE, SOURCE_LENGTHS = np.array([[4, 5, 3, 0], [6, 3, 0, 0], [7, 8, 4, 3]]), np.array([3, 2, 4])
TARGET, TARGET_LENGTHS = np.array([[2, 4, 5], [2, 6, 7], [2, 0, 0]]), np.array([3, 2, 1])
WANTED = np.array([4, 5, 3, 6, 3, 3])


@pytest.mark.parametrize("score", ["general", "dot"])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_gradients_are_those_of_finite_differences(score, num_layers):
    network = make_network(num_layers=num_layers, score=score)
    scores, context = network.forward_train(SOURCE, TARGET, SOURCE_LENGTHS, TARGET_LENGTHS)
    np.testing.assert_array_equal(scores, network(SOURCE, TARGET, SOURCE_LENGTHS, TARGET_LENGTHS))
    found = network.backward(context, cross_entropy(scores, WANTED)[1])
    assert list(found) == list(network.parameters())

    def loss():
        return cross_entropy(network(SOURCE, TARGET, SOURCE_LENGTHS, TARGET_LENGTHS), WANTED)[0]

    for name, gradient in found.items():
        for index in random_generator(1).choice(gradient.size, min(5, gradient.size), replace=False):
            values = []
            for step in (1e-5, -2e-5):
                with network.updating() as weights:
                    weights[name].reshape(-1)[index] += step
                values.append(loss())
            with network.updating() as weights:
                weights[name].reshape(-1)[index] += 1e-5
            np.testing.assert_allclose(
                gradient.reshape(-1)[index], (values[0] - values[1]) / 2e-5, rtol=1e-4, atol=1e-9, err_msg=name
            )


@pytest.mark.smoke
def test_steps_score_as_a_whole_target_does():
    network = make_network()
    memory = network.encode(SOURCE, SOURCE_LENGTHS)
    state, stepwise = memory.state, []
    for tokens in TARGET.T:
        scores, places, state = network.step(tokens[:, np.newaxis], memory, state)
        stepwise.append(scores[:, 0])
    real = np.arange(3) < TARGET_LENGTHS[:, np.newaxis]
    expected = network(SOURCE, TARGET, SOURCE_LENGTHS, TARGET_LENGTHS)
    np.testing.assert_allclose(np.stack(stepwise, axis=1)[real], expected, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(places.sum(axis=2), 1)


def test_wrong_calls_of_the_network_are_named():
    network = make_network()
    with pytest.raises(ValueError, match="source holds the id 9, expected 0 to 8"):
        network(SOURCE + 1, TARGET)
    with pytest.raises(ValueError, match=r"target has shape \(2, 3\), expected \(batch=3, time\)"):
        network(SOURCE, TARGET[:2])
    with pytest.raises(ValueError, match="a row of target has length 0"):
        network(SOURCE, TARGET, None, [3, 0, 1])
    with pytest.raises(ValueError, match="hidden_size is 5, expected an even number"):
        EncoderDecoder(9, 8, 5, 5)
    scores, context = network.forward_train(SOURCE, TARGET)
    with pytest.raises(ValueError, match="context is of another layer or network"):
        make_network().backward(context, scores)
    network.backward(context, scores)
    with pytest.raises(ValueError, match="used by an earlier backward"):
        network.backward(context, scores)


# ---------------------------------------------------------------------------------------------------- beam search


def search(network, source, lengths, **options):
    options = {"beam_size": 3, "length_penalty": 0.7, "max_steps": np.full(len(source), 3)} | options
    return beam_search(network, source, lengths, start=2, end=3, never=(0, 2), **options)


def sharp_network():
    """Return a network with very different scores, so that targets have clearly different ranks."""
    network = make_network(num_layers=1)
    with network.updating() as weights:
        for name in weights:
            weights[name] *= 4
    return network


def rank(network, source, tokens, length_penalty, max_steps=3):
    """Return the rank of one target, its end included if there is a step left for it."""
    target = [2, *tokens]
    wanted = [*tokens, 3][:max_steps]
    scores = network(source[np.newaxis], np.array([target[: len(wanted)]]))
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return logs[np.arange(len(wanted)), wanted].sum() / ((5 + len(wanted)) / 6) ** length_penalty


@pytest.mark.parametrize("length_penalty", [0.0, 1.5])
def test_a_beam_of_all_tokens_finds_the_best_of_all_targets(length_penalty):
    network = sharp_network()
    all_targets = [tokens for size in range(3) for tokens in product((1, 4, 5, 6, 7), repeat=size)]
    options = {"beam_size": 6, "max_steps": np.full(3, 2), "length_penalty": length_penalty}
    found = search(network, SOURCE, SOURCE_LENGTHS, **options)
    for row, length, (tokens, _) in zip(SOURCE, SOURCE_LENGTHS, found, strict=True):
        ranks = {target: rank(network, row[:length], target, length_penalty, 2) for target in all_targets}
        assert tuple(tokens.tolist()) == max(ranks, key=ranks.get)


@pytest.mark.smoke
def test_greedy_search_takes_the_likeliest_token_each_time():
    network = sharp_network()
    for row, length, (tokens, places) in zip(
        SOURCE, SOURCE_LENGTHS, search(network, SOURCE, SOURCE_LENGTHS, beam_size=1), strict=True
    ):
        target = [2]
        for _ in range(3):
            scores = network(row[np.newaxis, :length], np.array([target]))[-1]
            scores[[0, 2]] = -np.inf
            target.append(int(scores.argmax()))
            if target[-1] == 3:
                target.pop()
                break
        assert tokens.tolist() == target[1:]
        assert places.shape == (len(tokens), length)
        np.testing.assert_allclose(places.sum(axis=1), 1)


def test_a_wider_beam_ranks_no_worse_than_a_greedy_one_and_rows_dont_mix():
    network = sharp_network()
    together = search(network, SOURCE, SOURCE_LENGTHS)
    for row, length, (tokens, places) in zip(SOURCE, SOURCE_LENGTHS, together, strict=True):
        ((alone, alone_places),) = search(network, row[np.newaxis, :length], [length])
        np.testing.assert_array_equal(alone, tokens)
        np.testing.assert_allclose(alone_places, places, rtol=1e-10)
        ((greedy, _),) = search(network, row[np.newaxis, :length], [length], beam_size=1)
        assert rank(network, row[:length], tokens, 0.7) >= rank(network, row[:length], greedy, 0.7) - 1e-12


# ------------------------------------------------------------------------------------------------------- learning


def test_it_translates_combinations_of_words_that_it_has_never_seen(fitted):
    assert fitted.translate(SOURCES) == TARGETS
    sources, targets = zip(*HELD_OUT, strict=True)
    right = sum(found == target for found, target in zip(fitted.translate(sources), targets, strict=True))
    assert right > len(targets) / 2  # none of them by chance
    history = fitted.history_
    assert history.validation_loss[history.best_epoch - 1] == min(history.validation_loss)
    assert fitted.n_iter_ == history.n_epochs == 30


def test_unknown_words_are_copied(fitted):
    translations, alignments = fitted.translate(["You sing beaucoup."], return_attention=True)
    unknown, known = fitted.target_vocabulary_.UNKNOWN, 4
    places = np.array([[0.1, 0.3, 0.4, 0.2]] * 2)
    written = fitted._fitted._words(np.array([unknown, known]), places, ["You", "zebra", JOINER + "."])
    assert written == ["zebra", fitted.target_vocabulary_.words[0]]  # a word, not the full stop
    assert fitted._fitted._words(np.array([unknown]), places[:1], [JOINER + "."]) == ["<unknown>"]
    assert alignments[0].source_words == ["you", "sing", "beaucoup", "."]
    assert alignments[0].weights.shape == (len(alignments[0].target_words), 4)
    assert join(alignments[0].target_words).replace(" .", ".") == translations[0]


def test_translations_dont_depend_on_the_batch_and_its_order(fitted):
    sources = [source for source, _ in PAIRS]
    together = fitted.translate(sources)
    assert fitted.translate(sources[::-1]) == together[::-1]
    assert [fitted.translate([source])[0] for source in sources[:6]] == together[:6]
    assert fitted.translate([]) == []
    assert fitted.translate(["", "I sing."])[0] == ""
    with ThreadPoolExecutor(4) as pool:
        assert all(some == together for some in pool.map(lambda _: fitted.translate(sources), range(4)))


@pytest.mark.exhaustive  # trains for ten seconds
def test_attention_aligns_real_sentences():
    """If scores grow too fast, all attention is on one token, mostly the sentence's end, and never learns another."""
    with gzip.open(DATA / "sentence_pairs" / "en_fr.tsv.gz", "rt", encoding="utf-8") as file:
        pairs = [line.rstrip("\n").split("\t") for line in file][:3000]
    sources, targets = ([pair[side] for pair in pairs] for side in (0, 1))
    model = Translator(n_epochs=3, batch_size=32, lr=0.01, seed=0, verbose=0).fit(sources, targets)
    _, alignments = model.translate(sources[:300], beam_size=1, return_attention=True)
    weights = [alignment.weights[:-1] for alignment in alignments if len(alignment.target_words) > 4]
    centres = [rows @ np.arange(rows.shape[1]) / rows.sum(axis=1) for rows in weights]
    assert np.mean([rows[:, -1].mean() for rows in weights]) < 0.5
    # Both languages have nearly the same word order
    assert np.mean([np.corrcoef(centre, np.arange(len(centre)))[0, 1] for centre in centres]) > 0.6


def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads():
    models = [tiny(num_threads=number, seed=3).fit(SOURCES, TARGETS) for number in (1, 2)]
    for name, weight in models[0].network_.parameters().items():
        np.testing.assert_array_equal(weight, models[1].network_.parameters()[name])


@pytest.mark.peer
def test_pytorch_scores_the_same(fitted):
    torch = pytest.importorskip("torch")
    network = fitted.network_
    state = {name: torch.tensor(value) for name, value in network.state_dict().items()}

    def lstm(part, input_size, hidden, **options):
        layer = torch.nn.LSTM(input_size, hidden, batch_first=True, **options)
        layer.load_state_dict({name[len(part) + 1 :]: value for name, value in state.items() if name.startswith(part)})
        return layer

    source, target = np.array([[5, 6, 7, 3]]), np.array([[2, 5, 6]])
    with torch.no_grad():
        embedded = state["source_embedding.weight"][torch.tensor(source)]
        memory, (h, c) = lstm("encoder", 48, 24, bidirectional=True)(embedded)
        start = tuple(torch.cat(array.unbind(), 1)[None] for array in (h, c))
        y, _ = lstm("decoder", 48, 48)(state["target_embedding.weight"][torch.tensor(target)], start)
        places = (y @ state["attention.project.weight"].T @ memory.transpose(1, 2) / 48).softmax(2)
        attended = torch.tanh(torch.cat([places @ memory, y], 2) @ state["attention.combine.weight"].T)
        expected = (attended @ state["fc.weight"].T + state["fc.bias"])[0].numpy()
    np.testing.assert_allclose(network(source, target), expected, rtol=1e-3, atol=1e-4)


# ------------------------------------------------------------------------------------------------------------ BLEU


@pytest.mark.peer
def test_bleu():
    pytest.importorskip("sacrebleu")
    assert bleu(["the cat sat on the mat"], ["the cat sat on the mat"]) == pytest.approx(100)
    several = bleu(["a b c d e", "f g h i j"], [["x", "a b c d e"], "f g h i j"])
    assert several == pytest.approx(100)


@pytest.mark.peer
def test_score_is_bleu(fitted):
    pytest.importorskip("sacrebleu")
    sources, targets = SOURCES[:20], TARGETS[:20]
    assert fitted.score(sources, targets) == pytest.approx(100)
    assert fitted.score(sources, [[target, "Rien."] for target in targets]) == pytest.approx(100)
    assert fitted.score(sources, targets[::-1]) < 90
    with pytest.raises(ValueError, match="references has 1 entries, expected one for each of 2 sources"):
        fitted.score(sources[:2], targets[:1])
    with pytest.raises(ValueError, match=r"references\[0\] is empty"):
        fitted.score(sources[:1], [[]])


def test_score_without_sacrebleu_says_what_to_install(fitted, monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(ImportError, match=r"pip install clstm-cpu\[translation\]"):
        fitted.score(["I sing."], ["Je mange."])


# ----------------------------------------------------------------------------------------------------------- files


def test_save_load_pickle_and_copy(fitted, tmp_path):
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    sources = [source for source, _ in PAIRS]
    expected = fitted.translate(sources)
    for again in (Translator.load(path), pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted)):
        assert again.get_params() == fitted.get_params()
        assert again.history_ == fitted.history_
        assert again.translate(sources) == expected


def test_a_file_that_contradicts_itself_is_refused(fitted, tmp_path):
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    content = load_model(path, "Translator")
    for change, message in [
        ({"params": content.config["params"] | {"hidden_size": 7}}, "hidden_size is 7, expected an even number"),
        ({"params": content.config["params"] | {"hidden_size": 46}}, "has shape"),
        ({"params": content.config["params"] | {"embedding_dim": 10**12}}, "can't be loaded"),
        ({"params": content.config["params"] | {"num_layers": 10**9}}, "which isn't what its params ask for"),
        ({"source_vocabulary": {"tokenizer": 2, "words": ["a"]}}, "the vocabulary's tokenizer is 2, expected 1"),
        ({"history": {}}, "the history isn't an object"),
    ]:
        save_model(path, "Translator", {**content.config, **change}, content.arrays)
        with pytest.raises(ModelFileError, match=message):
            Translator.load(path)


# ---------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("text", TARGETS), TypeError, "sources is str, expected a collection of strings"),
        ((SOURCES, TARGETS[1:]), ValueError, "targets has 255 entries, expected one for each of 256 sources"),
        ((SOURCES, [1] * 256), TypeError, r"targets\[0\] is int, expected a string"),
        (([], []), ValueError, "sources is empty"),
        ((SOURCES, TARGETS, [SOURCES]), TypeError, "validation_data is list, expected a pair"),
        ((SOURCES, TARGETS, (["a"], [])), ValueError, "validation_data's targets is empty"),
        ((["?"], ["x"]), ValueError, "min_count is 2, but no word of texts occurs over 1 times"),
    ],
)
def test_wrong_data_are_named(arguments, error, message):
    model = tiny()
    with pytest.raises(error, match=message):
        model.fit(*arguments)
    assert not hasattr(model, "network_")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"hidden_size": 5}, ValueError, "hidden_size is 5, expected an even number"),
        ({"vocab_size": 4}, ValueError, "vocab_size is 4, expected at least 5"),
        ({"attention": "concat"}, ValueError, "attention is 'concat', expected one of 'general', 'dot'"),
        ({"dropout": 1.0}, ValueError, "dropout is 1.0, expected below 1"),
        ({"n_epochs": 2.5}, TypeError, "n_epochs is 2.5, expected an integer"),
        ({"clip_norm": 0}, ValueError, "clip_norm is 0.0, expected above 0"),
    ],
)
def test_wrong_params_are_named(options, error, message):
    with pytest.raises(error, match=message):
        tiny(**options).fit(SOURCES, TARGETS)


def test_wrong_calls_are_named(fitted):
    with pytest.raises(NotFittedError, match="this Translator isn't fitted yet"):
        Translator().translate(["a"])
    with pytest.raises(TypeError, match="sentences is str, expected a list of strings, also for a single one"):
        fitted.translate("I sing.")
    with pytest.raises(ValueError, match="beam_size is 0, expected at least 1"):
        fitted.translate(["I sing."], beam_size=0)
    with pytest.raises(ValueError, match=r"length_penalty is -1\.0, expected at least 0"):
        fitted.translate(["I sing."], length_penalty=-1)


def test_a_failed_fit_leaves_the_model_as_it_was(fitted):
    model = copy.deepcopy(fitted)
    before = model.translate(SOURCES[:4])
    model.set_params(lr=1e38, clip_norm=None)
    with pytest.raises(FloatingPointError), np.errstate(all="ignore"):
        model.fit(SOURCES, TARGETS)
    assert model.translate(SOURCES[:4]) == before


# --------------------------------------------------------------------------------------------------------- picture


@pytest.mark.peer
def test_attention_is_drawn(fitted):
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    _, (alignment,) = fitted.translate(["You walk today."], return_attention=True)
    ax = clstm.plot.attention(alignment)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["you", "walk", "today", "."]
    assert [label.get_text() for label in ax.get_yticklabels()] == alignment.target_words
    np.testing.assert_array_equal(ax.images[0].get_array(), alignment.weights)
    pyplot.close(ax.figure)


def test_drawing_without_matplotlib_says_what_to_install(fitted, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    _, (alignment,) = fitted.translate(["You walk today."], return_attention=True)
    with pytest.raises(ImportError, match=r"pip install clstm-cpu\[plot\]"):
        clstm.plot.attention(alignment)
