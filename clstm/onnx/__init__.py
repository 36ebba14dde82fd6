"""ONNX models: `load` runs them on this library's layers, `save` writes this library's networks.

Needs the package onnx and nothing else (``pip install clstm-cpu[onnx]``): neither PyTorch nor ONNX Runtime.

Examples
--------
>>> import numpy as np, clstm
>>> import clstm.onnx
>>> clstm.onnx.save(clstm.LSTM(3, 4, seed=0), "lstm.onnx", state=False)
>>> model = clstm.onnx.load("lstm.onnx")
>>> y, h_n, c_n = model.run(None, {"x": np.zeros((5, 2, 3), np.float32)})
>>> y.shape
(5, 2, 4)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clstm.onnx.model import Model, Value
    from clstm.onnx.reading import load
    from clstm.onnx.saving import save

__all__ = ["Model", "Value", "load", "save"]

# Loaded when first used: who loads a model needn't wait for what saves one.
_HOMES = {
    "Model": "clstm.onnx.model",
    "Value": "clstm.onnx.model",
    "load": "clstm.onnx.reading",
    "save": "clstm.onnx.saving",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clstm.onnx' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
