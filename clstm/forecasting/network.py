"""The forecaster's network: an LSTM, and a linear layer that reads the LSTM's output and its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clstm._package import public
from clstm.forecasting.distributions import Output
from clstm.layers.base import Context
from clstm.layers.dropout import Dropout
from clstm.layers.linear import Linear
from clstm.layers.lstm import LSTM, State
from clstm.models.base import LSTMNetwork

if TYPE_CHECKING:
    from clstm.summary import Axes


@public("clstm.forecasting")
@dataclass
class ForecastContext(Context):
    """What one `forward_train` keeps for one `backward`; opaque."""


@public("clstm.forecasting")
class ForecastNetwork(LSTMNetwork):
    """Reads steps of series, and returns at each the raw numbers that describe the values of the next step.

    The linear layer reads the LSTM's input together with its output, so that a linear effect of the calendar or of the
    last value needn't pass through the gates.

    Parameters
    ----------
    input_size, hidden_size, num_layers : int
        Of the LSTM.
    columns : int
        Values at a step.
    output : Normal, StudentT or Quantiles
        What describes a value.
    dropout : float
        On the LSTM's output, and between its layers.
    dtype : dtype
    seed : int or numpy.random.Generator, optional
    num_threads : int, optional
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        columns: int,
        output: Output,
        *,
        dropout: float = 0.0,
        dtype: Any = np.float32,
        seed: int | np.random.Generator | None = None,
        num_threads: int | None = None,
    ) -> None:
        super().__init__()
        self.columns, self.output = columns, output
        self.lstm = LSTM(
            input_size, hidden_size, num_layers, dropout=dropout, dtype=dtype, seed=seed, num_threads=num_threads
        )
        self.dtype, self.num_threads = self.lstm.dtype, num_threads
        self.fc = Linear(hidden_size + input_size, columns * (output.size - output.shared), dtype=dtype, seed=seed)
        self._dropout = Dropout(dropout, seed=seed)
        for name in ("lstm", "fc"):
            self._add_part(name, getattr(self, name))
        if output.shared:
            shape = (columns, output.shared)
            self._add_weight("shared", shape, self.dtype, lambda: np.full(shape, 2.0))

    @property
    def shared(self) -> np.ndarray:
        """The raw numbers that are the same at all steps, (columns, shared)."""
        return self._weights.get("shared", np.empty((self.columns, 0), self.dtype))

    def __call__(self, x: np.ndarray, state: State | None = None, lengths: Any = None) -> tuple[np.ndarray, State]:
        """Return the raw numbers (time, batch, columns, size) for x (time, batch, input_size), and the last state."""
        y, state = self.lstm(x, state, lengths)
        return self.describe(y, x), state

    def describe(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the raw numbers (..., columns, size) for the LSTM's output and input."""
        return self._raw(self.fc(np.concatenate([y, x], axis=-1)))

    def forward_train(
        self, x: np.ndarray, state: State | None = None, lengths: Any = None
    ) -> tuple[np.ndarray, ForecastContext]:
        """Run the network with dropout; return the raw numbers as a call does, and the context for `backward`."""
        y, _, lstm = self.lstm.forward_train(x, state, lengths)
        y, dropout = self._dropout.forward_train(y)
        raw, fc = self.fc.forward_train(np.concatenate([y, x], axis=-1))
        return self._raw(raw), ForecastContext(self, kept=(lstm, dropout, fc))

    def backward(self, context: ForecastContext, draw: np.ndarray) -> dict[str, np.ndarray]:
        """Return the weights' gradients by name, given the gradient of the raw numbers.

        Raises
        ------
        TypeError, ValueError
            A context of another network or already used.
        """
        lstm, dropout, fc = ForecastContext.checked(context, self).take(self)
        shared, rest = np.split(draw, [self.output.shared], axis=-1)
        fc = self.fc.backward(fc, rest.reshape(*draw.shape[:-2], -1))
        dy = self._dropout.backward(dropout, fc.x[..., : self.lstm.hidden_size]).x
        lstm = self.lstm.backward(lstm, dy, need_input_grad=False)
        parts = {
            f"{part}.{name}": grad for part, of in (("lstm", lstm), ("fc", fc)) for name, grad in of.weights.items()
        }
        if self.output.shared:
            parts["shared"] = shared.sum(axis=tuple(range(draw.ndim - 2)))
        return parts

    def _output_axes(self) -> Axes:
        return ("time", "batch", self.columns, self.output.size)

    def _raw(self, values: np.ndarray) -> np.ndarray:
        """Return the linear layer's output as raw numbers (..., columns, size), with the shared ones in front."""
        raw = values.reshape(*values.shape[:-1], self.columns, -1)
        if not self.output.shared:
            return raw
        shared = np.broadcast_to(self.shared, (*raw.shape[:-1], self.output.shared))
        return np.concatenate([shared, raw], axis=-1)
