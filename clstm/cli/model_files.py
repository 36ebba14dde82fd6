"""Loading the model of a command."""

from __future__ import annotations

from clstm.cli.console import CommandError
from clstm.estimators.base import BaseModel


def load(path: str, *tasks: str) -> BaseModel:
    """Return the model saved at `path`, which must be of one of the tasks if any are given.

    Raises
    ------
    CommandError
        It is of none of them, or the command line has no task for it.
    """
    from clstm._load import load
    from clstm.cli.tasks import TASKS, task_of

    model = load(path)
    task = task_of(model)
    if task not in (tasks or TASKS):
        expected = " or ".join(TASKS[name].model for name in tasks or TASKS)
        raise CommandError(f"{path}: holds {type(model).__name__}, expected {expected}")
    return model
