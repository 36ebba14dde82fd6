import copy
import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import clstm
from clstm import TextClassifier, Vocabulary
from clstm._core import backend
from clstm.datasets import load_movie_reviews
from clstm.estimators.base import NotFittedError
from clstm.files import ModelFileError, load_model, save_model
from clstm.models import LSTMClassifierNetwork
from clstm.train.history import History
from tests.helpers.processes import run_python

SMALL = {"embedding_dim": 16, "hidden_size": 12, "seed": 0, "verbose": 0, "num_threads": 1}
TEXTS = ["a fine film", "dull and long", "fine, moving", "long, long, dull"] * 6
LABELS = ["good", "bad", "good", "bad"] * 6


@pytest.fixture(scope="module")
def reviews():
    return load_movie_reviews()


@pytest.fixture(scope="module")
def fitted(reviews):
    """Return a classifier that is fitted to 2,800 reviews."""
    training, validation = reviews.train, reviews.validation  # not in random order, hence the steps
    return TextClassifier(**SMALL, lr=4e-3, n_epochs=6).fit(
        training.texts[::3], training.labels[::3], (validation.texts[::4], validation.labels[::4])
    )


def make_tiny(**options):
    return TextClassifier(**(SMALL | {"embedding_dim": 4, "hidden_size": 3, "n_epochs": 2} | options))


@pytest.fixture(scope="module")
def tiny():
    return make_tiny().fit(TEXTS, LABELS, (TEXTS[:4], LABELS[:4]))


# ------------------------------------------------------------------------------------------------------- learning


def test_it_learns_real_reviews(fitted, reviews):
    accuracy = fitted.score(reviews.validation.texts[1::2], reviews.validation.labels[1::2])
    assert accuracy > 0.66  # 0.53 is always the same label
    history = fitted.history_
    assert isinstance(history, History)
    assert fitted.n_iter_ == history.n_epochs == 6
    assert history.train_loss[-1] < history.train_loss[0]
    best = history.best_epoch - 1
    assert history.validation_score[best] == max(history.validation_score)
    expected = fitted.score(reviews.validation.texts[::4], reviews.validation.labels[::4])
    assert history.validation_score[best] == expected
    assert fitted.classes_.tolist() == ["negative", "positive"]
    assert isinstance(fitted.vocabulary_, Vocabulary)
    assert isinstance(fitted.network_, LSTMClassifierNetwork)
    assert fitted.network_.vocab_size == len(fitted.vocabulary_)


def test_few_texts_are_learnt_too():
    """An epoch has one step here, and 8 steps are too few to learn anything."""
    classifier = TextClassifier(**SMALL).fit(TEXTS, LABELS)
    assert classifier.n_iter_ == 1000
    assert classifier.score(TEXTS, LABELS) == 1.0
    assert classifier.predict(["a moving film"]).tolist() == ["good"]


def test_three_labels_that_are_numbers():
    texts = ["one", "two", "three", "one one", "two two", "three three"] * 4
    labels = np.array([10, -2, 7] * 8)
    classifier = TextClassifier(**SMALL).fit(texts, labels)
    assert classifier.classes_.tolist() == [-2, 7, 10]
    predicted = classifier.predict(texts)
    assert predicted.dtype == np.int64
    assert predicted.tolist() == labels.tolist()
    assert classifier.predict_proba(["two"]).argmax() == 0


@pytest.mark.smoke
def test_labels_of_every_kind():
    for labels in ([True, False], ["b", "a"], [3, 1], np.array([2, 1], np.uint8), np.array(["x", "y"])):
        classifier = make_tiny().fit(["good", "bad"], labels)
        assert classifier.classes_.tolist() == sorted(np.asarray(labels).tolist())
        assert classifier.predict(["good"])[0] in labels


def test_the_same_seed_gives_the_same_bits(tiny):
    again = make_tiny().fit(TEXTS, LABELS, (TEXTS[:4], LABELS[:4]))
    two_threads = make_tiny(num_threads=2).fit(TEXTS, LABELS, (TEXTS[:4], LABELS[:4]))
    for other in (again, two_threads):
        for name, weight in tiny.network_.state_dict().items():
            np.testing.assert_array_equal(other.network_.state_dict()[name], weight)
        assert other.history_.train_loss == tiny.history_.train_loss
    different = make_tiny(seed=1).fit(TEXTS, LABELS)
    assert not np.array_equal(different.predict_proba(TEXTS), tiny.predict_proba(TEXTS))
    drawn = [make_tiny(seed=np.random.default_rng(7)).fit(TEXTS, LABELS).predict_proba(TEXTS) for _ in range(2)]
    np.testing.assert_array_equal(drawn[0], drawn[1])


def shapes_of(network):
    return {name: weight.shape for name, weight in network.parameters().items()}


def test_arguments_reach_the_network():
    classifier = make_tiny(
        vocab_size=5, num_layers=2, bidirectional=False, pooling="last", max_length=2, embedding_dim=7, hidden_size=5
    ).fit(TEXTS, LABELS)
    assert len(classifier.vocabulary_) == 5
    shapes = shapes_of(classifier.network_)
    assert shapes["embedding.weight"] == (5, 7)
    assert shapes["lstm.weight_ih_l1"] == (20, 5)
    assert shapes["fc.weight"] == (2, 5)
    assert shapes == shapes_of(LSTMClassifierNetwork(7, 5, 5, 2, 2))
    assert classifier.network_.pooling == "last"
    np.testing.assert_array_equal(*classifier.predict_proba(["long film dull", "long film fine fine"]))


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_every_pooling_fits(pooling, bidirectional):
    classifier = make_tiny(pooling=pooling, bidirectional=bidirectional, ema_decay=None, clip_norm=None, patience=1)
    classifier.fit(TEXTS, LABELS, validation_data=(TEXTS, LABELS))
    assert classifier.predict_proba(TEXTS).shape == (24, 2)
    expected = LSTMClassifierNetwork(4, 3, len(classifier.vocabulary_), 2, 1, bidirectional=bidirectional)
    assert shapes_of(classifier.network_) == shapes_of(expected)


def test_validation_fraction_holds_out_texts():
    classifier = make_tiny(validation_fraction=0.25).fit([*TEXTS, "unheard"], [*LABELS, "good"])
    assert len(classifier.history_.validation_score) == 2
    assert all(round(score * 6) == pytest.approx(score * 6) for score in classifier.history_.validation_score)
    given = make_tiny(validation_fraction=0.25).fit(TEXTS, LABELS, validation_data=(TEXTS[:3], LABELS[:3]))
    assert all(round(score * 3) == pytest.approx(score * 3) for score in given.history_.validation_score)


def test_validation_fraction_leaves_every_label_for_training():
    labels = [*LABELS, "only once"]
    for seed in range(5):
        classifier = make_tiny(validation_fraction=0.9, n_epochs=1, seed=seed).fit([*TEXTS, "unheard"], labels)
        assert classifier.classes_.tolist() == ["bad", "good", "only once"]
    with pytest.raises(ValueError, match=r"validation_fraction is 0.5, but each of the 2 texts"):
        make_tiny(validation_fraction=0.5).fit(["a", "b"], [1, 2])


def test_patience_stops_early():
    validation = (TEXTS[:4], ["bad"] * 4)
    classifier = make_tiny(lr=0.0, n_epochs=50, patience=3).fit(TEXTS, LABELS, validation)
    assert classifier.history_.stopped_early
    assert classifier.n_iter_ == 4


def test_progress_goes_to_standard_error(capsys):
    make_tiny(verbose=1).fit(TEXTS, LABELS, (TEXTS, LABELS))
    output = capsys.readouterr()
    assert output.out == ""
    assert [line.split(":")[0] for line in output.err.splitlines()] == ["epoch 1/2", "epoch 2/2"]
    assert "validation accuracy" in output.err
    make_tiny(verbose=False).fit(TEXTS, LABELS)
    assert capsys.readouterr() == ("", "")


# ----------------------------------------------------------------------------------------------------- prediction


def test_probabilities(fitted, reviews):
    texts = reviews.test.texts[:200]
    probabilities = fitted.predict_proba(texts)
    assert probabilities.shape == (200, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(fitted.predict(texts), fitted.classes_[probabilities.argmax(axis=1)])


@pytest.mark.parametrize("instruction_set", backend.available())
def test_a_text_alone_or_in_a_batch(fitted, reviews, instruction_set):
    texts = [*reviews.test.texts[:150], "", "?!...", "unheardof", " ".join(reviews.test.texts[:40])]
    before = backend.isa()
    backend.use(instruction_set)
    try:
        classifier = TextClassifier(**SMALL)
        classifier._fitted = replace(fitted._fitted, network=copy.deepcopy(fitted.network_))
        classifier.network_.load_state_dict(fitted.network_.state_dict())
        batch = classifier.predict_proba(texts)
        alone = np.concatenate([classifier.predict_proba([text]) for text in texts])
        backwards = classifier.predict_proba(texts[::-1])[::-1]
    finally:
        backend.use(before)
    if instruction_set == "portable":  # BLAS sums in an order that depends on the batch
        np.testing.assert_allclose(alone, batch, rtol=1e-5)
        np.testing.assert_allclose(backwards, batch, rtol=1e-5)
    else:
        np.testing.assert_array_equal(alone, batch)
        np.testing.assert_array_equal(backwards, batch)


def test_blocks_and_batches_change_nothing(fitted, reviews, monkeypatch):
    texts = reviews.test.texts[:100]
    expected = fitted.predict_proba(texts)
    monkeypatch.setattr("clstm.estimators.fitted_text.PREDICT_TEXTS", 7)
    monkeypatch.setattr("clstm.estimators.fitted_text.PREDICT_ROWS", 3)
    monkeypatch.setattr("clstm.estimators.fitted_text.PREDICT_STEPS", 30)
    np.testing.assert_allclose(fitted.predict_proba(texts), expected, rtol=1e-5)


def test_many_threads_get_what_one_gets(fitted, reviews):
    parts = [reviews.test.texts[start : start + 40] for start in range(0, 1100, 40)]
    expected = [fitted.predict_proba(part) for part in parts]
    with ThreadPoolExecutor(8) as pool:
        for got, wanted in zip(pool.map(fitted.predict_proba, parts * 3), expected * 3, strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_no_texts_and_no_words(tiny):
    for nothing in ([], (), np.array([], object)):
        assert tiny.predict(nothing).shape == (0,)
        assert tiny.predict(nothing).dtype == tiny.classes_.dtype
        assert tiny.predict_proba(nothing).shape == (0, 2)
    unknown = tiny.predict_proba(["nevertheless"])
    for wordless in ("", "   ", "...", "\N{ZERO WIDTH SPACE}"):
        np.testing.assert_array_equal(tiny.predict_proba([wordless]), unknown)


def test_collections_of_every_kind(tiny):
    expected = tiny.predict_proba(TEXTS)
    for texts in (tuple(TEXTS), np.array(TEXTS), np.array(TEXTS, object)):
        np.testing.assert_array_equal(tiny.predict_proba(texts), expected)
        fitted = make_tiny().fit(texts, np.array(LABELS), (list(texts[:4]), tuple(LABELS[:4])))
        np.testing.assert_array_equal(fitted.predict_proba(texts), expected)


@pytest.mark.smoke
def test_score(tiny):
    predicted = tiny.predict(TEXTS)
    assert tiny.score(TEXTS, predicted) == 1.0
    other = ["good" if label == "bad" else "bad" for label in predicted]
    assert tiny.score(TEXTS, [*other[:6], *predicted[6:]]) == 0.75
    assert tiny.score(TEXTS, ["never seen"] * 24) == 0.0


# ---------------------------------------------------------------------------------------------------------- files


def test_saved_and_loaded(fitted, reviews, tmp_path):
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    loaded = TextClassifier.load(path)
    assert loaded.get_params() == fitted.get_params()
    assert loaded.vocabulary_ == fitted.vocabulary_
    assert loaded.history_ == fitted.history_
    assert loaded.n_iter_ == 6
    assert loaded.classes_.dtype == fitted.classes_.dtype
    texts = reviews.test.texts[:50]
    np.testing.assert_array_equal(loaded.predict_proba(texts), fitted.predict_proba(texts))
    again = tmp_path / "again"
    loaded.save(str(again))
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("labels", [[True, False], ["b", "a"], [2**62, -5]])
def test_labels_keep_their_kind_in_a_file(labels, tmp_path):
    classifier = make_tiny(seed=np.random.default_rng(0), lr=np.float64(1e-3), n_epochs=np.int64(1))
    classifier.fit(["good", "bad"], labels).save(tmp_path / "model")
    loaded = TextClassifier.load(tmp_path / "model")
    assert loaded.classes_.dtype == classifier.classes_.dtype
    assert loaded.classes_.tolist() == sorted(labels)
    assert loaded.seed is None
    assert (loaded.lr, loaded.n_epochs) == (1e-3, 1)


def test_files_of_something_else(tmp_path, tiny):
    path = tmp_path / "model"
    with pytest.raises(FileNotFoundError):
        TextClassifier.load(path)
    save_model(path, "LanguageModel", {}, {})
    with pytest.raises(ModelFileError, match="LanguageModel"):
        TextClassifier.load(path)
    tiny.save(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelFileError):
        TextClassifier.load(path)


def altered(config, *keys, value):
    """Return a deep copy of `config` with another value at a place."""
    config = copy.deepcopy(config)
    place = config
    for key in keys[:-1]:
        place = place[key]
    if value is None:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    return config


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("params",), None),
        (("params",), ["a", "list"]),
        (("params", "unheardof"), 1),
        (("params", "hidden_size"), 4),
        (("params", "hidden_size"), "12"),
        (("params", "hidden_size"), 10**12),
        (("params", "embedding_dim"), 10**18),
        (("params", "num_layers"), 10**9),
        (("params", "num_layers"), 2),
        (("params", "num_layers"), -1),
        (("params", "bidirectional"), False),
        (("params", "bidirectional"), 1),
        (("params", "pooling"), "sum"),
        (("params", "dropout"), 7.0),
        (("params", "num_threads"), "many"),
        (("params", "max_length"), -3),
        (("params", "seed"), "x"),
        (("classes",), None),
        (("classes",), "good"),
        (("classes",), []),
        (("classes",), ["bad"]),
        (("classes",), ["good", "bad"]),
        (("classes",), ["bad", "bad"]),
        (("classes",), ["bad", 1]),
        (("classes",), ["bad", ["good"]]),
        (("classes",), ["bad", "good", "ugly"]),
        (("classes",), [1, 2**70]),
        (("vocabulary",), None),
        (("vocabulary", "words"), ["too", "few"]),
        (("vocabulary", "words", 0), 3),
        (("history",), None),
        (("history",), [1]),
        (("history", "best_epoch"), "two"),
        (("history", "train_loss"), ["low"]),
        (("history", "interrupted"), 0),
    ],
)
def test_hostile_files(keys, value, tiny, tmp_path):
    """The files are well-formed, but don't describe a classifier."""
    tiny.save(tmp_path / "model")
    content = load_model(tmp_path / "model")
    save_model(tmp_path / "hostile", content.kind, altered(content.config, *keys, value=value), content.arrays)
    with pytest.raises(ModelFileError, match="hostile' can't be loaded: "):
        TextClassifier.load(tmp_path / "hostile")


@pytest.mark.parametrize(
    "change",
    [
        {"fc.bias": None},
        {"fc.bias": np.zeros(3, np.float32)},
        {"fc.bias": np.zeros(2, np.float64)},
        {"extra": np.zeros(2, np.float32)},
        {"fc.bias": None, "extra": np.zeros(2, np.float32)},
    ],
)
def test_hostile_arrays(change, tiny, tmp_path):
    tiny.save(tmp_path / "model")
    content = load_model(tmp_path / "model")
    arrays = {name: array for name, array in (content.arrays | change).items() if array is not None}
    save_model(tmp_path / "hostile", content.kind, content.config, arrays)
    with pytest.raises(ModelFileError, match="hostile' can't be loaded: "):
        TextClassifier.load(tmp_path / "hostile")


def test_a_failed_save_keeps_the_earlier_file(tiny, tmp_path):
    path = tmp_path / "model"
    tiny.save(path)
    before = path.read_bytes()
    with pytest.raises(NotFittedError):
        make_tiny().save(path)
    unsaveable = make_tiny()
    unsaveable._fitted = replace(tiny._fitted, params={**tiny.get_params(), "seed": {1, 2}})
    with pytest.raises(TypeError, match="JSON"):
        unsaveable.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model"]


def test_arguments_set_after_fit_are_for_the_next_one(tiny, tmp_path):
    changed = copy.deepcopy(tiny).set_params(hidden_size=99, num_layers=3, embedding_dim=7, max_length=1)
    for other in (changed, pickle.loads(pickle.dumps(changed)), copy.copy(changed)):
        assert other.hidden_size == 99
        np.testing.assert_array_equal(other.predict_proba(TEXTS), tiny.predict_proba(TEXTS))
        other.save(tmp_path / "model")
        loaded = TextClassifier.load(tmp_path / "model")
        assert loaded.hidden_size == tiny.hidden_size
        np.testing.assert_array_equal(loaded.predict_proba(TEXTS), tiny.predict_proba(TEXTS))


def test_pickled_and_copied(tiny):
    for other in (pickle.loads(pickle.dumps(tiny)), copy.deepcopy(tiny)):
        np.testing.assert_array_equal(other.predict_proba(TEXTS), tiny.predict_proba(TEXTS))


# ---------------------------------------------------------------------------------------- scikit-learn's manner


def test_params():
    classifier = TextClassifier(hidden_size=32, pooling="mean")
    params = classifier.get_params()
    assert params["hidden_size"] == 32
    assert list(params) == list(TextClassifier.__init__.__kwdefaults__)
    assert TextClassifier(**params).get_params(deep=False) == params
    assert repr(classifier) == "TextClassifier(hidden_size=32, pooling='mean')"
    assert classifier.set_params(hidden_size=8, lr=0.1) is classifier
    assert (classifier.hidden_size, classifier.lr) == (8, 0.1)
    with pytest.raises(ValueError, match="there is no argument 'hidden'; there are vocab_size, "):
        classifier.set_params(lr=0.5, hidden=3)
    assert classifier.lr == 0.1


def test_arguments_are_kept_as_they_are_until_fit():
    odd = TextClassifier(hidden_size="many", seed="x")
    assert odd.hidden_size == "many"
    with pytest.raises(TypeError):
        TextClassifier(100)


def test_not_fitted():
    classifier = make_tiny()
    for call in (
        lambda: classifier.predict(["a"]),
        lambda: classifier.predict([]),
        lambda: classifier.predict_proba(["a"]),
        lambda: classifier.score(["a"], ["b"]),
        lambda: classifier.save("nowhere"),
    ):
        with pytest.raises(NotFittedError, match="isn't fitted yet") as caught:
            call()
        assert isinstance(caught.value, ValueError)
        assert isinstance(caught.value, AttributeError)


def test_a_fit_that_fails_leaves_the_earlier_one(tiny):
    classifier = copy.deepcopy(tiny)
    expected = classifier.predict_proba(TEXTS)
    with pytest.raises(ValueError, match="nothing but 'good'"):
        classifier.fit(TEXTS, ["good"] * 24)
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match="epoch"):
        classifier.set_params(lr=1e38, clip_norm=None, n_epochs=50).fit(TEXTS, LABELS)
    np.testing.assert_array_equal(classifier.predict_proba(TEXTS), expected)


@pytest.mark.peer
def test_it_is_a_classifier_for_scikit_learn():
    base = pytest.importorskip("sklearn.base")
    selection = pytest.importorskip("sklearn.model_selection")
    classifier = make_tiny()
    assert base.is_classifier(classifier)
    assert base.clone(classifier).get_params() == classifier.get_params()
    assert selection.cross_val_score(classifier, TEXTS, LABELS, cv=2).shape == (2,)
    search = selection.GridSearchCV(classifier, {"hidden_size": [2, 3]}, cv=2).fit(TEXTS, LABELS)
    assert search.best_params_["hidden_size"] in (2, 3)


@pytest.mark.subprocess
def test_nothing_optional_is_imported(tiny, tmp_path):
    tiny.save(tmp_path / "model")
    program = (
        "import sys; from clstm import TextClassifier\n"
        "print(TextClassifier.load(sys.argv[1]).predict(['a fine film'])[0])\n"
        "heavy = 'scipy', 'sklearn', 'tqdm', 'clstm.train.loop', 'clstm.optim'\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    output = run_python(program, tmp_path / "model", CLSTM_ISA=None).stdout.splitlines()
    assert output[0] in ("good", "bad")
    if backend.available()[0] != "portable":
        assert output[1] == "[]"


# -------------------------------------------------------------------------------------------------- bad arguments


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"vocab_size": 2}, ValueError),
        ({"vocab_size": 10.0}, TypeError),
        ({"embedding_dim": 0}, ValueError),
        ({"hidden_size": "64"}, TypeError),
        ({"num_layers": 0}, ValueError),
        ({"bidirectional": "yes"}, TypeError),
        ({"pooling": "first"}, ValueError),
        ({"dropout": 1.1}, ValueError),
        ({"word_dropout": -0.1}, ValueError),
        ({"embedding_std": -1.0}, ValueError),
        ({"n_epochs": 0}, ValueError),
        ({"batch_size": 0}, ValueError),
        ({"lr": -1.0}, ValueError),
        ({"lr": None}, TypeError),
        ({"clip_norm": -1.0}, ValueError),
        ({"ema_decay": 1.5}, ValueError),
        ({"patience": 0}, ValueError),
        ({"validation_fraction": 1.0}, ValueError),
        ({"max_length": 0}, ValueError),
        ({"num_threads": 0}, ValueError),
        ({"verbose": -1}, ValueError),
        ({"seed": -1}, ValueError),
        ({"seed": "x"}, TypeError),
    ],
)
def test_bad_arguments(options, error):
    with pytest.raises(error, match=f"{next(iter(options))} is "):
        make_tiny(**options).fit(TEXTS, LABELS)


@pytest.mark.parametrize(
    ("texts", "labels", "error", "message"),
    [
        ("a bare string", ["a"], TypeError, "texts is str, expected a collection of strings"),
        (["a", 3], ["a", "b"], TypeError, r"texts\[1\] is int, expected a string"),
        ([b"a", b"b"], ["a", "b"], TypeError, r"texts\[0\] is bytes"),
        ([], [], ValueError, "texts is empty"),
        (None, [], TypeError, "texts is NoneType"),
        (["a", "b"], ["x"], ValueError, "labels has 1 entries, expected one for each of 2 texts"),
        (["a", "b"], "xy", TypeError, "labels is str, expected a list of labels"),
        (["a", "b"], None, TypeError, "labels is NoneType"),
        (["a", "b"], ["x", "x"], ValueError, "labels holds nothing but 'x'"),
        (["a", "b"], ["x", 1], TypeError, "labels mixes str .the first. and int .number 1."),
        (["a", "b"], [True, 1], TypeError, "labels mixes bool"),
        (["a", "b"], [0.5, 1.5], TypeError, r"labels\[0\] is float, expected a string or an integer"),
        (["a", "b"], [None, "x"], TypeError, r"labels\[0\] is NoneType"),
        (["a", "b"], [1, 2**64], ValueError, r"labels\[1\] is 18446744073709551616"),
        (["...", ""], ["x", "y"], ValueError, "texts hold no words"),
    ],
)
def test_bad_texts_and_labels(texts, labels, error, message):
    with pytest.raises(error, match=message):
        make_tiny().fit(texts, labels)


@pytest.mark.parametrize(
    ("validation_data", "error", "message"),
    [
        (TEXTS, TypeError, "validation_data is list, expected a pair"),
        ((["a"], ["good", "bad"]), ValueError, "validation_data's labels has 2 entries"),
        (("a", ["good"]), TypeError, "validation_data's texts is str"),
        ((["a"], ["ugly"]), ValueError, "validation_data's labels hold 'ugly', which none of the training texts has"),
        (([], []), ValueError, "validation_data's texts is empty"),
    ],
)
def test_bad_validation_data(validation_data, error, message):
    with pytest.raises(error, match=message):
        make_tiny().fit(TEXTS, LABELS, validation_data)


def test_bad_texts_to_predict(tiny):
    for call in (tiny.predict, tiny.predict_proba, lambda texts: tiny.score(texts, ["good"])):
        with pytest.raises(TypeError, match="texts is str"):
            call("a bare string")
        with pytest.raises(TypeError, match=r"texts\[0\] is int"):
            call([5])
        with pytest.raises(TypeError, match="texts is int"):
            call(5)
    with pytest.raises(ValueError, match="labels has 1 entries"):
        tiny.score(["a", "b"], ["good"])
    with pytest.raises(ValueError, match="texts is empty"):
        tiny.score([], [])


def test_public_names():
    assert clstm.TextClassifier is TextClassifier
    assert json.dumps(TextClassifier().get_params())
