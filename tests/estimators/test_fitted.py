"""What `fit` learnt changes by `fit` alone: arguments set since, failed fits and changed lists don't reach it."""

import copy
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.6")
pytestmark = pytest.mark.peer

from clstm import LanguageModel, LSTMClassifier, LSTMRegressor, TextClassifier, Translator  # noqa: E402
from clstm.optim import Adam  # noqa: E402

RNG = np.random.default_rng(0)
WORDS = ["a", "fine", "moving", "film", "that", "is", "not", "too", "long", "but", "rather", "dull", "at", "times"]
TEXTS = [" ".join(RNG.choice(WORDS, 6)) for _ in range(24)]
LABELS = ["good" if "fine" in text else "bad" for text in TEXTS]
SEQUENCES = [RNG.normal(size=(length, 3)) for length in RNG.integers(2, 9, 24)]
CLASSES = [int(x.sum() > 0) for x in SEQUENCES]
NUMBERS = [float(x.mean()) for x in SEQUENCES]
SMALL = {"hidden_size": 6, "n_epochs": 2, "batch_size": 8}


def stream_of(estimator):
    return estimator.stream().run(SEQUENCES[0])


# Each model: its arguments, what it is fitted to, and what it computes.
CASES = {
    "TextClassifier": SimpleNamespace(
        model=TextClassifier(**SMALL, embedding_dim=4, seed=0, verbose=0),
        data=(TEXTS, LABELS),
        results=lambda m: [m.predict_proba(TEXTS), m.score(TEXTS, LABELS)],
        traced=TEXTS[:2],
    ),
    "LanguageModel": SimpleNamespace(
        model=LanguageModel(**SMALL, embedding_dim=4, chunk_length=8, seed=0, verbose=0),
        data=(TEXTS,),
        results=lambda m: [m.bits(TEXTS), m.bits_per_character(TEXTS), m.generate("a f", 12, seed=1)],
        traced=TEXTS[:2],
    ),
    "Translator": SimpleNamespace(
        model=Translator(**SMALL, embedding_dim=4, seed=0, verbose=0),
        data=(TEXTS, [text.upper() for text in TEXTS]),
        results=lambda m: [m.translate(TEXTS[:3])],
        traced=TEXTS[:2],
    ),
    "LSTMClassifier": SimpleNamespace(
        model=LSTMClassifier(**SMALL, bidirectional=False, class_weight={0: 1.0, 1: 2.0}, random_state=0),
        data=(SEQUENCES, CLASSES),
        results=lambda m: [m.predict_proba(SEQUENCES), m.score(SEQUENCES, CLASSES), stream_of(m), m.n_features_in_],
        traced=SEQUENCES[:2],
    ),
    "LSTMRegressor": SimpleNamespace(
        model=LSTMRegressor(**SMALL, bidirectional=False, loss="quantile", quantile=[0.2, 0.8], random_state=0),
        data=(SEQUENCES, NUMBERS),
        results=lambda m: [m.predict(SEQUENCES), m.score(SEQUENCES, NUMBERS), stream_of(m), m.n_features_in_],
        traced=SEQUENCES[:2],
    ),
}

# Another legal value of each argument; a function is called with the case.
OTHER = {
    "attention": "dot",
    "batch_size": 3,
    "bidirectional": lambda case: not case.model.bidirectional,
    "callbacks": [print],
    "chunk_length": 5,
    "class_weight": {0: 9.0},
    "clip_norm": 0.5,
    "cutoffs": [3, 9],
    "delta": 3.0,
    "dropout": 0.25,
    "dtype": "float64",
    "early_stopping": True,
    "ema_decay": None,
    "embedding_dim": 5,
    "embedding_std": 0.7,
    "hidden_size": 10,
    "label_smoothing": 0.3,
    "loss": "huber",
    "lr": 0.5,
    "max_length": 1,
    "min_count": 3,
    "n_epochs": 3,
    "n_iter_no_change": 4,
    "num_layers": 2,
    "num_threads": 1,
    "optimizer": "sgd",
    "patience": 2,
    "pooling": "last",
    "quantile": 0.4,
    "random_state": 5,
    "schedule": None,
    "seed": 5,
    "softmax": "adaptive",
    "standardize": False,
    "start": lambda case: LanguageModel(**SMALL, embedding_dim=4, unit="word", verbose=0).fit(TEXTS),
    "tied": True,
    "tol": 0.1,
    "unit": "word",
    "validation_fraction": 0.3,
    "verbose": 1,
    "vocab_size": 7,
    "warm_start": True,
    "weight_decay": 0.1,
    "word_dropout": 0.4,
}

ARGUMENTS = [(name, argument) for name, case in CASES.items() for argument in case.model.get_params()]
each_argument = pytest.mark.parametrize(("name", "argument"), ARGUMENTS)
each_model = pytest.mark.parametrize("name", CASES)


@pytest.fixture(scope="module")
def fitted():
    return {name: copy.copy(case.model).fit(*case.data) for name, case in CASES.items()}


def seen(name, model, tmp_path):
    """Return all that a fitted model tells, as text and bytes."""
    case = CASES[name]
    trace = model.trace(case.traced)
    model.save(tmp_path / "model")
    found = [*case.results(model), trace.tokens, trace.y, trace.lengths, *trace.state, trace[-1].f]
    found += [str(model.summary()), (tmp_path / "model").read_bytes(), model.history_.as_dict(), model.n_iter_]
    found += [model.network_.num_threads, str(vars(model)["_fitted"].params)]
    return [(value.dtype, value.tobytes()) if isinstance(value, np.ndarray) else value for value in found]


@each_argument
def test_arguments_set_after_fit_count_from_the_next_fit(name, argument, fitted, tmp_path):
    model = copy.copy(CASES[name].model)
    model._fitted = fitted[name]._fitted
    before = seen(name, model, tmp_path)
    value = OTHER[argument](CASES[name]) if argument in ("bidirectional", "start") else OTHER[argument]
    assert repr(value) != repr(getattr(model, argument))
    model.set_params(**{argument: value})
    assert seen(name, model, tmp_path) == before
    for twin in (copy.copy(model), pickle.loads(pickle.dumps(model))):
        assert seen(name, twin, tmp_path) == before
        assert repr(twin) == repr(model)
    loaded = type(model).load(tmp_path / "model")
    assert repr(getattr(loaded, argument)) == repr(getattr(CASES[name].model, argument))


@each_argument
def test_other_values_of_the_arguments_are_legal(name, argument):
    """So that the test above is about values that a user may set."""
    model = copy.copy(CASES[name].model)
    value = OTHER[argument](CASES[name]) if argument in ("bidirectional", "start") else OTHER[argument]
    if argument == "cutoffs":
        model.set_params(softmax="adaptive")
    assert model.set_params(**{argument: value})._checked_params()[argument] == value


@each_argument
def test_a_fit_with_a_wrong_argument_changes_nothing(name, argument, fitted):
    model = copy.copy(CASES[name].model)
    model._fitted = fitted[name]._fitted
    wrong = object()
    before = vars(model.set_params(**{argument: wrong})).copy()
    for call in (model.fit, getattr(model, "partial_fit", model.fit)):
        with pytest.raises((TypeError, ValueError), match=argument):
            call(*CASES[name].data)
        assert vars(model) == before
    assert model.network_ is fitted[name].network_


@each_model
@pytest.mark.parametrize("error", [RuntimeError, FloatingPointError])
def test_a_training_that_fails_changes_nothing(name, error, fitted, monkeypatch):
    calls = []

    def step(self, *arguments):
        calls.append(self)
        if len(calls) == 2:
            raise error("in the middle of the training")

    monkeypatch.setattr(Adam, "step", step)
    model, data = copy.copy(CASES[name].model), CASES[name].data
    for learnt in (None, fitted[name]._fitted):
        if learnt is not None:
            model._fitted = learnt
        before = vars(model).copy()
        calls.clear()
        with pytest.raises(error):
            model.fit(*data)
        assert len(calls) == 2
        assert vars(model) == before


@each_model
def test_a_fit_to_wrong_data_changes_nothing(name, fitted):
    model, data = copy.copy(CASES[name].model), CASES[name].data
    before = vars(model).copy()
    with pytest.raises((TypeError, ValueError)):
        model.fit(data[0], [3], *data[2:])
    assert vars(model) == before
    for attribute in ("network_", "history_", "n_iter_", "classes_", "vocabulary_", "n_features_in_", "per_step_"):
        assert not hasattr(model, attribute)
    with pytest.raises((TypeError, ValueError)):
        model.fit([], *data[1:])
    assert vars(model) == before


def test_a_failed_fit_leaves_no_columns(fitted):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(RNG.normal(size=(6, 4)), columns=list("abcd"))
    model = LSTMClassifier(**SMALL)
    with pytest.raises(ValueError, match="y holds one class"):
        model.fit(frame, [1] * 6)
    assert not hasattr(model, "n_features_in_")
    assert not hasattr(model, "feature_names_in_")
    model.fit(frame, [0, 1] * 3)
    with pytest.raises(ValueError, match="y holds one class"):
        model.fit(frame[["a", "b"]], [1] * 6)
    assert model.feature_names_in_.tolist() == list("abcd")
    assert model.n_features_in_ == 4
    assert model.predict(frame).shape == (6,)
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[list("dcba")])


@each_model
def test_public_attributes_are_read_only(name, fitted):
    public = [attribute for attribute in dir(fitted[name]) if attribute.endswith("_") and not attribute.startswith("_")]
    assert {"network_", "history_", "n_iter_"} <= set(public)
    for attribute in public:
        assert isinstance(getattr(type(fitted[name]), attribute), property)
        with pytest.raises(AttributeError):
            setattr(fitted[name], attribute, None)
        with pytest.raises(AttributeError):
            getattr(CASES[name].model, attribute)


@each_model
def test_each_argument_has_one_check_and_a_legal_default(name):
    model = type(CASES[name].model)
    assert list(model._defaults()) == list(model().get_params())
    assert set(model._checks) == set(model._defaults())
    model()._checked_params()


@each_model
def test_pickles_without_an_argument_get_its_default(name, fitted, tmp_path):
    """As a version wrote them that didn't have it."""
    state = fitted[name].__getstate__()
    for params in (state["params"], state["fitted_params"]):
        del params["lr"]
    twin = type(fitted[name]).__new__(type(fitted[name]))
    twin.__setstate__(state)
    assert twin.lr == type(twin)._defaults()["lr"]
    twin.save(tmp_path / "twin")
    fitted[name].save(tmp_path / "model")
    assert (tmp_path / "twin").read_bytes() == (tmp_path / "model").read_bytes()


def test_lists_and_dicts_changed_after_fit_dont_reach_what_was_learnt(tmp_path):
    weights, quantile = {0: 1.0, 1: np.float32(3)}, [0.2, 0.8]
    classifier = LSTMClassifier(**SMALL, class_weight=weights).fit(SEQUENCES, CLASSES)
    regressor = LSTMRegressor(**SMALL, loss="quantile", quantile=quantile).fit(SEQUENCES, NUMBERS)
    expected = regressor.score(SEQUENCES, NUMBERS)
    weights[0], quantile[1] = 7.0, 0.3
    classifier.save(tmp_path / "model")
    assert LSTMClassifier.load(tmp_path / "model").class_weight == {0: 1.0, 1: 3.0}
    assert regressor.score(SEQUENCES, NUMBERS) == expected


def test_class_weights_set_after_fit_are_not_saved(tmp_path):
    classifier = LSTMClassifier(**SMALL).fit(SEQUENCES, CLASSES).set_params(class_weight={0: 1.0, 1: 5.0})
    classifier.save(tmp_path / "model")
    assert LSTMClassifier.load(tmp_path / "model").class_weight is None
    assert copy.copy(classifier).class_weight == {0: 1.0, 1: 5.0}


def test_a_callback_may_predict_and_set_arguments():
    """A prediction in the middle of a second fit is that of the first; arguments set there are for a third."""
    model = LSTMClassifier(**SMALL, random_state=0).fit(SEQUENCES, CLASSES)
    expected, found = model.predict_proba(SEQUENCES), []

    def callback(history):
        found.append(model.predict_proba(SEQUENCES))
        model.set_params(hidden_size=9, pooling="mean")

    model.set_params(callbacks=callback).fit([x[:, :2] for x in SEQUENCES], CLASSES)
    assert len(found) == 2
    for one in found:
        np.testing.assert_array_equal(one, expected)
    assert model.network_.hidden_size == 6
    assert model._fitted.params["pooling"] == "max"


def test_partial_fit_leaves_the_earlier_object_as_it_was():
    model = LSTMClassifier(**SMALL, random_state=0).fit(SEQUENCES, CLASSES)
    first = model._fitted
    weights = {name: weight.copy() for name, weight in first.network.parameters().items()}
    model.partial_fit(SEQUENCES, CLASSES)
    assert model._fitted is not first
    assert model.n_iter_ == first.history.n_epochs + 1
    for name, weight in first.network.parameters().items():
        np.testing.assert_array_equal(weight, weights[name])


def test_one_axis_of_numbers_is_no_sequence():
    model = LSTMClassifier(**SMALL).fit([x[:, :1] for x in SEQUENCES], CLASSES)
    assert model.predict(np.zeros((4, 5))).shape == (4,)
    with pytest.raises(ValueError, match=r"X holds an array \(n, time\), expected sequences of floats"):
        model.predict(np.zeros(5))
