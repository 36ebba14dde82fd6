"""The measurements behind two choices in `LSTMForecaster`: `python -m benchmarks.forecast_choices`.

On the examples' two series: which state a segment begins with in training (that after all steps before it, or zeros,
with or without steps that warm it up), and how the 24 hours of a day are forecast (each fed back, or all at once by 24
outputs).
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np

import clstm
from clstm.forecasting import training
from clstm.forecasting.distributions import make_output
from clstm.forecasting.network import ForecastNetwork
from clstm.forecasting.segments import Batch, Segments
from clstm.forecasting.series import read_series
from clstm.optim import AdamW
from clstm.schedules import CosineLR
from clstm.train import fit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))


class FromZeros(Segments):
    """Segments that begin with a state of zeros; with `warm_up` their first halves only warm it up."""

    warm_up = False

    def __iter__(self):
        for batch in super().__iter__():
            batch.state = tuple(np.zeros_like(array) for array in batch.state)
            if self.warm_up:
                batch.__class__ = Warm
            yield batch


class Warm(Batch):
    @property
    def inside(self):
        half, numbers = len(self.steps) // 2, np.arange(len(self.steps))[:, np.newaxis]
        return (numbers < self.lengths) & ((numbers >= half) | (self.steps < half))


class FromZerosWarm(FromZeros):
    warm_up = True


def error(sampler: type, y: np.ndarray, test: int, h: int, seed: int, **options) -> float:
    """Return the mean absolute error of a forecaster trained on batches of `sampler`."""
    training.Segments = sampler
    try:
        dates = options.pop("dates", None)
        model = clstm.LSTMForecaster(seed=seed, verbose=0, **options)
        model.fit(y[:-test], dates=None if dates is None else dates[:-test])
    finally:
        training.Segments = Segments
    return model.backtest(y, h=h, n_windows=test - h + 1).mean_absolute_error


def direct_error(y: np.ndarray, test: int, h: int, season: int, seed: int) -> float:
    """Return the error of one network with `h` outputs, one for each step ahead, otherwise as `LSTMForecaster`."""
    model = clstm.LSTMForecaster(season_length=season, seed=seed, verbose=0)
    panel = read_series(y, None, None, None)
    encoding, _ = training.fit_encoding(model.get_params(), read_series(y[:-test], None, None, None))
    generator = np.random.default_rng(seed)
    output = make_output("student", ())
    network = ForecastNetwork(1, model.hidden_size, 1, h, output, dropout=model.dropout, seed=generator)
    inputs, targets, _ = encoding.encode(panel)
    targets = np.stack([np.roll(targets[:, 0, 0], -step) for step in range(h)], axis=-1)[:, np.newaxis]
    end = len(y) - test - season - 1
    trained = np.array([int(end * (1 - model.validation_fraction)) - h])
    batches = Segments(network, inputs, trained, model.segment_length, model.batch_size, generator)

    def loss_step(batch):
        raw, context = network.forward_train(inputs[batch.steps, batch.series], batch.state, batch.lengths)
        weight = np.repeat(batch.inside.astype(raw.dtype)[..., np.newaxis], h, axis=2)
        loss, gradient = network.output.loss(raw, targets[batch.steps, batch.series], weight)
        return loss, network.backward(context, gradient)

    def validate():
        raw, _ = network(inputs[: end - h])
        held_out = raw[trained[0] + h :]
        return network.output.loss(held_out, targets[trained[0] + h : end - h], np.ones(held_out.shape[:-1]))[0], None

    epochs = math.ceil(training.MIN_STEPS / len(batches))
    optimizer = AdamW(network, lr=model.lr, weight_decay=model.weight_decay)
    schedule = CosineLR(optimizer, epochs * len(batches), min_lr=model.lr / 100)
    fit(optimizer, loss_step, batches, n_epochs=epochs, validate=validate, ema_decay=model.ema_decay,
        clip_norm=model.clip_norm, schedule=schedule, schedule_every="batch", verbose=0)  # fmt: skip
    raw, _ = network(inputs)
    steps = np.arange(end - 1, len(inputs) - h + 1)
    return float(np.abs(network.output.point(raw)[steps] - targets[steps]).mean() * encoding.y_scaling.scale[0, 0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=training.MIN_STEPS, help="steps of each training, approximately")
    arguments = parser.parse_args()
    seeds, training.MIN_STEPS = range(arguments.seeds), arguments.steps
    from datasets import load_births, load_temperature

    days, births = load_births()
    hours = load_temperature()[1]
    tasks = {
        "births, a day ahead": (births, 1461, 1, {"season_length": 7, "dates": days}),
        "temperature, 24 hours ahead": (hours, 1460, 24, {"season_length": 24}),
    }
    samplers = {"all before": Segments, "zeros": FromZeros, "zeros, half to warm up": FromZerosWarm}
    for task, (y, test, h, options) in tasks.items():
        for name, sampler in samplers.items():
            errors = [error(sampler, y, test, h, seed, **options) for seed in seeds]
            print(
                f"{task}; states from {name}: {np.mean(errors):.4g} ({', '.join(f'{e:.4g}' for e in errors)})",
                flush=True,
            )
    errors = [direct_error(hours, 1460, 24, 24, seed) for seed in seeds]
    print(f"temperature, 24 outputs: {np.mean(errors):.4g} ({', '.join(f'{e:.4g}' for e in errors)})")


if __name__ == "__main__":
    main()
