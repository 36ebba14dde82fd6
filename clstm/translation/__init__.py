"""Translation: the model, its encoder and decoder, beam search, and sentences as tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clstm._package import lazy

if TYPE_CHECKING:
    from clstm.translation.encoder_decoder import EncoderDecoder as EncoderDecoder
    from clstm.translation.encoder_decoder import EncoderDecoderContext as EncoderDecoderContext
    from clstm.translation.encoder_decoder import Memory as Memory
    from clstm.translation.fitted import Alignment as Alignment
    from clstm.translation.scoring import bleu as bleu
    from clstm.translation.search import beam_search as beam_search
    from clstm.translation.sentence_pairs import SentencePairs as SentencePairs
    from clstm.translation.sentences import SentenceVocabulary as SentenceVocabulary
    from clstm.translation.sentences import capitalised as capitalised
    from clstm.translation.sentences import cut as cut
    from clstm.translation.sentences import join as join
    from clstm.translation.translator import Translator as Translator

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "encoder_decoder": ("EncoderDecoder", "EncoderDecoderContext", "Memory"),
        "fitted": ("Alignment",),
        "scoring": ("bleu",),
        "search": ("beam_search",),
        "sentence_pairs": ("SentencePairs",),
        "sentences": ("SentenceVocabulary", "capitalised", "cut", "join"),
        "translator": ("Translator",),
    },
)
