import copy
import pickle
import threading

import numpy as np
import pytest

import clstm
from clstm._core import backend, threads
from clstm.files import ModelFileError

sklearn = pytest.importorskip("sklearn", minversion="1.6")

from joblib import parallel_config  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402

from clstm import LSTMClassifier, LSTMRegressor  # noqa: E402
from tests.helpers.processes import run_python  # noqa: E402

pytestmark = pytest.mark.peer

BOTH = pytest.mark.parametrize("estimator", [LSTMClassifier, LSTMRegressor])

# ------------------------------------------------------------------------------------- scikit-learn's own checks


def small_ones(**options):
    """Return estimators that learn quickly what the checks expect."""
    return [
        LSTMClassifier(hidden_size=12, n_epochs=40, **options),
        LSTMRegressor(hidden_size=12, n_epochs=60, lr=2e-2, **options),
    ]


@parametrize_with_checks(small_ones(dtype="float64"))
def test_scikit_learn_in_float64(estimator, check):
    check(estimator)


def expected_in_float32(estimator):
    failing = {"check_sample_weight_equivalence_on_dense_data": "sums are rounded in another order"}
    if backend.isa() == "portable":
        failing["check_methods_sample_order_invariance"] = "BLAS may sum in another order for other rows"
    return failing


@parametrize_with_checks(small_ones(), expected_failed_checks=expected_in_float32)
def test_scikit_learn_in_float32(estimator, check):
    check(estimator)


# ---------------------------------------------------------------------------------------------------------- data


@pytest.fixture(scope="module")
def data():
    """Return ragged sequences with a mean above or below zero, and which of the two it is."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 60)
    X = [(rng.normal(size=(rng.integers(4, 12), 3)) + (2 * c - 1)).astype(np.float32) for c in y]
    return X, y


def small(estimator, **options):
    return estimator(**{"hidden_size": 6, "n_epochs": 5, "random_state": 0} | options)


def padded(X, filler=np.nan):
    lengths = np.array([len(x) for x in X])
    array = np.full((len(X), lengths.max(), X[0].shape[1]), filler, np.float32)
    for row, x in zip(array, X, strict=True):
        row[: len(x)] = x
    return array, lengths


def assert_same(some, others):
    assert type(some) is type(others)
    if isinstance(some, list):
        assert len(some) == len(others)
        for one, other in zip(some, others, strict=True):
            np.testing.assert_array_equal(one, other)
    else:
        np.testing.assert_array_equal(some, others)


# ------------------------------------------------------------------------------------------------- forms of X, y


@pytest.mark.smoke
@BOTH
def test_all_forms_of_sequences_give_the_same_results(data, estimator):
    X, y = data
    expected = small(estimator).fit(X, y)
    objects = np.empty(len(X), object)
    objects[:] = X
    array, lengths = padded(X)
    for form, options in ((tuple(X), {}), (objects, {}), ([x.tolist() for x in X], {}), (array, {"lengths": lengths})):
        fitted = small(estimator).fit(form, y, **options)
        assert_same(fitted.predict(form, **options), expected.predict(X))
        assert fitted.score(form, y, **options) == expected.score(X, y)
        assert fitted.n_features_in_ == 3


@BOTH
def test_one_channel(data, estimator):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(20, 7))
    y = (X.sum(axis=1) > 0).astype(int)
    table = small(estimator).fit(X, y)
    assert table.n_features_in_ == 7
    sequences = small(estimator).fit(X[:, :, np.newaxis], y)
    assert sequences.n_features_in_ == 1
    assert_same(table.predict(X), sequences.predict(X))
    assert_same(small(estimator).fit(list(X), y).predict([x[:4] for x in X]), sequences.predict(X[:, :4]))
    lengths = np.arange(20) % 7 + 1
    ragged = [row[:length] for row, length in zip(X, lengths, strict=True)]
    assert_same(table.predict(X, lengths=lengths), sequences.predict(ragged))


@pytest.mark.parametrize("X", [["up the hill", "down it", "up up", "down"] * 5, [[0, 3, 2], [1, 2], [0, 0], [1]] * 5])
def test_texts_and_token_ids(X):
    y = ["rise", "fall"] * 10
    classifier = small(LSTMClassifier, n_epochs=30, embedding_dim=5).fit(X, y)
    assert classifier.score(X, y) == 1
    assert not hasattr(classifier, "n_features_in_")
    assert (classifier.vocabulary_ is None) == (X[0] == [0, 3, 2])
    numbers = small(LSTMRegressor, n_epochs=100, embedding_dim=5, lr=2e-2).fit(X, [1.0, -1.0] * 10)
    assert numbers.score(X, [1.0, -1.0] * 10) > 0.9
    copied = pickle.loads(pickle.dumps(classifier))
    assert_same(copied.predict_proba(X), classifier.predict_proba(X))


def test_classes_of_steps(data):
    X, _ = data
    y = [np.where(x[:, 0] > 0, "high", "low") for x in X]
    classifier = small(LSTMClassifier, n_epochs=60, lr=2e-2).fit(X, y)
    assert classifier.score(X, y) > 0.9
    assert classifier.score(X, y, sample_weight=np.arange(len(X))) > 0.9
    predicted, probabilities = classifier.predict(X), classifier.predict_proba(X)
    assert [len(p) for p in predicted] == [len(x) for x in X]
    for classes, p in zip(predicted, probabilities, strict=True):
        np.testing.assert_allclose(p.sum(axis=1), 1)
        np.testing.assert_array_equal(classes, classifier.classes_[p.argmax(axis=1)])

    array, lengths = padded(X)
    targets = np.full(array.shape[:2], "high")
    for row, labels in zip(targets, y, strict=True):
        row[: len(labels)] = labels
    again = small(LSTMClassifier, n_epochs=60, lr=2e-2).fit(array, targets, lengths=lengths)
    assert_same(again.predict(array, lengths=lengths), predicted)
    whole = np.nan_to_num(array)
    assert again.predict(whole).shape == array.shape[:2]
    assert again.predict_proba(whole).shape == (*array.shape[:2], 2)


def test_numbers_of_steps(data):
    X, _ = data
    y = [np.cumsum(x[:, :2], axis=0) for x in X]
    regressor = small(LSTMRegressor, n_epochs=60, hidden_size=16, lr=1e-2, bidirectional=False).fit(X, y)
    assert regressor.score(X, y) > 0.8
    assert [p.shape for p in regressor.predict(X)] == [value.shape for value in y]
    one = small(LSTMRegressor).fit(X, [value[:, 0] for value in y])
    assert one.predict(X)[0].shape == (len(X[0]),)


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, ()),
        ({"loss": "huber", "delta": 0.5}, ()),
        ({"loss": "quantile", "quantile": 0.9}, ()),
        ({"loss": "quantile", "quantile": [0.1, 0.9]}, (2,)),
    ],
)
def test_losses_and_several_outputs(data, options, shape):
    X, _ = data
    y = np.array([[x.mean(), 100 * x.max(), len(x)] for x in X])
    regressor = small(LSTMRegressor, n_epochs=60, lr=1e-2, hidden_size=16, **options).fit(X, y)
    assert regressor.predict(X).shape == (60, 3, *shape)
    assert regressor.score(X, y) > 0.4
    one = small(LSTMRegressor, **options).fit(X, y[:, 0])
    assert one.predict(X).shape == (60, *shape)
    if shape:
        below = (y[..., np.newaxis] < regressor.predict(X)).mean(axis=(0, 1))
        assert below[0] < 0.3
        assert below[1] > 0.7


# ------------------------------------------------------------------------------------------------------ training


def test_results_of_training(data):
    X, y = data
    classifier = small(LSTMClassifier, n_epochs=12, verbose=0).fit(X, y, eval_set=(X[:20], y[:20]))
    assert len(classifier.loss_curve_) == len(classifier.validation_scores_) == classifier.n_iter_ == 12
    assert classifier.loss_curve_[-1] < classifier.loss_curve_[0]
    best = max(classifier.validation_scores_)
    assert classifier.score(X[:20], y[:20]) == best
    assert small(LSTMClassifier).fit(X, y).validation_scores_ is None
    array, lengths = padded(X)
    again = small(LSTMClassifier, n_epochs=12).fit(X, y, eval_set=(array[:20], y[:20], lengths[:20]))
    assert again.validation_scores_ == classifier.validation_scores_


@BOTH
def test_early_stopping(data, estimator):
    X, y = data
    options = {"early_stopping": True, "n_iter_no_change": 2, "validation_fraction": 0.2, "n_epochs": 500}
    fitted = small(estimator, **options, tol=0.5).fit(X, y)
    assert fitted.history_.stopped_early
    assert fitted.n_iter_ < 40
    assert len(fitted.validation_scores_) == fitted.n_iter_
    with pytest.raises(ValueError, match=r"validation_fraction is 0.2, which of 2 samples leaves 2 to train"):
        small(estimator, **options).fit(X[:2], [0, 1])


@BOTH
def test_callbacks(data, estimator):
    X, y = data
    seen = []
    callbacks = [lambda history: seen.append(history.n_epochs), lambda history: history.n_epochs == 3]
    assert small(estimator, callbacks=callbacks).fit(X, y).n_iter_ == 3
    assert seen == [1, 2, 3]
    assert small(estimator, callbacks=callbacks[1]).fit(X, y).n_iter_ == 3


@pytest.mark.parametrize("options", [{"optimizer": name} for name in ("adamw", "rmsprop", "sgd")] + [
    {"schedule": "cosine"}, {"schedule": None}, {"schedule": lambda o, steps: clstm.schedules.StepLR(o, steps // 2)},
    {"num_layers": 2, "dropout": 0.2}, {"pooling": "last"}, {"pooling": "max", "weight_decay": 0.01},
])  # fmt: skip
def test_options(data, options):
    X, y = data
    assert small(LSTMClassifier, n_epochs=30, lr=1e-2, **options).fit(X, y).score(X, y) > 0.9


def test_class_weight(data):
    X, y = data
    rare = np.flatnonzero((y == 0) | (np.arange(60) < 12))
    X, y = [X[i][:1] * 0.2 for i in rare], y[rare]
    plain, balanced, heavy = (
        small(LSTMClassifier, n_epochs=20, class_weight=weight).fit(X, y).predict_proba(X)[:, 1].mean()
        for weight in (None, "balanced", {1: 50})
    )
    assert plain < balanced < heavy


def test_warm_start_and_partial_fit(data):
    X, y = data
    classifier = small(LSTMClassifier, warm_start=True, n_epochs=10).fit(X, y)
    before = classifier.loss_curve_[-1]
    network = classifier.network_
    weights = network.state_dict()
    classifier.fit(X, y)
    assert classifier.loss_curve_[0] < 2 * before
    assert_same(network.state_dict()["fc.weight"], weights["fc.weight"])  # the earlier network is unchanged
    with pytest.raises(ValueError, match="y holds the class 7, expected one of"):
        classifier.fit(X, y + 7)
    with pytest.raises(ValueError, match="X has 2 features, but LSTMClassifier is expecting 3"):
        classifier.fit([x[:, :2] for x in X], y)

    online = small(LSTMClassifier).partial_fit(X[:20], y[:20], classes=[0, 1, 2])
    for _ in range(40):
        online.partial_fit(X, y)
    assert online.n_iter_ == len(online.loss_curve_) == 41
    assert online.classes_.tolist() == [0, 1, 2]
    assert online.score(X, y) > 0.9
    regressor = small(LSTMRegressor, n_epochs=1).fit(X, y)
    for _ in range(30):  # with lr as learning rate, not with the 0 that the schedule ended at
        regressor.partial_fit(X, y)
    assert regressor.score(X, y) > 0.5


@BOTH
def test_failed_fit_changes_nothing(data, estimator):
    X, y = data
    fitted = small(estimator).fit(X, y)
    before = dict(vars(fitted))
    expected = fitted.predict(X)
    for call in (
        lambda: fitted.fit([x[:, :2] for x in X], y[:-1]),
        lambda: fitted.set_params(lr=1e38).partial_fit(X, y),
    ):
        with pytest.raises((ValueError, FloatingPointError)):
            call()
        fitted.set_params(lr=before["lr"])
        assert vars(fitted) == before
        assert_same(fitted.predict(X), expected)


@BOTH
def test_same_bits_with_any_number_of_threads(data, estimator):
    X, y = data
    results = [small(estimator, num_threads=n).fit(X, y).predict(X) for n in (1, 2, None)]
    for result in results[1:]:
        assert_same(result, results[0])


# --------------------------------------------------------------------------------------------- model selection


@pytest.mark.parametrize("backend", ["threading", "loky"])
def test_cross_validation_of_ragged_lists(data, backend):
    X, y = data
    pipeline = make_pipeline(FunctionTransformer(lambda X: [x[:, :2] for x in X]), small(LSTMClassifier))
    if backend == "loky":
        pipeline = small(LSTMClassifier)  # lambdas can't be pickled
    expected = cross_val_score(pipeline, X, y, cv=3)
    with parallel_config(backend, n_jobs=2):
        np.testing.assert_array_equal(cross_val_score(pipeline, X, y, cv=3), expected)


def test_grid_search(data):
    X, y = data
    search = GridSearchCV(small(LSTMClassifier), {"hidden_size": [1, 6], "pooling": ["last", "mean"]}, cv=2)
    with parallel_config("threading", n_jobs=2):
        search.fit(X, y)
    assert search.best_estimator_.predict(X).shape == (60,)


def test_one_thread_inside_joblib_threads(data, monkeypatch):
    from joblib import Parallel, delayed

    X, y = data
    seen = []
    callback = lambda history: seen.append(threads.resolve(None))  # noqa: E731
    estimator = small(LSTMClassifier, n_epochs=1, callbacks=callback)
    before = threads.get_num_threads()
    threads.set_num_threads(2)
    try:
        Parallel(2, backend="threading")(delayed(clone(estimator).fit)(X, y) for _ in range(2))
        assert seen == [1, 1]
        estimator.fit(X, y)
        thread = threading.Thread(target=estimator.fit, args=(X, y))
        thread.start()
        thread.join()
        assert seen[2] == seen[3] == threads.resolve(2)
    finally:
        threads.set_num_threads(None)
    assert threads.get_num_threads() == before


def test_metadata_routing(data):
    X, y = data
    array, lengths = padded(X)
    expected = cross_val_score(small(LSTMClassifier), X, y, cv=3)
    with sklearn.config_context(enable_metadata_routing=True):
        classifier = small(LSTMClassifier).set_fit_request(lengths=True).set_score_request(lengths=True)
        for estimator in (classifier, pickle.loads(pickle.dumps(classifier)), clone(classifier)):
            scores = cross_val_score(estimator, array, y, cv=3, params={"lengths": lengths})
            np.testing.assert_array_equal(scores, expected)


# -------------------------------------------------------------------------------------------- files and streams


@pytest.mark.parametrize("model", [LSTMClassifier(), LSTMRegressor(loss="quantile", quantile=(0.2, 0.5))])
def test_arguments_set_after_fit_are_for_the_next_one(data, model, tmp_path):
    X, y = data
    model = clone(model).set_params(hidden_size=6, n_epochs=2).fit(X, y)
    expected = model.predict(X)
    model.set_params(hidden_size=9, num_layers=2, dtype="float64")
    if isinstance(model, LSTMRegressor):
        before = model.score(X, y)
        assert model.set_params(loss="mse").score(X, y) == before
    for twin in (model, pickle.loads(pickle.dumps(model)), copy.copy(model)):
        assert_same(twin.predict(X), expected)
        twin.save(tmp_path / "model.safetensors")
        loaded = type(model).load(tmp_path / "model.safetensors")
        assert (loaded.hidden_size, loaded.dtype) == (6, "float32")
        assert_same(loaded.predict(X), expected)
        with pytest.raises(ValueError, match="hidden_size is 9, but what was learnt before, and is to be continued"):
            twin.partial_fit(X, y)


@pytest.mark.parametrize(
    "model",
    [
        LSTMClassifier(class_weight={0: 1.0, 1: 2.0}, random_state=np.random.RandomState(0), dtype=np.float64),
        LSTMClassifier(callbacks=[print], schedule=None, num_layers=2),
        LSTMRegressor(loss="quantile", quantile=(0.2, 0.5)),
        LSTMRegressor(dtype=np.dtype("float32")),
    ],
)
def test_files_and_copies(data, model, tmp_path, capsys):
    X, y = data
    model = clone(model).set_params(hidden_size=6, n_epochs=2).fit(X, y)
    model.save(tmp_path / "model.safetensors")
    loaded = type(model).load(tmp_path / "model.safetensors")
    for twin in (loaded, pickle.loads(pickle.dumps(model)), copy.copy(model), copy.deepcopy(model)):
        assert_same(twin.predict(X), model.predict(X))
        assert twin.loss_curve_ == model.loss_curve_
        assert twin.n_features_in_ == 3
        twin.partial_fit(X, y)
    if model.get_params().get("class_weight"):
        assert loaded.class_weight == {0: 1.0, 1: 2.0}
    with pytest.raises(ModelFileError, match="it holds a"):
        (LSTMRegressor if isinstance(model, LSTMClassifier) else LSTMClassifier).load(tmp_path / "model.safetensors")


@pytest.mark.parametrize("labels", [[True, False], ["a", "b"], [0.0, 1.0], np.array(["x", "y"], object)])
def test_labels_keep_their_dtype(data, labels, tmp_path):
    X, y = data
    model = small(LSTMClassifier, n_epochs=1).fit(X, np.asarray(labels)[y])
    model.save(tmp_path / "model.safetensors")
    loaded = LSTMClassifier.load(tmp_path / "model.safetensors")
    assert loaded.classes_.dtype == model.classes_.dtype
    assert_same(loaded.predict(X), model.predict(X))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config, arrays: config.update(kind="pictures"), "its kind is 'pictures'"),
        (lambda config, arrays: config.update(n_features_in=4), "its n_features_in is 4"),
        (lambda config, arrays: config.update(classes=[1, 0]), "aren't sorted"),
        (lambda config, arrays: config.update(classes=[0, {}]), "aren't strings or numbers"),
        (lambda config, arrays: config.update(classes_dtype="V8"), "aren't a list"),
        (lambda config, arrays: config.update(per_step=1), "per_step is 1"),
        (lambda config, arrays: config.pop("history"), "it lacks 'history'"),
        (lambda config, arrays: config["params"].update(num_layers=10**12), "which isn't what its params ask for"),
        (lambda config, arrays: arrays.pop("input.mean"), "it lacks 'input.mean'"),
        (lambda config, arrays: arrays.update({"input.scale": np.zeros(3)}), "a scale isn't above 0"),
        (lambda config, arrays: arrays.update({"input.scale": np.ones(4)}), "input.scale has shape"),
        (lambda config, arrays: arrays.update({"fc.bias": np.ones(9, np.float32)}), "fc.bias has shape"),
    ],
)
def test_bad_files(data, tmp_path, change, message):
    from clstm.files import load_model, save_model

    path = tmp_path / "model.safetensors"
    small(LSTMClassifier, n_epochs=1).fit(*data).save(path)
    content = load_model(path)
    change(content.config, content.arrays)
    save_model(path, content.kind, content.config, content.arrays)
    with pytest.raises(ModelFileError, match=message):
        LSTMClassifier.load(path)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_stream_returns_the_prediction_for_each_prefix(data, pooling):
    X, y = data
    classifier = small(LSTMClassifier, bidirectional=False, pooling=pooling, num_layers=2).fit(X, y)
    x = X[0]
    expected = classifier.predict_proba([x[: stop + 1] for stop in range(len(x))])
    stream = classifier.stream()
    first = stream.step(x[0])
    assert first.shape == (2,)
    twin = copy.copy(stream)
    np.testing.assert_allclose([first, *stream.run(x[1:])], expected, rtol=1e-5)
    np.testing.assert_allclose([first, *map(twin.step, x[1:])], expected, rtol=1e-5)
    twin.reset()
    np.testing.assert_allclose(twin.run(x), expected, rtol=1e-5)

    both = classifier.stream(batch_size=2)
    both.run(np.stack([x[:3], x[:3]]))
    both.reset([True, False])
    results = both.step(np.stack([x[0], x[3]]))
    np.testing.assert_allclose(results, expected[[0, 3]], rtol=1e-5)


def test_streams_of_other_input(data):
    X, y = data
    steps = small(LSTMRegressor, bidirectional=False).fit(X, [x[:, :2] for x in X])
    stream = steps.stream()
    expected = steps.predict(X[:1])[0]
    steps.fit(X, y)  # the stream continues with what was learnt before
    np.testing.assert_allclose(stream.run(X[0]), expected, rtol=1e-5)

    options = {"bidirectional": False, "embedding_dim": 4}
    texts = small(LSTMClassifier, **options).fit(["up the hill", "down it"] * 5, [1, 0] * 5)
    np.testing.assert_allclose(texts.stream().run(["up", "the"])[-1], texts.predict_proba(["up the"])[0], rtol=1e-5)
    ids = small(LSTMClassifier, **options).fit([[1, 2], [0, 3, 3]] * 5, [1, 0] * 5)
    np.testing.assert_allclose(ids.stream().run([1, 3])[-1], ids.predict_proba([[1, 3]])[0], rtol=1e-5)

    for call, error, message in (
        (lambda: small(LSTMClassifier).fit(X, y).stream(), ValueError, "bidirectional is True"),
        (lambda: stream.step(X[0][0, :2]), ValueError, "x has shape"),
        (lambda: stream.step(X[0][0] * np.nan), ValueError, "x contains NaN or infinity"),
        (lambda: texts.stream().step("up hill"), ValueError, "expected one word a step"),
        (lambda: ids.stream().step(9), ValueError, "x holds the id 9"),
    ):
        with pytest.raises(error, match=message):
            call()


# --------------------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ([np.zeros((3, 2))], ValueError, "X has 2 features, but LSTMClassifier is expecting 3 features"),
        ([np.zeros((3, 3)), np.zeros((2, 2))], ValueError, r"X\[1\] has 2 features, expected 3, as X\[0\] has"),
        ([np.zeros((3, 3)), np.array([[0, 0, np.nan]])], ValueError, r"X\[1\] contains NaN at step 0"),
        ([np.full((3, 3), np.inf)], ValueError, r"X\[0\] contains infinity at step 0"),
        ([np.zeros((3, 3)), np.zeros((0, 3))], ValueError, r"X\[1\] has no steps"),
        (["a text"], ValueError, "X holds strings, expected sequences of floats, as fit was given"),
        ([[1, 2]], ValueError, "X holds lists of token ids, expected sequences of floats"),
        (np.zeros((4, 5)), ValueError, r"X holds an array \(n, time\), expected sequences of floats"),
        ("a text", TypeError, "X is a single string"),
        ([[["a"] * 3]], TypeError, r"X\[0\] has dtype <U1, expected numbers"),
        (np.zeros((0, 4, 3)), ValueError, "X holds no sequences"),
        (np.zeros((2, 4, 3), complex), TypeError, "X has dtype complex128"),
    ],
)
def test_wrong_sequences(data, X, error, message):
    classifier = small(LSTMClassifier, n_epochs=1).fit(*data)
    with pytest.raises(error, match=message):
        classifier.predict(X)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"y": [0] * 60}, ValueError, "y holds one class, 0, expected two or more"),
        ({"y": [0, 1]}, ValueError, "inconsistent numbers of samples"),
        ({"y": [np.zeros(2, int)] * 60}, ValueError, r"y\[0\] has 2 steps, but X\[0\] has"),
        ({"sample_weight": [1.0]}, ValueError, r"sample_weight has shape \(1,\), expected \(60,\)"),
        ({"sample_weight": [0.0] * 60}, ValueError, "sample_weight is zero for every sequence"),
        ({"sample_weight": [-1.0] * 60}, ValueError, "negative or not finite"),
        ({"sample_weight": ["a"] * 60}, TypeError, "sample_weight has dtype"),
        ({"lengths": [3] * 60}, ValueError, "lengths is given, but X is a list"),
        ({"eval_set": 3}, TypeError, "eval_set is int, expected"),
        ({"eval_set": (["a"], [0])}, ValueError, "X holds strings, expected sequences"),
    ],
)
def test_wrong_arguments_of_fit(data, options, error, message):
    X, y = data
    with pytest.raises(error, match=message):
        small(LSTMClassifier).fit(X, **{"y": y} | options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"hidden_size": 0}, ValueError, "hidden_size is 0"),
        ({"n_epochs": 1.5}, TypeError, "n_epochs is 1.5"),
        ({"bidirectional": 1}, TypeError, "bidirectional is 1"),
        ({"pooling": "sum"}, ValueError, "pooling is 'sum', expected one of"),
        ({"optimizer": "lbfgs"}, ValueError, "optimizer is 'lbfgs', expected one of 'adam'"),
        ({"schedule": "linear"}, ValueError, "schedule is 'linear'"),
        ({"dropout": 2}, ValueError, "dropout is 2"),
        ({"clip_norm": 0}, ValueError, "clip_norm is 0"),
        ({"validation_fraction": 0}, ValueError, "validation_fraction is 0"),
        ({"dtype": "float16"}, TypeError, "dtype is 'float16'"),
        ({"random_state": -1}, ValueError, "random_state is -1"),
        ({"callbacks": [3]}, TypeError, "callbacks holds int"),
        ({"class_weight": "even"}, ValueError, "class_weight is 'even'"),
        ({"class_weight": {0: -1}}, ValueError, r"class_weight\[0\] is -1"),
    ],
)
def test_wrong_arguments(data, options, error, message):
    with pytest.raises(error, match=message):
        small(LSTMClassifier, **options).fit(*data)


@pytest.mark.parametrize(
    ("options", "y", "message"),
    [
        ({"loss": "l1"}, None, "loss is 'l1'"),
        ({"quantile": [0.5, 1]}, None, "quantile is 1"),
        ({"delta": 0}, None, "delta is 0"),
        ({}, [np.nan] * 60, "Input y contains NaN"),
    ],
)
def test_wrong_arguments_of_the_regressor(data, options, y, message):
    with pytest.raises(ValueError, match=message):
        small(LSTMRegressor, **options).fit(data[0], data[1] if y is None else y)


@pytest.mark.subprocess
def test_without_scikit_learn_the_error_names_the_extra():
    code = "import sys; sys.modules['sklearn'] = None; import clstm; clstm.LSTMClassifier"
    result = run_python(code, check=False)
    assert "need scikit-learn 1.6 or newer: pip install clstm-cpu[sklearn]" in result.stderr.splitlines()[-1]
