"""Standard output and standard error of the command line: data, messages, and what to do when either is gone."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any


class CommandError(Exception):
    """A command can't be done; the message is all that is said."""


def say(message: str) -> None:
    """Write a line to standard error; where that can't be, the command goes on without."""
    if sys.stderr is not None:  # print would take None for standard output
        with contextlib.suppress(OSError):
            print(message, file=sys.stderr, flush=True)


def emit(line: str = "") -> None:
    """Write a line to standard output.

    Raises
    ------
    BrokenPipeError
        Nothing reads it any more.
    CommandError
        It is closed, or can't be written to.
    """
    with writing():
        sys.stdout.write(line + "\n")


def emit_json(value: Any) -> None:
    """Write `value` to standard output as JSON over several lines."""
    emit(json.dumps(value, indent=2))


def flush() -> None:
    """Hand on what was emitted."""
    if sys.stdout is not None:
        with writing():
            sys.stdout.flush()


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Name standard output in the errors of writing to it."""
    if sys.stdout is None:
        raise CommandError("standard output is closed")
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandError(f"can't write to standard output: {error.strerror}") from None


def end_output() -> None:
    """Write out what is left; what can't be is dropped, for Python would try again at its end, and complain."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def one_line(error: Exception) -> str:
    """Return what an error has to say, in one line."""
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    elif isinstance(error, MemoryError):
        text = "out of memory"
    elif isinstance(error, (CommandError, ValueError, TypeError, ArithmeticError, ImportError)):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())
