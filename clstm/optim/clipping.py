"""Gradient clipping: by the norm of all gradients, and by value."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from clstm._checks import check_positive
from clstm._core import _optim
from clstm.layers.row_gradient import RowGradient
from clstm.optim.gradients import check_writable, flat


def clip_grad_norm(grads: Mapping[str, np.ndarray | RowGradient], max_norm: float) -> float:
    """Scale all gradients in place so that their common norm is at most `max_norm` (Pascanu et al. 2013).

    As in PyTorch, all gradients are multiplied by max_norm / (norm + 1e-6) if that is below 1.

    Parameters
    ----------
    grads : mapping of str to ndarray or RowGradient
        float32 or float64, writable.
    max_norm : float
        Above 0.

    Returns
    -------
    float
        The norm before clipping, in float64: the root of the sum of all squares. If it isn't finite, the gradients are
        unchanged.

    Raises
    ------
    TypeError
        Something other than float arrays.
    ValueError
        `max_norm` not above 0, or an array that is read-only.
    """
    arrays = check_writable(grads)
    max_norm = check_positive("max_norm", max_norm)
    norm = math.sqrt(sum(_optim.sum_of_squares(flat(array)) for array in arrays))
    factor = max_norm / (norm + 1e-6)
    if math.isfinite(norm) and factor < 1:
        for array in arrays:
            array *= factor
    return norm


def clip_grad_value(grads: Mapping[str, np.ndarray | RowGradient], value: float) -> None:
    """Limit every element of all gradients to between -value and value, in place; NaN remains NaN.

    Parameters
    ----------
    grads : mapping of str to ndarray or RowGradient
        float32 or float64, writable.
    value : float
        Above 0.

    Raises
    ------
    TypeError
        Something other than float arrays.
    ValueError
        `value` not above 0, or an array that is read-only.
    """
    arrays = check_writable(grads)
    value = check_positive("value", value)
    for array in arrays:
        np.clip(array, -value, value, out=array)
