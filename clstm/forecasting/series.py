"""What a forecaster is given and gives back: one series, several columns, or a list of series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm._checks import as_array, check_flag, check_index
from clstm.forecasting.calendars import Frequency, check_frequency, find_frequency


@dataclass(frozen=True)
class Form:
    """The form of the series, which all calls after `fit` must have.

    Attributes
    ----------
    single : bool
        One series, not a list.
    flat : bool
        Each is 1-D.
    columns, exogenous : int
        Columns of y and of X.
    """

    single: bool
    flat: bool
    columns: int
    exogenous: int

    def check(self) -> None:
        """Raise TypeError or ValueError where a file's values aren't those of a form."""
        check_flag("single", self.single)
        check_flag("flat", self.flat)
        check_index("columns", self.columns, low=1)
        check_index("exogenous", self.exogenous, low=0)

    def shown(self, values: Sequence[Any]) -> Any:
        """Return what there is for each series as the caller has them: in a list, or by itself."""
        return values[0] if self.single else list(values)

    def shaped(self, array: np.ndarray) -> np.ndarray:
        """Return an array whose last axis is the columns as the caller has them."""
        return array[..., 0] if self.flat else array

    def name(self, place: int) -> str:
        """Return what a series is called in errors."""
        return "y" if self.single else f"y[{place}]"

    def dates_name(self, place: int) -> str:
        """Return what a series' dates are called in errors."""
        return "dates" if self.single else f"dates[{place}]"

    def shape(self) -> str:
        """Describe a series."""
        return "(time,)" if self.flat else f"(time, columns={self.columns})"


@dataclass
class Panel:
    """Series of one form.

    Attributes
    ----------
    form : Form
    y : list of ndarray of float64, shape (time_i, columns)
    X : list of ndarray of float64, shape (time_i, exogenous)
        Beside y.
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
        They are no series of finite numbers, or of another form.
    """
    single = not _is_list(y)
    names = ["y"] if single else [f"y[{place}]" for place in range(len(y))]
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
    return Panel(form, series, exogenous, _read_dates(dates, series, single))


def read_exogenous(X: Any, lengths: Sequence[int], single: bool, expected: int | None) -> list[np.ndarray]:
    """Return exogenous variables (time_i, exogenous) for series of these lengths; of any number where none is expected.

    Raises
    ------
    TypeError, ValueError
        They are missing, not expected, no finite numbers, or of another shape.
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
    arrays = []
    for place, (part, length) in enumerate(zip(parts, lengths, strict=True)):
        name = "X" if single else f"X[{place}]"
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
    """Return finite numbers as float64."""
    array = as_array(name, value)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"{name} has dtype {array.dtype}, expected numbers")
    array = array.astype(np.float64)
    finite = np.isfinite(array)
    if not finite.all():
        place = tuple(int(axis[0]) for axis in np.nonzero(~finite))
        where = ", ".join(map(str, place))
        raise ValueError(f"{name}[{where}] is {array[place]}, expected finite numbers; fill in what is missing first")
    return array


def settle_dates(panel: Panel, freq: str | None) -> tuple[Frequency | None, list[Any]]:
    """Return the step of the series' dates and the first date of each; without dates None, and None for each.

    Raises
    ------
    ValueError
        The dates have no constant step, other steps than `freq` or one another, or there is only `freq`.
    """
    frequency = None if freq is None else check_frequency("freq", freq)
    if panel.dates is None:
        if frequency is not None:
            raise ValueError(f"freq is {freq!r}, but there are no dates: expected the first of each series in dates")
        return None, [None] * len(panel.y)
    for place, (dates, y) in enumerate(zip(panel.dates, panel.y, strict=True)):
        name = panel.form.dates_name(place)
        if len(dates) == 1 and len(y) > 1:
            if frequency is None:
                raise ValueError(f"{name} is a single date and freq is None, expected a date for each value, or freq")
            continue
        frequency = frequency or find_frequency(name, dates)
        check_dates(name, dates, frequency)
    return frequency, [dates[0] for dates in panel.dates]


def check_dates(name: str, dates: np.ndarray, frequency: Frequency, start: Any = None) -> None:
    """Raise ValueError unless the dates go on by `frequency`, from `start` where that is given."""
    if not len(dates):
        return
    expected = frequency.dates(dates[0] if start is None else start, 0, len(dates))
    wrong = dates != expected
    if wrong.any():
        place = int(wrong.argmax())
        raise ValueError(
            f"{name}[{place}] is {dates[place]}, expected {expected[place]} with frequency {frequency.name}"
        )


def _read_dates(dates: Any, series: list[np.ndarray], single: bool) -> list[np.ndarray] | None:
    if dates is None:
        return None
    parts = [dates] if single else dates
    if not single and (not _is_list(dates) or len(dates) != len(series)):
        raise ValueError(f"dates is no list of {len(series)}, expected the dates of each series")
    arrays = []
    for place, (part, y) in enumerate(zip(parts, series, strict=True)):
        name = "dates" if single else f"dates[{place}]"
        array = np.atleast_1d(as_array(name, part))
        if array.dtype.kind in "OU":
            try:
                array = array.astype("datetime64[s]")
            except (TypeError, ValueError):
                raise TypeError(
                    f"{name} begins with {str(array[0])!r}, expected dates (datetime64) or integers"
                ) from None
        if array.dtype.kind not in "Miu":
            raise TypeError(f"{name} has dtype {array.dtype}, expected dates (datetime64) or integers")
        array = array.astype("datetime64[s]" if array.dtype.kind == "M" else np.int64)
        if array.shape not in ((1,), (len(y),)):
            raise ValueError(f"{name} has shape {array.shape}, expected ({len(y)},), or a single date")
        if np.isnat(array).any() if array.dtype.kind == "M" else False:
            raise ValueError(f"{name} holds NaT, expected a date for each value")
        arrays.append(array)
    return arrays


def _is_list(value: Any) -> bool:
    """Tell whether the value is several arrays rather than one."""
    if isinstance(value, np.ndarray):
        return value.dtype == object
    return isinstance(value, (list, tuple)) and len(value) > 0 and np.ndim(value[0]) > 0


def _kind(single: bool) -> str:
    return "one series" if single else "a list of series"
