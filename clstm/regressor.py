"""LSTMRegressor: sequences in, numbers out, as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clstm import losses, scikit
from clstm.batches import PaddedRows
from clstm.estimators import Samples, SequenceEstimator, read_step_targets
from clstm.sequences import is_list, mean_and_scale

LOSSES = ("mse", "huber", "quantile")


class LSTMRegressor(scikit.RegressorMixin, SequenceEstimator):
    """An LSTM that gives each sequence, or each of its steps, one or several numbers."""

    _monitor, _score_name = "loss", "R2"

    def __init__(
        self,
        *,
        loss: str = "mse",
        quantile: float | Sequence[float] = 0.5,
        huber_delta: float = 1.0,
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
        self.loss = loss
        self.quantile = quantile
        self.huber_delta = huber_delta
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
    ) -> LSTMRegressor:
        """Learn."""
        self._fit(X, y, sample_weight, lengths, eval_set, onwards=self.warm_start)
        return self

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, *, lengths: Any = None) -> LSTMRegressor:
        """Learn one epoch more."""
        self._fit(X, y, sample_weight, lengths, None, onwards=True, one_epoch=True)
        return self

    def predict(self, X: Any, *, lengths: Any = None) -> Any:
        """Return the numbers."""
        out, rows = self._outputs(X, lengths)
        return self._as_given(self._predictions(out), rows, X)

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, lengths: Any = None) -> float:
        """Return R2 (with the quantile loss D2, its like for the pinball loss)."""
        out, rows = self._outputs(X, lengths)
        if self.per_step_:
            y = read_step_targets(y, rows, lengths).values
            if sample_weight is not None:
                sample_weight = np.repeat(sample_weight, rows.lengths)
        predicted = self._predictions(out)
        if self.loss != "quantile":
            return float(scikit.r2_score(y, predicted, sample_weight=sample_weight))
        y = np.asarray(y).reshape(len(predicted), -1)
        predicted = predicted.reshape(*y.shape, -1)
        scores = [
            scikit.d2_pinball_score(y, predicted[..., place], alpha=q, sample_weight=sample_weight)
            for place, q in enumerate(self._quantiles())
        ]
        return float(np.mean(scores))

    def _predictions(self, out: np.ndarray) -> np.ndarray:
        """Return the network's outputs in the units and the shape of y, with an axis for several quantiles."""
        out = out.reshape(len(out), len(self._target_mean), -1)
        out = out * self._target_scale[:, np.newaxis] + self._target_mean[:, np.newaxis]
        if not isinstance(self.quantile, Sequence) or self.loss != "quantile":
            out = out[..., 0]
        return out[:, 0] if self._one_column else out

    def _quantiles(self) -> np.ndarray:
        return np.atleast_1d(np.asarray(self.quantile, np.float64))

    def _check_params(self) -> None:
        super()._check_params()
        from clstm.checks import check_choice, check_positive

        check_choice("loss", self.loss, LOSSES)
        check_positive("huber_delta", self.huber_delta)

    def _read_targets(self, y: Any, rows: PaddedRows, lengths: Any, reset: bool) -> np.ndarray | PaddedRows:
        scikit.check_consistent_length(rows, y)
        per_step = _is_per_step(y)
        values = read_step_targets(y, rows, lengths).values if per_step else y
        values = scikit.check_array(values, ensure_2d=False, dtype=np.float64, input_name="y")
        one_column = values.ndim == 1
        values = values.reshape(len(values), -1)
        if reset:
            self.per_step_, self._one_column, self._num_outputs = per_step, one_column, values.shape[1]
        elif (per_step, values.shape[1]) != (self.per_step_, self._num_outputs):
            raise ValueError("y is of another shape than that of fit")
        return PaddedRows.end_to_end(values, rows.lengths) if per_step else values

    def _prepare_targets(self, samples: Samples, reset: bool) -> None:
        values = samples.flat_targets()
        if reset:
            self._target_mean, self._target_scale = np.zeros(values.shape[1]), np.ones(values.shape[1])
            if self.standardize:
                self._target_mean, self._target_scale = mean_and_scale(values, samples.flat_weight())
        values = ((values - self._target_mean) / self._target_scale).astype(self.dtype)
        if isinstance(samples.targets, PaddedRows):
            samples.targets.values = values
        else:
            samples.targets = values

    def _output_size(self) -> int:
        return self._num_outputs * (len(self._quantiles()) if self.loss == "quantile" else 1)

    def _loss(self, out, targets, weight):
        if self.loss == "mse":
            return losses.mse(out, targets, sample_weight=weight)
        if self.loss == "huber":
            return losses.huber(out, targets, delta=self.huber_delta, sample_weight=weight)
        q = self._quantiles()
        return losses.quantile(
            out,
            np.repeat(targets, len(q), axis=-1),
            q=np.tile(q, self._num_outputs),
            sample_weight=weight,
        )

    def _metric(self, out, targets, weight):
        if self.loss == "quantile":
            return -self._loss(out, targets, None if weight is None else weight.astype(out.dtype))[0]
        return float(scikit.r2_score(targets, out, sample_weight=weight))

    def _fitted_content(self):
        config, arrays = super()._fitted_content()
        arrays = {"target.mean": self._target_mean, "target.scale": self._target_scale, **arrays}
        return {**config, "one_column": self._one_column}, arrays

    def _restore(self, config, arrays):
        arrays = dict(arrays)
        self._one_column = config["one_column"]
        self._target_mean, self._target_scale = arrays.pop("target.mean"), arrays.pop("target.scale")
        self._num_outputs = len(self._target_mean)
        super()._restore(config, arrays)


def _is_per_step(y: Any) -> bool:
    if is_list(y):
        return len(y) > 0 and len(getattr(y[0], "shape", ())) > 0
    return len(getattr(y, "shape", ())) == 3
