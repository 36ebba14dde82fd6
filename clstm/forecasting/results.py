"""Forecasts with their intervals, and those of a backtest with the actual values: of one series, or of all."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from clstm._package import public


@public("clstm.forecasting")
@dataclass
class Forecast:
    """The forecast of one series.

    Attributes
    ----------
    point : ndarray of shape (h,) or (h, columns)
        The medians.
    lower, upper : dict of float to ndarray
        The ends of the intervals by level in percent, each of the shape of `point`.
    dates : ndarray of shape (h,), or None
        The dates of the steps, where the series has dates.
    """

    point: np.ndarray
    lower: dict[float, np.ndarray] = field(default_factory=dict)
    upper: dict[float, np.ndarray] = field(default_factory=dict)
    dates: np.ndarray | None = None


@public("clstm.forecasting")
@dataclass
class Backtest(Forecast):
    """The forecasts of one series from several cut-offs, and the actual values.

    Attributes
    ----------
    point : ndarray of shape (n_windows, h) or (n_windows, h, columns)
        The medians.
    lower, upper : dict of float to ndarray
        The ends of the intervals by level in percent, each of the shape of `point`.
    dates : ndarray of shape (n_windows, h), or None
        The dates of the steps, where the series has dates.
    actual : ndarray of the shape of `point`
        The actual values.
    cutoffs : ndarray of int, shape (n_windows,)
        The number of values of the series before each cut-off.
    """

    actual: np.ndarray = field(kw_only=True)
    cutoffs: np.ndarray = field(kw_only=True)

    @property
    def mean_absolute_error(self) -> float:
        """The mean absolute error over all cut-offs, steps and columns."""
        return float(np.abs(self.actual - self.point).mean())

    def coverage(self, level: float) -> float:
        """Return the fraction of the actual values that lie within the intervals of this level.

        Raises
        ------
        ValueError
            The backtest had other levels.
        """
        if level not in self.lower:
            raise ValueError(f"level is {level!r}, expected one of {', '.join(map(str, self.lower)) or 'none'}")
        return float(((self.lower[level] <= self.actual) & (self.actual <= self.upper[level])).mean())


@dataclass(frozen=True)
class Windows:
    """The backtests of all series, in arrays; a window is the `h` steps after a cut-off.

    Attributes
    ----------
    cutoffs : ndarray of int, shape (series, windows)
        The number of values before each cut-off.
    actual, point : ndarray of shape (series, windows, h, columns)
        The actual values, and the medians.
    ends : ndarray of shape (2, levels, series, windows, h, columns)
        The lower and the upper ends of the intervals.
    """

    cutoffs: np.ndarray
    actual: np.ndarray
    point: np.ndarray
    ends: np.ndarray
