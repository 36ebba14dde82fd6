"""From this library's networks to ONNX models."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from clstm._checks import check_flag
from clstm.files.atomic import write_atomically
from clstm.language.network import LSTMLanguageNetwork
from clstm.layers.base import Layer
from clstm.layers.linear import Linear
from clstm.layers.lstm import LSTM
from clstm.models.sequence import SequenceNetwork
from clstm.onnx.graph import Graph, element_type
from clstm.onnx.lstm_graph import add_lstm, sizes_of


def save(model: Layer, path: str | os.PathLike[str], *, state: bool = True, lengths: bool = False) -> None:
    """Write a layer or network as an ONNX model, for ONNX Runtime, OpenVINO and others to run.

    Time and batch are free. Inputs and outputs have the names and shapes of a call of `model`:

    - `LSTM`: x, and y, h_n, c_n. Batch first if the layer is.
    - `models.SequenceNetwork`, `LSTMClassifierNetwork` (``TextClassifier.network_``): x (batch, time, input_size) or,
      of token ids, int64 (batch, time); out, h_n, c_n.
    - the network of a `LanguageModel` (``network_``): ids, int64 (time, batch); scores (time, batch, tokens), h_n, c_n.

    Parameters
    ----------
    model : LSTM, SequenceNetwork or LSTMLanguageNetwork
    path : str or path
        The file. An earlier file stays complete until the new one has replaced it.
    state : bool, default True
        Whether inputs h0 and c0 have the initial state. Without them it is zeros, or what the layer has learnt.
        Where the layers are of unequal sizes, h0_l0, h0_l1, ..., and h_n_l0, ... likewise.
    lengths : bool, default False
        Whether there is an input lengths, int64 (batch,), the real steps of each row.

    Raises
    ------
    ImportError
        onnx isn't installed.
    TypeError
        `model` is something else.
    ValueError
        It has options that ONNX doesn't have: projections, a clipped cell state, layer normalisation, zoneout, the
        activations selu and exponential, an adaptive softmax; or it is larger than 2 GB. Nothing is written then.

    Notes
    -----
    Options of training only (dropout, recurrent dropout, DropConnect) aren't in the model. Weights keep their dtype;
    ONNX Runtime and OpenVINO run LSTMs in float32 only, so a float64 model is for `load` and others. OpenVINO 2026.4
    ignores two things: peepholes, and lengths where batch and time are free (fix them with its ``model.reshape``
    before compiling).

    Examples
    --------
    >>> import numpy as np, clstm
    >>> import clstm.onnx
    >>> lstm = clstm.LSTM(8, 32, num_layers=2, seed=0)
    >>> clstm.onnx.save(lstm, "lstm.onnx", lengths=True)
    >>> [value.name for value in clstm.onnx.load("lstm.onnx").get_inputs()]
    ['x', 'h0', 'c0', 'lengths']
    """
    state, lengths = check_flag("state", state), check_flag("lengths", lengths)
    for kind, write in _WRITERS.items():
        if isinstance(model, kind):
            graph = Graph(state, lengths)
            write(graph, model)
            write_atomically(path, graph.serialize())
            return
    hint = "; of an estimator, pass its network_" if hasattr(model, "network_") else ""
    raise TypeError(
        f"model is {type(model).__name__}, expected an LSTM, a SequenceNetwork or the network of a LanguageModel{hint}"
    )


def _write_lstm(graph: Graph, lstm: LSTM) -> None:
    axes = ("batch", "time") if lstm.batch_first else ("time", "batch")
    width = sizes_of(lstm)[-1] * lstm.num_directions
    x = graph.input("x", lstm.dtype, *axes, lstm.input_size)
    y = graph.output("y", lstm.dtype, *axes, width)
    if not lstm.batch_first:
        add_lstm(graph, lstm, x, y)
        return
    by_time, _ = add_lstm(graph, lstm, graph.node("Transpose", [x], "x_by_time", perm=[1, 0, 2]), "y_by_time")
    graph.node("Transpose", [by_time], y, perm=[1, 0, 2])


def _write_sequence_network(graph: Graph, network: SequenceNetwork) -> None:
    lstm, dtype, weights = network.lstm, network.dtype, network.parameters()
    if network.embedding is None:
        x = graph.input("x", dtype, "batch", "time", network.input_size)
        x = graph.node("Transpose", [x], "x_by_time", perm=[1, 0, 2])
    else:
        ids = graph.node("Transpose", [graph.input("x", np.int64, "batch", "time")], "ids_by_time", perm=[1, 0])
        x = graph.node("Gather", [graph.constant("embedding", weights["embedding.weight"]), ids], "embedded")
    axes = ("batch",) if network.pooling is not None else ("batch", "time")
    out = graph.output("out", dtype, *axes, network.output_size)
    y, last = add_lstm(graph, lstm, x, "y_by_time")
    if network.pooling is None:
        pooled = graph.node("Transpose", [y], "y", perm=[1, 0, 2])
    else:
        pooled = _POOLINGS[network.pooling](graph, y, last, dtype)
    columns = graph.constant("fc_weight", weights["fc.weight"].T)
    graph.node(
        "Add", [graph.node("MatMul", [pooled, columns], "fc"), graph.constant("fc_bias", weights["fc.bias"])], out
    )


def _last(graph: Graph, y: str, last: str, dtype: np.dtype) -> str:
    transposed = graph.node("Transpose", [last], "last_by_row", perm=[1, 0, 2])
    return graph.node("Reshape", [transposed, graph.constant("merge_last", np.array([0, -1], np.int64))], "pooled")


def _mean(graph: Graph, y: str, last: str, dtype: np.dtype) -> str:
    total = graph.node("ReduceSum", [y, graph.axes(0)], "total", keepdims=0)  # zeros past a row's length
    counts = "lengths"
    if not graph.with_lengths:
        counts = graph.node("Shape", [y], "steps", start=0, end=1)
    counts = graph.node("Cast", [counts], "counts", to=element_type(np.float64))
    one = graph.constant("one", np.array(1, np.float64))
    scale = graph.node("Div", [one, graph.node("Max", [counts, one], "counts_from_one")], "scale_float64")
    scale = graph.node(
        "Unsqueeze", [graph.node("Cast", [scale], "scale", to=element_type(dtype)), graph.axes(1)], "scale_rows"
    )
    return graph.node("Mul", [total, scale], "pooled")


def _max(graph: Graph, y: str, last: str, dtype: np.dtype) -> str:
    if not graph.with_lengths:
        return graph.node("ReduceMax", [y, graph.axes(0)], "pooled", keepdims=0)
    zero, one = (graph.constant(name, np.array(value, np.int64)) for name, value in (("no_steps", 0), ("one_step", 1)))
    steps = graph.node("Shape", [y], "shape", start=0, end=1)
    steps = graph.node("Range", [zero, graph.node("Squeeze", [steps, graph.axes(0)], "steps"), one], "places")
    is_real = graph.node(
        "Less", [graph.node("Unsqueeze", [steps, graph.axes(1)], "places_by_time"), "lengths"], "is_real"
    )
    is_real = graph.node("Unsqueeze", [is_real, graph.axes(2)], "is_real_step")
    lowest = graph.constant("lowest", np.array(-np.inf, dtype))
    largest = graph.node(
        "ReduceMax", [graph.node("Where", [is_real, y, lowest], "real"), graph.axes(0)], "largest", keepdims=0
    )
    return graph.node("Where", ["empty", graph.constant("zero", np.zeros((), dtype)), largest], "pooled")


_POOLINGS = {"last": _last, "mean": _mean, "max": _max}


def _write_language_network(graph: Graph, network: LSTMLanguageNetwork) -> None:
    if not isinstance(network.decoder, Linear):
        raise ValueError("cutoffs is given: an adaptive softmax can't be written as an ONNX model")
    weights, dtype = network.parameters(), network.dtype
    embedding = graph.constant("embedding", weights["embedding.weight"])
    x = graph.node("Gather", [embedding, graph.input("ids", np.int64, "time", "batch")], "embedded")
    scores = graph.output("scores", dtype, "time", "batch", network.vocab_size)
    y, _ = add_lstm(graph, network.lstm, x, "y")
    rows = graph.node("Flatten", [y], "rows", axis=2)
    if network.projection is not None:
        rows = graph.node(
            "Gemm", [rows, graph.constant("projection", weights["projection.weight"])], "projected", transB=1
        )
    decoder = embedding if network.tied else graph.constant("decoder", weights["decoder.weight"])
    rows = graph.node(
        "Gemm", [rows, decoder, graph.constant("decoder_bias", weights["decoder.bias"])], "decoded", transB=1
    )
    shape = [
        graph.node("Shape", ["ids"], "ids_shape"),
        graph.constant("tokens", np.array([network.vocab_size], np.int64)),
    ]
    graph.node("Reshape", [rows, graph.node("Concat", shape, "scores_shape", axis=0)], scores)


_WRITERS: dict[type[Layer], Callable[[Graph, Any], None]] = {
    LSTM: _write_lstm,
    SequenceNetwork: _write_sequence_network,
    LSTMLanguageNetwork: _write_language_network,
}
