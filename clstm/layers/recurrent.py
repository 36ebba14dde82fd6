"""What LSTM and LSTMCell have in common: weights, packing, random masks, and what a training step keeps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from clstm._checks import check_index, check_real, random_generator
from clstm._core import backend, threads
from clstm._core.backend import Path
from clstm._core.job import Job, Masks
from clstm._core.variant import Variant
from clstm._core.vector import runtime
from clstm._package import public
from clstm.layers.base import Context, Layer
from clstm.layers.cell_options import BEYOND_PYTORCH, CellOptions
from clstm.layers.dropout_masks import draw_bernoulli, draw_dropout_mask
from clstm.layers.row_gradient import RowGradient

# The weights of one direction as a path takes them; `bias` is the sum of bias_ih and bias_hh.
PACKED_WEIGHTS = (
    "weight_ih", "weight_hh", "bias", "weight_hr", "weight_peephole", "weight_norm_gates", "weight_norm_cell",
    "bias_norm_cell",
)  # fmt: skip
# How many gates a path's weight stacks, i first. With coupled gates the layer's own weight lacks i, and the path is
# given zeros there.
STACKED_GATES = {"weight_ih": 4, "weight_hh": 4, "bias": 4, "weight_peephole": 3, "weight_norm_gates": 4}


@public("clstm.layers")
@dataclass(frozen=True)
class LSTMGradients:
    """Gradients of an LSTM or LSTMCell.

    Attributes
    ----------
    weights : dict of str to ndarray
        By weight name, each of its weight's shape. Of a network with a sparse embedding, that one is a `RowGradient`.
    x : ndarray or None
        Of the input, in its shape; None without `need_input_grad`.
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
    segments: Any = None  # the SegmentedBatch where there is a reset
    given: bool = True  # whether the caller gave the initial state
    runs: list[LayerRun] | None = field(default_factory=list, repr=False)

    def take(self, owner: Layer) -> list[LayerRun]:
        """Return the layers' runs, once: `backward` overwrites the gates in their tapes."""
        super().take(owner)
        runs, self.runs = self.runs, None
        return runs


@dataclass
class LayerRun:
    """One layer's forward pass in training: the job, and what `backward` needs beside it."""

    path: Any  # what ran forward and will run backward: a Path, or the same functions with gradient checkpointing
    tape: Any
    job: Job
    drop_connect: list[np.ndarray | None]  # the DropConnect mask of weight_hh of each direction
    dropout: Any = None  # the context of the dropout between the layer below and this one


class Recurrent(Layer):
    """Base of LSTM and LSTMCell.

    Parameters
    ----------
    input_size, forget_bias, seed, num_threads
        As for `clstm.LSTM`.
    options : CellOptions
        Becomes attributes of the layer.
    num_directions : int
    """

    hidden_size: Any
    bias: bool
    dtype: np.dtype
    proj_size: int
    peephole: bool
    coupled: bool
    cell_clip: float | None
    gate_clip: float | None
    layer_norm: bool
    recurrent_dropout: float
    weight_dropout: float
    zoneout: tuple[float, float]
    activations: Any
    learn_initial_state: bool

    def __init__(
        self, input_size: Any, options: CellOptions, num_directions: int, forget_bias: Any, seed: Any, num_threads: Any
    ) -> None:
        super().__init__()
        self.input_size = check_index("input_size", input_size, low=1)
        vars(self).update(options.values())
        self.num_directions = num_directions
        self.num_threads = None if num_threads is None else check_index("num_threads", num_threads, low=1)
        self._generator = random_generator(seed)
        if forget_bias is not None:
            forget_bias = check_real("forget_bias", forget_bias)
            if not self.bias:
                raise ValueError("forget_bias is given, but bias is False")
        self._forget_bias = forget_bias
        self._variants = options.variants(num_directions)
        masked = self.recurrent_dropout > 0
        self._training_variants = options.variants(num_directions, masked) if masked else self._variants
        self._suffixes: list[str] = []
        self._packed_shapes: list[dict[str, tuple[int, ...]]] = []

    def _check_projection(self, hidden_size: int) -> None:
        if self.proj_size >= hidden_size:
            raise ValueError(f"proj_size is {self.proj_size}, expected below hidden_size, which is {hidden_size}")

    def _add_direction(self, suffix: str, input_size: int, hidden_size: int) -> None:
        """Add the weights of one direction of one layer, drawn from U(-1/sqrt(H), 1/sqrt(H)) as PyTorch does."""
        H = hidden_size
        forget = slice(0, H) if self.coupled else slice(H, 2 * H)
        shapes, constants = self._weight_shapes(input_size, H)

        def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
            value = np.empty(shape, self.dtype)
            for rows in np.array_split(value, max(1, value.size >> 16)):  # float64 of all at once is twice the memory
                rows[...] = self._generator.uniform(-(H**-0.5), H**-0.5, rows.shape)
            if self._forget_bias is not None and name.startswith("bias"):
                value[forget] = self._forget_bias if name == "bias_ih" else 0
            return value

        for name, shape in shapes.items():
            self._add_weight(name + suffix, shape, self.dtype, partial(draw, name, shape))
        for name, (shape, value) in constants.items():
            self._add_weight(name + suffix, shape, self.dtype, partial(np.full, shape, value))
        self._suffixes.append(suffix)
        self._packed_shapes.append(self._shapes_as_packed(suffix))

    def _weight_shapes(self, input_size: int, H: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return one direction's weights: the shapes of those drawn at random, and shapes and values of the others."""
        P, gates = self.proj_size or H, 3 if self.coupled else 4
        shapes: dict[str, Any] = {"weight_ih": (gates * H, input_size), "weight_hh": (gates * H, P)}
        if self.bias:
            shapes |= {"bias_ih": (gates * H,), "bias_hh": (gates * H,)}
        if self.proj_size:
            shapes["weight_hr"] = (P, H)
        if self.peephole:
            shapes["weight_peephole"] = ((gates - 1) * H,)
        constants: dict[str, Any] = {}
        if self.layer_norm:
            constants = {"weight_norm_gates": ((gates * H,), 1), "weight_norm_cell": ((H,), 1)}
            if self.bias:
                constants["bias_norm_cell"] = ((H,), 0)
        if self.learn_initial_state:
            constants |= {"h0": ((P,), 0), "c0": ((H,), 0)}
        return shapes, constants

    def _shapes_as_packed(self, suffix: str) -> dict[str, tuple[int, ...]]:
        """Return the shapes of one direction's weights as a path takes them."""
        shapes = {name: self._weights[name + suffix].shape for name in PACKED_WEIGHTS if name + suffix in self._weights}
        shapes["bias"] = shapes["weight_hh"][:1]
        if self.coupled:
            for name in shapes.keys() & STACKED_GATES.keys():
                height, *width = shapes[name]
                shapes[name] = (height + height // (STACKED_GATES[name] - 1), *width)
        return shapes

    _packed: tuple[Path, tuple] | None

    def _free_packed(self) -> None:
        self._packed = None

    def _ready(self) -> tuple[Path, tuple]:
        """Return the path and the packed weights of each direction of each layer."""
        packed = self._packed
        if packed is None:
            raise RuntimeError("the layer's weights are being updated: no other thread may use it meanwhile")
        return packed

    def _weights_changed(self) -> None:
        path = backend.path()
        num_threads = threads.resolve(self.num_threads)
        packs = tuple(self._pack(path, number, self._variants, num_threads) for number in range(len(self._suffixes)))
        # One assignment: a call in another thread sees the old weights or the new ones, never some of each.
        self._packed = (path, packs)

    def _pack(
        self,
        path: Path,
        number: int,
        variants: list[Variant],
        num_threads: int,
        drop_connect: np.ndarray | None = None,
    ) -> Any:
        """Pack the weights of the number-th direction of all layers, weight_hh times the DropConnect mask if given."""
        suffix = self._suffixes[number]
        weights = {name: self._weights[name + suffix] for name in PACKED_WEIGHTS if name + suffix in self._weights}
        weights["bias"] = self._sum_of_biases(suffix)
        if drop_connect is not None:
            weights["weight_hh"] = weights["weight_hh"] * drop_connect
        if self.coupled:
            for name in weights.keys() & STACKED_GATES.keys():
                weights[name] = _with_input_gate(weights[name], STACKED_GATES[name])
        return path.pack(variants[number % self.num_directions], weights, num_threads)

    def _sum_of_biases(self, suffix: str) -> np.ndarray:
        if self.bias:
            return self._weights["bias_ih" + suffix] + self._weights["bias_hh" + suffix]
        return np.zeros(len(self._weights["weight_hh" + suffix]), self.dtype)

    def _default_state(self, suffixes: list[str], sizes: tuple[int, int]) -> list[np.ndarray]:
        """Return the h and c, (directions, features), with which rows begin where no state is given."""
        if self.learn_initial_state:
            return [np.stack([self._weights[name + suffix] for suffix in suffixes]) for name in ("h0", "c0")]
        return [np.zeros((len(suffixes), size), self.dtype) for size in sizes]

    def _default_states(self, suffixes: list[str], sizes: tuple[int, int], B: int) -> list[np.ndarray]:
        """Return the default h and c of B rows, (directions, B, features), to be read only."""
        if self.learn_initial_state:
            return [np.repeat(default[:, np.newaxis], B, axis=1) for default in self._default_state(suffixes, sizes)]
        # The usual case, made short for calls of a few microseconds: zeros of one shape are one array.
        h_size, c_size = sizes
        h = np.zeros((len(suffixes), B, h_size), self.dtype)
        return [h, h if c_size == h_size else np.zeros((len(suffixes), B, c_size), self.dtype)]

    def _training_packs(self, num_threads: int) -> tuple[Path, tuple, list[np.ndarray | None]]:
        """Return the path, the packed weights for one `forward_train`, and the DropConnect mask of each."""
        path, packs = self._ready()
        drop_connect: list[np.ndarray | None] = [None] * len(packs)
        if self.weight_dropout > 0:
            for number, suffix in enumerate(self._suffixes):
                shape = self._weights["weight_hh" + suffix].shape
                drop_connect[number] = draw_dropout_mask(self._generator, self.weight_dropout, shape, self.dtype)
        if self.weight_dropout > 0 or self._variants != self._training_variants:
            packs = tuple(
                self._pack(path, number, self._training_variants, num_threads, mask)
                for number, mask in enumerate(drop_connect)
            )
        return path, packs, drop_connect

    def _draw_masks(self, T: int, B: int, hidden_size: int) -> list[Masks] | None:
        """Return one layer's masks for each direction, None where it has none."""
        if self.recurrent_dropout == 0 and self.zoneout == (0, 0):
            return None
        P, generator = self.proj_size or hidden_size, self._generator

        def draw() -> Masks:
            p = self.recurrent_dropout
            recurrent = draw_dropout_mask(generator, p, (B, P), self.dtype) if p > 0 else None
            zoneout = [
                draw_bernoulli(generator, p, (T, B, size)) if p > 0 else None
                for p, size in zip(self.zoneout, (P, hidden_size), strict=True)
            ]
            return Masks(recurrent, *zoneout)

        return [draw() for _ in range(self.num_directions)]

    def _empty_weight_gradients(self, number: int) -> dict[str, np.ndarray]:
        """Return arrays for a path to write the gradients of the number-th direction's weights to."""
        return {name: runtime.empty(shape, self.dtype) for name, shape in self._packed_shapes[number].items()}

    def _own_weight_gradients(
        self, number: int, gradients: dict[str, np.ndarray], drop_connect: np.ndarray | None
    ) -> Iterator[tuple[str, np.ndarray]]:
        """Return the gradients of the layer's own weights, by name, given those of the weights that were packed."""
        suffix = self._suffixes[number]
        for name, gradient in gradients.items():
            if self.coupled and name in STACKED_GATES:
                gradient = gradient[len(gradient) // STACKED_GATES[name] :]
            if name == "weight_hh" and drop_connect is not None:
                gradient *= drop_connect
            if name != "bias":
                yield name + suffix, gradient
            elif self.bias:
                yield "bias_ih" + suffix, gradient
                yield "bias_hh" + suffix, gradient.copy()


def _with_input_gate(weight: np.ndarray, gates: int) -> np.ndarray:
    """Return a weight of `gates` gates, the first of them zeros for i, from one that lacks it."""
    return np.concatenate([np.zeros_like(weight[: len(weight) // (gates - 1)]), weight])


def represent(layer: Recurrent, **defaults: Any) -> str:
    """Return the call that makes such a layer, without options that are at their default."""
    options = {"bias": True, **defaults, "dtype": "float32", "proj_size": 0, **BEYOND_PYTORCH}
    values = {name: layer.dtype.name if name == "dtype" else getattr(layer, name) for name in options}
    given = "".join(f", {name}={value}" for name, value in values.items() if value != options[name])
    return f"{type(layer).__name__}({layer.input_size}, {layer.hidden_size}{given})"
