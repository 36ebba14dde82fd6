"""What `clstm train` can learn: for each task its model, how data are read for it and how its model is tested."""

from __future__ import annotations

import importlib
from argparse import Namespace
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clstm.console import say

if TYPE_CHECKING:
    from clstm.base import BaseModel
    from clstm.reading import Examples
    from clstm.reading_series import Sequences, Series


@dataclass(frozen=True)
class Task:
    """A task.

    Attributes
    ----------
    model : str
        The model's class.
    read : callable
        Takes a file's name, the command's arguments and the labels that the model knows; returns the data.
    fit : callable
        Trains a model on data, and validates it on others or None.
    count : callable
        Returns what --json tells of the trained model and the data.
    test : callable
        Takes a model, data and the command's arguments; returns what --json tells of the model's predictions.
    show : callable
        Turns that into lines.
    renamed : dict
        Arguments of the model that have another name on the command line.
    """

    model: str
    read: Callable[..., Any]
    fit: Callable[[Any, Any, Any], Any]
    count: Callable[[Any, Any], dict[str, Any]]
    test: Callable[[Any, Any, Namespace], dict[str, Any]]
    show: Callable[[dict[str, Any]], list[str]]
    renamed: dict[str, str] = field(default_factory=dict)

    def make(self, settings: dict[str, Any]) -> BaseModel:
        """Return an unfitted model with these arguments."""
        model = getattr(importlib.import_module("clstm"), self.model)
        return model(**{self.renamed.get(name, name): value for name, value in settings.items()})


def task_of(model: BaseModel) -> str | None:
    """Return the name of a model's task; None if it has none here."""
    return next((name for name, task in TASKS.items() if task.model == type(model).__name__), None)


def listed(names: Iterable[str]) -> str:
    """Return the names in a line, the first twenty of many."""
    names = list(names)
    return ", ".join(names if len(names) <= 20 else [*names[:20], f"and {len(names) - 20} more"])


# --------------------------------------------------------------------------------------------------- labelled texts


def _read_texts(path: str, arguments: Namespace, known_labels: Iterable[str] = ()) -> Examples:
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


def _fit_texts(model: Any, examples: Examples, validation: Examples | None) -> None:
    data = None if validation is None else (validation.texts, validation.labels)
    model.fit(examples.texts, examples.labels, validation_data=data)


def _count_texts(model: Any, examples: Examples) -> dict[str, Any]:
    return {"examples": len(examples.texts), "labels": model.classes_.tolist()}


# --------------------------------------------------------------------------------------------- sequences with labels


def _read_sequences(path: str, arguments: Namespace, numeric: bool, labelled: bool = True) -> Sequences:
    from clstm.reading_series import read_sequences

    found = read_sequences(
        path,
        format=arguments.format,
        id_column=arguments.id_column,
        label_column=arguments.label_column,
        numeric=numeric,
        labelled=labelled,
    )
    steps = sum(map(len, found.values))
    said = f"{found.source}: {len(found.values):,} sequences, {steps:,} steps"
    if labelled and not numeric:
        said += f"; labels {listed(sorted(set(found.labels)))}"
    say(f"{said} ({found.layout})")
    return found


def _read_classes(path: str, arguments: Namespace, known_labels: Iterable[str] = ()) -> Sequences:
    return _read_sequences(path, arguments, numeric=False)


def _read_numbers(path: str, arguments: Namespace, known_labels: Iterable[str] = ()) -> Sequences:
    return _read_sequences(path, arguments, numeric=True)


def _fit_sequences(model: Any, data: Sequences, validation: Sequences | None) -> None:
    model.fit(data.values, data.labels, eval_set=None if validation is None else (validation.values, validation.labels))


def _count_sequences(model: Any, data: Sequences) -> dict[str, Any]:
    labels = {"labels": model.classes_.tolist()} if hasattr(model, "classes_") else {}
    return {"examples": len(data.values), "steps": sum(map(len, data.values)), **labels}


# ---------------------------------------------------------------------------------------------------------- a series


def _read_series(path: str, arguments: Namespace, known_labels: Iterable[str] = ()) -> Series:
    from clstm.reading_series import read_series

    series = read_series(
        path, format=arguments.format, date_column=arguments.date_column, value_column=arguments.value_column
    )
    span = "" if series.dates is None else f", {series.dates[0]} to {series.dates[-1]}"
    say(f"{series.source}: {len(series.values):,} steps{span} ({series.layout})")
    return series


def _fit_series(model: Any, series: Series, validation: None) -> None:
    model.fit(series.values, dates=series.dates)


def _count_series(model: Any, series: Series) -> dict[str, Any]:
    return {"steps": len(series.values)}


# -------------------------------------------------------------------------------------------------------- plain text


def _read_language(path: str, arguments: Namespace, known_labels: Iterable[str] = ()) -> str:
    from clstm.reading import read_text

    name, text = read_text(path)
    say(f"{name}: {len(text):,} characters")
    return text


def _fit_language(model: Any, text: str, validation: str | None) -> None:
    model.fit(text, validation)


def _count_language(model: Any, text: str) -> dict[str, Any]:
    return {"characters": len(text), "vocabulary": len(model.vocabulary_)}


# ----------------------------------------------------------------------------------------------------- how good it is


def _test_labels(model: Any, labels: list[str], X: Any) -> dict[str, Any]:
    """Return accuracy, and precision and recall of each label (None where there is nothing to divide by)."""
    names = [str(label) for label in model.classes_]
    unknown = sorted(set(labels) - set(names))
    if unknown:
        say(f"labels that the model doesn't know, so never predicts: {listed(unknown)}")
    predicted = [str(label) for label in model.predict(X)]
    pairs = list(zip(labels, predicted, strict=True))
    correct = sum(label == guess for label, guess in pairs)
    by_label = {}
    for name in names + unknown:
        hits = sum(label == guess == name for label, guess in pairs)
        examples, guesses = labels.count(name), predicted.count(name)
        by_label[name] = {
            "precision": hits / guesses if guesses else None,
            "recall": hits / examples if examples else None,
            "examples": examples,
            "predicted": guesses,
        }
    return {"accuracy": correct / len(pairs), "correct": correct, "examples": len(pairs), "labels": by_label}


def _show_labels(result: dict[str, Any]) -> list[str]:
    width = max(len("label"), *map(len, result["labels"]))
    lines = [f"accuracy {result['accuracy']:.2%} ({result['correct']} of {result['examples']})", ""]
    lines.append(f"{'label':<{width}}  precision   recall  examples")
    for label, row in result["labels"].items():
        precision, recall = ("-" if row[key] is None else f"{row[key]:.2%}" for key in ("precision", "recall"))
        lines.append(f"{label:<{width}}  {precision:>9}  {recall:>7}  {row['examples']:>8}")
    return lines


def _test_numbers(model: Any, data: Sequences, arguments: Namespace) -> dict[str, Any]:
    error = abs(model.predict(data.values) - data.labels).mean()
    return {
        "score": model.score(data.values, data.labels),
        "mean_absolute_error": float(error),
        "examples": len(data.values),
    }


def _show_numbers(result: dict[str, Any]) -> list[str]:
    return [
        f"score {result['score']:.4f}, mean absolute error {result['mean_absolute_error']:.6g} "
        f"({result['examples']} examples)"
    ]


def _test_forecasts(model: Any, series: Series, arguments: Namespace) -> dict[str, Any]:
    h, windows = arguments.horizon, arguments.windows
    found = model.backtest(series.values, h=h, n_windows=windows, step_size=h, level=arguments.level)
    return {
        "mean_absolute_error": found.mean_absolute_error,
        "coverage": {f"{level:g}": found.coverage(level) for level in arguments.level},
        "horizon": h,
        "windows": windows,
    }


def _show_forecasts(result: dict[str, Any]) -> list[str]:
    error = f"mean absolute error {result['mean_absolute_error']:.6g}"
    lines = [f"{error} ({result['windows']} windows of {result['horizon']} steps)"]
    lines += [f"within the {level}% interval: {share:.1%}" for level, share in result["coverage"].items()]
    return lines


def _test_language(model: Any, text: str, arguments: Namespace) -> dict[str, Any]:
    result = {"perplexity": model.perplexity(text), "characters": len(text)}
    return {"bits_per_character": model.bits_per_character(text), **result} if model.unit == "character" else result


def _show_language(result: dict[str, Any]) -> list[str]:
    names = {"bits_per_character": "bits a character", "perplexity": "perplexity"}
    return [", ".join(f"{text} {result[name]:.4f}" for name, text in names.items() if name in result)]


_SEED = {"seed": "random_state"}

TASKS = {
    "text": Task(
        "TextClassifier", _read_texts, _fit_texts, _count_texts,
        lambda model, data, _: _test_labels(model, data.labels, data.texts), _show_labels,
    ),
    "classify": Task(
        "LSTMClassifier", _read_classes, _fit_sequences, _count_sequences,
        lambda model, data, _: _test_labels(model, data.labels, data.values), _show_labels, _SEED,
    ),
    "regress": Task(
        "LSTMRegressor", _read_numbers, _fit_sequences, _count_sequences, _test_numbers, _show_numbers, _SEED
    ),
    "forecast": Task("LSTMForecaster", _read_series, _fit_series, _count_series, _test_forecasts, _show_forecasts),
    "language": Task("LanguageModel", _read_language, _fit_language, _count_language, _test_language, _show_language),
}  # fmt: skip
