"""Beam search: the likeliest targets that an encoder-decoder finds for sources, many sources at once."""

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
    """Return for each source row the best target that was found.

    All beams of all rows take a step together. A beam that has written `end` stays among its row's beams with the score
    that it has; a row is left when all of its beams have ended. Beams are ranked by their log-probability divided by
    ((5 + length) / 6) ** length_penalty (Wu et al. 2016).

    Parameters
    ----------
    network : EncoderDecoder
    source : ndarray of int64, shape (batch, time)
    lengths : ndarray of int64, shape (batch,)
    beam_size : int
        1 is greedy search.
    length_penalty : float
        0 or more; the more, the longer the targets.
    max_steps : ndarray of int64, shape (batch,)
        Most tokens of each row's target, 1 or more.
    start, end : int
        The tokens that begin and end a target.
    never : tuple of int
        Tokens that are not written.

    Returns
    -------
    list of (tokens, places)
        Of each row: ndarray of int64, shape (target length,), without `end`; and what the attention took of each place
        of the source when it wrote each of them, shape (target length, source length).
    """
    n, time = source.shape
    beams = min(beam_size, network.target_size - len(never))
    memory = network.encode(source, lengths)
    state = tuple(np.repeat(array, beams, axis=1) for array in memory.state)
    rows = np.arange(n)
    tokens = np.full((n, beams), start)
    totals = np.where(np.arange(beams) == 0, 0.0, -np.inf) * np.ones((n, 1))  # all beams are the same one at first
    ended = np.zeros((n, beams), bool)
    sizes = np.zeros((n, beams), np.int64)
    trail: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    found: list[Found] = [(np.zeros(0, np.int64), np.zeros((0, time), network.dtype))] * n

    for step in range(1, max_steps.max(initial=0) + 1):
        scores, places, state = network.step(tokens, memory, state)
        scores[..., never] = -np.inf
        # The best of a row are among the best of each of its beams. One that has ended goes on in one way only.
        next_tokens, gains = _best_tokens(scores, beams)
        next_tokens[ended], gains[ended] = end, -np.inf
        gains[ended, 0] = 0
        next_totals = (totals[..., np.newaxis] + gains).reshape(len(rows), -1)
        sizes += ~ended
        ranks = next_totals / np.repeat(((5 + sizes) / 6) ** length_penalty, beams, axis=1)
        chosen = np.argsort(-ranks, axis=1, kind="stable")[:, :beams]
        parents = chosen // beams

        tokens = np.take_along_axis(next_tokens.reshape(len(rows), -1), chosen, axis=1)
        totals = np.take_along_axis(next_totals, chosen, axis=1)
        sizes = np.take_along_axis(sizes, parents, axis=1)
        ended = tokens == end
        trail.append(_spread(n, rows, parents, tokens, np.take_along_axis(places, parents[..., np.newaxis], axis=1)))

        done = ended.all(axis=1) | (step >= max_steps[rows])
        for row in rows[done]:
            found[row] = _trace(trail, row, end, lengths[row])
        left = np.flatnonzero(~done)
        beam_rows = (left[:, np.newaxis] * beams + parents[left]).reshape(-1)
        state = tuple(array[:, beam_rows] for array in state)
        if len(left) < len(rows):
            memory, rows = memory.take(left), rows[left]
            tokens, totals, ended, sizes = tokens[left], totals[left], ended[left], sizes[left]
        if not len(rows):
            break
    return found


def _best_tokens(scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the `count` likeliest tokens of each beam, the best first, and their log-probabilities, float64."""
    best = np.argpartition(scores, -count, axis=2)[..., -count:]
    values = np.take_along_axis(scores, best, axis=2)
    order = np.argsort(-values, axis=2, kind="stable")
    best = np.take_along_axis(best, order, axis=2)
    return best, log_softmax_at(scores, best)


def _spread(n: int, rows: np.ndarray, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return arrays of some rows as such of all `n`."""
    if len(rows) == n:
        return arrays
    spread = tuple(np.zeros((n, *array.shape[1:]), array.dtype) for array in arrays)
    for whole, array in zip(spread, arrays, strict=True):
        whole[rows] = array
    return spread


def _trace(trail: list[tuple[np.ndarray, ...]], row: int, end: int, length: int) -> Found:
    """Follow a row's best beam back to its start; return its tokens before `end`, and what it looked at."""
    beam, steps = 0, []
    for parents, tokens, places in reversed(trail):
        steps.append((tokens[row, beam], places[row, beam, :length]))
        beam = parents[row, beam]
    written = [(token, place) for token, place in reversed(steps) if token != end]
    if not written:
        return np.zeros(0, np.int64), np.zeros((0, length), trail[0][2].dtype)
    tokens, places = zip(*written, strict=True)
    return np.array(tokens, np.int64), np.stack(places)
