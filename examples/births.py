"""
Births: a daily series and its calendar
=======================================

How many children will be born tomorrow? Hospitals plan caesareans for weekdays, so the day of the week says most, the
season some, and public holidays, which the forecaster is told in ``X``, the rest. The forecaster learns from 16 years
of births in the United States, and forecasts each day of the next four, the day before.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import runs
from datasets import load_births

import clstm
from clstm.forecasting.calendars import features

days, births = load_births()
TEST = 1461
training, training_days = births[:-TEST], days[:-TEST]

# %%
# Fit, and forecast each day of the test the day before. The series is read once for all 1,461 forecasts, for the state
# is stored for each day; the intervals are as wide as the errors of the 500 days before say.


def run(seed: int, X: np.ndarray | None = None) -> tuple[clstm.LSTMForecaster, float, object]:
    forecaster = clstm.LSTMForecaster(season_length=7, seed=seed, verbose=int(X is None))
    past = None if X is None else X[:-TEST]
    _, seconds = runs.timed(lambda: forecaster.fit(training, past, dates=training_days))
    return (
        forecaster,
        seconds,
        forecaster.backtest(births, X, h=1, n_windows=TEST, level=[80, 95], calibration_windows=500),
    )


# %%
# Holidays that fall on a certain date, or on a certain weekday of a month. The network learns differences from a week
# ago, so it is also told when there was a holiday then.


def holidays(days: np.ndarray) -> np.ndarray:
    months = days.astype("datetime64[M]")
    month, day = months.astype(int) % 12 + 1, (days - months).astype(int) + 1
    weekday = (days.astype(int) + 3) % 7  # Monday is 0
    by_date = [(month == m) & (day == d) for m, d in [(1, 1), (7, 4), (12, 24), (12, 25), (12, 31)]]
    memorial = (month == 5) & (weekday == 0) & (day > 24)
    labor = (month == 9) & (weekday == 0) & (day <= 7)
    thanksgiving = (month == 11) & (weekday == 3) & (day > 21) & (day <= 28)
    columns = np.stack([*by_date, memorial, labor, thanksgiving, np.roll(thanksgiving, 1)], axis=1).astype(float)
    return np.concatenate([columns, np.roll(columns, 7, axis=0)], axis=1)


def metrics(backtest: object) -> dict[str, float]:
    return {
        "error": backtest.mean_absolute_error,
        "80% interval": 100 * backtest.coverage(80),
        "95% interval": 100 * backtest.coverage(95),
    }


# %%
# The mean absolute error beside that of "as many as a week ago", the share of the days that the intervals held, and the
# time that `fit` took; the same without holidays in PyTorch.

results: dict[str, list[runs.Result]] = {"clstm": [], "with holidays": []}
for seed in runs.seeds():
    forecaster, seconds, backtest = run(seed)
    results["clstm"].append(runs.Result(metrics(backtest), seconds))
    told, told_seconds, told_backtest = run(seed, holidays(days))
    results["with holidays"].append(runs.Result(metrics(told_backtest), told_seconds))
    if runs.torch_is_there():
        from peers.forecaster import errors

        known = features(days, forecaster.calendar_)
        trained = len(training) - len(training) // 10
        error, torch_seconds = errors(
            births, known, 7, trained, backtest.cutoffs, 1, forecaster.n_iter_, seed, runs.clock
        )
        nothing = dict.fromkeys(("80% interval", "95% interval"), np.nan)
        results.setdefault("PyTorch", []).append(runs.Result({"error": error} | nothing, torch_seconds))

runs.show(results, baseline={"error": np.abs(births[-TEST:] - births[-TEST - 7 : -7]).mean()})

# %%
# Four weeks ahead, from the middle of December: the intervals are calibrated on the days before, and the state moves on
# by what came since the training.

start = np.flatnonzero(days == np.datetime64("1987-12-13"))[0]
X = holidays(days)
told.calibrate(births[:start], X[:start], h=28, n_windows=500)
told.update(births[len(training) : start], X[len(training) : start])
forecast = told.predict(28, X[start : start + 28], level=[80, 95])
ax = clstm.plot.forecast(
    births[start - 42 : start], forecast, actual=births[start : start + 28], dates=days[start - 42 : start + 28]
)
ax.set(ylabel="births a day", title="Births in the United States, forecast on 12 December 1987 for four weeks")
plt.show()
