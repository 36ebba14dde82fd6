"""The gradient of a matrix in which most rows are zero, such as an embedding's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm._checks import as_array, check_array, check_dtype, check_index
from clstm._package import public


@public("clstm")
@dataclass(frozen=True, eq=False)
class RowGradient:
    """Some rows of a gradient; all others are zero.

    ``Embedding(..., sparse=True).backward`` returns it for the weight. Optimisers, `clip_grad_norm` and
    `clip_grad_value` take it instead of an array, in a time that depends only on the number of rows given.

    Parameters
    ----------
    rows : ndarray of int64, shape (n,)
        Row numbers, each once, in ascending order.
    values : ndarray of shape (n, features)
        Their gradients, float32 or float64.
    shape : (int, int)
        Of the whole gradient.

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong kind, dtype or shape, or rows that aren't ascending or are out of range.

    Examples
    --------
    >>> import numpy as np, clstm
    >>> embedding = clstm.Embedding(50_000, 2, sparse=True, seed=0)
    >>> y, context = embedding.forward_train([7, 3, 7])
    >>> gradient = embedding.backward(context, np.ones_like(y)).weights["weight"]
    >>> gradient.rows, gradient.values.tolist(), gradient.to_dense().shape
    (array([3, 7]), [[1.0, 1.0], [2.0, 2.0]], (50000, 2))
    """

    rows: np.ndarray
    values: np.ndarray
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        try:
            height, width = self.shape
        except (TypeError, ValueError):
            raise TypeError(f"shape is {self.shape!r}, expected a pair of integers") from None
        height, width = check_index("shape[0]", height, low=0), check_index("shape[1]", width, low=0)
        values = as_array("values", self.values)
        dtype = check_dtype("the dtype of values", values.dtype)
        rows = check_rows(self.rows, height)
        values = check_array("values", values, dtype, [("rows", len(rows)), ("features", width)])
        for name, value in (("rows", rows), ("values", values), ("shape", (height, width))):
            object.__setattr__(self, name, value)

    @property
    def dtype(self) -> np.dtype:
        """The dtype of `values`."""
        return self.values.dtype

    def to_dense(self) -> np.ndarray:
        """Return the whole gradient as an array."""
        dense = np.zeros(self.shape, self.dtype)
        dense[self.rows] = self.values
        return dense

    def __repr__(self) -> str:
        return f"RowGradient({len(self.rows)} rows of {self.shape}, {self.dtype})"


def check_rows(rows: Any, height: int) -> np.ndarray:
    """Return `rows` as an array, checked to hold ascending integers of 0 to height - 1."""
    rows = check_array("rows", rows, np.int64, [("n", None)])
    if rows.size:
        if not (rows[1:] > rows[:-1]).all():
            raise ValueError("rows don't rise, expected each once and in order")
        if rows[0] < 0 or rows[-1] >= height:
            raise ValueError(f"rows has {rows[0]} to {rows[-1]}, expected 0 to {height - 1}")
    return rows
