"""How the defaults of `LSTMForecaster` were chosen: `python -m benchmarks.forecast_choices`.

On the examples' two series: where a segment's state comes from in training (from all that was before it, or from zeros,
with or without steps that warm it up), and how a day of hours is forecast (each hour fed back, or all 24 at once by as
many outputs).
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np

import clstm
from clstm.forecasting import forecaster, segments
from clstm.forecasting.network import ForecastNetwork
from clstm.optim import AdamW
from clstm.schedules import CosineLR
from clstm.train import fit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))


class FromZeros(segments.Segments):
    """Segments that begin with a state of zeros; the first half only warms it up where `warm_up` is set."""

    warm_up = False

    def __iter__(self):
        for batch in super().__iter__():
            batch.state = tuple(np.zeros_like(array) for array in batch.state)
            if self.warm_up:
                batch.__class__ = Warm
            yield batch


class Warm(segments.Batch):
    @property
    def inside(self):
        steps = np.arange(len(self.places))[:, np.newaxis]
        return (steps < self.lengths) & ((steps >= len(self.places) // 2) | (self.places < len(self.places) // 2))


class FromZerosWarm(FromZeros):
    warm_up = True


def error(sampler: type, y: np.ndarray, test: int, h: int, seed: int, **options) -> float:
    kept, segments.Segments = segments.Segments, sampler
    try:
        dates = options.pop("dates", None)
        model = clstm.LSTMForecaster(seed=seed, verbose=0, **options)
        model.fit(y[:-test], dates=None if dates is None else dates[:-test])
    finally:
        segments.Segments = kept
    return model.backtest(y, h=h, n_windows=test - h + 1).mean_absolute_error


def direct_error(y: np.ndarray, test: int, h: int, season: int, seed: int) -> float:
    """Return the error of one network with `h` outputs, one for each step ahead; else as `LSTMForecaster` has it."""
    model = clstm.LSTMForecaster(season_length=season, seed=seed, verbose=0)
    panel = model._panel(y, None, None, None)
    training = model._panel(y[:-test], None, None, None)
    model._prepare(training)
    generator = np.random.default_rng(seed)
    model.network_ = network = ForecastNetwork(
        1, model.hidden_size, 1, h, forecaster.make_output("student", ()), dropout=model.dropout, seed=generator
    )
    inputs, targets, _ = model._inputs(panel)
    targets = np.stack([np.roll(targets[:, 0, 0], -step) for step in range(h)], axis=-1)[:, np.newaxis]
    end = len(y) - test - season - 1
    trained = np.array([int(end * (1 - model.validation_fraction)) - h])
    batches = segments.Segments(network, inputs, trained, model.segment_length, model.batch_size, generator)

    def loss_step(batch):
        raw, context = network.forward_train(inputs[batch.places, batch.rows], batch.state, batch.lengths)
        weight = np.repeat(batch.inside.astype(raw.dtype)[..., np.newaxis], h, axis=2)
        loss, draw = network.output.loss(raw, targets[batch.places, batch.rows], weight)
        return loss, network.backward(context, draw)

    def validate():
        raw, _ = network(inputs[: end - h])
        held_out = raw[trained[0] + h :]
        return network.output.loss(held_out, targets[trained[0] + h : end - h], np.ones(held_out.shape[:-1]))[0], None

    epochs = math.ceil(forecaster.MIN_STEPS / len(batches))
    optimizer = AdamW(network, lr=model.lr, weight_decay=model.weight_decay)
    schedule = CosineLR(optimizer, epochs * len(batches), min_lr=model.lr / 100)
    fit(optimizer, loss_step, batches, n_epochs=epochs, validate=validate, ema_decay=model.ema_decay,
        clip_norm=model.clip_norm, schedule=schedule, schedule_every="batch", verbose=0)  # fmt: skip
    raw, _ = network(inputs)
    steps = np.arange(end - 1, len(inputs) - h + 1)
    return float(np.abs(network.output.point(raw)[steps] - targets[steps]).mean() * model._scale[0, 0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=forecaster.MIN_STEPS, help="updates of each training, about")
    arguments = parser.parse_args()
    seeds, forecaster.MIN_STEPS = range(arguments.seeds), arguments.steps
    from datasets import load_births, load_temperature

    days, births = load_births()
    hours = load_temperature()[1]
    tasks = {
        "births, a day ahead": (births, 1461, 1, {"season_length": 7, "dates": days}),
        "temperature, 24 hours ahead": (hours, 1460, 24, {"season_length": 24}),
    }
    samplers = {"all before": segments.Segments, "zeros": FromZeros, "zeros, half to warm up": FromZerosWarm}
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
