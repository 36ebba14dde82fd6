"""The training loop, for any network: batches, clipping, schedules, validation, early stopping, averaged weights.

The network and its loss are given as one function, `loss_step`, which returns the loss of a batch and the gradients of
the weights by name::

    def loss_step(rows):
        out, hidden, context = network.forward_train(x[rows], lengths=lengths[rows])
        loss, dout = cross_entropy(out, targets[rows])
        return loss, network.backward(context, dout).weights

    history = fit(Adam(network), loss_step, BucketedBatches(lengths, 32, seed=0), n_epochs=8, ema_decay=0.99)
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clstm._checks import check_choice, check_index, check_real
from clstm.layers.base import Layer
from clstm.layers.row_gradient import RowGradient
from clstm.optim import ExponentialMovingAverage, Optimizer, clip_grad_norm, clip_grad_value
from clstm.schedules import Schedule
from clstm.train.batches import BucketedBatches
from clstm.train.history import History
from clstm.train.progress import Progress

__all__ = ["BucketedBatches", "History", "fit"]

MAX_LINES = 50  # shown by one training; with more epochs, only every second or third epoch has a line, and so on

LossStep = Callable[[Any], tuple[float, Mapping[str, np.ndarray | RowGradient]]]
Validation = Callable[[], tuple[float, float | None]]


def fit(
    optimizer: Optimizer,
    loss_step: LossStep,
    batches: Iterable[Any],
    *,
    n_epochs: int,
    validate: Validation | None = None,
    monitor: str = "loss",
    patience: int | None = None,
    tol: float = 0.0,
    ema_decay: float | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    schedule: Schedule | None = None,
    schedule_every: str = "epoch",
    callback: Callable[[History], bool | None] | None = None,
    score_name: str = "score",
    verbose: int = 1,
) -> History:
    """Train the optimiser's network.

    The first Ctrl-C ends the training after the current batch without an error; `History.interrupted` is True then. A
    second one raises KeyboardInterrupt at once. However the training ends, also by an exception, the network has the
    weights of the best epoch, or without validation the last ones (or their average).

    Parameters
    ----------
    optimizer : Optimizer
        Of the network to be trained.
    loss_step : callable
        Takes a batch; returns its mean loss and the gradients of the weights by name. Randomness in it, such as
        dropout, has a seed that the caller sets.
    batches : iterable of sized
        Iterated over once in each epoch; for instance `BucketedBatches`, or a list of arrays of row numbers. The
        length of a batch is its weight in the epoch's mean loss.
    n_epochs : int
        1 or more.
    validate : callable, optional
        Called after each epoch, without arguments; returns loss and score (higher is better), or loss and None.
        With `ema_decay` the network has the averaged weights during the call.
    monitor : {"loss", "score"}, default "loss"
        The result of `validate` that decides which epoch is best; of equal scores, the one with the lower loss.
    patience : int, optional
        Stop after this many epochs in a row without improvement; 1 or more.
    tol : float, default 0.0
        An epoch resets `patience` only if it improves what `monitor` names by more than this. The weights of the best
        epoch are kept even if the improvement is smaller.
    ema_decay : float, optional
        Decay of an exponential moving average of the weights (`ExponentialMovingAverage`), which is validated and
        which the network has after training.
    clip_norm, clip_value : float, optional
        Limits for the common norm of all gradients (`clip_grad_norm`), and then for each element (`clip_grad_value`).
    schedule : Schedule, optional
        Of this optimiser's learning rate. Its metric is the epoch's validation loss, or without validation the
        epoch's training loss; with `schedule_every` "batch" it is the batch's loss.
    schedule_every : {"epoch", "batch"}, default "epoch"
        When the schedule takes a step.
    callback : callable, optional
        Called with the history after each epoch; the training ends if it returns true.
    score_name : str, default "score"
        Name of the score in the lines shown.
    verbose : int, default 1
        1 writes a line for each epoch to standard error (at most 50 lines), and shows a progress bar if that is a
        terminal and tqdm is installed; 0 is silent.

    Returns
    -------
    History
        What happened, epoch by epoch.

    Raises
    ------
    FloatingPointError
        A loss, a score or the gradients' norm is not finite: the training diverged.
    TypeError, ValueError
        An argument of the wrong kind or out of range, or an epoch without batches.
    """
    if not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer is {type(optimizer).__name__}, expected an optimiser")
    n_epochs = check_index("n_epochs", n_epochs, low=1)
    monitor = check_choice("monitor", monitor, ("loss", "score"))
    schedule_every = check_choice("schedule_every", schedule_every, ("epoch", "batch"))
    progress = Progress(check_index("verbose", int(verbose) if isinstance(verbose, bool) else verbose, low=0))
    if patience is not None:
        patience = check_index("patience", patience, low=1)
        if validate is None:
            raise ValueError("patience is given, but validate is not")
    best = _BestEpoch(monitor, check_real("tol", tol, low=0.0))
    if schedule is not None and schedule.optimizer is not optimizer:
        raise ValueError("schedule is of another optimiser")
    average = None if ema_decay is None else ExponentialMovingAverage(optimizer.layer, ema_decay)
    training = _Training(
        optimizer, loss_step, validate, clip_norm, clip_value, average, best,
        batch_schedule=schedule if schedule_every == "batch" else None,
        epoch_schedule=schedule if schedule_every == "epoch" else None,
    )  # fmt: skip
    history = training.history
    line_every = math.ceil(n_epochs / MAX_LINES)

    with _deferred_interrupt() as interrupted, _final_weights(optimizer.layer, best, average):
        for epoch in range(1, n_epochs + 1):
            shown = progress.batches(batches, f"epoch {epoch}/{n_epochs}")
            if not training.run_epoch(epoch, shown, interrupted):
                break
            if epoch % line_every == 0 or epoch == n_epochs:
                progress.line(_describe(history, n_epochs, score_name))
            training.step_epoch_schedule()
            stop = callback is not None and callback(history)
            if stop or (patience is not None and epoch - best.improved_epoch >= patience):
                history.stopped_early = epoch < n_epochs
                break
            if interrupted():
                break
        history.interrupted = interrupted()

    if history.interrupted:
        kept = f"the weights of epoch {best.epoch} are kept" if best.epoch else "what was learnt so far is kept"
        progress.line(f"interrupted: {kept}")
    return history


class _BestEpoch:
    """The best epoch so far, and a copy of its weights."""

    def __init__(self, monitor: str, tol: float) -> None:
        self.monitor = monitor
        self.tol = tol
        self.epoch: int | None = None
        self.weights: dict[str, np.ndarray] | None = None
        # For patience, an epoch improves only if it is better than the last one that did by more than tol
        self.improved_epoch = 0
        self._improved_value = -math.inf
        self._rank: tuple[float, ...] = (-math.inf,)

    def update(self, network: Layer, epoch: int, loss: float, score: float | None) -> None:
        """Compare an epoch with the best one, and copy the network's weights if it is better."""
        rank = (-loss,) if score is None or self.monitor == "loss" else (score, -loss)
        if rank > self._rank:
            self._rank, self.epoch, self.weights = rank, epoch, network.state_dict()
            if self.tol == 0 or rank[0] > self._improved_value + self.tol:
                self.improved_epoch, self._improved_value = epoch, rank[0]


@dataclass
class _Training:
    """How one call of `fit` trains an epoch, and what has happened so far."""

    optimizer: Optimizer
    loss_step: LossStep
    validate: Validation | None
    clip_norm: float | None
    clip_value: float | None
    average: ExponentialMovingAverage | None
    best: _BestEpoch
    batch_schedule: Schedule | None
    epoch_schedule: Schedule | None
    history: History = field(default_factory=History)

    def run_epoch(self, epoch: int, batches: Generator[Any, None, None], interrupted: Callable[[], bool]) -> bool:
        """Train on all batches and validate; return False if an interrupt ended the epoch before its last batch."""
        start = time.perf_counter()
        total, rows_seen = 0.0, 0
        with closing(batches):
            for batch in batches:
                if interrupted():
                    break
                loss = self._step(epoch, batch)
                lr = self.optimizer.lr
                if self.batch_schedule is not None:
                    self.batch_schedule.step(loss)
                total += loss * len(batch)
                rows_seen += len(batch)
        if interrupted():
            return False
        if rows_seen == 0:
            raise ValueError(f"batches holds no rows in epoch {epoch}, expected some each time it is iterated over")
        self.history.train_loss.append(total / rows_seen)
        self.history.lr.append(lr)
        if self.validate is not None:
            self._validate(epoch, self.validate)
        self.history.seconds.append(time.perf_counter() - start)
        return True

    def _step(self, epoch: int, batch: Any) -> float:
        """Update the weights, and their average, by one batch; return its loss."""
        loss, grads = self.loss_step(batch)
        self._check_finite("the training loss", loss, epoch)
        if self.clip_norm is not None:
            norm = clip_grad_norm(grads, self.clip_norm)
            self._check_finite("the norm of the gradients", norm, epoch)
        if self.clip_value is not None:
            clip_grad_value(grads, self.clip_value)
        self.optimizer.step(grads)
        if self.average is not None:
            self.average.update()
        return float(loss)

    def _validate(self, epoch: int, validate: Validation) -> None:
        """Call `validate`, with the averaged weights if there are any, and compare the epoch with the best one."""
        with nullcontext() if self.average is None else self.average.applied():
            result = validate()
            if not isinstance(result, tuple) or len(result) != 2:
                raise TypeError(f"validate returned {result!r}, expected (loss, score)")
            loss, score = result
            if score is None and self.best.monitor == "score":
                raise ValueError("monitor is 'score', but validate returned no score")
            self._check_finite("the validation loss", loss, epoch)
            if score is not None:
                self._check_finite("the validation score", score, epoch)
            self.best.update(self.optimizer.layer, epoch, float(loss), None if score is None else float(score))
        self.history.validation_loss.append(float(loss))
        if score is not None:
            self.history.validation_score.append(float(score))
        self.history.best_epoch = self.best.epoch

    def step_epoch_schedule(self) -> None:
        """Step the schedule that steps once in an epoch, if there is one, by the validation or training loss."""
        if self.epoch_schedule is not None:
            self.epoch_schedule.step((self.history.validation_loss or self.history.train_loss)[-1])

    def _check_finite(self, what: str, value: float, epoch: int) -> None:
        if not math.isfinite(value):
            best = self.best.epoch
            kept = f"the weights of epoch {best} are kept" if best else "no epoch's weights could be kept"
            raise FloatingPointError(
                f"{what} is {value} in epoch {epoch}: it diverged; {kept}. Try a lower learning rate, or clip_norm"
            )


def _describe(history: History, n_epochs: int, score_name: str) -> str:
    line = f"epoch {history.n_epochs}/{n_epochs}: loss {history.train_loss[-1]:.4f}"
    if history.validation_loss:
        line += f", validation loss {history.validation_loss[-1]:.4f}"
    if history.validation_score:
        line += f", validation {score_name} {history.validation_score[-1]:.4f}"
    return f"{line}, {history.seconds[-1]:.1f} s"


@contextmanager
def _final_weights(network: Layer, best: _BestEpoch, average: ExponentialMovingAverage | None) -> Iterator[None]:
    """Set the network's final weights when the block ends, also by an exception: the best, the average or the last."""
    try:
        yield
    finally:
        if best.weights is not None:
            network.load_state_dict(best.weights)
        elif average is not None and average.num_updates:
            network.load_state_dict(average.state_dict())


@contextmanager
def _deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Defer the first Ctrl-C inside the block: yield a function that returns whether there was one.

    KeyboardInterrupt could otherwise be raised in the middle of an update, with only some of the weights changed.
    Python allows signal handlers in the main thread only; in other threads, and where the program has its own handler,
    Ctrl-C has its usual effect.
    """
    came = False

    def remember(number: int, frame: Any) -> None:
        nonlocal came
        came = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    in_main = threading.current_thread() is threading.main_thread()
    deferred = in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if deferred:
        signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: came
    finally:
        if deferred:
            signal.signal(signal.SIGINT, signal.default_int_handler)
