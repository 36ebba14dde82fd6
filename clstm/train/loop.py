"""The training loop, for any network: batches, clipping, schedules, validation, early stopping, averaged weights.

The network and its loss come in as one function, `loss_step`, that turns a batch into the loss and the gradients of
the weights; all else here knows weights by name only::

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
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from typing import Any

import numpy as np

from clstm._checks import check_choice, check_index, check_real
from clstm.layers.row_gradient import RowGradient
from clstm.optim import ExponentialMovingAverage, Optimizer, clip_grad_norm, clip_grad_value
from clstm.schedules import Schedule
from clstm.train.batches import BucketedBatches
from clstm.train.history import History
from clstm.train.progress import Progress

__all__ = ["BucketedBatches", "History", "fit"]

MAX_LINES = 50  # of a training; with more epochs not all of them have one

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

    Ctrl-C ends the training after the present batch and is no error: the history says so, and what was learnt is
    kept. A second one raises KeyboardInterrupt at once. That, and any other exception, leaves the network with the
    weights that would have been kept, too.

    Parameters
    ----------
    optimizer : Optimizer
        Of the network to be trained.
    loss_step : callable
        Takes a batch; returns its mean loss and the gradients of the weights by name. Should it be random, as with
        dropout, it has its own seed.
    batches : iterable of sized
        Iterated over anew each epoch; for instance `BucketedBatches`, or a list of arrays of row numbers. The
        length of a batch is its weight in the epoch's mean loss.
    n_epochs : int
        1 or more.
    validate : callable, optional
        Called after each epoch, without arguments; returns loss and score (higher is better), or loss and None.
        The network has the averaged weights then if there is an average.
    monitor : {"loss", "score"}, default "loss"
        By which result of `validate` the best epoch is found; of equal scores the one with the lower loss.
    patience : int, optional
        Stop after this many epochs in a row that were not the best so far; 1 or more.
    tol : float, default 0.0
        By how much more than this an epoch must be better, by what `monitor` names, for `patience` to begin anew. The
        weights of a best epoch are kept however little better it is.
    ema_decay : float, optional
        Keep an exponential moving average of the weights (`ExponentialMovingAverage`), which is what is validated
        and what the network has in the end.
    clip_norm, clip_value : float, optional
        Limit the common norm of all gradients, and then each element of them.
    schedule : Schedule, optional
        Of the optimiser's learning rate. It is given the validation loss, or without validation the training loss,
        of the epoch; or the loss of the batch.
    schedule_every : {"epoch", "batch"}, default "epoch"
        When the schedule takes a step.
    callback : callable, optional
        Called with the history after each epoch; the training ends if it returns true.
    score_name : str, default "score"
        What the lines shown call the score.
    verbose : int, default 1
        1 writes a line for each epoch (of many, for some 50) to standard error, and on a terminal that has tqdm shows
        a bar; 0 is silent.

    Returns
    -------
    History
        The network has the weights of its `best_epoch`; without validation, the last ones (or their average).

    Raises
    ------
    FloatingPointError
        A loss or the gradients' norm is not finite: the training diverged.
    TypeError, ValueError
        An argument of the wrong kind or out of range, or batches that hold nothing.
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
    best = _Best(monitor, check_real("tol", tol, low=0.0))
    if schedule is not None and schedule.optimizer is not optimizer:
        raise ValueError("schedule is of another optimiser")
    network = optimizer.layer
    average = None if ema_decay is None else ExponentialMovingAverage(network, ema_decay)
    history = History()
    line_every = math.ceil(n_epochs / MAX_LINES)

    with _noted_interrupt() as interrupted, _kept_weights(network, best, average):
        for epoch in range(1, n_epochs + 1):
            start = time.perf_counter()
            total = rows_seen = 0
            shown = progress.batches(batches, f"epoch {epoch}/{n_epochs}")
            with closing(shown):
                for batch in shown:
                    if interrupted():
                        break
                    loss = _step(optimizer, loss_step, batch, clip_norm, clip_value, epoch, best.epoch)
                    if average is not None:
                        average.update()
                    lr = optimizer.lr
                    if schedule is not None and schedule_every == "batch":
                        schedule.step(loss)
                    total += loss * len(batch)
                    rows_seen += len(batch)
            if interrupted():
                break
            if rows_seen == 0:
                raise ValueError(f"batches holds no rows in epoch {epoch}, expected some each time it is iterated over")

            history.train_loss.append(total / rows_seen)
            history.lr.append(lr)
            if validate is not None:
                with nullcontext() if average is None else average.applied():
                    loss, score = _check_validation(validate(), monitor, epoch, best.epoch)
                    best.offer(network, epoch, loss, score)
                history.validation_loss.append(loss)
                if score is not None:
                    history.validation_score.append(score)
                history.best_epoch = best.epoch
            history.seconds.append(time.perf_counter() - start)
            if epoch % line_every == 0 or epoch == n_epochs:
                progress.line(_describe(history, n_epochs, score_name))

            if schedule is not None and schedule_every == "epoch":
                schedule.step((history.validation_loss or history.train_loss)[-1])
            stop = callback is not None and callback(history)
            if stop or (patience is not None and epoch - best.marked_epoch >= patience):
                history.stopped_early = epoch < n_epochs
                break
            if interrupted():
                break
        history.interrupted = interrupted()

    if history.interrupted:
        kept = f"the weights of epoch {best.epoch} are kept" if best.epoch else "what was learnt so far is kept"
        progress.line(f"interrupted: {kept}")
    return history


class _Best:
    """The best epoch so far, and a copy of its weights."""

    def __init__(self, monitor: str, tol: float) -> None:
        self.monitor = monitor
        self.tol = tol
        self.epoch: int | None = None
        self.marked_epoch: int | None = None  # the last that was better than the marked one before by more than tol
        self._mark = 0.0
        self.weights: dict[str, np.ndarray] | None = None
        self._rank: tuple[float, ...] = ()

    def offer(self, network, epoch: int, loss: float, score: float | None) -> None:
        rank = (-loss,) if self.monitor == "loss" else (score, -loss)
        if self.epoch is None or rank > self._rank:
            self._rank, self.epoch, self.weights = rank, epoch, network.state_dict()
            if self.marked_epoch is None or self.tol == 0 or rank[0] > self._mark + self.tol:
                self.marked_epoch, self._mark = epoch, rank[0]


def _step(optimizer, loss_step, batch, clip_norm, clip_value, epoch, best_epoch) -> float:
    """Do one step of the optimiser and return the loss."""
    loss, grads = loss_step(batch)
    _check_finite("the training loss", loss, epoch, best_epoch)
    if clip_norm is not None:
        norm = clip_grad_norm(grads, clip_norm)
        _check_finite("the norm of the gradients", norm, epoch, best_epoch)
    if clip_value is not None:
        clip_grad_value(grads, clip_value)
    optimizer.step(grads)
    return float(loss)


def _check_finite(what: str, value: float, epoch: int, best_epoch: int | None) -> None:
    if not math.isfinite(value):
        kept = f"the weights of epoch {best_epoch} are kept" if best_epoch else "no epoch's weights could be kept"
        raise FloatingPointError(
            f"{what} is {value} in epoch {epoch}: it diverged; {kept}. Try a lower learning rate, or clip_norm"
        )


def _check_validation(result: Any, monitor: str, epoch: int, best_epoch: int | None) -> tuple[float, float | None]:
    if not isinstance(result, tuple) or len(result) != 2:
        raise TypeError(f"validate returned {result!r}, expected (loss, score)")
    loss, score = result
    if score is None and monitor == "score":
        raise ValueError("monitor is 'score', but validate returned no score")
    _check_finite("the validation loss", loss, epoch, best_epoch)
    if score is not None:
        _check_finite("the validation score", score, epoch, best_epoch)
    return float(loss), None if score is None else float(score)


def _describe(history: History, n_epochs: int, score_name: str) -> str:
    line = f"epoch {history.n_epochs}/{n_epochs}: loss {history.train_loss[-1]:.4f}"
    if history.validation_loss:
        line += f", validation loss {history.validation_loss[-1]:.4f}"
    if history.validation_score:
        line += f", validation {score_name} {history.validation_score[-1]:.4f}"
    return f"{line}, {history.seconds[-1]:.1f} s"


@contextmanager
def _kept_weights(network, best: _Best, average: ExponentialMovingAverage | None) -> Iterator[None]:
    """Give the network the weights to be kept when the block ends, come what may: the best, the average or its own."""
    try:
        yield
    finally:
        if best.weights is not None:
            network.load_state_dict(best.weights)
        elif average is not None and average.num_updates:
            network.load_state_dict(average.state_dict())


@contextmanager
def _noted_interrupt() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C inside the block into a note, which the function given tells.

    An exception could come in the middle of an update, with some weights changed and others not. Where Python's own
    handler isn't in place, or not to be had (in other threads), nothing is changed.
    """
    noted = False

    def note(number, frame):
        nonlocal noted
        noted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    in_main = threading.current_thread() is threading.main_thread()
    ours = in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, note)
    try:
        yield lambda: noted
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
