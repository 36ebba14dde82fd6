"""scikit-learn's random_state as a NumPy generator."""

from __future__ import annotations

from typing import Any

import numpy as np

from clstm._checks import random_generator


def generator_for(random_state: Any) -> np.random.Generator:
    """Return a generator for an int, None, a Generator (used as it is) or a RandomState (a number is drawn from it)."""
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(2**31))
    return random_generator(random_state)


def check_random_state(name: str, value: Any) -> None:
    """Check that `generator_for` takes it; nothing is drawn."""
    if isinstance(value, np.random.RandomState):
        return
    try:
        random_generator(value)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace("seed", name, 1)) from None
