"""What a Translator learnt: how it translates, and what its files hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from clstm._checks import random_generator
from clstm._package import public
from clstm.estimators.fitted import Fitted
from clstm.models.base import restored
from clstm.text.vocabulary import check_texts
from clstm.train.batches import batches_by_length
from clstm.train.history import History
from clstm.translation.encoder_decoder import EncoderDecoder
from clstm.translation.search import beam_search
from clstm.translation.sentence_pairs import pad
from clstm.translation.sentences import JOINER, SentenceVocabulary, capitalised, join

# A batch has at most so many sentences, of similar length, and so many steps.
PREDICT_ROWS, PREDICT_STEPS = 64, 8192


@public("clstm.translation")
class Alignment(NamedTuple):
    """The attention weights of each target word over the source words.

    Attributes
    ----------
    source_words, target_words : list of str
        The words, punctuation included.
    weights : ndarray of shape (target words, source words)
        Each row's sum, with the weight of the source's end (which isn't included), is 1.
    """

    source_words: list[str]
    target_words: list[str]
    weights: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedTranslator(Fitted):
    """What one `fit` of a Translator learnt.

    Attributes
    ----------
    network : EncoderDecoder
    source_vocabulary, target_vocabulary : SentenceVocabulary
    """

    network: EncoderDecoder
    source_vocabulary: SentenceVocabulary
    target_vocabulary: SentenceVocabulary

    def translate(self, sentences: Any, beam_size: int, length_penalty: float) -> tuple[list[str], list[Alignment]]:
        """Return the translation of each sentence, and its alignment; `Translator.translate` describes them."""
        sentences = check_sentences(sentences)
        source, target = self.source_vocabulary, self.target_vocabulary
        words = [source.split(sentence) for sentence in sentences]
        rows = pad(source.encode_tokens(some) for some in words)
        alignments = [Alignment([], [], np.zeros((0, 0), self.network.dtype))] * len(words)
        translations = [""] * len(words)
        for some in batches_by_length(rows.lengths, PREDICT_ROWS, PREDICT_STEPS):
            ids, lengths = rows.batch(some)
            found = beam_search(
                self.network,
                ids,
                lengths,
                beam_size=beam_size,
                length_penalty=length_penalty,
                max_steps=2 * lengths + 10,
                start=target.START,
                end=target.END,
                never=(target.PADDING, target.START),
            )
            for row, (tokens, attention) in zip(some, found, strict=True):
                if words[row]:
                    written = self._words(tokens, attention, words[row])
                    if written and sentences[row].lstrip()[0].isupper():
                        written[0] = capitalised(written[0])
                    translations[row] = join(written)
                    alignments[row] = Alignment(_bare(words[row]), _bare(written), attention[:, :-1])
        return translations, alignments

    def _words(self, tokens: np.ndarray, attention: np.ndarray, source_words: Sequence[str]) -> list[str]:
        """Return the words of a translation, unknown ones copied from the source word with the highest attention."""
        words = self.target_vocabulary.decode(tokens)
        # Punctuation is never copied: it has the highest attention where no word of the source matters.
        sources = [index for index, word in enumerate(source_words) if any(map(str.isalnum, word))]
        if sources:
            for index in np.flatnonzero(tokens == self.target_vocabulary.UNKNOWN):
                words[index] = source_words[sources[attention[index, sources].argmax()]]
        return words

    def read_to_trace(self, X: Any) -> tuple[np.ndarray, np.ndarray, list[list[str]]]:
        """Return the sentences' ids, lengths and words, as the encoder reads them."""
        source = self.source_vocabulary
        words = [source.split(sentence) for sentence in check_texts("sentences", X)]
        rows = pad(source.encode_tokens(some) for some in words)
        tokens = [[*_bare(some), *source.decode([source.END])] for some in words]
        return *rows.batch(np.arange(len(rows))), tokens

    def content(self) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
        """Return what a file contains of it, besides the arguments."""
        config = {
            "source_vocabulary": self.source_vocabulary.to_dict(),
            "target_vocabulary": self.target_vocabulary.to_dict(),
            "history": self.history.as_dict(),
        }
        return config, self.network.parameters()

    @classmethod
    def restored(
        cls, params: Mapping[str, Any], config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
    ) -> FittedTranslator:
        """Return what `content` described."""
        source, target = (
            SentenceVocabulary.from_dict(config[name]) for name in ("source_vocabulary", "target_vocabulary")
        )
        history = History.from_dict(config["history"])
        network = restored(
            lambda: make_network(params, len(source), len(target), random_generator(0)), arrays, params["num_layers"]
        )
        return cls(params=params, network=network, history=history, source_vocabulary=source, target_vocabulary=target)


def make_network(
    params: Mapping[str, Any], source_size: int, target_size: int, generator: np.random.Generator
) -> EncoderDecoder:
    """Return the network that a Translator's arguments describe, with fresh weights."""
    return EncoderDecoder(
        source_size,
        target_size,
        params["embedding_dim"],
        params["hidden_size"],
        params["num_layers"],
        score=params["attention"],
        dropout=params["dropout"],
        seed=generator,
        num_threads=params["num_threads"],
    )


def check_sentences(sentences: Any) -> list[str]:
    """Return a list of sentences, which may be empty; raise TypeError for anything else."""
    if isinstance(sentences, (str, bytes)) or not hasattr(sentences, "__len__"):
        raise TypeError(f"sentences is {type(sentences).__name__}, expected a list of strings, also for a single one")
    return check_texts("sentences", sentences) if len(sentences) else []


def _bare(words: Sequence[str]) -> list[str]:
    """Return words without joiners."""
    return [word.replace(JOINER, "") for word in words]
