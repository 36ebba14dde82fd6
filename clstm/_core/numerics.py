"""Softmax, sigmoid and their relatives, written so that no exponential overflows.

The results have the dtype of the input, except where the description says otherwise, and NaN passes through.
"""

from __future__ import annotations

import numpy as np

from clstm._checks import quiet


def shift(
    scores: np.ndarray, axis: int = -1, *, dtype: np.dtype | type | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """Subtract the largest score along an axis: the softmax stays the same, and the exponentials are at most 1.

    Parameters
    ----------
    scores : ndarray
    axis : int, default -1
    dtype : dtype, optional
        Of the calculation and the result; that of the scores if left out.
    out : ndarray, optional
        Where the result goes; may be `scores` itself.

    Returns
    -------
    ndarray
    """
    return np.subtract(scores, scores.max(axis=axis, keepdims=True), out=out, dtype=dtype)


def softmax(
    scores: np.ndarray, axis: int = -1, *, dtype: np.dtype | type | None = None, out: np.ndarray | None = None
) -> np.ndarray:
    """Return exp(scores) divided by its sum along an axis; the parameters are those of `shift`."""
    exponentials = shift(scores, axis, dtype=dtype, out=out)
    np.exp(exponentials, out=exponentials)
    exponentials /= exponentials.sum(axis=axis, keepdims=True)
    return exponentials


def log_softmax(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the logarithm of the softmax along an axis."""
    shifted = shift(scores, axis)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def log_softmax_at(scores: np.ndarray, classes: np.ndarray, *, out: np.ndarray | None = None) -> np.ndarray:
    """Return the logarithm of the softmax over the last axis for some of the classes only.

    Parameters
    ----------
    scores : ndarray of shape (..., classes)
    classes : ndarray of int, shape (..., n)
    out : ndarray, optional
        Memory to work in, of the shape and dtype of `scores`, which it may be. It doesn't hold the result.

    Returns
    -------
    ndarray of float64, shape (..., n)
        Rounding errors of sums over very many classes don't reach it: the sums are in float64.
    """
    shifted = shift(scores, out=out)
    chosen = np.take_along_axis(shifted, classes, axis=-1)
    return chosen - np.log(np.exp(shifted, out=shifted).sum(axis=-1, keepdims=True, dtype=np.float64))


def log_sum_exp(scores: np.ndarray, axis: int = -1) -> np.ndarray:
    """Return the logarithm of the sum of exp(scores) along an axis, which the result lacks."""
    largest = scores.max(axis=axis, keepdims=True)
    sums = np.exp(scores - largest).sum(axis=axis, keepdims=True)
    return np.squeeze(largest + np.log(sums), axis)


@quiet
def softmax_and_log_sum_exp(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the softmax over the last axis, and the logarithm of the sum of exp(scores), both with sums in float64.

    Parameters
    ----------
    scores : ndarray of shape (..., classes)

    Returns
    -------
    probabilities : ndarray of shape (..., classes)
        In the dtype of the scores.
    log_sums : ndarray of float64, shape (...)
        ``scores - log_sums[..., None]`` are the logarithms of the probabilities.
    """
    largest = scores.max(axis=-1, keepdims=True)
    probabilities = scores - largest
    np.exp(probabilities, out=probabilities)
    sums = probabilities.sum(axis=-1, keepdims=True, dtype=np.float64)
    probabilities *= (1 / sums).astype(scores.dtype)
    return probabilities, (largest + np.log(sums))[..., 0]


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Return 1 / (1 + exp(-x))."""
    return _sigmoid(x, np.exp(-np.abs(x)))


def softplus_and_sigmoid(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return log(1 + exp(x)) and its derivative, the sigmoid of x."""
    small = np.exp(-np.abs(x))
    return np.maximum(x, 0) + np.log1p(small), _sigmoid(x, small)


def _sigmoid(x: np.ndarray, small: np.ndarray) -> np.ndarray:
    return np.where(x < 0, small, 1) / (1 + small)
