"""LSTM networks that train and predict fast on CPUs."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from clstm import openmp as _openmp_first  # noqa: F401 (before any other extension)

if TYPE_CHECKING:
    from clstm import datasets, decoding, losses, mixture, models, optim, plot, schedules, text, train
    from clstm import keras as keras
    from clstm import onnx as onnx
    from clstm import torch as torch
    from clstm.base import load
    from clstm.classifier import LSTMClassifier as LSTMClassifier
    from clstm.config import show_config
    from clstm.forecaster import LSTMForecaster
    from clstm.gates import reorder_gates
    from clstm.language_model import LanguageModel
    from clstm.layers import Dropout, Embedding, Linear
    from clstm.lstm import LSTM
    from clstm.lstm_cell import LSTMCell
    from clstm.regressor import LSTMRegressor as LSTMRegressor
    from clstm.sparse import RowGradient
    from clstm.text import Vocabulary
    from clstm.text_classifier import TextClassifier
    from clstm.threads import get_num_threads, set_num_threads
    from clstm.torch_files import read_state_dict
    from clstm.translator import Translator

__version__ = "0.1.0"

# `from clstm import *` needs no extra, so LSTMClassifier and LSTMRegressor aren't among these; nor are `keras`,
# `onnx` and `torch`, which would hide the packages themselves.
__all__ = [
    "LSTM",
    "Dropout",
    "Embedding",
    "LSTMCell",
    "LSTMForecaster",
    "LanguageModel",
    "Linear",
    "RowGradient",
    "TextClassifier",
    "Translator",
    "Vocabulary",
    "datasets",
    "decoding",
    "get_num_threads",
    "load",
    "losses",
    "mixture",
    "models",
    "optim",
    "plot",
    "read_state_dict",
    "reorder_gates",
    "schedules",
    "set_num_threads",
    "show_config",
    "text",
    "train",
]

# Loaded when first used, so that `import clstm` and `clstm --version` take no time.
_MODULES = (
    "datasets",
    "decoding",
    "keras",
    "losses",
    "mixture",
    "models",
    "onnx",
    "optim",
    "plot",
    "schedules",
    "text",
    "torch",
    "train",
)
_HOMES = {
    "LSTM": "clstm.lstm",
    "Dropout": "clstm.layers",
    "Embedding": "clstm.layers",
    "LSTMCell": "clstm.lstm_cell",
    "LanguageModel": "clstm.language_model",
    "LSTMClassifier": "clstm.classifier",
    "LSTMForecaster": "clstm.forecaster",
    "LSTMRegressor": "clstm.regressor",
    "Linear": "clstm.layers",
    "RowGradient": "clstm.sparse",
    "TextClassifier": "clstm.text_classifier",
    "Translator": "clstm.translator",
    "Vocabulary": "clstm.text",
    "get_num_threads": "clstm.threads",
    "load": "clstm.base",
    "read_state_dict": "clstm.torch_files",
    "reorder_gates": "clstm.gates",
    "set_num_threads": "clstm.threads",
    "show_config": "clstm.config",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"clstm.{name}")
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'clstm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_HOMES, *_MODULES})
