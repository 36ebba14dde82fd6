"""Split conformal intervals: as wide as past errors say, whatever the distribution that the network believes in.

Vovk, Gammerman & Shafer (2005), "Algorithmic learning in a random world"; scaled by a spread that varies as in Lei et
al. (2018), "Distribution-free predictive inference for regression". Each horizon has its own.
"""

from __future__ import annotations

import numpy as np


def scores(actual: np.ndarray, point: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return past errors in units of the spread that was forecast, sorted: (h, columns, all windows of all series).

    Parameters
    ----------
    actual, point, spread : ndarray of shape (windows, h, columns)
    """
    return np.sort(np.moveaxis((actual - point) / spread, 0, -1), axis=-1)


def quantile(sorted_scores: np.ndarray, level: float) -> np.ndarray:
    """Return the score (h, columns) that the next one is below with probability `level`.

    Of n past scores and the next, in any order alike, the next is below the k-th smallest with probability k / (n + 1).
    Between two scores the line is taken, and the outermost ones at levels that n scores can't tell.
    """
    n = sorted_scores.shape[-1]
    place = np.clip(level * (n + 1) - 1, 0, n - 1)
    below = int(place)
    above = min(below + 1, n - 1)
    return sorted_scores[..., below] + (place - below) * (sorted_scores[..., above] - sorted_scores[..., below])
