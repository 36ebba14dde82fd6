"""Forecasting known series from many cut-offs: backtests, and the conformity scores that calibrate intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clstm._checks import check_index
from clstm.forecasting import conformal
from clstm.forecasting.cutoffs import read_to_cutoffs
from clstm.forecasting.fitted import FittedForecaster
from clstm.forecasting.predictive import PredictiveDistribution, interval_ends
from clstm.forecasting.results import Windows
from clstm.forecasting.series import Panel


def backtest(
    fitted: FittedForecaster,
    panel: Panel,
    h: int,
    n_windows: int,
    step_size: int,
    levels: Sequence[float],
    n_samples: int,
) -> Windows:
    """Return the forecasts from the last `n_windows` cut-offs, `step_size` apart, with intervals of these levels."""
    cutoffs, actual, predictive = _predict_windows(fitted, panel, h, n_windows, step_size, n_samples)
    ends = predictive.intervals(levels).reshape(2, len(levels), *actual.shape)
    return Windows(cutoffs, actual, predictive.median.reshape(actual.shape), ends)


def backtest_calibrated(
    fitted: FittedForecaster,
    panel: Panel,
    h: int,
    n_windows: int,
    step_size: int,
    levels: Sequence[float],
    n_samples: int,
    calibration_windows: int,
) -> Windows:
    """Do as `backtest`, but calibrate the intervals of each cut-off by the last windows that had ended by then."""
    n_windows, step_size = check_index("n_windows", n_windows, low=1), check_index("step_size", step_size, low=1)
    size = check_index("calibration_windows", calibration_windows, low=1)
    gap = -(-h // step_size)  # windows from one cut-off to the first at which its own window has ended
    needed = n_windows + size + gap - 1
    cutoffs, actual, predictive = _predict_windows(fitted, panel, h, needed, step_size, n_samples)
    point, spread = (array.reshape(actual.shape) for array in (predictive.median, predictive.spread))
    scores = conformal.rolling_quantiles((actual - point) / spread, size, n_windows, interval_ends(levels))
    cutoffs, actual, point, spread = (array[:, -n_windows:] for array in (cutoffs, actual, point, spread))
    ends = point + spread * scores[:, np.newaxis]
    return Windows(cutoffs, actual, point, ends.reshape(2, len(levels), *point.shape))


def conformity_scores(
    fitted: FittedForecaster, panel: Panel, h: int, n_windows: int, step_size: int, n_samples: int
) -> np.ndarray:
    """Return the scores of all windows of all series, as `conformal.quantile` takes them: (h, columns, scores)."""
    _, actual, predictive = _predict_windows(fitted, panel, h, n_windows, step_size, n_samples)
    point, spread = (array.reshape(actual.shape) for array in (predictive.median, predictive.spread))
    scores = (actual - point) / spread
    return conformal.sort_scores(scores.reshape(-1, *scores.shape[2:]))


def _predict_windows(
    fitted: FittedForecaster, panel: Panel, h: int, n_windows: int, step_size: int, n_samples: int
) -> tuple[np.ndarray, np.ndarray, PredictiveDistribution]:
    """Read series once; return the cut-offs, the actual values of each window, and the predictive distribution.

    They are of shape (series, windows), (series, windows, h, columns), and with a row for each series and window.
    """
    n_windows, step_size = check_index("n_windows", n_windows, low=1), check_index("step_size", step_size, low=1)
    encoding = fitted.encoding
    back = h + step_size * np.arange(n_windows)[::-1]
    shortest, needed = int(panel.lengths.argmin()), back[0] + encoding.history_size
    if panel.lengths[shortest] < needed:
        raise ValueError(
            f"{panel.form.name(shortest)} has {panel.lengths[shortest]} values, expected {needed} or more "
            f"for {n_windows} windows of {h} steps"
        )
    cutoffs = panel.lengths[:, np.newaxis] - back
    cutoff = read_to_cutoffs(fitted.network, encoding, panel, cutoffs)
    covariates = [encoding.covariates(X, start, 0) for X, start in zip(panel.X, encoding.starts_of(panel), strict=True)]

    def cut(arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Return the `h` steps after each cut-off, a row for each."""
        return np.stack(
            [array[stop : stop + h] for array, stops in zip(arrays, cutoffs, strict=True) for stop in stops]
        )

    predictive = PredictiveDistribution(fitted, cutoff, cut(covariates), n_samples)
    return cutoffs, cut(panel.y).reshape(*cutoffs.shape, h, -1), predictive
