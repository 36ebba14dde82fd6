"""What LSTMClassifier and LSTMRegressor share: X in all its forms, training, files, and scikit-learn's conventions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm import base, scikit
from clstm.batches import BucketedBatches, PaddedRows
from clstm.checks import (
    as_array,
    check_choice,
    check_dtype,
    check_flag,
    check_fraction,
    check_index,
    check_positive,
    check_real,
    check_state_dict,
    random_generator,
)
from clstm.history import History
from clstm.layer import blank_weights
from clstm.models import SequenceNetwork
from clstm.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from clstm.pooling import POOLINGS
from clstm.schedules import CosineLR, Schedule, WarmUp
from clstm.sequences import (
    KINDS,
    check_finite,
    cut_to_lengths,
    is_list,
    kind_of,
    mean_and_scale,
    read_floats,
    read_ids,
    run,
)
from clstm.text import Vocabulary, check_texts
from clstm.train import fit

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "sgd": lambda network, **options: SGD(network, momentum=0.9, nesterov=True, **options),
}


def _one_cycle(optimizer: Optimizer, steps: int) -> Schedule:
    warm_up = max(1, round(0.1 * steps))
    return WarmUp(optimizer, warm_up, CosineLR(optimizer, max(1, steps - warm_up)))


SCHEDULES: dict[str, Callable[[Optimizer, int], Schedule]] = {"cosine": CosineLR, "one_cycle": _one_cycle}


class NotFittedError(base.NotFittedError, scikit.NotFittedError):
    """An estimator was used before `fit`; scikit-learn knows it too."""


@dataclass
class Samples:
    """Sequences with their targets, one each or one for each step, and weights."""

    rows: PaddedRows
    targets: np.ndarray | PaddedRows
    weight: np.ndarray | None

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, some: np.ndarray) -> Samples:
        """Return some of them."""
        targets = self.targets.take(some) if isinstance(self.targets, PaddedRows) else self.targets[some]
        return Samples(self.rows.take(some), targets, None if self.weight is None else self.weight[some])

    def batch(self, some: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
        """Return x, lengths, targets and weights (of rows or steps; None where all count the same) of a batch."""
        x, lengths = self.rows.batch(some)
        weight = None if self.weight is None else self.weight[some].astype(dtype)
        if not isinstance(self.targets, PaddedRows):
            return x, lengths, self.targets[some], weight
        targets, _ = self.targets.batch(some)
        if weight is not None or lengths.min() < x.shape[1]:
            inside = np.arange(x.shape[1]) < lengths[:, np.newaxis]
            weight = inside.astype(dtype) if weight is None else inside * weight[:, np.newaxis]
        return x, lengths, targets, weight

    def flat_targets(self) -> np.ndarray:
        """Return the targets as `run` orders outputs: of each row, or of all steps end to end."""
        return self.targets.values if isinstance(self.targets, PaddedRows) else self.targets

    def flat_weight(self) -> np.ndarray | None:
        """Return a weight for each of `flat_targets`."""
        if self.weight is None or not isinstance(self.targets, PaddedRows):
            return self.weight
        return np.repeat(self.weight, self.rows.lengths)


class SequenceEstimator(base.BaseModel, scikit.BaseEstimator):
    """Base of the estimators; a subclass says what y is, which loss there is, and what the outputs mean."""

    # What `fit` leaves behind, beside what subclasses add.
    network_: SequenceNetwork
    history_: History

    # --------------------------------------------------------------------------------------- for the subclasses

    def _read_targets(self, y: Any, rows: PaddedRows, lengths: Any, reset: bool) -> np.ndarray | PaddedRows:
        """Return y as targets of the network; `reset` says that it is the first that is seen."""
        raise NotImplementedError

    def _output_size(self) -> int:
        raise NotImplementedError

    def _loss(self, out: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> tuple[float, np.ndarray]:
        """Return the loss of the outputs, and its gradient."""
        raise NotImplementedError

    def _metric(self, out: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> float:
        """Return the score (higher is better) that early stopping goes by."""
        raise NotImplementedError

    def _prepare_targets(self, samples: Samples) -> None:
        """Find what the loss needs to know of all targets; change them in place."""

    # ------------------------------------------------------------------------------------------------- training

    def _fit(self, X, y, sample_weight, lengths, eval_set, *, onwards: bool, one_epoch: bool = False) -> None:
        """Train: from the start, or `onwards` from what was learnt before. An exception leaves all as it was."""
        self._check_params()
        before = dict(vars(self))
        try:
            with self._threads():
                self._train(X, y, sample_weight, lengths, eval_set, onwards and hasattr(self, "network_"), one_epoch)
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    def _train(self, X, y, sample_weight, lengths, eval_set, onwards: bool, one_epoch: bool) -> None:
        dtype = check_dtype("dtype", self.dtype)
        if onwards and one_epoch and hasattr(self, "_training"):
            # Copies, so that what fails leaves the others as they were.
            network, optimizer, generator = copy.deepcopy(self._training)
        else:
            generator = _generator(self.random_state)
            network = copy.deepcopy(self.network_) if onwards else None
            optimizer = None
        samples = self._read_samples(X, y, sample_weight, lengths, reset=not onwards)
        validation = None
        if eval_set is not None:
            validation = self._read_samples(*_check_eval_set(eval_set), reset=False)
        elif self.early_stopping and not one_epoch:
            samples, validation = self._hold_out(samples, generator)
        if not onwards:
            self._find_standardization(samples)
        self._prepare_targets(samples, reset=not onwards)
        for some in (samples, validation):
            if some is not None:
                self._standardize(some.rows)
        if validation is not None:
            self._prepare_targets(validation, reset=False)
        if network is None:
            network = self._make_network(generator)
        if optimizer is None:
            optimizer = OPTIMIZERS[self.optimizer](network, lr=self.lr, weight_decay=self.weight_decay)

        def loss_step(some: np.ndarray) -> tuple[float, Mapping[str, np.ndarray]]:
            x, row_lengths, targets, weight = samples.batch(some, dtype)
            out, _, context = network.forward_train(x, lengths=row_lengths)
            loss, dout = self._loss(out, targets, weight)
            return loss, network.backward(context, dout).weights

        def validate() -> tuple[float, float]:
            out, targets, weight = run(network, validation.rows), validation.flat_targets(), validation.flat_weight()
            cast = None if weight is None else weight.astype(dtype)
            return self._loss(out, targets, cast)[0], self._metric(out, targets, weight)

        batches = [np.arange(len(samples))]
        if len(samples) > self.batch_size:
            batches = BucketedBatches(samples.rows.lengths, self.batch_size, seed=generator)
        n_epochs = 1 if one_epoch else self.n_epochs
        schedule = None
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
            callback=self._callback(),
            score_name=self._score_name,
            verbose=int(self.verbose),
        )
        if one_epoch and onwards:
            history = _joined(self.history_, history)
        self.network_, self.history_ = network, history
        self._training = network, optimizer, generator

    def _read_samples(self, X, y, sample_weight=None, lengths=None, *, reset: bool) -> Samples:
        if y is None:
            raise ValueError(f"This {type(self).__name__} estimator requires y to be passed, but the target y is None")
        rows = self._read(X, lengths, reset=reset, y=y)
        targets = self._read_targets(y, rows, lengths, reset)
        weight = _check_sample_weight(sample_weight, len(rows))
        samples = Samples(rows, targets, weight)
        if weight is not None and (weight == 0).any():
            samples = samples.take(np.flatnonzero(weight))
        return samples

    def _hold_out(self, samples: Samples, generator: np.random.Generator) -> tuple[Samples, Samples]:
        """Return the samples to train on, and those to validate on."""
        count = round(self.validation_fraction * len(samples))
        if not 0 < count < len(samples):
            raise ValueError(
                f"validation_fraction is {self.validation_fraction}, which of {len(samples)} samples leaves "
                f"{len(samples) - count} to train and {count} to validate on; give eval_set, or early_stopping=False"
            )
        order = generator.permutation(len(samples))
        return samples.take(np.sort(order[count:])), samples.take(np.sort(order[:count]))

    def _make_network(self, generator: Any) -> SequenceNetwork:
        return SequenceNetwork(
            self._input_size(), self.hidden_size, self._output_size(), self.num_layers, vocab_size=self._vocab_size(),
            dropout=self.dropout if self.num_layers > 1 else 0.0, bidirectional=self.bidirectional,
            pooling=None if self.per_step_ else self.pooling, output_dropout=self.dropout,
            input_dropout=self.dropout if self._vocab_size() else 0.0,
            dtype=self.dtype, seed=generator, num_threads=self.num_threads,
        )  # fmt: skip

    def _input_size(self) -> int:
        return self.embedding_dim if self._vocab_size() else len(self._mean)

    def _vocab_size(self) -> int | None:
        return getattr(self, "_num_ids", None)

    def _callback(self) -> Callable[[History], bool] | None:
        if self.callbacks is None:
            return None
        callbacks = [self.callbacks] if callable(self.callbacks) else list(self.callbacks)

        def call_all(history: History) -> bool:
            wishes = [callback(history) for callback in callbacks]
            return any(wishes)

        return call_all

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

    def _fitted_history(self) -> History:
        if not hasattr(self, "history_"):
            raise AttributeError(f"this {type(self).__name__} isn't fitted yet")
        return self.history_

    # --------------------------------------------------------------------------------------------------- reading

    def _read(self, X: Any, lengths: Any = None, *, reset: bool = False, y: Any = "no_validation") -> PaddedRows:
        """Return X as rows for the network but for the standardisation; with `reset`, note what X is."""
        kind = kind_of(X)
        if kind != "sequences" and kind != "table" and lengths is not None:
            raise ValueError(f"lengths is given, but X holds {KINDS[kind]}, which have lengths of their own")
        if reset:
            self._kind = kind
            self._num_ids = self.vocabulary_ = None
            for name in ("n_features_in_", "feature_names_in_"):
                vars(self).pop(name, None)
        elif kind != self._kind:
            # A single channel, which may be written in several ways.
            if {kind, self._kind} == {"sequences", "table"} and self._kind == "sequences" and self.n_features_in_ == 1:
                X, kind = np.asarray(X)[:, :, np.newaxis], "sequences"
            else:
                raise ValueError(f"X holds {KINDS[kind]}, expected {KINDS[self._kind]}, as fit was given")
        if kind == "table":
            X = scikit.validate_data(self, X, dtype=[np.float64, np.float32], reset=reset)
            if reset:
                self._mean = np.zeros(1)
            return cut_to_lengths(X[:, :, np.newaxis], lengths)
        if kind == "sequences":
            rows = read_floats(X, lengths)
            n_features = rows.values.shape[1]
            if reset:
                self.n_features_in_ = n_features
            elif n_features != self.n_features_in_:
                raise ValueError(
                    f"X has {n_features} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                    "features as input"
                )
            return rows
        if kind == "texts":
            texts = check_texts("X", X)
            if reset:
                self.vocabulary_ = Vocabulary.from_texts(texts, self.vocab_size)
                self._num_ids = len(self.vocabulary_)
            return PaddedRows([self.vocabulary_.encode(text) for text in texts], self.vocabulary_.PADDING)
        rows = read_ids(X)
        largest = int(rows.values.max(initial=0))
        if reset:
            self._num_ids = largest + 1 if self.vocab_size is None else self.vocab_size
        if largest >= self._num_ids:
            raise ValueError(f"X holds the id {largest}, expected 0 to {self._num_ids - 1}; see vocab_size")
        return rows

    def _find_standardization(self, samples: Samples) -> None:
        """Find mean and scale of each feature, of all steps that count."""
        self._mean = self._scale = np.zeros(0)
        if self._num_ids is not None:
            return
        values = samples.rows.values
        self._mean, self._scale = np.zeros(values.shape[1]), np.ones(values.shape[1])
        if self.standardize:
            weight = None if samples.weight is None else np.repeat(samples.weight, samples.rows.lengths)
            self._mean, self._scale = mean_and_scale(values, weight)

    def _standardize(self, rows: PaddedRows) -> None:
        if self._num_ids is not None:
            return
        dtype = check_dtype("dtype", self.dtype)
        with np.errstate(over="ignore"):
            rows.values = ((rows.values - self._mean) / self._scale).astype(dtype)
        check_finite("X, standardised,", rows)

    def _outputs(self, X: Any, lengths: Any) -> tuple[np.ndarray, PaddedRows]:
        """Return the network's outputs for X, one for each row or (end to end) each step, and X's rows."""
        self._check_fitted()
        rows = self._read(X, lengths)
        self._standardize(rows)
        with self._threads():
            return run(self.network_, rows), rows

    def _as_given(self, values: np.ndarray, rows: PaddedRows, X: Any) -> Any:
        """Return the values of steps as X has its steps: one array, or a list of arrays."""
        if not self.per_step_:
            return values
        lengths = rows.lengths
        if not is_list(X) and len(lengths) and (lengths == lengths[0]).all():
            return values.reshape(len(lengths), -1, *values.shape[1:])
        return np.split(values, np.cumsum(lengths)[:-1])

    @contextmanager
    def _threads(self):
        yield

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
        for name, low in (("num_threads", 1), ("vocab_size", 3)):
            if getattr(self, name) is not None:
                check_index(name, getattr(self, name), low=low)
        check_choice("pooling", self.pooling, tuple(POOLINGS))
        check_choice("optimizer", self.optimizer, tuple(OPTIMIZERS))
        if self.schedule is not None and not callable(self.schedule):
            check_choice("schedule", self.schedule, tuple(SCHEDULES))
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

    def _fitted_content(self) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
        names = getattr(self, "feature_names_in_", None)
        config = {
            "kind": self._kind,
            "n_features_in": getattr(self, "n_features_in_", None),
            "feature_names_in": None if names is None else names.tolist(),
            "num_ids": self._num_ids,
            "vocabulary": None if self.vocabulary_ is None else self.vocabulary_.to_dict(),
            "per_step": self.per_step_,
            "history": self.history_.as_dict(),
        }
        return config, {"input.mean": self._mean, "input.scale": self._scale, **self.network_.parameters()}

    def _restore(self, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        arrays = dict(arrays)
        self._kind = check_choice("kind", config["kind"], tuple(KINDS))
        self.n_features_in_ = config["n_features_in"]
        if config["feature_names_in"] is not None:
            self.feature_names_in_ = np.array(config["feature_names_in"], object)
        self._num_ids = config["num_ids"]
        self.vocabulary_ = None if config["vocabulary"] is None else Vocabulary.from_dict(config["vocabulary"])
        self.per_step_ = check_flag("per_step", config["per_step"])
        self.history_ = History.from_dict(config["history"])
        self._mean, self._scale = arrays.pop("input.mean"), arrays.pop("input.scale")
        shapes = SequenceNetwork.weight_shapes(
            self._input_size(), self.hidden_size, self._output_size(), self.num_layers,
            vocab_size=self._vocab_size(), bidirectional=self.bidirectional,
        )  # fmt: skip
        zero = np.zeros((), check_dtype("dtype", self.dtype))
        check_state_dict(arrays, {name: np.broadcast_to(zero, shape) for name, shape in shapes.items()})
        with blank_weights():
            network = self._make_network(random_generator(0))
        network.load_state_dict(arrays, assign=True)
        self.network_ = network

    # ---------------------------------------------------------------------------------------------- scikit-learn

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.non_deterministic = False
        return tags


def read_step_targets(y: Any, rows: PaddedRows, lengths: Any) -> PaddedRows:
    """Return targets of each step, from an array (n, time, ...) like X or a list of arrays (time, ...)."""
    if not is_list(y):
        array = as_array("y", y)
        if lengths is None or array.shape[1] == rows.lengths.max():
            lengths = rows.lengths
        return cut_to_lengths(array, lengths)
    targets = PaddedRows([np.asarray(target) for target in y])
    different = np.flatnonzero(targets.lengths != rows.lengths)
    if len(different):
        row = different[0]
        raise ValueError(f"y[{row}] has {targets.lengths[row]} steps, but X[{row}] has {rows.lengths[row]}")
    return targets


def _check_sample_weight(sample_weight: Any, count: int) -> np.ndarray | None:
    if sample_weight is None:
        return None
    weight = as_array("sample_weight", sample_weight)
    if weight.dtype.kind not in "biuf":
        raise TypeError(f"sample_weight has dtype {weight.dtype}, expected numbers")
    if weight.shape != (count,):
        raise ValueError(f"sample_weight has shape {weight.shape}, expected ({count},), one for each sample")
    weight = weight.astype(np.float64)
    if not (np.isfinite(weight).all() and weight.min() >= 0):
        raise ValueError("sample_weight holds values that are negative or not finite")
    if not weight.any():
        raise ValueError("sample_weight is zero for every sample")
    return weight


def _check_eval_set(eval_set: Any) -> tuple[Any, ...]:
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


def _joined(first: History, second: History) -> History:
    """Return the history of two trainings, one after the other."""
    joined = copy.deepcopy(first)
    for name, value in vars(second).items():
        if isinstance(value, list):
            getattr(joined, name).extend(value)
        else:
            setattr(joined, name, value)
    return joined
