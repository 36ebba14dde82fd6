"""Texts: `tokenize` splits them into words, a `Vocabulary` gives each word an id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clstm._package import lazy

if TYPE_CHECKING:
    from clstm.text.vocabulary import Vocabulary as Vocabulary
    from clstm.text.vocabulary import check_texts as check_texts
    from clstm.text.vocabulary import tokenize as tokenize

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "vocabulary": ("Vocabulary", "check_texts", "tokenize"),
    },
)
