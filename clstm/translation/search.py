"""Beam search: the likeliest targets of an encoder-decoder for sources, for a batch of sources at once."""

from __future__ import annotations

import numpy as np

from clstm._core.numerics import log_softmax_at
from clstm.translation.encoder_decoder import EncoderDecoder

Found = tuple[np.ndarray, np.ndarray]


def beam_search(
    network: EncoderDecoder,
    source: np.ndarray,
    lengths: np.ndarray,
    *,
    beam_size: int,
    length_penalty: float,
    max_steps: np.ndarray,
    start: int,
    end: int,
    never: tuple[int, ...],
) -> list[Found]:
    """Return the best target found for each source row.

    All beams of all rows take each step together. A beam that has generated `end` remains one of its row's beams, with
    its score; a row is finished when all of its beams have ended. Beams are ranked by their log-probability divided by
    ((5 + length) / 6) ** length_penalty (Wu et al. 2016).

    Parameters
    ----------
    network : EncoderDecoder
    source : ndarray of int64, shape (batch, time)
    lengths : ndarray of int64, shape (batch,)
    beam_size : int
        1 is greedy search.
    length_penalty : float
        0 or more; higher values prefer longer targets.
    max_steps : ndarray of int64, shape (batch,)
        Highest number of tokens of each row's target, 1 or more.
    start, end : int
        The tokens that begin and end a target.
    never : tuple of int
        Tokens that must not be generated.

    Returns
    -------
    list of (tokens, attention)
        For each row: ndarray of int64, shape (target length,), without `end`; and the attention weights of each of
        these tokens over the source, shape (target length, source length).
    """
    n, time = source.shape
    beams = min(beam_size, network.target_size - len(never))
    memory = network.encode(source, lengths)
    h, c = (np.repeat(array, beams, axis=1) for array in memory.state)
    rows = np.arange(n)
    tokens = np.full((n, beams), start)
    # All beams of a row are equal at first, so only one of them may be extended.
    totals = np.where(np.arange(beams) == 0, 0.0, -np.inf) * np.ones((n, 1))
    ended = np.zeros((n, beams), bool)
    sizes = np.zeros((n, beams), np.int64)
    trail: list[tuple[np.ndarray, ...]] = []
    found: list[Found] = [(np.zeros(0, np.int64), np.zeros((0, time), network.dtype))] * n

    for step in range(1, max_steps.max(initial=0) + 1):
        scores, attention, (h, c) = network.step(tokens, memory, (h, c))
        scores[..., never] = -np.inf
        parents, tokens, totals, sizes = _extended(scores, totals, sizes, ended, end, length_penalty)
        ended = tokens == end
        trail.append(_spread(n, rows, parents, tokens, np.take_along_axis(attention, parents[..., np.newaxis], axis=1)))

        done = ended.all(axis=1) | (step >= max_steps[rows])
        for row in rows[done]:
            found[row] = _best_target(trail, row, end, lengths[row])
        unfinished = np.flatnonzero(~done)
        beam_rows = (unfinished[:, np.newaxis] * beams + parents[unfinished]).reshape(-1)
        h, c = h[:, beam_rows], c[:, beam_rows]
        if len(unfinished) < len(rows):
            memory, rows = memory.take(unfinished), rows[unfinished]
            tokens, totals = tokens[unfinished], totals[unfinished]
            ended, sizes = ended[unfinished], sizes[unfinished]
        if not len(rows):
            break
    return found


def _extended(
    scores: np.ndarray, totals: np.ndarray, sizes: np.ndarray, ended: np.ndarray, end: int, length_penalty: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return each row's best beams with one more token: the beam that each extends, its token, total and size."""
    n, beams = totals.shape
    # A row's best beams are among the best extensions of each of its beams. One that has ended has one extension only.
    next_tokens, gains = _best_tokens(scores, beams)
    next_tokens[ended], gains[ended] = end, -np.inf
    gains[ended, 0] = 0
    next_totals = (totals[..., np.newaxis] + gains).reshape(n, -1)
    sizes = sizes + ~ended
    ranks = next_totals / np.repeat(((5 + sizes) / 6) ** length_penalty, beams, axis=1)
    chosen = np.argsort(-ranks, axis=1, kind="stable")[:, :beams]
    parents = chosen // beams
    return (
        parents,
        np.take_along_axis(next_tokens.reshape(n, -1), chosen, axis=1),
        np.take_along_axis(next_totals, chosen, axis=1),
        np.take_along_axis(sizes, parents, axis=1),
    )


def _best_tokens(scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `count` likeliest tokens of each beam, the best first, and their log-probabilities, float64."""
    best = np.argpartition(scores, -count, axis=2)[..., -count:]
    values = np.take_along_axis(scores, best, axis=2)
    order = np.argsort(-values, axis=2, kind="stable")
    best = np.take_along_axis(best, order, axis=2)
    return best, log_softmax_at(scores, best)


def _spread(n: int, rows: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return arrays of some rows as arrays of all `n` rows, with zeros for the others."""
    if len(rows) == n:
        return arrays
    spread = tuple(np.zeros((n, *array.shape[1:]), array.dtype) for array in arrays)
    for whole, array in zip(spread, arrays, strict=True):
        whole[rows] = array
    return spread


def _best_target(trail: list[tuple[np.ndarray, ...]], row: int, end: int, length: int) -> Found:
    """Return the tokens of a row's best beam before `end`, and their attention weights."""
    beam, steps = 0, []  # the best beam is the first one; each step has the index of the beam that it extended
    for parents, tokens, attention in reversed(trail):
        steps.append((tokens[row, beam], attention[row, beam, :length]))
        beam = parents[row, beam]
    generated = [(token, weights) for token, weights in reversed(steps) if token != end]
    if not generated:
        return np.zeros(0, np.int64), np.zeros((0, length), trail[0][2].dtype)
    tokens, attention = zip(*generated, strict=True)
    return np.array(tokens, np.int64), np.stack(attention)
