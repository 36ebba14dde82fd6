"""What a LanguageModel learnt: how it reads and scores texts, and what its files hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm._checks import random_generator
from clstm.estimators.fitted import Fitted
from clstm.language.characters import Characters
from clstm.language.network import LSTMLanguageNetwork
from clstm.layers.adaptive_softmax import check_cutoffs
from clstm.models.base import restored
from clstm.text.vocabulary import Vocabulary, check_texts
from clstm.train.batches import PaddedRows
from clstm.train.history import History

VOCABULARIES: dict[str, type[Characters] | type[Vocabulary]] = {"character": Characters, "word": Vocabulary}


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedLanguageModel(Fitted):
    """What one `fit` of a LanguageModel learnt.

    Attributes
    ----------
    network : LSTMLanguageNetwork
    vocabulary : Characters or Vocabulary
    """

    network: LSTMLanguageNetwork
    vocabulary: Characters | Vocabulary

    def losses(self, text: Any) -> np.ndarray:
        """Return -log p of each token of a text, or of several, given all before it: float64 of shape (tokens,)."""
        check_text_or_texts("text", text)
        ids = encode(self.vocabulary, text)[:, np.newaxis]
        if len(ids) < 2:
            raise ValueError("text has no tokens")
        return self.network.losses(ids[:-1], ids[1:])[0][:, 0]

    def join(self, ids: list[int]) -> str:
        """Return the text that tokens form: characters side by side, words with spaces between them."""
        if self.params["unit"] == "character":
            return "".join(self.vocabulary.decode(ids))
        words = (" " + self.vocabulary.decode([number])[0] if number else "\n" for number in ids)
        return "".join(words).replace("\n ", "\n").removeprefix(" ")

    def read_to_trace(self, X: Any) -> tuple[np.ndarray, np.ndarray, list[list[str]]]:
        """Return the texts' ids, time first, their lengths and tokens."""
        texts = check_texts("text", X)
        rows = PaddedRows([encode(self.vocabulary, text) for text in texts], self.vocabulary.PADDING)
        ids, lengths = rows.batch(np.arange(len(rows)))
        split = list if isinstance(self.vocabulary, Characters) else self.vocabulary.tokens
        # Each text is read after the end of another one, which `decode` shows as a new line.
        return ids.T, lengths, [["\n", *split(text)] for text in texts]

    def content(self) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
        """Return what a file contains of it, besides the arguments."""
        config = {"vocabulary": self.vocabulary.to_dict(), "history": self.history.as_dict()}
        return config, self.network.parameters()

    @classmethod
    def restored(
        cls, params: Mapping[str, Any], config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
    ) -> FittedLanguageModel:
        """Return what `content` described."""
        vocabulary = VOCABULARIES[params["unit"]].from_dict(config["vocabulary"])
        history = History.from_dict(config["history"])
        network = restored(
            lambda: make_network(params, len(vocabulary), random_generator(0)), arrays, params["num_layers"]
        )
        return cls(params=params, network=network, history=history, vocabulary=vocabulary)


def check_text_or_texts(name: str, text: Any) -> list[str]:
    """Return a text or a collection of texts as a list; raise TypeError or ValueError for anything else."""
    return [text] if isinstance(text, str) else check_texts(name, text)


def encode(vocabulary: Characters | Vocabulary, text: Any) -> np.ndarray:
    """Return the ids of a text after the id that separates texts; of several, each with that id at its end, too."""
    end = vocabulary.PADDING
    if isinstance(text, str):
        return np.concatenate([[end], vocabulary.encode(text)])
    return np.concatenate([[end], *(part for one in text for part in (vocabulary.encode(one), [end]))])


def make_network(params: Mapping[str, Any], vocab_size: int, generator: np.random.Generator) -> LSTMLanguageNetwork:
    """Return the network that a LanguageModel's arguments describe, with fresh weights."""
    cutoffs = None
    if params["softmax"] == "adaptive":
        cutoffs = params["cutoffs"]
        if cutoffs is None:
            cutoffs = sorted({max(1, vocab_size // 8), vocab_size // 2})
        check_cutoffs(cutoffs, vocab_size)
    std = params["embedding_std"]
    if std is None:
        std = 1.0 if params["unit"] == "character" and not params["tied"] else 0.1
    return LSTMLanguageNetwork(
        vocab_size,
        params["embedding_dim"],
        params["hidden_size"],
        params["num_layers"],
        tied=params["tied"],
        cutoffs=cutoffs,
        dropout=params["dropout"],
        embedding_std=std,
        seed=generator,
        num_threads=params["num_threads"],
    )
