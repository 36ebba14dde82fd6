"""The commands that use a model, other than predict: from parsed arguments to an exit status."""

from __future__ import annotations

import os
from argparse import Namespace
from typing import TYPE_CHECKING, Any

from clstm.cli.console import DONE, emit, emit_json, writing
from clstm.cli.model_files import load

if TYPE_CHECKING:
    from clstm.train.history import History


def test(arguments: Namespace) -> int:
    """Compare a model's predictions with a file."""
    from clstm.cli.tasks import TASKS, task_of

    model: Any = load(arguments.model)
    task = TASKS[task_of(model) or ""]
    data = task.read(arguments.data, arguments, {str(label) for label in getattr(model, "classes_", ())})
    result = task.test(model, data, arguments)
    if arguments.json:
        emit_json(result)
        return DONE
    for line in task.show(result):
        emit(line)
    return DONE


def forecast(arguments: Namespace) -> int:
    """Print what comes next in a series, or in several."""
    from clstm.cli.forecast_task import has_named_series, update_from
    from clstm.cli.tasks import TASKS

    model: Any = load(arguments.model, "forecast")
    named = has_named_series(model)
    if arguments.series is not None:
        update_from(model, TASKS["forecast"].read(arguments.series, arguments))
    found = model.predict(arguments.horizon, level=arguments.level)
    columns, dates, values = (_frame_columns if named else _forecast_columns)(found, arguments.level)
    if arguments.json:
        emit_json({**columns, "dates": dates, **values})
        return DONE
    steps = {"date": dates} if dates else {"step": list(range(1, arguments.horizon + 1))}
    table = {**columns, **steps, **values}
    emit(",".join(table))
    for row in zip(*table.values(), strict=True):
        emit(",".join(f"{value:.7g}" if isinstance(value, float) else _csv_cell(value) for value in row))
    return DONE


Columns = dict[str, list[Any]]


def _frame_columns(found: Any, levels: list[float]) -> tuple[Columns, list[str] | None, Columns]:
    """Return ids, dates and values of a forecast of several series, by the names that are printed."""
    from clstm.cli.forecast_task import date_texts
    from clstm.forecasting.frames import DS, ID, read_columns

    table = read_columns(found)
    dates, ids = date_texts(table.pop(DS)), {ID: table.pop(ID).tolist()}
    printed = {"LSTMForecaster": "forecast", **{f"LSTMForecaster-{end}": end for end in _ends(levels)}}
    return ids, dates, {printed[name]: column.tolist() for name, column in table.items()}


def _forecast_columns(found: Any, levels: list[float]) -> tuple[Columns, list[str] | None, Columns]:
    """Return the same of one series, which has no ids."""
    from clstm.cli.forecast_task import date_texts

    values = {"forecast": found.point.tolist()}
    for level in levels:
        lower, upper = _ends([level])
        values |= {lower: found.lower[level].tolist(), upper: found.upper[level].tolist()}
    return {}, None if found.dates is None else date_texts(found.dates), values


def _ends(levels: list[float]) -> list[str]:
    """Return the names of the ends of intervals."""
    return [f"{end}-{level:g}" for level in levels for end in ("lo", "hi")]


def _csv_cell(value: Any) -> str:
    """Return a value as it is written in CSV."""
    text = str(value)
    quotes = '"'
    return f'"{text.replace(quotes, 2 * quotes)}"' if any(mark in text for mark in ',"\r\n') else text


def generate(arguments: Namespace) -> int:
    """Print what a language model writes."""
    model: Any = load(arguments.model, "language")
    options = {name: getattr(arguments, name) for name in ("temperature", "top_k", "top_p", "seed")}
    text = model.generate(arguments.prompt, arguments.length, **options)
    if arguments.json:
        emit_json({"prompt": arguments.prompt, "text": text, **options})
    else:
        emit(arguments.prompt + (" " if model.unit == "word" and arguments.prompt else "") + text)
    return DONE


def info(arguments: Namespace) -> int:
    """Print what a model file holds."""
    from clstm.estimators.base import for_json
    from clstm.files.model_file import load_model

    model: Any = load(arguments.model)
    content = load_model(arguments.model)
    history, parameters = model.history_, model.network_.num_parameters()
    settings = {name: for_json(value) for name, value in model.get_params().items() if name != "verbose"}
    known, lines = _known(model)
    size = os.path.getsize(arguments.model)
    if arguments.json:
        file = {"model": arguments.model, "bytes": size, "clstm": content.version, "kind": content.kind}
        emit_json({**file, **known, "parameters": parameters, "history": history.as_dict(), "settings": settings})
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


def _known(model: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the labels and the vocabulary's size of a model that has them: for ``--json``, and as lines."""
    from clstm.cli.task import listed

    known: dict[str, Any] = {}
    lines: dict[str, Any] = {}
    if hasattr(model, "classes_"):
        known["labels"] = model.classes_.tolist()
        lines["labels"] = listed(map(str, known["labels"]))
    vocabulary = getattr(model, "vocabulary_", None)
    if vocabulary is not None:
        unit = "words" if hasattr(vocabulary, "words") else "characters"
        known["vocabulary"] = len(getattr(vocabulary, unit))
        lines["vocabulary"] = f"{known['vocabulary']:,} {unit}"
    return known, lines


def _summary(history: History) -> str:
    """Return how a training went, in a line."""
    text = f"{history.n_epochs} epochs in {sum(history.seconds):.1f} s"
    if history.best_epoch is not None:
        best = history.best_epoch - 1
        found = f"accuracy {history.validation_score[best]:.2%}" if history.validation_score else ""
        text += f", validation {found or f'loss {history.validation_loss[best]:.4f}'} in epoch {history.best_epoch}"
    return text + (", interrupted" if history.interrupted else "")


def config(arguments: Namespace) -> int:
    """Print versions, instruction set, threads."""
    from clstm._core.config import config, show_config

    if arguments.json:
        emit_json(config())
    else:
        with writing():
            show_config()
    return DONE
