"""The stage of Keras's recurrent layers: an LSTM, or a Bidirectional of two, with masks, states and merging."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from clstm._checks import check_state
from clstm.keras.masks import Steps
from clstm.keras.stages import Gradients, Mask, Outputs, Stage, StageGradients, StepDropout
from clstm.layers.lstm import LSTM


class Recurrent(Stage):
    """LSTM, or Bidirectional of two LSTMs.

    Attributes
    ----------
    layer : LSTM
    return_sequences, return_state, go_backwards, zero_output_for_mask : bool
        Options of Keras's LSTM.
    merge_mode : {"concat", "sum", "mul", "ave"} or None
        How the outputs of two directions are merged; of None, they stay two outputs.
    """

    layer: LSTM

    def __init__(
        self,
        name: str,
        layer: LSTM,
        *,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool = False,
        zero_output_for_mask: bool = False,
        merge_mode: str | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(name)
        self.layer = layer
        self.return_sequences, self.return_state = return_sequences, return_state
        self.go_backwards, self.merge_mode = go_backwards, merge_mode
        self.zero_output_for_mask = zero_output_for_mask
        self._dropout = StepDropout(name, dropout) if dropout > 0 else None

    def forward(self, x: np.ndarray, mask: Mask, state: Any = None, train: bool = False) -> Outputs:
        """Run the LSTM over each row's real steps; `state` is Keras's [h, c], of both directions [h, c, h, c]."""
        lstm = self.layer
        context: Any = None
        dropped: Any = None
        if train and self._dropout is not None:
            (x,), _, dropped = self._dropout.forward(x, mask, train=True)
        steps = Steps(mask, self.go_backwards)
        arguments = steps.gather(x), self._state(state, len(x)), steps.lengths
        if train:
            y, (h_n, c_n), context = lstm.forward_train(*arguments)
        else:
            y, (h_n, c_n) = lstm(*arguments)
        if self.return_sequences:
            parts = np.split(steps.spread(y, self.zero_output_for_mask), lstm.num_directions, axis=-1)
        else:
            parts = [steps.last_output(h, self.zero_output_for_mask) for h in h_n]
        arrays = self._merge(parts)
        masks = (mask if self.return_sequences else None,) * len(arrays)
        if self.return_state:
            arrays += tuple(array for pair in zip(h_n, c_n, strict=True) for array in pair)
            masks += (None,) * (2 * len(h_n))
        return Outputs(arrays, masks, (context, steps, parts, y.shape, dropped) if train else None)

    def backward(self, context: Any, douts: Gradients) -> StageGradients:
        """Return the gradients of the input and the weights."""
        lstm_context, steps, parts, y_shape, dropped = context
        lstm = self.layer
        shape = (lstm.num_directions, y_shape[0], parts[0].shape[-1])
        dh_n, dc_n = np.zeros(shape, lstm.dtype), np.zeros(shape, lstm.dtype)
        dy = np.zeros(y_shape, lstm.dtype)
        if self.return_state:
            states = 2 * len(dh_n)  # h and c of each direction, in turns
            for gradient, places in ((dh_n, douts[-states::2]), (dc_n, douts[1 - states :: 2])):
                for direction, dout in enumerate(places):
                    if dout is not None:
                        gradient[direction] = dout
            douts = douts[:-states]
        dparts = self._unmerge(parts, [np.zeros(()) if dout is None else dout for dout in douts])
        if self.return_sequences:
            for part, dpart in zip(np.split(dy, len(dparts), axis=-1), dparts, strict=True):
                part[...] = dpart
            dy = steps.spread_backward(dy, self.zero_output_for_mask)
        else:
            for direction, dpart in enumerate(dparts):
                dh_n[direction] += steps.last_output(np.broadcast_to(dpart, shape[1:]), self.zero_output_for_mask)
        grads = lstm.backward(lstm_context, dy, (dh_n, dc_n))
        dx = steps.gather_backward(grads.x)
        if self._dropout is not None:
            dx = self._dropout.backward(dropped, (dx,)).x
        return StageGradients(dx, grads.weights)

    def _state(self, state: Any, batch: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Return Keras's [h, c], of both directions [h, c, h, c], as (h0, c0)."""
        if state is None:
            return None
        name, count = f"initial_state[{self.name!r}]", 2 * self.layer.num_directions
        if not isinstance(state, (list, tuple)) or len(state) != count:
            raise TypeError(f"{name} is {_count(state)}, expected {count} arrays: h, c of each direction")
        units = self.layer.hidden_size
        assert isinstance(units, int)  # Keras's layers are single ones
        shape = [("batch", batch), ("units", units)]
        pairs = [
            check_state("(h, c)", state[place : place + 2], self.layer.dtype, shape) for place in (0, 2)[: count // 2]
        ]
        h0, c0 = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
        return h0, c0

    def _merge(self, parts: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Return the outputs, given those of each direction."""
        if len(parts) == 1 or self.merge_mode is None:
            return tuple(parts)
        return (_MERGES[self.merge_mode](*parts),)

    def _unmerge(self, parts: Sequence[np.ndarray], douts: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        """Return the gradients of each direction's outputs, given those of the merged ones."""
        if len(parts) == 1 or self.merge_mode is None:
            return douts
        (dout,) = douts
        return _UNMERGES[self.merge_mode](dout, *parts)


Arrays = Sequence[np.ndarray]

_MERGES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "concat": lambda forward, backward: np.concatenate([forward, backward], axis=-1),
    "sum": lambda forward, backward: forward + backward,
    "mul": lambda forward, backward: forward * backward,
    "ave": lambda forward, backward: (forward + backward) * 0.5,
}
# Functions of the output's gradient and the outputs of both directions.
_UNMERGES: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], Arrays]] = {
    "concat": lambda dout, forward, backward: _halves(dout, forward.shape),
    "sum": lambda dout, forward, backward: (dout, dout),
    "mul": lambda dout, forward, backward: (dout * backward, dout * forward),
    "ave": lambda dout, forward, backward: (dout * 0.5,) * 2,
}


def _halves(dout: np.ndarray, shape: tuple[int, ...]) -> Arrays:
    """Return the halves of a gradient, which may be a scalar zero, of two concatenated outputs of this shape."""
    return np.split(np.broadcast_to(dout, (*shape[:-1], 2 * shape[-1])), 2, axis=-1)


def _count(state: Any) -> str:
    return f"{len(state)} arrays" if isinstance(state, (list, tuple)) else type(state).__name__
