"""Options of the command line: the types of their values, and those that are arguments of a model.

The default that ``--help`` prints for an argument of a model is read from the model's class, so the two can't differ.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any, NamedTuple


def integer(low: int) -> Callable[[str], int]:
    """Return a function that converts an option's text to an integer that is at least `low`."""

    def whole(text: str) -> int:
        value = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else -1
        if value < low:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer from {low}")
        return value

    return whole


def real(text: str) -> float:
    """Convert an option's text to a finite number that is at least 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return value


def percent(text: str) -> float:
    """Convert an option's text to a percentage between 0 and 100."""
    value = real(text)
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage between 0 and 100")
    return int(value) if value.is_integer() else value


class Setting(NamedTuple):
    """An option of ``clstm train`` that is an argument of the task's model.

    Attributes
    ----------
    name : str
        The model's argument.
    kind : bool, tuple of str, or callable
        `bool` for a pair of options, ``--name`` and ``--no-name``; the choices; or what converts the option's text.
    help : str
        What the argument means. The default is added to it.
    none : str or callable, default ""
        What the default means where it is None, or a function that returns this.
    option : str, default ""
        The option's name where it isn't ``--`` and the argument's name.
    """

    name: str
    kind: type[bool] | tuple[str, ...] | Callable[[str], Any]
    help: str
    none: str | Callable[[], str] = ""
    option: str = ""

    @property
    def flag(self) -> str:
        """The option as it is written on the command line."""
        return self.option or "--" + self.name.replace("_", "-")

    def described(self, default: Any) -> str:
        """Return the help text with the default."""
        if default is None:
            default = self.none if isinstance(self.none, str) else self.none()
        elif isinstance(default, bool):
            default = "yes" if default else "no"
        return f"{self.help} (default: {default})"

    def add_to(self, group: argparse._ArgumentGroup, default: Any) -> None:
        """Add the option to a parser's group. Its value is None if the option isn't given."""
        options: dict[str, Any] = {"dest": f"set_{self.name}", "help": self.described(default)}
        if self.kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif isinstance(self.kind, tuple):
            options["choices"] = self.kind
        else:
            options |= {"type": self.kind, "metavar": {real: "X", str: "NAME"}.get(self.kind, "N")}
        group.add_argument(self.flag, **options)


_COMMON = {
    setting.name: setting
    for setting in (
        Setting("lr", real, "learning rate"),
        Setting("hidden_size", integer(1), "size of the LSTM's state"),
        Setting("num_layers", integer(1), "layers of the LSTM"),
        Setting("pooling", ("max", "mean", "last"), "how a sequence's outputs become one vector"),
        Setting("dropout", real, "share of the values zeroed in training"),
        Setting("weight_decay", real, "decay of the weights"),
        Setting("clip_norm", real, "limit of the gradients' norm", "none"),
        Setting("ema_decay", real, "decay of the average of the weights", "none"),
        Setting("standardize", bool, "scale the values to mean 0 and deviation 1"),
        Setting("patience", integer(1), "stop after N epochs without a better validation", "never"),
        Setting("validation_fraction", real, "share of the data to validate on"),
    )
}


def common(*names: str) -> tuple[Setting, ...]:
    """Return settings that mean the same in all tasks that have them."""
    return tuple(_COMMON[name] for name in names)


def defaults_of(model: type) -> dict[str, Any]:
    """Return the default of each argument of a model's class."""
    import inspect  # takes longer to import than `clstm --version` to run

    return {name: parameter.default for name, parameter in inspect.signature(model).parameters.items()}


def epochs_for_steps(epochs: int, steps: int) -> str:
    """Describe a number of epochs that is chosen so that training takes enough steps."""
    return f"{epochs}, or what makes {steps:,} steps"
