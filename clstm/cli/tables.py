"""Tables: CSV and TSV files as rows, and as columns with names."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clstm.cli.data_files import (
    DataError,
    column_index,
    counted,
    guess_format,
    numbered_lines,
    quoted,
    read_text,
    shorten,
)

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Table:
    """A table whose columns have names.

    Attributes
    ----------
    source : str
        The file's name.
    kind : {"CSV", "TSV"}
    columns : dict of str to tuple of str
        The cells of each column, by its name.
    lines : list of int
        The number of each row's line.
    """

    source: str
    kind: str
    columns: dict[str, tuple[str, ...]]
    lines: list[int]

    def find(self, what: str, asked: str | None, usual: Collection[str]) -> str | None:
        """Return the name of a column.

        Parameters
        ----------
        what : str
            What the column holds, for errors.
        asked : str or None
            The column's name, or its number from 1. If None, the first column that has a usual name is found, or None.
        usual : collection of str
            The usual names, in order of preference.

        Raises
        ------
        DataError
            There is no such column.
        """
        names = list(self.columns)
        if asked is None:
            return next((name for wanted in usual for name in names if name.lower() == wanted), None)
        if asked in names:
            return asked
        number = column_index(asked, len(names))
        if number is None:
            raise self.error(None, f"has no column {asked!r} for the {what}; it has {quoted(names)}")
        return names[number]

    def need(self, what: str, asked: str | None, usual: Collection[str]) -> str:
        """Return the column that `find` does.

        Raises
        ------
        DataError
            There is none.
        """
        found = self.find(what, asked, usual)
        if found is None:
            wanted, has = " or ".join(map(repr, usual)), quoted(self.columns)
            raise self.error(None, f"can't tell which column holds the {what}: none is called {wanted}; it has {has}")
        return found

    def numbers(self, column: str) -> np.ndarray:
        """Return a column as float64.

        Raises
        ------
        DataError
            A cell isn't a finite number.
        """
        import numpy as np

        cells = self.columns[column]
        try:
            values = np.array(cells, np.float64)
        except ValueError:
            values = np.array([_real(cell) for cell in cells])
        wrong = np.flatnonzero(~np.isfinite(values))
        if len(wrong):
            cell = shorten(cells[wrong[0]].strip())
            raise self.error(wrong[0], f"column {column!r} holds {cell!r}, expected a finite number")
        return values

    def error(self, row: int | None, problem: str) -> DataError:
        """Return an error that names the line of a row, or the file alone."""
        return DataError(self.source, None if row is None else self.lines[row], problem)


@dataclass(frozen=True)
class Row:
    """The cells of a table's row, and the number of its line."""

    line: int
    cells: list[str]


def read_table(path: str | os.PathLike[str], format: str | None = None) -> Table:
    """Return the columns of a CSV or TSV file whose first row names them.

    Parameters
    ----------
    path : path
        The file; ``-`` for standard input.
    format : {"tsv", "csv"}, optional
        If left out, the extension or the first line decides, as for `read_examples`.

    Raises
    ------
    DataError
        As `read_text`; or it is no table, has rows of another width, no rows, or two columns of one name.
    OSError
        It can't be opened or read.
    """
    name, text = read_text(path)
    format = format or guess_format(name, text)
    if format not in ("tsv", "csv"):
        raise DataError(name, None, f"is {format}, expected a CSV or TSV file with a header")
    head, *rows = rows_of(name, format, text, least=1)
    names = [cell.strip() for cell in head.cells]
    if len(set(names)) < len(names):
        raise DataError(name, head.line, f"has two columns of one name; it has {quoted(names)}")
    if not rows:
        raise DataError(name, None, "has a header but no rows")
    columns = dict(zip(names, zip(*(row.cells for row in rows), strict=True), strict=True))
    return Table(name, format.upper(), columns, [row.line for row in rows])


def rows_of(name: str, format: str, text: str, least: int = 2) -> list[Row]:
    """Return the rows of a table, all of one width, which is `least` or more."""
    rows = list(_tsv_rows(text) if format == "tsv" else _csv_rows(name, text))
    first = rows[0]
    width = len(first.cells)
    if width < least:
        raise DataError(name, first.line, f"has 1 column, expected at least 2 in a {format.upper()} file")
    for row in rows:
        if len(row.cells) != width:
            hint = "; put quotes around a text that holds commas" if format == "csv" else ""
            raise DataError(
                name, row.line, f"has {counted(len(row.cells), 'column')}, but the first row has {width}{hint}"
            )
    return rows


def _tsv_rows(text: str) -> Iterator[Row]:
    for number, line in numbered_lines(text):
        yield Row(number, line.split("\t"))


def _csv_rows(name: str, text: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    with _long_fields():
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield Row(line, cells)
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(name, line, f"not CSV ({error}); a quote is written twice inside quotes") from None


@contextmanager
def _long_fields() -> Iterator[None]:
    """Raise csv's limit of 128 KiB a field inside the block; the limit holds for the whole process."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _real(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan
