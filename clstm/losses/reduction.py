"""What the losses share: the checks of their arguments, and the mean with weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from clstm._checks import as_array, check_array, check_floats

Loss = tuple[float, np.ndarray]


def mean(losses: np.ndarray, gradient: np.ndarray, sample_weight: Any) -> Loss:
    """Return the mean of the losses, and the gradient of the mean.

    Parameters
    ----------
    losses : ndarray
    gradient : ndarray
        Of each loss separately; may have more axes after those of the losses.
    sample_weight : array_like or None
    """
    if sample_weight is None:
        return float(losses.mean(dtype=np.float64)), np.divide(gradient, losses.size, out=np.empty_like(gradient))
    weight = spread(sample_weight, losses.dtype, losses.shape)
    total = weight.sum(dtype=np.float64)
    if not total > 0:
        raise ValueError("sample_weight is 0 throughout, expected some above")
    counts = weight > 0  # an element of weight 0 may be NaN, which 0 * NaN would let through
    value = np.where(counts, losses * weight, 0).sum(dtype=np.float64) / total
    more_axes = (1,) * (gradient.ndim - losses.ndim)
    scale = (weight / total).astype(losses.dtype).reshape(losses.shape + more_axes)
    gradient = np.where(counts.reshape(scale.shape), gradient * scale, 0)
    return float(value), gradient.astype(losses.dtype, copy=False)


def check_pair(name: str, value: Any, other_name: str, other: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return two arrays, checked to have one float dtype and one shape, and to be not empty."""
    value = check_floats(name, value)
    check_not_empty(name, value)
    other = check_array(other_name, other, value.dtype, [(f"{name}'s axis", size) for size in value.shape])
    return value, other


def check_not_empty(name: str, array: np.ndarray) -> None:
    """Raise ValueError for an array without elements, whose mean is undefined."""
    if array.size == 0:
        raise ValueError(f"{name} has shape {array.shape}: the mean of nothing")


def check_weight(name: str, weight: np.ndarray) -> np.ndarray:
    """Return the weights, checked to be finite and 0 or more."""
    if weight.size and not (weight.min() >= 0 and np.isfinite(weight.max())):
        raise ValueError(f"{name} holds values of {weight.min()} to {weight.max()}, expected finite and 0 or more")
    return weight


def spread(sample_weight: Any, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    """Return `sample_weight`, which has one or more of the first axes of `shape`, broadcast to `shape` as a view."""
    weight = as_array("sample_weight", sample_weight)
    if weight.shape != shape[: weight.ndim] or (weight.ndim == 0 and shape):
        raise ValueError(f"sample_weight has shape {weight.shape}, expected {shape} or one or more of its first axes")
    weight = check_weight("sample_weight", check_array("sample_weight", weight, dtype, [("axis", None)] * weight.ndim))
    return np.broadcast_to(weight.reshape(weight.shape + (1,) * (len(shape) - weight.ndim)), shape)
