"""The loss of connectionist temporal classification, for labels in a known order at unknown times."""

from __future__ import annotations

from typing import Any

import numpy as np

from clstm._checks import as_array, check_choice, check_flag, check_floats, check_index, check_token_ids
from clstm._core import _ctc, threads
from clstm._core.numerics import softmax_and_log_sum_exp
from clstm.losses.reduction import check_not_empty, spread


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

    For labels that come in a known order at unknown times. A path emits a label or a blank at each step. It spells the
    labels that remain when repeats are merged and then blanks are removed; P is the probability of all paths that spell
    the true labels (Graves et al. 2006). Two equal labels in a row need a blank between them.

    Parameters
    ----------
    logits : ndarray of shape (time, batch, classes)
        float32 or float64, any strides; of a batch-first array, pass ``y.swapaxes(0, 1)``. This function takes the
        softmax. PyTorch expects log probabilities, which give the same loss and the same gradient here.
    targets : array_like of int, shape (batch, labels) or (sum of target_lengths,)
        The true labels: padded with any values, or those of all rows one after another.
    input_lengths : array_like of int, shape (batch,)
        Real steps of each row, 0 to time. Later steps are ignored.
    target_lengths : array_like of int, shape (batch,)
        Labels of each row, 0 or more.
    blank : int, default 0
        The class that is the blank.
    reduction : {"mean", "sum", "none"}, default "mean"
        As PyTorch's: "mean" first divides each row's loss by its number of labels (by 1 if it has none); "none" returns
        the losses of the rows, float64 of shape (batch,), and the gradient of each.
    zero_infinity : bool, default False
        Whether loss and gradient of rows that are too short for their labels are 0, instead of infinity and NaN.
    sample_weight : ndarray of shape (batch,), optional
        See the module; with "sum" and "none" the losses are multiplied by it.

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
    check_not_empty("logits", logits)
    lengths = check_row_lengths("input_lengths", input_lengths, batch, time)
    labels, counts = _check_labels(targets, target_lengths, batch, classes, blank)
    reduction = check_choice("reduction", reduction, ("mean", "sum", "none"))
    zero_infinity = check_flag("zero_infinity", zero_infinity)
    scales = np.ones(batch)
    if sample_weight is not None:
        scales *= spread(sample_weight, logits.dtype, (batch,))
    if reduction == "mean":
        if not scales.any():
            raise ValueError("sample_weight is 0 throughout, expected some above")
        scales /= scales.sum() * np.maximum(counts, 1)

    gradient, log_sums = softmax_and_log_sum_exp(logits)
    losses = np.empty(batch)
    starts = np.concatenate([[0], np.cumsum(counts)])
    num_threads = min(threads.resolve(), batch)
    _ctc.loss(logits, log_sums, labels, starts, lengths, blank, scales, zero_infinity, losses, gradient, num_threads)
    losses = np.where(scales > 0, losses * scales, 0)
    return (losses if reduction == "none" else float(losses.sum())), gradient


def check_ctc_logits(logits: Any, blank: Any) -> tuple[np.ndarray, int]:
    """Return the logits, checked to have three axes, and the blank, checked to be one of the classes."""
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
    """Return the labels of all rows one after another, and how many labels each row has."""
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
