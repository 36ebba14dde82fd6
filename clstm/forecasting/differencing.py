"""Seasonal differences of a series: what it is beyond its own value a season ago."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Differences:
    """The product of (1 - B^lag) over some lags, B being a step back (Box & Jenkins 1970).

    Parameters
    ----------
    lags : sequence of int
        A lag of 1 takes the trend out, a season's length the season. None leaves the series as it is.

    Attributes
    ----------
    order : int
        Values before the first difference: the sum of the lags.
    """

    def __init__(self, lags: Sequence[int]) -> None:
        polynomial = np.ones(1)
        for lag in lags:
            polynomial = np.convolve(polynomial, [1.0, *[0.0] * (lag - 1), -1.0])
        self.order = len(polynomial) - 1
        # A difference is a value minus its offset, the sum of factor * the value so many steps ago
        self._terms = [(back, -factor) for back, factor in enumerate(polynomial) if back and factor]

    def offset(self, y: np.ndarray, place: int) -> np.ndarray:
        """Return what is to be added to the difference at a place of y (..., time, columns) to have the value there."""
        total = np.zeros((*y.shape[:-2], y.shape[-1]))
        for back, factor in self._terms:
            total += factor * y[..., place - back, :]
        return total

    def __call__(self, y: np.ndarray) -> np.ndarray:
        """Return the differences (time - order, columns) of y (time, columns)."""
        result = y[self.order :].copy()
        for back, factor in self._terms:
            result -= factor * y[self.order - back : len(y) - back]
        return result
