"""Data files as text and lines: reading them in UTF-8, and recognizing their format.

Lines may end in LF or CRLF, and a byte order mark may come first. Every error names the file and, where there is one,
the line.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

_EXTENSIONS = {
    ".tsv": "tsv", ".tab": "tsv", ".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
}  # fmt: skip
FASTTEXT_LABEL = re.compile(r"(?<!\S)__label__(\S*)")
_CHUNK = 1 << 16  # bytes read at once for prediction


class DataError(ValueError):
    """A file can't be read as data; the message begins with its name and line."""

    def __init__(self, name: str, line: int | None, problem: str) -> None:
        super().__init__(f"{name}: {problem}" if line is None else f"{name}:{line}: {problem}")


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


def line_batches(stream: Any, name: str) -> Iterator[list[str]]:
    """Yield the lines of a binary stream in batches: those that are available, without waiting for more.

    What a person types, or another program writes, is yielded line by line, a large file in large batches. Line ends
    are removed, and so is a byte order mark before the first line.

    Raises
    ------
    DataError
        A line is not UTF-8; the lines before it have been yielded.
    """
    number = 0
    parts: list[bytes] = []  # of the last line, which hasn't ended yet
    while chunk := stream.read1(_CHUNK):
        parts.append(chunk)
        if b"\n" in chunk:
            *lines, start = b"".join(parts).split(b"\n")
            parts = [start]
            yield from _decoded(name, number, lines)
            number += len(lines)
    last = b"".join(parts)
    if last:
        yield from _decoded(name, number, [last])


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
        # error.start doesn't count a byte order mark
        line = error.object.count(b"\n", 0, error.start) + 1
        raise DataError(name, line, _not_utf8(error)) from None
    zero = text.find("\0")
    if zero >= 0:
        raise DataError(name, text.count("\n", 0, zero) + 1, "holds a NUL byte, expected text in UTF-8")
    return text


def _not_utf8(error: UnicodeDecodeError) -> str:
    return f"not UTF-8 (byte 0x{error.object[error.start]:02x}); convert it first"


def guess_format(name: str, text: str) -> str:
    """Return the format that the file's extension says, or for any other its first line."""
    by_extension = _EXTENSIONS.get(os.path.splitext(name)[1].lower())
    if by_extension is not None:
        return by_extension
    first = next(line for line in text.split("\n") if line.strip())
    if first.lstrip().startswith("{"):
        return "jsonl"
    if FASTTEXT_LABEL.search(first):
        return "fasttext"
    if "\t" in first:
        return "tsv"
    if "," in first:
        return "csv"
    raise DataError(name, 1, "has neither a tab, a comma, a '{' nor a __label__; give the format if it is one of them")


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines that aren't blank, with their numbers."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.removesuffix("\r")


def column_index(column: str, width: int) -> int | None:
    """Return the index of a column that is given as a number from 1; None if it isn't such a number."""
    valid = column.isascii() and column.isdecimal() and len(column) < 10 and 1 <= int(column) <= width
    return int(column) - 1 if valid else None


def quoted(names: Iterable[str]) -> str:
    """Return names in quotes, separated by commas, for an error."""
    return ", ".join(repr(shorten(name)) for name in names) or "none"


def shorten(text: str) -> str:
    """Return a text of at most 40 characters, for an error."""
    return text if len(text) <= 40 else text[:37] + "..."


def counted(number: int, noun: str) -> str:
    """Return "1 column", "2 columns"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
