"""Checks of a model's arguments, put together into a table with one entry for each argument."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from clstm._checks import check_choice, check_fraction, check_index, check_positive, check_real, random_generator

# Takes an argument's name and value; raises TypeError or ValueError.
Check = Callable[[str, Any], Any]

AT_LEAST_1: Check = partial(check_index, low=1)
NOT_NEGATIVE: Check = partial(check_real, low=0.0)
PROBABILITY: Check = partial(check_real, low=0.0, high=1.0)
FRACTION: Check = check_fraction
POSITIVE: Check = check_positive


def at_least(low: int) -> Check:
    """Return a check for an integer of `low` or more."""
    return partial(check_index, low=low)


def optional(check: Check) -> Check:
    """Return a check that accepts None, too."""

    def check_unless_none(name: str, value: Any) -> None:
        if value is not None:
            check(name, value)

    return check_unless_none


def one_of(choices: Iterable[str]) -> Check:
    """Return a check for one of some strings."""
    return partial(check_choice, choices=tuple(choices))


def check_seed(name: str, value: Any) -> None:
    """Check that a random generator can be made of the argument ``seed``."""
    random_generator(value)


def check_verbose(name: str, value: Any) -> None:
    """Check for True, False, or an integer of 0 or more."""
    if not isinstance(value, bool):
        check_index(name, value, low=0)
