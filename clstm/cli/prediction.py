"""The command ``clstm predict``: labels or numbers for texts, and for the sequences of a file."""

from __future__ import annotations

import contextlib
import json
import sys
from argparse import Namespace
from collections.abc import Generator, Iterable, Iterator
from typing import Any

from clstm.cli.console import DONE, CommandError, emit, flush
from clstm.cli.model_files import load

# The names of some inputs, as --json prints them, and the inputs.
Batch = tuple[Iterable[dict[str, str]], list[Any]]


def predict(arguments: Namespace) -> int:
    """Print a line for each text as soon as it has been read, or for each sequence of a file."""
    model = load(arguments.model, "text", "classify", "regress")
    if getattr(model, "per_step_", False):
        raise CommandError(f"{arguments.model}: predicts each step of a sequence, which is for Python only")
    reads_texts = getattr(model, "vocabulary_", None) is not None
    with contextlib.closing(_text_batches(arguments) if reads_texts else _sequence_batches(arguments)) as batches:
        for names, inputs in batches:
            for name, line in zip(names, _predictions(model, inputs, arguments), strict=True):
                emit(json.dumps({**name, **line}) if isinstance(line, dict) else line)
            flush()
    return DONE


def _text_batches(arguments: Namespace) -> Generator[Batch, None, None]:
    """Yield the texts to predict, which have no names."""
    for texts in _texts(arguments):
        yield [{}] * len(texts), texts


def _texts(arguments: Namespace) -> Iterator[list[str]]:
    """Yield the arguments' texts at once, or those of a file or standard input as they are read."""
    from clstm.cli.data_files import line_batches

    if arguments.file is None and arguments.texts != ["-"]:
        yield arguments.texts
    elif arguments.file in (None, "-"):
        if sys.stdin is None:
            raise CommandError("standard input is closed")
        yield from line_batches(sys.stdin.buffer, "standard input")
    else:
        with open(arguments.file, "rb") as file:
            yield from line_batches(file, arguments.file)


def _sequence_batches(arguments: Namespace) -> Generator[Batch, None, None]:
    """Yield the names and values of a file's sequences."""
    from clstm.cli.series_files import read_sequences

    if arguments.file is None and arguments.texts != ["-"]:
        raise CommandError(f"{arguments.model}: reads sequences, from a file: give -f FILE, or - for standard input")
    path = arguments.file or "-"
    columns = {"id_column": arguments.id_column, "label_column": arguments.label_column}
    found = read_sequences(path, format=arguments.format, **columns, labelled=False)
    yield [{"id": name} for name in found.names], found.values


def _predictions(model: Any, X: Any, arguments: Namespace) -> Iterator[dict[str, Any] | str]:
    """Yield an object for each input with ``--json``, else a line."""
    return _labels(model, X, arguments) if hasattr(model, "classes_") else _numbers(model, X, arguments)


def _numbers(model: Any, X: Any, arguments: Namespace) -> Iterator[dict[str, Any] | str]:
    """Yield the number of each sequence, or the numbers if the model was fitted to several in Python."""
    for values in model.predict(X).reshape(len(X), -1).tolist():
        line = "\t".join(f"{value:.7g}" for value in values)
        yield {"value": values[0] if len(values) == 1 else values} if arguments.json else line


def _labels(model: Any, X: Any, arguments: Namespace) -> Iterator[dict[str, Any] | str]:
    """Yield the likeliest label of each input, or all of them with their probabilities."""
    labels = model.classes_.tolist()
    for probabilities in model.predict_proba(X).tolist():
        order = sorted(range(len(labels)), key=probabilities.__getitem__, reverse=True)
        if arguments.json:
            result = {"label": labels[order[0]]}
            if arguments.proba:
                result["probabilities"] = {str(labels[i]): probabilities[i] for i in order}
            yield result
            continue
        # A label that was given in Python may hold tabs and line breaks, which would break the columns and lines here.
        names = [" ".join(str(labels[i]).split()) for i in order]
        pairs = (f"{name}\t{probabilities[i]:.4f}" for name, i in zip(names, order, strict=True))
        yield "\t".join(pairs) if arguments.proba else names[0]
