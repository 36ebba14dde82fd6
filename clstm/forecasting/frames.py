"""Long data frames of pandas, polars and pyarrow, by narwhals: `unique_id`, `ds` and `y`, and exogenous columns."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm._checks import check_choice
from clstm.forecasting.calendars import Frequency
from clstm.forecasting.dates import check_dates
from clstm.forecasting.results import Forecast, Windows
from clstm.forecasting.series import Form, Panel, is_frame, read_array

BACKENDS = ("pandas", "polars", "pyarrow")
ID, DS, Y = "unique_id", "ds", "y"
FORECAST = "LSTMForecaster"  # the column of points, and how the columns of intervals and quantiles begin


@dataclass(frozen=True)
class FrameForm(Form):
    """The form of series in a long data frame.

    Attributes
    ----------
    backend : str
        The library of the frame, and of those that are returned.
    ids : list
        The ids of the series, in the order in which `fit` learnt them.
    names : list of str
        Of the exogenous columns.
    ds : str
        The dates' type: "Date", "Int64", or the unit of a date with a time.
    """

    backend: str
    ids: list[Any]
    names: list[str]
    ds: str

    def check(self) -> None:
        """Raise TypeError or ValueError if the attributes, which a file gave, aren't those of a form."""
        super().check()
        if self.backend not in BACKENDS:
            raise ValueError(f"its frames are of {self.backend!r:.40}, expected one of {', '.join(BACKENDS)}")
        for name, values, kinds in (("ids", self.ids, (str, int)), ("names", self.names, (str,))):
            if not isinstance(values, list) or not all(type(value) in kinds for value in values):
                raise TypeError(f"its {name} aren't a list of names")
        check_choice("its ds", self.ds, ("Date", "Int64", "s", "ms", "us", "ns"))
        if (self.single, self.flat, self.columns, self.exogenous) != (False, True, 1, len(self.names)):
            raise ValueError("its series aren't those of a frame")

    def name(self, index: int) -> str:
        """Return what a series is called in errors."""
        return f"the series {self.ids[index]!r} of y"

    def dates_name(self, index: int) -> str:
        """Return what a series' dates are called in errors."""
        return f"y[{DS!r}] of {self.ids[index]!r}"

    def read(self, y: Any, X: Any, *, partial: bool = False) -> Panel:
        """Return the series of a call after `fit`, as `Form.read` does."""
        if not is_frame(y):
            raise TypeError(f"y is {type(y).__name__}, but fit had a data frame")
        return read_frame(y, X, None, self, partial=partial)

    def read_ahead(self, X: Any, h: int, dates: Sequence[Any], frequency: Frequency | None) -> list[np.ndarray]:
        """Return the exogenous variables of the next `h` steps of each series, as `Form.read_ahead` does."""
        if X is None:
            return super().read_ahead(X, h, dates, frequency)
        if not is_frame(X):
            raise TypeError(f"X is {type(X).__name__}, expected a data frame as at fit")
        return _read_future(X, self, dates, frequency)

    def return_points(self, point: np.ndarray, dates: Sequence[Any]) -> Any:
        """Return point forecasts (series, h, columns) in a frame."""
        return _write_frame(self, dates, {FORECAST: self.squeeze(point)})

    def return_forecasts(
        self, point: np.ndarray, ends: np.ndarray, levels: Sequence[float], dates: Sequence[Any]
    ) -> Any:
        """Return forecasts in a frame, with two columns for each level, as `Form.return_forecasts` describes them."""
        return _write_frame(self, dates, _forecast_columns(self._forecasts(point, ends, levels, dates)))

    def return_quantiles(self, values: np.ndarray, levels: Sequence[float], dates: Sequence[Any]) -> Any:
        """Return quantiles (levels, series, h, columns) in a frame, with a column for each level."""
        values = self.squeeze(values)
        columns = {f"{FORECAST}-q-{level:g}": one for level, one in zip(levels, values, strict=True)}
        return _write_frame(self, dates, columns)

    def return_paths(self, paths: np.ndarray, dates: Sequence[Any]) -> Any:
        """Return paths (series, samples, h, columns) in a frame, with each path's number in the column ``sample``."""
        _, samples, h, _ = paths.shape
        number = np.repeat(np.arange(samples), h)
        columns = {"sample": [number] * len(paths), FORECAST: paths.reshape(len(paths), -1)}
        return _write_frame(self, [np.tile(one, samples) for one in dates], columns)

    def return_backtests(self, windows: Windows, levels: Sequence[float], dates: Sequence[Any]) -> Any:
        """Return backtests in a frame, with the last date before each cut-off in the column ``cutoff``."""
        backtests = self._backtests(windows, levels, dates)
        h = windows.point.shape[2]
        columns = {"y": [backtest.actual for backtest in backtests], **_forecast_columns(backtests)}
        columns = {name: [array.ravel() for array in arrays] for name, arrays in columns.items()}
        cutoffs = {"cutoff": [np.repeat(one[:, 0], h) for one in dates]}
        return _write_frame(self, [one[:, 1:].ravel() for one in dates], cutoffs | columns)


def _forecast_columns(forecasts: Sequence[Forecast]) -> dict[str, list[np.ndarray]]:
    """Return the columns of a frame by name, each an array for each series."""
    columns = {FORECAST: [forecast.point for forecast in forecasts]}
    for level in forecasts[0].lower:
        columns[f"{FORECAST}-lo-{level:g}"] = [forecast.lower[level] for forecast in forecasts]
        columns[f"{FORECAST}-hi-{level:g}"] = [forecast.upper[level] for forecast in forecasts]
    return columns


def make_frame(content: Mapping[str, Any], backend: str | None = None) -> Any:
    """Return a frame of these columns; its library is `backend`, or if left out the first one that is installed.

    Raises
    ------
    ImportError
        narwhals isn't installed, or that library isn't, or none of them is.
    """
    nw = _narwhals()
    found = [name for name in BACKENDS if importlib.util.find_spec(name)]
    if backend is None and found:
        backend = found[0]
    if backend not in found:
        raise ImportError(f"data frames need {backend or 'pandas, polars or pyarrow'}, which isn't installed")
    return nw.from_dict(dict(content), backend=backend).to_native()


def read_columns(frame: Any) -> dict[str, np.ndarray]:
    """Return a frame's columns by name."""
    frame = _narwhals().from_native(frame, eager_only=True)
    return {name: frame[name].to_numpy() for name in frame.columns}


def read_frame(y: Any, X: Any, dates: Any, form: FrameForm | None, *, partial: bool = False) -> Panel:
    """Return the series of a frame.

    Parameters
    ----------
    y : data frame
        In any order of its rows.
    X, dates
        Other arguments of the call, which must be None: the frame has columns for them.
    form : FrameForm, optional
        The form that it must have; any if left out.
    partial : bool, default False
        Whether series of the form may be missing; they are empty then.

    Raises
    ------
    ImportError
        narwhals isn't installed.
    TypeError, ValueError
        It lacks a column or a series, holds others, or something that isn't a finite number.
    """
    for name, value in (("X", X), ("dates", dates)):
        if value is not None:
            raise TypeError(f"{name} is given together with a data frame, expected it in the frame's columns")
    frame = _narwhals().from_native(y, eager_only=True)
    backend = frame.implementation.value
    if backend not in BACKENDS:
        raise TypeError(f"y is a frame of {backend}, expected one of {', '.join(BACKENDS)}")
    columns = list(frame.columns)
    names = [column for column in columns if column not in (ID, DS, Y)] if form is None else form.names
    _check_columns("y", columns, [ID, DS, Y, *names])
    ids, rows, all_dates = _split("y", frame)
    if form is None:
        form = FrameForm(
            single=False,
            flat=True,
            columns=1,
            exogenous=len(names),
            backend=backend,
            ids=[_check_id(one) for one in ids],
            names=names,
            ds=_ds_type("y", frame),
        )
    rows = _rows_of_form("y", ids, rows, form, partial)
    values = read_array(f"y[{Y!r}]", frame[Y].to_numpy())[:, np.newaxis]
    exogenous = _exogenous("y", frame, names)
    return Panel(
        form, [values[own] for own in rows], [exogenous[own] for own in rows], [all_dates[own] for own in rows]
    )


def _read_future(frame: Any, form: FrameForm, ahead: Sequence[np.ndarray], frequency: Any) -> list[np.ndarray]:
    """Return the exogenous variables at the dates ahead of each series; raise the errors of `Form.read_ahead`."""
    if not form.names:
        raise ValueError("X is given, but fit had no exogenous variables")
    frame = _narwhals().from_native(frame, eager_only=True)
    _check_columns("X", list(frame.columns), [ID, DS, *form.names])
    ids, rows, dates = _split("X", frame)
    rows = _rows_of_form("X", ids, rows, form, False)
    for one, own, expected in zip(form.ids, rows, ahead, strict=True):
        if len(own) != len(expected):
            raise ValueError(f"X holds {len(own)} dates of {one!r}, expected {len(expected)} from {expected[0]} on")
        check_dates(f"X[{DS!r}] of {one!r}", dates[own], frequency, expected[0])
    X = _exogenous("X", frame, form.names)
    return [X[own] for own in rows]


def _write_frame(form: FrameForm, dates: Sequence[Any], values: Mapping[str, Any]) -> Any:
    """Return a long frame with the ids, the dates of each series, and named columns, each an array for each series.

    A column whose arrays are datetime64 gets the type of the dates.
    """
    nw = _narwhals()
    ids = np.repeat(np.arange(len(form.ids)), [len(one) for one in dates])
    content = {ID: [form.ids[index] for index in ids]}
    for name, arrays in {DS: dates, **values}.items():
        joined = np.concatenate(arrays)
        content[name] = joined.astype("datetime64[us]") if joined.dtype.kind == "M" else joined
    frame = nw.from_dict(content, backend=form.backend)
    if form.ds == "Int64":
        return frame.to_native()
    if form.ds == "Date":  # which pandas lacks
        dtype = nw.Datetime("us") if form.backend == "pandas" else nw.Date()
    else:
        dtype = nw.Datetime(form.ds)
    of_dates = [name for name in frame.columns if frame[name].dtype == nw.Datetime]
    return frame.with_columns(nw.col(*of_dates).cast(dtype)).to_native()


def _narwhals() -> Any:
    try:
        import narwhals.stable.v2 as nw
    except ImportError:
        raise ImportError("data frames need narwhals: pip install clstm-cpu[frames]") from None
    return nw


def _check_columns(name: str, columns: list[str], expected: list[str]) -> None:
    missing = [column for column in expected if column not in columns]
    if missing:
        raise ValueError(f"{name} lacks the columns {', '.join(missing)}; it has {', '.join(map(str, columns))}")


def _split(name: str, frame: Any) -> tuple[list[Any], list[np.ndarray], np.ndarray]:
    """Return the ids, the rows of each id in the order of its dates, and the dates of all rows."""
    if not len(frame):
        raise ValueError(f"{name} has no rows, expected some")
    dates = frame[DS].to_numpy()
    if dates.dtype.kind not in "iu":
        try:
            dates = dates.astype("datetime64[s]")
        except (TypeError, ValueError):
            raise TypeError(f"{name}[{DS!r}] has dtype {frame[DS].dtype}, expected dates or integers") from None
        if np.isnat(dates).any():
            raise ValueError(f"{name}[{DS!r}] holds a missing date")
    if frame[ID].null_count():
        raise ValueError(f"{name}[{ID!r}] holds a missing value")
    try:
        ids, codes = np.unique(frame[ID].to_numpy(), return_inverse=True)
    except TypeError:
        raise TypeError(f"{name}[{ID!r}] holds values of several kinds, expected strings or integers") from None
    order = np.lexsort((dates, codes))
    return ids.tolist(), np.split(order, np.flatnonzero(np.diff(codes[order])) + 1), dates


def _rows_of_form(
    name: str, ids: list[Any], rows: list[np.ndarray], form: FrameForm, partial: bool
) -> list[np.ndarray]:
    """Return the rows of each series of the form, in its order; none for a missing one where `partial` allows it."""
    found = dict(zip(ids, rows, strict=True))
    unknown = [one for one in ids if one not in form.ids]
    missing = [one for one in form.ids if one not in found]
    if unknown or (missing and not partial):
        problem = f"holds {unknown[0]!r}, which fit did not" if unknown else f"lacks {missing[0]!r}, which fit had"
        raise ValueError(f"{name}[{ID!r}] {problem}; expected the same series")
    return [found.get(one, np.array([], np.int64)) for one in form.ids]


def _exogenous(name: str, frame: Any, names: list[str]) -> np.ndarray:
    """Return the exogenous columns (rows, exogenous) of a frame."""
    columns = [read_array(f"{name}[{column!r}]", frame[column].to_numpy()) for column in names]
    return np.stack(columns, axis=1) if columns else np.empty((len(frame), 0))


def _ds_type(name: str, frame: Any) -> str:
    """Return the type of a frame's dates, as `FrameForm.ds` has it."""
    nw = _narwhals()
    dtype = frame[DS].dtype
    if dtype == nw.Datetime:
        if dtype.time_zone is not None:
            raise TypeError(f"{name}[{DS!r}] has the time zone {dtype.time_zone}, expected none; convert it first")
        return dtype.time_unit
    if dtype.is_integer():
        return "Int64"
    return "Date" if dtype == nw.Date else "us"


def _check_id(value: Any) -> Any:
    """Return the id of a series if it is a string or an integer, which JSON can hold; raise TypeError if not."""
    if not isinstance(value, (str, int)):
        raise TypeError(f"{ID} holds {value!r}, expected strings or integers")
    return value
