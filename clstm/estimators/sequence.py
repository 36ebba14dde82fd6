"""What LSTMClassifier and LSTMRegressor share: arguments, training, prediction, and scikit-learn's conventions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from clstm._checks import check_choice, check_dtype, check_flag
from clstm._package import public
from clstm.estimators import base
from clstm.estimators import sklearn_api as scikit
from clstm.estimators.fitted_sequence import FittedSequence
from clstm.estimators.joblib_threads import one_thread_in_joblib_threads
from clstm.estimators.optimizers import OPTIMIZERS, SCHEDULES
from clstm.estimators.parameters import (
    AT_LEAST_1,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    PROBABILITY,
    Check,
    check_verbose,
    one_of,
    optional,
)
from clstm.estimators.random_states import check_random_state
from clstm.estimators.reading import read_step_targets
from clstm.layers.pooling import POOLINGS
from clstm.models.sequence import SequenceNetwork
from clstm.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from clstm.trace import Trace

Self = TypeVar("Self", bound="SequenceEstimator")


class NotFittedError(base.NotFittedError, scikit.NotFittedError):
    """An estimator was used before `fit`; scikit-learn knows it too."""


def _check_validation_fraction(name: str, value: Any) -> None:
    FRACTION(name, value)
    if value == 0:
        raise ValueError(f"{name} is 0, expected above 0")


def _check_schedule(name: str, value: Any) -> None:
    if not callable(value):
        check_choice(name, value, tuple(SCHEDULES))


def _check_callbacks(name: str, value: Any) -> None:
    for callback in value if isinstance(value, (list, tuple)) else [value]:
        if not callable(callback):
            raise TypeError(f"{name} holds {type(callback).__name__}, expected functions")


@public("clstm.estimators")
class SequenceEstimator(base.BaseModel, scikit.BaseEstimator):
    """Base of the estimators; what depends on y (its classes or numbers, loss, predictions) is in `Targets`."""

    _fitted: FittedSequence
    _fitted_class: ClassVar[type[FittedSequence]]
    _not_fitted_error = NotFittedError
    _checks: ClassVar[Mapping[str, Check]] = {
        "hidden_size": AT_LEAST_1,
        "num_layers": AT_LEAST_1,
        "bidirectional": check_flag,
        "pooling": one_of(POOLINGS),
        "dropout": PROBABILITY,
        "n_epochs": AT_LEAST_1,
        "batch_size": AT_LEAST_1,
        "lr": NOT_NEGATIVE,
        "optimizer": one_of(OPTIMIZERS),
        "weight_decay": NOT_NEGATIVE,
        "clip_norm": optional(POSITIVE),
        "schedule": optional(_check_schedule),
        "standardize": check_flag,
        "embedding_dim": AT_LEAST_1,
        "vocab_size": optional(AT_LEAST_1),
        "early_stopping": check_flag,
        "validation_fraction": _check_validation_fraction,
        "n_iter_no_change": AT_LEAST_1,
        "tol": NOT_NEGATIVE,
        "warm_start": check_flag,
        "callbacks": optional(_check_callbacks),
        "dtype": check_dtype,
        "num_threads": optional(AT_LEAST_1),
        "random_state": check_random_state,
        "verbose": check_verbose,
    }

    # ------------------------------------------------------------------------------------------------- training

    def fit(
        self: Self, X: Any, y: Any, sample_weight: Any = None, *, lengths: Any = None, eval_set: Any = None
    ) -> Self:
        """Learn from sequences and their targets.

        Ctrl-C ends the training and keeps what was learnt. If `fit` raises, the estimator is as it was before the call.

        Parameters
        ----------
        X
            The sequences; see the class.
        y
            A target for each sequence or for each step; see the class.
        sample_weight : array_like of shape (n,), optional
            Weights of the sequences, 0 or more, in the loss and in the mean and scale of `standardize`.
        lengths : array_like of int, shape (n,), optional
            Real steps of each row of an array; later ones are never read.
        eval_set : (X, y) or (X, y, lengths), optional
            Scored after each epoch: the weights of the best one are used, and `early_stopping` depends on it.

        Returns
        -------
        LSTMClassifier or LSTMRegressor
            Itself.

        Raises
        ------
        TypeError, ValueError
            An argument of the wrong kind, shape or range, NaN or infinity in X or y, or with `warm_start` another kind
            of X or y than before.
        FloatingPointError
            The training diverged.
        """
        return self._train(X, y, sample_weight, lengths, eval_set, go_on=self.warm_start)

    def partial_fit(self: Self, X: Any, y: Any, sample_weight: Any = None, *, lengths: Any = None) -> Self:
        """Train for one more epoch.

        The first call determines what X and y are, and the mean and scale for `standardize`; later ones use these. The
        optimiser continues with its state, but not after files and copies; `schedule` and `early_stopping` aren't used.
        Arguments and errors are those of `fit`.
        """
        return self._train(X, y, sample_weight, lengths, go_on=True, one_epoch=True)

    def _train(
        self: Self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        lengths: Any = None,
        eval_set: Any = None,
        classes: Any = None,
        *,
        go_on: bool,
        one_epoch: bool = False,
    ) -> Self:
        """Train from scratch, or continue with what was learnt before (`go_on`)."""
        from clstm.estimators.train_sequence import learn
        from clstm.estimators.training_data import Data

        data = Data(type(self).__name__, X, y, sample_weight, lengths, eval_set, classes)
        previous = self._fitted if go_on and self.__sklearn_is_fitted__() else None
        with one_thread_in_joblib_threads(self.num_threads):
            return self._learn(learn, data, self._fitted_class, previous, one_epoch)

    # ------------------------------------------------------------------------------------------- what was learnt

    @property
    def network_(self) -> SequenceNetwork:
        """The network."""
        return self._fitted.network

    @property
    def per_step_(self) -> bool:
        """Whether y has a target for each step."""
        return self._fitted.targets.per_step

    @property
    def n_features_in_(self) -> int:
        """Features of each step; of X (n, time), its columns. Texts and token ids have none."""
        found = self._fitted.input.n_features_in
        if found is None:
            raise AttributeError(f"a {type(self).__name__} of texts or token ids has no n_features_in_")
        return found

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of a data frame's columns; another X has none."""
        found = self._fitted.input.feature_names_in
        if found is None:
            raise AttributeError(f"this {type(self).__name__} wasn't fitted to a data frame whose columns have names")
        return found

    @property
    def loss_curve_(self) -> list[float]:
        """Mean training loss of each epoch."""
        return self.history_.train_loss

    @property
    def validation_scores_(self) -> list[float] | None:
        """Validation score of each epoch; None without validation."""
        return self.history_.validation_score or None

    @property
    def vocabulary_(self) -> Vocabulary | None:
        """The known words, if X is texts."""
        return self._fitted.input.vocabulary

    # ----------------------------------------------------------------------------------------------- prediction

    def predict(self, X: Any, *, lengths: Any = None) -> Any:
        """Return the predictions for all sequences, or for all of their steps.

        Parameters
        ----------
        X
            Sequences of the kind that `fit` was given.
        lengths : array_like of int, shape (n,), optional
            As for `fit`.

        Returns
        -------
        ndarray of shape (n,) or (n, outputs[, quantiles]), or of steps
            Of steps: (n, time, ...) for an array without lengths, else a list of arrays (time, ...).

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            X is of another kind, has another number of features, or holds NaN or infinity.
        """
        fitted = self._fitted
        out, rows = fitted.outputs(X, lengths, type(self).__name__)
        return fitted.as_given(fitted.targets.predictions(out), rows, X)

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, lengths: Any = None) -> float:
        """Return the accuracy of a classifier, the R2 of a regressor (with the quantile loss its D2); of all steps."""
        fitted = self._fitted
        out, rows = fitted.outputs(X, lengths, type(self).__name__)
        if fitted.targets.per_step:
            y = read_step_targets(y, rows, lengths).values
            sample_weight = None if sample_weight is None else np.repeat(sample_weight, rows.lengths)
        return float(fitted.targets.score(y, out, sample_weight))

    def trace(self, X: Any, *, lengths: Any = None) -> Trace:
        """Return the gates, cell states and outputs of the LSTM at every step, while it reads sequences.

        Parameters
        ----------
        X
            Sequences of the kind that `fit` was given. A single string is one text, whose trace has no batch axis.
        lengths : array_like of int, shape (n,), optional
            As for `fit`.

        Returns
        -------
        clstm.trace.Trace
            Of the sequences as the network reads them: standardised. That of texts has their tokens.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            As of `predict`.
        """
        return self._trace(X, lengths=lengths, estimator=type(self).__name__)

    def stream(self, batch_size: int = 1) -> Any:
        """Return a stream, which reads sequences step by step and returns the prediction after each step.

        Parameters
        ----------
        batch_size : int, default 1
            Number of sequences that are read in parallel.

        Returns
        -------
        clstm.estimators.stream.EstimatorStream

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            `bidirectional` was True: the reverse direction begins at the end, which a stream doesn't have.
        """
        from clstm.estimators.stream import EstimatorStream

        fitted = self._fitted
        return EstimatorStream(fitted.network, fitted.input, fitted.targets.stream_results, batch_size)

    # ---------------------------------------------------------------------------------------------- scikit-learn

    # Copies and pickles keep the metadata that `set_fit_request` and similar methods have requested.

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"requests": getattr(self, "_metadata_request", None)}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__(state)
        if state["requests"] is not None:
            self._metadata_request = state["requests"]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags
