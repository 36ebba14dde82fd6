"""PyTorch's LSTM and LSTMCell computed by this library: same constructor, call and state_dict, training included.

`LSTM` and `LSTMCell` derive from torch.nn's, whose parameters, checks and copies they keep; forward and backward run in
`clstm.LSTM`, through `torch.autograd.Function`. `replace` changes the class of a model's LSTMs in place.

The weights are PyTorch's: an optimiser, a file or a user may write to them at any time, also past PyTorch's version
counters (``weight.data``, NumPy, another process). So each call compares them with those packed last, byte by byte,
which takes about the time of copying them, and packs anew if any differs.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

try:
    import torch
    from torch import Tensor, nn
    from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
except ImportError as error:
    raise ImportError(
        f"clstm.torch and to_torch need PyTorch 2.3 or newer: pip install clstm-cpu[torch] ({error})"
    ) from None

from clstm import lstm, threads
from clstm.layer import blank_weights

__all__ = ["LSTM", "LSTMCell", "replace", "restore"]

_DTYPES = (torch.float32, torch.float64)

State = tuple[Tensor, Tensor]
AnyModule = TypeVar("AnyModule", bound=nn.Module)


class LSTM(nn.LSTM):
    """A torch.nn.LSTM whose forward and backward run in this library, on the CPU, in float32 or float64.

    Parameters, call, results, state_dict and errors about shapes are those of `torch.nn.LSTM`. With the same seed of
    PyTorch's it has the same initial weights and the same dropout: a training takes the same course, to rounding.

    A call uses at most `torch.get_num_threads()` threads, and at most `clstm.get_num_threads()`.

    Notes
    -----
    There are no second derivatives, no `torch.func` transforms, and no tracing or export: `restore` brings PyTorch's
    own back for those. `torch.compile` leaves it out of its graphs. Under autocast it computes in its weights' dtype.

    Examples
    --------
    >>> import torch, clstm.torch
    >>> lstm = clstm.torch.LSTM(8, 32, batch_first=True)
    >>> y, (h_n, c_n) = lstm(torch.zeros(4, 10, 8))
    >>> y.sum().backward()
    >>> tuple(lstm.weight_hh_l0.grad.shape)
    (128, 32)
    """

    def forward(self, input: Tensor | PackedSequence, hx: State | None = None) -> tuple[Tensor | PackedSequence, State]:
        """Run the layer, as `torch.nn.LSTM` does."""
        _refuse_tracing()
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        if input.dim() not in (2, 3):
            raise ValueError(f"LSTM: Expected input to be 2D or 3D, got {input.dim()}D instead")
        batched = input.dim() == 3
        batch_axis = 0 if self.batch_first else 1
        x = input if batched else input.unsqueeze(batch_axis)
        if hx is not None:
            dim = input.dim()
            if hx[0].dim() != dim or hx[1].dim() != dim:
                raise RuntimeError(
                    f"For {'batched 3-D' if batched else 'unbatched 2-D'} input, hx and cx should also be {dim}-D but "
                    f"got ({hx[0].dim()}-D, {hx[1].dim()}-D) tensors"
                )
            hx = hx if batched else (hx[0].unsqueeze(1), hx[1].unsqueeze(1))
        self._check(x, hx, None)
        y, state = self._stacked(x, hx, None)
        if batched:
            return y, state
        return y.squeeze(batch_axis), (state[0].squeeze(1), state[1].squeeze(1))

    def _forward_packed(self, input: PackedSequence, hx: State | None) -> tuple[PackedSequence, State]:
        hx = self.permute_hidden(hx, input.sorted_indices) if hx is not None else None
        self._check(input.data, hx, input.batch_sizes)
        # In the packed order of the rows, longest first, all the way.
        x, lengths = pad_packed_sequence(PackedSequence(input.data, input.batch_sizes), self.batch_first)
        y, state = self._stacked(x, hx, lengths)
        packed = pack_padded_sequence(y, lengths, self.batch_first)
        output = PackedSequence(packed.data, input.batch_sizes, input.sorted_indices, input.unsorted_indices)
        return output, self.permute_hidden(state, input.unsorted_indices)

    def _check(self, x: Tensor, hx: State | None, batch_sizes: Tensor | None) -> None:
        _check_tensors(_weights(self), {"input": x} | _named_state(hx))
        self.check_input(x, batch_sizes)
        if hx is not None:
            self.check_forward_args(x, hx, batch_sizes)

    def _stacked(self, x: Tensor, hx: State | None, lengths: Tensor | None) -> tuple[Tensor, State]:
        """Run all layers at once, or one by one where PyTorch's dropout comes in between."""
        drops = self.training and self.dropout > 0 and self.num_layers > 1
        weights = _weights(self)
        layers = _packed(self, weights, drops)
        if not drops:
            return _run(layers[0], x, hx, lengths, list(weights.values()))
        # Time first, so that the mask is PyTorch's.
        x = x.transpose(0, 1) if self.batch_first else x
        states, each = [], len(weights) // len(layers)
        for number, layer in enumerate(layers):
            if number > 0:
                x = _dropout(x, self.dropout, lengths)
            part = slice(number * layer.num_directions, (number + 1) * layer.num_directions)
            own = list(weights.values())[number * each : (number + 1) * each]
            x, state = _run(layer, x, None if hx is None else (hx[0][part], hx[1][part]), lengths, own)
            states.append(state)
        h_n, c_n = (torch.cat(parts) for parts in zip(*states, strict=True))
        return x.transpose(0, 1) if self.batch_first else x, (h_n, c_n)


class LSTMCell(nn.LSTMCell):
    """A torch.nn.LSTMCell whose forward and backward run in this library, on the CPU, in float32 or float64.

    Each step compares the weights with those packed last (see `clstm.torch`), which a `LSTM` does once for all steps.

    Examples
    --------
    >>> import torch, clstm.torch
    >>> cell = clstm.torch.LSTMCell(8, 32)
    >>> h, c = cell(torch.zeros(4, 8))
    >>> tuple(h.shape)
    (4, 32)
    """

    def forward(self, input: Tensor, hx: State | None = None) -> State:
        """Take one step, as `torch.nn.LSTMCell` does."""
        _refuse_tracing()
        dim = input.dim()
        if dim not in (1, 2):
            raise ValueError(f"LSTMCell: Expected input to be 1D or 2D, got {dim}D instead")
        weights = _weights(self)
        _check_tensors(weights, {"input": input} | _named_state(hx))
        shape = (*input.shape[:-1], self.hidden_size)
        if input.shape[-1] != self.input_size:
            raise RuntimeError(f"input has {input.shape[-1]} features, expected input_size={self.input_size}")
        for name, tensor in _named_state(hx).items():
            if tensor.shape != shape:
                raise RuntimeError(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(shape)}")
        (layer,) = _packed(self, weights, False)
        rows = (1, -1, self.hidden_size)
        hx = None if hx is None else (hx[0].reshape(rows), hx[1].reshape(rows))
        _, (h, c) = _run(layer, input.reshape(1, -1, self.input_size), hx, None, list(weights.values()))
        return h.reshape(shape), c.reshape(shape)


# ------------------------------------------------------------------------------------------- models and their modules


def replace(model: AnyModule) -> AnyModule:
    """Let this library compute every torch.nn.LSTM and torch.nn.LSTMCell in a model.

    The modules stay the same objects and only change their class: parameters, optimisers that hold them, hooks, modes,
    and modules that stand in several places are as before. What can't be swapped is left as it is, with a warning that
    names it and says why.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place, itself too if it is an LSTM.

    Returns
    -------
    torch.nn.Module
        The model.

    Warns
    -----
    UserWarning
        An LSTM isn't on the CPU in float32 or float64, is of a class of its own, or is TorchScript.

    Examples
    --------
    >>> import torch, clstm.torch
    >>> model = torch.nn.ModuleDict({"lstm": torch.nn.LSTM(8, 32), "head": torch.nn.Linear(32, 2)})
    >>> clstm.torch.replace(model)["lstm"]
    LSTM(8, 32)
    """
    for name, module in _modules(model):
        if reason := _swap(module):
            # The root has no name.
            warnings.warn(f"{name or 'the model'} stays a {_class_name(module)}: {reason}", UserWarning, stacklevel=2)
    return model


def restore(model: AnyModule) -> AnyModule:
    """Let PyTorch compute a model's LSTMs again: the way back of `replace`, for exports and second derivatives.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.

    Returns
    -------
    torch.nn.Module
        The model.
    """
    for _, module in _modules(model):
        for theirs, ours in _TWINS.items():
            if type(module) is ours:
                module.__class__ = theirs
                _last.pop(module, None)
    return model


def new_module(kind: str, arrays: Mapping[str, np.ndarray], dtype: np.dtype, **arguments: Any) -> nn.Module:
    """Return a module of the class `kind` in torch.nn with these weights, without drawing random ones first."""
    made = nn.utils.skip_init(getattr(nn, kind), **arguments, dtype=getattr(torch, dtype.name))
    made.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    return made


_TWINS = {nn.LSTM: LSTM, nn.LSTMCell: LSTMCell}


def _modules(model: Any) -> Iterator[tuple[str, nn.Module]]:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model is {type(model).__name__}, expected a torch.nn.Module")
    return model.named_modules()


def _swap(module: nn.Module) -> str | None:
    """Change the class of an LSTM, or return why it can't be."""
    if isinstance(module, torch.jit.ScriptModule):
        return "it is TorchScript" if module.original_name in ("LSTM", "LSTMCell") else None
    if not isinstance(module, tuple(_TWINS)) or isinstance(module, tuple(_TWINS.values())):
        return None
    if type(module) not in _TWINS:
        return "its class may compute something else"
    for name, weight in _weights(module).items():
        if problem := _problem(weight):
            return f"{name} is {problem}"
    module.__class__ = _TWINS[type(module)]
    return None


def _class_name(module: nn.Module) -> str:
    return f"{type(module).__module__}.{type(module).__qualname__}"


# ----------------------------------------------------------------------------------------------------------- weights

# For each module, the layers with the weights it had at its last call. In one place, not in the modules: what PyTorch
# copies, pickles and restores has nothing of it. A value is replaced as a whole, never changed, for other threads.
_last: weakref.WeakKeyDictionary[nn.Module, tuple[Any, list[bytearray], list[lstm.LSTM]]] = weakref.WeakKeyDictionary()


def _weights(module: nn.Module) -> dict[str, Tensor]:
    """Return the tensors that the module would use now, which need not be its parameters (pruning, functional_call)."""
    names = _CELL_NAMES if isinstance(module, nn.LSTMCell) else module._flat_weights_names
    return {name: tensor for name in names if (tensor := getattr(module, name)) is not None}


_CELL_NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def _packed(module: nn.Module, weights: dict[str, Tensor], each: bool) -> list[lstm.LSTM]:
    """Return the module's layers, in one or `each` in its own, with the present weights."""
    options = _options(module, each)
    # 0-d views have no buffer of bytes that bytearray compares, but there are none.
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
    if module.proj_size:
        options["proj_size"] = module.proj_size
    return (module.num_layers, options) if each else (1, options | {"num_layers": module.num_layers})


def _new_layers(
    count: int, arguments: dict[str, Any], arrays: list[np.ndarray], kept: list[bytearray]
) -> Iterator[lstm.LSTM]:
    """Make layers whose weights are the bytes in `kept`."""
    copies = iter([np.frombuffer(data, a.dtype).reshape(a.shape) for data, a in zip(kept, arrays, strict=True)])
    for _ in range(count):
        with blank_weights():
            layer = lstm.LSTM(**arguments, dtype=arrays[0].dtype)
        with _torch_threads():
            layer.load_state_dict({name: next(copies) for name in layer.parameters()}, assign=True)
        yield layer
        width = arguments.get("proj_size", layer.hidden_size)
        arguments = arguments | {"input_size": width * layer.num_directions}


# ----------------------------------------------------------------------------------------------- forward and backward


def _run(
    layer: lstm.LSTM, x: Tensor, hx: State | None, lengths: Tensor | None, weights: list[Tensor]
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


def _forward_train(
    layer: lstm.LSTM, lengths: np.ndarray | None, x: Tensor, h0: Tensor | None, c0: Tensor | None
) -> Any:
    with _torch_threads():
        return layer.forward_train(_numpy(x), _numpy_state(h0, c0), lengths)


def _dropout(x: Tensor, p: float, lengths: Tensor | None) -> Tensor:
    """Drop elements of (time, batch, features); of rows of several lengths in the packed order, as PyTorch does."""
    if lengths is None:
        return nn.functional.dropout(x, p)
    packed = pack_padded_sequence(x, lengths)
    dropped = PackedSequence(nn.functional.dropout(packed.data, p), packed.batch_sizes)
    return pad_packed_sequence(dropped)[0]


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


# ------------------------------------------------------------------------------------------------------------ checks


def _named_state(hx: State | None) -> dict[str, Tensor]:
    return {} if hx is None else {"hx[0]": hx[0], "hx[1]": hx[1]}


def _check_tensors(weights: dict[str, Tensor], others: dict[str, Tensor]) -> None:
    """Raise TypeError or ValueError for tensors that this library can't compute with."""
    first, weight = next(iter(weights.items()))
    for name, tensor in (weights | others).items():
        if problem := _problem(tensor):
            raise (TypeError if tensor.dtype not in _DTYPES else ValueError)(f"{name} is {problem}")
        if tensor.dtype != weight.dtype:
            raise TypeError(f"{name} is {tensor.dtype}, expected {weight.dtype}, the dtype of {first}")


def _problem(tensor: Tensor) -> str | None:
    if tensor.dtype not in _DTYPES:
        return f"{tensor.dtype}, expected torch.float32 or torch.float64 (use torch.nn.LSTM for others)"
    if tensor.device.type != "cpu":
        return f"on the device {tensor.device}, expected the CPU (use torch.nn.LSTM for others)"
    if tensor.layout != torch.strided:
        return f"of the layout {tensor.layout}, expected torch.strided"
    return None


def _refuse_tracing() -> None:
    if torch.jit.is_tracing():
        raise RuntimeError(
            "clstm.torch.LSTM can't be traced, for PyTorch doesn't see what it computes; clstm.torch.restore(model) "
            "brings torch.nn.LSTM back, which can"
        )
