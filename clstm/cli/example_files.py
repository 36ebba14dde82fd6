"""Labelled texts from files: TSV, CSV, JSON lines and fastText's ``__label__`` lines."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from clstm.cli.data_files import (
    FASTTEXT_LABEL,
    DataError,
    column_index,
    counted,
    guess_format,
    numbered_lines,
    quoted,
    read_text,
    shorten,
)
from clstm.cli.tables import Row, rows_of

# The usual names of columns, and of keys in JSON, in order of preference.
TEXT_NAMES = ("text", "sentence", "review", "comment", "message", "content")
LABEL_NAMES = ("label", "class", "category", "sentiment", "target")

# A line's number, its text and its label.
Example = tuple[int, str, str]


@dataclass(frozen=True)
class LabelledTexts:
    """Labelled texts.

    Attributes
    ----------
    texts, labels : list of str
        One of each for every example.
    source : str
        The file's name.
    layout : str
        How the file was read, in a few words.
    """

    texts: list[str]
    labels: list[str]
    source: str
    layout: str


def read_examples(
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    header: bool | None = None,
    known_labels: Collection[str] = (),
) -> LabelledTexts:
    """Read labelled texts.

    Parameters
    ----------
    path : path
        The file; ``-`` for standard input.
    format : {"tsv", "csv", "jsonl", "fasttext"}, optional
        If left out, the extension decides (.tsv, .tab, .csv, .jsonl, .ndjson, .json), and for any other the first
        line: an opening brace, a ``__label__``, a tab or a comma.
    text_column, label_column : str, optional
        A column's name in the header, or its number from 1; a key of the JSON objects. If left out, the names in
        `TEXT_NAMES` and `LABEL_NAMES` are looked for. If a table has two columns, one is enough; if it has two and no
        header, the label is the column with more values in `known_labels`, or else with fewer different values.
    header : bool, optional
        Whether the first row of a TSV or CSV file names the columns. If left out, it does if a column
        is given by name, or if one of its cells is a usual name that the column never holds again.
    known_labels : collection of str, optional
        The labels of the model to be tested.

    Returns
    -------
    LabelledTexts

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
        format = guess_format(name, text)
    pairs: Iterable[Example]
    if format == "fasttext":
        layout, pairs = "fastText lines", _read_fasttext(name, text)
    elif format == "jsonl":
        layout, pairs = "JSON lines", _read_json_lines(name, text, text_column, label_column)
    else:
        rows = rows_of(name, format, text)
        layout, pairs = _read_table(name, format.upper(), rows, text_column, label_column, header, known_labels)
    texts, labels = [], []
    for line, text, label in pairs:
        _check(name, line, text, label)
        texts.append(text.strip())
        labels.append(label.strip())
    if not texts:
        raise DataError(name, None, "has a header but no example")
    return LabelledTexts(texts, labels, name, layout)


def _read_fasttext(name: str, text: str) -> Iterator[Example]:
    for number, line in numbered_lines(text):
        labels = FASTTEXT_LABEL.findall(line)
        if len(labels) != 1:
            raise DataError(name, number, f"has {len(labels) or 'no'} __label__, expected one")
        yield number, FASTTEXT_LABEL.sub("", line), labels[0]


def _read_json_lines(name: str, text: str, text_key: str | None, label_key: str | None) -> Iterator[Example]:
    for number, line in numbered_lines(text):
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
            raise DataError(name, number, f"the text is {shorten(json.dumps(value))}, expected a string")
        label = _get(name, number, record, "label", label_key, LABEL_NAMES)
        if label is None or isinstance(label, (list, dict)):
            raise DataError(name, number, f"the label is {shorten(json.dumps(label))}, expected a string or a number")
        yield number, value, label if isinstance(label, str) else json.dumps(label)


def _get(name: str, number: int, record: Mapping[str, Any], what: str, key: str | None, usual: tuple[str, ...]) -> Any:
    """Return the value of `key`, or of the first of the usual names that the record has."""
    for candidate in usual if key is None else (key,):
        if candidate in record:
            return record[candidate]
    wanted = repr(key) if key is not None else f"{what} (or {', '.join(usual[1:])})"
    raise DataError(name, number, f"has no {wanted}; it has {quoted(record)}")


def _read_table(
    name: str,
    kind: str,
    rows: list[Row],
    text_column: str | None,
    label_column: str | None,
    header: bool | None,
    known_labels: Collection[str],
) -> tuple[str, Iterable[Example]]:
    """Return how a table is read, in a few words, and its examples."""
    first = rows[0]
    names = [cell.strip() for cell in first.cells]
    if header is None:
        header = _has_header(rows, names, text_column, label_column)
    body = rows[1:] if header else rows
    names = names if header else []

    text, label = _find_columns(name, first, names, body, text_column, label_column, known_labels)
    if text == label:
        raise DataError(name, first.line, f"text and label are both column {text + 1}")
    layout = f"{kind} {'with' if header else 'without'} header, text in column {text + 1}, label in column {label + 1}"
    return layout, ((row.line, row.cells[text], row.cells[label]) for row in body)


def _find_columns(
    name: str,
    first: Row,
    names: list[str],
    body: list[Row],
    text_column: str | None,
    label_column: str | None,
    known_labels: Collection[str],
) -> tuple[int, int]:
    """Return the indices of the columns that hold the texts and the labels."""
    width = len(first.cells)
    text = _find_column(name, first, names, text_column, TEXT_NAMES)
    label = _find_column(name, first, names, label_column, LABEL_NAMES)
    if width == 2 and text is None and label is None and body:
        label = _label_of_two(body, known_labels)
    if width == 2 and text is None and label is not None:
        text = 1 - label
    elif width == 2 and label is None and text is not None:
        label = 1 - text
    if text is None or label is None:
        missing = " or ".join(what for what, column in (("text", text), ("label", label)) if column is None)
        found = f"columns {quoted(names)}" if names else f"{counted(width, 'column')} and no header"
        raise DataError(name, first.line, f"can't tell which column is the {missing}; it has {found}")
    return text, label


def _has_header(rows: list[Row], names: list[str], text_column: str | None, label_column: str | None) -> bool:
    """Return whether the first row names the columns."""
    asked = [column for column in (text_column, label_column) if column is not None]
    if any(column_index(column, len(names)) is None for column in asked):
        return True
    usual = [i for i, name in enumerate(names) if name.lower() in TEXT_NAMES + LABEL_NAMES]
    return any(all(row.cells[i].strip() != names[i] for row in rows[1:]) for i in usual)


def _find_column(name: str, first: Row, names: list[str], asked: str | None, usual: tuple[str, ...]) -> int | None:
    """Return the index of the column that is asked for, or of the first with a usual name; None if there is none."""
    if asked is None:
        lowered = [column.lower() for column in names]
        return next((lowered.index(column) for column in usual if column in lowered), None)
    if asked in names:
        return names.index(asked)
    number = column_index(asked, len(first.cells))
    if number is None:
        has = f"columns {quoted(names)}" if names else f"{counted(len(first.cells), 'column')} and no header"
        raise DataError(name, first.line, f"has no column {asked!r}; it has {has}")
    return number


def _label_of_two(body: list[Row], known_labels: Collection[str]) -> int | None:
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
        except UnicodeEncodeError:  # an escape in JSON can be half of a surrogate pair
            raise DataError(name, line, f"the {what} holds half of a surrogate pair") from None
    if not label.strip():
        raise DataError(name, line, "has an empty label")
    if "\t" in label.strip() or len(label.strip().splitlines()) > 1:
        raise DataError(name, line, f"the label {shorten(label)!r} holds a tab or a line break")
