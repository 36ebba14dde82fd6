"""What LSTMClassifier and LSTMRegressor share: X in all its forms, training, files, and scikit-learn's conventions."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from clstm._checks import (
    as_array,
    check_array,
    check_choice,
    check_dtype,
    check_flag,
    check_fraction,
    check_index,
    check_positive,
    check_real,
    random_generator,
)
from clstm._core import threads
from clstm._package import public
from clstm.estimators import base
from clstm.estimators import sklearn_api as scikit
from clstm.estimators.inputs import (
    KINDS,
    Input,
    Samples,
    check_finite,
    cut_to_lengths,
    is_list,
    kind_of,
    mean_and_scale,
    read_floats,
    read_ids,
    read_step_targets,
    run,
)
from clstm.layers.pooling import POOLINGS
from clstm.models.base import restored
from clstm.models.sequence import SequenceNetwork
from clstm.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from clstm.schedules import CosineLR, Schedule, WarmUp
from clstm.text.vocabulary import Vocabulary, check_texts
from clstm.train.batches import BucketedBatches, PaddedRows
from clstm.train.history import History
from clstm.train.loop import fit

if TYPE_CHECKING:
    from clstm.trace import Trace

Self = TypeVar("Self", bound="SequenceEstimator")

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "sgd": lambda network, **options: SGD(network, momentum=0.9, nesterov=True, **options),
}

WARM_UP = 0.1  # share of the steps


def _one_cycle(optimizer: Optimizer, steps: int) -> Schedule:
    warm_up = max(1, round(WARM_UP * steps))
    return WarmUp(optimizer, warm_up, CosineLR(optimizer, max(1, steps - warm_up)))


SCHEDULES: dict[str, Callable[[Optimizer, int], Schedule]] = {"cosine": CosineLR, "one_cycle": _one_cycle}


class NotFittedError(base.NotFittedError, scikit.NotFittedError):
    """An estimator was used before `fit`; scikit-learn knows it too."""


@public("clstm.estimators")
class SequenceEstimator(base.BaseModel, scikit.BaseEstimator):
    """Base of the estimators; a subclass says what y is, which loss there is, and what the outputs mean.

    Beside what ends in an underscore, `_input` says what X was, and `_training` holds what `partial_fit` goes on with;
    files, copies and pickles are without the latter.
    """

    # Arguments that can't change while what was learnt is gone on with.
    _lasting: tuple[str, ...] = (
        "hidden_size", "num_layers", "bidirectional", "pooling", "embedding_dim", "vocab_size", "dtype",
    )  # fmt: skip

    _monitor = "score"  # by which of loss and score the best epoch is found
    _score_name = "score"

    # --------------------------------------------------------------------------------------- for the subclasses

    def _read_targets(self, y: Any, rows: PaddedRows, lengths: Any, reset: bool) -> np.ndarray | PaddedRows:
        """Return y as the network's targets; `reset` says that nothing is known of it yet."""
        raise NotImplementedError

    def _output_size(self) -> int:
        raise NotImplementedError

    def _loss(self, out: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> tuple[float, np.ndarray]:
        """Return the loss of the network's outputs, and its gradient."""
        raise NotImplementedError

    def _metric(self, out: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> float:
        """Return the validation score of the network's outputs; higher is better."""
        raise NotImplementedError

    def _predictions(self, out: np.ndarray) -> np.ndarray:
        """Return what `predict` says for the network's outputs (n, outputs)."""
        raise NotImplementedError

    def _score(self, y: Any, out: np.ndarray, weight: Any) -> float:
        """Return what `score` says for the network's outputs, which may be of steps, and so y."""
        raise NotImplementedError

    # ------------------------------------------------------------------------------------------------- training

    def fit(
        self: Self, X: Any, y: Any, sample_weight: Any = None, *, lengths: Any = None, eval_set: Any = None
    ) -> Self:
        """Learn from sequences and their targets.

        Ctrl-C ends the training and keeps what was learnt. If an exception ends it, the estimator stays as it was.

        Parameters
        ----------
        X
            The sequences; see the class.
        y
            A target for each sequence or for each step; see the class.
        sample_weight : array_like of shape (n,), optional
            Weights of the sequences, 0 or more, in the loss and in what `standardize` finds.
        lengths : array_like of int, shape (n,), optional
            Real steps of each row of an array; what lies past them is never read.
        eval_set : (X, y) or (X, y, lengths), optional
            Scored after each epoch: the weights of the best one are kept, and `early_stopping` goes by it.

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
        return self._fit(X, y, sample_weight, lengths, eval_set, onwards=self.warm_start)

    def partial_fit(self: Self, X: Any, y: Any, sample_weight: Any = None, *, lengths: Any = None) -> Self:
        """Learn for one epoch, going on from what was learnt before.

        The first call finds mean and scale for `standardize`, and what X and y are; all later ones go by these. The
        optimiser's state is carried on, but not through files and copies; `schedule` and `early_stopping` have no part.
        Takes and raises what `fit` does.
        """
        return self._fit(X, y, sample_weight, lengths, None, onwards=True, one_epoch=True)

    def _fit(self, X, y, sample_weight, lengths, eval_set, *, onwards: bool, one_epoch: bool = False):
        """Train: from the start, or `onwards` from what was learnt before. An exception leaves all as it was."""
        self._check_params()
        onwards = onwards and hasattr(self, "network_")
        for name in self._lasting if onwards else ():
            now, then = getattr(self, name), self._fitted_params[name]
            if not np.array_equal(now, then):
                raise ValueError(f"{name} is {now!r}, but what was learnt, and shall be gone on with, has {then!r}")
        before = dict(vars(self))
        try:
            with self._threads():
                self._train(X, y, sample_weight, lengths, eval_set, onwards, one_epoch)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise
        return self

    def _train(self, X, y, sample_weight, lengths, eval_set, onwards: bool, one_epoch: bool) -> None:
        samples = self._read_samples(X, y, sample_weight, lengths, reset=not onwards)
        network = optimizer = validation = schedule = None
        # What is gone on with is copied: should this fail, the model is as it was.
        if onwards and one_epoch and hasattr(self, "_training"):
            network, optimizer, generator = copy.deepcopy(self._training)
            optimizer.lr = self.lr  # a schedule has ended elsewhere
        else:
            generator = _generator(self.random_state)
            if onwards:
                network = copy.deepcopy(self.network_)
        if eval_set is not None:
            validation = self._read_samples(*_check_eval_set(eval_set), reset=False)
        elif self.early_stopping and not one_epoch:
            samples, validation = self._hold_out(samples, generator)
        self._study(samples, onwards)
        for some in (samples, validation):
            if some is not None:
                self._transform(some)
        network = network or self._make_network(generator)
        optimizer = optimizer or OPTIMIZERS[self.optimizer](network, lr=self.lr, weight_decay=self.weight_decay)

        def loss_step(some: np.ndarray) -> tuple[float, Mapping[str, np.ndarray]]:
            x, row_lengths, targets, weight = samples.batch(some)
            out, _, context = network.forward_train(x, lengths=row_lengths)
            loss, dout = self._loss(out, targets, weight)
            return loss, network.backward(context, dout).weights

        def validate() -> tuple[float, float]:
            out, targets, weight = run(network, validation.rows), validation.flat_targets(), validation.flat_weight()
            return self._loss(out, targets, weight)[0], self._metric(out, targets, weight)

        batches = [np.arange(len(samples))]
        if len(samples) > self.batch_size:
            batches = BucketedBatches(samples.rows.lengths, self.batch_size, seed=generator)
        n_epochs = 1 if one_epoch else self.n_epochs
        if self.schedule is not None and not one_epoch:
            make = SCHEDULES[self.schedule] if isinstance(self.schedule, str) else self.schedule
            schedule = make(optimizer, n_epochs * len(batches))
        history = fit(
            optimizer,
            loss_step,
            batches,
            n_epochs=n_epochs,
            validate=None if validation is None else validate,
            monitor=self._monitor,
            patience=self.n_iter_no_change if self.early_stopping and validation is not None else None,
            tol=self.tol,
            clip_norm=self.clip_norm,
            schedule=schedule,
            schedule_every="batch",
            callback=self._call_back,
            score_name=self._score_name,
            verbose=int(self.verbose),
        )
        self.history_ = self.history_.followed_by(history) if onwards and one_epoch else history
        self.network_ = network
        self._training = network, optimizer, generator

    def _read_samples(self, X, y, sample_weight=None, lengths=None, *, reset: bool) -> Samples:
        """Return the samples that have weight, floats as they are."""
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None")
        rows = self._read(X, lengths, reset=reset)
        scikit.check_consistent_length(rows, y)
        targets = self._read_targets(y, rows, lengths, reset)
        dtype = np.dtype(self.dtype)
        weight = _check_sample_weight(sample_weight, len(rows), dtype)
        samples = Samples(rows, targets, weight, dtype)
        return samples if weight is None or weight.all() else samples.take(np.flatnonzero(weight))

    def _hold_out(self, samples: Samples, generator: np.random.Generator) -> tuple[Samples, Samples]:
        """Return the samples to train on, and those to validate on."""
        count = round(self.validation_fraction * len(samples))
        if not 0 < count < len(samples):
            raise ValueError(
                f"validation_fraction is {self.validation_fraction}, which of {len(samples)} samples leaves "
                f"{len(samples) - count} to train and {count} to validate with; give eval_set, or early_stopping=False"
            )
        order = generator.permutation(len(samples))
        return samples.take(np.sort(order[count:])), samples.take(np.sort(order[:count]))

    def _study(self, samples: Samples, onwards: bool) -> None:
        """Find what is to be known of all samples before the training; `onwards`, the scales are known already."""
        if onwards or self._input.num_ids is not None:
            return
        width = samples.rows.values.shape[1]
        mean, scale = np.zeros(width), np.ones(width)
        if self.standardize:
            mean, scale = mean_and_scale(samples.rows.values, samples.step_weight())
        self._input = Input(self._input.kind, mean=mean, scale=scale)

    def _transform(self, samples: Samples) -> None:
        """Make the samples, in place, what the network takes."""
        samples.rows = self._standardized(samples.rows, np.dtype(self.dtype))

    def _standardized(self, rows: PaddedRows, dtype: np.dtype) -> PaddedRows:
        if self._input.num_ids is not None:
            return rows
        rows = PaddedRows.end_to_end(self._input.standardized(rows.values, dtype), rows.lengths)
        check_finite("X", rows, " when standardised")
        return rows

    def _make_network(self, generator: np.random.Generator) -> SequenceNetwork:
        sizes = self._sizes()
        return SequenceNetwork(
            **sizes,
            dropout=self.dropout,
            pooling=None if self.per_step_ else self.pooling,
            input_dropout=0.0 if sizes["vocab_size"] is None else self.dropout,
            output_dropout=self.dropout,
            dtype=self.dtype,
            seed=generator,
            num_threads=self.num_threads,
        )

    def _sizes(self) -> dict[str, Any]:
        """Return all that the weights' shapes depend on."""
        num_ids = self._input.num_ids
        return {
            "input_size": len(self._input.mean) if num_ids is None else self.embedding_dim,
            "hidden_size": self.hidden_size,
            "output_size": self._output_size(),
            "num_layers": self.num_layers,
            "vocab_size": num_ids,
            "bidirectional": self.bidirectional,
        }

    def _callbacks(self) -> list[Callable[[History], bool | None]]:
        if self.callbacks is None:
            return []
        return list(self.callbacks) if isinstance(self.callbacks, (list, tuple)) else [self.callbacks]

    def _call_back(self, history: History) -> bool:
        wishes = [callback(history) for callback in self._callbacks()]
        return any(wishes)

    def _threads(self) -> AbstractContextManager[None]:
        """Take one thread in a task that joblib runs in a thread, beside others; its processes are told by it."""
        if self.num_threads is None and threading.current_thread() is not threading.main_thread():
            from joblib.parallel import get_active_backend

            if get_active_backend()[0].nesting_level:
                return threads.at_most(1)
        return nullcontext()

    # -------------------------------------------------------------------------------------------- what was learnt

    @property
    def loss_curve_(self) -> list[float]:
        """Mean training loss of each epoch."""
        return self._fitted_history().train_loss

    @property
    def validation_scores_(self) -> list[float] | None:
        """Validation score of each epoch; None where there was no validation."""
        return self._fitted_history().validation_score or None

    @property
    def n_iter_(self) -> int:
        """Epochs that were ended."""
        return self._fitted_history().n_epochs

    @property
    def vocabulary_(self) -> Vocabulary | None:
        """The words known, of an estimator that was given texts."""
        self._check_fitted()
        return self._input.vocabulary

    def _fitted_history(self) -> History:
        self._check_fitted()
        return self.history_

    # ----------------------------------------------------------------------------------------------- prediction

    def predict(self, X: Any, *, lengths: Any = None) -> Any:
        """Return what is predicted for each sequence, or for each step.

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
        out, rows = self._outputs(X, lengths)
        return self._as_given(self._predictions(out), rows, X)

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, lengths: Any = None) -> float:
        """Return the accuracy of a classifier, the R2 of a regressor (with the quantile loss its D2); of all steps."""
        out, rows = self._outputs(X, lengths)
        if self.per_step_:
            y = read_step_targets(y, rows, lengths).values
            sample_weight = None if sample_weight is None else np.repeat(sample_weight, rows.lengths)
        return float(self._score(y, out, sample_weight))

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
            Of the sequences as the network reads them: standardised. Of texts, with their tokens.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            As of `predict`.
        """
        return self._trace(X, lengths=lengths)

    def _read_to_trace(self, X: Any, lengths: Any = None) -> tuple[np.ndarray, np.ndarray, list[list[str]] | None]:
        rows = self._standardized(self._read(X, lengths), self.network_.dtype)
        vocabulary = self._input.vocabulary
        tokens = None if vocabulary is None else [vocabulary.tokens(text) for text in X]
        return *rows.batch(np.arange(len(rows))), tokens

    def stream(self, batch_size: int = 1) -> Any:
        """Return a stream, which takes sequences step by step and says at each step what is predicted so far.

        Parameters
        ----------
        batch_size : int, default 1
            Sequences, side by side.

        Returns
        -------
        clstm.estimators.stream.EstimatorStream

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            `bidirectional` is True: a reverse direction begins at the end, which a stream doesn't have.
        """
        from clstm.estimators.stream import EstimatorStream

        self._check_fitted()
        return EstimatorStream(self.network_, self._input, self._step_result(), batch_size)

    def _step_result(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return what turns the network's outputs (n, outputs) into a stream's results."""
        raise NotImplementedError

    def _outputs(self, X: Any, lengths: Any) -> tuple[np.ndarray, PaddedRows]:
        """Return the network's outputs for X, one for each row or (end to end) each step, and X's rows."""
        self._check_fitted()
        rows = self._standardized(self._read(X, lengths), self.network_.dtype)
        with self._threads():
            return run(self.network_, rows), rows

    def _as_given(self, values: np.ndarray, rows: PaddedRows, X: Any) -> Any:
        """Return values of rows as they are, those of steps as X has its steps: one array, or a list of arrays."""
        if not self.per_step_:
            return values
        if not is_list(X) and (rows.lengths == rows.lengths[0]).all():
            return values.reshape(len(rows), -1, *values.shape[1:])
        return np.split(values, np.cumsum(rows.lengths)[:-1])

    def _read(self, X: Any, lengths: Any = None, *, reset: bool = False) -> PaddedRows:
        """Return X as rows, floats as they are; with `reset`, note what X is."""
        kind = kind_of(X)
        if reset:
            for name in ("n_features_in_", "feature_names_in_"):
                vars(self).pop(name, None)
        elif kind == "table" and self._input.kind == "sequences" and self.n_features_in_ == 1:
            X, kind = as_array("X", X)[:, :, np.newaxis], "sequences"  # one channel, as of lists that are alike
        elif kind != self._input.kind:
            raise ValueError(f"X holds {KINDS[kind]}, expected {KINDS[self._input.kind]}, as fit was given")
        if lengths is not None and kind in ("ids", "texts"):
            raise ValueError(f"lengths is given, but X holds {KINDS[kind]}, which have lengths of their own")
        if kind == "table":
            X = scikit.validate_data(self, X, dtype=[np.float64, np.float32], reset=reset)
            rows, found = cut_to_lengths(X[:, :, np.newaxis], lengths), Input(kind)
        elif kind == "sequences":
            rows, found = read_floats(X, lengths), Input(kind)
            width = rows.values.shape[1]
            if reset:
                self.n_features_in_ = width
            elif width != self.n_features_in_:
                # In the words of scikit-learn, which looks for them.
                name, expected = type(self).__name__, self.n_features_in_
                raise ValueError(f"X has {width} features, but {name} is expecting {expected} features as input")
        elif kind == "texts":
            texts = check_texts("X", X)
            vocabulary = Vocabulary.from_texts(texts, self.vocab_size) if reset else self._input.vocabulary
            rows = PaddedRows([vocabulary.encode(text) for text in texts], vocabulary.PADDING)
            found = Input(kind, len(vocabulary), vocabulary)
        else:
            rows = read_ids(X, self.vocab_size if reset else self._input.num_ids)
            found = Input(kind, self.vocab_size or int(rows.values.max(initial=0)) + 1)
        if reset:
            self._input = found
        return rows

    # ------------------------------------------------------------------------------------------------- arguments

    def _check_params(self) -> None:
        for name in ("hidden_size", "num_layers", "n_epochs", "batch_size", "n_iter_no_change", "embedding_dim"):
            check_index(name, getattr(self, name), low=1)
        for name in ("bidirectional", "standardize", "early_stopping", "warm_start"):
            check_flag(name, getattr(self, name))
        check_real("dropout", self.dropout, low=0.0, high=1.0)
        for name in ("lr", "weight_decay", "tol"):
            check_real(name, getattr(self, name), low=0.0)
        if check_fraction("validation_fraction", self.validation_fraction) == 0:
            raise ValueError("validation_fraction is 0, expected above 0")
        if self.clip_norm is not None:
            check_positive("clip_norm", self.clip_norm)
        for name in ("num_threads", "vocab_size"):
            if getattr(self, name) is not None:
                check_index(name, getattr(self, name), low=1)
        check_choice("pooling", self.pooling, tuple(POOLINGS))
        check_choice("optimizer", self.optimizer, tuple(OPTIMIZERS))
        if self.schedule is not None and not callable(self.schedule):
            check_choice("schedule", self.schedule, tuple(SCHEDULES))
        callbacks = (
            self.callbacks if isinstance(self.callbacks, (list, tuple)) else [self.callbacks or (lambda _: None)]
        )
        for callback in callbacks:
            if not callable(callback):
                raise TypeError(f"callbacks holds {type(callback).__name__}, expected functions")
        check_dtype("dtype", self.dtype)
        _generator(self.random_state, draw=False)
        if not isinstance(self.verbose, bool):
            check_index("verbose", self.verbose, low=0)

    def _check_fitted(self) -> None:
        try:
            super()._check_fitted()
        except base.NotFittedError as error:
            raise NotFittedError(str(error)) from None

    # ----------------------------------------------------------------------------------------------------- files

    def _fitted_content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        names, vocabulary = getattr(self, "feature_names_in_", None), self._input.vocabulary
        config = {
            "kind": self._input.kind,
            "n_features_in": getattr(self, "n_features_in_", None),
            "feature_names_in": None if names is None else names.tolist(),
            "num_ids": self._input.num_ids,
            "vocabulary": None if vocabulary is None else vocabulary.to_dict(),
            "per_step": self.per_step_,
            "history": self.history_.as_dict(),
        }
        arrays = {"input.mean": self._input.mean, "input.scale": self._input.scale}
        return config, arrays | self.network_.parameters()

    def _restore(self, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        arrays = dict(arrays)
        mean, scale = take_scales(arrays, "input")
        kind = check_choice("its kind", config["kind"], tuple(KINDS))
        vocabulary, num_ids = None, None
        if kind == "texts":
            vocabulary = Vocabulary.from_dict(config["vocabulary"])
            num_ids = len(vocabulary)
        elif kind == "ids":
            num_ids = check_index("its num_ids", config["num_ids"], low=1)
        else:
            low, high = (1, None) if kind == "table" else (len(mean), len(mean))
            self.n_features_in_ = check_index("its n_features_in", config["n_features_in"], low, high)
        names = config["feature_names_in"]
        if names is not None:
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError("its feature_names_in aren't strings")
            self.feature_names_in_ = np.array(names, object)
        self.per_step_ = check_flag("its per_step", config["per_step"])
        self.history_ = History.from_dict(config["history"])
        self._input = Input(kind, num_ids, vocabulary, mean, scale)
        self.network_ = restored(lambda: self._make_network(random_generator(0)), arrays, self.num_layers)

    # What set_fit_request and its like have asked for stays with copies and pickles.

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"requests": getattr(self, "_metadata_request", None)}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        super().__setstate__(state)
        if state["requests"] is not None:
            self._metadata_request = state["requests"]

    # ---------------------------------------------------------------------------------------------- scikit-learn

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


def take_scales(arrays: dict[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Take ``name.mean`` and ``name.scale`` out of a file's arrays, checked."""
    mean, scale = (arrays.pop(f"{name}.{what}") for what in ("mean", "scale"))
    check_array(f"{name}.mean", mean, np.dtype(np.float64), [("features", None)])
    check_array(f"{name}.scale", scale, np.dtype(np.float64), [("features", len(mean))])
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError(f"{name}.mean and {name}.scale aren't finite, or a scale isn't above 0")
    return mean, scale


def _check_sample_weight(sample_weight: Any, count: int, dtype: np.dtype) -> np.ndarray | None:
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


def _check_eval_set(eval_set: Any) -> tuple[Any, ...]:
    """Return X, y, no weights, and lengths if there are any."""
    if not isinstance(eval_set, (tuple, list)) or len(eval_set) not in (2, 3):
        raise TypeError(f"eval_set is {type(eval_set).__name__}, expected (X, y) or (X, y, lengths)")
    X, y, *lengths = eval_set
    return X, y, None, *lengths


def _generator(random_state: Any, draw: bool = True) -> np.random.Generator | None:
    """Return a generator for scikit-learn's random_state: an int, None, a RandomState or a Generator."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31)) if draw else None
    try:
        return random_generator(random_state)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("seed", "random_state", 1)) from None
