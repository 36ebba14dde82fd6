"""The operators besides LSTM, in NumPy: what networks around an LSTM are made of.

Each is a function of the node's attributes and the version of the operator set, which returns the function of the
node's inputs. What differs between the versions from 7 on is told by the version, or by where a parameter stands: the
axes of Squeeze, say, were an attribute before they were an input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from clstm._core import dense
from clstm._core.numerics import log_softmax, softmax
from clstm.onnx.attributes import Attributes
from clstm.onnx.types import dtype_of

Array = np.ndarray
Function = Callable[..., Any]

# Products with at most so many columns go the way of `SequenceNetwork.head`: the same bits for a row in any company
FEW = 64


@dataclass(frozen=True)
class Node:
    """What an operator's function is made from.

    Attributes
    ----------
    attributes : Attributes
    opset : int
        The version of the operator set.
    constants : dict of int to ndarray
        Those inputs that are known, by position.
    outputs : int
        How many outputs are used.
    """

    attributes: Attributes
    opset: int
    constants: Mapping[int, Array]
    outputs: int


@dataclass(frozen=True)
class Reads:
    """A function of some of a node's inputs, by position: the others, which are known, are in it."""

    places: tuple[int, ...]
    function: Function


@dataclass(frozen=True)
class Operator:
    """An operator: how its function is made, and how many inputs (least, most) and outputs (most) it has."""

    make: Callable[[Node], Function | Reads]
    inputs: tuple[int, int]
    outputs: int = 1


MANY = 1 << 31
OPERATORS: dict[str, Operator] = {}


def operator(name: str, least: int, most: int | None = None, outputs: int = 1) -> Callable[[Any], Any]:
    """Add the decorated function to the table."""

    def add(make: Callable[[Node], Function]) -> Callable[[Node], Function]:
        OPERATORS[name] = Operator(make, (least, least if most is None else most), outputs)
        return make

    return add


# ------------------------------------------------------------------------------------------- elementwise


def _same_types(*arrays: Array) -> None:
    dtypes = {array.dtype for array in arrays}
    if len(dtypes) > 1:
        raise ValueError(f"inputs are of the types {', '.join(sorted(map(str, dtypes)))}, expected one type")


def _elementwise(function: Function) -> Callable[[Node], Function]:
    def make(node: Node) -> Function:
        def run(*arrays: Array) -> Array:
            _same_types(*arrays)
            return function(*arrays)

        return run

    return make


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return a / b
    if (b == 0).any():
        raise ValueError("an integer is divided by 0")
    # towards zero, as C does
    quotient = np.floor_divide(a, b)
    return quotient + ((a - quotient * b != 0) & ((a < 0) != (b < 0))).astype(a.dtype)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


for _name, _function, _arity in (
    ("Add", np.add, 2),
    ("Sub", np.subtract, 2),
    ("Mul", np.multiply, 2),
    ("Div", _divide, 2),
    ("Equal", np.equal, 2),
    ("Less", np.less, 2),
    ("LessOrEqual", np.less_equal, 2),
    ("Greater", np.greater, 2),
    ("GreaterOrEqual", np.greater_equal, 2),
    ("And", np.logical_and, 2),
    ("Or", np.logical_or, 2),
    ("Not", np.logical_not, 1),
    ("Identity", lambda x: x, 1),
    ("Neg", np.negative, 1),
    ("Abs", np.abs, 1),
    ("Exp", np.exp, 1),
    ("Log", np.log, 1),
    ("Sqrt", np.sqrt, 1),
    ("Reciprocal", np.reciprocal, 1),
    ("Sigmoid", _sigmoid, 1),
    ("Tanh", np.tanh, 1),
    ("Relu", lambda x: np.maximum(x, 0), 1),
    ("Softplus", lambda x: np.logaddexp(x, 0), 1),
    ("Softsign", lambda x: x / (1 + np.abs(x)), 1),
):
    OPERATORS[_name] = Operator(_elementwise(_function), (_arity, _arity))

for _name, _function in (("Max", np.maximum), ("Min", np.minimum)):

    def _fold(*arrays: Array, function: Function = _function) -> Array:
        result = arrays[0]
        for array in arrays[1:]:
            result = function(result, array)
        return result

    OPERATORS[_name] = Operator(_elementwise(_fold), (1, MANY))


@operator("Pow", 2)
def _pow(node: Node) -> Function:
    return lambda base, exponent: np.power(base, exponent).astype(base.dtype, copy=False)


@operator("Clip", 1, 3)
def _clip(node: Node) -> Function:
    low, high = node.attributes.real("min", None), node.attributes.real("max", None)

    def run(x: Array, least: Array | None = None, most: Array | None = None) -> Array:
        least, most = low if least is None else least, high if most is None else most
        if least is not None:
            x = np.maximum(x, np.asarray(least, x.dtype))
        return x if most is None else np.minimum(x, np.asarray(most, x.dtype))

    return run


@operator("LeakyRelu", 1)
def _leaky_relu(node: Node) -> Function:
    alpha = node.attributes.real("alpha", 0.01)
    return lambda x: np.where(x < 0, x * x.dtype.type(alpha), x)


@operator("Elu", 1)
def _elu(node: Node) -> Function:
    alpha = node.attributes.real("alpha", 1.0)
    return lambda x: np.where(x < 0, np.expm1(x) * x.dtype.type(alpha), x)


@operator("HardSigmoid", 1)
def _hard_sigmoid(node: Node) -> Function:
    alpha, beta = node.attributes.real("alpha", 0.2), node.attributes.real("beta", 0.5)
    return lambda x: np.clip(x * x.dtype.type(alpha) + x.dtype.type(beta), 0, 1)


@operator("Where", 3)
def _where(node: Node) -> Function:
    def run(condition: Array, x: Array, y: Array) -> Array:
        _same_types(x, y)
        return np.where(condition, x, y)

    return run


@operator("Cast", 1)
def _cast(node: Node) -> Function:
    dtype = dtype_of("attribute 'to'", node.attributes.integer("to"))
    node.attributes.flag("saturate", True)  # these two are for eight-bit floats
    node.attributes.text("round_mode", "up")
    return lambda x: x.astype(dtype)


@operator("Dropout", 1, 3, outputs=2)
def _dropout(node: Node) -> Function:
    node.attributes.real("ratio", 0.5)
    node.attributes.integer("seed", 0)

    def run(x: Array, ratio: Array | None = None, training: Array | None = None) -> tuple[Array, Array]:
        if training is not None and training.any():
            raise ValueError("training_mode is True; expected a model for inference")
        return x, np.ones(x.shape, x.dtype if node.opset < 10 else bool)

    if 2 in node.constants and node.constants[2].any():
        raise ValueError("training_mode is True; expected a model for inference")

    return run


# ------------------------------------------------------------------------------------------- softmax and norms


def _softmax_of(function: Callable[[Array, int], Array]) -> Callable[[Node], Function]:
    def make(node: Node) -> Function:
        if node.opset >= 13:
            axis = node.attributes.integer("axis", -1)
            return lambda x: function(x, axis)
        # before: of a matrix, whose columns are all axes from this one on
        axis = node.attributes.integer("axis", 1)
        return lambda x: function(_matrix(x, axis), 1).reshape(x.shape)

    return make


OPERATORS["Softmax"] = Operator(_softmax_of(softmax), (1, 1))
OPERATORS["LogSoftmax"] = Operator(_softmax_of(log_softmax), (1, 1))


@operator("LayerNormalization", 2, 3, outputs=3)
def _layer_normalization(node: Node) -> Function:
    axis, epsilon = node.attributes.integer("axis", -1), node.attributes.real("epsilon", 1e-5)
    if node.attributes.integer("stash_type", 1) != 1:
        raise ValueError("attribute 'stash_type' isn't 1 (float), which isn't supported")

    def run(x: Array, scale: Array, shift: Array | None = None) -> tuple[Array, Array, Array]:
        axes = tuple(range(_axis(axis, x.ndim), x.ndim))
        mean = x.mean(axis=axes, keepdims=True)
        centred = x - mean
        factor = 1 / np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + x.dtype.type(epsilon))
        y = centred * factor * scale
        return y if shift is None else y + shift, mean, factor

    return run


@operator("BatchNormalization", 5)
def _batch_normalization(node: Node) -> Function:
    epsilon = node.attributes.real("epsilon", 1e-5)
    node.attributes.real("momentum", 0.9)
    node.attributes.integer("spatial", 1)
    if node.attributes.flag("training_mode", False):
        raise ValueError("attribute 'training_mode' is 1; expected a model for inference")

    def run(x: Array, scale: Array, shift: Array, mean: Array, variance: Array) -> Array:
        shape = (-1,) + (1,) * (x.ndim - 2)
        factor = scale / np.sqrt(variance + x.dtype.type(epsilon))
        return (x - mean.reshape(shape)) * factor.reshape(shape) + shift.reshape(shape)

    return run


# ------------------------------------------------------------------------------------------- products


def _with_known(weight: Array, bias: Array | None, few: bool) -> Reads:
    """Return x weight^T + bias over the last axis, for a known weight (out, in) that is packed once."""
    weight = np.ascontiguousarray(weight)
    shape, dtype = weight.shape, weight.dtype
    product = None if few else dense.pack(weight, bias)

    def run(x: Array) -> Array:
        if x.dtype != dtype or x.ndim == 0 or x.shape[-1] != shape[1]:
            raise ValueError(f"the input is {x.dtype}{x.shape}, expected {dtype} with {shape[1]} features")
        if product is None:
            return np.einsum("...f,lf->...l", x, weight)
        y = product.forward(np.ascontiguousarray(x).reshape(math.prod(x.shape[:-1]), x.shape[-1]))
        return y.reshape(*x.shape[:-1], shape[0])

    return Reads((0,), run)


def _is_matrix(array: Array | None) -> bool:
    return array is not None and array.ndim == 2 and array.dtype.kind == "f" and array.size > 0


@operator("MatMul", 2)
def _matmul(node: Node) -> Function | Reads:
    weight = node.constants.get(1)
    if _is_matrix(weight):
        return _with_known(weight.T, None, few=weight.shape[1] <= FEW)
    return _elementwise(np.matmul)(node)


@operator("Gemm", 2, 3)
def _gemm(node: Node) -> Function | Reads:
    alpha, beta = node.attributes.real("alpha", 1.0), node.attributes.real("beta", 1.0)
    turn_a, turn_b = node.attributes.flag("transA", False), node.attributes.flag("transB", False)
    weight, bias = node.constants.get(1), node.constants.get(2)
    if (
        _is_matrix(weight)
        and (alpha, beta) == (1, 1)
        and not turn_a
        and bias is not None
        and bias.shape == (weight.shape[0 if turn_b else 1],)
        and bias.dtype == weight.dtype
    ):
        return _with_known(weight if turn_b else weight.T, bias, few=False)

    def run(a: Array, b: Array, c: Array | None = None) -> Array:
        _same_types(a, b, *(() if c is None else (c,)))
        if a.ndim != 2 or b.ndim != 2:
            raise ValueError(f"inputs are of shape {a.shape} and {b.shape}, expected matrices")
        y = np.matmul(a.T if turn_a else a, b.T if turn_b else b)
        if alpha != 1:
            y = y * y.dtype.type(alpha)
        if c is None:
            return y
        return y + np.broadcast_to(c if beta == 1 else c * c.dtype.type(beta), y.shape)

    return run


# ------------------------------------------------------------------------------------------- shapes


def _axis(axis: int, ndim: int) -> int:
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis is {axis}, expected {-ndim} to {ndim - 1}")
    return axis % ndim


def _axes(axes: Iterable[int], ndim: int) -> tuple[int, ...]:
    found = tuple(_axis(axis, ndim) for axis in axes)
    if len(set(found)) != len(found):
        raise ValueError(f"axes are {list(axes)}, which has one twice")
    return found


def _matrix(x: Array, axis: int) -> Array:
    """Return x with the axes before `axis` as one, and those from it on as another."""
    if not -x.ndim <= axis <= x.ndim:
        raise ValueError(f"axis is {axis}, expected {-x.ndim} to {x.ndim}")
    axis = axis % x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _integers(array: Array) -> list[int]:
    """Return the integers of an input that says sizes, axes or places."""
    if array.ndim > 1 or array.dtype.kind not in "iu":
        raise ValueError(f"an input is {array.dtype}{array.shape}, expected a row of integers")
    return np.atleast_1d(array).tolist()


def _by_attribute_or_input(node: Node, name: str, place: int = 1) -> Function:
    """Return a function of a node's inputs that gives integers, which may stand in either place; None if in neither."""
    fixed = node.attributes.integers(name, None)

    def read(*arrays: Array | None) -> list[int] | None:
        if len(arrays) > place and arrays[place] is not None:
            return _integers(arrays[place])
        return fixed

    return read


@operator("Transpose", 1)
def _transpose(node: Node) -> Function:
    order = node.attributes.integers("perm", None)
    return lambda x: x.transpose(order)


@operator("Reshape", 2)
def _reshape(node: Node) -> Function:
    keep_zero = node.attributes.flag("allowzero", False)

    def run(x: Array, shape: Array) -> Array:
        sizes = _integers(shape)
        if not keep_zero:
            if any(size == 0 and axis >= x.ndim for axis, size in enumerate(sizes)):
                raise ValueError(f"the shape {sizes} asks for sizes of axes that {x.shape} doesn't have")
            sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
        return x.reshape(sizes)

    return run


@operator("Squeeze", 1, 2)
def _squeeze(node: Node) -> Function:
    axes = _by_attribute_or_input(node, "axes")

    def run(*arrays: Array) -> Array:
        x, given = arrays[0], axes(*arrays)
        return np.squeeze(x) if given is None else np.squeeze(x, _axes(given, x.ndim))

    return run


@operator("Unsqueeze", 1, 2)
def _unsqueeze(node: Node) -> Function:
    axes = _by_attribute_or_input(node, "axes")

    def run(*arrays: Array) -> Array:
        x, given = arrays[0], axes(*arrays)
        if given is None:
            raise ValueError("axes is missing")
        return np.expand_dims(x, _axes(given, x.ndim + len(given)))

    return run


@operator("Flatten", 1)
def _flatten(node: Node) -> Function:
    axis = node.attributes.integer("axis", 1)
    return lambda x: _matrix(x, axis)


@operator("Concat", 1, MANY)
def _concat(node: Node) -> Function:
    axis = node.attributes.integer("axis")

    def run(*arrays: Array) -> Array:
        _same_types(*arrays)
        return np.concatenate(arrays, axis=axis)

    return run


@operator("Split", 1, 2, outputs=MANY)
def _split(node: Node) -> Function:
    axis, sizes = node.attributes.integer("axis", 0), _by_attribute_or_input(node, "split")
    count = node.attributes.integer("num_outputs", node.outputs)
    if count != node.outputs:
        raise ValueError(f"attribute 'num_outputs' is {count}, but the node has {node.outputs} outputs")

    def run(*arrays: Array) -> tuple[Array, ...]:
        x, given = arrays[0], sizes(*arrays)
        size = x.shape[_axis(axis, x.ndim)]
        if given is None:
            part = -(-size // count)  # the last one may be smaller
            given = [max(0, min(part, size - part * place)) for place in range(count)]
        if len(given) != count or sum(given) != size or min(given) < 0:
            raise ValueError(f"the parts {given} aren't {count} that make up the {size} of axis {axis}")
        return tuple(np.split(x, np.cumsum(given[:-1]), axis=axis))

    return run


@operator("Slice", 1, 5)
def _slice(node: Node) -> Function:
    starts, ends = (node.attributes.integers(name, None) for name in ("starts", "ends"))
    given_axes = node.attributes.integers("axes", None)

    def run(x: Array, *inputs: Array | None) -> Array:
        parts = [None if part is None else _integers(part) for part in (*inputs, *[None] * 4)[:4]]
        begin, end = parts[0] if starts is None else starts, parts[1] if ends is None else ends
        axes = parts[2] if given_axes is None else given_axes
        if begin is None or end is None:
            raise ValueError("starts or ends is missing")
        axes = _axes(range(len(begin)) if axes is None else axes, x.ndim)
        steps = parts[3] or [1] * len(axes)
        if not len(begin) == len(end) == len(steps) == len(axes):
            raise ValueError("starts, ends, axes and steps are of unequal length")
        if 0 in steps:
            raise ValueError("a step is 0")
        cuts = [slice(None)] * x.ndim
        for axis, first, last, step in zip(axes, begin, end, steps, strict=True):
            # Going backwards, a last one before the first element means that the first is taken too.
            past = step < 0 and last < -x.shape[axis]
            cuts[axis] = slice(first, None if past else last, step)
        return x[tuple(cuts)]

    return run


@operator("Expand", 2)
def _expand(node: Node) -> Function:
    def run(x: Array, shape: Array) -> Array:
        return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(_integers(shape))))

    return run


@operator("Tile", 2)
def _tile(node: Node) -> Function:
    def run(x: Array, repeats: Array) -> Array:
        times = _integers(repeats)
        if len(times) != x.ndim:
            raise ValueError(f"repeats has {len(times)} numbers, expected {x.ndim}")
        return np.tile(x, times)

    return run


@operator("Shape", 1)
def _shape(node: Node) -> Function:
    start, end = node.attributes.integer("start", 0), node.attributes.integer("end", None)
    return lambda x: np.array(x.shape[start:end], np.int64)


@operator("Constant", 0)
def _constant(node: Node) -> Function:
    attributes, found = node.attributes, []
    if attributes.has("value"):
        found.append(attributes.tensor("value"))
    for name, read, dtype in (
        ("value_float", attributes.real, np.float32),
        ("value_floats", attributes.reals, np.float32),
        ("value_int", attributes.integer, np.int64),
        ("value_ints", attributes.integers, np.int64),
    ):
        if attributes.has(name):
            found.append(np.array(read(name), dtype))
    if len(found) != 1:
        raise ValueError("it needs one attribute of value, value_float, value_floats, value_int, value_ints")
    return lambda: found[0]


@operator("ConstantOfShape", 1)
def _constant_of_shape(node: Node) -> Function:
    value = node.attributes.tensor("value", np.zeros(1, np.float32))
    if value.size != 1:
        raise ValueError(f"attribute 'value' has {value.size} numbers, expected 1")
    value = value.reshape(())
    return lambda shape: np.full(_integers(shape), value, value.dtype)


@operator("Range", 3)
def _range(node: Node) -> Function:
    node.attributes.integer("stash_type", 1)  # for sixteen-bit floats

    def run(start: Array, limit: Array, delta: Array) -> Array:
        _same_types(start, limit, delta)
        if delta.reshape(()) == 0:
            raise ValueError("delta is 0")
        first, last, step = (value.reshape(()).item() for value in (start, limit, delta))
        count = max(0, math.ceil((last - first) / step))
        return (start.reshape(()) + np.arange(count).astype(start.dtype) * delta.reshape(())).astype(start.dtype)

    return run


# ------------------------------------------------------------------------------------------- picking


def _indices(indices: Array, size: int) -> Array:
    if indices.size and not (-size <= indices.min() and indices.max() < size):
        wrong = indices.min() if indices.min() < -size else indices.max()
        raise ValueError(f"the indices hold {wrong}, expected {-size} to {size - 1}")
    return indices


@operator("Gather", 2)
def _gather(node: Node) -> Function:
    axis = node.attributes.integer("axis", 0)
    return lambda x, indices: np.take(x, _indices(indices, x.shape[_axis(axis, x.ndim)]), axis=axis)


@operator("GatherElements", 2)
def _gather_elements(node: Node) -> Function:
    axis = node.attributes.integer("axis", 0)

    def run(x: Array, indices: Array) -> Array:
        around = [size for place, size in enumerate(x.shape) if place != _axis(axis, x.ndim)]
        wanted = [size for place, size in enumerate(indices.shape) if place != _axis(axis, x.ndim)]
        if x.ndim != indices.ndim or around != wanted:
            raise ValueError(f"indices of shape {indices.shape} don't fit data of shape {x.shape}")
        return np.take_along_axis(x, _indices(indices, x.shape[axis]), axis)

    return run


@operator("ScatterElements", 3)
def _scatter_elements(node: Node) -> Function:
    axis, reduction = node.attributes.integer("axis", 0), node.attributes.text("reduction", "none")
    if reduction != "none":
        raise ValueError(f"attribute 'reduction' is {reduction!r}, which isn't supported; expected 'none'")

    def run(x: Array, indices: Array, updates: Array) -> Array:
        _same_types(x, updates)
        if indices.shape != updates.shape or indices.ndim != x.ndim:
            raise ValueError(f"indices {indices.shape} and updates {updates.shape} don't fit data {x.shape}")
        places = list(np.indices(indices.shape, sparse=True))
        places[_axis(axis, x.ndim)] = _indices(indices, x.shape[axis])
        y = x.copy()
        y[tuple(places)] = updates
        return y

    return run


@operator("TopK", 2, outputs=2)
def _top_k(node: Node) -> Function:
    axis, largest = node.attributes.integer("axis", -1), node.attributes.flag("largest", True)
    node.attributes.flag("sorted", True)  # sorted they are allowed to be in any case

    def run(x: Array, k: Array) -> tuple[Array, Array]:
        (count,) = _integers(k)
        if not 0 <= count <= x.shape[_axis(axis, x.ndim)]:
            raise ValueError(f"k is {count}, expected 0 to {x.shape[axis]}")
        # Of equals the first one comes first, also among the largest.
        order = np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
        order = x.shape[axis] - 1 - order if largest else np.argsort(x, axis=axis, kind="stable")
        order = np.take(order, np.arange(count), axis=axis)
        return np.take_along_axis(x, order, axis), order.astype(np.int64)

    return run


# ------------------------------------------------------------------------------------------- reductions


def _reduction(function: Function) -> Callable[[Node], Function]:
    def make(node: Node) -> Function:
        axes, keep = _by_attribute_or_input(node, "axes"), node.attributes.flag("keepdims", True)
        nothing = node.attributes.flag("noop_with_empty_axes", False)

        def run(*arrays: Array) -> Array:
            x, given = arrays[0], axes(*arrays)
            if not given and nothing:
                return x
            return function(x, axis=_axes(given, x.ndim) if given else None, keepdims=keep).astype(x.dtype, copy=False)

        return run

    return make


def _extreme(function: Function, of_floats: float, place: int) -> Function:
    """Return a maximum or minimum that has a value for no numbers at all: the lowest or highest of the type."""

    def run(x: Array, **options: Any) -> Array:
        if x.dtype.kind == "f":
            return function(x, initial=of_floats, **options)
        if x.dtype.kind == "b":
            return function(x, initial=bool(place), **options)
        limits = np.iinfo(x.dtype)
        return function(x, initial=(limits.min, limits.max)[place], **options)

    return run


for _name, _function in (
    ("ReduceSum", np.sum),
    ("ReduceMean", np.mean),
    ("ReduceMax", _extreme(np.max, -np.inf, 0)),
    ("ReduceMin", _extreme(np.min, np.inf, 1)),
    ("ReduceProd", np.prod),
):
    OPERATORS[_name] = Operator(_reduction(_function), (1, 2))


def _arg(function: Function) -> Callable[[Node], Function]:
    def make(node: Node) -> Function:
        axis, keep = node.attributes.integer("axis", 0), node.attributes.flag("keepdims", True)
        if node.attributes.flag("select_last_index", False):
            return lambda x: x.shape[axis] - 1 - function(np.flip(x, axis), axis=axis, keepdims=keep)
        return partial(function, axis=axis, keepdims=keep)

    return make


OPERATORS["ArgMax"] = Operator(_arg(np.argmax), (1, 1))
OPERATORS["ArgMin"] = Operator(_arg(np.argmin), (1, 1))
