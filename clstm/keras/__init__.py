"""Models and weights from and to Keras: ``.keras`` and ``.weights.h5`` files, and models in memory.

Files are read with h5py (``pip install clstm-cpu[keras]``), without Keras, and nothing in them is run. docs/keras.md
says what can be read.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from clstm.keras.network import KerasNetwork as KerasNetwork
from clstm.layers.base import Layer

__all__ = ["KerasNetwork", "copy_to", "load", "load_weights", "save_weights"]

Path = str | os.PathLike[str]


def load(model: Any, weights: Path | None = None) -> KerasNetwork:
    """Return a Keras model as a network of clstm that computes the same outputs.

    Parameters
    ----------
    model : path-like or keras.Model
        A ``.keras`` file, a file with the JSON of ``model.to_json()`` (then `weights` are needed too), or a model that
        is in memory. Sequential, or Functional as one chain of layers, of those in docs/keras.md.
    weights : path-like, optional
        A ``.weights.h5`` or ``.keras`` file whose weights are used instead.

    Returns
    -------
    KerasNetwork

    Raises
    ------
    OSError
        A file can't be read.
    clstm.files.ModelFileError
        A file is corrupt, or holds a model that can't be represented: the layer and the option are named.
    ValueError
        The same, of a model in memory.
    TypeError
        Neither a path nor a model of Keras 3.
    ImportError
        h5py isn't installed.

    Examples
    --------
    >>> network = clstm.keras.load("classifier.keras")  # doctest: +SKIP
    >>> probabilities = network(token_ids)  # doctest: +SKIP
    """
    from clstm.keras import files, live
    from clstm.keras.architecture import network_of
    from clstm.keras.weights import read_into, variables_of

    data = None
    if isinstance(model, (str, os.PathLike)):
        with files.naming(model):
            data = files.read_bytes(model)
            network = network_of(files.read_config(data))
            if weights is None and not files.is_archive(data):
                raise ValueError("it is a model without weights: give a .weights.h5 file as weights")
    else:
        network = network_of(live.configuration(model))
    variables = variables_of(network)
    if weights is None and data is None:
        read_into(variables, live.read_variables(model, variables), assign=True)
        return network
    with files.naming(model if weights is None else weights):
        if weights is not None:
            data = files.read_bytes(weights)
        assert data is not None
        arrays = files.read_weights(data, {part.path: part.shapes() for part in variables})
        read_into(variables, arrays, assign=True)
    return network


def load_weights(layers: KerasNetwork | Iterable[Layer], source: Any) -> None:
    """Set the weights of a network, or of layers, to those in a Keras file or of a live Keras model.

    Parameters
    ----------
    layers : KerasNetwork, or iterable of Embedding, LSTM and Linear
        A network, or a layer for each one of the Keras model that has weights, in its order: an `Embedding` for an
        Embedding, a `Linear` for a Dense, an `LSTM` for as many LSTM or Bidirectional layers as it has layers. So the
        parts of any network can be loaded: ``[network.embedding, network.lstm, network.fc]``.
    source : path-like or keras.Model
        A ``.weights.h5`` or ``.keras`` file, or a model that is in memory.

    Raises
    ------
    OSError
        The file can't be read.
    clstm.files.ModelFileError
        It is corrupt, or its variables aren't those of the layers; no weight has changed then.
    TypeError, ValueError
        Layers without a counterpart in Keras, or a model whose variables aren't those of the layers.
    ImportError
        h5py isn't installed.
    """
    from clstm.keras import files, live
    from clstm.keras.weights import read_into, variables_of

    variables = variables_of(layers)
    if not isinstance(source, (str, os.PathLike)):
        read_into(variables, live.read_variables(source, variables))
        return
    with files.naming(source):
        arrays = files.read_weights(files.read_bytes(source), {part.path: part.shapes() for part in variables})
        read_into(variables, arrays)


def save_weights(layers: KerasNetwork | Iterable[Layer], path: Path) -> None:
    """Write weights to a file that the Keras model takes with its ``load_weights``.

    Parameters
    ----------
    layers : KerasNetwork, or iterable of Embedding, LSTM and Linear
        As for `load_weights`.
    path : path-like
        Its name must end in ``.weights.h5``, as Keras requires. An earlier file stays complete until the new one has
        replaced it.

    Raises
    ------
    OSError
        The file can't be written; an earlier one is as it was.
    TypeError, ValueError
        Layers without a counterpart in Keras, or another name.
    ImportError
        h5py isn't installed.
    """
    from clstm.keras import files
    from clstm.keras.weights import variables_of

    if not os.fsdecode(path).endswith(".weights.h5"):
        raise ValueError(f"path is {os.fsdecode(path)!r}, expected a name that ends in '.weights.h5'")
    files.write_weights(path, {part.path: part.to_keras() for part in variables_of(layers)})


def copy_to(layers: KerasNetwork | Iterable[Layer], model: Any) -> None:
    """Set the weights of a live Keras model.

    Parameters
    ----------
    layers : KerasNetwork, or iterable of Embedding, LSTM and Linear
        As for `load_weights`.
    model : keras.Model
        It has been built. Its layers must be those, in their order.

    Raises
    ------
    TypeError, ValueError
        It isn't such a model; nothing has changed then.
    """
    from clstm.keras import live
    from clstm.keras.weights import variables_of

    live.write_variables(model, variables_of(layers))
