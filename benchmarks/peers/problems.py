"""What is computed: a layer, its weights and its data; and the grids of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import clstm


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

    def __str__(self) -> str:
        parts = [f"{self.time}, {self.batch}, {self.input_size}, {self.hidden_size}"]
        parts += [f"{self.num_layers} layers"] if self.num_layers > 1 else []
        parts += ["bidirectional"] if self.bidirectional else []
        parts += ["lengths {}-{}".format(*self.lengths)] if self.lengths else []
        parts += [self.dtype] if self.dtype != "float32" else []
        return ", ".join(parts)


class Problem:
    """A case in one mode, "inference" or "training", with its weights by PyTorch's names and its data.

    Attributes
    ----------
    x, dy : ndarray of shape (time, batch, features)
        The input and the gradient of the output; zero past a row's length.
    lengths : ndarray of int64, shape (batch,), or None
        In no order; one row is full.
    flops : int
        Of the real steps' products, additions and multiplications counted apart; three times as many in training.
    """

    def __init__(self, case: Case, mode: str) -> None:
        self.case, self.mode = case, mode
        self.weights = clstm.LSTM(**case.layer, dtype=np.dtype(case.dtype), seed=0).state_dict()
        rng = np.random.default_rng(1)
        width = case.directions * case.hidden_size
        self.x = rng.standard_normal((case.time, case.batch, case.input_size)).astype(case.dtype)
        self.dy = rng.standard_normal((case.time, case.batch, width)).astype(case.dtype)
        self.lengths = None
        cells = case.time * case.batch
        if case.lengths:
            self.lengths = rng.integers(*case.lengths, size=case.batch, endpoint=True)
            self.lengths[rng.integers(case.batch)] = case.time
            past = np.arange(case.time)[:, np.newaxis] >= self.lengths
            self.x[past] = self.dy[past] = 0
            cells = int(self.lengths.sum())
        inputs = case.input_size + (case.num_layers - 1) * width
        cell = 2 * 4 * case.hidden_size * (inputs + case.num_layers * case.hidden_size)
        self.flops = cells * case.directions * cell * (3 if mode == "training" else 1)


def grid(name: str) -> list[Case]:
    """Return the cases of the grid "issue", "quick" or "wide"."""
    if name == "issue":
        shapes = ((100, 1, 256, 256), (100, 8, 128, 128), (100, 32, 256, 256), (50, 64, 512, 512))
        return [Case(*shape) for shape in shapes]
    if name == "quick":
        return [Case(20, 1, 64, 64), Case(20, 6, 24, 40, num_layers=2, bidirectional=True, lengths=(1, 20))]
    cases = []
    for size in (32, 64, 128, 256, 512, 1024):
        for batch in (1, 2, 4, 8, 16, 32, 64, 128, 256):
            steps = 5e9 / (16 * batch * size**2)  # 5 GFLOP in all
            cases.append(Case(min(100, max(10, round(steps))), batch, size, size))
    for shape in ((100, 1, 256, 256), (100, 32, 256, 256), (100, 64, 128, 128)):
        cases += [Case(*shape, bidirectional=True), Case(*shape, num_layers=2)]
        if shape[1] > 1:
            cases += [Case(*shape, lengths=(10, 100)), Case(*shape, bidirectional=True, lengths=(10, 100))]
    return cases + [replace(case, dtype="float64") for case in grid("issue")]
