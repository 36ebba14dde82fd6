"""Sentences of movie reviews, rated by people (Hutto & Gilbert 2014). See movie_reviews_CITATION.txt."""

from __future__ import annotations

from dataclasses import dataclass, field

from clstm._package import public

_FILE = "movie_reviews.tsv.gz"


@public("clstm.datasets")
@dataclass
class Reviews:
    """One part of the movie reviews: four lists with an entry for each review.

    Attributes
    ----------
    texts : list of str
    labels : list of str
        ``"positive"`` where the rating is above 0, else ``"negative"``.
    ids : list of str
    ratings : list of float
        Mean of at least 20 people's ratings, from -4 (extremely negative) to 4 (extremely positive).
    """

    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    ratings: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of reviews."""
        return len(self.texts)

    def __repr__(self) -> str:
        return f"<Reviews: {len(self)} texts, {self.labels.count('positive')} positive>"


@public("clstm.datasets")
@dataclass
class MovieReviews:
    """The movie reviews, in parts that never change."""

    train: Reviews = field(default_factory=Reviews)
    validation: Reviews = field(default_factory=Reviews)
    test: Reviews = field(default_factory=Reviews)


def load_movie_reviews() -> MovieReviews:
    """Return 10,605 sentences of movie reviews with labels, split into parts to train, validate and test.

    A sentence's part depends on its id alone: ``zlib.crc32(id.encode()) % 10`` is 0 to 7 for training (8,465 of them),
    8 for validation (1,033) and 9 for the test (1,107).

    Returns
    -------
    MovieReviews
        With `train`, `validation` and `test`, each with `texts`, `labels`, `ids` and `ratings`; new lists each time.

    Notes
    -----
    The data are MIT-licensed; cite Hutto & Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of
    Social Media Text", ICWSM 2014.

    Examples
    --------
    >>> reviews = load_movie_reviews()
    >>> reviews.test
    <Reviews: 1107 texts, 550 positive>
    """
    import gzip
    import importlib.resources
    import zlib

    data = gzip.decompress(importlib.resources.files("clstm.datasets").joinpath(_FILE).read_bytes())
    reviews = MovieReviews()
    parts = [reviews.train] * 8 + [reviews.validation, reviews.test]
    for line in data.decode("utf-8").split("\r\n"):
        id_, rating, text = line.split("\t")
        part = parts[zlib.crc32(id_.encode()) % 10]
        part.texts.append(text)
        part.labels.append("positive" if float(rating) > 0 else "negative")
        part.ids.append(id_)
        part.ratings.append(float(rating))
    return reviews
