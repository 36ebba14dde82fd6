"""Tokens and vocabularies."""

# Letters of other scripts are here on purpose.
# ruff: noqa: RUF001

from __future__ import annotations

import json
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clstm.text import Vocabulary, check_texts, tokenize

TEXTS = ["the cat and the dog", "a cat, a dog!", "the bird"]

# ------------------------------------------------------------------------------------------------- tokenize


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("It isn't HALF-bad!!", ["it", "isn't", "half", "bad", "!", "!"]),
        ("don\u2019t", ["don't"]),
        ("''Horrible'' and 'terrible,' rock'n'roll '90s", ["horrible", "and", "terrible", "rock'n'roll", "90s"]),
        ("what?! ...", ["what", "?", "!"]),
        ("x_y 3.5 <b>", ["x", "y", "3", "5", "b"]),
        ("Это ёлка", ["это", "ёлка"]),
        ("ΤΈΛΟΣ", ["τέλος"]),
        ("हिन्दी में लिखा है।", ["हिन्दी", "में", "लिखा", "है"]),
        ("می\u200cخواهم؟", ["می\u200cخواهم", "؟"]),
        ("שָׁלוֹם", ["שָׁלוֹם"]),
        ("한국 영화", ["한국", "영화"]),
        ("这部电影abc好！", ["这", "部", "电", "影", "abc", "好", "!"]),
        ("すごい", ["す", "ご", "い"]),
        ("ไทย", ["ไ", "ท", "ย"]),
        ("great 😀👍", ["great", "😀", "👍"]),
        ("", []),
        (" \n\t ... -- ;:,", []),
        ("\ud800 \x00", []),
    ],
)
def test_tokenize(text, tokens):
    assert tokenize(text) == [unicodedata.normalize("NFKC", token) for token in tokens]


def test_encodings_of_the_same_text_give_the_same_tokens():
    assert tokenize("cafe\u0301") == tokenize("caf\u00e9") == tokenize("CAFÉ") == ["café"]
    assert tokenize("ＦＩＬＭ！") == ["film", "!"]


@given(st.text(st.characters(codec="ascii")))
def test_plain_english_is_words_and_marks(text):
    assert tokenize(text) == re.findall(r"[a-z0-9]+(?:'[a-z0-9]+)*|[!?]", text.lower())


@given(st.text())
def test_tokens_are_not_empty_and_hold_no_space(text):
    tokens = tokenize(text)
    assert all(token and not any(char.isspace() for char in token) for token in tokens)
    letters = sum(char.isalnum() for char in unicodedata.normalize("NFKC", text).lower())
    assert sum(char.isalnum() for token in tokens for char in token) == letters  # nothing is lost


@pytest.mark.parametrize("text", [b"bytes", None, 3, float("nan"), ["a"]])
def test_tokenize_takes_strings_only(text):
    with pytest.raises(TypeError, match=f"text is {type(text).__name__}, expected a string"):
        tokenize(text)


# ------------------------------------------------------------------------------------------------- Vocabulary


def test_words_are_in_the_order_of_falling_counts_then_alphabetical():
    vocabulary = Vocabulary.from_texts(TEXTS)
    assert vocabulary.words == ("the", "a", "cat", "dog", "!", "and", "bird")
    assert len(vocabulary) == 9
    assert Vocabulary.from_texts(reversed(TEXTS)) == vocabulary


def test_max_size_counts_padding_and_unknown():
    vocabulary = Vocabulary.from_texts(TEXTS, max_size=5)
    assert vocabulary.words == ("the", "a", "cat")
    assert len(vocabulary) == 5
    assert len(Vocabulary.from_texts(TEXTS, max_size=100)) == 9


@pytest.mark.smoke
def test_min_count():
    assert Vocabulary.from_texts(TEXTS, min_count=2).words == ("the", "a", "cat", "dog")
    assert Vocabulary.from_texts(TEXTS, max_size=4, min_count=2).words == ("the", "a")


def test_contains_only_known_words():
    vocabulary = Vocabulary.from_texts(TEXTS)
    assert "cat" in vocabulary
    for other in ("Cat", "<unknown>", "<padding>", "", 2, None, ["cat"]):
        assert other not in vocabulary


def test_encode():
    vocabulary = Vocabulary.from_texts(TEXTS)
    ids = vocabulary.encode("The zebra and the CAT")
    assert ids.dtype == np.int64
    assert ids.tolist() == [2, 1, 7, 2, 4]


@pytest.mark.parametrize("text", ["", "...", "zebra", "\ud800"])
def test_a_text_without_known_words_is_one_unknown(text):
    assert Vocabulary.from_texts(TEXTS).encode(text).tolist() == [Vocabulary.UNKNOWN]


@pytest.mark.smoke
def test_encode_batch():
    ids, lengths = Vocabulary.from_texts(TEXTS).encode_batch(["the cat", "", "a zebra and a dog"])
    assert ids.dtype == lengths.dtype == np.int64
    assert ids.tolist() == [[2, 4, 0, 0, 0], [1, 0, 0, 0, 0], [3, 1, 7, 3, 5]]
    assert lengths.tolist() == [2, 1, 5]


@given(st.lists(st.text("ab c!", max_size=12), min_size=1, max_size=6))
def test_a_batch_holds_the_rows_of_encode(texts):
    vocabulary = Vocabulary(["a", "b", "!"])
    ids, lengths = vocabulary.encode_batch(texts)
    for text, row, length in zip(texts, ids, lengths, strict=True):
        assert row[:length].tolist() == vocabulary.encode(text).tolist()
        assert not row[length:].any()


def test_decode():
    vocabulary = Vocabulary.from_texts(TEXTS)
    ids, _ = vocabulary.encode_batch(["the zebra", "a cat and a dog"])
    assert vocabulary.decode(ids[0]) == ["the", "<unknown>"]
    assert vocabulary.decode(ids[1].tolist()) == ["a", "cat", "and", "a", "dog"]
    assert vocabulary.decode([]) == []


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([9], ValueError, "holds the id 9, expected 0 to 8"),
        ([-1], ValueError, "holds the id -1"),
        ([[2]], ValueError, r"ids has shape \(1, 1\), expected \(time,\)"),
        ([2.0], TypeError, "ids has dtype float64"),
    ],
)
def test_decode_refuses(ids, error, message):
    with pytest.raises(error, match=message):
        Vocabulary.from_texts(TEXTS).decode(ids)


def test_numpy_strings_and_generators_are_texts():
    assert Vocabulary.from_texts(np.array(TEXTS)) == Vocabulary.from_texts(text for text in TEXTS)


@pytest.mark.parametrize("method", [Vocabulary.from_texts, Vocabulary(["a"]).encode_batch, Vocabulary])
@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (["a", None], TypeError, r"\[1\] is NoneType, expected a string"),
        (["a", "b", float("nan")], TypeError, r"\[2\] is float, expected a string"),
        (["a", b"b"], TypeError, r"\[1\] is bytes, expected a string"),
        ("a text", TypeError, "is str, expected a collection of strings"),
        (None, TypeError, "is NoneType, expected a collection of strings"),
        ([], ValueError, "is empty"),
    ],
)
def test_what_is_no_collection_of_strings_is_refused(method, texts, error, message):
    with pytest.raises(error, match=message):
        method(texts)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_size": 2}, ValueError, "max_size is 2, expected at least 3"),
        ({"max_size": 2.5}, TypeError, "max_size is 2.5, expected an integer"),
        ({"min_count": 0}, ValueError, "min_count is 0, expected at least 1"),
        ({"min_count": True}, TypeError, "min_count is True"),
        ({"min_count": 4}, ValueError, "min_count is 4, but no word of texts occurs over 3 times"),
    ],
)
def test_from_texts_checks_its_numbers(options, error, message):
    with pytest.raises(error, match=message):
        Vocabulary.from_texts(TEXTS, **options)


def test_texts_without_words_are_refused():
    with pytest.raises(ValueError, match="texts hold no words"):
        Vocabulary.from_texts(["", "..."])


def test_words_must_be_distinct_and_not_empty():
    with pytest.raises(ValueError, match="holds 'b' more than once"):
        Vocabulary(["a", "b", "b"])
    with pytest.raises(ValueError, match=r"words\[1\] is empty"):
        Vocabulary(["a", ""])


# ------------------------------------------------------------------------------------------------- to_dict, from_dict


@given(st.lists(st.text(min_size=1), min_size=1, unique=True))
def test_json_round_trip(words):
    vocabulary = Vocabulary(words)
    again = Vocabulary.from_dict(json.loads(json.dumps(vocabulary.to_dict())))
    assert again == vocabulary
    assert hash(again) == hash(vocabulary)
    assert again.words == tuple(words)


def test_vocabularies_of_other_words_or_order_differ():
    assert Vocabulary(["a", "b"]) != Vocabulary(["b", "a"])
    assert Vocabulary(["a"]) != ("<padding>", "<unknown>", "a")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "isn't an object"),
        ([], "isn't an object"),
        ({}, "isn't an object with 'tokenizer' and 'words'"),
        ({"words": ["a"]}, "isn't an object with"),
        ({"tokenizer": 1, "words": ["a"], "more": 1}, "isn't an object with"),
        ({"tokenizer": 2, "words": ["a"]}, "tokenizer is 2, expected 1"),
        ({"tokenizer": True, "words": ["a"]}, "tokenizer is True"),
        ({"tokenizer": [[1]], "words": ["a"]}, "tokenizer is "),
        ({"tokenizer": 1, "words": "abc"}, "words aren't a list"),
        ({"tokenizer": 1, "words": {"a": 1}}, "words aren't a list"),
        ({"tokenizer": 1, "words": []}, "words is empty"),
        ({"tokenizer": 1, "words": ["a", 1]}, r"words\[1\] is int"),
        ({"tokenizer": 1, "words": ["a", ["b"]]}, r"words\[1\] is list"),
        ({"tokenizer": 1, "words": ["a", "a"]}, "more than once"),
        ({"tokenizer": 1, "words": [""]}, r"words\[0\] is empty"),
    ],
)
def test_from_dict_refuses_everything_else(content, message):
    with pytest.raises(ValueError, match=message):
        Vocabulary.from_dict(content)


def test_check_texts_names_the_argument():
    assert check_texts("lines", ("a", "b")) == ["a", "b"]
    with pytest.raises(TypeError, match=r"lines\[0\] is int"):
        check_texts("lines", [1])
