"""The reference itself: against finite differences, PyTorch, and a step worked by hand in docs/equations.md."""

import ast
import math
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from clstm import reference

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


def finite_difference(loss, array, step=1e-6):
    """Central differences of `loss()` by every element of `array`, which is changed in place meanwhile."""
    gradient = np.empty_like(array)
    for place in np.ndindex(array.shape):
        value = array[place]
        array[place] = value + step
        above = loss()
        array[place] = value - step
        below = loss()
        array[place] = value
        gradient[place] = (above - below) / (2 * step)
    return gradient


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
    for name, a, b in zip(split._fields, split, joined, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14, atol=1e-15, err_msg=name)


@pytest.fixture(scope="module")
def worked():
    """The lines of the step worked by hand: for each name, the expressions it is said to equal."""
    section = EQUATIONS.read_text(encoding="utf-8").split("## One step by hand")[1].split("\n## ")[0]
    blocks = "\n".join(re.findall(r"```\n(.*?)```", section, re.DOTALL))
    lines = re.split(r"\n|\s{3,}", blocks)  # V_i and b_i stand side by side
    return {name: values for name, *values in (line.split(" = ") for line in lines if line)}


def test_worked_step_has_the_numbers_it_says(worked):
    functions = {"__builtins__": {}, "sigmoid": lambda a: 1 / (1 + math.exp(-a)), "tanh": math.tanh}
    chains = [[eval(text, functions) for text in values] for values in worked.values() if len(values) > 1]
    assert len(chains) == 8 + 8 + 2 + 2
    for chain in chains:
        for left, right in pairwise(chain):
            assert left == pytest.approx(right, abs=1.01e-4)


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
    for name, gradient, array in zip(grads._fields, grads, arrays, strict=True):
        np.testing.assert_allclose(gradient, finite_difference(loss, array), rtol=1e-6, atol=1e-8, err_msg=name)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize(("layers", "directions", "bias"), [(1, 1, True), (1, 2, False), (2, 2, True)])
def test_gradients_against_finite_differences(rng, layers, directions, bias, lengths):
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

    close = {"rtol": 1e-6, "atol": 1e-8}
    np.testing.assert_allclose(grads.x, finite_difference(loss, x), **close)
    np.testing.assert_allclose(grads.h0, finite_difference(loss, h0), **close)
    np.testing.assert_allclose(grads.c0, finite_difference(loss, c0), **close)
    assert list(grads.weights) == list(weights)
    for name, array in weights.items():
        np.testing.assert_allclose(grads.weights[name], finite_difference(loss, array), **close, err_msg=name)


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


def test_gates_are_there_to_look_at(rng):
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
def test_any_float_dtype_stays_as_it_is(rng, dtype, rtol):
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


# PyTorch -------------------------------------------------------------------------------------------------------------


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
