"""What a task of ``clstm train`` is: the base class of those in `clstm.cli.tasks`."""

from __future__ import annotations

import importlib
from argparse import Namespace
from collections.abc import Iterable
from typing import Any

from clstm.cli.options import Setting

# Options that name a column of the data.
TEXT_COLUMN = ("--text-column", "the column of texts: its name, its number from 1, or its key in JSON")
LABEL_COLUMN = ("--label-column", "the column of labels, likewise")
ID_COLUMN = ("--id-column", "the column of ids, of sequences or series: its name, or its number from 1")
DATE_COLUMN = ("--date-column", "the column of dates: its name, or its number from 1")
VALUE_COLUMN = ("--value-column", "the column of values, likewise")


class Task:
    """A task: what its model is, which options it has, how its data are read, and how its model is tested.

    Attributes
    ----------
    model : str
        The class of its models, a public name of `clstm`.
    data : str
        What it learns from, for help texts.
    data_help : str
        How DATA must look, printed below the options.
    formats : tuple of str
        The formats of DATA that ``--format`` chooses from; none if there is nothing to choose.
    columns : tuple of (str, str)
        The options that name columns, with their help texts.
    has_header : bool
        Whether ``--header`` says if the first row names the columns.
    has_validation : bool
        Whether ``--validation`` takes a file to choose the best epoch by.
    settings : tuple of Setting
        The options that are arguments of the model.
    seed : str
        The model's argument that ``--seed`` is.
    """

    model: str
    data: str
    data_help: str
    formats: tuple[str, ...] = ("tsv", "csv")
    columns: tuple[tuple[str, str], ...] = ()
    has_header = False
    has_validation = True
    settings: tuple[Setting, ...]
    seed = "seed"

    def model_class(self) -> type:
        """Return the class of the task's models.

        Raises
        ------
        ImportError
            It needs a package that isn't installed.
        """
        from clstm._load import MODELS

        return getattr(importlib.import_module(MODELS[self.model]), self.model)

    def make(self, arguments: dict[str, Any]) -> Any:
        """Return an unfitted model with these arguments."""
        return self.model_class()(**arguments)

    def read(self, path: str, arguments: Namespace, known_labels: Iterable[str] = ()) -> Any:
        """Return a file's data, and say how it was read; `known_labels` help to recognize the column of labels."""
        raise NotImplementedError

    def fit(self, model: Any, data: Any, validation: Any) -> None:
        """Train a model on data, and validate it on other data, or on None."""
        raise NotImplementedError

    def count(self, model: Any, data: Any) -> dict[str, Any]:
        """Return what ``--json`` says about the data that a model was trained on."""
        raise NotImplementedError

    def test(self, model: Any, data: Any, arguments: Namespace) -> dict[str, Any]:
        """Return what ``--json`` says about a model's predictions."""
        raise NotImplementedError

    def show(self, result: dict[str, Any]) -> list[str]:
        """Return what `test` found as lines of text."""
        raise NotImplementedError


def listed(names: Iterable[str]) -> str:
    """Return the names in a line, at most the first twenty."""
    names = list(names)
    return ", ".join(names if len(names) <= 20 else [*names[:20], f"and {len(names) - 20} more"])
