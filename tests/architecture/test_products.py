"""The products of options in this suite: the default run holds every pair that the exhaustive one does."""

import itertools
from collections import defaultdict

import pytest

from tests.helpers.products import pairwise, products


@pytest.mark.parametrize("sizes", [(3,), (2, 2), (3, 4, 2), (1, 5, 1, 3), (2,) * 12, (3, 3, 2, 2, 4, 2, 5, 2)])
def test_every_pair_of_values_is_in_a_case(sizes):
    cases = pairwise(sizes)
    for first, second in itertools.combinations(range(len(sizes)), 2):
        found = {(case[first], case[second]) for case in cases}
        assert found == set(itertools.product(range(sizes[first]), range(sizes[second])))
    assert {case[0] for case in cases} == set(range(sizes[0]))


def test_the_cases_are_few_and_always_the_same():
    assert pairwise((2, 2, 2)) == [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)]
    assert len(pairwise((2,) * 12)) <= 14
    assert len(set(pairwise((4, 3, 3, 2)))) == len(pairwise((4, 3, 3, 2))) <= 16


def test_products_hold_every_combination_and_mark_most_as_exhaustive():
    @products(a=[1, 2, 3], b={"none": None, "some": [4]}, c=[False, True], d=[int, str])
    def test(a, b, c, d): ...

    parametrize, pairwise_mark = test.pytestmark
    assert pairwise_mark.name == "pairwise"
    cases = parametrize.args[1]
    assert len(cases) == len({case.id for case in cases}) == 24
    assert cases[0].values == (1, None, False, int)
    assert cases[0].id == "1-none-False-int"
    default = [case for case in cases if not case.marks]
    assert len(default) <= 8
    assert all(case.marks[0].name == "exhaustive" for case in cases if case.marks)


def pairs(items):
    """Return all pairs of (option, value) among the parameters of `items`."""
    return {
        pair
        for item in items
        for pair in itertools.combinations(sorted((name, repr(v)) for name, v in item.callspec.params.items()), 2)
    }


def test_the_default_run_covers_every_pair_of_options(collected):
    """Of every test of products: for each instruction set and each dtype, each pair of values of two options."""
    groups = defaultdict(list)  # by test, instruction set and dtype
    for item in collected:
        if item.get_closest_marker("pairwise"):
            fixtures = (repr(item.callspec.params.get(name)) for name in ("isa", "vector_isa", "dtype"))
            groups[(item.nodeid.partition("[")[0], *fixtures)].append(item)
    if not groups:
        pytest.skip("no test of products was collected: run the whole suite")
    for group, items in groups.items():
        default = [item for item in items if item.get_closest_marker("exhaustive") is None]
        assert pairs(default) == pairs(items), group
