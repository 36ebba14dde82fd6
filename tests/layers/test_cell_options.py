"""The options that LSTM and LSTMCell share."""

import inspect
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

from clstm import LSTM, LSTMCell
from clstm.layers.cell_options import BEYOND_PYTORCH, CellOptions


@pytest.mark.parametrize("layer", [LSTM, LSTMCell])
def test_defaults_are_those_of_the_layers(layer):
    parameters = inspect.signature(layer).parameters
    for field in fields(CellOptions):
        default = parameters[field.name].default
        assert getattr(CellOptions(**{field.name: default}), field.name) == getattr(CellOptions(), field.name)


def test_options_are_attributes_of_the_layer():
    options = CellOptions(
        bias=False, dtype="float64", proj_size=3, peephole=True, coupled=True, cell_clip=2, gate_clip=3,
        layer_norm=True, recurrent_dropout=0.1, weight_dropout=0.2, zoneout=0.3, activations=["relu", "tanh", "relu"],
        learn_initial_state=True,
    )  # fmt: skip
    lstm = LSTM(4, 5, **options.values())
    assert {name: getattr(lstm, name) for name in options.values()} == options.values()
    assert options.zoneout == (0.3, 0.3)
    assert options.dtype == np.float64
    assert options.activations == ("relu", "tanh", "relu")


def test_options_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        CellOptions().peephole = True


def test_options_beyond_pytorch_are_off_by_default():
    assert {"bias", "dtype", "proj_size", *BEYOND_PYTORCH} == {field.name for field in fields(CellOptions)}
    for name, value in BEYOND_PYTORCH.items():
        assert getattr(LSTM(2, 3, seed=0), name) == value


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ({}, [True, True]),
        ({"recurrent_dropout": 0.5, "weight_dropout": 0.5}, [True, True]),
        ({"zoneout": (0.0, 0.1)}, [False, False]),
        ({"proj_size": 2}, [False, False]),
        ({"activations": ["sigmoid", "tanh", "tanh", "relu", "tanh", "tanh"]}, [False, False]),
    ],
)
def test_both_directions_have_the_same_kernels(options, plain):
    variants = CellOptions(**options).variants(2)
    assert [variant.plain for variant in variants] == plain


def test_masks_need_the_general_kernels():
    (variant,) = CellOptions(recurrent_dropout=0.5).variants(1, masked=True)
    assert not variant.plain
