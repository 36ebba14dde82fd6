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

from typing import TYPE_CHECKING

from clstm._package import lazy

if TYPE_CHECKING:
    from clstm.onnx.model import Model as Model
    from clstm.onnx.model import Value as Value
    from clstm.onnx.reading import load as load
    from clstm.onnx.saving import save as save

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "model": ("Model", "Value"),
        "reading": ("load",),
        "saving": ("save",),
    },
)
