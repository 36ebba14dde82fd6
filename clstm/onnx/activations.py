"""The activations of ONNX's LSTM and clstm's names for them.

A function is (name, alpha, beta). ONNX has the alphas and the betas in two lists, of which each function with such a
parameter takes the next value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clstm._core.variant import ALPHA_BETA

# By ONNX's name in lower case: clstm's name, and the defaults of alpha and beta. () means no such parameter; None means
# that runtimes disagree on the default (ONNX Runtime takes 0, ONNX's operator ThresholdedRelu 1).
_FUNCTIONS: dict[str, tuple[str, tuple[float | None, ...]]] = {
    "sigmoid": ("sigmoid", ()),
    "tanh": ("tanh", ()),
    "relu": ("relu", ()),
    "softsign": ("softsign", ()),
    "softplus": ("softplus", ()),
    "hardsigmoid": ("hard_sigmoid", (0.2, 0.5)),
    "leakyrelu": ("leaky_relu", (0.01,)),
    "elu": ("elu", (1.0,)),
    "thresholdedrelu": ("thresholded_relu", (None,)),
    "affine": ("affine", (None, None)),
    "scaledtanh": ("scaled_tanh", (None, None)),
}
_SPELLING = {
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "softsign": "Softsign",
    "softplus": "Softplus",
    "hard_sigmoid": "HardSigmoid",
    "leaky_relu": "LeakyRelu",
    "elu": "Elu",
    "thresholded_relu": "ThresholdedRelu",
    "affine": "Affine",
    "scaled_tanh": "ScaledTanh",
}
_PARAMETERS = {name: len(defaults) for name, defaults in _FUNCTIONS.values()}

Activation = str | tuple[Any, ...]


def read_activations(names: Sequence[str], alphas: Sequence[float], betas: Sequence[float]) -> tuple[Activation, ...]:
    """Return clstm's activations for ONNX's attributes."""
    remaining = {"alpha": list(alphas), "beta": list(betas)}
    activations: list[Activation] = []
    for name in names:
        if name.lower() not in _FUNCTIONS:
            raise ValueError(
                f"the activation {name!r} isn't supported; expected one of {', '.join(_SPELLING.values())}"
            )
        function, defaults = _FUNCTIONS[name.lower()]
        parameters = []
        for default, (kind, values) in zip(defaults, remaining.items(), strict=False):
            value = values.pop(0) if values else default
            if value is None:
                raise ValueError(
                    f"the activation {name} has no activation_{kind}, for which runtimes have different defaults"
                )
            parameters.append(value)
        activations.append((function, *parameters) if parameters else function)
    for kind, values in remaining.items():
        if values:
            raise ValueError(
                f"activation_{kind} has {len(values)} more values than there are functions with this parameter"
            )
    return tuple(activations)


def write_activations(activations: Sequence[Activation]) -> dict[str, list[Any]]:
    """Return ONNX's attributes for clstm's activations; ValueError for one that ONNX doesn't have."""
    names: list[str] = []
    alphas: list[float] = []
    betas: list[float] = []
    for activation in activations:
        name, *parameters = (activation,) if isinstance(activation, str) else activation
        if name == "linear":
            name, parameters = "affine", [1.0, 0.0]
        if name not in _SPELLING:
            raise ValueError(f"ONNX has no activation {name!r}; it has {', '.join(_SPELLING)} and linear")
        values = [*parameters, *ALPHA_BETA.get(name, ())[len(parameters) :]][: _PARAMETERS[name]]
        names.append(_SPELLING[name])
        for value, found in zip(values, (alphas, betas), strict=False):
            found.append(float(value))
    attributes: dict[str, list[Any]] = {"activations": names, "activation_alpha": alphas, "activation_beta": betas}
    return {name: values for name, values in attributes.items() if values}


def is_odd_around_half(activation: Activation) -> bool:
    """Return whether f(-a) = 1 - f(a), so that 1 - i is a forget gate whose weights are the input gate's, negated."""
    name, *parameters = (activation,) if isinstance(activation, str) else activation
    return name == "sigmoid" or (name in ("hard_sigmoid", "affine") and parameters[1] == 0.5)
