"""A long text cut into streams that are read in parallel, chunk by chunk, for truncated back-propagation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from clstm._checks import check_index, check_token_ids, random_generator
from clstm._package import public


@public("clstm.language")
class TextStreams:
    """Chunks of parallel streams; each epoch iterates over the ranges of the chunks' time steps.

    The text is cut into `batch_size` streams of the same length, the columns of (time, batch). A chunk begins where the
    one before ended, so that the state can be carried over. Each epoch begins at a random one of the first steps, so
    that gradients are cut at other places. Tokens that don't fill all streams, or the last chunk, are left out.

    Parameters
    ----------
    ids : array_like of int, shape (tokens,)
        At least two: the first is only read, the last is only predicted.
    batch_size : int
        Number of streams; fewer if a short text has no chunk for each of so many.
    chunk_length : int
        Steps of a chunk; fewer if the text is shorter.
    seed : int or numpy.random.Generator, optional
        For the steps at which epochs begin.

    Examples
    --------
    >>> streams = TextStreams(range(21), batch_size=2, chunk_length=5, seed=0)
    >>> for steps in streams:
    ...     ids, targets = streams.at(steps)
    ...     print(ids[:, 0].tolist(), targets[:, 1].tolist())
    [0, 1, 2, 3, 4] [11, 12, 13, 14, 15]
    [5, 6, 7, 8, 9] [16, 17, 18, 19, 20]
    """

    def __init__(
        self, ids: np.ndarray, batch_size: int, chunk_length: int, *, seed: int | np.random.Generator | None = None
    ) -> None:
        ids = check_token_ids("ids", ids, np.iinfo(np.int64).max)
        if ids.ndim != 1 or len(ids) < 2:
            raise ValueError(f"ids has shape {ids.shape}, expected (tokens,), two or more")
        batch_size = check_index("batch_size", batch_size, low=1)
        chunk_length = check_index("chunk_length", chunk_length, low=1)
        self._generator = random_generator(seed)
        tokens = len(ids) - 1
        self.batch_size = max(1, min(batch_size, tokens // chunk_length))
        self.steps = tokens // self.batch_size
        self.chunk_length = min(chunk_length, self.steps)
        read, predicted = (
            part[: self.batch_size * self.steps].reshape(self.batch_size, self.steps).T for part in (ids, ids[1:])
        )
        self._ids, self._targets = np.ascontiguousarray(read), np.ascontiguousarray(predicted)

    def __len__(self) -> int:
        """Return the number of chunks of an epoch."""
        return self.steps // self.chunk_length

    def __iter__(self) -> Iterator[range]:
        """Yield the time steps of each chunk."""
        start = int(self._generator.integers(self.steps % self.chunk_length + 1))
        for first in range(start, start + len(self) * self.chunk_length, self.chunk_length):
            yield range(first, first + self.chunk_length)

    def at(self, steps: range) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids to read at these steps, and those to predict, (len(steps), batch_size) each."""
        part = slice(steps.start, steps.stop)
        return self._ids[part], self._targets[part]
