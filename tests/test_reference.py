"""The reference itself: against finite differences, PyTorch, and a step worked by hand in docs/equations.md.

The variants are also checked against a second telling of the equations, in PyTorch, one row and one gate at a time,
whose gradients are autograd's.
"""

import ast
import math
import re
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from clstm import reference
from tests.helpers.differences import assert_gradient

EQUATIONS = Path(__file__).parents[1] / "docs" / "equations.md"
LENGTHS = [None, [5, 2, 0, 4], [1, 3, 2, 2], [0, 0, 0, 0]]


def network(rng, input_size, hidden, layers=1, directions=1, bias=True, dtype=np.float64):
    """Random weights by PyTorch's names."""
    weights = {}
    for layer in range(layers):
        for suffix in ("", "_reverse")[:directions]:
            width = hidden * directions if layer else input_size
            weights[f"weight_ih_l{layer}{suffix}"] = rng.normal(size=(4 * hidden, width), scale=0.6).astype(dtype)
            weights[f"weight_hh_l{layer}{suffix}"] = rng.normal(size=(4 * hidden, hidden), scale=0.6).astype(dtype)
            if bias:
                weights[f"bias_ih_l{layer}{suffix}"] = rng.normal(size=4 * hidden).astype(dtype)
                weights[f"bias_hh_l{layer}{suffix}"] = rng.normal(size=4 * hidden).astype(dtype)
    return weights


# Along some directions by default; every element of every array under `exhaustive`.
every_element = pytest.mark.parametrize(
    "every_element", [False, pytest.param(True, marks=pytest.mark.exhaustive)], ids=["directions", "elements"]
)


@pytest.fixture
def rng():
    return np.random.default_rng(3)


# One step ------------------------------------------------------------------------------------------------------------


def test_sigmoid_never_overflows():
    with np.errstate(over="raise", invalid="raise"):
        values = reference.sigmoid(np.array([-1e4, -3.0, 0.0, 3.0, 1e4]))
    np.testing.assert_allclose(values, [0, 1 / (1 + math.exp(3)), 0.5, 1 / (1 + math.exp(-3)), 1], rtol=1e-15)


def test_split_and_concatenated_forms_are_equal(rng):
    x, h, c = rng.normal(size=(5, 3)), rng.normal(size=(5, 4)), rng.normal(size=(5, 4))
    weight_ih, weight_hh, bias = rng.normal(size=(16, 3)), rng.normal(size=(16, 4)), rng.normal(size=16)
    split = reference.lstm_cell(x, h, c, weight_ih, weight_hh, bias)
    joined = reference.lstm_cell_concatenated(x, h, c, np.hstack([weight_hh, weight_ih]), bias)
    for name in "ifgoch":
        np.testing.assert_allclose(getattr(split, name), getattr(joined, name), rtol=1e-14, atol=1e-15, err_msg=name)


@pytest.fixture(scope="module")
def worked():
    """The lines of the step worked by hand: for each name, the expressions it is said to equal."""
    section = EQUATIONS.read_text(encoding="utf-8").split("## One step by hand")[1].split("\n## ")[0]
    blocks = "\n".join(re.findall(r"```\n(.*?)```", section, re.DOTALL))
    lines = re.split(r"\n|\s{3,}", blocks)  # V_i and b_i are side by side
    return {name: values for name, *values in (line.split(" = ") for line in lines if line)}


def test_worked_step_has_the_numbers_it_says(worked):
    functions = {"__builtins__": {}, "sigmoid": lambda a: 1 / (1 + math.exp(-a)), "tanh": math.tanh}
    chains = [[eval(text, functions) for text in values] for values in worked.values() if len(values) > 1]
    assert len(chains) == 8 + 8 + 2 + 2
    for chain in chains:
        for left, right in pairwise(chain):
            assert left == pytest.approx(right, abs=1.01e-4)


@pytest.mark.smoke
def test_worked_step_is_what_the_cell_computes(worked):
    given = {name: np.array(ast.literal_eval(values[0])) for name, values in worked.items() if len(values) == 1}
    assert given["V_i"].shape == (2, 3)
    x, h, c = (given[name][np.newaxis].astype(float) for name in "xhc")
    assert (x.tolist(), h.tolist(), c.tolist()) == ([[3.0]], [[0.1, 0.3]], [[0.5, 0.9]])
    V = np.vstack([given[f"V_{gate}"] for gate in "ifgo"])
    b = np.concatenate([given[f"b_{gate}"] for gate in "ifgo"])

    sums = (np.hstack([h, x]) @ V.T + b)[0]
    np.testing.assert_allclose(sums, [float(worked[f"a_{gate}{unit}"][-1]) for gate in "ifgo" for unit in (1, 2)])

    step = reference.lstm_cell_concatenated(x, h, c, V, b)
    printed = {
        name: [float(worked[f"{written}{unit}"][-1]) for unit in (1, 2)]
        for name, written in zip("ifgoch", ["i", "f", "g", "o", "c'", "h'"], strict=True)
    }
    for name, values in printed.items():
        np.testing.assert_allclose(getattr(step, name)[0], values, rtol=0, atol=0.5e-4, err_msg=name)
    split = reference.lstm_cell(x, h, c, V[:, 2:], V[:, :2], b)
    np.testing.assert_allclose(split.h[0], [0.4312, 0.1414], rtol=0, atol=0.5e-4)
    np.testing.assert_allclose(split.c[0], [0.7496, 0.3121], rtol=0, atol=0.5e-4)


# Gradients -----------------------------------------------------------------------------------------------------------


def test_cell_gradients_against_finite_differences(rng):
    arrays = [rng.normal(size=s) for s in [(3, 2), (3, 4), (3, 4), (16, 2), (16, 4), (16,)]]
    dh, dc = rng.normal(size=(3, 4)), rng.normal(size=(3, 4))

    def loss():
        step = reference.lstm_cell(*arrays)
        return (step.h * dh).sum() + (step.c * dc).sum()

    grads = reference.lstm_cell_backward(reference.lstm_cell(*arrays), *arrays[:5], dh, dc)
    for name, gradient, array in zip(grads._fields[:6], grads[:6], arrays, strict=True):
        assert_gradient(loss, array, gradient, True, name)


@every_element
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize(("layers", "directions", "bias"), [(1, 1, True), (1, 2, False), (2, 2, True)])
def test_gradients_against_finite_differences(rng, layers, directions, bias, lengths, every_element):
    time, batch, input_size, hidden = 5, 4, 2, 2
    weights = network(rng, input_size, hidden, layers, directions, bias)
    x = rng.normal(size=(time, batch, input_size))
    h0, c0, dh_n, dc_n = rng.normal(size=(4, layers * directions, batch, hidden))
    dy = rng.normal(size=(time, batch, directions * hidden))
    masks = 2.0 * (rng.random((layers - 1, time, batch, directions * hidden)) < 0.5)

    def loss():
        out = reference.lstm(x, h0, c0, weights, lengths, masks)
        return (out.y * dy).sum() + (out.h_n * dh_n).sum() + (out.c_n * dc_n).sum()

    out = reference.lstm(x, h0, c0, weights, lengths, masks)
    past = np.zeros_like(dy, bool) if lengths is None else np.arange(time)[:, None] >= np.array(lengths)
    dy_given = np.where(past[..., None] if lengths is not None else past, 1e9, dy)  # must not be read there
    grads = reference.lstm_backward(out, weights, dy_given, dh_n, dc_n, lengths, masks)

    assert list(grads.weights) == list(weights)
    arrays = {"x": (x, grads.x), "h0": (h0, grads.h0), "c0": (c0, grads.c0)}
    arrays |= {name: (array, grads.weights[name]) for name, array in weights.items()}
    for name, (array, gradient) in arrays.items():
        assert_gradient(loss, array, gradient, every_element, name)


# Lengths -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("directions", [1, 2])
def test_each_row_of_a_ragged_batch_is_its_own_sequence(rng, directions):
    lengths = np.array([4, 0, 6, 1])
    weights = network(rng, 3, 5, layers=2, directions=directions)
    x = rng.normal(size=(6, 4, 3))
    h0, c0 = rng.normal(size=(2, 2 * directions, 4, 5))
    for row, length in enumerate(lengths):
        x[length:, row] = np.nan  # never read
    out = reference.lstm(x, h0, c0, weights, lengths)
    for row, length in enumerate(lengths):
        pick = slice(row, row + 1)
        alone = reference.lstm(x[:length, pick], h0[:, pick], c0[:, pick], weights)
        np.testing.assert_allclose(out.y[:length, pick], alone.y, rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(out.h_n[:, pick], alone.h_n, rtol=1e-13, atol=1e-15)
        np.testing.assert_allclose(out.c_n[:, pick], alone.c_n, rtol=1e-13, atol=1e-15)
        assert not out.y[length:, row].any()
    assert (out.h_n[:, 1] == h0[:, 1]).all()
    assert (out.c_n[:, 1] == c0[:, 1]).all()


def test_gates_of_every_step_are_returned(rng):
    weights = network(rng, 3, 4)
    x = rng.normal(size=(6, 2, 3))
    zeros = np.zeros((1, 2, 4))
    out = reference.lstm(x, zeros, zeros, weights, [6, 3])
    (run,) = out.runs[0]
    np.testing.assert_allclose(run.c, run.f * run.c_before + run.i * run.g, rtol=1e-14)
    np.testing.assert_allclose(run.y, run.o * np.tanh(run.c), rtol=1e-14)
    assert (run.h_before[1:, 0] == run.y[:-1, 0]).all()
    for gate in (run.i, run.f, run.o):
        assert ((gate[:, 0] > 0) & (gate[:, 0] < 1)).all()
        assert not gate[3:, 1].any()


@pytest.mark.parametrize(
    ("dtype", "rtol"), [(np.float16, 2e-2), (np.float32, 1e-5), (np.longdouble, 1e-12)], ids=lambda v: str(v)
)
def test_results_have_the_dtype_of_the_input(rng, dtype, rtol):
    exact_weights = network(rng, 3, 4, layers=2, directions=2)
    exact = [rng.normal(size=s) for s in [(5, 2, 3), (4, 2, 4), (4, 2, 4), (5, 2, 8), (4, 2, 4), (4, 2, 4)]]
    weights = {name: array.astype(dtype) for name, array in exact_weights.items()}
    x, h0, c0, dy, dh_n, dc_n = (array.astype(dtype) for array in exact)
    expected = reference.lstm(*exact[:3], exact_weights)
    out = reference.lstm(x, h0, c0, weights)
    grads = reference.lstm_backward(out, weights, dy, dh_n, dc_n)
    for got, want in [(out.y, expected.y), (out.h_n, expected.h_n), (out.c_n, expected.c_n)]:
        assert got.dtype == dtype
        np.testing.assert_allclose(got.astype(float), want, rtol=rtol, atol=rtol)
    for array in (grads.x, grads.h0, grads.c0, *grads.weights.values()):
        assert array.dtype == dtype
        assert np.isfinite(array).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.longdouble], ids=lambda v: v.__name__)
@pytest.mark.parametrize("train", [False, True])
def test_results_have_the_dtype_of_the_input_with_all_options(dtype, train):
    exact = variant(
        layers=2, directions=2, proj=2, peephole=True, coupled=True, cell_clip=0.6, gate_clip=0.9, layer_norm=True,
        recurrent=0.4 if train else 0.0, zoneout=(0.3, 0.2), train=train, reset=True, residual=True,
        activations=("hard_sigmoid", "selu", ("scaled_tanh", 1.7, 0.6)),
    )  # fmt: skip
    problem = replace(
        exact, x=exact.x.astype(dtype), weights={name: array.astype(dtype) for name, array in exact.weights.items()},
        state=[[array.astype(dtype) for array in arrays] for arrays in exact.state],
        d=[exact.d[0].astype(dtype), *([array.astype(dtype) for array in arrays] for arrays in exact.d[1:])],
    )  # fmt: skip
    out, expected = problem.forward(), exact.forward()
    rtol = 20 * np.finfo(dtype).eps if dtype != np.longdouble else 1e-12
    for name in ("y", "h_n", "c_n"):
        assert getattr(out, name).dtype == dtype
        np.testing.assert_allclose(getattr(out, name).astype(float), getattr(expected, name), rtol=0, atol=rtol)
    for name, gradient in gradients_of(problem).items():
        assert gradient.dtype == dtype, name


# PyTorch -------------------------------------------------------------------------------------------------------------


@pytest.mark.peer
@pytest.mark.parametrize("lengths", [None, [5, 2, 1, 4]])
@pytest.mark.parametrize(("layers", "directions", "bias"), [(1, 1, True), (2, 1, False), (1, 2, True), (3, 2, True)])
def test_against_pytorch(rng, layers, directions, bias, lengths):
    torch = pytest.importorskip("torch")
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    time, batch, input_size, hidden = 5, 4, 3, 6
    weights = network(rng, input_size, hidden, layers, directions, bias)
    x = rng.normal(size=(time, batch, input_size))
    h0, c0, dh_n, dc_n = rng.normal(size=(4, layers * directions, batch, hidden))
    dy = rng.normal(size=(time, batch, directions * hidden))

    peer = torch.nn.LSTM(input_size, hidden, layers, bias, bidirectional=directions == 2, dtype=torch.float64)
    peer.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    tx, th0, tc0 = (torch.tensor(array, requires_grad=True) for array in (x, h0, c0))
    if lengths is None:
        ty, (th_n, tc_n) = peer(tx, (th0, tc0))
    else:
        packed = pack_padded_sequence(tx, torch.tensor(lengths), enforce_sorted=False)
        packed, (th_n, tc_n) = peer(packed, (th0, tc0))
        ty, _ = pad_packed_sequence(packed, total_length=time)
    loss = (ty * torch.tensor(dy)).sum() + (th_n * torch.tensor(dh_n)).sum() + (tc_n * torch.tensor(dc_n)).sum()
    loss.backward()

    out = reference.lstm(x, h0, c0, weights, lengths)
    grads = reference.lstm_backward(out, weights, dy, dh_n, dc_n, lengths)
    close = {"rtol": 1e-10, "atol": 1e-12}
    for got, want in [(out.y, ty), (out.h_n, th_n), (out.c_n, tc_n)]:
        np.testing.assert_allclose(got, want.detach().numpy(), **close)
    for got, want in [(grads.x, tx), (grads.h0, th0), (grads.c0, tc0)]:
        np.testing.assert_allclose(got, want.grad.numpy(), **close)
    for name, parameter in peer.named_parameters():
        np.testing.assert_allclose(grads.weights[name], parameter.grad.numpy(), **close, err_msg=name)


# Variants ------------------------------------------------------------------------------------------------------------

UNBOUNDED = {"elu", "selu", "affine", "linear", "softplus", "exponential"}

# Each option alone: all that `variant` takes, but the seed.
ALONE = {
    "proj_size": {"proj": 2},
    "peephole": {"peephole": True},
    "coupled": {"coupled": True},
    "cell_clip": {"cell_clip": 0.4},
    "gate_clip": {"gate_clip": 0.7},
    "layer_norm": {"layer_norm": True},
    "layer_norm without bias": {"layer_norm": True, "bias": False},
    "recurrent_dropout": {"recurrent": 0.5},
    "zoneout in training": {"zoneout": (0.4, 0.3), "train": True},
    "zoneout in inference": {"zoneout": (0.4, 0.3)},
    "zoneout of h": {"zoneout": (0.4, 0.0), "train": True},
    "reset": {"reset": True},
    "learnt": {"learnt": True},
    "learnt and reset": {"learnt": True, "reset": True},
    "residual": {"residual": True, "layers": 3},
    "two layers and directions": {"layers": 2, "directions": 2},
    "unequal sizes": {"hidden": (4, 2, 3), "layers": 3},
    **{
        f"activation {name}": {
            "activations": (name, name, name),
            # without it they grow until finite differences lose precision
            "gate_clip": 2.0 if name in UNBOUNDED else np.inf,
            "cell_clip": 2.0 if name in UNBOUNDED else np.inf,
        }
        for name in reference.ACTIVATIONS
    },
    "activations with alpha and beta": {
        "activations": (("hard_sigmoid", 1 / 6, 0.5), ("scaled_tanh", 1.7, 0.6), ("leaky_relu", 0.2, 0.0))
    },
}


def combination(seed):
    """Draw options at random, each present about as often as not."""
    rng = np.random.default_rng([11, seed])

    def maybe(value, otherwise):
        return value if rng.random() < 0.5 else otherwise

    names = sorted(set(reference.ACTIVATIONS) - UNBOUNDED)
    layers = int(rng.integers(1, 3))
    return {
        "layers": layers,
        "directions": int(rng.integers(1, 3)),
        "bias": maybe(True, False),
        "hidden": maybe((3,) * layers, (4, 2)[:layers]),
        "proj": maybe(2, 0),
        "peephole": maybe(True, False),
        "coupled": maybe(True, False),
        "cell_clip": maybe(0.6, np.inf),
        "gate_clip": maybe(0.9, np.inf),
        "layer_norm": maybe(True, False),
        "recurrent": maybe(0.4, 0.0),
        "zoneout": maybe((0.3, 0.2), (0.0, 0.0)),
        "train": maybe(True, False),
        "activations": maybe(tuple(rng.choice(names, 3)), ("sigmoid", "tanh", "tanh")),
        "reset": maybe(True, False),
        "learnt": maybe(True, False),
        "lengths": LENGTHS[rng.integers(3)],
    }


CASES = ALONE | {f"combination {seed}": combination(seed) for seed in range(30)}


@dataclass
class Problem:
    """The arguments of the reference, and of PyTorch."""

    weights: dict
    x: np.ndarray
    state: list  # h0 and c0, each one array a layer and direction; None if learnt
    lengths: list | None
    options: dict
    d: list  # gradients of y, h_n and c_n

    def forward(self):
        return reference.lstm(self.x, *(self.state or (None, None)), self.weights, self.lengths, **self.options)

    def backward(self, out):
        return reference.lstm_backward(out, self.weights, *self.d, self.lengths, **self.options)


def variant(
    seed=0, *, layers=1, directions=1, bias=True, hidden=None, proj=0, peephole=False, coupled=False, cell_clip=np.inf,
    gate_clip=np.inf, layer_norm=False, recurrent=0.0, zoneout=(0.0, 0.0), train=False,
    activations=("sigmoid", "tanh", "tanh"), reset=False, learnt=False, residual=False, lengths=(5, 2, 0, 4), scale=0.8,
):  # fmt: skip
    """A random network with some options, and what it is run on."""
    rng = np.random.default_rng([5, seed])
    time, batch, width = 5, 4, 3
    gates = 3 if coupled else 4
    hidden = (3,) * layers if hidden is None else hidden
    weights, state, masks = {}, [[], []], []
    for layer, H in enumerate(hidden):
        P = proj or H
        masks.append([])
        for suffix in (f"_l{layer}", f"_l{layer}_reverse")[:directions]:
            shapes = {"weight_ih": (gates * H, width), "weight_hh": (gates * H, P)}
            if bias:
                shapes |= {"bias_ih": (gates * H,), "bias_hh": (gates * H,)}
            if proj:
                shapes |= {"weight_hr": (P, H)}
            if peephole:
                shapes |= {"weight_peephole": ((gates - 1) * H,)}
            if layer_norm:
                shapes |= {"weight_norm_gates": (gates * H,), "weight_norm_cell": (H,)}
                shapes |= {"bias_norm_cell": (H,)} if bias else {}
            if learnt:
                shapes |= {"h0": (P,), "c0": (H,)}
            weights |= {name + suffix: rng.normal(size=shape, scale=scale) for name, shape in shapes.items()}
            state[0].append(rng.normal(size=(batch, P)))
            state[1].append(rng.normal(size=(batch, H)))
            masks[-1].append(
                reference.Masks(
                    (rng.random((batch, P)) >= recurrent) / (1 - recurrent) if recurrent else None,
                    rng.random((time, batch, P)) < zoneout[0] if zoneout[0] else None,
                    rng.random((time, batch, H)) < zoneout[1] if zoneout[1] else None,
                )
            )
        width = P * directions
    variants = [reference.Variant(coupled, cell_clip, gate_clip, zoneout, activations)] * directions
    options = {"variant": variants, "masks": masks if train or recurrent else None, "residual": residual}
    if reset:
        options["reset"] = rng.random((time, batch)) < 0.4
        options["reset"][[0, 2], 0] = True
    d = [rng.normal(size=(time, batch, width)), *([rng.normal(size=a.shape) for a in arrays] for arrays in state)]
    x = rng.normal(size=(time, batch, 3))
    return Problem(weights, x, None if learnt else state, list(lengths) if lengths else None, options, d)


def arrays_of(problem):
    """All arrays with a gradient, by name."""
    state = {} if problem.state is None else {
        f"{name}[{place}]": array
        for name, arrays in zip(("h0", "c0"), problem.state, strict=True)
        for place, array in enumerate(arrays)
    }  # fmt: skip
    return {"x": problem.x} | state | problem.weights


def gradients_of(problem):
    grads = problem.backward(problem.forward())
    state = {f"{name}[{k}]": a for name in ("h0", "c0") for k, a in enumerate(getattr(grads, name))}
    return {"x": grads.x} | state | grads.weights


def small(extras=None, bias=(0, 0, 0, 0, 0, 0, 0, 0), c=(0.5, -1.5), h=(0.0, 0.0), masks=None, **options):
    """A step of two units without weights on x and h, so that all sums are the biases."""
    return reference.lstm_cell(
        np.ones((1, 1)), np.array([h], float), np.array([c], float), np.zeros((8, 1)), np.zeros((8, len(h))),
        np.array(bias, float), reference.Extras(**(extras or {})), reference.Variant(**options), masks,
    )  # fmt: skip


def test_a_step_of_each_variant_by_hand():
    tanh, sigmoid = math.tanh, lambda a: 1 / (1 + math.exp(-a))

    def check(array, *values):
        np.testing.assert_allclose(array[0], values, rtol=1e-14)

    g = 0, 0, 0, 0, 1, 2, 0, 0  # a_g = 1, 2
    plain = small(bias=g)
    check(plain.c, 0.25 + tanh(1) / 2, -0.75 + tanh(2) / 2)
    check(plain.h, tanh(plain.c[0, 0]) / 2, tanh(plain.c[0, 1]) / 2)

    step = small({"weight_hr": np.array([[1.0, 2.0], [3.0, 4.0], [0.0, -1.0]])}, g, h=(0.0, 0.0, 0.0))
    a, b = plain.h[0]
    check(step.h, a + 2 * b, 3 * a + 4 * b, -b)
    check(step.c, *plain.c[0])

    step = small({"weight_peephole": np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])}, g)
    check(step.i, sigmoid(1 * 0.5), sigmoid(2 * -1.5))
    check(step.f, sigmoid(3 * 0.5), sigmoid(4 * -1.5))
    check(step.o, sigmoid(5 * step.c[0, 0]), sigmoid(6 * step.c[0, 1]))

    step = reference.lstm_cell(
        *(np.ones((1, 1)), np.zeros((1, 2)), np.array([[0.5, -1.5]]), np.zeros((6, 1)), np.zeros((6, 2))),
        np.array([1.0, -1.0, 0, 0, 0, 0]), variant=reference.Variant(coupled=True),
    )  # fmt: skip
    check(step.f, sigmoid(1), sigmoid(-1))
    check(step.i, sigmoid(-1), sigmoid(1))

    check(small(bias=g, cell_clip=0.6).c, 0.6, -0.75 + tanh(2) / 2)
    check(small(bias=g, gate_clip=1.5).g, tanh(1), tanh(1.5))
    check(small(c=(8, -8), gate_clip=1.5).h, tanh(4) / 2, tanh(-4) / 2)  # not the argument of the output's activation

    step = small({"weight_norm_gates": np.ones(8), "weight_norm_cell": np.array([2.0, 3.0]),
                  "bias_norm_cell": np.array([0.1, 0.2])}, g)  # fmt: skip
    check(step.g, tanh(1), tanh(2))  # W x + U h is the same for both, so its norm is 0, and the bias isn't in it
    half = (step.c[0, 0] - step.c[0, 1]) / 2
    norm = half / math.sqrt(half**2 + 1e-5)
    check(step.c, 0.25 + tanh(1) / 2, -0.75 + tanh(2) / 2)  # the state itself is not normalised
    check(step.h, tanh(2 * norm + 0.1) / 2, tanh(-3 * norm + 0.2) / 2)

    stay = reference.Masks(None, np.array([[True, False]]), np.array([[False, True]]))
    step = small(bias=g, h=(7.0, 9.0), zoneout=(0.3, 0.2), masks=stay)
    check(step.h, 7, plain.h[0, 1])
    check(step.c, plain.c[0, 0], -1.5)
    step = small(bias=g, h=(7.0, 9.0), zoneout=(0.3, 0.2))
    check(step.h, 0.3 * 7 + 0.7 * plain.h[0, 0], 0.3 * 9 + 0.7 * plain.h[0, 1])
    check(step.c, 0.2 * 0.5 + 0.8 * plain.c[0, 0], 0.2 * -1.5 + 0.8 * plain.c[0, 1])

    step = reference.lstm_cell(
        *(np.zeros((1, 1)), np.ones((1, 2)), np.zeros((1, 2)), np.zeros((8, 1)), np.tile([1.0, 10.0], (8, 1))),
        np.zeros(8), masks=reference.Masks(np.array([[0.0, 2.0]])),
    )  # fmt: skip
    check(step.i, sigmoid(20), sigmoid(20))
    step = small(bias=g, activations=(("hard_sigmoid", 0.2, 0.5), "relu", ("scaled_tanh", 1.7, 0.6)))
    check(step.c, 0.25 + 1 / 2, -0.75 + 2 / 2)
    check(step.h, 1.7 * tanh(0.6 * 0.75) / 2, 1.7 * tanh(0.6 * 0.25) / 2)


@pytest.mark.parametrize("name", reference.ACTIVATIONS)
def test_activations_and_their_slopes_and_slopes_by_value(name):
    """The slopes are those of finite differences, and, as docs/equations.md says, functions of the values."""
    x = np.array([-3.1, -1.7, -0.4, -0.01, 0.02, 0.3, 0.9, 1.8, 2.6])
    value, slope = reference.activate(name, x), reference.activation_slope(name, x)
    difference = (reference.activate(name, x + 1e-6) - reference.activate(name, x - 1e-6)) / 2e-6
    np.testing.assert_allclose(slope, difference, rtol=1e-8, atol=1e-8)
    table = EQUATIONS.read_text(encoding="utf-8").split("slope, by the value y |")[1]
    assert f"\n| {name} |" in table
    alpha, _, *_ = reference.ACTIVATIONS[name]
    by_value = {
        "sigmoid": lambda y: y * (1 - y),
        "tanh": lambda y: 1 - y**2,
        "relu": lambda y: y > 0,
        "hard_sigmoid": lambda y: alpha * ((y > 0) & (y < 1)),
        "leaky_relu": lambda y: np.where(y > 0, 1, alpha),
        "thresholded_relu": lambda y: y != 0,
        "elu": lambda y: np.where(y > 0, 1, y + alpha),
        "selu": lambda y: np.where(y > 0, reference.SELU_SCALE, y + reference.SELU_SCALE * reference.SELU_ALPHA),
        "softsign": lambda y: (1 - np.abs(y)) ** 2,
        "softplus": lambda y: 1 - np.exp(-y),
        "exponential": lambda y: y,
    }.get(name, lambda y: np.full_like(y, 1) - (y**2 if name == "scaled_tanh" else 0))
    np.testing.assert_allclose(slope, by_value(value), rtol=1e-12, atol=1e-14)


# One layer and direction; stacks of them are above, and in PyTorch below.
SINGLE = [name for name, options in CASES.items() if options.get("layers", 1) * options.get("directions", 1) == 1]


@every_element
@pytest.mark.parametrize("case", SINGLE)
def test_variant_gradients_against_finite_differences(case, every_element):
    problem = variant(**CASES[case])

    def loss():
        out = problem.forward()
        return sum((a * d).sum() for a, d in [(out.y, problem.d[0]), *zip(out.h_n, problem.d[1], strict=True),
                                              *zip(out.c_n, problem.d[2], strict=True)])  # fmt: skip

    grads = gradients_of(problem)
    assert list(grads)[-len(problem.weights) :] == list(problem.weights)
    for name, array in arrays_of(problem).items():
        assert_gradient(loss, array, grads[name], every_element, name, rtol=2e-6, atol=1e-7)


def torch_activation(torch, spec):
    functional = torch.nn.functional
    name, *given = (spec,) if isinstance(spec, str) else spec
    a, b = [*given, None, None][:2]
    return {
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "hard_sigmoid": lambda x: torch.clamp((0.2 if a is None else a) * x + 0.5, 0, 1),
        "leaky_relu": lambda x: functional.leaky_relu(x, 0.01 if a is None else a),
        "thresholded_relu": lambda x: functional.threshold(x, 1, 0),
        "elu": functional.elu,
        "affine": lambda x: x,
        "scaled_tanh": lambda x: (1 if a is None else a) * torch.tanh((1 if b is None else b) * x),
        "softsign": functional.softsign,
        "softplus": functional.softplus,
        "linear": lambda x: x,
        "exponential": torch.exp,
        "selu": functional.selu,
    }[name]


def torch_row(torch, weights, suffix, variant, masks, x, h, c, times):
    """Run one direction of one row, x (T, I), over `times` in PyTorch: the equations again. Yield h and c of each."""
    layer_norm = torch.nn.functional.layer_norm
    order = "fgo" if variant.coupled else "ifgo"

    def part(name, k):
        return weights[name + suffix].chunk(len(order))[order.index(k)]

    def peephole(k, c):
        if "weight_peephole" + suffix not in weights:
            return 0
        looking = order.replace("g", "")
        return weights["weight_peephole" + suffix].chunk(len(looking))[looking.index(k)] * c

    def gate(k, t, act, seen):
        total = part("weight_ih", k) @ x[t] + part("weight_hh", k) @ (h if masks[0] is None else h * masks[0])
        if "weight_norm_gates" + suffix in weights:
            total = layer_norm(total, total.shape, part("weight_norm_gates", k))
        if "bias_ih" + suffix in weights:
            total = total + part("bias_ih", k) + part("bias_hh", k)
        return act((total + seen).clamp(-variant.gate_clip, variant.gate_clip))

    sigma, act_g, act_h = (torch_activation(torch, spec) for spec in variant.activations)
    for t in times:
        f = gate("f", t, sigma, peephole("f", c))
        i = 1 - f if variant.coupled else gate("i", t, sigma, peephole("i", c))
        new = (f * c + i * gate("g", t, act_g, 0)).clamp(-variant.cell_clip, variant.cell_clip)
        o = gate("o", t, sigma, peephole("o", new))
        shown = new
        if "weight_norm_cell" + suffix in weights:
            shown = layer_norm(
                new, new.shape, weights["weight_norm_cell" + suffix], weights.get("bias_norm_cell" + suffix)
            )
        out = o * act_h(shown)
        if "weight_hr" + suffix in weights:
            out = weights["weight_hr" + suffix] @ out
        if masks[1] == "inference":
            (p, q) = variant.zoneout
            h, c = p * h + (1 - p) * out, q * c + (1 - q) * new
        else:
            h = out if masks[1] is None else torch.where(masks[1][t], h, out)
            c = new if masks[2] is None else torch.where(masks[2][t], c, new)
        yield t, h, c


def torch_network(torch, problem, weights, x, state):
    """Run the problem's rows one by one, in segments between resets."""
    options = problem.options
    T, B = x.shape[:2]
    directions = len(options["variant"])
    finals = []
    for layer in range(len(problem.d[1]) // directions):
        outs = []
        for d, suffix in enumerate((f"_l{layer}", f"_l{layer}_reverse")[:directions]):
            place = layer * directions + d
            fresh = [weights.get(name + suffix, torch.zeros(array.shape[1], dtype=torch.float64))
                     for name, array in zip(("h0", "c0"), (problem.d[1][place], problem.d[2][place]),
                                            strict=True)]  # fmt: skip
            rows = []
            for b in range(B):
                length = T if problem.lengths is None else problem.lengths[b]
                cuts = [0] + [t for t in range(1, length) if "reset" in options and options["reset"][t, b]] + [length]
                segments = [range(*ends) for ends in pairwise(cuts)]
                if d == 1:
                    segments = [segment[::-1] for segment in reversed(segments)]
                reset_first = d == 0 and length and "reset" in options and options["reset"][0, b]
                h, c = fresh if state is None or reset_first else (state[0][place][b], state[1][place][b])
                if options["masks"] is None:
                    masks = (None, "inference", None)
                else:
                    masks = [
                        None if mask is None else torch.tensor(mask[b] if number == 0 else mask[:, b])
                        for number, mask in enumerate(options["masks"][layer][d])
                    ]
                out = [torch.zeros_like(h)] * T
                for number, segment in enumerate(segments):
                    if number:
                        h, c = fresh
                    walk = torch_row(torch, weights, suffix, options["variant"][d], masks, x[:, b], h, c, segment)
                    for t, *after in walk:
                        out[t], (h, c) = after[0], after
                rows.append(torch.stack(out))
                finals.append((place, b, h, c))
            outs.append(torch.stack(rows, 1))
        y = torch.cat(outs, 2)
        x = y + x if options["residual"] and layer else y
    return x, finals


@pytest.mark.peer
@pytest.mark.parametrize("case", CASES)
def test_variants_against_a_second_telling_in_pytorch(case):
    torch = pytest.importorskip("torch")
    problem = variant(**CASES[case])

    def leaf(array):
        return torch.tensor(array, requires_grad=True)

    x, weights = leaf(problem.x), {name: leaf(array) for name, array in problem.weights.items()}
    state = None if problem.state is None else [[leaf(array) for array in arrays] for arrays in problem.state]
    y, finals = torch_network(torch, problem, weights, x, state)
    loss = (y * torch.tensor(problem.d[0])).sum()
    for place, b, h, c in finals:
        loss = loss + (h * torch.tensor(problem.d[1][place][b])).sum()
        loss = loss + (c * torch.tensor(problem.d[2][place][b])).sum()
    loss.backward()

    out = problem.forward()
    close = {"rtol": 1e-10, "atol": 1e-12}
    np.testing.assert_allclose(out.y, y.detach().numpy(), **close)
    for place, b, h, c in finals:
        np.testing.assert_allclose(out.h_n[place][b], h.detach().numpy(), **close)
        np.testing.assert_allclose(out.c_n[place][b], c.detach().numpy(), **close)
    leaves = {"x": x} | weights
    if state is not None:
        leaves |= {f"{n}[{k}]": a for n, arrays in zip(("h0", "c0"), state, strict=True) for k, a in enumerate(arrays)}
    grads = gradients_of(problem)
    for name, tensor in leaves.items():
        want = np.zeros_like(grads[name]) if tensor.grad is None else tensor.grad.numpy()
        np.testing.assert_allclose(grads[name], want, rtol=1e-9, atol=1e-11, err_msg=name)


@pytest.mark.peer
@pytest.mark.parametrize("lengths", [None, [5, 2, 1, 4]])
@pytest.mark.parametrize(("layers", "directions", "bias"), [(1, 1, True), (2, 2, False)])
def test_projection_against_pytorch(layers, directions, bias, lengths):
    torch = pytest.importorskip("torch")
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    problem = variant(layers=layers, directions=directions, bias=bias, proj=2, lengths=lengths)
    peer = torch.nn.LSTM(
        3, 3, layers, bias, bidirectional=directions == 2, proj_size=2, dtype=torch.float64
    )  # fmt: skip
    peer.load_state_dict({name: torch.from_numpy(array) for name, array in problem.weights.items()})
    tx, th0, tc0 = (
        torch.tensor(np.asarray(array), requires_grad=True) for array in (problem.x, *map(np.stack, problem.state))
    )  # fmt: skip
    packed = pack_padded_sequence(tx, torch.tensor(lengths or [5] * 4), enforce_sorted=False)
    packed, (th_n, tc_n) = peer(packed, (th0, tc0))
    ty, _ = pad_packed_sequence(packed, total_length=5)
    torch.autograd.backward([ty, th_n, tc_n], [torch.tensor(np.asarray(gradient)) for gradient in problem.d])

    out = problem.forward()
    grads = problem.backward(out)
    close = {"rtol": 1e-10, "atol": 1e-12}
    for got, want in [(out.y, ty), (out.h_n, th_n), (out.c_n, tc_n)]:
        np.testing.assert_allclose(got, want.detach().numpy(), **close)
    for got, want in [(grads.x, tx), (grads.h0, th0), (grads.c0, tc0)]:
        np.testing.assert_allclose(got, want.grad.numpy(), **close)
    for name, parameter in peer.named_parameters():
        np.testing.assert_allclose(grads.weights[name], parameter.grad.numpy(), **close, err_msg=name)


@pytest.mark.peer
def test_layer_norm_against_pytorch(rng):
    torch = pytest.importorskip("torch")
    a, d = rng.normal(size=(2, 4, 7))
    a[2] *= 1e-3  # where the epsilon counts
    tensor = torch.tensor(a, requires_grad=True)
    values = torch.nn.functional.layer_norm(tensor, (7,))
    values.backward(torch.tensor(d))
    norm = reference.normalise(a)
    np.testing.assert_allclose(norm.values, values.detach().numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(reference.normalise_backward(norm, d), tensor.grad.numpy(), rtol=1e-11, atol=1e-12)
