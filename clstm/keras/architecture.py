"""From Keras's configuration of a model to a network of clstm without weights; nothing in it is trusted or run.

What can't be represented is a ValueError that names the layer and the option.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clstm.keras.functional import chain_of
from clstm.keras.layer_config import LayerConfig, MaskSource, entry
from clstm.keras.layer_readers import READERS
from clstm.keras.network import KerasNetwork, Step
from clstm.keras.recurrent import Recurrent
from clstm.keras.stages import Lookup, Masking, Stage
from clstm.layers.base import blank_weights

# Keras passes a mask to these as an argument; the others pass it on unchanged.
_TAKE_MASKS = ("LSTM", "Bidirectional", "TimeDistributed")


def network_of(config: Any) -> KerasNetwork:
    """Return the network that the configuration of a Sequential or Functional model describes, with blank weights.

    Parameters
    ----------
    config : dict
        As ``keras.saving.serialize_keras_object(model)`` returns it, and as JSON in ``.keras`` files and from
        ``model.to_json()``.

    Raises
    ------
    TypeError, ValueError
        It is no such configuration, or something in it can't be represented.
    """
    kind = entry("the model", config, "class_name", str)
    body = entry("the model", config, "config", dict)
    if kind not in ("Sequential", "Functional") or not str(config.get("module", "keras")).startswith("keras"):
        raise ValueError(f"the model is a {kind}, expected a Sequential or a Functional model of Keras")
    layers = [LayerConfig(layer) for layer in entry("the model", body, "layers", list)]
    if kind == "Sequential":
        chain, outputs, single = [(layer, 0) for layer in layers], [0], True
    else:
        chain, outputs, single = chain_of(layers, body)
    steps, widths = _steps(chain, _input_width(chain, body), functional=kind == "Functional")
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


def _steps(
    chain: Sequence[tuple[LayerConfig, int]], width: int | None, functional: bool
) -> tuple[list[Step], Sequence[int | None]]:
    """Return the steps of a network, and the number of features of each output of the last one."""
    steps: list[Step] = []
    widths: Sequence[int | None] = (width,)
    masks: Sequence[MaskSource | None] = (None,)
    with blank_weights():
        for place, (layer, source) in enumerate(chain):
            if layer.kind == "InputLayer":
                if place:
                    raise layer.error("an input inside the model")
                layer.refuse(sparse=False, ragged=False)
                continue
            if source >= len(widths):
                raise layer.error(f"its input is output {source} of a layer with {len(widths)}")
            if layer.kind not in READERS:
                raise layer.error(f"expected one of {', '.join(READERS)}")
            if layer.kind == "Embedding" and steps:
                raise layer.error("an embedding that isn't the first layer")
            if layer.dtype() != chain[-1][0].dtype():
                raise layer.error(f"dtype is {layer.dtype()}, that of the last layer {chain[-1][0].dtype()}")
            if functional and layer.kind in _TAKE_MASKS and layer.mask != masks[source]:
                raise layer.error("its mask isn't the one that Keras passes on by itself")
            stage, widths = READERS[layer.kind](layer, widths[source])
            masks = _masks_after(stage, layer, masks[source], len(widths))
            steps.append(Step(stage, source))
    return steps, widths


def _masks_after(stage: Stage, layer: LayerConfig, mask: MaskSource | None, count: int) -> Sequence[MaskSource | None]:
    """Return the mask of each output of a stage."""
    if isinstance(stage, Recurrent):
        states = 2 * stage.layer.num_directions if stage.return_state else 0
        return (mask if stage.return_sequences else None,) * (count - states) + (None,) * states
    if isinstance(stage, Masking) or (isinstance(stage, Lookup) and stage.mask_zero):
        if mask is not None:
            raise layer.error("it makes a mask, but there is one already")
        if isinstance(stage, Masking):
            mask = MaskSource(True, layer.input, stage.mask_value)
        else:
            mask = MaskSource(False, layer.input, 0)
    return (mask,)


def _input_width(chain: Sequence[tuple[LayerConfig, int]], body: dict) -> int | None:
    """Return the features of the model's input, None where they aren't known (or don't matter)."""
    first = chain[0][0].options if chain and chain[0][0].kind == "InputLayer" else {}
    shape = first.get("batch_shape", body.get("build_input_shape"))
    width = shape[-1] if isinstance(shape, list) and shape else None
    return width if type(width) is int and width > 0 else None
