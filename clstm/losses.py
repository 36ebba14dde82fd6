"""Losses: the mean over a batch, and its gradient with respect to the first argument.

Every loss returns ``(value, gradient)``: a Python float, summed in float64, and an array of the first argument's
shape and dtype. The gradient is that of the mean, so it goes into `backward` as it is. Reductions are PyTorch's; a
mean with weights is sum(weight * loss) / sum(weight).

Targets and weights must have the dtype of the first argument (nothing is cast) and match its shape (nothing is
broadcast but what is said below). NaN and infinity in the first argument pass through to value and gradient.

`sample_weight` of every loss gives a weight, 0 or more, for each sample, or each sample and step, and so on: its shape
is that of one or more of the first axes of the losses. What has weight 0 is not looked at: so a mask (batch, time),
made a float array, leaves out what lies past the rows' lengths, whatever stands there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clstm import mixture
from clstm._checks import (
    as_array,
    check_array,
    check_choice,
    check_flag,
    check_floats,
    check_index,
    check_positive,
    check_real,
    check_token_ids,
    quiet,
)
from clstm._core import _ctc, threads

Loss = tuple[float, np.ndarray]


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
        float32 or float64, of any size: the softmax is taken of the differences from the largest.
    targets : array_like of int, shape (...)
        The right classes.
    weights : ndarray of shape (classes,), optional
        Weight of each class, 0 or more.
    sample_weight : ndarray, optional
        See the module; its axes are those of `targets`.
    label_smoothing : float, default 0.0
        This share of each target is spread evenly over all classes (Szegedy et al. 2016), 0 to 1.
    ignore_index : int, optional
        Targets of this value, in the range of classes or not, don't count (PyTorch's default is -100, here none).

    Returns
    -------
    value : float
        sum_i w_i s_i loss_i / sum_i w_i s_i with w_i the weight of target i's class and s_i the sample's.
    gradient : ndarray of shape (..., classes)

    Raises
    ------
    TypeError
        A wrong dtype.
    ValueError
        A wrong shape, a target out of range, no targets at all, or none that counts.
    """
    logits = check_floats("logits", logits)
    if logits.ndim == 0:
        raise ValueError("logits has shape (), expected (..., classes)")
    _check_not_empty("logits", logits)
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
        weights = _check_weight("weights", check_array("weights", weights, logits.dtype, [("classes", classes)]))
    if sample_weight is not None:
        counted *= _spread(sample_weight, logits.dtype, shape[:-1])
    smoothing = check_real("label_smoothing", label_smoothing, low=0.0, high=1.0)
    return _cross_entropy(logits.reshape(-1, classes), targets, weights, counted.reshape(-1), smoothing, shape)


@quiet
def _cross_entropy(logits, targets, weights, counted, smoothing, shape) -> Loss:
    """Do so for logits (n, classes), targets (n,), weights (classes,) or None and counted (n,), in float64."""
    n, classes = logits.shape
    rows = np.arange(n)
    by_row = counted if weights is None else counted * weights[targets]
    total = by_row.sum()
    if not total > 0:
        raise ValueError("no target counts: all are ignored or have weight 0")
    if not counted.all():
        logits = np.where(counted[:, np.newaxis] > 0, logits, 0)  # NaN there must not matter

    shifted = logits - logits.max(axis=1, keepdims=True)
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
        share = (even / total * counted).astype(logits.dtype)[:, np.newaxis]
        gradient -= share if weights is None else share * weights
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
        z, float32 or float64, of any size: nothing overflows or cancels.
    targets : ndarray of the same shape and dtype
        t, 0 to 1.
    pos_weight : float or ndarray of shape (classes,), optional
        Factor, 0 or more, of the first term; as an array, one for each element of the last axis.
    sample_weight : ndarray, optional
        See the module. (PyTorch's `weight` leaves the divisor alone, this one doesn't.)

    Returns
    -------
    value : float
    gradient : ndarray of the same shape

    Raises
    ------
    TypeError
        A wrong dtype.
    ValueError
        A wrong shape, a target outside of 0 to 1, or nothing that counts.
    """
    logits, targets = _check_pair("logits", logits, "targets", targets)
    if not (targets.min() >= 0 and targets.max() <= 1):
        raise ValueError(f"targets holds values of {targets.min()} to {targets.max()}, expected 0 to 1")
    if pos_weight is not None:
        if np.ndim(pos_weight) == 0:
            pos_weight = check_real("pos_weight", pos_weight, low=0.0)
        else:
            last = [("logits' last axis", size) for size in logits.shape[-1:]]
            pos_weight = _check_weight("pos_weight", check_array("pos_weight", pos_weight, logits.dtype, last))

    small = np.exp(-np.abs(logits))
    rest = np.log1p(small)
    positive = targets if pos_weight is None else targets * pos_weight
    negative = 1 - targets
    # log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)); both terms are 0 or more, so nothing cancels
    losses = positive * (np.maximum(-logits, 0) + rest) + negative * (np.maximum(logits, 0) + rest)
    above = np.where(logits < 0, small, 1)
    below = np.where(logits < 0, 1, small)
    gradient = (negative * above - positive * below) / (1 + small)
    return _mean(losses, gradient, sample_weight)


@quiet
def mse(prediction: np.ndarray, target: np.ndarray, *, sample_weight: np.ndarray | None = None) -> Loss:
    """Return the mean of (prediction - target)^2, and its gradient.

    Parameters
    ----------
    prediction : ndarray of any shape
        float32 or float64.
    target : ndarray of the same shape and dtype
    sample_weight : ndarray, optional
        See the module.

    Returns
    -------
    value : float
    gradient : ndarray of the same shape

    Raises
    ------
    TypeError
        A wrong dtype.
    ValueError
        A wrong shape, or nothing that counts.
    """
    prediction, target = _check_pair("prediction", prediction, "target", target)
    difference = prediction - target
    return _mean(np.square(difference), 2 * difference, sample_weight)


@quiet
def huber(
    prediction: np.ndarray, target: np.ndarray, *, delta: float = 1.0, sample_weight: np.ndarray | None = None
) -> Loss:
    """Return the mean of ``d^2 / 2`` where ``|d| <= delta``, else ``delta (|d| - delta / 2)``, and its gradient.

    d is prediction - target. Huber (1964): as `mse` (by half) for small errors, linear in large ones.

    Parameters
    ----------
    prediction : ndarray of any shape
        float32 or float64.
    target : ndarray of the same shape and dtype
    delta : float, default 1.0
        Above 0.
    sample_weight : ndarray, optional
        See the module.

    Returns
    -------
    value : float
    gradient : ndarray of the same shape

    Raises
    ------
    TypeError
        A wrong dtype.
    ValueError
        A wrong shape, `delta` not above 0, or nothing that counts.
    """
    prediction, target = _check_pair("prediction", prediction, "target", target)
    delta = check_positive("delta", delta)
    difference = prediction - target
    clipped = np.clip(difference, -delta, delta)
    # c d - c^2 / 2 is d^2 / 2 inside, where c = d, and delta |d| - delta^2 / 2 outside
    return _mean(clipped * (difference - clipped / 2), clipped, sample_weight)


@quiet
def quantile(
    prediction: np.ndarray,
    target: np.ndarray,
    *,
    q: float | np.ndarray = 0.5,
    sample_weight: np.ndarray | None = None,
) -> Loss:
    """Return the mean of q (target - prediction) where that is positive, else (1 - q) (prediction - target).

    The pinball loss (Koenker & Bassett 1978), which is least where the prediction is the target's q-quantile; half of
    the absolute error where q is 0.5. PyTorch doesn't have it. Where prediction and target are equal the gradient is
    taken as 0.

    Parameters
    ----------
    prediction : ndarray of any shape
        float32 or float64.
    target : ndarray of the same shape and dtype
    q : float or ndarray, default 0.5
        Quantiles, above 0 and below 1; as an array (of any dtype), one for each element of the last axis.
    sample_weight : ndarray, optional
        See the module.

    Returns
    -------
    value : float
    gradient : ndarray of the same shape

    Raises
    ------
    TypeError
        A wrong dtype.
    ValueError
        A wrong shape, a quantile out of range, or nothing that counts.
    """
    prediction, target = _check_pair("prediction", prediction, "target", target)
    q = _check_quantiles(q, prediction)
    difference = target - prediction
    losses = np.maximum(q * difference, (q - 1) * difference)
    gradient = np.where(difference > 0, -q, np.where(difference < 0, 1 - q, 0 * difference))
    return _mean(losses, gradient, sample_weight)


def _check_quantiles(q: Any, prediction: np.ndarray) -> np.ndarray:
    array = as_array("q", q)
    if array.ndim == 0:
        array = np.asarray(check_real("q", q))
    elif array.shape != prediction.shape[-1:]:
        raise ValueError(f"q has shape {array.shape}, expected (prediction's last axis={prediction.shape[-1]},)")
    if not (array.min() > 0 and array.max() < 1):
        raise ValueError(f"q holds values of {array.min()} to {array.max()}, expected above 0 and below 1")
    return array.astype(prediction.dtype)


@quiet
def mixture_density(parameters: np.ndarray, targets: np.ndarray, *, sample_weight: np.ndarray | None = None) -> Loss:
    """Return the mean of -log p(target) under mixtures of Gaussians in the plane, and its gradient.

    Graves (2013), arXiv:1308.0850, equation 26 without the end of a stroke. What the parameters mean is said in
    `clstm.mixture`, whose `sample` draws points from them.

    Parameters
    ----------
    parameters : ndarray of shape (..., 6 * components)
        float32 or float64, as a network gives them: nothing about them is restricted.
    targets : ndarray of shape (..., 2)
        Points, of the same dtype.
    sample_weight : ndarray, optional
        See the module; its axes are those of `targets` but the last.

    Returns
    -------
    value : float
        In nats a point. A density can be above 1, so it can be below 0.
    gradient : ndarray of shape (..., 6 * components)

    Raises
    ------
    TypeError
        A wrong dtype.
    ValueError
        A wrong shape, or nothing that counts.
    """
    parameters = mixture.check_parameters(parameters)
    _check_not_empty("parameters", parameters)
    leading = parameters.shape[:-1]
    axes = [*(("parameters' axis", size) for size in leading), ("x and y", 2)]
    targets = check_array("targets", targets, parameters.dtype, axes)
    losses, gradient = mixture.negative_log_likelihood(
        parameters.reshape(-1, parameters.shape[-1]), targets.reshape(-1, 2)
    )
    return _mean(losses.reshape(leading), gradient.reshape(parameters.shape), sample_weight)


def ctc(
    logits: np.ndarray,
    targets: Any,
    input_lengths: Any,
    target_lengths: Any,
    *,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
    sample_weight: np.ndarray | None = None,
) -> tuple[float | np.ndarray, np.ndarray]:
    """Return the mean of -log P(labels | row), and its gradient: connectionist temporal classification.

    For labels that come in a known order at unknown times. Each step emits a label or a blank; a row of steps spells
    the labels that are left when repeats are taken as one and the blanks are dropped; P is the probability of all rows
    that spell the right labels (Graves et al. 2006). Two equal labels in turn need a blank between them.

    Parameters
    ----------
    logits : ndarray of shape (time, batch, classes)
        float32 or float64, any strides; a batch-first array goes in as ``y.swapaxes(0, 1)``. The softmax is taken here.
        Log probabilities, which PyTorch wants, are their own logits: they give the same loss and the same gradient.
    targets : array_like of int, shape (batch, labels) or (sum of target_lengths,)
        The right labels, padded with anything, or one row's after the other's.
    input_lengths : array_like of int, shape (batch,)
        Real steps of each row, 0 to time. What lies past them doesn't matter.
    target_lengths : array_like of int, shape (batch,)
        Labels of each row, 0 or more.
    blank : int, default 0
        The class that is the blank.
    reduction : {"mean", "sum", "none"}, default "mean"
        PyTorch's: "mean" divides each row's loss by its number of labels (or by 1 without any) first; "none" returns
        the rows' losses, float64 of shape (batch,), and the gradient of each.
    zero_infinity : bool, default False
        Loss and gradient of rows that are too short for their labels are 0. Otherwise infinity and NaN.
    sample_weight : ndarray of shape (batch,), optional
        See the module; "sum" and "none" multiply by it.

    Returns
    -------
    value : float, or ndarray of shape (batch,)
    gradient : ndarray of shape (time, batch, classes)
        Of the logits; 0 past the rows' lengths.

    Raises
    ------
    TypeError
        A wrong dtype.
    ValueError
        A wrong shape, a length or a label out of range, or the blank among the labels.
    """
    logits, blank = check_ctc_logits(logits, blank)
    time, batch, classes = logits.shape
    _check_not_empty("logits", logits)
    lengths = check_row_lengths("input_lengths", input_lengths, batch, time)
    labels, counts = _check_labels(targets, target_lengths, batch, classes, blank)
    reduction = check_choice("reduction", reduction, ("mean", "sum", "none"))
    zero_infinity = check_flag("zero_infinity", zero_infinity)
    scales = np.ones(batch)
    if sample_weight is not None:
        scales *= _spread(sample_weight, logits.dtype, (batch,))
    if reduction == "mean":
        if not scales.any():
            raise ValueError("sample_weight is 0 throughout, expected some above")
        scales /= scales.sum() * np.maximum(counts, 1)

    gradient, log_sums = softmax_and_log_sums(logits)
    losses = np.empty(batch)
    starts = np.concatenate([[0], np.cumsum(counts)])
    num_threads = min(threads.resolve(), batch)
    _ctc.loss(logits, log_sums, labels, starts, lengths, blank, scales, zero_infinity, losses, gradient, num_threads)
    losses = np.where(scales > 0, losses * scales, 0)
    return (losses if reduction == "none" else float(losses.sum())), gradient


@quiet
def softmax_and_log_sums(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return softmax(logits) over the last axis, and in float64 what is to be taken from logits for its logarithm."""
    most = logits.max(axis=-1, keepdims=True)
    probabilities = logits - most
    np.exp(probabilities, out=probabilities)
    sums = probabilities.sum(axis=-1, keepdims=True, dtype=np.float64)
    probabilities *= (1 / sums).astype(logits.dtype)
    return probabilities, (most + np.log(sums))[..., 0]


def check_ctc_logits(logits: Any, blank: Any) -> tuple[np.ndarray, int]:
    """Return both, checked: logits of three axes, and a class."""
    logits = check_floats("logits", logits)
    if logits.ndim != 3 or logits.shape[2] == 0:
        raise ValueError(f"logits has shape {logits.shape}, expected (time, batch, classes)")
    return logits, check_index("blank", blank, low=0, high=logits.shape[2] - 1)


def check_row_lengths(name: str, value: Any, batch: int, most: int) -> np.ndarray:
    """Return `value` as an int64 array of shape (batch,) with values in 0..most."""
    lengths = as_array(name, value)
    if lengths.shape != (batch,):
        raise ValueError(f"{name} has shape {lengths.shape}, expected (batch={batch},)")
    if lengths.size and lengths.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {lengths.dtype}, expected integers")
    for row in np.flatnonzero((lengths < 0) | (lengths > most))[:1]:
        raise ValueError(f"{name}[{row}] is {lengths[row]}, expected 0 to {most}")
    return lengths.astype(np.int64)


def _check_labels(targets: Any, lengths: Any, batch: int, classes: int, blank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of all rows after each other, and how many there are of each row."""
    targets = as_array("targets", targets)
    padded = targets.ndim == 2
    if targets.ndim not in (1, 2) or (padded and len(targets) != batch):
        raise ValueError(
            f"targets has shape {targets.shape}, expected (batch={batch}, labels) or (labels of all rows,)"
        )
    lengths = check_row_lengths("target_lengths", lengths, batch, targets.shape[-1])
    if padded:
        targets = targets[np.arange(targets.shape[1]) < lengths[:, np.newaxis]]
    elif targets.size != lengths.sum():
        raise ValueError(f"targets has {targets.size} labels, expected {lengths.sum()}, the sum of target_lengths")
    labels = check_token_ids("targets", targets, classes)
    if (labels == blank).any():
        raise ValueError(f"targets holds {blank}, which is the blank")
    return labels, lengths


def _mean(losses: np.ndarray, gradient: np.ndarray, sample_weight: Any) -> Loss:
    """Return the mean of `losses`, and `gradient`, which is that of each loss by itself, as that of the mean.

    The gradient may have further axes after those of the losses.
    """
    if sample_weight is None:
        return float(losses.mean(dtype=np.float64)), np.divide(gradient, losses.size, out=np.empty_like(gradient))
    weight = _spread(sample_weight, losses.dtype, losses.shape)
    total = weight.sum(dtype=np.float64)
    if not total > 0:
        raise ValueError("sample_weight is 0 throughout, expected some above")
    counts = weight > 0  # what doesn't may be NaN
    value = np.where(counts, losses * weight, 0).sum(dtype=np.float64) / total
    further = (1,) * (gradient.ndim - losses.ndim)
    share = (weight / total).astype(losses.dtype).reshape(losses.shape + further)
    gradient = np.where(counts.reshape(share.shape), gradient * share, 0)
    return float(value), gradient.astype(losses.dtype, copy=False)


def _check_pair(name: str, value: Any, other_name: str, other: Any) -> tuple[np.ndarray, np.ndarray]:
    value = check_floats(name, value)
    _check_not_empty(name, value)
    other = check_array(other_name, other, value.dtype, [(f"{name}'s axis", size) for size in value.shape])
    return value, other


def _check_not_empty(name: str, array: np.ndarray) -> None:
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}: the mean of nothing")


def _check_weight(name: str, weight: np.ndarray) -> np.ndarray:
    if weight.size and not (weight.min() >= 0 and np.isfinite(weight.max())):
        raise ValueError(f"{name} holds values of {weight.min()} to {weight.max()}, expected finite and 0 or more")
    return weight


def _spread(sample_weight: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Return `sample_weight`, given for one or more of the first axes of `shape`, as a view of all of `shape`."""
    weight = as_array("sample_weight", sample_weight)
    if weight.shape != shape[: weight.ndim] or (weight.ndim == 0 and shape):
        raise ValueError(f"sample_weight has shape {weight.shape}, expected {shape} or one or more of its first axes")
    weight = _check_weight("sample_weight", check_array("sample_weight", weight, dtype, [("axis", None)] * weight.ndim))
    return np.broadcast_to(weight.reshape(weight.shape + (1,) * (len(shape) - weight.ndim)), shape)
