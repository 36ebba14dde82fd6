"""The characters that a model knows, and their ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from clstm._checks import check_index, check_token_ids
from clstm._package import public
from clstm.text.vocabulary import check_texts


@public("clstm.language")
class Characters:
    """The characters that a model knows, each with its id: what `Vocabulary` is to words.

    Id 0 is the end of a text (`PADDING`), 1 any unknown character (`UNKNOWN`); then come the characters, sorted.
    Nothing is lower-cased or left out. Immutable.

    Parameters
    ----------
    characters : str
        The known characters, sorted, each once.

    Raises
    ------
    TypeError
        Not a string.
    ValueError
        No character, or not sorted.
    """

    PADDING = 0
    UNKNOWN = 1
    _FIRST = 2

    def __init__(self, characters: str) -> None:
        if not isinstance(characters, str):
            raise TypeError(f"characters is {type(characters).__name__}, expected a string")
        if not characters or any(a >= b for a, b in pairwise(characters)):
            raise ValueError("characters aren't one or more sorted characters, each once")
        self.characters = characters
        self._codes = _codes(characters)

    @classmethod
    def from_texts(cls, texts: Iterable[str], max_size: int | None = None) -> Characters:
        """Return the characters of `texts`; at most `max_size` ids, for the commonest.

        Raises
        ------
        TypeError
            Not a collection of strings, or a number that isn't an integer.
        ValueError
            No character at all, or a number below 3.
        """
        texts = check_texts("texts", texts)
        codes, counts = np.unique(_codes("".join(texts)), return_counts=True)
        if not len(codes):
            raise ValueError("texts hold no characters")
        if max_size is not None:
            most = check_index("max_size", max_size, low=cls._FIRST + 1) - cls._FIRST
            codes = np.sort(codes[np.argsort(-counts, kind="stable")[:most]])
        return cls("".join(map(chr, codes.tolist())))

    def __len__(self) -> int:
        """Return the number of ids, those of the end of a text and of unknown characters included."""
        return len(self.characters) + self._FIRST

    def __eq__(self, other: object) -> bool:
        return self.characters == other.characters if isinstance(other, Characters) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.characters)

    def __repr__(self) -> str:
        return f"<Characters, {len(self.characters)} of them>"

    def encode(self, text: str) -> np.ndarray:
        """Return the ids of a text's characters, int64 of shape (time,)."""
        codes = _codes(text)
        places = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        return np.where(self._codes[places] == codes, places + self._FIRST, self.UNKNOWN)

    def decode(self, ids: Any) -> list[str]:
        """Return the characters of `ids`: U+FFFD for the unknown one, a new line for the end of a text.

        Raises
        ------
        TypeError
            Not integers.
        ValueError
            An id out of range.
        """
        shown = f"\n\ufffd{self.characters}"
        return [shown[number] for number in check_token_ids("ids", ids, len(self)).tolist()]

    def to_dict(self) -> dict[str, Any]:
        """Return a description that JSON can represent, from which `from_dict` makes equal characters."""
        return {"characters": self.characters}

    @classmethod
    def from_dict(cls, content: Any) -> Characters:
        """Return the characters that `to_dict` has described.

        Raises
        ------
        ValueError
            `content` is anything else: it may come from a file that someone else wrote.
        """
        if not isinstance(content, Mapping) or set(content) != {"characters"}:
            raise ValueError("the vocabulary isn't an object with 'characters'")
        try:
            return cls(content["characters"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"the vocabulary's {error}") from None


def _codes(text: str) -> np.ndarray:
    """Return the code points of a text."""
    # Lone surrogates, which a Python string may contain, are characters like any other.
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.int64)
