"""The forms that users give X and y in, made into rows of values end to end."""

from __future__ import annotations

from typing import Any

import numpy as np

from clstm._checks import as_array, check_lengths, check_token_ids
from clstm.train.batches import PaddedRows


def kind_of(X: Any) -> str:
    """Return what X is: "table", "sequences", "ids" or "texts". What it holds is checked where it is read.

    An array of two axes, or lists that can be one, is a table; an array of three axes, or a list of arrays, is
    sequences; a list of lists or arrays of integers is ids.

    Raises
    ------
    TypeError
        A single string.
    """
    if isinstance(X, (str, bytes)):
        raise TypeError("X is a single string, expected a list of strings")
    if not is_list(X):
        return "sequences" if len(getattr(X, "shape", ())) == 3 else "table"
    rows = list(X)
    if rows and isinstance(rows[0], str):
        return "texts"
    arrays = [array for array in map(_array_of, rows) if array is not None]
    if len(arrays) < len(rows) or any(array.ndim > 1 for array in arrays):
        return "sequences"
    if not rows or any(array.ndim == 0 for array in arrays):
        return "table"
    if all(array.dtype.kind in "iu" for array in arrays):
        return "ids"
    alike = len(set(map(len, arrays))) == 1
    return "table" if alike and not isinstance(rows[0], np.ndarray) else "sequences"


def is_list(value: Any) -> bool:
    """Return whether `value` is a list or tuple, or has one axis (an array, a series) of anything but numbers."""
    if isinstance(value, (list, tuple)):
        return True
    dtype = getattr(value, "dtype", None)
    return len(getattr(value, "shape", ())) == 1 and not (isinstance(dtype, np.dtype) and dtype.kind in "biufcmM")


def read_floats(X: Any, lengths: Any = None) -> PaddedRows:
    """Return rows of floats (time, features) from an array (n, time, features), or a list of (time, features).

    Rows of a list that have one axis have one feature.

    Raises
    ------
    TypeError
        Not numbers, or lengths that aren't integers.
    ValueError
        A wrong shape, no rows or a row without steps, rows with different numbers of features, NaN or infinity, or
        lengths that don't fit.
    """
    if is_list(X):
        if lengths is not None:
            raise ValueError("lengths is given, but X is a list, whose sequences have lengths already")
        arrays = [as_numbers(f"X[{index}]", row) for index, row in enumerate(X)]
        for index, array in enumerate(arrays):
            if array.ndim == 1:
                arrays[index] = array = array[:, np.newaxis]
            if array.ndim != 2:
                raise ValueError(f"X[{index}] has shape {array.shape}, expected (time, features)")
            width = arrays[0].shape[1]
            if array.shape[1] != width:
                raise ValueError(f"X[{index}] has {array.shape[1]} features, expected {width}, as X[0] has")
        rows = PaddedRows(arrays)
    else:
        array = as_numbers("X", X)
        if array.ndim != 3:
            raise ValueError(f"X has shape {array.shape}, expected (n, time, features)")
        rows = cut_to_lengths(array, lengths)
    if len(rows) == 0:
        raise ValueError("X holds no sequences, expected one at least")
    if rows.values.shape[-1] == 0:
        raise ValueError("X has 0 features, expected 1 or more")
    check_finite("X", rows)
    if rows.lengths.min() == 0:
        raise ValueError(f"X[{rows.lengths.argmin()}] has no steps, expected 1 or more")
    return rows


def read_ids(X: Any, num_ids: int | None) -> PaddedRows:
    """Return rows of token ids from a list of lists or arrays of integers.

    Raises
    ------
    ValueError
        An id that is negative, or not below `num_ids`.
    """
    rows = PaddedRows([np.asarray(row, np.int64) for row in X])
    check_token_ids("X", rows.values, np.iinfo(np.int64).max if num_ids is None else num_ids)
    return rows


def read_step_targets(y: Any, rows: PaddedRows, lengths: Any) -> PaddedRows:
    """Return the targets of each step of X's rows, from an array (n, time, ...) or a list of arrays (time, ...).

    Raises
    ------
    ValueError
        The times aren't those of X.
    """
    if is_list(y):
        targets = PaddedRows([np.asarray(target) for target in y])
    else:
        # y may be padded to the length of X, or to the longest sequence only.
        y = as_array("y", y)
        targets = cut_to_lengths(y, rows.lengths if lengths is None or y.shape[1] == rows.lengths.max() else lengths)
    different = np.flatnonzero(targets.lengths != rows.lengths)
    if len(different):
        row = different[0]
        raise ValueError(f"y[{row}] has {targets.lengths[row]} steps, but X[{row}] has {rows.lengths[row]}")
    return targets


def cut_to_lengths(array: np.ndarray, lengths: Any) -> PaddedRows:
    """Return the rows of an array (n, time, ...), cut to their lengths."""
    count, time = array.shape[:2]
    checked = check_lengths(lengths, count, time)
    if checked is None:
        return PaddedRows.end_to_end(array.reshape(count * time, *array.shape[2:]), np.full(count, time, np.int64))
    return PaddedRows.end_to_end(array[np.arange(time) < checked[:, np.newaxis]], checked)


def check_finite(name: str, rows: PaddedRows, when: str = "") -> None:
    """Raise ValueError that says which row holds NaN or infinity, and where."""
    finite = np.isfinite(rows.values).reshape(len(rows.values), -1).all(axis=1)
    if not finite.all():
        place = int(finite.argmin())
        row = int(np.searchsorted(np.cumsum(rows.lengths), place, side="right"))
        step = place - int(rows.lengths[:row].sum())
        what = "NaN" if np.isnan(rows.values[place]).any() else "infinity"
        raise ValueError(f"{name}[{row}] contains {what} at step {step}{when}, expected finite numbers")


def as_numbers(name: str, value: Any) -> np.ndarray:
    """Return an array of float32 or float64."""
    array = as_array(name, value)
    if array.dtype == object:
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name} can't be made floats: {error}") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {array.dtype}, expected numbers")
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


def _array_of(row: Any) -> np.ndarray | None:
    """Return a row as an array; None for lists of several lengths."""
    try:
        return np.asarray(row)
    except ValueError:
        return None
