"""Split conformal intervals: as wide as past errors say, whatever the distribution that the network believes in.

Vovk, Gammerman & Shafer (2005), "Algorithmic learning in a random world"; scaled by a spread that varies as in Lei et
al. (2018), "Distribution-free predictive inference for regression". Each horizon has its own. A score is an error in
units of the spread that was forecast.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def sort_scores(scores: np.ndarray) -> np.ndarray:
    """Return scores, (windows, h, columns), as `quantile` takes them: (h, columns, windows), the last axis sorted."""
    return np.sort(np.moveaxis(scores, 0, -1), axis=-1)


def rolling_quantiles(scores: np.ndarray, size: int, n_windows: int, levels: Sequence[float]) -> np.ndarray:
    """Return quantiles for windows that follow one another, each of the scores of `size` windows before it.

    Parameters
    ----------
    scores : ndarray of shape (series, size + gap + n_windows - 1, h, columns)
        In the order of time; a window's own and those of the `gap` - 1 before it aren't known at its cut-off.
    size, n_windows : int
    levels : sequence of float

    Returns
    -------
    ndarray of shape (levels, n_windows, h, columns)
    """
    h, columns = scores.shape[2:]
    result = np.empty((len(levels), n_windows, h, columns))
    for step in range(h):  # which bounds the memory
        known = sliding_window_view(scores[:, : size + n_windows - 1, step], size, axis=1)
        known = np.sort(np.moveaxis(known, 0, -1).reshape(n_windows, columns, -1), axis=-1)
        result[:, :, step] = [quantile(known, level) for level in levels]
    return result


def quantile(sorted_scores: np.ndarray, level: float) -> np.ndarray:
    """Return the score (...) that the next one is below with probability `level`, given sorted ones (..., windows).

    Of n past scores and the next, in any order alike, the next is below the k-th smallest with probability k / (n + 1).
    Between two scores the line is taken, and the outermost ones at levels that n scores can't tell.
    """
    n = sorted_scores.shape[-1]
    place = np.clip(level * (n + 1) - 1, 0, n - 1)
    below = int(place)
    above = min(below + 1, n - 1)
    return sorted_scores[..., below] + (place - below) * (sorted_scores[..., above] - sorted_scores[..., below])
