"""The tasks that ``clstm train`` can learn."""

from __future__ import annotations

from typing import Any

from clstm.cli.forecast_task import Forecasts
from clstm.cli.label_tasks import Classes, Numbers, Texts
from clstm.cli.language_task import Language
from clstm.cli.task import Task

TASKS: dict[str, Task] = {
    "text": Texts(),
    "classify": Classes(),
    "regress": Numbers(),
    "forecast": Forecasts(),
    "language": Language(),
}


def task_of(model: Any) -> str | None:
    """Return the name of a model's task; None if it has none."""
    return next((name for name, task in TASKS.items() if task.model == type(model).__name__), None)
