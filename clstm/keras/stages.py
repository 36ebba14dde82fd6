"""What each Keras layer computes around a layer of clstm: masks, activations, dropout.

A stage maps an array and its mask to one or several of both. Stages are made by `clstm.keras.layer_readers`, which has
checked Keras's configuration. `clstm.keras.recurrent` has the stage of LSTM and Bidirectional.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from clstm._checks import check_floats
from clstm.keras.activations import ACTIVATIONS
from clstm.layers.base import Layer
from clstm.layers.dropout import Dropout
from clstm.layers.embedding import Embedding
from clstm.layers.linear import Linear
from clstm.layers.row_gradient import RowGradient

Mask = np.ndarray | None

# The gradients of a stage's outputs. Only a `Recurrent` may get None, in place of zeros.
Gradients = Sequence[Any]


class Outputs(NamedTuple):
    """The outputs of a stage: arrays, the mask of each, and the context for `backward` (None in inference)."""

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

    def backward(self, context: Any, douts: Gradients) -> StageGradients:
        """Return the gradients, given those of the outputs."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{self.name}: {type(self).__name__}" if self.layer is None else f"{self.name}: {self.layer}"


class Lookup(Stage):
    """Embedding."""

    layer: Embedding

    def __init__(self, name: str, layer: Embedding, mask_zero: bool) -> None:
        super().__init__(name)
        self.layer, self.mask_zero = layer, mask_zero

    def forward(self, x: np.ndarray, mask: Mask, state: Any = None, train: bool = False) -> Outputs:
        """Look the ids up; with `mask_zero` the id 0 is masked."""
        y, context = self.layer.forward_train(x) if train else (self.layer(x), None)
        if self.mask_zero:
            mask = _both(mask, np.asarray(x) != 0)
        return Outputs((y,), (mask,), context)

    def backward(self, context: Any, douts: Gradients) -> StageGradients:
        """Return the gradient of the weights; ids have none."""
        return StageGradients(None, self.layer.backward(context, douts[0]).weights)


class Masking(Stage):
    """Masking: a step is masked if all its features are `mask_value`."""

    def __init__(self, name: str, mask_value: float) -> None:
        super().__init__(name)
        self.mask_value = mask_value

    def forward(self, x: np.ndarray, mask: Mask, state: Any = None, train: bool = False) -> Outputs:
        """Return x with zeros at the masked steps, and the mask."""
        x = check_floats("x", x)
        real = (x != self.mask_value).any(axis=-1)
        return Outputs((np.where(real[..., np.newaxis], x, 0),), (_both(mask, real),), real)

    def backward(self, context: Any, douts: Gradients) -> StageGradients:
        """Return the gradient, which is zero at the masked steps."""
        return StageGradients(np.where(context[..., np.newaxis], douts[0], 0), {})


class Dense(Stage):
    """Dense, alone or in TimeDistributed, with its activation."""

    layer: Linear

    def __init__(self, name: str, layer: Linear, activation: str, time_distributed: bool = False) -> None:
        super().__init__(name)
        self.layer, self.activation, self.time_distributed = layer, activation, time_distributed

    def forward(self, x: np.ndarray, mask: Mask, state: Any = None, train: bool = False) -> Outputs:
        """Apply the weights and the activation."""
        z, context = self.layer.forward_train(x) if train else (self.layer(x), None)
        y = ACTIVATIONS[self.activation].forward(z)
        return Outputs((y,), (mask,), (context, z, y))

    def backward(self, context: Any, douts: Gradients) -> StageGradients:
        """Return the gradients of the input and the weights."""
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

    def forward(self, x: np.ndarray, mask: Mask, state: Any = None, train: bool = False) -> Outputs:
        """Apply the activation."""
        x = check_floats("x", x)
        y = ACTIVATIONS[self.activation].forward(x)
        return Outputs((y,), (mask,), (x, y))

    def backward(self, context: Any, douts: Gradients) -> StageGradients:
        """Return the gradient of the input."""
        x, y = context
        return StageGradients(ACTIVATIONS[self.activation].backward(x, y, douts[0]), {})

    def __repr__(self) -> str:
        return f"{super().__repr__()}, {self.activation}"


class ElementDropout(Stage):
    """Dropout."""

    def __init__(self, name: str, rate: float) -> None:
        super().__init__(name)
        self._dropout = Dropout(rate)

    def forward(self, x: np.ndarray, mask: Mask, state: Any = None, train: bool = False) -> Outputs:
        """Zero elements at random in training."""
        if not train:
            return Outputs((self._dropout(x),), (mask,))
        y, context = self._dropout.forward_train(x)
        return Outputs((y,), (mask,), context)

    def backward(self, context: Any, douts: Gradients) -> StageGradients:
        """Return the gradient, with the same elements zeroed."""
        return StageGradients(self._dropout.backward(context, douts[0]).x, {})

    def __repr__(self) -> str:
        return f"{self.name}: {self._dropout}"


class StepDropout(ElementDropout):
    """SpatialDropout1D, and the dropout of an LSTM's input: a row has one dropout mask for all steps."""

    def forward(self, x: np.ndarray, mask: Mask, state: Any = None, train: bool = False) -> Outputs:
        """Zero features at random in training, in each row the same ones at every step."""
        if not train:
            return Outputs((self._dropout(x),), (mask,))
        dropout_mask, _ = self._dropout.forward_train(np.ones((len(x), 1, x.shape[-1]), x.dtype))
        return Outputs((x * dropout_mask,), (mask,), dropout_mask)

    def backward(self, context: Any, douts: Gradients) -> StageGradients:
        """Return the gradient, with the same features zeroed."""
        return StageGradients(douts[0] * context, {})


def _both(mask: Mask, real: np.ndarray) -> np.ndarray:
    """Return the mask of the steps that are real in both."""
    return real if mask is None else mask & real
