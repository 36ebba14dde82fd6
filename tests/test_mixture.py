"""The mixture density against the formulas of the paper, finite differences and PyTorch, and the points drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clstm.losses import mixture_density
from clstm.mixture import sample

DTYPES = (np.float32, np.float64)


def random(shape, dtype=np.float64, seed=0, scale=1.0):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape) * scale, dtype)


def density(parameters, point):
    """The mixture's density at one point by equations 18 to 25 of Graves (2013), one component after the other."""
    scores, mean_x, mean_y, log_x, log_y, before_tanh = parameters.reshape(6, -1)
    weights = np.exp(scores) / np.exp(scores).sum()
    total = 0.0
    for j, weight in enumerate(weights):
        s1, s2, rho = math.exp(log_x[j]), math.exp(log_y[j]), math.tanh(before_tanh[j])
        u, v = (point[0] - mean_x[j]) / s1, (point[1] - mean_y[j]) / s2
        z = u**2 + v**2 - 2 * rho * u * v
        total += weight * math.exp(-z / (2 * (1 - rho**2))) / (2 * math.pi * s1 * s2 * math.sqrt(1 - rho**2))
    return total


def one_gaussian(mean=(0, 0), log_deviation=(0, 0), r=0, dtype=np.float64):
    return np.array([[0, *mean, *log_deviation, r]], dtype)


@pytest.mark.smoke
@given(st.integers(1, 7), st.integers(0, 1000))
def test_value_by_the_paper(components, seed):
    parameters, targets = random((2, 3, 6 * components), seed=seed, scale=0.5), random((2, 3, 2), seed=seed + 1)
    expected = [-math.log(density(parameters[i], targets[i])) for i in np.ndindex(2, 3)]
    value, gradient = mixture_density(parameters, targets)
    assert type(value) is float
    assert value == pytest.approx(np.mean(expected), rel=1e-10, abs=1e-12)
    assert gradient.shape == parameters.shape


@pytest.mark.parametrize("components", [1, 4])
@pytest.mark.parametrize("sample_weight", [None, np.array([0.5, 0.0, 2.0]), np.array([[1.0, 0], [0, 2], [1, 0.1]])])
def test_each_gradient_against_finite_differences(components, sample_weight):
    parameters, targets = random((3, 2, 6 * components), seed=2, scale=0.5), random((3, 2, 2), seed=3)
    _, gradient = mixture_density(parameters, targets, sample_weight=sample_weight)
    slopes, step = np.empty_like(parameters), 1e-6
    for i in np.ndindex(parameters.shape):
        ends = []
        for sign in (1, -1):
            moved = parameters.copy()
            moved[i] += sign * step
            ends.append(mixture_density(moved, targets, sample_weight=sample_weight)[0])
        slopes[i] = (ends[0] - ends[1]) / (2 * step)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-6, atol=1e-8)


@pytest.mark.peer
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_like_torch(dtype, weighted):
    torch = pytest.importorskip("torch")
    distributions = torch.distributions
    parameters, targets = random((8, 5, 6 * 3), dtype), random((8, 5, 2), dtype, seed=1)
    weight = np.random.default_rng(2).uniform(0, 2, (8, 5)).astype(dtype) if weighted else None
    value, gradient = mixture_density(parameters, targets, sample_weight=weight)

    peer = torch.from_numpy(parameters).requires_grad_()
    blocks = peer.reshape(8, 5, 6, 3)
    deviation, rho = torch.exp(blocks[..., 3:5, :]), torch.tanh(blocks[..., 5, :])
    covariance = torch.diag_embed(deviation.transpose(-1, -2) ** 2)
    off_diagonal = (rho * deviation.prod(dim=-2))[..., None, None] * (1 - torch.eye(2, dtype=peer.dtype))
    mixture = distributions.MixtureSameFamily(
        distributions.Categorical(logits=blocks[..., 0, :]),
        distributions.MultivariateNormal(blocks[..., 1:3, :].transpose(-1, -2), covariance + off_diagonal),
    )
    peer_weight = torch.ones(8, 5, dtype=peer.dtype) if weight is None else torch.from_numpy(weight)
    expected = -(mixture.log_prob(torch.from_numpy(targets)) * peer_weight).sum() / peer_weight.sum()
    expected.backward()
    tolerance = {"rtol": 2e-5, "atol": 2e-6} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-13}
    np.testing.assert_allclose(value, expected.item(), **tolerance)
    np.testing.assert_allclose(gradient, peer.grad.numpy(), **tolerance)
    assert gradient.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("r", [-40.0, -20.0, 20.0, 40.0])
def test_correlations_of_almost_one(dtype, r):
    # On the line of the correlation the exponent is x^2 / 2, however narrow the density across it, which is where
    # 1 - rho^2 would be 0.
    x = 0.75
    value, gradient = mixture_density(one_gaussian(r=r, dtype=dtype), np.array([[x, math.copysign(x, r)]], dtype))
    log_cosh = abs(r) - math.log(2)
    assert value == pytest.approx(math.log(2 * math.pi) - log_cosh + x**2 / 2, rel=1e-6)
    np.testing.assert_allclose(gradient[0, 5], -math.copysign(1, r), rtol=1e-6)
    np.testing.assert_allclose(gradient[0, 3:5].sum(), 2 - x**2, rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_points_and_scores_far_away(dtype):
    # The first component is so far away that its exponent overflows; the second one has the point.
    far = 1e25 if dtype == np.float32 else 1e200
    parameters = np.array([[0, 0, far, 0, far, 0, 0, 0, 0, 0, 0, 0]], dtype)
    value, gradient = mixture_density(parameters, np.zeros((1, 2), dtype))
    assert value == pytest.approx(math.log(2 * math.pi) + math.log(2))
    np.testing.assert_allclose(gradient, [[0.5, -0.5, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0]], atol=1e-7)

    scores = np.array([[1e30, -1e30, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]], dtype)
    value, gradient = mixture_density(scores, np.zeros((1, 2), dtype))
    assert value == pytest.approx(math.log(2 * math.pi))
    assert np.isfinite(gradient).all()


def test_narrow_and_wide_deviations():
    for log_deviation in (-60, -20, 20, 60):
        parameters = one_gaussian(log_deviation=(log_deviation, log_deviation), dtype=np.float32)
        value, gradient = mixture_density(parameters, np.zeros((1, 2), np.float32))
        assert value == pytest.approx(math.log(2 * math.pi) + 2 * log_deviation, rel=1e-6)
        np.testing.assert_array_equal(gradient, [[0, 0, 0, 1, 1, 0]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_points_of_weight_zero_are_ignored(dtype):
    parameters, targets = random((4, 3, 12), dtype), random((4, 3, 2), dtype, seed=1)
    lengths = np.array([3, 0, 1, 2])
    mask = np.arange(3) < lengths[:, np.newaxis]
    expected, expected_gradient = mixture_density(parameters[mask], targets[mask])
    parameters[~mask], targets[~mask] = np.nan, np.inf
    value, gradient = mixture_density(parameters, targets, sample_weight=mask.astype(dtype))
    assert value == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(gradient[mask], expected_gradient, rtol=2e-6, atol=1e-12)
    np.testing.assert_array_equal(gradient[~mask], 0)


def test_strided_and_read_only_input():
    parameters, targets = random((4, 3, 12)), random((4, 3, 2), seed=1)
    expected, expected_gradient = mixture_density(parameters, targets)
    parameters.flags.writeable = False
    for other in (parameters, np.asfortranarray(parameters), np.repeat(parameters, 2, axis=2)[..., ::2]):
        value, gradient = mixture_density(other, np.asfortranarray(targets))
        assert value == expected
        np.testing.assert_array_equal(gradient, expected_gradient)


def test_nan_passes_through_without_warnings():
    parameters, targets = random((4, 12)), random((4, 2), seed=1)
    parameters[1, 5] = np.nan
    value, gradient = mixture_density(parameters, targets)
    assert math.isnan(value)
    assert np.isfinite(gradient[[0, 2, 3]]).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"parameters": np.zeros((4, 12), int)}, TypeError, "parameters has dtype int64"),
        ({"parameters": np.zeros((4, 10))}, ValueError, r"parameters has shape \(4, 10\), expected \(..., 6 \* comp"),
        ({"parameters": np.zeros((4, 0))}, ValueError, "parameters has shape"),
        ({"parameters": np.float64(1)}, ValueError, "parameters has shape"),
        ({"parameters": np.zeros((0, 12)), "targets": np.zeros((0, 2))}, ValueError, "mean of nothing"),
        ({"targets": np.zeros((4, 2), np.float32)}, TypeError, "targets has dtype float32, expected float64"),
        ({"targets": np.zeros((4, 3))}, ValueError, "targets has shape"),
        ({"targets": np.zeros((1, 2))}, ValueError, "targets has shape"),
        ({"sample_weight": np.zeros(4)}, ValueError, "sample_weight is 0"),
        ({"sample_weight": np.ones((4, 2))}, ValueError, "sample_weight has shape"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        mixture_density(**({"parameters": np.zeros((4, 12)), "targets": np.zeros((4, 2))} | arguments))


# Points drawn


@pytest.mark.parametrize("dtype", DTYPES)
def test_points_have_the_moments_of_the_mixture(dtype):
    parameters = np.array([0.0, 1.0, -2, 3, 1, -1, -0.5, 0.3, 0.2, -1, 0.8, -1.2], dtype)
    points = sample(np.broadcast_to(parameters, (400, 500, 12)), seed=0)
    assert points.shape == (400, 500, 2)
    assert points.dtype == dtype
    scores, *means, log_x, log_y, before_tanh = parameters.astype(float).reshape(6, 2)
    weights = np.exp(scores) / np.exp(scores).sum()
    mean, second = np.zeros(2), np.zeros((2, 2))
    for j, weight in enumerate(weights):
        at, s1, s2 = np.array(means)[:, j], math.exp(log_x[j]), math.exp(log_y[j])
        both = math.tanh(before_tanh[j]) * s1 * s2
        mean += weight * at
        second += weight * (np.outer(at, at) + np.array([[s1**2, both], [both, s2**2]]))
    flat = points.reshape(-1, 2).astype(float)
    np.testing.assert_allclose(flat.mean(axis=0), mean, atol=0.03)
    np.testing.assert_allclose(np.cov(flat.T), second - np.outer(mean, mean), atol=0.06)


def test_bias_lowers_deviations_and_sharpens_the_weights():
    parameters = np.broadcast_to(np.array([1.0, 0, -5, 5, 0, 0, 0, 0, 0, 0, 0, 0]), (20_000, 12))
    shares, deviations = [], []
    for bias in (0.0, 1.0, 3.0):
        points = sample(parameters, bias=bias, seed=1)
        left = points[:, 0] < 0
        shares.append(left.mean())
        deviations.append(points[left, 1].std())
    np.testing.assert_allclose(shares, [1 / (1 + math.exp(-(1 + bias))) for bias in (0, 1, 3)], atol=0.015)
    np.testing.assert_allclose(deviations, np.exp([0.0, -1, -3]), rtol=0.03)
    np.testing.assert_allclose(sample(parameters, bias=50.0, seed=2), [[-5, 0]] * len(parameters), atol=1e-12)


def test_same_seed_same_points():
    parameters = random((5, 4, 18), np.float32)
    first = sample(parameters, seed=3)
    np.testing.assert_array_equal(first, sample(np.asfortranarray(parameters), seed=3))
    assert (first != sample(parameters, seed=4)).all()
    assert sample(np.zeros((0, 6))).shape == (0, 2)
    assert sample(np.zeros(6)).shape == (2,)


def test_sample_bad_arguments():
    with pytest.raises(ValueError, match="parameters has shape"):
        sample(np.zeros((4, 7)))
    with pytest.raises(TypeError, match="parameters has dtype int64"):
        sample(np.zeros((4, 6), int))
    with pytest.raises(ValueError, match="bias is -1"):
        sample(np.zeros((4, 6)), bias=-1)
