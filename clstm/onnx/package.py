"""The import of the package onnx, in one place, with an error that says how to install it."""

from __future__ import annotations

try:
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import helper, numpy_helper
except ImportError as error:
    raise ImportError(f"clstm.onnx needs onnx 1.16 or newer: pip install clstm-cpu[onnx] ({error})") from None

__all__ = ["DecodeError", "helper", "numpy_helper", "onnx"]
