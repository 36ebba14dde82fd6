import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clstm.layers.pooling import POOLINGS


def straightforward(kind, y, h_n, lengths, directions):
    """Pool row by row."""
    rows = []
    for row, length in zip(y, lengths, strict=True):
        if kind == "last":
            rows.append(np.concatenate([h_n[len(h_n) - directions + d][len(rows)] for d in range(directions)]))
        elif length == 0:
            rows.append(np.zeros(y.shape[2]))
        else:
            rows.append(row[:length].mean(axis=0) if kind == "mean" else row[:length].max(axis=0))
    return np.array(rows).reshape(len(y), y.shape[2])


@st.composite
def outputs(draw):
    batch, time = draw(st.integers(0, 5)), draw(st.integers(0, 9))
    hidden, layers, directions = draw(st.integers(1, 6)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    lengths = np.array(draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch)), np.int64)
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    time_first = draw(st.booleans())
    y = rng.standard_normal((time, batch, directions * hidden) if time_first else (batch, time, directions * hidden))
    y = y.swapaxes(0, 1) if time_first else y
    y[np.arange(time) >= lengths[:, np.newaxis]] = 0
    h_n = rng.standard_normal((layers * directions, batch, hidden))
    return y, h_n, lengths, directions


@pytest.mark.parametrize("kind", POOLINGS)
@given(case=outputs(), dtype=st.sampled_from([np.float32, np.float64]))
def test_values(kind, case, dtype):
    y, h_n, lengths, directions = case
    y, h_n = y.astype(dtype), h_n.astype(dtype)
    pooled = POOLINGS[kind](y, h_n, lengths)
    assert pooled.dtype == dtype
    expected = straightforward(kind, y, h_n, lengths, directions)
    np.testing.assert_allclose(pooled, expected, rtol=1e-5 if dtype is np.float32 else 1e-12, atol=1e-7)


@pytest.mark.parametrize("kind", POOLINGS)
@given(case=outputs())
def test_gradients_against_finite_differences(kind, case):
    y, h_n, lengths, _ = case
    rng = np.random.default_rng(0)
    pooled, context = POOLINGS[kind].forward_train(y, h_n, lengths)
    dpooled = rng.standard_normal(pooled.shape)
    dy, dh_n = POOLINGS[kind].backward(context, dpooled)
    assert dy.shape == y.shape
    change_y, change_h = rng.standard_normal(y.shape), rng.standard_normal(h_n.shape)
    change_y[np.arange(y.shape[1]) >= lengths[:, np.newaxis]] = 0
    predicted = (dy * change_y).sum() + (0 if dh_n is None else (dh_n * change_h).sum())
    step = 1e-7
    above, below = (
        (POOLINGS[kind](y + s * change_y, h_n + s * change_h, lengths) * dpooled).sum() for s in (step, -step)
    )
    assert predicted == pytest.approx((above - below) / (2 * step), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_all_steps_where_lengths_is_none(kind):
    y = np.random.default_rng(0).standard_normal((3, 4, 5))
    pool = POOLINGS[kind]
    np.testing.assert_array_equal(pool(y, y[:1, :, :], None), pool(y, y[:1, :, :], np.full(3, 4)))


def test_max_is_of_real_steps_only_and_the_first_of_equals():
    y = np.array([[[-3.0], [-1.0], [-1.0], [0.0]]])
    pooled, context = POOLINGS["max"].forward_train(y, np.zeros((1, 1, 1)), np.array([3]))
    assert pooled == [[-1.0]]
    dy, dh_n = POOLINGS["max"].backward(context, np.array([[2.0]]))
    np.testing.assert_array_equal(dy, [[[0.0], [2.0], [0.0], [0.0]]])
    assert dh_n is None


@pytest.mark.parametrize("place", [0, 1, 2])
def test_nan_reaches_the_maximum_of_its_row_and_unit_only(place):
    y = np.arange(12.0).reshape(2, 3, 2)
    y[0, place, 1] = np.nan
    pooled = POOLINGS["max"](y, np.zeros((1, 2, 2)), None)
    np.testing.assert_array_equal(pooled, [[4.0, np.nan], [10.0, 11.0]])


@pytest.mark.parametrize("kind", POOLINGS)
def test_step_by_step(kind):
    pooling, y = POOLINGS[kind], np.random.default_rng(0).standard_normal((3, 4, 5))
    running = np.full((3, 5), pooling.initial)
    for step in range(4):
        pooled = pooling.update_running(running, y[:, step], np.full(3, step + 1))
        expected = pooling(y[:, : step + 1], y[:, step][np.newaxis], None)
        np.testing.assert_allclose(pooled, expected, rtol=1e-12)


def test_the_old_name_of_a_step_is_deprecated():
    with pytest.warns(DeprecationWarning, match="it is now update_running"):
        pooled = POOLINGS["max"].follow(np.array([[1.0, 2.0]]), np.array([[3.0, 0.0]]), np.array([2]))
    assert pooled.tolist() == [[3.0, 2.0]]
