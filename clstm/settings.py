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


# Arguments of several models: kind, help.
_SHARED = {
    "n_epochs": (integer(1), "passes over the data"),
    "batch_size": (integer(1), "sequences a step"),
    "lr": (real, "learning rate"),
    "hidden_size": (integer(1), "size of the LSTM's state"),
    "num_layers": (integer(1), "layers of the LSTM"),
    "bidirectional": (bool, "read each sequence from its end too"),
    "pooling": (("max", "mean", "last"), "what is taken of the LSTM's outputs"),
    "dropout": (real, "share of the values zeroed in training"),
    "optimizer": (("adam", "adamw", "rmsprop", "sgd"), "how weights are changed"),
    "schedule": (("one_cycle", "cosine"), "of the learning rate"),
    "weight_decay": (real, "decay of the weights"),
    "clip_norm": (real, "limit of the gradients' norm"),
    "ema_decay": (real, "decay of the average of the weights"),
    "standardize": (bool, "bring the values to mean 0 and deviation 1"),
    "early_stopping": (bool, "stop when the validation gets no better"),
    "n_iter_no_change": (integer(1), "epochs without a better validation before it stops"),
    "validation_fraction": (real, "share of the data to validate on"),
    "class_weight": (("balanced",), "balanced: rare labels count as much as common ones"),
    "loss": (("mse", "huber", "quantile"), "what is minimised"),
    "quantile": (real, "of the quantile loss"),
    "output": (("student", "normal", "quantile"), "what describes a value to come"),
    "season_length": (integer(1), "learn the difference from so many steps before"),
    "freq": (str, "step of the dates, as h, D, W, MS"),
    "segment_length": (integer(1), "steps that gradients go back through"),
    "patience": (integer(1), "stop after so many epochs that were not the best"),
    "unit": (("character", "word"), "what is read and written"),
    "vocab_size": (integer(3), "characters or words to know, the commonest"),
    "embedding_dim": (integer(1), "size of a character's or word's vector"),
    "tied": (bool, "one array for the vectors read and those of the softmax"),
    "softmax": (("plain", "adaptive"), "adaptive spends little on rare words"),
    "chunk_length": (integer(1), "steps that gradients go back through"),
}


# Options that aren't called as the arguments are; -o, --output is where the model goes.
_OPTIONS = {"n_epochs": "--epochs", "output": "--distribution"}


def _settings(**defaults: Any) -> tuple[Setting, ...]:
    """Return the settings of a model with these defaults."""
    settings = []
    for name, default in defaults.items():
        kind, text = _SHARED[name]
        option = _OPTIONS.get(name, "--" + name.replace("_", "-"))
        settings.append((option, name, kind, f"{text} (default: {default})"))
    return tuple(settings)


_SEQUENCES = {
    "n_epochs": 100, "batch_size": 32, "lr": 0.003, "hidden_size": 64, "num_layers": 1, "bidirectional": "yes",
    "pooling": "mean", "dropout": 0.0, "optimizer": "adam", "schedule": "one_cycle", "weight_decay": 0.0,
    "clip_norm": 1.0, "standardize": "yes", "early_stopping": "no", "n_iter_no_change": 10, "validation_fraction": 0.1,
}  # fmt: skip

# The defaults stand here again, for the models aren't imported to print them.
SETTINGS: dict[str, tuple[Setting, ...]] = {
    "text": (
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
    ),
    "classify": _settings(**_SEQUENCES, class_weight="none"),
    "regress": _settings(**_SEQUENCES, loss="mse", quantile=0.5),
    "forecast": _settings(
        n_epochs="10, or what makes 1,000 steps", batch_size=16, lr=0.003, season_length="none",
        freq="found from the dates", output="student", hidden_size=64, num_layers=1, dropout=0.2, standardize="yes",
        segment_length=64, weight_decay=0.1, clip_norm=1.0, ema_decay=0.99, patience="never", validation_fraction=0.1,
    ),
    "language": _settings(
        n_epochs=10, batch_size=32, lr=0.003, unit="character", vocab_size="all", embedding_dim=64, hidden_size=256,
        num_layers=1, tied="no", softmax="plain", dropout=0.1, chunk_length=128, clip_norm=1.0, ema_decay=0.99,
        patience="never", validation_fraction=0.0,
    ),
}  # fmt: skip
