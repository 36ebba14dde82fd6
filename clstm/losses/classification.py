"""Losses of scores for classes: cross-entropy over several classes, and over two."""

from __future__ import annotations

from typing import Any

import numpy as np

from clstm._checks import as_array, check_array, check_floats, check_index, check_real, check_token_ids, quiet
from clstm._core.numerics import shift
from clstm.losses.reduction import Loss, check_not_empty, check_pair, check_weight, mean, spread


def cross_entropy(
    logits: np.ndarray,
    targets: Any,
    *,
    weights: np.ndarray | None = None,
    sample_weight: np.ndarray | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
) -> Loss:
    """Return the mean of -log softmax(logits)[target], and its gradient.

    Parameters
    ----------
    logits : ndarray of shape (..., classes)
        Scores, float32 or float64, of any magnitude: the softmax doesn't overflow.
    targets : array_like of int, shape (...)
        The true classes.
    weights : ndarray of shape (classes,), optional
        Weight of each class, 0 or more.
    sample_weight : ndarray, optional
        A weight for each target, or for one or more of the first axes of `targets`; see the module.
    label_smoothing : float, default 0.0
        Fraction of each target that is spread evenly over all classes (Szegedy et al. 2016), 0 to 1.
    ignore_index : int, optional
        Targets of this value are ignored; it may lie outside the range of classes. (PyTorch's default is -100.)

    Returns
    -------
    value : float
        sum_i w_i s_i loss_i / sum_i w_i s_i, where w_i is the weight of target i's class and s_i that of the sample.
    gradient : ndarray of shape (..., classes)

    Raises
    ------
    TypeError
        A wrong dtype.
    ValueError
        A wrong shape, a target out of range, no targets, or only targets that are ignored or have weight 0.
    """
    logits = check_floats("logits", logits)
    if logits.ndim == 0:
        raise ValueError("logits has shape (), expected (..., classes)")
    check_not_empty("logits", logits)
    shape, classes = logits.shape, logits.shape[-1]
    targets = as_array("targets", targets)
    if targets.shape != shape[:-1]:
        raise ValueError(f"targets has shape {targets.shape}, expected {shape[:-1]} (logits without the classes)")
    counted = np.ones(targets.shape)
    if ignore_index is not None:
        counted[targets == check_index("ignore_index", ignore_index)] = 0
        targets = np.where(counted > 0, targets, 0)
    targets = check_token_ids("targets", targets, classes).reshape(-1)
    if weights is not None:
        weights = check_weight("weights", check_array("weights", weights, logits.dtype, [("classes", classes)]))
    if sample_weight is not None:
        counted *= spread(sample_weight, logits.dtype, shape[:-1])
    smoothing = check_real("label_smoothing", label_smoothing, low=0.0, high=1.0)
    return _cross_entropy(logits.reshape(-1, classes), targets, weights, counted.reshape(-1), smoothing, shape)


@quiet
def _cross_entropy(logits, targets, weights, counted, smoothing, shape) -> Loss:
    """Return the loss and the gradient, in the given shape.

    Parameters
    ----------
    logits : ndarray of shape (n, classes)
    targets : ndarray of int, shape (n,)
    weights : ndarray of shape (classes,), or None
    counted : ndarray of float64, shape (n,)
        The samples' weights; 0 where a target is ignored.
    smoothing : float
    shape : tuple of int
        Of the gradient.
    """
    n, classes = logits.shape
    rows = np.arange(n)
    by_row = counted if weights is None else counted * weights[targets]
    total = by_row.sum()
    if not total > 0:
        raise ValueError("no target counts: all are ignored or have weight 0")
    if not counted.all():
        logits = np.where(counted[:, np.newaxis] > 0, logits, 0)  # an ignored row may hold NaN

    shifted = shift(logits)
    right = shifted[rows, targets].astype(np.float64)
    even = smoothing / classes
    if smoothing:
        all_weights = classes if weights is None else weights.sum(dtype=np.float64)
        weighted = (shifted if weights is None else shifted * weights).sum(axis=1, dtype=np.float64)
    exponentials = np.exp(shifted, out=shifted)
    sums = exponentials.sum(axis=1, dtype=np.float64)
    log_sums = np.log(sums)

    value = (1 - smoothing) * (by_row * (log_sums - right)).sum()
    scale = (1 - smoothing) * by_row
    if smoothing:
        value += even * (counted * (all_weights * log_sums - weighted)).sum()
        scale += even * all_weights * counted
    gradient = exponentials
    gradient *= (scale / (sums * total)).astype(logits.dtype)[:, np.newaxis]
    gradient[rows, targets] -= ((1 - smoothing) / total * by_row).astype(logits.dtype)
    if smoothing:
        evenly = (even / total * counted).astype(logits.dtype)[:, np.newaxis]
        gradient -= evenly if weights is None else evenly * weights
    return float(value / total), gradient.reshape(shape)


@quiet
def binary_cross_entropy_with_logits(
    logits: np.ndarray,
    targets: np.ndarray,
    *,
    pos_weight: float | np.ndarray | None = None,
    sample_weight: np.ndarray | None = None,
) -> Loss:
    """Return the mean of -t log sigmoid(z) - (1 - t) log(1 - sigmoid(z)), and its gradient.

    Parameters
    ----------
    logits : ndarray of any shape
        z, float32 or float64, of any magnitude: nothing overflows or cancels.
    targets : ndarray of the same shape and dtype
        t, 0 to 1.
    pos_weight : float or ndarray of shape (classes,), optional
        Factor of the first term, 0 or more; an array has one for each element of the last axis.
    sample_weight : ndarray, optional
        See the module. The sum is divided by the sum of the weights; PyTorch's `weight` doesn't change the divisor.

    Returns
    -------
    value : float
    gradient : ndarray of the same shape

    Raises
    ------
    TypeError
        A wrong dtype.
    ValueError
        A wrong shape, a target outside of 0 to 1, no targets, or only weights of 0.
    """
    logits, targets = check_pair("logits", logits, "targets", targets)
    if not (targets.min() >= 0 and targets.max() <= 1):
        raise ValueError(f"targets holds values of {targets.min()} to {targets.max()}, expected 0 to 1")
    if pos_weight is not None:
        if np.ndim(pos_weight) == 0:
            pos_weight = check_real("pos_weight", pos_weight, low=0.0)
        else:
            last = [("logits' last axis", size) for size in logits.shape[-1:]]
            pos_weight = check_weight("pos_weight", check_array("pos_weight", pos_weight, logits.dtype, last))

    # exp(-|x|) and log(1 + exp(-|x|)) serve both log(sigmoid(x)) and log(1 - sigmoid(x)), and their gradients too
    small = np.exp(-np.abs(logits))
    rest = np.log1p(small)
    positive = targets if pos_weight is None else targets * pos_weight
    negative = 1 - targets
    # log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)); both terms are 0 or more, so nothing cancels
    losses = positive * (np.maximum(-logits, 0) + rest) + negative * (np.maximum(logits, 0) + rest)
    above = np.where(logits < 0, small, 1)
    below = np.where(logits < 0, 1, small)
    gradient = (negative * above - positive * below) / (1 + small)
    return mean(losses, gradient, sample_weight)
