"""Data that comes with the package."""

from clstm.datasets.movie_reviews import MovieReviews, Reviews, load_movie_reviews

__all__ = ["MovieReviews", "Reviews", "load_movie_reviews"]
