"""Pooling: one vector for each row of an LSTM's outputs: those of the last real step, or their mean or maximum.

A pooling is called with the outputs y (batch, time, features), the final states h_n (layers * directions, batch,
hidden) and the rows' lengths, and returns an array (batch, features). `forward_train` also returns a context for
`backward`, which returns the gradients of y and h_n. A row without steps pools to zeros, with "last" to its initial
state.

A stream pools step by step with `update_running`, whose running values start as `initial`.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from clstm._core import _loops
from clstm._package import public


class Pooling:
    """Base of the poolings."""

    initial: float

    def __call__(self, y: np.ndarray, h_n: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
        """Return the pooled outputs (batch, features)."""
        return self.forward_train(y, h_n, lengths)[0]

    def update_running(self, running: np.ndarray, h: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Pool one more step of a stream.

        Parameters
        ----------
        running : ndarray of shape (batch, features)
            Changed in place; `initial` everywhere before a row's first step.
        h : ndarray of shape (batch, features)
            The outputs of the step.
        counts : ndarray of int, shape (batch,)
            Steps of each row so far, this one included.

        Returns
        -------
        ndarray of shape (batch, features)
            The pooled outputs of the steps so far; may be `running` or `h` itself.
        """
        raise NotImplementedError

    def follow(self, kept: np.ndarray, h: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Call `update_running`, the new name of this method, which is deprecated."""
        warnings.warn("follow is deprecated; it is now update_running", DeprecationWarning, stacklevel=2)
        return self.update_running(kept, h, counts)

    def forward_train(self, y: np.ndarray, h_n: np.ndarray, lengths: np.ndarray | None) -> tuple[np.ndarray, Any]:
        """Return the pooled outputs, and a context for one `backward`."""
        raise NotImplementedError

    def backward(self, context: Any, dpooled: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the gradients of y and of h_n, which is None where it has none."""
        raise NotImplementedError


@public("clstm.layers")
class LastPooling(Pooling):
    """The output of each row's last real step, which is the last layer's final state.

    In both directions, it is the final states of both, side by side. That of the reverse direction is the output of the
    first step, where it has read the whole row; at the last step it has read one step only.
    """

    initial = 0.0

    def update_running(self, running: np.ndarray, h: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return the outputs of the step."""
        return h

    def forward_train(self, y: np.ndarray, h_n: np.ndarray, lengths: np.ndarray | None) -> tuple[np.ndarray, Any]:
        """Return the final states of the last layer, and their shapes."""
        directions = y.shape[2] // h_n.shape[2]
        pooled = np.concatenate(h_n[-directions:], axis=1)
        return pooled, (y.shape, h_n.shape)

    def backward(self, context: Any, dpooled: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return zeros for y, and the gradients of the final states."""
        y_shape, h_shape = context
        directions = y_shape[2] // h_shape[2]
        dh_n = np.zeros(h_shape, dpooled.dtype)
        dh_n[-directions:] = np.stack(np.split(dpooled, directions, axis=1))
        return np.broadcast_to(np.zeros(y_shape[2], dpooled.dtype), y_shape), dh_n


@public("clstm.layers")
class MeanPooling(Pooling):
    """The mean of the outputs of each row's real steps."""

    initial = 0.0

    def update_running(self, running: np.ndarray, h: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Add the step to the sums; return the means."""
        running += h
        return running * (1 / counts).astype(h.dtype)[:, np.newaxis]

    def forward_train(self, y: np.ndarray, h_n: np.ndarray, lengths: np.ndarray | None) -> tuple[np.ndarray, Any]:
        """Return the means over the real steps, and what scales their gradients."""
        batch, time, _ = y.shape
        counts = np.full(batch, time) if lengths is None else lengths
        scale = (1 / np.maximum(counts, 1)).astype(y.dtype)[:, np.newaxis]
        return y.sum(axis=1) * scale, (y.shape, scale)  # outputs past a row's length are zero

    def backward(self, context: Any, dpooled: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the gradients of y; h_n has none."""
        y_shape, scale = context
        return np.broadcast_to((dpooled * scale)[:, np.newaxis], y_shape), None


@public("clstm.layers")
class MaxPooling(Pooling):
    """The largest output of each unit over each row's real steps; of equal ones, the first has the gradient."""

    initial = -np.inf

    def update_running(self, running: np.ndarray, h: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Return the largest outputs so far."""
        return np.maximum(running, h, out=running)

    def forward_train(self, y: np.ndarray, h_n: np.ndarray, lengths: np.ndarray | None) -> tuple[np.ndarray, Any]:
        """Return the largest outputs, and the steps at which they are."""
        batch, time, features = y.shape
        if lengths is None:
            lengths = np.full(batch, time, np.int64)
        pooled = np.empty((batch, features), y.dtype)
        steps = np.empty((batch, features), np.intp)
        _loops.max_forward(y, lengths, pooled, steps)
        return pooled, (y.shape, steps)

    def backward(self, context: Any, dpooled: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the gradients of y, at the steps of the largest outputs; h_n has none."""
        y_shape, steps = context
        dy = np.zeros(y_shape, dpooled.dtype)
        _loops.max_backward(np.ascontiguousarray(dpooled), steps, dy)
        return dy, None


POOLINGS = {"last": LastPooling(), "mean": MeanPooling(), "max": MaxPooling()}
