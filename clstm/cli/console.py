"""Standard output and standard error of the command line: data, messages, and what to do when either is gone."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

# Exit statuses that commands return.
DONE = 0
INTERRUPTED = 130  # 128 + SIGINT, as shells count


class CommandError(Exception):
    """A command can't be done. Users see the message alone, without a traceback."""


def say(message: str) -> None:
    """Write a line to standard error; if that fails, the command goes on without it."""
    if sys.stderr is not None:  # print(file=None) would write to standard output
        with contextlib.suppress(OSError):
            print(message, file=sys.stderr, flush=True)


def emit(line: str = "") -> None:
    """Write a line to standard output.

    Raises
    ------
    BrokenPipeError
        Its reader has ended.
    CommandError
        It is closed, or can't be written to.
    """
    with writing():
        sys.stdout.write(line + "\n")


def emit_json(value: Any) -> None:
    """Write `value` to standard output as JSON over several lines."""
    emit(json.dumps(value, indent=2))


def flush() -> None:
    """Flush standard output."""
    if sys.stdout is not None:
        with writing():
            sys.stdout.flush()


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Raise errors of writing to standard output as ones that name it."""
    if sys.stdout is None:
        raise CommandError("standard output is closed")
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise CommandError(f"can't write to standard output: {error.strerror}") from None


def end_output() -> None:
    """Flush standard output; if that fails, drop what is buffered.

    Otherwise Python would try again when it exits, and print a traceback.
    """
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def one_line(error: Exception) -> str:
    """Return an error's message in one line."""
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror if error.filename is None else f"{error.filename}: {error.strerror}"
    elif isinstance(error, MemoryError):
        text = "out of memory"
    elif isinstance(error, (CommandError, ValueError, TypeError, ArithmeticError, ImportError)):
        text = str(error)
    else:
        text = f"{type(error).__name__}: {error}"
    return " ".join(text.split())
