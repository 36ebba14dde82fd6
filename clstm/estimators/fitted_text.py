"""What a TextClassifier learnt: how it reads texts and scores labels, and what its files hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm._checks import random_generator
from clstm.estimators.fitted import Fitted
from clstm.estimators.inference import PREDICT_ROWS, PREDICT_STEPS, run
from clstm.estimators.labels import check_labels
from clstm.models.base import restored
from clstm.models.sequence import LSTMClassifierNetwork
from clstm.text.vocabulary import Vocabulary, check_texts
from clstm.train.batches import PaddedRows
from clstm.train.history import History

# Inference takes this many texts at a time.
PREDICT_TEXTS = 8192


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedText(Fitted):
    """What one `fit` of a TextClassifier learnt.

    Attributes
    ----------
    network : LSTMClassifierNetwork
    vocabulary : Vocabulary
    classes : ndarray of shape (labels,)
        The labels, sorted.
    """

    network: LSTMClassifierNetwork
    vocabulary: Vocabulary
    classes: np.ndarray

    def scores(self, texts: Any) -> np.ndarray:
        """Return the network's scores (texts, labels) of a collection of texts, which may be empty."""
        if isinstance(texts, (str, bytes)) or not hasattr(texts, "__len__"):
            raise TypeError(f"texts is {type(texts).__name__}, expected a list of strings, also for a single one")
        scores = np.empty((len(texts), len(self.classes)), self.network.dtype)
        if len(texts):
            texts = check_texts("texts", texts)
        for start in range(0, len(texts), PREDICT_TEXTS):
            part = slice(start, start + PREDICT_TEXTS)
            rows = encode(self.vocabulary, texts[part], self.params["max_length"])
            scores[part] = run(self.network, rows, PREDICT_ROWS, PREDICT_STEPS)
        return scores

    def read_to_trace(self, X: Any) -> tuple[np.ndarray, np.ndarray, list[list[str]]]:
        """Return the texts' ids, lengths and words, cut as for a prediction."""
        texts, max_length = check_texts("texts", X), self.params["max_length"]
        rows = encode(self.vocabulary, texts, max_length)
        tokens = [self.vocabulary.tokens(text)[:max_length] for text in texts]
        return *rows.batch(np.arange(len(rows))), tokens

    def content(self) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
        """Return what a file contains of it, besides the arguments."""
        config = {
            "classes": self.classes.tolist(),
            "vocabulary": self.vocabulary.to_dict(),
            "history": self.history.as_dict(),
        }
        return config, self.network.parameters()

    @classmethod
    def restored(
        cls, params: Mapping[str, Any], config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
    ) -> FittedText:
        """Return what `content` described."""
        classes = config["classes"]
        if not isinstance(classes, list):
            raise ValueError("its classes aren't a list")
        labels = np.array(check_labels("classes", classes, len(classes)))
        if len(classes) < 2 or labels.tolist() != np.unique(labels).tolist():
            raise ValueError("its classes aren't two or more sorted labels")
        vocabulary = Vocabulary.from_dict(config["vocabulary"])
        history = History.from_dict(config["history"])
        network = restored(
            lambda: make_network(params, len(vocabulary), len(classes), random_generator(0)),
            arrays,
            params["num_layers"],
        )
        return cls(params=params, network=network, history=history, vocabulary=vocabulary, classes=labels)


def encode(vocabulary: Vocabulary, texts: list[str], max_length: int | None) -> PaddedRows:
    """Return the ids of texts, cut to so many words."""
    return PaddedRows([vocabulary.encode(text)[:max_length] for text in texts], vocabulary.PADDING)


def make_network(
    params: Mapping[str, Any], vocab_size: int, label_size: int, generator: np.random.Generator
) -> LSTMClassifierNetwork:
    """Return the network that a TextClassifier's arguments describe, with fresh weights."""
    return LSTMClassifierNetwork(
        params["embedding_dim"],
        params["hidden_size"],
        vocab_size,
        label_size,
        params["num_layers"],
        dropout=params["dropout"],
        bidirectional=params["bidirectional"],
        pooling=params["pooling"],
        embedding_std=params["embedding_std"],
        embedding_dropout=params["dropout"],
        pooled_dropout=params["dropout"],
        seed=generator,
        num_threads=params["num_threads"],
    )
