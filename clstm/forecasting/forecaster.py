"""LSTMForecaster: series in, what comes next out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clstm._checks import (
    check_array,
    check_choice,
    check_dtype,
    check_flag,
    check_fraction,
    check_index,
    check_real,
    random_generator,
)
from clstm._package import public
from clstm.estimators.unconverted import UnconvertedModel as BaseModel
from clstm.forecasting import calendars, conformal
from clstm.forecasting.differencing import Differences
from clstm.forecasting.distributions import OUTPUTS, check_levels, make_output
from clstm.forecasting.frames import FrameForm, is_frame, read_frame, read_future, write_frame
from clstm.forecasting.network import ForecastNetwork
from clstm.forecasting.results import Backtest, Forecast
from clstm.forecasting.rollout import pad, roll, states_along
from clstm.forecasting.series import Form, Panel, check_dates, read_exogenous, read_series, settle_dates
from clstm.layers.base import blank_weights
from clstm.layers.lstm import State
from clstm.train.history import History

if TYPE_CHECKING:
    from clstm.trace import Trace

# An epoch of a short series has few steps: where the number of epochs is left open, it makes this many steps at least.
MIN_EPOCHS, MIN_STEPS = 10, 1000

# The learning rate goes down to this share of what it was at first.
LAST_LR = 0.01

# Levels between which a standard normal variable is 2 wide: half of that distance of a forecast is its spread.
SPREAD_LEVELS = (0.15865525393145707, 0.8413447460685429)


@dataclass
class _Standing:
    """Where forecasts set out from: a row for each place.

    Attributes
    ----------
    state : (h, c)
        Each (layers, rows, hidden_size), after all values but the last.
    tails : ndarray of shape (rows, order + 1, columns)
        The last values.
    seen : ndarray of int, shape (rows,)
        Number of values.
    series : ndarray of int, shape (rows,)
        Which series it is.
    """

    state: State
    tails: np.ndarray
    seen: np.ndarray
    series: np.ndarray


@public("clstm")
class LSTMForecaster(BaseModel):
    """An LSTM that reads series and forecasts what comes next, with intervals.

    The network reads a series from its beginning, value after value with what is known of the next step (exogenous
    variables and the calendar), and describes the next value by a distribution. Further steps ahead the forecast is fed
    back as if it had come. There is no window: the state holds what was read, `update` moves it on, and `backtest`
    goes on from it at every cut-off. Many series share one network, each with its own state and scale.

    Parameters
    ----------
    hidden_size : int, default 64
        Features of h and c in each layer.
    num_layers : int, default 1
        Layers of the LSTM.
    dropout : float, default 0.2
        On the LSTM's output and between layers, in training.
    output : {"student", "normal", "quantile"}, default "student"
        What describes a value: Student's t distribution, the normal distribution, or `quantiles`.
    quantiles : sequence of float
        Levels learnt with ``output="quantile"``, rising, two or more.
    season_length : int or sequence of int, optional
        The network learns the differences from the value so many steps before (of several lengths, differences of
        differences; a length of 1 takes out a trend). Where a season is strong, this helps most of all.
    calendar : "auto", None or sequence of {"hour", "weekday", "yearday"}, default "auto"
        What is told of the dates. "auto" takes what the series holds two periods of or more: two days, two weeks, two
        years. Without dates there is nothing to tell. Holidays are for `X`.
    freq : str, optional
        The step of the dates, as pandas has it: s, min, h, D, W, MS, ME, QS, QE, YS or YE, with a number before it or
        without. Found from the dates if left out.
    standardize : bool, default True
        Each series' values (or differences) and the exogenous variables are brought to mean 0 and deviation 1.
    segment_length : int, default 64
        Steps that gradients go back through in training; what came before is context all the same (`Segments`).
    n_epochs : int, optional
        Passes over the series. If left out 10, or more where short series need them to make 1,000 steps.
    batch_size : int, default 16
        Segments a step.
    lr : float, default 3e-3
        Learning rate of AdamW at first; it falls to a hundredth over half a cosine.
    weight_decay : float, default 0.1
        Of AdamW.
    clip_norm : float or None, default 1.0
        Limit of the gradients' common norm.
    ema_decay : float or None, default 0.99
        Decay of the moving average of the weights, which is what forecasts. None takes the last weights.
    patience : int, optional
        Stop after so many epochs in a row without a lower loss in validation.
    validation_fraction : float, default 0.1
        Share of each series, its end, that isn't trained on, but tells which epoch's weights are kept.
    n_samples : int, default 256
        Paths drawn for intervals and quantiles; may be set anew after `fit`.
    dtype : dtype, default float32
        float32 or float64, of the network.
    num_threads : int, optional
        Threads for the LSTM and the optimiser; None leaves it to `clstm.set_num_threads` and the environment.
    seed : int or numpy.random.Generator, optional
        For everything random in `fit`. The same seed and data give the same bits.
    verbose : int, default 1
        1 shows the progress of `fit` on standard error, 0 nothing.

    Attributes
    ----------
    network_ : ForecastNetwork
        The network, for what this class doesn't offer.
    history_ : History
        Losses and times of each epoch.
    n_iter_ : int
        Epochs that were ended.
    calendar_ : list of str
        What is told of the dates.
    frequency_ : clstm.forecasting.calendars.Frequency or None
        The step of the dates.

    Notes
    -----
    Forecasts keep nothing in the object: many threads may ask one forecaster at once. `update` and `calibrate` change
    it and are for one thread.

    The intervals' paths are drawn by fixed, evenly spread numbers (McKay, Beckman & Conover 1979), so that the same
    forecast is the same bits each time; `sample` draws by its own seed.

    Examples
    --------
    >>> import numpy as np
    >>> from clstm import LSTMForecaster
    >>> y = np.sin(np.arange(200) / 4)
    >>> forecaster = LSTMForecaster(hidden_size=8, n_epochs=2, seed=0, verbose=0).fit(y)
    >>> forecaster.predict(3).shape
    (3,)
    >>> sorted(forecaster.predict(3, level=[80]).lower)
    [80]
    """

    def __init__(
        self,
        *,
        hidden_size: int = 64,
        num_layers: int = 1,
        dropout: float = 0.2,
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
        weight_decay: float = 0.1,
        clip_norm: float | None = 1.0,
        ema_decay: float | None = 0.99,
        patience: int | None = None,
        validation_fraction: float = 0.1,
        n_samples: int = 256,
        dtype: Any = "float32",
        num_threads: int | None = None,
        seed: int | np.random.Generator | None = None,
        verbose: int = 1,
    ) -> None:
        self._store(locals())

    # -------------------------------------------------------------------------------------------------- training

    def fit(self, y: Any, X: Any = None, *, dates: Any = None) -> LSTMForecaster:
        """Learn from series, and stand at their ends.

        Ctrl-C ends the training and keeps what was learnt. If an exception ends it, the forecaster stays as it was.

        Parameters
        ----------
        y : array_like, list of array_like, or data frame
            One series (time,), several columns (time, columns) that are forecast together, or a list of series of one
            kind and any lengths. Or a long data frame of pandas, polars or pyarrow, with the columns ``unique_id``,
            ``ds`` (dates or integers) and ``y``; all others are exogenous variables. Without NaN.
        X : array_like (time, exogenous), or list of them, optional
            What is known of each step before it comes, such as holidays or prices; beside `y`, whose form it has.
        dates : array_like of datetime64, or list of them, optional
            The date of each value, at a constant step, or of the first one only, with `freq`.

        Returns
        -------
        LSTMForecaster
            Itself.

        Raises
        ------
        TypeError
            Values that aren't numbers, or an argument of the wrong kind.
        ValueError
            Values that aren't finite, series too short, shapes that don't fit together, dates without a constant step,
            or an argument out of range.
        ImportError
            A data frame, and narwhals isn't installed.
        FloatingPointError
            The training diverged.
        """
        self._check_params()
        panel = self._panel(y, X, dates, None)
        # Another object until all is done: if anything fails, this one is as it was
        fitted = type(self)(**self.get_params())
        fitted._train(panel, fitted._prepare(panel))
        fitted._standing = fitted._read(panel)
        for name in [name for name in vars(self) if name.endswith("_") or name.startswith("_")]:
            delattr(self, name)
        vars(self).update(vars(fitted))
        return self

    def _prepare(self, panel: Panel) -> np.ndarray:
        """Find all that the network's inputs depend on; return how many values of each series it is trained on."""
        self.form_ = panel.form
        self.frequency_, starts = settle_dates(panel, self.freq)
        self.calendar_ = self._choose_calendar(int(panel.lengths.max()))
        self._starts = starts
        self._differences = self._make_differences()
        self._scores = None
        trained = panel.lengths - (panel.lengths * self.validation_fraction).astype(int)
        shortest = int(trained.argmin())
        needed = self._differences.order + 2
        if trained[shortest] < needed:
            kept = f", of which {trained[shortest]} to train on" if self.validation_fraction else ""
            raise ValueError(
                f"{panel.form.name(shortest)} has {panel.lengths[shortest]} values{kept}, expected {needed} or more "
                "(the sum of season_length, and 2)"
            )
        parts = [self._differences(y[:length]) for y, length in zip(panel.y, trained, strict=True)]
        X = np.concatenate([X[:length] for X, length in zip(panel.X, trained, strict=True)])
        self._center, self._scale = (np.concatenate(both) for both in zip(*map(self._scales, parts), strict=True))
        self._x_center, self._x_scale = self._scales(X)
        return trained

    def _scales(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and deviation of each column (1, columns); 1 in place of a deviation of 0."""
        if not self.standardize:
            return np.zeros((1, values.shape[1])), np.ones((1, values.shape[1]))
        center, scale = values.mean(axis=0, keepdims=True), values.std(axis=0, keepdims=True)
        return center, np.where(scale > 1e-12 * np.abs(center), scale, 1)

    def _train(self, panel: Panel, trained: np.ndarray) -> None:
        from clstm.forecasting.segments import Batch, Segments
        from clstm.optim import AdamW
        from clstm.schedules import CosineLR
        from clstm.train.loop import fit

        generator = random_generator(self.seed)
        self.network_ = network = self._make_network(generator)
        inputs, targets, lengths = self._inputs(panel)
        train_lengths = trained - self._differences.order - 1
        segments = Segments(network, inputs, train_lengths, self.segment_length, self.batch_size, generator)

        def loss_of(raw: np.ndarray, target: np.ndarray, counted: np.ndarray) -> tuple[float, np.ndarray]:
            return network.output.loss(raw, target, np.broadcast_to(counted[..., np.newaxis], target.shape))

        def loss_step(batch: Batch) -> tuple[float, dict[str, np.ndarray]]:
            here = batch.places, batch.rows
            raw, context = network.forward_train(inputs[here], batch.state, batch.lengths)
            loss, draw = loss_of(raw, targets[here], batch.inside)
            return loss, network.backward(context, draw)

        steps = np.arange(len(inputs))[:, np.newaxis]
        held_out = (steps >= train_lengths) & (steps < lengths)

        def validate() -> tuple[float, None]:
            raw, _ = network(inputs, None, lengths)
            return loss_of(raw, targets, held_out)[0], None

        n_epochs = self.n_epochs or max(MIN_EPOCHS, math.ceil(MIN_STEPS / len(segments)))
        optimizer = AdamW(network, lr=self.lr, weight_decay=self.weight_decay)
        self.history_ = fit(
            optimizer,
            loss_step,
            segments,
            n_epochs=n_epochs,
            validate=validate if held_out.any() else None,
            patience=self.patience if held_out.any() else None,
            ema_decay=self.ema_decay,
            clip_norm=self.clip_norm,
            schedule=CosineLR(optimizer, n_epochs * len(segments), min_lr=self.lr * LAST_LR),
            schedule_every="batch",
            verbose=int(self.verbose),
        )
        self.n_iter_ = self.history_.n_epochs

    # ------------------------------------------------------------------------------------------------- forecasts

    def predict(self, h: int, X: Any = None, level: float | Sequence[float] | None = None) -> Any:
        """Forecast the next `h` values of each series.

        Parameters
        ----------
        h : int
            1 or more.
        X : array_like (h, exogenous), list of them, or data frame, optional
            The exogenous variables of these steps, where `fit` had some: a frame with ``unique_id``, ``ds`` and them.
        level : number or sequence of numbers, optional
            Of intervals, in percent: ``[80, 95]``.

        Returns
        -------
        ndarray of shape (h,) or (h, columns)
            The medians. A list of them where `fit` had a list. With `level` a `Forecast` in place of each.
        data frame
            Where `fit` had one, of the same kind: ``unique_id``, ``ds``, ``LSTMForecaster`` and, for each level,
            ``LSTMForecaster-lo-80`` and ``LSTMForecaster-hi-80``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            Exogenous variables that are missing or of another number than at `fit`, a level outside 0 to 100, or after
            `calibrate` one with an `h` beyond its.
        """
        self._check_fitted()
        h = check_index("h", h, low=1)
        levels = _check_intervals(level)
        known = self._known_ahead(h, X)
        point, ends = self._forecast(self._standing, known, levels)
        dates = self._dates_ahead(h)
        if isinstance(self.form_, FrameForm):
            return write_frame(self.form_, dates, _columns(point[..., 0], ends[..., 0], levels))
        if level is None:
            return self.form_.shown(self.form_.shaped(point))
        point, ends = self.form_.shaped(point), self.form_.shaped(ends)
        forecasts = [
            Forecast(one, *_by_level(levels, ends[:, :, place]), dates[place]) for place, one in enumerate(point)
        ]
        return self.form_.shown(forecasts)

    def predict_quantiles(self, h: int, quantiles: Sequence[float], X: Any = None) -> Any:
        """Forecast quantiles of the next `h` values of each series.

        Parameters
        ----------
        h : int
        quantiles : sequence of float
            Levels between 0 and 1, rising.
        X
            As for `predict`, whose errors this raises too.

        Returns
        -------
        ndarray of shape (h, quantiles) or (h, columns, quantiles)
            A list of them where `fit` had a list. A data frame where it had one, with a column
            ``LSTMForecaster-q-0.1`` for each.
        """
        self._check_fitted()
        h = check_index("h", h, low=1)
        quantiles = check_levels("quantiles", quantiles)
        values = self._quantiles(self._standing, self._known_ahead(h, X), quantiles)
        if isinstance(self.form_, FrameForm):
            columns = {f"LSTMForecaster-q-{level:g}": one[..., 0] for level, one in zip(quantiles, values, strict=True)}
            return write_frame(self.form_, self._dates_ahead(h), columns)
        return self.form_.shown(np.moveaxis(self.form_.shaped(values), 0, -1))

    def sample(self, n_samples: int, h: int, X: Any = None, *, seed: int | np.random.Generator | None = None) -> Any:
        """Draw paths of the next `h` values of each series, each step drawn given those before it.

        Calibration doesn't change them.

        Parameters
        ----------
        n_samples, h : int
        X
            As for `predict`, whose errors this raises too.
        seed : int or numpy.random.Generator, optional

        Returns
        -------
        ndarray of shape (n_samples, h) or (n_samples, h, columns)
            A list of them where `fit` had a list. A data frame where it had one, with a column ``sample``.
        """
        self._check_fitted()
        n_samples, h = check_index("n_samples", n_samples, low=1), check_index("h", h, low=1)
        uniform = random_generator(seed).uniform(np.finfo(np.float32).tiny, 1, (n_samples, h, self.form_.columns))
        paths = self._roll(self._standing, self._known_ahead(h, X), uniform)
        if isinstance(self.form_, FrameForm):
            dates = [np.tile(one, n_samples) for one in self._dates_ahead(h)]
            number = np.repeat(np.arange(n_samples), h)
            columns = {"sample": [number] * len(dates), "LSTMForecaster": paths.reshape(len(paths), -1)}
            return write_frame(self.form_, dates, columns)
        return self.form_.shown(self.form_.shaped(paths))

    def update(self, y: Any, X: Any = None) -> LSTMForecaster:
        """Go on by new values: the state moves, the weights stay.

        Takes time in proportion to the new values, however many came before.

        Parameters
        ----------
        y : array_like, list of array_like, or data frame
            What came since, in the form that `fit` had; of some series it may be nothing. A frame's dates go on from
            those seen, and series may be missing.
        X : array_like, or list of them, optional
            Beside `y`, where `fit` had exogenous variables.

        Returns
        -------
        LSTMForecaster
            Itself.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            As of `fit`, or another form, or dates that don't go on; the forecaster is as it was then.
        """
        self._check_fitted()
        panel = self._panel(y, X, None, self.form_, some=True)
        if panel.dates is not None:
            for place, dates in enumerate(panel.dates):
                start = self.frequency_.dates(self._starts[place], self._standing.seen[place], 1)[0]
                check_dates(panel.form.dates_name(place), dates, self.frequency_, start)
        self._standing = self._read(panel, self._standing)
        return self

    def backtest(
        self,
        y: Any,
        X: Any = None,
        *,
        h: int,
        n_windows: int = 1,
        step_size: int = 1,
        level: float | Sequence[float] | None = None,
        calibration_windows: int | None = None,
    ) -> Any:
        """Forecast `h` values from each of several cut-offs, as if no more of the series had come.

        The series is read once; the state is kept at every cut-off, and from all of them the forecasts go on together.
        They are what `predict` gives after reading as much.

        Parameters
        ----------
        y, X
            Series from the beginning, as for `fit`, in the form that it had; also longer ones. In place of dates, they
            are taken to begin where those of `fit` did; a frame has its own.
        h : int
            Steps ahead.
        n_windows : int, default 1
            Cut-offs. The last one is `h` values before the end.
        step_size : int, default 1
            Values between the cut-offs.
        level : number or sequence of numbers, optional
            Of intervals, in percent.
        calibration_windows : int, optional
            The intervals at each cut-off are those of `calibrate` with the last so many cut-offs before it of which
            all `h` values had come: as if it had been called again at each.

        Returns
        -------
        Backtest
            A list of them where `fit` had a list. A data frame where it had one: ``unique_id``, ``ds``, ``cutoff``
            (the last date known), ``y``, and what `predict` gives.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            As of `fit` and `predict`, or a series too short for so many cut-offs.
        """
        self._check_fitted()
        h = check_index("h", h, low=1)
        levels = _check_intervals(level)
        panel = self._panel(y, X, None, self.form_)
        if calibration_windows is None:
            cutoffs, standing, known, actual = self._cut(panel, h, n_windows, step_size)
            point, ends = self._forecast(standing, known, levels)
            actual, point = (array.reshape(*cutoffs.shape, h, -1) for array in (actual, point))
            ends = ends.reshape(2, len(levels), *point.shape)
        else:
            size = check_index("calibration_windows", calibration_windows, low=1)
            cutoffs, actual, point, ends = self._backtest_calibrated(panel, h, n_windows, step_size, levels, size)
        series = len(cutoffs)
        starts = list(zip(self._starts_of(panel), cutoffs[:, :, np.newaxis], strict=True))
        ahead = [self._dates(start, cuts, h) for start, cuts in starts]
        if isinstance(self.form_, FrameForm):
            last = [np.repeat(self._dates(start, cuts - 1, 1), h) for start, cuts in starts]
            content = {"y": actual[..., 0], **_columns(point[..., 0], ends[..., 0], levels)}
            flat = {name: array.reshape(series, -1) for name, array in content.items()}
            return write_frame(self.form_, [dates.ravel() for dates in ahead], {"cutoff": last, **flat})
        actual, point, ends = map(self.form_.shaped, (actual, point, ends))
        results = []
        for place in range(series):
            here = point[place], *_by_level(levels, ends[:, :, place]), ahead[place]
            results.append(Backtest(*here, actual=actual[place], cutoffs=cutoffs[place]))
        return self.form_.shown(results)

    def trace(self, y: Any, X: Any = None) -> Trace:
        """Return the gates, cell states and outputs of the LSTM at every step, while it reads series.

        Parameters
        ----------
        y, X
            Series from the beginning, as for `backtest`.

        Returns
        -------
        clstm.trace.Trace
            Of one series without a batch axis; of several, time first. A step reads a value (or its difference from
            those that `season_length` tells) and what is known of the next: so the first has the number of the first
            difference, and there is none for the last value.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            As of `backtest`.
        """
        trace = self._trace(y, exogenous=X)
        return trace.row(0) if self.form_.single else trace

    def _read_to_trace(self, X: Any, exogenous: Any = None) -> tuple[np.ndarray, np.ndarray, None]:
        panel = self._panel(X, exogenous, None, self.form_)
        shortest, needed = int(panel.lengths.argmin()), self._differences.order + 2
        if panel.lengths[shortest] < needed:
            name = panel.form.name(shortest)
            raise ValueError(f"{name} has {panel.lengths[shortest]} values, expected {needed} or more")
        inputs, _, lengths = self._inputs(panel)
        return inputs, lengths, None

    def calibrate(self, y: Any, X: Any = None, *, h: int, n_windows: int, step_size: int = 1) -> LSTMForecaster:
        """Make intervals as wide as the errors of a backtest say: split conformal intervals, for each step ahead.

        From here on `predict`, `predict_quantiles` and `backtest` give these, up to `h` steps ahead. Where the future
        is like the windows, they cover what they say, whatever the network believes. So the windows should lie where
        it wasn't trained: after the series of `fit`, or in the validation part at their ends; and where a series
        changes, they should be recent: calibrate again when more has come.

        Parameters
        ----------
        y, X, h, n_windows, step_size
            As for `backtest`, whose errors this raises too.

        Returns
        -------
        LSTMForecaster
            Itself.
        """
        self._check_fitted()
        h = check_index("h", h, low=1)
        panel = self._panel(y, X, None, self.form_)
        _, standing, known, actual = self._cut(panel, h, n_windows, step_size)
        point, spread = self._point_and_spread(standing, known)
        self._scores = conformal.sort_scores((actual - point) / spread)
        return self

    # ------------------------------------------------------------------------------------------- how it is done

    def _panel(self, y: Any, X: Any, dates: Any, form: Form | None, *, some: bool = False) -> Panel:
        """Return the series of a call, in the form that they must have."""
        framed = is_frame(y)
        if form is not None and framed != isinstance(form, FrameForm):
            raise TypeError(f"y is {type(y).__name__}, but fit had {'no data frame' if framed else 'a data frame'}")
        if not framed:
            panel = read_series(y, X, dates, form)
            if form is not None and len(panel.y) != len(self._starts):
                raise ValueError(f"y holds {len(panel.y)} series, expected {len(self._starts)} as at fit")
            return panel
        for name, value in (("X", X), ("dates", dates)):
            if value is not None:
                raise TypeError(f"{name} is given beside a data frame, expected it in the frame's columns")
        panel = read_frame("y", y, form, some=some)
        if form is not None and not some:
            for place, one in enumerate(panel.dates):
                check_dates(panel.form.dates_name(place), one, self.frequency_)
        return panel

    def _starts_of(self, panel: Panel) -> list[Any]:
        """Return the first date of each series, or None where there are no dates."""
        return self._starts if panel.dates is None else [dates[0] for dates in panel.dates]

    def _dates(self, start: Any, first: Any, count: int) -> np.ndarray | None:
        """Return `count` dates of a series from number `first` on, or where that is an array, from each of them."""
        return None if self.frequency_ is None else self.frequency_.dates(start, first, count)

    def _known(self, X: np.ndarray, start: Any, first: int) -> np.ndarray:
        """Return what is known of steps ahead of a series, from number `first` on: (time, features)."""
        parts = [(X - self._x_center) / self._x_scale]
        if self.calendar_:
            parts.append(calendars.features(self.frequency_.dates(start, first, len(X)), self.calendar_))
        return np.concatenate(parts, axis=1)

    def _known_ahead(self, h: int, X: Any) -> np.ndarray:
        """Return what is known of the next steps of all series, (series, h, features)."""
        form, seen = self.form_, self._standing.seen
        if isinstance(form, FrameForm) and X is not None:
            if not is_frame(X):
                raise TypeError(f"X is {type(X).__name__}, expected a data frame as at fit")
            parts = read_future(X, form, self._dates_ahead(h), self.frequency_)
        else:
            parts = read_exogenous(X, [h] * len(seen), form.single, form.exogenous)
        return np.stack([self._known(*each) for each in zip(parts, self._starts, seen, strict=True)])

    def _dates_ahead(self, h: int) -> list[np.ndarray | None]:
        return [self._dates(start, seen, h) for start, seen in zip(self._starts, self._standing.seen, strict=True)]

    def _inputs(self, panel: Panel, standing: _Standing | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the network's inputs and targets, (time, series, ...), and each series' number of steps.

        A step has the difference at one place and what is known of the next; its target is the next difference. From a
        standing on, `panel` holds what came since.
        """
        order = self._differences.order
        inputs, targets = [], []
        starts = self._starts_of(panel) if standing is None else self._starts
        for place, (y, X) in enumerate(zip(panel.y, panel.X, strict=True)):
            if standing is None:
                known = self._known(X, starts[place], 0)[order + 1 :]
            else:
                known = self._known(X, starts[place], standing.seen[place])
                y = np.concatenate([standing.tails[place], y])
            z = (self._differences(y) - self._center[place]) / self._scale[place]
            inputs.append(np.concatenate([z[:-1], known], axis=1))
            targets.append(z[1:])
        padded, lengths = pad(inputs, self.network_.dtype)
        return padded, pad(targets, self.network_.dtype)[0], lengths

    def _read(self, panel: Panel, standing: _Standing | None = None) -> _Standing:
        """Read series from their beginnings, or on from a standing; return where they stand at their ends."""
        inputs, _, lengths = self._inputs(panel, standing)
        _, state = self.network_.lstm(inputs, None if standing is None else standing.state, lengths)
        tail = self._differences.order + 1
        if standing is None:
            tails, seen = [y[-tail:] for y in panel.y], panel.lengths
        else:
            tails = [np.concatenate(both)[-tail:] for both in zip(standing.tails, panel.y, strict=True)]
            seen = standing.seen + panel.lengths
        return _Standing(state, np.stack(tails), seen, np.arange(len(seen)))

    def _cut(
        self, panel: Panel, h: int, n_windows: int, step_size: int
    ) -> tuple[np.ndarray, _Standing, np.ndarray, np.ndarray]:
        """Read series once; return the cut-offs (series, windows), and from all in a row: standing, known, actual."""
        n_windows, step_size = check_index("n_windows", n_windows, low=1), check_index("step_size", step_size, low=1)
        tail = self._differences.order + 1
        back = h + step_size * np.arange(n_windows)[::-1]
        shortest = int(panel.lengths.argmin())
        if panel.lengths[shortest] < back[0] + tail:
            raise ValueError(
                f"{panel.form.name(shortest)} has {panel.lengths[shortest]} values, expected {back[0] + tail} or more "
                f"for {n_windows} windows of {h} steps"
            )
        cutoffs = panel.lengths[:, np.newaxis] - back
        inputs, _, lengths = self._inputs(panel)
        stops = cutoffs - tail
        lstm = self.network_.lstm
        h_at, c_at = (np.empty((lstm.num_layers, *stops.shape, lstm.hidden_size), lstm.dtype) for _ in "hc")
        for stop, (h_n, c_n) in states_along(self.network_, inputs, lengths, np.unique(stops)):
            series, windows = np.nonzero(stops == stop)
            h_at[:, series, windows], c_at[:, series, windows] = h_n[:, series], c_n[:, series]
        rows = [(place, cut) for place, cuts in enumerate(cutoffs) for cut in cuts]
        known = [self._known(X, start, 0) for X, start in zip(panel.X, self._starts_of(panel), strict=True)]
        standing = _Standing(
            tuple(array.reshape(lstm.num_layers, len(rows), -1) for array in (h_at, c_at)),
            np.stack([panel.y[place][cut - tail : cut] for place, cut in rows]),
            cutoffs.ravel(),
            np.repeat(np.arange(len(cutoffs)), n_windows),
        )
        ahead, actual = (np.stack([arrays[place][cut : cut + h] for place, cut in rows]) for arrays in (known, panel.y))
        return cutoffs, standing, ahead, actual

    def _roll(self, standing: _Standing, known: np.ndarray, uniform: np.ndarray | None = None) -> np.ndarray:
        """Return paths from each place of a standing: (rows, samples, h, columns)."""
        center, scale = self._center[standing.series], self._scale[standing.series]
        return roll(self.network_, self._differences, standing.state, standing.tails, known, center, scale, uniform)

    def _forecast(
        self, standing: _Standing, known: np.ndarray, levels: Sequence[float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return medians (rows, h, columns), and the ends of intervals (2, levels, rows, h, columns)."""
        point = self._roll(standing, known)[:, 0]
        if not levels:
            return point, np.empty((2, 0, *point.shape))
        ends = self._quantiles(standing, known, _interval_ends(levels), point)
        return point, ends.reshape(2, len(levels), *point.shape)

    def _backtest_calibrated(
        self, panel: Panel, h: int, n_windows: int, step_size: int, levels: Sequence[float], size: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return cut-offs, values, medians and ends of intervals, by series and window, calibrated at each cut-off."""
        n_windows, step_size = check_index("n_windows", n_windows, low=1), check_index("step_size", step_size, low=1)
        gap = -(-h // step_size)  # windows until one has come
        cutoffs, standing, known, actual = self._cut(panel, h, n_windows + size + gap - 1, step_size)
        parts = actual, *self._point_and_spread(standing, known)
        actual, point, spread = (array.reshape(*cutoffs.shape, h, -1) for array in parts)
        scores = conformal.rolling_quantiles((actual - point) / spread, size, n_windows, _interval_ends(levels))
        cutoffs, actual, point, spread = (array[:, -n_windows:] for array in (cutoffs, actual, point, spread))
        ends = point + spread * scores[:, np.newaxis]
        return cutoffs, actual, point, ends.reshape(2, len(levels), *point.shape)

    def _quantiles(
        self, standing: _Standing, known: np.ndarray, levels: Sequence[float], point: np.ndarray | None = None
    ) -> np.ndarray:
        """Return quantiles (levels, rows, h, columns)."""
        if self._scores is None:
            return self._sampled_quantiles(standing, known, levels)
        h, limit = known.shape[1], len(self._scores)
        if h > limit:
            raise ValueError(f"h is {h}, expected at most {limit}, for which calibrate made the intervals")
        point, spread = self._point_and_spread(standing, known, point)
        return np.stack([point + spread * conformal.quantile(self._scores[:h], level) for level in levels])

    def _point_and_spread(
        self, standing: _Standing, known: np.ndarray, point: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return medians, and half the widths in which the network puts 68% of the probability."""
        low, high = self._sampled_quantiles(standing, known, SPREAD_LEVELS)
        point = self._roll(standing, known)[:, 0] if point is None else point
        return point, (high - low) / 2

    def _sampled_quantiles(self, standing: _Standing, known: np.ndarray, levels: Sequence[float]) -> np.ndarray:
        """Return quantiles of `n_samples` paths, whose uniform numbers are one in each of as many equal parts."""
        n_samples = check_index("n_samples", self.n_samples, low=2)  # may have been set since `fit`
        shape = (n_samples, known.shape[1], self.form_.columns)
        parts = np.arange(n_samples)[:, np.newaxis, np.newaxis]
        uniform = (np.random.default_rng(0).permuted(np.broadcast_to(parts, shape), axis=0) + 0.5) / n_samples
        # The k-th smallest of n such numbers is (k - 1/2) / n, which is Hazen's definition of a quantile
        return np.quantile(self._roll(standing, known, uniform), levels, axis=1, method="hazen")

    # ------------------------------------------------------------------------------------------------- arguments

    def _check_params(self) -> None:
        """Raise TypeError or ValueError for an argument of the wrong kind or out of range."""

        def optional(check: Callable[..., Any], name: str, **limits: float) -> None:
            if getattr(self, name) is not None:
                check(name, getattr(self, name), **limits)

        for name in ("hidden_size", "num_layers", "segment_length", "batch_size"):
            check_index(name, getattr(self, name), low=1)
        check_index("n_samples", self.n_samples, low=2)
        for name in ("n_epochs", "patience", "num_threads"):
            optional(check_index, name, low=1)
        check_real("dropout", self.dropout, low=0.0, high=1.0)
        check_choice("output", self.output, OUTPUTS)
        if len(check_levels("quantiles", self.quantiles)) < 2:
            raise ValueError(f"quantiles is {self.quantiles!r}, expected two levels or more")
        for lag in self._lags():
            check_index("season_length", lag, low=1)
        if self.calendar is not None and self.calendar != "auto":
            if isinstance(self.calendar, str) or not isinstance(self.calendar, Sequence):
                raise ValueError(
                    f"calendar is {self.calendar!r}, expected 'auto', None or a list of {', '.join(calendars.FEATURES)}"
                )
            for feature in self.calendar:
                check_choice("calendar", feature, calendars.FEATURES)
        if self.freq is not None:
            calendars.check_frequency("freq", self.freq)
        check_flag("standardize", self.standardize)
        check_real("lr", self.lr, low=0.0)
        check_real("weight_decay", self.weight_decay, low=0.0)
        optional(check_real, "clip_norm", low=0.0)
        optional(check_real, "ema_decay", low=0.0, high=1.0)
        check_fraction("validation_fraction", self.validation_fraction)
        check_dtype("dtype", self.dtype)
        random_generator(self.seed)
        if not isinstance(self.verbose, bool):
            check_index("verbose", self.verbose, low=0)

    def _lags(self) -> Sequence[int]:
        if self.season_length is None:
            return ()
        return self.season_length if isinstance(self.season_length, (list, tuple)) else (self.season_length,)

    def _choose_calendar(self, steps: int) -> list[str]:
        if self.calendar is None:
            return []
        if self.calendar == "auto":
            return calendars.choose_features(self.frequency_, steps) if self.frequency_ else []
        if self.frequency_ is None or not self.frequency_.seconds:
            raise ValueError(f"calendar is {self.calendar!r}, but there are no dates to tell it from")
        return list(self.calendar)

    def _make_differences(self) -> Differences:
        return Differences(self._lags())

    def _make_network(self, generator: np.random.Generator) -> ForecastNetwork:
        form = self.form_
        return ForecastNetwork(
            form.columns + form.exogenous + calendars.count_features(self.calendar_),
            self.hidden_size,
            self.num_layers,
            form.columns,
            make_output(self.output, self.quantiles),
            dropout=self.dropout,
            dtype=self.dtype,
            seed=generator,
            num_threads=self.num_threads,
        )

    # ----------------------------------------------------------------------------------------------------- files

    def _fitted_content(self) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
        standing = self._standing
        config = {
            "form": {"frame": isinstance(self.form_, FrameForm), **asdict(self.form_)},
            "frequency": None if self.frequency_ is None else self.frequency_.name,
            "starts": [
                start if start is None else start.item() if start.dtype.kind == "i" else str(start)
                for start in self._starts
            ],
            "calendar": self.calendar_,
            "history": self.history_.as_dict(),
        }
        arrays = {
            "seen": standing.seen,
            "h": standing.state[0],
            "c": standing.state[1],
            "tails": standing.tails,
            "center": self._center,
            "scale": self._scale,
            "x_center": self._x_center,
            "x_scale": self._x_scale,
        }
        if self._scores is not None:
            arrays["scores"] = self._scores
        weights = {f"network.{name}": weight for name, weight in self.network_.parameters().items()}
        return config, arrays | weights

    def _restore(self, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        form = dict(config["form"])
        self.form_ = (FrameForm if form.pop("frame") else Form)(**form)
        self.form_.check()
        name = config["frequency"]
        self.frequency_ = None if name is None else calendars.read_frequency(name)
        self.calendar_ = [check_choice("its calendar", feature, calendars.FEATURES) for feature in config["calendar"]]
        self.history_ = History.from_dict(config["history"])
        self.n_iter_ = self.history_.n_epochs
        self._differences = self._make_differences()

        arrays = dict(arrays)
        weights = {name[8:]: arrays.pop(name) for name in list(arrays) if name.startswith("network.")}
        series, form, order = len(arrays["seen"]), self.form_, self._differences.order
        state = [("layers", self.num_layers), ("series", series), ("hidden_size", self.hidden_size)]
        by_series, exogenous = (
            [("series", series), ("columns", form.columns)],
            [("one", 1), ("exogenous", form.exogenous)],
        )
        tails = [("series", series), ("values", order + 1), ("columns", form.columns)]
        expected = {
            "seen": (np.int64, [("series", series)]),
            "h": (self.dtype, state), "c": (self.dtype, state), "tails": (np.float64, tails),
            "center": (np.float64, by_series), "scale": (np.float64, by_series),
            "x_center": (np.float64, exogenous), "x_scale": (np.float64, exogenous),
        }  # fmt: skip
        if "scores" in arrays:
            expected["scores"] = (np.float64, [("h", None), ("columns", form.columns), ("windows", None)])
        if set(arrays) != set(expected):
            raise ValueError(f"it has the arrays {', '.join(sorted(arrays))}, expected {', '.join(sorted(expected))}")
        kept = {name: check_array(name, arrays[name], dtype, shape) for name, (dtype, shape) in expected.items()}
        starts = config["starts"]
        if not series or (isinstance(form, FrameForm) and len(form.ids) != series):
            raise ValueError(f"it has {series} series, which aren't those of its form")
        if not isinstance(starts, list) or len(starts) != series or (None in starts) != (name is None):
            raise ValueError("its dates aren't those of its series")
        self._starts = [_read_start(start) for start in starts]
        self._standing = _Standing((kept["h"], kept["c"]), kept["tails"], kept["seen"], np.arange(series))
        self._center, self._scale = kept["center"], kept["scale"]
        self._x_center, self._x_scale = kept["x_center"], kept["x_scale"]
        self._scores = kept.get("scores")

        with blank_weights():
            self.network_ = self._make_network(random_generator(0))
        self.network_.load_state_dict(weights, assign=True)


def _read_start(start: Any) -> Any:
    """Return a series' first date as a file has it."""
    if start is None or type(start) is int:
        return start if start is None else np.int64(start)
    return np.datetime64(start, "s")


def _check_intervals(level: Any) -> list[float]:
    """Return the levels of intervals as they were given, in a list."""
    levels = [] if level is None else level if isinstance(level, (Sequence, np.ndarray)) else [level]
    for one in levels:
        if not 0 < check_real("level", one) < 100:
            raise ValueError(f"level is {one!r}, expected above 0 and below 100 (percent)")
    return list(levels)


def _interval_ends(levels: Sequence[float]) -> list[float]:
    """Return the quantiles of the lower ends, and then of the upper ones."""
    tails = [(100 - level) / 200 for level in levels]
    return tails + [1 - tail for tail in tails]


def _by_level(levels: Sequence[float], ends: np.ndarray) -> tuple[dict[float, np.ndarray], dict[float, np.ndarray]]:
    """Return the lower and the upper ends (2, levels, ...) by level."""
    lower, upper = (dict(zip(levels, one, strict=True)) for one in ends)
    return lower, upper


def _columns(point: np.ndarray, ends: np.ndarray, levels: Sequence[float]) -> dict[str, np.ndarray]:
    """Return the columns of a data frame by name."""
    columns = {"LSTMForecaster": point}
    for level, lower, upper in zip(levels, *ends, strict=True):
        columns |= {f"LSTMForecaster-lo-{level:g}": lower, f"LSTMForecaster-hi-{level:g}": upper}
    return columns
