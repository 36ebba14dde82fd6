"""LSTMRegressor: sequences in, numbers out, as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from clstm._checks import check_real
from clstm._package import public
from clstm.estimators import sklearn_api as scikit
from clstm.estimators.fitted_sequence import FittedSequence
from clstm.estimators.number_targets import NumberTargets
from clstm.estimators.parameters import POSITIVE, Check, one_of
from clstm.estimators.sequence import SequenceEstimator

LOSSES = ("mse", "huber", "quantile")


class FittedRegressor(FittedSequence):
    """What one `fit` or `partial_fit` of an LSTMRegressor learnt."""

    targets_class = NumberTargets
    targets: NumberTargets


def _check_quantile(name: str, value: Any) -> None:
    for q in np.atleast_1d(value).tolist():
        if not 0 < check_real(name, q) < 1:
            raise ValueError(f"{name} is {q}, expected above 0 and below 1")


@public("clstm")
class LSTMRegressor(scikit.RegressorMixin, SequenceEstimator):
    """An LSTM that predicts one or several numbers for sequences, or for each of their steps; a scikit-learn estimator.

    An LSTM reads the sequence, its outputs are pooled, and a linear layer computes the numbers.

    X has the forms that `LSTMClassifier` takes.

    y is a number for each sequence, (n,), or several, (n, outputs). Or it has these for each step: an array
    (n, time, outputs), or a list of arrays (time_i,) or (time_i, outputs). `predict` returns the same form then.

    Parameters
    ----------
    loss : {"mse", "huber", "quantile"}, default "mse"
        What training minimises; see `clstm.losses`.
    quantile : float or list of float, default 0.5
        Quantiles that the quantile loss learns, above 0 and below 1; those of a list are the predictions' last axis.
    delta : float, default 1.0
        Where the Huber loss becomes linear; with `standardize` in standard deviations of y.
    standardize : bool, default True
        Whether X's features are scaled to mean 0 and standard deviation 1 over the training sequences' real steps; in
        training, y is, too.
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

    _fitted_class = FittedRegressor
    _checks: ClassVar[Mapping[str, Check]] = {
        "loss": one_of(LOSSES),
        "quantile": _check_quantile,
        "delta": POSITIVE,
        **SequenceEstimator._checks,
    }
    score = SequenceEstimator.score  # that of the mixin has no lengths, and no numbers of steps

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

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
