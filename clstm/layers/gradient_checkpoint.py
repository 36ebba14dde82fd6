"""Gradient checkpointing: training over a long sequence with little memory, by computing most gates a second time.

Time is cut into about sqrt(T) intervals. Forward keeps the state at the beginning of each, and the gates of the last
interval only. Backward takes the intervals from the last to the first: it runs forward over each once more, this time
keeping the gates, and then backward over it. That costs one more forward pass, and saves the memory of all gates but
those of about sqrt(T) steps.

The reverse direction takes the same intervals in the opposite order. In either direction, what a row has of an interval
then ends where the interval ends or where the row does, so that an interval is a call like any other, with the lengths
cut to it. A row without a step in an interval passes its state on unchanged.

Chen et al. (2016), "Training deep nets with sublinear memory cost"; for recurrent networks, Gruslys et al. (2016),
"Memory-efficient backpropagation through time".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clstm._core.backend import Path
from clstm._core.job import Gradients, Job, Masks
from clstm._core.segments import Segments

# The fewest positions, (step, row) pairs, in an interval: each interval adds up all weight gradients once more.
MIN_POSITIONS = 512

HiddenAndCell = tuple[np.ndarray, np.ndarray]


def cut(T: int, B: int) -> list[slice]:
    """Return the intervals of T steps of B rows: about sqrt(T), or fewer where they would hold too few positions."""
    steps = max(math.isqrt(T), -(-MIN_POSITIONS // max(B, 1)))
    count = max(1, round(T / steps))
    return [slice(T * k // count, T * (k + 1) // count) for k in range(count)]


@dataclass
class _Kept:
    """What forward leaves of one direction: the states at which its intervals begin, and the last one's tape."""

    states: list[HiddenAndCell]
    tape: Any


class Checkpointed:
    """The functions `forward` and `backward` of a path, interval by interval."""

    def __init__(self, path: Path, intervals: list[slice]) -> None:
        self._path = path
        self._intervals = intervals

    def forward(self, job: Job) -> list[_Kept]:
        """Run one layer of one or two directions and keep what `backward` needs."""
        return [self._forward(_one_direction(job, d)) for d in range(len(job.packs))]

    def backward(self, tape: list[_Kept], job: Job, gradients: Gradients) -> None:
        """Write the gradients of one layer and use the tape up."""
        for d, kept in enumerate(tape):
            self._backward(_one_direction(job, d), kept, _gradients_of_one_direction(gradients, job, d))

    def _forward(self, job: Job) -> _Kept:
        kept = _Kept([], None)
        state = job.h0, job.c0
        intervals = self._in_order(job)
        for number, interval in enumerate(intervals, start=1):
            last = number == len(intervals)
            kept.states.append(state)
            state = (job.h_n, job.c_n) if last else _like(state)
            kept.tape = self._path.forward(_cut_job(job, interval, kept.states[-1], state, keep=last))
        return kept

    def _backward(self, job: Job, kept: _Kept, gradients: Gradients) -> None:
        intervals, dx = self._in_order(job), gradients.dx
        dfinal = gradients.dh_n, gradients.dc_n
        for number in range(len(intervals), 0, -1):
            interval, state = intervals[number - 1], kept.states.pop()
            part = _cut_job(job, interval, state, _like(state), keep=True)
            tape, kept.tape = kept.tape, None
            if tape is None:
                tape = self._path.forward(replace(part, y=np.empty_like(part.y)))
            dinitial = (gradients.dh0, gradients.dc0) if number == 1 else _like(state)
            own_dx = dx if dx is None else np.empty_like(dx[interval]) if job.reverse else dx[interval]
            later = number < len(intervals)
            self._path.backward(
                tape, part, Gradients(gradients.dy[interval], *dfinal, own_dx, *dinitial, gradients.weights, add=later)
            )
            dfinal = dinitial
            if job.reverse and dx is not None:  # the forward direction has written dx
                dx[interval] += own_dx

    def _in_order(self, job: Job) -> list[slice]:
        return self._intervals[::-1] if job.reverse else self._intervals


def _one_direction(job: Job, d: int) -> Job:
    only = slice(d, d + 1)
    return replace(
        job, packs=job.packs[only], h0=job.h0[only], c0=job.c0[only], y=_features(job.y, job, d), h_n=job.h_n[only],
        c_n=job.c_n[only], masks=None if job.masks is None else job.masks[only], reverse=d == 1,
    )  # fmt: skip


def _gradients_of_one_direction(gradients: Gradients, job: Job, d: int) -> Gradients:
    only = slice(d, d + 1)
    return replace(
        gradients, dy=_features(gradients.dy, job, d), dh_n=gradients.dh_n[only], dc_n=gradients.dc_n[only],
        dh0=gradients.dh0[only], dc0=gradients.dc0[only], weights=gradients.weights[only],
    )  # fmt: skip


def _features(array: np.ndarray, job: Job, d: int) -> np.ndarray:
    """View direction d's features of an array like y."""
    P = job.h0.shape[2]
    return array[:, :, d * P : (d + 1) * P]


def _like(state: HiddenAndCell) -> HiddenAndCell:
    return np.empty_like(state[0]), np.empty_like(state[1])


def _cut_job(job: Job, interval: slice, initial: HiddenAndCell, final: HiddenAndCell, *, keep: bool) -> Job:
    """Return the job of one direction over one interval."""
    return replace(
        job, x=job.x[interval], h0=initial[0], c0=initial[1], y=job.y[interval], h_n=final[0], c_n=final[1],
        lengths=_cut_lengths(job.lengths, interval), segments=_cut_segments(job.segments, interval),
        masks=None if job.masks is None else [_cut_masks(masks, interval) for masks in job.masks], keep=keep,
    )  # fmt: skip


def _cut_lengths(lengths: np.ndarray | None, interval: slice) -> np.ndarray | None:
    """Return how many steps the rows have in an interval, None where all fill it."""
    if lengths is None:
        return None
    steps = interval.stop - interval.start
    inside = np.clip(lengths - interval.start, 0, steps)
    return None if (inside == steps).all() else inside


def _cut_segments(segments: Segments | None, interval: slice) -> Segments | None:
    """Return what the segments have in an interval, as steps of the interval; some have none."""
    if segments is None:
        return None
    steps = interval.stop - interval.start
    begin, end = (
        np.clip(step - interval.start, 0, steps) for step in (segments.start, segments.start + segments.length)
    )
    return Segments(segments.batch, np.minimum(begin, max(steps - 1, 0)), end - begin)


def _cut_masks(masks: Masks, interval: slice) -> Masks:
    """Return the masks in an interval: that of h is the same at all steps."""
    recurrent, *zoneout = masks
    return Masks(recurrent, *(None if mask is None else mask[interval] for mask in zoneout))
