"""LSTMRegressor: sequences in, numbers out, as a scikit-learn estimator."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from clstm import losses
from clstm._checks import check_choice, check_positive, check_real
from clstm._package import public
from clstm.estimators import sklearn_api as scikit
from clstm.estimators.inputs import Samples, is_list, mean_and_scale, read_step_targets
from clstm.estimators.sequence import SequenceEstimator, take_scales
from clstm.train.batches import PaddedRows

LOSSES = ("mse", "huber", "quantile")


@public("clstm")
class LSTMRegressor(scikit.RegressorMixin, SequenceEstimator):
    """An LSTM that gives sequences, or each of their steps, one or several numbers; a scikit-learn estimator.

    An LSTM reads the sequence, its outputs are pooled, and a linear layer gives the numbers.

    X is what `LSTMClassifier` takes.

    y is a number for each sequence, (n,), or several, (n, outputs). Or it has these for each step: an array
    (n, time, outputs), or a list of arrays (time_i,) or (time_i, outputs). `predict` then gives the same.

    Parameters
    ----------
    loss : {"mse", "huber", "quantile"}, default "mse"
        What is minimised; see `clstm.losses`.
    quantile : float or list of float, default 0.5
        Which quantiles the quantile loss finds, above 0 and below 1; of a list, the predictions' last axis has them.
    delta : float, default 1.0
        Where the Huber loss becomes linear; with `standardize` in standard deviations of y.
    standardize : bool, default True
        Whether X's features are brought to mean 0 and standard deviation 1, of the training sequences' real steps; and
        y too, for the training.
    early_stopping : bool, default False
        As for `LSTMClassifier`, by the validation loss.
    hidden_size, num_layers, bidirectional, pooling, dropout, n_epochs, batch_size, lr, optimizer, weight_decay,
    clip_norm, schedule, embedding_dim, vocab_size, validation_fraction, n_iter_no_change, tol, warm_start, callbacks,
    dtype, num_threads, random_state, verbose
        As for `LSTMClassifier`.

    Attributes
    ----------
    validation_scores_ : list of float or None
        R2 (with the quantile loss its negative) of each epoch; None without validation.
    n_features_in_, feature_names_in_, per_step_, network_, history_, loss_curve_, n_iter_, vocabulary_
        As of `LSTMClassifier`.

    Notes
    -----
    See `LSTMClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from clstm import LSTMRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(rng.integers(5, 15), 2)) for _ in range(60)]
    >>> y = [x[:, 0].mean() for x in X]
    >>> regressor = LSTMRegressor(hidden_size=8, n_epochs=50, random_state=0).fit(X, y)
    >>> regressor.score(X, y) > 0.9
    True
    """

    _monitor, _score_name = "loss", "R2"
    _lasting = (*SequenceEstimator._lasting, "loss", "quantile")
    score = SequenceEstimator.score  # the mixin's knows neither lengths nor steps

    def __init__(
        self,
        *,
        loss: str = "mse",
        quantile: float | Sequence[float] = 0.5,
        delta: float = 1.0,
        hidden_size: int = 64,
        num_layers: int = 1,
        bidirectional: bool = True,
        pooling: str = "max",
        dropout: float = 0.0,
        n_epochs: int = 100,
        batch_size: int = 32,
        lr: float = 5e-3,
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
        self._store(locals())

    def _read_targets(self, y: Any, rows: PaddedRows, lengths: Any, reset: bool) -> np.ndarray | PaddedRows:
        per_step = _has_steps(y)
        values = read_step_targets(y, rows, lengths).values if per_step else y
        values = scikit.check_array(values, ensure_2d=False, dtype=np.float64, input_name="y")
        if values.ndim > 2:
            raise ValueError(
                f"y has shape {np.shape(y)}, expected (n,) or (n, outputs), or (n, time, outputs) of steps"
            )
        shape = values.shape[1:]
        if reset:
            self.per_step_, self._target_shape = per_step, shape
        elif (per_step, shape) != (self.per_step_, self._target_shape):
            before, now = (
                f"{('n', *('time',) * steps, *map(str, rest))}".replace("'", "")
                for steps, rest in ((self.per_step_, self._target_shape), (per_step, shape))
            )
            raise ValueError(f"y has shape {now}, expected {before}, as the y before")
        values = values.reshape(len(values), -1)
        return PaddedRows.end_to_end(values, rows.lengths) if per_step else values

    def _study(self, samples: Samples, onwards: bool) -> None:
        super()._study(samples, onwards)
        if not onwards:
            targets = samples.flat_targets()
            self._target_mean, self._target_scale = np.zeros(targets.shape[1]), np.ones(targets.shape[1])
            if self.standardize:
                self._target_mean, self._target_scale = mean_and_scale(targets, samples.flat_weight())

    def _transform(self, samples: Samples) -> None:
        super()._transform(samples)
        targets = ((samples.flat_targets() - self._target_mean) / self._target_scale).astype(self.dtype)
        samples.targets = PaddedRows.end_to_end(targets, samples.rows.lengths) if samples.per_step else targets

    def _output_size(self) -> int:
        return len(self._target_mean) * len(self._quantiles())

    def _quantiles(self) -> np.ndarray:
        """Return the quantiles that each number has an output for; of other losses, one."""
        return np.atleast_1d(self.quantile if self.loss == "quantile" else 0.5).astype(np.float64)

    def _loss(self, out: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> tuple[float, np.ndarray]:
        if self.loss == "mse":
            return losses.mse(out, targets, sample_weight=weight)
        if self.loss == "huber":
            return losses.huber(out, targets, delta=self.delta, sample_weight=weight)
        q = self._quantiles()
        repeated = np.repeat(targets, len(q), axis=-1)
        return losses.quantile(out, repeated, q=np.tile(q, len(self._target_mean)), sample_weight=weight)

    def _metric(self, out: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> float:
        if self.loss == "quantile":
            return -self._loss(out, targets, weight)[0]
        return float(scikit.r2_score(targets, out, sample_weight=weight))

    def _fitted_quantile(self) -> Any:
        """Return the quantile, or quantiles, that the last fit learnt, whatever is set for the next; else None."""
        params = self._fitted_params
        return params["quantile"] if params["loss"] == "quantile" else None

    def _predictions(self, out: np.ndarray) -> np.ndarray:
        out = out.reshape(len(out), len(self._target_mean), -1)
        out = out * self._target_scale[:, np.newaxis] + self._target_mean[:, np.newaxis]
        quantiles = out.shape[2:] if np.ndim(self._fitted_quantile()) else ()
        return out.reshape(len(out), *self._target_shape, *quantiles)

    def _score(self, y: Any, out: np.ndarray, weight: Any) -> float:
        predicted, quantile = self._predictions(out), self._fitted_quantile()
        if quantile is None:
            return scikit.r2_score(y, predicted, sample_weight=weight)
        y = np.asarray(y).reshape(len(predicted), -1)
        predicted = predicted.reshape(*y.shape, -1)
        scores = [
            scikit.d2_pinball_score(y, predicted[..., place], alpha=q, sample_weight=weight)
            for place, q in enumerate(np.atleast_1d(quantile))
        ]
        return float(np.mean(scores))

    def _step_result(self) -> Callable[[np.ndarray], np.ndarray]:
        return copy.copy(self)._predictions

    def _check_params(self) -> None:
        super()._check_params()
        check_choice("loss", self.loss, LOSSES)
        check_positive("delta", self.delta)
        for q in np.atleast_1d(self.quantile).tolist():
            if not 0 < check_real("quantile", q) < 1:
                raise ValueError(f"quantile is {q}, expected above 0 and below 1")

    def _fitted_content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        config, arrays = super()._fitted_content()
        targets = {"target.mean": self._target_mean, "target.scale": self._target_scale}
        return config | {"target_shape": list(self._target_shape)}, targets | arrays

    def _restore(self, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        arrays = dict(arrays)
        self._target_mean, self._target_scale = take_scales(arrays, "target")
        if config["target_shape"] not in ([], [len(self._target_mean)]):
            raise ValueError(f"its target_shape is {config['target_shape']!r:.40}")
        self._target_shape = tuple(config["target_shape"])
        super()._restore(config, arrays)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _has_steps(y: Any) -> bool:
    """Return whether y has numbers for each step, not for each sequence."""
    if is_list(y):
        return len(y) > 0 and isinstance(next(iter(y)), np.ndarray) and next(iter(y)).ndim > 0
    return len(getattr(y, "shape", ())) == 3
