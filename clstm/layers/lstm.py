"""The LSTM layer: arguments, state and lengths are checked here, a compiled path does the work.

Hochreiter & Schmidhuber (1997), "Long short-term memory"; the forget gate is that of Gers, Schmidhuber &
Cummins (2000), "Learning to forget". Names, shapes and gate order (i, f, g, o) are PyTorch's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clstm._checks import check_array, check_flag, check_index, check_lengths, check_real
from clstm._core import threads
from clstm._core.backend import Path
from clstm._core.job import Gradients, Job, Masks
from clstm._core.vector import runtime
from clstm._package import public
from clstm.layers.activations import DEFAULT
from clstm.layers.cell_options import BEYOND_PYTORCH, CellOptions
from clstm.layers.dropout import Dropout
from clstm.layers.gradient_checkpoint import Checkpointed, cut
from clstm.layers.recurrent import LayerRun, LSTMContext, LSTMGradients, Recurrent, represent
from clstm.layers.reset import SegmentedBatch
from clstm.layers.state_layout import Parts, State, StateLayout
from clstm.layers.torch_weights import lstm_sizes, make, read_source, refuse_options, to_module

if TYPE_CHECKING:
    from clstm.layers.row_gradient import RowGradient
    from clstm.layers.stream import Stream
    from clstm.summary import Axes
    from clstm.trace import LayerTrace, Trace


@dataclass(slots=True)
class _Call:
    """The checked arguments of one call, and the final state, which the layers fill in."""

    x: np.ndarray  # (time, batch, features)
    batched: bool  # whether the caller's x has a batch axis
    lengths: np.ndarray | None
    segments: SegmentedBatch | None  # where there is a reset
    initial: tuple[Parts, Parts] | None  # h0 and c0 of each layer, if the caller gave them
    state: State  # h_n and c_n as the caller gets them, and
    final: tuple[Parts, Parts]  # the parts of them of each layer
    num_threads: int


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
        A second direction reads each row from its end; the outputs of both are concatenated along the features.
    dtype : dtype, default float32
        float32 or float64, of weights, input, state and output.
    forget_bias : float, optional
        Initial value of the forget gates' bias (the sum of both bias vectors).
    seed : int or numpy.random.Generator, optional
        For the initial weights, U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)), and the random masks of training.
    num_threads : int, optional
        Threads for each call, and for an optimiser's updates; None for the number that `clstm.set_num_threads` or the
        environment sets.
    proj_size : int, default 0
        h is projected to this many features, fewer than `hidden_size`, by ``weight_hr`` (Sak et al. 2014); 0 for none.
    peephole : bool, default False
        Each unit's c_{t-1} is an input of its i and f, and c_t of its o (Gers & Schmidhuber 2000):
        ``weight_peephole``, for i, f, o.
    coupled : bool, default False
        i = 1 - f (Greff et al. 2017): weights have three gates, f, g, o, instead of four.
    cell_clip : float, optional
        c is clipped to [-cell_clip, cell_clip].
    gate_clip : float, optional
        The arguments of all activations, also that of c, are clipped to [-gate_clip, gate_clip]; ONNX calls it clip.
    layer_norm : bool, default False
        Each gate's sum over the input and h, and c where it enters h, are normalised over the units (Ba et al. 2016):
        ``weight_norm_gates``, with the biases as shift; ``weight_norm_cell``, ``bias_norm_cell``.
    recurrent_dropout : float, default 0.0
        Probability with which a unit of h is dropped where it enters the next step, in training: one mask for a whole
        sequence (Gal & Ghahramani 2016).
    weight_dropout : float, default 0.0
        Probability with which an element of weight_hh is zeroed, in training: one mask for a call (DropConnect, Merity
        et al. 2018).
    zoneout : float or (float, float), default 0.0
        Probabilities with which a unit of h, and one of c, keeps its previous value at a step, in training; in
        inference the expected value is used (Krueger et al. 2017). One number is for both.
    activations : sequence, default ("sigmoid", "tanh", "tanh")
        Of the gates i, f and o; of g; and of c where it enters h. Each a name, or (name, alpha, beta): sigmoid, tanh,
        relu, hard_sigmoid (0.2, 0.5), leaky_relu (0.01), thresholded_relu (1), elu (1), selu, affine (1, 0),
        scaled_tanh (1, 1), softsign, softplus, linear, exponential, with ONNX's meanings and values of alpha and beta.
        With two directions also six, the latter three for the reverse one.
    learn_initial_state : bool, default False
        The state with which rows begin where none is given, and after a reset, is learnt: ``h0``, ``c0``.
    residual : bool, default False
        Each layer but the first adds its input to its output (Wu et al. 2016), which must be as wide.

    Notes
    -----
    Inference changes nothing in the object, so several threads may call one LSTM at once. Results are the same bits for
    every number of threads. Weights are read with `state_dict` and `parameters`, and set with
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
        options = CellOptions(
            bias=bias, dtype=dtype, proj_size=proj_size, peephole=peephole, coupled=coupled, cell_clip=cell_clip,
            gate_clip=gate_clip, layer_norm=layer_norm, recurrent_dropout=recurrent_dropout,
            weight_dropout=weight_dropout, zoneout=zoneout, activations=activations,
            learn_initial_state=learn_initial_state,
        )  # fmt: skip
        super().__init__(input_size, options, 2 if self.bidirectional else 1, forget_bias, seed, num_threads)
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
        self._add_layers(sizes)

    def _add_layers(self, sizes: Sequence[int]) -> None:
        D = self.num_directions
        for layer, size in enumerate(sizes):
            width = self.input_size if layer == 0 else D * self._layout.h_sizes[layer - 1]
            for direction in ("", "_reverse")[:D]:
                self._add_direction(f"_l{layer}{direction}", width, size)
        # Where each layer's directions are among those of all layers
        self._directions = [slice(layer * D, (layer + 1) * D) for layer in range(self.num_layers)]
        # Plain layers of one size are candidates for `forward_stacked`.
        plain = all(variant.plain for variant in self._variants)
        self._stackable = D == 1 and len(sizes) > 1 and plain and not self._layout.listed and not self.residual
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
            Real steps of each row, 0 to time, in any order. A row's outputs past its length are zero, and its inputs
            there are never read.
        reset : array_like of bool, shape (time, batch), (batch, time) if batch_first, or (time,), optional
            Steps before which a row starts again from a state of zeros, or from the learnt one: the steps from there on
            are computed as a separate sequence, in either direction. At a row's first step, `state` isn't used for it.

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
        call = self._prepare(x, state, lengths, reset)
        path, packs = self._ready()
        if self._stackable and call.num_threads > 1 and call.segments is None:
            return self._results(self._run_stacked(path, packs, call), call)
        out = call.x
        for layer in range(self.num_layers):
            job, _ = self._run_layer(path, packs, layer, out, call)
            out = self._with_residual(layer, out, job.y)
        return self._results(out, call)

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

        The first parameters and the first two results are those of a call. `backward` reads `x` and `y` again: `x` must
        not be changed until then, and `y` is read-only.

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
        checkpoint = check_flag("checkpoint", checkpoint)
        call = self._prepare(x, state, lengths, reset)
        if call.initial is not None:  # copied: backward reads it again, after the caller may have changed the arrays
            h0, c0 = call.initial
            call.initial = [part.copy() for part in h0], [part.copy() for part in c0]
        path, packs, drop_connect = self._training_packs(call.num_threads)
        T, B, _ = call.x.shape
        intervals = cut(T, B) if checkpoint else []
        runner = Checkpointed(path, intervals) if len(intervals) > 1 else path
        runs: list[LayerRun] = []
        out, dropout = call.x, None
        for layer in range(self.num_layers):
            masks = self._draw_masks(T, B, self._layout.c_sizes[layer])
            job, tape = self._run_layer(runner, packs, layer, out, call, masks, keep=True)
            runs.append(LayerRun(runner, tape, job, drop_connect[self._directions[layer]], dropout))
            out = self._with_residual(layer, out, job.y)
            job.y.flags.writeable = out.flags.writeable = False
            if self.dropout > 0 and layer < self.num_layers - 1:
                out, dropout = self._dropout.forward_train(out)
        y, state = self._results(out, call)
        given = call.initial is not None
        return y, state, LSTMContext(self, call.batched, y.shape, call.segments, given, runs)

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
            Gradient of y, in its shape; past a row's length it is not read.
        dstate : (dh_n, dc_n), optional
            Gradients of the final state; zeros if left out.
        need_input_grad : bool, default True
            If False, `grads.x` is None, which saves time.

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
        dstate, dinitial = self._layout.empty(B, self.dtype)
        weights: dict[str, np.ndarray | RowGradient] = {}
        for layer in reversed(range(self.num_layers)):
            of_layer, dx = self._backward_layer(
                layer, runs[layer], context, grad, (dfinal[0][layer], dfinal[1][layer]),
                (dinitial[0][layer], dinitial[1][layer]), need_dx=layer > 0 or need_input_grad,
            )  # fmt: skip
            weights |= of_layer
            if self.residual and layer > 0:
                dx += grad
            grad = dx if runs[layer].dropout is None else self._dropout.backward(runs[layer].dropout, dx).x
        ordered = {name: weights[name] for name in self._weights}
        x_grad = self._user_layout(grad, context.batched) if need_input_grad else None
        return LSTMGradients(ordered, x_grad, *(dstate if context.batched else self._layout.without_batch(dstate)))

    def _backward_layer(
        self, layer: int, run: LayerRun, context: LSTMContext, dy: np.ndarray, dfinal: State, dinitial: State,
        need_dx: bool,
    ) -> tuple[dict[str, np.ndarray], np.ndarray | None]:  # fmt: skip
        """Return the gradients of one layer's weights and of its input; write those of the initial state."""
        job, segments = run.job, context.segments
        T, B, width = job.x.shape
        dx = self._empty(T, B, width, self.batch_first and layer == 0) if need_dx else None
        dh_n, dc_n = dfinal
        dh0, dc0 = dinitial
        if segments is not None:
            dh_n, dc_n = segments.final_gradient(dh_n), segments.final_gradient(dc_n)
            dh0, dc0 = np.empty_like(dh_n), np.empty_like(dc_n)
        numbers = range(len(self._suffixes))[self._directions[layer]]
        packed = [self._empty_weight_gradients(number) for number in numbers]
        job.num_threads = threads.resolve(self.num_threads)
        run.path.backward(run.tape, job, Gradients(dy, dh_n, dc_n, dx, dh0, dc0, packed))
        weights: dict[str, np.ndarray] = {}
        for number, gradients, mask in zip(numbers, packed, run.drop_connect, strict=True):
            weights.update(self._own_weight_gradients(number, gradients, mask))
        if segments is not None or self.learn_initial_state:
            weights |= self._split_initial_gradient(layer, (dh0, dc0), dinitial, context)
        return weights, dx

    def _split_initial_gradient(
        self, layer: int, gradient: State, dinitial: State, context: LSTMContext
    ) -> dict[str, np.ndarray]:
        """Divide the gradient of a layer's initial states: write the given state's, return that of the learnt one."""
        weights: dict[str, np.ndarray] = {}
        for name, whole, part in zip(("h0", "c0"), gradient, dinitial, strict=True):
            learnt = np.zeros((self.num_directions, part.shape[2]), self.dtype)
            if context.segments is not None:
                part[...], learnt = context.segments.initial_gradient(whole, part.shape[1])
            if not self.learn_initial_state:
                continue
            if not context.given:
                learnt += part.sum(axis=1)
            for d, suffix in enumerate(self._suffixes[self._directions[layer]]):
                weights[name + suffix] = learnt[d]
        return weights

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
            The LSTM's name inside `source`, such as "encoder.lstm".
        batch_first, dropout
            Options that a state_dict doesn't hold; None for the module's, or the default.
        dtype : dtype, optional
            To convert the weights to. None keeps float32 and float64, and converts float16 and bfloat16 to float32,
            which is exact.
        seed, num_threads
            As for `LSTM`.

        Raises
        ------
        TypeError
            Another kind of module, or weights of several dtypes.
        ValueError
            No weights of an LSTM under this prefix; the error names the prefixes that have some.

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
        """Run the layer for inference and return its gates and states at every step.

        Parameters
        ----------
        x, state, lengths, reset
            As for a call, whose errors this raises too.

        Returns
        -------
        clstm.trace.Trace
            Of every layer and direction i, f, g, o, c and h, in the layout of `x`, together with what a call returns
            (the same bits). That is six numbers for each unit of every step; a layer takes five more while it runs.
        """
        from clstm.trace import Trace

        call = self._prepare(x, state, lengths, reset)
        path, packs = self._ready()
        layers = []
        out = call.x
        for layer in range(self.num_layers):
            job, tape = self._run_layer(path, packs, layer, out, call, keep=True)
            out = self._with_residual(layer, out, job.y)
            job.y.flags.writeable = out.flags.writeable = False
            layers.append(tuple(self._trace_directions(path, job, tape, call.batched)))
        y, state = self._results(out, call)
        T, B, _ = call.x.shape
        if not call.batched:
            return Trace(tuple(layers), y, state, T, None)
        steps = np.full(B, T, np.int64) if lengths is None else np.asarray(lengths, np.int64)
        return Trace(tuple(layers), y, state, steps, 0 if self.batch_first else 1)

    def _trace_directions(self, path: Path, job: Job, tape: Any, batched: bool) -> Iterator[LayerTrace]:
        from clstm.trace import LayerTrace

        for d, h in enumerate(np.split(job.y, self.num_directions, axis=2)):
            gates, c = path.gates_and_cells(tape, job, d)
            arrays = *(gates[:, :, k] for k in range(4)), c, h
            yield LayerTrace(*(self._user_layout(array, batched) for array in arrays))

    def stream(self, batch_size: int = 1, state: State | None = None) -> Stream:
        """Return a stream, which takes its input step by step and keeps the state from step to step.

        Parameters
        ----------
        batch_size : int, default 1
            Rows, each a separate sequence.
        state : (h0, c0), optional
            Each of shape (num_layers, batch_size, hidden_size), h0 of proj_size features where there is one; zeros if
            left out, or what was learnt.

        Returns
        -------
        clstm.stream.Stream
            With the layer's weights and number of threads at this moment: later changes of the layer don't affect it.

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
        path, packs = self._ready()
        steps = path.steps(packs, batch_size, threads.resolve(self.num_threads), self.residual)
        sizes = zip(self._layout.h_sizes, self._layout.c_sizes, strict=True)
        by_layer = [self._default_state([suffix], pair) for suffix, pair in zip(self._suffixes, sizes, strict=True)]
        h, c = ([part[0] for part in parts] for parts in zip(*by_layer, strict=True))
        layout = StateLayout(1, self._layout.h_sizes, self._layout.c_sizes, leading="num_layers")
        stream = Stream(steps, layout, [h, c], batch_first=self.batch_first, num_threads=self.num_threads)
        if state is not None:
            stream.state = state
        return stream

    def _prepare(self, x: Any, state: Any, lengths: Any, reset: Any) -> _Call:
        """Check the arguments of a call; see `__call__`."""
        x = check_array("x", x, self.dtype, *self._x_shapes)
        batched = x.ndim == 3
        x = self._time_batch(x, batched)
        T, B, _ = x.shape
        if not batched and lengths is not None:
            raise ValueError("lengths is given, but x has no batch axis; cut x to its length instead")
        lengths = check_lengths(lengths, B, T)
        segments = None if reset is None else self._check_reset(reset, batched, T, B, lengths)
        initial = self._layout.check("(h0, c0)", state, self.dtype, B if batched else None)
        num_threads = threads.resolve(self.num_threads)
        return _Call(x, batched, lengths, segments, initial, *self._layout.empty(B, self.dtype), num_threads)

    def _run_layer(
        self, path: Any, packs: tuple, layer: int, x: np.ndarray, call: _Call, masks: list[Masks] | None = None,
        keep: bool = False,
    ) -> tuple[Job, Any]:  # fmt: skip
        """Run one layer; return its job, which holds the output, and its tape if `keep`."""
        T, B, _ = x.shape
        packs, y = packs[self._directions[layer]], self._empty_output(T, B, layer)
        h0, c0 = self._initial(layer, call)
        h_n, c_n = call.final[0][layer], call.final[1][layer]
        segments = call.segments
        if segments is None:
            job = Job(packs, x, h0, c0, y, h_n, c_n, call.num_threads, call.lengths, None, masks, keep)
            return job, path.forward(job)
        if call.lengths is not None:
            y[np.arange(T)[:, np.newaxis] >= call.lengths] = 0
        job = Job(
            packs, x, h0, c0, y, np.empty_like(h0), np.empty_like(c0), call.num_threads, None, segments.segments,
            segments.masks(masks), keep,
        )  # fmt: skip
        tape = path.forward(job)
        segments.write_final(job.h_n, h_n)
        segments.write_final(job.c_n, c_n)
        return job, tape

    def _run_stacked(self, path: Path, packs: tuple, call: _Call) -> np.ndarray:
        """Run all layers of a `_stackable` LSTM, side by side if the path does so; return the last one's output."""
        jobs, out = [], call.x
        T, B, _ = out.shape
        for layer in range(self.num_layers):
            y = self._empty_output(T, B, layer)
            h0, c0 = self._initial(layer, call)
            h_n, c_n = call.final[0][layer], call.final[1][layer]
            of_layer = packs[self._directions[layer]]
            jobs.append(Job(of_layer, out, h0, c0, y, h_n, c_n, call.num_threads, call.lengths))
            out = y
        if not path.forward_stacked(jobs):
            for job in jobs:
                path.forward(job)
        return out

    def _with_residual(self, layer: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return a layer's output for the next one."""
        if not self.residual or layer == 0:
            return y
        T, B, _ = y.shape
        return np.add(x, y, out=self._empty_output(T, B, layer))

    def _results(self, out: np.ndarray, call: _Call) -> tuple[np.ndarray, State]:
        """Return the last layer's output and the final state in the caller's layout."""
        y = self._user_layout(out, call.batched)
        return y, call.state if call.batched else self._layout.without_batch(call.state)

    def _initial(self, layer: int, call: _Call) -> Sequence[np.ndarray]:
        """Return the h0 and c0 of a layer's rows or segments, (directions, rows, features)."""
        if call.initial is not None and call.segments is None:
            return call.initial[0][layer], call.initial[1][layer]
        suffixes = self._suffixes[self._directions[layer]]
        sizes = self._layout.h_sizes[layer], self._layout.c_sizes[layer]
        if call.initial is None:
            parts = self._default_states(suffixes, sizes, call.x.shape[1])
        else:
            parts = [call.initial[0][layer], call.initial[1][layer]]
        if call.segments is None:
            return parts
        defaults = self._default_state(suffixes, sizes)
        return [call.segments.initial(part, default) for part, default in zip(parts, defaults, strict=True)]

    def _check_residual(self) -> None:
        if not self.residual:
            return
        if self.num_layers == 1:
            raise ValueError("residual is True, but num_layers is 1: the first layer's input isn't added to its output")
        if len(set(self._layout.h_sizes)) > 1:
            raise ValueError(f"residual is True, but hidden_size is {self.hidden_size}, expected layers of one width")

    def _check_reset(self, reset: Any, batched: bool, T: int, B: int, lengths: np.ndarray | None) -> SegmentedBatch:
        sizes = {"time": T, "batch": B}
        axes = [(name, sizes[name]) for name in self._leading_names(batched)]
        reset = check_array("reset", reset, bool, axes)
        if not batched:
            reset = reset[:, np.newaxis]
        elif self.batch_first:
            reset = reset.T
        return SegmentedBatch(reset, lengths)

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
        return (*self._leading_names(True), self.num_directions * self._layout.h_sizes[layer])

    def _stacked(self) -> list[tuple[Axes, list[np.ndarray]]]:
        if self.num_layers == 1:
            return []
        layers = []
        for layer in range(self.num_layers):
            suffixes = tuple(self._suffixes[self._directions[layer]])
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
