"""LSTMForecaster: reads series and forecasts their next values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from clstm._checks import check_dtype, check_flag, check_index, random_generator
from clstm._package import public
from clstm.estimators.base import BaseModel
from clstm.estimators.parameters import (
    AT_LEAST_1,
    FRACTION,
    NOT_NEGATIVE,
    PROBABILITY,
    Check,
    at_least,
    check_seed,
    check_verbose,
    one_of,
    optional,
)
from clstm.forecasting.backtesting import backtest, backtest_calibrated, conformity_scores
from clstm.forecasting.calendars import Frequency, check_features, check_frequency
from clstm.forecasting.cutoffs import read_on
from clstm.forecasting.differencing import check_season_length
from clstm.forecasting.distributions import OUTPUTS, check_levels
from clstm.forecasting.fitted import FittedForecaster
from clstm.forecasting.predictive import PredictiveDistribution, check_interval_levels
from clstm.forecasting.series import Form

if TYPE_CHECKING:
    from clstm.trace import Trace


def check_quantiles(name: str, value: Any) -> None:
    """Check for two or more rising levels between 0 and 1."""
    if len(check_levels(name, value)) < 2:
        raise ValueError(f"{name} is {value!r}, expected two levels or more")


@public("clstm")
class LSTMForecaster(BaseModel):
    """An LSTM that reads series and forecasts their next values, with intervals.

    The network reads a series from its beginning: at each step a value, together with the covariates of the next step
    (exogenous variables and the calendar). It describes the next value by a distribution. To forecast further ahead,
    each forecast is fed back as if it had been observed. There is no window of past values: the state of the network
    represents all of them. `update` advances it by new values, and `backtest` forecasts from it at every cut-off. Many
    series share one network, each with its own state and scale.

    Parameters
    ----------
    hidden_size : int, default 64
        Features of h and c in each layer.
    num_layers : int, default 1
        Layers of the LSTM.
    dropout : float, default 0.2
        On the LSTM's output and between layers, in training.
    output : {"student", "normal", "quantile"}, default "student"
        How a value is described: by Student's t distribution, the normal distribution, or `quantiles`.
    quantiles : sequence of float
        Levels learnt with ``output="quantile"``, rising, two or more.
    season_length : int or sequence of int, optional
        The network learns the differences from the values so many steps before (of several lengths, differences of
        differences; a length of 1 removes a trend). For strongly seasonal series this improves forecasts most.
    calendar : "auto", None or sequence of {"hour", "weekday", "yearday"}, default "auto"
        Features of the dates. "auto" takes those of which the series has two periods or more: two days, two weeks, two
        years. Without dates there are none. For holidays use `X`.
    freq : str, optional
        The step of the dates, in pandas' notation: s, min, h, D, W, MS, ME, QS, QE, YS or YE, or a number and one of
        these. Found from the dates if left out.
    standardize : bool, default True
        Scale each series' values (or differences) and the exogenous variables to mean 0 and standard deviation 1.
    segment_length : int, default 64
        Steps of a segment, through which gradients go back in training; the state at its beginning represents all
        values before it.
    n_epochs : int, optional
        Passes over the series. If left out 10, or more if short series need them for 1,000 optimiser steps.
    batch_size : int, default 16
        Segments in a mini-batch.
    lr : float, default 3e-3
        Initial learning rate of AdamW; it falls to a hundredth of it along half a cosine.
    weight_decay : float, default 0.1
        Of AdamW.
    clip_norm : float or None, default 1.0
        Limit of the global norm of the gradients.
    ema_decay : float or None, default 0.99
        Decay of the moving average of the weights, which forecasts are made with. None takes the last weights.
    patience : int, optional
        Stop after so many epochs in a row without a lower validation loss.
    validation_fraction : float, default 0.1
        Fraction of each series, at its end, that the network isn't trained on; the weights with the lowest loss there
        are taken.
    n_samples : int, default 256
        Paths drawn for intervals and quantiles. The only argument that counts without another `fit`: each call takes
        the value set then.
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
        The network, for what this class has no method for.
    history_ : History
        Losses and times of each epoch.
    n_iter_ : int
        Number of completed epochs.
    calendar_ : list of str
        The calendar features.
    frequency_ : clstm.forecasting.Frequency or None
        The step of the dates.
    form_ : clstm.forecasting.series.Form
        The form of the series, which later calls must have.

    Notes
    -----
    Forecasts don't change the object, so that several threads may use one forecaster at once. `update` and `calibrate`
    change it, by one assignment at their end.

    The paths for intervals are drawn by fixed, evenly spread numbers (McKay, Beckman & Conover 1979), so that the same
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

    _fitted: FittedForecaster
    _fitted_class = FittedForecaster
    _checks: ClassVar[Mapping[str, Check]] = {
        "hidden_size": AT_LEAST_1,
        "num_layers": AT_LEAST_1,
        "dropout": PROBABILITY,
        "output": one_of(OUTPUTS),
        "quantiles": check_quantiles,
        "season_length": check_season_length,
        "calendar": check_features,
        "freq": optional(check_frequency),
        "standardize": check_flag,
        "segment_length": AT_LEAST_1,
        "n_epochs": optional(AT_LEAST_1),
        "batch_size": AT_LEAST_1,
        "lr": NOT_NEGATIVE,
        "weight_decay": NOT_NEGATIVE,
        "clip_norm": optional(NOT_NEGATIVE),
        "ema_decay": optional(PROBABILITY),
        "patience": optional(AT_LEAST_1),
        "validation_fraction": FRACTION,
        "n_samples": at_least(2),
        "dtype": check_dtype,
        "num_threads": optional(AT_LEAST_1),
        "seed": check_seed,
        "verbose": check_verbose,
    }

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

    @property
    def calendar_(self) -> list[str]:
        """The calendar features."""
        return list(self._fitted.encoding.calendar)

    @property
    def frequency_(self) -> Frequency | None:
        """The step of the dates."""
        return self._fitted.encoding.frequency

    @property
    def form_(self) -> Form:
        """The form of the series, which later calls must have."""
        return self._fitted.encoding.form

    # -------------------------------------------------------------------------------------------------- training

    def fit(self, y: Any, X: Any = None, *, dates: Any = None) -> LSTMForecaster:
        """Learn from series, whose ends forecasts then start from.

        Ctrl-C ends the training and keeps what was learnt. If `fit` raises, the forecaster stays as it was.

        Parameters
        ----------
        y : array_like, list of array_like, or data frame
            One series (time,), several columns (time, columns) that are forecast together, or a list of series of any
            lengths, all 1-D or all of the same columns. Or a long data frame of pandas, polars or pyarrow, with the
            columns ``unique_id``, ``ds`` (dates or integers) and ``y``; all others are exogenous variables. Without
            NaN.
        X : array_like (time, exogenous), or list of them, optional
            What is known of each step before it comes, such as holidays or prices, in the form of `y`.
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
        from clstm.forecasting.training import learn  # which predicting doesn't need

        return self._learn(learn, y, X, dates)

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
            The medians. A list of them where `fit` had a list. With `level` a `Forecast` instead of each array.
        data frame
            Where `fit` had one, of the same kind: ``unique_id``, ``ds``, ``LSTMForecaster`` and, for each level,
            ``LSTMForecaster-lo-80`` and ``LSTMForecaster-hi-80``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            Exogenous variables that are missing or of another number than at `fit`, a level outside 0 to 100, or a
            level and more steps ahead than `calibrate` was called with.
        """
        fitted, h, levels = self._fitted, check_index("h", h, low=1), check_interval_levels(level)
        form = fitted.encoding.form
        predictive, dates = self._predict(fitted, h, X)
        if level is None:
            return form.return_points(predictive.median, dates)
        return form.return_forecasts(predictive.median, predictive.intervals(levels), levels, dates)

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
        fitted, h, quantiles = self._fitted, check_index("h", h, low=1), check_levels("quantiles", quantiles)
        predictive, dates = self._predict(fitted, h, X)
        return fitted.encoding.form.return_quantiles(predictive.quantiles(quantiles), quantiles, dates)

    def sample(self, n_samples: int, h: int, X: Any = None, *, seed: int | np.random.Generator | None = None) -> Any:
        """Draw paths of the next `h` values of each series, each step drawn given those before it.

        They come from the network's distribution, which calibration doesn't change.

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
        fitted = self._fitted
        n_samples, h = check_index("n_samples", n_samples, low=1), check_index("h", h, low=1)
        form = fitted.encoding.form
        predictive, dates = self._predict(fitted, h, X)
        uniform = random_generator(seed).uniform(np.finfo(np.float32).tiny, 1, (n_samples, h, form.columns))
        return form.return_paths(predictive.paths(uniform), dates)

    def update(self, y: Any, X: Any = None) -> LSTMForecaster:
        """Read new values: the state advances past them, the weights don't change.

        The time it takes is proportional to the number of new values, however many came before.

        Parameters
        ----------
        y : array_like, list of array_like, or data frame
            The values after those read so far, in the form that `fit` had; some series may have none. A frame's dates
            continue those read so far, and series may be missing.
        X : array_like, or list of them, optional
            The exogenous variables of the same steps, where `fit` had some.

        Returns
        -------
        LSTMForecaster
            Itself.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            As for `fit`, or another form, or dates that don't continue. The forecaster stays as it was.
        """
        fitted = self._fitted
        panel = fitted.encoding.read_new(y, X, fitted.cutoff.n_values)
        self._fitted = replace(fitted, cutoff=read_on(fitted.network, fitted.encoding, panel, fitted.cutoff))
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
        """Forecast `h` values from each of several cut-offs, as if the series ended there.

        The series is read once; the state at every cut-off is stored, and the forecasts from all of them are computed
        together. They are those of `predict` after reading the values before the cut-off.

        Parameters
        ----------
        y, X
            Series from the beginning, as for `fit`, in the form that it had; they may be longer. They are assumed to
            begin at the same dates as those of `fit`; a frame has its own dates.
        h : int
            Steps ahead.
        n_windows : int, default 1
            Cut-offs. The last one is `h` values before the end.
        step_size : int, default 1
            Values between the cut-offs.
        level : number or sequence of numbers, optional
            Of intervals, in percent.
        calibration_windows : int, optional
            Calibrate the intervals at each cut-off, as if `calibrate` were called there with this number of windows:
            the last ones whose `h` values all lie before the cut-off.

        Returns
        -------
        Backtest
            A list of them where `fit` had a list. A data frame where it had one: ``unique_id``, ``ds``, ``cutoff``
            (the last date known), ``y``, and the columns of `predict`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            As for `fit` and `predict`, or a series too short for so many cut-offs.
        """
        fitted, h, levels = self._fitted, check_index("h", h, low=1), check_interval_levels(level)
        encoding = fitted.encoding
        panel = encoding.read(y, X)
        options = fitted, panel, h, n_windows, step_size, levels, self.n_samples
        if calibration_windows is None:
            windows = backtest(*options)
        else:
            windows = backtest_calibrated(*options, calibration_windows)
        lasts = windows.cutoffs[:, :, np.newaxis] - 1
        dates = [encoding.dates(*each, h + 1) for each in zip(encoding.starts_of(panel), lasts, strict=True)]
        return encoding.form.return_backtests(windows, levels, dates)

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
            those `season_length` steps before) and the covariates of the next value. So the first step is that of the
            first difference, and the last value, whose next one isn't known, has no step.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            As for `backtest`.
        """
        trace = self._trace(y, exogenous=X)
        return trace.row(0) if self.form_.single else trace

    def calibrate(self, y: Any, X: Any = None, *, h: int, n_windows: int, step_size: int = 1) -> LSTMForecaster:
        """Set the widths of intervals by the errors of a backtest: split conformal intervals, for each step ahead.

        From then on `predict`, `predict_quantiles` and `backtest` return these, up to `h` steps ahead. If future errors
        are like those of the windows, the intervals have the coverage of their level, whatever distribution the network
        learnt. So the windows should lie where it wasn't trained: after the series of `fit`, or in the validation part
        at their ends. If a series changes over time, the windows should be recent: calibrate again with new values.

        Parameters
        ----------
        y, X, h, n_windows, step_size
            As for `backtest`, whose errors this raises too.

        Returns
        -------
        LSTMForecaster
            Itself.
        """
        fitted, h = self._fitted, check_index("h", h, low=1)
        panel = fitted.encoding.read(y, X)
        scores = conformity_scores(fitted, panel, h, n_windows, step_size, self.n_samples)
        self._fitted = replace(fitted, scores=scores)
        return self

    def _predict(
        self, fitted: FittedForecaster, h: int, X: Any
    ) -> tuple[PredictiveDistribution, list[np.ndarray | None]]:
        """Return the predictive distribution of the next `h` values of each series, and their dates."""
        dates = fitted.encoding.dates_ahead(fitted.cutoff.n_values, h)
        covariates = fitted.encoding.covariates_ahead(X, h, dates)
        return PredictiveDistribution(fitted, fitted.cutoff, covariates, self.n_samples), dates
