"""`reset`: rows that start again at some steps are cut there into segments, which are computed as separate rows.

That is all that `reset` does. The kernels sort segments by length as they sort rows, so that a batch of many short
episodes costs what its steps cost, and each step has more rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clstm._core.job import Masks
from clstm._core.segments import Segments


class SegmentedBatch:
    """A batch cut into segments, with the states and masks of its rows translated to those of segments and back.

    Parameters
    ----------
    reset : ndarray of bool (time, batch)
        Steps before which a row starts again. At the first step, it then has no use for the initial state.
    lengths : ndarray of int64 (batch,) or None

    Attributes
    ----------
    segments : Segments
        Sorted by row of the batch, then by time.
    """

    def __init__(self, reset: np.ndarray, lengths: np.ndarray | None) -> None:
        T, B = reset.shape
        if lengths is None:
            lengths = np.full(B, T, np.int64)
        begins = np.zeros((B, max(T, 1)), bool)
        begins[:, :T] = reset.T & (np.arange(T) < lengths[:, np.newaxis])
        self._reset_at_start = begins[:, 0].copy()
        begins[:, 0] = True
        batch, start = np.nonzero(begins)
        self._first = np.searchsorted(batch, np.arange(B))
        self._last = np.searchsorted(batch, np.arange(B), side="right") - 1
        end = np.append(start[1:], 0)
        end[self._last] = lengths
        self.segments = Segments(batch.astype(np.int64), start.astype(np.int64), end - start)

    def __len__(self) -> int:
        return len(self.segments.batch)

    def initial(self, part: np.ndarray, default: np.ndarray) -> np.ndarray:
        """Return the segments' initial states (D, N, features).

        Parameters
        ----------
        part : ndarray (D, B, features)
            The rows' initial states: of the segment with which a direction begins, unless the row is reset there.
        default : ndarray (D, features)
            The state of all other segments.
        """
        states = np.repeat(default[:, np.newaxis], len(self), axis=1)
        for d, (segments, rows) in enumerate(self._with_initial_state(len(part))):
            states[d, segments] = part[d, rows]
        return states

    def initial_gradient(self, gradient: np.ndarray, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradients of `part` and `default`, given that of the segments' initial states."""
        D, _, features = gradient.shape
        part = np.zeros((D, batch, features), gradient.dtype)
        others = gradient.copy()
        for d, (segments, rows) in enumerate(self._with_initial_state(D)):
            part[d, rows] = gradient[d, segments]
            others[d, segments] = 0
        return part, others.sum(axis=1)

    def masks(self, masks: Sequence[Masks] | None) -> list[Masks] | None:
        """Return the masks of segments, given those of rows: only that of h has an axis of states."""
        if masks is None:
            return None
        batch = self.segments.batch
        return [mask._replace(recurrent=None if mask.recurrent is None else mask.recurrent[batch]) for mask in masks]

    def write_final(self, states: np.ndarray, part: np.ndarray) -> None:
        """Write the rows' final states (D, B, features): those of the segments with which a direction ends."""
        for d, segments in enumerate((self._last, self._first)[: len(part)]):
            part[d] = states[d, segments]

    def final_gradient(self, part: np.ndarray) -> np.ndarray:
        """Return the gradient of the segments' final states, given that of the rows'."""
        gradient = np.zeros((len(part), len(self), part.shape[2]), part.dtype)
        for d, segments in enumerate((self._last, self._first)[: len(part)]):
            gradient[d, segments] = part[d]
        return gradient

    def _with_initial_state(self, D: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return for each direction the segments that begin with their row's initial state, and these rows."""
        forward = np.nonzero(~self._reset_at_start)[0]
        return [(self._first[forward], forward), (self._last, np.arange(len(self._last)))][:D]
