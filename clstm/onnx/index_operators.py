"""Operators that pick elements by index or size, and reductions."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from clstm.onnx.node import (
    Array,
    Function,
    Make,
    Node,
    Operator,
    Operators,
    check_axes,
    check_axis,
    check_same_types,
    integers_from,
    integers_of,
)

OPERATORS = Operators()


def _indices(indices: Array, size: int) -> Array:
    """Return indices if all are in range."""
    if indices.size and not (-size <= indices.min() and indices.max() < size):
        wrong = indices.min() if indices.min() < -size else indices.max()
        raise ValueError(f"the indices hold {wrong}, expected {-size} to {size - 1}")
    return indices


@OPERATORS.add("Gather", 2)
def _gather(node: Node) -> Function:
    axis = node.attributes.integer("axis", 0)
    return lambda x, indices: np.take(x, _indices(indices, x.shape[check_axis(axis, x.ndim)]), axis=axis)


@OPERATORS.add("GatherElements", 2)
def _gather_elements(node: Node) -> Function:
    axis = node.attributes.integer("axis", 0)

    def run(x: Array, indices: Array) -> Array:
        around = [size for place, size in enumerate(x.shape) if place != check_axis(axis, x.ndim)]
        wanted = [size for place, size in enumerate(indices.shape) if place != check_axis(axis, x.ndim)]
        if x.ndim != indices.ndim or around != wanted:
            raise ValueError(f"indices of shape {indices.shape} don't fit data of shape {x.shape}")
        return np.take_along_axis(x, _indices(indices, x.shape[axis]), axis)

    return run


@OPERATORS.add("ScatterElements", 3)
def _scatter_elements(node: Node) -> Function:
    axis, reduction = node.attributes.integer("axis", 0), node.attributes.text("reduction", "none")
    if reduction != "none":
        raise ValueError(f"attribute 'reduction' is {reduction!r}, which isn't supported; expected 'none'")

    def run(x: Array, indices: Array, updates: Array) -> Array:
        check_same_types(x, updates)
        if indices.shape != updates.shape or indices.ndim != x.ndim:
            raise ValueError(f"indices {indices.shape} and updates {updates.shape} don't fit data {x.shape}")
        places: list[Array] = list(np.indices(indices.shape, sparse=True))
        places[check_axis(axis, x.ndim)] = _indices(indices, x.shape[axis])
        y = x.copy()
        y[tuple(places)] = updates
        return y

    return run


@OPERATORS.add("TopK", 2, outputs=2)
def _top_k(node: Node) -> Function:
    axis, largest = node.attributes.integer("axis", -1), node.attributes.flag("largest", True)
    node.attributes.flag("sorted", True)  # a sorted result is allowed in any case

    def run(x: Array, k: Array) -> tuple[Array, Array]:
        (count,) = integers_of(k)
        if not 0 <= count <= x.shape[check_axis(axis, x.ndim)]:
            raise ValueError(f"k is {count}, expected 0 to {x.shape[axis]}")
        # Among equal values the first one comes first, also if the largest are picked.
        order = np.flip(np.argsort(np.flip(x, axis), axis=axis, kind="stable"), axis)
        order = x.shape[axis] - 1 - order if largest else np.argsort(x, axis=axis, kind="stable")
        order = np.take(order, np.arange(count), axis=axis)
        return np.take_along_axis(x, order, axis), order.astype(np.int64)

    return run


def _reduction(function: Function) -> Make:
    def make(node: Node) -> Function:
        axes, keep = integers_from(node, "axes"), node.attributes.flag("keepdims", True)
        nothing = node.attributes.flag("noop_with_empty_axes", False)

        def run(*arrays: Array) -> Array:
            x, given = arrays[0], axes(*arrays)
            if not given and nothing:
                return x
            return function(x, axis=check_axes(given, x.ndim) if given else None, keepdims=keep).astype(
                x.dtype, copy=False
            )

        return run

    return make


def _extreme(function: Function, of_floats: float, place: int) -> Function:
    """Return a maximum or minimum that is defined for no elements too: the lowest or highest value of the type."""

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


def _arg(function: Function) -> Make:
    def make(node: Node) -> Function:
        axis, keep = node.attributes.integer("axis", 0), node.attributes.flag("keepdims", True)
        if node.attributes.flag("select_last_index", False):
            return lambda x: x.shape[axis] - 1 - function(np.flip(x, axis), axis=axis, keepdims=keep)
        return partial(function, axis=axis, keepdims=keep)

    return make


OPERATORS["ArgMax"] = Operator(_arg(np.argmax), (1, 1))
OPERATORS["ArgMin"] = Operator(_arg(np.argmin), (1, 1))
