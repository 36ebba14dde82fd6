"""The options of `clstm train`: for each task, the arguments of its model."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

Setting = tuple[str, str, Any, str]  # option, argument of the model, kind, help


def integer(low: int) -> Callable[[str], int]:
    """Return what turns an argument into an integer from `low`."""

    def whole(text: str) -> int:
        value = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else -1
        if value < low:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer from {low}")
        return value

    return whole


def real(text: str) -> float:
    """Turn an argument into a number from 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return value


def percent(text: str) -> float:
    """Turn an argument into a percentage."""
    value = real(text)
    if not 0 < value < 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage between 0 and 100")
    return int(value) if value.is_integer() else value


# The defaults of TextClassifier stand here again: it isn't imported to print them.
TEXT = (
    ("--epochs", "n_epochs", integer(1), "passes over the texts (default: 8, or what makes 2,000 steps)"),
    ("--batch-size", "batch_size", integer(1), "texts a step (default: 32)"),
    ("--lr", "lr", real, "learning rate (default: 0.001)"),
    ("--vocab-size", "vocab_size", integer(3), "words to know, the commonest (default: all)"),
    ("--max-length", "max_length", integer(1), "words of a text to read (default: all)"),
    ("--embedding-dim", "embedding_dim", integer(1), "size of a word's vector (default: 64)"),
    ("--hidden-size", "hidden_size", integer(1), "size of the LSTM's state (default: 64)"),
    ("--num-layers", "num_layers", integer(1), "layers of the LSTM (default: 1)"),
    ("--bidirectional", "bidirectional", bool, "read each text from its end too (default: yes)"),
    ("--pooling", "pooling", ("max", "mean", "last"), "what is taken of the LSTM's outputs (default: max)"),
    ("--dropout", "dropout", real, "share of the values zeroed in training (default: 0.6)"),
    ("--word-dropout", "word_dropout", real, "share of the words made unknown in training (default: 0.2)"),
    ("--embedding-std", "embedding_std", real, "standard deviation of the first word vectors (default: 0.1)"),
    ("--clip-norm", "clip_norm", real, "limit of the gradients' norm (default: 1.0)"),
    ("--ema-decay", "ema_decay", real, "decay of the average of the weights (default: 0.99)"),
    ("--patience", "patience", integer(1), "stop after so many epochs that were not the best (default: never)"),
    ("--validation-fraction", "validation_fraction", real, "share of the texts to choose the best epoch by, "
     "where there is no --validation (default: 0.0)"),
    ("--start", "start", str, "a saved language model of words to start from (default: none)"),
)  # fmt: skip

# Of other models: kind, help, and what a default of None means.
_ARGUMENTS = {
    "n_epochs": (integer(1), "passes over the data", "10, or what makes 1,000 steps"),
    "batch_size": (integer(1), "sequences a step"),
    "lr": (real, "learning rate"),
    "hidden_size": (integer(1), "size of the LSTM's state"),
    "num_layers": (integer(1), "layers of the LSTM"),
    "bidirectional": (bool, "read each sequence from its end too"),
    "pooling": (("max", "mean", "last"), "what is taken of the LSTM's outputs"),
    "dropout": (real, "share of the values zeroed in training"),
    "optimizer": (("adam", "adamw", "rmsprop", "sgd"), "how weights are changed"),
    "schedule": (("one_cycle", "cosine"), "of the learning rate", "constant"),
    "weight_decay": (real, "decay of the weights"),
    "clip_norm": (real, "limit of the gradients' norm", "none"),
    "ema_decay": (real, "decay of the average of the weights", "none"),
    "standardize": (bool, "bring the values to mean 0 and deviation 1"),
    "early_stopping": (bool, "stop when the validation gets no better"),
    "n_iter_no_change": (integer(1), "epochs without a better validation before it stops"),
    "validation_fraction": (real, "share of the data to validate on"),
    "class_weight": (("balanced",), "balanced: rare labels count as much as common ones", "all examples alike"),
    "loss": (("mse", "huber", "quantile"), "what is minimised"),
    "quantile": (real, "of the quantile loss"),
    "output": (("student", "normal", "quantile"), "what describes a value to come"),
    "season_length": (integer(1), "learn the difference from so many steps before", "none"),
    "freq": (str, "step of the dates: s, min, h, D, W, MS, ...", "found from the dates"),
    "segment_length": (integer(1), "steps that gradients go back through"),
    "patience": (integer(1), "stop after so many epochs that were not the best", "never"),
    "unit": (("character", "word"), "what is read and written"),
    "vocab_size": (integer(3), "characters or words to know, the commonest", "all"),
    "embedding_dim": (integer(1), "size of a character's or word's vector"),
    "tied": (bool, "one array for the vectors read and those of the softmax"),
    "softmax": (("plain", "adaptive"), "adaptive spends little on rare words"),
    "chunk_length": (integer(1), "steps that gradients go back through"),
}

# Options that aren't called as the arguments are; -o, --output is where the model goes.
_OPTIONS = {"n_epochs": "--epochs", "output": "--distribution"}

_SEQUENCES = (
    "n_epochs", "batch_size", "lr", "hidden_size", "num_layers", "bidirectional", "pooling", "dropout", "optimizer",
    "schedule", "weight_decay", "clip_norm", "standardize", "early_stopping", "n_iter_no_change",
    "validation_fraction",
)  # fmt: skip

_BY_TASK = {
    "classify": (*_SEQUENCES, "class_weight"),
    "regress": (*_SEQUENCES, "loss", "quantile"),
    "forecast": (
        "n_epochs", "batch_size", "lr", "season_length", "freq", "output", "hidden_size", "num_layers", "dropout",
        "standardize", "segment_length", "weight_decay", "clip_norm", "ema_decay", "patience", "validation_fraction",
    ),
    "language": (
        "n_epochs", "batch_size", "lr", "unit", "vocab_size", "embedding_dim", "hidden_size", "num_layers", "tied",
        "softmax", "dropout", "chunk_length", "clip_norm", "ema_decay", "patience", "validation_fraction",
    ),
}  # fmt: skip


def settings(task: str) -> tuple[Setting, ...]:
    """Return the settings of a task's model; of other models than `TextClassifier` the class is imported for them.

    Raises
    ------
    ImportError
        The model needs a package that isn't installed.
    """
    if task == "text":
        return TEXT
    from clstm.cli.tasks import TASKS

    defaults = TASKS[task].make({}).get_params()
    found = []
    for name in _BY_TASK[task]:
        kind, text, *none = _ARGUMENTS[name]
        default = defaults[name]
        if default is None:
            (default,) = none
        elif kind is bool:
            default = "yes" if default else "no"
        option = _OPTIONS.get(name, "--" + name.replace("_", "-"))
        found.append((option, name, kind, f"{text} (default: {default})"))
    return tuple(found)
