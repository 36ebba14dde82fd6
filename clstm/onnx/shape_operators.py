"""Operators that change shapes, and that make arrays."""

from __future__ import annotations

import math

import numpy as np

from clstm.onnx.node import (
    MANY,
    Array,
    Function,
    Node,
    Operators,
    as_matrix,
    check_axes,
    check_axis,
    check_same_types,
    integers_from,
    integers_of,
)

OPERATORS = Operators()


@OPERATORS.add("Transpose", 1)
def _transpose(node: Node) -> Function:
    order = node.attributes.integers("perm", None)
    return lambda x: x.transpose(order)


@OPERATORS.add("Reshape", 2)
def _reshape(node: Node) -> Function:
    keep_zero = node.attributes.flag("allowzero", False)

    def run(x: Array, shape: Array) -> Array:
        sizes = integers_of(shape)
        if not keep_zero:
            if any(size == 0 and axis >= x.ndim for axis, size in enumerate(sizes)):
                raise ValueError(f"the shape {sizes} refers to axes that {x.shape} doesn't have")
            sizes = [x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
        return x.reshape(sizes)

    return run


@OPERATORS.add("Squeeze", 1, 2)
def _squeeze(node: Node) -> Function:
    axes = integers_from(node, "axes")

    def run(*arrays: Array) -> Array:
        x, given = arrays[0], axes(*arrays)
        return np.squeeze(x) if given is None else np.squeeze(x, check_axes(given, x.ndim))

    return run


@OPERATORS.add("Unsqueeze", 1, 2)
def _unsqueeze(node: Node) -> Function:
    axes = integers_from(node, "axes")

    def run(*arrays: Array) -> Array:
        x, given = arrays[0], axes(*arrays)
        if given is None:
            raise ValueError("axes is missing")
        return np.expand_dims(x, check_axes(given, x.ndim + len(given)))

    return run


@OPERATORS.add("Flatten", 1)
def _flatten(node: Node) -> Function:
    axis = node.attributes.integer("axis", 1)
    return lambda x: as_matrix(x, axis)


@OPERATORS.add("Concat", 1, MANY)
def _concat(node: Node) -> Function:
    axis = node.attributes.integer("axis")

    def run(*arrays: Array) -> Array:
        check_same_types(*arrays)
        return np.concatenate(arrays, axis=axis)

    return run


@OPERATORS.add("Split", 1, 2, outputs=MANY)
def _split(node: Node) -> Function:
    axis, sizes = node.attributes.integer("axis", 0), integers_from(node, "split")
    count = node.attributes.integer("num_outputs", node.outputs)
    if count != node.outputs:
        raise ValueError(f"attribute 'num_outputs' is {count}, but the node has {node.outputs} outputs")

    def run(*arrays: Array) -> tuple[Array, ...]:
        x, given = arrays[0], sizes(*arrays)
        size = x.shape[check_axis(axis, x.ndim)]
        if given is None:
            part = -(-size // count)  # the last part may be smaller
            given = [max(0, min(part, size - part * place)) for place in range(count)]
        if len(given) != count or sum(given) != size or min(given) < 0:
            raise ValueError(f"the parts {given} aren't {count} that make up the {size} of axis {axis}")
        return tuple(np.split(x, np.cumsum(given[:-1]), axis=axis))

    return run


@OPERATORS.add("Slice", 1, 5)
def _slice(node: Node) -> Function:
    starts, ends = (node.attributes.integers(name, None) for name in ("starts", "ends"))
    given_axes = node.attributes.integers("axes", None)

    def run(x: Array, *inputs: Array | None) -> Array:
        parts = [None if part is None else integers_of(part) for part in (*inputs, *[None] * 4)[:4]]
        begin, end = parts[0] if starts is None else starts, parts[1] if ends is None else ends
        chosen = parts[2] if given_axes is None else given_axes
        if begin is None or end is None:
            raise ValueError("starts or ends is missing")
        axes = check_axes(range(len(begin)) if chosen is None else chosen, x.ndim)
        steps = parts[3] or [1] * len(axes)
        if not len(begin) == len(end) == len(steps) == len(axes):
            raise ValueError("starts, ends, axes and steps are of unequal length")
        if 0 in steps:
            raise ValueError("a step is 0")
        cuts = [slice(None)] * x.ndim
        for axis, first, last, step in zip(axes, begin, end, steps, strict=True):
            # With a negative step, an end before the first element means that the first element is taken too.
            past = step < 0 and last < -x.shape[axis]
            cuts[axis] = slice(first, None if past else last, step)
        return x[tuple(cuts)]

    return run


@OPERATORS.add("Expand", 2)
def _expand(node: Node) -> Function:
    def run(x: Array, shape: Array) -> Array:
        return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(integers_of(shape))))

    return run


@OPERATORS.add("Tile", 2)
def _tile(node: Node) -> Function:
    def run(x: Array, repeats: Array) -> Array:
        times = integers_of(repeats)
        if len(times) != x.ndim:
            raise ValueError(f"repeats has {len(times)} numbers, expected {x.ndim}")
        return np.tile(x, times)

    return run


@OPERATORS.add("Shape", 1)
def _shape(node: Node) -> Function:
    start, end = node.attributes.integer("start", 0), node.attributes.integer("end", None)
    return lambda x: np.array(x.shape[start:end], np.int64)


@OPERATORS.add("Constant", 0)
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


@OPERATORS.add("ConstantOfShape", 1)
def _constant_of_shape(node: Node) -> Function:
    value = node.attributes.tensor("value", np.zeros(1, np.float32))
    if value.size != 1:
        raise ValueError(f"attribute 'value' has {value.size} numbers, expected 1")
    value = value.reshape(())
    return lambda shape: np.full(integers_of(shape), value, value.dtype)


@OPERATORS.add("Range", 3)
def _range(node: Node) -> Function:
    node.attributes.integer("stash_type", 1)  # for sixteen-bit floats

    def run(start: Array, limit: Array, delta: Array) -> Array:
        check_same_types(start, limit, delta)
        if delta.reshape(()) == 0:
            raise ValueError("delta is 0")
        first, last, step = (value.reshape(()).item() for value in (start, limit, delta))
        count = max(0, math.ceil((last - first) / step))
        return (start.reshape(()) + np.arange(count).astype(start.dtype) * delta.reshape(())).astype(start.dtype)

    return run
