"""Gate orders: by letters and by name, and against libraries that have another one."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

import clstm
from clstm.layers.gate_orders import GATE_ORDERS


def test_gates_move_as_blocks_along_the_axis():
    weight = np.arange(24.0, dtype=np.float32).reshape(8, 3)
    found = clstm.reorder_gates(weight, "ifgo", "iofc")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, weight[[0, 1, 6, 7, 2, 3, 4, 5]])
    np.testing.assert_array_equal(clstm.reorder_gates(weight.T, "ifco", "IOFG", axis=-1), found.T)
    np.testing.assert_array_equal(clstm.reorder_gates(weight[np.newaxis], "pytorch", "onnx", axis=1)[0], found)


@pytest.mark.parametrize("source", ["".join(order) for order in permutations("ifgo")])
def test_every_order_leads_to_every_other_and_back(source):
    names = np.array(list(source))
    for target in map("".join, permutations("ifco")):
        there = clstm.reorder_gates(names, source, target)
        assert "".join(there) == target.replace("c", "g")
        assert "".join(clstm.reorder_gates(there, target, source)) == source


def test_named_orders():
    letters = np.array(list("ifgo"))
    found = {name: "".join(clstm.reorder_gates(letters, "pytorch", name)) for name in GATE_ORDERS}
    assert found == GATE_ORDERS
    assert found["keras"] == "ifgo"
    assert found["openvino"] == "figo"
    assert found["haste"] == found["haiku"] == "igfo"
    assert found["onnx"] == "iofg"


def test_the_array_is_copied_even_where_nothing_moves():
    weight = np.zeros(4)
    clstm.reorder_gates(weight, "keras", "pytorch")[0] = 1
    assert weight[0] == 0


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ((np.zeros(6), "ifgo", "iofg"), ValueError, r"array has shape \(6,\), expected a multiple of 4 along axis 0"),
        ((np.zeros((4, 6)), "ifgo", "iofg", 1), ValueError, "along axis 1"),
        ((np.zeros(4), "ifgo", "iofg", 1), ValueError, "axis is 1, but array has 1 axes"),
        ((np.zeros(4), "ifgo", "iofg", -2), ValueError, "axis is -2"),
        ((np.zeros(()), "ifgo", "iofg"), ValueError, "array has 0 axes"),
        ((np.zeros(4), "ifgo", "iofg", 0.5), TypeError, "axis is 0.5, expected an integer"),
        ((np.zeros(4), "iffo", "ifgo"), ValueError, "source is 'iffo', expected the letters i, f, g"),
        ((np.zeros(4), "ifgo", "ifcg"), ValueError, "target is 'ifcg'"),
        ((np.zeros(4), "ifgo", "caffe"), ValueError, "target is 'caffe', .* 'openvino', 'haste'"),
        ((np.zeros(4), None, "ifgo"), TypeError, "source is None, expected a string"),
        (([[1], [1, 2]], "ifgo", "ifgo"), TypeError, "array can't be converted to an array"),
    ],
)
def test_wrong_arguments_are_named(arguments, error, text):
    with pytest.raises(error, match=text):
        clstm.reorder_gates(*arguments)


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    lstm = clstm.LSTM(5, 6, seed=1)
    x = rng.standard_normal((7, 3, 5)).astype(np.float32)
    weights = {name.removesuffix("_l0"): array for name, array in lstm.state_dict().items()}
    return x, weights, lstm(x)[0]


@pytest.mark.peer
def test_onnx_runtime_has_the_order_of_that_name(problem):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    x, weights, expected = problem
    make = onnx.helper
    w, r, b_w, b_r = (
        clstm.reorder_gates(weights[name], "pytorch", "onnx")
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    constants = {"W": w[np.newaxis], "R": r[np.newaxis], "B": np.concatenate([b_w, b_r])[np.newaxis]}
    graph = make.make_graph(
        [make.make_node("LSTM", ["x", *constants], ["y"], hidden_size=6)],
        "lstm",
        [make.make_tensor_value_info("x", onnx.TensorProto.FLOAT, x.shape)],
        [make.make_tensor_value_info("y", onnx.TensorProto.FLOAT, (7, 1, 3, 6))],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 14)], ir_version=8)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, {"x": x})[0][:, 0], expected, atol=1e-6)


@pytest.mark.peer
def test_openvino_has_the_order_of_that_name(problem):
    openvino = pytest.importorskip("openvino")
    x, weights, expected = problem
    opset = openvino.opset8
    w, r = (
        clstm.reorder_gates(weights[name], "pytorch", "openvino")[np.newaxis] for name in ("weight_ih", "weight_hh")
    )
    bias = clstm.reorder_gates(weights["bias_ih"] + weights["bias_hh"], "pytorch", "openvino")[np.newaxis]
    parameter = opset.parameter([3, 7, 5], np.float32)
    zeros = opset.constant(np.zeros((3, 1, 6), np.float32))
    node = opset.lstm_sequence(
        parameter, zeros, zeros, opset.constant(np.full(3, 7, np.int32)), opset.constant(w), opset.constant(r),
        opset.constant(bias), 6, "FORWARD",
    )  # fmt: skip
    model = openvino.Core().compile_model(
        openvino.Model([node.output(0)], [parameter]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    found = model([x.swapaxes(0, 1)])[0]
    np.testing.assert_allclose(found[:, 0].swapaxes(0, 1), expected, atol=1e-6)
