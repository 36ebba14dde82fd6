"""From Keras's configuration of a model to a network of clstm without weights; nothing in it is trusted or run.

What can't be represented is a ValueError that names the layer and the option.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from clstm._checks import check_flag, check_index, check_real
from clstm.keras.activations import ACTIVATIONS, RECURRENT
from clstm.keras.network import KerasNetwork, Step
from clstm.keras.stages import Activation, Dense, ElementDropout, Lookup, Masking, Recurrent, Stage, StepDropout
from clstm.layers.base import blank_weights
from clstm.layers.embedding import Embedding
from clstm.layers.linear import Linear
from clstm.layers.lstm import LSTM

# Options that say how weights begin and how Keras trains or runs, which is no matter of what the layer computes.
_IGNORED = frozenset({
    "name", "trainable", "dtype", "input_length",
    "kernel_initializer", "recurrent_initializer", "bias_initializer", "embeddings_initializer", "unit_forget_bias",
    "kernel_regularizer", "recurrent_regularizer", "bias_regularizer", "embeddings_regularizer", "activity_regularizer",
    "kernel_constraint", "recurrent_constraint", "bias_constraint", "embeddings_constraint",
    "seed", "unroll", "use_cudnn", "implementation",
})  # fmt: skip
# Keras passes a mask to these; the others let it through.
_TAKE_MASKS = ("LSTM", "Bidirectional", "TimeDistributed")
_MERGE_MODES = ("concat", "sum", "mul", "ave", None)


def network_of(config: Any) -> KerasNetwork:
    """Return the network that the configuration of a Sequential or Functional model describes, with blank weights.

    Parameters
    ----------
    config : dict
        As ``keras.saving.serialize_keras_object(model)`` gives it, and as JSON in ``.keras`` files and from
        ``model.to_json()``.

    Raises
    ------
    TypeError, ValueError
        It is no such configuration, or something in it can't be represented.
    """
    kind = _entry("the model", config, "class_name", str)
    body = _entry("the model", config, "config", dict)
    if kind not in ("Sequential", "Functional") or not str(config.get("module", "keras")).startswith("keras"):
        raise ValueError(f"the model is a {kind}, expected a Sequential or a Functional model of Keras")
    layers = [_LayerConfig(layer) for layer in _entry("the model", body, "layers", list)]
    if kind == "Sequential":
        chain, outputs, single = [(layer, 0) for layer in layers], [0], True
    else:
        chain, outputs, single = _chain(layers, body)
    functional = kind == "Functional"
    width = _input_width(chain, body)
    steps: list[Step] = []
    widths: Sequence[int | None] = (width,)
    masks: Sequence[_MaskOf | None] = (None,)
    with blank_weights():
        for place, (layer, source) in enumerate(chain):
            if layer.kind == "InputLayer":
                if place:
                    raise layer.error("an input inside the model")
                layer.refuse(sparse=False, ragged=False)
                continue
            if source >= len(widths):
                raise layer.error(f"its input is output {source} of a layer with {len(widths)}")
            if layer.kind not in _READERS:
                raise layer.error(f"expected one of {', '.join(_READERS)}")
            if layer.kind == "Embedding" and steps:
                raise layer.error("an embedding that isn't the first layer")
            if layer.dtype() != chain[-1][0].dtype():
                raise layer.error(f"dtype is {layer.dtype()}, that of the last layer {chain[-1][0].dtype()}")
            if functional and layer.kind in _TAKE_MASKS and layer.mask != masks[source]:
                raise layer.error("its mask isn't the one that Keras passes on by itself")
            stage, widths = _READERS[layer.kind](layer, widths[source])
            masks = _masks_after(stage, layer, masks[source], len(widths))
            steps.append(Step(stage, source))
    if not steps:
        raise ValueError("the model has no layers")
    names = [step.stage.name for step in steps]
    if len(set(names)) != len(names):
        raise ValueError(f"the model has several layers of one name: {', '.join(names)}")
    for output in outputs:
        if output >= len(widths):
            raise ValueError(f"the model's output is output {output} of a layer with {len(widths)}")
    if kind == "Sequential" and len(widths) > 1:
        raise ValueError(f"layer {names[-1]!r} has {len(widths)} outputs, which a Sequential model can't have")
    return KerasNetwork(steps, outputs, single)


class _MaskOf(NamedTuple):
    """Where a mask comes from: the steps at which some tensor isn't `value` (anywhere, if it has features)."""

    features: bool
    tensor: tuple[str, int]
    value: float


def _masks_after(stage: Stage, layer: _LayerConfig, mask: _MaskOf | None, count: int) -> Sequence[_MaskOf | None]:
    """Return the mask of each output of a stage."""
    if isinstance(stage, Recurrent):
        states = 2 * stage.layer.num_directions if stage.return_state else 0
        return (mask if stage.return_sequences else None,) * (count - states) + (None,) * states
    if isinstance(stage, Masking) or (isinstance(stage, Lookup) and stage.mask_zero):
        if mask is not None:
            raise layer.error("it makes a mask, but there is one already")
        masking = isinstance(stage, Masking)
        mask = _MaskOf(masking, layer.input, stage.mask_value if masking else 0)
    return (mask,)


class _LayerConfig:
    """The configuration of one layer, with errors that name it."""

    def __init__(self, config: Any) -> None:
        self.kind = _entry("a layer", config, "class_name", str)
        self.options = _entry(f"a layer ({self.kind})", config, "config", dict)
        self.name = _entry(f"a layer ({self.kind})", self.options, "name", str)
        self.inbound = config.get("inbound_nodes", [])
        self.input: tuple[str, int] = ("", 0)  # a Functional model's: which output of which layer
        self.mask: _MaskOf | None = None
        module, registered = str(config.get("module", "keras.layers")), config.get("registered_name")
        # Functional models spell the masks out that Embedding and Masking make.
        self.makes_mask = self.kind in ("NotEqual", "Any") and module == "keras.src.ops.numpy"
        if not self.makes_mask and (registered is not None or not module.startswith("keras.")):
            raise self.error(f"a class of {module!r}: only Keras's own layers can be read")
        self._seen: set[str] = set()

    def error(self, text: str) -> ValueError:
        return ValueError(f"layer {self.name!r} ({self.kind}) can't be read: {text}")

    def get(self, option: str, check: Callable[..., Any], default: Any = ..., **limits: Any) -> Any:
        """Return an option, checked by one of `clstm._checks`."""
        self._seen.add(option)
        if option not in self.options and default is not ...:
            return default
        if option not in self.options:
            raise self.error(f"it has no {option}")
        try:
            return check(option, self.options[option], **limits)
        except (TypeError, ValueError) as error:
            raise self.error(str(error)) from None

    def refuse(self, **expected: Any) -> None:
        """Raise for an option that isn't as expected."""
        for option, value in expected.items():
            self._seen.add(option)
            if self.options.get(option, value) != value:
                raise self.error(f"{option} is {_shown(self.options[option])}, expected {value}")

    def activation(self, option: str, known: Mapping[str, Any]) -> str:
        """Return an activation's name."""
        self._seen.add(option)
        value = self.options.get(option, "linear")
        value = "linear" if value is None else value
        if not isinstance(value, str) or value not in known:
            raise self.error(f"{option} is {_shown(value)}, expected one of {', '.join(known)}")
        return value

    def dtype(self) -> np.dtype:
        """Return float32 or float64, what a policy says."""
        policy = self.options.get("dtype", "float32")
        if isinstance(policy, Mapping) and policy.get("class_name") == "DTypePolicy":
            policy = policy.get("config", {})
            policy = policy.get("name") if isinstance(policy, Mapping) else policy
        if policy not in ("float32", "float64"):
            raise self.error(f"dtype is {_shown(policy)}, expected float32 or float64")
        return np.dtype(policy)

    def done(self) -> None:
        """Raise for an option that nobody has looked at and that is on."""
        for option, value in self.options.items():
            if option not in self._seen and option not in _IGNORED and value not in (None, False):
                raise self.error(f"{option} is {_shown(value)}, which isn't known")

    def inner(self, option: str) -> _LayerConfig:
        """Return the layer that a wrapper wraps."""
        self._seen.add(option)
        try:
            inner = _LayerConfig(self.options.get(option))
        except ValueError as error:
            raise self.error(f"{option}: {error}") from None
        if inner.dtype() != self.dtype():
            raise self.error(f"dtype is {self.dtype()}, that of its {option} {inner.dtype()}")
        return inner

    def width(self, width: int | None) -> int:
        if width is None:
            raise self.error("the model isn't built: its number of input features isn't known")
        return width


def _embedding(layer: _LayerConfig, width: int | None) -> tuple[Stage, Sequence[int | None]]:
    layer.refuse(lora_rank=None, quantization_config=None)
    sizes = layer.get("input_dim", check_index, low=1), layer.get("output_dim", check_index, low=1)
    mask_zero = layer.get("mask_zero", check_flag, False)
    layer.done()
    return Lookup(layer.name, Embedding(*sizes, dtype=layer.dtype()), mask_zero), (sizes[1],)


def _masking(layer: _LayerConfig, width: int | None) -> tuple[Stage, Sequence[int | None]]:
    mask_value = layer.get("mask_value", check_real, 0.0)
    layer.done()
    return Masking(layer.name, mask_value), (width,)


def _dense(layer: _LayerConfig, width: int | None) -> tuple[Stage, Sequence[int | None]]:
    layer.refuse(lora_rank=None, quantization_config=None)
    units = layer.get("units", check_index, low=1)
    bias = layer.get("use_bias", check_flag, True)
    activation = layer.activation("activation", ACTIVATIONS)
    layer.done()
    linear = Linear(layer.width(width), units, bias, dtype=layer.dtype())
    return Dense(layer.name, linear, activation), (units,)


def _time_distributed(layer: _LayerConfig, width: int | None) -> tuple[Stage, Sequence[int | None]]:
    inner = layer.inner("layer")
    layer.done()
    if inner.kind != "Dense":
        raise layer.error(f"its layer is a {inner.kind}, expected a Dense")
    stage, widths = _dense(inner, width)
    assert isinstance(stage, Dense)
    return Dense(layer.name, stage.layer, stage.activation, time_distributed=True), widths


def _activation(layer: _LayerConfig, width: int | None) -> tuple[Stage, Sequence[int | None]]:
    activation = layer.activation("activation", ACTIVATIONS)
    layer.done()
    return Activation(layer.name, activation), (width,)


def _dropout(layer: _LayerConfig, width: int | None) -> tuple[Stage, Sequence[int | None]]:
    rate = layer.get("rate", check_real, low=0.0, high=1.0)
    layer.refuse(noise_shape=None)
    layer.done()
    return (ElementDropout if layer.kind == "Dropout" else StepDropout)(layer.name, rate), (width,)


def _lstm_options(layer: _LayerConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments of `LSTM` and of `Recurrent`, which two directions must share but for the activations."""
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


def _lstm(layer: _LayerConfig, width: int | None) -> tuple[Stage, Sequence[int | None]]:
    options, stage = _lstm_options(layer)
    lstm = LSTM(layer.width(width), batch_first=True, **options)
    units = options["hidden_size"]
    return Recurrent(layer.name, lstm, **stage), (units,) * (3 if stage["return_state"] else 1)


def _bidirectional(layer: _LayerConfig, width: int | None) -> tuple[Stage, Sequence[int | None]]:
    inner = [layer.inner(option) for option in ("layer", "backward_layer")]
    merge_mode = layer.options.get("merge_mode", "concat")
    layer.refuse(merge_mode=merge_mode)
    layer.done()
    for direction in inner:
        if direction.kind != "LSTM":
            raise layer.error(f"its layer is a {direction.kind}, expected an LSTM")
    if merge_mode not in _MERGE_MODES:
        raise layer.error(f"merge_mode is {_shown(merge_mode)}, expected one of {', '.join(map(str, _MERGE_MODES))}")
    (options, stage), (backward_options, backward_stage) = map(_lstm_options, inner)
    if stage.pop("go_backwards") or not backward_stage.pop("go_backwards"):
        raise layer.error("go_backwards is True of its layer, expected True of its backward_layer only")
    activations = options.pop("activations") + backward_options.pop("activations")
    # What Keras makes of it itself in any case
    stage["zero_output_for_mask"] = backward_stage["zero_output_for_mask"] = stage["return_sequences"]
    for name, value in {**options, **stage}.items():
        other = {**backward_options, **backward_stage}[name]
        if value != other:
            name = {"hidden_size": "units", "bias": "use_bias"}.get(name, name)
            raise layer.error(f"{name} is {value} of its layer, but {other} of its backward_layer")
    lstm = LSTM(layer.width(width), batch_first=True, bidirectional=True, activations=activations, **options)
    units = options["hidden_size"]
    widths: tuple[int, ...] = {"concat": (2 * units,), None: (units, units)}.get(merge_mode, (units,))
    if stage["return_state"]:
        widths += (units,) * 4
    return Recurrent(layer.name, lstm, merge_mode=merge_mode, **stage), widths


_READERS: dict[str, Callable[[_LayerConfig, int | None], tuple[Stage, Sequence[int | None]]]] = {
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


def _chain(layers: list[_LayerConfig], body: dict) -> tuple[list[tuple[_LayerConfig, int]], list[int], bool]:
    """Return the layers of a Functional model in their order, each with the output before it that it takes."""
    inputs, _ = _references("input_layers", body.get("input_layers"))
    outputs, single = _references("output_layers", body.get("output_layers"))
    if len(inputs) != 1 or len({name for name, _ in outputs}) != 1:
        raise ValueError("the model has several inputs, or outputs of several layers, expected one chain of layers")
    by_name = {layer.name: layer for layer in layers if not layer.makes_mask}
    operations = {layer.name: layer for layer in layers if layer.makes_mask}
    chain: list[tuple[_LayerConfig, int]] = []
    name = outputs[0][0]
    while True:
        layer = by_name.pop(name, None)
        if layer is None:
            raise ValueError(f"the model isn't one chain of layers: {_shown(name)} is missing in it or stands twice")
        if layer.kind == "InputLayer":
            chain.append((layer, 0))
            break
        _read_call(layer, operations)
        name, source = layer.input
        chain.append((layer, source))
    if by_name:
        raise ValueError(f"the model isn't one chain of layers: {', '.join(by_name)} stand beside it")
    return chain[::-1], [place for _, place in outputs], single


def _read_call(layer: _LayerConfig, operations: Mapping[str, _LayerConfig]) -> None:
    """Set what a layer of a Functional model is called with: its one input, and its mask."""
    arguments, named = _call(layer)
    for option, value in named.items():
        if option == "mask" and isinstance(value, Mapping):
            layer.mask = _mask_of(layer, value, operations)
        elif value not in (None, False):
            raise layer.error(f"it is called with {option}={_shown(value)}, expected nothing but its input")
    tensors = [value for value in arguments if value is not None]
    if len(tensors) != 1 or not isinstance(tensors[0], Mapping):
        raise layer.error(f"it has {len(tensors)} inputs or a list of them, expected one")
    layer.input = _tensor(tensors[0])


def _mask_of(layer: _LayerConfig, tensor: Any, operations: Mapping[str, _LayerConfig]) -> _MaskOf:
    """Return what a mask is computed from, if it is as Embedding and Masking do it."""
    operation = operations.get(_tensor(tensor)[0])
    features = operation is not None and operation.kind == "Any"
    if operation is not None and features:
        operation.refuse(axis=-1, keepdims=False)
        arguments, _ = _call(operation)
        operation = operations.get(_tensor(arguments[0])[0]) if len(arguments) == 1 else None
    arguments = [] if operation is None or operation.kind != "NotEqual" else _call(operation)[0]
    match arguments:
        case [tensor, int(value) | float(value)]:
            return _MaskOf(features, _tensor(tensor), value)
    raise layer.error("it is called with a mask of its own")


def _call(layer: _LayerConfig) -> tuple[list, Mapping]:
    """Return the arguments of a layer's or operation's one call."""
    if not isinstance(layer.inbound, list) or len(layer.inbound) != 1:
        raise layer.error("it is used several times, expected once")
    match layer.inbound[0]:
        case {"args": list(arguments), "kwargs": dict(named)}:
            return arguments, named
    raise layer.error("its inbound_nodes aren't those of Keras 3")


def _tensor(tensor: Any) -> tuple[str, int]:
    """Return the layer that a tensor comes from, and which of its outputs it is."""
    match tensor:
        case {"config": {"keras_history": history}}:
            ((name, place),), _ = _references("keras_history", history)
            return name, place
    raise ValueError(f"the model has {_shown(tensor)} where a tensor is expected")


def _references(name: str, value: Any) -> tuple[list[tuple[str, int]], bool]:
    """Return [layer, node, tensor], or a list of them, as names and places of outputs, and whether it was one."""
    single = isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)
    references = [value] if single else value
    result = []
    for reference in references if isinstance(references, list) else [references]:
        match reference:
            case [str(layer), 0, int(place)] if place >= 0:
                result.append((layer, place))
            case _:
                shown = _shown(reference)
                raise ValueError(
                    f"the model's {name} has {shown}, expected [layer, 0, output] of a layer that is used once"
                )
    if not result:
        raise ValueError(f"the model's {name} is empty")
    return result, single


def _input_width(chain: Sequence[tuple[_LayerConfig, int]], body: dict) -> int | None:
    """Return the features of the model's input, None where they aren't known (or don't matter)."""
    first = chain[0][0].options if chain and chain[0][0].kind == "InputLayer" else {}
    shape = first.get("batch_shape", body.get("build_input_shape"))
    width = shape[-1] if isinstance(shape, list) and shape else None
    return width if type(width) is int and width > 0 else None


def _entry(owner: str, config: Any, name: str, kind: type) -> Any:
    value = config.get(name) if isinstance(config, Mapping) else None
    if not isinstance(value, kind):
        raise ValueError(f"{owner} has {name} = {_shown(value)}, expected {kind.__name__}")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
