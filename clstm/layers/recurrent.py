"""What LSTM and LSTMCell share: the options of a step, weights, packing, and what training keeps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clstm._checks import check_dtype, check_flag, check_index, check_positive, check_real, named_pair, random_generator
from clstm._core import backend, threads
from clstm._core.variant import Cell
from clstm._core.vector import runtime
from clstm._package import public
from clstm.layers.activations import DEFAULT, check_activations
from clstm.layers.base import Context, Layer
from clstm.layers.dropout_masks import draw_factors, draw_zeros
from clstm.layers.row_gradient import RowGradient

# A direction's weights as a backend takes them, and their gradients as it returns them; plain layers have three.
_REQUIRED = ("weight_ih", "weight_hh", "bias")
_OPTIONAL = ("weight_hr", "weight_peephole", "weight_norm_gates", "weight_norm_cell", "bias_norm_cell")
# Gates that stand one below the other in a weight, i first. Coupled, the layer's own weights lack i; a backend's have
# zeros there.
_GATES = {"weight_ih": 4, "weight_hh": 4, "bias": 4, "weight_peephole": 3, "weight_norm_gates": 4}
# The options of a step that PyTorch's LSTM lacks, and what leaves each of them off.
BEYOND_PYTORCH = {
    "peephole": False, "coupled": False, "cell_clip": None, "gate_clip": None, "layer_norm": False,
    "recurrent_dropout": 0.0, "weight_dropout": 0.0, "zoneout": (0.0, 0.0), "activations": DEFAULT,
    "learn_initial_state": False,
}  # fmt: skip


@public("clstm.layers")
@dataclass(frozen=True)
class LSTMGradients:
    """Gradients of an LSTM or LSTMCell.

    Attributes
    ----------
    weights : dict of str to ndarray
        By weight name, each of its weight's shape. Of a network with a sparse embedding, that one is a `RowGradient`.
    x : ndarray or None
        Of the input, in its shape; None where it was not asked for.
    h0, c0 : ndarray, or list of ndarray
        Of the initial state, in its shape. With `reset`, of what it is used for.
    """

    weights: dict[str, np.ndarray | RowGradient]
    x: np.ndarray | None
    h0: np.ndarray
    c0: np.ndarray


@public("clstm.layers")
@dataclass
class LSTMContext(Context):
    """What one `forward_train` keeps for one `backward`; opaque."""

    batched: bool
    y_shape: tuple[int, ...]
    rows: Any = None  # lengths, or the pieces that reset cuts the batch into
    given: bool = True  # whether the caller gave the initial state
    runs: list[Run] | None = field(default_factory=list, repr=False)

    def take(self, owner: Layer) -> list[Run]:
        """Give the runs away: backward overwrites the gates they hold, so it can happen once."""
        super().take(owner)
        runs, self.runs = self.runs, None
        return runs


@dataclass
class Run:
    """One layer's part of a context: its tape and the arrays that its backward reads."""

    tape: Any
    x: np.ndarray
    h0: np.ndarray
    c0: np.ndarray
    y: np.ndarray
    connections: list[np.ndarray | None]  # factors of weight_hh, one for each direction
    dropout: Any = None


class Recurrent(Layer):
    """Base of LSTM and LSTMCell."""

    def __init__(
        self, input_size, bias, num_directions, dtype, forget_bias, seed, num_threads, *, proj_size, peephole, coupled,
        cell_clip, gate_clip, layer_norm, recurrent_dropout, weight_dropout, zoneout, activations, learn_initial_state,
    ):  # fmt: skip
        super().__init__()
        self.input_size = check_index("input_size", input_size, low=1)
        self.bias = check_flag("bias", bias)
        self.dtype = check_dtype("dtype", dtype)
        self.num_directions = num_directions
        self.num_threads = None if num_threads is None else check_index("num_threads", num_threads, low=1)
        self.proj_size = check_index("proj_size", proj_size, low=0)
        self.peephole = check_flag("peephole", peephole)
        self.coupled = check_flag("coupled", coupled)
        self.cell_clip = None if cell_clip is None else check_positive("cell_clip", cell_clip)
        self.gate_clip = None if gate_clip is None else check_positive("gate_clip", gate_clip)
        self.layer_norm = check_flag("layer_norm", layer_norm)
        self.recurrent_dropout = check_real("recurrent_dropout", recurrent_dropout, low=0.0, high=1.0)
        self.weight_dropout = check_real("weight_dropout", weight_dropout, low=0.0, high=1.0)
        self.zoneout = _check_zoneout(zoneout)
        self.activations = tuple(activations) if isinstance(activations, list) else activations
        self.learn_initial_state = check_flag("learn_initial_state", learn_initial_state)
        self._generator = random_generator(seed)
        if forget_bias is not None:
            forget_bias = check_real("forget_bias", forget_bias)
            if not self.bias:
                raise ValueError("forget_bias is given, but bias is False")
        self._forget_bias = forget_bias
        self._cells = [
            Cell(
                coupled=self.coupled,
                cell_clip=self.cell_clip or math.inf,
                gate_clip=self.gate_clip or math.inf,
                layer_norm=self.layer_norm,
                peephole=self.peephole,
                projected=self.proj_size > 0,
                zoneout=self.zoneout,
                activations=each,
            )
            for each in check_activations(self.activations, num_directions)
        ]
        self._plain = all(cell.plain for cell in self._cells)
        self._suffixes: list[str] = []

    def _check_projection(self, hidden_size: int) -> None:
        if self.proj_size >= hidden_size:
            raise ValueError(f"proj_size is {self.proj_size}, expected below hidden_size, which is {hidden_size}")

    def _add_direction(self, suffix: str, input_size: int, hidden_size: int) -> None:
        """Add the weights of one direction of one layer, drawn from U(-1/sqrt(H), 1/sqrt(H)) as PyTorch does."""
        H, P = hidden_size, self.proj_size or hidden_size
        gates = 3 if self.coupled else 4
        forget = slice(0, H) if self.coupled else slice(H, 2 * H)
        shapes = {"weight_ih": (gates * H, input_size), "weight_hh": (gates * H, P)}
        if self.bias:
            shapes |= {"bias_ih": (gates * H,), "bias_hh": (gates * H,)}
        if self.proj_size:
            shapes["weight_hr"] = (P, H)
        if self.peephole:
            shapes["weight_peephole"] = ((gates - 1) * H,)
        constants = {}
        if self.layer_norm:
            constants = {"weight_norm_gates": ((gates * H,), 1), "weight_norm_cell": ((H,), 1)}
            if self.bias:
                constants["bias_norm_cell"] = ((H,), 0)
        if self.learn_initial_state:
            constants |= {"h0": ((P,), 0), "c0": ((H,), 0)}

        def draw(name, shape):
            value = np.empty(shape, self.dtype)
            for rows in np.array_split(value, max(1, value.size >> 16)):  # float64 of all at once is twice the memory
                rows[...] = self._generator.uniform(-(H**-0.5), H**-0.5, rows.shape)
            if self._forget_bias is not None and name.startswith("bias"):
                value[forget] = self._forget_bias if name == "bias_ih" else 0
            return value

        for name, shape in shapes.items():
            self._add_weight(name + suffix, shape, self.dtype, lambda name=name, shape=shape: draw(name, shape))
        for name, (shape, value) in constants.items():
            self._add_weight(name + suffix, shape, self.dtype, lambda shape=shape, value=value: np.full(shape, value))
        self._suffixes.append(suffix)

    def _let_go(self) -> None:
        self._packed = None

    def _ready(self) -> tuple[Any, tuple]:
        """Return the backend and the packs."""
        packed = self._packed
        if packed is None:
            raise RuntimeError("the layer's weights are being updated: no other thread may use it meanwhile")
        return packed

    def _weights_changed(self) -> None:
        compiled = backend.module()
        num_threads = threads.resolve(self.num_threads)
        packs = tuple(
            self._pack(compiled, number, None, self._plain, num_threads) for number in range(len(self._suffixes))
        )
        # One assignment: a call in another thread sees the old weights or the new, never some of each.
        self._packed = (compiled, packs)

    def _pack(self, compiled, number, connections, plain, num_threads):
        """Pack the weights of the number-th direction of all layers, with weight_hh times `connections` if given."""
        suffix, weights = self._suffixes[number], {}
        for name in (*_REQUIRED, *_OPTIONAL):
            if name == "bias":
                weights[name] = self._whole_bias(suffix)
            else:
                weights[name] = self._weights.get(name + suffix)
        if connections is not None:
            weights["weight_hh"] = weights["weight_hh"] * connections
        if self.coupled:
            for name, gates in _GATES.items():
                if weights[name] is not None:
                    weights[name] = _with_input_gate(weights[name], gates)
        if plain:
            return compiled.pack(*(weights[name] for name in _REQUIRED), num_threads)
        return compiled.pack_cell(self._cells[number % self.num_directions], *weights.values(), num_threads)

    def _whole_bias(self, suffix: str) -> np.ndarray:
        if self.bias:
            return self._weights["bias_ih" + suffix] + self._weights["bias_hh" + suffix]
        return np.zeros(len(self._weights["weight_hh" + suffix]), self.dtype)

    def _fresh(self, suffixes: list[str], sizes: tuple[int, int]) -> list[np.ndarray]:
        """Return the h and c, (directions, features), with which rows of some directions begin of themselves."""
        if self.learn_initial_state:
            return [np.stack([self._weights[name + suffix] for suffix in suffixes]) for name in ("h0", "c0")]
        return [np.zeros((len(suffixes), size), self.dtype) for size in sizes]

    def _fresh_rows(self, suffixes: list[str], sizes: tuple[int, int], B: int) -> list[np.ndarray]:
        """Return them for B rows, (directions, B, features)."""
        if not self.learn_initial_state:  # soon done, as most calls want it
            return [np.zeros((len(suffixes), B, size), self.dtype) for size in sizes]
        return [np.repeat(fresh[:, np.newaxis], B, axis=1) for fresh in self._fresh(suffixes, sizes)]

    @property
    def _plain_in_training(self) -> bool:
        return self._plain and self.recurrent_dropout == 0

    def _training_packs(self, num_threads: int) -> tuple[Any, tuple, list[np.ndarray | None]]:
        """Return the backend, the packs for one `forward_train`, and the factors of weight_hh in each, None for 1."""
        compiled, packs = self._ready()
        connections: list[np.ndarray | None] = [None] * len(packs)
        if self.weight_dropout > 0:
            for number, suffix in enumerate(self._suffixes):
                shape = self._weights["weight_hh" + suffix].shape
                connections[number] = draw_factors(self._generator, self.weight_dropout, shape, self.dtype)
        if self.weight_dropout > 0 or self._plain != self._plain_in_training:
            plain = self._plain_in_training
            packs = tuple(
                self._pack(compiled, number, kept, plain, num_threads) for number, kept in enumerate(connections)
            )
        return compiled, packs, connections

    def _draw_masks(self, T: int, B: int, hidden_size: int) -> list[tuple] | None:
        """Return one layer's masks for each direction, None where it has none.

        Factors of h before each step (B, P), and which of h (T, B, P) and c (T, B, H) stay as they were.
        """
        if self.recurrent_dropout == 0 and self.zoneout == (0, 0):
            return None
        P, generator = self.proj_size or hidden_size, self._generator

        def draw():
            p = self.recurrent_dropout
            factors = draw_factors(generator, p, (B, P), self.dtype) if p > 0 else None
            kept = [
                draw_zeros(generator, p, (T, B, size)) if p > 0 else None
                for p, size in zip(self.zoneout, (P, hidden_size), strict=True)
            ]
            return factors, *kept

        return [draw() for _ in range(self.num_directions)]

    def _empty_weight_grads(self, suffix: str) -> tuple[np.ndarray | None, ...]:
        """Return arrays for a backend to write a direction's gradients to."""
        grads = []
        for name in _REQUIRED if self._plain_in_training else (*_REQUIRED, *_OPTIONAL):
            like = self._weights.get(("bias_ih" if name == "bias" else name) + suffix)
            if like is None and name == "bias":
                like = self._weights["weight_hh" + suffix][:, 0]
            shape = None if like is None else list(like.shape)
            if self.coupled and name in _GATES and shape is not None:
                shape[0] += shape[0] // (_GATES[name] - 1)
            grads.append(None if shape is None else runtime.empty(tuple(shape), self.dtype))
        return tuple(grads)

    def _named_weight_grads(
        self, suffix: str, grads: tuple[np.ndarray | None, ...], connections: np.ndarray | None
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Name a direction's gradients as its weights."""
        for name, grad in zip((*_REQUIRED, *_OPTIONAL), grads):  # noqa: B905 (plain ones are three)
            if grad is None:
                continue
            if self.coupled and name in _GATES:
                grad = grad[len(grad) // _GATES[name] :]
            if name == "weight_hh" and connections is not None:
                grad *= connections
            if name != "bias":
                yield name + suffix, grad
            elif self.bias:
                yield "bias_ih" + suffix, grad
                yield "bias_hh" + suffix, grad.copy()


def _with_input_gate(weight: np.ndarray, gates: int) -> np.ndarray:
    """Put zeros for i before a weight that has all but the first of `gates` gates."""
    return np.concatenate([np.zeros_like(weight[: len(weight) // (gates - 1)]), weight])


def represent(layer: Recurrent, **defaults: Any) -> str:
    """Return the call that makes such a layer, without options that are at their default."""
    options = {"bias": True, **defaults, "dtype": "float32", "proj_size": 0, **BEYOND_PYTORCH}
    values = {name: layer.dtype.name if name == "dtype" else getattr(layer, name) for name in options}
    given = "".join(f", {name}={value}" for name, value in values.items() if value != options[name])
    return f"{type(layer).__name__}({layer.input_size}, {layer.hidden_size}{given})"


def _check_zoneout(value: Any) -> tuple[float, float]:
    if isinstance(value, (tuple, list)):
        h, c = (check_real(name, p, low=0.0, high=1.0) for name, p in named_pair("(zoneout h, zoneout c)", value))
        return h, c
    p = check_real("zoneout", value, low=0.0, high=1.0)
    return p, p
