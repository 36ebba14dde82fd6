"""The public LSTM and LSTMCell: what they compute, promise and refuse.

The compiled backends have their own tests (tests/core); here is what the classes add: layers, layouts, state,
lengths, dropout, contexts, weights, errors, threads.
"""

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clstm
from clstm import LSTM, LSTMCell, reference
from clstm._core import backend
from tests.helpers.arrays import TOLERANCE, assert_close, misaligned, read_only
from tests.helpers.products import products

pytestmark = pytest.mark.usefixtures("isa")


def problem(lstm, T, B, seed=0):
    """Return x, the state and their gradients, time first, for a layer."""
    rng = np.random.default_rng(seed)
    D, H = lstm.num_directions, lstm.hidden_size
    shapes = [(T, B, lstm.input_size), *[(lstm.num_layers * D, B, H)] * 4, (T, B, D * H)]
    x, h0, c0, dh, dc, dy = (rng.standard_normal(shape).astype(lstm.dtype) for shape in shapes)
    return x, (h0, c0), dy, (dh, dc)


def wide(arrays):
    return tuple(np.asarray(array, np.float64) for array in arrays)


def wide_weights(lstm):
    return {name: array.astype(np.float64) for name, array in lstm.parameters().items()}


@products(
    bidirectional=[False, True], bias=[False, True], num_layers=[1, 3],
    lengths={"full": None, "ragged": [5, 0, 7, 1]},
)  # fmt: skip
def test_layers_agree_with_the_reference(dtype, bidirectional, bias, num_layers, lengths):
    lstm = LSTM(5, 19, num_layers, bias, bidirectional=bidirectional, dtype=dtype, seed=1)
    x, state, dy, dstate = problem(lstm, 7, 4)
    weights = wide_weights(lstm)
    y, (h_n, c_n) = lstm(x, state, lengths)
    expected = reference.lstm(*wide((x, *state)), weights, lengths)
    output_tolerance, gradient_tolerance = TOLERANCE[dtype]
    assert_close(y, expected.y, output_tolerance)
    assert_close(h_n, expected.h_n, output_tolerance)
    assert_close(c_n, expected.c_n, output_tolerance)

    y_train, state_train, context = lstm.forward_train(x, state, lengths)
    assert y_train.tobytes() == y.tobytes()
    assert state_train[0].tobytes() == h_n.tobytes()
    grads = lstm.backward(context, dy, dstate)
    expected = reference.lstm_backward(expected, weights, *wide((dy, *dstate)), lengths)
    assert_close(grads.x, expected.x, gradient_tolerance, "x")
    assert_close(grads.h0, expected.h0, gradient_tolerance, "h0")
    assert_close(grads.c0, expected.c0, gradient_tolerance, "c0")
    assert list(grads.weights) == list(lstm.parameters())
    for name, grad in grads.weights.items():
        assert grad.dtype == dtype
        assert_close(grad, expected.weights[name], gradient_tolerance, name)


@pytest.mark.smoke
def test_dropout_between_layers_agrees_with_the_reference():
    lstm = LSTM(4, 6, 3, dropout=0.4, dtype=np.float64, seed=3)
    x, state, dy, dstate = problem(lstm, 9, 5)
    twin = copy.deepcopy(lstm)
    masks = [twin._dropout.forward_train(np.ones((9, 5, 6)))[0] for _ in range(2)]
    assert set(np.unique(masks[0])) == {0.0, 1 / 0.6}
    y, _, context = lstm.forward_train(x, state)
    grads = lstm.backward(context, dy, dstate)
    expected = reference.lstm(x, *state, lstm.parameters(), dropout_masks=masks)
    assert_close(y, expected.y, 1e-12)
    expected = reference.lstm_backward(expected, lstm.parameters(), dy, *dstate, dropout_masks=masks)
    assert_close(grads.x, expected.x, 1e-9)
    for name, grad in grads.weights.items():
        assert_close(grad, expected.weights[name], 1e-9, name)
    assert lstm(x, state)[0].tobytes() == lstm(x, state)[0].tobytes()  # none in inference


@settings(max_examples=30)
@given(data=st.data())
def test_any_shape_agrees_with_the_reference(data):
    size = st.integers(1, 40)
    lstm = LSTM(data.draw(size), data.draw(size), data.draw(st.integers(1, 2)),
                bidirectional=data.draw(st.booleans()), seed=0)  # fmt: skip
    T, B = data.draw(st.integers(0, 12)), data.draw(st.integers(0, 15))
    lengths = data.draw(st.none() | st.lists(st.integers(0, T), min_size=B, max_size=B))
    lengths = None if lengths is None else np.array(lengths, np.int64)
    x, state, dy, dstate = problem(lstm, T, B)
    weights = wide_weights(lstm)
    y, (h_n, c_n), context = lstm.forward_train(x, state, lengths)
    grads = lstm.backward(context, dy, dstate)
    expected = reference.lstm(*wide((x, *state)), weights, lengths)
    for result, name in ((y, "y"), (h_n, "h_n"), (c_n, "c_n")):
        assert_close(result, getattr(expected, name), 1e-5, name)
    expected = reference.lstm_backward(expected, weights, *wide((dy, *dstate)), lengths)
    for name in ("x", "h0", "c0"):
        assert_close(getattr(grads, name), getattr(expected, name), 1e-4, name)
    for name, grad in grads.weights.items():
        assert_close(grad, expected.weights[name], 1e-4, name)


# Layouts -------------------------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_batch_first_is_the_same_computation():
    lstm = LSTM(6, 10, 2, bidirectional=True, seed=0)
    x, state, dy, dstate = problem(lstm, 8, 3)
    other = LSTM(6, 10, 2, batch_first=True, bidirectional=True, seed=0)
    lengths = [8, 2, 5]
    y, (h_n, _), context = lstm.forward_train(x, state, lengths)
    grads = lstm.backward(context, dy, dstate)
    y2, (h_n2, _), context = other.forward_train(x.swapaxes(0, 1), state, lengths)
    grads2 = other.backward(context, dy.swapaxes(0, 1), dstate)
    assert y2.flags.c_contiguous
    np.testing.assert_array_equal(y2.swapaxes(0, 1), y)
    np.testing.assert_array_equal(h_n2, h_n)
    np.testing.assert_array_equal(grads2.x.swapaxes(0, 1), grads.x)
    for name in grads.weights:
        np.testing.assert_array_equal(grads2.weights[name], grads.weights[name])


@pytest.mark.parametrize("batch_first", [False, True])
def test_input_without_batch(batch_first):
    lstm = LSTM(6, 10, 2, batch_first=batch_first, seed=0)
    x, (h0, c0), dy, (dh, dc) = problem(LSTM(6, 10, 2), 8, 1)
    y, (h_n, c_n), context = lstm.forward_train(x[:, 0], (h0[:, 0], c0[:, 0]))
    assert y.shape == (8, 10)
    assert h_n.shape == c_n.shape == (2, 10)
    grads = lstm.backward(context, dy[:, 0], (dh[:, 0], dc[:, 0]))
    assert grads.x.shape == (8, 6)
    assert grads.h0.shape == (2, 10)
    expected, (h_expected, _) = LSTM(6, 10, 2, seed=0)(x, (h0, c0))
    np.testing.assert_array_equal(y, expected[:, 0])
    np.testing.assert_array_equal(h_n, h_expected[:, 0])


@pytest.mark.parametrize(
    "change",
    [
        misaligned,
        read_only,
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
        lambda a: np.repeat(a, 3, axis=1)[:, ::3],
        lambda a: a[::-1].copy()[::-1],
        lambda a: a[..., ::-1].copy()[..., ::-1],
        lambda a: np.broadcast_to(a[:1], a.shape),
    ],
    ids=[
        "misaligned",
        "read-only",
        "Fortran",
        "strided features",
        "strided rows",
        "backwards",
        "mirrored",
        "broadcast",
    ],
)
def test_any_memory_layout(change):
    lstm = LSTM(5, 7, bidirectional=True, seed=0)
    x, state, dy, dstate = problem(lstm, 6, 3)
    changed = change(x)
    dense = np.ascontiguousarray(changed)
    y, _, context = lstm.forward_train(changed, tuple(change(part) for part in state), [6, 0, 3])
    grads = lstm.backward(context, change(dy), tuple(change(part) for part in dstate))
    dense_state = tuple(np.ascontiguousarray(change(part)) for part in state)
    expected, _, context = lstm.forward_train(dense, dense_state, [6, 0, 3])
    expected_grads = lstm.backward(
        context, np.ascontiguousarray(change(dy)), tuple(np.ascontiguousarray(change(part)) for part in dstate)
    )
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(grads.x, expected_grads.x)
    np.testing.assert_array_equal(grads.weights["weight_ih_l0"], expected_grads.weights["weight_ih_l0"])


# State and lengths ---------------------------------------------------------------------------------------------------


def test_chunks_with_the_state_carried_are_the_whole():
    lstm = LSTM(9, 21, 2, seed=0)
    x, state, _, _ = problem(lstm, 23, 4)
    whole, (h_n, c_n) = lstm(x, state)
    parts = []
    for first in range(0, 23, 5):
        y, state = lstm(x[first : first + 5], state)
        parts.append(y)
    if backend.isa() == "portable":
        np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-6)
    else:
        np.testing.assert_array_equal(np.concatenate(parts), whole)
        np.testing.assert_array_equal(state[0], h_n)
        np.testing.assert_array_equal(state[1], c_n)


def test_results_never_depend_on_threads_or_on_the_rest_of_the_batch():
    lstm = LSTM(33, 40, 2, bidirectional=True, seed=0)
    x, state, dy, dstate = problem(lstm, 12, 13)
    lengths = np.random.default_rng(0).integers(0, 13, 13)
    found = set()
    for num_threads in (1, 2, 3, 8):
        lstm.num_threads = num_threads
        y, (h_n, _), context = lstm.forward_train(x, state, lengths)
        grads = lstm.backward(context, dy, dstate)
        found.add(b"".join(a.tobytes() for a in (y, h_n, grads.x, grads.h0, *grads.weights.values())))
    assert len(found) == 1
    if backend.isa() == "portable":
        return
    for row in range(13):
        alone, _ = lstm(x[:, row : row + 1], tuple(part[:, row : row + 1] for part in state), lengths[row : row + 1])
        np.testing.assert_array_equal(alone[:, 0], y[:, row])


def test_what_lies_past_a_length_is_never_read():
    lstm = LSTM(3, 5, bidirectional=True, seed=0)
    x, state, dy, dstate = problem(lstm, 6, 2)
    lengths = [2, 6]
    clean, _, context = lstm.forward_train(x, state, lengths)
    clean_grads = lstm.backward(context, dy, dstate)
    x[2:, 0], dy[2:, 0] = np.nan, np.nan
    y, _, context = lstm.forward_train(x, state, lengths)
    grads = lstm.backward(context, dy, dstate)
    np.testing.assert_array_equal(y, clean)
    assert not y[2:, 0].any()
    assert not grads.x[2:, 0].any()
    np.testing.assert_array_equal(grads.weights["weight_hh_l0"], clean_grads.weights["weight_hh_l0"])


def test_a_row_without_steps_keeps_its_state():
    lstm = LSTM(3, 5, 2, seed=0)
    x, (h0, c0), dy, (dh, dc) = problem(lstm, 4, 2)
    _, (h_n, c_n), context = lstm.forward_train(x, (h0, c0), [0, 4])
    np.testing.assert_array_equal(h_n[:, 0], h0[:, 0])
    np.testing.assert_array_equal(c_n[:, 0], c0[:, 0])
    grads = lstm.backward(context, dy, (dh, dc))
    np.testing.assert_array_equal(grads.h0[:, 0], dh[:, 0])
    np.testing.assert_array_equal(grads.c0[:, 0], dc[:, 0])


@pytest.mark.parametrize(("T", "B"), [(0, 3), (4, 0), (0, 0)])
def test_empty_input(T, B):
    lstm = LSTM(3, 5, 2, bidirectional=True, seed=0)
    x, state, dy, dstate = problem(lstm, T, B)
    y, (h_n, _), context = lstm.forward_train(x, state)
    grads = lstm.backward(context, dy, dstate)
    assert y.shape == (T, B, 10)
    np.testing.assert_array_equal(h_n, state[0])
    np.testing.assert_array_equal(grads.h0, dstate[0])
    assert not any(grad.any() for grad in grads.weights.values())


# Weights -------------------------------------------------------------------------------------------------------------


def test_names_shapes_and_initial_weights_are_torchs():
    lstm = LSTM(3, 16, 2, bidirectional=True, seed=0)
    shapes = {name: array.shape for name, array in lstm.state_dict().items()}
    expected = {}
    for layer, width in ((0, 3), (1, 32)):
        for suffix in (f"_l{layer}", f"_l{layer}_reverse"):
            expected |= {"weight_ih" + suffix: (64, width), "weight_hh" + suffix: (64, 16)}
            expected |= {"bias_ih" + suffix: (64,), "bias_hh" + suffix: (64,)}
    assert shapes == expected
    assert list(shapes) == list(expected)
    values = np.concatenate([array.ravel() for array in lstm.state_dict().values()])
    assert abs(values).max() <= 0.25
    assert abs(values.std() - 0.25 / 3**0.5) < 0.005
    assert lstm.num_parameters() == values.size
    again = LSTM(3, 16, 2, bidirectional=True, seed=0).state_dict()
    assert all((again[name] == array).all() for name, array in lstm.state_dict().items())


def test_forget_bias_is_the_sum_of_both():
    weights = LSTM(3, 4, forget_bias=1.5).parameters()
    np.testing.assert_array_equal(weights["bias_ih_l0"][4:8] + weights["bias_hh_l0"][4:8], 1.5)
    with pytest.raises(ValueError, match="bias is False"):
        LSTM(3, 4, bias=False, forget_bias=1.0)


def test_weights_are_set_only_in_the_open():
    lstm = LSTM(3, 4, seed=0)
    x = np.ones((2, 1, 3), np.float32)
    before, _ = lstm(x)
    with pytest.raises(ValueError, match="read-only"):
        lstm.parameters()["weight_ih_l0"][0] = 1
    lstm.state_dict()["weight_ih_l0"][...] = 5  # a copy
    np.testing.assert_array_equal(lstm(x)[0], before)
    with lstm.updating() as weights:
        weights["weight_ih_l0"] *= 2
    changed, _ = lstm(x)
    assert not np.array_equal(changed, before)
    lstm.load_state_dict(LSTM(3, 4, seed=0).state_dict())
    np.testing.assert_array_equal(lstm(x)[0], before)


def test_load_state_dict_checks_all_before_changing_any():
    lstm = LSTM(3, 4, seed=0)
    before = lstm.state_dict()
    good = LSTM(3, 4, seed=1).state_dict()
    for bad, error, match in [
        ({**good, "weight_hh_l0": np.zeros((16, 5), np.float32)}, ValueError, r"weight_hh_l0 has shape \(16, 5\)"),
        ({**good, "weight_hh_l0": good["weight_hh_l0"].astype(float)}, TypeError, "weight_hh_l0 has dtype float64"),
        ({**good, "extra": np.zeros(1)}, ValueError, "unexpected extra"),
        ({"weight_ih_l0": good["weight_ih_l0"]}, ValueError, "lacks weight_hh_l0"),
        ([], TypeError, "mapping"),
    ]:
        with pytest.raises(error, match=match):
            lstm.load_state_dict(bad)
        assert all((lstm.state_dict()[name] == array).all() for name, array in before.items())


@pytest.mark.parametrize("clone", [copy.deepcopy, copy.copy, lambda lstm: pickle.loads(pickle.dumps(lstm))])
def test_copies_compute_the_same(clone):
    lstm = LSTM(3, 4, 2, dropout=0.5, seed=0)
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(clone(lstm)(x)[0], lstm(x)[0])


# Contexts ------------------------------------------------------------------------------------------------------------


def test_contexts_serve_one_backward_of_their_layer():
    lstm = LSTM(3, 4, seed=0)
    x, state, dy, _ = problem(lstm, 5, 2)
    y, _, context = lstm.forward_train(x, state)
    with pytest.raises(ValueError, match="read-only"):
        y[...] = 0
    with pytest.raises(ValueError, match="another layer"):
        LSTM(3, 4).backward(context, dy)
    with pytest.raises(TypeError, match="forward_train"):
        lstm.backward(None, dy)
    expected = r"dy has shape \(5, 2, 3\), expected \(time=5, batch=2, directions \* hidden_size=4\)"
    with pytest.raises(ValueError, match=expected):
        lstm.backward(context, dy[..., :3].copy())
    with pytest.raises(TypeError, match="dy has dtype float64"):
        lstm.backward(context, dy.astype(float))
    grads = lstm.backward(context, dy, need_input_grad=False)
    assert grads.x is None
    with pytest.raises(ValueError, match="used by an earlier backward"):
        lstm.backward(context, dy)


def test_backward_takes_the_weights_of_its_forward():
    lstm = LSTM(3, 20, seed=0, dtype=np.float64)
    x, state, dy, dstate = problem(lstm, 5, 2)
    expected = lstm.backward(lstm.forward_train(x, state)[2], dy, dstate)
    _, _, context = lstm.forward_train(x, state)
    with lstm.updating() as weights:
        weights["weight_hh_l0"] += 1
    grads = lstm.backward(context, dy, dstate)
    np.testing.assert_array_equal(grads.x, expected.x)


def test_a_context_outlives_changes_of_the_state_given():
    lstm = LSTM(3, 4, seed=0)
    x, (h0, c0), dy, _ = problem(lstm, 5, 2)
    expected = lstm.backward(lstm.forward_train(x, (h0, c0))[2], dy)
    _, _, context = lstm.forward_train(x, (h0, c0))
    h0[...], c0[...] = 9, 9
    grads = lstm.backward(context, dy)
    np.testing.assert_array_equal(grads.weights["weight_hh_l0"], expected.weights["weight_hh_l0"])


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("T", [3, 300])  # 300: in memory that is kept for later results
def test_the_output_of_training_is_read_only_until_it_is_said_otherwise(T, batch_first):
    y, _, _ = LSTM(4, 64, batch_first=batch_first).forward_train(np.zeros((T, 8, 4), np.float32))
    assert not y.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        y[0] = 1
    if y.base is not None:
        y.base.flags.writeable = True
    y.flags.writeable = True
    y[0] = 1


def test_several_contexts_at_once():
    lstm = LSTM(3, 4, seed=0)
    problems = [problem(lstm, T, 2, seed=T) for T in (3, 9, 6)]
    contexts = [lstm.forward_train(x, state)[2] for x, state, _, _ in problems]
    together = [lstm.backward(c, dy, dstate) for c, (_, _, dy, dstate) in zip(contexts, problems, strict=True)]
    for grads, (x, state, dy, dstate) in zip(together, problems, strict=True):
        expected = lstm.backward(lstm.forward_train(x, state)[2], dy, dstate)
        np.testing.assert_array_equal(grads.x, expected.x)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_many_threads_may_call_one_layer(num_threads):
    lstm = LSTM(8, 24, 2, bidirectional=True, seed=0, num_threads=num_threads)
    inputs = [problem(lstm, 5 + i % 7, 1 + i % 5, seed=i) for i in range(40)]
    expected = [lstm(x, state)[0] for x, state, _, _ in inputs]

    def work(i):
        x, state, dy, dstate = inputs[i % 40]
        if i % 3 == 0:
            lstm.backward(lstm.forward_train(x, state)[2], dy, dstate)
        return np.array_equal(lstm(x, state)[0], expected[i % 40])

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(200)))


# Errors --------------------------------------------------------------------------------------------------------------

X = np.zeros((5, 2, 3), np.float32)
H = np.zeros((1, 2, 4), np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ((X.astype(np.float64),), TypeError, "x has dtype float64, expected float32"),
        ((X.astype(">f4"),), TypeError, "x has dtype >f4"),
        ((X.astype(np.float16),), TypeError, "x has dtype float16"),
        ((X.astype(int),), TypeError, "x has dtype int64"),
        ((X[..., :2],), ValueError, r"x has shape \(5, 2, 2\), expected \(time, batch, input_size=3\)"),
        ((X[0, 0],), ValueError, r"x has shape \(3,\)"),
        ((X[None],), ValueError, r"x has shape \(1, 5, 2, 3\)"),
        ((None,), TypeError, "x has dtype object"),
        (("abc",), TypeError, "x has dtype <U3"),
        (([[1, 2], [3]],), TypeError, "x can't be converted to an array"),
        ((np.ma.masked_array(X, mask=X == 0),), TypeError, "x is a masked array"),
        ((X, H), TypeError, r"\(h0, c0\) is ndarray, expected a pair"),
        ((X, (H,)), TypeError, "expected a pair"),
        ((X, (H[0], H)), ValueError, r"h0 has shape \(2, 4\), expected \(num_layers \* directions=1, batch=2"),
        ((X, (H, H[:, :1])), ValueError, r"c0 has shape \(1, 1, 4\)"),
        ((X, (H, H.astype(float))), TypeError, "c0 has dtype float64"),
        ((X, None, [5]), ValueError, r"lengths has shape \(1,\), expected \(batch=2,\)"),
        ((X, None, [5, 6]), ValueError, r"lengths\[1\] is 6, expected 0 to 5"),
        ((X, None, [-1, 5]), ValueError, r"lengths\[0\] is -1"),
        ((X, None, [1.0, 5.0]), TypeError, "lengths has dtype float64"),
        ((X, None, np.array([2**63, 1], np.uint64)), ValueError, r"lengths\[0\] is 9223372036854775808"),
        ((X, None, 5), ValueError, r"lengths has shape \(\)"),
        ((X, None, "ab"), TypeError, "lengths has dtype"),
        ((X[:, 0], None, [5]), ValueError, "no batch axis"),
    ],
)
def test_bad_calls_name_what_is_wrong(arguments, error, match):
    lstm = LSTM(3, 4, seed=0)
    for call in (lstm, lstm.forward_train):
        with pytest.raises(error, match=match):
            call(*arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"input_size": 0}, ValueError, "input_size is 0, expected at least 1"),
        ({"hidden_size": -1}, ValueError, "hidden_size is -1"),
        ({"hidden_size": 2.0}, TypeError, "hidden_size is 2.0, expected an integer"),
        ({"input_size": True}, TypeError, "input_size is True"),
        ({"num_layers": 0}, ValueError, "num_layers is 0"),
        ({"bias": 1}, TypeError, "bias is 1, expected True or False"),
        ({"batch_first": "yes"}, TypeError, "batch_first is 'yes'"),
        ({"dropout": 1.5}, ValueError, "dropout is 1.5, expected at most 1"),
        ({"dropout": float("nan")}, ValueError, "dropout is nan"),
        ({"bidirectional": None}, TypeError, "bidirectional is None"),
        ({"dtype": np.float16}, TypeError, "dtype is"),
        ({"dtype": "no such"}, TypeError, "dtype is 'no such'"),
        ({"forget_bias": "one"}, TypeError, "forget_bias is 'one'"),
        ({"seed": -1}, ValueError, "seed is -1"),
        ({"num_threads": 0}, ValueError, "num_threads is 0"),
    ],
)
def test_bad_constructions_name_what_is_wrong(arguments, error, match):
    with pytest.raises(error, match=match):
        LSTM(**{"input_size": 3, "hidden_size": 4, **arguments})


def test_a_state_too_large_for_memory_is_an_error():
    lstm = LSTM(1, 1)
    with pytest.raises(MemoryError):
        lstm(np.broadcast_to(np.zeros((1, 1, 1), np.float32), (2**40, 2**10, 1)))


# LSTMCell ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", [False, True])
def test_cell_is_one_step_of_the_layer(dtype, bias):
    cell, lstm = LSTMCell(5, 7, bias, dtype=dtype, seed=0), LSTM(5, 7, bias=bias, dtype=dtype, seed=0)
    x, (h0, c0), _, (dh, dc) = problem(lstm, 1, 3)
    assert list(cell.parameters()) == [name.removesuffix("_l0") for name in lstm.parameters()]
    h, c = cell(x[0], (h0[0], c0[0]))
    _, (h_n, c_n), context = lstm.forward_train(x, (h0, c0))
    np.testing.assert_array_equal(h, h_n[0])
    np.testing.assert_array_equal(c, c_n[0])
    expected = lstm.backward(context, np.zeros((1, 3, 7), dtype), (dh, dc))
    state, context = cell.forward_train(x[0], (h0[0], c0[0]))
    np.testing.assert_array_equal(state[0], h)
    grads = cell.backward(context, (dh[0], dc[0]))
    np.testing.assert_array_equal(grads.x, expected.x[0])
    np.testing.assert_array_equal(grads.h0, expected.h0[0])
    np.testing.assert_array_equal(grads.c0, expected.c0[0])
    for name, grad in grads.weights.items():
        np.testing.assert_array_equal(grad, expected.weights[name + "_l0"])
    h1, c1 = cell(x[0, 0], (h0[0, 0], c0[0, 0]))
    assert h1.shape == c1.shape == (7,)
    np.testing.assert_allclose(h1, h[0], rtol=1e-6, atol=1e-6)


def test_cell_gradients_of_a_broadcast_input():
    cell = LSTMCell(5, 7, seed=0)
    x = np.broadcast_to(np.linspace(-1, 1, 5, dtype=np.float32), (4, 5))
    dstate = np.ones((4, 7), np.float32), np.ones((4, 7), np.float32)
    found, expected = (cell.backward(cell.forward_train(given)[1], dstate) for given in (x, x.copy()))
    np.testing.assert_array_equal(found.x, expected.x)


def test_cell_refuses_what_does_not_fit():
    cell = LSTMCell(3, 4, seed=0)
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ValueError, match=r"x has shape \(2, 2\)"):
        cell(x[:, :2])
    with pytest.raises(TypeError, match="x has dtype float64"):
        cell(x.astype(float))
    with pytest.raises(ValueError, match=r"h0 has shape \(2, 3\)"):
        cell(x, (x, x))
    (h, c), context = cell.forward_train(x)
    with pytest.raises(TypeError, match="dstate is None"):
        cell.backward(context, None)
    with pytest.raises(ValueError, match=r"dc has shape"):
        cell.backward(context, (h, c[:1]))
    cell.backward(context, (h, c))
    with pytest.raises(ValueError, match="used by an earlier"):
        cell.backward(context, (h, c))


def test_represent_themselves():
    assert repr(LSTM(3, 4)) == "LSTM(3, 4)"
    assert repr(LSTM(3, 4, 2, dropout=0.5, dtype=np.float64)) == (
        "LSTM(3, 4, num_layers=2, dropout=0.5, dtype=float64)"
    )
    assert repr(LSTMCell(3, 4, False)) == "LSTMCell(3, 4, bias=False)"


# Against PyTorch -----------------------------------------------------------------------------------------------------


@pytest.mark.peer
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [None, [9, 4, 1, 6]])
def test_two_layers_agree_with_torch(bidirectional, lengths):
    torch = pytest.importorskip("torch")
    rnn = torch.nn.utils.rnn
    torch.manual_seed(0)
    module = torch.nn.LSTM(5, 24, 2, batch_first=True, bidirectional=bidirectional)
    lstm = LSTM(5, 24, 2, batch_first=True, bidirectional=bidirectional)
    lstm.load_state_dict({name: value.numpy() for name, value in module.state_dict().items()})
    x, state, dy, dstate = problem(lstm, 9, 4)
    x, dy = x.swapaxes(0, 1).copy(), dy.swapaxes(0, 1).copy()
    x_, h_, c_ = (torch.tensor(array, requires_grad=True) for array in (x, *state))
    if lengths is None:
        y_, (h_n_, c_n_) = module(x_, (h_, c_))
    else:
        packed = rnn.pack_padded_sequence(x_, torch.tensor(lengths), batch_first=True, enforce_sorted=False)
        y_, (h_n_, c_n_) = module(packed, (h_, c_))
        y_, _ = rnn.pad_packed_sequence(y_, batch_first=True, total_length=9)
    outputs = zip((y_, h_n_, c_n_), (dy, *dstate), strict=True)
    sum((output * torch.tensor(gradient)).sum() for output, gradient in outputs).backward()
    y, (h_n, c_n), context = lstm.forward_train(x, state, lengths)
    grads = lstm.backward(context, dy, dstate)
    for result, expected in ((y, y_), (h_n, h_n_), (c_n, c_n_)):
        assert_close(result, expected.detach().numpy(), 1e-5)
    for result, expected in ((grads.x, x_), (grads.h0, h_), (grads.c0, c_)):
        assert_close(result, expected.grad.numpy(), 1e-4)
    for name, parameter in module.named_parameters():
        assert_close(grads.weights[name], parameter.grad.numpy(), 1e-4, name)


def test_the_package_offers_both():
    assert clstm.LSTM is LSTM
    assert clstm.LSTMCell is LSTMCell


def test_a_call_while_another_thread_packs_new_weights_is_refused():
    lstm = clstm.LSTM(3, 4, seed=0)
    x = np.zeros((2, 1, 3), np.float32)
    y, _ = lstm(x)
    lstm._free_packed()  # as at the end of `updating`, before the weights are packed again
    for call in (lstm, lstm.forward_train, lambda x: lstm.stream().step(x[0])):
        with pytest.raises(RuntimeError, match="weights are being updated: no other thread may use it"):
            call(x)
    lstm._weights_changed()
    assert (lstm(x)[0] == y).all()
