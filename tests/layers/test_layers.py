"""Embedding, Linear and Dropout against finite differences and PyTorch, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clstm.layers import Dropout, Embedding, Linear
from clstm.layers.base import blank_weights

DTYPES = (np.float32, np.float64)
INTEGERS = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64)


def random(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def slope(function, array, direction, step=1e-6):
    """The central difference of `function` at `array`, which it is called with, along `direction`."""
    return (function(array + step * direction) - function(array - step * direction)) / (2 * step)


def set_weight(layer, name, value):
    with layer.updating() as weights:
        weights[name][...] = value


def check_weight_gradients(layer, x, dy):
    """Compare grads.weights with finite differences of sum(y * dy), along random directions."""
    _, context = layer.forward_train(x)
    grads = layer.backward(context, dy)
    assert list(grads.weights) == list(layer.parameters())
    for name, value in layer.state_dict().items():

        def loss(weight, name=name):
            set_weight(layer, name, weight)
            return (layer(x) * dy).sum()

        for seed in range(3):
            direction = random(value.shape, seed=seed)
            expected = slope(loss, value, direction)
            np.testing.assert_allclose((grads.weights[name] * direction).sum(), expected, rtol=1e-8, atol=1e-8)
        set_weight(layer, name, value)
        assert grads.weights[name].shape == value.shape
    return grads


# Embedding


@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (2, 3, 5), (0,), (0, 4), (4, 0)])
def test_embedding_looks_up(shape):
    embedding = Embedding(10, 6, seed=1)
    ids = np.random.default_rng(0).integers(0, 10, shape)
    weight = embedding.state_dict()["weight"]
    y = embedding(ids)
    assert y.shape == (*shape, 6)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, weight[ids])
    trained, _ = embedding.forward_train(ids)
    np.testing.assert_array_equal(trained, y)


@pytest.mark.smoke
def test_embedding_output_is_a_copy():
    embedding = Embedding(4, 3, seed=0)
    before = embedding.state_dict()["weight"]
    embedding(np.arange(4))[...] = 7
    np.testing.assert_array_equal(embedding.state_dict()["weight"], before)


@pytest.mark.parametrize("dtype", INTEGERS)
def test_embedding_takes_every_integer_dtype(dtype):
    embedding = Embedding(100, 3, seed=0)
    ids = np.array([[0, 99], [50, 3]])
    expected = embedding(ids)
    for given_ids in (ids.astype(dtype), ids.astype(np.dtype(dtype).newbyteorder()), ids.astype(dtype).T.copy().T):
        np.testing.assert_array_equal(embedding(given_ids), expected)
        y, context = embedding.forward_train(given_ids)
        np.testing.assert_array_equal(y, expected)
        grads = embedding.backward(context, np.ones_like(y))
        assert grads.weights["weight"].sum() == y.size
    np.testing.assert_array_equal(embedding(ids.tolist()), expected)


@pytest.mark.parametrize("bad", [-1, 5, 2**40])
def test_embedding_names_an_id_out_of_range(bad):
    embedding = Embedding(5, 2, seed=0)
    with pytest.raises(ValueError, match=f"ids holds the id {bad}, expected 0 to 4"):
        embedding(np.array([[0, bad]]))
    with pytest.raises(ValueError, match=f"the id {bad}"):
        embedding.forward_train([1, bad])


@pytest.mark.parametrize("bad", [np.array([1.0]), np.array([True]), "ab", np.array(["a"]), [[1], [2, 3]]])
def test_embedding_refuses_ids_that_are_not_integers(bad):
    with pytest.raises(TypeError, match="ids"):
        Embedding(5, 2, seed=0)(bad)


@pytest.mark.parametrize("padding_idx", [None, 0, 3, -1])
def test_embedding_gradient_against_finite_differences(padding_idx):
    embedding = Embedding(6, 4, padding_idx, dtype=np.float64, seed=2)
    ids = np.array([[0, 5, 3], [5, 5, 1]])
    dy = random((2, 3, 4), seed=5)
    if padding_idx is None:
        assert check_weight_gradients(embedding, ids, dy).x is None
        return
    _, context = embedding.forward_train(ids)
    gradient = embedding.backward(context, dy).weights["weight"]
    free = Embedding(6, 4, dtype=np.float64, seed=2)
    _, context = free.forward_train(ids)
    expected = free.backward(context, dy).weights["weight"]
    assert expected[padding_idx].any()
    expected[padding_idx] = 0
    np.testing.assert_array_equal(gradient, expected)


@given(st.integers(1, 9), st.integers(1, 20), st.data())
def test_embedding_gradient_sums_in_order(num_embeddings, dim, data):
    ids = data.draw(
        hnp.arrays(np.int64, hnp.array_shapes(max_dims=3, max_side=6), elements=st.integers(0, num_embeddings - 1))
    )
    embedding = Embedding(num_embeddings, dim, seed=0)
    dy = random((*ids.shape, dim), np.float32)
    _, context = embedding.forward_train(ids)
    expected = np.zeros((num_embeddings, dim), np.float32)
    np.add.at(expected, ids, dy)  # unbuffered, element by element in the same order
    np.testing.assert_array_equal(embedding.backward(context, dy).weights["weight"], expected)


def test_embedding_copies_its_ids():
    embedding = Embedding(5, 2, seed=0)
    ids = np.array([1, 2])
    _, context = embedding.forward_train(ids)
    ids[...] = 1_000_000_000
    gradient = embedding.backward(context, np.ones((2, 2), np.float32)).weights["weight"]
    np.testing.assert_array_equal(gradient[:, 0], [0, 1, 1, 0, 0])


def test_embedding_takes_strided_and_read_only_gradients():
    embedding = Embedding(5, 4, seed=0)
    ids = np.array([[1, 2, 1], [4, 0, 2]])
    dy = random((2, 3, 4), np.float32)
    _, context = embedding.forward_train(ids)
    expected = embedding.backward(context, dy).weights["weight"]
    read_only = dy.copy()
    read_only.flags.writeable = False
    for strided in (np.asfortranarray(dy), np.repeat(dy, 2, axis=2)[..., ::2], dy[::-1].copy()[::-1], read_only):
        _, context = embedding.forward_train(ids)
        np.testing.assert_array_equal(embedding.backward(context, strided).weights["weight"], expected)


def test_embedding_initial_weights():
    weight = Embedding(2000, 50, 7, std=0.1, seed=3).state_dict()["weight"]
    assert not weight[7].any()
    others = np.delete(weight, 7, axis=0)
    assert others.std() == pytest.approx(0.1, rel=0.02)
    assert others.mean() == pytest.approx(0, abs=0.002)
    assert weight.dtype == np.float32
    assert not Embedding(3, 2, -1, seed=0).state_dict()["weight"][2].any()
    double = Embedding(2000, 50, 7, std=0.1, seed=3, dtype=np.float64).state_dict()["weight"]
    np.testing.assert_array_equal(double.astype(np.float32), weight)


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({"num_embeddings": 0}, ValueError, "num_embeddings"),
        ({"embedding_dim": 2.5}, TypeError, "embedding_dim"),
        ({"padding_idx": 5}, ValueError, "padding_idx"),
        ({"padding_idx": -6}, ValueError, "padding_idx"),
        ({"std": -1.0}, ValueError, "std"),
        ({"dtype": np.float16}, TypeError, "dtype"),
        ({"seed": -1}, ValueError, "seed"),
    ],
)
def test_embedding_bad_arguments(arguments, error, name):
    with pytest.raises(error, match=name):
        Embedding(**({"num_embeddings": 5, "embedding_dim": 4} | arguments))


# Linear


@given(
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
    st.integers(1, 9),
    st.integers(1, 9),
    st.booleans(),
)
def test_linear_is_a_product(leading, in_features, out_features, bias):
    linear = Linear(in_features, out_features, bias, dtype=np.float64, seed=0)
    weights = linear.state_dict()
    x = random((*leading, in_features))
    y = linear(x)
    expected = np.einsum("...i,oi->...o", x, weights["weight"]) + weights.get("bias", 0)
    assert y.shape == (*leading, out_features)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    trained, context = linear.forward_train(x)
    np.testing.assert_array_equal(trained, y)
    dy = random(y.shape, seed=1)
    grads = linear.backward(context, dy)
    flat_x, flat_dy = x.reshape(-1, in_features), dy.reshape(-1, out_features)
    np.testing.assert_allclose(grads.x, dy @ weights["weight"], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(grads.weights["weight"], flat_dy.T @ flat_x, rtol=1e-12, atol=1e-12)
    assert grads.x.shape == x.shape
    if bias:
        np.testing.assert_allclose(grads.weights["bias"], flat_dy.sum(axis=0), rtol=1e-12, atol=1e-12)
    else:
        assert list(grads.weights) == ["weight"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
def test_linear_gradients_against_finite_differences(leading, bias):
    linear = Linear(5, 4, bias, dtype=np.float64, seed=1)
    x, dy = random((*leading, 5)), random((*leading, 4), seed=1)
    grads = check_weight_gradients(linear, x, dy)
    direction = random(x.shape, seed=2)
    expected = slope(lambda x: (linear(x) * dy).sum(), x, direction)
    np.testing.assert_allclose((grads.x * direction).sum(), expected, rtol=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_takes_strided_misaligned_and_read_only_input(dtype):
    linear = Linear(5, 4, dtype=dtype, seed=1)
    x, dy = random((2, 3, 5), dtype), random((2, 3, 4), dtype, seed=1)
    y, context = linear.forward_train(x)
    expected = linear.backward(context, dy)

    def variants(array):
        read_only = array.copy()
        read_only.flags.writeable = False
        buffer = np.empty(array.nbytes + 1, np.uint8)
        misaligned = buffer[1:].view(dtype).reshape(array.shape)
        misaligned[...] = array
        swapped = array.swapaxes(0, 1).copy().swapaxes(0, 1)
        return read_only, misaligned, swapped, np.asfortranarray(array), np.repeat(array, 2, axis=2)[..., ::2]

    for other_x, other_dy in zip(variants(x), variants(dy), strict=True):
        np.testing.assert_array_equal(linear(other_x), y)
        _, context = linear.forward_train(other_x)
        grads = linear.backward(context, other_dy)
        np.testing.assert_array_equal(grads.x, expected.x)
        for name in expected.weights:
            np.testing.assert_array_equal(grads.weights[name], expected.weights[name])


@pytest.mark.smoke
def test_linear_initial_weights():
    linear = Linear(400, 300, seed=0)
    for value in linear.state_dict().values():
        assert np.abs(value).max() <= np.float32(1 / 20)
        assert np.abs(value).max() > 0.049
        assert value.std() == pytest.approx(0.05 / 3**0.5, rel=0.1)
    assert {name: value.shape for name, value in linear.state_dict().items()} == {"weight": (300, 400), "bias": (300,)}


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((2, 4)), TypeError, "x has dtype float64, expected float32"),
        (np.zeros((2, 4), np.float16), TypeError, "x has dtype float16"),
        (np.zeros((2, 4), np.int64), TypeError, "x has dtype int64"),
        (np.zeros((2, 4), np.dtype(np.float32).newbyteorder()), TypeError, "x has dtype"),
        (np.zeros((2, 5), np.float32), ValueError, r"x has shape \(2, 5\).*in_features=4"),
        (np.zeros((), np.float32), ValueError, r"x has shape \(\).*in_features=4"),
        ([[1.0], [1.0, 2.0]], TypeError, "x"),
        (np.ma.zeros((2, 4), np.float32), TypeError, "masked"),
    ],
)
def test_linear_bad_input(x, error, message):
    linear = Linear(4, 3, seed=0)
    with pytest.raises(error, match=message):
        linear(x)
    with pytest.raises(error, match=message):
        linear.forward_train(x)


def test_linear_bad_arguments():
    with pytest.raises(ValueError, match="in_features"):
        Linear(0, 3)
    with pytest.raises(TypeError, match="out_features"):
        Linear(3, "4")
    with pytest.raises(TypeError, match="bias"):
        Linear(3, 4, 1)


# Dropout


def test_dropout_changes_nothing_in_inference():
    dropout = Dropout(0.7, seed=0)
    x = random((4, 5), np.float32)
    assert dropout(x) is x
    with pytest.raises(TypeError, match="x has dtype int64"):
        dropout(np.arange(3))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.6])
def test_dropout_scales_the_other_elements(p, dtype):
    dropout = Dropout(p, seed=4)
    x = random((200, 501), dtype)
    y, context = dropout.forward_train(x)
    kept = y != 0
    assert y.dtype == dtype
    np.testing.assert_allclose(y[kept], x[kept] / (1 - p), rtol=1e-6 if dtype == np.float32 else 1e-15)
    assert kept.mean() == pytest.approx(1 - p, abs=5 * (p * (1 - p) / x.size) ** 0.5)
    dy = random(x.shape, dtype, seed=1)
    dx = dropout.backward(context, dy).x
    np.testing.assert_array_equal(dx != 0, kept)
    np.testing.assert_allclose(dx[kept], dy[kept] / (1 - p), rtol=1e-6 if dtype == np.float32 else 1e-15)


def test_dropout_draws_are_independent():
    dropout = Dropout(0.5, seed=0)
    ones = np.ones((1000, 100), np.float32)
    first, second = (dropout.forward_train(ones)[0] / 2 for _ in range(2))
    neighbours = [
        (first, second),
        (first[:, 1:], first[:, :-1]),
        (first[1:], first[:-1]),
        (first[:, ::2], first[:, 1::2]),
    ]
    for a, b in neighbours:
        assert (a * b).mean() == pytest.approx(0.25, abs=5 * (3 / 16 / a.size) ** 0.5)


def test_dropout_ends_of_the_range():
    x = random((3, 4), np.float32)
    for p, expected in ((0.0, x), (1.0, np.zeros_like(x))):
        y, context = Dropout(p, seed=0).forward_train(x)
        np.testing.assert_array_equal(y, expected)
        dx = context.owner.backward(context, x).x
        np.testing.assert_array_equal(dx, expected)


@given(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5), st.sampled_from(DTYPES))
def test_dropout_is_linear_in_x(shape, dtype):
    x = random(shape, dtype)
    y, context = Dropout(0.5, seed=3).forward_train(x)
    assert isinstance(y, np.ndarray)
    assert y.shape == shape
    assert y.dtype == dtype
    grads = context.owner.backward(context, x)
    assert grads.weights == {}
    np.testing.assert_array_equal(grads.x, y)  # the same mask


def test_dropout_does_not_depend_on_memory_layout():
    x = random((4, 5, 6), np.float32)
    expected, _ = Dropout(0.5, seed=0).forward_train(x)
    for other in (np.asfortranarray(x), x.swapaxes(0, 1).copy().swapaxes(0, 1), np.repeat(x, 2, axis=2)[..., ::2]):
        other.flags.writeable = False
        y, context = Dropout(0.5, seed=0).forward_train(other)
        np.testing.assert_array_equal(y, expected)
        assert y.flags.c_contiguous
        np.testing.assert_array_equal(context.owner.backward(context, other).x, expected)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan"), "half", True])
def test_dropout_bad_probability(p):
    with pytest.raises((ValueError, TypeError), match="p is"):
        Dropout(p)


# All


def layers_and_inputs(dtype):
    return [
        (Embedding(9, 4, dtype=dtype, seed=0), np.array([[1, 2], [8, 0]])),
        (Linear(3, 4, dtype=dtype, seed=0), random((2, 3), dtype)),
        (Dropout(0.5, seed=0), random((2, 3), dtype)),
    ]


@pytest.mark.parametrize("dtype", DTYPES)
def test_bad_gradients_and_contexts(dtype):
    wrong = np.float32 if dtype == np.float64 else np.float64
    for (layer, x), (other, _) in zip(layers_and_inputs(dtype), layers_and_inputs(dtype), strict=True):
        y, context = layer.forward_train(x)
        dy = np.ones_like(y)
        with pytest.raises(TypeError, match="dy has dtype"):
            layer.backward(context, dy.astype(wrong))
        for bad in (dy[:1], dy[..., :1], dy.ravel(), dy[np.newaxis]):
            with pytest.raises(ValueError, match="dy has shape"):
                layer.backward(context, bad)
        with pytest.raises(ValueError, match="another layer"):
            other.backward(context, dy)
        with pytest.raises(TypeError, match="context"):
            layer.backward(dy, dy)
        layer.backward(context, dy)  # still usable after all that, once
        with pytest.raises(ValueError, match="used by an earlier backward"):
            layer.backward(context, dy)


@pytest.mark.parametrize("dtype", DTYPES)
def test_same_seed_same_bits(dtype):
    for (layer, x), (again, _) in zip(layers_and_inputs(dtype), layers_and_inputs(dtype), strict=True):
        for name, value in layer.state_dict().items():
            np.testing.assert_array_equal(value, again.state_dict()[name])
        for _ in range(2):
            (y, context), (y_again, context_again) = layer.forward_train(x), again.forward_train(x)
            np.testing.assert_array_equal(y, y_again)
            grads, grads_again = layer.backward(context, y), again.backward(context_again, y)
            for name, value in grads.weights.items():
                np.testing.assert_array_equal(value, grads_again.weights[name])
            if grads.x is not None:
                np.testing.assert_array_equal(grads.x, grads_again.x)


def test_other_seed_other_weights():
    first, second = (Linear(3, 4, seed=seed).state_dict()["weight"] for seed in (0, 1))
    assert (first != second).any()
    generator = np.random.default_rng(0)
    first, second = (Linear(3, 4, seed=generator).state_dict()["weight"] for _ in range(2))
    assert (first != second).any()


def test_representations_evaluate_to_the_same_layer():
    for text in (
        "Embedding(9, 4)",
        "Embedding(9, 4, padding_idx=8, std=0.1, dtype=float64)",
        "Linear(3, 4)",
        "Linear(3, 4, bias=False, dtype=float64)",
        "Dropout(0.25)",
    ):
        assert repr(eval(text, globals() | {"float64": np.float64})) == text


@pytest.mark.peer
@pytest.mark.parametrize("dtype", DTYPES)
def test_like_torch(dtype):
    torch = pytest.importorskip("torch")
    ids = np.random.default_rng(0).integers(0, 11, (6, 7))
    embedding = Embedding(11, 8, padding_idx=2, dtype=dtype, seed=0)
    linear = Linear(8, 5, dtype=dtype, seed=1)
    peers = torch.nn.Embedding(11, 8, padding_idx=2), torch.nn.Linear(8, 5)
    for layer, peer in zip((embedding, linear), peers, strict=True):
        peer.to(getattr(torch, np.dtype(dtype).name))
        assert list(peer.state_dict()) == list(layer.parameters())
        peer.load_state_dict({name: torch.from_numpy(value) for name, value in layer.state_dict().items()})
    vectors, first = embedding.forward_train(ids)
    y, second = linear.forward_train(vectors)
    dy = random(y.shape, dtype, seed=2)
    linear_grads = linear.backward(second, dy)
    embedding_grads = embedding.backward(first, linear_grads.x)

    expected = peers[1](peers[0](torch.from_numpy(ids)))
    expected.backward(torch.from_numpy(dy))
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-13}
    np.testing.assert_allclose(y, expected.detach().numpy(), **tolerance)
    for grads, peer in ((embedding_grads, peers[0]), (linear_grads, peers[1])):
        for name, parameter in peer.named_parameters():
            np.testing.assert_allclose(grads.weights[name], parameter.grad.numpy(), **tolerance)
    assert not embedding_grads.weights["weight"][2].any()


def test_blank_layers_take_assigned_weights():
    with blank_weights():
        blank = Linear(300, 200)
    assert blank.parameters()["weight"].strides == (0, 0)  # takes no memory
    other = Linear(300, 200, seed=0)
    arrays = other.state_dict()
    x = np.random.default_rng(0).standard_normal((3, 300)).astype(np.float32)
    arrays["bias"].flags.writeable = False
    blank.load_state_dict(arrays, assign=True)
    np.testing.assert_array_equal(blank(x), other(x))
    assert np.shares_memory(blank.parameters()["weight"], arrays["weight"])
    with blank.updating() as weights:  # what couldn't be written to was copied
        weights["bias"] += 1
    assert not np.shares_memory(blank.parameters()["bias"], arrays["bias"])
    with pytest.raises(ValueError, match="lacks bias"):
        blank.load_state_dict({"weight": arrays["weight"]}, assign=True)
