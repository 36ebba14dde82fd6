"""Sequences and series from tables: many short sequences with a label each, or long series with their dates.

A file is CSV or TSV with a header, and has a row for each step. Every error names the file and, where there is one, the
line.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import numpy as np

from clstm.cli.example_files import LABEL_NAMES
from clstm.cli.tables import Table, read_table

# The usual names of columns, in order of preference.
ID_NAMES = ("id", "unique_id", "sequence", "series")
SERIES_NAMES = ("unique_id",)  # for forecasting: an "id" may also be the number of a row
DATE_NAMES = ("ds", "date", "datetime", "timestamp", "time")
VALUE_NAMES = ("y", "value")

_DATE = re.compile(r"(\d{4})[-/]?(\d\d)(?:[-/]?(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d))?Z?)?)?")


@dataclass(frozen=True)
class Sequences:
    """Sequences, with or without their labels.

    Attributes
    ----------
    names : list of str
        The ids, in the order in which they first come.
    values : list of ndarray of float64, shape (steps, columns)
    labels : list of str, ndarray of float64, or None
        One for each sequence; numbers if `numeric` is True; None if the file has none.
    source, layout : str
        The file's name, and in a few words how it was read.
    """

    names: list[str]
    values: list[np.ndarray]
    labels: list[str] | np.ndarray | None
    source: str
    layout: str


@dataclass(frozen=True)
class Series:
    """One series, or several in rows of one table.

    Attributes
    ----------
    values : ndarray of float64, shape (steps,)
    dates : ndarray of datetime64, shape (steps,), or None
    ids : ndarray of str, shape (steps,), or None
        Which series each row is of, where the file says it.
    source, layout : str
        The file's name, and in a few words how it was read.
    """

    values: np.ndarray
    dates: np.ndarray | None
    ids: np.ndarray | None
    source: str
    layout: str

    @property
    def several(self) -> bool:
        """Whether the rows are of more than one series."""
        return self.ids is not None and bool((self.ids != self.ids[0]).any())


def read_sequences(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    id_column: str | None = None,
    label_column: str | None = None,
    numeric: bool = False,
    labelled: bool = True,
) -> Sequences:
    """Read sequences: the rows of one id, from the first to the last, are the steps of a sequence.

    Parameters
    ----------
    path : path
        The file; ``-`` for standard input.
    format : {"tsv", "csv"}, optional
        If left out, the extension or the first line decides.
    id_column, label_column : str, optional
        A column's name, or its number from 1. If left out, the names in `ID_NAMES` and in
        `clstm.cli.example_files.LABEL_NAMES` are looked for. All other columns hold values.
    numeric : bool, default False
        Whether labels are numbers.
    labelled : bool, default True
        Whether there must be labels; if not, a column of labels is skipped.

    Raises
    ------
    DataError
        The file is no table in UTF-8 with a header, lacks a column, holds values (or labels) that aren't finite
        numbers, or a sequence has two labels or none.
    OSError
        It can't be opened or read.
    """
    table = read_table(path, format)
    by = table.need("ids", id_column, ID_NAMES)
    find = table.need if labelled else table.find
    label = find("labels", label_column, LABEL_NAMES)
    columns = [name for name in table.columns if name not in (by, label)]
    if not columns:
        raise table.error(None, "has no column of values besides ids and labels")
    ids = [cell.strip() for cell in table.columns[by]]
    place = {name: number for number, name in enumerate(dict.fromkeys(ids))}
    rows = np.array([place[name] for name in ids])
    order = np.argsort(rows, kind="stable")
    first = np.flatnonzero(np.diff(rows[order], prepend=-1))
    values = np.column_stack([table.numbers(name) for name in columns])[order]
    layout = f"{table.kind}, ids in {by!r}, {f'labels in {label!r}, ' if label else ''}values in {_listed(columns)}"
    labels = _labels(table, label, rows, order[first], numeric) if labelled and label is not None else None
    return Sequences(list(place), np.split(values, first[1:]), labels, table.source, layout)


def read_series(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    id_column: str | None = None,
    date_column: str | None = None,
    value_column: str | None = None,
) -> Series:
    """Read a series: a row for each step, in order of time; or several series.

    Parameters
    ----------
    path : path
        The file; ``-`` for standard input.
    format : {"tsv", "csv"}, optional
        If left out, the extension or the first line decides.
    id_column, date_column, value_column : str, optional
        A column's name, or its number from 1. If left out, the names in `SERIES_NAMES`, `DATE_NAMES` and `VALUE_NAMES`
        are looked for; there need be no ids and no dates, and where one column is left it has the values.

    Raises
    ------
    DataError
        The file is no table in UTF-8 with a header, lacks a column, or holds values that aren't finite numbers or
        dates that can't be read.
    OSError
        It can't be opened or read.
    """
    table = read_table(path, format)
    by = table.find("ids", id_column, SERIES_NAMES)
    date = table.find("dates", date_column, DATE_NAMES)
    others = [name for name in table.columns if name not in (by, date)]
    value = table.need("values", others[0] if value_column is None and len(others) == 1 else value_column, VALUE_NAMES)
    dates = None if date is None else _dates(table, date)
    ids = None if by is None else np.array([cell.strip() for cell in table.columns[by]])
    layout = f"{table.kind}, {f'ids in {by!r}, ' if by else ''}{f'dates in {date!r}' if date else 'no dates'}"
    return Series(table.numbers(value), dates, ids, table.source, f"{layout}, values in {value!r}")


def _labels(table: Table, column: str, rows: np.ndarray, first: np.ndarray, numeric: bool) -> list[str] | np.ndarray:
    """Return the label of each sequence; `first` has the first row of each."""
    cells = table.numbers(column) if numeric else np.array([cell.strip() for cell in table.columns[column]])
    labels = cells[first]
    wrong = np.flatnonzero(cells != labels[rows])
    if len(wrong):
        found, before = cells[wrong[0]], labels[rows[wrong[0]]]
        raise table.error(wrong[0], f"has the label {str(found)!r}, but the sequence began with {str(before)!r}")
    if numeric:
        return labels
    if "" in labels:
        raise table.error(first[labels.tolist().index("")], "has an empty label")
    return labels.tolist()


def _dates(table: Table, column: str) -> np.ndarray:
    """Return a column as datetime64, in the finest unit that a cell has."""
    texts = []
    for row, cell in enumerate(table.columns[column]):
        found = _DATE.fullmatch(cell.strip())
        if found is None:
            raise table.error(
                row, f"column {column!r} holds {cell.strip()!r:.40}, expected a date like 2026-11-24 13:00"
            )
        year, month, day, hour, minute, second = found.groups()
        texts.append("-".join(filter(None, (year, month, day))))
        if hour:
            texts[-1] += f"T{hour}:{minute}" + (f":{second}" if second else "")
    try:
        return np.array(texts, "datetime64")
    except ValueError as error:  # the 31st of a month that has 30 days
        raise table.error(None, f"column {column!r} holds no dates: {error}") from None


def _listed(names: list[str]) -> str:
    shown = ", ".join(map(repr, names[:5]))
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
