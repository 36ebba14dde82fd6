"""
Temperature: 24 hours ahead, at every hour
==========================================

The hours of a year in Seattle: the forecaster learns from the first ten months, and then forecasts the next 24 hours
at each of 1,437 hours, with intervals. `backtest` reads the series once, and goes on from the state at every hour.
"""

from __future__ import annotations

import time

import matplotlib.pyplot as plt
import numpy as np
import runs
from datasets import load_temperature

import clstm

hours, temperature = load_temperature()
TEST, H = 1460, 24
training = temperature[:-TEST]
WINDOWS, CALIBRATION = TEST - H + 1, 672

# %%
# Fit. A season of 24 steps has the network learn what differs from the same hour yesterday. The intervals are as wide
# as the errors of the four weeks before say.


def run(seed: int) -> tuple[clstm.LSTMForecaster, float]:
    forecaster = clstm.LSTMForecaster(season_length=24, seed=seed)
    _, seconds = runs.timed(lambda: forecaster.fit(training))
    return forecaster, seconds


# %%
# The mean absolute error over 24 hours beside that of "as yesterday at the same hour" (of "as now" it is ten times as
# much), the share of the hours that the intervals held, and the time that `fit` took.

results: dict[str, list[runs.Result]] = {"clstm": []}
for seed in runs.seeds():
    forecaster, seconds = run(seed)
    backtest = forecaster.backtest(temperature, h=H, n_windows=WINDOWS, level=[80, 95], calibration_windows=CALIBRATION)
    shares = {f"{level}% interval": 100 * backtest.coverage(level) for level in (80, 95)}
    results["clstm"].append(runs.Result({"error": backtest.mean_absolute_error} | shares, seconds))
    if runs.torch_is_there():
        from peers.forecaster import errors

        nothing, trained = np.empty((len(temperature), 0)), len(training) - len(training) // 10
        error, torch_seconds = errors(
            temperature, nothing, 24, trained, backtest.cutoffs, H, forecaster.n_iter_, seed, runs.clock
        )
        metrics = {"error": error} | dict.fromkeys(shares, np.nan)
        results.setdefault("PyTorch", []).append(runs.Result(metrics, torch_seconds))

yesterday = np.stack([temperature[cut - H : cut] for cut in backtest.cutoffs])
runs.show(results, baseline={"error": np.abs(backtest.actual - yesterday).mean()})
now = temperature[backtest.cutoffs - 1][:, np.newaxis]
print(f"as now: {np.abs(backtest.actual - now).mean():.4g}")

# %%
# A thousand forecasts from one pass, against reading all that came before again for each (20 are enough to tell).

start = time.perf_counter()
at_once = forecaster.backtest(temperature, h=H, n_windows=1000)
one_pass = time.perf_counter() - start
start = time.perf_counter()
again = [forecaster.backtest(temperature[: cut + H], h=H).point[0] for cut in at_once.cutoffs[:20]]
one_by_one = (time.perf_counter() - start) * 1000 / 20
largest = np.abs(at_once.point[:20] - again).max()
print(f"backtest of 1,000 cut-offs: {one_pass:.2f} s; one by one {one_by_one:.1f} s; largest difference {largest:.1e}")

# %%
# A day of November, forecast the evening before. The day's course is much the same as yesterday's, so the picture shows
# the change from the same hour yesterday, which is what the network forecasts.

cut = len(temperature) - 1000
forecaster.calibrate(temperature[:cut], h=H, n_windows=CALIBRATION)
forecaster.update(temperature[len(training) : cut])
forecast = forecaster.predict(H, level=[80, 95])
change = temperature[H:] - temperature[:-H]
for values in (forecast.lower, forecast.upper):
    values.update({level: values[level] - temperature[cut - H : cut] for level in values})
forecast.point -= temperature[cut - H : cut]

ax = clstm.plot.forecast(
    change[cut - 72 - H : cut - H], forecast, actual=change[cut - H : cut], dates=hours[cut - 72 : cut + H]
)
ax.set(ylabel="change since the day before (°F)", title="Temperature in Seattle, forecast for 24 hours")
plt.show()
