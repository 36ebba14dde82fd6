"""Networks for sequences: one output for each sequence or each step; a classifier of token ids among them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clstm._checks import (
    check_array,
    check_choice,
    check_dtype,
    check_index,
    check_lengths,
    check_real,
    check_token_ids,
    random_generator,
)
from clstm._package import public
from clstm.layers.base import Context, blank_weights
from clstm.layers.dropout import Dropout
from clstm.layers.embedding import Embedding
from clstm.layers.linear import Linear
from clstm.layers.lstm import LSTM, LSTMGradients, State
from clstm.layers.pooling import POOLINGS
from clstm.models.base import LSTMNetwork

if TYPE_CHECKING:
    from clstm.summary import Axes


@public("clstm.models")
@dataclass
class NetworkContext(Context):
    """What one `forward_train` keeps for one `backward`: the contexts of the parts, by name; opaque."""

    out_shape: tuple[int, ...]


@public("clstm.models")
class SequenceNetwork(LSTMNetwork):
    """Embedding (for token ids only), LSTM, pooling over each row's real steps (optional), Linear.

    Parameters
    ----------
    input_size : int
        Features of each step; with token ids, the size of their vectors.
    hidden_size : int
        Features of h and c, in each layer and direction.
    output_size : int
        Outputs of each row, or of each step.
    num_layers : int, default 1
        Layers of the LSTM.
    vocab_size : int, optional
        The input is token ids, 0 to vocab_size - 1. Without it, the input is floats.
    dropout : float, default 0.0
        Between the LSTM's layers, in training.
    bidirectional : bool, default False
        Whether a second direction reads each row from its end.
    pooling : {"last", "mean", "max"} or None, default "last"
        The Linear layer's input: the last real step's output, or the mean or the maximum of the outputs over the real
        steps. In both directions, "last" is the output of the forward direction at the last real step, and that of
        the reverse direction at the first step, where it has read the whole row. With None it is every step's output.
    input_dropout, output_dropout : float, default 0.0
        On the inputs of the LSTM and of the Linear layer, in training.
    embedding_std : float, default 0.1
        Standard deviation of the initial embeddings. PyTorch's is 1, which gives much worse results with texts.
    padding_idx : int, optional
        A token whose embedding is always zeros. Not needed if lengths are given.
    sparse_embedding : bool, default False
        Whether the embedding's gradient is a `RowGradient`: a training step then takes the same time with any
        vocabulary size.
    dtype : dtype, default float32
        float32 or float64, of weights, state, float input and output.
    seed : int or numpy.random.Generator, optional
        For the initial weights and dropout.
    num_threads : int, optional
        Threads for each call of the LSTM, and for an optimiser's updates; None: as set by `clstm.set_num_threads` or
        the environment.

    Attributes
    ----------
    embedding : Embedding or None
    lstm, fc : LSTM, Linear
        The parts that have weights.

    Notes
    -----
    Calls don't change the object, so many threads may call one network at once. `forward_train` draws dropout masks
    from one generator, so train in one thread only.

    Examples
    --------
    >>> import numpy as np
    >>> from clstm.models import SequenceNetwork
    >>> network = SequenceNetwork(3, 64, 2, pooling="mean", seed=0)
    >>> out, (h_n, c_n) = network(np.zeros((2, 10, 3), np.float32), lengths=[10, 4])
    >>> out.shape, h_n.shape
    ((2, 2), (1, 2, 64))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        output_size: int,
        num_layers: int = 1,
        *,
        vocab_size: int | None = None,
        dropout: float = 0.0,
        bidirectional: bool = False,
        pooling: str | None = "last",
        input_dropout: float = 0.0,
        output_dropout: float = 0.0,
        embedding_std: float = 0.1,
        padding_idx: int | None = None,
        sparse_embedding: bool = False,
        dtype: Any = np.float32,
        seed: int | np.random.Generator | None = None,
        num_threads: int | None = None,
    ) -> None:
        super().__init__()
        self.input_size = check_index("input_size", input_size, low=1)
        self.hidden_size = check_index("hidden_size", hidden_size, low=1)
        self.output_size = check_index("output_size", output_size, low=1)
        self.vocab_size = None if vocab_size is None else check_index("vocab_size", vocab_size, low=1)
        self.pooling = None if pooling is None else check_choice("pooling", pooling, tuple(POOLINGS))
        self.dtype = check_dtype("dtype", dtype)
        generator = random_generator(seed)
        options = {"dtype": self.dtype, "seed": generator}
        self.embedding = None
        if self.vocab_size is not None:
            self.embedding = Embedding(
                self.vocab_size, self.input_size, padding_idx, std=embedding_std, sparse=sparse_embedding, **options
            )
        self.lstm = LSTM(
            self.input_size, self.hidden_size, num_layers, batch_first=True, dropout=dropout,
            bidirectional=bidirectional, num_threads=num_threads, **options,
        )  # fmt: skip
        self.num_threads = self.lstm.num_threads
        self.fc = Linear(self.hidden_size * self.lstm.num_directions, self.output_size, **options)
        self._input_dropout = Dropout(input_dropout, seed=generator)
        self._output_dropout = Dropout(output_dropout, seed=generator)
        self._pool = None if self.pooling is None else POOLINGS[self.pooling]
        for name in ("embedding", "lstm", "fc"):
            if getattr(self, name) is not None:
                self._add_part(name, getattr(self, name))

    def __call__(self, x: Any, hidden: State | None = None, lengths: Any = None) -> tuple[np.ndarray, State]:
        """Return the outputs of each row or step, and the LSTM's state after its last real step.

        Parameters
        ----------
        x : array_like of int, shape (batch, time), or ndarray of shape (batch, time, input_size)
            Token ids, or floats of the network's dtype. Values past a row's length must be valid too, but are ignored.
        hidden : (h0, c0), optional
            Each of shape (num_layers * directions, batch, hidden_size); zeros if left out.
        lengths : array_like of int, shape (batch,), optional
            Real steps of each row, 0 to time, in any order; all of them if left out.

        Returns
        -------
        out : ndarray of shape (batch, output_size), or (batch, time, output_size) without pooling
            For a classifier, scores, whose softmax is the probabilities. Ignore what is past a row's length.
        (h_n, c_n) : tuple of ndarray
            Shaped like the initial state.

        Raises
        ------
        TypeError
            Ids or lengths that aren't integers, floats or a state of another dtype.
        ValueError
            A wrong shape, or an id or length out of range.
        """
        x, lengths = self._check(x, lengths)
        y, hidden = self.lstm(x if self.embedding is None else self.embedding(x), hidden, lengths)
        pooled = y if self._pool is None else self._pool(y, hidden[0], lengths)
        return self.head(pooled), hidden

    def head(self, pooled: np.ndarray) -> np.ndarray:
        """Return the outputs for pooled features (..., hidden_size * directions)."""
        # Not self.fc: the order of BLAS's sums depends on the number of rows. With einsum a row's output has the same
        # bits in any batch; there are few outputs, so the time doesn't matter.
        fc = self.fc.parameters()
        return np.einsum("...f,lf->...l", pooled, fc["weight"]) + fc["bias"]

    def forward_train(
        self, x: Any, hidden: State | None = None, lengths: Any = None
    ) -> tuple[np.ndarray, State, NetworkContext]:
        """Run the network as a call does, but with dropout, and return a context for `backward`.

        Returns
        -------
        out : ndarray
        (h_n, c_n) : tuple of ndarray
        context : NetworkContext
            For one `backward`.
        """
        x, lengths = self._check(x, lengths)
        contexts = {}
        if self.embedding is not None:
            x, contexts["embedding"] = self.embedding.forward_train(x)
        x, contexts["input_dropout"] = self._input_dropout.forward_train(x)
        pooled, hidden, contexts["lstm"] = self.lstm.forward_train(x, hidden, lengths)
        if self._pool is not None:
            pooled, contexts["pooling"] = self._pool.forward_train(pooled, hidden[0], lengths)
        pooled, contexts["output_dropout"] = self._output_dropout.forward_train(pooled)
        out, contexts["fc"] = self.fc.forward_train(pooled)
        return out, hidden, NetworkContext(self, out.shape, kept=contexts)

    def backward(self, context: NetworkContext, dout: np.ndarray, dhidden: State | None = None) -> LSTMGradients:
        """Return the gradients of a loss, given its gradients at the outputs of one `forward_train`.

        Parameters
        ----------
        context : NetworkContext
            From `forward_train`; used up by this call.
        dout : ndarray
            Gradient of the outputs, in their shape. Without pooling it must be zero past a row's length.
        dhidden : (dh_n, dc_n), optional
            Gradients of the final state; zeros if left out.

        Returns
        -------
        LSTMGradients
            `weights` by name, `h0` and `c0`; `x` is None.

        Raises
        ------
        TypeError, ValueError
            A wrong dtype or shape (the context can then still be used), or a context of another network or already
            used.
        """
        context = NetworkContext.checked(context, self)
        axes = ("batch", "outputs") if self._pool is not None else ("batch", "time", "outputs")
        dout = check_array("dout", dout, self.dtype, list(zip(axes, context.out_shape, strict=True)))
        dhidden = self._check_dhidden(dhidden, context.out_shape[0])
        contexts = context.take(self)

        fc = self.fc.backward(contexts["fc"], dout)
        dy = self._output_dropout.backward(contexts["output_dropout"], fc.x).x
        if self._pool is not None:
            dy, dh_n = self._pool.backward(contexts["pooling"], dy)
            if dh_n is not None:
                dhidden = (dh_n, np.zeros_like(dh_n)) if dhidden is None else (dh_n + dhidden[0], dhidden[1])
        lstm = self.lstm.backward(contexts["lstm"], dy, dhidden, need_input_grad=self.embedding is not None)
        parts = {"lstm": lstm, "fc": fc}
        if self.embedding is not None:
            dembedded = self._input_dropout.backward(contexts["input_dropout"], lstm.x).x
            parts = {"embedding": self.embedding.backward(contexts["embedding"], dembedded), **parts}
        weights = {f"{part}.{name}": value for part, grads in parts.items() for name, value in grads.weights.items()}
        return LSTMGradients(weights, None, lstm.h0, lstm.c0)

    @classmethod
    def weight_shapes(cls, *sizes: int, **options: Any) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights, by name, of a network with these arguments.

        Deprecated: `parameters` of a network has them.
        """
        warnings.warn("weight_shapes is deprecated; see the shapes in parameters()", DeprecationWarning, stacklevel=2)
        with blank_weights():  # takes no memory, whatever the sizes
            network = cls(*sizes, **options)
        return {name: weight.shape for name, weight in network.parameters().items()}

    def init_hidden(self, batch_size: int) -> State:
        """Return the initial state (h0, c0): zeros of shape (num_layers * directions, batch_size, hidden_size) each."""
        batch_size = check_index("batch_size", batch_size, low=0)
        shape = (self.lstm.num_layers * self.lstm.num_directions, batch_size, self.hidden_size)
        return np.zeros(shape, self.dtype), np.zeros(shape, self.dtype)

    def _check(self, x: Any, lengths: Any) -> tuple[np.ndarray, np.ndarray | None]:
        if self.vocab_size is None:
            x = check_array("x", x, self.dtype, [("batch", None), ("time", None), ("input_size", self.input_size)])
        else:
            x = check_token_ids("x", x, self.vocab_size)
            if x.ndim != 2:
                raise ValueError(f"x has shape {x.shape}, expected (batch, time)")
        return x, check_lengths(lengths, *x.shape[:2])

    def _check_dhidden(self, dhidden: Any, batch: int) -> State | None:
        if dhidden is None:
            return None
        if not isinstance(dhidden, (tuple, list)) or len(dhidden) != 2:
            raise TypeError(f"dhidden is {type(dhidden).__name__}, expected a pair of arrays (dh_n, dc_n)")
        layers = self.lstm.num_layers * self.lstm.num_directions
        shape = [("num_layers * directions", layers), ("batch", batch), ("hidden_size", self.hidden_size)]
        names = ("dh_n", "dc_n")
        return tuple(check_array(name, value, self.dtype, shape) for name, value in zip(names, dhidden, strict=True))

    def _output_axes(self) -> Axes:
        return ("batch", self.output_size) if self._pool is not None else ("batch", "time", self.output_size)

    def __repr__(self) -> str:
        vocabulary = "" if self.vocab_size is None else f"vocab_size={self.vocab_size}, "
        return (
            f"SequenceNetwork({self.input_size}, {self.hidden_size}, {self.output_size}, {self.lstm.num_layers}, "
            f"{vocabulary}bidirectional={self.lstm.bidirectional}, pooling={self.pooling!r})"
        )


@public("clstm.models")
class LSTMClassifierNetwork(SequenceNetwork):
    """Embedding, LSTM, pooling over each row's real steps, Linear: from token ids to one score (logit) for each label.

    The order of the arguments and the names of the weights are those of a PyTorch class that is often copied from
    tutorials: ``embedding.weight``, ``lstm.weight_ih_l0``, ..., ``fc.weight``, ``fc.bias``. So a state dict of one can
    be loaded by the other.

    Parameters
    ----------
    embedding_dim : int
        Size of a token's vector.
    hidden_dim : int
        Features of h and c, in each layer and direction.
    vocab_size : int
        Token ids are 0 to vocab_size - 1.
    label_size : int
        Scores of each row.
    num_layers : int
        Layers of the LSTM.
    pooling : {"last", "mean", "max"}, default "last"
    embedding_dropout, pooled_dropout : float, default 0.0
        On the embeddings and on the pooled features, in training.
    dropout, bidirectional, embedding_std, padding_idx, sparse_embedding, dtype, seed, num_threads
        As for `SequenceNetwork`, whose notes hold too.

    Attributes
    ----------
    embedding, lstm, fc : Embedding, LSTM, Linear
        The parts that have weights.

    Examples
    --------
    >>> import numpy as np
    >>> from clstm.models import LSTMClassifierNetwork
    >>> network = LSTMClassifierNetwork(100, 64, 5000, 2, 1, seed=0)
    >>> out, (h_n, c_n) = network(np.array([[12, 7, 256], [31, 0, 0]]), lengths=[3, 1])
    >>> out.shape, h_n.shape
    ((2, 2), (1, 2, 64))
    """

    def __init__(
        self,
        embedding_dim: int,
        hidden_dim: int,
        vocab_size: int,
        label_size: int,
        num_layers: int,
        *,
        dropout: float = 0.0,
        bidirectional: bool = False,
        pooling: str = "last",
        embedding_std: float = 0.1,
        embedding_dropout: float = 0.0,
        pooled_dropout: float = 0.0,
        padding_idx: int | None = None,
        sparse_embedding: bool = False,
        dtype: Any = np.float32,
        seed: int | np.random.Generator | None = None,
        num_threads: int | None = None,
    ) -> None:
        # Arguments with other names in the base class are checked here, so that errors have the names of this class
        self.embedding_dim = check_index("embedding_dim", embedding_dim, low=1)
        self.hidden_dim = check_index("hidden_dim", hidden_dim, low=1)
        self.label_size = check_index("label_size", label_size, low=1)
        super().__init__(
            self.embedding_dim, self.hidden_dim, self.label_size, num_layers,
            vocab_size=check_index("vocab_size", vocab_size, low=1), dropout=dropout, bidirectional=bidirectional,
            pooling=check_choice("pooling", pooling, tuple(POOLINGS)),
            input_dropout=check_real("embedding_dropout", embedding_dropout, low=0.0, high=1.0),
            output_dropout=check_real("pooled_dropout", pooled_dropout, low=0.0, high=1.0),
            embedding_std=check_real("embedding_std", embedding_std, low=0.0), padding_idx=padding_idx,
            sparse_embedding=sparse_embedding, dtype=dtype, seed=seed, num_threads=num_threads,
        )  # fmt: skip

    def __repr__(self) -> str:
        return (
            f"LSTMClassifierNetwork({self.embedding_dim}, {self.hidden_dim}, {self.vocab_size}, {self.label_size}, "
            f"{self.lstm.num_layers}, bidirectional={self.lstm.bidirectional}, pooling={self.pooling!r})"
        )
