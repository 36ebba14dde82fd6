"""The predictive distribution of the values after some cut-offs: medians, sampled paths, quantiles and intervals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from clstm._checks import check_index, check_real
from clstm.forecasting import conformal
from clstm.forecasting.cutoffs import CutoffState
from clstm.forecasting.fitted import FittedForecaster
from clstm.forecasting.rollout import roll_out

# A standard normal variable lies between these levels with 68% probability, one standard deviation on each side.
SPREAD_LEVELS = (0.15865525393145707, 0.8413447460685429)


class PredictiveDistribution:
    """What a fitted forecaster predicts after some cut-offs.

    Parameters
    ----------
    fitted : FittedForecaster
    cutoff : CutoffState
        With a row for each cut-off.
    covariates : ndarray of shape (rows, h, covariates)
        Of the steps ahead.
    n_samples : int
        The number of paths that quantiles are computed from.
    """

    def __init__(self, fitted: FittedForecaster, cutoff: CutoffState, covariates: np.ndarray, n_samples: int) -> None:
        self._fitted, self._cutoff, self._covariates, self._n_samples = fitted, cutoff, covariates, n_samples

    def paths(self, uniform: np.ndarray | None) -> np.ndarray:
        """Return the paths (rows, samples, h, columns) that are drawn by uniform numbers (samples, h, columns)."""
        fitted = self._fitted
        return roll_out(fitted.network, fitted.encoding, self._cutoff, self._covariates, uniform)

    @cached_property
    def median(self) -> np.ndarray:
        """The point forecasts (rows, h, columns): at each step the median, given the medians before it."""
        return self.paths(None)[:, 0]

    @cached_property
    def spread(self) -> np.ndarray:
        """Half the widths (rows, h, columns) of the intervals that hold 68% of the network's probability."""
        low, high = self.sampled_quantiles(SPREAD_LEVELS)
        return (high - low) / 2

    def quantiles(self, levels: Sequence[float]) -> np.ndarray:
        """Return quantiles (levels, rows, h, columns): calibrated ones if the forecaster is calibrated.

        Raises
        ------
        ValueError
            It was calibrated for fewer steps ahead than h.
        """
        scores = self._fitted.scores
        if scores is None:
            return self.sampled_quantiles(levels)
        h, limit = self._covariates.shape[1], len(scores)
        if h > limit:
            raise ValueError(f"h is {h}, expected at most {limit}, for which calibrate made the intervals")
        return np.stack([self.median + self.spread * conformal.quantile(scores[:h], level) for level in levels])

    def intervals(self, levels: Sequence[float]) -> np.ndarray:
        """Return the lower and the upper ends (2, levels, rows, h, columns) of intervals of these levels in percent."""
        if not levels:  # so no paths need be sampled
            return np.empty((2, 0, *self.median.shape))
        return self.quantiles(interval_ends(levels)).reshape(2, len(levels), *self.median.shape)

    def sampled_quantiles(self, levels: Sequence[float]) -> np.ndarray:
        """Return the quantiles (levels, rows, h, columns) of `n_samples` paths, without calibration.

        The uniform numbers of the paths are the midpoints of `n_samples` equal parts of (0, 1), shuffled separately for
        each step and column (McKay, Beckman & Conover 1979), and in the same way in every call.
        """
        n_samples = check_index("n_samples", self._n_samples, low=2)
        shape = (n_samples, self._covariates.shape[1], self._fitted.encoding.form.columns)
        parts = np.arange(n_samples)[:, np.newaxis, np.newaxis]
        uniform = (np.random.default_rng(0).permuted(np.broadcast_to(parts, shape), axis=0) + 0.5) / n_samples
        # The k-th smallest of n midpoints is (k - 1/2) / n, which is Hazen's definition of a quantile
        return np.quantile(self.paths(uniform), levels, axis=1, method="hazen")


def check_interval_levels(value: Any) -> list[float]:
    """Return the levels of intervals in percent, as the caller gave them: none, one or several."""
    if value is None:
        return []
    if isinstance(value, np.ndarray):
        value = np.atleast_1d(value)
    several = isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes))
    levels = list(value) if several else [value]
    for level in levels:
        if not 0 < check_real("level", level) < 100:
            raise ValueError(f"level is {level!r}, expected above 0 and below 100 (percent)")
    return levels


def interval_ends(levels: Sequence[float]) -> list[float]:
    """Return the quantile levels of the intervals' lower ends, and then of their upper ends."""
    tails = [(100 - level) / 200 for level in levels]
    return tails + [1 - tail for tail in tails]
