"""Gradients of some rows: the embedding's, what optimisers and clipping make of them, against PyTorch and arrays."""

from __future__ import annotations

import numpy as np
import pytest

import clstm
from clstm import RowGradient
from clstm.layers import Embedding
from clstm.losses import cross_entropy
from clstm.models import LSTMClassifierNetwork
from clstm.optim import (
    SGD,
    Adam,
    AdamW,
    ExponentialMovingAverage,
    RMSprop,
    clip_grad_norm,
    clip_grad_value,
)
from clstm.train import fit

DTYPES = (np.float32, np.float64)
HEIGHT, WIDTH = 11, 5
IDS = np.array([[3, 7, 3, 10], [0, 7, 3, 1]])


def backward(sparse, ids=IDS, dtype=np.float32, seed=0, **options):
    """Return the gradient of an embedding's weight."""
    embedding = Embedding(HEIGHT, WIDTH, sparse=sparse, dtype=dtype, seed=0, **options)
    y, context = embedding.forward_train(ids)
    dy = np.random.default_rng(seed).standard_normal(y.shape).astype(dtype)
    return embedding.backward(context, dy).weights["weight"]


def random_rows(step, dtype, rows=None):
    """Return a gradient of a few rows, others at each step."""
    generator = np.random.default_rng(500 + step)
    if rows is None:
        rows = np.sort(generator.choice(HEIGHT, 4, replace=False))
    values = generator.standard_normal((len(rows), WIDTH)).astype(dtype)
    return RowGradient(np.asarray(rows, np.int64), values, (HEIGHT, WIDTH))


# The embedding


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("padding_idx", [None, 7, -1, 5])
def test_embedding_returns_the_rows_of_the_dense_gradient(padding_idx, dtype):
    gradient = backward(True, dtype=dtype, padding_idx=padding_idx)
    dense = backward(False, dtype=dtype, padding_idx=padding_idx)
    assert gradient.dtype == dtype
    assert gradient.shape == (HEIGHT, WIDTH)
    seen = sorted(set(IDS.ravel().tolist()) - {None if padding_idx is None else padding_idx % HEIGHT})
    assert gradient.rows.tolist() == seen
    assert gradient.to_dense().tobytes() == dense.tobytes()


@pytest.mark.peer
def test_embedding_like_torch():
    torch = pytest.importorskip("torch")
    embedding = Embedding(HEIGHT, WIDTH, padding_idx=7, sparse=True, seed=0)
    peer = torch.nn.Embedding(HEIGHT, WIDTH, padding_idx=7, sparse=True)
    y, context = embedding.forward_train(IDS)
    dy = np.random.default_rng(0).standard_normal(y.shape).astype(np.float32)
    gradient = embedding.backward(context, dy).weights["weight"]
    peer(torch.from_numpy(IDS)).backward(torch.from_numpy(dy))
    expected = peer.weight.grad.coalesce()
    rows, values = expected.indices()[0].numpy(), expected.values().numpy()
    real = rows != 7
    np.testing.assert_array_equal(gradient.rows, rows[real])
    np.testing.assert_allclose(gradient.values, values[real], rtol=1e-6)


def test_without_ids_there_are_no_rows():
    gradient = backward(True, ids=np.zeros((0, 3), np.int64))
    assert gradient.rows.size == 0
    assert gradient.values.shape == (0, WIDTH)
    assert not gradient.to_dense().any()


def test_repr_names_the_option():
    assert repr(Embedding(4, 2, sparse=True)) == "Embedding(4, 2, sparse=True)"
    assert repr(backward(True)) == "RowGradient(5 rows of (11, 5), float32)"


# The gradient itself


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rows": [1, 2]}, TypeError, "rows has dtype|rows"),
        ({"rows": np.array([1.0, 2.0])}, TypeError, "rows has dtype float64"),
        ({"rows": np.array([[1, 2]])}, ValueError, "rows has shape"),
        ({"rows": np.array([2, 1])}, ValueError, "rows don't rise"),
        ({"rows": np.array([1, 1])}, ValueError, "rows don't rise"),
        ({"rows": np.array([-1, 1])}, ValueError, "rows has -1 to 1, expected 0 to 10"),
        ({"rows": np.array([1, 11])}, ValueError, "rows has 1 to 11, expected 0 to 10"),
        ({"values": np.zeros((2, 5), int)}, TypeError, "values"),
        ({"values": np.zeros((3, 5))}, ValueError, "values has shape"),
        ({"values": np.zeros((2, 4))}, ValueError, "values has shape"),
        ({"shape": 11}, TypeError, "shape is 11"),
        ({"shape": (11, 5.0)}, TypeError, r"shape\[1\]"),
        ({"shape": (-1, 5)}, ValueError, r"shape\[0\]"),
    ],
)
def test_bad_arguments(change, error, message):
    arguments = {"rows": np.array([1, 2]), "values": np.zeros((2, 5)), "shape": (11, 5)} | change
    if isinstance(arguments["rows"], list):
        arguments["rows"] = np.array(arguments["rows"], np.int32)
    with pytest.raises(error, match=message):
        RowGradient(**arguments)


# Optimisers


@pytest.mark.peer
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("optimizer_class", "options", "peer_name", "peer_options"),
    [
        (SGD, {"lr": 0.1}, "SGD", {"lr": 0.1}),
        # eps almost 0, because SparseAdam multiplies it by the bias correction
        (Adam, {"lr": 0.01, "eps": 1e-20}, "SparseAdam", {"lr": 0.01, "eps": 1e-20}),
        (Adam, {"betas": (0.8, 0.99), "eps": 1e-20}, "SparseAdam", {"betas": (0.8, 0.99), "eps": 1e-20}),
        (AdamW, {"weight_decay": 0.0, "eps": 1e-20}, "SparseAdam", {"eps": 1e-20}),
    ],
)
def test_twenty_steps_like_torch(optimizer_class, options, peer_name, peer_options, dtype):
    torch = pytest.importorskip("torch")
    embedding = Embedding(HEIGHT, WIDTH, sparse=True, dtype=dtype, seed=0)
    peer = torch.from_numpy(embedding.state_dict()["weight"]).requires_grad_()
    optimizer = optimizer_class(embedding, **options)
    peer_optimizer = getattr(torch.optim, peer_name)([peer], **peer_options)
    for step in range(20):
        gradient = random_rows(step, dtype)
        peer.grad = torch.sparse_coo_tensor(
            torch.from_numpy(gradient.rows)[None], torch.from_numpy(gradient.values), gradient.shape,
            check_invariants=True,
        )  # fmt: skip
        optimizer.step({"weight": gradient})
        peer_optimizer.step()
    tolerance = {"rtol": 2e-6, "atol": 2e-7} if dtype == np.float32 else {"rtol": 1e-12, "atol": 1e-14}
    np.testing.assert_allclose(embedding.parameters()["weight"], peer.detach().numpy(), **tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
def test_sgd_does_the_same_as_with_an_array(dtype):
    first, second = (Embedding(HEIGHT, WIDTH, dtype=dtype, seed=0) for _ in range(2))
    optimizers = SGD(first, lr=0.1), SGD(second, lr=0.1)
    for step in range(5):
        gradient = random_rows(step, dtype)
        optimizers[0].step({"weight": gradient})
        optimizers[1].step({"weight": gradient.to_dense()})
    assert first.state_dict()["weight"].tobytes() == second.state_dict()["weight"].tobytes()


OPTIMIZERS = [(SGD, {"lr": 0.1}), (Adam, {}), (AdamW, {"weight_decay": 0}), (RMSprop, {})]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("optimizer_class", "options"), OPTIMIZERS)
def test_rows_given_are_updated_as_if_alone_and_others_not_at_all(optimizer_class, options, dtype):
    embedding = Embedding(HEIGHT, WIDTH, dtype=dtype, seed=0)
    before = embedding.state_dict()["weight"]
    rows = np.array([0, 4, 5, 10])
    alone = Embedding(len(rows), WIDTH, dtype=dtype, seed=1)
    alone.load_state_dict({"weight": before[rows]})
    optimizer, optimizer_alone = optimizer_class(embedding, **options), optimizer_class(alone, **options)
    for step in range(4):
        gradient = random_rows(step, dtype, rows)
        optimizer.step({"weight": gradient})
        optimizer_alone.step({"weight": gradient.values.copy()})
    after = embedding.state_dict()["weight"]
    assert after[rows].tobytes() == alone.state_dict()["weight"].tobytes()
    waiting = np.setdiff1d(np.arange(HEIGHT), rows)
    assert after[waiting].tobytes() == before[waiting].tobytes()
    state, state_alone = optimizer.state_dict(), optimizer_alone.state_dict()
    for name, array in state_alone.items():
        if isinstance(array, np.ndarray):
            assert state[name][rows].tobytes() == array.tobytes()
            assert not state[name][waiting].any()


@pytest.mark.parametrize(("optimizer_class", "options"), OPTIMIZERS)
def test_no_rows_change_nothing_but_the_count(optimizer_class, options):
    embedding = Embedding(HEIGHT, WIDTH, seed=0)
    before = embedding.state_dict()["weight"]
    optimizer = optimizer_class(embedding, **options)
    optimizer.step({"weight": random_rows(0, np.float32, [])})
    assert embedding.state_dict()["weight"].tobytes() == before.tobytes()
    assert optimizer.num_steps == 1


@pytest.mark.parametrize(("optimizer_class", "options"), OPTIMIZERS)
def test_same_bits_for_any_number_of_threads(optimizer_class, options, monkeypatch):
    monkeypatch.setattr(clstm.optim.base, "MIN_PARALLEL_SIZE", 1)
    results = []
    for num_threads in (1, 2, 3, 8):
        embedding = Embedding(HEIGHT, WIDTH, seed=0)
        embedding.num_threads = num_threads
        optimizer = optimizer_class(embedding, **options)
        for step in range(3):
            optimizer.step({"weight": random_rows(step, np.float32)})
        results.append(embedding.state_dict()["weight"].tobytes())
    assert len(set(results)) == 1


@pytest.mark.parametrize(
    ("optimizer_class", "options", "setting"),
    [
        (SGD, {"momentum": 0.9}, "momentum is 0.9"),
        (SGD, {"weight_decay": 0.1}, "weight_decay is 0.1"),
        (Adam, {"weight_decay": 0.1}, "weight_decay is 0.1"),
        (AdamW, {}, "weight_decay is 0.01"),
        (RMSprop, {"momentum": 0.5}, "momentum is 0.5"),
        (RMSprop, {"weight_decay": 0.1}, "weight_decay is 0.1"),
    ],
)
def test_settings_that_change_all_rows_are_refused(optimizer_class, options, setting):
    embedding = Embedding(HEIGHT, WIDTH, seed=0)
    before = embedding.state_dict()["weight"]
    optimizer = optimizer_class(embedding, **options)
    with pytest.raises(ValueError, match=f"gradient of weight is a RowGradient, but {setting}"):
        optimizer.step({"weight": random_rows(0, np.float32)})
    assert embedding.state_dict()["weight"].tobytes() == before.tobytes()
    assert optimizer.num_steps == 0


@pytest.mark.parametrize(
    ("gradient", "error", "message"),
    [
        (RowGradient(np.array([1]), np.ones((1, WIDTH)), (HEIGHT, WIDTH)), TypeError, "dtype float64"),
        (RowGradient(np.array([1]), np.ones((1, 4), np.float32), (HEIGHT, 4)), ValueError, "has shape"),
        (RowGradient(np.array([11]), np.ones((1, WIDTH), np.float32), (12, WIDTH)), ValueError, "has shape"),
    ],
)
def test_a_gradient_of_another_kind_is_refused(gradient, error, message):
    with pytest.raises(error, match=message):
        Adam(Embedding(HEIGHT, WIDTH)).step({"weight": gradient})


@pytest.mark.parametrize("row", [-1, HEIGHT, 1 << 40])
def test_rows_changed_after_the_check_are_refused(row):
    gradient = random_rows(0, np.float32)
    gradient.rows[2] = row
    with pytest.raises(ValueError, match="rows"):
        Adam(Embedding(HEIGHT, WIDTH)).step({"weight": gradient})


# Clipping


@pytest.mark.parametrize("dtype", DTYPES)
def test_clipping_is_that_of_the_array(dtype):
    rows, other = random_rows(0, dtype), np.full(3, 2, dtype)
    arrays = {"weight": rows.to_dense(), "other": other.copy()}
    sparse = {"weight": rows, "other": other}
    norms = clip_grad_norm(sparse, 0.5), clip_grad_norm(arrays, 0.5)
    np.testing.assert_allclose(*norms, rtol=1e-12)
    np.testing.assert_allclose(rows.to_dense(), arrays["weight"], rtol=1e-6)
    np.testing.assert_allclose(other, arrays["other"], rtol=1e-6)
    clip_grad_value(sparse, 0.01)
    clip_grad_value(arrays, 0.01)
    np.testing.assert_allclose(rows.to_dense(), arrays["weight"], rtol=1e-6)
    assert abs(rows.values).max() == dtype(0.01)


def test_clipping_refuses_read_only_values():
    gradient = random_rows(0, np.float32)
    gradient.values.flags.writeable = False
    with pytest.raises(ValueError, match="weight is read-only"):
        clip_grad_norm({"weight": gradient}, 1.0)


# A network


def classifier(sparse):
    return LSTMClassifierNetwork(6, 8, 50, 2, 1, sparse_embedding=sparse, seed=0)


def training(network, rows):
    x = np.random.default_rng(3).integers(0, 50, (len(rows), 7))
    out, _, context = network.forward_train(x)
    loss, dout = cross_entropy(out, x[:, 0] % 2)
    return loss, network.backward(context, dout).weights


def test_network_trains_with_all_of_fit():
    network = classifier(True)
    gradient = training(network, range(4))[1]["embedding.weight"]
    assert isinstance(gradient, RowGradient)
    history = fit(
        Adam(network, lr=0.05), lambda rows: training(network, rows), [range(8)] * 20, n_epochs=3, clip_norm=1.0,
        clip_value=0.5, ema_decay=0.9, verbose=0,
    )  # fmt: skip
    assert history.train_loss[-1] < history.train_loss[0] / 2


def test_network_steps_by_sgd_are_those_of_arrays():
    networks = classifier(True), classifier(False)
    for network in networks:
        optimizer, average = SGD(network, lr=0.5), ExponentialMovingAverage(network, 0.5)
        for _ in range(3):
            optimizer.step(training(network, range(6))[1])
            average.update()
    for name, weight in networks[0].parameters().items():
        assert weight.tobytes() == networks[1].parameters()[name].tobytes(), name
