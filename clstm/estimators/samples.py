"""Sequences with targets and weights, as the training takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm._checks import as_array
from clstm.train.batches import PaddedRows


@dataclass(frozen=True)
class Samples:
    """Sequences with their targets, one each or (as `PaddedRows`) one for each step, and weights of the sequences.

    Losses need weights of the outputs' dtype: `dtype`.
    """

    rows: PaddedRows
    targets: np.ndarray | PaddedRows
    weight: np.ndarray | None
    dtype: np.dtype

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def per_step(self) -> bool:
        """Whether each step has a target."""
        return isinstance(self.targets, PaddedRows)

    def take(self, some: np.ndarray) -> Samples:
        """Return some of the sequences."""
        targets = self.targets.take(some) if isinstance(self.targets, PaddedRows) else self.targets[some]
        weight = None if self.weight is None else self.weight[some]
        return Samples(self.rows.take(some), targets, weight, self.dtype)

    def batch(self, some: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Return x, lengths, targets and weights (of rows or steps; None where all are equal) of a batch."""
        x, lengths = self.rows.batch(some)
        weight = None if self.weight is None else self.weight[some]
        if not isinstance(self.targets, PaddedRows):
            return x, lengths, self.targets[some], weight
        targets, _ = self.targets.batch(some)
        if weight is not None or lengths.min() < x.shape[1]:
            inside = np.arange(x.shape[1]) < lengths[:, np.newaxis]
            weight = inside.astype(self.dtype) if weight is None else inside * weight[:, np.newaxis]
        return x, lengths, targets, weight

    def flat_targets(self) -> np.ndarray:
        """Return the targets as `run` orders outputs: of each row, or of all steps end to end."""
        return self.targets.values if isinstance(self.targets, PaddedRows) else self.targets

    def flat_weight(self) -> np.ndarray | None:
        """Return a weight for each of `flat_targets`; None where all are equal."""
        return self.step_weight() if self.per_step else self.weight

    def step_weight(self) -> np.ndarray | None:
        """Return a weight for each step of the rows, end to end; None where all are equal."""
        return None if self.weight is None else np.repeat(self.weight, self.rows.lengths)


def mean_and_scale(values: np.ndarray, weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation (1 where that is 0) of each column, in float64, with weights for the rows."""
    values = np.ascontiguousarray(values, np.float64)  # sums of another memory layout would have other bits
    mean = np.average(values, axis=0, weights=weight)
    variance = np.average(np.square(values - mean), axis=0, weights=weight)
    # Rounding leaves a little of a constant column's variance, which is 0.
    constant = variance <= 10 * np.finfo(np.float64).eps * np.square(mean)
    return mean, np.where(constant, 1.0, np.sqrt(variance))


def check_sample_weight(sample_weight: Any, count: int, dtype: np.dtype) -> np.ndarray | None:
    """Return the weights of `count` sequences in a dtype, or None for None.

    Raises
    ------
    TypeError, ValueError
        Not numbers, another shape, negative or not finite, or all zero.
    """
    if sample_weight is None:
        return None
    weight = as_array("sample_weight", sample_weight)
    if weight.dtype.kind not in "biuf":
        raise TypeError(f"sample_weight has dtype {weight.dtype}, expected numbers")
    if weight.shape != (count,):
        raise ValueError(f"sample_weight has shape {weight.shape}, expected ({count},), one for each sequence")
    if not (np.isfinite(weight).all() and weight.min() >= 0):
        raise ValueError("sample_weight holds values that are negative or not finite, expected 0 or more")
    if not weight.any():
        raise ValueError("sample_weight is zero for every sequence, expected some above")
    return weight.astype(dtype)
