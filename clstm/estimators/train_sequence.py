"""How LSTMClassifier and LSTMRegressor learn: from X and y, and what was learnt before, to a `FittedSequence`."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from clstm.estimators.fitted_sequence import FittedSequence, TrainingState, make_network
from clstm.estimators.inference import run
from clstm.estimators.optimizers import OPTIMIZERS, SCHEDULES
from clstm.estimators.random_states import generator_for
from clstm.estimators.samples import Samples
from clstm.estimators.targets import Loss, Targets
from clstm.estimators.training_data import Data, hold_out, prepared
from clstm.optim import Optimizer
from clstm.schedules import Schedule
from clstm.train.batches import BucketedBatches
from clstm.train.history import History
from clstm.train.loop import fit

# Arguments that can't change where training continues with what was learnt.
LASTING = ("hidden_size", "num_layers", "bidirectional", "pooling", "embedding_dim", "vocab_size", "dtype")


def learn(
    params: Mapping[str, Any],
    data: Data,
    fitted_class: type[FittedSequence],
    previous: FittedSequence | None,
    one_epoch: bool,
) -> FittedSequence:
    """Return what is learnt from the data.

    Parameters
    ----------
    params : mapping of str to object
    data : Data
    fitted_class : type
        Of what is returned.
    previous : FittedSequence or None
        What training continues with: it isn't changed.
    one_epoch : bool
        Train as `partial_fit` does: for an epoch, without schedule and validation, with the optimiser of before.
    """
    if previous is not None:
        check_lasting(params, previous)
        inputs, targets = previous.input, previous.targets
        samples = data.read(params, inputs, targets)
    else:
        samples, inputs, targets = data.read_first(params, fitted_class.targets_class)
    # What training continues with is copied, so that what was learnt before stays as it is, whatever happens here.
    state = copy.deepcopy(previous.state) if previous is not None and one_epoch else None
    generator = generator_for(params["random_state"]) if state is None else state.generator
    validation = None
    if data.eval_set is not None:
        validation = data.read_eval_set(params, inputs, targets)
    elif params["early_stopping"] and not one_epoch:
        samples, validation = hold_out(samples, params["validation_fraction"], generator)
    if previous is None:
        inputs = inputs.measured(samples, params["standardize"])
        targets = targets.measured(samples, params["standardize"])
    loss = targets.loss(params, samples)
    samples = prepared(samples, inputs, targets)
    validation = None if validation is None else prepared(validation, inputs, targets)
    if state is None:
        network = copy.deepcopy(previous.network) if previous else make_network(params, inputs, targets, generator)
        optimizer = OPTIMIZERS[params["optimizer"]](network, lr=params["lr"], weight_decay=params["weight_decay"])
        state = TrainingState(network, optimizer, generator)
    else:
        state.optimizer.lr = params["lr"]  # the schedule of an earlier fit has changed it
    history = _train(params, state, targets, loss, samples, validation, one_epoch)
    if previous is not None and one_epoch:
        history = previous.history.followed_by(history)
    return fitted_class(
        params=params, network=state.network, history=history, input=inputs, targets=targets, state=state
    )


def check_lasting(params: Mapping[str, Any], previous: FittedSequence) -> None:
    """Raise ValueError where an argument isn't what it must be for training to continue."""
    for name in (*LASTING, *previous.targets.lasting):
        now, then = params[name], previous.params[name]
        if not np.array_equal(now, then):
            raise ValueError(f"{name} is {now!r}, but what was learnt before, and is to be continued, has {then!r}")


def _train(
    params: Mapping[str, Any],
    state: TrainingState,
    targets: Targets,
    loss: Loss,
    samples: Samples,
    validation: Samples | None,
    one_epoch: bool,
) -> History:
    """Train the state's network."""
    network = state.network

    def loss_step(some: np.ndarray) -> tuple[float, Mapping[str, Any]]:
        x, row_lengths, some_targets, weight = samples.batch(some)
        out, _, context = network.forward_train(x, lengths=row_lengths)
        value, dout = loss(out, some_targets, weight)
        return value, network.backward(context, dout).weights

    def validate(validation: Samples) -> tuple[float, float]:
        out = run(network, validation.rows)
        correct, weight = validation.flat_targets(), validation.flat_weight()
        return loss(out, correct, weight)[0], targets.metric(loss, out, correct, weight)

    batches: Any = [np.arange(len(samples))]
    if len(samples) > params["batch_size"]:
        batches = BucketedBatches(samples.rows.lengths, params["batch_size"], seed=state.generator)
    n_epochs = 1 if one_epoch else params["n_epochs"]
    stops_early = params["early_stopping"] and validation is not None
    return fit(
        state.optimizer,
        loss_step,
        batches,
        n_epochs=n_epochs,
        validate=None if validation is None else partial(validate, validation),
        monitor=targets.monitor,
        patience=params["n_iter_no_change"] if stops_early else None,
        tol=params["tol"],
        clip_norm=params["clip_norm"],
        schedule=None if one_epoch else _make_schedule(params["schedule"], state.optimizer, n_epochs * len(batches)),
        schedule_every="batch",
        callback=_callback(params["callbacks"]),
        score_name=targets.score_name,
        verbose=int(params["verbose"]),
    )


def _make_schedule(schedule: Any, optimizer: Optimizer, steps: int) -> Schedule | None:
    """Return the schedule that an estimator's argument names or makes."""
    make = SCHEDULES[schedule] if isinstance(schedule, str) else schedule
    return None if make is None else make(optimizer, steps)


def _callback(callbacks: Any) -> Callable[[History], bool]:
    """Return one function that calls all of an estimator's callbacks, and returns whether one ends the training."""
    functions: Sequence[Callable[[History], Any]] = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]

    def call_all(history: History) -> bool:
        results = [function(history) for function in functions if function is not None]
        return any(results)

    return call_all
