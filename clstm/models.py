"""Networks made of the layers: the classifier of sequences of token ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm.checks import (
    check_array,
    check_choice,
    check_dtype,
    check_index,
    check_lengths,
    check_real,
    check_token_ids,
    random_generator,
)
from clstm.layer import Layer
from clstm.layers import Dropout, Embedding, Linear
from clstm.lstm import LSTM, LSTMGradients, State
from clstm.pooling import POOLINGS


@dataclass
class NetworkContext:
    """What one `forward_train` leaves for one `backward`: the contexts of the parts, in their order; opaque."""

    owner: Layer
    out_shape: tuple[int, ...]
    embedding: Any
    embedding_dropout: Any
    lstm: Any
    pooling: Any
    pooled_dropout: Any
    fc: Any


class LSTMClassifierNetwork(Layer):
    """Embedding, LSTM, pooling over each row's real steps, Linear: token ids in, one score (logit) a label out.

    The arguments stand in the order, and the weights have the names, of the PyTorch class that people copy:
    ``embedding.weight``, ``lstm.weight_ih_l0``, ..., ``fc.weight``, ``fc.bias``. So a state dict goes from one to the
    other.

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
    dropout : float, default 0.0
        Between the LSTM's layers, in training.
    bidirectional : bool, default False
        A second direction reads each row from its end.
    pooling : {"last", "mean", "max"}, default "last"
        What the Linear layer is given: the last real step's output; the mean or the maximum of the outputs over the
        real steps. In both directions, "last" is the output of the forward direction at the last real step beside
        that of the reverse direction at the first, where it has read the whole row.
    embedding_std : float, default 0.1
        Standard deviation of the initial embeddings. PyTorch's is 1, with which texts are learnt far worse.
    embedding_dropout, pooled_dropout : float, default 0.0
        On the embeddings and on what was pooled, in training.
    padding_idx : int, optional
        A token whose embedding is zeros and stays so. Not needed where lengths are given.
    sparse_embedding : bool, default False
        The embedding's gradient is a `RowGradient`: a step of training costs the same with any vocabulary.
    dtype : dtype, default float32
        float32 or float64, of weights, state and scores.
    seed : int or numpy.random.Generator, optional
        For the initial weights and dropout.
    num_threads : int, optional
        Threads for each call of the LSTM, and for an optimiser's updates; None leaves it to `clstm.set_num_threads`
        and the environment.

    Attributes
    ----------
    embedding, lstm, fc : Embedding, LSTM, Linear
        The parts that have weights.

    Notes
    -----
    Calls keep nothing in the object, so that many threads may call one network at once; `forward_train` draws
    dropout from one generator, so training is for one thread.

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
        super().__init__()
        # Checked here under the names they have here; the parts check the rest.
        self.embedding_dim = check_index("embedding_dim", embedding_dim, low=1)
        self.hidden_dim = check_index("hidden_dim", hidden_dim, low=1)
        self.vocab_size = check_index("vocab_size", vocab_size, low=1)
        self.label_size = check_index("label_size", label_size, low=1)
        self.pooling = check_choice("pooling", pooling, tuple(POOLINGS))
        embedding_std = check_real("embedding_std", embedding_std, low=0.0)
        embedding_dropout = check_real("embedding_dropout", embedding_dropout, low=0.0, high=1.0)
        pooled_dropout = check_real("pooled_dropout", pooled_dropout, low=0.0, high=1.0)
        self.dtype = check_dtype("dtype", dtype)
        generator = random_generator(seed)
        options = {"dtype": self.dtype, "seed": generator}
        self.embedding = Embedding(
            self.vocab_size, self.embedding_dim, padding_idx, std=embedding_std, sparse=sparse_embedding, **options
        )
        self.lstm = LSTM(
            self.embedding_dim, self.hidden_dim, num_layers, batch_first=True, dropout=dropout,
            bidirectional=bidirectional, num_threads=num_threads, **options,
        )  # fmt: skip
        self.num_threads = self.lstm.num_threads
        self.fc = Linear(self.hidden_dim * self.lstm.num_directions, self.label_size, **options)
        self._embedding_dropout = Dropout(embedding_dropout, seed=generator)
        self._pooled_dropout = Dropout(pooled_dropout, seed=generator)
        self._pool = POOLINGS[self.pooling]
        for name in ("embedding", "lstm", "fc"):
            self._add_part(name, getattr(self, name))

    def __call__(self, x: Any, hidden: State | None = None, lengths: Any = None) -> tuple[np.ndarray, State]:
        """Return the scores of each row, and the LSTM's state after its last real step.

        Parameters
        ----------
        x : array_like of int, shape (batch, time)
            Token ids. What lies past a row's length must be a token id too, but doesn't matter.
        hidden : (h0, c0), optional
            Each of shape (num_layers * directions, batch, hidden_dim); zeros if left out.
        lengths : array_like of int, shape (batch,), optional
            Real steps of each row, 0 to time, in any order; all of them if left out.

        Returns
        -------
        out : ndarray of shape (batch, label_size)
            Scores; their softmax is the probabilities.
        (h_n, c_n) : tuple of ndarray
            Shaped like the initial state.

        Raises
        ------
        TypeError
            Ids or lengths that aren't integers, or a state of another dtype.
        ValueError
            A wrong shape, or an id or length out of range.
        """
        x, lengths = self._check(x, lengths)
        y, hidden = self.lstm(self.embedding(x), hidden, lengths)
        pooled = self._pool(y, hidden[0], lengths)
        # Not self.fc: BLAS sums in another order for other numbers of rows, and this has the same bits for a row in
        # any company. Labels are few, so it takes no time.
        fc = self.fc.parameters()
        return np.einsum("bf,lf->bl", pooled, fc["weight"]) + fc["bias"], hidden

    def forward_train(
        self, x: Any, hidden: State | None = None, lengths: Any = None
    ) -> tuple[np.ndarray, State, NetworkContext]:
        """Run the network with dropout and keep what `backward` needs; else as a call."""
        x, lengths = self._check(x, lengths)
        embedded, embedding = self.embedding.forward_train(x)
        embedded, embedding_dropout = self._embedding_dropout.forward_train(embedded)
        y, hidden, lstm = self.lstm.forward_train(embedded, hidden, lengths)
        pooled, pooling = self._pool.forward_train(y, hidden[0], lengths)
        pooled, pooled_dropout = self._pooled_dropout.forward_train(pooled)
        out, fc = self.fc.forward_train(pooled)
        context = NetworkContext(
            self, out.shape, embedding, embedding_dropout, lstm, pooling, pooled_dropout, fc
        )  # fmt: skip
        return out, hidden, context

    def backward(self, context: NetworkContext, dout: np.ndarray, dhidden: State | None = None) -> LSTMGradients:
        """Return the gradients of a loss, given its gradients at the outputs of one `forward_train`.

        Parameters
        ----------
        context : NetworkContext
            From `forward_train`; used up by this call.
        dout : ndarray of shape (batch, label_size)
            Gradient of the scores.
        dhidden : (dh_n, dc_n), optional
            Gradients of the final state; zeros if left out.

        Returns
        -------
        LSTMGradients
            `weights` by name, `h0` and `c0`; `x` is None, for token ids have no gradient.

        Raises
        ------
        TypeError, ValueError
            A wrong dtype or shape, or a context of another network or already used.
        """
        if not isinstance(context, NetworkContext):
            raise TypeError(f"context is {type(context).__name__}, expected what forward_train returned")
        if context.owner is not self:
            raise ValueError("context is of another network")
        dout = check_array("dout", dout, self.dtype, [("batch", context.out_shape[0]), ("labels", self.label_size)])
        dhidden = self._check_dhidden(dhidden, context.out_shape[0])

        fc = self.fc.backward(context.fc, dout)
        dpooled = self._pooled_dropout.backward(context.pooled_dropout, fc.x).x
        dy, dh_n = self._pool.backward(context.pooling, dpooled)
        if dh_n is not None:
            dhidden = (dh_n, np.zeros_like(dh_n)) if dhidden is None else (dh_n + dhidden[0], dhidden[1])
        lstm = self.lstm.backward(context.lstm, dy, dhidden)
        dembedded = self._embedding_dropout.backward(context.embedding_dropout, lstm.x).x
        embedding = self.embedding.backward(context.embedding, dembedded)
        weights = {
            f"{part}.{name}": gradient
            for part, grads in (("embedding", embedding), ("lstm", lstm), ("fc", fc))
            for name, gradient in grads.weights.items()
        }
        return LSTMGradients(weights, None, lstm.h0, lstm.c0)

    @staticmethod
    def weight_shapes(
        embedding_dim: int,
        hidden_dim: int,
        vocab_size: int,
        label_size: int,
        num_layers: int,
        *,
        bidirectional: bool = False,
    ) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the weights, by name, that a network of these sizes has, without making one."""
        directions = ("", "_reverse") if bidirectional else ("",)
        shapes: dict[str, tuple[int, ...]] = {"embedding.weight": (vocab_size, embedding_dim)}
        for layer in range(num_layers):
            input_size = embedding_dim if layer == 0 else hidden_dim * len(directions)
            for direction in directions:
                suffix = f"_l{layer}{direction}"
                shapes[f"lstm.weight_ih{suffix}"] = (4 * hidden_dim, input_size)
                shapes[f"lstm.weight_hh{suffix}"] = (4 * hidden_dim, hidden_dim)
                shapes[f"lstm.bias_ih{suffix}"] = shapes[f"lstm.bias_hh{suffix}"] = (4 * hidden_dim,)
        shapes["fc.weight"] = (label_size, hidden_dim * len(directions))
        shapes["fc.bias"] = (label_size,)
        return shapes

    def init_hidden(self, batch_size: int) -> State:
        """Return the state (h0, c0) to begin with: zeros, (num_layers * directions, batch_size, hidden_dim) each."""
        batch_size = check_index("batch_size", batch_size, low=0)
        shape = (self.lstm.num_layers * self.lstm.num_directions, batch_size, self.hidden_dim)
        return np.zeros(shape, self.dtype), np.zeros(shape, self.dtype)

    def _check(self, x: Any, lengths: Any) -> tuple[np.ndarray, np.ndarray | None]:
        x = check_token_ids("x", x, self.vocab_size)
        if x.ndim != 2:
            raise ValueError(f"x has shape {x.shape}, expected (batch, time)")
        return x, check_lengths(lengths, *x.shape)

    def _check_dhidden(self, dhidden: Any, batch: int) -> State | None:
        if dhidden is None:
            return None
        if not isinstance(dhidden, (tuple, list)) or len(dhidden) != 2:
            raise TypeError(f"dhidden is {type(dhidden).__name__}, expected a pair of arrays (dh_n, dc_n)")
        layers = self.lstm.num_layers * self.lstm.num_directions
        shape = [("num_layers * directions", layers), ("batch", batch), ("hidden_dim", self.hidden_dim)]
        names = ("dh_n", "dc_n")
        return tuple(check_array(name, value, self.dtype, shape) for name, value in zip(names, dhidden, strict=True))

    def __repr__(self) -> str:
        return (
            f"LSTMClassifierNetwork({self.embedding_dim}, {self.hidden_dim}, {self.vocab_size}, {self.label_size}, "
            f"{self.lstm.num_layers}, bidirectional={self.lstm.bidirectional}, pooling={self.pooling!r})"
        )
