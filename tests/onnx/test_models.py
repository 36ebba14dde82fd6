"""ONNX models, loaded and saved: against ONNX's own tests, ONNX Runtime, OpenVINO and PyTorch's exporters."""

from __future__ import annotations

import importlib
import importlib.util
import json
import pkgutil
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import clstm
from clstm.language.network import LSTMLanguageNetwork
from clstm.models import LSTMClassifierNetwork, SequenceNetwork

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from clstm.onnx.operators import OPERATORS  # noqa: E402
from tests.helpers.processes import run_python  # noqa: E402

pytestmark = pytest.mark.peer

ROOT = Path(clstm.__file__).parents[1]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
# ONNX's name of each activation, whether it takes alpha and beta
ACTIVATIONS = {
    "Sigmoid": 0, "Tanh": 0, "Relu": 0, "Softsign": 0, "Softplus": 0, "HardSigmoid": 2, "LeakyRelu": 1, "Elu": 1,
    "ThresholdedRelu": 1, "Affine": 2, "ScaledTanh": 2,
}  # fmt: skip


def floats(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32)


def make_model(nodes, inputs, outputs, constants=None, opset=18, **options):
    """Return a model; inputs are arrays by name, outputs are names (or arrays by name)."""

    def value(name, array):
        code = TensorProto.FLOAT if array is None else helper.np_dtype_to_tensor_dtype(array.dtype)
        return helper.make_tensor_value_info(name, code, None if array is None else array.shape)

    graph = helper.make_graph(
        nodes,
        "test",
        [value(name, array) for name, array in inputs.items()],
        [value(name, outputs[name] if isinstance(outputs, dict) else None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8, **options)


def onnx_runtime(model):
    """Return a session on a path or model."""
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    source = model.SerializeToString() if isinstance(model, onnx.ModelProto) else str(model)
    return runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def assert_all_close(found, expected, **tolerance):
    assert len(found) == len(expected)
    for array, other in zip(found, expected, strict=True):
        assert array.dtype == other.dtype
        np.testing.assert_allclose(array, other, **tolerance)


@pytest.fixture
def note(record_property):
    """Return a function that records the largest difference, relative above 1, for ``--differences``."""

    def record(what, peer, found, expected):
        for array, other in zip(found, expected, strict=True):
            array, other = np.asarray(array, np.float64), np.asarray(other, np.float64)
            finite = np.isfinite(array) & np.isfinite(other)
            differences = np.abs(array[finite] - other[finite]) / np.maximum(1, np.abs(other[finite]))
            record_property("difference", (what, peer, float(differences.max(initial=0))))

    return record


def assert_same_bits(found, expected):
    assert len(found) == len(expected)
    for array, other in zip(found, expected, strict=True):
        assert array.dtype == other.dtype
        np.testing.assert_array_equal(array, other)


# ------------------------------------------------------------------------------------------- ONNX's own tests


@pytest.fixture(scope="module")
def node_cases():
    """ONNX's backend tests of single nodes, for the operators there are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case import node

        known = {name.lower() for name in OPERATORS} | {"lstm", "rangeop"}
        for module in pkgutil.iter_modules(node.__path__):
            if module.name.replace("_", "") in known:
                importlib.import_module(f"{node.__name__}.{module.name}")
        return node._NodeTestCases


# Why some of them are refused
REFUSED = re.compile(
    "element type|isn't a tensor|training_mode is|attribute 'reduction' is|BatchNormalization.*3 outputs"
)


@pytest.mark.parametrize("operator", sorted({*OPERATORS, "LSTM"}))
def test_onnx_node_tests(node_cases, operator, note):
    run = 0
    for case in node_cases:
        if {node.op_type for node in case.model.graph.node} != {operator}:
            continue
        names = [value.name for value in case.model.graph.input]
        (version,) = case.model.opset_import
        version.version = max(version.version, 7)  # Not has been the same from 1 on
        try:
            model = clstm.onnx.load(case.model)
        except ValueError as error:
            assert REFUSED.search(str(error)), f"{case.name}: {error}"  # noqa: PT017
            continue
        for data in case.data_sets:
            inputs, expected = (
                [numpy_helper.to_array(array) if isinstance(array, TensorProto) else array for array in arrays]
                for arrays in data
            )
            if any(name.startswith("training") or name == "t" for name in names) and np.any(inputs[-1]):
                with pytest.raises(ValueError, match="training_mode"):
                    model.run(None, dict(zip(names, inputs, strict=True)))
                continue
            found = model.run(None, dict(zip(names, inputs, strict=True)))
            assert [array.shape for array in found] == [array.shape for array in expected], case.name
            note("LSTM" if operator == "LSTM" else "the other operators", "ONNX's node tests", found, expected)
            assert_all_close(found, expected, rtol=case.rtol, atol=case.atol)
            run += 1
    assert run > 0


def test_onnx_lstm_node_tests_are_all_run(node_cases):
    names = {case.name for case in node_cases if "lstm" in case.name}
    assert {"test_lstm_defaults", "test_lstm_with_initial_bias", "test_lstm_with_peepholes"} <= names
    assert {"test_lstm_batchwise", "test_lstm_bidirectional", "test_lstm_reverse"} <= names


def test_the_page_lists_the_operators():
    page = " ".join((ROOT / "docs" / "onnx.md").read_text(encoding="utf-8").split())
    assert f"**Other operators**: {', '.join(sorted(OPERATORS))};" in page


# ------------------------------------------------------------------------------------------- LSTM nodes


class LstmNode:
    """An LSTM node with random weights and any attributes, as a model and as what it is fed."""

    def __init__(self, rng, *, T=5, B=3, I=4, H=5, direction="forward", without=(), lengths=None, **attributes):  # noqa: E741
        D = 2 if direction == "bidirectional" else 1
        arrays = {
            "X": floats(rng, T, B, I),
            "W": floats(rng, D, 4 * H, I) * np.float32(0.6),
            "R": floats(rng, D, 4 * H, H) * np.float32(0.5),
            "B": floats(rng, D, 8 * H),
            "sequence_lens": None if lengths is None else np.array(lengths, np.int32),
            "initial_h": floats(rng, D, B, H),
            "initial_c": floats(rng, D, B, H),
            "P": floats(rng, D, 3 * H),
        }
        arrays = {name: None if name in without else array for name, array in arrays.items()}
        if attributes.get("layout"):
            for name in ("X", "initial_h", "initial_c"):
                if arrays[name] is not None:
                    arrays[name] = arrays[name].swapaxes(0, 1).copy()
        names = [name if array is not None else "" for name, array in arrays.items()]
        node = helper.make_node("LSTM", names, ["Y", "Y_h", "Y_c"], name="n", hidden_size=H, direction=direction,
                                **attributes)  # fmt: skip
        self.arrays = {name: array for name, array in arrays.items() if array is not None}
        self.feed = {name: array for name, array in self.arrays.items() if name not in "WRBP"}
        constants = {name: array for name, array in self.arrays.items() if name in "WRBP"}
        self.model = make_model([node], self.feed, ["Y", "Y_h", "Y_c"], constants, opset=14)

    def check(self, note, what, **tolerance):
        expected = onnx_runtime(self.model).run(None, self.feed)
        found = clstm.onnx.load(self.model).run(None, self.feed)
        note(what, "ONNX Runtime", found, expected)
        assert_all_close(found, expected, **{**CLOSE, **tolerance})


ATTRIBUTES = {
    "plain": {"without": ("P", "B", "initial_h", "initial_c")},
    "bias": {"without": ("P", "initial_h", "initial_c")},
    "one state": {"without": ("P", "initial_h")},
    "state": {"without": ("P",)},
    "lengths": {"without": ("P",), "lengths": [2, 5, 0]},
    "peepholes": {},
    "clip": {"clip": 0.5},
    "coupled": {"input_forget": 1, "without": ("P",)},
    "coupled with peepholes and clip": {"input_forget": 1, "clip": 0.8},
    "coupled hard sigmoid": {"input_forget": 1, "activations": ["HardSigmoid", "Tanh", "Tanh"]},
}


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_lstm_node_as_in_onnx_runtime(name, direction, note):
    attributes = dict(ATTRIBUTES[name])
    if direction == "bidirectional" and "activations" in attributes:
        attributes["activations"] = attributes["activations"] * 2
    LstmNode(np.random.default_rng(0), direction=direction, **attributes).check(note, f"LSTM: {name}")


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("place", [0, 1, 2], ids=["f", "g", "h"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_as_in_onnx_runtime(name, place, clip, note):
    attributes = {"activations": ["Sigmoid", "Tanh", "Tanh"]}
    attributes["activations"][place] = name
    if ACTIVATIONS[name] > 0:
        attributes["activation_alpha"] = [0.7]
    if ACTIVATIONS[name] > 1:
        attributes["activation_beta"] = [0.4]
    if clip is not None:
        attributes["clip"] = clip
    LstmNode(np.random.default_rng(1), T=4, **attributes).check(note, f"LSTM: {name}")


@pytest.mark.parametrize("seed", range(60))
def test_random_lstm_node_as_in_onnx_runtime(seed, note):
    rng = np.random.default_rng(seed)
    T, B, I, H = (int(size) for size in rng.integers(1, 7, 4))  # noqa: E741
    attributes = {"direction": ("forward", "reverse", "bidirectional")[rng.integers(3)]}
    directions = 2 if attributes["direction"] == "bidirectional" else 1
    if rng.random() < 0.4:
        attributes["clip"] = float(rng.uniform(0.2, 2))
    if rng.random() < 0.3:
        attributes["input_forget"] = 1
    if rng.random() < 0.6:
        names = [str(name) for name in rng.choice(list(ACTIVATIONS), 3 * directions)]
        if "input_forget" in attributes:
            names[::3] = ["Sigmoid"] * directions
        attributes["activations"] = names
        for kind, least in (("alpha", 1), ("beta", 2)):
            takers = [name for name in names if ACTIVATIONS[name] >= least]
            if takers:
                attributes[f"activation_{kind}"] = [float(value) for value in rng.uniform(0.1, 0.9, len(takers))]
    optional = ("B", "initial_h", "initial_c", "P")
    without = [name for name in optional if rng.random() < 0.5]
    lengths = rng.integers(0, T + 1, B) if rng.random() < 0.5 else None
    # Cells of unbounded activations grow, and their last bits with them.
    node = LstmNode(rng, T=T, B=B, I=I, H=H, without=without, lengths=lengths, **attributes)
    node.check(note, "LSTM: 60 random mixtures", rtol=5e-5)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_layout_1_is_layout_0_with_the_batch_first(direction):
    # ONNX Runtime refuses layout 1; ONNX's test_lstm_batchwise has it in one direction, without a state.
    first, second = (
        LstmNode(np.random.default_rng(2), direction=direction, lengths=[5, 2, 0], layout=layout) for layout in (0, 1)
    )
    expected = clstm.onnx.load(first.model).run(None, first.feed)
    found = clstm.onnx.load(second.model).run(None, second.feed)
    y, h, c = found
    assert y.shape == (3, 5, len(h[0]), 5)
    assert_same_bits([y.transpose(1, 2, 0, 3), h.swapaxes(0, 1), c.swapaxes(0, 1)], expected)


@pytest.mark.smoke
def test_lstm_node_of_doubles():
    node = LstmNode(np.random.default_rng(3), without=("P",))
    arrays = {name: array.astype(np.float64) for name, array in node.arrays.items()}
    constants = {name: arrays.pop(name) for name in "WRB"}
    model = make_model([node.model.graph.node[0]], arrays, {"Y": arrays["X"]}, constants)
    (found,) = clstm.onnx.load(model).run(["Y"], arrays)
    assert found.dtype == np.float64
    (expected,) = onnx_runtime(node.model).run(["Y"], node.feed)
    np.testing.assert_allclose(found, expected, **CLOSE)


def test_weights_that_are_inputs_or_computed():
    node = LstmNode(np.random.default_rng(4))
    expected = onnx_runtime(node.model).run(None, node.feed)
    whole = make_model([node.model.graph.node[0]], node.arrays, ["Y", "Y_h", "Y_c"], opset=14)
    model = clstm.onnx.load(whole)
    assert model.lstms == {}
    assert_all_close(model.run(None, node.arrays), expected, **CLOSE)

    # As exporters put weights together: transposed, cut and joined from others
    W, H = node.arrays["W"], 5
    constants = {name: node.arrays[name] for name in "RBP"}
    constants |= {"W^T": W.transpose(0, 2, 1).copy(), "starts": np.array([0]), "ends": np.array([2 * H])}
    constants |= {"axes": np.array([1]), "rest": np.array([2 * H]), "end": np.array([4 * H])}
    nodes = [
        helper.make_node("Transpose", ["W^T"], ["whole"], perm=[0, 2, 1]),
        helper.make_node("Slice", ["whole", "starts", "ends", "axes"], ["upper"]),
        helper.make_node("Slice", ["whole", "rest", "end", "axes"], ["lower"]),
        helper.make_node("Concat", ["upper", "lower"], ["W"], axis=1),
        node.model.graph.node[0],
    ]
    model = clstm.onnx.load(make_model(nodes, node.feed, ["Y", "Y_h", "Y_c"], constants))
    assert list(model.lstms) == ["n"]
    assert_all_close(model.run(None, node.feed), expected, **CLOSE)


def test_lstms_are_layers_with_the_options_of_the_node():
    node = LstmNode(np.random.default_rng(5), direction="bidirectional", clip=0.5, input_forget=1,
                    activations=["HardSigmoid", "Tanh", "Relu", "Sigmoid", "Softsign", "Affine"],
                    activation_alpha=[0.25, 0.5], activation_beta=[0.5, 0.25])  # fmt: skip
    (lstm,) = clstm.onnx.load(node.model, num_threads=1).lstms.values()
    assert (lstm.input_size, lstm.hidden_size, lstm.bidirectional, lstm.num_threads) == (4, 5, True, 1)
    assert (lstm.coupled, lstm.peephole, lstm.gate_clip) == (True, True, 0.5)
    assert lstm.activations == (
        ("hard_sigmoid", 0.25, 0.5),
        "tanh",
        "relu",
        "sigmoid",
        "softsign",
        ("affine", 0.5, 0.25),
    )
    i, o, _, _ = np.split(node.arrays["W"][1], 4)
    f, _, other_o = np.split(lstm.state_dict()["weight_ih_l0_reverse"], 3)
    np.testing.assert_array_equal(f, -i)  # f = 1 - i
    np.testing.assert_array_equal(other_o, o)


# ------------------------------------------------------------------------------------------- models of exporters


@pytest.fixture(scope="module")
def tagger():
    """A module of PyTorch with what people put around an LSTM, and inputs for it."""
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(20, 6)
            self.lstm = nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True, dropout=0.3)
            self.norm, self.tags, self.label = nn.LayerNorm(10), nn.Linear(10, 3), nn.Linear(10, 70)
            self.dropout = nn.Dropout(0.2)

        def forward(self, ids):
            y, (h, c) = self.lstm(self.embedding(ids))
            tags = torch.log_softmax(self.tags(torch.relu(self.norm(y))), -1)
            last = torch.cat([h[-2], h[-1]], dim=1)
            pooled = torch.tanh(y[:, -1] + last) * y.mean(1) - torch.sigmoid(y.max(1).values)
            return tags, torch.softmax(self.label(self.dropout(pooled)), -1), tags.argmax(-1), h, c

    torch.manual_seed(0)
    module = Tagger().eval()
    ids = torch.randint(0, 20, (4, 9))
    with torch.no_grad():
        expected = [tensor.numpy() for tensor in module(ids)]
    return module, ids.numpy(), expected


def export(module, arguments, path, **options):
    torch = importlib.import_module("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, arguments, path, **options)


@pytest.mark.parametrize("exporter", ["TorchScript", "dynamo"])
def test_pytorch_model(tagger, exporter, tmp_path, note):
    torch = pytest.importorskip("torch")
    module, ids, expected = tagger
    path, example = str(tmp_path / "tagger.onnx"), (torch.zeros(2, 3, dtype=torch.int64),)
    if exporter == "TorchScript":
        axes = {"ids": {0: "batch", 1: "time"}}
        export(module, example, path, dynamo=False, input_names=["ids"], dynamic_axes=axes)
    else:
        pytest.importorskip("onnxscript")
        shapes = {"ids": {0: torch.export.Dim("batch"), 1: torch.export.Dim("time")}}
        export(module, example, path, dynamo=True, dynamic_shapes=shapes)
    model = clstm.onnx.load(path)
    assert [(value.name, value.shape, value.type) for value in model.get_inputs()] == [
        ("ids", ["batch", "time"], "tensor(int64)")
    ]
    assert len(model.lstms) == 2
    found = model.run(None, {"ids": ids})
    note(f"a tagger and classifier by the {exporter} exporter", "PyTorch", found, expected)
    assert_all_close(found, expected, **CLOSE)
    assert_all_close(onnx_runtime(path).run(None, {"ids": ids}), found, **CLOSE)


def test_pytorch_model_of_packed_sequences_and_states(tmp_path, note):
    torch = pytest.importorskip("torch")

    class Packed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = torch.nn.LSTM(4, 5, 2, bidirectional=True, bias=False)

        def forward(self, x, lengths, h0, c0):
            packed = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
            y, state = self.lstm(packed, (h0, c0))
            return torch.nn.utils.rnn.pad_packed_sequence(y)[0], *state

    torch.manual_seed(0)
    module, path = Packed().eval(), str(tmp_path / "packed.onnx")
    inputs = [torch.randn(6, 3, 4), torch.tensor([2, 6, 3]), torch.randn(4, 3, 5), torch.randn(4, 3, 5)]
    names = ["x", "lengths", "h0", "c0"]
    axes = {"x": {0: "time", 1: "batch"}, "lengths": {0: "batch"}, "h0": {1: "batch"}, "c0": {1: "batch"}}
    export(module, tuple(inputs), path, dynamo=False, input_names=names, dynamic_axes=axes)
    x, h0, c0 = torch.randn(8, 5, 4), torch.randn(4, 5, 5), torch.randn(4, 5, 5)
    inputs = [x, torch.tensor([5, 8, 1, 3, 8]), h0, c0]
    with torch.no_grad():
        expected = [tensor.numpy() for tensor in module(*inputs)]
    found = clstm.onnx.load(path).run(None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})
    note("packed sequences by the TorchScript exporter", "PyTorch", found, expected)
    assert_all_close(found, expected, **CLOSE)


@pytest.mark.subprocess
def test_pytorch_model_in_a_process_without_pytorch(tagger, tmp_path):
    torch = pytest.importorskip("torch")
    module, ids, expected = tagger
    path = str(tmp_path / "tagger.onnx")
    axes = {"ids": {0: "batch", 1: "time"}}
    export(module, (torch.zeros(2, 3, dtype=torch.int64),), path, dynamo=False, input_names=["ids"], dynamic_axes=axes)
    np.savez(tmp_path / "arrays.npz", ids, *expected)
    code = """
import json, sys, numpy as np, clstm
arrays = list(np.load("arrays.npz").values())
found = clstm.onnx.load("tagger.onnx").run(None, {"ids": arrays[0]})
for array, other in zip(found, arrays[1:], strict=True):
    np.testing.assert_allclose(array, other, rtol=1e-5, atol=1e-5)
print(json.dumps([name for name in ("torch", "onnxruntime", "openvino", "scipy") if name in sys.modules]))
"""
    result = run_python(code, folder=tmp_path, CLSTM_ISA=None)
    allowed = ["scipy"] if clstm._core.backend.available() == ("portable",) else []
    assert [name for name in json.loads(result.stdout) if name not in allowed] == []


@pytest.mark.subprocess
def test_keras_model(tmp_path):
    # Its exporter writes the steps of an LSTM one by one. In another process: Keras may have another backend here.
    for package in ("keras", "torch", "onnxscript"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"could not import {package!r}")
    code = """
import warnings
warnings.simplefilter("ignore")
import keras, numpy as np, clstm
keras.utils.set_random_seed(0)
ids = keras.Input((7,), dtype="int32")
x = keras.layers.Embedding(20, 6)(ids)
x = keras.layers.Bidirectional(keras.layers.LSTM(5, return_sequences=True))(x)
model = keras.Model(ids, keras.layers.Dense(3, activation="softmax")(keras.layers.LSTM(4)(x)))
ids = np.random.default_rng(0).integers(0, 20, (4, 7)).astype(np.int32)
expected = model.predict(ids, verbose=0)
model.export("model.onnx", format="onnx", verbose=False)
loaded = clstm.onnx.load("model.onnx")
(found,) = loaded.run(None, {loaded.get_inputs()[0].name: ids})
np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
"""
    run_python(code, folder=tmp_path, timeout=300, KERAS_BACKEND="torch")


def test_products_with_known_weights_give_a_row_the_same_bits_in_any_batch(isa):
    rng = np.random.default_rng(0)
    few, many, bias = floats(rng, 8, 5), floats(rng, 8, 70), floats(rng, 70)
    nodes = [
        helper.make_node("MatMul", ["x", "few"], ["a"]),
        helper.make_node("MatMul", ["x", "many"], ["b"]),
        helper.make_node("Gemm", ["x", "many", "bias"], ["c"]),
    ]
    x = floats(rng, 30, 8)
    graph = make_model(nodes, {"x": x[:1]}, ["a", "b", "c"], {"few": few, "many": many, "bias": bias})
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "rows"
    model = clstm.onnx.load(graph)
    whole = model.run(None, {"x": x})
    assert_all_close(whole, [x @ few, x @ many, x @ many + bias], **CLOSE)
    for row in range(30):
        alone = model.run(None, {"x": x[row : row + 1]})
        if isa == "portable":
            assert_all_close(alone, [array[row : row + 1] for array in whole], **CLOSE)
        else:
            assert_same_bits(alone, [array[row : row + 1] for array in whole])
    graph.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "features"
    model = clstm.onnx.load(graph)
    with pytest.raises(ValueError, match=r"the input is float32\(3, 7\), expected float32 with 8 features"):
        model.run(None, {"x": floats(rng, 3, 7)})


def test_model_with_local_functions():
    def model_with(name, domain):
        versions = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
        node = helper.make_node(name, ["x"] * (2 if domain == "" else 1), ["y"], domain=domain)
        function = helper.make_function("mine", "Twice", ["x"], ["y"], [node], versions)
        node = helper.make_node("Twice", ["x"], ["z"], domain="mine")
        model = make_model([node], {"x": np.ones((2, 3), np.float32)}, ["z"], functions=[function])
        model.opset_import.append(versions[1])
        return model

    x = floats(np.random.default_rng(0), 2, 3)
    (z,) = clstm.onnx.load(model_with("Add", "")).run(None, {"x": x})
    np.testing.assert_array_equal(z, 2 * x)
    with pytest.raises(ValueError, match="its functions can't be inlined"):
        clstm.onnx.load(model_with("Twice", "mine"))
    with pytest.raises(ValueError, match=r"\(Thrice\): operators of the domain 'mine' aren't supported"):
        clstm.onnx.load(model_with("Thrice", "mine"))


def test_weights_in_separate_files(tmp_path):
    node = LstmNode(np.random.default_rng(6))
    whole = node.model.SerializeToString()
    onnx.save_model(node.model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    found = clstm.onnx.load(tmp_path / "m.onnx").run(None, node.feed)
    assert_same_bits(found, clstm.onnx.load(whole).run(None, node.feed))
    with pytest.raises(ValueError, match=r"initializer 'W' is in a separate file; load the model by its path"):
        clstm.onnx.load((tmp_path / "m.onnx").read_bytes())
    (tmp_path / "w.bin").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"m\.onnx"):
        clstm.onnx.load(tmp_path / "m.onnx")
    (tmp_path / "w.bin").unlink()
    with pytest.raises(ValueError, match="external data can't be read"):
        clstm.onnx.load(tmp_path / "m.onnx")


def test_external_data_outside_the_models_folder_is_refused(tmp_path):
    (tmp_path / "inside").mkdir()
    node = LstmNode(np.random.default_rng(6))
    path = tmp_path / "inside" / "m.onnx"
    onnx.save_model(node.model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    (tmp_path / "inside" / "w.bin").rename(tmp_path / "w.bin")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "../w.bin"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="external data can't be read"):
        clstm.onnx.load(path)


# ------------------------------------------------------------------------------------------- saving


def openvino_run(path, feed, outputs, *, fixed=False):
    """Run a model on OpenVINO, with the sizes of the inputs fixed before it is compiled if asked."""
    openvino = pytest.importorskip("openvino")
    core = openvino.Core()
    model = core.read_model(str(path))
    if fixed:
        model.reshape({name: list(array.shape) for name, array in feed.items()})
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    results = core.compile_model(model, "CPU", options)(feed)
    return [results[place] for place in range(outputs)]


LENGTHS = np.array([6, 0, 2, 3, 6])
VARIANTS = {
    "plain": {},
    "one layer": {"num_layers": 1},
    "no bias": {"bias": False},
    "residual": {"residual": True},
    "sizes": {"hidden_size": [4, 5]},
    "learnt state": {"learn_initial_state": True},
    "learnt states of sizes": {"learn_initial_state": True, "hidden_size": [4, 6], "batch_first": True},
    "batch first": {"batch_first": True},
    "dropout": {"dropout": 0.3, "recurrent_dropout": 0.2, "weight_dropout": 0.2},
    "peephole": {"peephole": True},
    "coupled": {"coupled": True},
    "coupled, peephole, clip": {"coupled": True, "peephole": True, "gate_clip": 0.7},
    "gate_clip": {"gate_clip": 0.5},
    "activations": {"activations": ("hard_sigmoid", "softsign", "linear")},
    "activations that OpenVINO has": {"activations": ("sigmoid", "relu", "relu")},
    "activations of both": {
        "activations": ("sigmoid", ("elu", 0.5), ("scaled_tanh", 0.5, 2.0), ("hard_sigmoid", 0.3, 0.4), "softplus",
                        ("leaky_relu", 0.2)), "bidirectional": True,
    },
}  # fmt: skip


def make_lstm(options, **more):
    lstm = clstm.LSTM(3, **{"hidden_size": 4, "num_layers": 2, "seed": 0, **options, **more})
    if lstm.learn_initial_state:
        rng = np.random.default_rng(1)
        with lstm.updating() as weights:
            for name, weight in weights.items():
                if name.startswith(("h0", "c0")):
                    weight[...] = rng.standard_normal(weight.shape)
    return lstm


def lstm_case(lstm, state, lengths, dtype=np.float32):
    """Return what a saved LSTM is fed, and what the layer says."""
    rng, D = np.random.default_rng(0), lstm.num_directions
    x = rng.standard_normal((5, 6, 3) if lstm.batch_first else (6, 5, 3)).astype(dtype)
    feed, given = {"x": x}, None
    listed = isinstance(lstm.hidden_size, tuple)
    if state:
        sizes = lstm.hidden_size if listed else [lstm.hidden_size] * lstm.num_layers
        h, c = ([rng.standard_normal((D, 5, size)).astype(dtype) for size in sizes] for _ in "hc")
        if listed:
            feed |= {f"h0_l{layer}": part for layer, part in enumerate(h)}
            feed |= {f"c0_l{layer}": part for layer, part in enumerate(c)}
            given = h, c
        else:
            given = np.concatenate(h), np.concatenate(c)
            feed |= {"h0": given[0], "c0": given[1]}
    if lengths:
        feed["lengths"] = LENGTHS
    y, (h_n, c_n) = lstm(x, given, LENGTHS if lengths else None)
    return feed, [y, *h_n, *c_n] if listed else [y, h_n, c_n]


def check_saved(path, feed, expected, note, what, *, openvino=True):
    """Check a saved model and what it gives: the same bits here, nearly the same elsewhere."""
    onnx.checker.check_model(onnx.load(path), full_check=True)
    model = clstm.onnx.load(path)
    assert {value.name for value in model.get_inputs()} == set(feed)
    found = model.run(None, feed)
    if clstm._core.backend.isa() == "portable":  # BLAS
        assert_all_close(found, expected, **CLOSE)
    else:
        assert_same_bits(found, expected)
    runtimes = {"ONNX Runtime": lambda: onnx_runtime(path).run(None, feed)}
    if openvino:
        runtimes["OpenVINO"] = lambda: openvino_run(path, feed, len(expected), fixed="lengths" in feed)
    for peer, run in runtimes.items():
        results = run()
        note(f"saved {what}", peer, results, expected)
        assert_all_close(results, expected, **CLOSE)


@pytest.mark.parametrize("lengths", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("state", [False, True], ids=["zeros", "state"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("name", VARIANTS)
def test_saved_lstm(name, bidirectional, state, lengths, tmp_path, note):
    options = VARIANTS[name]
    lstm = make_lstm({"bidirectional": bidirectional, **options})
    feed, expected = lstm_case(lstm, state, lengths)
    path = tmp_path / "lstm.onnx"
    clstm.onnx.save(lstm, path, state=state, lengths=lengths)
    # OpenVINO ignores peepholes, and refuses some activations.
    openvino = not lstm.peephole and (name == "activations that OpenVINO has" or "activations" not in options)
    check_saved(path, feed, expected, note, f"LSTM: {name}", openvino=openvino)


@pytest.mark.parametrize("lengths", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("vocab_size", [None, 11], ids=["floats", "ids"])
@pytest.mark.parametrize("pooling", ["last", "mean", "max", None])
def test_saved_sequence_network(pooling, vocab_size, bidirectional, lengths, tmp_path, note):
    network = SequenceNetwork(
        3, 4, 2, 2, vocab_size=vocab_size, bidirectional=bidirectional, pooling=pooling, output_dropout=0.5, seed=0
    )
    rng = np.random.default_rng(0)
    x = floats(rng, 5, 6, 3) if vocab_size is None else rng.integers(0, 11, (5, 6))
    hidden = floats(rng, 2 + 2 * bidirectional, 5, 4), floats(rng, 2 + 2 * bidirectional, 5, 4)
    for state in (False, True):
        feed = (
            {"x": x} | ({"h0": hidden[0], "c0": hidden[1]} if state else {}) | ({"lengths": LENGTHS} if lengths else {})
        )
        out, (h_n, c_n) = network(x, hidden if state else None, LENGTHS if lengths else None)
        path = tmp_path / "network.onnx"
        clstm.onnx.save(network, path, state=state, lengths=lengths)
        check_saved(path, feed, [out, h_n, c_n], note, "SequenceNetwork")


@pytest.mark.smoke
def test_saved_text_classifier(tmp_path):
    texts = ["good film", "a bad film", "a good one", "bad"]
    classifier = clstm.TextClassifier(embedding_dim=4, hidden_size=4, n_epochs=1, seed=0, verbose=0)
    classifier.fit(texts, ["yes", "no", "yes", "no"])
    network = classifier.network_
    assert isinstance(network, LSTMClassifierNetwork)
    path = tmp_path / "reviews.onnx"
    clstm.onnx.save(network, path, state=False, lengths=True)
    ids = np.random.default_rng(0).integers(0, network.vocab_size, (3, 5))
    feed = {"x": ids, "lengths": np.array([5, 1, 3])}
    expected = network(ids, lengths=[5, 1, 3])[0]
    np.testing.assert_allclose(onnx_runtime(path).run(["out"], feed)[0], expected, **CLOSE)
    np.testing.assert_allclose(clstm.onnx.load(path).run(["out"], feed)[0], expected, **CLOSE)


@pytest.mark.parametrize("options", [{}, {"tied": True}, {"tied": True, "hidden_size": 5}], ids=str)
def test_saved_language_network(options, tmp_path, note):
    network = LSTMLanguageNetwork(80, **{"embedding_dim": 4, "hidden_size": 4, "num_layers": 2, "seed": 0, **options})
    rng, path = np.random.default_rng(0), tmp_path / "language.onnx"
    ids, H = rng.integers(0, 80, (6, 3)), network.lstm.hidden_size
    h0, c0 = floats(rng, 2, 3, H), floats(rng, 2, 3, H)
    clstm.onnx.save(network, path)
    y, (h_n, c_n) = network.lstm(network.embedding(ids), (h0, c0))
    feed = {"ids": ids, "h0": h0, "c0": c0}
    check_saved(path, feed, [network.scores(y), h_n, c_n], note, "network of a LanguageModel")


def test_saved_doubles_are_loaded_as_doubles(tmp_path):
    lstm = clstm.LSTM(3, 4, 2, bidirectional=True, dtype=np.float64, seed=0)
    feed, expected = lstm_case(lstm, True, True, np.float64)
    clstm.onnx.save(lstm, tmp_path / "lstm.onnx", lengths=True)
    onnx.checker.check_model(onnx.load(tmp_path / "lstm.onnx"), full_check=True)
    assert_all_close(clstm.onnx.load(tmp_path / "lstm.onnx").run(None, feed), expected, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"proj_size": 2}, "proj_size is 2: the operator LSTM has no projection"),
        ({"cell_clip": 0.5}, "cell_clip is 0.5: the operator's clip is for gates only"),
        ({"layer_norm": True}, "layer_norm is True: the operator LSTM doesn't normalise"),
        ({"zoneout": (0.0, 0.1)}, r"zoneout is \(0.0, 0.1\): the operator LSTM doesn't mix"),
        ({"activations": ("sigmoid", "selu", "tanh")}, "ONNX has no activation 'selu'"),
        ({"activations": ("sigmoid", "exponential", "tanh")}, "ONNX has no activation 'exponential'"),
    ],
)
def test_options_that_onnx_lacks_are_an_error_and_nothing_is_written(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        clstm.onnx.save(clstm.LSTM(3, 4, seed=0, **options), tmp_path / "lstm.onnx")
    assert list(tmp_path.iterdir()) == []


def test_save_refuses_other_types(tmp_path):
    adaptive = LSTMLanguageNetwork(80, 4, 4, cutoffs=[10], seed=0)
    with pytest.raises(ValueError, match="cutoffs is given: an adaptive softmax"):
        clstm.onnx.save(adaptive, tmp_path / "a.onnx")
    classifier = clstm.TextClassifier(embedding_dim=4, hidden_size=4, n_epochs=1, seed=0, verbose=0)
    classifier.fit(["good film", "bad"], ["yes", "no"])
    with pytest.raises(TypeError, match=r"model is TextClassifier, expected an LSTM.*pass its network_"):
        clstm.onnx.save(classifier, tmp_path / "a.onnx")
    with pytest.raises(TypeError, match="state is 1, expected True or False"):
        clstm.onnx.save(clstm.LSTM(3, 4), tmp_path / "a.onnx", state=1)
    with pytest.raises(FileNotFoundError):
        clstm.onnx.save(clstm.LSTM(3, 4), tmp_path / "missing" / "a.onnx")


# ------------------------------------------------------------------------------------------- what is refused


def one_node(operator, inputs=("x",), **attributes):
    x = np.ones((2, 3), np.float32)
    return make_model([helper.make_node(operator, list(inputs), ["y"], name="n", **attributes)], {"x": x}, ["y"])


def with_node(change, **options):
    model = LstmNode(np.random.default_rng(0), **options).model
    change(model)
    return model


def set_opset(model, version):
    model.opset_import[0].version = version
    return model


REFUSALS = {
    "operator": (lambda: one_node("Conv"), r"node 'n' \(Conv\): the operator isn't supported; those that are: LSTM, A"),
    "attribute": (lambda: one_node("Relu", slope=1.0), r"node 'n' \(Relu\): attribute 'slope' isn't supported"),
    "attribute's type": (lambda: one_node("Transpose", perm=1.0), "attribute 'perm' is of type FLOAT, expected INTS"),
    "attribute missing": (lambda: one_node("Concat"), r"node 'n' \(Concat\): attribute 'axis' is missing"),
    "inputs": (lambda: one_node("Add"), r"node 'n' \(Add\): it has 1 inputs, expected 2"),
    "unknown input": (lambda: one_node("Add", ["x", "z"]), r"node 'n' \(Add\): its input 'z' is computed by no node"),
    "domain": (lambda: one_node("Gelu", domain="com.microsoft"), "operators of the domain 'com.microsoft'"),
    "half precision": (
        lambda: one_node("Cast", to=TensorProto.FLOAT16),
        r"node 'n' \(Cast\): attribute 'to' has the element type FLOAT16, which isn't supported",
    ),
    "half input": (
        lambda: make_model([], {"x": np.ones(2, np.float16)}, ["x"]),
        "input 'x' has the element type FLOAT16, which isn't supported",
    ),
    "half weight": (
        lambda: make_model([], {}, ["w"], {"w": np.ones(2, np.float16)}),
        "initializer 'w' has the element type FLOAT16",
    ),
    "old operators": (lambda: set_opset(one_node("Relu"), 6), "its operator set is version 6, expected 7 to 28"),
    "new operators": (lambda: set_opset(one_node("Relu"), 99), "its operator set is version 99, expected 7 to 28"),
    "subgraph": (
        lambda: one_node("If", then_branch=(empty := helper.make_graph([], "g", [], [])), else_branch=empty),
        r"node 'n' \(If\): the operator isn't supported",
    ),
    "output": (lambda: make_model([], {}, ["y"]), "output 'y' is computed by no node"),
    "name": (
        lambda: make_model([helper.make_node("Relu", ["x"], ["x"])], {"x": np.ones(2, np.float32)}, ["x"]),
        r"node number 0 \(Relu\): the name 'x' is given twice",
    ),
    "direction": (lambda: one_node("LSTM", "xxx", direction="up"), "direction is 'up', expected 'forward', 'reverse'"),
    "activation": (
        lambda: with_node(lambda _: None, activations=["Sigmoid", "Gelu", "Tanh"]),
        r"node 'n' \(LSTM\): the activation 'Gelu' isn't supported; expected one of Sigmoid, Tanh",
    ),
    "activations": (
        lambda: with_node(lambda _: None, activations=["Sigmoid", "Tanh"]),
        "activations has 2 names, expected 3",
    ),
    "alpha missing": (
        lambda: with_node(lambda _: None, activations=["Sigmoid", "Affine", "Tanh"]),
        "the activation Affine has no activation_alpha, for which runtimes have different defaults",
    ),
    "alphas": (
        lambda: with_node(lambda _: None, activations=["HardSigmoid", "Tanh", "Tanh"], activation_alpha=[0.2, 0.0]),
        "activation_alpha has 1 more values than there are functions with this parameter",
    ),
    "coupled": (
        lambda: with_node(lambda _: None, activations=["Relu", "Tanh", "Tanh"], input_forget=1),
        "input_forget is 1 with the activation 'relu'; only sigmoid is supported with it",
    ),
    "clip": (lambda: with_node(lambda _: None, clip=-1.0), "clip is -1.0, expected above 0"),
    "weights": (
        lambda: with_node(lambda model: model.graph.initializer[0].dims.__setitem__(2, 2)),
        r"initializer 'W' doesn't hold the \(1, 20, 2\) numbers of its shape",
    ),
    "weights of another size": (
        lambda: with_node(lambda model: model.graph.initializer[0].CopyFrom(
            numpy_helper.from_array(np.ones((1, 12, 4), np.float32), "W"))),
        r"node 'n' \(LSTM\): W has shape \(1, 12, 4\), expected \(1, 20, 4\) \(directions 1, hidden_size 5\)",
    ),
    "sparse": (
        lambda: with_node(lambda model: model.graph.sparse_initializer.add()),
        "it has sparse initializers, which aren't supported",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_load_names_what_is_not_supported(name):
    make, message = REFUSALS[name]
    with pytest.raises(ValueError, match=message):
        clstm.onnx.load(make())


def test_other_data_than_models_are_refused(tmp_path):
    path = tmp_path / "text.onnx"
    path.write_text("This is no model.")
    with pytest.raises(ValueError, match=r"text\.onnx isn't an ONNX model"):
        clstm.onnx.load(path)
    for data in (b"", b"\x08\x08"):
        with pytest.raises(ValueError, match="the model: it isn't an ONNX model, or has no graph"):
            clstm.onnx.load(data)
    with pytest.raises(TypeError, match="path_or_model is int, expected a path, bytes or an"):
        clstm.onnx.load(3)
    with pytest.raises(FileNotFoundError):
        clstm.onnx.load(tmp_path / "missing.onnx")
    with pytest.raises(ValueError, match="num_threads is 0"):
        clstm.onnx.load(path, num_threads=0)


@pytest.mark.parametrize("seed", range(5))
def test_damaged_models_give_errors_or_run(seed, tmp_path):
    network = SequenceNetwork(3, 4, 2, vocab_size=11, bidirectional=True, pooling="max", seed=0)
    clstm.onnx.save(network, tmp_path / "m.onnx", lengths=True)
    whole, rng, refused = (tmp_path / "m.onnx").read_bytes(), np.random.default_rng(seed), 0
    for _ in range(100):
        data = bytearray(whole)
        for place in rng.integers(0, len(whole) - 10, rng.integers(1, 4)):
            if rng.random() < 0.5:
                data[place] = rng.integers(256)
            else:
                del data[place : place + rng.integers(1, 5)]
        try:
            model = clstm.onnx.load(bytes(data))
        except ValueError:
            refused += 1
            continue
        feed = {
            value.name: np.ones([size if isinstance(size, int) else 3 for size in value.shape[:4]],
                                np.int64 if "int" in value.type else np.float32)
            for value in model.get_inputs()
        }  # fmt: skip
        try:
            model.run(None, feed)
        except (ValueError, TypeError):
            refused += 1
    assert 20 < refused < 100  # else this wouldn't test much


# ------------------------------------------------------------------------------------------- running


def test_run_is_called_like_onnx_runtimes(tmp_path):
    path = tmp_path / "lstm.onnx"
    clstm.onnx.save(clstm.LSTM(3, 4, seed=0), path, lengths=True)
    model, session = clstm.onnx.load(str(path)), onnx_runtime(path)
    for ours, theirs in (
        (model.get_inputs(), session.get_inputs()),
        (model.get_outputs(), session.get_outputs()),
    ):
        assert [(v.name, v.shape, v.type) for v in ours] == [(v.name, v.shape, v.type) for v in theirs]
    feed, expected = lstm_case(clstm.LSTM(3, 4, seed=0), True, True)
    assert_all_close(model.run(["c_n", "y"], feed), [expected[2], expected[0]], **CLOSE)


def test_errors_of_run(tmp_path):
    clstm.onnx.save(clstm.LSTM(3, 4, seed=0), tmp_path / "lstm.onnx", lengths=True)
    model = clstm.onnx.load(tmp_path / "lstm.onnx")
    feed, _ = lstm_case(clstm.LSTM(3, 4, seed=0), True, True)
    for change, error, message in (
        ({"x": feed["x"].astype(np.float64)}, TypeError, "x has dtype float64, expected float32"),
        ({"x": feed["x"][0]}, ValueError, r"x has shape \(5, 3\), expected \(time, batch, 3\)"),
        ({"x": feed["x"][:, :, :2]}, ValueError, r"x has shape \(6, 5, 2\), expected \(time, batch, 3\)"),
        ({"z": feed["x"]}, ValueError, "inputs has 'z', expected x, h0, c0, lengths"),
        ({"h0": feed["h0"][:, :2]}, ValueError, r"node 'lstm_l0' \(LSTM\): initial_h is float32\(1, 2, 4\), expected"),
        ({"lengths": np.array([7, 1, 1, 1, 1])}, ValueError, r"sequence_lens is \[7, 1, 1, 1, 1\], expected 5 numbers"),
        ({"lengths": np.array([-1, 1, 1, 1, 1])}, ValueError, r"sequence_lens is \[-1, 1, 1, 1, 1\]"),
    ):
        with pytest.raises(error, match=message):
            model.run(None, feed | change)
    with pytest.raises(ValueError, match="inputs lacks 'h0'; expected x, h0, c0, lengths"):
        model.run(None, {"x": feed["x"]})
    with pytest.raises(ValueError, match="output_names has 'z', expected some of y, h_n, c_n"):
        model.run(["z"], feed)
    with pytest.raises(TypeError, match="output_names is 'y', expected a sequence of names, or None"):
        model.run("y", feed)
    with pytest.raises(TypeError, match="inputs is list, expected a mapping"):
        model.run(None, [feed["x"]])


@pytest.mark.parametrize(
    ("operator", "inputs", "message"),
    [
        ("Gather", {"x": np.ones((2, 3), np.float32), "i": np.array([2])}, "the indices hold 2, expected -2 to 1"),
        ("Add", {"x": np.ones(2, np.float32), "i": np.ones(2)}, "inputs are of the types float32, float64"),
        ("MatMul", {"x": np.ones((2, 3), np.float32), "i": np.ones((2, 3), np.float32)}, "matmul"),
        ("Reshape", {"x": np.ones((2, 3), np.float32), "i": np.array([4, -1])}, "cannot reshape"),
        ("Div", {"x": np.ones(2, np.int64), "i": np.array([1, 0])}, "an integer is divided by 0"),
        ("Expand", {"x": np.ones((2, 3), np.float32), "i": np.array([4, 3])}, "shape mismatch"),
        ("Squeeze", {"x": np.ones((2, 3), np.float32), "i": np.array([0])}, "cannot select an axis"),
        (
            "Split",
            {"x": np.ones((2, 3), np.float32), "i": np.array([1])},
            r"the parts \[1\] aren't 1 that make up the 2",
        ),
    ],
)
def test_errors_of_nodes_name_the_node(operator, inputs, message):
    node = helper.make_node(operator, list(inputs), ["y"], name="n")
    model = clstm.onnx.load(make_model([node], inputs, ["y"]))
    with pytest.raises(ValueError, match=rf"node 'n' \({operator}\): .*{message}"):
        model.run(None, inputs)


@pytest.mark.parametrize("opset", [7, 11, 13, 18])
def test_operators_that_changed_with_the_operator_set(opset):
    rng = np.random.default_rng(0)
    x = floats(rng, 2, 3, 4)
    nodes, constants = [helper.make_node("Softmax", ["x"], ["a"]), helper.make_node("LogSoftmax", ["x"], ["b"])], {}

    def add(name, inputs, output, attribute, values, since, **more):
        if opset < since:
            nodes.append(helper.make_node(name, inputs, output, **{attribute: values}, **more))
        else:
            constants[output[0] + attribute] = np.array(values)
            nodes.append(helper.make_node(name, [*inputs, output[0] + attribute], output, **more))

    add("Unsqueeze", ["x"], ["c"], "axes", [1], 13)
    add("Squeeze", ["c"], ["d"], "axes", [1], 13)
    add("ReduceSum", ["x"], ["e"], "axes", [-1], 13)
    add("ReduceMean", ["x"], ["f"], "axes", [0, 2], 18, keepdims=0)
    add("Split", ["x"], ["g", "h"], "split", [1, 3], 13, axis=2)
    if opset < 10:
        nodes.append(helper.make_node("Slice", ["x"], ["i"], axes=[1], starts=[-2], ends=[100]))
    else:
        constants |= {"starts": np.array([-2]), "ends": np.array([100]), "axes": np.array([1])}
        nodes.append(helper.make_node("Slice", ["x", "starts", "ends", "axes"], ["i"]))
    model = make_model(nodes, {"x": x}, list("abcdefghi"), constants, opset=opset)
    assert_all_close(
        clstm.onnx.load(model).run(None, {"x": x}), onnx_runtime(model).run(None, {"x": x}), rtol=1e-6, atol=1e-6
    )


def test_outputs_share_no_memory_with_the_model():
    x = np.ones((2, 3), np.float32)
    nodes = [helper.make_node("Transpose", ["x"], ["y"]), helper.make_node("Identity", ["w"], ["z"])]
    model = clstm.onnx.load(make_model(nodes, {"x": x}, ["y", "z"], {"w": x}))
    for _ in range(2):
        y, z = model.run(None, {"x": x})
        assert y.sum() == z.sum() == x.sum() == 6
        y[...] = z[...] = 0


def test_many_threads_may_run_one_model(tmp_path):
    network = SequenceNetwork(3, 16, 2, 2, pooling="mean", bidirectional=True, seed=0)
    clstm.onnx.save(network, tmp_path / "m.onnx", state=False)
    model, rng = clstm.onnx.load(tmp_path / "m.onnx", num_threads=1), np.random.default_rng(0)
    feeds = [{"x": floats(rng, 5, 20, 3)} for _ in range(24)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda feed: model.run(None, feed), feeds))
    for feed, found in zip(feeds, together, strict=True):
        assert_same_bits(found, model.run(None, feed))


@pytest.mark.subprocess
def test_missing_onnx_is_named_with_the_extra(tmp_path):
    code = """
import sys
sys.modules["onnx"] = None
import clstm
clstm.onnx  # loads nothing
try:
    clstm.onnx.load("model.onnx")
except ImportError as error:
    print(error)
"""
    result = run_python(code, folder=tmp_path)
    assert result.stdout.startswith("clstm.onnx needs onnx 1.16 or newer: pip install clstm-cpu[onnx]"), result.stderr
