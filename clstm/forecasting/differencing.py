"""Seasonal differences of a series: each value minus the value one season before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clstm._checks import check_index


class Differences:
    """The differencing operator: the product of (1 - B^lag) over the lags, B being the backshift (Box & Jenkins 1970).

    Parameters
    ----------
    lags : sequence of int
        A lag of 1 removes a linear trend, and a lag of the season's length the season. Without lags the differences
        are the series itself.

    Attributes
    ----------
    order : int
        The number of values before the first difference: the sum of the lags.
    """

    def __init__(self, lags: Sequence[int]) -> None:
        polynomial = np.ones(1)
        for lag in lags:
            polynomial = np.convolve(polynomial, [1.0, *[0.0] * (lag - 1), -1.0])
        self.order = len(polynomial) - 1
        # A difference is a value minus its offset: the sum of coefficient * (the value `lag` steps before) of all terms
        self._terms = [(lag, -coefficient) for lag, coefficient in enumerate(polynomial) if lag and coefficient]

    def offset(self, y: np.ndarray, step: int) -> np.ndarray:
        """Return the offset (..., columns) of a step of y (..., time, columns): its value minus its difference."""
        total = np.zeros((*y.shape[:-2], y.shape[-1]))
        for lag, coefficient in self._terms:
            total += coefficient * y[..., step - lag, :]
        return total

    def __call__(self, y: np.ndarray) -> np.ndarray:
        """Return the differences (time - order, columns) of y (time, columns)."""
        result = y[self.order :].copy()
        for lag, coefficient in self._terms:
            result -= coefficient * y[self.order - lag : len(y) - lag]
        return result


def season_lags(season_length: int | Sequence[int] | None) -> Sequence[int]:
    """Return the lags of the argument ``season_length``."""
    if season_length is None:
        return ()
    return season_length if isinstance(season_length, (list, tuple)) else (season_length,)


def check_season_length(name: str, value: Any) -> None:
    """Check for None, an integer of 1 or more, or a list or tuple of them."""
    for lag in season_lags(value):
        check_index(name, lag, low=1)
