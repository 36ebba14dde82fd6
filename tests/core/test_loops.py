"""The loops over arrays refuse, by name of what they expect, arrays that they would read or write out of bounds."""

from __future__ import annotations

import numpy as np
import pytest

from clstm._core import _ctc, _loops, _optim


def read_only(array):
    array.flags.writeable = False
    return array


ROWS = np.ones((3, 4), np.float32)
IDS = np.array([1, 0, 1])


def total():
    return np.zeros((2, 4), np.float32)


def test_rows_are_added_up_by_id():
    result = total()
    _loops.scatter_add(result, IDS, ROWS, -1)
    np.testing.assert_array_equal(result, [[1] * 4, [2] * 4])
    _loops.scatter_add(result, IDS.astype(np.longlong), ROWS, 1)  # another type of 64 bits
    np.testing.assert_array_equal(result, [[2] * 4, [2] * 4])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((total().astype(np.int32), IDS, ROWS), ValueError, "expected an array of float32 or float64, got int32"),
        ((total(), IDS.astype(np.int32), ROWS), ValueError, "expected an array of int64, got int32"),
        ((total(), IDS, ROWS.astype(np.float64)), ValueError, "expected an array of float32, got float64"),
        ((total(), IDS, ROWS[0]), ValueError, "expected an array with 2 dimensions, got 1"),
        ((total(), IDS, ROWS[:, ::2]), ValueError, "expected a C-contiguous array"),
        ((total(), IDS, ROWS.astype(">f4")), ValueError, "in the byte order of this machine"),
        ((read_only(total()), IDS, ROWS), ValueError, "expected a writable C-contiguous array"),
        ((None, IDS, ROWS), TypeError, "expected an array, got None"),
        ((total(), None, ROWS), TypeError, "expected an array, got None"),
    ],
)
def test_wrong_arrays_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        _loops.scatter_add(*arguments, -1)


def test_optimisers_take_flat_arrays_of_one_dtype():
    weight, grad = np.ones(4, np.float32), np.ones(4, np.float32)
    with pytest.raises(ValueError, match="expected an array of float32, got float64"):
        _optim.sgd(weight, grad.astype(np.float64), None, 0.1, 0, False, 0, 1)
    with pytest.raises(ValueError, match="expected an array with 1 dimensions, got 2"):
        _optim.sgd(weight, grad, grad.reshape(2, 2).copy(), 0.1, 0.9, False, 0, 1)
    with pytest.raises(ValueError, match="expected a writable"):
        _optim.adam(read_only(weight.copy()), grad, weight, weight, 0.9, 0.99, 0.1, 1, 1e-8, 0, 1, 1)
    with pytest.raises(ValueError, match="expected an array of int64, got int32"):
        _optim.sgd(weight, grad, None, 0.1, 0, False, 0, 1, np.array([0], np.int32))
    with pytest.raises(TypeError, match="got None"):
        _optim.approach(weight, None, 0.1, 1)
    np.testing.assert_array_equal(weight, 1)


def test_pooling_and_search_take_any_strides_between_rows():
    rng = np.random.default_rng(0)
    y = rng.standard_normal((5, 3, 4), dtype=np.float32).swapaxes(0, 1)
    pooled, steps = np.empty((3, 4), np.float32), np.empty((3, 4), np.intp)
    _loops.max_forward(y, np.full(3, 5), pooled, steps)
    np.testing.assert_array_equal(pooled, y.max(axis=1))
    np.testing.assert_array_equal(steps, y.argmax(axis=1))
    with pytest.raises(ValueError, match="expected y to be dense along its last axis"):
        _loops.max_forward(y[:, :, ::2], np.full(3, 5), pooled[:, :2].copy(), steps[:, :2].copy())

    logits = y.transpose(1, 0, 2)[:, :, ::-1]
    log_sums = np.log(np.exp(logits.astype(np.float64)).sum(2))
    results = []
    for array in (logits, np.ascontiguousarray(logits)):
        labels, counts, scores = np.empty((3, 5), np.int64), np.empty(3, np.int64), np.empty(3)
        _ctc.search(array, log_sums, np.full(3, 5), 0, 8, labels, counts, scores, 2)
        results.append(
            (counts.tolist(), scores.tolist(), [row[:n].tolist() for row, n in zip(labels, counts, strict=True)])
        )
    assert results[0] == results[1]
