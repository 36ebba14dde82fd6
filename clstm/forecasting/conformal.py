"""Split conformal intervals: their widths come from past errors, whatever distribution the network forecasts.

See Vovk, Gammerman & Shafer (2005), "Algorithmic learning in a random world". A conformity score is a forecast's error
divided by its spread, as in Lei et al. (2018), "Distribution-free predictive inference for regression". Each step ahead
has scores and intervals separate from those of the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def sort_scores(scores: np.ndarray) -> np.ndarray:
    """Return scores (windows, h, columns) as `quantile` takes them: (h, columns, windows), sorted along the windows."""
    return np.sort(np.moveaxis(scores, 0, -1), axis=-1)


def rolling_quantiles(scores: np.ndarray, size: int, n_windows: int, levels: Sequence[float]) -> np.ndarray:
    """Return quantiles for the last windows, each from the scores of `size` windows before it.

    Parameters
    ----------
    scores : ndarray of shape (series, size + gap + n_windows - 1, h, columns)
        In the order of time. The `gap` is how many windows after its own a score is first known: at the cut-off of a
        window, neither its score nor those of the `gap` - 1 windows before it are.
    size, n_windows : int
    levels : sequence of float

    Returns
    -------
    ndarray of shape (levels, n_windows, h, columns)
    """
    h, columns = scores.shape[2:]
    result = np.empty((len(levels), n_windows, h, columns))
    for step in range(h):  # one at a time, to bound the memory
        known = sliding_window_view(scores[:, : size + n_windows - 1, step], size, axis=1)
        known = np.sort(np.moveaxis(known, 0, -1).reshape(n_windows, columns, -1), axis=-1)
        for index, level in enumerate(levels):
            result[index, :, step] = quantile(known, level)
    return result


def quantile(sorted_scores: np.ndarray, level: float) -> np.ndarray:
    """Return the scores (...) that the next ones are below with probability `level`.

    Of n past scores and the next one, if all orders are equally likely, the next is below the k-th smallest with
    probability k / (n + 1). Between two scores this interpolates linearly. At levels beyond 1 / (n + 1) and
    n / (n + 1), where n scores say nothing, it returns the smallest or the largest.

    Parameters
    ----------
    sorted_scores : ndarray of shape (..., n)
    level : float
    """
    n = sorted_scores.shape[-1]
    rank = np.clip(level * (n + 1) - 1, 0, n - 1)
    below = int(rank)
    above = min(below + 1, n - 1)
    return sorted_scores[..., below] + (rank - below) * (sorted_scores[..., above] - sorted_scores[..., below])
