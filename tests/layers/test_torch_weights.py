"""PyTorch's weights in this library's layers and back, with and without PyTorch in the process."""

from __future__ import annotations

import numpy as np
import pytest

import clstm

LSTMS = [
    {},
    {"num_layers": 3, "bias": False, "batch_first": True},
    {"num_layers": 2, "bidirectional": True, "dropout": 0.3},
    {"num_layers": 2, "bidirectional": True, "proj_size": 3},
]


def prefixed(prefix, arrays):
    return {prefix + name: array for name, array in arrays.items()}


# ---------------------------------------------------------------------------------------------- without PyTorch


@pytest.mark.parametrize("options", LSTMS[:3], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sizes_follow_from_names_and_shapes(options, dtype):
    original = clstm.LSTM(5, 7, **options, dtype=dtype, seed=0)
    given = {name: options[name] for name in ("batch_first", "dropout") if name in options}
    state_dict = {**prefixed("encoder.lstm.", original.state_dict()), "head.weight": np.zeros((2, 2))}
    for prefix in ("encoder.lstm.", "encoder.lstm"):
        found = clstm.LSTM.from_torch(state_dict, prefix=prefix, **given, num_threads=1)
        assert repr(found) == repr(original)
        assert found.num_threads == 1
        x = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(dtype)
        np.testing.assert_array_equal(found(x)[0], original(x)[0])
    with found.updating() as weights:
        weights["weight_ih_l0"][...] = 0
    assert original.state_dict()["weight_ih_l0"].any()


@pytest.mark.parametrize(
    "layer",
    [clstm.LSTMCell(5, 7, seed=0), clstm.LSTMCell(5, 7, bias=False, seed=0), clstm.Embedding(9, 4, seed=0),
     clstm.Linear(5, 3, seed=0), clstm.Linear(5, 3, bias=False, dtype="float64", seed=0)],
    ids=repr,
)  # fmt: skip
def test_other_layers(layer):
    found = type(layer).from_torch(prefixed("part.", layer.state_dict()), prefix="part")
    assert repr(found) == repr(layer)
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(found.state_dict()[name], array)
    other = "float64" if layer.dtype == np.float32 else "float32"
    assert type(layer).from_torch(layer.state_dict(), dtype=other).dtype == other


def test_half_precision_is_widened():
    weights = clstm.LSTM(5, 7, seed=0).state_dict()
    halves = {name: array.astype(np.float16) for name, array in weights.items()}
    found = clstm.LSTM.from_torch(halves)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found.state_dict()["weight_hh_l0"], halves["weight_hh_l0"])


def changed(**arrays):
    return {**clstm.LSTM(5, 7, num_layers=2, seed=0).state_dict(), **arrays}


def without(name):
    return {key: array for key, array in changed().items() if key != name}


@pytest.mark.parametrize(
    ("source", "arguments", "error", "match"),
    [
        ({}, {}, ValueError, "no weight_ih_l0"),
        ([], {}, TypeError, "source is list, expected a torch.nn.LSTM"),
        (changed(), {"prefix": 3}, TypeError, "prefix is int"),
        (prefixed("a.b.", changed()), {}, ValueError, r"no weight_ih_l0; prefix could be 'a.b.'"),
        (prefixed("a.b.", changed()), {"prefix": "a"}, ValueError, r"no a.weight_ih_l0; prefix could be 'a.b.'"),
        (without("weight_hh_l0"), {}, ValueError, "no weight_hh_l0"),
        (without("bias_hh_l1"), {}, ValueError, "lacks bias_hh_l1"),
        (changed(weight_peephole_l0=np.zeros(21, np.float32)), {}, ValueError, "unexpected weight_peephole_l0"),
        (changed(weight_ih_l5=np.zeros((28, 7), np.float32)), {}, ValueError, r"layers \[0, 1, 5\], expected 0 to 2"),
        (changed(weight_hh_l0=np.zeros((21, 7), np.float32)), {}, ValueError, "expected 4 \\* 7 rows: is it an LSTM's"),
        (changed(weight_hh_l0=np.zeros(28, np.float32)), {}, ValueError, "expected two axes"),
        (changed(weight_ih_l1=np.zeros((28, 8), np.float32)), {}, ValueError, r"weight_ih_l1 has shape \(28, 8\)"),
        (changed(bias_ih_l0=np.zeros(28)), {}, TypeError, "float32, float64; give dtype"),
        (changed(bias_ih_l0=np.zeros(28, int)), {}, TypeError, "bias_ih_l0 has dtype int64, expected floats"),
        (changed(), {"dtype": "float16"}, TypeError, "dtype is 'float16'"),
        (changed(bias_ih_l0="zeros"), {}, TypeError, "bias_ih_l0 has dtype"),
    ],
)
def test_errors(source, arguments, error, match):
    with pytest.raises(error, match=match):
        clstm.LSTM.from_torch(source, **arguments)


@pytest.mark.parametrize("cls", [clstm.Embedding, clstm.Linear])
def test_errors_of_other_layers(cls):
    with pytest.raises(ValueError, match=r"source has no weight; prefix could be 'fc\.'"):
        cls.from_torch({"fc.weight": np.zeros((2, 3), np.float32)})
    with pytest.raises(ValueError, match="weight has shape"):
        cls.from_torch({"weight": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match="unexpected other"):
        cls.from_torch({"weight": np.zeros((2, 3), np.float32), "other": np.zeros(3, np.float32)})


# ------------------------------------------------------------------------------------------------- with PyTorch


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    return torch


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize("options", LSTMS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lstm_there_and_back(torch, options, dtype):
    module = torch.nn.LSTM(5, 7, **options, dtype=getattr(torch, dtype)).eval()
    lstm = clstm.LSTM.from_torch(module)
    x = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(dtype)
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    with torch.no_grad():
        expected, (h_n, c_n) = module(torch.from_numpy(x))
    y, state = lstm(x)
    np.testing.assert_allclose(y, expected, atol=tolerance)
    np.testing.assert_allclose(state[0], h_n, atol=tolerance)
    np.testing.assert_allclose(state[1], c_n, atol=tolerance)
    back = lstm.to_torch()
    assert type(back) is torch.nn.LSTM
    assert repr(back) == repr(module)
    assert list(back.state_dict()) == list(lstm.state_dict()) == list(module.state_dict())
    assert all(map(torch.equal, back.state_dict().values(), module.state_dict().values()))
    assert all(weight.requires_grad for weight in back.parameters())
    with torch.no_grad():
        back.weight_ih_l0.zero_()
    np.testing.assert_array_equal(lstm(x)[0], y)


@pytest.mark.peer
@pytest.mark.parametrize("bias", [True, False])
def test_other_layers_there_and_back(torch, bias):
    nn = torch.nn
    modules = {
        clstm.LSTMCell: nn.LSTMCell(5, 7, bias=bias, dtype=torch.float64),
        clstm.Embedding: nn.Embedding(9, 4, padding_idx=2, sparse=bias),
        clstm.Linear: nn.Linear(5, 3, bias=bias),
    }
    inputs = {nn.Embedding: torch.tensor([[1, 2], [8, 0]]), nn.LSTMCell: torch.randn(3, 5).double()}
    for cls, module in modules.items():
        model = nn.ModuleDict({"inside": nn.ModuleDict({"part": module})})
        layer = cls.from_torch(model, prefix="inside.part")
        x = inputs.get(type(module), torch.randn(3, 5))
        found, expected = layer(x.numpy()), module(x)
        if cls is not clstm.LSTMCell:
            found, expected = [found], [expected]
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, theirs.detach(), atol=1e-6)
        back = layer.to_torch()
        assert repr(back) == repr(module)
        assert all(map(torch.equal, back.state_dict().values(), module.state_dict().values()))
        same = cls.from_torch(model.state_dict(), prefix="inside.part").state_dict()
        assert all(map(np.array_equal, same.values(), layer.state_dict().values()))


@pytest.mark.peer
def test_making_a_module_draws_no_random_numbers(torch):
    before = torch.get_rng_state()
    clstm.LSTM(5, 7, seed=0).to_torch()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.peer
def test_modules_of_this_librarys(torch):
    import clstm.torch as ours

    module = ours.LSTM(5, 7)
    assert repr(clstm.LSTM.from_torch(module)) == "LSTM(5, 7)"
    with torch.no_grad():
        module.weight_ih_l0.zero_()
    assert not clstm.LSTM.from_torch(module).state_dict()["weight_ih_l0"].any()


@pytest.mark.peer
def test_bfloat16(torch):
    module = torch.nn.LSTM(5, 7, dtype=torch.bfloat16)
    lstm = clstm.LSTM.from_torch(module)
    assert lstm.dtype == np.float32
    np.testing.assert_array_equal(lstm.state_dict()["weight_hh_l0"], module.weight_hh_l0.detach().float())


@pytest.mark.peer
def test_modules_that_do_not_fit(torch):
    nn = torch.nn
    with pytest.raises(TypeError, match=r"source is GRU, expected a torch\.nn\.LSTM or its state_dict"):
        clstm.LSTM.from_torch(nn.GRU(5, 7))
    with pytest.raises(ValueError, match="expected 4 \\* 7 rows: is it an LSTM's"):
        clstm.LSTM.from_torch(nn.GRU(5, 7).state_dict())
    with pytest.raises(ValueError, match=r"prefix is 'b\.', but source has no such part"):
        clstm.LSTM.from_torch(nn.ModuleDict({"a": nn.LSTM(5, 7)}), prefix="b")
    with pytest.raises(ValueError, match="meta device"):
        clstm.LSTM.from_torch(nn.LSTM(5, 7, device="meta"))
    with pytest.raises(ValueError, match=r"max_norm is 1.0, expected None, for clstm.Embedding has no such option"):
        clstm.Embedding.from_torch(nn.Embedding(5, 7, max_norm=1.0))


@pytest.mark.peer
@pytest.mark.parametrize(
    ("options", "match"),
    [({"peephole": True}, "peephole is True, expected False, for torch.nn.LSTM has no such option"),
     ({"zoneout": 0.1}, "zoneout"), ({"layer_norm": True}, "layer_norm"), ({"cell_clip": 3.0}, "cell_clip"),
     ({"hidden_size": [7, 8]}, r"hidden_size is \(7, 8\)"), ({"num_layers": 2, "residual": True}, "residual"),
     ({"activations": ("hard_sigmoid", "tanh", "tanh")}, "activations"), ({"learn_initial_state": True}, "learn")],
    ids=str,
)  # fmt: skip
def test_options_that_pytorch_lacks(torch, options, match):
    with clstm.layers.base.blank_weights():
        lstm = clstm.LSTM(**{"input_size": 5, "hidden_size": 7, **options})
    with pytest.raises(ValueError, match=match):
        lstm.to_torch()


@pytest.mark.peer
def test_options_that_pytorchs_cell_lacks(torch):
    with clstm.layers.base.blank_weights():
        cell = clstm.LSTMCell(5, 7, proj_size=2)
    with pytest.raises(ValueError, match=r"proj_size is 2, expected 0, for torch\.nn\.LSTMCell"):
        cell.to_torch()
