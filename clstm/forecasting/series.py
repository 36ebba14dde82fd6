"""Series as arrays: one series, several columns, or a list of series; reading them, and returning forecasts alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm._checks import as_array, check_flag, check_index
from clstm.forecasting.calendars import Frequency
from clstm.forecasting.dates import read_dates
from clstm.forecasting.results import Backtest, Forecast, Windows


@dataclass
class Panel:
    """Series of one form.

    Attributes
    ----------
    form : Form
    y : list of ndarray of float64, shape (time_i, columns)
    X : list of ndarray of float64, shape (time_i, exogenous)
        The exogenous variables of the same steps.
    dates : list of ndarray, or None
        Of each series, where they are given.
    """

    form: Form
    y: list[np.ndarray]
    X: list[np.ndarray]
    dates: list[np.ndarray] | None

    @property
    def lengths(self) -> np.ndarray:
        """The number of values of each series."""
        return np.array([len(series) for series in self.y])


@dataclass(frozen=True)
class Form:
    """The form in which `fit` was given its series: later calls must have it, and forecasts are returned in it.

    This class is the form of arrays; `FrameForm` is that of data frames.

    Attributes
    ----------
    single : bool
        One series, not a list.
    flat : bool
        Each series is 1-D.
    columns, exogenous : int
        Columns of y and of X.
    """

    single: bool
    flat: bool
    columns: int
    exogenous: int

    def check(self) -> None:
        """Raise TypeError or ValueError if the attributes, which a file gave, aren't those of a form."""
        check_flag("single", self.single)
        check_flag("flat", self.flat)
        check_index("columns", self.columns, low=1)
        check_index("exogenous", self.exogenous, low=0)

    # ------------------------------------------------------------------------------------------ names in errors

    def name(self, index: int) -> str:
        """Return what a series is called in errors."""
        return "y" if self.single else f"y[{index}]"

    def dates_name(self, index: int) -> str:
        """Return what a series' dates are called in errors."""
        return "dates" if self.single else f"dates[{index}]"

    def shape(self) -> str:
        """Describe the shape of a series."""
        return "(time,)" if self.flat else f"(time, columns={self.columns})"

    # --------------------------------------------------------------------------------- reading what a call is given

    def read(self, y: Any, X: Any, *, partial: bool = False) -> Panel:
        """Return the series of a call after `fit`.

        Parameters
        ----------
        y, X
            As the caller gave them.
        partial : bool, default False
            Whether series of a frame may be missing; they are empty then.

        Raises
        ------
        TypeError, ValueError
            They have another form, or aren't finite numbers.
        """
        if is_frame(y):
            raise TypeError(f"y is {type(y).__name__}, but fit had no data frame")
        return read_series(y, X, None, self)

    def read_ahead(
        self, X: Any, h: int, dates: Sequence[np.ndarray | None], frequency: Frequency | None
    ) -> list[np.ndarray]:
        """Return the exogenous variables (h, exogenous) of the next `h` steps of each series.

        Parameters
        ----------
        X
            As the caller gave it.
        h : int
        dates : sequence of ndarray, or None in place of each
            The dates of these steps, which those of a frame must be.
        frequency : Frequency or None

        Raises
        ------
        TypeError, ValueError
            It has another form, or isn't finite numbers.
        """
        return read_exogenous(X, [h] * len(dates), self.single, self.exogenous)

    # ------------------------------------------------------------------------------------------ returning forecasts

    def squeeze(self, array: np.ndarray) -> np.ndarray:
        """Return an array whose last axis is the columns without that axis where series are 1-D."""
        return array[..., 0] if self.flat else array

    def return_points(self, point: np.ndarray, dates: Sequence[np.ndarray | None]) -> Any:
        """Return point forecasts (series, h, columns) in this form."""
        return self._unlist(self.squeeze(point))

    def return_forecasts(
        self, point: np.ndarray, ends: np.ndarray, levels: Sequence[float], dates: Sequence[np.ndarray | None]
    ) -> Any:
        """Return forecasts in this form.

        Parameters
        ----------
        point : ndarray of shape (series, h, columns)
        ends : ndarray of shape (2, levels, series, h, columns)
            The lower and the upper ends of the intervals.
        levels : sequence of float
            Of the intervals.
        dates : sequence of ndarray of shape (h,), or None in place of each
            Of each series.
        """
        return self._unlist(self._forecasts(point, ends, levels, dates))

    def return_quantiles(self, values: np.ndarray, levels: Sequence[float], dates: Sequence[np.ndarray | None]) -> Any:
        """Return quantiles (levels, series, h, columns) in this form."""
        return self._unlist(np.moveaxis(self.squeeze(values), 0, -1))

    def return_paths(self, paths: np.ndarray, dates: Sequence[np.ndarray | None]) -> Any:
        """Return sampled paths (series, samples, h, columns) in this form."""
        return self._unlist(self.squeeze(paths))

    def return_backtests(self, windows: Windows, levels: Sequence[float], dates: Sequence[np.ndarray | None]) -> Any:
        """Return backtests in this form.

        Parameters
        ----------
        windows : Windows
        levels : sequence of float
            Of the intervals.
        dates : sequence of ndarray of shape (windows, 1 + h), or None in place of each
            Of each series: the last date before each cut-off, and those of the steps after it.
        """
        return self._unlist(self._backtests(windows, levels, dates))

    def _forecasts(
        self, point: np.ndarray, ends: np.ndarray, levels: Sequence[float], dates: Sequence[np.ndarray | None]
    ) -> list[Forecast]:
        """Return the forecast of each series."""
        point, (lower, upper) = self.squeeze(point), self.squeeze(ends)
        return [
            Forecast(
                point[index],
                dict(zip(levels, lower[:, index], strict=True)),
                dict(zip(levels, upper[:, index], strict=True)),
                dates[index],
            )
            for index in range(len(point))
        ]

    def _backtests(
        self, windows: Windows, levels: Sequence[float], dates: Sequence[np.ndarray | None]
    ) -> list[Backtest]:
        """Return the backtest of each series."""
        ahead = [None if one is None else one[:, 1:] for one in dates]
        forecasts = self._forecasts(windows.point, windows.ends, levels, ahead)
        actual = self.squeeze(windows.actual)
        return [
            Backtest(**vars(forecast), actual=actual[index], cutoffs=windows.cutoffs[index])
            for index, forecast in enumerate(forecasts)
        ]

    def _unlist(self, values: Any) -> Any:
        """Return a list with an item for each series, or the item itself where the caller has a single series."""
        return values[0] if self.single else list(values)


def is_frame(value: Any) -> bool:
    """Return whether the value is a data frame (and not a data frame's column, or an array)."""
    return hasattr(value, "columns") and hasattr(value, "shape") and not isinstance(value, np.ndarray)


def read_series(y: Any, X: Any, dates: Any, form: Form | None) -> Panel:
    """Return the series of a call.

    Parameters
    ----------
    y : array_like or list of array_like
    X : the same, or None
    dates : array_like of datetime64 or int, a list of them, or None
        Of each value; or the first one's.
    form : Form, optional
        The form they must have; any if left out.

    Raises
    ------
    TypeError, ValueError
        They aren't series of finite numbers, or have another form.
    """
    single = not _is_list(y)
    names = ["y"] if single else [f"y[{index}]" for index in range(len(y))]
    if not single and not len(y):
        raise ValueError("y holds no series, expected one or more")
    if form is not None and form.single != single:
        raise ValueError(f"y is {'one series' if single else 'a list of series'}, but fit had {_kind(form.single)}")
    series = [read_array(name, one) for name, one in zip(names, [y] if single else y, strict=True)]
    flat = series[0].ndim == 1
    for name, one in zip(names, series, strict=True):
        if one.ndim not in (1, 2) or 0 in one.shape[1:]:
            raise ValueError(f"{name} has shape {one.shape}, expected (time,) or (time, columns)")
        if one.shape[1:] != series[0].shape[1:]:
            raise ValueError(f"{name} has shape {one.shape}, but {names[0]} {series[0].shape}: expected equal columns")
    columns = 1 if flat else series[0].shape[1]
    if form is not None and (form.flat, form.columns) != (flat, columns):
        raise ValueError(f"y has shape {series[0].shape}, expected {form.shape()} as at fit")
    series = [one.reshape(len(one), columns) for one in series]
    exogenous = read_exogenous(X, [len(one) for one in series], single, None if form is None else form.exogenous)
    form = form or Form(single, flat, columns, exogenous[0].shape[1])
    return Panel(form, series, exogenous, _read_all_dates(dates, series, form))


def read_exogenous(X: Any, lengths: Sequence[int], single: bool, expected: int | None) -> list[np.ndarray]:
    """Return the exogenous variables (time_i, exogenous) of series of these lengths.

    Parameters
    ----------
    X : array_like, list of array_like, or None
    lengths : sequence of int
    single : bool
        One series, not a list.
    expected : int, optional
        The number of variables; any if left out.

    Raises
    ------
    TypeError, ValueError
        They are missing, not expected, not finite numbers, or have another shape.
    """
    if X is None:
        if expected:
            raise ValueError(f"X is missing, expected the {expected} exogenous variables that fit had")
        return [np.empty((length, 0)) for length in lengths]
    if expected == 0:
        raise ValueError("X is given, but fit had no exogenous variables")
    if single == _is_list(X) and not (single and np.ndim(X[0]) < 2):
        raise ValueError(f"X is {'a list' if single else 'one array'}, but y is {_kind(single)}")
    parts = [X] if single else X
    if len(parts) != len(lengths):
        raise ValueError(f"X holds {len(parts)} series, expected {len(lengths)}")
    arrays: list[np.ndarray] = []
    for index, (part, length) in enumerate(zip(parts, lengths, strict=True)):
        name = "X" if single else f"X[{index}]"
        array = read_array(name, part)
        if array.ndim == 1:
            array = array[:, np.newaxis]
        width = expected or (arrays[0].shape[1] if arrays else None)
        if array.ndim != 2 or len(array) != length or (width and array.shape[1] != width) or not array.shape[1]:
            raise ValueError(
                f"{name} has shape {array.shape}, expected (time={length}, exogenous{f'={width}' * bool(width)})"
            )
        arrays.append(array)
    return arrays


def read_array(name: str, value: Any) -> np.ndarray:
    """Return finite numbers as float64; raise TypeError or ValueError for anything else."""
    array = as_array(name, value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} has dtype {array.dtype}, expected numbers")
    array = array.astype(np.float64)
    finite = np.isfinite(array)
    if not finite.all():
        index = tuple(int(axis[0]) for axis in np.nonzero(~finite))
        where = ", ".join(map(str, index))
        raise ValueError(f"{name}[{where}] is {array[index]}, expected finite numbers; fill in what is missing first")
    return array


def _read_all_dates(dates: Any, series: list[np.ndarray], form: Form) -> list[np.ndarray] | None:
    if dates is None:
        return None
    if not form.single and (not _is_list(dates) or len(dates) != len(series)):
        raise ValueError(f"dates is no list of {len(series)}, expected the dates of each series")
    parts = [dates] if form.single else dates
    return [
        read_dates(form.dates_name(index), part, len(y))
        for index, (part, y) in enumerate(zip(parts, series, strict=True))
    ]


def _is_list(value: Any) -> bool:
    """Return whether the value is several arrays rather than one."""
    if isinstance(value, np.ndarray):
        return value.dtype == object
    return isinstance(value, (list, tuple)) and len(value) > 0 and np.ndim(value[0]) > 0


def _kind(single: bool) -> str:
    return "one series" if single else "a list of series"
