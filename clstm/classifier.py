"""LSTMClassifier: sequences in, classes out, as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from clstm import scikit
from clstm.batches import PaddedRows
from clstm.estimators import Samples, SequenceEstimator, read_step_targets
from clstm.losses import cross_entropy
from clstm.sequences import is_list, softmax


class LSTMClassifier(scikit.ClassifierMixin, SequenceEstimator):
    """An LSTM that gives each sequence, or each of its steps, a class."""

    _monitor, _score_name = "score", "accuracy"

    def __init__(
        self,
        *,
        hidden_size: int = 64,
        num_layers: int = 1,
        bidirectional: bool = True,
        pooling: str = "mean",
        dropout: float = 0.0,
        n_epochs: int = 100,
        batch_size: int = 32,
        lr: float = 3e-3,
        optimizer: str = "adam",
        weight_decay: float = 0.0,
        clip_norm: float | None = 1.0,
        schedule: Any = "one_cycle",
        class_weight: Mapping[Any, float] | str | None = None,
        standardize: bool = True,
        embedding_dim: int = 64,
        vocab_size: int | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 0.0,
        warm_start: bool = False,
        callbacks: Any = None,
        dtype: Any = "float32",
        num_threads: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.pooling = pooling
        self.dropout = dropout
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.schedule = schedule
        self.class_weight = class_weight
        self.standardize = standardize
        self.embedding_dim = embedding_dim
        self.vocab_size = vocab_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.warm_start = warm_start
        self.callbacks = callbacks
        self.dtype = dtype
        self.num_threads = num_threads
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, lengths: Any = None, eval_set: Any = None
    ) -> LSTMClassifier:
        """Learn."""
        self._fit(X, y, sample_weight, lengths, eval_set, onwards=self.warm_start)
        return self

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None, *, lengths: Any = None
    ) -> LSTMClassifier:
        """Learn one epoch more."""
        self._given_classes = classes
        try:
            self._fit(X, y, sample_weight, lengths, None, onwards=True, one_epoch=True)
        finally:
            vars(self).pop("_given_classes", None)
        return self

    def predict(self, X: Any, *, lengths: Any = None) -> Any:
        """Return the likeliest class of each sequence, or of each step."""
        out, rows = self._outputs(X, lengths)
        return self._as_given(self.classes_[out.argmax(axis=-1)], rows, X)

    def predict_proba(self, X: Any, *, lengths: Any = None) -> Any:
        """Return the probability of each class."""
        out, rows = self._outputs(X, lengths)
        return self._as_given(softmax(out), rows, X)

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, lengths: Any = None) -> float:
        """Return the accuracy."""
        out, rows = self._outputs(X, lengths)
        predicted = self.classes_[out.argmax(axis=-1)]
        if self.per_step_:
            y = read_step_targets(y, rows, lengths).values
            if sample_weight is not None:
                sample_weight = np.repeat(sample_weight, rows.lengths)
        return float(scikit.accuracy_score(y, predicted, sample_weight=sample_weight))

    def _read_targets(self, y: Any, rows: PaddedRows, lengths: Any, reset: bool) -> np.ndarray | PaddedRows:
        scikit.check_consistent_length(rows, y)
        per_step = _is_per_step(y)
        if reset:
            self.per_step_ = per_step
        elif per_step != self.per_step_:
            raise ValueError(f"y has a class for each {'step' if per_step else 'sequence'}, unlike that of fit")
        if per_step:
            targets = read_step_targets(y, rows, lengths)
            labels = targets.values
        else:
            labels = scikit.column_or_1d(y, warn=True)
        scikit.check_array(labels, ensure_2d=False, dtype=None, input_name="y")
        scikit.check_classification_targets(labels)
        classes = getattr(self, "_given_classes", None) if reset else self.classes_
        found = np.unique(labels)
        if classes is None:
            classes = found
        classes = np.unique(classes)
        unknown = np.setdiff1d(found, classes)
        if len(unknown):
            raise ValueError(f"y holds {unknown[0]!r}, expected one of the classes {classes.tolist()!r:.100}")
        if reset:
            if len(classes) < 2:
                raise ValueError(f"y holds one class, {classes[0]!r}, expected two or more classes")
            self.classes_ = classes
        places = np.searchsorted(self.classes_, labels)
        return PaddedRows.end_to_end(places, rows.lengths) if per_step else places

    def _output_size(self) -> int:
        return len(self.classes_)

    def _prepare_targets(self, samples: Samples, reset: bool) -> None:
        if reset or not hasattr(self, "_class_weights"):
            self._class_weights = self._find_class_weights(samples)

    def _find_class_weights(self, samples: Samples) -> np.ndarray | None:
        if self.class_weight is None:
            return None
        if isinstance(self.class_weight, str):
            counts = np.bincount(samples.flat_targets(), samples.flat_weight(), len(self.classes_))
            weights = counts.sum() / (len(counts) * np.where(counts > 0, counts, np.inf))
        else:
            weights = np.array([self.class_weight.get(label, 1.0) for label in self.classes_.tolist()])
        return weights.astype(self.dtype)

    def _loss(self, out, targets, weight):
        return cross_entropy(out, targets, weights=self._class_weights, sample_weight=weight)

    def _metric(self, out, targets, weight):
        return float(np.average(out.argmax(axis=-1) == targets, weights=weight))

    def _fitted_content(self):
        config, arrays = super()._fitted_content()
        labels = {"dtype": self.classes_.dtype.str if self.classes_.dtype != object else "O"}
        return {**config, "classes": self.classes_.tolist(), "classes_dtype": labels["dtype"]}, arrays

    def _restore(self, config, arrays):
        self.classes_ = np.array(config["classes"], dtype=config["classes_dtype"])
        super()._restore(config, arrays)


def _is_per_step(y: Any) -> bool:
    if is_list(y):
        return len(y) > 0 and len(getattr(y[0], "shape", ()) or (0,) * isinstance(y[0], (list, tuple))) > 0
    shape = getattr(y, "shape", ())
    return len(shape) > 1 and shape[1] != 1
