"""Conversion between ONNX's LSTM node and a layer of clstm.

A node is one layer. Its weights have an axis of directions, and the gates in the order i, o, f, c; peepholes i, o, f.
Where the standard is unclear, ONNX Runtime's behaviour counts: `clip` limits the inputs of the four gates' activations
and nothing else; with `input_forget` the forget gate is 1 - i; the final states of a row of length 0 are zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm.layers.activations import DEFAULT
from clstm.layers.base import blank_weights
from clstm.layers.lstm import LSTM
from clstm.onnx.activations import Activation, is_odd_around_half, read_activations
from clstm.onnx.attributes import Attributes

# The order of the gates' row blocks. clstm's coupled gates are f, g, o: i is 1 - f.
_ONNX_GATES = ("i", "o", "f", "g")
_GATES = {False: ("i", "f", "g", "o"), True: ("f", "g", "o")}
_ONNX_PEEPHOLES = ("i", "o", "f")
_PEEPHOLES = {False: ("i", "f", "o"), True: ("f", "o")}


@dataclass(frozen=True)
class NodeOptions:
    """The attributes of an LSTM node, in clstm's terms. If hidden_size is None, the weights' shapes decide."""

    direction: str
    hidden_size: int | None
    activations: tuple[Activation, ...]
    clip: float | None
    coupled: bool
    batch_first: bool

    @property
    def directions(self) -> int:
        """The number of directions."""
        return 2 if self.direction == "bidirectional" else 1

    @staticmethod
    def read(attributes: Attributes) -> NodeOptions:
        """Return the options that a node's attributes say; raise ValueError for ones that can't be run."""
        direction = attributes.text("direction", "forward")
        if direction not in ("forward", "reverse", "bidirectional"):
            raise ValueError(f"direction is {direction!r}, expected 'forward', 'reverse' or 'bidirectional'")
        directions = 2 if direction == "bidirectional" else 1
        names = attributes.texts("activations", list(DEFAULT) * directions)
        alphas, betas = attributes.reals("activation_alpha", []), attributes.reals("activation_beta", [])
        if len(names) != 3 * directions:
            raise ValueError(f"activations has {len(names)} names, expected {3 * directions}")
        activations = read_activations(names, alphas, betas)
        coupled = attributes.flag("input_forget", False)
        for gate in activations[::3]:
            if coupled and not is_odd_around_half(gate):
                raise ValueError(f"input_forget is 1 with the activation {gate!r}; only sigmoid is supported with it")
        clip = attributes.real("clip", None)
        if clip is not None and not 0 < clip < np.inf:
            raise ValueError(f"clip is {clip}, expected above 0")
        return NodeOptions(
            direction,
            attributes.integer("hidden_size", None),
            activations[:3] if activations[:3] * directions == activations else activations,
            clip,
            coupled,
            attributes.flag("layout", False),
        )


def make_layer(
    options: NodeOptions, W: np.ndarray, R: np.ndarray, B: np.ndarray | None, P: np.ndarray | None, num_threads: Any
) -> LSTM:
    """Return the layer of a node with these weights, whose shapes are checked."""
    D = options.directions
    if W.ndim != 3 or R.ndim != 3:
        raise ValueError(f"W and R have the shapes {W.shape} and {R.shape}, expected three axes")
    H, inputs = R.shape[2] if options.hidden_size is None else options.hidden_size, W.shape[2]
    shapes = {"W": (W, (D, 4 * H, inputs)), "R": (R, (D, 4 * H, H)), "B": (B, (D, 8 * H)), "P": (P, (D, 3 * H))}
    for name, (array, shape) in shapes.items():
        if array is not None and array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}, expected {shape} (directions {D}, hidden_size {H})")
        if array is not None and (array.dtype != W.dtype or array.dtype.kind != "f"):
            raise ValueError(f"{name} is {array.dtype}, expected all of float32, or all of float64")
    with blank_weights():
        layer = LSTM(
            inputs, H, bias=B is not None, bidirectional=D == 2, dtype=W.dtype, num_threads=num_threads,
            peephole=P is not None, coupled=options.coupled, gate_clip=options.clip, activations=options.activations,
        )  # fmt: skip
    weights = {}
    for direction, suffix in zip(range(D), ("_l0", "_l0_reverse"), strict=False):
        weights["weight_ih" + suffix] = _from_onnx(W[direction], options.coupled)
        weights["weight_hh" + suffix] = _from_onnx(R[direction], options.coupled)
        if B is not None:
            for name, bias in zip(("bias_ih", "bias_hh"), np.split(B[direction], 2), strict=True):
                weights[name + suffix] = _from_onnx(bias, options.coupled)
        if P is not None:
            weights["weight_peephole" + suffix] = _from_onnx(P[direction], options.coupled, peephole=True)
    with np.errstate(all="ignore"):  # NaN and infinity cause no warnings
        layer.load_state_dict(weights, assign=True)
    return layer


def _from_onnx(rows: np.ndarray, coupled: bool, peephole: bool = False) -> np.ndarray:
    """Return a direction's rows of all gates in clstm's order."""
    source, target = (_ONNX_PEEPHOLES, _PEEPHOLES) if peephole else (_ONNX_GATES, _GATES)
    blocks = dict(zip(source, np.split(rows, len(source)), strict=True))
    if coupled:
        # ONNX's i is computed and f = 1 - i; clstm's f is computed and i = 1 - f. sigmoid(-a) is 1 - sigmoid(a).
        blocks["f"] = -blocks["i"]
    return np.concatenate([blocks[gate] for gate in target[coupled]])


def _to_onnx(rows: np.ndarray, coupled: bool, peephole: bool = False) -> np.ndarray:
    """Return a direction's rows of all gates in ONNX's order."""
    source, target = (_PEEPHOLES, _ONNX_PEEPHOLES) if peephole else (_GATES, _ONNX_GATES)
    blocks = dict(zip(source[coupled], np.split(rows, len(source[coupled])), strict=True))
    if coupled:
        blocks["i"] = -blocks["f"]  # f is written too, for runtimes that ignore input_forget
    return np.concatenate([blocks[gate] for gate in target])


def node_weights(lstm: LSTM, layer: int) -> Iterator[tuple[str, np.ndarray]]:
    """Return the names and arrays of a layer's inputs to a node: W, R, and B and P where it has them."""
    weights = lstm.parameters()
    coupled = lstm.coupled
    suffixes = [f"_l{layer}", f"_l{layer}_reverse"][: lstm.num_directions]

    def stack(name: str, **options: Any) -> np.ndarray:
        return np.stack([_to_onnx(weights[name + suffix], coupled, **options) for suffix in suffixes])

    yield "W", stack("weight_ih")
    yield "R", stack("weight_hh")
    if lstm.bias:
        yield "B", np.concatenate([stack("bias_ih"), stack("bias_hh")], axis=1)
    if lstm.peephole:
        yield "P", stack("weight_peephole", peephole=True)


def run_layer(
    layer: LSTM,
    options: NodeOptions,
    x: np.ndarray,
    lengths: np.ndarray | None,
    h0: np.ndarray | None,
    c0: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return Y (time, directions, batch, hidden), Y_h and Y_c (directions, batch, hidden) of a node.

    With layout 1 the batch is the first axis of all of them, and of the inputs.
    """
    D, H = options.directions, layer.hidden_size
    assert isinstance(H, int)  # a node is one layer
    if x.ndim != 3:
        raise ValueError(f"X has shape {x.shape}, expected three axes")
    if options.batch_first:
        x = x.swapaxes(0, 1)
    T, B, _ = x.shape
    if x.shape[2] != layer.input_size or x.dtype != layer.dtype:
        raise ValueError(f"X is {x.dtype}{x.shape}, expected {layer.dtype} and {layer.input_size} features")
    state = _state(h0, c0, (D, B, H), layer.dtype, options.batch_first)
    if lengths is not None and (
        lengths.shape != (B,) or (lengths.size and not 0 <= lengths.min() <= lengths.max() <= T)
    ):
        raise ValueError(f"sequence_lens is {_short(lengths)}, expected {B} numbers from 0 to {T}")
    if options.direction == "reverse":
        x = _reversed(x, lengths)
    y, (h_n, c_n) = layer(x, state, lengths)
    if options.direction == "reverse":
        y = _reversed(y, lengths)
    if lengths is not None and not lengths.all():
        for last in (h_n, c_n):
            last[:, lengths == 0] = 0
    y = y.reshape(T, B, D, H)
    if options.batch_first:
        return y.swapaxes(0, 1), h_n.swapaxes(0, 1), c_n.swapaxes(0, 1)
    return y.swapaxes(1, 2), h_n, c_n


def _state(
    h0: np.ndarray | None, c0: np.ndarray | None, shape: tuple[int, ...], dtype: np.dtype, batch_first: bool
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the initial state of a node, of which either part may be left out; None if both are."""
    if h0 is None and c0 is None:
        return None
    state = []
    for name, array in (("initial_h", h0), ("initial_c", c0)):
        if array is None:
            array = np.zeros(shape, dtype)
        elif batch_first and array.ndim == 3:
            array = array.swapaxes(0, 1)
        if array.shape != shape or array.dtype != dtype:
            raise ValueError(
                f"{name} is {array.dtype}{array.shape}, expected {dtype}{shape} (directions, batch, hidden)"
            )
        state.append(array)
    return state[0], state[1]


def _reversed(x: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """Return x (time, batch, features) with the real steps of each row reversed, and the padding in its place."""
    if lengths is None:
        return np.ascontiguousarray(x[::-1])
    steps = np.arange(len(x))[:, np.newaxis]
    steps = np.where(steps < lengths, lengths - 1 - steps, steps)
    return np.take_along_axis(x, steps[:, :, np.newaxis], axis=0)


def _short(values: np.ndarray) -> str:
    text = str(values.tolist())
    return text if len(text) <= 60 else f"{text[:57]}..."
