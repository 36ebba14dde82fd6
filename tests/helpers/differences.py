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


def assert_gradient(loss, array, gradient, every_element, name="", rtol=1e-6, atol=1e-8):
    """Compare the gradient of `loss()` with differences: element by element, or along three random directions."""
    if every_element:
        np.testing.assert_allclose(gradient, numerical_gradient(loss, array), rtol=rtol, atol=atol, err_msg=name)
        return
    before, rng = array.copy(), np.random.default_rng(0)
    for _ in range(3):
        direction = rng.choice([-1.0, 1.0], array.shape) * rng.uniform(0.5, 1, array.shape)

        def moved(at):
            array[...] = at
            return loss()

        found = slope(moved, before, direction)
        array[...] = before
        expected, size = (gradient * direction).sum(), np.abs(gradient * direction).sum()
        np.testing.assert_allclose(found, expected, rtol=0, atol=rtol * size + atol * array.size**0.5, err_msg=name)


def slope(function, at, direction, step=1e-6):
    """Return the central difference of `function` at an array along a direction of the same shape."""
    return (function(at + step * direction) - function(at - step * direction)) / (2 * step)
