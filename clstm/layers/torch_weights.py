"""Conversion of PyTorch's weights to layers of this library and back, from a module or a state_dict.

A state_dict is read without PyTorch: its tensors may be NumPy arrays, as `clstm.read_state_dict` returns them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from clstm._checks import as_array, check_dtype
from clstm.layers.base import Layer, blank_weights

_SUPPORTED = (np.dtype(np.float32), np.dtype(np.float64))
_LAYER = re.compile(r"weight_ih_l(\d{1,6})")

AnyLayer = TypeVar("AnyLayer", bound=Layer)


def read_source(kind: str, source: Any, prefix: str, dtype: Any, first: str) -> tuple[Any, dict[str, np.ndarray]]:
    """Return the module, None for a state_dict, and the weights by name that `source` has under `prefix`.

    Parameters
    ----------
    kind : str
        The name of the class in torch.nn that it must be.
    source : torch.nn.Module or mapping of str to tensor or array
        The module, one that holds it, or a state_dict of either.
    prefix : str
        Prefix of the weights' names, such as "encoder.lstm.", with or without the last dot.
    dtype : dtype or None
        To convert to; None keeps float32 and float64, and converts float16 and bfloat16 to float32, which is exact.
    first : str
        A name that every such state_dict has, by which a wrong prefix is noticed.

    Raises
    ------
    TypeError, ValueError
        Another class, no such weights, or other dtypes.
    """
    if not isinstance(prefix, str):
        raise TypeError(f"prefix is {type(prefix).__name__}, expected a string")
    if prefix and not prefix.endswith("."):
        prefix += "."
    torch = sys.modules.get("torch")
    module = None
    if torch is not None and isinstance(source, torch.nn.Module):
        module = _submodule(source, prefix)
        if not isinstance(module, getattr(torch.nn, kind)):
            raise TypeError(f"source is {type(module).__name__}, expected a torch.nn.{kind} or its state_dict")
        source, prefix = module.state_dict(), ""
    if not isinstance(source, Mapping):
        raise TypeError(f"source is {type(source).__name__}, expected a torch.nn.{kind} or its state_dict")
    tensors = {
        name[len(prefix) :]: value
        for name, value in source.items()
        if isinstance(name, str) and name.startswith(prefix)
    }
    if first not in tensors:
        found = [name[: -len(first)] for name in source if isinstance(name, str) and name.endswith("." + first)]
        hint = f"; prefix could be {', '.join(map(repr, found[:10]))}" if found else ""
        raise ValueError(f"source has no {prefix}{first}{hint}")
    return module, _converted({name: _as_array(prefix + name, value) for name, value in tensors.items()}, dtype)


def lstm_sizes(arrays: Mapping[str, np.ndarray], layers: bool) -> dict[str, Any]:
    """Return the arguments of an LSTM, or of an LSTMCell (`layers` False), with these weights.

    Raises
    ------
    ValueError
        The weights aren't an LSTM's.
    """
    end = "_l0" if layers else ""
    weight_ih, weight_hh, weight_hr = (arrays.get(f"weight_{name}{end}") for name in ("ih", "hh", "hr"))
    if weight_hh is None:
        raise ValueError(f"source has no weight_hh{end}, only {', '.join(arrays)}")
    for name, array in ("ih", weight_ih), ("hh", weight_hh), ("hr", weight_hr):
        if array is not None and (array.ndim != 2 or 0 in array.shape):
            raise ValueError(f"weight_{name}{end} has shape {array.shape}, expected two axes")
    hidden_size = weight_hh.shape[1] if weight_hr is None else weight_hr.shape[1]
    if weight_hh.shape[0] != 4 * hidden_size:
        raise ValueError(
            f"weight_hh{end} has shape {weight_hh.shape}, expected 4 * {hidden_size} rows: is it an LSTM's?"
        )
    sizes = {"input_size": weight_ih.shape[1], "hidden_size": hidden_size, "bias": f"bias_ih{end}" in arrays}
    if weight_hr is not None:
        sizes["proj_size"] = weight_hr.shape[0]
    if layers:
        numbers = {int(match[1]) for match in map(_LAYER.match, arrays) if match}
        if numbers != set(range(len(numbers))):  # refused before layers are made
            raise ValueError(f"source has weights of the layers {sorted(numbers)}, expected 0 to {len(numbers) - 1}")
        sizes |= {"num_layers": len(numbers), "bidirectional": "weight_ih_l0_reverse" in arrays}
    return sizes


def make(cls: type[AnyLayer], arrays: Mapping[str, np.ndarray], **arguments: Any) -> AnyLayer:
    """Return a layer with these arguments and weights; no random weights are drawn first."""
    with blank_weights():
        layer = cls(**arguments, dtype=next(iter(arrays.values())).dtype)
    layer.load_state_dict(arrays, assign=True)
    return layer


def to_module(layer: Layer, kind: str, **arguments: Any) -> Any:
    """Return a torch.nn module of the class `kind` with a copy of the layer's weights."""
    try:
        import torch
    except ImportError as error:
        raise ImportError(f"to_torch needs PyTorch 2.3 or newer: pip install clstm-cpu[torch] ({error})") from None
    # Made on the meta device, so that no random weights are drawn
    made = getattr(torch.nn, kind)(**arguments, dtype=getattr(torch, layer.dtype.name), device="meta")
    made = made.to_empty(device="cpu")
    made.load_state_dict({name: torch.from_numpy(array) for name, array in layer.state_dict().items()})
    return made


def refuse_options(layer: Any, kind: str, options: Mapping[str, Any]) -> None:
    """Raise ValueError if one of the layer's or module's `options`, which `kind` lacks, isn't at its default."""
    for name, default in options.items():
        value = getattr(layer, name)
        if value != default:
            raise ValueError(f"{name} is {value}, expected {default}, for {kind} has no such option")


def _submodule(module: Any, prefix: str) -> Any:
    try:
        return module.get_submodule(prefix.rstrip("."))
    except AttributeError as error:
        raise ValueError(f"prefix is {prefix!r}, but source has no such part: {error}") from None


def _as_array(name: str, value: Any) -> np.ndarray:
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        if value.device.type == "meta":
            raise ValueError(f"{name} is on the meta device, where it has no values")
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return as_array(name, value)


def _converted(arrays: Mapping[str, np.ndarray], dtype: Any) -> dict[str, np.ndarray]:
    """Return copies of one dtype."""
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            raise TypeError(f"{name} has dtype {array.dtype}, expected floats")
    if dtype is not None:
        dtype = check_dtype("dtype", dtype)
    else:
        found = {np.dtype(np.float32) if array.dtype == np.float16 else array.dtype for array in arrays.values()}
        if len(found) > 1 or not found <= set(_SUPPORTED):
            names = ", ".join(sorted(map(str, found)))
            raise TypeError(f"source has weights of dtype {names}; give dtype, float32 or float64, to convert them")
        (dtype,) = found
    return {name: np.array(array, dtype, order="C") for name, array in arrays.items()}
