"""Rows that start afresh in their midst: cut there, the pieces are rows of their own.

That is all `reset` does. The kernels sort the pieces as they sort rows of any lengths, so a batch of many short
episodes takes no longer than its steps, and each step has more rows.
"""

from __future__ import annotations

import numpy as np

from clstm._core.rows import Rows


class Pieces:
    """The pieces of a batch, and how the states of its rows and theirs belong together.

    Parameters
    ----------
    reset : ndarray of bool (time, batch)
        Where a row starts afresh. At the first step that takes the initial state's place.
    lengths : ndarray of int64 (batch,) or None

    Attributes
    ----------
    rows : Rows
        Sorted by row of the batch, then by time.
    """

    def __init__(self, reset: np.ndarray, lengths: np.ndarray | None) -> None:
        T, B = reset.shape
        if lengths is None:
            lengths = np.full(B, T, np.int64)
        begins = np.zeros((B, max(T, 1)), bool)
        begins[:, :T] = reset.T & (np.arange(T) < lengths[:, np.newaxis])
        self._fresh_start = begins[:, 0].copy()
        begins[:, 0] = True
        batch, start = np.nonzero(begins)
        self._first = np.searchsorted(batch, np.arange(B))
        self._last = np.searchsorted(batch, np.arange(B), side="right") - 1
        end = np.append(start[1:], 0)
        end[self._last] = lengths
        self.rows = Rows(batch.astype(np.int64), start.astype(np.int64), end - start)

    def __len__(self) -> int:
        return len(self.rows.batch)

    def initial(self, part: np.ndarray, fresh: np.ndarray) -> np.ndarray:
        """Return the pieces' initial states (D, n, features).

        Parameters
        ----------
        part : ndarray (D, B, features)
            Those of the rows: a direction's first piece has them, unless the row starts afresh there.
        fresh : ndarray (D, features)
            That of all other pieces.
        """
        states = np.repeat(fresh[:, np.newaxis], len(self), axis=1)
        for d, (pieces, rows) in enumerate(self._given(len(part))):
            states[d, pieces] = part[d, rows]
        return states

    def initial_gradient(self, gradient: np.ndarray, batch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the gradients of `part` and `fresh`, given that of the pieces' initial states."""
        D, _, features = gradient.shape
        part = np.zeros((D, batch, features), gradient.dtype)
        others = gradient.copy()
        for d, (pieces, rows) in enumerate(self._given(D)):
            part[d, rows] = gradient[d, pieces]
            others[d, pieces] = 0
        return part, others.sum(axis=1)

    def masks(self, masks: list[tuple] | None) -> list[tuple] | None:
        """Give each piece its row's factors of h; those of each step are by time and row anyway."""
        if masks is None:
            return None
        return [(None if factors is None else factors[self.rows.batch], *kept) for factors, *kept in masks]

    def final(self, states: np.ndarray, part: np.ndarray) -> None:
        """Write the rows' final states (D, B, features), which are those of each direction's last piece."""
        for d, pieces in enumerate((self._last, self._first)[: len(part)]):
            part[d] = states[d, pieces]

    def final_gradient(self, part: np.ndarray) -> np.ndarray:
        """Return the gradient of the pieces' final states, given that of the rows'."""
        gradient = np.zeros((len(part), len(self), part.shape[2]), part.dtype)
        for d, pieces in enumerate((self._last, self._first)[: len(part)]):
            gradient[d, pieces] = part[d]
        return gradient

    def _given(self, D: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the pieces of each direction that begin with their row's initial state, and these rows."""
        forward = np.nonzero(~self._fresh_start)[0]
        return [(self._first[forward], forward), (self._last, np.arange(len(self._last)))][:D]
