"""What a forecaster returns: forecasts with their intervals, and those of a backtest beside what came."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from clstm._package import public


@public("clstm.forecasting")
@dataclass
class Forecast:
    """What is forecast of one series.

    Attributes
    ----------
    point : ndarray of shape (h,) or (h, columns)
        The medians.
    lower, upper : dict of float to ndarray
        The intervals' ends by level in percent, each of the shape of `point`.
    dates : ndarray of shape (h,), or None
        Where the series has dates.
    """

    point: np.ndarray
    lower: dict[float, np.ndarray] = field(default_factory=dict)
    upper: dict[float, np.ndarray] = field(default_factory=dict)
    dates: np.ndarray | None = None


@public("clstm.forecasting")
@dataclass
class Backtest(Forecast):
    """What was forecast of one series at several cut-offs, and what came.

    Attributes
    ----------
    point : ndarray of shape (n_windows, h) or (n_windows, h, columns)
    lower, upper : dict of float to ndarray
        The intervals' ends by level in percent, each of the shape of `point`.
    dates : ndarray of shape (n_windows, h), or None
    actual : ndarray of the shape of `point`
        What came.
    cutoffs : ndarray of int, shape (n_windows,)
        How many values of the series each forecast knew.
    """

    actual: np.ndarray = field(kw_only=True)
    cutoffs: np.ndarray = field(kw_only=True)

    @property
    def mean_absolute_error(self) -> float:
        """Over all cut-offs, steps and columns."""
        return float(np.abs(self.actual - self.point).mean())

    def coverage(self, level: float) -> float:
        """Return the share of what came that the intervals of this level hold.

        Raises
        ------
        ValueError
            The backtest had other levels.
        """
        if level not in self.lower:
            raise ValueError(f"level is {level!r}, expected one of {', '.join(map(str, self.lower)) or 'none'}")
        return float(((self.lower[level] <= self.actual) & (self.actual <= self.upper[level])).mean())
