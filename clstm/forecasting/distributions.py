"""What a forecaster can say of the next value: normal and Student-t distributions, and quantiles.

Each turns raw numbers, `size` for a value, into a loss with its gradient, a point forecast, and draws. Draws are by the
inverse of the cumulative distribution: `noise` turns uniform numbers into what `draw` moves and scales, so that the
costly part is done once for all rows that share the uniform numbers.

The first `shared` of the raw numbers are the same at all steps: the Student-t's degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from clstm._checks import check_real
from clstm._core.numerics import softplus_and_sigmoid
from clstm._package import public

MIN_SCALE = 1e-3  # of the standardised values: a perfectly predictable series has a finite loss
MIN_DF = 2.0  # below it there is no variance


@public("clstm.forecasting")
class Normal:
    """A normal distribution from its mean and, through softplus, its standard deviation."""

    size, shared = 2, 0

    def loss(self, raw: np.ndarray, target: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the weighted mean of -log p(target), and its gradient.

        Parameters
        ----------
        raw : ndarray of shape (..., size)
        target, weight : ndarray of shape (...)
            Where the weight is 0, nothing is looked at.

        Returns
        -------
        value : float
        gradient : ndarray of the shape and dtype of `raw`
        """
        scale, slope = _scale(raw[..., 1])
        error = (target - raw[..., 0]) / scale
        losses = np.log(scale) + 0.5 * (np.square(error) + math.log(2 * math.pi))
        gradient = np.stack([-error / scale, (1 - np.square(error)) / scale * slope], axis=-1)
        return _mean(losses, gradient, weight)

    def point(self, raw: np.ndarray) -> np.ndarray:
        """Return the median."""
        return raw[..., 0]

    def noise(self, uniform: np.ndarray, raw: np.ndarray) -> np.ndarray:
        """Return what `draw` needs for uniform numbers of shape (..., columns); of `raw` only the shared part is read.

        That is of shape (columns, shared).
        """
        from scipy.special import ndtri

        return ndtri(uniform)

    def draw(self, raw: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Return a value for each row of raw numbers."""
        return raw[..., 0] + _scale(raw[..., 1])[0] * noise


@public("clstm.forecasting")
class StudentT:
    """Student's t distribution: degrees of freedom, for all steps alike, and the location and scale of each.

    Its tails forgive what a normal distribution would be pulled by, such as holidays that it isn't told of.
    """

    size, shared = 3, 1

    def loss(self, raw: np.ndarray, target: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the weighted mean of -log p(target), and its gradient, as `Normal.loss` does."""
        from scipy.special import betaln, digamma

        df, df_slope = _df(raw[..., 0].astype(np.float64))
        scale, slope = _scale(raw[..., 2])
        error = (target - raw[..., 1]) / scale
        ratio = np.square(error) / df
        log_part = np.log1p(ratio)
        losses = np.log(scale) + 0.5 * ((df + 1) * log_part + np.log(df)) + betaln(0.5, 0.5 * df)
        pull = (df + 1) / (df * (1 + ratio))  # the normal distribution's is 1
        ddf = 0.5 * (log_part + 1 / df - pull * ratio + digamma(0.5 * df) - digamma(0.5 * (df + 1)))
        gradient = np.stack([ddf * df_slope, -pull * error / scale, (1 - pull * error**2) / scale * slope], axis=-1)
        return _mean(losses, gradient.astype(raw.dtype), weight)

    def point(self, raw: np.ndarray) -> np.ndarray:
        """Return the median."""
        return raw[..., 1]

    def noise(self, uniform: np.ndarray, raw: np.ndarray) -> np.ndarray:
        """Return what `draw` needs, as `Normal.noise` does."""
        from scipy.special import stdtrit

        return stdtrit(_df(raw[..., 0].astype(np.float64))[0], uniform)

    def draw(self, raw: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Return a value for each row of raw numbers."""
        return raw[..., 1] + _scale(raw[..., 2])[0] * noise


@public("clstm.forecasting")
class Quantiles:
    """Some quantiles, by the pinball loss (Koenker & Bassett 1978); nothing is assumed of the distribution.

    Between them, and beyond the outer ones, values are drawn as if the distribution were piecewise normal.
    """

    shared = 0

    def __init__(self, levels: Sequence[float]) -> None:
        from scipy.special import ndtri

        self.levels = np.array(levels)
        self.size = len(self.levels)
        self._scores = ndtri(self.levels)

    def loss(self, raw: np.ndarray, target: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the weighted mean of the pinball losses, and its gradient, as `Normal.loss` does."""
        levels = self.levels.astype(raw.dtype)
        error = target[..., np.newaxis] - raw
        below = error < 0
        losses = (np.where(below, levels - 1, levels) * error).mean(axis=-1)
        gradient = np.where(below, 1 - levels, -levels) / raw.dtype.type(self.size)
        return _mean(losses, gradient, weight)

    def point(self, raw: np.ndarray) -> np.ndarray:
        """Return the median."""
        return self.draw(raw, np.zeros(raw.shape[:-1]))

    def noise(self, uniform: np.ndarray, raw: np.ndarray) -> np.ndarray:
        """Return what `draw` needs, as `Normal.noise` does."""
        from scipy.special import ndtri

        return ndtri(uniform)

    def draw(self, raw: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Return a value for each row of raw numbers: sorted, for quantiles learnt apart can cross."""
        raw, noise = np.sort(raw, axis=-1), np.broadcast_to(noise, raw.shape[:-1])
        right = np.clip(np.searchsorted(self._scores, noise), 1, self.size - 1)
        low, high = (np.take_along_axis(raw, place[..., np.newaxis], -1)[..., 0] for place in (right - 1, right))
        share = (noise - self._scores[right - 1]) / (self._scores[right] - self._scores[right - 1])
        return low + share * (high - low)


Output = Normal | StudentT | Quantiles

OUTPUTS = ("normal", "student", "quantile")


def make_output(name: str, quantiles: Sequence[float]) -> Output:
    """Return the output of a name; `quantiles` are the levels of "quantile"."""
    if name == "quantile":
        return Quantiles(quantiles)
    return {"normal": Normal, "student": StudentT}[name]()


def check_levels(name: str, value: Any) -> list[float]:
    """Return quantile levels as rising floats between 0 and 1."""
    if isinstance(value, (str, bytes)) or not isinstance(value, (Sequence, np.ndarray)):
        raise TypeError(f"{name} is {value!r}, expected a list of numbers between 0 and 1")
    levels = [check_real(f"{name}[{place}]", level) for place, level in enumerate(value)]
    if not levels or min(levels) <= 0 or max(levels) >= 1 or sorted(set(levels)) != levels:
        raise ValueError(f"{name} is {value!r}, expected rising numbers between 0 and 1")
    return levels


def _scale(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale, slope = softplus_and_sigmoid(raw)
    return scale + raw.dtype.type(MIN_SCALE), slope


def _df(raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    df, slope = softplus_and_sigmoid(raw)
    return MIN_DF + df, slope


def _mean(losses: np.ndarray, gradient: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
    total = weight.sum(dtype=np.float64)
    counted = weight > 0
    value = np.where(counted, losses * weight, 0).sum(dtype=np.float64) / total
    share = (weight / total).astype(gradient.dtype)[..., np.newaxis]
    return float(value), np.where(counted[..., np.newaxis], gradient * share, gradient.dtype.type(0))
