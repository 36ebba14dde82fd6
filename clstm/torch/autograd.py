"""Forward and backward of PyTorch's LSTMs in `clstm.LSTM`: their weights, packed, and a `torch.autograd.Function`.

The weights are PyTorch's: an optimiser, a file or a user may write to them at any time, also past PyTorch's version
counters (``weight.data``, NumPy, another process). So each call compares them with those packed last, byte by byte,
which takes about the time of copying them, and packs anew if any differs.
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

State = tuple[Tensor, Tensor]


# ----------------------------------------------------------------------------------------------------------- weights

# For each module, the layers with the weights it had at its last call. In one place, not in the modules: what PyTorch
# copies, pickles and restores has nothing of it. A value is replaced as a whole, never changed, for other threads.
_last: weakref.WeakKeyDictionary[nn.Module, tuple[Any, list[bytearray], list[LSTM]]] = weakref.WeakKeyDictionary()


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that the module would use now, which need not be its parameters (pruning, functional_call)."""
    names = _CELL_NAMES if isinstance(module, nn.LSTMCell) else module._flat_weights_names
    return {name: tensor for name in names if (tensor := getattr(module, name)) is not None}


def forget(module: nn.Module) -> None:
    """Drop what was kept of a module."""
    _last.pop(module, None)


_CELL_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def packed_layers(module: nn.Module, weights: dict[str, Tensor], each: bool) -> list[LSTM]:
    """Return the module's layers, in one or `each` in its own, with the present weights."""
    options = _options(module, each)
    now = [np.ascontiguousarray(tensor.detach().numpy()) for tensor in weights.values()]
    last = _last.get(module)
    if last is None or last[0] != options or not all(map(bytearray.__eq__, last[1], map(memoryview, now))):
        kept = [bytearray(array) for array in now]
        last = _last[module] = (options, kept, list(_new_layers(*options, now, kept)))
    return last[2]


def _options(module: nn.Module, each: bool) -> tuple[int, dict[str, Any]]:
    """Return the number of layers to make, and their arguments."""
    options = {"input_size": module.input_size, "hidden_size": module.hidden_size, "bias": module.bias}
    if isinstance(module, nn.LSTMCell):
        return 1, options
    options |= {"batch_first": module.batch_first and not each, "bidirectional": module.bidirectional}
    options["proj_size"] = module.proj_size
    return (module.num_layers, options) if each else (1, options | {"num_layers": module.num_layers})


def _new_layers(
    count: int, arguments: dict[str, Any], arrays: list[np.ndarray], kept: list[bytearray]
) -> Iterator[LSTM]:
    """Make layers whose weights are the bytes in `kept`."""
    copies = iter([np.frombuffer(data, a.dtype).reshape(a.shape) for data, a in zip(kept, arrays, strict=True)])
    for _ in range(count):
        with blank_weights():
            layer = LSTM(**arguments, dtype=arrays[0].dtype)
        with _torch_threads():
            layer.load_state_dict({name: next(copies) for name in layer.parameters()}, assign=True)
        yield layer
        arguments = arguments | {"input_size": (layer.proj_size or layer.hidden_size) * layer.num_directions}


# ----------------------------------------------------------------------------------------------- forward and backward


def run(
    layer: LSTM, x: Tensor, hx: State | None, lengths: Tensor | None, weights: list[Tensor]
) -> tuple[Tensor, State]:
    """Run a layer with the weights that it was made of, and let autograd know if any input wants a gradient."""
    steps = None if lengths is None else lengths.numpy()
    h0, c0 = (None, None) if hx is None else hx
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, h0, c0, *weights)):
        y, h_n, c_n = _Function.apply(layer, steps, x, h0, c0, *weights)
        return y, (h_n, c_n)
    with _torch_threads():
        y, (h_n, c_n) = layer(_numpy(x), _numpy_state(h0, c0), steps)
    return torch.from_numpy(y), (torch.from_numpy(h_n), torch.from_numpy(c_n))


class _Function(torch.autograd.Function):
    """One layer's forward and backward.

    A context of `clstm.LSTM` serves one backward. PyTorch allows more, with retain_graph, so the second and all later
    ones run forward again.
    """

    @staticmethod
    def forward(ctx, layer, lengths, x, h0, c0, *weights):
        ctx.set_materialize_grads(False)
        y, (h_n, c_n), ctx.context = _forward_train(layer, lengths, x, h0, c0)
        ctx.layer, ctx.lengths, ctx.state_shapes = layer, lengths, (h_n.shape, c_n.shape)
        y, h_n, c_n = map(torch.from_numpy, (_writable(y), h_n, c_n))
        # x and y are read by backward: PyTorch checks that nobody has changed them till then.
        ctx.save_for_backward(x, h0, c0, y)
        return y, h_n, c_n

    @staticmethod
    def backward(ctx, dy, dh_n, dc_n):
        x, h0, c0, y = ctx.saved_tensors
        context, ctx.context = ctx.context, None
        with torch.no_grad():
            if context is None:
                _, _, context = _forward_train(ctx.layer, ctx.lengths, x, h0, c0)
            dy, dh_n, dc_n = (
                np.zeros(shape, ctx.layer.dtype) if grad is None else _numpy(grad)
                for grad, shape in zip((dy, dh_n, dc_n), (y.shape, *ctx.state_shapes), strict=True)
            )
            with _torch_threads():
                grads = ctx.layer.backward(context, dy, (dh_n, dc_n), need_input_grad=ctx.needs_input_grad[2])
            found = [grads.x, grads.h0, grads.c0, *grads.weights.values()]
            tensors = [
                torch.from_numpy(array) if needed else None
                for array, needed in zip(found, ctx.needs_input_grad[2:], strict=True)
            ]
        if torch.is_grad_enabled():  # create_graph
            tensors = _Once.apply(torch.zeros((), requires_grad=True), *tensors)
        return None, None, *tensors


class _Once(torch.autograd.Function):
    """Hands gradients on, and says clearly that they have none themselves."""

    @staticmethod
    def forward(ctx, anchor, *grads):
        return tuple(None if grad is None else grad.view_as(grad) for grad in grads)

    @staticmethod
    def backward(ctx, *_):
        raise NotImplementedError(
            "clstm.torch.LSTM has no second derivatives (create_graph, hessian, gradient penalties); "
            "clstm.torch.restore(model) brings torch.nn.LSTM back, which has"
        )


def _forward_train(layer: LSTM, lengths: np.ndarray | None, x: Tensor, h0: Tensor | None, c0: Tensor | None) -> Any:
    with _torch_threads():
        return layer.forward_train(_numpy(x), _numpy_state(h0, c0), lengths)


def _torch_threads() -> Any:
    return threads.at_most(torch.get_num_threads())


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def _numpy_state(h: Tensor | None, c: Tensor | None) -> tuple[np.ndarray, np.ndarray] | None:
    return None if h is None or c is None else (_numpy(h), _numpy(c))


def _writable(y: np.ndarray) -> np.ndarray:
    """Return the output of forward_train as an array that can be written to, as every tensor can."""
    if isinstance(y.base, np.ndarray):
        y.base.flags.writeable = True
    y.flags.writeable = True
    return y
