"""A stream: an LSTM that takes its input step by step, or chunk by chunk, and keeps the state between the calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from clstm._checks import as_array, check_array
from clstm._core import _stream, threads
from clstm._package import public
from clstm.layers.state_layout import State, StateLayout


@public("clstm.layers")
class Stream(_stream.Stream):
    """What `LSTM.stream` returns: the layer's weights at that moment, and a state.

    `step` takes one step of every row, `run` many. The outputs are the same bits however the steps are divided into
    calls, and the same as those of one call of the layer over all steps (on the portable path the latter only to
    rounding: see docs/streaming.md).

    A stream is for one thread at a time: a call while another thread uses it is a RuntimeError. Streams of one layer
    share its weights, and any number of them may run at once. `copy.copy` returns a second stream that continues from
    the same state.

    Attributes
    ----------
    batch_size, input_size, hidden_size, num_layers : int
    dtype : dtype
    state : tuple of ndarray
        h and c.
    """

    __slots__ = ("_batch_first", "_default_state", "_layout", "_num_threads")

    def __init__(
        self,
        steps: Any,
        layout: StateLayout,
        default_state: list[list[np.ndarray]],
        *,
        batch_first: bool = False,
        num_threads: int | None = None,
    ) -> None:
        self._layout = layout
        self._default_state = default_state  # h of each layer, then c of each, (features,)
        self._batch_first = batch_first
        self._num_threads = num_threads
        self.reset()

    if TYPE_CHECKING:

        def step(self, x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
            """Advance by one step; defined in Cython, which documents it."""

    def run(self, chunk: np.ndarray) -> np.ndarray:
        """Take all steps of a chunk, which may have any length.

        Parameters
        ----------
        chunk : ndarray of shape (time, batch_size, input_size), (batch_size, time, input_size) if batch_first
            The input, of the stream's dtype; also (time, input_size) where batch_size is 1.

        Returns
        -------
        ndarray of shape (time, batch_size, hidden_size)
            h of the last layer at every step; batch first or without batch as `chunk` is.

        Raises
        ------
        TypeError, ValueError
            A wrong dtype or shape; the state is as it was.
        RuntimeError
            Another thread is using this stream.
        """
        batch, features = ("batch", self.batch_size), ("input_size", self.input_size)
        batched = [batch, ("time", None), features] if self._batch_first else [("time", None), batch, features]
        shapes = [batched, [("time", None), features]] if self.batch_size == 1 else [batched]
        x = check_array("chunk", chunk, self.dtype, *shapes)
        y = np.empty((*x.shape[:-1], self.hidden_size), self.dtype)
        with self._alone():
            self._steps.run(self._time_batch(x), self._time_batch(y), threads.resolve(self._num_threads))
        return y

    def reset(self, mask: Any = None) -> None:
        """Set the state to zero, or to the learnt initial state.

        Parameters
        ----------
        mask : array_like of bool, shape (batch_size,), optional
            The rows to reset; all of them if left out.

        Raises
        ------
        TypeError, ValueError
            A wrong dtype or shape.
        RuntimeError
            Another thread is using this stream.
        """
        rows = slice(None) if mask is None else check_array("mask", mask, bool, [("batch", self.batch_size)])
        self._set(rows, self._default_state)

    @property
    def state(self) -> State:
        """The state (h, c), copies of shape (num_layers, batch_size, hidden_size); set it to a pair, or None to reset.

        h has proj_size features where there is one. Of layers whose sizes differ, lists of (1, batch_size, size).
        """
        copies, parts = self._layout.empty(self.batch_size, self.dtype)
        with self._alone():
            for layers, state in zip(parts, self._steps.state(), strict=True):
                for part, layer in zip(layers, state, strict=True):
                    part[0] = layer
        return copies

    @state.setter
    def state(self, state: State | None) -> None:
        parts = self._layout.check("(h, c)", state, self.dtype, self.batch_size)
        if parts is None:
            self.reset()
        else:
            self._set(slice(None), [[part[0] for part in layers] for layers in parts])

    def _set(self, rows: Any, parts: list[list[np.ndarray]]) -> None:
        with self._alone():
            for layers, state in zip(parts, self._steps.state(), strict=True):
                for part, layer in zip(layers, state, strict=True):
                    layer[rows] = part

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._begin()
        try:
            yield
        finally:
            self._end()

    def _time_batch(self, array: np.ndarray) -> np.ndarray:
        """View what `run` takes or returns as (time, batch, features)."""
        if array.ndim == 2:
            return array[:, np.newaxis]
        return array.swapaxes(0, 1) if self._batch_first else array

    def _step_slowly(self, x: Any, out: Any) -> np.ndarray:
        """Take a step with arguments that `step` can't use directly: convert them, or raise an error."""
        features, hidden = ("input_size", self.input_size), ("hidden_size", self.hidden_size)
        batch = ("batch", self.batch_size)
        shapes = [[batch, features], [features]] if self.batch_size == 1 else [[batch, features]]
        x = np.ascontiguousarray(check_array("x", x, self.dtype, *shapes))
        if out is None:
            return self.step(x)
        if not isinstance(out, np.ndarray):
            raise TypeError(f"out is {type(out).__name__}, expected an ndarray")
        plain = as_array("out", out)
        check_array("out", plain, self.dtype, [batch, hidden] if x.ndim == 2 else [hidden])
        if not plain.flags.carray:
            raise ValueError("out can't be written to directly, expected a writeable, C-contiguous, aligned array")
        if np.may_share_memory(x, plain):
            raise ValueError("out shares memory with x, expected an array that doesn't")
        self.step(x, plain)
        return out

    def __copy__(self) -> Stream:
        twin = Stream(
            self._steps.twin(),
            self._layout,
            self._default_state,
            batch_first=self._batch_first,
            num_threads=self._num_threads,
        )
        twin.state = self.state
        return twin

    def __deepcopy__(self, memo: Any) -> Stream:
        return self.__copy__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a Stream can't be pickled; pickle its LSTM and its state, and make a new one with lstm.stream")

    def __repr__(self) -> str:
        layers = "" if self.num_layers == 1 else f", num_layers={self.num_layers}"
        dtype = "" if self.dtype == np.float32 else f", dtype={self.dtype.name}"
        return f"Stream({self.input_size}, {self.hidden_size}{layers}{dtype}, batch_size={self.batch_size})"
