"""Operators that compute: elementwise functions, softmax, normalisation, and products of matrices."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeGuard

import numpy as np

from clstm._core import dense
from clstm._core.numerics import log_softmax, softmax
from clstm.onnx.node import (
    MANY,
    Array,
    Function,
    Make,
    Node,
    Operator,
    Operators,
    PartialFunction,
    as_matrix,
    check_axis,
    check_same_types,
    elementwise,
)
from clstm.onnx.types import dtype_of

OPERATORS = Operators()

# Products with at most this many columns are computed as `SequenceNetwork.head` computes them, so that a row gets the
# same bits in any batch.
FEW_COLUMNS = 64


def _divide(a: Array, b: Array) -> Array:
    if a.dtype.kind == "f":
        return a / b
    if (b == 0).any():
        raise ValueError("an integer is divided by 0")
    # Rounded towards zero, as in C
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
    OPERATORS[_name] = Operator(elementwise(_function), (_arity, _arity))

for _name, _fold_function in (("Max", np.maximum), ("Min", np.minimum)):

    def _fold(*arrays: Array, function: Function = _fold_function) -> Array:
        result = arrays[0]
        for array in arrays[1:]:
            result = function(result, array)
        return result

    OPERATORS[_name] = Operator(elementwise(_fold), (1, MANY))


@OPERATORS.add("Pow", 2)
def _pow(node: Node) -> Function:
    return lambda base, exponent: np.power(base, exponent).astype(base.dtype, copy=False)


@OPERATORS.add("Clip", 1, 3)
def _clip(node: Node) -> Function:
    low, high = node.attributes.real("min", None), node.attributes.real("max", None)

    def run(x: Array, least: Array | None = None, most: Array | None = None) -> Array:
        lowest, highest = low if least is None else least, high if most is None else most
        if lowest is not None:
            x = np.maximum(x, np.asarray(lowest, x.dtype))
        return x if highest is None else np.minimum(x, np.asarray(highest, x.dtype))

    return run


@OPERATORS.add("LeakyRelu", 1)
def _leaky_relu(node: Node) -> Function:
    alpha = node.attributes.real("alpha", 0.01)
    return lambda x: np.where(x < 0, x * x.dtype.type(alpha), x)


@OPERATORS.add("Elu", 1)
def _elu(node: Node) -> Function:
    alpha = node.attributes.real("alpha", 1.0)
    return lambda x: np.where(x < 0, np.expm1(x) * x.dtype.type(alpha), x)


@OPERATORS.add("HardSigmoid", 1)
def _hard_sigmoid(node: Node) -> Function:
    alpha, beta = node.attributes.real("alpha", 0.2), node.attributes.real("beta", 0.5)
    return lambda x: np.clip(x * x.dtype.type(alpha) + x.dtype.type(beta), 0, 1)


@OPERATORS.add("Where", 3)
def _where(node: Node) -> Function:
    def run(condition: Array, x: Array, y: Array) -> Array:
        check_same_types(x, y)
        return np.where(condition, x, y)

    return run


@OPERATORS.add("Cast", 1)
def _cast(node: Node) -> Function:
    dtype = dtype_of("attribute 'to'", node.attributes.integer("to"))
    node.attributes.flag("saturate", True)  # these two are for eight-bit floats
    node.attributes.text("round_mode", "up")
    return lambda x: x.astype(dtype)


@OPERATORS.add("Dropout", 1, 3, outputs=2)
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


def _softmax_of(function: Callable[[Array, int], Array]) -> Make:
    def make(node: Node) -> Function:
        if node.opset >= 13:
            axis = node.attributes.integer("axis", -1)
            return lambda x: function(x, axis)
        # Before version 13 x is a matrix, whose columns are all axes from `axis` on.
        axis = node.attributes.integer("axis", 1)
        return lambda x: function(as_matrix(x, axis), 1).reshape(x.shape)

    return make


OPERATORS["Softmax"] = Operator(_softmax_of(softmax), (1, 1))
OPERATORS["LogSoftmax"] = Operator(_softmax_of(log_softmax), (1, 1))


@OPERATORS.add("LayerNormalization", 2, 3, outputs=3)
def _layer_normalization(node: Node) -> Function:
    axis, epsilon = node.attributes.integer("axis", -1), node.attributes.real("epsilon", 1e-5)
    if node.attributes.integer("stash_type", 1) != 1:
        raise ValueError("attribute 'stash_type' isn't 1 (float), which isn't supported")

    def run(x: Array, scale: Array, shift: Array | None = None) -> tuple[Array, Array, Array]:
        axes = tuple(range(check_axis(axis, x.ndim), x.ndim))
        mean = x.mean(axis=axes, keepdims=True)
        centred = x - mean
        factor = 1 / np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + x.dtype.type(epsilon))
        y = centred * factor * scale
        return y if shift is None else y + shift, mean, factor

    return run


@OPERATORS.add("BatchNormalization", 5)
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


def _known_product(weight: Array, bias: Array | None, few_columns: bool) -> PartialFunction:
    """Return the function x @ weight.T + bias, for a known weight (out, in), which is packed once."""
    weight = np.ascontiguousarray(weight)
    shape, dtype = weight.shape, weight.dtype
    product = None if few_columns else dense.pack(weight, bias)

    def run(x: Array) -> Array:
        if x.dtype != dtype or x.ndim == 0 or x.shape[-1] != shape[1]:
            raise ValueError(f"the input is {x.dtype}{x.shape}, expected {dtype} with {shape[1]} features")
        if product is None:
            return np.einsum("...f,lf->...l", x, weight)
        y = product.forward(np.ascontiguousarray(x).reshape(math.prod(x.shape[:-1]), x.shape[-1]))
        return y.reshape(*x.shape[:-1], shape[0])

    return PartialFunction((0,), run)


def _is_matrix(array: Array | None) -> TypeGuard[Array]:
    return array is not None and array.ndim == 2 and array.dtype.kind == "f" and array.size > 0


@OPERATORS.add("MatMul", 2)
def _matmul(node: Node) -> Function | PartialFunction:
    weight = node.constants.get(1)
    if _is_matrix(weight):
        return _known_product(weight.T, None, few_columns=weight.shape[1] <= FEW_COLUMNS)
    return elementwise(np.matmul)(node)


@OPERATORS.add("Gemm", 2, 3)
def _gemm(node: Node) -> Function | PartialFunction:
    alpha, beta = node.attributes.real("alpha", 1.0), node.attributes.real("beta", 1.0)
    transpose_a, transpose_b = node.attributes.flag("transA", False), node.attributes.flag("transB", False)
    weight, bias = node.constants.get(1), node.constants.get(2)
    if (
        _is_matrix(weight)
        and (alpha, beta) == (1, 1)
        and not transpose_a
        and bias is not None
        and bias.shape == (weight.shape[0 if transpose_b else 1],)
        and bias.dtype == weight.dtype
    ):
        return _known_product(weight if transpose_b else weight.T, bias, few_columns=False)

    def run(a: Array, b: Array, c: Array | None = None) -> Array:
        check_same_types(a, b, *(() if c is None else (c,)))
        if a.ndim != 2 or b.ndim != 2:
            raise ValueError(f"inputs are of shape {a.shape} and {b.shape}, expected matrices")
        y = np.matmul(a.T if transpose_a else a, b.T if transpose_b else b)
        if alpha != 1:
            y = y * y.dtype.type(alpha)
        if c is None:
            return y
        return y + np.broadcast_to(c if beta == 1 else c * c.dtype.type(beta), y.shape)

    return run
