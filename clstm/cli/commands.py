"""What each command of the command line does: from parsed arguments to an exit status."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from clstm.cli.console import CommandError, emit, emit_json, flush, say, writing

if TYPE_CHECKING:
    import numpy as np

    from clstm.cli.series_files import Series
    from clstm.cli.tasks import Task
    from clstm.estimators.base import BaseModel
    from clstm.train.history import History

DONE = 0
INTERRUPTED = 130  # 128 + SIGINT, as shells count

DEMO_SENTENCES = 8

# The sizes of the FAQ that the project began with; the best epoch is the fourth or so. Embeddings start at N(0, 0.1^2),
# the default: with the usual N(0, 1) it learns far less.
FAQ = {
    "n_epochs": 5,
    "vocab_size": 5000,
    "embedding_dim": 100,
    "hidden_size": 256,
    "num_layers": 2,
    "bidirectional": False,
    "pooling": "last",
}


def demo(arguments: Namespace) -> int:
    """Train on the movie reviews, show what came of it, save the model."""
    from clstm.cli.tasks import TASKS
    from clstm.datasets import load_movie_reviews

    check_writable(arguments.model)
    reviews = load_movie_reviews()
    say(
        f"movie reviews: {len(reviews.train):,} sentences to train on, {len(reviews.validation):,} to choose the best "
        f"epoch by, {len(reviews.test):,} to test"
    )
    settings = {**(FAQ if arguments.faq else {}), **given(arguments)}
    model, result = _fit(TASKS["text"], settings, reviews.train, reviews.validation, arguments.model)
    result["test_accuracy"] = float(model.score(reviews.test.texts, reviews.test.labels))
    texts, labels = _some(reviews.test, DEMO_SENTENCES)
    rows = model.predict_proba(texts)
    names = [str(name) for name in model.classes_]
    guesses = [names[row.argmax()] for row in rows]
    result["sentences"] = [
        {"text": text, "label": str(label), "predicted": guess, "probability": float(row.max())}
        for text, label, guess, row in zip(texts, labels, guesses, rows, strict=True)
    ]
    if arguments.json:
        emit_json(result)
        return _status(model)
    emit(f"test accuracy {result['test_accuracy']:.1%}, trained in {result['seconds']:.1f} s")
    emit()
    emit("predicted        sentence (never trained on; * where the readers said otherwise)")
    for sentence in result["sentences"]:
        mark = " " if sentence["predicted"] == sentence["label"] else "*"
        emit(f"{sentence['predicted']:<9}{sentence['probability']:>4.0%} {mark}  {sentence['text']}")
    emit()
    emit("Use the model:")
    emit(f'  clstm predict {_quoted(arguments.model)} "A gripping story, beautifully told."')
    return _status(model)


def train(arguments: Namespace) -> int:
    """Train a model on a file."""
    from clstm.cli.tasks import TASKS

    task = TASKS[arguments.task]
    check_writable(arguments.output)
    data = task.read(arguments.data, arguments)
    validation = None
    if getattr(arguments, "validation", None) is not None:
        validation = task.read(arguments.validation, arguments, set(getattr(data, "labels", ())))
    model, result = _fit(task, given(arguments), data, validation, arguments.output)
    if arguments.json:
        emit_json(result)
    return _status(model)


def test(arguments: Namespace) -> int:
    """Compare a model's predictions with a file."""
    from clstm.cli.tasks import TASKS, task_of

    model = load(arguments.model)
    task = TASKS[task_of(model)]
    data = task.read(arguments.data, arguments, {str(label) for label in getattr(model, "classes_", ())})
    result = task.test(model, data, arguments)
    if arguments.json:
        emit_json(result)
        return DONE
    for line in task.show(result):
        emit(line)
    return DONE


def predict(arguments: Namespace) -> int:
    """Print a line for each text, as soon as it is there; or for each sequence of a file."""
    model = load(arguments.model, "text", "classify", "regress")
    if getattr(model, "per_step_", False):
        raise CommandError(f"{arguments.model}: predicts each step of a sequence, which is for Python only")
    reads_texts = getattr(model, "vocabulary_", None) is not None
    with contextlib.closing(_text_batches(arguments) if reads_texts else _sequence_batches(arguments)) as batches:
        for names, rows in batches:
            for name, line in zip(names, _predictions(model, rows, arguments), strict=True):
                emit(json.dumps({**name, **line}) if arguments.json else line)
            flush()
    return DONE


def forecast(arguments: Namespace) -> int:
    """Print what comes next in a series, or in several."""
    from clstm.cli.tasks import TASKS, has_names

    model = load(arguments.model, "forecast")
    named = has_names(model)
    if arguments.series is not None:
        move_on(model, TASKS["forecast"].read(arguments.series, arguments))
    found = model.predict(arguments.horizon, level=arguments.level)
    if named:
        from clstm.forecasting.frames import DS, ID, read_columns

        table = read_columns(found)
        dates, columns = table.pop(DS), {ID: table.pop(ID).tolist()}
        short = {"LSTMForecaster": "forecast", **{f"LSTMForecaster-{end}": end for end in _ends(arguments.level)}}
        values = {short[name]: column.tolist() for name, column in table.items()}
    else:
        dates, columns, values = found.dates, {}, {"forecast": found.point.tolist()}
        for level in arguments.level:
            lower, upper = _ends([level])
            values |= {lower: found.lower[level].tolist(), upper: found.upper[level].tolist()}
    dates = None if dates is None else _written(dates)
    if arguments.json:
        emit_json({**columns, "dates": dates, **values})
        return DONE
    steps = {"date": dates} if dates else {"step": list(range(1, arguments.horizon + 1))}
    table = {**columns, **steps, **values}
    emit(",".join(table))
    for row in zip(*table.values(), strict=True):
        emit(",".join(f"{cell:.7g}" if isinstance(cell, float) else _cell(cell) for cell in row))
    return DONE


def _ends(levels: list[float]) -> list[str]:
    """Return the names of the ends of intervals."""
    return [f"{end}-{level:g}" for level in levels for end in ("lo", "hi")]


def _cell(value: Any) -> str:
    """Return a value as CSV has it."""
    text = str(value)
    quotes = '"'
    return f'"{text.replace(quotes, 2 * quotes)}"' if any(mark in text for mark in ',"\r\n') else text


def generate(arguments: Namespace) -> int:
    """Print what a language model writes."""
    model = load(arguments.model, "language")
    options = {name: getattr(arguments, name) for name in ("temperature", "top_k", "top_p", "seed")}
    text = model.generate(arguments.prompt, arguments.length, **options)
    if arguments.json:
        emit_json({"prompt": arguments.prompt, "text": text, **options})
    else:
        emit(arguments.prompt + (" " if model.unit == "word" and arguments.prompt else "") + text)
    return DONE


def info(arguments: Namespace) -> int:
    """Print what a model file holds."""
    from clstm.cli.tasks import listed
    from clstm.estimators.base import for_json
    from clstm.files.model_file import load_model

    model = load(arguments.model)
    content = load_model(arguments.model)
    history, parameters = model.history_, model.network_.num_parameters()
    settings = {name: for_json(value) for name, value in model.get_params().items() if name != "verbose"}
    known, lines = {}, {}
    if hasattr(model, "classes_"):
        known["labels"] = model.classes_.tolist()
        lines["labels"] = listed(map(str, known["labels"]))
    vocabulary = getattr(model, "vocabulary_", None)
    if vocabulary is not None:
        unit = "words" if hasattr(vocabulary, "words") else "characters"
        known["vocabulary"] = len(getattr(vocabulary, unit))
        lines["vocabulary"] = f"{known['vocabulary']:,} {unit}"
    size = os.path.getsize(arguments.model)
    result = {"model": arguments.model, "bytes": size, "clstm": content.version, "kind": content.kind, **known}
    if arguments.json:
        emit_json({**result, "parameters": parameters, "history": history.as_dict(), "settings": settings})
        return DONE
    lines = {
        "model": f"{arguments.model} ({size:,} bytes, {content.kind}, written by clstm {content.version})",
        **lines,
        "parameters": f"{parameters:,}",
        "training": _summary(history),
        **settings,
    }
    width = max(map(len, lines))
    for name, value in lines.items():
        emit(f"{name:<{width}}  {'-' if value is None else value}")
    return DONE


def config(arguments: Namespace) -> int:
    """Print versions, instruction set, threads."""
    from clstm._core.config import config, show_config

    if arguments.json:
        emit_json(config())
    else:
        with writing():
            show_config()
    return DONE


def load(path: str, *tasks: str) -> BaseModel:
    """Return the model saved at `path`, which must be of one of the tasks if any are given.

    Raises
    ------
    CommandError
        It is of none of them, or has no place on the command line.
    """
    from clstm._load import load
    from clstm.cli.tasks import TASKS, task_of

    model = load(path)
    task = task_of(model)
    if task not in (tasks or TASKS):
        expected = " or ".join(TASKS[name].model for name in tasks or TASKS)
        raise CommandError(f"{path}: holds {type(model).__name__}, expected {expected}")
    return model


def given(arguments: Namespace) -> dict[str, Any]:
    """Return the arguments of the model that were given as options."""
    settings = {name: getattr(arguments, f"set_{name}") for name in arguments.settings}
    chosen = {name: value for name, value in settings.items() if value is not None}
    return {**chosen, "verbose": 0 if arguments.quiet else 1}


def check_writable(path: str) -> None:
    """Raise CommandError if a model can't be saved at `path`: better before hours of training than after."""
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if os.path.isdir(target):
        raise CommandError(f"{path}: is a folder, expected a file to save the model in")
    if not os.path.isdir(folder):
        raise CommandError(f"{path}: no such folder to save the model in")
    if os.path.exists(target) and not os.path.isfile(target):
        raise CommandError(f"{path}: not a regular file, can't save the model there")
    if not os.access(target if os.path.exists(target) else folder, os.W_OK) or not os.access(folder, os.W_OK):
        raise CommandError(f"{path}: not allowed to save the model there")


def move_on(model: Any, series: Series) -> None:
    """Let a forecaster read what came since it was trained; of series with dates, the rows that it hasn't seen.

    Raises
    ------
    CommandError
        The dates don't go on from those of the training.
    """
    import numpy as np

    from clstm.cli.tasks import frame_of, has_names

    if has_names(model, series):
        new = frame_of(series, model, unseen=True)
        if len(new):
            model.update(new)
        return
    values = series.values
    awaited = model.predict(1, level=[]).dates
    if awaited is not None:
        if series.dates is None:
            raise CommandError(f"{series.source}: has no dates, but the model was trained on a series with dates")
        new = series.dates >= awaited[0]
        values, dates = values[new], series.dates[new]
        expected = model.frequency_.dates(awaited[0], 0, len(values))
        wrong = np.flatnonzero(dates != expected)
        if len(wrong):
            found, wanted = _written(dates[wrong])[0], _written(expected[wrong])[0]
            raise CommandError(f"{series.source}: goes on at {found}, expected {wanted}")
    if len(values):
        model.update(values)


def _written(dates: np.ndarray) -> list[str]:
    """Return dates as text, with no more of them than they need: days, minutes or seconds."""
    unit = next((unit for unit in ("D", "m") if (dates.astype(f"datetime64[{unit}]") == dates).all()), "s")
    return dates.astype(f"datetime64[{unit}]").astype(str).tolist()


def _fit(task: Task, settings: dict[str, Any], data: Any, validation: Any, path: str) -> tuple[Any, dict[str, Any]]:
    """Train, save, and say so; return the model and what --json prints."""
    start = time.perf_counter()
    model = task.make(settings)
    task.fit(model, data, validation)
    seconds = time.perf_counter() - start
    model.save(path)
    say(f"saved to {path}")
    result = {
        "model": path,
        **task.count(model, data),
        "seconds": round(seconds, 3),
        "history": model.history_.as_dict(),
    }
    return model, result


def _summary(history: History) -> str:
    text = f"{history.n_epochs} epochs in {sum(history.seconds):.1f} s"
    if history.best_epoch is not None:
        best = history.best_epoch - 1
        found = f"accuracy {history.validation_score[best]:.2%}" if history.validation_score else ""
        text += f", validation {found or f'loss {history.validation_loss[best]:.4f}'} in epoch {history.best_epoch}"
    return text + (", interrupted" if history.interrupted else "")


def _status(model: Any) -> int:
    return INTERRUPTED if model.history_.interrupted else DONE


def _text_batches(arguments: Namespace) -> Iterator[tuple[Iterable[dict[str, str]], list[str]]]:
    """Yield the texts to predict, nameless: those of the arguments at once, those of a file as they come."""
    from clstm.cli.data_files import line_batches

    def nameless(batches: Iterable[list[str]]) -> Iterator[tuple[list[dict[str, str]], list[str]]]:
        for texts in batches:
            yield [{}] * len(texts), texts

    if arguments.file is None and arguments.texts != ["-"]:
        yield from nameless([arguments.texts])
    elif arguments.file in (None, "-"):
        if sys.stdin is None:
            raise CommandError("standard input is closed")
        yield from nameless(line_batches(sys.stdin.buffer, "standard input"))
    else:
        with open(arguments.file, "rb") as file:
            yield from nameless(line_batches(file, arguments.file))


def _sequence_batches(arguments: Namespace) -> Iterator[tuple[Iterable[dict[str, str]], list[Any]]]:
    """Yield the names and values of a file's sequences."""
    from clstm.cli.series_files import read_sequences

    if arguments.file is None and arguments.texts != ["-"]:
        raise CommandError(
            f"{arguments.model}: reads sequences, which stand in a file: -f FILE, or - for standard input"
        )
    path = arguments.file or "-"
    columns = {"id_column": arguments.id_column, "label_column": arguments.label_column}
    found = read_sequences(path, format=arguments.format, **columns, labelled=False)
    yield [{"id": name} for name in found.names], found.values


def _predictions(model: Any, X: Any, arguments: Namespace) -> Iterator[dict[str, Any] | str]:
    """Yield an object for --json, else a line: the likeliest label, with --proba all of them, or a number."""
    if not hasattr(model, "classes_"):
        for values in model.predict(X).reshape(len(X), -1).tolist():  # several where it was fitted so in Python
            line = "\t".join(f"{value:.7g}" for value in values)
            yield {"value": values[0] if len(values) == 1 else values} if arguments.json else line
        return
    labels = model.classes_.tolist()
    for probabilities in model.predict_proba(X).tolist():
        order = sorted(range(len(labels)), key=probabilities.__getitem__, reverse=True)
        if arguments.json:
            result = {"label": labels[order[0]]}
            if arguments.proba:
                result["probabilities"] = {str(labels[i]): probabilities[i] for i in order}
            yield result
            continue
        # a label given in Python may hold anything, but a line must stay one, and a column too
        names = [" ".join(str(labels[i]).split()) for i in order]
        pairs = (f"{name}\t{probabilities[i]:.4f}" for name, i in zip(names, order, strict=True))
        yield "\t".join(pairs) if arguments.proba else names[0]


def _some(part: Any, count: int) -> tuple[list[str], list[Any]]:
    """Return some examples of a middle length, always the same ones, that fit into a line."""
    fitting = [i for i, text in enumerate(part.texts) if 30 <= len(text) <= 75]
    chosen = fitting[:: max(1, len(fitting) // count)][:count]
    return [part.texts[i] for i in chosen], [part.labels[i] for i in chosen]


def _quoted(path: str) -> str:
    import shlex

    return shlex.quote(path)
