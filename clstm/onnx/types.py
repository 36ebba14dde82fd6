"""The element types of ONNX that are supported."""

from __future__ import annotations

import numpy as np

from clstm.onnx.package import numpy_helper, onnx

_TYPES = {
    "FLOAT": ("float", np.float32),
    "DOUBLE": ("double", np.float64),
    "INT8": ("int8", np.int8),
    "INT16": ("int16", np.int16),
    "INT32": ("int32", np.int32),
    "INT64": ("int64", np.int64),
    "UINT8": ("uint8", np.uint8),
    "UINT16": ("uint16", np.uint16),
    "UINT32": ("uint32", np.uint32),
    "UINT64": ("uint64", np.uint64),
    "BOOL": ("bool", np.bool_),
}
CODES = {getattr(onnx.TensorProto, code): (name, np.dtype(dtype)) for code, (name, dtype) in _TYPES.items()}


def dtype_of(what: str, code: int) -> np.dtype:
    """Return the dtype of an element type's number; raise ValueError, naming `what`, for one that isn't supported."""
    if code not in CODES:
        names = {number: name for name, number in onnx.TensorProto.DataType.items()}
        supported = ", ".join(name for name, _ in CODES.values())
        raise ValueError(
            f"{what} has the element type {names.get(code, code)}, which isn't supported; expected one of {supported}"
        )
    return CODES[code][1]


def type_name(code: int) -> str:
    """Return the name that ONNX Runtime gives a tensor of this element type: ``tensor(float)``."""
    return f"tensor({CODES[code][0]})"


def tensor_array(what: str, tensor: onnx.TensorProto) -> np.ndarray:
    """Return the array that a TensorProto holds; nothing in it is trusted."""
    dtype = dtype_of(what, tensor.data_type)
    if any(size < 0 for size in tensor.dims):
        raise ValueError(f"{what} has the shape {tuple(tensor.dims)}, expected sizes of at least 0")
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise ValueError(f"{what} is in a separate file; load the model by its path")
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{what} doesn't hold the {tuple(tensor.dims)} numbers of its shape: {error}") from None
    if array.dtype != dtype or array.shape != tuple(tensor.dims):
        raise ValueError(f"{what} is {array.dtype}{array.shape}, expected {dtype}{tuple(tensor.dims)}")
    return array
