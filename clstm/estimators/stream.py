"""A stream of an estimator: its predictions after each step, while a sequence is still coming."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from clstm._checks import check_array, check_index
from clstm._package import public
from clstm.layers.pooling import POOLINGS
from clstm.models.sequence import SequenceNetwork

if TYPE_CHECKING:
    from clstm.estimators.inputs import Input


@public("clstm.estimators")
class EstimatorStream:
    """Predictions of an LSTMClassifier or LSTMRegressor, step by step; its method `stream` makes one.

    After each step it returns what `predict_proba` (of a regressor, `predict`) does for the sequence so far, but
    computes that step only. A later `fit` of the estimator doesn't change it. `copy.copy` makes a second stream that
    continues from the same step. A stream is for one thread at a time.

    Attributes
    ----------
    batch_size : int
        Number of sequences that are read in parallel.
    """

    def __init__(
        self, network: SequenceNetwork, input: Input, result: Callable[[np.ndarray], np.ndarray], batch_size: int
    ) -> None:
        self.batch_size = check_index("batch_size", batch_size, low=1)
        self._network, self._input, self._result = network, input, result
        self._stream = network.lstm.stream(self.batch_size)
        self._pool = POOLINGS[network.pooling or "last"]
        self._pooled = np.full((self.batch_size, network.hidden_size), self._pool.initial, network.dtype)
        self._counts = np.zeros(self.batch_size, np.int64)

    def step(self, x: Any) -> np.ndarray:
        """Read one step of every sequence.

        Parameters
        ----------
        x : array_like of shape (batch_size, features), or (batch_size,) of token ids or words
            If batch_size is 1, the first axis may be left out.

        Returns
        -------
        ndarray of shape (batch_size, classes) or (batch_size, ...)
            Probabilities or predictions; without the first axis if `x` has none.

        Raises
        ------
        TypeError, ValueError
            A wrong shape, NaN or infinity, an id out of range, or more than one word; the stream is unchanged then.
        """
        values = self._read("x", x)
        single = values.ndim == 1
        results = self._results(values.reshape(self.batch_size, 1, -1))[:, 0]
        return results[0] if single else results

    def run(self, chunk: Any) -> np.ndarray:
        """Read all steps of a chunk; chunks may have any length.

        Parameters
        ----------
        chunk : array_like of shape (batch_size, time, features), or (batch_size, time) of token ids or words
            If batch_size is 1, the first axis may be left out.

        Returns
        -------
        ndarray of shape (batch_size, time, ...)
            What `step` returns for each step; without the first axis if `chunk` has none.

        Raises
        ------
        TypeError, ValueError
            As `step`.
        """
        values = self._read("chunk", chunk, ("time", None))
        single = values.ndim == 2
        results = self._results(values[np.newaxis] if single else values)
        return results[0] if single else results

    def reset(self, mask: Any = None) -> None:
        """Start new sequences: all, or those where `mask`, array_like of bool (batch_size,), is true."""
        rows = slice(None) if mask is None else check_array("mask", mask, bool, [("batch_size", self.batch_size)])
        self._stream.reset(mask)
        self._pooled[rows] = self._pool.initial
        self._counts[rows] = 0

    def _results(self, values: np.ndarray) -> np.ndarray:
        """Return the results (batch_size, time, ...) of steps (batch_size, time, features)."""
        pooled = y = self._stream.run(np.ascontiguousarray(values))
        if self._network.pooling not in (None, "last"):
            pooled = np.empty_like(y)
            for step in range(y.shape[1]):
                self._counts += 1
                pooled[:, step] = self._pool.update_running(self._pooled, y[:, step], self._counts)
        out = self._network.head(pooled)
        results = self._result(out.reshape(-1, out.shape[-1]))
        return results.reshape(*out.shape[:2], *results.shape[1:])

    def _read(self, name: str, x: Any, *time: tuple[str, int | None]) -> np.ndarray:
        """Return the LSTM's input (batch_size, *time, features); without batch_size if x has no such axis."""
        values, features = self._input.steps(name, x)
        axes = [("batch_size", self.batch_size), *time, *features]
        values = check_array(name, values, values.dtype, axes, *([axes[1:]] if self.batch_size == 1 else []))
        return self._input.features_of_steps(name, values, self._network)

    def __copy__(self) -> EstimatorStream:
        twin = EstimatorStream(self._network, self._input, self._result, self.batch_size)
        twin._stream = copy.copy(self._stream)
        twin._pooled, twin._counts = self._pooled.copy(), self._counts.copy()
        return twin

    def __deepcopy__(self, memo: Any) -> EstimatorStream:
        return self.__copy__()
