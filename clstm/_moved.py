"""Module names of versions before 0.2: importing one still works, and warns of its replacement.

Pickles of those versions have some of these names too.
"""

from __future__ import annotations

import importlib
import warnings
from importlib.machinery import ModuleSpec
from types import ModuleType

# The old name under clstm, and what replaces it
MOVED = {
    "activations": "layers.activations",
    "adaptive_softmax": "layers.adaptive_softmax",
    "atomic": "files.atomic",
    "attention": "layers.attention",
    "backend": "_core.backend",
    "base": "estimators.base",
    "batches": "train.batches",
    "beam_search": "translation",
    "calendars": "forecasting.calendars",
    "characters": "language.characters",
    "classifier": "estimators.classifier",
    "config": "_core.config",
    "differencing": "forecasting.differencing",
    "distributions": "forecasting.distributions",
    "encoder_decoder": "translation.encoder_decoder",
    "estimator_stream": "estimators.stream",
    "forecast_network": "forecasting.network",
    "forecaster": "forecasting.forecaster",
    "forecasts": "forecasting.results",
    "gates": "layers.gate_orders",
    "history": "train.history",
    "language_model": "language.language_model",
    "language_network": "language.network",
    "layer": "layers.base",
    "lstm": "layers.lstm",
    "lstm_cell": "layers.lstm_cell",
    "network": "models.base",
    "pooling": "layers.pooling",
    "progress": "train.progress",
    "recurrent": "layers.recurrent",
    "regressor": "estimators.regressor",
    "sentences": "translation.sentences",
    "sparse": "layers.row_gradient",
    "states": "layers.state_layout",
    "text_classifier": "estimators.text_classifier",
    "text_streams": "language.text_batches",
    "threads": "_core.threads",
    "torch_files": "files.torch_files",
    "translator": "translation",
}


class _Loader:
    """Loads an old name as a module that forwards every attribute to the new one.

    Without the base class of importlib.abc, whose import would load tempfile, zipfile and more.
    """

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return ModuleType(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        new = importlib.import_module("clstm." + MOVED[module.__name__.rpartition(".")[2]])
        warnings.warn(f"{module.__name__} is now {new.__name__}", DeprecationWarning, stacklevel=2)
        module.__doc__ = new.__doc__
        module.__getattr__ = lambda name: getattr(new, name)  # type: ignore[method-assign]
        module.__dir__ = lambda: dir(new)  # type: ignore[method-assign]


def find_spec(fullname: str) -> ModuleSpec | None:
    """Return how to load an old module name, None for any other."""
    package, _, name = fullname.rpartition(".")
    return ModuleSpec(fullname, _Loader()) if package == "clstm" and name in MOVED else None  # type: ignore[arg-type]
