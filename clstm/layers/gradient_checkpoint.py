"""Training over a long sequence with little memory: gates are kept for one segment at a time, and computed again.

Time is cut into about sqrt(T) segments. Forward keeps the state at which each of them begins, and the gates of the
last only; backward takes the segments from the last, runs forward over each once more, keeping the gates, and goes
back through it. That costs one more forward pass, and saves all gates but those of some sqrt(T) steps.

The reverse direction takes the same segments in the other order. What a row has of a segment then ends where the
segment does or where the row does, in either direction, so that a segment is a call like any other, with the lengths
cut to it. Rows that have no step there hand their state on.

Chen et al. (2016), "Training deep nets with sublinear memory cost"; for recurrent networks, Gruslys et al. (2016),
"Memory-efficient backpropagation through time".
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from clstm._core.rows import Rows

# Cells (rows times steps) that a segment has at least: each costs a sum of all its weight gradients.
MIN_CELLS = 512


def cut(T: int, B: int) -> list[slice]:
    """Return the segments, in time, of T steps of B rows: about sqrt(T), or fewer where they would hold too little."""
    steps = max(math.isqrt(T), -(-MIN_CELLS // max(B, 1)))
    count = max(1, round(T / steps))
    return [slice(T * k // count, T * (k + 1) // count) for k in range(count)]


@dataclass
class _Kept:
    """What forward leaves of one direction: where its segments begin, in their order, and the last one's tape."""

    pack: Any
    masks: Any
    states: list[tuple[np.ndarray, np.ndarray]]
    tape: Any


class Checkpointed:
    """Forward and backward of a layer as the backend `compiled` has them, segment by segment."""

    def __init__(self, compiled: ModuleType, segments: list[slice]) -> None:
        self._compiled = compiled
        self._segments = segments

    def forward(self, packs, x, h0, c0, lengths, y, h_n, c_n, num_threads, masks) -> list[_Kept]:
        """Run one layer of one or two directions."""
        masks = [None] * len(packs) if masks is None else masks
        return [
            self._forward(
                d == 1, pack, masks[d], x, (h0[d : d + 1], c0[d : d + 1]), lengths, _features(y, d, h0),
                (h_n[d : d + 1], c_n[d : d + 1]), num_threads,
            )
            for d, pack in enumerate(packs)
        ]  # fmt: skip

    def backward(
        self, tape, x, h0, c0, y, lengths, dy, dh_n, dc_n, dx, dh0, dc0, weight_grads, num_threads
    ) -> None:  # fmt: skip
        """Write the gradients of one layer; uses the tape up."""
        for d, kept in enumerate(tape):
            self._backward(
                d == 1, kept, x, lengths, _features(y, d, h0), _features(dy, d, h0),
                (dh_n[d : d + 1], dc_n[d : d + 1]), dx, (dh0[d : d + 1], dc0[d : d + 1]), weight_grads[d], num_threads,
            )  # fmt: skip

    def _forward(self, reverse, pack, masks, x, state, lengths, y, final, num_threads) -> _Kept:
        kept = _Kept(pack, masks, [], None)
        segments = self._in_order(reverse)
        for number, segment in enumerate(segments, start=1):
            last = number == len(segments)
            kept.states.append(state)
            state = final if last else _like(state)
            kept.tape = self._compiled.forward(
                (pack,), x[segment], *kept.states[-1], _cut_lengths(lengths, segment), y[segment], *state,
                num_threads, last, reverse, _cut_masks(masks, segment),
            )  # fmt: skip
        return kept

    def _backward(
        self, reverse, kept, x, lengths, y, dy, dstate, dx, dinitial, grads, num_threads
    ) -> None:  # fmt: skip
        segments = self._in_order(reverse)
        for number in range(len(segments), 0, -1):
            segment, state = segments[number - 1], kept.states.pop()
            own_lengths = _cut_lengths(lengths, segment)
            tape, kept.tape = kept.tape, None
            if tape is None:
                tape = self._compiled.forward(
                    (kept.pack,), x[segment], *state, own_lengths, np.empty_like(y[segment]), *_like(state),
                    num_threads, True, reverse, _cut_masks(kept.masks, segment),
                )  # fmt: skip
            before = dinitial if number == 1 else _like(state)
            own_dx = dx if dx is None else np.empty_like(dx[segment]) if reverse else dx[segment]
            self._compiled.backward(
                tape, x[segment], *state, y[segment], own_lengths, dy[segment], *dstate, own_dx, *before, [grads],
                num_threads, number < len(segments),
            )  # fmt: skip
            dstate = before
            if reverse and dx is not None:  # the other direction has written dx
                dx[segment] += own_dx

    def _in_order(self, reverse: bool) -> list[slice]:
        return self._segments[::-1] if reverse else self._segments


def _features(array: np.ndarray, d: int, state: np.ndarray) -> np.ndarray:
    """View direction d's part of (T, B, directions * H), with H as `state` has it."""
    H = state.shape[-1]
    return array[:, :, d * H : (d + 1) * H]


def _like(state: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    return np.empty_like(state[0]), np.empty_like(state[1])


def _cut_lengths(lengths: np.ndarray | Rows | None, segment: slice) -> np.ndarray | Rows | None:
    """Return the rows' lengths inside of a segment, None where all fill it."""
    if lengths is None:
        return None
    steps = segment.stop - segment.start
    if isinstance(lengths, Rows):
        begin, end = (
            np.clip(step - segment.start, 0, steps) for step in (lengths.start, lengths.start + lengths.length)
        )
        return Rows(lengths.batch, np.minimum(begin, max(steps - 1, 0)), end - begin)
    inside = np.clip(lengths - segment.start, 0, steps)
    return None if (inside == steps).all() else inside


def _cut_masks(masks: tuple | None, segment: slice) -> list[tuple] | None:
    """Return a direction's masks inside of a segment: factors of h for all steps, and what stays at each."""
    if masks is None:
        return None
    factors, *kept = masks
    return [(factors, *(None if mask is None else mask[segment] for mask in kept))]
