"""The movie reviews that come with the package."""

from __future__ import annotations

import gzip
import hashlib
import importlib.resources
import zlib

import pytest

from clstm.datasets import load_movie_reviews
from tests.helpers.processes import run_python

FOLDER = importlib.resources.files("clstm.datasets")


@pytest.fixture(scope="module")
def reviews():
    return load_movie_reviews()


def parts(reviews):
    return {"train": reviews.train, "validation": reviews.validation, "test": reviews.test}


def test_the_text_is_unchanged():
    data = gzip.decompress(FOLDER.joinpath("movie_reviews.tsv.gz").read_bytes())
    assert hashlib.sha256(data).hexdigest() == "c8293b0d942e90e223ea2c0955d969040d1a1be514a978b9af0698940bd13350"


def test_licence_and_citation_are_in_the_same_folder():
    assert "The MIT License" in FOLDER.joinpath("movie_reviews_LICENSE.txt").read_text(encoding="utf-8")
    assert "Hutto, C.J. & Gilbert, E.E." in FOLDER.joinpath("movie_reviews_CITATION.txt").read_text(encoding="utf-8")


@pytest.mark.smoke
def test_counts(reviews):
    assert {name: len(part) for name, part in parts(reviews).items()} == {
        "train": 8465,
        "validation": 1033,
        "test": 1107,
    }
    labels = [label for part in parts(reviews).values() for label in part.labels]
    assert len(labels) == 10605
    assert labels.count("positive") == 5242
    assert labels.count("negative") == 10605 - 5242


def test_lists_have_the_same_length(reviews):
    for part in parts(reviews).values():
        assert len(part.texts) == len(part.labels) == len(part.ids) == len(part.ratings)
        for rating, label in zip(part.ratings, part.labels, strict=True):
            assert -4 <= rating <= 4
            assert label == ("positive" if rating > 0 else "negative")


def test_the_id_determines_the_part(reviews):
    expected = {"train": {0, 1, 2, 3, 4, 5, 6, 7}, "validation": {8}, "test": {9}}
    for name, part in parts(reviews).items():
        assert {zlib.crc32(number.encode()) % 10 for number in part.ids} == expected[name]


def test_each_sentence_is_in_one_part(reviews):
    ids = [number for part in parts(reviews).values() for number in part.ids]
    assert sorted(map(int, ids)) == list(range(1, 10606))


def test_texts_are_clean(reviews):
    texts = [text for part in parts(reviews).values() for text in part.texts]
    assert not any("\r" in text or "\n" in text or "\t" in text for text in texts)
    assert all(text and text == text.strip() for text in texts)


def test_a_known_sentence(reviews):
    index = reviews.train.ids.index("3")
    assert reviews.train.texts[index] == "Effective but too tepid biopic"
    assert reviews.train.ratings[index] == -0.6
    assert reviews.train.labels[index] == "negative"


def test_each_call_gives_new_lists(reviews):
    again = load_movie_reviews()
    assert again == reviews
    again.train.texts[0] = "changed"
    assert again != reviews
    assert load_movie_reviews() == reviews


def test_repr_is_short(reviews):
    assert repr(reviews.test) == "<Reviews: 1107 texts, 550 positive>"


@pytest.mark.subprocess
def test_the_package_is_light_until_data_are_loaded():
    code = """
import clstm, sys
before = set(sys.modules)
import clstm.datasets
print(sorted(name for name in set(sys.modules) - before if name.partition(".")[0] not in sys.stdlib_module_names))
print([name for name in ("gzip", "csv", "importlib.resources") if name in sys.modules])
"""
    assert run_python(code).stdout.splitlines() == ["['clstm.datasets', 'clstm.datasets.movie_reviews']", "[]"]
