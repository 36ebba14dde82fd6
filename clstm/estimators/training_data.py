"""The data of a call of an estimator's `fit`: read, divided, and prepared for network and loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from clstm.estimators import sklearn_api as scikit
from clstm.estimators.inputs import KINDS, Input
from clstm.estimators.reading import kind_of
from clstm.estimators.samples import Samples, check_sample_weight
from clstm.estimators.targets import Targets
from clstm.train.batches import PaddedRows


@dataclass(frozen=True)
class Data:
    """The arguments of a call of `fit` or `partial_fit`.

    Attributes
    ----------
    estimator : str
        The name of its class, for errors.
    X, y, sample_weight, lengths, eval_set, classes
        As in the call; None if it has no such argument.
    """

    estimator: str
    X: Any
    y: Any
    sample_weight: Any = None
    lengths: Any = None
    eval_set: Any = None
    classes: Any = None

    def read_first(self, params: Mapping[str, Any], targets_class: type[Targets]) -> tuple[Samples, Input, Targets]:
        """Return the training samples, floats as they are, and what X and y are."""
        self._check_y(self.y)
        inputs, rows = KINDS[kind_of(self.X)].learn(self.X, self.lengths, params["vocab_size"], self.estimator)
        scikit.check_consistent_length(rows, self.y)
        targets, values = targets_class.learn(self.y, rows, self.lengths, params, self.classes)
        return _weighted(rows, values, self.sample_weight, params), inputs, targets

    def read(self, params: Mapping[str, Any], inputs: Input, targets: Targets) -> Samples:
        """Return the training samples, floats as they are, where X and y must be what they were before."""
        return self._read(params, inputs, targets, self.X, self.y, self.sample_weight, self.lengths)

    def read_eval_set(self, params: Mapping[str, Any], inputs: Input, targets: Targets) -> Samples:
        """Return the samples of `eval_set`, floats as they are."""
        eval_set = self.eval_set
        if not isinstance(eval_set, (tuple, list)) or len(eval_set) not in (2, 3):
            raise TypeError(f"eval_set is {type(eval_set).__name__}, expected (X, y) or (X, y, lengths)")
        X, y, *lengths = eval_set
        return self._read(params, inputs, targets, X, y, None, *lengths)

    def _read(
        self,
        params: Mapping[str, Any],
        inputs: Input,
        targets: Targets,
        X: Any,
        y: Any,
        sample_weight: Any,
        lengths: Any = None,
    ) -> Samples:
        self._check_y(y)
        rows = inputs.read(X, lengths, self.estimator)
        scikit.check_consistent_length(rows, y)
        return _weighted(rows, targets.read(y, rows, lengths), sample_weight, params)

    def _check_y(self, y: Any) -> None:
        if y is None:  # the words are scikit-learn's, whose checks look for them
            raise ValueError(f"This {self.estimator} estimator requires y to be passed, but the target y is None")


def _weighted(
    rows: PaddedRows, values: np.ndarray | PaddedRows, sample_weight: Any, params: Mapping[str, Any]
) -> Samples:
    """Return the samples whose weight isn't 0."""
    dtype = np.dtype(params["dtype"])
    weight = check_sample_weight(sample_weight, len(rows), dtype)
    samples = Samples(rows, values, weight, dtype)
    return samples if weight is None or weight.all() else samples.take(np.flatnonzero(weight))


def hold_out(samples: Samples, fraction: float, generator: np.random.Generator) -> tuple[Samples, Samples]:
    """Return the samples to train on, and those to validate on."""
    count = round(fraction * len(samples))
    if not 0 < count < len(samples):
        raise ValueError(
            f"validation_fraction is {fraction}, which of {len(samples)} samples leaves {len(samples) - count} to "
            f"train and {count} to validate with; give eval_set, or early_stopping=False"
        )
    order = generator.permutation(len(samples))
    return samples.take(np.sort(order[count:])), samples.take(np.sort(order[:count]))


def prepared(samples: Samples, inputs: Input, targets: Targets) -> Samples:
    """Return the samples as network and loss take them."""
    rows = inputs.prepared(samples.rows, samples.dtype)
    return replace(samples, rows=rows, targets=targets.prepared(samples))
