"""Softmax, sigmoid and their relatives against their formulas, and at the ends of the range."""

import warnings

import numpy as np
import pytest

from clstm._core.numerics import (
    log_softmax,
    log_softmax_at,
    log_sum_exp,
    shift,
    sigmoid,
    softmax,
    softmax_and_log_sum_exp,
    softplus_and_sigmoid,
)

DTYPES = (np.float32, np.float64)
LARGE = [[1e4, 0, -1e4], [-1e30, -1e30, -1e30], [3, 3, -np.inf]]


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def scores_of(dtype, shape=(4, 5, 7)):
    return (np.random.default_rng(0).standard_normal(shape) * 3).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_and_its_logarithm(dtype, axis):
    scores = scores_of(dtype)
    exact = np.exp(scores.astype(np.float64))
    sums = exact.sum(axis=axis, keepdims=True)
    tolerance = 1e-6 if dtype == np.float32 else 1e-14
    before = scores.copy()
    probabilities, logs, log_sums = softmax(scores, axis), log_softmax(scores, axis), log_sum_exp(scores, axis)
    np.testing.assert_array_equal(scores, before)
    np.testing.assert_allclose(probabilities, exact / sums, rtol=tolerance)
    np.testing.assert_allclose(logs, np.log(exact / sums), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(log_sums, np.log(sums).squeeze(axis), rtol=tolerance)
    assert probabilities.dtype == logs.dtype == log_sums.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_last_axis_with_sums_in_float64(dtype):
    scores = scores_of(dtype)
    probabilities, log_sums = softmax_and_log_sum_exp(scores)
    np.testing.assert_allclose(probabilities, softmax(scores), rtol=1e-6)
    np.testing.assert_allclose(log_sums, log_sum_exp(scores.astype(np.float64)), rtol=1e-7)
    assert probabilities.dtype == dtype
    assert log_sums.dtype == np.float64


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_logarithm_for_some_classes(dtype):
    scores = scores_of(dtype)
    classes = np.array([6, 0, 0]) + np.zeros((4, 5, 1), int)
    chosen = log_softmax_at(scores, classes)
    assert chosen.dtype == np.float64
    np.testing.assert_allclose(chosen, log_softmax(scores)[..., [6, 0, 0]], rtol=1e-5)
    np.testing.assert_array_equal(log_softmax_at(scores, classes, out=scores), chosen)


@pytest.mark.parametrize("dtype", DTYPES)
def test_in_place_and_in_another_dtype_the_bits_are_the_same(dtype):
    scores = scores_of(dtype)
    in_float64 = softmax(scores.astype(np.float64))
    np.testing.assert_array_equal(softmax(scores, dtype=np.float64), in_float64)
    expected, shifted = softmax(scores), shift(scores)
    assert shift(scores.copy(), out=shifted) is shifted
    assert softmax(scores, out=scores) is scores
    np.testing.assert_array_equal(scores, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_of_any_magnitude(dtype):
    scores = np.array(LARGE, dtype)
    expected = [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0]]
    np.testing.assert_allclose(softmax(scores), expected, rtol=1e-6)
    np.testing.assert_allclose(softmax_and_log_sum_exp(scores)[0], expected, rtol=1e-6)
    np.testing.assert_allclose(log_softmax(scores)[0], [0, -1e4, -2e4])
    np.testing.assert_allclose(log_sum_exp(scores), [1e4, -1e30, 3 + np.log(2)], rtol=1e-6)
    np.testing.assert_allclose(log_softmax_at(scores, np.array([[2], [1], [0]])), [[-2e4], [-np.log(3)], [-np.log(2)]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigmoid_and_softplus(dtype):
    x = np.array([-1e4, -30, -1, -0.0, 0, 1, 30, 1e4, np.inf, -np.inf, np.nan], dtype)
    exact = 1 / (1 + np.exp(-np.clip(x.astype(np.float64), -700, 700)))
    value, slope = softplus_and_sigmoid(x)
    np.testing.assert_allclose(sigmoid(x), exact, rtol=1e-6, atol=1e-300)
    np.testing.assert_array_equal(slope, sigmoid(x))
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(value, np.logaddexp(x, 0), rtol=1e-6)
    assert value.dtype == slope.dtype == dtype


@pytest.mark.parametrize("function", [softmax, log_softmax, lambda scores: softmax_and_log_sum_exp(scores)[0]])
def test_nan_passes_through(function):
    result = function(np.array([[0.0, np.nan], [0.0, 1.0]]))
    assert np.isnan(result[0]).all()
    assert np.isfinite(result[1]).all()
