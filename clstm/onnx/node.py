"""What an operator is: a node's attributes and known inputs to the function that computes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm.onnx.attributes import Attributes

Array = np.ndarray
Function = Callable[..., Any]

MANY = 1 << 31  # inputs or outputs: no limit


@dataclass(frozen=True)
class Node:
    """A node of the graph.

    Attributes
    ----------
    attributes : Attributes
    opset : int
        The version of the operator set.
    constants : dict of int to ndarray
        The inputs whose values are known, by position.
    outputs : int
        How many outputs are used.
    """

    attributes: Attributes
    opset: int
    constants: Mapping[int, Array]
    outputs: int


@dataclass(frozen=True)
class PartialFunction:
    """A function of some of a node's inputs, by position. It already has the values of the others, which are known."""

    places: tuple[int, ...]
    function: Function


Make = Callable[[Node], "Function | PartialFunction"]


@dataclass(frozen=True)
class Operator:
    """An operator.

    Attributes
    ----------
    make : callable
        Returns the function that computes a node.
    inputs : tuple of int
        The least and the largest number of inputs.
    outputs : int
        The largest number of outputs.
    """

    make: Make
    inputs: tuple[int, int]
    outputs: int = 1


class Operators(dict[str, Operator]):
    """Operators by name."""

    def add(self, name: str, least: int, most: int | None = None, outputs: int = 1) -> Callable[[Make], Make]:
        """Add the decorated function, which makes an operator's function, with its numbers of inputs and outputs."""

        def add_operator(make: Make) -> Make:
            self[name] = Operator(make, (least, least if most is None else most), outputs)
            return make

        return add_operator


def check_same_types(*arrays: Array) -> None:
    """Raise ValueError for arrays of several dtypes."""
    dtypes = {array.dtype for array in arrays}
    if len(dtypes) > 1:
        raise ValueError(f"inputs are of the types {', '.join(sorted(map(str, dtypes)))}, expected one type")


def elementwise(function: Function) -> Make:
    """Return an operator without attributes whose inputs have one dtype."""

    def make(node: Node) -> Function:
        def run(*arrays: Array) -> Array:
            check_same_types(*arrays)
            return function(*arrays)

        return run

    return make


def check_axis(axis: int, ndim: int) -> int:
    """Return an axis from 0, which may be given as a negative number."""
    if not -ndim <= axis < ndim:
        raise ValueError(f"axis is {axis}, expected {-ndim} to {ndim - 1}")
    return axis % ndim


def check_axes(axes: Iterable[int], ndim: int) -> tuple[int, ...]:
    """Return different axes from 0."""
    found = tuple(check_axis(axis, ndim) for axis in axes)
    if len(set(found)) != len(found):
        raise ValueError(f"axes are {list(axes)}, which has one twice")
    return found


def as_matrix(x: Array, axis: int) -> Array:
    """Return x with the axes before `axis` merged into one, and the others into another."""
    if not -x.ndim <= axis <= x.ndim:
        raise ValueError(f"axis is {axis}, expected {-x.ndim} to {x.ndim}")
    axis = axis % x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def integers_of(array: Array) -> list[int]:
    """Return the integers of an input that holds sizes, axes or indices."""
    if array.ndim > 1 or array.dtype.kind not in "iu":
        raise ValueError(f"an input is {array.dtype}{array.shape}, expected a row of integers")
    return np.atleast_1d(array).tolist()


def integers_from(node: Node, name: str, place: int = 1) -> Callable[..., list[int] | None]:
    """Return a function of a node's inputs that returns the integers of an input, or else of an attribute.

    Older versions of an operator have some parameters as attributes that newer ones have as inputs.
    """
    fixed = node.attributes.integers(name, None)

    def read(*arrays: Array | None) -> list[int] | None:
        given = arrays[place] if len(arrays) > place else None
        return fixed if given is None else integers_of(given)

    return read
