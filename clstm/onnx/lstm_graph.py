"""Adding an LSTM to an ONNX graph: its nodes, its initial states and its final states."""

from __future__ import annotations

from typing import Any

import numpy as np

from clstm.layers.activations import DEFAULT
from clstm.layers.lstm import LSTM
from clstm.onnx.activations import write_activations
from clstm.onnx.graph import Graph, element_type
from clstm.onnx.lstm_node import node_weights

# Options that the operator LSTM doesn't have, and why they can't be written.
_UNSUPPORTED = {
    "proj_size": "the operator LSTM has no projection",
    "cell_clip": "the operator's clip is for gates only; gate_clip can be written",
    "layer_norm": "the operator LSTM doesn't normalise",
    "zoneout": "the operator LSTM doesn't mix old and new states",
}


def sizes_of(lstm: LSTM) -> list[int]:
    """Return the hidden size of each layer."""
    sizes = lstm.hidden_size
    return [sizes] * lstm.num_layers if isinstance(sizes, int) else list(sizes)


def add_lstm(graph: Graph, lstm: LSTM, x: str, y: str) -> tuple[str, str]:
    """Add an LSTM, with the inputs h0, c0 and lengths if the graph has them, and the outputs h_n and c_n.

    Parameters
    ----------
    graph : Graph
    lstm : LSTM
    x, y : str
        The names of its input (time, batch, features) and its output.

    Returns
    -------
    y, h : str
        The names of the output and of the last layer's h (directions, batch, hidden).

    Raises
    ------
    ValueError
        The LSTM has an option that ONNX doesn't.
    """
    for name, reason in _UNSUPPORTED.items():
        value = getattr(lstm, name)
        if value is not None and np.any(value):
            raise ValueError(f"ONNX has no such LSTM: {name} is {value!r}: {reason}")
    sizes = sizes_of(lstm)
    options = _node_options(lstm)
    states = _initial_states(graph, lstm, x, sizes)
    lengths, empty = _lengths(graph) if graph.with_lengths else ("", None)
    merged = graph.constant("merge_directions", np.array([0, 0, -1], np.int64))
    finals: list[tuple[str, str]] = []
    for layer, H in enumerate(sizes):
        h0, c0 = states[layer]
        weights = {name: graph.constant(f"{name}_l{layer}", value) for name, value in node_weights(lstm, layer)}
        names = [f"lstm_l{layer}.{name}" for name in ("Y", "Y_h", "Y_c")]
        inputs = [x, weights["W"], weights["R"], weights.get("B", ""), lengths, h0, c0, weights.get("P", "")]
        while not inputs[-1]:
            inputs.pop()
        graph.node("LSTM", inputs, f"lstm_l{layer}", names, hidden_size=H, **options)
        last = layer == len(sizes) - 1
        residual = layer > 0 and lstm.residual
        # (time, directions, batch, hidden) to (time, batch, directions * hidden)
        transposed = graph.node("Transpose", names[:1], f"turned_l{layer}", perm=[0, 2, 1, 3])
        name = y if last else f"y_l{layer}"
        out = graph.node("Reshape", [transposed, merged], f"h_l{layer}" if residual else name)
        x = graph.node("Add", [out, x], name) if residual else out
        finals.append(_final_state(graph, lstm, layer, empty, names[1:], states[layer]))
    _add_final_states(graph, lstm, finals, sizes)
    return x, finals[-1][0]


def _node_options(lstm: LSTM) -> dict[str, Any]:
    """Return the attributes that the nodes of all layers have."""
    D = lstm.num_directions
    options: dict[str, Any] = {"direction": "bidirectional" if D == 2 else "forward"}
    if tuple(lstm.activations) != DEFAULT:
        activations = lstm.activations if len(lstm.activations) == 3 * D else lstm.activations * D
        options |= write_activations(activations)
    if lstm.coupled:
        options["input_forget"] = 1
    if lstm.gate_clip is not None:
        options["clip"] = lstm.gate_clip
    return options


def _lengths(graph: Graph) -> tuple[str, str]:
    """Add the input lengths; return its name as the operator takes it, and that of which rows have no steps."""
    lengths = graph.input("lengths", np.int64, "batch")
    lengths = graph.node("Cast", [lengths], "lengths_int32", to=element_type(np.int32))
    zero = graph.constant("no_steps", np.array(0, np.int64))
    # (batch, 1), which broadcasts against (directions, batch, hidden)
    is_empty = graph.node("Equal", ["lengths", zero], "is_empty")
    return lengths, graph.node("Unsqueeze", [is_empty, graph.axes(1)], "empty")


def _final_state(
    graph: Graph, lstm: LSTM, layer: int, empty: str | None, final: list[str], initial: tuple[str, str]
) -> tuple[str, str]:
    """Return the names of a layer's final h and c."""
    if empty is None:
        return final[0], final[1]
    # A row without steps keeps its initial state; the operator returns zeros.
    names = []
    for kind, value, start in zip(("h", "c"), final, initial, strict=True):
        start = start or graph.constant("zero", np.zeros((), lstm.dtype))
        names.append(graph.node("Where", [empty, start, value], f"final_{kind}_l{layer}"))
    return names[0], names[1]


def _initial_states(graph: Graph, lstm: LSTM, x: str, sizes: list[int]) -> list[tuple[str, str]]:
    """Return the names of h0 and c0 (directions, batch, hidden) of each layer; "" where they are zeros."""
    if graph.with_state:
        equal = len(set(sizes)) == 1
        return _one_input_for_all_layers(graph, lstm, sizes) if equal else _one_input_a_layer(graph, lstm, sizes)
    if lstm.learn_initial_state:
        return _learnt_states(graph, lstm, x, sizes)
    return [("", "")] * len(sizes)


def _one_input_a_layer(graph: Graph, lstm: LSTM, sizes: list[int]) -> list[tuple[str, str]]:
    D, dtype = lstm.num_directions, lstm.dtype
    return [
        (graph.input(f"h0_l{layer}", dtype, D, "batch", H), graph.input(f"c0_l{layer}", dtype, D, "batch", H))
        for layer, H in enumerate(sizes)
    ]


def _one_input_for_all_layers(graph: Graph, lstm: LSTM, sizes: list[int]) -> list[tuple[str, str]]:
    D, L = lstm.num_directions, len(sizes)
    names = []
    for name in ("h0", "c0"):
        whole = graph.input(name, lstm.dtype, L * D, "batch", sizes[0])
        parts = [whole] if L == 1 else [f"{name}_l{layer}" for layer in range(L)]
        if L > 1:
            equal = graph.constant("directions_of_each_layer", np.full(L, D, np.int64))
            graph.node("Split", [whole, equal], f"{name}_split", parts, axis=0)
        names.append(parts)
    return list(zip(*names, strict=True))


def _learnt_states(graph: Graph, lstm: LSTM, x: str, sizes: list[int]) -> list[tuple[str, str]]:
    """Add the learnt initial states, repeated for each row."""
    D, weights = lstm.num_directions, lstm.parameters()
    states = []
    batch = graph.node("Shape", [x], "batch_size", start=1, end=2)
    for layer, H in enumerate(sizes):
        suffixes = [f"_l{layer}", f"_l{layer}_reverse"][:D]
        axes = [
            graph.constant(f"size_{D}", np.array([D], np.int64)),
            batch,
            graph.constant(f"size_{H}", np.array([H], np.int64)),
        ]
        shape = graph.node("Concat", axes, f"state_shape_l{layer}", axis=0)
        pair = []
        for kind in ("h0", "c0"):
            values = np.stack([weights[kind + suffix] for suffix in suffixes])[:, np.newaxis]
            learnt = graph.constant(f"learnt_{kind}_l{layer}", values)
            pair.append(graph.node("Expand", [learnt, shape], f"{kind}_l{layer}"))
        states.append((pair[0], pair[1]))
    return states


def _add_final_states(graph: Graph, lstm: LSTM, finals: list[tuple[str, str]], sizes: list[int]) -> None:
    """Add the outputs h_n and c_n, or one of each for every layer if their sizes differ."""
    D, L = lstm.num_directions, len(sizes)
    for kind, names in zip(("h_n", "c_n"), zip(*finals, strict=True), strict=True):
        if len(set(sizes)) == 1:
            graph.node("Concat", names, graph.output(kind, lstm.dtype, L * D, "batch", sizes[0]), axis=0)
            continue
        for layer, (name, H) in enumerate(zip(names, sizes, strict=True)):
            graph.node("Identity", [name], graph.output(f"{kind}_l{layer}", lstm.dtype, D, "batch", H))
