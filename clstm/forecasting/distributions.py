"""How a network describes the next value: normal and Student-t distributions, and quantiles.

A network returns `size` raw numbers for each value; a class here turns them into a loss, a median and random draws. The
first `shared` of the raw numbers are the same at all steps: the degrees of freedom of Student's t.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from clstm._checks import check_real
from clstm._core.numerics import softplus_and_sigmoid
from clstm._package import public

MIN_SCALE = 1e-3  # of standardised values; keeps the loss of a perfectly predictable series finite
MIN_DF = 2.0  # with fewer degrees of freedom, the variance is infinite


class Output(Protocol):
    """What `Normal`, `StudentT` and `Quantiles` have in common.

    Draws invert the cumulative distribution, in two steps: `noise` turns uniform numbers into standard ones, and `draw`
    shifts and scales these. `noise` is the costly step, and is done once for all rows that share the uniform numbers.

    Attributes
    ----------
    size : int
        Raw numbers for each value.
    shared : int
        How many of them, the first ones, are the same at all steps.
    """

    size: int
    shared: int

    def loss(self, raw: np.ndarray, target: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the weighted mean of the losses, and its gradient; see `Normal.loss`."""

    def point(self, raw: np.ndarray) -> np.ndarray:
        """Return the medians (...) for raw numbers (..., size)."""

    def noise(self, uniform: np.ndarray, raw: np.ndarray) -> np.ndarray:
        """Return what `draw` needs for uniform numbers (..., columns).

        Of `raw` only the shared raw numbers are read, so that it may be of shape (columns, shared).
        """

    def draw(self, raw: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Return a draw (...) for raw numbers (..., size), and noise that broadcasts to (...)."""


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
            Where the weight is 0, raw numbers and target have no influence, even if they are NaN.

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
        """Return what `draw` needs for uniform numbers (..., columns).

        Of `raw` only the shared raw numbers are read, so that it may be of shape (columns, shared).
        """
        from scipy.special import ndtri

        return ndtri(uniform)

    def draw(self, raw: np.ndarray, noise: np.ndarray) -> np.ndarray:
        """Return a draw for each row of raw numbers."""
        return raw[..., 0] + _scale(raw[..., 1])[0] * noise


@public("clstm.forecasting")
class StudentT:
    """Student's t distribution: degrees of freedom, the same at all steps, and the location and scale of each step.

    Its tails are heavy, so that outliers, such as unknown holidays, influence it less than a normal distribution.
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
        pull = (df + 1) / (df * (1 + ratio))  # weight of the error in the gradient; 1 for the normal distribution
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
        """Return a draw for each row of raw numbers."""
        return raw[..., 1] + _scale(raw[..., 2])[0] * noise


@public("clstm.forecasting")
class Quantiles:
    """Quantiles, learnt by the pinball loss (Koenker & Bassett 1978) without an assumption about the distribution.

    Values between the quantiles and beyond the outermost ones are drawn as if the distribution were piecewise normal.

    Parameters
    ----------
    levels : sequence of float
        Two or more, rising, between 0 and 1.
    """

    shared = 0

    def __init__(self, levels: Sequence[float]) -> None:
        from scipy.special import ndtri

        self.levels = np.array(levels)
        self.size = len(self.levels)
        self._normal_quantiles = ndtri(self.levels)

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
        """Return a draw for each row of raw numbers, which are sorted first, since learnt quantiles can cross."""
        raw, noise = np.sort(raw, axis=-1), np.broadcast_to(noise, raw.shape[:-1])
        grid = self._normal_quantiles
        right = np.clip(np.searchsorted(grid, noise), 1, self.size - 1)
        low, high = (np.take_along_axis(raw, index[..., np.newaxis], -1)[..., 0] for index in (right - 1, right))
        fraction = (noise - grid[right - 1]) / (grid[right] - grid[right - 1])
        return low + fraction * (high - low)


# Makes each output of `LSTMForecaster`, given the levels of its quantiles
_MAKERS: dict[str, Callable[[Sequence[float]], Output]] = {
    "normal": lambda quantiles: Normal(),
    "student": lambda quantiles: StudentT(),
    "quantile": Quantiles,
}
OUTPUTS = tuple(_MAKERS)


def make_output(name: str, quantiles: Sequence[float]) -> Output:
    """Return the output of a name in `OUTPUTS`; `quantiles` are the levels of "quantile"."""
    return _MAKERS[name](quantiles)


def check_levels(name: str, value: Any) -> list[float]:
    """Return quantile levels as a list; raise TypeError or ValueError unless they rise between 0 and 1."""
    if isinstance(value, (str, bytes)) or not isinstance(value, (Sequence, np.ndarray)) or not np.ndim(value):
        raise TypeError(f"{name} is {value!r}, expected a list of numbers between 0 and 1")
    levels = [check_real(f"{name}[{index}]", level) for index, level in enumerate(value)]
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
    """Return the weighted mean of losses (...), and its gradient, given that of each loss (..., size)."""
    total = weight.sum(dtype=np.float64)
    weighted = weight > 0
    value = np.where(weighted, losses * weight, 0).sum(dtype=np.float64) / total
    normalized = (weight / total).astype(gradient.dtype)[..., np.newaxis]
    return float(value), np.where(weighted[..., np.newaxis], gradient * normalized, gradient.dtype.type(0))
