"""LSTM networks that train and predict fast on CPUs."""

from __future__ import annotations

import importlib
import sys

from clstm._package import lazy
from clstm._version import __version__ as __version__

try:
    from clstm._core import openmp as _openmp_first  # noqa: F401 (before any other extension)
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("clstm."):
        raise
    raise ImportError(
        f"clstm in {__path__[0]!r} isn't built for this Python ({error}). If that is a clone, either build it there, "
        'with "python -m pip install -e ." or, after a change, "python setup.py build_ext --inplace"; or start Python '
        "in another folder, which imports the clstm that is installed."
    ) from None

TYPE_CHECKING = False  # not typing's, whose import takes longer than all else here
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from typing import Any

    from clstm import datasets as datasets
    from clstm import decoding as decoding
    from clstm import estimators as estimators
    from clstm import files as files
    from clstm import forecasting as forecasting
    from clstm import keras as keras
    from clstm import language as language
    from clstm import layers as layers
    from clstm import losses as losses
    from clstm import mixture as mixture
    from clstm import models as models
    from clstm import onnx as onnx
    from clstm import optim as optim
    from clstm import plot as plot
    from clstm import schedules as schedules
    from clstm import stream as stream
    from clstm import summary as summary
    from clstm import text as text
    from clstm import torch as torch
    from clstm import trace as trace
    from clstm import train as train
    from clstm import translation as translation
    from clstm._core.config import show_config as show_config
    from clstm._core.threads import get_num_threads as get_num_threads
    from clstm._core.threads import set_num_threads as set_num_threads
    from clstm._load import load as load
    from clstm.estimators.classifier import LSTMClassifier as LSTMClassifier
    from clstm.estimators.regressor import LSTMRegressor as LSTMRegressor
    from clstm.estimators.text_classifier import TextClassifier as TextClassifier
    from clstm.files.torch_files import read_state_dict as read_state_dict
    from clstm.forecasting.forecaster import LSTMForecaster as LSTMForecaster
    from clstm.language.language_model import LanguageModel as LanguageModel
    from clstm.layers.dropout import Dropout as Dropout
    from clstm.layers.embedding import Embedding as Embedding
    from clstm.layers.gate_orders import reorder_gates as reorder_gates
    from clstm.layers.linear import Linear as Linear
    from clstm.layers.lstm import LSTM as LSTM
    from clstm.layers.lstm_cell import LSTMCell as LSTMCell
    from clstm.layers.row_gradient import RowGradient as RowGradient
    from clstm.text.vocabulary import Vocabulary as Vocabulary
    from clstm.translation.translator import Translator as Translator

# Modules and packages that are loaded when first used, so that `import clstm` and `clstm --version` take no time.
_MODULES = (
    "datasets", "decoding", "estimators", "files", "forecasting", "keras", "language", "layers", "losses", "mixture",
    "models", "onnx", "optim", "plot", "schedules", "stream", "summary", "text", "torch", "trace", "train",
    "translation",
)  # fmt: skip

_load_name, _names, _every_name = lazy(
    __name__,
    {
        "_core.config": ("show_config",),
        "_core.threads": ("get_num_threads", "set_num_threads"),
        "_load": ("load",),
        "estimators.classifier": ("LSTMClassifier",),
        "estimators.regressor": ("LSTMRegressor",),
        "estimators.text_classifier": ("TextClassifier",),
        "files.torch_files": ("read_state_dict",),
        "forecasting.forecaster": ("LSTMForecaster",),
        "language.language_model": ("LanguageModel",),
        "layers.dropout": ("Dropout",),
        "layers.embedding": ("Embedding",),
        "layers.gate_orders": ("reorder_gates",),
        "layers.linear": ("Linear",),
        "layers.lstm": ("LSTM",),
        "layers.lstm_cell": ("LSTMCell",),
        "layers.row_gradient": ("RowGradient",),
        "text.vocabulary": ("Vocabulary",),
        "translation.translator": ("Translator",),
    },
)

# `from clstm import *` needs no extra, so LSTMClassifier and LSTMRegressor aren't among these; nor are `keras`, `onnx`
# and `torch`, which would hide the packages themselves.
_NEED_EXTRAS = {"LSTMClassifier", "LSTMRegressor", "keras", "onnx", "torch"}
__all__ = sorted({*_MODULES, *_every_name} - _NEED_EXTRAS)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"clstm.{name}")
    return _load_name(name)


def __dir__() -> list[str]:
    return sorted({*_names(), *_MODULES})


class _MovedFinder:
    """Finds the module names of version 0.1, which Python asks for after all else; `_moved` says what replaces them."""

    @staticmethod
    def find_spec(fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not fullname.startswith("clstm."):
            return None
        from clstm import _moved  # loaded when first used

        return _moved.find_spec(fullname)


sys.meta_path.append(_MovedFinder)
