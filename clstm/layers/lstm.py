"""The LSTM layer: arguments, state, lengths; the work is done by the compiled backend.

Hochreiter & Schmidhuber (1997), "Long short-term memory"; the forget gate is that of Gers, Schmidhuber &
Cummins (2000), "Learning to forget". Names, shapes and gate order (i, f, g, o) are PyTorch's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clstm._checks import check_array, check_flag, check_index, check_lengths, check_real
from clstm._core import backend, threads
from clstm._core.vector import runtime
from clstm._package import public
from clstm.layers.activations import DEFAULT
from clstm.layers.dropout import Dropout
from clstm.layers.gradient_checkpoint import Checkpointed, cut
from clstm.layers.recurrent import BEYOND_PYTORCH, LSTMContext, LSTMGradients, Recurrent, Run, represent
from clstm.layers.reset import Pieces
from clstm.layers.state_layout import Parts, State, StateLayout
from clstm.layers.torch_weights import lstm_sizes, make, read_source, refuse_options, to_module

if TYPE_CHECKING:
    from clstm.layers.stream import Stream
    from clstm.summary import Axes
    from clstm.trace import Trace


@public("clstm")
class LSTM(Recurrent):
    """Long short-term memory over whole sequences: PyTorch's meanings, names and shapes, on the CPU.

    For every step t of every layer, with gates in the order i, f, g, o::

        i, f, o = sigmoid(W x_t + U h_{t-1} + b)        g = tanh(W_g x_t + U_g h_{t-1} + b_g)
        c_t = f c_{t-1} + i g                           h_t = o tanh(c_t)

    What the parameters after `num_threads` change in them is written out in docs/equations.md; they combine freely.

    Parameters
    ----------
    input_size : int
        Features of each step of the input.
    hidden_size : int or sequence of int
        Features of h and c; a sequence has the size of each layer.
    num_layers : int, default 1
        Layers, each fed with the output of the one below. As many as `hidden_size` has where that is a sequence.
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
        For the initial weights, U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)), and all that training draws.
    num_threads : int, optional
        Threads for each call, and for an optimiser's updates; None leaves it to `clstm.set_num_threads` and the
        environment.
    proj_size : int, default 0
        h is projected to so many features, fewer than `hidden_size`, by ``weight_hr`` (Sak et al. 2014); 0 for none.
    peephole : bool, default False
        i and f see c_{t-1}, o sees c_t, each unit its own (Gers & Schmidhuber 2000): ``weight_peephole``, for i, f, o.
    coupled : bool, default False
        i = 1 - f (Greff et al. 2017): weights have three gates, f, g, o, instead of four.
    cell_clip : float, optional
        c is kept within [-cell_clip, cell_clip].
    gate_clip : float, optional
        So is what goes into each activation, that of c among them; ONNX calls it clip.
    layer_norm : bool, default False
        Each gate's sum over the input and h, and c on its way to h, are normalised over the units (Ba et al. 2016):
        ``weight_norm_gates``, with the biases as shift; ``weight_norm_cell``, ``bias_norm_cell``.
    recurrent_dropout : float, default 0.0
        Probability with which a unit of h isn't seen by the next step, in training: one mask for a whole sequence
        (Gal & Ghahramani 2016).
    weight_dropout : float, default 0.0
        Probability with which an element of weight_hh is zeroed, in training: drawn once for a call (DropConnect,
        Merity et al. 2018).
    zoneout : float or (float, float), default 0.0
        Probabilities with which a unit of h, and one of c, stays as it was at a step, in training; in inference the
        expected value is taken (Krueger et al. 2017). One number is for both.
    activations : sequence, default ("sigmoid", "tanh", "tanh")
        Of the gates i, f and o; of g; and of c on its way to h. Each a name, or (name, alpha, beta): sigmoid, tanh,
        relu, hard_sigmoid (0.2, 0.5), leaky_relu (0.01), thresholded_relu (1), elu (1), selu, affine (1, 0),
        scaled_tanh (1, 1), softsign, softplus, linear, exponential, with ONNX's meanings and values of alpha and beta.
        With two directions also six, the latter three for the reverse one.
    learn_initial_state : bool, default False
        The state that rows begin with where none is given, and after a reset, is learnt: ``h0``, ``c0``.
    residual : bool, default False
        Each layer but the first adds its input to its output (Wu et al. 2016), which must be as wide.

    Notes
    -----
    Calls keep nothing in the object, so that many threads may call one LSTM at once. Results are the same
    bits for every number of threads. Weights are read with `state_dict` and `parameters`, and set with
    `load_state_dict` or inside `updating`.

    Where `hidden_size` is a sequence of sizes that differ, the states that come in and go out are lists, with an array
    (directions, batch, size) for each layer.

    Raises
    ------
    TypeError, ValueError
        A wrong type or value, or options that have no meaning together.

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
        hidden_size: int | Sequence[int],
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
        proj_size: int = 0,
        peephole: bool = False,
        coupled: bool = False,
        cell_clip: float | None = None,
        gate_clip: float | None = None,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        zoneout: float | tuple[float, float] = 0.0,
        activations: Sequence[Any] = DEFAULT,
        learn_initial_state: bool = False,
        residual: bool = False,
    ) -> None:
        self.bidirectional = check_flag("bidirectional", bidirectional)
        super().__init__(
            input_size, bias, 2 if self.bidirectional else 1, dtype, forget_bias, seed, num_threads,
            proj_size=proj_size, peephole=peephole, coupled=coupled, cell_clip=cell_clip, gate_clip=gate_clip,
            layer_norm=layer_norm, recurrent_dropout=recurrent_dropout, weight_dropout=weight_dropout, zoneout=zoneout,
            activations=activations, learn_initial_state=learn_initial_state,
        )  # fmt: skip
        sizes = _check_sizes(hidden_size, num_layers)
        self.hidden_size = sizes if isinstance(hidden_size, (Sequence, np.ndarray)) else sizes[0]
        self.num_layers = len(sizes)
        self.batch_first = check_flag("batch_first", batch_first)
        self.dropout = check_real("dropout", dropout, low=0.0, high=1.0)
        self.residual = check_flag("residual", residual)
        for size in sizes:
            self._check_projection(size)
        D = self.num_directions
        self._layout = StateLayout(D, [self.proj_size or size for size in sizes], sizes)
        self._check_residual()
        self._dropout = Dropout(self.dropout, seed=self._generator)
        features = ("input_size", self.input_size)
        self._x_shapes = [
            [*((name, None) for name in self._leading_names(batched)), features] for batched in (True, False)
        ]
        for layer, size in enumerate(sizes):
            width = self.input_size if layer == 0 else D * self._layout.h_sizes[layer - 1]
            for direction in ("", "_reverse")[:D]:
                self._add_direction(f"_l{layer}{direction}", width, size)
        self._weights_added()

    def __call__(
        self, x: np.ndarray, state: State | None = None, lengths: Any = None, *, reset: Any = None
    ) -> tuple[np.ndarray, State]:
        """Run the layer for inference.

        Parameters
        ----------
        x : ndarray of shape (time, batch, input_size), (batch, time, input_size) if batch_first, or (time, input_size)
            The input, of the layer's dtype.
        state : (h0, c0), optional
            Of shape (num_layers * directions, batch, hidden_size), without batch for 2-D input; h0 has proj_size
            features where there is one. Zeros if left out, or what was learnt.
        lengths : array_like of int, shape (batch,), optional
            Real steps of each row, 0 to time, in any order. A row's outputs past its length are zero, and
            what it holds there is never read.
        reset : array_like of bool, shape (time, batch), (batch, time) if batch_first, or (time,), optional
            Where a row starts afresh, with a state of zeros or the learnt one: the steps from there on are computed as
            if they were a sequence of their own, in either direction. At a row's first step it takes the place of
            `state`.

        Returns
        -------
        y : ndarray of shape (time, batch, directions * hidden_size)
            The last layer's h of every step; batch first or without batch as `x` is.
        (h_n, c_n) : tuple of ndarray
            The state after each row's last real step, shaped like the initial one.

        Raises
        ------
        TypeError
            A dtype other than the layer's (nothing is cast), lengths that aren't integers, or a reset that isn't bool.
        ValueError
            A wrong shape, or a length below 0 or above time.
        """
        y, state, _ = self._run(x, state, lengths, reset, keep=False)
        return y, state

    def forward_train(
        self,
        x: np.ndarray,
        state: State | None = None,
        lengths: Any = None,
        *,
        reset: Any = None,
        checkpoint: bool = False,
    ) -> tuple[np.ndarray, State, LSTMContext]:
        """Run the layer with dropout and keep what `backward` needs.

        The first parameters and the first two results are those of a call. `x` must stay as it is until `backward`,
        and `y` can't be written to, for both are read there.

        Parameters
        ----------
        x, state, lengths, reset
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
        return self._run(x, state, lengths, reset, keep=True, checkpoint=check_flag("checkpoint", checkpoint))

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
        grad = self._time_batch(dy, context.batched)
        B = grad.shape[1]
        dfinal = self._layout.check("(dh_n, dc_n)", dstate, self.dtype, B if context.batched else None)
        if dfinal is None:
            dfinal = self._layout.empty(B, self.dtype)[1]
            for part in (*dfinal[0], *dfinal[1]):
                part[...] = 0
        runs = context.take(self)

        rows = context.rows
        pieces = rows if isinstance(rows, Pieces) else None
        num_threads = threads.resolve(self.num_threads)
        dstate, dinitial = self._layout.empty(B, self.dtype)
        weights: dict[str, np.ndarray] = {}
        for layer in reversed(range(self.num_layers)):
            run, suffixes = runs[layer], self._suffixes_of(layer)
            dx = None
            if layer > 0 or need_input_grad:
                dx = self._empty(*run.x.shape, batch_first=self.batch_first and layer == 0)
            weight_grads = [self._empty_weight_grads(suffix) for suffix in suffixes]
            dh_n, dc_n = (parts[layer] for parts in dfinal)
            dh0, dc0 = (parts[layer] for parts in dinitial)
            if pieces is not None:
                dh_n, dc_n = pieces.final_gradient(dh_n), pieces.final_gradient(dc_n)
                dh0, dc0 = np.empty_like(dh_n), np.empty_like(dc_n)
            compiled, tape = run.tape
            compiled.backward(
                tape, run.x, run.h0, run.c0, run.y, pieces.rows if pieces is not None else rows, grad, dh_n, dc_n, dx,
                dh0, dc0, weight_grads, num_threads,
            )  # fmt: skip
            for suffix, grads, connections in zip(suffixes, weight_grads, run.connections, strict=True):
                weights.update(self._named_weight_grads(suffix, grads, connections))
            if pieces is not None or self.learn_initial_state:
                self._split_initial(layer, (dh0, dc0), dinitial, context, pieces, weights)
            if self.residual and layer > 0:
                dx += grad
            grad = dx
            if run.dropout is not None:
                grad = self._dropout.backward(run.dropout, dx).x
        ordered = {name: weights[name] for name in self._weights}
        x_grad = None if grad is None or not need_input_grad else self._user_layout(grad, context.batched)
        return LSTMGradients(ordered, x_grad, *(dstate if context.batched else self._layout.without_batch(dstate)))

    def _split_initial(self, layer, gradients, dinitial, context, pieces, weights) -> None:
        """Share the gradients of a layer's first states out between the caller's state and the learnt one."""
        D = self.num_directions
        for name, gradient, parts in zip(("h0", "c0"), gradients, dinitial, strict=True):
            part = parts[layer]
            learnt = np.zeros((D, part.shape[2]), self.dtype)
            if pieces is not None:
                part[...], learnt = pieces.initial_gradient(gradient, part.shape[1])
            if not self.learn_initial_state:
                continue
            if not context.given:
                learnt += part.sum(axis=1)
            for d, suffix in enumerate(self._suffixes_of(layer)):
                weights[name + suffix] = learnt[d]

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
        sizes |= {"batch_first": bool(batch_first), "dropout": dropout or 0.0}
        return make(cls, arrays, **sizes, seed=seed, num_threads=num_threads)

    def to_torch(self) -> Any:
        """Return a torch.nn.LSTM with a copy of the weights; needs PyTorch.

        Raises
        ------
        ValueError
            The LSTM has an option that PyTorch's doesn't have.
        """
        refuse_options(self, "torch.nn.LSTM", {**BEYOND_PYTORCH, "residual": False})
        sizes = set(self._layout.c_sizes)
        if len(sizes) > 1:
            raise ValueError(
                f"hidden_size is {self.hidden_size}, expected one size for all layers, as torch.nn.LSTM has"
            )
        names = ("input_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size")
        return to_module(self, "LSTM", hidden_size=sizes.pop(), **{name: getattr(self, name) for name in names})

    def trace(self, x: np.ndarray, state: State | None = None, lengths: Any = None, *, reset: Any = None) -> Trace:
        """Run the layer for inference and return what its gates and cells were at every step.

        Parameters
        ----------
        x, state, lengths, reset
            As for a call, whose errors this raises too.

        Returns
        -------
        clstm.trace.Trace
            Of every layer and direction i, f, g, o, c and h, in the layout of `x`, beside what a call returns (the same
            bits). Six numbers a unit of every step are kept, and while it runs five more.
        """
        from clstm.trace import LayerTrace, Trace

        y, state, context = self._run(x, state, lengths, reset, keep=True, drop=False)
        batched, layers = context.batched, []
        for run in context.take(self):
            compiled, tape = run.tape
            T, B, _ = run.y.shape
            directions = []
            for d, h in enumerate(np.split(run.y, self.num_directions, axis=2)):
                gates, c = compiled.kept(tape, d, T, B)
                arrays = *(gates[:, :, k] for k in range(4)), c, h
                directions.append(LayerTrace(*(self._user_layout(array, batched) for array in arrays)))
            layers.append(tuple(directions))
        if not batched:
            return Trace(tuple(layers), y, state, T, None)
        lengths = np.full(B, T, np.int64) if lengths is None else np.asarray(lengths, np.int64)
        return Trace(tuple(layers), y, state, lengths, 0 if self.batch_first else 1)

    def stream(self, batch_size: int = 1, state: State | None = None) -> Stream:
        """Return a stream, which takes its input step by step and keeps the state in between.

        Parameters
        ----------
        batch_size : int, default 1
            Rows, each a sequence of its own.
        state : (h0, c0), optional
            Each of shape (num_layers, batch_size, hidden_size), h0 of proj_size features where there is one; zeros if
            left out, or what was learnt.

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
        from clstm.layers.stream import Stream

        batch_size = check_index("batch_size", batch_size, low=1, high=sys.maxsize)
        if self.bidirectional:
            raise ValueError(
                "bidirectional is True: a reverse direction begins at the end, which a stream doesn't have"
            )
        compiled, packs = self._ready()
        num_threads = threads.resolve(self.num_threads)
        steps = backend.steps(compiled, packs, batch_size, num_threads, self.residual)
        fresh = [self._fresh([suffix], sizes) for suffix, *sizes in zip(
            self._suffixes, self._layout.h_sizes, self._layout.c_sizes, strict=True)]  # fmt: skip
        fresh = [[part[0] for part in parts] for parts in zip(*fresh, strict=True)]
        layout = StateLayout(1, self._layout.h_sizes, self._layout.c_sizes, leading="num_layers")
        stream = Stream(steps, layout, fresh, batch_first=self.batch_first, num_threads=self.num_threads)
        if state is not None:
            stream.state = state
        return stream

    def _run(self, x, state, lengths, reset, keep, checkpoint=False, drop=True):
        """Run all layers; `keep` what backward needs, and then, unless for a trace, `drop` what training drops."""
        x = check_array("x", x, self.dtype, *self._x_shapes)
        batched = x.ndim == 3
        x = self._time_batch(x, batched)
        T, B, _ = x.shape
        if not batched and lengths is not None:
            raise ValueError("lengths is given, but x has no batch axis; cut x to its length instead")
        lengths = check_lengths(lengths, B, T)
        pieces = None if reset is None else self._check_reset(reset, batched, T, B, lengths)
        rows = lengths if pieces is None else pieces.rows
        given = self._layout.check("(h0, c0)", state, self.dtype, B if batched else None)

        D, num_threads = self.num_directions, threads.resolve(self.num_threads)
        compiled, packs = self._ready()
        connections = [None] * len(packs) if keep else None
        if keep and drop:
            compiled, packs, connections = self._training_packs(num_threads)
        state, final = self._layout.empty(B, self.dtype)
        segments = cut(T, B) if checkpoint else []
        checkpointed = Checkpointed(compiled, segments) if len(segments) > 1 else None
        context = LSTMContext(self, batched, (), pieces or rows, given is not None) if keep else None
        dropped = None
        layers = range(self.num_layers)
        if not keep and D == 1 and len(layers) > 1 and num_threads > 1 and pieces is None and self._alike:
            ys = [self._empty_output(T, B, layer) for layer in layers]
            h0, c0 = (np.concatenate(parts) for parts in zip(*(self._initial(k, given, None, B) for k in layers)))  # noqa: B905
            if compiled.forward_stacked(packs, x, h0, c0, lengths, ys, *state, num_threads):
                x, layers = ys[-1], ()
        for layer in layers:
            part, last = slice(layer * D, (layer + 1) * D), layer == self.num_layers - 1
            h0, c0 = self._initial(layer, given, pieces, B)
            if keep and given is not None:
                # backward reads them again: they must not change with the caller's arrays
                h0, c0 = h0.copy(), c0.copy()
            h_n, c_n = final[0][layer], final[1][layer]
            if pieces is not None:
                h_n, c_n = np.empty_like(h0), np.empty_like(c0)
            masks = self._draw_masks(T, B, self._layout.c_sizes[layer]) if keep and drop else None
            y = self._empty_output(T, B, layer)
            if pieces is not None:
                masks = pieces.masks(masks)
                if lengths is not None:
                    y[np.arange(T)[:, np.newaxis] >= lengths] = 0
            arguments = packs[part], x, h0, c0, rows, y, h_n, c_n, num_threads
            if checkpointed is not None:
                tape = checkpointed, checkpointed.forward(*arguments, masks)
            else:
                tape = compiled, compiled.forward(*arguments, keep, masks=masks)
            if pieces is not None:
                for states, parts in zip((h_n, c_n), final, strict=True):
                    pieces.final(states, parts[layer])
            out = y
            if self.residual and layer > 0:
                out = np.add(x, y, out=self._empty_output(T, B, layer))
            if keep:
                y.flags.writeable = out.flags.writeable = False
                context.runs.append(Run(tape, x, h0, c0, y, connections[part], dropped))
                dropped = None
                if drop and not last and self.dropout > 0:
                    out, dropped = self._dropout.forward_train(out)
            x = out
        y = self._user_layout(x, batched)
        state = state if batched else self._layout.without_batch(state)
        if keep:
            context.y_shape = y.shape
        return y, state, context

    def _initial(self, layer: int, given: tuple[Parts, Parts] | None, pieces: Pieces | None, B: int) -> Parts:
        """Return h and c that a layer's rows begin with, (directions, rows, features)."""
        if given is not None and pieces is None:
            return [given[0][layer], given[1][layer]]
        suffixes = self._suffixes_of(layer)
        sizes = self._layout.h_sizes[layer], self._layout.c_sizes[layer]
        parts = self._fresh_rows(suffixes, sizes, B) if given is None else [given[0][layer], given[1][layer]]
        if pieces is None:
            return parts
        fresh = self._fresh(suffixes, sizes)
        return [pieces.initial(part, each) for part, each in zip(parts, fresh, strict=True)]

    @property
    def _alike(self) -> bool:
        """Whether the layers differ in their weights only."""
        return self._plain and not self._layout.listed and not self.residual

    def _check_residual(self) -> None:
        if not self.residual:
            return
        if self.num_layers == 1:
            raise ValueError("residual is True, but num_layers is 1: the first layer's input isn't added to its output")
        if len(set(self._layout.h_sizes)) > 1:
            raise ValueError(f"residual is True, but hidden_size is {self.hidden_size}, expected layers of one width")

    def _check_reset(self, reset, batched, T, B, lengths) -> Pieces:
        sizes = {"time": T, "batch": B}
        axes = [(name, sizes[name]) for name in self._leading_names(batched)]
        reset = check_array("reset", reset, bool, axes)
        if not batched:
            reset = reset[:, np.newaxis]
        elif self.batch_first:
            reset = reset.T
        return Pieces(reset, lengths)

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
            return runtime.empty((B, T, width), self.dtype).swapaxes(0, 1)
        return runtime.empty((T, B, width), self.dtype)

    def _empty_output(self, T: int, B: int, layer: int) -> np.ndarray:
        last = layer == self.num_layers - 1
        return self._empty(T, B, self.num_directions * self._layout.h_sizes[layer], self.batch_first and last)

    def _output_axes(self) -> Axes:
        return self._axes_of_layer(self.num_layers - 1)

    def _axes_of_layer(self, layer: int) -> Axes:
        features = sum(self._weights["weight_hh" + suffix].shape[1] for suffix in self._suffixes_of(layer))
        return (*self._leading_names(True), features)

    def _suffixes_of(self, layer: int) -> list[str]:
        return self._suffixes[layer * self.num_directions : (layer + 1) * self.num_directions]

    def _stacked(self) -> list[tuple[Axes, list[np.ndarray]]]:
        if self.num_layers == 1:
            return []
        layers = []
        for layer in range(self.num_layers):
            suffixes = tuple(self._suffixes_of(layer))
            weights = [weight for name, weight in self._weights.items() if name.endswith(suffixes)]
            layers.append((self._axes_of_layer(layer), weights))
        return layers

    def __repr__(self) -> str:
        return represent(self, num_layers=1, batch_first=False, dropout=0.0, bidirectional=False, residual=False)


def _check_sizes(hidden_size: Any, num_layers: Any) -> tuple[int, ...]:
    """Return the size of each layer."""
    num_layers = check_index("num_layers", num_layers, low=1)
    if not isinstance(hidden_size, (Sequence, np.ndarray)) or isinstance(hidden_size, (str, bytes)):
        return (check_index("hidden_size", hidden_size, low=1),) * num_layers
    if len(hidden_size) == 0:
        raise ValueError("hidden_size is empty, expected the size of each layer")
    if num_layers not in (1, len(hidden_size)):
        raise ValueError(f"num_layers is {num_layers}, but hidden_size has {len(hidden_size)} sizes")
    return tuple(check_index(f"hidden_size[{layer}]", size, low=1) for layer, size in enumerate(hidden_size))
