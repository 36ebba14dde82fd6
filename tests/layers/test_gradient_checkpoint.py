"""forward_train(checkpoint=True): the same results interval by interval, and little memory."""

import copy
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clstm import LSTM, reference
from clstm._core.vector import runtime as _runtime
from clstm.layers import gradient_checkpoint as checkpoint
from tests.helpers.arrays import TOLERANCE, assert_close
from tests.helpers.products import products

# Relative to the largest element: gradients are the same sums in another order.
ROUNDING = {np.float32: 1e-5, np.float64: 1e-13}

pytestmark = pytest.mark.usefixtures("isa")


@pytest.fixture
def small_intervals(monkeypatch):
    """Segments of about sqrt(T) steps even of the few rows and steps of a test."""
    monkeypatch.setattr(checkpoint, "MIN_POSITIONS", 1)


def problem(lstm, T, B, seed=0):
    """Return x, the state, dy and the gradients of the final state."""
    rng = np.random.default_rng(seed)
    D, H = lstm.num_directions, lstm.hidden_size
    shapes = [(T, B, lstm.input_size), *[(lstm.num_layers * D, B, H)] * 4, (T, B, D * H)]
    x, h0, c0, dh, dc, dy = (rng.standard_normal(shape).astype(lstm.dtype) for shape in shapes)
    if lstm.batch_first:
        x, dy = (np.ascontiguousarray(array.swapaxes(0, 1)) for array in (x, dy))
    return x, (h0, c0), dy, (dh, dc)


def train(lstm, x, state, dy, dstate, lengths=None, **options):
    """Return outputs and gradients by name."""
    need_input_grad = options.pop("need_input_grad", True)
    y, (h_n, c_n), context = lstm.forward_train(x, state, lengths, **options)
    grads = lstm.backward(context, dy, dstate, need_input_grad=need_input_grad)
    return {"y": y, "h_n": h_n, "c_n": c_n}, {"x": grads.x, "h0": grads.h0, "c0": grads.c0, **grads.weights}


def assert_same(with_checkpoint, without, isa, dtype):
    for name, expected in without[0].items():
        if isa == "portable":  # there BLAS decides
            assert_close(with_checkpoint[0][name], expected, ROUNDING[dtype], name)
        else:
            assert with_checkpoint[0][name].tobytes() == expected.tobytes(), name
    assert list(with_checkpoint[1]) == list(without[1])
    for name, expected in without[1].items():
        if expected is None:
            assert with_checkpoint[1][name] is None
        else:
            assert_close(with_checkpoint[1][name], expected, ROUNDING[dtype], name)


@products(bidirectional=[False, True], num_layers=[1, 3], lengths={"full": None, "ragged": [20, 0, 27, 1, 9]})
def test_agrees_with_the_reference_and_with_plain_training(
    isa, small_intervals, dtype, bidirectional, num_layers, lengths
):
    lstm = LSTM(5, 19, num_layers, bidirectional=bidirectional, dtype=dtype, seed=1)
    T, B = 27, 5
    assert len(checkpoint.cut(T, B)) == 5
    arrays = problem(lstm, T, B)
    if lengths is not None:
        for b, length in enumerate(lengths):
            arrays[0][length:, b] = np.nan  # which nobody may read
            arrays[2][length:, b] = np.nan
    found = train(lstm, *arrays, lengths, checkpoint=True)
    assert_same(found, train(lstm, *arrays, lengths), isa, dtype)

    x, (h0, c0), dy, (dh, dc) = arrays
    wide = [np.nan_to_num(array).astype(np.float64) for array in (x, h0, c0, dy, dh, dc)]
    weights = {name: array.astype(np.float64) for name, array in lstm.parameters().items()}
    forward = reference.lstm(*wide[:3], weights, lengths)
    backward = reference.lstm_backward(forward, weights, *wide[3:], lengths)
    outputs, gradients = found
    for name, result in outputs.items():
        assert_close(result, getattr(forward, name), TOLERANCE[dtype][0], name)
    for name, result in gradients.items():
        expected = backward.weights[name] if name in backward.weights else getattr(backward, name)
        assert_close(result, expected, TOLERANCE[dtype][1], name)


@settings(max_examples=30)
@given(data=st.data())
def test_any_shape_agrees_with_plain_training(isa, data):
    size = st.integers(1, 35)
    lstm = LSTM(data.draw(size), data.draw(size), data.draw(st.integers(1, 2)), batch_first=data.draw(st.booleans()),
                bidirectional=data.draw(st.booleans()), dtype=np.float64, seed=0)  # fmt: skip
    T, B = data.draw(st.integers(0, 40)), data.draw(st.integers(0, 40))
    lengths = data.draw(st.none() | st.lists(st.integers(0, T), min_size=B, max_size=B))
    lengths = None if lengths is None else np.array(lengths, np.int64)
    arrays = problem(lstm, T, B)
    need = data.draw(st.booleans())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "MIN_POSITIONS", data.draw(st.sampled_from([1, 40])))
        found = train(lstm, *arrays, lengths, need_input_grad=need, checkpoint=True)
    assert_same(found, train(lstm, *arrays, lengths, need_input_grad=need), isa, np.float64)


def test_dropout_draws_the_same_masks(isa, small_intervals):
    lstm = LSTM(4, 6, 3, dropout=0.4, bidirectional=True, seed=3)
    twin = copy.deepcopy(lstm)
    arrays = problem(lstm, 30, 5)
    assert_same(train(lstm, *arrays, checkpoint=True), train(twin, *arrays), isa, np.float32)
    # and go on drawing the same
    assert_same(train(lstm, *arrays, checkpoint=True), train(twin, *arrays), isa, np.float32)


def test_unbatched_input(isa, small_intervals):
    lstm = LSTM(4, 6, 2, seed=0)
    x, (h0, c0), dy, (dh, dc) = problem(lstm, 30, 1)
    arrays = x[:, 0], (h0[:, 0], c0[:, 0]), dy[:, 0], (dh[:, 0], dc[:, 0])
    assert_same(train(lstm, *arrays, checkpoint=True), train(lstm, *arrays), isa, np.float32)


def test_state_and_its_gradient_may_be_left_out(isa, small_intervals):
    lstm = LSTM(4, 6, seed=0)
    x, _, dy, _ = problem(lstm, 30, 3)
    assert_same(train(lstm, x, None, dy, None, checkpoint=True), train(lstm, x, None, dy, None), isa, np.float32)


def test_threads_do_not_change_a_bit(isa, small_intervals):
    results = []
    for num_threads in (1, 2, 3, 8):
        lstm = LSTM(16, 64, 2, bidirectional=True, seed=0, num_threads=num_threads)
        outputs, gradients = train(lstm, *problem(lstm, 40, 24), checkpoint=True)
        results.append([array.tobytes() for array in (*outputs.values(), *gradients.values())])
    assert all(result == results[0] for result in results)


def test_caller_may_change_the_state_after_forward(isa, small_intervals):
    lstm = LSTM(4, 6, seed=0)
    x, state, dy, dstate = problem(lstm, 30, 3)
    expected = train(lstm, x, state, dy, dstate)
    _, _, context = lstm.forward_train(x, state, checkpoint=True)
    state[0][...] = state[1][...] = np.nan
    grads = lstm.backward(context, dy, dstate)
    assert_close(grads.h0, expected[1]["h0"], ROUNDING[np.float32], "h0")
    assert_close(grads.weights["weight_hh_l0"], expected[1]["weight_hh_l0"], ROUNDING[np.float32], "weight_hh_l0")


def test_weights_may_change_between_forward_and_backward(isa, small_intervals):
    lstm = LSTM(4, 6, seed=0)
    arrays = problem(lstm, 30, 3)
    expected = train(lstm, *arrays, checkpoint=True)
    _, _, context = lstm.forward_train(*arrays[:2], checkpoint=True)
    with lstm.updating() as weights:
        weights["weight_hh_l0"][...] = 0
    grads = lstm.backward(context, *arrays[2:])
    np.testing.assert_array_equal(grads.weights["weight_hh_l0"], expected[1]["weight_hh_l0"])


def test_context_is_for_one_backward(small_intervals):
    lstm = LSTM(4, 6, seed=0)
    x, state, dy, dstate = problem(lstm, 30, 3)
    y, _, context = lstm.forward_train(x, state, checkpoint=True)
    assert not y.flags.writeable
    with pytest.raises(ValueError, match="dy has shape"):
        lstm.backward(context, dy[1:])
    lstm.backward(context, dy, dstate)
    with pytest.raises(ValueError, match="used by an earlier backward"):
        lstm.backward(context, dy, dstate)


@pytest.mark.parametrize("wrong", [None, 1, "yes"])
def test_anything_but_a_flag_is_refused(wrong):
    with pytest.raises(TypeError, match="checkpoint"):
        LSTM(4, 6).forward_train(np.zeros((3, 2, 4), np.float32), checkpoint=wrong)


# Segments and memory -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [0, 1, 2, 5, 100, 1000, 4096])
@pytest.mark.parametrize("B", [0, 1, 3, 8, 32, 512])
def test_intervals_cover_the_time_once(T, B):
    intervals = checkpoint.cut(T, B)
    assert [t for interval in intervals for t in range(T)[interval]] == list(range(T))
    if T > 0:
        steps = [interval.stop - interval.start for interval in intervals]
        assert max(steps) - min(steps) <= 1
        assert max(steps) <= max(2 * T**0.5, 2 * checkpoint.MIN_POSITIONS / max(B, 1), 1)
        assert len(intervals) <= 1 + T**0.5


def test_few_positions_are_not_cut():
    assert checkpoint.cut(100, 4) == [slice(0, 100)]
    assert len(checkpoint.cut(1000, 32)) == 32


def kept_bytes(T, **options):
    """Return what a forward pass over T steps leaves in memory beside its outputs."""
    lstm = LSTM(8, 16, num_threads=1, seed=0)
    x = np.zeros((T, 4, 8), np.float32)
    lstm.forward_train(x)  # whatever is made at the first call
    _runtime.free_spares()  # memory taken from there isn't traced
    tracemalloc.start()
    try:
        y, _, context = lstm.forward_train(x, **options)
        held, _ = tracemalloc.get_traced_memory()
        del context
    finally:
        tracemalloc.stop()
    return held - y.nbytes


def test_memory_kept_grows_as_the_root_of_the_time(small_intervals):
    gates = 4 * 4 * 16 * 4  # of a step
    assert kept_bytes(400) > 400 * gates
    short, long = kept_bytes(400, checkpoint=True), kept_bytes(1600, checkpoint=True)
    assert short < 80 * gates
    assert long < 2.5 * short
