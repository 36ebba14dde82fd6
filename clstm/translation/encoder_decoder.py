"""Encoder and decoder with attention: a source's token ids in, scores of the target's next token out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clstm._checks import (
    check_dtype,
    check_index,
    check_lengths,
    check_real,
    check_token_ids,
    random_generator,
)
from clstm._package import public
from clstm.layers.attention import Attention
from clstm.layers.base import Context
from clstm.layers.dropout import Dropout
from clstm.layers.embedding import Embedding
from clstm.layers.linear import Linear
from clstm.layers.lstm import LSTM, State
from clstm.models.base import LSTMNetwork

if TYPE_CHECKING:
    from clstm.summary import Axes


@public("clstm.translation")
@dataclass(frozen=True)
class Memory:
    """The encoder's outputs (batch, time, hidden_size), each row's length, and the final state."""

    outputs: np.ndarray
    lengths: np.ndarray
    state: State

    def take(self, rows: np.ndarray) -> Memory:
        """Return the memory of some of the rows."""
        h, c = self.state
        return Memory(self.outputs[rows], self.lengths[rows], (h[:, rows], c[:, rows]))


@public("clstm.translation")
@dataclass
class EncoderDecoderContext(Context):
    """What one `forward_train` keeps for one `backward`: the contexts of the parts by name; opaque."""

    real: np.ndarray


@public("clstm.translation")
class EncoderDecoder(LSTMNetwork):
    """An LSTM that reads the source in both directions, and one that generates the target with attention to the source.

    Each layer of the decoder starts from the encoder's final state in the same layer, both directions concatenated.
    Its outputs attend to the encoder's (`Attention`), and a linear layer scores the next target token
    (Luong, Pham & Manning 2015, without input feeding, so that training has no loop over time).

    Parameters
    ----------
    source_size, target_size : int
        Token ids are 0 to source_size - 1 and 0 to target_size - 1.
    embedding_dim : int
        Size of a token's vector, and of the attention's output.
    hidden_size : int
        Features of h and c in each layer of the decoder; each direction of the encoder has half as many. Even.
    num_layers : int, default 1
    score : {"general", "dot"}, default "general"
        The attention's.
    dropout : float, default 0.0
        On the embeddings, between layers and on the attention's output, in training.
    embedding_std : float, default 1.0
        Standard deviation of the initial embeddings. With 0.1, which suits classifiers, outputs are so small at first
        that attention takes long to learn.
    dtype : dtype, default float32
    seed : int or numpy.random.Generator, optional
        For the initial weights and dropout.
    num_threads : int, optional
        Threads of the LSTMs and of an optimiser's updates.

    Attributes
    ----------
    source_embedding, encoder, target_embedding, decoder, attention, fc
        The parts that have weights.
    """

    _reader = ("source_embedding", "encoder")

    def __init__(
        self,
        source_size: int,
        target_size: int,
        embedding_dim: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        score: str = "general",
        dropout: float = 0.0,
        embedding_std: float = 1.0,
        dtype: Any = np.float32,
        seed: int | np.random.Generator | None = None,
        num_threads: int | None = None,
    ) -> None:
        super().__init__()
        self.source_size = check_index("source_size", source_size, low=1)
        self.target_size = check_index("target_size", target_size, low=1)
        self.embedding_dim = check_index("embedding_dim", embedding_dim, low=1)
        self.hidden_size = check_index("hidden_size", hidden_size, low=2)
        if self.hidden_size % 2:
            raise ValueError(f"hidden_size is {hidden_size}, expected an even number: half for each direction")
        self.dtype = check_dtype("dtype", dtype)
        dropout = check_real("dropout", dropout, low=0.0, high=1.0)
        generator = random_generator(seed)
        options: dict[str, Any] = {"dtype": self.dtype, "seed": generator}
        recurrent: dict[str, Any] = {"batch_first": True, "dropout": dropout, "num_threads": num_threads, **options}
        self.source_embedding = Embedding(source_size, embedding_dim, std=embedding_std, **options)
        self.encoder = LSTM(embedding_dim, hidden_size // 2, num_layers, bidirectional=True, **recurrent)
        self.target_embedding = Embedding(target_size, embedding_dim, std=embedding_std, **options)
        self.decoder = LSTM(embedding_dim, hidden_size, num_layers, **recurrent)
        self.attention = Attention(hidden_size, hidden_size, embedding_dim, score, **options)
        self.fc = Linear(embedding_dim, target_size, **options)
        self.num_threads = self.decoder.num_threads
        self._dropout = Dropout(dropout, seed=generator)
        for name in ("source_embedding", "encoder", "target_embedding", "decoder", "attention", "fc"):
            self._add_part(name, getattr(self, name))

    # ------------------------------------------------------------------------------------------------- inference

    def encode(self, source: Any, lengths: Any = None) -> Memory:
        """Read source rows.

        Parameters
        ----------
        source : array_like of int, shape (batch, time)
            Token ids; also past a row's length, where they have no effect.
        lengths : array_like of int, shape (batch,), optional
            Real steps of each row, 1 or more; all of them if left out.

        Raises
        ------
        TypeError, ValueError
            Ids or lengths of the wrong kind, shape or range.
        """
        source, lengths = _check_ids("source", source, lengths, self.source_size)
        outputs, state = self.encoder(self.source_embedding(source), lengths=lengths)
        return Memory(outputs, lengths, _concatenated(state))

    def step(self, tokens: Any, memory: Memory, state: State) -> tuple[np.ndarray, np.ndarray, State]:
        """Read one more token of each beam, and score what may come next.

        Parameters
        ----------
        tokens : array_like of int, shape (batch, beams)
            The last token of each of a row's beams, which share the row's memory.
        memory : Memory
        state : (h, c)
            The decoder's, (num_layers, batch * beams, hidden_size) each; initially the memory's.

        Returns
        -------
        scores : ndarray of shape (batch, beams, target_size)
        attention : ndarray of shape (batch, beams, time)
            The attention weights over the source.
        state : (h, c)
        """
        tokens = check_token_ids("tokens", tokens, self.target_size)
        y, state = self.decoder(self.target_embedding(tokens.reshape(-1, 1)), state)
        attended, attention = self.attention(y.reshape(*tokens.shape, -1), memory.outputs, memory.lengths)
        return self.fc(attended), attention, state

    def __call__(self, source: Any, target: Any, source_lengths: Any = None, target_lengths: Any = None) -> np.ndarray:
        """Score what may come after each token of target rows, padding excluded.

        Parameters
        ----------
        source : array_like of int, shape (batch, source time)
        target : array_like of int, shape (batch, target time)
            Token ids; also past a row's length, where they have no effect.
        source_lengths, target_lengths : array_like of int, shape (batch,), optional
            Real steps of each row, 1 or more; all of them if left out.

        Returns
        -------
        ndarray of shape (real target tokens, target_size)
            Row by row, in the order of ``target[real]``: no time is spent on padding.

        Raises
        ------
        TypeError, ValueError
            Ids or lengths of the wrong kind, shape or range.
        """
        memory = self.encode(source, source_lengths)
        target, lengths = _check_ids("target", target, target_lengths, self.target_size, len(memory.lengths))
        y, _ = self.decoder(self.target_embedding(target), memory.state, lengths)
        attended, _ = self.attention(y, memory.outputs, memory.lengths)
        return self.fc(attended[_real(target, lengths)])

    # -------------------------------------------------------------------------------------------------- training

    def forward_train(
        self, source: Any, target: Any, source_lengths: Any = None, target_lengths: Any = None
    ) -> tuple[np.ndarray, EncoderDecoderContext]:
        """Score as a call does, with dropout, and return a context for `backward`, too."""
        source, source_lengths = _check_ids("source", source, source_lengths, self.source_size)
        target, target_lengths = _check_ids("target", target, target_lengths, self.target_size, len(source))
        real = _real(target, target_lengths)
        contexts: dict[str, Any] = {}

        def run(name: str, part: Any, *arguments: Any) -> Any:
            *results, contexts[name] = part.forward_train(*arguments)
            return results[0] if len(results) == 1 else results

        embedded = run("source_dropout", self._dropout, run("source_embedding", self.source_embedding, source))
        outputs, state = run("encoder", self.encoder, embedded, None, source_lengths)
        embedded = run("target_dropout", self._dropout, run("target_embedding", self.target_embedding, target))
        y, _ = run("decoder", self.decoder, embedded, _concatenated(state), target_lengths)
        attended = run("attention", self.attention, y, outputs, source_lengths)
        scores = run("fc", self.fc, run("dropout", self._dropout, attended[real]))
        return scores, EncoderDecoderContext(self, real, kept=contexts)

    def backward(self, context: EncoderDecoderContext, dscores: np.ndarray) -> dict[str, np.ndarray]:
        """Return the gradients of the weights, by name, given a loss's gradient at the scores of one `forward_train`.

        Raises
        ------
        TypeError, ValueError
            A wrong dtype or shape (the context can then still be used), or a context of another network or already
            used.
        """
        context = EncoderDecoderContext.checked(context, self)
        fc = self.fc.backward(context.kept["fc"], dscores)  # checks dscores
        parts = context.take(self)
        dattended = np.zeros((*context.real.shape, self.embedding_dim), self.dtype)
        dattended[context.real] = self._dropout.backward(parts["dropout"], fc.x).x
        attention = self.attention.backward(parts["attention"], dattended)
        decoder = self.decoder.backward(parts["decoder"], attention.queries)
        dembedded = self._dropout.backward(parts["target_dropout"], decoder.x).x
        target_embedding = self.target_embedding.backward(parts["target_embedding"], dembedded)
        dstate = _separated((decoder.h0, decoder.c0))
        encoder = self.encoder.backward(parts["encoder"], attention.memory, dstate)
        dembedded = self._dropout.backward(parts["source_dropout"], encoder.x).x
        source_embedding = self.source_embedding.backward(parts["source_embedding"], dembedded)
        found: dict[str, Any] = {
            "source_embedding": source_embedding, "encoder": encoder, "target_embedding": target_embedding,
            "decoder": decoder, "attention": attention, "fc": fc,
        }  # fmt: skip
        return {f"{part}.{name}": gradient for part, grads in found.items() for name, gradient in grads.weights.items()}

    def _output_axes(self) -> Axes:
        return ("target tokens", self.target_size)

    def __repr__(self) -> str:
        return (
            f"EncoderDecoder({self.source_size}, {self.target_size}, {self.embedding_dim}, {self.hidden_size}, "
            f"{self.decoder.num_layers}, score={self.attention.score!r})"
        )


def _check_ids(name: str, ids: Any, lengths: Any, size: int, batch: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return ids (batch, time) below `size`, and the lengths of all rows, 1 or more each."""
    ids = check_token_ids(name, ids, size)
    if ids.ndim != 2 or (batch is not None and len(ids) != batch):
        raise ValueError(f"{name} has shape {ids.shape}, expected (batch{'' if batch is None else f'={batch}'}, time)")
    lengths = check_lengths(lengths, *ids.shape)
    if lengths is None:
        lengths = np.full(len(ids), ids.shape[1], np.int64)
    if lengths.min(initial=1) < 1:
        raise ValueError(f"a row of {name} has length 0, expected 1 or more tokens")
    return ids, lengths


def _real(target: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return which of the tokens are within their row's length."""
    return np.arange(target.shape[1]) < lengths[:, np.newaxis]


def _concatenated(state: State) -> State:
    """Return states (layers * 2, batch, half) of two directions as (layers, batch, hidden)."""

    def concatenated(array: np.ndarray) -> np.ndarray:
        by_layer = array.reshape(-1, 2, *array.shape[1:]).swapaxes(1, 2)
        return by_layer.reshape(len(array) // 2, array.shape[1], -1)

    h, c = state
    return concatenated(h), concatenated(c)


def _separated(state: State) -> State:
    """Return states (layers, batch, hidden) as those of two directions: the inverse of `_concatenated`."""

    def separated(array: np.ndarray) -> np.ndarray:
        by_direction = array.reshape(*array.shape[:2], 2, -1).swapaxes(1, 2)
        return by_direction.reshape(2 * len(array), array.shape[1], -1)

    h, c = state
    return separated(h), separated(c)
