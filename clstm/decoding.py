"""Decoders for networks trained with `losses.ctc`: from the scores of each step to labels.

A path has one class at each step. It spells the labels that remain when repeats are merged and then blanks are removed.
`ctc_greedy` returns the labels that the most probable path spells; `ctc_beam` searches for the most probable labels,
whose probability is the sum over all paths that spell them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clstm._checks import check_index
from clstm._core import _ctc, threads
from clstm._core.numerics import softmax_and_log_sum_exp
from clstm.losses.ctc_loss import check_ctc_logits, check_row_lengths


def ctc_greedy(logits: np.ndarray, lengths: Any = None, *, blank: int = 0) -> list[np.ndarray]:
    """Return the labels that each row's most probable path spells: the path of the best class at each step.

    Parameters
    ----------
    logits : ndarray of shape (time, batch, classes)
        float32 or float64; log probabilities and probabilities give the same labels.
    lengths : array_like of int, shape (batch,), optional
        Real steps of each row, 0 to time; all of them if left out.
    blank : int, default 0
        The class that is the blank.

    Returns
    -------
    list of ndarray of int64
        The labels of each row.

    Raises
    ------
    TypeError
        A wrong dtype.
    ValueError
        A wrong shape, a length out of range, or NaN within a row's length.
    """
    logits, lengths, blank = _check(logits, lengths, blank)
    real = np.arange(len(logits))[:, np.newaxis] < lengths
    if np.isnan(logits.max(axis=2)[real]).any():
        raise ValueError("logits holds NaN")
    best = logits.argmax(axis=2)
    new = real & (best != blank)
    new[1:] &= best[1:] != best[:-1]
    return [best[new[:, row], row] for row in range(best.shape[1])]


def ctc_beam(
    logits: np.ndarray, lengths: Any = None, beam_size: int = 16, *, blank: int = 0
) -> tuple[list[np.ndarray], np.ndarray]:
    """Search for the most probable labels of each row, keeping the best prefixes of each step.

    The prefix beam search of Hannun et al. 2014 without a language model. A prefix has the probability of all paths
    that spell it, kept in two sums: only paths that end with a blank can be continued with the same label again.

    Parameters
    ----------
    logits : ndarray of shape (time, batch, classes)
        float32 or float64, or log probabilities, as for `losses.ctc`.
    lengths : array_like of int, shape (batch,), optional
        Real steps of each row, 0 to time; all of them if left out.
    beam_size : int, default 16
        Prefixes kept at each step, 1 or more. If none is dropped, the result is the most probable labels.
    blank : int, default 0
        The class that is the blank.

    Returns
    -------
    labels : list of ndarray of int64
        The labels of each row.
    scores : ndarray of float64, shape (batch,)
        Log probabilities of these labels, without the paths through prefixes that were dropped.

    Raises
    ------
    TypeError
        A wrong dtype.
    ValueError
        A wrong shape, a length or `beam_size` out of range, or NaN or infinity within a row's length. Minus infinity
        is allowed, except for all classes of a step.

    References
    ----------
    Hannun, Maas, Jurafsky & Ng, "First-pass large vocabulary continuous speech recognition using bi-directional
    recurrent DNNs", arXiv:1408.2873, 2014.
    """
    logits, lengths, blank = _check(logits, lengths, blank)
    beam_size = check_index("beam_size", beam_size, low=1)
    time, batch, _ = logits.shape
    _, log_sums = softmax_and_log_sum_exp(logits)
    if not np.isfinite(log_sums[np.arange(time)[:, np.newaxis] < lengths]).all():
        raise ValueError("logits holds NaN, infinity or a step without any possible class")
    labels = np.empty((batch, max(time, 1)), np.int64)
    counts = np.empty(batch, np.int64)
    scores = np.empty(batch)
    num_threads = max(1, min(threads.resolve(), batch))
    _ctc.search(logits, log_sums, lengths, blank, beam_size, labels, counts, scores, num_threads)
    return [row[:count].copy() for row, count in zip(labels, counts, strict=True)], scores


def _check(logits: Any, lengths: Any, blank: Any) -> tuple[np.ndarray, np.ndarray, int]:
    logits, blank = check_ctc_logits(logits, blank)
    time, batch, _ = logits.shape
    if lengths is None:
        return logits, np.full(batch, time), blank
    return logits, check_row_lengths("lengths", lengths, batch, time), blank
