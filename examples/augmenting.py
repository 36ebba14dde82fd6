"""More to learn from: copies of sequences with what doesn't matter changed at random."""

from __future__ import annotations

import numpy as np


def noisy(sequences: list[np.ndarray], copies: int, strength: float, seed: int) -> list[np.ndarray]:
    """Return copies of the sequences, one set after the other, with noise `strength` times as strong as they vary."""
    generator = np.random.default_rng(seed)
    scale = (strength * np.concatenate(sequences).std(axis=0)).astype(np.float32)
    return [x + scale * generator.standard_normal(x.shape, np.float32) for _ in range(copies) for x in sequences]


def turned(sequences: np.ndarray, axes: int, copies: int, strength: float, seed: int) -> np.ndarray:
    """Return copies of sequences (n, time, channels), each turned and stretched in space at random.

    The channels are vectors of `axes` numbers, one after the other, and all are changed alike.
    """
    generator = np.random.default_rng(seed)
    n, time, channels = sequences.shape
    vectors = np.tile(sequences, (copies, 1, 1)).reshape(copies * n, time, channels // axes, axes)
    change = (np.eye(axes) + strength * generator.standard_normal((len(vectors), 1, axes, axes))).astype(np.float32)
    return (vectors @ change).reshape(-1, time, channels)
