"""Fitting a forecaster: how its series are encoded, and the training of its network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clstm._checks import check_dtype, random_generator
from clstm.forecasting import calendars
from clstm.forecasting.cutoffs import read_to_end
from clstm.forecasting.dates import find_step
from clstm.forecasting.differencing import Differences, season_lags
from clstm.forecasting.encoding import Encoding, Scaling, Steps
from clstm.forecasting.fitted import FittedForecaster, make_network
from clstm.forecasting.frames import read_frame
from clstm.forecasting.network import ForecastNetwork
from clstm.forecasting.segments import Batch, Segments
from clstm.forecasting.series import Panel, is_frame, read_series
from clstm.optim import AdamW
from clstm.schedules import CosineLR
from clstm.train.history import History
from clstm.train.loop import fit

# Unless the user sets the number of epochs, short series get as many as it takes to make this many optimiser steps.
MIN_EPOCHS, MIN_STEPS = 10, 1000

# The learning rate falls to this fraction of its initial value.
LAST_LR = 0.01


def learn(params: Mapping[str, Any], y: Any, X: Any, dates: Any) -> FittedForecaster:
    """Return what a forecaster with these arguments learns from series; raise the errors of `LSTMForecaster.fit`."""
    panel = read_frame(y, X, dates, None) if is_frame(y) else read_series(y, X, dates, None)
    encoding, lengths = fit_encoding(params, panel)
    generator = random_generator(params["seed"])
    network = make_network(params, encoding, generator)
    history = train(network, encoding.encode(panel), lengths - encoding.history_size, params, generator)
    cutoff = read_to_end(network, encoding, panel)
    return FittedForecaster(params=params, network=network, history=history, encoding=encoding, cutoff=cutoff)


def fit_encoding(params: Mapping[str, Any], panel: Panel) -> tuple[Encoding, np.ndarray]:
    """Return how the series are encoded, and how many values of each the network is trained on."""
    form, lengths = panel.form, panel.lengths
    names = [form.dates_name(index) for index in range(len(lengths))]
    frequency, starts = find_step(names, panel.dates, lengths.tolist(), params["freq"])
    calendar = _choose_calendar(params["calendar"], frequency, int(lengths.max()))
    differences = Differences(season_lags(params["season_length"]))
    train_lengths = _split(panel, params["validation_fraction"], differences.order + 2)
    training = [differences(y[:length]) for y, length in zip(panel.y, train_lengths, strict=True)]
    exogenous = np.concatenate([X[:length] for X, length in zip(panel.X, train_lengths, strict=True)])
    find_scaling = _find_scaling if params["standardize"] else _no_scaling
    encoding = Encoding(
        form,
        frequency,
        tuple(starts),
        tuple(calendar),
        differences,
        Scaling(*map(np.concatenate, zip(*map(find_scaling, training), strict=True))),
        find_scaling(exogenous),
        check_dtype("dtype", params["dtype"]),
    )
    return encoding, train_lengths


def train(
    network: ForecastNetwork,
    steps: Steps,
    train_lengths: np.ndarray,
    params: Mapping[str, Any],
    generator: np.random.Generator,
) -> History:
    """Train the network on the first `train_lengths` steps of each series; validate on the steps after them."""

    def loss_of(raw: np.ndarray, target: np.ndarray, counted: np.ndarray) -> tuple[float, np.ndarray]:
        return network.output.loss(raw, target, np.broadcast_to(counted[..., np.newaxis], target.shape))

    def loss_step(batch: Batch) -> tuple[float, dict[str, np.ndarray]]:
        segments = batch.steps, batch.series
        raw, context = network.forward_train(steps.inputs[segments], batch.state, batch.lengths)
        loss, gradient = loss_of(raw, steps.targets[segments], batch.inside)
        return loss, network.backward(context, gradient)

    number = np.arange(len(steps.inputs))[:, np.newaxis]
    held_out = (number >= train_lengths) & (number < steps.lengths)

    def validate() -> tuple[float, None]:
        raw, _ = network(steps.inputs, None, steps.lengths)
        return loss_of(raw, steps.targets, held_out)[0], None

    batches = Segments(network, steps.inputs, train_lengths, params["segment_length"], params["batch_size"], generator)
    n_epochs = params["n_epochs"] or max(MIN_EPOCHS, math.ceil(MIN_STEPS / len(batches)))
    optimizer = AdamW(network, lr=params["lr"], weight_decay=params["weight_decay"])
    return fit(
        optimizer,
        loss_step,
        batches,
        n_epochs=n_epochs,
        validate=validate if held_out.any() else None,
        patience=params["patience"] if held_out.any() else None,
        ema_decay=params["ema_decay"],
        clip_norm=params["clip_norm"],
        schedule=CosineLR(optimizer, n_epochs * len(batches), min_lr=params["lr"] * LAST_LR),
        schedule_every="batch",
        verbose=int(params["verbose"]),
    )


def _choose_calendar(
    calendar: str | Sequence[str] | None, frequency: calendars.Frequency | None, steps: int
) -> Sequence[str]:
    """Return the calendar features for the argument ``calendar`` and dates of this frequency."""
    if calendar is None:
        return ()
    if calendar == "auto":
        return calendars.choose_features(frequency, steps) if frequency else ()
    if frequency is None or not frequency.seconds:
        raise ValueError(f"calendar is {calendar!r}, but there are no dates to compute it from")
    return calendar


def _split(panel: Panel, validation_fraction: float, needed: int) -> np.ndarray:
    """Return how many values of each series to train on; raise ValueError if `needed` are more than a series has."""
    lengths = panel.lengths - (panel.lengths * validation_fraction).astype(int)
    shortest = int(lengths.argmin())
    if lengths[shortest] < needed:
        training = f", of which {lengths[shortest]} to train on" if validation_fraction else ""
        raise ValueError(
            f"{panel.form.name(shortest)} has {panel.lengths[shortest]} values{training}, expected {needed} or more "
            "(the sum of season_length, and 2)"
        )
    return lengths


def _find_scaling(values: np.ndarray) -> Scaling:
    """Return the mean and deviation of each column, (1, columns); a deviation of 0 becomes 1."""
    center, scale = values.mean(axis=0, keepdims=True), values.std(axis=0, keepdims=True)
    return Scaling(center, np.where(scale > 1e-12 * np.abs(center), scale, 1))


def _no_scaling(values: np.ndarray) -> Scaling:
    """Return the scaling that leaves values as they are."""
    return Scaling(np.zeros((1, values.shape[1])), np.ones((1, values.shape[1])))
