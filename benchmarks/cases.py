"""The shapes, layers and data that the suites share."""

import numpy as np

import clstm

# (time, batch, input_size, hidden_size): single requests, small and middling batches, a large layer.
SHAPES = ((100, 1, 256, 256), (100, 8, 128, 128), (100, 32, 256, 256), (50, 64, 512, 512))
DTYPES = ("float32", "float64")
THREADS = (1, 2)


def layer(shape, dtype="float32", num_threads=1, **options):
    """Return an LSTM for `shape`."""
    _, _, input_size, hidden_size = shape
    return clstm.LSTM(input_size, hidden_size, dtype=np.dtype(dtype), num_threads=num_threads, seed=0, **options)


def sequence(shape, dtype="float32"):
    """Return an input of `shape`, (time, batch, input_size)."""
    return np.random.default_rng(1).standard_normal(shape[:3]).astype(dtype)


def ragged_lengths(shape):
    """Return lengths as sentences have them: from 1 to all steps, half of them on average."""
    time, batch = shape[:2]
    return np.random.default_rng(2).integers(1, time, size=batch, endpoint=True)


def reviews(number):
    """Return the texts and labels of `number` of the movie reviews to train on."""
    from clstm.datasets import load_movie_reviews

    train = load_movie_reviews().train
    return list(train.texts[:number]), list(train.labels[:number])
