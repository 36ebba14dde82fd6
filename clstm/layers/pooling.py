"""From an LSTM's outputs to one vector a row: the last real step, or the mean or maximum over the real steps.

Each pooling is called with the outputs y (batch, time, features), the final states h_n (layers * directions,
batch, hidden) and the rows' lengths, and returns an array (batch, features). `forward_train` returns with it
what `backward` needs, and `backward` the gradients of y and h_n. A row without steps pools to zeros (with
"last": to its initial state).

A stream pools step by step: `follow` takes what was kept from the steps before, rows of `initial` at the start, changes
it in place to what is to be kept, and returns what the rows pool to so far.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clstm._core import _loops
from clstm._package import public


@public("clstm.layers")
class LastPooling:
    """The output of each row's last real step, which is the last layer's final state.

    With two directions, the reverse one has read the whole row where it ends: at the first step. So it is the
    final states of both directions side by side that are taken, and not y at the last step, where the reverse
    direction has seen one step only.
    """

    initial = 0.0

    def __call__(self, y: np.ndarray, h_n: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
        return self.forward_train(y, h_n, lengths)[0]

    def follow(self, kept: np.ndarray, h: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return h

    def forward_train(self, y, h_n, lengths) -> tuple[np.ndarray, Any]:
        directions = y.shape[2] // h_n.shape[2]
        pooled = np.concatenate(h_n[-directions:], axis=1)
        return pooled, (y.shape, h_n.shape)

    def backward(self, context, dpooled) -> tuple[np.ndarray, np.ndarray | None]:
        y_shape, h_shape = context
        directions = y_shape[2] // h_shape[2]
        dh_n = np.zeros(h_shape, dpooled.dtype)
        dh_n[-directions:] = np.stack(np.split(dpooled, directions, axis=1))
        return np.broadcast_to(np.zeros(y_shape[2], dpooled.dtype), y_shape), dh_n


@public("clstm.layers")
class MeanPooling:
    """The mean of the outputs of each row's real steps."""

    initial = 0.0

    def __call__(self, y: np.ndarray, h_n: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
        return self.forward_train(y, h_n, lengths)[0]

    def follow(self, kept: np.ndarray, h: np.ndarray, counts: np.ndarray) -> np.ndarray:
        kept += h
        return kept * (1 / counts).astype(h.dtype)[:, np.newaxis]

    def forward_train(self, y, h_n, lengths) -> tuple[np.ndarray, Any]:
        batch, time, _ = y.shape
        counts = np.full(batch, time) if lengths is None else lengths
        scale = (1 / np.maximum(counts, 1)).astype(y.dtype)[:, np.newaxis]
        return y.sum(axis=1) * scale, (y.shape, scale)  # outputs past a row's length are zero

    def backward(self, context, dpooled) -> tuple[np.ndarray, np.ndarray | None]:
        y_shape, scale = context
        return np.broadcast_to((dpooled * scale)[:, np.newaxis], y_shape), None


@public("clstm.layers")
class MaxPooling:
    """The largest output of each unit over each row's real steps; the first of equals takes the gradient."""

    initial = -np.inf

    def __call__(self, y: np.ndarray, h_n: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
        return self.forward_train(y, h_n, lengths)[0]

    def follow(self, kept: np.ndarray, h: np.ndarray, counts: np.ndarray) -> np.ndarray:
        return np.maximum(kept, h, out=kept)

    def forward_train(self, y, h_n, lengths) -> tuple[np.ndarray, Any]:
        batch, time, features = y.shape
        if lengths is None:
            lengths = np.full(batch, time, np.int64)
        pooled = np.empty((batch, features), y.dtype)
        steps = np.empty((batch, features), np.intp)
        _loops.max_forward(y, lengths, pooled, steps)
        return pooled, (y.shape, steps)

    def backward(self, context, dpooled) -> tuple[np.ndarray, np.ndarray | None]:
        y_shape, steps = context
        dy = np.zeros(y_shape, dpooled.dtype)
        _loops.max_backward(np.ascontiguousarray(dpooled), steps, dy)
        return dy, None


POOLINGS = {"last": LastPooling(), "mean": MeanPooling(), "max": MaxPooling()}
