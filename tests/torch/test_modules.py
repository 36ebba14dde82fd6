"""clstm.torch against PyTorch itself: outputs, gradients, files, modules swapped, weights that change, errors."""

from __future__ import annotations

import copy
import gc
import importlib
import pickle
import re
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils import prune  # noqa: E402
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence  # noqa: E402
from torch.utils.checkpoint import checkpoint  # noqa: E402

import clstm  # noqa: E402
import clstm.torch  # noqa: E402
from tests.helpers.processes import run_python  # noqa: E402

pytestmark = pytest.mark.peer

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def repeatable():
    """The same random numbers for each test, and one thread of PyTorch, the fastest number for such small models."""
    torch.manual_seed(0)
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture
def differences(monkeypatch):
    monkeypatch.syspath_prepend(ROOT)
    return importlib.import_module("benchmarks.torch_differences")


def pair(*args, **kwargs):
    """Return PyTorch's LSTM and this library's with the same weights."""
    theirs, ours = nn.LSTM(*args, **kwargs), clstm.torch.LSTM(*args, **kwargs)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def assert_close(found, expected, tolerance=None):
    tolerance = tolerance or {torch.float32: 2e-6, torch.float64: 1e-13}[expected.dtype]
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


# --------------------------------------------------------------------------------------------- outputs and gradients


# PyTorch says that it is slower with projections.
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN:UserWarning")
@pytest.mark.parametrize("seed", range(100))
def test_random_configurations(differences, seed):
    drawn = differences.case(seed)
    assert differences.difference(drawn) < {torch.float32: 2e-6, torch.float64: 1e-13}[drawn.dtype], drawn


def test_random_configurations_hold_every_option(differences):
    counts = {}
    for seed in range(100):
        for trait in differences.traits(differences.case(seed)):
            counts[trait] = counts.get(trait, 0) + 1
    assert set(counts) == {
        "all", *differences.LAYOUTS, "batch_first", "bidirectional", "proj_size", "bias=False", "several layers",
        "dropout, training", "initial state", "some weights frozen",
    }  # fmt: skip
    assert min(counts.values()) >= 10


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"proj_size": 2}], ids=str)
@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_gradcheck(options, layout):
    lstm = clstm.torch.LSTM(2, 3, **options, dtype=torch.float64)
    names, weights = zip(*lstm.named_parameters(), strict=True)
    rows = lstm.num_layers * (1 + lstm.bidirectional)
    x, h0, c0 = (
        torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for shape in ((4, 2, 2), (rows, 2, lstm.proj_size or 3), (rows, 2, 3))
    )

    def outputs(x, h0, c0, *weights):
        if layout == "packed":
            x = pack_padded_sequence(x, torch.tensor([2, 4]), enforce_sorted=False)
        y, (h_n, c_n) = torch.func.functional_call(lstm, dict(zip(names, weights, strict=True)), (x, (h0, c0)))
        return y.data if layout == "packed" else y, h_n, c_n

    assert torch.autograd.gradcheck(outputs, (x, h0, c0, *weights))


def test_gradcheck_of_a_cell():
    cell = clstm.torch.LSTMCell(3, 4, dtype=torch.float64)
    inputs = [torch.randn(2, size, dtype=torch.float64, requires_grad=True) for size in (3, 4, 4)]
    assert torch.autograd.gradcheck(lambda x, h, c, *_: cell(x, (h, c)), (*inputs, *cell.parameters()))


@pytest.mark.smoke
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_cell(bias, dtype):
    theirs, ours = (cls(5, 7, bias=bias, dtype=dtype) for cls in (nn.LSTMCell, clstm.torch.LSTMCell))
    ours.load_state_dict(theirs.state_dict())
    found = []
    for cell in (theirs, ours):
        x = torch.linspace(-1, 1, 4 * 3 * 5, dtype=dtype).reshape(4, 3, 5).requires_grad_()
        state = None
        for step in x:
            state = cell(step, state)
        (state[0].square().sum() + state[1].sin().sum()).backward()
        with torch.no_grad():
            one = cell(x[0, 0], (state[0][0], state[1][0]))
        found.append([*state, *one, x.grad, *(weight.grad for weight in cell.parameters())])
    assert repr(ours) == repr(theirs)
    for mine, expected in zip(*reversed(found), strict=True):
        assert_close(mine, expected)


def test_several_backward_passes():
    theirs, ours = pair(3, 4, 2)
    x = torch.randn(5, 2, 3, requires_grad=True)
    found = []
    for lstm in (theirs, ours):
        y, (h_n, _) = lstm(x)
        found.append([torch.autograd.grad(out, [x, *lstm.parameters()], retain_graph=True, allow_unused=True)
                      for out in (y.sum(), h_n.square().sum(), y.sum())])  # fmt: skip
        y.sum().backward()
        with pytest.raises(RuntimeError, match="backward through the graph a second time"):
            y.sum().backward()
    for mine, expected in zip(*reversed(found), strict=True):
        for ours_, theirs_ in zip(mine, expected, strict=True):
            assert_close(ours_, theirs_)
    assert all(map(torch.equal, found[1][0], found[1][2]))


@pytest.mark.parametrize("changed", ["x", "y"])
def test_changing_what_backward_reads_is_an_error(changed):
    lstm = clstm.torch.LSTM(3, 4)
    x = torch.randn(5, 2, 3)
    y, _ = lstm(x)
    loss = y.square().sum()
    with torch.no_grad():
        {"x": x, "y": y}[changed].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_outputs_can_be_changed_as_any_tensor():
    for batch_first in (False, True):
        theirs, ours = pair(3, 4, 2, batch_first=batch_first)
        x = torch.randn(5, 2, 3)
        for grad in (False, True):
            with torch.set_grad_enabled(grad):
                expected, found = theirs(x)[0], ours(x)[0]
                if not grad:
                    found += 1
                    expected += 1
                    found.numpy()[...] += 1
                    expected.numpy()[...] += 1
                assert_close(found, expected)


def test_no_second_derivatives():
    lstm = clstm.torch.LSTM(3, 4)
    x = torch.randn(5, 2, 3, requires_grad=True)
    (grad,) = torch.autograd.grad(lstm(x)[0].sum(), x, create_graph=True)
    expected, _ = torch.autograd.grad(lstm(x)[0].sum(), [x, lstm.weight_ih_l0])
    assert torch.equal(grad, expected)
    with pytest.raises(NotImplementedError, match="no second derivatives"):
        grad.sum().backward()


@pytest.mark.smoke
def test_inference_takes_no_gradients():
    lstm = clstm.torch.LSTM(3, 4)
    x = torch.randn(5, 2, 3)
    trained = lstm(x)[0]
    for context in (torch.no_grad(), torch.inference_mode()):
        with context:
            y, _ = lstm(x)
        assert not y.requires_grad
        assert torch.equal(y, trained)
    with torch.inference_mode():
        inside = clstm.torch.LSTM(3, 4)  # its weights have no version counter
        inside.load_state_dict(lstm.state_dict())
        assert torch.equal(inside(x)[0], trained)


def test_layouts_in_memory_that_are_not_contiguous():
    theirs, ours = pair(3, 4, batch_first=True)
    whole = torch.randn(6, 2, 5)
    for x in (whole.transpose(0, 1)[:, :, ::2], whole[::2, :, 1:4], whole[:1, :1, :3].expand(4, 5, 3)):
        inputs = [x.detach().requires_grad_() for _ in range(2)]
        for lstm, own in zip((theirs, ours), inputs, strict=True):
            lstm(own)[0].sum().backward()  # its gradient is one number, expanded
        assert_close(inputs[1].grad, inputs[0].grad)
    state = torch.randn(2, 4, 2).transpose(1, 2)[:1]
    assert_close(ours(whole[:, :, :3].transpose(0, 1), (state, state))[0],
                 theirs(whole[:, :, :3].transpose(0, 1), (state, state))[0])  # fmt: skip


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpoints_of_activations(use_reentrant):
    lstm = clstm.torch.LSTM(3, 4, 2)
    x = torch.randn(5, 2, 3, requires_grad=True)
    expected = torch.autograd.grad(lstm(x)[0].square().sum(), [x, *lstm.parameters()])
    checkpoint(lambda x: lstm(x)[0], x, use_reentrant=use_reentrant).square().sum().backward()
    assert all(map(torch.equal, [x.grad, *(weight.grad for weight in lstm.parameters())], expected))


# ------------------------------------------------------------------------------------------------ weights that change


def test_every_change_of_the_weights_is_noticed():
    theirs, ours = pair(3, 4, 2, bidirectional=True)
    x = torch.randn(5, 2, 3)

    def by_numpy(lstm):
        lstm.weight_hh_l1.detach().numpy()[3, 2] += 1

    def replaced(lstm):
        lstm.bias_ih_l0 = nn.Parameter(torch.ones(16))

    def shared(lstm):
        lstm.weight_hh_l0_reverse = lstm.weight_hh_l0

    def pruned(lstm):
        prune.l1_unstructured(lstm, "weight_hh_l0", 0.5)

    changes = [
        lambda lstm: lstm.weight_ih_l0.data.mul_(2),
        lambda lstm: lstm.bias_hh_l1_reverse.data.copy_(torch.arange(16.0)),
        lambda lstm: lstm.weight_ih_l0.data.neg_(),
        by_numpy,
        replaced,
        shared,
        lambda lstm: setattr(lstm.weight_ih_l1, "data", torch.full((16, 8), 0.1)),
        lambda lstm: lstm.double().float(),
        lambda lstm: nn.init.orthogonal_(lstm.weight_hh_l0, generator=torch.Generator().manual_seed(0)),
        pruned,
    ]
    with torch.no_grad():
        before = ours(x)[0]
        for change in changes:
            for lstm in (theirs, ours):
                change(lstm)
            found = ours(x)[0]
            assert_close(found, theirs(x)[0])
            if change is not changes[7]:
                assert not torch.equal(found, before)
            before = found


def test_weights_are_packed_only_when_they_change(monkeypatch):
    packed = []
    pack = clstm.LSTM._weights_changed
    monkeypatch.setattr(clstm.LSTM, "_weights_changed", lambda self: packed.append(self) or pack(self))
    lstm = clstm.torch.LSTM(3, 4)
    optimizer = torch.optim.SGD(lstm.parameters(), lr=0.1)
    x = torch.randn(5, 2, 3)
    for _ in range(3):
        lstm(x)[0].sum().backward()
    assert len(packed) == 1
    optimizer.step()
    lstm(x)
    lstm.eval()(x)
    assert len(packed) == 2


OPTIMIZERS = {
    "SGD": lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9),
    "Adam, foreach": lambda weights: torch.optim.Adam(weights, lr=1e-2, foreach=True),
    "Adam, fused": lambda weights: torch.optim.Adam(weights, lr=1e-2, fused=True),
    "AdamW": lambda weights: torch.optim.AdamW(weights, lr=1e-2),
    "Rprop": lambda weights: torch.optim.Rprop(weights, lr=1e-3),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_is_the_same_up_to_rounding(name):
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(11, 6)
            self.lstm = nn.LSTM(6, 8, num_layers=2, dropout=0.3, bidirectional=True, batch_first=True)
            self.head = nn.Linear(16, 3)

        def forward(self, ids):
            return self.head(self.lstm(self.embedding(ids))[0].mean(dim=1))

    theirs = Model().double()
    ours = clstm.torch.replace(copy.deepcopy(theirs))
    ids, targets = torch.randint(11, (20, 9)), torch.randint(3, (20,))
    losses = []
    for model in (theirs, ours):
        torch.manual_seed(1)
        optimizer = OPTIMIZERS[name](model.parameters())
        losses.append([])
        for _ in range(20):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(ids), targets)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses[-1].append(loss.item())
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-9)
    assert losses[1][-1] < losses[1][0]


def test_layers_of_a_deleted_module_are_freed():
    lstm = clstm.torch.LSTM(3, 4)
    lstm(torch.randn(5, 2, 3))[0].sum().backward()
    packed = clstm.torch.packed_weights
    layer = weakref.ref(packed.packed_layers(lstm, packed.weights_of(lstm), False)[0])
    assert layer() is not None
    del lstm
    gc.collect()
    assert layer() is None


# ---------------------------------------------------------------------------------- PyTorch's habits of its own modules


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_layers": 2, "bias": False, "batch_first": True, "dropout": 0.5, "bidirectional": True, "proj_size": 3},
        {"dtype": torch.float64, "device": "cpu"},
    ],
    ids=str,
)
def test_constructor_state_dict_and_repr(options):
    torch.manual_seed(3)
    theirs = nn.LSTM(5, 7, **options)
    torch.manual_seed(3)
    ours = clstm.torch.LSTM(5, 7, **options)
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(map(torch.equal, ours.state_dict().values(), theirs.state_dict().values()))
    theirs.load_state_dict(ours.state_dict())
    ours.flatten_parameters()
    assert isinstance(ours, nn.LSTM)
    assert ours.all_weights[0][0] is ours.weight_ih_l0
    with pytest.raises(ValueError, match="hidden_size must be greater than zero"):
        clstm.torch.LSTM(3, 0)
    assert clstm.torch.LSTM(3, 4, num_layers=2, device="meta").weight_ih_l0.device.type == "meta"


def test_copies_and_pickles(tmp_path):
    lstm = clstm.torch.LSTM(3, 4, 2, dropout=0.5).eval()
    x = torch.randn(5, 2, 3)
    y, _ = lstm(x)
    torch.save(lstm, tmp_path / "lstm.pt")
    others = [copy.deepcopy(lstm), pickle.loads(pickle.dumps(lstm))]
    others.append(torch.load(tmp_path / "lstm.pt", weights_only=False))
    for other in others:
        assert type(other) is clstm.torch.LSTM
        assert torch.equal(other(x)[0], y)
        with torch.no_grad():
            other.weight_ih_l0.add_(1)
        assert not torch.equal(other(x)[0], y)
        assert torch.equal(lstm(x)[0], y)


def test_packed_sequences_keep_their_order():
    theirs, ours = pair(3, 4, bidirectional=True)
    packed = pack_sequence([torch.randn(n, 3) for n in (2, 5, 1, 5)], enforce_sorted=False)
    state = torch.randn(2, 4, 4), torch.randn(2, 4, 4)
    (expected, expected_state), (found, found_state) = theirs(packed, state), ours(packed, state)
    assert isinstance(found, PackedSequence)
    assert_close(found.data, expected.data)
    assert torch.equal(found.unsorted_indices, expected.unsorted_indices)
    for mine, other in zip(found_state, expected_state, strict=True):
        assert_close(mine, other)


def test_hooks_and_modes():
    lstm = clstm.torch.LSTM(3, 4, 2, dropout=0.9)
    seen = []
    lstm.register_forward_hook(lambda module, args, output: seen.append("forward"))
    lstm.register_full_backward_hook(lambda module, into, out: seen.append("backward"))
    x = torch.randn(5, 2, 3, requires_grad=True)
    y, _ = lstm(x)
    y.sum().backward()
    assert seen == ["forward", "backward"]
    assert not torch.equal(lstm(x)[0], y)
    lstm.eval()
    assert torch.equal(lstm(x)[0], lstm(x)[0])


def test_compiled_models_leave_it_out(differences):
    model = nn.Sequential(nn.Linear(4, 3), clstm.torch.LSTM(3, 5))
    x = torch.randn(6, 2, 4)
    expected, _ = model(x)
    found, _ = torch.compile(model, backend="eager")(x)
    assert_close(found, expected)
    found.sum().backward()
    compiled = [weight.grad.clone() for weight in model.parameters()]
    model.zero_grad()
    expected.sum().backward()
    for mine, weight in zip(compiled, model.parameters(), strict=True):
        assert_close(mine, weight.grad)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "see",
    [
        lambda lstm, x: torch.jit.trace(lstm, x),
        lambda lstm, x: torch.jit.script(lstm),
        lambda lstm, x: torch.export.export(lstm, (x,)),
        lambda lstm, x: torch.vmap(lstm)(x[None]),
        lambda lstm, x: torch.func.grad(lambda x: lstm(x)[0].sum())(x),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_graphs_of_pytorch_are_refused(see, inside):
    lstm = clstm.torch.LSTM(3, 4)
    with pytest.raises(RuntimeError, match=r"can't be scripted.*clstm.torch.restore\(model\)"):
        see(nn.Sequential(lstm) if inside else lstm, torch.randn(5, 2, 3))


# --------------------------------------------------------------------------------------------------------------- errors


make, cell, zeros = clstm.torch.LSTM, clstm.torch.LSTMCell, torch.zeros


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: make(3, 4, dtype=torch.float16)(zeros(5, 2, 3).half()), TypeError, "float16, expected"),
        (lambda: make(3, 4, dtype=torch.bfloat16)(zeros(5, 2, 3).bfloat16()), TypeError, "bfloat16"),
        (lambda: make(3, 4, dtype=torch.complex64)(zeros(5, 2, 3)), TypeError, "complex64"),
        (lambda: make(3, 4)(zeros(5, 2, 3).double()), TypeError, "input is torch.float64, expected"),
        (lambda: make(3, 4)(zeros(5, 2, 3, dtype=torch.long)), TypeError, "input is torch.int64"),
        (lambda: make(3, 4, device="meta")(zeros(5, 2, 3)), ValueError, "weight_ih_l0 is on the device meta"),
        (lambda: make(3, 4)(zeros(5, 2, 3, device="meta")), ValueError, "input is on the device meta"),
        (lambda: make(3, 4)(zeros(5, 2, 3).to_sparse()), ValueError, "input is of the layout"),
        (lambda: make(3, 4)(zeros(5, 2, 2)), RuntimeError, "input_size"),
        (lambda: make(3, 4)(zeros(3)), ValueError, "2D or 3D, got 1D"),
        (lambda: make(3, 4)(zeros(5, 2, 3), (zeros(1, 3, 4),) * 2), RuntimeError, "hidden"),
        (lambda: make(3, 4)(zeros(5, 3), (zeros(1, 1, 4),) * 2), RuntimeError, "also be 2-D"),
        (lambda: make(3, 4)(zeros(5, 2, 3), (zeros(1, 2, 4).double(),) * 2), TypeError, r"hx\[0\]"),
        (lambda: cell(3, 4)(zeros(2, 2)), RuntimeError, "input_size=3"),
        (lambda: cell(3, 4)(zeros(1, 2, 3)), ValueError, "1D or 2D, got 3D"),
        (lambda: cell(3, 4)(zeros(2, 3), (zeros(3, 4),) * 2), RuntimeError, "hx"),
        (lambda: clstm.torch.replace([nn.LSTM(3, 4)]), TypeError, "model is list"),
    ],
)  # fmt: skip
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_a_missing_pytorch_is_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "clstm.torch")
    with pytest.raises(ImportError, match=r"pip install clstm-cpu\[torch\]"):
        clstm.LSTM(3, 4).to_torch()


# ---------------------------------------------------------------------------------------------------------- replace


class Tagger(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.ModuleDict({"lstm": nn.LSTM(3, 4, batch_first=True)})
        self.layers = nn.ModuleList([nn.LSTM(4, 4, batch_first=True), nn.GRU(4, 4, batch_first=True)])
        self.layers.append(self.layers[0])
        self.cell = nn.LSTMCell(4, 2)

    def forward(self, x):
        y, _ = self.encoder["lstm"](x)
        for layer in self.layers:
            y, _ = layer(y)
        return self.cell(y[:, -1])[0]


def test_replace_and_restore():
    model = Tagger()
    model.layers[0].eval()
    called = []
    model.cell.register_forward_hook(lambda *_: called.append(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(2, 5, 3)
    before, names, modules = model(x), list(model.state_dict()), list(model.modules())
    assert clstm.torch.replace(model) is model
    assert list(model.modules()) == modules
    assert {type(module) for module in modules[1:]} >= {clstm.torch.LSTM, clstm.torch.LSTMCell, nn.GRU}
    assert not {type(module) for module in modules} & {nn.LSTM, nn.LSTMCell}
    assert model.layers[0] is model.layers[2]
    assert [module.training for module in model.layers] == [False, True, False]
    assert list(model.state_dict()) == names
    after = model(x)
    assert_close(after, before)
    assert called == [1, 1]
    after.sum().backward()
    optimizer.step()
    changed = model(x)
    assert not torch.equal(changed, after)
    clstm.torch.replace(model)
    assert clstm.torch.restore(model) is model
    assert type(model.encoder["lstm"]) is nn.LSTM
    assert type(model.cell) is nn.LSTMCell
    assert_close(model(x), changed)
    assert type(clstm.torch.replace(nn.LSTM(3, 4))) is clstm.torch.LSTM


def test_replace_names_modules_that_it_leaves():
    class Own(nn.LSTM):
        pass

    model = nn.ModuleDict({"own": Own(3, 4), "halves": nn.LSTM(3, 4, dtype=torch.float16), "fine": nn.LSTM(3, 4)})
    with pytest.warns(UserWarning, match="stays a") as warned:
        clstm.torch.replace(model)
    first, second = (str(warning.message) for warning in warned)
    assert "own stays a " in first
    assert "its class may compute something else" in first
    assert "halves stays a torch.nn.modules.rnn.LSTM: weight_ih_l0 is torch.float16" in second
    assert [type(module) for module in model.values()] == [Own, nn.LSTM, clstm.torch.LSTM]
    with pytest.warns(UserWarning, match="the model stays a .*Own"):
        clstm.torch.replace(Own(3, 4))


# ----------------------------------------------------------------------------------------------------------- threads


def test_threads_are_pytorchs_at_most(monkeypatch):
    asked = []
    resolve = clstm._core.threads.resolve
    monkeypatch.setattr(clstm._core.threads, "resolve", lambda *args: asked.append(resolve(*args)) or asked[-1])
    lstm = clstm.torch.LSTM(3, 4)
    x = torch.randn(5, 2, 3)
    before = clstm.get_num_threads()
    try:
        for ours, theirs in ((2, 1), (1, 2), (2, 2)):
            clstm.set_num_threads(ours)
            torch.set_num_threads(theirs)
            asked.clear()
            lstm(x)[0].sum().backward()
            assert len(asked) >= 2
            assert max(asked) <= min(ours, theirs)
    finally:
        clstm.set_num_threads(before)


def test_the_same_bits_for_any_number_of_threads():
    lstm = clstm.torch.LSTM(64, 96)
    x = torch.randn(20, 32, 64)
    found = []
    for number in (1, 2):
        torch.set_num_threads(number)
        lstm.zero_grad()
        y, _ = lstm(x)
        y.square().sum().backward()
        found.append([y, *(weight.grad for weight in lstm.parameters())])
    # y.square().sum() is PyTorch's own, of which the gradient doesn't depend on the sum
    assert all(map(torch.equal, *found))


def test_calls_from_several_threads_while_weights_change():
    lstm = clstm.torch.LSTM(3, 4)
    x = torch.randn(5, 2, 3)
    values = [torch.randn(16, 3) for _ in range(2)]
    expected = []
    for value in values:
        lstm.weight_ih_l0.data = value
        expected.append(lstm(x)[0].detach())
    problems = []

    def call():
        with torch.no_grad():
            for _ in range(200):
                y = lstm(x)[0]
                if not any(torch.equal(y, one) for one in expected):
                    problems.append(y)

    callers = [threading.Thread(target=call) for _ in range(3)]
    for caller in callers:
        caller.start()
    for number in range(200):
        lstm.weight_ih_l0.data = values[number % 2]
    for caller in callers:
        caller.join()
    assert not problems


def test_code_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    codes = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "pytorch.md").read_text(encoding="utf-8"), re.DOTALL)
    for code in codes:
        exec(compile(code, "pytorch.md", "exec"), names)
    assert len(codes) == 4
    assert type(names["model"]["lstm"]) is clstm.torch.LSTM


@pytest.mark.subprocess
def test_import_of_clstm_loads_no_pytorch(tmp_path):
    code = "import sys, clstm; clstm.LSTM; assert 'torch' not in sys.modules and 'torch' in dir(clstm)"
    run_python(code, folder=tmp_path)


def test_memory_of_large_outputs_is_reused():
    lstm = clstm.torch.LSTM(8, 64, batch_first=True)
    peer = torch.nn.LSTM(8, 64, batch_first=True)
    peer.load_state_dict(lstm.state_dict())
    x = torch.randn(40, 60, 8)
    for _ in range(2):  # the second time in the memory of the first
        results = []
        for layer in (lstm, peer):
            leaf = x.clone().requires_grad_()
            y, _ = layer(leaf)
            y.square().mean().backward()
            results.append((y.detach(), leaf.grad))
        for ours, theirs in zip(*results, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
