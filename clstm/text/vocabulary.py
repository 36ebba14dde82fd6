"""Words and their ids: `tokenize` splits texts into words, a `Vocabulary` gives each word an id."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from clstm._checks import check_index, check_token_ids
from clstm._package import public

Self = TypeVar("Self", bound="Vocabulary")

# Scripts written without spaces, where each character is a token: Thai and Lao, Burmese, Khmer, kana, Han.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
# What occurs inside words but isn't \w in Python: combining accents, the vowel signs of Hebrew, Arabic, the scripts of
# India and Tibetan, and the joiners that Persian and those scripts use.
_MARKS = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06ed\u0900-\u0963\u0971-\u0df3\u0f71-\u0f84\u0f86\u0f87\u0f8d-\u0fbc\u200c\u200d"
)
_EMOJI = "\u2600-\u27bf\U0001f300-\U0001faff"
LETTER = rf"[^\W_{_UNSPACED}]"
WORD = rf"{LETTER}+(?:[{_MARKS}]{LETTER}*)*"
_TOKEN = re.compile(rf"{WORD}(?:'{WORD})*|[!?\u061f{_EMOJI}{_UNSPACED}]")


def tokenize(text: str) -> list[str]:
    """Return the tokens of a text.

    A token is a word (a run of letters, digits and the marks on them, in any script; apostrophes inside it are part of
    it), one ``!`` or ``?``, one emoji, or, in scripts written without spaces (Chinese, Japanese, Thai, ...), one
    character. Everything else separates words: hyphens, underscores, other punctuation. Letters are lower-cased,
    and different encodings of the same text give the same tokens (Unicode's NFKC; a typographic apostrophe becomes a
    plain one).

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
        Empty for a text without any.

    Examples
    --------
    >>> tokenize("It isn't half-bad, is it?!")
    ['it', "isn't", 'half', 'bad', 'is', 'it', '?', '!']
    """
    if not isinstance(text, str):
        raise TypeError(f"text is {type(text).__name__}, expected a string")
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'"))


@public("clstm")
class Vocabulary:
    """The words that a model knows, each with its id.

    Id 0 is padding (`PADDING`), 1 any unknown word (`UNKNOWN`); then come the words. Immutable.

    Parameters
    ----------
    words : iterable of str
        The known words, as `tokenize` returns them, in the order of their ids, from 2 on; each once.

    Raises
    ------
    TypeError
        Not a collection of strings.
    ValueError
        An empty word, or one that occurs twice.
    """

    PADDING = 0
    UNKNOWN = 1
    _NAMES: tuple[str, ...] = ("<padding>", "<unknown>")  # no word looks like these: tokens contain no brackets
    # The version of `split` that a stored vocabulary was made with; to be raised when `split` returns other tokens
    _TOKENIZER = 1

    def __init__(self, words: Iterable[str]) -> None:
        words = check_texts("words", words)
        self._tokens = (*self._NAMES, *words)
        self._ids = {word: number for number, word in enumerate(words, start=len(self._NAMES))}
        if "" in self._ids:
            raise ValueError(f"words[{words.index('')}] is empty")
        if len(self._ids) < len(words):
            word = Counter(words).most_common(1)[0][0]
            raise ValueError(f"words holds {word!r} more than once")

    @classmethod
    def from_texts(cls, texts: Iterable[str], max_size: int | None = None, min_count: int = 1) -> Vocabulary:
        """Return the vocabulary of `texts`: their words by falling count, equal counts in alphabetical order.

        Parameters
        ----------
        texts : iterable of str
        max_size : int, optional
            Greatest number of ids, with those of padding and unknown words: at least 3. The commonest words are kept.
        min_count : int, default 1
            Words that occur in `texts` less often are left out.

        Raises
        ------
        TypeError
            Not a collection of strings (the index is named), or a number that isn't an integer.
        ValueError
            No text, no word, none that occurs often enough, or a number out of range.
        """
        counts: Counter[str] = Counter()
        for text in check_texts("texts", texts):
            counts.update(tokenize(text))
        return cls._from_counts(counts, max_size, min_count)

    @classmethod
    def _from_counts(cls: type[Self], counts: Counter[str], max_size: int | None, min_count: int) -> Self:
        if max_size is not None:
            max_size = check_index("max_size", max_size, low=len(cls._NAMES) + 1)
        min_count = check_index("min_count", min_count, low=1)
        if not counts:
            raise ValueError("texts hold no words")
        kept = [(-count, word) for word, count in counts.items() if count >= min_count]
        if not kept:
            raise ValueError(f"min_count is {min_count}, but no word of texts occurs over {max(counts.values())} times")
        kept.sort()
        most = None if max_size is None else max_size - len(cls._NAMES)
        return cls(word for _, word in kept[:most])

    @property
    def words(self) -> tuple[str, ...]:
        """The known words, in the order of their ids."""
        return self._tokens[len(self._NAMES) :]

    def __len__(self) -> int:
        """Return the number of ids, those of padding and unknown words included: the rows that an embedding needs."""
        return len(self._tokens)

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and word in self._ids

    def __eq__(self, other: object) -> bool:
        return self._tokens == other._tokens if isinstance(other, Vocabulary) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._tokens)

    def __repr__(self) -> str:
        return f"<Vocabulary of {len(self.words)} words>"

    def split(self, text: str) -> list[str]:
        """Return the tokens of a text, known or not."""
        return tokenize(text)

    def tokens(self, text: str) -> list[str]:
        """Return the tokens whose ids `encode` returns, known or not; of a text without any, the unknown one's name."""
        return self.split(text) or [self._NAMES[self.UNKNOWN]]

    def encode(self, text: str) -> np.ndarray:
        """Return the ids of a text's tokens.

        Returns
        -------
        ndarray of int64, shape (time,)
            `UNKNOWN` for each word that isn't known. A text without any token is encoded as one `UNKNOWN`, so time is
            at least 1.

        Raises
        ------
        TypeError
            Not a string.
        """
        return np.array(self._encode(text), dtype=np.int64)

    def encode_batch(self, texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return the ids of several texts, padded to the longest, and their lengths.

        Returns
        -------
        ids : ndarray of int64, shape (batch, time)
            `PADDING` follows the end of each row.
        lengths : ndarray of int64, shape (batch,)
            At least 1 each, as of `encode`.

        Raises
        ------
        TypeError
            Not a collection of strings (the index is named).
        ValueError
            No text.
        """
        rows = [self._encode(text) for text in check_texts("texts", texts)]
        lengths = np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))
        ids = np.full((len(rows), lengths.max()), self.PADDING, dtype=np.int64)
        real = np.arange(ids.shape[1]) < lengths[:, np.newaxis]
        ids[real] = np.fromiter((number for row in rows for number in row), dtype=np.int64, count=lengths.sum())
        return ids, lengths

    def decode(self, ids: Any) -> list[str]:
        """Return the words of `ids`: ``<unknown>`` for 1, nothing for padding.

        Parameters
        ----------
        ids : array_like of int, shape (time,)

        Raises
        ------
        TypeError
            Not integers.
        ValueError
            An id out of range, or another shape.
        """
        ids = check_token_ids("ids", ids, len(self))
        if ids.ndim != 1:
            raise ValueError(f"ids has shape {ids.shape}, expected (time,)")
        return [self._tokens[number] for number in ids.tolist() if number != self.PADDING]

    def to_dict(self) -> dict[str, Any]:
        """Return a description that JSON can represent, from which `from_dict` makes an equal vocabulary."""
        return {"tokenizer": self._TOKENIZER, "words": list(self.words)}

    @classmethod
    def from_dict(cls: type[Self], content: Any) -> Self:
        """Return the vocabulary that `to_dict` has described.

        Raises
        ------
        ValueError
            `content` is anything else: it may come from a file that someone else wrote.
        """
        if not isinstance(content, Mapping) or set(content) != {"tokenizer", "words"}:
            raise ValueError("the vocabulary isn't an object with 'tokenizer' and 'words'")
        if type(content["tokenizer"]) is not int or content["tokenizer"] != cls._TOKENIZER:
            raise ValueError(f"the vocabulary's tokenizer is {content['tokenizer']!r:.40}, expected {cls._TOKENIZER}")
        if not isinstance(content["words"], list):
            raise ValueError("the vocabulary's words aren't a list")
        try:
            return cls(content["words"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"the vocabulary's {error}") from None

    def _encode(self, text: str) -> list[int]:
        get = self._ids.get
        return [get(token, self.UNKNOWN) for token in self.split(text)] or [self.UNKNOWN]


def check_texts(name: str, values: Any) -> list[str]:
    """Return `values` as a list of strings that isn't empty.

    Raises
    ------
    TypeError
        Not a collection, a single string, or something in it isn't a string: the index is named.
    ValueError
        Empty.
    """
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(f"{name} is {type(values).__name__}, expected a collection of strings")
    values = list(values)
    if not values:
        raise ValueError(f"{name} is empty")
    for index, value in enumerate(values):
        if not isinstance(value, str):
            raise TypeError(f"{name}[{index}] is {type(value).__name__}, expected a string")
    return values
