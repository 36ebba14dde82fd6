"""Products of options: a few cases that hold every pair of values by default, all cases under ``exhaustive``."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest


def pairwise(sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Return few cases in which every two options meet in all pairs of their values.

    Option k has the values 0 to sizes[k] - 1, and a case is a value of each option. The cases are always the same:
    each one begins with the first pair that no case has yet, and then takes the value of every other option that adds
    most new pairs.
    """
    if len(sizes) == 1:
        return [(value,) for value in range(sizes[0])]
    missing = dict.fromkeys(  # a set that keeps its order
        ((k, a), (m, b))
        for k, m in itertools.combinations(range(len(sizes)), 2)
        for a in range(sizes[k])
        for b in range(sizes[m])
    )
    cases = []
    while missing:
        case = dict(next(iter(missing)))
        for option in sorted(set(range(len(sizes))) - case.keys(), key=lambda k: -sizes[k]):

            def new_pairs(value, option=option, case=case):
                return sum(tuple(sorted([(option, value), other])) in missing for other in case.items())

            case[option] = max(range(sizes[option]), key=new_pairs)
        for pair in itertools.combinations(sorted(case.items()), 2):
            missing.pop(pair, None)
        cases.append(tuple(case[option] for option in range(len(sizes))))
    return cases


def covering(**options: Sequence[Any]) -> list[dict[str, Any]]:
    """Return the combinations that `pairwise` takes, by the options' names."""
    cases = pairwise([len(values) for values in options.values()])
    return [
        {name: values[index] for (name, values), index in zip(options.items(), case, strict=True)} for case in cases
    ]


def products(**options: Sequence[Any] | Mapping[str, Any]) -> Callable[[Callable], Callable]:
    """Parametrise a test with all combinations of options, and mark it ``pairwise``.

    Those that `pairwise` takes run by default; the others are marked ``exhaustive``. Values are a sequence, or a
    mapping from names (for the test's id) to values. Options from fixtures (`isa`, `dtype`) multiply all of this.
    """
    names = [list(values) if isinstance(values, Mapping) else list(map(_name, values)) for values in options.values()]
    values = [list(values.values()) if isinstance(values, Mapping) else list(values) for values in options.values()]
    few = set(pairwise([len(each) for each in values]))
    cases = [
        pytest.param(
            *(each[index] for each, index in zip(values, case, strict=True)),
            id="-".join(each[index] for each, index in zip(names, case, strict=True)),
            marks=() if case in few else pytest.mark.exhaustive,
        )
        for case in itertools.product(*(range(len(each)) for each in values))
    ]
    parametrize = pytest.mark.parametrize(list(options), cases)
    return lambda test: pytest.mark.pairwise(parametrize(test))


def _name(value: Any) -> str:
    return getattr(value, "__name__", None) or str(value)
