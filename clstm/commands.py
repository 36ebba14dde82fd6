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

from clstm.console import CommandError, emit, emit_json, flush, say, writing

if TYPE_CHECKING:
    from clstm.history import History
    from clstm.reading import Examples
    from clstm.text_classifier import TextClassifier

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
    from clstm.datasets import load_movie_reviews
    from clstm.text_classifier import TextClassifier

    check_writable(arguments.model)
    reviews = load_movie_reviews()
    say(
        f"movie reviews: {len(reviews.train):,} sentences to train on, {len(reviews.validation):,} to choose the best "
        f"epoch by, {len(reviews.test):,} to test"
    )
    settings = {**(FAQ if arguments.faq else {}), **given(arguments)}
    model, result = _fit(TextClassifier(**settings), reviews.train, reviews.validation, arguments.model)
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
    """Train a model on a file of labelled texts."""
    from clstm.text_classifier import TextClassifier

    check_writable(arguments.output)
    examples = read(arguments.data, arguments)
    validation = None
    if arguments.validation is not None:
        validation = read(arguments.validation, arguments, known_labels=set(examples.labels))
    model, result = _fit(TextClassifier(**given(arguments)), examples, validation, arguments.output)
    if arguments.json:
        emit_json(result)
    return _status(model)


def test(arguments: Namespace) -> int:
    """Compare a model's predictions with a file of labelled texts."""
    model = load(arguments.model)
    names = [str(label) for label in model.classes_]
    examples = read(arguments.data, arguments, known_labels=set(names))
    unknown = sorted(set(examples.labels) - set(names))
    if unknown:
        say(f"labels that the model doesn't know, so never predicts: {listed(unknown)}")
    predicted = [str(label) for label in model.predict(examples.texts)]
    result = scores(examples.labels, predicted, names + unknown)
    if arguments.json:
        emit_json(result)
        return DONE
    emit(f"accuracy {result['accuracy']:.2%} ({result['correct']} of {result['examples']})")
    emit()
    width = max(len("label"), *map(len, result["labels"]))
    emit(f"{'label':<{width}}  precision   recall  examples")
    for label, row in result["labels"].items():
        precision, recall = ("-" if row[key] is None else f"{row[key]:.2%}" for key in ("precision", "recall"))
        emit(f"{label:<{width}}  {precision:>9}  {recall:>7}  {row['examples']:>8}")
    return DONE


def predict(arguments: Namespace) -> int:
    """Print a line for each text, as soon as it is there."""
    model = load(arguments.model)
    labels = model.classes_.tolist()
    with contextlib.closing(_text_batches(arguments)) as batches:
        for texts in batches:
            for row in model.predict_proba(texts):
                emit(_prediction(row.tolist(), labels, arguments))
            flush()
    return DONE


def info(arguments: Namespace) -> int:
    """Print what a model file holds."""
    from clstm.files import load_model

    model = load(arguments.model)
    settings = {name: value for name, value in model.get_params().items() if name != "verbose"}
    result = {
        "model": arguments.model,
        "bytes": os.path.getsize(arguments.model),
        "clstm": load_model(arguments.model).version,
        "labels": model.classes_.tolist(),
        "vocabulary": len(model.vocabulary_.words),
        "parameters": model.network_.num_parameters(),
        "history": model.history_.as_dict(),
        "settings": settings,
    }
    if arguments.json:
        emit_json(result)
        return DONE
    lines = {
        "model": f"{result['model']} ({result['bytes']:,} bytes, written by clstm {result['clstm']})",
        "labels": listed(map(str, result["labels"])),
        "vocabulary": f"{result['vocabulary']:,} words",
        "parameters": f"{result['parameters']:,}",
        "training": _summary(model.history_),
        **settings,
    }
    width = max(map(len, lines))
    for name, value in lines.items():
        emit(f"{name:<{width}}  {'-' if value is None else value}")
    return DONE


def config(arguments: Namespace) -> int:
    """Print versions, instruction set, threads."""
    from clstm.config import config, show_config

    if arguments.json:
        emit_json(config())
    else:
        with writing():
            show_config()
    return DONE


def load(path: str) -> TextClassifier:
    """Return the model saved at `path`."""
    from clstm.text_classifier import TextClassifier

    return TextClassifier.load(path)


def read(path: str, arguments: Namespace, known_labels: Iterable[str] = ()) -> Examples:
    """Return the labelled texts of a file, and say how it was read."""
    from clstm.reading import read_examples

    examples = read_examples(
        path,
        format=arguments.format,
        text_column=arguments.text_column,
        label_column=arguments.label_column,
        header=arguments.header,
        known_labels=set(known_labels),
    )
    labels = sorted(set(examples.labels))
    say(f"{examples.source}: {len(examples.texts):,} examples; labels {listed(labels)} ({examples.layout})")
    return examples


def given(arguments: Namespace) -> dict[str, Any]:
    """Return the settings of a `TextClassifier` that were given as options."""
    settings = {name: getattr(arguments, name) for name in arguments.settings}
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


def scores(labels: list[str], predicted: list[str], names: list[str]) -> dict[str, Any]:
    """Return accuracy, and precision and recall of each label (None where there is nothing to divide by)."""
    pairs = list(zip(labels, predicted, strict=True))
    correct = sum(label == guess for label, guess in pairs)
    by_label = {}
    for name in names:
        hits = sum(label == guess == name for label, guess in pairs)
        examples, guesses = labels.count(name), predicted.count(name)
        by_label[name] = {
            "precision": hits / guesses if guesses else None,
            "recall": hits / examples if examples else None,
            "examples": examples,
            "predicted": guesses,
        }
    return {"accuracy": correct / len(pairs), "correct": correct, "examples": len(pairs), "labels": by_label}


def listed(names: Iterable[str]) -> str:
    """Return the names in a line, the first twenty of many."""
    names = list(names)
    return ", ".join(names if len(names) <= 20 else [*names[:20], f"and {len(names) - 20} more"])


def _fit(model: TextClassifier, examples: Any, validation: Any, path: str) -> tuple[TextClassifier, dict[str, Any]]:
    """Train, save, and say so; return the model and what --json prints."""
    start = time.perf_counter()
    data = None if validation is None else (validation.texts, validation.labels)
    model.fit(examples.texts, examples.labels, validation_data=data)
    seconds = time.perf_counter() - start
    model.save(path)
    history = model.history_
    say(f"saved to {path}")
    result = {
        "model": path,
        "examples": len(examples.texts),
        "labels": model.classes_.tolist(),
        "seconds": round(seconds, 3),
        "history": history.as_dict(),
    }
    return model, result


def _summary(history: History) -> str:
    text = f"{history.n_epochs} epochs in {sum(history.seconds):.1f} s"
    if history.best_epoch is not None:
        accuracy = history.validation_score[history.best_epoch - 1]
        text += f", validation accuracy {accuracy:.2%} in epoch {history.best_epoch}"
    return text + (", interrupted" if history.interrupted else "")


def _status(model: TextClassifier) -> int:
    return INTERRUPTED if model.history_.interrupted else DONE


def _text_batches(arguments: Namespace) -> Iterator[list[str]]:
    """Yield the texts to predict: those of the arguments at once, those of a file as they come."""
    from clstm.reading import line_batches

    if arguments.file is None and arguments.texts != ["-"]:
        yield arguments.texts
    elif arguments.file in (None, "-"):
        if sys.stdin is None:
            raise CommandError("standard input is closed")
        yield from line_batches(sys.stdin.buffer, "standard input")
    else:
        with open(arguments.file, "rb") as file:
            yield from line_batches(file, arguments.file)


def _prediction(probabilities: list[float], labels: list[Any], arguments: Namespace) -> str:
    """Return a line of output: the likeliest label, with --proba all of them with their probabilities."""
    order = sorted(range(len(labels)), key=probabilities.__getitem__, reverse=True)
    if arguments.json:
        result = {"label": labels[order[0]]}
        if arguments.proba:
            result["probabilities"] = {str(labels[i]): probabilities[i] for i in order}
        return json.dumps(result)
    # a label given in Python may hold anything, but a line must stay one, and a column too
    names = [" ".join(str(labels[i]).split()) for i in order]
    if not arguments.proba:
        return names[0]
    return "\t".join(f"{name}\t{probabilities[i]:.4f}" for name, i in zip(names, order, strict=True))


def _some(part: Any, count: int) -> tuple[list[str], list[Any]]:
    """Return some examples of a middle length, always the same ones, that fit into a line."""
    fitting = [i for i, text in enumerate(part.texts) if 30 <= len(text) <= 75]
    chosen = fitting[:: max(1, len(fitting) // count)][:count]
    return [part.texts[i] for i in chosen], [part.labels[i] for i in chosen]


def _quoted(path: str) -> str:
    import shlex

    return shlex.quote(path)
