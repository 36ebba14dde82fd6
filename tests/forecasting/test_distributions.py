"""Outputs of the forecaster's network: losses against SciPy, PyTorch and finite differences; draws; the network."""

import numpy as np
import pytest
from scipy import stats

from clstm.forecasting.distributions import MIN_DF, MIN_SCALE, Normal, Quantiles, StudentT, check_levels
from clstm.forecasting.network import ForecastNetwork

OUTPUTS = [Normal(), StudentT(), Quantiles([0.1, 0.5, 0.8])]


def softplus(raw):
    return np.log1p(np.exp(raw))


def case(output, shape=(4, 3), seed=0):
    generator = np.random.default_rng(seed)
    raw = generator.standard_normal((*shape, output.size))
    weight = (generator.random(shape) < 0.7).astype(float)
    return raw, 2 * generator.standard_normal(shape), weight


def as_distribution(output, raw):
    """Return SciPy's distribution of raw numbers."""
    if isinstance(output, Normal):
        return stats.norm(raw[..., 0], softplus(raw[..., 1]) + MIN_SCALE)
    return stats.t(MIN_DF + softplus(raw[..., 0]), raw[..., 1], softplus(raw[..., 2]) + MIN_SCALE)


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: type(output).__name__)
def test_gradients_are_those_of_finite_differences(output):
    raw, target, weight = case(output)
    _, gradient = output.loss(raw, target, weight)
    step = 1e-6
    for index in np.ndindex(raw.shape):
        ends = []
        for sign in (1, -1):
            moved = raw.copy()
            moved[index] += sign * step
            ends.append(output.loss(moved, target, weight)[0])
        assert gradient[index] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-8)


@pytest.mark.parametrize("output", OUTPUTS[:2], ids=["normal", "student"])
def test_losses_are_minus_the_log_density(output):
    raw, target, weight = case(output)
    expected = -(as_distribution(output, raw).logpdf(target) * weight).sum() / weight.sum()
    assert output.loss(raw, target, weight)[0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.peer
@pytest.mark.parametrize("output", OUTPUTS[:2], ids=["normal", "student"])
def test_losses_and_gradients_are_those_of_pytorch(output):
    torch = pytest.importorskip("torch")
    raw, target, weight = case(output)
    tensor = torch.tensor(raw, requires_grad=True)
    positive = torch.nn.functional.softplus
    if isinstance(output, Normal):
        distribution = torch.distributions.Normal(tensor[..., 0], positive(tensor[..., 1]) + MIN_SCALE)
    else:
        distribution = torch.distributions.StudentT(
            MIN_DF + positive(tensor[..., 0]), tensor[..., 1], positive(tensor[..., 2]) + MIN_SCALE
        )
    mask = torch.tensor(weight)
    loss = -(distribution.log_prob(torch.tensor(target)) * mask).sum() / mask.sum()
    loss.backward()
    value, gradient = output.loss(raw, target, weight)
    assert value == pytest.approx(loss.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, tensor.grad.numpy(), atol=1e-12)


@pytest.mark.smoke
def test_the_pinball_loss():
    value, gradient = Quantiles([0.1, 0.9]).loss(np.array([[1.0, 2.0]]), np.array([3.0]), np.ones(1))
    assert value == pytest.approx((0.1 * 2 + 0.9 * 1) / 2)
    np.testing.assert_allclose(gradient, [[-0.05, -0.45]])


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: type(output).__name__)
def test_values_without_weight_have_no_influence(output):
    raw, target, weight = case(output)
    expected = output.loss(raw, target, weight)
    raw[weight == 0], target[weight == 0] = np.nan, np.nan
    value, gradient = output.loss(raw, target, weight)
    assert value == expected[0]
    np.testing.assert_array_equal(gradient, expected[1])


@pytest.mark.parametrize("output", OUTPUTS[:2], ids=["normal", "student"])
def test_draws_are_the_inverse_of_the_cumulative_distribution(output):
    raw, _, _ = case(output)
    raw[..., : output.shared] = raw[0, :, : output.shared]
    uniform = np.random.default_rng(1).random((4, 3))
    drawn = output.draw(raw, output.noise(uniform, raw[0, :, : output.shared]))
    np.testing.assert_allclose(as_distribution(output, raw).cdf(drawn), uniform, rtol=1e-9)
    np.testing.assert_array_equal(output.point(raw), as_distribution(output, raw).median())


def test_draws_between_the_quantiles_and_beyond_them():
    levels = [0.1, 0.5, 0.9]
    output = Quantiles(levels)
    raw = np.array([[5.0, 1.0, 3.0]])  # crossed
    for level, value in zip(levels, [1.0, 3.0, 5.0], strict=True):
        assert output.draw(raw, output.noise(np.array([level]), raw))[0] == pytest.approx(value)
    # Evenly spaced, these three are those of a normal distribution
    normal = stats.norm(3, 2 / stats.norm.ppf(0.9))
    uniform = np.array([0.001, 0.3, 0.77, 0.999])
    np.testing.assert_allclose(output.draw(np.repeat(raw, 4, 0), output.noise(uniform, raw)), normal.ppf(uniform))
    np.testing.assert_allclose(output.point(raw), 3)


@pytest.mark.parametrize("value", [[], [0.5, 0.5], [0.0, 0.5], [0.5, 1.0], [0.9, 0.1]])
def test_levels_rise_between_0_and_1(value):
    with pytest.raises(ValueError, match=r"q is .*, expected rising numbers between 0 and 1"):
        check_levels("q", value)


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: type(output).__name__)
def test_the_networks_gradients_are_those_of_finite_differences(output):
    generator = np.random.default_rng(0)
    network = ForecastNetwork(4, 3, 2, 2, output, dtype=np.float64, seed=generator)
    x, target = generator.standard_normal((5, 3, 4)), generator.standard_normal((5, 3, 2))
    state = tuple(generator.standard_normal((2, 3, 3)) for _ in "hc")
    lengths = [5, 2, 4]
    weight = np.repeat((np.arange(5)[:, np.newaxis] < lengths).astype(float)[..., np.newaxis], 2, axis=2)
    raw, context = network.forward_train(x, state, lengths)
    grads = network.backward(context, output.loss(raw, target, weight)[1])
    assert grads.keys() == network.parameters().keys()
    for name, grad in grads.items():
        for index in [tuple(generator.integers(size) for size in grad.shape) for _ in range(4)]:
            losses = []
            for step in (1e-6, -2e-6):
                with network.updating() as weights:
                    weights[name][index] += step
                losses.append(output.loss(network(x, state, lengths)[0], target, weight)[0])
            with network.updating() as weights:
                weights[name][index] += 1e-6
            assert grad[index] == pytest.approx((losses[0] - losses[1]) / 2e-6, abs=1e-8)
