"""PyTorch's LSTM and LSTMCell computed by this library: same constructor, call and state_dict, training included.

`LSTM` and `LSTMCell` derive from torch.nn's and inherit parameters, checks and copying; the forward and backward passes
run in `clstm.LSTM`, through `torch.autograd.Function`.

`clstm.torch.autograd` has the forward and backward passes, `clstm.torch.packed_weights` how changed weights are
noticed.
"""

from __future__ import annotations

import sys
from typing import Any, cast

try:
    import torch
    from torch import Tensor, nn
    from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence
except ImportError as error:
    raise ImportError(f"clstm.torch needs PyTorch 2.3 or newer: pip install clstm-cpu[torch] ({error})") from None

from clstm._package import public
from clstm.torch.autograd import State, run
from clstm.torch.packed_weights import packed_layers, weights_of

_DTYPES = (torch.float32, torch.float64)


class _Computed:
    """What LSTM and LSTMCell share."""

    def forward(self, input: Any, hx: State | None = None) -> Any:
        """Run the module, as PyTorch's own of its name does."""
        return _run_eagerly(cast("LSTM | LSTMCell", self), input, hx)

    def __prepare_scriptable__(self) -> nn.Module:
        """Refuse torch.jit.script, which calls this."""
        raise _unsupported(cast("LSTM | LSTMCell", self))


@public("clstm.torch")
class LSTM(_Computed, nn.LSTM):
    """A torch.nn.LSTM whose forward and backward run in this library, on the CPU, in float32 or float64.

    Parameters, call, results, state_dict and errors about shapes are those of `torch.nn.LSTM`. With the same seed of
    PyTorch's it has the same initial weights and the same dropout: training takes the same course, up to rounding.

    A call uses at most `torch.get_num_threads()` threads, and at most `clstm.get_num_threads()`.

    Notes
    -----
    There are no second derivatives, `torch.func` transforms, TorchScript or export: `restore` brings PyTorch's own back
    for those. `torch.compile` leaves it out of its graphs.

    Examples
    --------
    >>> import torch, clstm.torch
    >>> lstm = clstm.torch.LSTM(8, 32, batch_first=True)
    >>> y, (h_n, c_n) = lstm(torch.zeros(4, 10, 8))
    >>> y.sum().backward()
    >>> tuple(lstm.weight_hh_l0.grad.shape)
    (128, 32)
    """

    def _forward(self, input: Tensor | PackedSequence, hx: State | None) -> tuple[Tensor | PackedSequence, State]:
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
        y, state = self._run_layers(x, hx, None)
        if batched:
            return y, state
        return y.squeeze(batch_axis), (state[0].squeeze(1), state[1].squeeze(1))

    def _forward_packed(self, input: PackedSequence, hx: State | None) -> tuple[PackedSequence, State]:
        hx = self.permute_hidden(hx, input.sorted_indices) if hx is not None else None
        self._check(input.data, hx, input.batch_sizes)
        # The rows stay in the packed order, longest first, until the end.
        x, lengths = pad_packed_sequence(PackedSequence(input.data, input.batch_sizes), self.batch_first)
        y, state = self._run_layers(x, hx, lengths)
        packed = pack_padded_sequence(y, lengths, self.batch_first)
        output = PackedSequence(packed.data, input.batch_sizes, input.sorted_indices, input.unsorted_indices)
        return output, self.permute_hidden(state, input.unsorted_indices)

    def _check(self, x: Tensor, hx: State | None, batch_sizes: Tensor | None) -> None:
        _check_tensors(weights_of(self), {"input": x} | _named_state(hx))
        self.check_input(x, batch_sizes)
        if hx is not None:
            self.check_forward_args(x, hx, batch_sizes)

    def _run_layers(self, x: Tensor, hx: State | None, lengths: Tensor | None) -> tuple[Tensor, State]:
        """Run all layers at once, or one by one if PyTorch's dropout is applied between them."""
        drops = self.training and self.dropout > 0 and self.num_layers > 1
        weights = weights_of(self)
        layers = packed_layers(self, weights, drops)
        if not drops:
            return run(layers[0], x, hx, lengths, list(weights.values()))
        # Time first, so that the dropout mask is PyTorch's.
        x = x.transpose(0, 1) if self.batch_first else x
        states, each = [], len(weights) // len(layers)
        for number, layer in enumerate(layers):
            if number > 0:
                x = _dropout(x, self.dropout, lengths)
            part = slice(number * layer.num_directions, (number + 1) * layer.num_directions)
            own = list(weights.values())[number * each : (number + 1) * each]
            x, state = run(layer, x, None if hx is None else (hx[0][part], hx[1][part]), lengths, own)
            states.append(state)
        h_n, c_n = (torch.cat(parts) for parts in zip(*states, strict=True))
        return x.transpose(0, 1) if self.batch_first else x, (h_n, c_n)


@public("clstm.torch")
class LSTMCell(_Computed, nn.LSTMCell):
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

    def _forward(self, input: Tensor, hx: State | None) -> State:
        dim = input.dim()
        if dim not in (1, 2):
            raise ValueError(f"LSTMCell: Expected input to be 1D or 2D, got {dim}D instead")
        weights = weights_of(self)
        _check_tensors(weights, {"input": input} | _named_state(hx))
        shape = (*input.shape[:-1], self.hidden_size)
        if input.shape[-1] != self.input_size:
            raise RuntimeError(f"input has {input.shape[-1]} features, expected input_size={self.input_size}")
        for name, tensor in _named_state(hx).items():
            if tensor.shape != shape:
                raise RuntimeError(f"{name} has shape {tuple(tensor.shape)}, expected {tuple(shape)}")
        (layer,) = packed_layers(self, weights, False)
        rows = (1, -1, self.hidden_size)
        hx = None if hx is None else (hx[0].reshape(rows), hx[1].reshape(rows))
        _, (h, c) = run(layer, input.reshape(1, -1, self.input_size), hx, None, list(weights.values()))
        return h.reshape(shape), c.reshape(shape)


def _run_eagerly(module: LSTM | LSTMCell, input: Any, hx: State | None) -> Any:
    """Call the module's `_forward` outside of PyTorch's graphs, in which NumPy's arrays would become constants."""
    # torch.compile sees is_compiling() as a constant, True; it is False once the compiled code runs.
    if torch.compiler.is_compiling() or "torch._dynamo" in sys.modules:
        return _uncompiled_forward(module, input, hx)
    return _checked_forward(module, input, hx)


def _checked_forward(module: LSTM | LSTMCell, input: Any, hx: State | None) -> Any:
    if torch.jit.is_tracing() or torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
        raise _unsupported(module)
    return module._forward(input, hx)


def _unsupported(module: LSTM | LSTMCell) -> RuntimeError:
    name = type(module).__name__
    return RuntimeError(
        f"clstm.torch.{name} can't be scripted, traced, exported or transformed by torch.func, which don't see what it "
        f"computes; clstm.torch.restore(model) brings torch.nn.{name} back, which can"
    )


# torch.compiler.disable would import the compiler here, which takes a second; this does so when the result is called.
_uncompiled_forward = torch._disable_dynamo(_checked_forward)


def _dropout(x: Tensor, p: float, lengths: Tensor | None) -> Tensor:
    """Apply dropout to x (time, batch, features); to rows of several lengths in packed order, as PyTorch does."""
    if lengths is None:
        return nn.functional.dropout(x, p)
    packed = pack_padded_sequence(x, lengths)
    dropped = PackedSequence(nn.functional.dropout(packed.data, p), packed.batch_sizes)
    return pad_packed_sequence(dropped)[0]


def _named_state(hx: State | None) -> dict[str, Tensor]:
    return {} if hx is None else {"hx[0]": hx[0], "hx[1]": hx[1]}


def _check_tensors(weights: dict[str, Tensor], others: dict[str, Tensor]) -> None:
    """Raise TypeError or ValueError for tensors that this library can't compute with."""
    first, weight = next(iter(weights.items()))
    for name, tensor in (weights | others).items():
        if problem := problem_of(tensor):
            raise (TypeError if tensor.dtype not in _DTYPES else ValueError)(f"{name} is {problem}")
        if tensor.dtype != weight.dtype:
            raise TypeError(f"{name} is {tensor.dtype}, expected {weight.dtype}, the dtype of {first}")


def problem_of(tensor: Tensor) -> str | None:
    """Return why this library can't compute with a tensor; None if it can."""
    if tensor.dtype not in _DTYPES:
        return f"{tensor.dtype}, expected torch.float32 or torch.float64 (use torch.nn.LSTM for others)"
    if tensor.device.type != "cpu":
        return f"on the device {tensor.device}, expected the CPU (use torch.nn.LSTM for others)"
    if tensor.layout != torch.strided:
        return f"of the layout {tensor.layout}, expected torch.strided"
    return None
