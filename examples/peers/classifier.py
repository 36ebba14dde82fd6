"""The twin of `clstm.LSTMClassifier` in PyTorch: the same arguments, network, batches, updates and number of epochs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

import clstm
from clstm.train.batches import BucketedBatches, batches_by_length


class Network(nn.Module):
    """Embedding (of token ids), LSTM, pooling over the real steps or none, dropout, Linear.

    The reverse direction is an LSTM of its own that is given each sequence turned round. On a CPU that takes a third
    of the time of packed sequences, and the same as `nn.LSTM(bidirectional=True)` where all have one length.
    """

    def __init__(self, input_size, vocab_size, output_size, hidden_size, bidirectional, pooling, dropout):
        super().__init__()
        self.pooling = pooling
        self.embedding = None
        if vocab_size is not None:
            self.embedding = nn.Embedding(vocab_size, input_size)
            nn.init.normal_(self.embedding.weight, std=0.1)
        self.forth = nn.LSTM(input_size, hidden_size, batch_first=True)
        self.back = nn.LSTM(input_size, hidden_size, batch_first=True) if bidirectional else None
        self.fc = nn.Linear(hidden_size * (1 + bidirectional), output_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, lengths):
        if self.embedding is not None:
            x = self.dropout(self.embedding(x))
        last, steps = (lengths - 1)[:, None], torch.arange(x.shape[1])
        y, _ = self.forth(x)
        if self.back is not None:
            turned = torch.where(steps <= last, last - steps, steps)
            z, _ = self.back(_take(x, turned))
            # Turned back where steps are given as they are; else the order doesn't matter, but for the last step's.
            y = torch.cat([y, z if self.pooling is not None else _take(z, turned)], dim=2)
        outside = (steps > last)[..., None]
        if self.pooling == "last":
            y = _take(y, last)[:, 0]
        elif self.pooling == "max":
            y = y.masked_fill(outside, -math.inf).amax(dim=1)
        elif self.pooling == "mean":
            y = y.masked_fill(outside, 0).sum(dim=1) / lengths[:, None]
        return self.fc(self.dropout(y))


def _take(x: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
    """Return these steps of each sequence."""
    return x.gather(1, steps[..., None].expand(-1, -1, x.shape[2]))


# What the twin can be told; all other arguments must be left at their defaults, which it has too.
ARGUMENTS = {"hidden_size", "bidirectional", "pooling", "dropout", "n_epochs", "batch_size", "lr", "embedding_dim",
             "vocab_size", "random_state"}  # fmt: skip


class TorchLSTMClassifier:
    """What `clstm.LSTMClassifier` does with the arguments that the examples use, and with its defaults.

    X is an array (n, time, features), or a list of arrays (time, features) or of token ids; y a class for each
    sequence, or, in an array (n, time), for each step.
    """

    def __init__(self, **arguments: Any) -> None:
        if not set(arguments) <= ARGUMENTS:
            raise TypeError(f"{sorted(set(arguments) - ARGUMENTS)} can't be set here")
        for name, value in clstm.LSTMClassifier(**arguments).get_params().items():
            setattr(self, name, value)

    def fit(self, X: Any, y: Any) -> TorchLSTMClassifier:
        torch.set_num_threads(clstm.get_num_threads())
        torch.manual_seed(self.random_state)
        self.classes_, targets = np.unique(y, return_inverse=True)
        targets = torch.from_numpy(targets.reshape(np.shape(y)))
        rows = self._read(X, fit=True)
        self.network = Network(
            rows[0].shape[1] if self.vocab_size is None else self.embedding_dim, self.vocab_size, len(self.classes_),
            self.hidden_size, self.bidirectional, None if targets.ndim == 2 else self.pooling, self.dropout,
        )  # fmt: skip
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.lr, fused=True)
        batches = BucketedBatches([len(row) for row in rows], self.batch_size, seed=self.random_state)
        schedule = _one_cycle(optimizer, self.n_epochs * len(batches))
        self.network.train()
        for _ in range(self.n_epochs):
            for some in batches:
                x, lengths = self._batch(rows, some)
                out = self.network(x, lengths)
                optimizer.zero_grad()
                nn.functional.cross_entropy(out.flatten(0, -2), targets[some].flatten()).backward()
                nn.utils.clip_grad_norm_(self.network.parameters(), self.clip_norm)
                optimizer.step()
                schedule.step()
        return self

    @torch.inference_mode()
    def predict_proba(self, X: Any) -> np.ndarray:
        rows = self._read(X)
        self.network.eval()
        out = {}
        for some in batches_by_length([len(row) for row in rows], 256, 65536):
            probabilities = self.network(*self._batch(rows, some)).softmax(dim=-1).numpy()
            out.update(zip(some.tolist(), probabilities, strict=True))
        return np.stack([out[row] for row in range(len(rows))])

    def predict(self, X: Any) -> np.ndarray:
        return self.classes_[self.predict_proba(X).argmax(axis=-1)]

    def score(self, X: Any, y: Any) -> float:
        return float(np.mean(self.predict(X) == y))

    def _read(self, X: Any, fit: bool = False) -> Any:
        """Return the sequences as tensors, floats standardised; in one tensor if all have one length."""
        if self.vocab_size is not None:
            return [torch.tensor(row) for row in X]
        if fit:
            steps = np.concatenate(list(X)).astype(np.float64)
            self.mean, self.scale = steps.mean(axis=0), steps.std(axis=0)
        if isinstance(X, np.ndarray) and X.ndim == 3:
            return torch.from_numpy(((X - self.mean) / self.scale).astype(np.float32))
        return [torch.from_numpy(((row - self.mean) / self.scale).astype(np.float32)) for row in X]

    def _batch(self, rows: Any, some: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        if isinstance(rows, torch.Tensor):
            return rows[some], torch.full((len(some),), rows.shape[1])
        chosen = [rows[row] for row in some]
        return pad_sequence(chosen, batch_first=True), torch.tensor([len(row) for row in chosen])


def _one_cycle(optimizer: torch.optim.Optimizer, steps: int) -> Any:
    """The rate grows over a tenth of the steps and falls to 0 along a cosine."""
    warm_up = max(1, round(0.1 * steps))

    def share(step: int) -> float:
        if step < warm_up:
            return (step + 1) / warm_up
        return (1 + math.cos(math.pi * min(1.0, (step - warm_up) / max(1, steps - warm_up)))) / 2

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)
