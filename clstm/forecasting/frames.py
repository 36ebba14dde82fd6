"""Long data frames of pandas, polars and pyarrow, by narwhals: `unique_id`, `ds` and `y`, and exogenous columns."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm._checks import check_choice
from clstm.forecasting.series import Form, Panel, check_dates, read_array

BACKENDS = ("pandas", "polars", "pyarrow")
ID, DS, Y = "unique_id", "ds", "y"


@dataclass(frozen=True)
class FrameForm(Form):
    """The form of the series in a frame.

    Attributes
    ----------
    backend : str
        The library whose frames come back.
    ids : list
        The series, in the order they stand in all that is kept.
    names : list of str
        Of the exogenous columns.
    ds : str
        The dates' type: "Date", "Int64", or the unit of a date with a time.
    """

    backend: str
    ids: list[Any]
    names: list[str]
    ds: str

    def name(self, place: int) -> str:
        """Return what a series is called in errors."""
        return f"the series {self.ids[place]!r} of y"

    def dates_name(self, place: int) -> str:
        """Return what a series' dates are called in errors."""
        return f"y[{DS!r}] of {self.ids[place]!r}"

    def check(self) -> None:
        """Raise TypeError or ValueError where a file's values aren't those of a form."""
        super().check()
        if self.backend not in BACKENDS:
            raise ValueError(f"its frames are of {self.backend!r:.40}, expected one of {', '.join(BACKENDS)}")
        for name, values, kinds in (("ids", self.ids, (str, int)), ("names", self.names, (str,))):
            if not isinstance(values, list) or not all(type(value) in kinds for value in values):
                raise TypeError(f"its {name} aren't a list of names")
        check_choice("its ds", self.ds, ("Date", "Int64", "s", "ms", "us", "ns"))
        if (self.single, self.flat, self.columns, self.exogenous) != (False, True, 1, len(self.names)):
            raise ValueError("its series aren't those of a frame")


def make_frame(content: Mapping[str, Any], backend: str | None = None) -> Any:
    """Return a frame of these columns, of a library or of the first that is installed.

    Raises
    ------
    ImportError
        narwhals isn't installed, or that library, or none.
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


def is_frame(value: Any) -> bool:
    """Tell whether the value is a data frame (and not a series or an array)."""
    return hasattr(value, "columns") and hasattr(value, "shape") and not isinstance(value, np.ndarray)


def read_frame(name: str, frame: Any, form: FrameForm | None, *, some: bool = False) -> Panel:
    """Return the series of a frame.

    Parameters
    ----------
    name : str
        The argument's, for errors.
    frame : data frame
        In any order of its rows.
    form : FrameForm, optional
        The form that it must have; any if left out.
    some : bool, default False
        Whether series of the form may be missing; they are empty then.

    Raises
    ------
    ImportError
        narwhals isn't installed.
    TypeError, ValueError
        It lacks a column or a series, holds others, or something that isn't a finite number.
    """
    nw = _narwhals()
    frame = nw.from_native(frame, eager_only=True)
    if frame.implementation.value not in BACKENDS:
        raise TypeError(f"{name} is a frame of {frame.implementation.value}, expected one of {', '.join(BACKENDS)}")
    columns = list(frame.columns)
    names = [column for column in columns if column not in (ID, DS, Y)] if form is None else form.names
    _check_columns(name, columns, [ID, DS, Y, *names])
    ids, rows, dates = _split(name, frame)
    if form is None:
        form = FrameForm(
            False,
            True,
            1,
            len(names),
            frame.implementation.value,
            [_plain(one) for one in ids],
            names,
            _ds_type(name, frame),
        )
    rows = _in_order(name, ids, rows, form, some)
    y = read_array(f"{name}[{Y!r}]", frame[Y].to_numpy())[:, np.newaxis]
    X = _exogenous(name, frame, names)
    return Panel(form, [y[some] for some in rows], [X[some] for some in rows], [dates[some] for some in rows])


def read_future(frame: Any, form: FrameForm, ahead: Sequence[np.ndarray], frequency: Any) -> list[np.ndarray]:
    """Return the exogenous variables of the dates ahead, for each series.

    Raises
    ------
    ImportError, TypeError, ValueError
        As `read_frame`; and ValueError for other dates than those ahead.
    """
    if not form.names:
        raise ValueError("X is given, but fit had no exogenous variables")
    frame = _narwhals().from_native(frame, eager_only=True)
    _check_columns("X", list(frame.columns), [ID, DS, *form.names])
    ids, rows, dates = _split("X", frame)
    rows = _in_order("X", ids, rows, form, False)
    for one, some, expected in zip(form.ids, rows, ahead, strict=True):
        if len(some) != len(expected):
            raise ValueError(f"X holds {len(some)} dates of {one!r}, expected {len(expected)} from {expected[0]} on")
        check_dates(f"X[{DS!r}] of {one!r}", dates[some], frequency, expected[0])
    X = _exogenous("X", frame, form.names)
    return [X[some] for some in rows]


def write_frame(form: FrameForm, dates: Sequence[np.ndarray], values: Mapping[str, Sequence[np.ndarray]]) -> Any:
    """Return a long frame: for each series its dates, and by name what there is at each.

    Arrays of another kind than numbers are dates too.
    """
    nw = _narwhals()
    ids = np.repeat(np.arange(len(form.ids)), [len(one) for one in dates])
    content = {ID: [form.ids[place] for place in ids]}
    for name, arrays in {DS: dates, **values}.items():
        joined = np.concatenate(arrays)
        content[name] = joined.astype("datetime64[us]") if joined.dtype.kind == "M" else joined
    frame = nw.from_dict(content, backend=form.backend)
    if form.ds == "Int64":
        return frame.to_native()
    dtype = (
        nw.Date()
        if form.ds == "Date" and form.backend != "pandas"
        else nw.Datetime("us" if form.ds == "Date" else form.ds)
    )
    moments = [name for name in frame.columns if frame[name].dtype == nw.Datetime]
    return frame.with_columns(nw.col(*moments).cast(dtype)).to_native()


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
    """Return the ids, the rows of each in the order of its dates, and all dates."""
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


def _in_order(name: str, ids: list[Any], rows: list[np.ndarray], form: FrameForm, some: bool) -> list[np.ndarray]:
    """Return the rows of each series of the form."""
    found = dict(zip(ids, rows, strict=True))
    unknown = [one for one in ids if one not in form.ids]
    missing = [one for one in form.ids if one not in found]
    if unknown or (missing and not some):
        problem = f"holds {unknown[0]!r}, which fit did not" if unknown else f"lacks {missing[0]!r}, which fit had"
        raise ValueError(f"{name}[{ID!r}] {problem}; expected the same series")
    return [found.get(one, np.array([], np.int64)) for one in form.ids]


def _exogenous(name: str, frame: Any, names: list[str]) -> np.ndarray:
    columns = [read_array(f"{name}[{column!r}]", frame[column].to_numpy()) for column in names]
    return np.stack(columns, axis=1) if columns else np.empty((len(frame), 0))


def _ds_type(name: str, frame: Any) -> str:
    nw = _narwhals()
    dtype = frame[DS].dtype
    if dtype == nw.Datetime:
        if dtype.time_zone is not None:
            raise TypeError(f"{name}[{DS!r}] has the time zone {dtype.time_zone}, expected none; convert it first")
        return dtype.time_unit
    if dtype.is_integer():
        return "Int64"
    return "Date" if dtype == nw.Date else "us"


def _plain(value: Any) -> Any:
    if not isinstance(value, (str, int)):
        raise TypeError(f"{ID} holds {value!r}, expected strings or integers")
    return value
