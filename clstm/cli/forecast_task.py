"""The task of ``clstm train --task forecast``: series that are to be continued."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from clstm.cli.console import CommandError, say
from clstm.cli.options import Setting, common, epochs_for_steps, integer
from clstm.cli.task import DATE_COLUMN, ID_COLUMN, VALUE_COLUMN, Task, listed

if TYPE_CHECKING:
    import numpy as np

    from clstm.cli.series_files import Series

SERIES_FORMATS = """\
DATA is a CSV or TSV file in UTF-8 with a header, or - for standard input. It
has a row for each step, in order of time, at a constant step. Usual names:
  id        unique_id, where there are several series; they need dates, and
            narwhals with pandas, polars or pyarrow
  date      ds, date, datetime, timestamp, time: 2026-11-24, 2026-11-24 13:00;
            there may be none
  value     y, value; or the only column besides the date"""


def _epochs() -> str:
    from clstm.forecasting.training import MIN_EPOCHS, MIN_STEPS

    return epochs_for_steps(MIN_EPOCHS, MIN_STEPS)


class Forecasts(Task):
    """Series that are to be continued."""

    model = "LSTMForecaster"
    data = "series"
    data_help = SERIES_FORMATS
    columns = (ID_COLUMN, DATE_COLUMN, VALUE_COLUMN)
    has_validation = False
    settings = (
        Setting("n_epochs", integer(1), "passes over the data", _epochs, "--epochs"),
        Setting("batch_size", integer(1), "sequences a step"),
        *common("lr"),
        Setting("season_length", integer(1), "learn the difference from N steps before", "none"),
        Setting("freq", str, "step of the dates: s, min, h, D, W, MS, ...", "found from the dates"),
        # -o, --output is where the model is saved.
        Setting("output", ("student", "normal", "quantile"), "how a future value is described", "", "--distribution"),
        *common("hidden_size", "num_layers", "dropout", "standardize"),
        Setting("segment_length", integer(1), "steps that gradients go back through"),
        *common("weight_decay", "clip_norm", "ema_decay", "patience", "validation_fraction"),
    )

    def read(self, path: str, arguments: Namespace, known_labels: Iterable[str] = ()) -> Any:
        """Return one series or several."""
        from clstm.cli.series_files import read_series

        columns = {f"{name}_column": getattr(arguments, f"{name}_column") for name in ("id", "date", "value")}
        series = read_series(path, format=arguments.format, **columns)
        span = "" if series.dates is None else f", {series.dates.min()} to {series.dates.max()}"
        number = f" of {len(set(series.ids.tolist())):,} series" if series.ids is not None and series.several else ""
        say(f"{series.source}: {len(series.values):,} steps{number}{span} ({series.layout})")
        return series

    def fit(self, model: Any, data: Any, validation: Any) -> None:
        """Train the forecaster."""
        if data.several:
            model.fit(frame_of(data))
        else:
            model.fit(data.values, dates=data.dates)

    def count(self, model: Any, data: Any) -> dict[str, Any]:
        """Return the numbers of steps and of series, if there are several."""
        return {"steps": len(data.values), **({"series": len(model.form_.ids)} if data.several else {})}

    def test(self, model: Any, data: Any, arguments: Namespace) -> dict[str, Any]:
        """Return the mean absolute error of a backtest, and how many values each interval held."""
        h, windows, levels = arguments.horizon, arguments.windows, arguments.level
        options = {"h": h, "n_windows": windows, "step_size": h, "level": levels}
        if has_named_series(model, data):
            error, shares = _measured(model.backtest(frame_of(data, model), **options), levels)
        else:
            backtest = model.backtest(data.values, **options)
            error, shares = backtest.mean_absolute_error, [backtest.coverage(level) for level in levels]
        return {
            "mean_absolute_error": error,
            "coverage": {f"{level:g}": share for level, share in zip(levels, shares, strict=True)},
            "horizon": h,
            "windows": windows,
        }

    def show(self, result: dict[str, Any]) -> list[str]:
        """Return the same in lines."""
        from clstm.cli.data_files import counted

        error = f"mean absolute error {result['mean_absolute_error']:.6g}"
        lines = [f"{error} ({counted(result['windows'], 'window')} of {counted(result['horizon'], 'step')})"]
        return lines + [f"within the {level}% interval: {share:.1%}" for level, share in result["coverage"].items()]


def _measured(frame: Any, levels: list[float]) -> tuple[float, list[float]]:
    """Return the mean absolute error and the coverage of each level, of a backtest of several series."""
    import numpy as np

    from clstm.forecasting.frames import read_columns

    found = read_columns(frame)
    actual, name = found["y"], "LSTMForecaster"
    inside = [(found[f"{name}-lo-{x:g}"] <= actual) & (actual <= found[f"{name}-hi-{x:g}"]) for x in levels]
    return float(np.abs(actual - found[name]).mean()), [float(values.mean()) for values in inside]


def has_named_series(model: Any, data: Any = None) -> bool:
    """Return whether a forecaster has several series by their names, as long frames have them.

    Raises
    ------
    CommandError
        It has several without names, or several columns; or the data, if there are any, aren't of the same kind.
    """
    names = getattr(model.form_, "ids", None)
    if names is None and not (model.form_.single and model.form_.flat):
        raise CommandError("the model forecasts several series without names, which is for Python only")
    if data is not None:
        if names is None and data.several:
            raise CommandError(f"{data.source}: holds several series, but the model was trained on one")
        if names is not None and data.ids is None:
            raise CommandError(
                f"{data.source}: has no column of ids, but the model forecasts {listed(map(str, names))}"
            )
        if names is not None and model.form_.ds == "Int64":
            raise CommandError("the model's steps have numbers in place of dates, which is for Python only")
    return names is not None


def frame_of(data: Series, model: Any = None, unseen: bool = False) -> Any:
    """Return several series as a long frame.

    Parameters
    ----------
    data : Series
    model : LSTMForecaster, optional
        The frame is of the library whose frames this model was trained on; without it, of any that is installed.
    unseen : bool, default False
        Leave out the rows that the model has already seen.

    Raises
    ------
    CommandError
        The series have no dates.
    """
    import numpy as np

    from clstm.forecasting.frames import DS, ID, Y, make_frame, read_columns

    if data.dates is None or data.ids is None:
        raise CommandError(f"{data.source}: has no column of dates, which several series need besides ids")
    rows: Any = slice(None)
    if unseen:
        ahead = read_columns(model.predict(1))
        next_dates = dict(zip(ahead[ID].tolist(), ahead[DS], strict=True))
        names, series = np.unique(data.ids, return_inverse=True)
        # All rows of a series that the model doesn't know stay in, so that `update` refuses it by name.
        rows = data.dates >= np.array([next_dates.get(name, data.dates.min()) for name in names.tolist()])[series]
    content = {ID: data.ids[rows].tolist(), DS: data.dates[rows].astype("datetime64[us]"), Y: data.values[rows]}
    return make_frame(content, None if model is None else model.form_.backend)


def update_from(model: Any, series: Series) -> None:
    """Update a forecaster with the values after its training; rows with dates that it has seen are skipped.

    Raises
    ------
    CommandError
        The dates don't continue those of the training.
    """
    import numpy as np

    if has_named_series(model, series):
        frame = frame_of(series, model, unseen=True)
        if len(frame):
            model.update(frame)
        return
    values = series.values
    next_dates = model.predict(1, level=[]).dates
    if next_dates is not None:
        if series.dates is None:
            raise CommandError(f"{series.source}: has no dates, but the model was trained on a series with dates")
        unseen = series.dates >= next_dates[0]
        values, dates = values[unseen], series.dates[unseen]
        expected = model.frequency_.dates(next_dates[0], 0, len(values))
        wrong = np.flatnonzero(dates != expected)
        if len(wrong):
            found, wanted = date_texts(dates[wrong])[0], date_texts(expected[wrong])[0]
            raise CommandError(f"{series.source}: continues at {found}, expected {wanted}")
    if len(values):
        model.update(values)


def date_texts(dates: np.ndarray) -> list[str]:
    """Return dates as text, to the coarsest of days, minutes and seconds that loses nothing."""
    unit = next((unit for unit in ("D", "m") if (dates.astype(f"datetime64[{unit}]") == dates).all()), "s")
    return dates.astype(f"datetime64[{unit}]").astype(str).tolist()
