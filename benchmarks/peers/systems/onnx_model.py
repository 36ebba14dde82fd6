"""The ONNX model of a problem, which ONNX Runtime and OpenVINO run."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problems import Problem


def onnx_model(problem: Problem) -> Any:
    """Return an ONNX model of static shapes: a node a layer, weights inside.

    Its inputs are x and, for a ragged batch, lengths; its outputs y of the last layer, then h and c of each. As a
    stream it does one step, and takes h and c of each layer as inputs "h0_in", "c0_in", ... besides.
    """
    from onnx import TensorProto, helper, numpy_helper

    case, D, H = problem.case, problem.case.directions, problem.case.hidden_size
    stream = problem.mode == "stream"
    time = 1 if stream else case.time
    nodes, constants, before, after = [], [], [], []

    def weight(name: str, layer: int) -> np.ndarray:
        """Stack one weight of all directions, its gates in the order i, o, f, g instead of i, f, g, o."""
        parts = [np.split(problem.weights[name + suffix], 4) for suffix in (f"_l{layer}", f"_l{layer}_reverse")[:D]]
        return np.stack([np.concatenate([i, o, f, g]) for i, f, g, o in parts])

    def constant(name: str, value: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(value, name))
        return name

    def value(name: str, *shape: int, dtype: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, dtype, shape)

    x = "x"
    for layer in range(case.num_layers):
        if layer > 0:  # (time, directions, batch, hidden) to (time, batch, directions * hidden)
            shape = constant(f"shape{layer}", np.array([time, case.batch, D * H]))
            nodes.append(helper.make_node("Transpose", [f"y{layer - 1}"], [f"turned{layer}"], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [f"turned{layer}", shape], [f"x{layer}"]))
            x = f"x{layer}"
        y, h, c = f"y{layer}", f"h{layer}", f"c{layer}"
        biases = np.concatenate([weight("bias_ih", layer), weight("bias_hh", layer)], axis=1)
        node = helper.make_node(
            "LSTM",
            [
                x,
                constant(f"W{layer}", weight("weight_ih", layer)),
                constant(f"R{layer}", weight("weight_hh", layer)),
                constant(f"B{layer}", biases),
                "lengths" if case.lengths else "",
                *((f"{h}_in", f"{c}_in") if stream else ()),
            ],
            [y, h, c],
            hidden_size=H,
            direction="bidirectional" if case.bidirectional else "forward",
        )
        nodes.append(node)
        after += [value(name, D, case.batch, H) for name in (h, c)]
        before += [value(f"{name}_in", D, case.batch, H) for name in (h, c) if stream]
    inputs = [value("x", time, case.batch, case.input_size)]
    inputs += [value("lengths", case.batch, dtype=TensorProto.INT32)] if case.lengths else []
    outputs = [value(y, time, D, case.batch, H), *after]
    graph = helper.make_graph(nodes, "lstm", [*inputs, *before], outputs, constants)
    opsets = [helper.make_opsetid("", 14)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets))


def onnx_arrays(results: Any) -> dict[str, np.ndarray]:
    """Return by name and in PyTorch's shapes what such a model gave, in its order."""
    y, *states = results  # y (time, directions, batch, hidden); h and c of each layer
    time, _, batch, _ = y.shape
    return {
        "y": y.transpose(0, 2, 1, 3).reshape(time, batch, -1),
        "h_n": np.concatenate(states[::2]),
        "c_n": np.concatenate(states[1::2]),
    }
