"""The commands that train a model: ``clstm demo`` and ``clstm train``."""

from __future__ import annotations

import os
import shlex
import time
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from clstm.cli.console import DONE, INTERRUPTED, CommandError, emit, emit_json, say

if TYPE_CHECKING:
    from clstm.cli.task import Task

DEMO_SENTENCES = 8

# The network of the FAQ that the project began with; its best epoch is about the fourth. The embedding starts at
# N(0, 0.1^2), the default: with the usual N(0, 1) it learns far less.
FAQ: dict[str, Any] = {
    "n_epochs": 5,
    "vocab_size": 5000,
    "embedding_dim": 100,
    "hidden_size": 256,
    "num_layers": 2,
    "bidirectional": False,
    "pooling": "last",
}


def demo(arguments: Namespace) -> int:
    """Train on the movie reviews, show how well it went, save the model."""
    from clstm.cli.tasks import TASKS
    from clstm.datasets import load_movie_reviews

    check_writable(arguments.model)
    reviews = load_movie_reviews()
    say(
        f"movie reviews: {len(reviews.train):,} sentences to train on, {len(reviews.validation):,} to choose the best "
        f"epoch by, {len(reviews.test):,} to test"
    )
    settings = {**(FAQ if arguments.faq else {}), **model_arguments(arguments)}
    model, result = _fit(TASKS["text"], settings, reviews.train, reviews.validation, arguments.model)
    result["test_accuracy"] = float(model.score(reviews.test.texts, reviews.test.labels))
    result["sentences"] = _predicted_sentences(model, reviews.test)
    if arguments.json:
        emit_json(result)
    else:
        _show_demo(result)
    return _status(model)


def _predicted_sentences(model: Any, part: Any) -> list[dict[str, Any]]:
    """Return a few examples with the model's predictions."""
    texts, labels = _some(part, DEMO_SENTENCES)
    rows = model.predict_proba(texts)
    names = [str(name) for name in model.classes_]
    guesses = [names[row.argmax()] for row in rows]
    return [
        {"text": text, "label": str(label), "predicted": guess, "probability": float(row.max())}
        for text, label, guess, row in zip(texts, labels, guesses, rows, strict=True)
    ]


def _some(part: Any, count: int) -> tuple[list[str], list[Any]]:
    """Return some examples of a medium length that fits a line, the same ones each time."""
    fitting = [i for i, text in enumerate(part.texts) if 30 <= len(text) <= 75]
    chosen = fitting[:: max(1, len(fitting) // count)][:count]
    return [part.texts[i] for i in chosen], [part.labels[i] for i in chosen]


def _show_demo(result: dict[str, Any]) -> None:
    emit(f"test accuracy {result['test_accuracy']:.1%}, trained in {result['seconds']:.1f} s")
    emit()
    emit("predicted        sentence (never trained on; * where the readers said otherwise)")
    for sentence in result["sentences"]:
        mark = " " if sentence["predicted"] == sentence["label"] else "*"
        emit(f"{sentence['predicted']:<9}{sentence['probability']:>4.0%} {mark}  {sentence['text']}")
    emit()
    emit("Use the model:")
    emit(f'  clstm predict {shlex.quote(result["model"])} "A gripping story, beautifully told."')


def train(arguments: Namespace) -> int:
    """Train a model on a file."""
    from clstm.cli.tasks import TASKS

    task = TASKS[arguments.task]
    check_writable(arguments.output)
    data = task.read(arguments.data, arguments)
    validation = None
    if getattr(arguments, "validation", None) is not None:
        validation = task.read(arguments.validation, arguments, set(getattr(data, "labels", ())))
    model, result = _fit(task, model_arguments(arguments), data, validation, arguments.output)
    if arguments.json:
        emit_json(result)
    return _status(model)


def model_arguments(arguments: Namespace) -> dict[str, Any]:
    """Return the model's arguments that were given as options."""
    given = {name: getattr(arguments, f"set_{name}") for name in arguments.settings}
    chosen = {name: value for name, value in given.items() if value is not None}
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


def _fit(task: Task, settings: dict[str, Any], data: Any, validation: Any, path: str) -> tuple[Any, dict[str, Any]]:
    """Train and save a model; return it and what ``--json`` prints."""
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


def _status(model: Any) -> int:
    return INTERRUPTED if model.history_.interrupted else DONE
