"""The network of a language model: token ids in, the next token's scores out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clstm._checks import check_flag, check_index, check_real, check_token_ids, random_generator
from clstm._core import dense
from clstm._core.numerics import log_softmax_at
from clstm._package import public
from clstm.layers.adaptive_softmax import AdaptiveLogSoftmax
from clstm.layers.base import Layer
from clstm.layers.dropout import Dropout
from clstm.layers.embedding import Embedding
from clstm.layers.linear import Linear
from clstm.layers.lstm import LSTM, State
from clstm.losses import cross_entropy
from clstm.models.base import LSTMNetwork

if TYPE_CHECKING:
    from clstm.summary import Axes

# A long text is read in parts: no more than so many scores are in memory at once.
READ_SCORES = 1 << 21


@public("clstm.language")
class TiedLinear(Linear):
    """A `Linear` that uses an embedding's weight (Press & Wolf 2017; Inan et al. 2017) and has only a bias itself.

    `backward` returns the weight's gradient, too: it has to be added to the embedding's. The weights are packed when
    the bias changes, so the network that contains both layers changes the embedding first.

    Parameters
    ----------
    embedding : Embedding
    """

    def __init__(self, embedding: Embedding) -> None:
        Layer.__init__(self)
        self.in_features, self.out_features = embedding.embedding_dim, embedding.num_embeddings
        self.bias, self.dtype, self._embedding = True, embedding.dtype, embedding
        self._add_weight("bias", (self.out_features,), self.dtype, lambda: np.zeros(self.out_features))
        self._weights_added()

    def _weights_changed(self) -> None:
        self._packed = dense.pack(self._embedding._weights["weight"], self._weights["bias"])


@public("clstm.language")
class LSTMLanguageNetwork(LSTMNetwork):
    """Embedding, LSTM, softmax over the tokens: reads token ids and scores what may come next.

    Weights are named ``embedding.weight``, ``lstm.weight_ih_l0``, ..., ``projection.weight`` (if tied weights have
    another size than the LSTM's output), ``decoder.weight``, ``decoder.bias``.

    Parameters
    ----------
    vocab_size : int
        Token ids are 0 to vocab_size - 1.
    embedding_dim : int
        Size of a token's vector.
    hidden_size : int
        Features of h and c in each layer.
    num_layers : int, default 1
        Layers of the LSTM.
    tied : bool, default False
        The softmax's weights are those of the embedding. If hidden_size isn't embedding_dim, a linear layer without
        bias precedes it.
    cutoffs : sequence of int, optional
        Of an adaptive softmax, see `AdaptiveLogSoftmax`; not with `tied`.
    dropout : float, default 0.0
        On the embeddings, between layers and on the LSTM's output, in training.
    embedding_std : float, default 0.1
        Standard deviation of the initial embeddings.
    dtype : dtype, default float32
        float32 or float64.
    seed : int or numpy.random.Generator, optional
        For the initial weights and dropout.
    num_threads : int, optional
        Threads for each call of the LSTM, and for an optimiser's updates.
    """

    def __init__(
        self,
        vocab_size: int,
        embedding_dim: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        tied: bool = False,
        cutoffs: Sequence[int] | None = None,
        dropout: float = 0.0,
        embedding_std: float = 0.1,
        dtype: Any = np.float32,
        seed: int | np.random.Generator | None = None,
        num_threads: int | None = None,
    ) -> None:
        super().__init__()
        self.vocab_size = check_index("vocab_size", vocab_size, low=2)
        self.tied = check_flag("tied", tied)
        if self.tied and cutoffs is not None:
            raise ValueError(
                "tied is True and cutoffs is given: an adaptive softmax has no weights for all tokens to tie"
            )
        generator = random_generator(seed)
        dropout = check_real("dropout", dropout, low=0.0, high=1.0)
        options = {"dtype": dtype, "seed": generator}
        self.embedding = Embedding(self.vocab_size, embedding_dim, std=embedding_std, **options)
        self.lstm = LSTM(embedding_dim, hidden_size, num_layers, dropout=dropout, num_threads=num_threads, **options)
        self.dtype, self.num_threads = self.lstm.dtype, self.lstm.num_threads
        self.projection = None
        if self.tied and embedding_dim != hidden_size:
            self.projection = Linear(hidden_size, embedding_dim, bias=False, **options)
        if cutoffs is not None:
            self.decoder = AdaptiveLogSoftmax(hidden_size, self.vocab_size, cutoffs, **options)
        elif self.tied:
            self.decoder = TiedLinear(self.embedding)
        else:
            self.decoder = Linear(hidden_size, self.vocab_size, **options)
        self._dropout = Dropout(dropout, seed=generator)
        for name in ("embedding", "lstm", "projection", "decoder"):
            if getattr(self, name) is not None:
                self._add_part(name, getattr(self, name))

    def scores(self, y: np.ndarray) -> np.ndarray:
        """Return the scores (logits) of the tokens, (..., vocab_size), for the LSTM's output y (..., hidden_size).

        An adaptive softmax returns the logarithms of the probabilities.
        """
        return self.decoder(y if self.projection is None else self.projection(y))

    def losses(self, ids: Any, targets: Any, state: State | None = None) -> tuple[np.ndarray, State]:
        """Return -log p(target) of each target without dropout, and the state after the last step.

        Parameters
        ----------
        ids, targets : array_like of int, shape (time, batch)
            The tokens read, and those that come next.
        state : (h0, c0), optional
            Each of shape (num_layers, batch, hidden_size); zeros if left out.

        Returns
        -------
        losses : ndarray of float64, shape (time, batch)
        (h_n, c_n) : tuple of ndarray

        Raises
        ------
        TypeError, ValueError
            A wrong dtype or shape, or an id out of range.
        """
        ids, targets = self._check(ids, targets)
        losses = np.zeros(ids.shape)
        steps = max(1, READ_SCORES // (self.vocab_size * ids.shape[1]))
        for start in range(0, len(ids), steps):
            part = slice(start, start + steps)
            y, state = self.lstm(self.embedding(ids[part]), state)
            scores = self.scores(y)
            losses[part] -= log_softmax_at(scores, targets[part, :, np.newaxis], out=scores)[..., 0]
        return losses, state

    def train_step(
        self, ids: Any, targets: Any, state: State | None = None
    ) -> tuple[float, dict[str, np.ndarray], State]:
        """Return the mean of -log p(target) with dropout, its gradients by weight, and the state after the last step.

        Gradients aren't propagated to the initial state: truncated back-propagation through time. The arguments are
        those of `losses`.
        """
        ids, targets = self._check(ids, targets)
        x, embedding = self.embedding.forward_train(ids)
        x, dropped_x = self._dropout.forward_train(x)
        y, state, lstm = self.lstm.forward_train(x, state)
        y, dropped_y = self._dropout.forward_train(y)
        features = y
        if self.projection is not None:
            features, projection = self.projection.forward_train(y)
        loss, decoded = self._decode(features, targets)

        grads = {f"decoder.{name}": grad for name, grad in decoded.weights.items()}
        dy = decoded.x
        if self.projection is not None:
            projected = self.projection.backward(projection, dy)
            grads["projection.weight"], dy = projected.weights["weight"], projected.x
        through = self.lstm.backward(lstm, self._dropout.backward(dropped_y, dy).x)
        dx = self._dropout.backward(dropped_x, through.x).x
        grads |= {f"lstm.{name}": grad for name, grad in through.weights.items()}
        grads["embedding.weight"] = self.embedding.backward(embedding, dx).weights["weight"]
        if self.tied:
            grads["embedding.weight"] += grads.pop("decoder.weight")
        return loss, grads, state

    def _decode(self, features: np.ndarray, targets: np.ndarray) -> Any:
        """Return the mean loss, and the gradients of the decoder and its input."""
        if isinstance(self.decoder, AdaptiveLogSoftmax):
            rows = features.reshape(math.prod(targets.shape), -1)
            loss, context = self.decoder.forward_train(rows, targets.reshape(-1))
            grads = self.decoder.backward(context)
            return loss, grads._replace(x=grads.x.reshape(features.shape))
        scores, context = self.decoder.forward_train(features)
        loss, dscores = cross_entropy(scores, targets)
        return loss, self.decoder.backward(context, dscores)

    def _check(self, ids: Any, targets: Any) -> tuple[np.ndarray, np.ndarray]:
        ids = check_token_ids("ids", ids, self.vocab_size)
        if ids.ndim != 2:
            raise ValueError(f"ids has shape {ids.shape}, expected (time, batch)")
        targets = check_token_ids("targets", targets, self.vocab_size)
        if targets.shape != ids.shape:
            raise ValueError(f"targets has shape {targets.shape}, expected that of ids, {ids.shape}")
        return ids, targets

    def _output_axes(self) -> Axes:
        return ("time", "batch", self.vocab_size)

    def __repr__(self) -> str:
        sizes = f"{self.vocab_size}, {self.lstm.input_size}, {self.lstm.hidden_size}, {self.lstm.num_layers}"
        return f"LSTMLanguageNetwork({sizes}, tied={self.tied}, decoder={self.decoder!r})"
