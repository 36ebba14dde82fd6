"""From the configuration of each kind of Keras layer to a stage of clstm, with blank weights.

What can't be represented is a ValueError that names the layer and the option.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from clstm._checks import check_flag, check_index, check_real
from clstm.keras.activations import ACTIVATIONS, RECURRENT
from clstm.keras.layer_config import LayerConfig, shown
from clstm.keras.recurrent import Recurrent
from clstm.keras.stages import Activation, Dense, ElementDropout, Lookup, Masking, Stage, StepDropout
from clstm.layers.embedding import Embedding
from clstm.layers.linear import Linear
from clstm.layers.lstm import LSTM

_MERGE_MODES = ("concat", "sum", "mul", "ave", None)

# A number of features, None where it isn't known.
Width = int | None


def _embedding(layer: LayerConfig, width: Width) -> tuple[Stage, Sequence[Width]]:
    layer.refuse(lora_rank=None, quantization_config=None)
    sizes = layer.get("input_dim", check_index, low=1), layer.get("output_dim", check_index, low=1)
    mask_zero = layer.get("mask_zero", check_flag, False)
    layer.done()
    return Lookup(layer.name, Embedding(*sizes, dtype=layer.dtype()), mask_zero), (sizes[1],)


def _masking(layer: LayerConfig, width: Width) -> tuple[Stage, Sequence[Width]]:
    mask_value = layer.get("mask_value", check_real, 0.0)
    layer.done()
    return Masking(layer.name, mask_value), (width,)


def _dense(layer: LayerConfig, width: Width) -> tuple[Stage, Sequence[Width]]:
    layer.refuse(lora_rank=None, quantization_config=None)
    units = layer.get("units", check_index, low=1)
    bias = layer.get("use_bias", check_flag, True)
    activation = layer.activation("activation", ACTIVATIONS)
    layer.done()
    linear = Linear(layer.known_width(width), units, bias, dtype=layer.dtype())
    return Dense(layer.name, linear, activation), (units,)


def _time_distributed(layer: LayerConfig, width: Width) -> tuple[Stage, Sequence[Width]]:
    inner = layer.inner("layer")
    layer.done()
    if inner.kind != "Dense":
        raise layer.error(f"its layer is a {inner.kind}, expected a Dense")
    stage, widths = _dense(inner, width)
    assert isinstance(stage, Dense)
    return Dense(layer.name, stage.layer, stage.activation, time_distributed=True), widths


def _activation(layer: LayerConfig, width: Width) -> tuple[Stage, Sequence[Width]]:
    activation = layer.activation("activation", ACTIVATIONS)
    layer.done()
    return Activation(layer.name, activation), (width,)


def _dropout(layer: LayerConfig, width: Width) -> tuple[Stage, Sequence[Width]]:
    rate = layer.get("rate", check_real, low=0.0, high=1.0)
    layer.refuse(noise_shape=None)
    layer.done()
    return (ElementDropout if layer.kind == "Dropout" else StepDropout)(layer.name, rate), (width,)


def _lstm_options(layer: LayerConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of `LSTM` and of `Recurrent`.

    Both directions of a Bidirectional must have the same ones, except for the activations.
    """
    layer.refuse(stateful=False, time_major=False)
    gate, cell = (layer.activation(option, RECURRENT) for option in ("recurrent_activation", "activation"))
    options: dict[str, Any] = {
        "hidden_size": layer.get("units", check_index, low=1),
        "bias": layer.get("use_bias", check_flag, True),
        "dtype": layer.dtype(),
        "recurrent_dropout": layer.get("recurrent_dropout", check_real, 0.0, low=0.0, high=1.0),
        "activations": (RECURRENT[gate], RECURRENT[cell], RECURRENT[cell]),
    }
    stage = {
        "return_sequences": layer.get("return_sequences", check_flag, False),
        "return_state": layer.get("return_state", check_flag, False),
        "dropout": layer.get("dropout", check_real, 0.0, low=0.0, high=1.0),
        "go_backwards": layer.get("go_backwards", check_flag, False),
        "zero_output_for_mask": layer.get("zero_output_for_mask", check_flag, False),
    }
    layer.done()
    return options, stage


def _lstm(layer: LayerConfig, width: Width) -> tuple[Stage, Sequence[Width]]:
    options, stage = _lstm_options(layer)
    lstm = LSTM(layer.known_width(width), batch_first=True, **options)
    units = options["hidden_size"]
    return Recurrent(layer.name, lstm, **stage), (units,) * (3 if stage["return_state"] else 1)


def _bidirectional(layer: LayerConfig, width: Width) -> tuple[Stage, Sequence[Width]]:
    inner = [layer.inner(option) for option in ("layer", "backward_layer")]
    merge_mode = layer.options.get("merge_mode", "concat")
    layer.refuse(merge_mode=merge_mode)
    layer.done()
    for direction in inner:
        if direction.kind != "LSTM":
            raise layer.error(f"its layer is a {direction.kind}, expected an LSTM")
    if merge_mode not in _MERGE_MODES:
        raise layer.error(f"merge_mode is {shown(merge_mode)}, expected one of {', '.join(map(str, _MERGE_MODES))}")
    (options, stage), (backward_options, backward_stage) = map(_lstm_options, inner)
    if stage.pop("go_backwards") or not backward_stage.pop("go_backwards"):
        raise layer.error("go_backwards is True of its layer, expected True of its backward_layer only")
    activations = options.pop("activations") + backward_options.pop("activations")
    # Keras's Bidirectional sets this option itself, whatever its layers say.
    stage["zero_output_for_mask"] = backward_stage["zero_output_for_mask"] = stage["return_sequences"]
    _check_equal(layer, {**options, **stage}, {**backward_options, **backward_stage})
    lstm = LSTM(layer.known_width(width), batch_first=True, bidirectional=True, activations=activations, **options)
    units = options["hidden_size"]
    widths: tuple[int, ...] = {"concat": (2 * units,), None: (units, units)}.get(merge_mode, (units,))
    if stage["return_state"]:
        widths += (units,) * 4
    return Recurrent(layer.name, lstm, merge_mode=merge_mode, **stage), widths


def _check_equal(layer: LayerConfig, forward: dict[str, Any], backward: dict[str, Any]) -> None:
    """Raise for an option in which the directions of a Bidirectional differ."""
    for name, value in forward.items():
        if value != backward[name]:
            option = {"hidden_size": "units", "bias": "use_bias"}.get(name, name)
            raise layer.error(f"{option} is {value} of its layer, but {backward[name]} of its backward_layer")


# Each reader gets the number of input features, and returns those of each output with the stage.
READERS: dict[str, Callable[[LayerConfig, Width], tuple[Stage, Sequence[Width]]]] = {
    "Embedding": _embedding,
    "Masking": _masking,
    "LSTM": _lstm,
    "Bidirectional": _bidirectional,
    "Dense": _dense,
    "TimeDistributed": _time_distributed,
    "Activation": _activation,
    "Dropout": _dropout,
    "SpatialDropout1D": _dropout,
}
