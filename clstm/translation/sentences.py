"""Sentences as tokens that can be joined again: `cut` preserves punctuation, case and where there is no space.

`clstm.text.tokenize` drops what a classifier doesn't need; a translation needs all of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

import numpy as np

from clstm._package import public
from clstm.text.vocabulary import LETTER, WORD, Vocabulary, check_texts

# Marks where a token is joined to its neighbour without a space, as in OpenNMT's tokeniser; no text contains it.
JOINER = "\uffed"

# After one or two letters an apostrophe is part of their token (l', qu', I'), after longer words of the next ('s, 't):
# so neither names nor French words have a second form, with an apostrophe.
_TOKEN = re.compile(rf"\b{LETTER}{{1,2}}'(?={LETTER})|(?<={LETTER})'{WORD}|(?P<word>{WORD})|\S")


def cut(text: str) -> list[str]:
    """Return the tokens of a text: words, parts of words at an apostrophe, and each mark of punctuation.

    A mark or part without a space between it and its neighbour has a joiner on that side, so that `join` returns the
    text, with these differences: white space becomes one plain space, different encodings of the same letters become
    the same (Unicode's NFC), and a typographic apostrophe becomes a plain one.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
        Empty for a text without any.

    Examples
    --------
    >>> [token.replace(JOINER, "~") for token in cut("Aujourd'hui, j'ai dit : n'y va pas !")]
    ['Aujourd', "~'hui", '~,', "j'~", 'ai', 'dit', ':', "n'~", 'y', 'va', 'pas', '!']
    """
    text = unicodedata.normalize("NFC", text).replace("\u2019", "'").replace(JOINER, " ")
    tokens: list[str] = []
    end, after_word = None, False
    for match in _TOKEN.finditer(text):
        token = match.group()
        is_word = match.lastgroup == "word"
        if match.start() == end:
            if is_word and not after_word:
                tokens[-1] += JOINER
            else:
                token = JOINER + token
        tokens.append(token)
        end, after_word = match.end(), is_word
    return tokens


def join(tokens: Iterable[str]) -> str:
    """Return the text that `cut` has split into these tokens."""
    text = " ".join(tokens)
    for joined in (f"{JOINER} {JOINER}", f"{JOINER} ", f" {JOINER}", JOINER):
        text = text.replace(joined, "")
    return text


def capitalised(token: str) -> str:
    """Return the token with a capital as its first letter."""
    return token[:1].upper() + token[1:]


@public("clstm.translation")
class SentenceVocabulary(Vocabulary):
    """The words (`cut`) that a translator knows, each with its id.

    Ids 0 and 1 are `Vocabulary`'s padding and unknown word, 2 and 3 begin and end a sentence; then come the words.

    A sentence's first word has a capital whatever word it is. It is read as lower-case if it is more often lower-case
    than capitalised inside the training sentences ("truecasing": Lita et al. 2003).
    """

    START = 2
    END = 3
    _NAMES = ("<padding>", "<unknown>", "<start>", "<end>")
    _TOKENIZER = 1  # the version of `cut`

    @classmethod
    def from_texts(cls, texts: Iterable[str], max_size: int | None = None, min_count: int = 1) -> SentenceVocabulary:
        """Return the vocabulary of `texts`; arguments and errors are `Vocabulary.from_texts`'s."""
        sentences = [cut(text) for text in check_texts("texts", texts)]
        inside = Counter(token for tokens in sentences for token in tokens[1:])
        counts = inside.copy()
        for first in (tokens[0] for tokens in sentences if tokens):
            lower = first.lower()
            counts[lower if inside[lower] >= inside[first] else first] += 1
        return cls._from_counts(counts, max_size, min_count)

    def split(self, text: str) -> list[str]:
        """Return the tokens of a text, the first one in the case that it has inside sentences."""
        tokens = cut(text)
        if tokens:
            first, lower = tokens[0], tokens[0].lower()
            unseen = len(self)
            # Ids are in the order of falling counts, so the commoner form has the smaller one.
            if self._ids.get(lower, unseen) < self._ids.get(first, unseen):
                tokens[0] = lower
        return tokens

    def encode_tokens(self, tokens: Iterable[str]) -> np.ndarray:
        """Return the ids of a sentence's tokens, followed by that of the end: int64."""
        return np.array([*(self._ids.get(token, self.UNKNOWN) for token in tokens), self.END], np.int64)
