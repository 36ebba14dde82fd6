"""LSTMForecaster: series in, what comes next out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm.base import BaseModel
from clstm.calendars import FEATURES, Frequency, check_frequency, choose_features, features
from clstm.checks import check_choice, check_dtype, check_flag, check_index, check_real, random_generator
from clstm.differencing import Differences
from clstm.distributions import OUTPUTS, check_levels, make_output
from clstm.forecast_network import ForecastNetwork
from clstm.history import History
from clstm.lstm import State
from clstm.rollout import pad, roll, states_along
from clstm.series import Form, Panel, read_exogenous, read_series, settle_dates

# Where the number of epochs is left open, it makes this many steps at least.
MIN_EPOCHS, MIN_STEPS = 10, 1000


@dataclass
class _Standing:
    """Where series stand: the state after all values but the last, the last values, and the number of values seen."""

    state: State
    tails: np.ndarray  # (series, order + 1, columns)
    seen: np.ndarray  # (series,)


class LSTMForecaster(BaseModel):
    def __init__(
        self,
        *,
        hidden_size: int = 64,
        num_layers: int = 1,
        dropout: float = 0.0,
        output: str = "student",
        quantiles: Sequence[float] = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975),
        season_length: int | Sequence[int] | None = None,
        calendar: str | Sequence[str] | None = "auto",
        freq: str | None = None,
        standardize: bool = True,
        segment_length: int = 64,
        n_epochs: int | None = None,
        batch_size: int = 16,
        lr: float = 3e-3,
        weight_decay: float = 0.0,
        clip_norm: float | None = 1.0,
        ema_decay: float | None = 0.99,
        patience: int | None = None,
        validation_fraction: float = 0.0,
        n_samples: int = 256,
        dtype: Any = np.float32,
        num_threads: int | None = None,
        seed: int | np.random.Generator | None = None,
        verbose: int = 1,
    ) -> None:
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.dropout = dropout
        self.output = output
        self.quantiles = quantiles
        self.season_length = season_length
        self.calendar = calendar
        self.freq = freq
        self.standardize = standardize
        self.segment_length = segment_length
        self.n_epochs = n_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.ema_decay = ema_decay
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.n_samples = n_samples
        self.dtype = dtype
        self.num_threads = num_threads
        self.seed = seed
        self.verbose = verbose

    def fit(self, y: Any, X: Any = None, *, dates: Any = None) -> LSTMForecaster:
        from clstm.optim import AdamW
        from clstm.schedules import CosineLR
        from clstm.train import fit

        panel = read_series(y, X, dates, None)
        frequency, starts = settle_dates(panel, self.freq)
        fitted = LSTMForecaster(**self.get_params())
        fitted.form_, fitted.frequency_, fitted.starts_ = panel.form, frequency, starts
        fitted.calendar_ = fitted._choose_calendar(int(panel.lengths.max()))
        fitted.differences_ = self._make_differences()
        order = fitted.differences_.order
        train_lengths = [len(one) - int(len(one) * self.validation_fraction) for one in panel.y]
        fitted._set_scales(panel, train_lengths)
        generator = random_generator(self.seed)
        fitted.network_ = network = fitted._make_network(generator)

        inputs, targets, lengths = fitted._inputs(panel)
        train_steps = np.array(train_lengths) - order - 1
        segments = _Segments(network, inputs, train_steps, self.segment_length, self.batch_size, generator)

        def loss_step(batch):
            places, rows, state = batch.places, batch.rows, batch.state
            raw, context = network.forward_train(inputs[places, rows], state, batch.lengths)
            loss, draw = network.output.loss(raw, targets[places, rows], batch.weight(raw))
            return loss, network.backward(context, draw)

        def validate():
            raw, _ = network(inputs, None, lengths)
            steps = np.arange(len(inputs))[:, None]
            counted = (steps >= train_steps) & (steps < lengths)
            weight = np.repeat(counted.astype(raw.dtype)[:, :, None], panel.form.columns, axis=2)
            return network.output.loss(raw, targets, weight)[0], None

        optimizer = AdamW(network, lr=self.lr, weight_decay=self.weight_decay)
        n_epochs = self.n_epochs or max(MIN_EPOCHS, math.ceil(MIN_STEPS / len(segments)))
        validated = any(length < len(one) for length, one in zip(train_lengths, panel.y, strict=True))
        fitted.history_ = fit(
            optimizer, loss_step, segments, n_epochs=n_epochs, validate=validate if validated else None,
            patience=self.patience, ema_decay=self.ema_decay, clip_norm=self.clip_norm,
            schedule=CosineLR(optimizer, n_epochs * len(segments), min_lr=self.lr * 0.01), schedule_every="batch",
            verbose=int(self.verbose),
        )
        fitted._standing = fitted._read(panel)
        self.__dict__.update(fitted.__dict__)
        return self

    # ------------------------------------------------------------
    def _known(self, start_index: int, X: list[np.ndarray], first: int) -> list[np.ndarray]:
        rows = []
        for place, one in enumerate(X):
            parts = [(one - self.x_center_) / self.x_scale_]
            if self.calendar_:
                dates = self.frequency_.dates(self.starts_[place], first[place] if np.ndim(first) else first, len(one))
                parts.append(features(dates, self.calendar_))
            rows.append(np.concatenate(parts, axis=1))
        return rows

    def _choose_calendar(self, steps: int) -> list[str]:
        if self.frequency_ is None or self.calendar is None:
            return []
        if self.calendar == "auto":
            return choose_features(self.frequency_, steps)
        return list(self.calendar)

    def _make_differences(self) -> Differences:
        lags = self.season_length
        return Differences(() if lags is None else (lags,) if isinstance(lags, int) else lags)

    def _set_scales(self, panel, train_lengths):
        differenced = [self.differences_(y[:length]) for y, length in zip(panel.y, train_lengths, strict=True)]
        self.center_ = np.array([z.mean(axis=0) for z in differenced])
        self.scale_ = np.array([z.std(axis=0) for z in differenced])
        self.scale_[self.scale_ == 0] = 1
        X = np.concatenate(panel.X)
        self.x_center_, self.x_scale_ = X.mean(axis=0), X.std(axis=0)
        self.x_scale_[self.x_scale_ == 0] = 1

    def _make_network(self, generator):
        width = self.form_.columns + self.form_.exogenous + features(np.array([], "datetime64[s]"), self.calendar_).shape[1]
        return ForecastNetwork(
            width, self.hidden_size, self.num_layers, self.form_.columns, make_output(self.output, self.quantiles),
            dropout=self.dropout, dtype=self.dtype, seed=generator, num_threads=self.num_threads,
        )

    def _inputs(self, panel, first=0):
        known = self._known(0, panel.X, first)
        z = [(self.differences_(y) - c) / s for y, c, s in zip(panel.y, self.center_, self.scale_, strict=True)]
        order = self.differences_.order
        inputs, lengths = pad([np.concatenate([a[:-1], k[order + 1:]], axis=1) for a, k in zip(z, known, strict=True)], self.network_.dtype)
        targets, _ = pad([a[1:] for a in z], self.network_.dtype)
        return inputs, targets, lengths

    def _read(self, panel):
        inputs, _, lengths = self._inputs(panel)
        _, state = self.network_.lstm(inputs, None, lengths)
        tails = np.stack([y[-(self.differences_.order + 1):] for y in panel.y])
        return _Standing(state, tails, panel.lengths)

    def _uniform(self, h, n_samples, rng):
        shape = (n_samples, h, self.form_.columns)
        strata = rng.permuted(np.broadcast_to(np.arange(n_samples)[:, None, None], shape), axis=0)
        return (strata + 0.5) / n_samples

    def backtest_raw(self, y, X=None, *, dates=None, h, n_windows, step_size=1, samples=0):
        panel = read_series(y, X, dates, self.form_)
        order = self.differences_.order
        T = int(panel.lengths[0])
        cuts = T - h - step_size * np.arange(n_windows)[::-1]
        inputs, _, lengths = self._inputs(panel)
        known = self._known(0, panel.X, 0)[0]
        hs, cs = [], []
        for _, (a, b) in states_along(self.network_, inputs, lengths, cuts - order - 1):
            hs.append(a); cs.append(b)
        state = np.concatenate(hs, 1), np.concatenate(cs, 1)
        yy = panel.y[0]
        tails = np.stack([yy[c - order - 1:c] for c in cuts])
        kn = np.stack([known[c:c + h] for c in cuts])
        actual = np.stack([yy[c:c + h] for c in cuts])
        R = len(cuts)
        u = self._uniform(h, samples, np.random.default_rng(0)) if samples else None
        out = roll(self.network_, self.differences_, state, tails, kn, np.repeat(self.center_, R, 0), np.repeat(self.scale_, R, 0), u)
        return actual, out


@dataclass
class _Batch:
    places: np.ndarray
    rows: np.ndarray
    lengths: np.ndarray
    state: State

    def __len__(self):
        return len(self.rows)

    def weight(self, raw):
        inside = np.arange(len(self.places))[:, None] < self.lengths
        return np.broadcast_to(inside.astype(raw.dtype)[:, :, None], raw.shape[:-1])


class _Segments:
    def __init__(self, network, inputs, lengths, size, batch_size, generator, mode="bank"):
        self.network, self.inputs, self.lengths = network, inputs, lengths
        self.size, self.batch_size, self.generator = size, batch_size, generator

    def __len__(self):
        count = int(np.ceil(self.lengths / self.size).sum()) 
        return max(1, count // self.batch_size)

    def __iter__(self) -> Iterator[_Batch]:
        offset = int(self.generator.integers(self.size))
        stops = [0, *range(offset or self.size, int(self.lengths.max()), self.size)]
        hs, cs, starts, rows = [], [], [], []
        for stop, (h, c) in states_along(self.network, self.inputs, self.lengths, stops):
            alive = np.flatnonzero(self.lengths > stop)
            hs.append(h[:, alive]); cs.append(c[:, alive]); rows.append(alive); starts.append(np.full(len(alive), stop))
        h, c = np.concatenate(hs, 1), np.concatenate(cs, 1)
        starts, rows = np.concatenate(starts), np.concatenate(rows)
        ends = np.minimum(np.where(starts == 0, offset or self.size, starts + self.size), self.lengths[rows])
        order = self.generator.permutation(len(rows))
        for chosen in np.array_split(order, min(len(self), len(order))):
            span = ends[chosen] - starts[chosen]
            places = np.minimum(starts[chosen] + np.arange(span.max())[:, None], len(self.inputs) - 1)
            yield _Batch(places, rows[chosen], span, (h[:, chosen], c[:, chosen]))
