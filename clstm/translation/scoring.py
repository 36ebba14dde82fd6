"""BLEU of translations, by sacrebleu."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clstm.text.vocabulary import check_texts


def bleu(translations: Sequence[str], references: Any) -> float:
    """Return sacrebleu's BLEU of translations, each of which may have one or several references."""
    try:
        from sacrebleu.metrics import BLEU
    except ImportError:
        raise ImportError("BLEU needs sacrebleu: pip install clstm-cpu[translation]") from None
    if isinstance(references, (str, bytes)) or not hasattr(references, "__len__"):
        raise TypeError(f"references is {type(references).__name__}, expected a list of strings, or of lists of them")
    if len(references) != len(translations):
        raise ValueError(
            f"references has {len(references)} entries, expected one for each of {len(translations)} sources"
        )
    several = [
        check_texts(f"references[{index}]", [some] if isinstance(some, str) else some)
        for index, some in enumerate(references)
    ]
    # sacrebleu expects all first references, all second ones and so on, None where a sentence has no more of them.
    streams: Any = [
        [some[place] if place < len(some) else None for some in several] for place in range(max(map(len, several)))
    ]
    return BLEU().corpus_score(list(translations), streams).score
