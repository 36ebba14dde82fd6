"""The `activations` of an LSTM: checked, and translated from names to the codes that the compiled paths take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clstm._checks import check_choice, check_real
from clstm._core.variant import ACTIVATIONS, ALPHA_BETA, Activation

DEFAULT = ("sigmoid", "tanh", "tanh")
# alpha must not be negative here: the backward pass finds the slope from the sign of the activation's value.
LOWEST_ALPHA = {"leaky_relu": 0.0, "elu": 0.0}


def check_activations(value: Any, num_directions: int) -> list[tuple[Activation, Activation, Activation]]:
    """Return the three activations of each direction.

    Parameters
    ----------
    value : sequence
        Three, for every direction, or three for each: names, or tuples (name, alpha, beta) of which beta or both can
        be left out.

    Raises
    ------
    TypeError, ValueError
        Another number of them, an unknown name, or an alpha or beta that the function doesn't have or can't have.
    """
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"activations is {value!r}, expected a sequence of three: of the gates, of g and of the output")
    if len(value) not in (3, 3 * num_directions):
        wanted = "three" if num_directions == 1 else "three, or six, the latter three of the reverse direction"
        raise ValueError(f"activations has {len(value)}, expected {wanted}")
    checked = [_check_activation(f"activations[{index}]", each) for index, each in enumerate(value)]
    first = [d * 3 % len(checked) for d in range(num_directions)]
    return [(checked[k], checked[k + 1], checked[k + 2]) for k in first]


def _check_activation(name: str, value: Any) -> Activation:
    chosen, *parameters = value if isinstance(value, Sequence) and value and not isinstance(value, str) else (value,)
    chosen = check_choice(name, chosen, ACTIVATIONS)
    defaults = ALPHA_BETA.get(chosen, ())
    if len(parameters) > len(defaults):
        raise ValueError(f"{name} is {value!r}, but {chosen} has {'no' if not defaults else 'two'} parameters")
    names, lowest = ("alpha", "beta"), (LOWEST_ALPHA.get(chosen), None)
    given = [check_real(f"{name}'s {names[k]}", number, low=lowest[k]) for k, number in enumerate(parameters)]
    alpha, beta = (*given, *defaults[len(given) :]) if defaults else (0.0, 0.0)
    if chosen == "scaled_tanh" and alpha == 0:
        raise ValueError(f"{name}'s alpha is 0, with which scaled_tanh is 0 everywhere; expected another number")
    return ACTIVATIONS.index(chosen), alpha, beta
