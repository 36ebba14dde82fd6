"""The random masks of training."""

from __future__ import annotations

import numpy as np


def draw_bernoulli(generator: np.random.Generator, p: float, shape: tuple[int, ...]) -> np.ndarray:
    """Return an array of bool that is True with probability p, to within 2^-33."""
    size = int(np.prod(shape, dtype=np.int64))
    # 64 random bits serve two elements, at half the cost of drawing uniform floats.
    bits = generator.integers(2**64, size=(size + 1) // 2, dtype=np.uint64).view(np.uint32)[:size]
    return (bits < round(p * 2**32)).reshape(shape)


def draw_dropout_mask(generator: np.random.Generator, p: float, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an array of 0 with probability p, else of 1 / (1 - p), in C order."""
    scale = 0 if p == 1 else 1 / (1 - p)
    return np.multiply(~draw_bernoulli(generator, p, shape), np.dtype(dtype).type(scale))
