"""Both compiled paths keep the contract of `backend.Path`: its functions, with its parameters."""

import inspect

import pytest

from clstm._core import backend
from clstm._core.variant import ACTIVATIONS, PLAIN, Variant

FUNCTIONS = [name for name, value in vars(backend.Path).items() if inspect.isfunction(value) and name[0] != "_"]


def test_the_contract_has_functions():
    assert {"pack", "forward", "forward_stacked", "backward", "gates_and_cells", "steps"} <= set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_path_has_the_functions_of_the_contract(isa, name):
    contract = inspect.signature(getattr(backend.Path, name))
    function = inspect.signature(getattr(backend.path(), name))
    assert list(function.parameters) == list(contract.parameters)[1:]  # without self


def test_a_path_has_no_other_public_names(isa):
    assert set(backend.path().__all__) == set(FUNCTIONS)


def test_which_variants_are_plain():
    assert PLAIN.plain
    assert Variant().plain
    assert not Variant(general=True).plain
    assert not Variant(peephole=True).plain
    assert not Variant(activations=((ACTIVATIONS.index("relu"), 0.0, 0.0), *Variant().activations[1:])).plain
