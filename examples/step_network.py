"""The network of two examples, an LSTM with a linear layer on each of its steps, and how both train it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from clstm import LSTM, Linear, losses
from clstm.batches import BucketedBatches
from clstm.layer import Layer
from clstm.optim import Adam
from clstm.schedules import CosineLR
from clstm.train import fit


class StepNetwork(Layer):
    """Steps (batch, time, inputs) in, steps (batch, time, outputs) out."""

    def __init__(self, input_size: int, hidden_size: int, output_size: int, *, seed: int) -> None:
        super().__init__()
        generator = np.random.default_rng(seed)
        self.lstm = LSTM(input_size, hidden_size, batch_first=True, forget_bias=1.0, seed=generator)
        self.fc = Linear(hidden_size, output_size, seed=generator)
        self._add_part("lstm", self.lstm)
        self._add_part("fc", self.fc)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.fc(self.lstm(x)[0])

    def forward_train(self, x: np.ndarray) -> tuple[np.ndarray, Any]:
        y, _, lstm = self.lstm.forward_train(x)
        out, fc = self.fc.forward_train(y)
        return out, (lstm, fc)

    def backward(self, context: Any, dout: np.ndarray) -> dict[str, np.ndarray]:
        lstm, fc = context
        fc = self.fc.backward(fc, dout)
        lstm = self.lstm.backward(lstm, fc.x, need_input_grad=False)
        return {
            f"{part}.{name}": grad for part, of in (("lstm", lstm), ("fc", fc)) for name, grad in of.weights.items()
        }


def train(
    network: StepNetwork,
    loss: Callable[[np.ndarray, np.ndarray], losses.Loss],
    batches: BucketedBatches,
    read: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    *,
    n_epochs: int,
    lr: float,
) -> None:
    """Train with Adam and a rate that falls to 0 by the cosine; `read` gives the input and targets of a batch."""

    def loss_step(rows):
        x, targets = read(rows)
        out, context = network.forward_train(x)
        value, dout = loss(out, targets)
        return value, network.backward(context, dout)

    optimizer = Adam(network, lr=lr)
    schedule = CosineLR(optimizer, n_epochs * len(batches))
    fit(optimizer, loss_step, batches, n_epochs=n_epochs, schedule=schedule, schedule_every="batch", clip_norm=1.0)
