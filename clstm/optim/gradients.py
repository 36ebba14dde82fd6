"""Checks of gradients by name, for updates of weights and for clipping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from clstm._checks import as_array
from clstm.layers.row_gradient import RowGradient, check_rows


def check_gradients(grads: Any, weights: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """Return for each weight the gradient as a flat array, and the rows that it holds, or None for all.

    Raises
    ------
    TypeError, ValueError
        As of `Optimizer.step`.
    """
    _check_mapping(grads)
    missing = [name for name in weights if name not in grads]
    unexpected = [str(name) for name in grads if name not in weights]
    if missing or unexpected:
        problems = [f"lacks {', '.join(missing)}"] if missing else []
        problems += [f"has unexpected {', '.join(unexpected)}"] if unexpected else []
        raise ValueError(f"grads {' and '.join(problems)}; expected {', '.join(weights)}")
    checked: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    for name, weight in weights.items():
        grad = grads[name]
        sparse = isinstance(grad, RowGradient)
        if not sparse:
            grad = as_array(f"the gradient of {name}", grad)
        if grad.dtype != weight.dtype:
            raise TypeError(f"the gradient of {name} has dtype {grad.dtype}, expected {weight.dtype}")
        if grad.shape != weight.shape:
            raise ValueError(f"the gradient of {name} has shape {grad.shape}, expected {weight.shape}")
        # The rows say where to write, and the array may have been changed since RowGradient checked it
        checked[name] = (flat(grad.values), check_rows(grad.rows, grad.shape[0])) if sparse else (flat(grad), None)
    return checked


def check_writable(grads: Any) -> list[np.ndarray]:
    """Return the arrays of `grads`, checked to be float arrays that can be changed in place."""
    _check_mapping(grads)
    arrays = {name: grad.values if isinstance(grad, RowGradient) else grad for name, grad in grads.items()}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise TypeError(f"the gradient of {name} is {kind}, expected an array of float32 or float64")
        if not array.flags.writeable:
            raise ValueError(f"the gradient of {name} is read-only, but is to be changed in place")
    return list(arrays.values())


def flat(array: np.ndarray) -> np.ndarray:
    """Return the elements in C order and aligned, as one axis: a view if possible, else a copy."""
    return np.require(array, requirements=("C", "A")).reshape(-1)


def _check_mapping(grads: Any) -> None:
    if not isinstance(grads, Mapping):
        raise TypeError(
            f"grads is {type(grads).__name__}, expected a mapping of weight names to arrays (grads.weights)"
        )
