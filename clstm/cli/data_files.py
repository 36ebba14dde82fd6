"""Labelled texts from files: TSV, CSV, JSON lines and fastText's ``__label__`` lines; plain lines for prediction.

Files are UTF-8, with or without a byte order mark, and lines may end in LF or CRLF. Every error names the file and,
where there is one, the line.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

FORMATS = ("tsv", "csv", "jsonl", "fasttext")

# Names by which a header, or a JSON object, tells its columns, in order of preference.
TEXT_NAMES = ("text", "sentence", "review", "comment", "message", "content")
LABEL_NAMES = ("label", "class", "category", "sentiment", "target")

_EXTENSIONS = {
    ".tsv": "tsv", ".tab": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
}  # fmt: skip
_FASTTEXT_LABEL = re.compile(r"(?<!\S)__label__(\S*)")
_CHUNK = 1 << 16  # bytes read at once for prediction


class DataError(ValueError):
    """A file can't be read as data; the message begins with its name and line."""

    def __init__(self, name: str, line: int | None, problem: str) -> None:
        super().__init__(f"{name}: {problem}" if line is None else f"{name}:{line}: {problem}")


@dataclass(frozen=True)
class Examples:
    """Labelled texts.

    Attributes
    ----------
    texts, labels : list of str
        One of each for every example.
    source : str
        The file's name.
    layout : str
        In a few words, how the file was read.
    """

    texts: list[str]
    labels: list[str]
    source: str
    layout: str


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
        """Return the name of the column asked for, by its name or number; or of the first that has a usual name.

        `what` it holds is for errors.

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
        number = _number(asked, len(names))
        if number is None:
            raise self.error(None, f"has no column {asked!r} for the {what}; it has {_listed(names)}")
        return names[number]

    def need(self, what: str, asked: str | None, usual: Collection[str]) -> str:
        """Return `find`'s column.

        Raises
        ------
        DataError
            There is none.
        """
        found = self.find(what, asked, usual)
        if found is None:
            wanted, has = " or ".join(map(repr, usual)), _listed(self.columns)
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
            cell = _shorten(cells[wrong[0]].strip())
            raise self.error(wrong[0], f"column {column!r} holds {cell!r}, expected a finite number")
        return values

    def error(self, row: int | None, problem: str) -> DataError:
        """Return the error to raise for a row, or for the header."""
        return DataError(self.source, None if row is None else self.lines[row], problem)


@dataclass(frozen=True)
class _Row:
    line: int
    cells: list[str]


def read_examples(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    header: bool | None = None,
    known_labels: Collection[str] = (),
) -> Examples:
    """Read labelled texts.

    Parameters
    ----------
    path : path
        The file; ``-`` for standard input.
    format : {"tsv", "csv", "jsonl", "fasttext"}, optional
        If left out, the extension tells (.tsv, .tab, .csv, .jsonl, .ndjson, .json), and for any other the first
        line: an opening brace, a ``__label__``, a tab or a comma.
    text_column, label_column : str, optional
        A column's name in the header, or its number from 1; a key of the JSON objects. If left out, the names
        in `TEXT_NAMES` and `LABEL_NAMES` are looked for. Of two columns, one that is known tells the other; of two
        columns without a header, the label is that with more values in `known_labels`, else with fewer
        different values.
    header : bool, optional
        Whether the first row of a TSV or CSV file names the columns. If left out, it does where a column is
        asked for by name, or where it has one of the usual names and that column never holds it again.
    known_labels : collection of str, optional
        The labels of the model to be tested.

    Returns
    -------
    Examples

    Raises
    ------
    DataError
        The file is not text in UTF-8, lacks a column, has a row without a label or of another width, or holds no
        example.
    OSError
        It can't be opened or read.
    """
    name, text = read_text(path)
    if format is None:
        format = _guess_format(name, text)
    if format == "fasttext":
        layout, pairs = "fastText lines", _read_fasttext(name, text)
    elif format == "jsonl":
        layout, pairs = "JSON lines", _read_json_lines(name, text, text_column, label_column)
    else:
        rows = _rows(name, format, text)
        layout, pairs = _read_table(name, format.upper(), rows, text_column, label_column, header, known_labels)
    texts, labels = [], []
    for line, text, label in pairs:
        _check(name, line, text, label)
        texts.append(text.strip())
        labels.append(label.strip())
    if not texts:
        raise DataError(name, None, "has a header but no example")
    return Examples(texts, labels, name, layout)


def read_text(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Return what errors call a file, and the text that it holds.

    Raises
    ------
    DataError
        It is empty, or not text in UTF-8.
    OSError
        It can't be opened or read.
    """
    name = "standard input" if os.fspath(path) == "-" else os.fspath(path)
    text = _decode(name, _read_bytes(path))
    if not text.strip():
        raise DataError(name, None, "is empty")
    return name, text


def read_table(path: str | os.PathLike[str], format: str | None = None) -> Table:
    """Return the columns of a CSV or TSV file whose first row names them.

    Parameters
    ----------
    path : path
        The file; ``-`` for standard input.
    format : {"tsv", "csv"}, optional
        If left out, the extension or the first line tells, as of `read_examples`.

    Raises
    ------
    DataError
        As of `read_text`; or it is no table, has rows of another width, no rows, or two columns of one name.
    OSError
        It can't be opened or read.
    """
    name, text = read_text(path)
    format = format or _guess_format(name, text)
    if format not in ("tsv", "csv"):
        raise DataError(name, None, f"is {format}, expected a CSV or TSV file with a header")
    head, *rows = _rows(name, format, text, least=1)
    names = [cell.strip() for cell in head.cells]
    if len(set(names)) < len(names):
        raise DataError(name, head.line, f"has two columns of one name; it has {_listed(names)}")
    if not rows:
        raise DataError(name, None, "has a header but no rows")
    columns = dict(zip(names, zip(*(row.cells for row in rows), strict=True), strict=True))
    return Table(name, format.upper(), columns, [row.line for row in rows])


def line_batches(stream: io.BufferedReader, name: str) -> Iterator[list[str]]:
    """Yield the lines of a binary stream in batches: those that have come, without waiting for more.

    What a person types, or another program writes, is handed on line by line; a large file comes in large
    batches. Line ends are cut off, and a byte order mark before the first line.

    Raises
    ------
    DataError
        A line is not UTF-8; the lines before it have been yielded.
    """
    number = 0
    pieces: list[bytes] = []  # of a line that hasn't ended
    while chunk := stream.read1(_CHUNK):
        pieces.append(chunk)
        if b"\n" in chunk:
            *lines, rest = b"".join(pieces).split(b"\n")
            pieces = [rest]
            yield from _decoded(name, number, lines)
            number += len(lines)
    rest = b"".join(pieces)
    if rest:
        yield from _decoded(name, number, [rest])


def _decoded(name: str, before: int, lines: list[bytes]) -> Iterator[list[str]]:
    """Yield `lines`, of which the first is number `before` + 1, as one list of str."""
    batch: list[str] = []
    for number, line in enumerate(lines, start=before + 1):
        try:
            batch.append(line.decode("utf-8-sig" if number == 1 else "utf-8").removesuffix("\r"))
        except UnicodeDecodeError as error:
            if batch:
                yield batch
            raise DataError(name, number, _not_utf8(error)) from None
    yield batch


def _read_bytes(path: str | os.PathLike[str]) -> bytes:
    if os.fspath(path) != "-":
        with open(path, "rb") as file:
            return file.read()
    if sys.stdin is None:
        raise DataError("standard input", None, "is closed")
    return sys.stdin.buffer.read()


def _decode(name: str, data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(name, None, "is UTF-16, expected UTF-8; convert it first")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # error.start counts from behind a byte order mark
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(name, line, _not_utf8(error)) from None
    zero = text.find("\0")
    if zero >= 0:
        raise DataError(name, text.count("\n", 0, zero) + 1, "holds a NUL byte, expected text in UTF-8")
    return text


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"not UTF-8 (byte 0x{error.object[error.start]:02x}); convert it first"


def _guess_format(name: str, text: str) -> str:
    by_extension = _EXTENSIONS.get(os.path.splitext(name)[1].lower())
    if by_extension is not None:
        return by_extension
    first = next(line for line in text.split("\n") if line.strip())
    if first.lstrip().startswith("{"):
        return "jsonl"
    if _FASTTEXT_LABEL.search(first):
        return "fasttext"
    if "\t" in first:
        return "tsv"
    if "," in first:
        return "csv"
    raise DataError(name, 1, "has neither a tab, a comma, a '{' nor a __label__; give the format if it is one of them")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that aren't blank, with their numbers."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.removesuffix("\r")


def _read_fasttext(name: str, text: str) -> Iterator[tuple[int, str, str]]:
    for number, line in _lines(text):
        labels = _FASTTEXT_LABEL.findall(line)
        if len(labels) != 1:
            raise DataError(name, number, f"has {len(labels) or 'no'} __label__, expected one")
        yield number, _FASTTEXT_LABEL.sub("", line), labels[0]


def _read_json_lines(
    name: str, text: str, text_key: str | None, label_key: str | None
) -> Iterator[tuple[int, str, str]]:
    for number, line in _lines(text):
        try:
            record = json.loads(line)
        except ValueError as error:
            raise DataError(name, number, f"not JSON ({error}); expected one object a line") from None
        except RecursionError:
            raise DataError(name, number, "is nested too deep; expected one flat object a line") from None
        if not isinstance(record, dict):
            raise DataError(name, number, f"is a JSON {type(record).__name__}, expected one object a line")
        value = _get(name, number, record, "text", text_key, TEXT_NAMES)
        if not isinstance(value, str):
            raise DataError(name, number, f"the text is {_shorten(json.dumps(value))}, expected a string")
        label = _get(name, number, record, "label", label_key, LABEL_NAMES)
        if label is None or isinstance(label, (list, dict)):
            raise DataError(name, number, f"the label is {_shorten(json.dumps(label))}, expected a string or a number")
        yield number, value, label if isinstance(label, str) else json.dumps(label)


def _get(name, number, record, what, key, usual):
    """Return the value of `key`, or of the first of the usual names that the record has."""
    for candidate in usual if key is None else (key,):
        if candidate in record:
            return record[candidate]
    wanted = repr(key) if key is not None else f"{what} (or {', '.join(usual[1:])})"
    raise DataError(name, number, f"has no {wanted}; it has {_listed(record)}")


def _rows(name: str, format: str, text: str, least: int = 2) -> list[_Row]:
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


def _tsv_rows(text: str) -> Iterator[_Row]:
    for number, line in _lines(text):
        yield _Row(number, line.split("\t"))


def _csv_rows(name: str, text: str) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    line = 1
    with _long_fields():
        try:
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield _Row(line, cells)
                line = reader.line_num + 1
        except csv.Error as error:
            raise DataError(name, line, f"not CSV ({error}); a quote is written twice inside quotes") from None


@contextmanager
def _long_fields() -> Iterator[None]:
    """Lift csv's limit of 128 KiB a field, which is of the whole process, for a while."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _read_table(
    name: str,
    kind: str,
    rows: list[_Row],
    text_column: str | None,
    label_column: str | None,
    header: bool | None,
    known_labels: Collection[str],
) -> tuple[str, Iterable[tuple[int, str, str]]]:
    first = rows[0]
    width = len(first.cells)
    names = [cell.strip() for cell in first.cells]
    if header is None:
        header = _has_header(rows, names, text_column, label_column)
    body = rows[1:] if header else rows
    names = names if header else []

    text = _find_column(name, first, names, text_column, TEXT_NAMES)
    label = _find_column(name, first, names, label_column, LABEL_NAMES)
    if width == 2 and text is None and label is None and body:
        label = _label_of_two(body, known_labels)
    if width == 2 and (text is None) != (label is None):
        text, label = (1 - label, label) if text is None else (text, 1 - text)
    if text is None or label is None:
        missing = " or ".join(what for what, column in (("text", text), ("label", label)) if column is None)
        found = f"columns {_listed(names)}" if header else f"{counted(width, 'column')} and no header"
        raise DataError(name, first.line, f"can't tell which column is the {missing}; it has {found}")
    if text == label:
        raise DataError(name, first.line, f"text and label are both column {text + 1}")
    layout = f"{kind} {'with' if header else 'without'} header, text in column {text + 1}, label in column {label + 1}"
    return layout, ((row.line, row.cells[text], row.cells[label]) for row in body)


def _has_header(rows: list[_Row], names: list[str], text_column: str | None, label_column: str | None) -> bool:
    asked = [column for column in (text_column, label_column) if column is not None]
    if any(_number(column, len(names)) is None for column in asked):
        return True
    usual = [i for i, name in enumerate(names) if name.lower() in TEXT_NAMES + LABEL_NAMES]
    return any(all(row.cells[i].strip() != names[i] for row in rows[1:]) for i in usual)


def _find_column(name: str, first: _Row, names: list[str], asked: str | None, usual: tuple[str, ...]) -> int | None:
    """Return the index of the column asked for, or of the first that has a usual name; None if there is none."""
    if asked is None:
        lowered = [column.lower() for column in names]
        return next((lowered.index(column) for column in usual if column in lowered), None)
    if asked in names:
        return names.index(asked)
    number = _number(asked, len(first.cells))
    if number is None:
        has = f"columns {_listed(names)}" if names else f"{counted(len(first.cells), 'column')} and no header"
        raise DataError(name, first.line, f"has no column {asked!r}; it has {has}")
    return number


def _number(column: str, width: int) -> int | None:
    """Return the index of a column given as a number from 1, or None."""
    valid = column.isascii() and column.isdecimal() and len(column) < 10 and 1 <= int(column) <= width
    return int(column) - 1 if valid else None


def _label_of_two(body: list[_Row], known_labels: Collection[str]) -> int | None:
    """Return which of two columns holds the labels, or None on a tie."""
    columns = [[row.cells[i].strip() for row in body] for i in (0, 1)]
    known = set(known_labels)
    hits = [sum(cell in known for cell in column) for column in columns]
    if hits[0] != hits[1]:
        return 0 if hits[0] > hits[1] else 1
    different = [len(set(column)) for column in columns]
    return None if different[0] == different[1] else different.index(min(different))


def _check(name: str, line: int, text: str, label: str) -> None:
    for what, value in (("text", text), ("label", label)):
        try:
            value.encode()
        except UnicodeEncodeError:  # half of a pair, escaped in JSON
            raise DataError(name, line, f"the {what} holds half of a surrogate pair") from None
    if not label.strip():
        raise DataError(name, line, "has an empty label")
    if "\t" in label.strip() or len(label.strip().splitlines()) > 1:
        raise DataError(name, line, f"the label {_shorten(label)!r} holds a tab or a line break")


def _real(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(_shorten(name)) for name in names) or "none"


def _shorten(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def counted(number: int, noun: str) -> str:
    """Return "1 column", "2 columns"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
