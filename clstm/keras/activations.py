"""Keras's activations by name: for the LSTM those of the kernels, for other layers NumPy functions with gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from clstm._checks import quiet
from clstm._core.numerics import log_softmax, sigmoid, softmax
from clstm._core.variant import SELU_ALPHA, SELU_SCALE

Array = np.ndarray

# What clstm.LSTM(activations=) takes for each. Keras 3's hard sigmoid is relu6(x + 3) / 6, its leaky slope 0.2.
RECURRENT = {
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "linear": "linear",
    "relu": "relu",
    "hard_sigmoid": ("hard_sigmoid", 1 / 6, 0.5),
    "leaky_relu": ("leaky_relu", 0.2, 0.0),
    "elu": ("elu", 1.0, 0.0),
    "selu": "selu",
    "softplus": "softplus",
    "softsign": "softsign",
    "exponential": "exponential",
}


class Activation(NamedTuple):
    """A function over an array, and the gradient at x given (x, y, dy)."""

    forward: Callable[[np.ndarray], np.ndarray]
    backward: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def _selu(x: Array) -> Array:
    return SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0)))


def _silu_backward(x: Array, y: Array, dy: Array) -> Array:
    gate = sigmoid(x)
    return dy * gate * (1 + x * (1 - gate))


_HALF = 0.5**0.5


def _gelu(x: Array) -> Array:
    from scipy.special import erf

    return 0.5 * x * (1 + erf(x * _HALF))


def _gelu_backward(x: Array, y: Array, dy: Array) -> Array:
    from scipy.special import erf

    return dy * (0.5 * (1 + erf(x * _HALF)) + x * np.exp(-0.5 * x * x) * (0.5 / np.pi) ** 0.5)


_FUNCTIONS: dict[str, tuple[Callable, Callable]] = {
    "linear": (lambda x: x, lambda x, y, dy: dy),
    "sigmoid": (sigmoid, lambda x, y, dy: dy * y * (1 - y)),
    "tanh": (np.tanh, lambda x, y, dy: dy * (1 - y * y)),
    "softmax": (softmax, lambda x, y, dy: y * (dy - (dy * y).sum(axis=-1, keepdims=True))),
    "log_softmax": (log_softmax, lambda x, y, dy: dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)),
    "relu": (lambda x: np.maximum(x, 0), lambda x, y, dy: dy * (x > 0)),
    "relu6": (lambda x: np.clip(x, 0, 6), lambda x, y, dy: dy * ((x > 0) & (x < 6))),
    "leaky_relu": (lambda x: np.where(x > 0, x, 0.2 * x), lambda x, y, dy: np.where(x > 0, dy, 0.2 * dy)),
    "elu": (
        lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
        lambda x, y, dy: np.where(x > 0, dy, dy * (y + 1)),
    ),
    "selu": (_selu, lambda x, y, dy: np.where(x > 0, SELU_SCALE * dy, dy * (y + SELU_SCALE * SELU_ALPHA))),
    "hard_sigmoid": (
        lambda x: np.clip(x * (1 / 6) + 0.5, 0, 1),
        lambda x, y, dy: dy * ((x > -3) & (x < 3)) * (1 / 6),
    ),
    "softplus": (lambda x: np.logaddexp(x, 0), lambda x, y, dy: dy * sigmoid(x)),
    "softsign": (lambda x: x / (1 + np.abs(x)), lambda x, y, dy: dy / np.square(1 + np.abs(x))),
    "exponential": (np.exp, lambda x, y, dy: dy * y),
    "silu": (lambda x: x * sigmoid(x), _silu_backward),
    "gelu": (_gelu, _gelu_backward),
}

# NaN and infinity cause no warnings, as in the kernels.
ACTIVATIONS = {name: Activation(quiet(forward), quiet(backward)) for name, (forward, backward) in _FUNCTIONS.items()}
