"""The LSTM layer and the single cell: arguments, state, lengths; the work is done by the compiled backend.

Hochreiter & Schmidhuber (1997), "Long short-term memory"; the forget gate is that of Gers, Schmidhuber &
Cummins (2000), "Learning to forget". Names, shapes and gate order (i, f, g, o) are PyTorch's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from clstm import backend, threads
from clstm.checkpoint import Checkpointed, cut
from clstm.checks import (
    check_array,
    check_dtype,
    check_flag,
    check_index,
    check_lengths,
    check_real,
    check_state,
    random_generator,
)
from clstm.layer import Layer
from clstm.layers import Dropout
from clstm.sparse import RowGradient
from clstm.torch_weights import lstm_sizes, make, read_source, to_module

if TYPE_CHECKING:
    from clstm.stream import Stream

State = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class LSTMGradients:
    """Gradients of an LSTM or LSTMCell.

    Attributes
    ----------
    weights : dict of str to ndarray
        By weight name, each of its weight's shape. Of a network with a sparse embedding, that one is a `RowGradient`.
    x : ndarray or None
        Of the input, in its shape; None where it was not asked for.
    h0, c0 : ndarray
        Of the initial state, in its shape.
    """

    weights: dict[str, np.ndarray | RowGradient]
    x: np.ndarray | None
    h0: np.ndarray
    c0: np.ndarray


@dataclass
class LSTMContext:
    """What one `forward_train` leaves for one `backward`; opaque."""

    owner: Layer
    batched: bool
    y_shape: tuple[int, ...]
    lengths: np.ndarray | None
    runs: list[_Run] | None = field(default_factory=list, repr=False)

    def take(self, owner: Layer) -> list[_Run]:
        """Give the runs away: backward overwrites the gates they hold, so it can happen once."""
        if self.owner is not owner:
            raise ValueError("context is of another layer")
        if self.runs is None:
            raise ValueError("context was used by an earlier backward; run forward_train again")
        runs, self.runs = self.runs, None
        return runs


@dataclass
class _Run:
    """One layer's part of a context: its tape and the arrays that its backward reads."""

    tape: Any
    x: np.ndarray
    h0: np.ndarray
    c0: np.ndarray
    y: np.ndarray
    dropout: Any = None


class _Recurrent(Layer):
    """What LSTM and LSTMCell share: sizes, initial weights, packing, state checks."""

    def __init__(self, input_size, hidden_size, bias, dtype, forget_bias, seed, num_threads):
        super().__init__()
        self.input_size = check_index("input_size", input_size, low=1)
        self.hidden_size = check_index("hidden_size", hidden_size, low=1)
        self.bias = check_flag("bias", bias)
        self.dtype = check_dtype("dtype", dtype)
        self.num_threads = None if num_threads is None else check_index("num_threads", num_threads, low=1)
        self._generator = random_generator(seed)
        if forget_bias is not None:
            forget_bias = check_real("forget_bias", forget_bias)
            if not self.bias:
                raise ValueError("forget_bias is given, but bias is False")
        self._forget_bias = forget_bias
        self._suffixes: list[str] = []

    def _add_direction(self, suffix: str, input_size: int) -> None:
        """Add the weights of one direction of one layer, drawn from U(-1/sqrt(H), 1/sqrt(H)) as PyTorch does."""
        H = self.hidden_size
        bound = H**-0.5
        shapes = {"weight_ih": (4 * H, input_size), "weight_hh": (4 * H, H)}
        if self.bias:
            shapes |= {"bias_ih": (4 * H,), "bias_hh": (4 * H,)}

        def draw(name, shape):
            value = self._generator.uniform(-bound, bound, shape)
            if self._forget_bias is not None and name.startswith("bias"):
                value[H : 2 * H] = self._forget_bias if name == "bias_ih" else 0
            return value

        for name, shape in shapes.items():
            self._add_weight(name + suffix, shape, self.dtype, lambda name=name, shape=shape: draw(name, shape))
        self._suffixes.append(suffix)

    def _weights_changed(self) -> None:
        compiled = backend.module()
        num_threads = threads.resolve(self.num_threads)
        packs = []
        for suffix in self._suffixes:
            weight_ih, weight_hh = (self._weights[name + suffix] for name in ("weight_ih", "weight_hh"))
            if self.bias:
                bias = self._weights["bias_ih" + suffix] + self._weights["bias_hh" + suffix]
            else:
                bias = np.zeros(4 * self.hidden_size, self.dtype)
            packs.append(compiled.pack(weight_ih, weight_hh, bias, num_threads))
        # One assignment: a call in another thread sees the old weights or the new, never some of each.
        self._packed = (compiled, tuple(packs))

    def _named_weight_grads(self, suffixes, grads) -> Iterator[tuple[str, np.ndarray]]:
        for suffix, (dweight_ih, dweight_hh, dbias) in zip(suffixes, grads, strict=True):
            yield "weight_ih" + suffix, dweight_ih
            yield "weight_hh" + suffix, dweight_hh
            if self.bias:
                yield "bias_ih" + suffix, dbias
                yield "bias_hh" + suffix, dbias.copy()

    def _check_state(self, names: str, state: Any, shape: list[tuple[str, int]]) -> State:
        return check_state(names, state, self.dtype, shape)


class LSTM(_Recurrent):
    """Long short-term memory over whole sequences: PyTorch's meanings, names and shapes, on the CPU.

    For every step t of every layer, with gates in the order i, f, g, o::

        i, f, o = sigmoid(W x_t + U h_{t-1} + b)        g = tanh(W_g x_t + U_g h_{t-1} + b_g)
        c_t = f c_{t-1} + i g                           h_t = o tanh(c_t)

    Parameters
    ----------
    input_size : int
        Features of each step of the input.
    hidden_size : int
        Features of h and c.
    num_layers : int, default 1
        Layers, each fed with the output of the one below.
    bias : bool, default True
        Whether there are biases.
    batch_first : bool, default False
        Input and output are (batch, time, features) instead of (time, batch, features). The state never is.
    dropout : float, default 0.0
        Probability with which an output of a layer but the last is zeroed, in training only.
    bidirectional : bool, default False
        A second direction reads each row from its end; the outputs of both stand side by side.
    dtype : dtype, default float32
        float32 or float64, of weights, input, state and output.
    forget_bias : float, optional
        The forget gates' bias to begin with (the sum of both bias vectors).
    seed : int or numpy.random.Generator, optional
        For the initial weights, U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)), and dropout.
    num_threads : int, optional
        Threads for each call, and for an optimiser's updates; None leaves it to `clstm.set_num_threads` and the
        environment.

    Notes
    -----
    Calls keep nothing in the object, so that many threads may call one LSTM at once. Results are the same
    bits for every number of threads. Weights are read with `state_dict` and `parameters`, and set with
    `load_state_dict` or inside `updating`.

    Examples
    --------
    >>> import numpy as np, clstm
    >>> lstm = clstm.LSTM(input_size=8, hidden_size=32, batch_first=True, seed=0)
    >>> x = np.zeros((4, 10, 8), np.float32)
    >>> y, (h_n, c_n) = lstm(x, lengths=[10, 3, 0, 7])
    >>> y.shape, h_n.shape
    ((4, 10, 32), (1, 4, 32))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        dtype: Any = np.float32,
        forget_bias: float | None = None,
        seed: int | np.random.Generator | None = None,
        num_threads: int | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, dtype, forget_bias, seed, num_threads)
        self.num_layers = check_index("num_layers", num_layers, low=1)
        self.batch_first = check_flag("batch_first", batch_first)
        self.dropout = check_real("dropout", dropout, low=0.0, high=1.0)
        self.bidirectional = check_flag("bidirectional", bidirectional)
        self.num_directions = 2 if self.bidirectional else 1
        self._dropout = Dropout(self.dropout, seed=self._generator)
        features = ("input_size", self.input_size)
        self._x_shapes = [
            [*((name, None) for name in self._leading_names(batched)), features] for batched in (True, False)
        ]
        for layer in range(self.num_layers):
            width = self.input_size if layer == 0 else self.hidden_size * self.num_directions
            for direction in ("", "_reverse")[: self.num_directions]:
                self._add_direction(f"_l{layer}{direction}", width)
        self._weights_added()

    def __call__(self, x: np.ndarray, state: State | None = None, lengths: Any = None) -> tuple[np.ndarray, State]:
        """Run the layer for inference.

        Parameters
        ----------
        x : ndarray of shape (time, batch, input_size), (batch, time, input_size) if batch_first, or (time, input_size)
            The input, of the layer's dtype.
        state : (h0, c0), optional
            Each of shape (num_layers * directions, batch, hidden_size), without batch for 2-D input; zeros if
            left out.
        lengths : array_like of int, shape (batch,), optional
            Real steps of each row, 0 to time, in any order. A row's outputs past its length are zero, and
            what it holds there is never read.

        Returns
        -------
        y : ndarray of shape (time, batch, directions * hidden_size)
            The last layer's h of every step; batch first or without batch as `x` is.
        (h_n, c_n) : tuple of ndarray
            The state after each row's last real step, shaped like the initial one.

        Raises
        ------
        TypeError
            A dtype other than the layer's (nothing is cast), or lengths that aren't integers.
        ValueError
            A wrong shape, or a length below 0 or above time.
        """
        y, state, _ = self._run(x, state, lengths, keep=False)
        return y, state

    def forward_train(
        self, x: np.ndarray, state: State | None = None, lengths: Any = None, *, checkpoint: bool = False
    ) -> tuple[np.ndarray, State, LSTMContext]:
        """Run the layer with dropout and keep what `backward` needs.

        The first parameters and the first two results are those of a call. `x` must stay as it is until `backward`,
        and `y` can't be written to, for both are read there.

        Parameters
        ----------
        x, state, lengths
            As for a call.
        checkpoint : bool, default False
            Keep the gates of about sqrt(time) steps only, and compute the others again in `backward`, which costs one
            more forward pass. For long sequences. The gradients are those without it to rounding, the outputs the same
            bits (on the portable path to rounding).

        Returns
        -------
        y : ndarray
        (h_n, c_n) : tuple of ndarray
        context : LSTMContext
            For one `backward`.
        """
        return self._run(x, state, lengths, keep=True, checkpoint=check_flag("checkpoint", checkpoint))

    def backward(
        self,
        context: LSTMContext,
        dy: np.ndarray,
        dstate: State | None = None,
        *,
        need_input_grad: bool = True,
    ) -> LSTMGradients:
        """Return the gradients of a loss, given its gradients at the outputs of one `forward_train`.

        Parameters
        ----------
        context : LSTMContext
            From `forward_train`; used up by this call.
        dy : ndarray
            Gradient of y, in its shape; what lies past a row's length is not read.
        dstate : (dh_n, dc_n), optional
            Gradients of the final state; zeros if left out.
        need_input_grad : bool, default True
            Without it `grads.x` is None and its work is saved.

        Returns
        -------
        LSTMGradients

        Raises
        ------
        TypeError, ValueError
            A wrong dtype or shape (the context can then still be used), or a context of another layer or
            already used.
        """
        if not isinstance(context, LSTMContext):
            raise TypeError(f"context is {type(context).__name__}, expected what forward_train returned")
        need_input_grad = check_flag("need_input_grad", need_input_grad)
        names = (*self._leading_names(context.batched), "directions * hidden_size")
        dy = check_array("dy", dy, self.dtype, list(zip(names, context.y_shape, strict=True)))
        time_batch = self._time_batch(dy, context.batched)
        dh_n, dc_n = self._check_state("(dh_n, dc_n)", dstate, self._state_axes(context.batched, time_batch.shape[1]))
        runs = context.take(self)

        D = self.num_directions
        num_threads = threads.resolve(self.num_threads)
        dh_n, dc_n = (array.reshape(self.num_layers * D, -1, self.hidden_size) for array in (dh_n, dc_n))
        dh0, dc0 = np.empty_like(dh_n), np.empty_like(dc_n)
        weights: dict[str, np.ndarray] = {}
        grad = time_batch
        for layer in reversed(range(self.num_layers)):
            run, part = runs[layer], slice(layer * D, (layer + 1) * D)
            dx = None
            if layer > 0 or need_input_grad:
                dx = self._empty_like_input(run.x, batch_first=self.batch_first and layer == 0)
            weight_grads = [self._empty_weight_grads(suffix) for suffix in self._suffixes[part]]
            compiled, tape = run.tape
            compiled.backward(
                tape, run.x, run.h0, run.c0, run.y, context.lengths, grad,
                dh_n[part], dc_n[part], dx, dh0[part], dc0[part], weight_grads, num_threads,
            )  # fmt: skip
            weights.update(self._named_weight_grads(self._suffixes[part], weight_grads))
            grad = dx
            if run.dropout is not None:
                grad = self._dropout.backward(run.dropout, dx).x
        ordered = {name: weights[name] for name in self._weights}
        shape = [size for _, size in self._state_axes(context.batched, time_batch.shape[1])]
        x_grad = None if grad is None or not need_input_grad else self._user_layout(grad, context.batched)
        return LSTMGradients(ordered, x_grad, dh0.reshape(shape), dc0.reshape(shape))

    @classmethod
    def from_torch(
        cls,
        source: Any,
        *,
        prefix: str = "",
        batch_first: bool | None = None,
        dropout: float | None = None,
        dtype: Any = None,
        seed: int | np.random.Generator | None = None,
        num_threads: int | None = None,
    ) -> LSTM:
        """Return an LSTM with the weights of PyTorch's; without PyTorch, from a state_dict.

        Sizes, layers, directions, bias and projection follow from the names and shapes of the weights.

        Parameters
        ----------
        source : torch.nn.Module or mapping of str to tensor or array
            A torch.nn.LSTM, a module that holds one, or a state_dict of either; `clstm.read_state_dict` reads one from
            a file. The weights are copied.
        prefix : str, default ""
            Where the LSTM stands in it, such as "encoder.lstm".
        batch_first, dropout
            What a state_dict doesn't tell; None takes the module's own, or the default.
        dtype : dtype, optional
            To convert the weights to. None leaves float32 and float64 as they are, and makes float16 and bfloat16
            float32, which holds the same values.
        seed, num_threads
            As for `LSTM`.

        Raises
        ------
        TypeError
            Another kind of module, or weights of several dtypes.
        ValueError
            No LSTM's weights under this prefix; the error names the prefixes where there are some.

        Examples
        --------
        >>> weights = clstm.LSTM(8, 32, num_layers=2, seed=0).state_dict()
        >>> clstm.LSTM.from_torch({f"encoder.{name}": weight for name, weight in weights.items()}, prefix="encoder")
        LSTM(8, 32, num_layers=2)
        """
        module, arrays = read_source("LSTM", source, prefix, dtype, "weight_ih_l0")
        sizes = lstm_sizes(arrays, layers=True)
        if module is not None:
            batch_first = module.batch_first if batch_first is None else batch_first
            dropout = module.dropout if dropout is None else dropout
        options = {
            "batch_first": bool(batch_first),
            "dropout": dropout or 0.0,
            "seed": seed,
            "num_threads": num_threads,
        }
        return make(cls, arrays, **sizes, **options)

    def to_torch(self) -> Any:
        """Return a torch.nn.LSTM with a copy of the weights; needs PyTorch.

        Raises
        ------
        ValueError
            The LSTM has an option that PyTorch's doesn't have.
        """
        names = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional")
        return to_module(self, "LSTM", **{name: getattr(self, name) for name in names})

    def stream(self, batch_size: int = 1, state: State | None = None) -> Stream:
        """Return a stream, which takes its input step by step and keeps the state in between.

        Parameters
        ----------
        batch_size : int, default 1
            Rows, each a sequence of its own.
        state : (h0, c0), optional
            Each of shape (num_layers, batch_size, hidden_size); zeros if left out.

        Returns
        -------
        clstm.stream.Stream
            It keeps the weights and the number of threads of this moment, whatever becomes of the layer's.

        Raises
        ------
        ValueError
            The layer is bidirectional, or a wrong value or shape.
        TypeError
            A wrong dtype, or a batch_size that isn't an integer.

        Examples
        --------
        >>> import numpy as np, clstm
        >>> stream = clstm.LSTM(8, 32, seed=0).stream()
        >>> for x in np.zeros((10, 8), np.float32):
        ...     h = stream.step(x)
        >>> h.shape
        (32,)
        """
        from clstm.stream import Stream

        batch_size = check_index("batch_size", batch_size, low=1, high=sys.maxsize)
        if self.bidirectional:
            raise ValueError(
                "bidirectional is True: a reverse direction begins at the end, which a stream doesn't have"
            )
        compiled, packs = self._packed
        steps = compiled.steps(packs, batch_size, threads.resolve(self.num_threads))
        stream = Stream(steps, batch_first=self.batch_first, num_threads=self.num_threads)
        if state is not None:
            stream.state = state
        return stream

    def _run(self, x, state, lengths, keep, checkpoint=False):
        x = check_array("x", x, self.dtype, *self._x_shapes)
        batched = x.ndim == 3
        x = self._time_batch(x, batched)
        T, B, _ = x.shape
        if not batched and lengths is not None:
            raise ValueError("lengths is given, but x has no batch axis; cut x to its length instead")
        lengths = check_lengths(lengths, B, T)
        h0, c0 = self._check_state("(h0, c0)", state, self._state_axes(batched, B))
        if keep:
            # backward reads them again: they must not change with the caller's arrays
            h0, c0 = h0.copy(), c0.copy()

        D, H = self.num_directions, self.hidden_size
        if not batched:
            h0, c0 = h0[:, np.newaxis], c0[:, np.newaxis]
        h_n, c_n = np.empty(h0.shape, self.dtype), np.empty(h0.shape, self.dtype)
        num_threads = threads.resolve(self.num_threads)
        compiled, packs = self._packed
        segments = cut(T, B) if checkpoint else []
        checkpointed = Checkpointed(compiled, segments) if len(segments) > 1 else None
        context = LSTMContext(self, batched, (), lengths) if keep else None
        dropped = None
        layers = range(self.num_layers)
        if not keep and D == 1 and len(layers) > 1 and num_threads > 1:
            ys = [self._empty(T, B, H, batch_first=self.batch_first and layer == layers[-1]) for layer in layers]
            if compiled.forward_stacked(packs, x, h0, c0, lengths, ys, h_n, c_n, num_threads):
                x, layers = ys[-1], ()
        for layer in layers:
            part = slice(layer * D, (layer + 1) * D)
            last = layer == self.num_layers - 1
            y = self._empty(T, B, D * H, batch_first=self.batch_first and last)
            arguments = packs[part], x, h0[part], c0[part], lengths, y, h_n[part], c_n[part], num_threads
            if checkpointed is not None:
                tape = checkpointed, checkpointed.forward(*arguments)
            else:
                tape = compiled, compiled.forward(*arguments, keep)
            if keep:
                y.flags.writeable = False
                context.runs.append(_Run(tape, x, h0[part], c0[part], y, dropped))
                dropped = None
                if not last and self.dropout > 0:
                    y, dropped = self._dropout.forward_train(y)
            x = y
        y = self._user_layout(x, batched)
        state = (h_n, c_n) if batched else (h_n[:, 0], c_n[:, 0])
        if keep:
            context.y_shape = y.shape
        return y, state, context

    def _state_axes(self, batched: bool, B: int) -> list[tuple[str, int]]:
        axes = [("num_layers * directions", self.num_layers * self.num_directions), ("hidden_size", self.hidden_size)]
        return [axes[0], ("batch", B), axes[1]] if batched else axes

    def _leading_names(self, batched: bool) -> tuple[str, ...]:
        """Return the names of the caller's axes before the features."""
        if not batched:
            return ("time",)
        return ("batch", "time") if self.batch_first else ("time", "batch")

    def _time_batch(self, array: np.ndarray, batched: bool) -> np.ndarray:
        """View what the caller passed as (time, batch, features)."""
        if not batched:
            return array[:, np.newaxis]
        return array.swapaxes(0, 1) if self.batch_first else array

    def _user_layout(self, array: np.ndarray, batched: bool) -> np.ndarray:
        """View (time, batch, features) as the caller's layout."""
        if not batched:
            return array[:, 0]
        return array.swapaxes(0, 1) if self.batch_first else array

    def _empty(self, T: int, B: int, width: int, batch_first: bool) -> np.ndarray:
        """Return a new array seen as (time, batch, width), in memory batch first or time first."""
        if batch_first:
            return np.empty((B, T, width), self.dtype).swapaxes(0, 1)
        return np.empty((T, B, width), self.dtype)

    def _empty_like_input(self, x: np.ndarray, batch_first: bool) -> np.ndarray:
        return self._empty(*x.shape, batch_first=batch_first)

    def _empty_weight_grads(self, suffix: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        weight_ih, weight_hh = (self._weights[name + suffix] for name in ("weight_ih", "weight_hh"))
        return np.empty_like(weight_ih), np.empty_like(weight_hh), np.empty(4 * self.hidden_size, self.dtype)

    def __repr__(self) -> str:
        options = {
            "num_layers": (self.num_layers, 1),
            "bias": (self.bias, True),
            "batch_first": (self.batch_first, False),
            "dropout": (self.dropout, 0.0),
            "bidirectional": (self.bidirectional, False),
            "dtype": (self.dtype.name, "float32"),
        }
        given = "".join(f", {name}={value}" for name, (value, default) in options.items() if value != default)
        return f"LSTM({self.input_size}, {self.hidden_size}{given})"


class LSTMCell(_Recurrent):
    """One step of an LSTM, as PyTorch's LSTMCell.

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool, default True
    dtype, forget_bias, seed, num_threads
        As for `LSTM`.

    Examples
    --------
    >>> import numpy as np, clstm
    >>> cell = clstm.LSTMCell(8, 32, seed=0)
    >>> h, c = cell(np.zeros((4, 8), np.float32))
    >>> h, c = cell(np.zeros((4, 8), np.float32), (h, c))
    >>> h.shape
    (4, 32)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        dtype: Any = np.float32,
        forget_bias: float | None = None,
        seed: int | np.random.Generator | None = None,
        num_threads: int | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, dtype, forget_bias, seed, num_threads)
        self._add_direction("", self.input_size)
        self._weights_added()

    def __call__(self, x: np.ndarray, state: State | None = None) -> State:
        """Take one step.

        Parameters
        ----------
        x : ndarray of shape (batch, input_size) or (input_size,)
        state : (h0, c0), optional
            Each of shape (batch, hidden_size), without batch for 1-D input; zeros if left out.

        Returns
        -------
        (h, c) : tuple of ndarray
            Shaped like the state.

        Raises
        ------
        TypeError, ValueError
            A wrong dtype or shape.
        """
        return self._step(x, state, keep=False)[0]

    def forward_train(self, x: np.ndarray, state: State | None = None) -> tuple[State, LSTMContext]:
        """Take one step and keep what `backward` needs; `x` must stay as it is until then."""
        return self._step(x, state, keep=True)

    def backward(self, context: LSTMContext, dstate: State, *, need_input_grad: bool = True) -> LSTMGradients:
        """Return the gradients of a loss, given its gradients (dh, dc) at the result of one `forward_train`."""
        if not isinstance(context, LSTMContext):
            raise TypeError(f"context is {type(context).__name__}, expected what forward_train returned")
        if dstate is None:
            raise TypeError("dstate is None, expected a pair of arrays (dh, dc)")
        batch = context.y_shape[0] if context.batched else 1
        axes = self._state_axes(context.batched, batch)
        dh, dc = (array.reshape(1, batch, -1) for array in self._check_state("(dh, dc)", dstate, axes))
        (run,) = context.take(self)
        dx = np.empty_like(run.x) if check_flag("need_input_grad", need_input_grad) else None
        dh0, dc0 = np.empty_like(dh), np.empty_like(dc)
        grads = (np.empty_like(self._weights["weight_ih"]), np.empty_like(self._weights["weight_hh"]),
                 np.empty(4 * self.hidden_size, self.dtype))  # fmt: skip
        compiled, tape = run.tape
        compiled.backward(tape, run.x, run.h0, run.c0, run.y, None, np.zeros_like(run.y), dh, dc, dx, dh0, dc0,
                          [grads], threads.resolve(self.num_threads))  # fmt: skip
        shape = [size for _, size in axes]
        if dx is not None:
            dx = dx[0] if context.batched else dx[0, 0]
        return LSTMGradients(dict(self._named_weight_grads([""], [grads])), dx, dh0.reshape(shape), dc0.reshape(shape))

    @classmethod
    def from_torch(
        cls,
        source: Any,
        *,
        prefix: str = "",
        dtype: Any = None,
        seed: int | np.random.Generator | None = None,
        num_threads: int | None = None,
    ) -> LSTMCell:
        """Return a cell with the weights of PyTorch's; without PyTorch, from a state_dict.

        Parameters and errors are those of `LSTM.from_torch`, of a torch.nn.LSTMCell.
        """
        _, arrays = read_source("LSTMCell", source, prefix, dtype, "weight_ih")
        return make(cls, arrays, **lstm_sizes(arrays, layers=False), seed=seed, num_threads=num_threads)

    def to_torch(self) -> Any:
        """Return a torch.nn.LSTMCell with a copy of the weights; needs PyTorch.

        Raises
        ------
        ValueError
            The cell has an option that PyTorch's doesn't have.
        """
        return to_module(
            self, "LSTMCell", **{name: getattr(self, name) for name in ("input_size", "hidden_size", "bias")}
        )

    def _step(self, x, state, keep):
        features = ("input_size", self.input_size)
        x = check_array("x", x, self.dtype, [("batch", None), features], [features])
        batched = x.ndim == 2
        x = x.reshape(1, -1, self.input_size)
        batch = x.shape[1]
        h0, c0 = self._check_state("(h0, c0)", state, self._state_axes(batched, batch))
        if keep:
            h0, c0 = h0.copy(), c0.copy()
        shape = (1, batch, self.hidden_size)
        h0, c0 = h0.reshape(shape), c0.reshape(shape)
        h_n, c_n, y = np.empty(shape, self.dtype), np.empty(shape, self.dtype), np.empty(shape, self.dtype)
        compiled, packs = self._packed
        tape = compiled.forward(packs, x, h0, c0, None, y, h_n, c_n, threads.resolve(self.num_threads), keep)
        state = (h_n[0], c_n[0]) if batched else (h_n[0, 0], c_n[0, 0])
        if not keep:
            return state, None
        return state, LSTMContext(self, batched, state[0].shape, None, [_Run((compiled, tape), x, h0, c0, y)])

    def _state_axes(self, batched: bool, batch: int) -> list[tuple[str, int]]:
        hidden = ("hidden_size", self.hidden_size)
        return [("batch", batch), hidden] if batched else [hidden]

    def __repr__(self) -> str:
        options = "" if self.bias else ", bias=False"
        if self.dtype != np.float32:
            options += f", dtype={self.dtype.name}"
        return f"LSTMCell({self.input_size}, {self.hidden_size}{options})"
