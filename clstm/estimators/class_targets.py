"""Classes as targets: of sequences or of steps, with the cross-entropy as loss."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm._checks import check_flag
from clstm._core.numerics import softmax
from clstm.estimators import sklearn_api as scikit
from clstm.estimators.base import for_json
from clstm.estimators.reading import is_list, read_step_targets
from clstm.estimators.samples import Samples
from clstm.estimators.targets import Loss, Targets
from clstm.losses import cross_entropy
from clstm.train.batches import PaddedRows


@dataclass(frozen=True, eq=False, kw_only=True)
class ClassTargets(Targets):
    """Classes, of which y has labels; targets are indices among them.

    Attributes
    ----------
    classes : ndarray of shape (classes,)
        The labels, sorted.
    """

    monitor = "score"
    score_name = "accuracy"
    classes: np.ndarray

    @classmethod
    def learn(
        cls, y: Any, rows: PaddedRows, lengths: Any, params: Mapping[str, Any], classes: Any
    ) -> tuple[ClassTargets, np.ndarray | PaddedRows]:
        """Return y's classes, or those given, and each label's index among them."""
        per_step = _has_steps(y)
        labels = _read_labels(y, rows, lengths, per_step)
        found = np.unique(labels)
        learnt = cls(per_step=per_step, classes=found if classes is None else np.unique(classes))
        if len(learnt.classes) < 2:
            raise ValueError(f"y holds one class, {found.tolist()[0]!r}, expected two or more classes")
        return learnt, learnt._indices(labels, rows)

    def read(self, y: Any, rows: PaddedRows, lengths: Any) -> np.ndarray | PaddedRows:
        """Return the index of each label of another y, which must be one of the classes."""
        per_step = _has_steps(y)
        if per_step != self.per_step:
            raise ValueError(f"y has a class for each {'step' if per_step else 'sequence'}, unlike the y before")
        return self._indices(_read_labels(y, rows, lengths, per_step), rows)

    def _indices(self, labels: np.ndarray, rows: PaddedRows) -> np.ndarray | PaddedRows:
        found = np.unique(labels)
        unknown = found[~np.isin(found, self.classes)]
        if len(unknown):
            expected = self.classes.tolist()
            raise ValueError(f"y holds the class {unknown.tolist()[0]!r}, expected one of {expected!r:.100}")
        indices = np.searchsorted(self.classes, labels)
        return PaddedRows.end_to_end(indices, rows.lengths) if self.per_step else indices

    @property
    def output_size(self) -> int:
        """The number of classes."""
        return len(self.classes)

    def loss(self, params: Mapping[str, Any], samples: Samples) -> Loss:
        """Return the cross-entropy with the class weights of these arguments and samples."""
        class_weights = self._class_weights(params["class_weight"], samples)

        def loss(out: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> tuple[float, np.ndarray]:
            return cross_entropy(out, targets, weights=class_weights, sample_weight=weight)

        return loss

    def _class_weights(self, class_weight: Mapping[Any, float] | str | None, samples: Samples) -> np.ndarray | None:
        """Return the weight of each class, in the dtype of the samples' weights."""
        if class_weight is None:
            return None
        if isinstance(class_weight, Mapping):
            weights = np.array([class_weight.get(label, 1.0) for label in self.classes.tolist()])
        else:  # "balanced"
            counts = np.bincount(samples.flat_targets(), samples.flat_weight(), len(self.classes))
            weights = counts.sum() / (np.count_nonzero(counts) * np.where(counts > 0, counts, np.inf))
        return weights.astype(samples.dtype)

    def metric(self, loss: Loss, out: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> float:
        """Return the accuracy."""
        return float(np.average(out.argmax(axis=1) == targets, weights=weight))

    def predictions(self, out: np.ndarray) -> np.ndarray:
        """Return the likeliest class of each row."""
        return self.classes[out.argmax(axis=1)]

    def stream_results(self, out: np.ndarray) -> np.ndarray:
        """Return the probabilities of the classes, in float64."""
        return softmax(out, dtype=np.float64)

    def score(self, y: Any, out: np.ndarray, weight: Any) -> float:
        """Return the accuracy, as scikit-learn computes it."""
        return scikit.accuracy_score(y, self.predictions(out), sample_weight=weight)

    def content(self, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what a file contains of it, besides `per_step`."""
        config = {"classes": self.classes.tolist(), "classes_dtype": self.classes.dtype.str}
        class_weight = params["class_weight"]
        if isinstance(class_weight, Mapping):  # JSON's keys are strings, labels may be anything
            config["class_weight"] = [[for_json(label), for_json(weight)] for label, weight in class_weight.items()]
        return config, {}

    @classmethod
    def restored(
        cls, params: Mapping[str, Any], config: Mapping[str, Any], arrays: dict[str, np.ndarray]
    ) -> ClassTargets:
        """Return what a file describes."""
        labels, dtype = config["classes"], np.dtype(config["classes_dtype"])
        if not isinstance(labels, list) or len(labels) < 2 or dtype.kind not in "biufUO":
            raise ValueError("its classes aren't a list of two or more labels")
        if not all(isinstance(label, (str, int, float)) for label in labels):
            raise ValueError("its classes aren't strings or numbers")
        classes = np.array(labels, dtype)
        if classes.tolist() != np.unique(classes).tolist():
            raise ValueError("its classes aren't sorted")
        return cls(per_step=check_flag("its per_step", config["per_step"]), classes=classes)


def _has_steps(y: Any) -> bool:
    """Return whether y has a class for each step, not for each sequence."""
    if is_list(y):
        return len(y) > 0 and np.ndim(next(iter(y))) > 0
    shape: tuple[int, ...] = getattr(y, "shape", ())
    return len(shape) > 1 and shape[1] != 1


def _read_labels(y: Any, rows: PaddedRows, lengths: Any, per_step: bool) -> np.ndarray:
    """Return the labels of all sequences, or of all steps end to end."""
    labels = read_step_targets(y, rows, lengths).values if per_step else scikit.column_or_1d(y, warn=True)
    scikit.check_array(labels, ensure_2d=False, dtype=None, input_name="y")
    scikit.check_classification_targets(labels)
    return labels
