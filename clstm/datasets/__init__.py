"""Data that come with the package."""

from clstm.datasets.movie_reviews import MovieReviews as MovieReviews
from clstm.datasets.movie_reviews import Reviews as Reviews
from clstm.datasets.movie_reviews import load_movie_reviews as load_movie_reviews

__all__ = ["MovieReviews", "Reviews", "load_movie_reviews"]
