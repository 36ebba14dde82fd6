"""Checks of the arguments of public functions, and the errors that they raise.

Public functions check their arguments; the functions that they call trust them.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

# One axis of an expected shape: its name and, where it is fixed, its size.
Axis = tuple[str, int | None]

_Number = TypeVar("_Number", int, float)

# Infinity and NaN are valid inputs and results, as in the kernels: NumPy shouldn't warn about them.
quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")


def check_dtype(name: str, dtype: Any) -> np.dtype:
    """Return `dtype` as float32 or float64; raise TypeError for any other."""
    try:
        result = None if dtype is None else np.dtype(dtype)  # np.dtype(None) would be float64
    except (TypeError, ValueError):
        result = None
    if result is None or result not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"{name} is {dtype!r}, expected float32 or float64")
    return result


def check_array(name: str, value: Any, dtype: np.dtype | type, *shapes: Sequence[Axis]) -> np.ndarray:
    """Return `value` as an aligned array, contiguous along its last axis.

    Parameters
    ----------
    name : str
        The argument's name, for the error.
    value : array_like
        What the caller passed.
    dtype : dtype
        The dtype it must have; it is never cast.
    *shapes : sequence of (str, int or None)
        The shapes allowed, each a sequence of axes: a name and a size, or None where any size will do.

    Raises
    ------
    TypeError
        Not an array, or of another dtype or byte order.
    ValueError
        Of another shape.
    """
    array = as_array(name, value)
    if array.dtype != dtype:
        dtype = np.dtype(dtype)
        raise TypeError(
            f"{name} has dtype {array.dtype}, expected {dtype}; convert it with numpy.asarray({name}, dtype='{dtype}')"
        )
    for axes in shapes:
        if _fits(array.shape, axes):
            return dense_rows(array)
    expected = " or ".join(_describe(axes) for axes in shapes)
    raise ValueError(f"{name} has shape {array.shape}, expected {expected}")


def check_floats(name: str, value: Any) -> np.ndarray:
    """Return `value` as an aligned float32 or float64 array of any shape, contiguous along its last axis.

    Raises
    ------
    TypeError
        Not an array, or of any other dtype or byte order; nothing is cast.
    """
    array = as_array(name, value)
    if array.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"{name} has dtype {array.dtype}, expected float32 or float64")
    return dense_rows(array)


def as_array(name: str, value: Any) -> np.ndarray:
    """Return `value` as an ndarray; raise TypeError if NumPy can't convert it, or if it is a masked array."""
    masked = sys.modules.get("numpy.ma")  # the attribute np.ma would import it
    if masked is not None and isinstance(value, masked.MaskedArray):
        raise TypeError(f"{name} is a masked array, expected a plain array; fill it first, or pass lengths")
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} can't be converted to an array: {error}") from None


def dense_rows(array: np.ndarray) -> np.ndarray:
    """Return `array`, or a copy if it is misaligned or its last axis isn't contiguous; others may have any strides."""
    flags = array.flags
    if flags.c_contiguous and flags.aligned:
        return array
    itemsize = array.itemsize
    regular = (
        flags.aligned
        and array.ndim > 0
        and (array.shape[-1] <= 1 or array.strides[-1] == itemsize)
        and all(stride % itemsize == 0 for stride in array.strides)
    )
    return array if regular else np.array(array, order="C", copy=True)


def check_index(name: str, value: Any, low: int | None = None, high: int | None = None) -> int:
    """Return `value` as an int in [low, high]; raise TypeError if it isn't whole, ValueError if out of range."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r}, expected an integer")
    try:
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} is {value!r}, expected an integer") from None
    return _in_range(name, result, low, high)


def check_real(name: str, value: Any, low: float | None = None, high: float | None = None) -> float:
    """Return `value` as a finite float in [low, high]."""
    if isinstance(value, (bool, np.bool_, str, bytes)):
        raise TypeError(f"{name} is {value!r}, expected a number")
    try:
        result = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {value!r}, expected a number") from None
    if not np.isfinite(result):
        raise ValueError(f"{name} is {result}, expected a finite number")
    return _in_range(name, result, low, high)


def check_fraction(name: str, value: Any) -> float:
    """Return `value` as a float in [0, 1)."""
    result = check_real(name, value, low=0.0)
    if result >= 1:
        raise ValueError(f"{name} is {result}, expected below 1")
    return result


def check_positive(name: str, value: Any) -> float:
    """Return `value` as a finite float above 0."""
    result = check_real(name, value)
    if result <= 0:
        raise ValueError(f"{name} is {result}, expected above 0")
    return result


def check_flag(name: str, value: Any) -> bool:
    """Return `value` as a bool; raise TypeError for anything but True and False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} is {value!r}, expected True or False")
    return bool(value)


def check_choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """Return `value` if it is one of `choices`; raise ValueError if not."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, choices))}")
    return value


def check_lengths(lengths: Any, batch: int, time: int) -> np.ndarray | None:
    """Return `lengths` as an int64 array of shape (batch,) with values in 0..time, or None where all are `time`.

    Raises
    ------
    TypeError
        Not integers.
    ValueError
        Another shape, or a value below 0 or above `time`.
    """
    if lengths is None:
        return None
    array = as_array("lengths", lengths)
    if array.size == 0 and array.dtype == np.float64:  # NumPy's dtype for []
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"lengths has dtype {array.dtype}, expected integers")
    if array.shape != (batch,):
        raise ValueError(f"lengths has shape {array.shape}, expected (batch={batch},)")
    if array.size:
        for row in (array.argmin(), array.argmax()):
            if not 0 <= array[row] <= time:
                raise ValueError(f"lengths[{row}] is {array[row]}, expected 0 to {time} (the time steps given)")
    array = array.astype(np.int64)
    return None if (array == time).all() else array


def check_state(
    names: str,
    state: Any,
    dtype: np.dtype,
    shape: Sequence[tuple[str, int]],
    c_shape: Sequence[tuple[str, int]] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the pair `state` as contiguous arrays, or zeros where it is None.

    Parameters
    ----------
    names : str
        The pair's name in errors: ``"(h0, c0)"``.
    shape, c_shape : sequence of (str, int)
        The shape of both arrays, and that of the second if it is another.

    Raises
    ------
    TypeError
        Not a pair, or an array of another dtype.
    ValueError
        An array of another shape.
    """
    c_shape = c_shape or shape
    if state is None:
        return np.zeros([size for _, size in shape], dtype), np.zeros([size for _, size in c_shape], dtype)
    (h_name, h), (c_name, c) = named_pair(names, state)
    return (
        np.ascontiguousarray(check_array(h_name, h, dtype, shape)),
        np.ascontiguousarray(check_array(c_name, c, dtype, c_shape)),
    )


def named_pair(names: str, state: Any) -> tuple[tuple[str, Any], tuple[str, Any]]:
    """Return the two parts of `state` with their names; raise TypeError if it isn't a pair."""
    if not isinstance(state, (tuple, list)) or len(state) != 2:
        raise TypeError(f"{names} is {type(state).__name__}, expected a pair {names}")
    h, c = names.strip("()").split(", ")
    return (h, state[0]), (c, state[1])


def check_token_ids(name: str, value: Any, num_embeddings: int) -> np.ndarray:
    """Return `value` as an int64 array of ids in 0..num_embeddings - 1.

    Raises
    ------
    TypeError
        Not integers.
    ValueError
        An id out of range, or too large for int64.
    """
    array = as_array(name, value)
    if array.size == 0 and array.dtype == np.float64:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {array.dtype}, expected integers")
    if array.size:
        for extreme in (array.min(), array.max()):
            if not 0 <= extreme < num_embeddings:
                raise ValueError(f"{name} holds the id {extreme}, expected 0 to {num_embeddings - 1}")
    return array.astype(np.int64, copy=False)


def check_state_dict(mapping: Any, expected: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays of `mapping`, one for each name in `expected`, with its shape and dtype.

    Raises
    ------
    TypeError
        Not a mapping, or an array of another dtype.
    ValueError
        A name is missing or unexpected, or a shape differs.
    """
    if not isinstance(mapping, Mapping):
        raise TypeError(f"state_dict is {type(mapping).__name__}, expected a mapping of names to arrays")
    missing = [name for name in expected if name not in mapping]
    unexpected = [str(name) for name in mapping if name not in expected]
    if missing or unexpected:
        problems = [f"lacks {', '.join(missing)}"] if missing else []
        problems += [f"has unexpected {', '.join(unexpected)}"] if unexpected else []
        raise ValueError(f"state_dict {' and '.join(problems)}; expected {', '.join(expected)}")
    arrays = {}
    for name, like in expected.items():
        array = as_array(name, mapping[name])
        if array.dtype != like.dtype:
            raise TypeError(f"{name} has dtype {array.dtype}, expected {like.dtype}")
        if array.shape != like.shape:
            raise ValueError(f"{name} has shape {array.shape}, expected {like.shape}")
        arrays[name] = array
    return arrays


def random_generator(seed: Any) -> np.random.Generator:
    """Return a NumPy generator for `seed`: None (fresh entropy), an int, or a Generator (used as it is)."""
    if isinstance(seed, np.random.Generator):
        return seed
    if seed is not None:
        seed = check_index("seed", seed, low=0)
    return np.random.default_rng(seed)


def _in_range(name: str, value: _Number, low: float | None, high: float | None) -> _Number:
    if low is not None and value < low:
        raise ValueError(f"{name} is {value}, expected at least {low}")
    if high is not None and value > high:
        raise ValueError(f"{name} is {value}, expected at most {high}")
    return value


def _fits(shape: Sequence[int], axes: Sequence[Axis]) -> bool:
    if len(shape) != len(axes):
        return False
    for axis, (_, size) in enumerate(axes):  # noqa: SIM110 (a third of the time that all() takes)
        if size is not None and size != shape[axis]:
            return False
    return True


def _describe(axes: Sequence[Axis]) -> str:
    inner = ", ".join(name if size is None else f"{name}={size}" for name, size in axes)
    return f"({inner},)" if len(axes) == 1 else f"({inner})"
