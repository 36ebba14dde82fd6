"""More to learn from: copies of sequences with what doesn't matter changed at random."""

from __future__ import annotations

import numpy as np


def noisy(sequences: list[np.ndarray], copies: int, strength: float, seed: int) -> list[np.ndarray]:
    """Return copies of the sequences, one set after the other, with noise `strength` times as strong as they vary."""
    generator = np.random.default_rng(seed)
    scale = (strength * np.concatenate(sequences).std(axis=0)).astype(np.float32)
    return [x + scale * generator.standard_normal(x.shape, np.float32) for _ in range(copies) for x in sequences]


def turned(windows: np.ndarray, copies: int, strength: float, seed: int) -> np.ndarray:
    """Return copies of windows (n, time, 6), as from a watch turned and stretched at random in all three directions.

    Acceleration, the first three channels, and rotation, the last three, are changed alike.
    """
    generator = np.random.default_rng(seed)
    windows = np.tile(windows, (copies, 1, 1))
    change = (np.eye(3) + strength * generator.standard_normal((len(windows), 3, 3))).astype(np.float32)
    return np.concatenate([windows[..., :3] @ change, windows[..., 3:] @ change], axis=2)
