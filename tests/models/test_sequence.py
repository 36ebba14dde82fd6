import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from clstm._core import backend
from clstm.losses import cross_entropy, mse
from clstm.models import LSTMClassifierNetwork, SequenceNetwork
from clstm.models.base import restored
from clstm.optim import Adam

VOCABULARY, LABELS = 50, 3
SHAPES = [  # bidirectional, pooling, layers
    (False, "last", 1),
    (False, "mean", 2),
    (False, "max", 1),
    (True, "last", 2),
    (True, "mean", 1),
    (True, "max", 2),
]


@pytest.fixture(params=backend.available(), autouse=True)
def instruction_set(request):
    before = backend.isa()
    backend.use(request.param)
    yield request.param
    backend.use(before)


def make_network(bidirectional=False, pooling="last", num_layers=1, **options):
    options = {"seed": 1, "dtype": np.float64} | options
    return LSTMClassifierNetwork(
        6, 5, VOCABULARY, LABELS, num_layers, bidirectional=bidirectional, pooling=pooling, **options
    )


def make_batch(seed=0, batch=7, time=9):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, VOCABULARY, (batch, time))
    lengths = rng.integers(1, time + 1, batch)
    lengths[rng.integers(batch)] = time
    return ids, lengths, rng.integers(0, LABELS, batch)


# ----------------------------------------------------------------------------------------- what goes in and out


@pytest.mark.smoke
def test_results_and_shapes():
    network = make_network(bidirectional=True, num_layers=2, dtype=np.float32)
    ids, lengths, _ = make_batch()
    out, (h_n, c_n) = network(ids, lengths=lengths)
    assert out.shape == (7, LABELS)
    assert out.dtype == np.float32
    assert h_n.shape == c_n.shape == (4, 7, 5)
    assert [array.shape for array in network.init_hidden(7)] == [(4, 7, 5)] * 2
    again, _ = network(ids, network.init_hidden(7), lengths)
    np.testing.assert_array_equal(out, again)


@pytest.mark.smoke
def test_names_are_those_of_the_torch_class():
    assert list(make_network(bidirectional=True).state_dict()) == [
        "embedding.weight",
        "lstm.weight_ih_l0",
        "lstm.weight_hh_l0",
        "lstm.bias_ih_l0",
        "lstm.bias_hh_l0",
        "lstm.weight_ih_l0_reverse",
        "lstm.weight_hh_l0_reverse",
        "lstm.bias_ih_l0_reverse",
        "lstm.bias_hh_l0_reverse",
        "fc.weight",
        "fc.bias",
    ]


def test_a_state_continues_a_sequence():
    network = make_network(num_layers=2)
    ids, _, _ = make_batch()
    whole, (h_whole, c_whole) = network(ids)
    _, hidden = network(ids[:, :4])
    rest, (h_rest, c_rest) = network(ids[:, 4:], hidden)
    for got, expected in ((rest, whole), (h_rest, h_whole), (c_rest, c_whole)):
        np.testing.assert_allclose(got, expected, rtol=1e-12)


@pytest.mark.parametrize(("bidirectional", "pooling", "num_layers"), SHAPES)
def test_rows_are_the_same_alone_and_padded_in_a_batch(bidirectional, pooling, num_layers):
    network = make_network(bidirectional, pooling, num_layers)
    ids, lengths, _ = make_batch()
    out, _ = network(ids, lengths=lengths)
    for row, length in enumerate(lengths):
        alone, _ = network(ids[row : row + 1, :length])
        np.testing.assert_allclose(alone[0], out[row], rtol=1e-12)


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_a_row_without_steps_gets_the_bias(pooling):
    network = make_network(pooling=pooling, bidirectional=True)
    bias = network.state_dict()["fc.bias"]
    out, _ = network(np.zeros((2, 3), int), lengths=[0, 2])
    np.testing.assert_array_equal(out[0], bias)
    out, _ = network(np.zeros((2, 0), int))
    np.testing.assert_array_equal(out, [bias, bias])
    assert network(np.zeros((0, 3), int))[0].shape == (0, LABELS)


def test_many_threads_get_the_same_as_one():
    network = make_network(True, "max", 2)
    batches = [make_batch(seed, batch=3 + seed % 4, time=5 + seed % 7)[:2] for seed in range(24)]
    expected = [network(ids, lengths=lengths)[0] for ids, lengths in batches]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            results = pool.map(lambda batch: network(batch[0], lengths=batch[1])[0], batches)
            for got, wanted in zip(results, expected, strict=True):
                np.testing.assert_array_equal(got, wanted)


def test_the_same_seed_gives_the_same_bits():
    first, second = (make_network(True, "max", 2, dropout=0.3, embedding_dropout=0.4, pooled_dropout=0.5) for _ in "12")
    ids, lengths, targets = make_batch()
    for name, weight in first.state_dict().items():
        np.testing.assert_array_equal(weight, second.state_dict()[name])
    grads = []
    for network in (first, second):
        out, _, context = network.forward_train(ids, lengths=lengths)
        grads.append(network.backward(context, cross_entropy(out, targets)[1]).weights)
    for name, gradient in grads[0].items():
        np.testing.assert_array_equal(gradient, grads[1][name])
    other = make_network(True, "max", 2, seed=2).state_dict()
    assert not np.array_equal(first.state_dict()["embedding.weight"], other["embedding.weight"])


def test_dropout_is_in_training_only():
    ids, lengths, _ = make_batch()
    for option in ("dropout", "embedding_dropout", "pooled_dropout"):
        network = make_network(num_layers=2, **{option: 0.5})
        plain = make_network(num_layers=2)
        plain.load_state_dict(network.state_dict())
        inference, _ = network(ids, lengths=lengths)
        np.testing.assert_array_equal(inference, plain(ids, lengths=lengths)[0])
        assert not np.allclose(network.forward_train(ids, lengths=lengths)[0], inference)


def test_initial_embeddings():
    weights = LSTMClassifierNetwork(64, 4, 5000, 2, 1, embedding_std=0.1, padding_idx=3, seed=0).state_dict()
    embeddings = weights["embedding.weight"]
    assert np.std(embeddings) == pytest.approx(0.1, rel=0.01)
    assert not embeddings[3].any()


# -------------------------------------------------------------------------------------------------- gradients


@pytest.mark.parametrize(("bidirectional", "pooling", "num_layers"), SHAPES)
def test_gradients_against_finite_differences(bidirectional, pooling, num_layers):
    network = make_network(bidirectional, pooling, num_layers)
    ids, lengths, targets = make_batch()
    rng = np.random.default_rng(0)
    hidden = tuple(rng.standard_normal(array.shape) for array in network.init_hidden(len(ids)))
    dhidden = tuple(rng.standard_normal(array.shape) for array in hidden)

    def loss(state):
        out, (h_n, c_n) = network(ids, state, lengths)
        return cross_entropy(out, targets)[0] + (h_n * dhidden[0]).sum() + (c_n * dhidden[1]).sum()

    out, _, context = network.forward_train(ids, hidden, lengths)
    grads = network.backward(context, cross_entropy(out, targets)[1], dhidden)
    assert grads.x is None
    before = network.state_dict()
    assert list(grads.weights) == list(before)
    step = 1e-6
    for name, gradient in grads.weights.items():
        change = rng.standard_normal(gradient.shape)
        losses = []
        for sign in (1, -1):
            network.load_state_dict(before | {name: before[name] + sign * step * change})
            losses.append(loss(hidden))
        assert (gradient * change).sum() == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-6, abs=1e-8), (
            name
        )
    network.load_state_dict(before)
    for place, gradient in enumerate((grads.h0, grads.c0)):
        change = rng.standard_normal(gradient.shape)
        losses = []
        for sign in (1, -1):
            moved = list(hidden)
            moved[place] = hidden[place] + sign * step * change
            losses.append(loss(tuple(moved)))
        assert (gradient * change).sum() == pytest.approx((losses[0] - losses[1]) / (2 * step), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("pooling", [None, "mean"])
def test_gradients_of_floats_and_of_steps(pooling):
    network = SequenceNetwork(3, 4, 2, 2, bidirectional=True, pooling=pooling, dtype=np.float64, seed=0)
    rng = np.random.default_rng(0)
    x, lengths = rng.standard_normal((5, 6, 3)), np.array([6, 1, 3, 6, 2])
    out, _, context = network.forward_train(x, lengths=lengths)
    target = rng.standard_normal(out.shape)
    weight = (np.arange(6) < lengths[:, np.newaxis]).astype(float) if pooling is None else None
    grads = network.backward(context, mse(out, target, sample_weight=weight)[1])
    assert grads.x is None
    before = network.state_dict()
    assert list(grads.weights) == list(before)
    with pytest.warns(DeprecationWarning, match="weight_shapes is deprecated"):
        shapes = SequenceNetwork.weight_shapes(3, 4, 2, 2, bidirectional=True)
    assert {name: array.shape for name, array in before.items()} == shapes
    for name, gradient in grads.weights.items():
        change = rng.standard_normal(gradient.shape)
        losses = []
        for step in (1e-6, -1e-6):
            network.load_state_dict(before | {name: before[name] + step * change})
            losses.append(mse(network(x, lengths=lengths)[0], target, sample_weight=weight)[0])
        assert (gradient * change).sum() == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-6, abs=1e-9), name


def test_floats_of_a_wrong_shape():
    network = SequenceNetwork(3, 4, 2)
    with pytest.raises(ValueError, match=r"x has shape \(1, 2, 4\), expected \(batch, time, input_size=3\)"):
        network(np.zeros((1, 2, 4), np.float32))
    with pytest.raises(TypeError, match="x has dtype float64, expected float32"):
        network(np.zeros((1, 2, 3)))


def test_gradients_through_dropout():
    """With everything dropped but the bias, nothing below it has a gradient."""
    network = make_network(pooled_dropout=1.0)
    ids, lengths, targets = make_batch()
    out, _, context = network.forward_train(ids, lengths=lengths)
    grads = network.backward(context, cross_entropy(out, targets)[1]).weights
    assert grads["fc.bias"].any()
    assert not any(gradient.any() for name, gradient in grads.items() if name != "fc.bias")


def test_a_context_is_for_one_backward_of_its_network():
    network, other = make_network(), make_network()
    ids, _, _ = make_batch()
    out, _, context = network.forward_train(ids)
    with pytest.raises(ValueError, match="another layer or network"):
        other.backward(context, out)
    with pytest.raises(TypeError, match="expected what forward_train returned"):
        network.backward(None, out)
    with pytest.raises(ValueError, match="dout has shape"):
        network.backward(context, out[:-1])
    with pytest.raises(ValueError, match="dh_n has shape"):
        network.backward(context, out, (np.zeros((1, 7, 4)), np.zeros((1, 7, 5))))
    with pytest.raises(TypeError, match="expected a pair"):
        network.backward(context, out, np.zeros((1, 7, 5)))
    network.backward(context, out)
    with pytest.raises(ValueError, match="used by an earlier backward"):
        network.backward(context, out)


# ------------------------------------------------------------------------------------------------- bad arguments


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"embedding_dim": 0}, ValueError, "embedding_dim is 0"),
        ({"hidden_dim": 2.5}, TypeError, "hidden_dim is 2.5"),
        ({"vocab_size": -1}, ValueError, "vocab_size is -1"),
        ({"label_size": "2"}, TypeError, "label_size is '2'"),
        ({"num_layers": 0}, ValueError, "num_layers is 0"),
        ({"pooling": "sum"}, ValueError, "pooling is 'sum', expected one of 'last', 'mean', 'max'"),
        ({"dropout": 1.5}, ValueError, "dropout is 1.5"),
        ({"embedding_dropout": -0.1}, ValueError, "embedding_dropout is -0.1"),
        ({"pooled_dropout": 2}, ValueError, "pooled_dropout is 2"),
        ({"embedding_std": -1}, ValueError, "embedding_std is -1"),
        ({"bidirectional": 1}, TypeError, "bidirectional is 1"),
        ({"dtype": np.float16}, TypeError, "dtype is"),
        ({"seed": -1}, ValueError, "seed is -1"),
    ],
)
def test_bad_options(options, error, message):
    sizes = {"embedding_dim": 4, "hidden_dim": 4, "vocab_size": 10, "label_size": 2, "num_layers": 1}
    with pytest.raises(error, match=message):
        LSTMClassifierNetwork(**(sizes | options))


@pytest.mark.parametrize(
    ("ids", "options", "error", "message"),
    [
        ([[1.0, 2.0]], {}, TypeError, "x has dtype float64, expected integers"),
        ([[1, VOCABULARY]], {}, ValueError, f"x holds the id {VOCABULARY}, expected 0 to {VOCABULARY - 1}"),
        ([[-1, 2]], {}, ValueError, "x holds the id -1"),
        ([1, 2], {}, ValueError, r"x has shape \(2,\), expected \(batch, time\)"),
        ([[1, 2]], {"lengths": [3]}, ValueError, r"lengths\[0\] is 3"),
        ([[1, 2]], {"lengths": [-1]}, ValueError, r"lengths\[0\] is -1"),
        ([[1, 2]], {"lengths": [1, 1]}, ValueError, "lengths has shape"),
        ([[1, 2]], {"hidden": np.zeros((1, 1, 5))}, TypeError, "expected a pair"),
        ([[1, 2]], {"hidden": (np.zeros((1, 2, 5)),) * 2}, ValueError, "h0 has shape"),
        ([[1, 2]], {"hidden": (np.zeros((1, 1, 5), np.float32),) * 2}, TypeError, "h0 has dtype float32"),
    ],
)
def test_bad_input(ids, options, error, message):
    network = make_network()
    for call in (network, network.forward_train):
        with pytest.raises(error, match=message):
            call(ids, **options)


# ------------------------------------------------------------------------------------------------------- PyTorch


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    return torch


def make_twin(torch, network, bidirectional, pooling, num_layers, dtype):
    """Return the class from PyTorch tutorials, with our poolings and the weights of `network`."""
    nn = torch.nn

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(VOCABULARY, 6)
            self.lstm = nn.LSTM(6, 5, num_layers, batch_first=True, bidirectional=bidirectional)
            self.fc = nn.Linear(10 if bidirectional else 5, LABELS)

        def forward(self, x, hidden=None, lengths=None):
            packed = nn.utils.rnn.pack_padded_sequence(
                self.embedding(x), lengths, batch_first=True, enforce_sorted=False
            )
            packed, hidden = self.lstm(packed, hidden)
            if pooling == "last":
                pooled = torch.cat(list(hidden[0][-2:] if bidirectional else hidden[0][-1:]), dim=1)
            elif pooling == "max":
                y, _ = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True, padding_value=-torch.inf)
                pooled = y.max(dim=1).values
            else:
                y, _ = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True)
                pooled = y.sum(dim=1) / lengths[:, None]
            return self.fc(pooled), hidden

    twin = Classifier().to(dtype)
    twin.load_state_dict({name: torch.from_numpy(weight) for name, weight in network.state_dict().items()})
    return twin


@pytest.mark.peer
@pytest.mark.parametrize(("bidirectional", "pooling", "num_layers"), SHAPES)
def test_outputs_and_gradients_are_those_of_torch(torch, bidirectional, pooling, num_layers):
    network = make_network(bidirectional, pooling, num_layers)
    twin = make_twin(torch, network, bidirectional, pooling, num_layers, torch.float64)
    ids, lengths, targets = make_batch()
    expected, (h_n, c_n) = twin(torch.from_numpy(ids), lengths=torch.from_numpy(lengths))
    out, (ours_h, ours_c), context = network.forward_train(ids, lengths=lengths)
    for got, wanted in ((out, expected), (ours_h, h_n), (ours_c, c_n)):
        np.testing.assert_allclose(got, wanted.detach().numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(network(ids, lengths=lengths)[0], out, rtol=1e-12)

    loss = torch.nn.functional.cross_entropy(expected, torch.from_numpy(targets))
    loss.backward()
    value, dout = cross_entropy(out, targets)
    assert value == pytest.approx(loss.item(), rel=1e-12)
    grads = network.backward(context, dout).weights
    for name, weight in twin.named_parameters():
        np.testing.assert_allclose(grads[name], weight.grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.peer
def test_without_lengths_it_is_the_last_step_as_in_torch(torch):
    network = make_network()
    ids, _, _ = make_batch()
    twin = make_twin(torch, network, False, "last", 1, torch.float64)
    y, _ = twin.lstm(twin.embedding(torch.from_numpy(ids)))
    np.testing.assert_allclose(network(ids)[0], twin.fc(y[:, -1]).detach().numpy(), rtol=1e-10)


@pytest.mark.peer
@pytest.mark.parametrize(("bidirectional", "pooling", "num_layers"), [(False, "last", 2), (True, "max", 1)])
def test_a_whole_training_run_is_that_of_torch(torch, bidirectional, pooling, num_layers):
    network = make_network(bidirectional, pooling, num_layers, dtype=np.float32, embedding_std=1.0)
    twin = make_twin(torch, network, bidirectional, pooling, num_layers, torch.float32)
    optimizer, torch_optimizer = Adam(network, lr=2e-2), torch.optim.Adam(twin.parameters(), lr=2e-2)
    losses, torch_losses = [], []
    for step in range(96):
        ids, lengths, targets = make_batch(step % 12, batch=16, time=6)
        targets = (ids[:, 0] > 25).astype(int)  # so that there is something to learn
        out, _, context = network.forward_train(ids, lengths=lengths)
        loss, dout = cross_entropy(out, targets)
        optimizer.step(network.backward(context, dout).weights)
        losses.append(loss)

        torch_optimizer.zero_grad()
        out, _ = twin(torch.from_numpy(ids), lengths=torch.from_numpy(lengths))
        torch_loss = torch.nn.functional.cross_entropy(out, torch.from_numpy(targets))
        torch_loss.backward()
        torch_optimizer.step()
        torch_losses.append(torch_loss.item())
    assert losses[-1] < losses[0] / 2
    np.testing.assert_allclose(losses, torch_losses, atol=1e-4)
    for name, weight in twin.state_dict().items():
        np.testing.assert_allclose(network.state_dict()[name], weight.numpy(), atol=2e-3, err_msg=name)


# ------------------------------------------------------------------------------------------ weights from a file


def make_restored(arrays, *sizes, **options):
    return restored(lambda: SequenceNetwork(*sizes, **options), arrays, sizes[3])


def test_a_restored_network_has_the_files_weights():
    arrays = SequenceNetwork(3, 4, 2, 1, vocab_size=6, bidirectional=True, seed=5).state_dict()
    network = make_restored(arrays, 3, 4, 2, 1, vocab_size=6, bidirectional=True, seed=0)
    assert list(network.parameters()) == list(arrays)
    for name, weight in network.parameters().items():
        np.testing.assert_array_equal(weight, arrays[name])


@pytest.mark.parametrize(
    ("sizes", "options", "message"),
    [
        ((3, 10**5, 2, 1), {}, "lstm.weight_ih_l0 has shape"),
        ((10**12, 4, 2, 1), {}, "lstm.weight_ih_l0 has shape"),
        ((3, 4, 10**12, 1), {}, "fc.weight has shape"),
        ((3, 4, 2, 1), {"vocab_size": 10**12}, "embedding.weight"),
        ((3, 10**12, 2, 1), {}, "array is too big|too large|maximum"),  # more numbers than an array can have
        ((3, 4, 2, 7), {}, "it has 6 arrays, which isn't what its params ask for"),
        ((3, 4, 2, 10**12), {}, "it has 6 arrays, which isn't what its params ask for"),
        ((3, 4, 2, 6), {}, "lacks lstm.weight_ih_l1"),
        ((3, 4, 2, 1), {"bidirectional": True}, "lstm.weight_ih_l0_reverse"),
        ((3, 4, 2, 1), {"dtype": np.float64}, "has dtype float32, expected float64"),
    ],
)
def test_sizes_in_a_file_take_no_memory_before_they_are_checked(sizes, options, message):
    arrays = SequenceNetwork(3, 4, 2, 1).state_dict()
    tracemalloc.start()
    try:
        with pytest.raises((TypeError, ValueError), match=message):
            make_restored(arrays, *sizes, **options)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
