"""Pairs of sentences as ids, in batches for the network."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from clstm._package import public
from clstm.train.batches import PaddedRows
from clstm.translation.sentences import SentenceVocabulary


@public("clstm.translation")
class SentencePairs:
    """Pairs of sentences as ids, in batches for the network."""

    def __init__(self, source: SentenceVocabulary, target: SentenceVocabulary, sources: list[str], targets: list[str]):
        self._sources = pad(source.encode_tokens(source.split(text)) for text in sources)
        self._targets = pad(target.encode_tokens(target.split(text)) for text in targets)
        self._start = target.START
        self.lengths = self._sources.lengths + self._targets.lengths

    def batch(self, rows: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """Return the arguments of a call of the network, and the correct token for each of its scores."""
        source, source_lengths = self._sources.batch(rows)
        correct, lengths = self._targets.batch(rows)
        read = np.empty_like(correct)
        read[:, 0], read[:, 1:] = self._start, correct[:, :-1]
        real = np.arange(correct.shape[1]) < lengths[:, np.newaxis]
        return (source, read, source_lengths, lengths), correct[real]


def pad(rows: Iterable[np.ndarray]) -> PaddedRows:
    """Return sentences' ids as padded rows."""
    return PaddedRows(list(rows), SentenceVocabulary.PADDING)
