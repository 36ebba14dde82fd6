"""Keras models in memory: their configuration and their variables, through Keras's methods."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from clstm.keras.weights import KINDS, Arrays, Variables, numbered


def check_model(model: Any) -> Any:
    """Return Keras; raise TypeError for what isn't a model of it."""
    keras: Any = sys.modules.get("keras")  # without it there is no model of Keras
    kinds: Any = getattr(keras, "Model", ())
    if not isinstance(model, kinds):
        raise TypeError(f"model is {type(model).__name__}, expected a path or a keras.Model")
    if not keras.__version__.startswith("3."):
        raise TypeError(f"model is of Keras {keras.__version__}, expected 3")
    if not model.built:
        raise ValueError("the model isn't built: call it on some data first")
    return keras


def configuration(model: Any) -> dict[str, Any]:
    """Return the configuration that a ``.keras`` file of the model would hold."""
    return json.loads(json.dumps(check_model(model).saving.serialize_keras_object(model)))


def read_variables(model: Any, variables: list[Variables]) -> Arrays:
    """Return a model's variables by path; they must have the shapes of clstm's layers."""
    keras = check_model(model)
    arrays = {}
    for path, owner in _owners(model, variables).items():
        store: dict[str, Any] = {}
        owner.save_own_variables(store)
        arrays[path] = [np.array(keras.ops.convert_to_numpy(store[str(place)])) for place in range(len(store))]
    for part in variables:
        shapes = [array.shape for array in arrays[part.path]]
        if shapes != part.shapes():
            raise ValueError(f"the model's {part.path} has variables of shapes {shapes}, expected {part.shapes()}")
    return arrays


def write_variables(model: Any, variables: list[Variables]) -> None:
    """Set a model's variables to the layers' weights; if any has another shape, nothing changes."""
    read_variables(model, variables)
    for part, owner in zip(variables, _owners(model, variables).values(), strict=True):
        owner.load_own_variables({str(place): array for place, array in enumerate(part.to_keras())})


def _owners(model: Any, variables: list[Variables]) -> dict[str, Any]:
    """Return, by path, the objects of Keras that hold the variables."""
    counts: dict[str, int] = {}
    layers = {numbered(counts, KINDS[kind]): layer for layer in model.layers if (kind := type(layer).__name__) in KINDS}
    expected = {"/".join(part.path.split("/")[:2]): None for part in variables}
    if set(layers) != set(expected):
        raise ValueError(f"the model has {', '.join(layers)}, expected {', '.join(expected)}")
    owners = {}
    for part in variables:
        _, name, *attributes = part.path.split("/")
        owner = layers[f"layers/{name}"]
        for attribute in attributes:
            owner = getattr(owner, attribute)
        owners[part.path] = owner
    return owners
