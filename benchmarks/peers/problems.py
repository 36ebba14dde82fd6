"""What is computed: a layer or network in one mode, its weights and its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import clstm
from clstm.models import LSTMClassifierNetwork

MODES = ("inference", "training", "stream", "classifier")
VOCABULARY, LABELS = 10_000, 2  # of a classifier


@dataclass(frozen=True)
class Case:
    """One layer and the size of its data; `lengths` are the least and the greatest of a ragged batch."""

    time: int
    batch: int
    input_size: int
    hidden_size: int
    num_layers: int = 1
    bidirectional: bool = False
    lengths: tuple[int, int] | None = None
    dtype: str = "float32"

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def layer(self) -> dict[str, Any]:
        """The arguments that clstm.LSTM and torch.nn.LSTM share."""
        names = ("input_size", "hidden_size", "num_layers", "bidirectional")
        return {name: getattr(self, name) for name in names}

    @property
    def inputs(self) -> list[int]:
        """Features that each layer reads."""
        return [self.input_size, *[self.directions * self.hidden_size] * (self.num_layers - 1)]

    def __str__(self) -> str:
        parts = [f"{self.time}, {self.batch}, {self.input_size}, {self.hidden_size}"]
        parts += [f"{self.num_layers} layers"] if self.num_layers > 1 else []
        parts += ["bidirectional"] if self.bidirectional else []
        parts += ["lengths {}-{}".format(*self.lengths)] if self.lengths else []
        parts += [self.dtype] if self.dtype != "float32" else []
        return ", ".join(parts)


class Problem:
    """A case in one mode, with its weights by PyTorch's names and its data.

    "inference" and "training" are of the layer alone over whole sequences. "stream" is the layer, called for each step
    with the state of the step before. "classifier" is a whole training step of a network: embedding (input_size is its
    width), LSTM, a linear layer of the last output, cross-entropy, Adam.

    Attributes
    ----------
    x, dy : ndarray of shape (time, batch, features)
        The input and the gradient of the output; zero past a row's length. Not of a classifier.
    ids, targets : ndarray of int64, shapes (batch, time) and (batch,)
        Of a classifier.
    lengths : ndarray of int64, shape (batch,), or None
        In no order; one row is full.
    active : ndarray of int64, shape (time,)
        Rows that are still in their length at each step.
    flops : int
        Of the LSTM's products over the real steps, additions and multiplications counted apart; three times as many in
        training.
    """

    def __init__(self, case: Case, mode: str) -> None:
        if mode == "stream" and (case.bidirectional or case.lengths):
            raise ValueError(f"{case}: a stream has one direction and no lengths")
        self.case, self.mode = case, mode
        rng = np.random.default_rng(1)
        width = case.directions * case.hidden_size
        self.lengths = None
        if case.lengths:
            self.lengths = rng.integers(*case.lengths, size=case.batch, endpoint=True)
            self.lengths[rng.integers(case.batch)] = case.time
        lengths = np.full(case.batch, case.time) if self.lengths is None else self.lengths
        inside = np.arange(case.time)[:, np.newaxis] < lengths
        self.active = inside.sum(axis=1)
        if mode == "classifier":
            network = LSTMClassifierNetwork(
                case.input_size, case.hidden_size, VOCABULARY, LABELS, case.num_layers,
                bidirectional=case.bidirectional, dtype=np.dtype(case.dtype), seed=0,
            )  # fmt: skip
            self.weights = network.state_dict()
            self.ids = rng.integers(VOCABULARY, size=(case.batch, case.time))
            self.targets = rng.integers(LABELS, size=case.batch)
        else:
            self.weights = clstm.LSTM(**case.layer, dtype=np.dtype(case.dtype), seed=0).state_dict()
            self.x = rng.standard_normal((case.time, case.batch, case.input_size)).astype(case.dtype)
            self.dy = rng.standard_normal((case.time, case.batch, width)).astype(case.dtype)
            self.x[~inside] = self.dy[~inside] = 0
        multiply_adds = 4 * case.hidden_size * (sum(case.inputs) + case.num_layers * case.hidden_size)
        self.flops = int(self.active.sum()) * case.directions * 2 * multiply_adds * (3 if self.trains else 1)

    @property
    def trains(self) -> bool:
        return self.mode in ("training", "classifier")
