"""Forward and backward passes of PyTorch's LSTMs in `clstm.LSTM`, through `torch.autograd.Function`."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from clstm.layers.lstm import LSTM
from clstm.torch.packed_weights import torch_threads

State = tuple[Tensor, Tensor]


def run(
    layer: LSTM, x: Tensor, hx: State | None, lengths: Tensor | None, weights: list[Tensor]
) -> tuple[Tensor, State]:
    """Run a layer; autograd records the call if any input or any of the module's `weights` requires a gradient."""
    steps = None if lengths is None else lengths.numpy()
    h0, c0 = (None, None) if hx is None else hx
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, h0, c0, *weights)):
        y, h_n, c_n = _Function.apply(layer, steps, x, h0, c0, *weights)
        return y, (h_n, c_n)
    with torch_threads():
        y, (h_n, c_n) = layer(_numpy(x), _numpy_state(h0, c0), steps)
    return torch.from_numpy(y), (torch.from_numpy(h_n), torch.from_numpy(c_n))


class _Function(torch.autograd.Function):
    """The forward and backward pass of one layer.

    A context of `clstm.LSTM` is for one backward pass. With retain_graph PyTorch allows several, so the second and all
    later ones run the forward pass again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        layer: LSTM,
        lengths: np.ndarray | None,
        x: Tensor,
        h0: Tensor | None,
        c0: Tensor | None,
        *weights: Tensor,
    ) -> Any:
        ctx.set_materialize_grads(False)
        y, (h_n, c_n), ctx.context = _forward_train(layer, lengths, x, h0, c0)
        ctx.layer, ctx.lengths, ctx.state_shapes = layer, lengths, (h_n.shape, c_n.shape)
        y, h_n, c_n = map(torch.from_numpy, (_writable(y), h_n, c_n))
        # backward reads x and y: PyTorch checks that they haven't been changed by then.
        ctx.save_for_backward(x, h0, c0, y)
        return y, h_n, c_n

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, dh_n: Tensor | None, dc_n: Tensor | None) -> Any:
        x, h0, c0, y = ctx.saved_tensors
        context, ctx.context = ctx.context, None
        with torch.no_grad():
            if context is None:
                _, _, context = _forward_train(ctx.layer, ctx.lengths, x, h0, c0)
            gradients = [
                np.zeros(shape, ctx.layer.dtype) if gradient is None else _numpy(gradient)
                for gradient, shape in zip((dy, dh_n, dc_n), (y.shape, *ctx.state_shapes), strict=True)
            ]
            with torch_threads():
                grads = ctx.layer.backward(
                    context, gradients[0], (gradients[1], gradients[2]), need_input_grad=ctx.needs_input_grad[2]
                )
            found = [grads.x, grads.h0, grads.c0, *grads.weights.values()]
            tensors = [
                torch.from_numpy(array) if needed else None
                for array, needed in zip(found, ctx.needs_input_grad[2:], strict=True)
            ]
        if torch.is_grad_enabled():  # create_graph
            tensors = _NoSecondDerivative.apply(torch.zeros((), requires_grad=True), *tensors)
        return None, None, *tensors


class _NoSecondDerivative(torch.autograd.Function):
    """The identity of gradients, which refuses to be differentiated with an error that says why."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, *grads: Tensor | None) -> Any:
        return tuple(None if grad is None else grad.view_as(grad) for grad in grads)

    @staticmethod
    def backward(ctx: Any, *_: Any) -> Any:
        raise NotImplementedError(
            "clstm.torch.LSTM has no second derivatives (create_graph, hessian, gradient penalties); "
            "clstm.torch.restore(model) brings torch.nn.LSTM back, which has"
        )


def _forward_train(layer: LSTM, lengths: np.ndarray | None, x: Tensor, h0: Tensor | None, c0: Tensor | None) -> Any:
    with torch_threads():
        return layer.forward_train(_numpy(x), _numpy_state(h0, c0), lengths)


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy()


def _numpy_state(h: Tensor | None, c: Tensor | None) -> tuple[np.ndarray, np.ndarray] | None:
    return None if h is None or c is None else (_numpy(h), _numpy(c))


def _writable(y: np.ndarray) -> np.ndarray:
    """Return the output of forward_train as a writable array, because tensors are always writable."""
    if isinstance(y.base, np.ndarray):
        y.base.flags.writeable = True
    y.flags.writeable = True
    return y
