"""A Keras model as a network of clstm: a chain of layers, with Keras's masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from clstm._checks import as_array, check_array, check_lengths
from clstm._package import public
from clstm.keras.recurrent import Recurrent
from clstm.keras.stages import Lookup, Stage
from clstm.layers.base import Context, Layer, LayerGradients


class Step(NamedTuple):
    """A stage, and which output of the stage before it is its input."""

    stage: Stage
    source: int = 0


@dataclass
class KerasContext(Context):
    """What one `forward_train` stores for one `backward`: the contexts of the stages; opaque."""

    counts: list[int]
    outputs: list[np.ndarray]


@public("clstm.keras")
class KerasNetwork(Layer):
    """A Keras model that `clstm.keras.load` has read; it computes Keras's outputs.

    Weights have the names of clstm's layers behind the Keras layer's: ``lstm.weight_ih_l0``, ``dense.bias``. Of the two
    biases of an LSTM the first holds Keras's, the second zeros; their sum counts.

    Attributes
    ----------
    layers : tuple
        One for each of the Keras model's but its input, with its ``name`` and, where it has weights, the `LSTM`,
        `Embedding` or `Linear` that holds them as ``layer``. These can be used by themselves: an `LSTM` to stream.

    Notes
    -----
    A call changes nothing in the object, so many threads may call one network at once. `forward_train` draws dropout
    masks from one generator, so training is for one thread.
    """

    def __init__(self, steps: Sequence[Step], outputs: Sequence[int], single: bool) -> None:
        super().__init__()
        self.layers = tuple(step.stage for step in steps)
        self._sources = [step.source for step in steps]
        self._outputs, self._single = list(outputs), single
        for stage in self.layers:
            if stage.layer is not None:
                self._add_part(stage.name, stage.layer)

    def get_layer(self, name: str) -> Stage:
        """Return the layer of that name.

        Raises
        ------
        ValueError
            There is none.
        """
        for stage in self.layers:
            if stage.name == name:
                return stage
        raise ValueError(f"there is no layer {name!r}; there are {', '.join(stage.name for stage in self.layers)}")

    def __call__(
        self,
        x: Any,
        mask: Any = None,
        lengths: Any = None,
        initial_state: Mapping[str, Sequence[np.ndarray]] | None = None,
    ) -> np.ndarray | tuple[np.ndarray, ...]:
        """Return the outputs of the Keras model in inference.

        Parameters
        ----------
        x : array_like of int, shape (batch, time), or ndarray of shape (batch, time, features)
            Token ids where the first layer is an embedding, else floats of its dtype. A model without a recurrent layer
            may take other shapes.
        mask : array_like of bool, shape (batch, time), optional
            True for the steps that count; as in Keras, any step may be masked. A mask that the model makes itself
            (Embedding(mask_zero=True), Masking) masks further ones.
        lengths : array_like of int, shape (batch,), optional
            Instead of a mask: how many steps of each row count, from the first on.
        initial_state : dict of str to sequence of ndarray, optional
            By the name of a recurrent layer: h and c, each (batch, units), of a bidirectional one h, c of the forward
            direction, then of the backward direction. Zeros where left out.

        Returns
        -------
        ndarray or tuple of ndarray
            A tuple where the Keras model has several outputs, as with ``return_state=True``.

        Raises
        ------
        TypeError, ValueError
            A wrong dtype, shape, id, length or name.
        """
        arrays, mask, states = self._check(x, mask, lengths, initial_state)
        masks: tuple[Any, ...] = (mask,)
        for stage, source in zip(self.layers, self._sources, strict=True):
            arrays, masks, _ = stage.forward(arrays[source], masks[source], states.get(stage.name))
        return arrays[self._outputs[0]] if self._single else tuple(arrays[place] for place in self._outputs)

    def forward_train(
        self,
        x: Any,
        mask: Any = None,
        lengths: Any = None,
        initial_state: Mapping[str, Sequence[np.ndarray]] | None = None,
    ) -> tuple[Any, KerasContext]:
        """Run the network with dropout, and return the outputs with a context for `backward`.

        Returns
        -------
        y : ndarray or tuple of ndarray
        context : KerasContext
            For one `backward`.
        """
        arrays, mask, states = self._check(x, mask, lengths, initial_state)
        masks: tuple[Any, ...] = (mask,)
        contexts: list[Any] = []
        counts: list[int] = []
        for stage, source in zip(self.layers, self._sources, strict=True):
            arrays, masks, context = stage.forward(arrays[source], masks[source], states.get(stage.name), train=True)
            contexts.append(context)
            counts.append(len(arrays))
        outputs = tuple(arrays[place] for place in self._outputs)
        return outputs[0] if self._single else outputs, KerasContext(self, counts, list(outputs), kept=contexts)

    def backward(self, context: KerasContext, dy: Any) -> LayerGradients:
        """Return the gradients of a loss, given its gradients at the outputs of one `forward_train`.

        Parameters
        ----------
        context : KerasContext
            From `forward_train`; used up by this call.
        dy : ndarray or sequence of ndarray or None
            One for each output, in its shape and dtype; None for zeros.

        Returns
        -------
        LayerGradients
            By weight name, and of `x` (None where it is token ids).

        Raises
        ------
        TypeError, ValueError
            A wrong dtype, shape or number of arrays, or a context of another network or already used.
        """
        context = KerasContext.checked(context, self)
        given = [dy] if self._single else list(dy)
        if len(given) != len(context.outputs):
            raise ValueError(f"dy has {len(given)} arrays, expected {len(context.outputs)}, one for each output")
        douts: list[np.ndarray | None] = [None] * (context.counts[-1] if context.counts else 1)
        for place, gradient, output in zip(self._outputs, given, context.outputs, strict=True):
            if gradient is not None:
                axes = [("output's axis", size) for size in output.shape]
                gradient = check_array("dy", gradient, output.dtype, axes)
                douts[place] = gradient if douts[place] is None else douts[place] + gradient
        contexts = context.take(self)
        weights: dict[str, Any] = {}
        dx = None
        for place in reversed(range(len(self.layers))):
            stage = self.layers[place]
            if not isinstance(stage, Recurrent) and douts[0] is None:
                douts[0] = np.zeros_like(context.outputs[0])
            dx, grads = stage.backward(contexts[place], douts)
            weights.update({f"{stage.name}.{name}": value for name, value in grads.items()})
            douts = [None] * (context.counts[place - 1] if place else 1)
            douts[self._sources[place]] = dx
        return LayerGradients({name: weights[name] for name in self.parameters()}, dx)

    def _check(self, x: Any, mask: Any, lengths: Any, initial_state: Any) -> tuple[tuple[np.ndarray, ...], Any, dict]:
        x = as_array("x", x)
        if mask is not None and lengths is not None:
            raise ValueError("mask and lengths are both given, expected one of them")
        if lengths is not None:
            self._check_steps("lengths", x)
            lengths = check_lengths(lengths, *x.shape[:2])
            if lengths is not None:
                mask = np.arange(x.shape[1]) < lengths[:, np.newaxis]
        elif mask is not None:
            self._check_steps("mask", x)
            mask = check_array("mask", mask, np.dtype(bool), [("batch", x.shape[0]), ("time", x.shape[1])])
        states = {} if initial_state is None else initial_state
        if not isinstance(states, Mapping):
            raise TypeError(f"initial_state is {type(states).__name__}, expected a dict of layers' names to arrays")
        recurrent = [stage.name for stage in self.layers if isinstance(stage, Recurrent)]
        for name in states:
            if name not in recurrent:
                raise ValueError(f"initial_state has {name!r}, expected names of recurrent layers: {recurrent}")
        return (x,), mask, dict(states)

    def _check_steps(self, name: str, x: np.ndarray) -> None:
        ids = bool(self.layers) and isinstance(self.layers[0], Lookup)
        if x.ndim != (2 if ids else 3):
            axes = "(batch, time)" if ids else "(batch, time, features)"
            raise ValueError(f"{name} is given, but x has shape {x.shape}, expected {axes}")

    def __repr__(self) -> str:
        lines = "".join(f"  {stage!r}\n" for stage in self.layers)
        return f"KerasNetwork(\n{lines})"
