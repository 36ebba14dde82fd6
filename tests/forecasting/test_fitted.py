"""What `fit` learnt is one frozen object: later arguments, failed calls, files, copies and pickles don't change it."""

import copy
import dataclasses
import inspect
import pickle

import numpy as np
import pytest

from clstm import LSTMForecaster
from clstm.estimators.base import NotFittedError
from clstm.files import ModelFileError, load_model, save_model
from clstm.forecasting import forecaster as forecaster_module

START = np.datetime64("2024-01-01")
Y = 10 + np.sin(np.arange(120) * 2 * np.pi / 7) + np.random.default_rng(0).standard_normal(120) / 9
X = np.cos(np.arange(120))[:, np.newaxis]

PARAMS = {
    "hidden_size": 4,
    "num_layers": 1,
    "dropout": 0.1,
    "output": "quantile",
    "quantiles": [0.1, 0.5, 0.9],
    "season_length": [7],
    "calendar": ["weekday"],
    "freq": "D",
    "standardize": True,
    "segment_length": 16,
    "n_epochs": 2,
    "batch_size": 4,
    "lr": 3e-3,
    "weight_decay": 0.1,
    "clip_norm": 1.0,
    "ema_decay": 0.9,
    "patience": None,
    "validation_fraction": 0.1,
    "n_samples": 16,
    "dtype": "float32",
    "num_threads": 1,
    "seed": 0,
    "verbose": 0,
}

# Another legal value for each argument
OTHER = {
    "hidden_size": 6,
    "num_layers": 2,
    "dropout": 0.5,
    "output": "normal",
    "quantiles": [0.2, 0.4, 0.6, 0.8],
    "season_length": (2, 3),
    "calendar": ["weekday", "yearday"],
    "freq": "2D",
    "standardize": False,
    "segment_length": 9,
    "n_epochs": 3,
    "batch_size": 2,
    "lr": 1e-2,
    "weight_decay": 0.2,
    "clip_norm": 1e-3,
    "ema_decay": None,
    "patience": 1,
    "validation_fraction": 0.3,
    "n_samples": 8,
    "dtype": np.float64,
    "num_threads": 2,
    "seed": 1,
    "verbose": 1,
}

# An illegal value for each argument
WRONG = {
    "hidden_size": 0,
    "num_layers": 1.5,
    "dropout": 2,
    "output": "cauchy",
    "quantiles": [0.5],
    "season_length": [7, 0],
    "calendar": ["moon"],
    "freq": "fortnight",
    "standardize": "yes",
    "segment_length": 0,
    "n_epochs": 0,
    "batch_size": None,
    "lr": -1,
    "weight_decay": np.nan,
    "clip_norm": -1,
    "ema_decay": 1.5,
    "patience": 0,
    "validation_fraction": 1,
    "n_samples": 1,
    "dtype": "int8",
    "num_threads": 0,
    "seed": -1,
    "verbose": -1,
}


def fit(**params):
    forecaster = LSTMForecaster(**PARAMS | params)
    return forecaster.fit(Y[:100], X[:100], dates=START).calibrate(Y[:110], X[:110], h=3, n_windows=9)


def observe(forecaster, path):
    """Return what can be seen of a fitted forecaster, as arrays and strings by name."""
    forecast = forecaster.predict(3, X[:3], level=[50, 90])
    backtests = {
        f"backtest {size}": forecaster.backtest(Y, X, h=2, n_windows=4, level=80, calibration_windows=size)
        for size in (None, 5)
    }
    trace = forecaster.trace(Y, X)
    forecaster.save(path)
    seen = {
        "predict": forecaster.predict(3, X[:3]),
        "quantiles": forecaster.predict_quantiles(3, [0.2, 0.7], X[:3]),
        "sample": forecaster.sample(5, 3, X[:3], seed=0),
        "dates": forecast.dates,
        "trace": np.concatenate([trace.y, trace.state[0].reshape(1, -1)]),
        "file": path.read_bytes(),
        "summary": str(forecaster.summary()),
        "frequency": forecaster.frequency_.name,
        "calendar": str(forecaster.calendar_),
        "form": str(forecaster.form_),
        "history": str(forecaster.history_),
        "epochs": str(forecaster.n_iter_),
        "updated": copy.copy(forecaster).update(Y[100:], X[100:]).predict(2, X[:2]),
        "pickled": pickle.loads(pickle.dumps(forecaster)).predict(3, X[:3]),
        "copied": copy.deepcopy(forecaster).sample(5, 3, X[:3], seed=0),
    }
    for name, each in {"forecast": forecast, **backtests}.items():
        seen |= {f"{name} {level}": np.stack([each.lower[level], each.upper[level]]) for level in each.lower}
        seen |= {f"{name} point": each.point}
    return seen


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(found[name], value, err_msg=name)
        else:
            assert found[name] == value, name


@pytest.fixture(scope="module")
def fitted():
    return fit()


@pytest.fixture(scope="module")
def before(fitted, tmp_path_factory):
    return observe(fitted, tmp_path_factory.mktemp("before") / "model")


def test_the_tables_have_every_argument():
    arguments = set(inspect.signature(LSTMForecaster).parameters)
    assert arguments == set(PARAMS) == set(OTHER) == set(WRONG) == set(LSTMForecaster._checks)


# ------------------------------------------------------------------------------------------------------ arguments


@pytest.mark.parametrize("name", sorted(set(OTHER) - {"n_samples"}))
def test_an_argument_set_after_fit_counts_from_the_next_fit(fitted, before, tmp_path, name, capsys):
    forecaster = copy.copy(fitted).set_params(**{name: OTHER[name]})
    assert_equal(observe(forecaster, tmp_path / "model"), before)
    assert forecaster.get_params()[name] == OTHER[name]
    assert pickle.loads(pickle.dumps(forecaster)).get_params()[name] == OTHER[name]
    forecaster.fit(Y[:100], X[:100], dates=START)
    forecaster.save(tmp_path / "again")
    again = LSTMForecaster(**PARAMS | {name: OTHER[name]}).fit(Y[:100], X[:100], dates=START)
    again.save(tmp_path / "from scratch")
    found, expected = (load_model(tmp_path / file) for file in ("again", "from scratch"))
    assert_equal(dict(found.arrays), dict(expected.arrays))
    assert found.config["params"] == expected.config["params"]


def test_all_arguments_set_after_fit_count_from_the_next_fit(fitted, before, tmp_path):
    forecaster = copy.copy(fitted).set_params(**OTHER | {"n_samples": PARAMS["n_samples"]})
    assert_equal(observe(forecaster, tmp_path / "model"), before)


def test_the_number_of_samples_counts_at_once(fitted, before, tmp_path):
    forecaster = copy.copy(fitted).set_params(n_samples=8)
    found = observe(forecaster, tmp_path / "model")
    by_samples = {"forecast 50", "forecast 90", "quantiles", "backtest None 80", "backtest 5 80"}
    for name in by_samples:
        assert (found[name] != before[name]).any(), name
    others = before.keys() - by_samples
    assert_equal({name: found[name] for name in others}, {name: before[name] for name in others})


def test_a_list_changed_after_fit_changes_nothing(before, tmp_path):
    quantiles, season_length, calendar = [0.1, 0.5, 0.9], [7], ["weekday"]
    forecaster = fit(quantiles=quantiles, season_length=season_length, calendar=calendar)
    quantiles[0], season_length[0] = 0.3, 2
    calendar.append("yearday")
    found = observe(forecaster, tmp_path / "model")
    for name in before.keys() - {"file", "history"}:  # which have the times of the epochs
        assert_equal({name: found[name]}, {name: before[name]})


# ---------------------------------------------------------------------------------------------------- failed calls


def test_a_fit_with_a_wrong_argument_changes_nothing(fitted, before, tmp_path):
    forecaster = copy.copy(fitted)
    for name, value in WRONG.items():
        forecaster.set_params(**{name: value})
        with pytest.raises((TypeError, ValueError), match=name):
            forecaster.fit(Y[:90], X[:90], dates=START)
        forecaster.set_params(**{name: PARAMS[name]})
    assert_equal(observe(forecaster, tmp_path / "model"), before)


def test_a_fit_with_wrong_series_changes_nothing(fitted, before, tmp_path):
    forecaster = copy.copy(fitted)
    for data in [(Y[:4], X[:4]), (Y, X[:9]), (Y * np.nan, X), (np.stack([Y, Y], axis=1), X[:9]), ("series",)]:
        with pytest.raises((TypeError, ValueError)):
            forecaster.fit(*data)
    assert_equal(observe(forecaster, tmp_path / "model"), before)


def test_a_training_that_diverges_changes_nothing(fitted, before, tmp_path):
    forecaster = copy.copy(fitted).set_params(lr=1e30, clip_norm=None)
    with pytest.raises(FloatingPointError):
        forecaster.fit(Y[:90], X[:90], dates=START)
    assert_equal(observe(forecaster, tmp_path / "model"), before)


@pytest.mark.parametrize(
    ("function", "call"),
    [
        ("read_on", lambda forecaster: forecaster.update(Y[100:], X[100:])),
        ("conformity_scores", lambda forecaster: forecaster.calibrate(Y, X, h=2, n_windows=5)),
    ],
)
def test_an_update_or_calibration_that_fails_late_changes_nothing(
    fitted, before, tmp_path, monkeypatch, function, call
):
    forecaster, work = copy.copy(fitted), getattr(forecaster_module, function)

    def fail_at_the_end(*arguments):
        work(*arguments)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(forecaster_module, function, fail_at_the_end)
        with pytest.raises(MemoryError):
            call(forecaster)
    assert_equal(observe(forecaster, tmp_path / "model"), before)


def test_a_calibration_of_too_few_values_changes_nothing(fitted, before, tmp_path):
    forecaster = copy.copy(fitted)
    with pytest.raises(ValueError, match=r"y has 9 values, expected 17 or more for 7 windows of 3 steps"):
        forecaster.calibrate(Y[:9], X[:9], h=3, n_windows=7)
    assert_equal(observe(forecaster, tmp_path / "model"), before)


# ---------------------------------------------------------------------------------------------------- frozen object


def test_what_was_learnt_is_read_only(fitted):
    with pytest.raises(dataclasses.FrozenInstanceError):
        fitted._fitted.scores = None
    with pytest.raises(TypeError):
        fitted._fitted.params["hidden_size"] = 3
    for name in ("network_", "history_", "n_iter_", "calendar_", "frequency_", "form_"):
        with pytest.raises(AttributeError):
            setattr(fitted, name, None)


def test_update_and_calibrate_replace_it_and_keep_the_rest(fitted):
    forecaster, learnt = copy.copy(fitted), fitted._fitted
    forecaster._fitted = learnt
    forecaster.update(Y[100:110], X[100:110]).calibrate(Y, X, h=2, n_windows=4)
    assert fitted._fitted is learnt
    assert forecaster._fitted.network is learnt.network
    assert forecaster._fitted.cutoff.n_values.tolist() == [110]
    assert learnt.cutoff.n_values.tolist() == [100]
    assert (len(learnt.scores), len(forecaster._fitted.scores)) == (3, 2)


def test_nothing_is_there_before_fit():
    for name in ("network_", "history_", "n_iter_", "calendar_", "frequency_", "form_"):
        assert not hasattr(LSTMForecaster(), name)
        with pytest.raises(NotFittedError, match="LSTMForecaster isn't fitted yet"):
            getattr(LSTMForecaster(), name)


# ------------------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("output", ["normal", "student", "quantile"])
def test_files_copies_and_pickles_forecast_and_update_alike(tmp_path, output):
    options = PARAMS | {"output": output, "season_length": (7,), "dtype": np.float64, "n_samples": 32}
    days = START + np.arange(100)
    forecaster = LSTMForecaster(**options).fit(Y[:100], dates=days)
    forecaster.calibrate(Y[:100], h=4, n_windows=20)
    forecaster.save(tmp_path / "model")
    others = [
        LSTMForecaster.load(tmp_path / "model"),
        pickle.loads(pickle.dumps(forecaster)),
        copy.deepcopy(forecaster),
    ]
    expected = copy.copy(forecaster).update(Y[100:]).predict(4, level=[80])
    for other in others:
        forecast = other.update(Y[100:]).predict(4, level=[80])
        np.testing.assert_array_equal(forecast.point, expected.point)
        np.testing.assert_array_equal(forecast.lower[80], expected.lower[80])
        np.testing.assert_array_equal(forecast.dates, expected.dates)
        assert other.history_ == forecaster.history_


def test_broken_files_are_refused(tmp_path, fitted):
    fitted.save(tmp_path / "model")
    content = load_model(tmp_path / "model")
    form, history = content.config["form"], content.config["history"]

    def refused(config=None, arrays=None, without=()):
        changed = content.config | (config or {})
        for name in without:
            changed.pop(name)
        save_model(tmp_path / "broken", "LSTMForecaster", changed, content.arrays | (arrays or {}))
        with pytest.raises(ModelFileError, match="can't be loaded"):
            LSTMForecaster.load(tmp_path / "broken")

    refused({"frequency": "fortnight"})
    refused({"frequency": None})
    refused({"frequency": "7"})  # a step of integers, but the first date is a date
    refused({"starts": [3]})
    refused({"frequency": None, "starts": [None]})  # and there is a calendar
    refused({"calendar": ["moon"]})
    refused({"calendar": None})
    refused({"starts": []})
    refused({"starts": ["yesterday"]})
    refused({"form": {**form, "columns": 2}})
    refused({"form": {**form, "columns": "1"}})
    refused({"form": {**form, "more": 1}})
    refused({"form": {"frame": True}})
    refused({"history": {**history, "more": 1}})
    refused(without=["history"])
    refused(without=["form"])
    refused(arrays={"tails": content.arrays["tails"][:, 1:]})
    refused(arrays={"h": content.arrays["h"][:, :, 1:]})
    refused(arrays={"more": content.arrays["h"]})
    refused(arrays={"seen": content.arrays["seen"].astype(float)})
    refused(arrays={"scores": content.arrays["scores"][0]})
    refused(arrays={"network.fc.bias": np.zeros(4, np.float32)})
