"""The single step of an LSTM, for those who write the loop over time themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clstm._checks import check_array, check_flag, check_index, check_state
from clstm._core import threads
from clstm._core.job import Gradients, Job
from clstm._package import public
from clstm.layers.activations import DEFAULT
from clstm.layers.cell_options import BEYOND_PYTORCH, CellOptions
from clstm.layers.recurrent import LayerRun, LSTMContext, LSTMGradients, Recurrent, represent
from clstm.layers.state_layout import State
from clstm.layers.torch_weights import lstm_sizes, make, read_source, refuse_options, to_module

if TYPE_CHECKING:
    from clstm.layers.row_gradient import RowGradient
    from clstm.summary import Axes


@public("clstm")
class LSTMCell(Recurrent):
    """One step of an LSTM, as PyTorch's LSTMCell.

    Parameters
    ----------
    input_size, hidden_size : int
    bias : bool, default True
    dtype, forget_bias, seed, num_threads, proj_size, peephole, coupled, cell_clip, gate_clip, layer_norm
    recurrent_dropout, weight_dropout, zoneout, activations, learn_initial_state
        As for `LSTM`. Each `forward_train` draws new random masks.

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
    ) -> None:
        options = CellOptions(
            bias=bias, dtype=dtype, proj_size=proj_size, peephole=peephole, coupled=coupled, cell_clip=cell_clip,
            gate_clip=gate_clip, layer_norm=layer_norm, recurrent_dropout=recurrent_dropout,
            weight_dropout=weight_dropout, zoneout=zoneout, activations=activations,
            learn_initial_state=learn_initial_state,
        )  # fmt: skip
        super().__init__(input_size, options, 1, forget_bias, seed, num_threads)
        self.hidden_size = check_index("hidden_size", hidden_size, low=1)
        self._check_projection(self.hidden_size)
        self._sizes = self.proj_size or self.hidden_size, self.hidden_size  # of h and c
        self._add_direction("", self.input_size, self.hidden_size)
        self._weights_added()

    def __call__(self, x: np.ndarray, state: State | None = None) -> State:
        """Take one step.

        Parameters
        ----------
        x : ndarray of shape (batch, input_size) or (input_size,)
        state : (h0, c0), optional
            Each of shape (batch, hidden_size), without batch for 1-D input; h0 has proj_size features where there is
            one. Zeros if left out, or what was learnt.

        Returns
        -------
        (h, c) : tuple of ndarray
            Shaped like the state.

        Raises
        ------
        TypeError, ValueError
            A wrong dtype or shape.
        """
        x, h0, c0, batched = self._prepare(x, state)
        path, packs = self._ready()
        y, h_n, c_n = self._empty_outputs(x.shape[1])
        path.forward(Job(packs, x, h0, c0, y, h_n, c_n, threads.resolve(self.num_threads)))
        return _step_of(h_n, c_n, batched)

    def forward_train(self, x: np.ndarray, state: State | None = None) -> tuple[State, LSTMContext]:
        """Take one step and keep what `backward` needs; `x` must not be changed until then."""
        x, h0, c0, batched = self._prepare(x, state)
        if state is not None:  # copied: backward reads it again, after the caller may have changed the arrays
            h0, c0 = h0.copy(), c0.copy()
        num_threads = threads.resolve(self.num_threads)
        path, packs, drop_connect = self._training_packs(num_threads)
        masks = self._draw_masks(1, x.shape[1], self.hidden_size)
        y, h_n, c_n = self._empty_outputs(x.shape[1])
        job = Job(packs, x, h0, c0, y, h_n, c_n, num_threads, masks=masks, keep=True)
        run = LayerRun(path, path.forward(job), job, drop_connect)
        h, c = _step_of(h_n, c_n, batched)
        return (h, c), LSTMContext(self, batched, h.shape, given=state is not None, runs=[run])

    def backward(self, context: LSTMContext, dstate: State, *, need_input_grad: bool = True) -> LSTMGradients:
        """Return the gradients of a loss, given its gradients (dh, dc) at the result of one `forward_train`."""
        if not isinstance(context, LSTMContext):
            raise TypeError(f"context is {type(context).__name__}, expected what forward_train returned")
        if dstate is None:
            raise TypeError("dstate is None, expected a pair of arrays (dh, dc)")
        batch = context.y_shape[0] if context.batched else 1
        dstate = check_state("(dh, dc)", dstate, self.dtype, *self._state_axes(context.batched, batch))
        dh, dc = (array.reshape(1, batch, -1) for array in dstate)
        need_input_grad = check_flag("need_input_grad", need_input_grad)
        (run,) = context.take(self)
        job = run.job
        dx = np.empty(job.x.shape, job.x.dtype) if need_input_grad else None
        dh0, dc0 = np.empty_like(dh), np.empty_like(dc)
        packed = self._empty_weight_gradients(0)
        job.num_threads = threads.resolve(self.num_threads)
        run.path.backward(run.tape, job, Gradients(np.zeros_like(job.y), dh, dc, dx, dh0, dc0, [packed]))
        if dx is not None:
            dx = dx[0] if context.batched else dx[0, 0]
        weights: dict[str, np.ndarray | RowGradient] = dict(self._own_weight_gradients(0, packed, run.drop_connect[0]))
        if self.learn_initial_state:
            for name, gradient in (("h0", dh0), ("c0", dc0)):
                total = gradient[0].sum(axis=0)
                weights[name] = np.zeros_like(total) if context.given else total
        ordered = {name: weights[name] for name in self._weights}
        return LSTMGradients(ordered, dx, dh0.reshape(dstate[0].shape), dc0.reshape(dstate[1].shape))

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
        refuse_options(self, "torch.nn.LSTMCell", {**BEYOND_PYTORCH, "proj_size": 0})
        names = ("input_size", "hidden_size", "bias")
        return to_module(self, "LSTMCell", **{name: getattr(self, name) for name in names})

    def _prepare(self, x: Any, state: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
        """Return x (1, batch, input_size), h0 and c0 (1, batch, features), checked, and whether x has a batch axis."""
        features = ("input_size", self.input_size)
        x = check_array("x", x, self.dtype, [("batch", None), features], [features])
        batched = x.ndim == 2
        x = x.reshape(1, -1, self.input_size)
        B = x.shape[1]
        if state is None:
            h0, c0 = self._default_states(self._suffixes, self._sizes, B)
        else:
            h0, c0 = check_state("(h0, c0)", state, self.dtype, *self._state_axes(batched, B))
            h0, c0 = h0.reshape(1, B, -1), c0.reshape(1, B, -1)
        return x, h0, c0, batched

    def _empty_outputs(self, B: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return arrays for y, h_n and c_n."""
        h_size, c_size = self._sizes
        dtype = self.dtype
        return np.empty((1, B, h_size), dtype), np.empty((1, B, h_size), dtype), np.empty((1, B, c_size), dtype)

    def _state_axes(self, batched: bool, batch: int) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        rows = [("batch", batch)] if batched else []
        hidden = [*rows, ("hidden_size", self.hidden_size)]
        return [*rows, ("proj_size", self.proj_size)] if self.proj_size else hidden, hidden

    def _output_axes(self) -> Axes:
        return ("batch", self._weights["weight_hh"].shape[1])

    def __repr__(self) -> str:
        return represent(self)


def _step_of(h_n: np.ndarray, c_n: np.ndarray, batched: bool) -> State:
    """Return a state without the axis of directions, and without that of the batch where there was none."""
    return (h_n[0], c_n[0]) if batched else (h_n[0, 0], c_n[0, 0])
