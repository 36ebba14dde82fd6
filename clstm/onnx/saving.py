"""From this library's networks to ONNX models."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from clstm._checks import check_flag
from clstm._version import __version__
from clstm.files.atomic import write_atomically
from clstm.language.network import LSTMLanguageNetwork
from clstm.layers.activations import DEFAULT
from clstm.layers.base import Layer
from clstm.layers.linear import Linear
from clstm.layers.lstm import LSTM
from clstm.models.sequence import SequenceNetwork
from clstm.onnx.activations import write_activations
from clstm.onnx.lstm_node import node_weights
from clstm.onnx.package import helper, numpy_helper

# The reductions' axes are inputs from here on; every runtime of the last years reads it.
OPSET = 18
LARGEST = 2**31 - 1  # bytes that protobuf can write


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
        The file. It is replaced all at once.
    state : bool, default True
        Whether the initial state is given by inputs h0 and c0. Without them it is zeros, or what the layer has learnt.
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
        It has what ONNX can't say: projections, a clipped cell, layer normalisation, zoneout, the activations selu and
        exponential, an adaptive softmax; or it is larger than 2 GB. Nothing is written then.

    Notes
    -----
    What belongs to training only (dropout, recurrent dropout, DropConnect) isn't in the model. Weights keep their
    dtype; ONNX Runtime and OpenVINO run LSTMs in float32 only, so a float64 model is for `load` and others. Of what a
    model says, OpenVINO 2026.4 ignores two things: peepholes, and lengths where batch and time are free (fix them with
    its ``model.reshape`` before compiling).

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
    writers = {
        LSTM: _write_lstm,
        SequenceNetwork: _write_sequence_network,
        LSTMLanguageNetwork: _write_language_network,
    }
    for kind, write in writers.items():
        if isinstance(model, kind):
            graph = _Graph(state, lengths)
            write(graph, model)
            write_atomically(path, graph.serialize())
            return
    hint = "; of an estimator, pass its network_" if hasattr(model, "network_") else ""
    raise TypeError(
        f"model is {type(model).__name__}, expected an LSTM, a SequenceNetwork or the network of a LanguageModel{hint}"
    )


class _Graph:
    """A graph that grows node by node. Values are known by their names."""

    def __init__(self, state: bool, lengths: bool) -> None:
        self.state, self.with_lengths = state, lengths
        self.nodes, self.inputs, self.outputs, self.initializers = [], [], [], []
        self._names: set[str] = set()

    def serialize(self) -> bytes:
        size = sum(len(tensor.raw_data) for tensor in self.initializers)
        if size > LARGEST - (1 << 20):
            raise ValueError(f"model has {size} bytes of weights, and an ONNX file can have {LARGEST}")
        graph = helper.make_graph(self.nodes, "clstm", self.inputs, self.outputs, self.initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=8, producer_name="clstm", producer_version=__version__
        )
        return model.SerializeToString()

    def node(self, operator: str, inputs: Sequence[str], name: str, outputs: Sequence[str] = (), **attributes) -> str:
        """Add a node; return its (first) output, which has the node's name if no others are given."""
        outputs = list(outputs) or [name]
        self.nodes.append(helper.make_node(operator, list(inputs), outputs, name=name, **attributes))
        return outputs[0]

    def constant(self, name: str, value: Any) -> str:
        """Add a constant, once for each name."""
        if name not in self._names:
            self._names.add(name)
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def axes(self, *axes: int) -> str:
        return self.constant("axes_" + "_".join(map(str, axes)).replace("-", "minus_"), np.array(axes, np.int64))

    def input(self, name: str, dtype: Any, *shape: int | str) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, _code(dtype), shape))
        return name

    def output(self, name: str, dtype: Any, *shape: int | str) -> str:
        self.outputs.append(helper.make_tensor_value_info(name, _code(dtype), shape))
        return name


def _code(dtype: Any) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


# ------------------------------------------------------------------------------------------- the LSTM


def _unsupported(lstm: LSTM) -> str | None:
    """Return what of a layer ONNX can't say."""
    options = {
        "proj_size": "the operator LSTM has no projection",
        "cell_clip": "the operator's clip is for gates only; gate_clip can be written",
        "layer_norm": "the operator LSTM doesn't normalise",
        "zoneout": "the operator LSTM doesn't mix old and new states",
    }
    for name, reason in options.items():
        value = getattr(lstm, name)
        if value is not None and np.any(value):
            return f"{name} is {value!r}: {reason}"
    return None


def _sizes(lstm: LSTM) -> Sequence[int]:
    sizes = lstm.hidden_size
    return [sizes] * lstm.num_layers if isinstance(sizes, int) else sizes


def _lstm(graph: _Graph, lstm: LSTM, x: str, y: str) -> tuple[str, str]:
    """Add an LSTM that reads `x` (time, batch, features) and gives `y` likewise; return that and the last layer's h.

    Adds the inputs h0, c0 and lengths, and the outputs h_n and c_n.
    """
    reason = _unsupported(lstm)
    if reason is not None:
        raise ValueError(f"ONNX has no such LSTM: {reason}")
    D, sizes, dtype = lstm.num_directions, _sizes(lstm), lstm.dtype
    activations = {}
    if tuple(lstm.activations) != DEFAULT:
        activations = write_activations(lstm.activations if len(lstm.activations) == 3 * D else lstm.activations * D)
    states = _initial_states(graph, lstm, x, sizes)
    lengths, empty = "", None
    if graph.with_lengths:
        lengths = graph.node("Cast", [graph.input("lengths", np.int64, "batch")], "lengths_int32", to=_code(np.int32))
        zero = graph.constant("no_steps", np.array(0, np.int64))
        # (batch, 1), beside (directions, batch, hidden)
        empty = graph.node("Unsqueeze", [graph.node("Equal", ["lengths", zero], "is_empty"), graph.axes(1)], "empty")
    merged = graph.constant("merge_directions", np.array([0, 0, -1], np.int64))
    finals: list[tuple[str, str]] = []
    for layer, H in enumerate(sizes):
        h0, c0 = states[layer]
        weights = {name: graph.constant(f"{name}_l{layer}", value) for name, value in node_weights(lstm, layer)}
        options: dict[str, Any] = {
            "hidden_size": H,
            "direction": "bidirectional" if D == 2 else "forward",
            **activations,
        }
        if lstm.coupled:
            options["input_forget"] = 1
        if lstm.gate_clip is not None:
            options["clip"] = lstm.gate_clip
        names = [f"lstm_l{layer}.{name}" for name in ("Y", "Y_h", "Y_c")]
        inputs = [x, weights["W"], weights["R"], weights.get("B", ""), lengths, h0, c0, weights.get("P", "")]
        while not inputs[-1]:
            inputs.pop()
        graph.node("LSTM", inputs, f"lstm_l{layer}", names, **options)
        last = layer == len(sizes) - 1
        residual = layer > 0 and lstm.residual
        # (time, directions, batch, hidden) to (time, batch, directions * hidden)
        turned = graph.node("Transpose", names[:1], f"turned_l{layer}", perm=[0, 2, 1, 3])
        name = y if last else f"y_l{layer}"
        out = graph.node("Reshape", [turned, merged], f"h_l{layer}" if residual else name)
        x = graph.node("Add", [out, x], name) if residual else out
        final = names[1:]
        if empty is not None:
            # A row without steps keeps its initial state; the operator gives zeros.
            final = []
            for kind, value, initial in (("h", names[1], h0), ("c", names[2], c0)):
                initial = initial or graph.constant("zero", np.zeros((), dtype))
                final.append(graph.node("Where", [empty, initial, value], f"final_{kind}_l{layer}"))
        finals.append((final[0], final[1]))
    _final_states(graph, lstm, finals, sizes)
    return x, finals[-1][0]


def _initial_states(graph: _Graph, lstm: LSTM, x: str, sizes: list[int]) -> list[tuple[str, str]]:
    """Return the names of h0 and c0 (directions, batch, hidden) of each layer; "" where they are zeros."""
    D, L, dtype = lstm.num_directions, len(sizes), lstm.dtype
    if graph.state:
        if len(set(sizes)) > 1:
            return [
                (
                    graph.input(f"h0_l{layer}", dtype, D, "batch", H),
                    graph.input(f"c0_l{layer}", dtype, D, "batch", H),
                )
                for layer, H in enumerate(sizes)
            ]
        names = []
        for name in ("h0", "c0"):
            whole = graph.input(name, dtype, L * D, "batch", sizes[0])
            parts = [whole] if L == 1 else [f"{name}_l{layer}" for layer in range(L)]
            if L > 1:
                equal = graph.constant("directions_of_each_layer", np.full(L, D, np.int64))
                graph.node("Split", [whole, equal], f"{name}_split", parts, axis=0)
            names.append(parts)
        return list(zip(*names, strict=True))
    if not lstm.learn_initial_state:
        return [("", "")] * L
    weights, states = lstm.parameters(), []
    batch = graph.node("Shape", [x], "batch_size", start=1, end=2)
    for layer, H in enumerate(sizes):
        suffixes = [f"_l{layer}", f"_l{layer}_reverse"][:D]
        shape = [
            graph.constant(f"size_{D}", np.array([D], np.int64)),
            batch,
            graph.constant(f"size_{H}", np.array([H], np.int64)),
        ]
        shape = graph.node("Concat", shape, f"state_shape_l{layer}", axis=0)
        pair = []
        for kind in ("h0", "c0"):
            learnt = np.stack([weights[kind + suffix] for suffix in suffixes])[:, np.newaxis]
            learnt = graph.constant(f"learnt_{kind}_l{layer}", learnt)
            pair.append(graph.node("Expand", [learnt, shape], f"{kind}_l{layer}"))
        states.append((pair[0], pair[1]))
    return states


def _final_states(graph: _Graph, lstm: LSTM, finals: list[tuple[str, str]], sizes: list[int]) -> None:
    D, L = lstm.num_directions, len(sizes)
    for kind, names in zip(("h_n", "c_n"), zip(*finals, strict=True), strict=True):
        if len(set(sizes)) == 1:
            graph.node("Concat", names, graph.output(kind, lstm.dtype, L * D, "batch", sizes[0]), axis=0)
            continue
        for layer, (name, H) in enumerate(zip(names, sizes, strict=True)):
            graph.node("Identity", [name], graph.output(f"{kind}_l{layer}", lstm.dtype, D, "batch", H))


def _write_lstm(graph: _Graph, lstm: LSTM) -> None:
    axes = ("batch", "time") if lstm.batch_first else ("time", "batch")
    width = _sizes(lstm)[-1] * lstm.num_directions
    x = graph.input("x", lstm.dtype, *axes, lstm.input_size)
    y = graph.output("y", lstm.dtype, *axes, width)
    if not lstm.batch_first:
        _lstm(graph, lstm, x, y)
        return
    by_time, _ = _lstm(graph, lstm, graph.node("Transpose", [x], "x_by_time", perm=[1, 0, 2]), "y_by_time")
    graph.node("Transpose", [by_time], y, perm=[1, 0, 2])


# ------------------------------------------------------------------------------------------- networks


def _write_sequence_network(graph: _Graph, network: SequenceNetwork) -> None:
    lstm, dtype, weights = network.lstm, network.dtype, network.parameters()
    if network.embedding is None:
        x = graph.input("x", dtype, "batch", "time", network.input_size)
        x = graph.node("Transpose", [x], "x_by_time", perm=[1, 0, 2])
    else:
        ids = graph.node("Transpose", [graph.input("x", np.int64, "batch", "time")], "ids_by_time", perm=[1, 0])
        x = graph.node("Gather", [graph.constant("embedding", weights["embedding.weight"]), ids], "embedded")
    axes = ("batch",) if network.pooling is not None else ("batch", "time")
    out = graph.output("out", dtype, *axes, network.output_size)
    y, last = _lstm(graph, lstm, x, "y_by_time")
    if network.pooling is None:
        pooled = graph.node("Transpose", [y], "y", perm=[1, 0, 2])
    else:
        pooled = {"last": _last, "mean": _mean, "max": _max}[network.pooling](graph, y, last, dtype)
    columns = graph.constant("fc_weight", weights["fc.weight"].T)
    graph.node(
        "Add", [graph.node("MatMul", [pooled, columns], "fc"), graph.constant("fc_bias", weights["fc.bias"])], out
    )


def _last(graph: _Graph, y: str, last: str, dtype: np.dtype) -> str:
    turned = graph.node("Transpose", [last], "last_by_row", perm=[1, 0, 2])
    return graph.node("Reshape", [turned, graph.constant("merge_last", np.array([0, -1], np.int64))], "pooled")


def _mean(graph: _Graph, y: str, last: str, dtype: np.dtype) -> str:
    total = graph.node("ReduceSum", [y, graph.axes(0)], "total", keepdims=0)  # zeros past a row's length
    counts = "lengths"
    if not graph.with_lengths:
        counts = graph.node("Shape", [y], "steps", start=0, end=1)
    counts = graph.node("Cast", [counts], "counts", to=_code(np.float64))
    one = graph.constant("one", np.array(1, np.float64))
    scale = graph.node("Div", [one, graph.node("Max", [counts, one], "counts_from_one")], "scale_float64")
    scale = graph.node(
        "Unsqueeze", [graph.node("Cast", [scale], "scale", to=_code(dtype)), graph.axes(1)], "scale_rows"
    )
    return graph.node("Mul", [total, scale], "pooled")


def _max(graph: _Graph, y: str, last: str, dtype: np.dtype) -> str:
    if not graph.with_lengths:
        return graph.node("ReduceMax", [y, graph.axes(0)], "pooled", keepdims=0)
    zero, one = (graph.constant(name, np.array(value, np.int64)) for name, value in (("no_steps", 0), ("one_step", 1)))
    steps = graph.node("Shape", [y], "shape", start=0, end=1)
    steps = graph.node("Range", [zero, graph.node("Squeeze", [steps, graph.axes(0)], "steps"), one], "places")
    past = graph.node("Less", [graph.node("Unsqueeze", [steps, graph.axes(1)], "places_by_time"), "lengths"], "is_real")
    past = graph.node("Unsqueeze", [past, graph.axes(2)], "is_real_step")
    lowest = graph.constant("lowest", np.array(-np.inf, dtype))
    largest = graph.node(
        "ReduceMax", [graph.node("Where", [past, y, lowest], "real"), graph.axes(0)], "largest", keepdims=0
    )
    return graph.node("Where", ["empty", graph.constant("zero", np.zeros((), dtype)), largest], "pooled")


def _write_language_network(graph: _Graph, network: LSTMLanguageNetwork) -> None:
    if not isinstance(network.decoder, Linear):
        raise ValueError("cutoffs is given: an adaptive softmax can't be written as an ONNX model")
    weights, dtype = network.parameters(), network.dtype
    embedding = graph.constant("embedding", weights["embedding.weight"])
    x = graph.node("Gather", [embedding, graph.input("ids", np.int64, "time", "batch")], "embedded")
    scores = graph.output("scores", dtype, "time", "batch", network.vocab_size)
    y, _ = _lstm(graph, network.lstm, x, "y")
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
