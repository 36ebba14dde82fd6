"""What y is, in general: how it is read, what is learnt from it, and what the network's outputs mean by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from clstm.estimators.samples import Samples
from clstm.train.batches import PaddedRows

Self = TypeVar("Self", bound="Targets")

# Takes the network's outputs, targets and weights or None; returns the loss and its gradient at the outputs.
Loss = Callable[[np.ndarray, np.ndarray, "np.ndarray | None"], tuple[float, np.ndarray]]


@dataclass(frozen=True, eq=False, kw_only=True)
class Targets:
    """What y was at `fit`, and how y is read and predicted since: a classifier's classes, or a regressor's numbers.

    Attributes
    ----------
    per_step : bool
        Whether y has a target for each step.
    monitor : {"score", "loss"}
        By which the best epoch is found.
    score_name : str
        What the progress display calls the score.
    lasting : tuple of str
        Arguments that must stay the same where training continues, beside those of all estimators.
    """

    monitor: ClassVar[str]
    score_name: ClassVar[str]
    lasting: ClassVar[tuple[str, ...]] = ()
    per_step: bool

    @classmethod
    def learn(
        cls: type[Self], y: Any, rows: PaddedRows, lengths: Any, params: Mapping[str, Any], classes: Any
    ) -> tuple[Self, np.ndarray | PaddedRows]:
        """Return what y is, at a first `fit`, and its values; `classes` is `partial_fit`'s argument."""
        raise NotImplementedError

    def read(self, y: Any, rows: PaddedRows, lengths: Any) -> np.ndarray | PaddedRows:
        """Return the values of another y, which must be of the same kind."""
        raise NotImplementedError

    def measured(self: Self, samples: Samples, standardize: bool) -> Self:
        """Return it with the scales of the training samples, where it has scales."""
        return self

    def prepared(self, samples: Samples) -> np.ndarray | PaddedRows:
        """Return the targets of samples as the loss takes them."""
        return samples.targets

    @property
    def output_size(self) -> int:
        """Outputs of the network."""
        raise NotImplementedError

    def loss(self, params: Mapping[str, Any], samples: Samples) -> Loss:
        """Return the loss that a training with these arguments and samples minimises."""
        raise NotImplementedError

    def metric(self, loss: Loss, out: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> float:
        """Return the validation score of the network's outputs; higher is better."""
        raise NotImplementedError

    def predictions(self, out: np.ndarray) -> np.ndarray:
        """Return what `predict` returns for the network's outputs (n, outputs)."""
        raise NotImplementedError

    def stream_results(self, out: np.ndarray) -> np.ndarray:
        """Return what a stream returns for the network's outputs (n, outputs)."""
        raise NotImplementedError

    def score(self, y: Any, out: np.ndarray, weight: Any) -> float:
        """Return what `score` returns for the network's outputs, which may be of steps, and so y."""
        raise NotImplementedError

    def content(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what a file contains of it, besides `per_step`."""
        raise NotImplementedError

    @classmethod
    def restored(
        cls: type[Self], params: Mapping[str, Any], config: Mapping[str, Any], arrays: dict[str, np.ndarray]
    ) -> Self:
        """Return what a file describes, of which nothing is trusted, and take its own arrays out of the file's."""
        raise NotImplementedError
