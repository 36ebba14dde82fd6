"""Traces of an LSTM: the gates, cell states and outputs of every step, layer and direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from clstm._checks import check_index


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """The trace of one layer in one direction: arrays in the layout of the input, zero past a row's length.

    Attributes
    ----------
    i, f, g, o : ndarray of shape (time, batch, hidden_size)
        Input gate, forget gate, candidate and output gate, after their activations.
    c : ndarray of shape (time, batch, hidden_size)
        The cell state after the step.
    h : ndarray of shape (time, batch, hidden_size)
        The output of the step. All arrays are indexed by time, also those of the reverse direction, which computes
        the last time first.
    """

    i: np.ndarray
    f: np.ndarray
    g: np.ndarray
    o: np.ndarray
    c: np.ndarray
    h: np.ndarray

    def __repr__(self) -> str:
        shapes = (f"{part.name} {getattr(self, part.name).shape}" for part in fields(self))
        return f"LayerTrace({', '.join(shapes)})"


@dataclass(frozen=True, eq=False)
class Trace:
    """The trace of an LSTM over its input, as `LSTM.trace` and the models' `trace` return it.

    ``trace[layer]`` is a `LayerTrace`, of the forward direction; ``trace[layer, 1]`` is that of the reverse one.

    Attributes
    ----------
    layers : tuple of tuple of LayerTrace
        For each layer, one for each direction.
    y : ndarray
        The output, as of a call.
    state : (h_n, c_n)
        The state after each row's last real step, as of a call.
    lengths : ndarray of int, shape (batch,), or int
        Real steps of each row; without a batch axis, the number of steps.
    batch_axis : int or None
        The batch axis of the arrays: 1, or 0 with `batch_first`; None if there is none.
    tokens : list of str, list of list of str, or None
        The words or characters read at each step, of each row; None if the input was neither.

    Examples
    --------
    >>> import numpy as np, clstm
    >>> lstm = clstm.LSTM(3, 8, num_layers=2, batch_first=True, seed=0)
    >>> trace = lstm.trace(np.ones((2, 5, 3), np.float32), lengths=[5, 2])
    >>> trace[-1].f.shape, trace.row(1)[-1].f.shape
    ((2, 5, 8), (2, 8))
    >>> np.array_equal(trace[-1].h, trace.y)
    True
    """

    layers: tuple[tuple[LayerTrace, ...], ...]
    y: np.ndarray
    state: tuple[Any, Any]
    lengths: np.ndarray | int
    batch_axis: int | None
    tokens: Sequence[Any] | None = None

    def __getitem__(self, place: int | tuple[int, int]) -> LayerTrace:
        """Return the trace of a layer's forward direction, or with ``[layer, direction]`` of direction 0 or 1."""
        layer, direction = place if isinstance(place, tuple) else (place, 0)
        try:
            return self.layers[layer][direction]
        except IndexError:
            layers, directions = len(self.layers), len(self.layers[0])
            raise IndexError(
                f"there is no layer {layer} in direction {direction}: the trace has {layers} layer{'s' * (layers > 1)} "
                f"and {directions} direction{'s' * (directions > 1)}"
            ) from None

    def row(self, row: int) -> Trace:
        """Return the trace of one row, cut to its length, without a batch axis: arrays (time, features).

        Raises
        ------
        TypeError, ValueError
            Not an integer, or there is no such row.
        """
        if self.batch_axis is None:
            raise ValueError("the trace has no batch axis, so no rows to choose from")
        count = len(self.lengths)
        row = check_index("row", row, low=-count, high=count - 1) % count
        length = int(self.lengths[row])

        def cut(array: np.ndarray) -> np.ndarray:
            return np.take(array, row, axis=self.batch_axis)[:length]

        def of_state(part: Any) -> Any:
            return [array[:, row] for array in part] if isinstance(part, list) else part[:, row]

        layers = tuple(
            tuple(LayerTrace(**{name: cut(array) for name, array in vars(one).items()}) for one in directions)
            for directions in self.layers
        )
        h_n, c_n = self.state
        tokens = None if self.tokens is None else self.tokens[row]
        return Trace(layers, cut(self.y), (of_state(h_n), of_state(c_n)), length, None, tokens)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays of the layers by name, ``i_l0``, ``f_l0``, ..., ``i_l0_reverse``: for `numpy.savez`."""
        return {
            f"{name}_l{layer}{'_reverse' * direction}": array
            for layer, directions in enumerate(self.layers)
            for direction, one in enumerate(directions)
            for name, array in vars(one).items()
        }

    def __repr__(self) -> str:
        return f"Trace(layers={len(self.layers)}, directions={len(self.layers[0])}, y {self.y.shape})"
