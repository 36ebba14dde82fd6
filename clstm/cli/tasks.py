"""What `clstm train` can learn: for each task its model, how data are read for it, and how its model is tested."""

from __future__ import annotations

import importlib
from argparse import Namespace
from collections.abc import Iterable
from typing import Any

import numpy as np

from clstm.cli.console import CommandError, say


class Task:
    """A task: the base of those in `TASKS`.

    Attributes
    ----------
    model : str
        The class of its models.
    renamed : dict of str to str
        Arguments of that class which have another name on the command line.
    """

    model: str
    renamed: dict[str, str] = {}  # noqa: RUF012 (nothing changes it)

    def make(self, settings: dict[str, Any]) -> Any:
        """Return an unfitted model with these arguments."""
        model = getattr(importlib.import_module("clstm"), self.model)
        return model(**{self.renamed.get(name, name): value for name, value in settings.items()})

    def read(self, path: str, arguments: Namespace, known_labels: Iterable[str] = ()) -> Any:
        """Return a file's data, and say how it was read; `known_labels` help to find them in it."""
        raise NotImplementedError

    def fit(self, model: Any, data: Any, validation: Any) -> None:
        """Train a model on data, and validate it on others or None."""
        raise NotImplementedError

    def count(self, model: Any, data: Any) -> dict[str, Any]:
        """Return what --json tells of a trained model's data."""
        raise NotImplementedError

    def test(self, model: Any, data: Any, arguments: Namespace) -> dict[str, Any]:
        """Return what --json tells of a model's predictions."""
        raise NotImplementedError

    def show(self, result: dict[str, Any]) -> list[str]:
        """Return the same in lines."""
        raise NotImplementedError


class Labels(Task):
    """What tasks share whose models give labels."""

    def test(self, model: Any, data: Any, arguments: Namespace) -> dict[str, Any]:
        """Return accuracy, and precision and recall of each label (None where there is nothing to divide by)."""
        labels, names = data.labels, [str(label) for label in model.classes_]
        unknown = sorted(set(labels) - set(names))
        if unknown:
            say(f"labels that the model doesn't know, so never predicts: {listed(unknown)}")
        predicted = [str(label) for label in model.predict(self.inputs(data))]
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

    def show(self, result: dict[str, Any]) -> list[str]:
        width = max(len("label"), *map(len, result["labels"]))
        lines = [f"accuracy {result['accuracy']:.2%} ({result['correct']} of {result['examples']})", ""]
        lines.append(f"{'label':<{width}}  precision   recall  examples")
        for label, row in result["labels"].items():
            precision, recall = ("-" if row[key] is None else f"{row[key]:.2%}" for key in ("precision", "recall"))
            lines.append(f"{label:<{width}}  {precision:>9}  {recall:>7}  {row['examples']:>8}")
        return lines

    def inputs(self, data: Any) -> Any:
        """Return what the model predicts from."""
        raise NotImplementedError


class Texts(Labels):
    """Texts with a label each."""

    model = "TextClassifier"

    def make(self, settings: dict[str, Any]) -> Any:
        if "start" in settings:
            from clstm._load import load

            settings = {**settings, "start": load(settings["start"])}
        return super().make(settings)

    def read(self, path: str, arguments: Namespace, known_labels: Iterable[str] = ()) -> Any:
        from clstm.cli.data_files import read_examples

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

    def fit(self, model: Any, data: Any, validation: Any) -> None:
        held_back = None if validation is None else (validation.texts, validation.labels)
        model.fit(data.texts, data.labels, validation_data=held_back)

    def count(self, model: Any, data: Any) -> dict[str, Any]:
        return {"examples": len(data.texts), "labels": model.classes_.tolist()}

    def inputs(self, data: Any) -> Any:
        return data.texts


class Sequences(Task):
    """Sequences with a label or a number each."""

    renamed = {"seed": "random_state"}  # noqa: RUF012
    numeric: bool

    def read(self, path: str, arguments: Namespace, known_labels: Iterable[str] = ()) -> Any:
        from clstm.cli.series_files import read_sequences

        data = read_sequences(
            path,
            format=arguments.format,
            id_column=arguments.id_column,
            label_column=arguments.label_column,
            numeric=self.numeric,
        )
        labels = "" if self.numeric else f"; labels {listed(sorted(set(data.labels)))}"
        say(f"{data.source}: {len(data.values):,} sequences, {_steps(data):,} steps{labels} ({data.layout})")
        return data

    def fit(self, model: Any, data: Any, validation: Any) -> None:
        held_back = None if validation is None else (validation.values, validation.labels)
        model.fit(data.values, data.labels, eval_set=held_back)

    def count(self, model: Any, data: Any) -> dict[str, Any]:
        return {"examples": len(data.values), "steps": _steps(data)}


class Classes(Sequences, Labels):
    """Sequences with a label each."""

    model = "LSTMClassifier"
    numeric = False

    def count(self, model: Any, data: Any) -> dict[str, Any]:
        return {**super().count(model, data), "labels": model.classes_.tolist()}

    def inputs(self, data: Any) -> Any:
        return data.values


class Numbers(Sequences):
    """Sequences with a number each."""

    model = "LSTMRegressor"
    numeric = True

    def test(self, model: Any, data: Any, arguments: Namespace) -> dict[str, Any]:
        predicted = model.predict(data.values)
        if predicted.ndim != 1:
            raise CommandError(f"the model predicts {predicted.shape[1]} numbers for a sequence; test it in Python")
        return {
            "score": model.score(data.values, data.labels),
            "mean_absolute_error": float(np.abs(predicted - data.labels).mean()),
            "examples": len(data.values),
        }

    def show(self, result: dict[str, Any]) -> list[str]:
        score, error = f"score {result['score']:.4f}", f"mean absolute error {result['mean_absolute_error']:.6g}"
        return [f"{score}, {error} ({result['examples']} examples)"]


class Forecasts(Task):
    """Series that go on."""

    model = "LSTMForecaster"

    def read(self, path: str, arguments: Namespace, known_labels: Iterable[str] = ()) -> Any:
        from clstm.cli.series_files import read_series

        columns = {name: getattr(arguments, f"{name}_column") for name in ("id", "date", "value")}
        series = read_series(path, format=arguments.format, **{f"{name}_column": one for name, one in columns.items()})
        span = "" if series.dates is None else f", {series.dates.min()} to {series.dates.max()}"
        number = f" of {len(np.unique(series.ids)):,} series" if series.several else ""
        say(f"{series.source}: {len(series.values):,} steps{number}{span} ({series.layout})")
        return series

    def fit(self, model: Any, data: Any, validation: Any) -> None:
        if data.several:
            model.fit(frame_of(data))
        else:
            model.fit(data.values, dates=data.dates)

    def count(self, model: Any, data: Any) -> dict[str, Any]:
        return {"steps": len(data.values), **({"series": len(model.form_.ids)} if data.several else {})}

    def test(self, model: Any, data: Any, arguments: Namespace) -> dict[str, Any]:
        h, windows, levels = arguments.horizon, arguments.windows, arguments.level
        options = {"h": h, "n_windows": windows, "step_size": h, "level": levels}
        if has_names(model, data):
            from clstm.forecasting.frames import read_columns

            found = read_columns(model.backtest(frame_of(data, model), **options))
            actual, name = found["y"], "LSTMForecaster"
            error = float(np.abs(actual - found[name]).mean())
            held = [(found[f"{name}-lo-{x:g}"] <= actual) & (actual <= found[f"{name}-hi-{x:g}"]) for x in levels]
            shares = [float(one.mean()) for one in held]
        else:
            backtest = model.backtest(data.values, **options)
            error, shares = backtest.mean_absolute_error, [backtest.coverage(level) for level in levels]
        return {
            "mean_absolute_error": error,
            "coverage": {f"{level:g}": share for level, share in zip(levels, shares, strict=True)},
            "horizon": h,
            "windows": windows,
        }

    def show(self, result: dict[str, Any]) -> list[str]:
        from clstm.cli.data_files import counted

        error = f"mean absolute error {result['mean_absolute_error']:.6g}"
        lines = [f"{error} ({counted(result['windows'], 'window')} of {counted(result['horizon'], 'step')})"]
        return lines + [f"within the {level}% interval: {share:.1%}" for level, share in result["coverage"].items()]


class Language(Task):
    """A text whose language is learnt."""

    model = "LanguageModel"

    def read(self, path: str, arguments: Namespace, known_labels: Iterable[str] = ()) -> Any:
        from clstm.cli.data_files import read_text

        name, text = read_text(path)
        say(f"{name}: {len(text):,} characters")
        return text

    def fit(self, model: Any, data: Any, validation: Any) -> None:
        model.fit(data, validation)

    def count(self, model: Any, data: Any) -> dict[str, Any]:
        return {"characters": len(data), "vocabulary": len(model.vocabulary_)}

    def test(self, model: Any, data: Any, arguments: Namespace) -> dict[str, Any]:
        bits = {"bits_per_character": model.bits_per_character(data)} if model.unit == "character" else {}
        return {**bits, "perplexity": model.perplexity(data), "characters": len(data)}

    def show(self, result: dict[str, Any]) -> list[str]:
        bits = f"{result['bits_per_character']:.4f} bits a character, " if "bits_per_character" in result else ""
        return [f"{bits}perplexity {result['perplexity']:.4f} ({result['characters']:,} characters)"]


TASKS: dict[str, Task] = {
    "text": Texts(),
    "classify": Classes(),
    "regress": Numbers(),
    "forecast": Forecasts(),
    "language": Language(),
}


def task_of(model: Any) -> str | None:
    """Return the name of a model's task; None if it has none here."""
    return next((name for name, task in TASKS.items() if task.model == type(model).__name__), None)


def has_names(model: Any, data: Any = None) -> bool:
    """Return whether a forecaster has several series by their names, as long frames have them.

    Raises
    ------
    CommandError
        It has several without names, or several columns; or the data, if there are any, aren't of the same kind.
    """
    names = getattr(model.form_, "ids", None)
    if names is None and not (model.form_.single and model.form_.flat):
        raise CommandError("the model forecasts several series without names, which is for Python only")
    if data is not None:
        if names is None and data.several:
            raise CommandError(f"{data.source}: holds several series, but the model was trained on one")
        if names is not None and data.ids is None:
            raise CommandError(
                f"{data.source}: has no column of ids, but the model forecasts {listed(map(str, names))}"
            )
        if names is not None and model.form_.ds == "Int64":
            raise CommandError("the model's steps have numbers in place of dates, which is for Python only")
    return names is not None


def frame_of(data: Any, model: Any = None, unseen: bool = False) -> Any:
    """Return several series as a long frame: of the library that a model had, or of any; or only what is new to it."""
    from clstm.forecasting.frames import DS, ID, Y, make_frame, read_columns

    if data.dates is None:
        raise CommandError(f"{data.source}: has no column of dates, expected one beside the ids of several series")
    rows = slice(None)
    if unseen:
        ahead = read_columns(model.predict(1))
        awaited = dict(zip(ahead[ID].tolist(), ahead[DS], strict=True))
        names, series = np.unique(data.ids, return_inverse=True)
        # What fit had no series of isn't passed over, so that it is refused
        rows = data.dates >= np.array([awaited.get(name, data.dates.min()) for name in names.tolist()])[series]
    content = {ID: data.ids[rows].tolist(), DS: data.dates[rows].astype("datetime64[us]"), Y: data.values[rows]}
    return make_frame(content, None if model is None else model.form_.backend)


def listed(names: Iterable[str]) -> str:
    """Return the names in a line, the first twenty of many."""
    names = list(names)
    return ", ".join(names if len(names) <= 20 else [*names[:20], f"and {len(names) - 20} more"])


def _steps(data: Any) -> int:
    return sum(map(len, data.values))
