"""Means and scales in a model file."""

from __future__ import annotations

import numpy as np

from clstm._checks import check_array


def take_scales(arrays: dict[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Take ``name.mean`` and ``name.scale`` out of a file's arrays, checked."""
    mean, scale = (arrays.pop(f"{name}.{what}") for what in ("mean", "scale"))
    check_array(f"{name}.mean", mean, np.dtype(np.float64), [("features", None)])
    check_array(f"{name}.scale", scale, np.dtype(np.float64), [("features", len(mean))])
    if not (np.isfinite(mean).all() and np.isfinite(scale).all() and (scale > 0).all()):
        raise ValueError(f"{name}.mean and {name}.scale aren't finite, or a scale isn't above 0")
    return mean, scale
