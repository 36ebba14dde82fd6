import copy
import csv
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from clstm import LSTMForecaster
from clstm._core import backend
from clstm.estimators.base import NotFittedError
from clstm.forecasting.results import Backtest, Forecast

SERIES = Path(__file__).resolve().parents[2] / "examples" / "data" / "series"
TINY = {
    "hidden_size": 5,
    "n_epochs": 2,
    "segment_length": 16,
    "n_samples": 32,
    "seed": 0,
    "verbose": 0,
    "num_threads": 1,
}


def read(name, column):
    with open(SERIES / name, newline="") as file:
        return np.array([float(row[column]) for row in csv.DictReader(file)])


@pytest.fixture(scope="module")
def births():
    return read("us_births_daily_1969_1988.csv", "births")[:1500]


@pytest.fixture(scope="module")
def temperature():
    return read("seattle_temperature_hourly_2010.csv", "temp")


@pytest.fixture(scope="module")
def sunspots():
    lines = (SERIES / "sunspots_monthly.dat").read_text().splitlines()
    return np.array([float(value) for line in lines if line[:1].isdigit() for value in line.split()[1:]])


DAYS = np.datetime64("1969-01-01") + np.arange(3000)


@pytest.fixture(scope="module")
def fitted(births):
    """Trained on more than two years of births, with dates."""
    forecaster = LSTMForecaster(hidden_size=16, season_length=7, n_epochs=60, seed=0, verbose=0, num_threads=1)
    return forecaster.fit(births[:1000], dates=DAYS[:1000])


@pytest.fixture(scope="module")
def two_columns(sunspots):
    """Two columns, exogenous variables, differences of differences, two layers, float64."""
    y, X = np.stack([sunspots[:160], sunspots[3:163] ** 0.5], axis=1), np.sin(np.arange(300) / 3)[:, None]
    forecaster = LSTMForecaster(**TINY, season_length=[1, 4], num_layers=2, dtype=np.float64, output="normal")
    return forecaster.fit(y[:120], X[:120]), y, X


# ------------------------------------------------------------------------------------------------------- learning


def test_births_are_forecast_better_than_by_the_value_a_week_before(fitted, births):
    assert fitted.calendar_ == ["weekday", "yearday"]
    assert fitted.frequency_.name == "D"
    backtest = fitted.backtest(births, h=1, n_windows=500, level=[80, 95])
    naive = np.abs(births[-500:] - births[-507:-7]).mean()
    assert backtest.mean_absolute_error < 0.9 * naive
    assert 0.7 < backtest.coverage(80) < 0.9 < backtest.coverage(95)
    assert fitted.history_.best_epoch
    assert fitted.n_iter_ == 60


@pytest.mark.exhaustive  # trains on 2,000 hours
def test_temperature_a_day_ahead_with_calibrated_intervals(temperature):
    training, h = temperature[:2000], 24
    forecaster = LSTMForecaster(hidden_size=12, season_length=24, n_epochs=150, seed=0, verbose=0, num_threads=1)
    forecaster.fit(training).calibrate(training, h=h, n_windows=170)
    backtest = forecaster.backtest(temperature[:2400], h=h, n_windows=376, level=[80])
    yesterday = np.stack([temperature[cut - h : cut] for cut in backtest.cutoffs])
    now = temperature[backtest.cutoffs - 1][:, np.newaxis]
    assert backtest.mean_absolute_error < 0.7 * np.abs(backtest.actual - yesterday).mean()
    assert backtest.mean_absolute_error < 0.1 * np.abs(backtest.actual - now).mean()
    assert 0.7 < backtest.coverage(80) < 0.9


@pytest.mark.parametrize("output", ["normal", "student", "quantile"])
def test_every_output_learns_a_noisy_wave(output):
    generator = np.random.default_rng(0)
    y = np.sin(np.arange(700) * 0.5) + 0.2 * generator.standard_normal(700)
    forecaster = LSTMForecaster(
        output=output, hidden_size=12, dropout=0, lr=1e-2, n_epochs=300, seed=0, verbose=0, num_threads=1
    )
    backtest = forecaster.fit(y[:500]).backtest(y, h=3, n_windows=198, level=[80, 95])
    assert backtest.mean_absolute_error < 0.25  # with 0.16 from the noise alone
    assert 0.7 < backtest.coverage(80) < 0.9 < backtest.coverage(95)


def test_exogenous_variables_improve_what_the_past_cannot_predict():
    generator = np.random.default_rng(0)
    X = generator.standard_normal((600, 1))
    y = 3 * X[:, 0] + 0.1 * generator.standard_normal(600)
    options = {"hidden_size": 4, "n_epochs": 200, "lr": 1e-2, "seed": 0, "verbose": 0, "num_threads": 1}
    informed = LSTMForecaster(**options).fit(y[:500], X[:500]).backtest(y, X, h=2, n_windows=99)
    assert informed.mean_absolute_error < 0.5 < 1.5 < np.abs(y).mean()


@pytest.mark.smoke
def test_each_series_of_a_list_has_its_own_scale():
    waves = [10.0**k * np.sin(np.arange(k, k + 90 - 7 * k)) + 5 * k for k in range(3)]
    forecaster = LSTMForecaster(
        hidden_size=12, n_epochs=400, lr=1e-2, validation_fraction=0, dropout=0, seed=0, verbose=0
    )
    forecasts = forecaster.fit([wave[:-4] for wave in waves]).predict(4)
    for index, (forecast, wave) in enumerate(zip(forecasts, waves, strict=True)):
        assert np.abs(forecast - wave[-4:]).max() < 0.3 * 10**index


# ------------------------------------------------------------------------------------------------------- backtest


def test_backtest_equals_reading_every_prefix_separately(fitted, births):
    h, levels = 9, [80, 95]
    backtest = fitted.backtest(births[:1200], h=h, n_windows=12, step_size=5, level=levels)
    assert isinstance(backtest, Backtest)
    assert backtest.cutoffs.tolist() == list(range(1136, 1192, 5))
    for window, cut in enumerate(backtest.cutoffs):
        separate = fitted.backtest(births[: cut + h], h=h, level=levels)
        np.testing.assert_array_equal(backtest.actual[window], births[cut : cut + h])
        np.testing.assert_array_equal(backtest.dates[window], DAYS[cut : cut + h])
        np.testing.assert_allclose(backtest.point[window], separate.point[0], rtol=1e-5)
        for level in levels:
            np.testing.assert_allclose(backtest.lower[level][window], separate.lower[level][0], rtol=1e-5)
            np.testing.assert_allclose(backtest.upper[level][window], separate.upper[level][0], rtol=1e-5)
    moved = copy.copy(fitted).update(births[1000:1136]).predict(h, level=levels)
    np.testing.assert_allclose(moved.point, backtest.point[0], rtol=1e-5)
    np.testing.assert_allclose(moved.upper[95], backtest.upper[95][0], rtol=1e-5)


def test_a_thousand_cutoffs_of_a_year(temperature):
    forecaster = LSTMForecaster(**TINY, season_length=24).fit(temperature[:500])
    backtest = forecaster.backtest(temperature, h=24, n_windows=1000)
    assert backtest.point.shape == (1000, 24)
    for window in (0, 499, 999):
        cut = backtest.cutoffs[window]
        prefix = forecaster.backtest(temperature[: cut + 24], h=24)
        np.testing.assert_allclose(backtest.point[window], prefix.point[0], atol=1e-5, rtol=1e-5)


def test_backtest_of_several_columns_and_exogenous_variables(two_columns):
    forecaster, y, X = two_columns
    backtest = forecaster.backtest(y, X[:160], h=3, n_windows=5, step_size=4, level=[90])
    assert backtest.point.shape == backtest.lower[90].shape == backtest.actual.shape == (5, 3, 2)
    for window, cut in enumerate(backtest.cutoffs):
        moved = copy.copy(forecaster).update(y[120:cut], X[120:cut])
        forecast = moved.predict(3, X[cut : cut + 3], level=90)
        np.testing.assert_allclose(backtest.point[window], forecast.point, rtol=1e-9)
        np.testing.assert_allclose(backtest.lower[90][window], forecast.lower[90], rtol=1e-9)


def test_backtest_of_series_of_unequal_length(sunspots):
    series = [sunspots[:100], sunspots[300:360], sunspots[500:570]]
    forecaster = LSTMForecaster(**TINY).fit(series)
    backtests = forecaster.backtest(series, h=2, n_windows=4, step_size=3)
    for index, one in enumerate(series):
        for window, cut in enumerate(backtests[index].cutoffs):
            prefixes = [other if k != index else other[: cut + 2] for k, other in enumerate(series)]
            separate = forecaster.backtest(prefixes, h=2)[index]
            np.testing.assert_allclose(backtests[index].point[window], separate.point[0], rtol=1e-5)
            np.testing.assert_array_equal(backtests[index].actual[window], one[cut : cut + 2])


def test_a_calibrated_backtest_needs_no_level(sunspots):
    forecaster = LSTMForecaster(**TINY).fit(sunspots[:60])
    options = {"h": 3, "n_windows": 4, "calibration_windows": 5}
    points, intervals = (forecaster.backtest(sunspots[:100], **options, level=level) for level in (None, 80))
    assert (points.lower, points.upper) == ({}, {})
    np.testing.assert_array_equal(points.point, intervals.point)
    np.testing.assert_array_equal(points.cutoffs, intervals.cutoffs)


def test_coverage_of_another_level_is_refused(fitted, births):
    with pytest.raises(ValueError, match=r"level is 90, expected one of 80"):
        fitted.backtest(births, h=1, level=80).coverage(90)


# ------------------------------------------------------------------------------------------------------ forecasts


def test_forecasts_have_the_form_of_the_series(fitted, two_columns):
    forecast = fitted.predict(3, level=[80, 95])
    assert isinstance(forecast, Forecast)
    np.testing.assert_array_equal(forecast.point, fitted.predict(3))
    np.testing.assert_array_equal(forecast.dates, DAYS[1000:1003])
    assert (forecast.lower[95] < forecast.lower[80]).all()
    assert (forecast.lower[80] < forecast.point).all()
    assert (forecast.point < forecast.upper[80]).all()
    assert (forecast.upper[80] < forecast.upper[95]).all()
    for level in (80, [80], np.array(80), np.array([80])):
        np.testing.assert_array_equal(fitted.predict(3, level=level).upper[80], forecast.upper[80])
    assert fitted.predict_quantiles(3, [0.1, 0.9]).shape == (3, 2)
    np.testing.assert_array_equal(fitted.predict_quantiles(3, [0.1, 0.9])[:, 1], forecast.upper[80])
    assert fitted.sample(7, 3, seed=0).shape == (7, 3)

    forecaster, _, X = two_columns
    assert forecaster.predict(4, X[:4]).shape == (4, 2)
    assert forecaster.predict(4, X[:4], level=50).upper[50].shape == (4, 2)
    assert forecaster.predict_quantiles(4, [0.1, 0.5, 0.9], X[:4]).shape == (4, 2, 3)
    assert forecaster.sample(7, 4, X[:4]).shape == (7, 4, 2)


def test_samples_come_from_the_distribution_that_the_intervals_describe(fitted):
    paths = fitted.sample(4000, 5, seed=1)
    np.testing.assert_array_equal(paths, fitted.sample(4000, 5, seed=1))
    assert (paths != fitted.sample(4000, 5, seed=2)).any()
    ends = copy.copy(fitted).set_params(n_samples=4000).predict_quantiles(5, [0.1, 0.9])
    shares = (paths[:, :, np.newaxis] < ends).mean(axis=0)
    np.testing.assert_allclose(shares, np.broadcast_to([0.1, 0.9], (5, 2)), atol=0.02)


def test_a_wrong_number_of_samples_set_after_fit_is_refused(fitted):
    with pytest.raises(ValueError, match="n_samples is 1, expected at least 2"):
        copy.copy(fitted).set_params(n_samples=1).predict(3, level=80)


def test_update_in_parts_equals_a_single_update(fitted, births):
    at_once = copy.copy(fitted).update(births[1000:1100])
    in_parts = copy.copy(fitted)
    for first, last in [(1000, 1001), (1001, 1003), (1003, 1003), (1003, 1100)]:
        in_parts.update(births[first:last])
    if backend.isa() == "portable":  # BLAS may sum in another order for another number of steps
        np.testing.assert_allclose(at_once.predict(20), in_parts.predict(20), rtol=1e-6)
    else:
        np.testing.assert_array_equal(at_once.predict(20), in_parts.predict(20))
    np.testing.assert_array_equal(at_once.predict(2, level=80).dates, DAYS[1100:1102])
    assert (at_once.predict(20) != fitted.predict(20)).any()


def test_update_of_some_series_of_a_list(sunspots):
    forecaster = LSTMForecaster(**TINY).fit([sunspots[:60], sunspots[100:180]])
    before = forecaster.predict(3)
    forecaster.update([[], sunspots[180:190]])
    np.testing.assert_array_equal(forecaster.predict(3)[0], before[0])
    assert (forecaster.predict(3)[1] != before[1]).any()


def test_calibrated_intervals_have_the_coverage_that_the_network_alone_lacks():
    """Trained where the noise is small, the network is calibrated and tested where it is larger."""
    generator = np.random.default_rng(0)
    y = generator.standard_normal(1600) * np.where(np.arange(1600) < 400, 0.3, 1)
    forecaster = LSTMForecaster(**TINY).fit(y[:400])
    before = forecaster.backtest(y, h=2, n_windows=590, level=[80, 95])
    assert before.coverage(80) < 0.5
    forecaster.calibrate(y[:1000], h=2, n_windows=590)
    after = forecaster.backtest(y, h=2, n_windows=590, level=[80, 95])
    np.testing.assert_array_equal(after.point, before.point)
    assert after.coverage(80) == pytest.approx(0.8, abs=0.03)
    assert after.coverage(95) == pytest.approx(0.95, abs=0.02)
    with pytest.raises(ValueError, match=r"h is 3, expected at most 2, for which calibrate"):
        forecaster.predict(3, level=80)
    assert forecaster.predict(3).shape == (3,)


@pytest.mark.parametrize("step_size", [1, 2])
def test_calibration_at_every_cutoff_of_a_backtest(sunspots, step_size):
    series = [sunspots[:130], sunspots[300:410]]
    forecaster = LSTMForecaster(**TINY).fit([one[:60] for one in series])
    options = {"h": 3, "step_size": step_size, "level": [50, 80]}
    backtests = forecaster.backtest(series, n_windows=4, calibration_windows=11, **options)
    again = copy.copy(forecaster)
    for window in range(4):
        seen = [one[: back.cutoffs[window]] for one, back in zip(series, backtests, strict=True)]
        # The last window that has ended ends at the cut-off, or one step before it if the step size is 2
        ended = [one[: len(one) - (-3 % step_size)] for one in seen]
        again.calibrate(ended, h=3, n_windows=11, step_size=step_size)
        known = [one[: len(some) + 3] for one, some in zip(series, seen, strict=True)]
        for back, expected in zip(backtests, again.backtest(known, **options), strict=True):
            assert expected.cutoffs[0] == back.cutoffs[window]
            for level in (50, 80):
                np.testing.assert_allclose(back.lower[level][window], expected.lower[level][0], rtol=1e-5)
                np.testing.assert_allclose(back.upper[level][window], expected.upper[level][0], rtol=1e-5)


def test_a_short_series_and_a_constant_one():
    y = np.array([1.0, 2.0, 1.0, 2.0])
    assert np.isfinite(LSTMForecaster(**TINY, season_length=2).fit(y).predict(5)).all()
    np.testing.assert_allclose(
        LSTMForecaster(**TINY, validation_fraction=0).fit(np.full(9, 1e6)).predict(2), 1e6, rtol=1e-5
    )


def test_monthly_and_weekly_series(sunspots):
    months = np.datetime64("1749-01") + np.arange(len(sunspots))
    forecaster = LSTMForecaster(**TINY).fit(sunspots[:400], dates=months[:400])
    assert (forecaster.frequency_.name, forecaster.calendar_) == ("MS", ["yearday"])
    assert forecaster.predict(2, level=80).dates[1] == np.datetime64("1782-06-01")
    with open(SERIES / "co2_weekly.csv", newline="") as file:
        co2 = np.array([float(row["co2"] or "nan") for row in csv.DictReader(file)])
    with pytest.raises(ValueError, match=r"y\[6\] is nan, expected finite numbers; fill in what is missing first"):
        LSTMForecaster(**TINY).fit(co2)
    known = np.flatnonzero(np.isfinite(co2))
    filled = np.interp(np.arange(500), known, co2[known])
    forecaster = LSTMForecaster(**TINY, season_length=[1, 52], freq="W").fit(filled[:400], dates="1958-03-29")
    backtest = forecaster.backtest(filled, h=4, n_windows=96)
    assert backtest.dates[0, 0] == np.datetime64("1958-03-29") + 401 * 7
    assert backtest.mean_absolute_error < 2


# ------------------------------------------------------------------------------------------------ seeds, threads


def test_same_seed_same_bits_with_any_number_of_threads(births):
    forecasts = [
        LSTMForecaster(**{**TINY, "num_threads": threads, "seed": seed}).fit(births[:200]).predict(4, level=80)
        for threads, seed in [(1, 3), (2, 3), (1, 4)]
    ]
    np.testing.assert_array_equal(forecasts[0].point, forecasts[1].point)
    np.testing.assert_array_equal(forecasts[0].upper[80], forecasts[1].upper[80])
    assert (forecasts[0].point != forecasts[2].point).any()


def test_many_threads_may_use_one_forecaster(fitted):
    expected = fitted.predict(6, level=80)
    with ThreadPoolExecutor(4) as pool:
        for forecast in pool.map(lambda _: fitted.predict(6, level=80), range(12)):
            np.testing.assert_array_equal(forecast.lower[80], expected.lower[80])


# ---------------------------------------------------------------------------------------------------- wrong input


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        ([1.0, np.nan, 2.0], {}, r"y\[1\] is nan, expected finite numbers"),
        (["a", "b"], {}, r"y has dtype <U1, expected numbers"),
        (np.ones((2, 3, 4)), {}, r"y has shape \(2, 3, 4\), expected \(time,\) or \(time, columns\)"),
        ([np.ones(9), np.ones((9, 2))], {}, r"y\[1\] has shape \(9, 2\), but y\[0\] \(9,\): expected equal columns"),
        (np.ones(1), {}, r"y has 1 values, of which 1 to train on, expected 2 or more"),
        ([np.ones(9), np.ones(5)], {"season_length": 7}, r"y\[1\] has 5 values.*expected 9 or more"),
        (np.ones(9), {"season_length": 0}, r"season_length is 0, expected at least 1"),
        (np.ones(9), {"freq": "fortnight"}, r"freq is 'fortnight', expected one of s, min, h, D"),
        (np.ones(9), {"freq": "D"}, r"freq is 'D', but there are no dates"),
        (np.ones(9), {"calendar": ["hour"]}, r"calendar is \['hour'\], but there are no dates"),
        (np.ones(9), {"calendar": "hour"}, r"calendar is 'hour', expected 'auto', None or a list of hour, weekday"),
        (np.ones(9), {"output": "cauchy"}, r"output is 'cauchy', expected one of 'normal', 'student', 'quantile'"),
        (np.ones(9), {"quantiles": [0.5, 0.1]}, r"quantiles is \[0.5, 0.1\], expected rising numbers"),
        (np.ones(9), {"validation_fraction": 1.0}, r"validation_fraction is 1.0, expected below 1"),
    ],
)  # fmt: skip
def test_wrong_series_and_arguments_get_one_line(y, options, message):
    forecaster = LSTMForecaster(**TINY).set_params(**options)
    with pytest.raises((TypeError, ValueError), match=message) as error:
        forecaster.fit(y)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        (DAYS[:8], r"dates has shape \(8,\), expected \(9,\), or a single date"),
        (DAYS[[0, 1, 2, 3, 5, 6, 7, 8, 9]], r"dates has an unknown frequency: .*expected a constant step"),
        (DAYS[8::-1], r"dates goes from 1969-01-09.* expected rising dates"),
        (DAYS[0], r"dates is a single date and freq is None"),
        (np.arange(9.0), r"dates has dtype float64, expected dates"),
        (["soon"] * 9, r"dates begins with 'soon', expected dates"),
    ],
)  # fmt: skip
def test_wrong_dates_get_one_line(dates, message):
    with pytest.raises((TypeError, ValueError), match=message):
        LSTMForecaster(**TINY).fit(np.ones(9), dates=dates)


def test_wrong_calls_get_one_line_and_change_nothing(two_columns):
    forecaster, y, X = two_columns
    before = forecaster.predict(2, X[:2])
    calls = {
        "X is missing, expected the 1 exogenous variables that fit had": lambda: forecaster.predict(2),
        r"X has shape \(3, 1\), expected \(time=2, exogenous=1\)": lambda: forecaster.predict(2, X[:3]),
        r"X has shape \(2, 2\), expected": lambda: forecaster.predict(2, np.ones((2, 2))),
        r"X\[1, 0\] is inf, expected finite": lambda: forecaster.predict(2, [[0.0], [np.inf]]),
        "h is 0, expected at least 1": lambda: forecaster.predict(0, X[:0]),
        "level is 100, expected above 0 and below 100": lambda: forecaster.predict(2, X[:2], level=[100]),
        "level is '80', expected a number": lambda: forecaster.predict(2, X[:2], level="80"),
        "quantiles is .*expected rising": lambda: forecaster.predict_quantiles(2, [0.5, 1.0], X[:2]),
        r"y has shape \(5, 3\), expected \(time, columns=2\) as at fit": lambda: forecaster.update(
            np.ones((5, 3)), X[:5]
        ),
        r"y has shape \(5,\), expected \(time, columns=2\)": lambda: forecaster.update(np.ones(5), X[:5]),
        "y is a list of series, but fit had one series": lambda: forecaster.update([np.ones(5)], X[:5]),
        "X is missing": lambda: forecaster.update(y[:5]),
        r"y\[0, 1\] is nan": lambda: forecaster.update(np.array([[1.0, np.nan]]), X[:1]),
        r"y has 160 values, expected 168 or more for 51 windows of 12": lambda: forecaster.backtest(
            y, X[:160], h=12, n_windows=51, step_size=3
        ),
        "n_windows is 0, expected at least 1": lambda: forecaster.backtest(y, X[:160], h=1, n_windows=0),
    }
    for message, call in calls.items():
        with pytest.raises((TypeError, ValueError), match=message) as error:
            call()
        assert "\n" not in str(error.value)
    np.testing.assert_array_equal(forecaster.predict(2, X[:2]), before)


def test_a_fit_that_fails_leaves_the_forecaster_as_it_was(births):
    forecaster = LSTMForecaster(**TINY).fit(births[:100])
    before = forecaster.predict(3)
    with pytest.raises(ValueError, match=re.escape("X has shape (99, 1)")):
        forecaster.fit(births[:100], np.ones((99, 1)))
    with pytest.raises(FloatingPointError):
        forecaster.set_params(lr=1e30, clip_norm=None).fit(births[:100])
    np.testing.assert_array_equal(forecaster.predict(3), before)


def test_calls_before_fit_are_refused():
    forecaster = LSTMForecaster()
    for call in (lambda: forecaster.predict(1), lambda: forecaster.update([1.0]), lambda: forecaster.sample(1, 1)):
        with pytest.raises(NotFittedError, match="LSTMForecaster isn't fitted yet"):
            call()
    assert repr(LSTMForecaster(season_length=7)) == "LSTMForecaster(season_length=7)"
