"""Optimisers, clipping and the moving average against PyTorch and their formulas, resumed, in threads, misused."""

from __future__ import annotations

import math
import os
import signal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clstm._core import _optim, threads
from clstm._core.vector import runtime as _runtime
from clstm.layers import Dropout, Embedding, Linear
from clstm.layers.base import Layer
from clstm.optim import (
    SGD,
    Adam,
    AdamW,
    ExponentialMovingAverage,
    RMSprop,
    clip_grad_norm,
    clip_grad_value,
)
from clstm.optim.base import MIN_PARALLEL_SIZE

DTYPES = (np.float32, np.float64)
CASES = [
    (SGD, {"lr": 0.1}),
    (SGD, {}),
    (SGD, {"lr": 0.1, "weight_decay": 0.01}),
    (SGD, {"lr": 0.05, "momentum": 0.9}),
    (SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    (Adam, {}),
    (Adam, {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.1}),
    (AdamW, {}),
    (AdamW, {"lr": 0.01, "betas": (0.8, 0.99), "eps": 1e-6, "weight_decay": 0.1}),
    (RMSprop, {}),
    (RMSprop, {"lr": 0.005, "alpha": 0.9, "eps": 1e-6, "weight_decay": 0.01}),
    (RMSprop, {"lr": 0.005, "momentum": 0.9}),
]


class Network(Layer):
    """Two parts, so that names have dots."""

    def __init__(self, dtype=np.float32, seed=0):
        super().__init__()
        generator = np.random.default_rng(seed)
        self._add_part("embedding", Embedding(9, 7, dtype=dtype, seed=generator))
        self._add_part("fc", Linear(7, 5, dtype=dtype, seed=generator))


def random_grads(layer, step, scale=1.0):
    generator = np.random.default_rng(1000 + step)
    return {
        name: (scale * generator.standard_normal(weight.shape)).astype(weight.dtype)
        for name, weight in layer.parameters().items()
    }


def assert_same_bits(first, second):
    assert list(first) == list(second)
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


# Against PyTorch


@pytest.mark.peer
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("optimizer_class", "options"), CASES)
def test_twenty_steps_like_torch(optimizer_class, options, dtype):
    torch = pytest.importorskip("torch")
    network = Network(dtype)
    peers = {name: torch.from_numpy(value).requires_grad_() for name, value in network.state_dict().items()}
    optimizer = optimizer_class(network, **options)
    peer_optimizer = getattr(torch.optim, optimizer_class.__name__)(peers.values(), **options)
    for step in range(20):
        grads = random_grads(network, step)
        if step == 7:
            optimizer.lr *= 0.5
            peer_optimizer.param_groups[0]["lr"] *= 0.5
        for name, grad in grads.items():
            peers[name].grad = torch.from_numpy(grad.copy())
        optimizer.step(grads)
        peer_optimizer.step()
    tolerance = {"rtol": 2e-6, "atol": 2e-7} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-14}
    moved = Network(dtype).state_dict()
    for name, value in network.state_dict().items():
        assert value.dtype == dtype
        np.testing.assert_allclose(value, peers[name].detach().numpy(), **tolerance)
        assert (value != moved[name]).all()


@pytest.mark.peer
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("limit", [1e-3, 1.0, 5.0, 1e6])
def test_clipping_like_torch(limit, dtype):
    torch = pytest.importorskip("torch")
    network = Network(dtype)
    for clip, peer_clip in (
        (clip_grad_norm, torch.nn.utils.clip_grad_norm_),
        (clip_grad_value, torch.nn.utils.clip_grad_value_),
    ):
        grads = random_grads(network, 0)
        peers = [torch.zeros(grad.shape, dtype=getattr(torch, grad.dtype.name)) for grad in grads.values()]
        for peer, grad in zip(peers, grads.values(), strict=True):
            peer.grad = torch.from_numpy(grad.copy())
        norm = clip(grads, limit)
        expected = peer_clip(peers, limit)
        rtol = 1e-6 if dtype == np.float32 else 1e-14
        if expected is not None:
            assert norm == pytest.approx(expected.item(), rel=rtol)
        for peer, grad in zip(peers, grads.values(), strict=True):
            np.testing.assert_allclose(grad, peer.grad.numpy(), rtol=rtol)


# Steps


@pytest.mark.smoke
def test_first_steps_by_hand():
    linear = Linear(1, 1, bias=False, dtype=np.float64)
    for optimizer_class, options, expected in (
        (SGD, {"lr": 0.5}, [-1.0, -2.0]),
        (SGD, {"lr": 0.5, "momentum": 0.5}, [-1.0, -2.5]),
        (SGD, {"lr": 0.5, "momentum": 0.5, "nesterov": True}, [-1.5, -3.25]),
        (Adam, {"lr": 0.5, "eps": 0.0}, [-0.5, -1.0]),
        (RMSprop, {"lr": 0.5, "alpha": 0.0, "eps": 0.0}, [-0.5, -1.0]),
    ):
        linear.load_state_dict({"weight": np.zeros((1, 1))})
        optimizer = optimizer_class(linear, **options)
        for value in expected:
            optimizer.step({"weight": np.full((1, 1), 2.0)})
            assert linear.state_dict()["weight"].item() == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize(("optimizer_class", "options"), CASES)
def test_steps_lower_a_loss(optimizer_class, options):
    linear = Linear(6, 4, dtype=np.float64, seed=0)
    optimizer = optimizer_class(linear, **(options | {"lr": 0.01}))
    target = Linear(6, 4, dtype=np.float64, seed=1).state_dict()

    def grads():
        return {name: value - target[name] for name, value in linear.state_dict().items()}

    before = clip_grad_norm(grads(), 1.0)
    for _ in range(100):
        optimizer.step(grads())
    assert clip_grad_norm(grads(), 1.0) < 0.9 * before


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradients_are_not_changed_and_may_have_any_layout(dtype):
    for optimizer_class, options in CASES:
        expected, other = Network(dtype), Network(dtype)
        optimizer, other_optimizer = (optimizer_class(network, **options) for network in (expected, other))
        grads = random_grads(expected, 0)
        kept = {name: grad.copy() for name, grad in grads.items()}
        strided = {name: np.repeat(grad, 2, axis=-1)[..., ::2] for name, grad in grads.items()}
        buffer = np.empty(grads["fc.weight"].nbytes + 1, np.uint8)
        strided["fc.weight"] = buffer[1:].view(dtype).reshape(5, 7)
        strided["fc.weight"][...] = grads["fc.weight"]
        strided["embedding.weight"] = np.asfortranarray(grads["embedding.weight"])
        for grad in (*grads.values(), *strided.values()):
            grad.flags.writeable = False
        optimizer.step(grads)
        other_optimizer.step(strided)
        assert_same_bits(grads, kept)
        assert_same_bits(expected.state_dict(), other.state_dict())


def test_a_step_updates_what_the_layer_derives_from_its_weights():
    class Derived(Linear):
        def _weights_changed(self):
            self.total = self._weights["weight"].sum()

    layer = Derived(3, 4, seed=0)
    SGD(layer, lr=0.1).step(random_grads(layer, 0))
    assert layer.total == layer.state_dict()["weight"].sum()


def test_a_layer_without_weights_has_nothing_to_do():
    dropout = Dropout(0.5)
    for optimizer_class, _ in CASES:
        optimizer_class(dropout).step({})
    assert clip_grad_norm({}, 1.0) == 0
    ExponentialMovingAverage(dropout, 0.9).update()


@pytest.mark.parametrize(("optimizer_class", "options"), CASES)
def test_values_that_are_not_finite_affect_their_element_only(optimizer_class, options):
    linear, clean = Linear(40, 1, bias=False, seed=0), Linear(40, 1, bias=False, seed=0)
    optimizer, clean_optimizer = (optimizer_class(layer, **options) for layer in (linear, clean))
    for step in range(3):
        grads = random_grads(linear, step)
        clean_optimizer.step(grads)
        grads["weight"][0, 7] = np.nan
        grads["weight"][0, 20] = np.inf
        optimizer.step(grads)
    weight, expected = linear.state_dict()["weight"][0], clean.state_dict()["weight"][0]
    assert np.isnan(weight[7])
    assert not np.isfinite(weight[20])
    rest = np.delete(np.arange(40), [7, 20])
    np.testing.assert_array_equal(weight[rest], expected[rest])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("optimizer_class", "options"),
    [
        (SGD, {"lr": 0.1, "momentum": 0.5}),
        (Adam, {"betas": (0.5, 0.5)}),
        (RMSprop, {"alpha": 0.5}),
        (RMSprop, {"alpha": 0.5, "momentum": 0.5}),
    ],
)
def test_averages_decay_to_zero_without_denormals(optimizer_class, options, dtype):
    linear = Linear(5, 7, dtype=dtype, seed=0)
    optimizer = optimizer_class(linear, **options)
    optimizer.step(random_grads(linear, 0))
    zeros = {name: np.zeros_like(weight) for name, weight in linear.parameters().items()}
    for _ in range(300 if dtype == np.float32 else 2300):
        optimizer.step(zeros)
        for name, array in optimizer._arrays().items():
            sizes = np.abs(array[array != 0])
            assert (sizes >= np.finfo(dtype).tiny).all(), name
    for array in optimizer._arrays().values():
        assert not array.any()


# State


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("optimizer_class", "options"), CASES)
def test_resumed_to_the_same_bits(optimizer_class, options, dtype):
    network = Network(dtype)
    optimizer = optimizer_class(network, **options)
    for step in range(5):
        optimizer.step(random_grads(network, step))
    optimizer.lr = 0.02
    weights, state = network.state_dict(), optimizer.state_dict()
    for step in range(5, 10):
        optimizer.step(random_grads(network, step))

    other = Network(dtype, seed=5)
    defaults = {"momentum": 0.5} if options.get("momentum") else {}
    other_optimizer = optimizer_class(other, **defaults)
    other.load_state_dict(weights)
    other_optimizer.load_state_dict(state)
    for step in range(5, 10):
        other_optimizer.step(random_grads(other, step))
    assert_same_bits(network.state_dict(), other.state_dict())
    assert_same_bits(optimizer.state_dict(), other_optimizer.state_dict())
    assert repr(optimizer) == repr(other_optimizer)


def test_state_dict_names():
    network = Network()
    assert list(SGD(network).state_dict()) == ["num_steps", "lr", "momentum", "nesterov", "weight_decay"]
    state = Adam(network).state_dict()
    assert [name for name in state if isinstance(state[name], np.ndarray)] == [
        f"{state_name}.{name}" for name in network.parameters() for state_name in ("exp_avg", "exp_avg_sq")
    ]
    state["exp_avg.fc.bias"][...] = 5  # a copy


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lr": -1.0}, ValueError, "lr"),
        ({"beta1": 1.0}, ValueError, "beta1 is 1.0, expected below 1"),
        ({"num_steps": -1}, ValueError, "num_steps"),
        ({"num_steps": "many"}, TypeError, "num_steps"),
        ({"exp_avg.fc.bias": np.zeros(4, np.float32)}, ValueError, "exp_avg.fc.bias has shape"),
        ({"exp_avg.fc.bias": np.zeros(5)}, TypeError, "exp_avg.fc.bias has dtype"),
        ({"exp_avg.fc.bias": None}, ValueError, "lacks exp_avg.fc.bias"),
        ({"beta2": None}, ValueError, "lacks beta2"),
        ({"extra": np.zeros(5)}, ValueError, "unexpected extra"),
    ],
)
def test_load_state_dict_changes_all_or_nothing(change, error, message):
    network = Network()
    optimizer = Adam(network)
    optimizer.step(random_grads(network, 0))
    before = optimizer.state_dict()
    state = Adam(network, lr=0.5).state_dict() | change
    with pytest.raises(error, match=message):
        optimizer.load_state_dict({name: value for name, value in state.items() if value is not None})
    assert_same_bits(before, optimizer.state_dict())
    with pytest.raises(TypeError, match="state_dict"):
        optimizer.load_state_dict([1])


# Threads


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 15, 16, 17, 1000, 4099])
def test_same_bits_for_any_number_of_threads(size, dtype):
    weight, grad, first, second = (np.random.default_rng(seed).standard_normal(size).astype(dtype) for seed in range(4))
    second = np.abs(second)
    updates = {
        "sgd": lambda w, g, a, b, n: _optim.sgd(w, g, None, 0.1, 0, False, 0.1, n),
        "momentum": lambda w, g, a, b, n: _optim.sgd(w, g, a, 0.1, 0.9, True, 0.1, n),
        "adam": lambda w, g, a, b, n: _optim.adam(w, g, a, b, 0.9, 0.99, 0.1, 1.5, 1e-8, 0.1, 0.9, n),
        "rmsprop": lambda w, g, a, b, n: _optim.rmsprop(w, g, b, None, 0.1, 0.9, 1e-8, 0, 0.1, n),
        "rmsprop with momentum": lambda w, g, a, b, n: _optim.rmsprop(w, g, b, a, 0.1, 0.9, 1e-8, 0.9, 0.1, n),
        "average": lambda w, g, a, b, n: _optim.approach(a, w, 0.1, n),
    }
    for name, update in updates.items():
        results = []
        for num_threads in (1, 2, 3, 8):
            arrays = [array.copy() for array in (weight, grad, first, second)]
            update(*arrays, num_threads)
            results.append(arrays)
        for arrays in results[1:]:
            for array, expected in zip(arrays, results[0], strict=True):
                np.testing.assert_array_equal(array, expected, err_msg=name)
        assert any((array != old).any() for array, old in zip(results[0], (weight, grad, first, second), strict=True))


@pytest.fixture
def two_threads():
    threads.set_num_threads(2)
    yield
    threads.set_num_threads(None)


@pytest.mark.skipif(not _runtime.has_openmp(), reason="needs OpenMP")
@pytest.mark.usefixtures("two_threads")
def test_large_weights_take_several_threads(monkeypatch):
    taken = []
    adam = _optim.adam
    monkeypatch.setattr(_optim, "adam", lambda *arguments: taken.append(arguments[-2]) or adam(*arguments))
    layer = Embedding(MIN_PARALLEL_SIZE // 64, 64, seed=0)
    grads = random_grads(layer, 0)
    Adam(layer).step(grads)
    threads.set_num_threads(1)
    other = Embedding(MIN_PARALLEL_SIZE // 64, 64, seed=0)
    Adam(other).step(grads)
    Adam(Network()).step(random_grads(Network(), 0))
    assert taken == [2, 1, 1, 1, 1]
    assert_same_bits(layer.state_dict(), other.state_dict())
    other.num_threads = 2  # a layer's own number takes precedence
    Adam(other).step(grads)
    assert taken[5:] == [2]


@pytest.mark.subprocess
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.usefixtures("two_threads")
@pytest.mark.filterwarnings("ignore:this process was forked:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_steps_after_a_fork():
    layer = Embedding(MIN_PARALLEL_SIZE // 64, 64, seed=0)
    optimizer, average = Adam(layer), ExponentialMovingAverage(layer, 0.9)
    grads = random_grads(layer, 0)
    optimizer.step(grads)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends the process if it hangs
        optimizer.step(grads)
        average.update()
        os._exit(7)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7


# What is refused


@pytest.mark.parametrize("optimizer_class", [SGD, Adam, AdamW, RMSprop])
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"fc.bias": None}, ValueError, "grads lacks fc.bias; expected embedding.weight, fc.weight, fc.bias"),
        ({"fc.gamma": np.zeros(5, np.float32)}, ValueError, "grads has unexpected fc.gamma"),
        (
            {"fc.bias": np.zeros(4, np.float32)},
            ValueError,
            r"the gradient of fc.bias has shape \(4,\), expected \(5,\)",
        ),
        ({"fc.bias": np.zeros((1, 5), np.float32)}, ValueError, "the gradient of fc.bias has shape"),
        ({"fc.bias": np.zeros(5)}, TypeError, "the gradient of fc.bias has dtype float64, expected float32"),
        ({"fc.bias": "none"}, TypeError, "the gradient of fc.bias has dtype"),
    ],
)
def test_bad_gradients_change_nothing(optimizer_class, change, error, message):
    network = Network()
    optimizer = optimizer_class(network)
    before, state = network.state_dict(), optimizer.state_dict()
    grads = random_grads(network, 0) | change
    with pytest.raises(error, match=message):
        optimizer.step({name: grad for name, grad in grads.items() if grad is not None})
    with pytest.raises(TypeError, match="grads is list"):
        optimizer.step(list(grads.values()))
    assert_same_bits(before, network.state_dict())
    assert_same_bits(state, optimizer.state_dict())


@pytest.mark.parametrize(
    ("optimizer_class", "options", "error", "message"),
    [
        (SGD, {"lr": -0.1}, ValueError, "lr is -0.1"),
        (SGD, {"lr": math.nan}, ValueError, "lr"),
        (SGD, {"lr": "fast"}, TypeError, "lr"),
        (SGD, {"momentum": -0.5}, ValueError, "momentum"),
        (SGD, {"nesterov": True}, ValueError, "nesterov is True, but momentum is 0"),
        (SGD, {"nesterov": 1, "momentum": 0.9}, TypeError, "nesterov"),
        (SGD, {"weight_decay": -1.0}, ValueError, "weight_decay"),
        (Adam, {"betas": (0.9, 1.0)}, ValueError, "beta2 is 1.0, expected below 1"),
        (Adam, {"betas": (-0.1, 0.9)}, ValueError, "beta1"),
        (Adam, {"betas": 0.9}, TypeError, "betas is 0.9, expected a pair"),
        (AdamW, {"eps": -1e-8}, ValueError, "eps"),
        (RMSprop, {"alpha": 1.5}, ValueError, "alpha"),
        (RMSprop, {"momentum": math.inf}, ValueError, "momentum"),
    ],
)
def test_bad_settings(optimizer_class, options, error, message):
    with pytest.raises(error, match=message):
        optimizer_class(Linear(2, 2), **options)


def test_lr_is_checked_when_it_is_set():
    optimizer = Adam(Linear(2, 2))
    with pytest.raises(ValueError, match="lr is -1"):
        optimizer.lr = -1
    assert optimizer.lr == 1e-3
    for not_a_layer in ({"weight": np.zeros(3)}, None):
        with pytest.raises(TypeError, match="layer is"):
            Adam(not_a_layer)
        with pytest.raises(TypeError, match="layer is"):
            ExponentialMovingAverage(not_a_layer, 0.9)


# Clipping


@given(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=40), st.sampled_from(DTYPES), st.integers(0, 99))
def test_norm_is_that_of_all_gradients(shape, dtype, seed):
    generator = np.random.default_rng(seed)
    grads = {"a": np.asarray(generator.standard_normal(shape), dtype), "b": np.ones(3, dtype)}
    before = {name: grad.copy() for name, grad in grads.items()}
    expected = math.sqrt(sum(math.fsum(np.ravel(grad).astype(np.float64) ** 2) for grad in grads.values()))
    assert clip_grad_norm(grads, 1e9) == pytest.approx(expected, rel=1e-14)
    assert_same_bits(grads, before)
    assert clip_grad_norm(grads, 0.5) == pytest.approx(expected, rel=1e-14)
    assert clip_grad_norm(grads, 1e9) == pytest.approx(0.5, rel=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_clipping_in_place_through_any_strides(dtype):
    for clip in (clip_grad_norm, clip_grad_value):
        grad = np.random.default_rng(0).standard_normal((6, 8)).astype(dtype)
        expected = {"a": grad.copy()}
        norm = clip(expected, 0.5)
        assert (expected["a"] != grad).any()
        strided = np.zeros((6, 16), dtype)
        strided[:, ::2] = grad
        for view in (grad.copy(order="F"), grad.copy().T.copy().T, strided[:, ::2]):
            assert clip({"a": view}, 0.5) == (norm if norm is None else pytest.approx(norm, rel=1e-14))
            np.testing.assert_allclose(view, expected["a"], rtol=1e-6)
        assert not strided[:, 1::2].any()


def test_a_norm_that_is_not_finite_leaves_the_gradients_unchanged():
    for bad in (np.nan, np.inf):
        grads = {"a": np.full(5, 3.0, np.float32), "b": np.array([1.0, bad], np.float32)}
        before = {name: grad.copy() for name, grad in grads.items()}
        assert not math.isfinite(clip_grad_norm(grads, 1.0))
        assert_same_bits(grads, before)
    grads = {"b": np.array([5.0, np.nan, -np.inf], np.float32)}
    clip_grad_value(grads, 1.0)
    np.testing.assert_array_equal(grads["b"], np.array([1, np.nan, -1], np.float32))


def test_float32_norm_does_not_overflow():
    grads = {"a": np.full(4, 1e30, np.float32)}
    assert clip_grad_norm(grads, 1.0) == pytest.approx(2e30, rel=1e-6)
    np.testing.assert_allclose(grads["a"], 0.5, rtol=1e-6)


@pytest.mark.parametrize("clip", [clip_grad_norm, clip_grad_value])
def test_clipping_bad_arguments(clip):
    good = np.ones(3, np.float32)
    for limit in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"(max_norm|value) is"):
            clip({"a": good}, limit)
    with pytest.raises(TypeError, match="grads is list"):
        clip([good], 1.0)
    for bad in ([1.0, 2.0], np.ones(3, np.int64), np.float32(1), None):
        with pytest.raises(TypeError, match="the gradient of b is"):
            clip({"a": good, "b": bad}, 1.0)
    read_only = np.ones(3, np.float32)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="the gradient of b is read-only"):
        clip({"a": good, "b": read_only}, 1.0)
    np.testing.assert_array_equal(good, 1)


# Moving average


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("decay", [0.0, 0.9, 0.99])
def test_average_by_its_definition(decay, dtype):
    network = Network(dtype)
    average = ExponentialMovingAverage(network, decay)
    assert_same_bits(average.state_dict(), network.state_dict())
    optimizer = SGD(network, lr=0.1)
    seen = []
    for step in range(30):
        optimizer.step(random_grads(network, step))
        average.update()
        seen.append(network.state_dict())
    shares = decay ** np.arange(len(seen))[::-1]
    shares /= shares.sum()
    for name, value in average.state_dict().items():
        expected = sum(share * weights[name].astype(np.float64) for share, weights in zip(shares, seen, strict=True))
        assert value.dtype == dtype
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-6 if dtype == np.float32 else 1e-14)


def test_applied_sets_the_average_and_restores_the_weights():
    network = Network()
    average = ExponentialMovingAverage(network, 0.5)
    optimizer = SGD(network, lr=0.1)
    for step in range(3):
        optimizer.step(random_grads(network, step))
        average.update()
    own, averaged = network.state_dict(), average.state_dict()
    assert (own["fc.bias"] != averaged["fc.bias"]).all()
    with average.applied():
        assert_same_bits(network.state_dict(), averaged)
    assert_same_bits(network.state_dict(), own)

    def interrupted(error):
        with average.applied():
            optimizer.step(random_grads(network, 0))  # undone
            raise error

    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error):
            interrupted(error)
        assert_same_bits(network.state_dict(), own)
    with average.applied():
        with pytest.raises(RuntimeError, match="update inside applied"):
            average.update()
        with pytest.raises(RuntimeError, match="applied inside applied"), average.applied():
            pass
        assert_same_bits(network.state_dict(), averaged)
    assert_same_bits(network.state_dict(), own)
    assert_same_bits(average.state_dict(), averaged)
    network.load_state_dict(average.state_dict())
    assert_same_bits(network.state_dict(), averaged)


def test_average_resumed_to_the_same_bits():
    network = Network()
    optimizer, average = SGD(network, lr=0.1), ExponentialMovingAverage(network, 0.9)
    for step in range(10):
        if step == 4:
            weights, state, count = network.state_dict(), average.state_dict(), average.num_updates
        optimizer.step(random_grads(network, step))
        average.update()
    other = Network(seed=3)
    optimizer, other_average = SGD(other, lr=0.1), ExponentialMovingAverage(other, 0.9)
    other.load_state_dict(weights)
    other_average.load_state_dict(state, count)
    for step in range(4, 10):
        optimizer.step(random_grads(other, step))
        other_average.update()
    assert_same_bits(average.state_dict(), other_average.state_dict())
    assert repr(other_average) == "ExponentialMovingAverage(decay=0.9, num_updates=10)"
    with pytest.raises(ValueError, match="num_updates"):
        other_average.load_state_dict(state, -1)
    with pytest.raises(ValueError, match="lacks"):
        other_average.load_state_dict({}, 1)


@pytest.mark.parametrize("decay", [1.0, -0.1, math.nan, "0.9"])
def test_average_bad_decay(decay):
    with pytest.raises((ValueError, TypeError), match="decay"):
        ExponentialMovingAverage(Linear(2, 2), decay)
