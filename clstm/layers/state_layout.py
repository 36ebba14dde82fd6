"""The state of stacked layers: an array of h and one of c, or lists with one of each for every layer.

Lists are for layers of different sizes, which one array can't hold. Inside the package both forms are lists of parts,
one for each layer, (directions, rows, features): where there is one array, the parts are views of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clstm._checks import check_array, check_state, named_pair

State = tuple[np.ndarray, np.ndarray]
Parts = list[np.ndarray]


class StateLayout:
    """Sizes of the state.

    Parameters
    ----------
    num_directions : int
    h_sizes, c_sizes : sequence of int
        Features of each layer.
    leading : str
        What errors call the first axis of the array of all layers.
    """

    def __init__(
        self,
        num_directions: int,
        h_sizes: Sequence[int],
        c_sizes: Sequence[int],
        leading: str = "num_layers * directions",
    ) -> None:
        self.num_directions, self._leading = num_directions, leading
        self.h_sizes, self.c_sizes = tuple(h_sizes), tuple(c_sizes)
        self.num_layers = len(self.c_sizes)
        self.listed = len(set(self.c_sizes)) > 1

    def empty(self, rows: int, dtype: np.dtype) -> tuple[State, tuple[Parts, Parts]]:
        """Return a state to be filled in, and its parts."""
        if self.num_layers == 1:  # the usual case, made short for calls of a few microseconds
            D, (h_size,), (c_size,) = self.num_directions, self.h_sizes, self.c_sizes
            h, c = np.empty((D, rows, h_size), dtype), np.empty((D, rows, c_size), dtype)
            return (h, c), ([h], [c])
        h, c = self._empty(self.h_sizes, rows, dtype), self._empty(self.c_sizes, rows, dtype)
        return (h, c), (self._parts(h), self._parts(c))

    def check(self, names: str, state: Any, dtype: np.dtype, batch: int | None) -> tuple[Parts, Parts] | None:
        """Return the parts of a caller's state, None for None.

        Parameters
        ----------
        names : str
            As for `clstm._checks.check_state`.
        batch : int or None
            Rows; None for a state without that axis.

        Raises
        ------
        TypeError, ValueError
            As `clstm._checks.check_state`.
        """
        if state is None:
            return None
        rows = [] if batch is None else [("batch", batch)]
        whole: Any
        if self.listed:
            sizes = self.h_sizes, self.c_sizes
            whole = [
                self._check_list(name, arrays, layers, dtype, rows)
                for (name, arrays), layers in zip(named_pair(names, state), sizes, strict=True)
            ]
        else:
            whole = check_state(names, state, dtype, *self.axes(rows))
        if batch is None:
            whole = map(self._with_batch, whole)
        h, c = map(self._parts, whole)
        return h, c

    def axes(self, rows: list[tuple[str, int]]) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        """Return the shapes of h and c in the form of one array each."""
        leading = (self._leading, self.num_layers * self.num_directions)
        h_size, c_size = self.h_sizes[0], self.c_sizes[0]
        h_name = "hidden_size" if h_size == c_size else "proj_size"
        return [leading, *rows, (h_name, h_size)], [leading, *rows, ("hidden_size", c_size)]

    def without_batch(self, state: Any) -> Any:
        """Return a state of one row without the batch axis, as views."""
        h, c = state
        if self.listed:
            return [part[:, 0] for part in h], [part[:, 0] for part in c]
        return h[:, 0], c[:, 0]

    def _with_batch(self, whole: Any) -> Any:
        return [part[:, np.newaxis] for part in whole] if self.listed else whole[:, np.newaxis]

    def _check_list(
        self, name: str, arrays: Any, sizes: Sequence[int], dtype: np.dtype, rows: list[tuple[str, int]]
    ) -> Parts:
        if not isinstance(arrays, (tuple, list)):
            raise TypeError(f"{name} is {type(arrays).__name__}, expected a list with an array for each layer")
        if len(arrays) != len(sizes):
            raise ValueError(f"{name} has {len(arrays)} arrays, expected {len(sizes)}, one for each layer")
        return [
            np.ascontiguousarray(
                check_array(f"{name}[{layer}]", array, dtype,
                            [("directions", self.num_directions), *rows, ("features", size)])
            )
            for layer, (array, size) in enumerate(zip(arrays, sizes, strict=True))
        ]  # fmt: skip

    def _empty(self, sizes: Sequence[int], rows: int, dtype: np.dtype) -> Any:
        if self.listed:
            return [np.empty((self.num_directions, rows, size), dtype) for size in sizes]
        return np.empty((self.num_layers * self.num_directions, rows, sizes[0]), dtype)

    def _parts(self, whole: Any) -> Parts:
        if self.listed:
            return whole
        if self.num_layers == 1:
            return [whole]
        D = self.num_directions
        return [whole[k * D : (k + 1) * D] for k in range(self.num_layers)]
