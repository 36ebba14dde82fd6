"""What an estimator's X may be, told apart and made one thing: rows of floats or of token ids, end to end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clstm._checks import as_array, check_lengths, check_token_ids
from clstm.models.sequence import SequenceNetwork
from clstm.text.vocabulary import Vocabulary
from clstm.train.batches import PaddedRows, batches_by_length

# What X can be, and what errors call it.
KINDS = {
    "table": "an array (n, time)",
    "sequences": "sequences of floats",
    "ids": "lists of token ids",
    "texts": "strings",
}

# Inference takes so many rows at a time, of similar length, and at most so many steps in one batch.
PREDICT_ROWS, PREDICT_STEPS = 64, 16384


@dataclass
class Samples:
    """Sequences with their targets, one each or (as `PaddedRows`) one for each step, and weights of the sequences.

    `dtype` is that of the weights, which losses want to be that of the outputs.
    """

    rows: PaddedRows
    targets: np.ndarray | PaddedRows
    weight: np.ndarray | None
    dtype: np.dtype

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def per_step(self) -> bool:
        """Whether each step has a target."""
        return isinstance(self.targets, PaddedRows)

    def take(self, some: np.ndarray) -> Samples:
        """Return some of them."""
        targets = self.targets.take(some) if self.per_step else self.targets[some]
        weight = None if self.weight is None else self.weight[some]
        return Samples(self.rows.take(some), targets, weight, self.dtype)

    def batch(self, some: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Return x, lengths, targets and weights (of rows or steps; None where all count the same) of a batch."""
        x, lengths = self.rows.batch(some)
        weight = None if self.weight is None else self.weight[some]
        if not self.per_step:
            return x, lengths, self.targets[some], weight
        targets, _ = self.targets.batch(some)
        if weight is not None or lengths.min() < x.shape[1]:
            inside = np.arange(x.shape[1]) < lengths[:, np.newaxis]
            weight = inside.astype(self.dtype) if weight is None else inside * weight[:, np.newaxis]
        return x, lengths, targets, weight

    def flat_targets(self) -> np.ndarray:
        """Return the targets as `run` orders outputs: of each row, or of all steps end to end."""
        return self.targets.values if self.per_step else self.targets

    def flat_weight(self) -> np.ndarray | None:
        """Return a weight for each of `flat_targets`; None where all count the same."""
        return self.step_weight() if self.per_step else self.weight

    def step_weight(self) -> np.ndarray | None:
        """Return a weight for each step of the rows, end to end; None where all count the same."""
        return None if self.weight is None else np.repeat(self.weight, self.rows.lengths)


def kind_of(X: Any) -> str:
    """Return which of `KINDS` X is; what it holds is checked where it is read.

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
    arrays = [_array_of(row) for row in rows]
    if any(array is None or array.ndim > 1 for array in arrays):
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
        A wrong shape, no rows or a row without steps, rows of several numbers of features, NaN or infinity, or lengths
        that don't fit.
    """
    if is_list(X):
        if lengths is not None:
            raise ValueError("lengths is given, but X is a list, whose sequences have lengths of their own")
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
        # As long as X was padded, or as the longest sequence.
        y = as_array("y", y)
        targets = cut_to_lengths(y, rows.lengths if lengths is None or y.shape[1] == rows.lengths.max() else lengths)
    different = np.flatnonzero(targets.lengths != rows.lengths)
    if len(different):
        row = different[0]
        raise ValueError(f"y[{row}] has {targets.lengths[row]} steps, but X[{row}] has {rows.lengths[row]}")
    return targets


def cut_to_lengths(array: np.ndarray, lengths: Any) -> PaddedRows:
    """Return the rows of an array (n, time, ...) without what lies past their lengths."""
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


def mean_and_scale(values: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (1 where that is 0) of each column, in float64, with weights for the rows."""
    values = np.ascontiguousarray(values, np.float64)  # of one layout: sums have the same bits
    mean = np.average(values, axis=0, weights=weight)
    variance = np.average(np.square(values - mean), axis=0, weights=weight)
    # Of a constant column rounding leaves a little.
    constant = variance <= 10 * np.finfo(np.float64).eps * np.square(mean)
    return mean, np.where(constant, 1.0, np.sqrt(variance))


def run(
    network: SequenceNetwork, rows: PaddedRows, batch_size: int = PREDICT_ROWS, max_steps: int = PREDICT_STEPS
) -> np.ndarray:
    """Return the network's outputs for all rows (rows, outputs), or without pooling for all steps (steps, outputs)."""
    per_step = network.pooling is None
    count = len(rows.values) if per_step else len(rows)
    out = np.empty((count, network.output_size), network.dtype)
    for some in batches_by_length(rows.lengths, batch_size, max_steps):
        x, lengths = rows.batch(some)
        some_out, _ = network(x, lengths=lengths)
        if per_step:
            places, inside = rows.places(some)
            out[places] = some_out[inside]
        else:
            out[some] = some_out
    return out


def _array_of(row: Any) -> np.ndarray | None:
    try:
        return np.asarray(row)
    except ValueError:  # lists of several lengths
        return None


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


@dataclass(frozen=True)
class Input:
    """What X was at `fit`, and how it becomes the network's input.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    num_ids : int or None
        Token ids that there are; None for floats.
    vocabulary : Vocabulary or None
        Of texts.
    mean, scale : ndarray of float64, shape (features,)
        What is taken from floats, and what they are then divided by; empty for token ids.
    """

    kind: str
    num_ids: int | None = None
    vocabulary: Vocabulary | None = None
    mean: np.ndarray = field(default_factory=lambda: np.zeros(0))
    scale: np.ndarray = field(default_factory=lambda: np.ones(0))

    def standardized(self, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
        """Return floats (..., features) as the network takes them."""
        with np.errstate(over="ignore"):
            return ((values - self.mean) / self.scale).astype(dtype)
