"""The losses against finite differences, PyTorch and their formulas, at the ends of their ranges too."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clstm.losses import binary_cross_entropy_with_logits, cross_entropy, huber, mse, quantile

DTYPES = (np.float32, np.float64)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=5)


def random(shape, dtype=np.float64, seed=0, scale=2.0):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape) * scale, dtype)


def weights_of(shape, dtype=np.float64, seed=9):
    """Random weights, some of them zero."""
    generator = np.random.default_rng(seed)
    weight = generator.uniform(0.1, 2, shape) * (generator.random(shape) < 0.8)
    weight.flat[0] = 1
    return weight.astype(dtype)


def check_gradient(loss, at):
    """Compare the gradient of `loss` with finite differences along random directions."""
    value, gradient = loss(at)
    assert type(value) is float
    assert gradient.shape == at.shape
    assert gradient.dtype == at.dtype
    assert not np.shares_memory(gradient, at)
    for seed in range(3):
        direction = random(at.shape, seed=100 + seed, scale=1.0)
        step = 1e-6
        slope = (loss(at + step * direction)[0] - loss(at - step * direction)[0]) / (2 * step)
        np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-6, atol=1e-9)


def softmax_loss(logits, targets):
    """-log softmax by the book, for logits of moderate size."""
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    return -np.log(np.take_along_axis(p, targets[..., np.newaxis], axis=-1)[..., 0])


# Cross-entropy


@pytest.mark.smoke
@given(SHAPES, st.integers(1, 6), st.integers(0, 1000))
def test_cross_entropy_is_minus_log_softmax(shape, classes, seed):
    logits = random((*shape, classes), seed=seed)
    targets = np.random.default_rng(seed).integers(0, classes, shape)
    value, gradient = cross_entropy(logits, targets)
    assert value == pytest.approx(softmax_loss(logits, targets).mean(), rel=1e-12, abs=1e-12)
    assert gradient.shape == logits.shape
    np.testing.assert_allclose(gradient.sum(axis=-1), 0, atol=1e-15)


CROSS_ENTROPY_OPTIONS = [
    {},
    {"weights": weights_of(5)},
    {"sample_weight": weights_of((4, 3))},
    {"sample_weight": weights_of(4), "weights": weights_of(5), "ignore_index": 1},
    {"label_smoothing": 0.1},
    {"label_smoothing": 1.0},
    {"ignore_index": 2, "label_smoothing": 0.3},
    {"sample_weight": weights_of((4, 3)), "weights": weights_of(5), "label_smoothing": 0.2, "ignore_index": 0},
]


@pytest.mark.parametrize("options", CROSS_ENTROPY_OPTIONS)
def test_cross_entropy_gradient_against_finite_differences(options):
    targets = np.random.default_rng(3).integers(0, 5, (4, 3))
    check_gradient(lambda logits: cross_entropy(logits, targets, **options), random((4, 3, 5)))


@pytest.mark.peer
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("ignore_index", [None, 2, -100])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_like_torch(dtype, smoothing, ignore_index, weighted):
    torch = pytest.importorskip("torch")
    logits = random((6, 4, 5), dtype, scale=4.0)
    targets = np.random.default_rng(3).integers(0, 5, (6, 4))
    if ignore_index == -100:
        targets[::2, 0] = -100
    weights = weights_of(5, dtype) if weighted else None
    value, gradient = cross_entropy(
        logits, targets, weights=weights, label_smoothing=smoothing, ignore_index=ignore_index
    )
    peer = torch.from_numpy(logits).requires_grad_()
    expected = torch.nn.functional.cross_entropy(
        peer.reshape(-1, 5),
        torch.from_numpy(targets).reshape(-1),
        weight=None if weights is None else torch.from_numpy(weights),
        label_smoothing=smoothing,
        ignore_index=-100 if ignore_index is None else ignore_index,
    )
    expected.backward()
    tolerance = {"rtol": 2e-6, "atol": 1e-7} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-15}
    np.testing.assert_allclose(value, expected.item(), **tolerance)
    np.testing.assert_allclose(gradient, peer.grad.numpy(), **tolerance)
    assert gradient.dtype == dtype


def test_cross_entropy_sample_weight_equals_repetition():
    logits, targets = random((4, 3)), np.array([0, 2, 1, 1])
    repeats = np.array([1, 3, 0, 2])
    weights = weights_of(3)
    value, gradient = cross_entropy(logits, targets, weights=weights, sample_weight=repeats.astype(float))
    expected, by_row = cross_entropy(logits.repeat(repeats, axis=0), targets.repeat(repeats), weights=weights)
    assert value == pytest.approx(expected, rel=1e-14)
    summed = np.zeros_like(gradient)
    np.add.at(summed, np.arange(4).repeat(repeats), by_row)
    np.testing.assert_allclose(gradient, summed, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_ignores_rows_of_weight_zero(smoothing):
    logits, targets = random((4, 3), np.float32), np.array([0, 2, 1, 1])
    counts = np.array([True, False, True, False])
    expected, expected_gradient = cross_entropy(logits[counts], targets[counts], label_smoothing=smoothing)
    logits[1], logits[3] = np.nan, np.inf
    targets[~counts] = 77
    options = {"label_smoothing": smoothing}
    for value, gradient in (
        cross_entropy(logits, targets, ignore_index=77, **options),
        cross_entropy(logits, np.where(counts, targets, 0), sample_weight=counts.astype(np.float32), **options),
    ):
        assert value == expected
        np.testing.assert_array_equal(gradient[counts], expected_gradient)
        np.testing.assert_array_equal(gradient[~counts], 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_of_large_logits(dtype):
    large = 1e30 if dtype == np.float32 else 1e300
    logits = np.array([[large, 0, -large], [-large, -large, -large], [0, 1e4, 0]], dtype)
    value, gradient = cross_entropy(logits, np.array([0, 1, 1]))
    assert value == pytest.approx(math.log(3) / 3, rel=1e-6)
    np.testing.assert_allclose(gradient, np.array([[0, 0, 0], [1, -2, 1], [0, 0, 0]]) / 9, rtol=1e-6, atol=1e-8)
    assert cross_entropy(np.array([[0, 1e4]], dtype), [0])[0] == 1e4


def test_cross_entropy_of_small_losses_is_accurate_in_float32():
    value, _ = cross_entropy(np.array([[20.0, 0.0]], np.float32), [0])
    assert value == pytest.approx(math.log1p(math.exp(-20)), rel=1e-6)


def test_cross_entropy_with_infinite_and_nan_logits():
    value, gradient = cross_entropy(np.array([[0.0, -np.inf, 0.0]]), [2])  # a class that is ruled out
    assert value == pytest.approx(math.log(2))
    np.testing.assert_allclose(gradient, [[0.5, 0, -0.5]])
    for bad in (np.nan, np.inf):
        value, gradient = cross_entropy(np.array([[0.0, bad], [0.0, 1.0]]), [0, 1])
        assert math.isnan(value)
        assert np.isnan(gradient[0]).all()
        assert np.isfinite(gradient[1]).all()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64, ">i4"])
def test_cross_entropy_takes_every_integer_dtype(dtype):
    logits, targets = random((4, 3)), np.array([0, 2, 1, 1])
    for options in ({}, {"ignore_index": -100}, {"ignore_index": 1}):
        expected, expected_gradient = cross_entropy(logits, targets, **options)
        value, gradient = cross_entropy(logits, targets.astype(dtype), **options)
        assert value == expected
        np.testing.assert_array_equal(gradient, expected_gradient)


LOGITS = np.zeros((4, 3), np.float32)
TARGETS = np.zeros(4, np.int64)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"logits": np.zeros((4, 3), np.int64)}, TypeError, "logits has dtype int64"),
        ({"logits": np.float32(1)}, ValueError, r"logits has shape \(\)"),
        ({"logits": np.zeros((0, 3))}, ValueError, r"logits has shape \(0, 3\)"),
        ({"logits": np.zeros((4, 0))}, ValueError, r"logits has shape \(4, 0\)"),
        ({"targets": np.zeros(3, int)}, ValueError, r"targets has shape \(3,\), expected \(4,\)"),
        ({"targets": np.zeros((4, 1), int)}, ValueError, "targets has shape"),
        ({"targets": [0, 1, 2, 3]}, ValueError, "targets holds the id 3, expected 0 to 2"),
        ({"targets": [0, 1, -1, 2]}, ValueError, "targets holds the id -1"),
        ({"targets": np.zeros(4)}, TypeError, "targets has dtype float64"),
        ({"targets": np.zeros(4), "ignore_index": 0}, TypeError, "targets has dtype float64"),
        ({"targets": [0, 1, -100, 3], "ignore_index": -100}, ValueError, "the id 3"),
        ({"ignore_index": 0}, ValueError, "no target counts"),
        ({"ignore_index": 0.5}, TypeError, "ignore_index"),
        ({"weights": np.ones(3)}, TypeError, "weights has dtype float64, expected float32"),
        ({"weights": np.ones(4, np.float32)}, ValueError, "weights has shape"),
        ({"weights": np.array([1, -1, 1], np.float32)}, ValueError, "weights holds"),
        ({"weights": np.array([1, np.nan, 1], np.float32)}, ValueError, "weights holds"),
        ({"weights": np.array([0, 1, 1], np.float32)}, ValueError, "no target counts"),
        ({"sample_weight": np.zeros(4, np.float32)}, ValueError, "no target counts"),
        ({"sample_weight": np.ones(3, np.float32)}, ValueError, "sample_weight has shape"),
        ({"sample_weight": np.float32(1)}, ValueError, "sample_weight has shape"),
        ({"sample_weight": np.ones(4)}, TypeError, "sample_weight has dtype"),
        ({"label_smoothing": 1.5}, ValueError, "label_smoothing"),
    ],
)
def test_cross_entropy_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        cross_entropy(**({"logits": LOGITS, "targets": TARGETS} | arguments))


# Binary cross-entropy


def chances(shape, dtype=np.float64):
    return np.asarray(np.random.default_rng(5).random(shape), dtype)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pos_weight": 3.0},
        {"pos_weight": np.array([0.5, 2.0, 0.0])},
        {"sample_weight": weights_of((4, 3)), "pos_weight": 0.5},
        {"sample_weight": weights_of(4)},
    ],
)
def test_binary_cross_entropy_gradient_against_finite_differences(options):
    targets = chances((4, 3))
    check_gradient(lambda logits: binary_cross_entropy_with_logits(logits, targets, **options), random((4, 3)))


@given(SHAPES, st.integers(0, 1000))
def test_binary_cross_entropy_is_that_of_two_classes(shape, seed):
    logits = random(shape, seed=seed)
    targets = np.random.default_rng(seed).integers(0, 2, shape)
    expected, gradient = cross_entropy(np.stack([np.zeros(shape), logits], axis=-1), targets)
    value, own = binary_cross_entropy_with_logits(logits, np.asarray(targets, float))
    assert value == pytest.approx(expected, rel=1e-12, abs=1e-14)
    np.testing.assert_allclose(own, gradient[..., 1], rtol=1e-9, atol=1e-15)
    assert own.shape == shape


@pytest.mark.peer
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pos_weight", [None, 2.5, "by class"])
def test_binary_cross_entropy_like_torch(dtype, pos_weight):
    torch = pytest.importorskip("torch")
    logits, targets = random((6, 4, 5), dtype, scale=4.0), chances((6, 4, 5), dtype)
    if pos_weight == "by class":
        pos_weight = weights_of(5, dtype)
    value, gradient = binary_cross_entropy_with_logits(logits, targets, pos_weight=pos_weight)
    peer = torch.from_numpy(logits).requires_grad_()
    expected = torch.nn.functional.binary_cross_entropy_with_logits(
        peer,
        torch.from_numpy(targets),
        pos_weight=None if pos_weight is None else torch.as_tensor(pos_weight, dtype=peer.dtype),
    )
    expected.backward()
    tolerance = {"rtol": 2e-6, "atol": 1e-7} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-15}
    np.testing.assert_allclose(value, expected.item(), **tolerance)
    np.testing.assert_allclose(gradient, peer.grad.numpy(), **tolerance)
    assert gradient.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_binary_cross_entropy_of_large_and_small_logits(dtype):
    logits = np.array([-1e30, 1e30, 1e4, -1e4, -20, 20, 0], dtype)
    targets = np.array([0, 1, 0, 1, 0, 1, 0], dtype)
    tiny = math.log1p(math.exp(-20))
    for i, expected in enumerate([0, 0, 1e4, 1e4, tiny, tiny, math.log(2)]):
        value, gradient = binary_cross_entropy_with_logits(logits[i : i + 1], targets[i : i + 1])
        assert value == pytest.approx(expected, rel=1e-6)
        slope = -math.expm1(-expected) * (1 if targets[i] == 0 else -1)
        np.testing.assert_allclose(gradient, [slope], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"targets": np.zeros(4)}, TypeError, "targets has dtype float64, expected float32"),
        ({"targets": np.zeros(4, np.int64)}, TypeError, "targets has dtype int64"),
        ({"targets": np.zeros(3, np.float32)}, ValueError, "targets has shape"),
        ({"targets": np.full(4, 1.5, np.float32)}, ValueError, "targets holds values of 1.5 to 1.5"),
        ({"targets": np.full(4, np.nan, np.float32)}, ValueError, "targets holds"),
        ({"logits": np.zeros(0, np.float32), "targets": np.zeros(0, np.float32)}, ValueError, "mean of nothing"),
        ({"pos_weight": -1.0}, ValueError, "pos_weight"),
        ({"pos_weight": "1"}, TypeError, "pos_weight"),
        ({"pos_weight": np.ones(3, np.float32)}, ValueError, "pos_weight has shape"),
        ({"pos_weight": np.ones(4)}, TypeError, "pos_weight has dtype"),
        ({"pos_weight": -np.ones(4, np.float32)}, ValueError, "pos_weight holds"),
        ({"sample_weight": np.zeros(4, np.float32)}, ValueError, "sample_weight is 0"),
    ],
)
def test_binary_cross_entropy_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        binary_cross_entropy_with_logits(
            **({"logits": np.zeros(4, np.float32), "targets": np.zeros(4, np.float32)} | arguments)
        )


# Mean squared error and Huber's loss


@given(SHAPES, st.integers(0, 1000))
def test_mse_by_its_formula(shape, seed):
    prediction, target = random(shape, seed=seed), random(shape, seed=seed + 1)
    value, gradient = mse(prediction, target)
    assert value == pytest.approx(((prediction - target) ** 2).mean(), rel=1e-13)
    np.testing.assert_allclose(gradient, 2 * (prediction - target) / prediction.size, rtol=1e-14)
    assert isinstance(gradient, np.ndarray)


@given(SHAPES, st.floats(0.01, 10), st.integers(0, 1000))
def test_huber_by_its_formula(shape, delta, seed):
    prediction, target = random(shape, seed=seed), random(shape, seed=seed + 1)
    value, gradient = huber(prediction, target, delta=delta)
    d = np.abs(prediction - target)
    assert value == pytest.approx(np.where(d <= delta, d**2 / 2, delta * (d - delta / 2)).mean(), rel=1e-12)
    assert gradient.shape == shape


@given(SHAPES, st.floats(0.01, 0.99), st.integers(0, 1000))
def test_quantile_by_its_formula(shape, q, seed):
    prediction, target = random(shape, seed=seed), random(shape, seed=seed + 1)
    value, gradient = quantile(prediction, target, q=q)
    d = target - prediction
    assert value == pytest.approx(np.where(d > 0, q * d, (q - 1) * d).mean(), rel=1e-12)
    np.testing.assert_allclose(gradient, np.where(d > 0, -q, 1 - q) / d.size, rtol=1e-12)


def test_quantile_loss_is_smallest_at_the_quantiles():
    target = np.repeat(random(999)[:, np.newaxis], 3, axis=1)
    q = np.array([0.1, 0.5, 0.9])
    for shift in (-0.1, 0.1):
        least = np.quantile(target, q, axis=0)[:, 0]
        values = [quantile(np.broadcast_to(at, target.shape), target, q=q)[0] for at in (least, least + shift)]
        assert values[0] < values[1]
    assert not quantile(target, target, q=q)[1].any()


@pytest.mark.parametrize(
    ("q", "message"),
    [(0, "q holds values of 0.0"), (1.0, "expected above 0 and below 1"), ([0.5, 0.5], r"q has shape \(2,\)")],
)
def test_quantile_bad_q(q, message):
    with pytest.raises(ValueError, match=message):
        quantile(np.zeros((2, 3)), np.zeros((2, 3)), q=q)


@pytest.mark.parametrize("sample_weight", [None, weights_of(4), weights_of((4, 3)), weights_of((4, 3, 2))])
@pytest.mark.parametrize(
    "loss",
    [
        mse,
        huber,
        lambda p, t, **k: huber(p, t, delta=0.3, **k),
        lambda p, t, **k: quantile(p, t, q=np.array([0.2, 0.7]), **k),
    ],
)
def test_regression_gradients_against_finite_differences(loss, sample_weight):
    target = random((4, 3, 2), seed=1)
    check_gradient(lambda prediction: loss(prediction, target, sample_weight=sample_weight), random((4, 3, 2)))


@pytest.mark.peer
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["mse", "huber", "huber 0.3"])
def test_regression_like_torch(dtype, weighted, name):
    torch = pytest.importorskip("torch")
    prediction, target = random((6, 4, 5), dtype), random((6, 4, 5), dtype, seed=1)
    weight = weights_of((6, 4), dtype) if weighted else None
    peer, peer_target = torch.from_numpy(prediction).requires_grad_(), torch.from_numpy(target)
    if name == "mse":
        value, gradient = mse(prediction, target, sample_weight=weight)
        losses = torch.nn.functional.mse_loss(peer, peer_target, reduction="none")
    else:
        delta = 0.3 if "0.3" in name else 1.0
        value, gradient = huber(prediction, target, delta=delta, sample_weight=weight)
        losses = torch.nn.functional.huber_loss(peer, peer_target, reduction="none", delta=delta)
    peer_weight = torch.ones_like(peer) if weight is None else torch.from_numpy(weight)[..., None].expand(6, 4, 5)
    expected = (losses * peer_weight).sum() / peer_weight.sum()
    expected.backward()
    tolerance = {"rtol": 2e-6, "atol": 1e-8} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-16}
    np.testing.assert_allclose(value, expected.item(), **tolerance)
    np.testing.assert_allclose(gradient, peer.grad.numpy(), **tolerance)
    assert gradient.dtype == dtype


@pytest.mark.parametrize("loss", [mse, huber, quantile, binary_cross_entropy_with_logits])
def test_elements_of_weight_zero_are_ignored(loss):
    prediction, target = random((4, 3), np.float32), chances((4, 3), np.float32)
    counts = np.array([True, False, True, True])
    expected, expected_gradient = loss(prediction[counts], target[counts])
    prediction[1] = [np.nan, np.inf, -np.inf]
    value, gradient = loss(prediction, target, sample_weight=counts.astype(np.float32))
    assert value == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(gradient[counts], expected_gradient, rtol=1e-6)
    np.testing.assert_array_equal(gradient[1], 0)


@pytest.mark.parametrize("loss", [mse, huber])
def test_values_are_summed_in_float64(loss):
    prediction = np.full(1 << 22, 0.1, np.float32)
    value, _ = loss(prediction, np.zeros_like(prediction))
    assert value == pytest.approx(float(np.float32(0.1)) ** 2 * (1 if loss is mse else 0.5), rel=1e-7)


@pytest.mark.parametrize("loss", [mse, huber, quantile])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"prediction": [1, 2]}, TypeError, "prediction has dtype int64"),
        ({"target": np.zeros(4, np.float32)}, TypeError, "target has dtype float32, expected float64"),
        ({"target": np.zeros(1)}, ValueError, "target has shape"),
        ({"target": np.zeros((4, 1))}, ValueError, "target has shape"),
        ({"prediction": np.zeros((0, 2)), "target": np.zeros((0, 2))}, ValueError, "mean of nothing"),
        ({"sample_weight": np.zeros(4)}, ValueError, "sample_weight is 0"),
        ({"sample_weight": -np.ones(4)}, ValueError, "sample_weight holds"),
        ({"sample_weight": np.full(4, np.inf)}, ValueError, "sample_weight holds"),
        ({"sample_weight": np.ones(5)}, ValueError, "sample_weight has shape"),
    ],
)
def test_regression_bad_arguments(loss, arguments, error, message):
    with pytest.raises(error, match=message):
        loss(**({"prediction": np.zeros(4), "target": np.zeros(4)} | arguments))


@pytest.mark.parametrize("delta", [0.0, -1.0, math.inf, "1"])
def test_huber_bad_delta(delta):
    with pytest.raises((ValueError, TypeError), match="delta"):
        huber(np.zeros(4), np.zeros(4), delta=delta)


# All


def all_losses(dtype):
    prediction, target = random((4, 3), dtype), chances((4, 3), dtype)
    return [
        (cross_entropy, prediction, np.array([0, 2, 1, 1])),
        (binary_cross_entropy_with_logits, prediction, target),
        (mse, prediction, target),
        (huber, prediction, target),
    ]


@pytest.mark.parametrize("dtype", DTYPES)
def test_strided_and_read_only_input(dtype):
    for loss, prediction, target in all_losses(dtype):
        before = prediction.copy()
        expected, expected_gradient = loss(prediction, target)
        np.testing.assert_array_equal(prediction, before)
        read_only = prediction.copy()
        read_only.flags.writeable = False
        for other in (np.asfortranarray(prediction), np.repeat(prediction, 2, axis=1)[:, ::2], read_only):
            value, gradient = loss(other, target)
            assert value == expected
            np.testing.assert_array_equal(gradient, expected_gradient)


def test_infinity_passes_through_without_warnings():
    for loss, prediction, target in all_losses(np.float32):
        prediction[1, 1] = np.nan
        value, gradient = loss(prediction, target)
        assert math.isnan(value)
        assert np.isnan(gradient[1, 1])
        assert np.isfinite(gradient[[0, 2, 3]]).all()
        prediction[1, 1] = np.inf
        assert not math.isfinite(loss(prediction, target)[0])
