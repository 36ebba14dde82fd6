"""Pairs of sentences as ids, made into what the network takes batch by batch."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from clstm._package import public
from clstm.train.batches import PaddedRows
from clstm.translation.sentences import SentenceVocabulary


@public("clstm.translation")
class SentencePairs:
    """Pairs of sentences as ids, made into what the network takes batch by batch."""

    def __init__(self, source: SentenceVocabulary, target: SentenceVocabulary, sources: list[str], targets: list[str]):
        self._sources = pad(source.encode_tokens(source.split(text)) for text in sources)
        self._targets = pad(target.encode_tokens(target.split(text)) for text in targets)
        self._start = target.START
        self.lengths = self._sources.lengths + self._targets.lengths

    def batch(self, rows: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """Return the arguments of a call of the network, and the token that is right at each place it scores."""
        source, source_lengths = self._sources.batch(rows)
        wanted, lengths = self._targets.batch(rows)
        given = np.empty_like(wanted)
        given[:, 0], given[:, 1:] = self._start, wanted[:, :-1]
        real = np.arange(wanted.shape[1]) < lengths[:, np.newaxis]
        return (source, given, source_lengths, lengths), wanted[real]


def pad(rows: Iterable[np.ndarray]) -> PaddedRows:
    """Return sentences' ids as padded rows."""
    return PaddedRows(list(rows), SentenceVocabulary.PADDING)
