"""Keras's masks as lengths: each row's real steps are moved to its beginning, and the outputs back to their places.

A recurrent layer of Keras skips a masked step wherever it is: the state stays, and the output is the last one before it
(zeros where there is none yet, or for every masked step with `zero_output_for_mask`). Without the masked steps each row
is a sequence with a length.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np


class Steps:
    """The order in which a layer takes the steps of a batch.

    Parameters
    ----------
    mask : ndarray of bool, shape (batch, time), or None
        True where a step is real; all of them without it.
    backwards : bool
        Whether the layer starts at the last step.
    """

    def __init__(self, mask: np.ndarray | None, backwards: bool) -> None:
        self.backwards = backwards
        if mask is not None and backwards:
            mask = mask[:, ::-1]
        self.mask = None if mask is None or mask.all() else mask
        self.lengths = None if self.mask is None else np.count_nonzero(self.mask, axis=1)

    @cached_property
    def _order(self) -> np.ndarray | None:
        """For each row the indices of its steps, the real ones first; None if they are in this order already."""
        if self.mask is None or (self.mask[:, 1:] <= self.mask[:, :-1]).all():
            return None
        return np.argsort(~self.mask, axis=1, kind="stable")[:, :, np.newaxis]

    @cached_property
    def _latest(self) -> np.ndarray:
        """For each step, how many real steps there are up to it: (batch, time, 1)."""
        assert self.mask is not None
        return np.cumsum(self.mask, axis=1)[:, :, np.newaxis]

    def gather(self, x: np.ndarray) -> np.ndarray:
        """Return x (batch, time, features) with each row's real steps first, in the layer's order."""
        if self.backwards:
            x = np.ascontiguousarray(x[:, ::-1])
        return x if self._order is None else np.take_along_axis(x, self._order, axis=1)

    def gather_backward(self, dx: np.ndarray) -> np.ndarray:
        """Return the gradient of `gather`'s argument."""
        if self._order is not None:
            moved, dx = dx, np.empty_like(dx)
            np.put_along_axis(dx, self._order, moved, axis=1)
        return dx[:, ::-1] if self.backwards else dx

    def spread(self, y: np.ndarray, zero_output: bool) -> np.ndarray:
        """Return the outputs of all steps, in the layer's order, given those of the real ones."""
        if self.mask is None:
            return y
        return np.where(self._real(zero_output), np.take_along_axis(y, np.maximum(self._latest - 1, 0), axis=1), 0)

    def spread_backward(self, dy: np.ndarray, zero_output: bool) -> np.ndarray:
        """Return the gradient of `spread`'s argument."""
        if self.mask is None:
            return dy
        moved = np.zeros_like(dy)
        rows = np.arange(len(dy))[:, np.newaxis]
        np.add.at(moved, (rows, np.maximum(self._latest[:, :, 0] - 1, 0)), np.where(self._real(zero_output), dy, 0))
        return moved

    def last_output(self, h: np.ndarray, zero_output: bool) -> np.ndarray:
        """Return the output of a layer that returns no sequences (batch, units), given its last h.

        The gradient of h is the same function of the output's gradient.
        """
        if self.mask is None:
            return h
        return np.where(self._real(zero_output)[:, -1], h, 0)

    def _real(self, zero_output: bool) -> np.ndarray:
        """Return which steps have an output: (batch, time, 1)."""
        assert self.mask is not None
        return self.mask[:, :, np.newaxis] if zero_output else self._latest > 0
