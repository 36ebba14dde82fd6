"""Gradients by finite differences."""

from __future__ import annotations

import numpy as np


def numerical_gradient(loss, array, step=1e-6, places=None):
    """Return the central differences of `loss()` with respect to the elements of `array`, which is changed in place.

    `places` are the indices of the elements to change, all by default; the result has NaN elsewhere.
    """
    gradient = np.full(array.shape, np.nan)
    for place in np.ndindex(array.shape) if places is None else places:
        value = array[place]
        array[place] = value + step
        above = loss()
        array[place] = value - step
        below = loss()
        array[place] = value
        gradient[place] = (above - below) / (2 * step)
    return gradient


def slope(function, at, direction, step=1e-6):
    """Return the central difference of `function` at an array along a direction of the same shape."""
    return (function(at + step * direction) - function(at - step * direction)) / (2 * step)
