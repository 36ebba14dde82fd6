"""The weights of PyTorch's LSTMs, packed into layers of this library.

The weights are PyTorch's: an optimiser, a file or a user may write to them at any time, also without PyTorch's version
counters noticing (``weight.data``, NumPy, another process). So each call compares them with the copies that were packed
last, byte by byte, which takes about as long as copying them, and packs them again if any differs.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clstm._core import threads
from clstm.layers.base import blank_weights
from clstm.layers.lstm import LSTM

# What a layer is made from: how many layers, and their arguments.
Options = tuple[int, dict[str, Any]]

# For each module, its options, copies of its weights, and its layers, all as of its last call. They are here and not in
# the module, so that PyTorch doesn't copy, pickle or restore them. An entry is only ever replaced as a whole, because
# other threads may be using it.
_last: weakref.WeakKeyDictionary[nn.Module, tuple[Options, list[bytearray], list[LSTM]]] = weakref.WeakKeyDictionary()

_CELL_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the weights that the module uses now; with pruning or functional_call they aren't its parameters."""
    names: Any = _CELL_NAMES if isinstance(module, nn.LSTMCell) else module._flat_weights_names
    return {name: tensor for name in names if (tensor := getattr(module, name)) is not None}


def drop_packed_layers(module: nn.Module) -> None:
    """Free the layers that were packed for a module."""
    _last.pop(module, None)


def packed_layers(module: nn.Module, weights: dict[str, Tensor], each: bool) -> list[LSTM]:
    """Return layers with the module's present weights: one `clstm.LSTM` for all of its layers, or one for `each`."""
    options = _options(module, each)
    now = [np.ascontiguousarray(tensor.detach().numpy()) for tensor in weights.values()]
    last = _last.get(module)
    if last is None or last[0] != options or not all(map(bytearray.__eq__, last[1], (array.data for array in now))):
        copies = [bytearray(array) for array in now]
        last = _last[module] = (options, copies, list(_new_layers(*options, now, copies)))
    return last[2]


def _options(module: nn.Module, each: bool) -> Options:
    """Return how many layers to make, and their arguments."""
    options: dict[str, Any] = {"input_size": module.input_size, "hidden_size": module.hidden_size, "bias": module.bias}
    if isinstance(module, nn.LSTMCell):
        return 1, options
    options |= {"batch_first": module.batch_first and not each, "bidirectional": module.bidirectional}
    options["proj_size"] = module.proj_size
    num_layers: Any = module.num_layers
    return (num_layers, options) if each else (1, options | {"num_layers": num_layers})


def _new_layers(
    count: int, arguments: dict[str, Any], arrays: list[np.ndarray], copies: list[bytearray]
) -> Iterator[LSTM]:
    """Make layers whose weights are the bytes in `copies`, in the dtypes and shapes of `arrays`."""
    weights = iter([np.frombuffer(data, a.dtype).reshape(a.shape) for data, a in zip(copies, arrays, strict=True)])
    for _ in range(count):
        with blank_weights():
            layer = LSTM(**arguments, dtype=arrays[0].dtype)
        with torch_threads():
            layer.load_state_dict({name: next(weights) for name in layer.parameters()}, assign=True)
        yield layer
        arguments = arguments | {"input_size": (layer.proj_size or layer.hidden_size) * layer.num_directions}


def torch_threads() -> Any:
    """Return a context in which this library uses at most as many threads as PyTorch may."""
    return threads.at_most(torch.get_num_threads())
