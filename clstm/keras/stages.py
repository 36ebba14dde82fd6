"""What a Keras layer does, around the clstm layer that does the work: masks, merging, activations, dropout.

A stage maps an array and its mask to one or several of both. All are made by `clstm.keras.architecture`, which has
checked what Keras's configuration says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from clstm._checks import check_floats, check_state
from clstm.keras.activations import ACTIVATIONS
from clstm.keras.masks import Steps
from clstm.layers.base import Layer
from clstm.layers.dropout import Dropout
from clstm.layers.embedding import Embedding
from clstm.layers.linear import Linear
from clstm.layers.lstm import LSTM
from clstm.layers.row_gradient import RowGradient

Mask = np.ndarray | None


class Outputs(NamedTuple):
    """What a stage gives: arrays, the mask of each, and what `backward` needs (None in inference)."""

    arrays: tuple[np.ndarray, ...]
    masks: tuple[Mask, ...]
    context: Any = None


class StageGradients(NamedTuple):
    """The gradient of a stage's input, None where it is integers, and of its layer's weights."""

    x: np.ndarray | None
    weights: dict[str, np.ndarray | RowGradient]


class Stage:
    """One layer of Keras.

    Attributes
    ----------
    name : str
        The Keras layer's.
    layer : Layer or None
        The layer of clstm that holds its weights.
    """

    layer: Layer | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    def forward(self, x: np.ndarray, mask: Mask, state: Any = None, train: bool = False) -> Outputs:
        """Return the outputs; with `train`, with dropout and a context."""
        raise NotImplementedError

    def backward(self, context: Any, douts: Sequence[np.ndarray | None]) -> StageGradients:
        """Return the gradients, given those of the outputs, of which those that are None are zeros."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{self.name}: {type(self).__name__}" if self.layer is None else f"{self.name}: {self.layer}"


class Lookup(Stage):
    """Embedding."""

    def __init__(self, name: str, layer: Embedding, mask_zero: bool) -> None:
        super().__init__(name)
        self.layer, self.mask_zero = layer, mask_zero

    def forward(self, x, mask, state=None, train=False):
        y, context = self.layer.forward_train(x) if train else (self.layer(x), None)
        if self.mask_zero:
            mask = _both(mask, np.asarray(x) != 0)
        return Outputs((y,), (mask,), context)

    def backward(self, context, douts):
        return StageGradients(None, self.layer.backward(context, douts[0]).weights)


class Masking(Stage):
    """Masking: a step is left out if all its features are `mask_value`."""

    def __init__(self, name: str, mask_value: float) -> None:
        super().__init__(name)
        self.mask_value = mask_value

    def forward(self, x, mask, state=None, train=False):
        x = check_floats("x", x)
        real = (x != self.mask_value).any(axis=-1)
        return Outputs((np.where(real[..., np.newaxis], x, 0),), (_both(mask, real),), real)

    def backward(self, context, douts):
        return StageGradients(np.where(context[..., np.newaxis], douts[0], 0), {})


class Recurrent(Stage):
    """LSTM, or Bidirectional of two LSTMs."""

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

    def forward(self, x, mask, state=None, train=False):
        lstm, dropped, context = self.layer, None, None
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

    def backward(self, context, douts):
        context, steps, parts, y_shape, dropped = context
        lstm = self.layer
        shape = (lstm.num_directions, y_shape[0], parts[0].shape[-1])
        dh_n, dc_n = np.zeros(shape, lstm.dtype), np.zeros(shape, lstm.dtype)
        dy = np.zeros(y_shape, lstm.dtype)
        if self.return_state:
            for gradient, places in ((dh_n, douts[-2 * len(dh_n) :: 2]), (dc_n, douts[1 - 2 * len(dc_n) :: 2])):
                for direction, dout in enumerate(places):
                    if dout is not None:
                        gradient[direction] = dout
            douts = douts[: -2 * len(dh_n)]
        dparts = self._merge_back(parts, [np.zeros(()) if dout is None else dout for dout in douts])
        if self.return_sequences:
            for part, dpart in zip(np.split(dy, len(dparts), axis=-1), dparts, strict=True):
                part[...] = dpart
            dy = steps.spread_back(dy, self.zero_output_for_mask)
        else:
            for direction, dpart in enumerate(dparts):
                dh_n[direction] += steps.last_output(np.broadcast_to(dpart, shape[1:]), self.zero_output_for_mask)
        grads = lstm.backward(context, dy, (dh_n, dc_n))
        dx = steps.gather_back(grads.x)
        if dropped is not None:
            dx = self._dropout.backward(dropped, (dx,)).x
        return StageGradients(dx, grads.weights)

    def _state(self, state: Any, batch: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Return Keras's [h, c], of both directions [h, c, h, c], as (h0, c0)."""
        if state is None:
            return None
        name, count = f"initial_state[{self.name!r}]", 2 * self.layer.num_directions
        if not isinstance(state, (list, tuple)) or len(state) != count:
            raise TypeError(f"{name} is {_count(state)}, expected {count} arrays: h, c of each direction")
        shape = [("batch", batch), ("units", self.layer.hidden_size)]
        pairs = [
            check_state("(h, c)", state[place : place + 2], self.layer.dtype, shape) for place in (0, 2)[: count // 2]
        ]
        h0, c0 = (np.stack(arrays) for arrays in zip(*pairs, strict=True))
        return h0, c0

    def _merge(self, parts: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        if len(parts) == 1 or self.merge_mode is None:
            return tuple(parts)
        forward, backward = parts
        if self.merge_mode == "concat":
            return (np.concatenate(parts, axis=-1),)
        if self.merge_mode == "mul":
            return (forward * backward,)
        return ((forward + backward) * (0.5 if self.merge_mode == "ave" else 1),)

    def _merge_back(self, parts: Sequence[np.ndarray], douts: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
        if len(parts) == 1 or self.merge_mode is None:
            return douts
        (dout,) = douts
        if self.merge_mode == "concat":
            return np.split(np.broadcast_to(dout, (*parts[0].shape[:-1], 2 * parts[0].shape[-1])), 2, axis=-1)
        if self.merge_mode == "mul":
            return dout * parts[1], dout * parts[0]
        return (dout * (0.5 if self.merge_mode == "ave" else 1),) * 2


class Dense(Stage):
    """Dense, by itself or in TimeDistributed, with its activation."""

    def __init__(self, name: str, layer: Linear, activation: str, time_distributed: bool = False) -> None:
        super().__init__(name)
        self.layer, self.activation, self.time_distributed = layer, activation, time_distributed

    def forward(self, x, mask, state=None, train=False):
        z, context = self.layer.forward_train(x) if train else (self.layer(x), None)
        y = ACTIVATIONS[self.activation].forward(z)
        return Outputs((y,), (mask,), (context, z, y))

    def backward(self, context, douts):
        context, z, y = context
        dz = ACTIVATIONS[self.activation].backward(z, y, douts[0])
        grads = self.layer.backward(context, dz.astype(z.dtype, copy=False))
        return StageGradients(grads.x, grads.weights)

    def __repr__(self) -> str:
        return f"{super().__repr__()}, {self.activation}"


class Activation(Stage):
    """Activation."""

    def __init__(self, name: str, activation: str) -> None:
        super().__init__(name)
        self.activation = activation

    def forward(self, x, mask, state=None, train=False):
        x = check_floats("x", x)
        y = ACTIVATIONS[self.activation].forward(x)
        return Outputs((y,), (mask,), (x, y))

    def backward(self, context, douts):
        return StageGradients(ACTIVATIONS[self.activation].backward(*context, douts[0]), {})

    def __repr__(self) -> str:
        return f"{super().__repr__()}, {self.activation}"


class ElementDropout(Stage):
    """Dropout."""

    def __init__(self, name: str, rate: float) -> None:
        super().__init__(name)
        self._dropout = Dropout(rate)

    def forward(self, x, mask, state=None, train=False):
        if not train:
            return Outputs((self._dropout(x),), (mask,))
        y, context = self._dropout.forward_train(x)
        return Outputs((y,), (mask,), context)

    def backward(self, context, douts):
        return StageGradients(self._dropout.backward(context, douts[0]).x, {})

    def __repr__(self) -> str:
        return f"{self.name}: {self._dropout}"


class StepDropout(ElementDropout):
    """SpatialDropout1D, and the dropout of an LSTM's input: what is zeroed in a row is the same at every step."""

    def forward(self, x, mask, state=None, train=False):
        if not train:
            return Outputs((self._dropout(x),), (mask,))
        factors, _ = self._dropout.forward_train(np.ones((len(x), 1, x.shape[-1]), x.dtype))
        return Outputs((x * factors,), (mask,), factors)

    def backward(self, context, douts):
        return StageGradients(douts[0] * context, {})


def _both(mask: Mask, real: np.ndarray) -> np.ndarray:
    return real if mask is None else mask & real


def _count(state: Any) -> str:
    return f"{len(state)} arrays" if isinstance(state, (list, tuple)) else type(state).__name__
