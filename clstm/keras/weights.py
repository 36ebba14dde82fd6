"""The weights of clstm's layers in Keras's layout: their paths and shapes.

Both libraries order the gates i, f, g (Keras's c), o. Keras's kernels are transposed, and it has one bias where clstm
has two, which are added.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm._checks import check_state_dict
from clstm.keras.network import KerasNetwork
from clstm.keras.stages import Dense, Stage
from clstm.layers.base import Layer
from clstm.layers.embedding import Embedding
from clstm.layers.linear import Linear
from clstm.layers.lstm import LSTM

Arrays = dict[str, list[np.ndarray]]


@dataclass(frozen=True)
class Variables:
    """The variables of one layer, or one direction of an LSTM.

    Attributes
    ----------
    layer : Layer
        Of clstm.
    names : tuple of str
        Its weights that Keras has in one group, in Keras's order.
    path : str
        The group's, in Keras's files: ``layers/lstm_1/cell``.
    """

    layer: Layer
    names: tuple[str, ...]
    path: str

    def shapes(self) -> list[tuple[int, ...]]:
        """Return Keras's shapes."""
        weights = self.layer.parameters()
        return [self._transposed(weights[name]).shape for name in self.names]

    def to_keras(self) -> list[np.ndarray]:
        """Return the weights in Keras's layout."""
        weights = self.layer.parameters()
        arrays = []
        for name in self.names:
            weight = weights[name]
            if name.startswith("bias_ih"):
                weight = weight + weights[name.replace("_ih", "_hh")]
            arrays.append(np.ascontiguousarray(self._transposed(weight)))
        return arrays

    def from_keras(self, arrays: Iterable[np.ndarray]) -> dict[str, np.ndarray]:
        """Return the weights by clstm's names."""
        weights = {}
        for name, array in zip(self.names, arrays, strict=True):
            weights[name] = np.array(self._transposed(array), order="C")
            if name.startswith("bias_ih"):
                weights[name.replace("_ih", "_hh")] = np.zeros_like(weights[name])
        return weights

    def _transposed(self, array: np.ndarray) -> np.ndarray:
        """Return a weight in the other library's layout; an embedding is the same in both."""
        return array if isinstance(self.layer, Embedding) else array.T


def variables_of(layers: Any) -> list[Variables]:
    """Return the Keras variables of a network, or of layers in their order.

    Parameters
    ----------
    layers : KerasNetwork, or iterable of Embedding, LSTM and Linear
        An `LSTM` of several layers is as many layers in Keras.
    """
    if isinstance(layers, KerasNetwork):
        found: list[tuple[Any, Stage | None]] = [
            (stage.layer, stage) for stage in layers.layers if stage.layer is not None
        ]
    elif isinstance(layers, Layer) or not isinstance(layers, Iterable):
        raise TypeError(f"layers is {type(layers).__name__}, expected a KerasNetwork or a list of layers")
    else:
        found = [(layer, None) for layer in layers]
    counts: dict[str, int] = {}
    result: list[Variables] = []
    for layer, stage in found:
        if isinstance(layer, Embedding):
            result.append(Variables(layer, ("weight",), numbered(counts, "embedding")))
        elif isinstance(layer, Linear):
            wrapped = isinstance(stage, Dense) and stage.time_distributed
            path = f"{numbered(counts, 'time_distributed')}/layer" if wrapped else numbered(counts, "dense")
            result.append(Variables(layer, ("weight", "bias") if layer.bias else ("weight",), path))
        elif isinstance(layer, LSTM):
            result += _of_lstm(layer, counts)
        else:
            raise TypeError(f"layers holds {type(layer).__name__}, expected Embedding, LSTM and Linear")
    return result


def read_into(variables: list[Variables], arrays: Mapping[str, list[np.ndarray]], assign: bool = False) -> None:
    """Set the layers' weights to Keras's; no weight has changed where some don't fit."""
    states: dict[int, tuple[Layer, dict[str, np.ndarray]]] = {}
    for part in variables:
        _, state = states.setdefault(id(part.layer), (part.layer, {}))
        state.update(part.from_keras(arrays[part.path]))
    for layer, state in states.values():
        check_state_dict(state, layer.parameters())
    for layer, state in states.values():
        layer.load_state_dict(state, assign=assign)


# The names of layers with weights in Keras's files
KINDS = {
    "Embedding": "embedding",
    "LSTM": "lstm",
    "Bidirectional": "bidirectional",
    "Dense": "dense",
    "TimeDistributed": "time_distributed",
}

# Options that need weights or equations that Keras doesn't have, and their values when they are off
_PLAIN = {
    "proj_size": 0,
    "peephole": False,
    "coupled": False,
    "cell_clip": None,
    "gate_clip": None,
    "layer_norm": False,
    "zoneout": (0.0, 0.0),
    "learn_initial_state": False,
    "residual": False,
}


def _of_lstm(layer: LSTM, counts: dict[str, int]) -> list[Variables]:
    for option, off in _PLAIN.items():
        if getattr(layer, option) != off:
            raise ValueError(f"{option} is {getattr(layer, option)} of an LSTM, which Keras's doesn't have")
    kinds = ("weight_ih", "weight_hh", "bias_ih") if layer.bias else ("weight_ih", "weight_hh")
    result = []
    for place in range(layer.num_layers):
        if layer.bidirectional:
            path = numbered(counts, "bidirectional")
            paths = {"": f"{path}/forward_layer/cell", "_reverse": f"{path}/backward_layer/cell"}
        else:
            paths = {"": f"{numbered(counts, 'lstm')}/cell"}
        for direction, path in paths.items():
            result.append(Variables(layer, tuple(f"{kind}_l{place}{direction}" for kind in kinds), path))
    return result


def numbered(counts: dict[str, int], kind: str) -> str:
    """Return the path of the next layer of a class; Keras's files number them, whatever their names are."""
    number = counts[kind] = counts.get(kind, -1) + 1
    return f"layers/{kind}_{number}" if number else f"layers/{kind}"
