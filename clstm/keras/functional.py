"""The layers of a Functional Keras model in their order: it must be one chain, with the masks that Keras makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clstm.keras.layer_config import LayerConfig, MaskSource, shown


def chain_of(layers: list[LayerConfig], body: dict) -> tuple[list[tuple[LayerConfig, int]], list[int], bool]:
    """Return the chain of layers of a Functional model.

    Returns
    -------
    chain : list of (LayerConfig, int)
        The layers in their order, each with the output of the layer before it that it takes.
    outputs : list of int
        Which outputs of the last layer are the model's.
    single : bool
        Whether the model returns one array, not a list.

    Raises
    ------
    ValueError
        The model isn't one chain of layers.
    """
    inputs, _ = _references("input_layers", body.get("input_layers"))
    outputs, single = _references("output_layers", body.get("output_layers"))
    if len(inputs) != 1 or len({name for name, _ in outputs}) != 1:
        raise ValueError("the model has several inputs, or outputs of several layers, expected one chain of layers")
    by_name = {layer.name: layer for layer in layers if not layer.makes_mask}
    operations = {layer.name: layer for layer in layers if layer.makes_mask}
    chain: list[tuple[LayerConfig, int]] = []
    name = outputs[0][0]
    while True:
        layer = by_name.pop(name, None)
        if layer is None:
            raise ValueError(f"the model isn't one chain of layers: {shown(name)} is missing in it or used twice")
        if layer.kind == "InputLayer":
            chain.append((layer, 0))
            break
        _read_call(layer, operations)
        name, source = layer.input
        chain.append((layer, source))
    if by_name:
        raise ValueError(f"the model isn't one chain of layers: {', '.join(by_name)} are outside of it")
    return chain[::-1], [place for _, place in outputs], single


def _read_call(layer: LayerConfig, operations: Mapping[str, LayerConfig]) -> None:
    """Set what a layer of a Functional model is called with: its one input, and its mask."""
    arguments, named = _call(layer)
    for option, value in named.items():
        if option == "mask" and isinstance(value, Mapping):
            layer.mask = _mask_of(layer, value, operations)
        elif value not in (None, False):
            raise layer.error(f"it is called with {option}={shown(value)}, expected nothing but its input")
    tensors = [value for value in arguments if value is not None]
    if len(tensors) != 1 or not isinstance(tensors[0], Mapping):
        raise layer.error(f"it has {len(tensors)} inputs or a list of them, expected one")
    layer.input = _tensor(tensors[0])


def _mask_of(layer: LayerConfig, tensor: Any, operations: Mapping[str, LayerConfig]) -> MaskSource:
    """Return what a mask is computed from, if it is a mask of Embedding or Masking."""
    operation = operations.get(_tensor(tensor)[0])
    features = operation is not None and operation.kind == "Any"
    if operation is not None and features:
        operation.refuse(axis=-1, keepdims=False)
        arguments, _ = _call(operation)
        operation = operations.get(_tensor(arguments[0])[0]) if len(arguments) == 1 else None
    arguments = [] if operation is None or operation.kind != "NotEqual" else _call(operation)[0]
    match arguments:
        case [tensor, int(value) | float(value)]:
            return MaskSource(features, _tensor(tensor), value)
    raise layer.error("it is called with a mask that no Embedding or Masking makes")


def _call(layer: LayerConfig) -> tuple[list, Mapping]:
    """Return the arguments of a layer's or operation's one call."""
    if not isinstance(layer.inbound, list) or len(layer.inbound) != 1:
        raise layer.error("it is used several times, expected once")
    match layer.inbound[0]:
        case {"args": list(arguments), "kwargs": dict(named)}:
            return arguments, named
    raise layer.error("its inbound_nodes aren't those of Keras 3")


def _tensor(tensor: Any) -> tuple[str, int]:
    """Return the layer that a tensor comes from, and which of the layer's outputs it is."""
    match tensor:
        case {"config": {"keras_history": history}}:
            ((name, place),), _ = _references("keras_history", history)
            return name, place
    raise ValueError(f"the model has {shown(tensor)} where a tensor is expected")


def _references(name: str, value: Any) -> tuple[list[tuple[str, int]], bool]:
    """Return the layer and output of each reference [layer, node, output], and whether there was one outside a list."""
    single = isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)
    references = [value] if single else value
    result = []
    for reference in references if isinstance(references, list) else [references]:
        match reference:
            case [str(layer), 0, int(place)] if place >= 0:
                result.append((layer, place))
            case _:
                expected = "[layer, 0, output] of a layer that is used once"
                raise ValueError(f"the model's {name} has {shown(reference)}, expected {expected}")
    if not result:
        raise ValueError(f"the model's {name} is empty")
    return result, single
