"""Mini-batches of sequences: rows of similar length together, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from clstm._checks import as_array, check_index, random_generator
from clstm._package import public


@public("clstm.train")
class BucketedBatches:
    """Mini-batches of rows of similar length, drawn again each time they are iterated over.

    The rows are shuffled and cut into pools of `pool` batches; each pool is sorted by length and cut into batches,
    and the batches of all pools are shuffled. So batches differ from epoch to epoch, and lengths in a batch are close.

    Parameters
    ----------
    lengths : array_like of int, shape (rows,)
        Each row's length.
    batch_size : int
        Rows in a batch; one batch of an epoch may have fewer.
    pool : int, default 16
        Batches sorted together. 1 makes batches of any lengths.
    seed : int or numpy.random.Generator, optional
        For the shuffles.

    Examples
    --------
    >>> batches = BucketedBatches([3, 9, 1, 8], batch_size=2, seed=0)
    >>> sorted(sorted(rows.tolist()) for rows in batches)
    [[0, 2], [1, 3]]
    """

    def __init__(
        self, lengths: Any, batch_size: int, *, pool: int = 16, seed: int | np.random.Generator | None = None
    ) -> None:
        self._lengths = _check_row_lengths(lengths)
        self._batch_size = check_index("batch_size", batch_size, low=1)
        self._pool = check_index("pool", pool, low=1)
        self._generator = random_generator(seed)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        pool_rows = self._batch_size * self._pool
        full_pools, other_rows = divmod(len(self._lengths), pool_rows)
        return full_pools * self._pool + -(-other_rows // self._batch_size)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the row numbers of each batch, as int64 arrays."""
        order = self._generator.permutation(len(self._lengths))
        batches = []
        for pool in _cut(order, self._batch_size * self._pool):
            by_length = pool[np.argsort(self._lengths[pool], kind="stable")]
            batches += _cut(by_length, self._batch_size)
        for number in self._generator.permutation(len(batches)):
            yield batches[number]


def batches_by_length(lengths: Any, batch_size: int, max_steps: int) -> Iterator[np.ndarray]:
    """Yield row numbers in batches, from the shortest row to the longest, for inference.

    Parameters
    ----------
    lengths : array_like of int, shape (rows,)
        Each row's length.
    batch_size : int
        Maximum number of rows in a batch.
    max_steps : int
        Maximum number of steps in a batch, padding included, to limit its memory. A longer row is a batch by itself.

    Yields
    ------
    ndarray of int64
        Each row number occurs once.
    """
    lengths = _check_row_lengths(lengths)
    batch_size = check_index("batch_size", batch_size, low=1)
    max_steps = check_index("max_steps", max_steps, low=1)
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        # The rows are sorted, so with n rows a batch has n times the length of its last row: that rises with n
        longest = np.maximum(lengths[order[start : start + batch_size]], 1)
        steps = longest * np.arange(1, len(longest) + 1)
        stop = start + max(1, int(np.searchsorted(steps, max_steps, side="right")))
        yield order[start:stop]
        start = stop


@public("clstm.train")
class PaddedRows:
    """Sequences of any lengths, stored end to end and padded one batch at a time.

    Parameters
    ----------
    rows : sequence of ndarray of shape (time,) or (time, features)
        One array for each row, of one dtype; int64 where there are none.
    padding : int, default 0
        The value of the padding.

    Attributes
    ----------
    lengths : ndarray of int64, shape (rows,)
    values : ndarray of shape (steps,) or (steps, features)
        All steps of all rows, end to end.
    """

    def __init__(self, rows: Sequence[np.ndarray], padding: int = 0) -> None:
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        self._store(np.concatenate(rows) if len(rows) else np.zeros(0, np.int64), lengths, padding)

    @classmethod
    def end_to_end(cls, values: np.ndarray, lengths: np.ndarray, padding: int = 0) -> PaddedRows:
        """Return the rows of these lengths that are stored end to end in `values`, which isn't copied."""
        self = cls.__new__(cls)
        self._store(values, lengths, padding)
        return self

    def _store(self, values: np.ndarray, lengths: np.ndarray, padding: int) -> None:
        self.values, self.lengths, self._padding = values, lengths, padding
        self._starts = np.cumsum(lengths) - lengths

    def __len__(self) -> int:
        return len(self.lengths)

    def batch(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return some rows as one array (len(rows), longest of them[, features]), and their lengths."""
        places, inside = self.places(rows)
        values = np.full((*inside.shape, *self.values.shape[1:]), self._padding, self.values.dtype)
        values[inside] = self.values[places]
        return values, self.lengths[rows]

    def take(self, rows: np.ndarray) -> PaddedRows:
        """Return some rows as new `PaddedRows`, with a copy of their values."""
        return self.end_to_end(self.values[self.places(rows)[0]], self.lengths[rows], self._padding)

    def places(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices in `values` of the steps of some rows, and the mask of these steps in a padded batch."""
        lengths = self.lengths[rows]
        steps = np.arange(lengths.max(initial=0))
        inside = steps < lengths[:, np.newaxis]
        return (self._starts[rows][:, np.newaxis] + steps)[inside], inside


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _check_row_lengths(lengths: Any) -> np.ndarray:
    array = as_array("lengths", lengths)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"lengths has dtype {array.dtype}, expected integers")
    if array.ndim != 1:
        raise ValueError(f"lengths has shape {array.shape}, expected (rows,)")
    if array.size and array.min() < 0:
        raise ValueError(f"lengths holds {array.min()}, expected 0 or more")
    return array.astype(np.int64)
