"""Models of Keras: the same outputs and gradients, from files and from memory, and weights back to it."""

from __future__ import annotations

import io
import json
import pickle
import sys
import zipfile
from contextlib import contextmanager
from itertools import product

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import clstm
from clstm.files import ModelFileError
from tests.helpers.processes import run_python

# Keras's own variables, under NumPy 2
pytestmark = [
    pytest.mark.peer,
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
]

FLAGS = tuple(product([False, True], repeat=3))
LARGEST = {"float32": 1e-6, "float64": 1e-14}


@pytest.fixture(scope="module")
def keras(tmp_path_factory):
    """Keras on PyTorch, which the tests have anyway; it writes its settings to a folder of its own."""
    pytest.importorskip("torch")
    pytest.importorskip("h5py")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "torch")
        patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
        return pytest.importorskip("keras", "3")


@pytest.fixture
def layers(keras):
    keras.utils.set_random_seed(0)
    return keras.layers


@pytest.fixture(params=LARGEST)
def dtype(request, keras):
    """Each dtype in turn, as what Keras computes in."""
    with computing_in(keras, request.param):
        yield request.param


@pytest.fixture
def double(keras):
    with computing_in(keras, "float64"):
        yield


@pytest.fixture
def record(record_property, request):
    """Check the largest difference of an output, and note it and that of a gradient: ``pytest --differences``."""

    def record(dtype, outputs, gradients=0.0, times=1):
        assert outputs <= LARGEST[dtype] * times
        name = request.function.__name__.removeprefix("test_").replace("_", " ")
        record_property("difference", (name, dtype, float(outputs), float(gradients)))

    return record


@contextmanager
def computing_in(keras, dtype):
    from keras.src.backend.common.dtypes import BIT64_TO_BIT32_DTYPE

    with pytest.MonkeyPatch.context() as patch:
        # Keras has matrix products of float64 in float32, on all backends but TensorFlow: as on that one, here.
        patch.setitem(BIT64_TO_BIT32_DTYPE, "float64", "float64")
        keras.config.set_floatx(dtype)
        keras.config.set_dtype_policy(dtype)
        try:
            yield
        finally:
            keras.config.set_floatx("float32")
            keras.config.set_dtype_policy("float32")


def outputs_of(model, x):
    """Return Keras's outputs as a list of arrays."""
    import torch

    return numbers(model(torch.tensor(x)))  # it makes float32 of a float64 array


def numbers(tensors):
    from keras.ops import convert_to_numpy

    return [convert_to_numpy(tensor) for tensor in (tensors if isinstance(tensors, (list, tuple)) else [tensors])]


def randomised(model, seed=0):
    """Return the model with weights that are all nonzero, also the biases."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(-0.9, 0.9, weight.shape).astype(weight.dtype) for weight in model.get_weights()])
    return model


def functional(keras, inputs, *layers):
    x = inputs
    for layer in layers:
        x = layer(x[0] if isinstance(x, (list, tuple)) else x)
    return randomised(keras.Model(inputs, x))


def largest_difference(network, model, x, **arguments):
    """Return the largest difference between the outputs of a network and those of a Keras model."""
    expected, found = outputs_of(model, x), network(x, **arguments)
    found = found if isinstance(found, tuple) else (found,)
    assert [array.shape for array in found] == [array.shape for array in expected]
    assert [array.dtype for array in found] == [array.dtype for array in expected]
    return max(np.abs(a - b).max() for a, b in zip(found, expected, strict=True))


def sequences(dtype="float32", features=5):
    return np.random.default_rng(1).standard_normal((4, 7, features)).astype(dtype)


MASKS = {
    "none": None,
    "prefix": np.arange(7) < np.array([[7], [5], [0], [1]]),
    "suffix": np.arange(7) >= np.array([[0], [2], [7], [6]]),
    "any": np.random.default_rng(2).random((4, 7)) < 0.6,
}


def masked(mask, dtype="float32"):
    """Return sequences whose masked steps are all 9, for `Masking(9.0)`."""
    x = sequences(dtype)
    if MASKS[mask] is not None:
        x[~MASKS[mask]] = 9
    return x


TOKENS = np.random.default_rng(3).integers(1, 20, (4, 7))


# -------------------------------------------------------------------------------------------------------- the layers


@pytest.mark.parametrize(("return_sequences", "go_backwards", "zero_output"), FLAGS)
def test_lstm(keras, layers, dtype, record, return_sequences, go_backwards, zero_output):
    lstm = layers.LSTM(
        6, return_sequences=return_sequences, return_state=True, go_backwards=go_backwards,
        zero_output_for_mask=zero_output,
    )  # fmt: skip
    model = functional(keras, keras.Input((None, 5)), layers.Masking(9.0), lstm)
    network = clstm.keras.load(model)
    record(dtype, max(largest_difference(network, model, masked(mask, dtype)) for mask in MASKS))


@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave", None])
def test_bidirectional(keras, layers, dtype, record, merge_mode, return_sequences):
    lstm = layers.LSTM(6, return_sequences=return_sequences, return_state=True)
    both = layers.Bidirectional(lstm, merge_mode=merge_mode)
    model = functional(keras, keras.Input((None, 5)), layers.Masking(9.0), both)
    network = clstm.keras.load(model)
    assert len(network(sequences(dtype))) == (6 if merge_mode is None else 5)
    record(dtype, max(largest_difference(network, model, masked(mask, dtype)) for mask in MASKS))


@pytest.mark.parametrize("mask_zero", [False, True])
def test_stack_with_an_embedding(keras, layers, record, mask_zero):
    tokens = np.where(MASKS["any"], TOKENS, 0)
    model = randomised(
        keras.Sequential([
            keras.Input((None,), dtype="int32"),
            layers.Embedding(20, 5, mask_zero=mask_zero),
            layers.SpatialDropout1D(0.3),
            layers.Bidirectional(layers.LSTM(6, return_sequences=True, dropout=0.2), merge_mode="sum"),
            layers.Dropout(0.5),
            layers.LSTM(4, return_sequences=True, use_bias=False),
            layers.TimeDistributed(layers.Dense(3, activation="relu")),
            layers.LSTM(5),
            layers.Dense(4),
            layers.Activation("gelu"),
            layers.Dense(2, activation="softmax", use_bias=False, name="out"),
        ])
    )  # fmt: skip
    network = clstm.keras.load(model)
    assert [type(stage.layer).__name__ for stage in network.layers if stage.layer is not None] == [
        "Embedding", "LSTM", "LSTM", "Linear", "LSTM", "Linear", "Linear",
    ]  # fmt: skip
    assert not network.get_layer("out").layer.bias
    assert network.num_parameters() == model.count_params() + sum(
        array.size for name, array in network.parameters().items() if "bias_hh" in name
    )
    record("float32", largest_difference(network, model, tokens))


@pytest.mark.parametrize(
    "activation",
    ["linear", "sigmoid", "tanh", "softmax", "log_softmax", "relu", "relu6", "leaky_relu", "elu", "selu",
     "hard_sigmoid", "softplus", "softsign", "exponential", "silu", "gelu"],
)  # fmt: skip
def test_activations_of_dense_and_their_gradients(keras, layers, dtype, record, activation):
    model = randomised(keras.Sequential([keras.Input((None, 5)), layers.Dense(6, activation=activation)]))
    network = clstm.keras.load(model)
    x = 3 * sequences(dtype)
    record(dtype, 0, compare_gradients(network, model, x, gradient_tolerance(dtype, activation)))
    extremes = np.array([[[-1000, 1000, 0, 0, 0]]], dtype)
    ours, theirs = network(extremes), outputs_of(model, extremes)[0]
    # exp turns the rounding of sums near 1000 into relative differences
    np.testing.assert_allclose(ours, theirs, rtol=1e-4 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize(
    ("recurrent_activation", "activation"),
    [("hard_sigmoid", "tanh"), ("sigmoid", "relu"), ("sigmoid", "linear"), ("hard_sigmoid", "softsign"),
     ("sigmoid", "elu"), ("sigmoid", "selu"), ("sigmoid", "leaky_relu"), ("sigmoid", "softplus"),
     ("tanh", "sigmoid"), ("sigmoid", None)],
)  # fmt: skip
def test_activations_of_lstm(keras, layers, dtype, record, recurrent_activation, activation):
    lstm = layers.LSTM(6, activation, recurrent_activation, return_sequences=True)
    model = functional(keras, keras.Input((None, 5)), lstm)
    network = clstm.keras.load(model)
    difference = largest_difference(network, model, sequences(dtype))
    tolerance = gradient_tolerance(dtype, recurrent_activation)
    # linear, exponential and the like have outputs far above 1
    record(dtype, difference, compare_gradients(network, model, sequences(dtype), tolerance), times=5)


def test_directions_may_have_other_activations(keras, layers):
    both = layers.Bidirectional(
        layers.LSTM(6, return_sequences=True, recurrent_activation="hard_sigmoid"),
        backward_layer=layers.LSTM(6, return_sequences=True, activation="relu", go_backwards=True),
    )
    model = functional(keras, keras.Input((None, 5)), both)
    assert largest_difference(clstm.keras.load(model), model, sequences()) <= 5e-6


@pytest.mark.smoke
@pytest.mark.parametrize("bidirectional", [False, True])
def test_initial_state(keras, layers, bidirectional):
    lstm = layers.LSTM(6, return_sequences=True, return_state=True, name="lstm")
    layer = layers.Bidirectional(lstm, name="lstm") if bidirectional else lstm
    model = functional(keras, keras.Input((None, 5)), layer)
    network = clstm.keras.load(model)
    rng = np.random.default_rng(4)
    state = [rng.standard_normal((4, 6)).astype(np.float32) for _ in range(4 if bidirectional else 2)]
    x = sequences()
    for mask in MASKS.values():
        tensor = None if mask is None else keras.ops.convert_to_tensor(mask)
        expected = numbers(layer(x, mask=tensor, initial_state=state))
        found = network(x, mask, initial_state={"lstm": state})
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_lengths_are_a_mask(keras, layers):
    model = functional(keras, keras.Input((None, 5)), layers.LSTM(6, return_sequences=True), layers.LSTM(4))
    network = clstm.keras.load(model)
    x, mask = sequences(), MASKS["prefix"]
    np.testing.assert_array_equal(network(x, lengths=mask.sum(axis=1)), network(x, mask))
    np.testing.assert_array_equal(network(x, lengths=[7] * 4), network(x))
    assert np.abs(network(x, mask) - network(x)).max() > 0.01


def test_one_step_and_none(keras, layers):
    model = functional(keras, keras.Input((None, 5)), layers.Bidirectional(layers.LSTM(6, return_sequences=True)))
    network = clstm.keras.load(model)
    assert largest_difference(network, model, sequences()[:, :1]) <= 1e-6
    assert network(np.zeros((4, 0, 5), np.float32)).shape == (4, 0, 12)
    assert network(np.zeros((0, 7, 5), np.float32)).shape == (0, 7, 12)


def test_dense_alone_takes_any_shape(keras, layers):
    model = randomised(keras.Sequential([keras.Input((5,)), layers.Dense(3, activation="tanh")]))
    assert largest_difference(clstm.keras.load(model), model, sequences()[0]) <= 1e-6


@pytest.mark.parametrize("output", [0, 1, 2])
def test_any_output_of_an_lstm_may_be_the_next_input(keras, layers, output):
    inputs = keras.Input((None, 5))
    outputs = layers.LSTM(6, return_state=True)(layers.Masking(9.0)(inputs))
    model = randomised(keras.Model(inputs, layers.Dense(3)(outputs[output])))
    assert largest_difference(clstm.keras.load(model), model, masked("any")) <= 1e-6


def test_outputs_of_a_functional_model_in_any_order(keras, layers):
    inputs = keras.Input((None, 5))
    y, h, c = layers.LSTM(6, return_state=True, return_sequences=True)(inputs)
    model = randomised(keras.Model(inputs, [c, y, c]))
    network = clstm.keras.load(model)
    assert largest_difference(network, model, sequences()) <= 1e-6
    assert isinstance(clstm.keras.load(keras.Model(inputs, [h]))(sequences()), tuple)
    assert isinstance(clstm.keras.load(keras.Model(inputs, h))(sequences()), np.ndarray)


# --------------------------------------------------------------------------------------------------------- gradients


def gradient_tolerance(dtype, activation):
    """PyTorch's gradient of the hard sigmoid has 1/6 in float32, whatever the dtype."""
    return 1e-7 if (activation, dtype) == ("hard_sigmoid", "float64") else LARGEST[dtype] * 100


def keras_gradients(model, x, douts):
    """Return Keras's gradients of the sum of outputs times douts: of x (None of integers), and of the weights."""
    import torch

    x = torch.tensor(x, requires_grad=np.issubdtype(x.dtype, np.floating))
    outputs = model(x)
    outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
    parameters = [variable.value for variable in model.trainable_variables]
    for parameter in parameters:
        parameter.grad = None
    sum((output * torch.tensor(dout)).sum() for output, dout in zip(outputs, douts, strict=True)).backward()
    grads = [np.zeros(tuple(p.shape)) if p.grad is None else p.grad.numpy().copy() for p in parameters]
    return None if x.grad is None else x.grad.numpy(), grads


def compare_gradients(network, model, x, atol):
    """Compare all outputs and gradients; return the largest difference of a gradient."""
    from clstm.keras.weights import variables_of

    y, context = network.forward_train(x)
    single = not isinstance(y, tuple)
    rng = np.random.default_rng(5)
    douts = [rng.standard_normal(array.shape).astype(array.dtype) for array in ([y] if single else y)]
    grads = network.backward(context, douts[0] if single else douts)
    dx, dweights = keras_gradients(model, x, douts)
    rtol = 2e-6 if y[0].dtype == np.float32 else 1e-13
    for ours, theirs in zip([y] if single else y, outputs_of(model, x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol, atol)
    if dx is None:
        assert grads.x is None
    else:
        np.testing.assert_allclose(grads.x, dx, rtol, atol)
    names = {id(stage.layer): stage.name for stage in network.layers}
    found = []
    for part in variables_of(network):
        for name in part.names:
            gradient = grads.weights[f"{names[id(part.layer)]}.{name}"]
            found.append(gradient if isinstance(part.layer, clstm.Embedding) else gradient.T)
    assert len(found) == len(dweights) > 0
    for ours, theirs in zip(found, dweights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol, atol * max(1, np.abs(theirs).max()))
        assert np.abs(theirs).max() > 0
    pairs = [*zip(found, dweights, strict=True)] + ([] if dx is None else [(grads.x, dx)])
    return max(np.abs(ours - theirs).max() for ours, theirs in pairs)


@pytest.mark.parametrize("return_sequences", [False, True])
@pytest.mark.parametrize("merge_mode", ["concat", "sum", "mul", "ave", None])
def test_gradients_of_bidirectional(keras, layers, double, record, merge_mode, return_sequences):
    lstm = layers.LSTM(6, return_sequences=return_sequences, return_state=True)
    both = layers.Bidirectional(lstm, merge_mode=merge_mode)
    model = functional(keras, keras.Input((None, 5)), layers.Masking(9.0), both)
    network = clstm.keras.load(model)
    record("float64", 0, max(compare_gradients(network, model, masked(mask, "float64"), 1e-13) for mask in MASKS))


@pytest.mark.parametrize(("return_sequences", "go_backwards", "zero_output"), FLAGS)
def test_gradients_of_lstm(keras, layers, double, record, return_sequences, go_backwards, zero_output):
    lstm = layers.LSTM(
        6, return_sequences=return_sequences, go_backwards=go_backwards, zero_output_for_mask=zero_output
    )  # fmt: skip
    model = functional(keras, keras.Input((None, 5)), layers.Masking(9.0), lstm)
    network = clstm.keras.load(model)
    record("float64", 0, max(compare_gradients(network, model, masked(mask, "float64"), 1e-13) for mask in MASKS))


def test_gradients_of_a_stack(keras, layers, record):
    model = randomised(
        keras.Sequential([
            keras.Input((None,), dtype="int32"),
            layers.Embedding(20, 5, mask_zero=True),
            layers.Bidirectional(layers.LSTM(6, return_sequences=True)),
            layers.TimeDistributed(layers.Dense(3, activation="tanh")),
            layers.LSTM(4),
            layers.Activation("softsign"),
            layers.Dense(2, activation="softmax"),
        ])
    )  # fmt: skip
    record("float32", 0, compare_gradients(clstm.keras.load(model), model, np.where(MASKS["any"], TOKENS, 0), 1e-6))


def test_dropout_is_for_training(keras, layers):
    model = randomised(
        keras.Sequential([
            keras.Input((None, 5)),
            layers.SpatialDropout1D(0.25),
            layers.LSTM(6, return_sequences=True, dropout=0.5),
            layers.Dropout(0.5),
        ])
    )  # fmt: skip
    network = clstm.keras.load(model)
    x = np.ones((2000, 3, 5), np.float32)
    np.testing.assert_array_equal(network(x), network(x))
    (dropped,), _, factors = network.layers[0].forward(x, None, train=True)
    assert (dropped == dropped[:, :1]).all()
    assert set(np.unique(factors)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((factors == 0).mean() - 0.25) < 0.02
    y, context = network.forward_train(x)
    assert abs((y == 0).mean() - 0.5) < 0.01
    # A feature that either dropout has zeroed at the first step is zeroed at all, and has no gradient.
    grads = network.backward(context, np.ones_like(y))
    blocked = grads.x[:, 0] == 0
    assert abs(blocked.mean() - (1 - 0.75 * 0.5)) < 0.03
    assert (grads.x.swapaxes(1, 2)[blocked] == 0).all()


def test_recurrent_dropout_is_read(keras, layers):
    model = functional(keras, keras.Input((None, 5)), layers.LSTM(6, recurrent_dropout=0.25))
    network = clstm.keras.load(model)
    assert network.layers[0].layer.recurrent_dropout == 0.25
    assert largest_difference(network, model, sequences()) <= 1e-6
    y, _ = network.forward_train(sequences())
    assert np.abs(y - network(sequences())).max() > 1e-3


# ------------------------------------------------------------------------------------------------------------- files


@pytest.fixture
def model(keras, layers):
    return randomised(
        keras.Sequential([
            keras.Input((None,), dtype="int32"),
            layers.Embedding(20, 5, mask_zero=True, name="words"),
            layers.Bidirectional(layers.LSTM(6, return_sequences=True), name="both"),
            layers.LSTM(4, name="first"),
            layers.Dense(3, activation="softmax", name="out"),
        ])
    )  # fmt: skip


def test_files_and_memory_give_the_same_network(model, keras, tmp_path):
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    (tmp_path / "model.json").write_text(model.to_json(), encoding="utf-8")
    expected = clstm.keras.load(model).state_dict()
    assert list(expected)[:3] == ["words.weight", "both.weight_ih_l0", "both.weight_hh_l0"]
    for network in (
        clstm.keras.load(tmp_path / "model.keras"),
        clstm.keras.load(str(tmp_path / "model.keras"), weights=tmp_path / "model.weights.h5"),
        clstm.keras.load(tmp_path / "model.json", tmp_path / "model.weights.h5"),
        clstm.keras.load(tmp_path / "model.json", tmp_path / "model.keras"),
        clstm.keras.load(model, tmp_path / "model.weights.h5"),
    ):
        found = network.state_dict()
        assert list(found) == list(expected)
        assert all(found[name].tobytes() == array.tobytes() for name, array in expected.items())
        assert largest_difference(network, model, TOKENS) <= 1e-6
    randomised(model, 7)
    other = clstm.keras.load(model, tmp_path / "model.weights.h5").state_dict()
    assert other["out.bias"].tobytes() == expected["out.bias"].tobytes()


def test_functional_models_from_files(keras, layers, tmp_path):
    both = layers.Bidirectional(layers.LSTM(6, return_state=True), merge_mode=None, name="both")
    model = functional(keras, keras.Input((None, 5), name="x"), layers.Masking(name="mask"), both)
    model.save(tmp_path / "model.keras")
    network = clstm.keras.load(tmp_path / "model.keras")
    assert largest_difference(network, model, sequences()) <= 1e-6


def test_weights_are_written_back_bit_for_bit(model, keras, tmp_path):
    network = clstm.keras.load(model)
    before = model.get_weights()
    clstm.keras.save_weights(network, tmp_path / "back.weights.h5")
    randomised(model, 8).load_weights(tmp_path / "back.weights.h5")
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        assert ours.tobytes() == theirs.tobytes()
    randomised(model, 9)
    clstm.keras.copy_to(network, model)
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_trained_weights_are_written_back(model, tmp_path):
    network = clstm.keras.load(model)
    optimiser = clstm.optim.Adam(network, lr=0.01)
    for _ in range(3):
        y, context = network.forward_train(TOKENS)
        optimiser.step(network.backward(context, y - np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]).weights)
    assert largest_difference(network, model, TOKENS) > 0.01
    clstm.keras.save_weights(network, tmp_path / "trained.weights.h5")
    model.load_weights(tmp_path / "trained.weights.h5")
    assert largest_difference(network, model, TOKENS) <= 1e-6


def test_parts_of_any_network_take_weights(keras, layers, tmp_path):
    model = randomised(
        keras.Sequential([
            keras.Input((None,), dtype="int32"),
            layers.Embedding(20, 5),
            layers.Bidirectional(layers.LSTM(6, return_sequences=True)),
            layers.Bidirectional(layers.LSTM(6)),
            layers.Dense(3),
        ])
    )  # fmt: skip
    model.save(tmp_path / "model.keras")
    for source in (tmp_path / "model.keras", model):
        network = clstm.models.LSTMClassifierNetwork(5, 6, 20, 3, 2, bidirectional=True)
        parts = [network.embedding, network.lstm, network.fc]
        clstm.keras.load_weights(parts, source)
        np.testing.assert_allclose(network(TOKENS)[0], outputs_of(model, TOKENS)[0], atol=1e-6)
    clstm.keras.save_weights(parts, tmp_path / "parts.weights.h5")
    before = model.get_weights()
    randomised(model, 3).load_weights(tmp_path / "parts.weights.h5")
    assert all(a.tobytes() == b.tobytes() for a, b in zip(model.get_weights(), before, strict=True))
    with pytest.raises(ModelFileError, match="has shape"):
        clstm.keras.load_weights(
            [network.embedding, clstm.LSTM(5, 7, 2, bidirectional=True), network.fc], tmp_path / "model.keras"
        )
    with pytest.raises(ValueError, match=r"model has layers/embedding.* expected layers/embedding, layers/dense"):
        clstm.keras.load_weights([network.embedding, network.fc], model)


@pytest.mark.subprocess
def test_the_file_is_read_without_keras(model, tmp_path):
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "expected.npy", outputs_of(model, TOKENS)[0])
    np.save(tmp_path / "tokens.npy", TOKENS)
    code = """
import sys, numpy as np, clstm
network = clstm.keras.load("model.keras")
found = network(np.load("tokens.npy"))
assert np.abs(found - np.load("expected.npy")).max() < 1e-6
assert not {"keras", "torch", "tensorflow", "jax"} & set(sys.modules)
"""
    run_python(code, folder=tmp_path)


def test_networks_are_copied_by_pickle(model):
    network = clstm.keras.load(model)
    other = pickle.loads(pickle.dumps(network))
    np.testing.assert_array_equal(other(TOKENS), network(TOKENS))
    with other.updating() as weights:
        weights["out.bias"][0] += 1
    assert np.abs(other(TOKENS) - network(TOKENS)).max() > 0.1


def test_missing_h5py_is_named_with_the_extra(model, tmp_path, monkeypatch):
    model.save(tmp_path / "model.keras")
    network = clstm.keras.load(model)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ImportError, match=r"need h5py: pip install clstm-cpu\[keras\]"):
        clstm.keras.load(tmp_path / "model.keras")
    with pytest.raises(ImportError, match=r"clstm-cpu\[keras\]"):
        clstm.keras.save_weights(network, tmp_path / "model.weights.h5")


# --------------------------------------------------------------------------------------------- what can't be read


def unread(layers):
    """Layers that can't be represented, each with what its error says."""
    lstm = layers.LSTM
    return {
        "GRU": ([layers.GRU(3, name="it")], r"layer 'it' \(GRU\) can't be read: expected one of Embedding"),
        "Lambda": ([layers.Lambda(lambda x: x, name="it")], r"layer 'it' \(Lambda\)"),
        "Flatten": ([layers.Flatten(name="it")], r"layer 'it' \(Flatten\)"),
        "stateful": ([lstm(3, stateful=True, name="it")], r"layer 'it' \(LSTM\) .* stateful is True, expected False"),
        "mish": ([lstm(3, activation="mish", name="it")], "activation is 'mish', expected one of sigmoid"),
        "softmax": ([lstm(3, recurrent_activation="softmax", name="it")], "recurrent_activation is 'softmax'"),
        "mish dense": ([layers.Dense(3, activation="mish", name="it")], "activation is 'mish', expected one of linear"),
        "noise": ([layers.Dropout(0.5, noise_shape=(None, 1, 5), name="it")], "noise_shape is"),
        "half": ([lstm(3, dtype="float16", name="it")], "dtype is 'float16', expected float32 or float64"),
        "mixed": ([lstm(3, dtype="mixed_float16", name="it")], "dtype is 'mixed_float16'"),
        "dtypes": ([lstm(3, dtype="float64", name="it"), layers.Dense(2)], "dtype is float64, that of the last"),
        "GRU inside": ([layers.Bidirectional(layers.GRU(3), name="it")], "its layer is a GRU, expected an LSTM"),
        "distributed": ([layers.TimeDistributed(layers.LayerNormalization(), name="it")], "expected a Dense"),
        "units": (
            [layers.Bidirectional(lstm(3), backward_layer=lstm(4, go_backwards=True), name="it")],
            "units is 3 of its layer, but 4 of its backward_layer",
        ),
        "backwards": (
            [layers.Bidirectional(lstm(3, go_backwards=True), backward_layer=lstm(3), name="it")],
            "go_backwards is True of its layer",
        ),
    }


UNREAD = (
    "GRU", "Lambda", "Flatten", "stateful", "mish", "softmax", "mish dense", "noise", "half", "mixed", "dtypes",
    "GRU inside", "distributed", "units", "backwards",
)  # fmt: skip


@pytest.mark.parametrize("name", UNREAD)
def test_unsupported_layers_are_named(keras, layers, name, tmp_path):
    parts, text = unread(layers)[name]
    inputs = keras.Input(batch_shape=(2, 7, 5))
    model = keras.Sequential([inputs, *parts])
    with pytest.raises(ValueError, match=text):
        clstm.keras.load(model)
    model.save(tmp_path / "model.keras")
    with pytest.raises(ModelFileError, match=rf"model.keras' can't be loaded: .*{text}"):
        clstm.keras.load(tmp_path / "model.keras")


def test_models_other_than_chains_are_refused(keras, layers):
    one, other = keras.Input((None, 5)), keras.Input((None, 5))
    dense, lstm = layers.Dense(5, name="dense"), layers.LSTM(5, return_state=True, name="lstm")
    y, h, c = lstm(one)
    for model, text in (
        (keras.Model([one, other], layers.Add()([one, other])), "several inputs"),
        (keras.Model(one, [dense(one), y]), "outputs of several layers"),
        (keras.Model(one, layers.Add()([dense(one), one])), r"\(Add\) can't be read: it has 1 inputs or a list"),
        (keras.Model(one, layers.Dense(2)(dense(dense(one)))), r"\['dense', 1, 0\].* a layer that is used once"),
        (keras.Model(one, layers.LSTM(5, name="it")(layers.RepeatVector(3)(y), initial_state=[h, c])), "'it'"),
        (keras.Model(one, layers.Dropout(0.5, name="it")(one, training=True)), "'it'.* called with training=True"),
        (keras.Sequential([keras.Input((None, 5)), keras.Sequential([layers.Dense(3)], name="inner")]), "'inner'"),
    ):
        with pytest.raises(ValueError, match=text):
            clstm.keras.load(model)


def test_custom_classes_are_refused(keras, layers):
    class Dense(layers.Dense):
        def call(self, x):
            return super().call(x) + 1

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(3)

        def call(self, x):
            return self.dense(x)

    with pytest.raises(ValueError, match="only Keras's own layers can be read"):
        clstm.keras.load(keras.Sequential([keras.Input((None, 5)), Dense(3)]))
    own = Model()
    own(sequences())
    with pytest.raises(ValueError, match="the model is a Model, expected a Sequential or a Functional model"):
        clstm.keras.load(own)


def test_models_that_arent_built_are_refused(keras, layers):
    with pytest.raises(ValueError, match="isn't built"):
        clstm.keras.load(keras.Sequential([layers.LSTM(3)]))
    for wrong in (layers.LSTM(3), 5, None, object()):
        with pytest.raises(TypeError, match="expected a path or a keras"):
            clstm.keras.load(wrong)


def test_wrong_calls_are_named(model, keras, layers):
    network = clstm.keras.load(model)
    state = [np.zeros((4, 4), np.float32)] * 2
    mask = np.ones((4, 7), bool)
    for error, text, arguments in (
        (ValueError, "mask and lengths are both given", {"mask": mask, "lengths": [7] * 4}),
        (TypeError, "mask has dtype float64", {"mask": mask.astype(float)}),
        (ValueError, r"mask has shape \(4, 6\), expected \(batch=4, time=7\)", {"mask": mask[:, 1:]}),
        (ValueError, r"lengths\[0\] is 8, expected 0 to 7", {"lengths": [8, 1, 1, 1]}),
        (TypeError, "initial_state is list", {"initial_state": state}),
        (ValueError, "initial_state has 'out', expected names of recurrent layers", {"initial_state": {"out": state}}),
        (TypeError, r"initial_state\['both'\] is 2 arrays, expected 4", {"initial_state": {"both": state}}),
        (ValueError, r"h has shape \(4, 4\), expected \(batch=4, units=6\)", {"initial_state": {"both": state * 2}}),
    ):
        with pytest.raises(error, match=text):
            network(TOKENS, **arguments)
    with pytest.raises(ValueError, match=r"lengths is given, but x has shape \(7,\), expected \(batch, time\)"):
        network(TOKENS[0], lengths=[7])
    with pytest.raises(TypeError, match="ids has dtype float64"):
        network(TOKENS.astype(float))
    with pytest.raises(ValueError, match="there is no layer 'last'; there are words, both, first, out"):
        network.get_layer("last")
    y, context = network.forward_train(TOKENS)
    with pytest.raises(TypeError, match="context is NoneType"):
        network.backward(None, y)
    with pytest.raises(ValueError, match="dy has shape"):
        network.backward(context, y[1:])
    with pytest.raises(ValueError, match="another layer or network"):
        clstm.keras.load(model).backward(context, y)
    network.backward(context, y)
    with pytest.raises(ValueError, match="used by an earlier backward"):
        network.backward(context, y)


def test_wrong_targets_are_named_and_nothing_has_changed(model, keras, layers, tmp_path):
    network = clstm.keras.load(model)
    with pytest.raises(ValueError, match=r"expected a name that ends in '.weights.h5'"):
        clstm.keras.save_weights(network, tmp_path / "model.h5")
    with pytest.raises(FileNotFoundError):
        clstm.keras.save_weights(network, tmp_path / "no folder" / "model.weights.h5")
    other = randomised(keras.Sequential([keras.Input((None, 5)), layers.LSTM(4), layers.Dense(3)]))
    with pytest.raises(ValueError, match="the model has layers/lstm, layers/dense, expected layers/embedding"):
        clstm.keras.copy_to(network, other)
    before = other.get_weights()
    with pytest.raises(ValueError, match=r"layers/dense has variables of shapes \[\(4, 3\), \(3,\)\], expected"):
        clstm.keras.copy_to([clstm.LSTM(5, 4), clstm.Linear(4, 2)], other)
    assert all((a == b).all() for a, b in zip(before, other.get_weights(), strict=True))
    with pytest.raises(TypeError, match="layers holds Dropout"):
        clstm.keras.save_weights([clstm.Dropout()], tmp_path / "model.weights.h5")
    with pytest.raises(TypeError, match="layers is LSTM, expected a KerasNetwork or a list"):
        clstm.keras.save_weights(clstm.LSTM(3, 2), tmp_path / "model.weights.h5")
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------------------------- hostile files


@pytest.fixture(scope="module")
def saved(keras, tmp_path_factory):
    """The bytes of a .keras file, and of its .weights.h5."""
    layers = keras.layers
    model = randomised(
        keras.Sequential([
            keras.Input((None,), dtype="int32"), layers.Embedding(6, 2), layers.LSTM(3), layers.Dense(2),
        ])
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("saved")
    model.save(folder / "model.keras")
    model.save_weights(folder / "model.weights.h5")
    return (folder / "model.keras").read_bytes(), (folder / "model.weights.h5").read_bytes()


def repacked(data, compression=zipfile.ZIP_STORED, **members):
    """Return an archive with other members; None leaves one out."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content |= {name.replace("__", "."): value for name, value in members.items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, value in content.items():
            if value is not None:
                archive.writestr(name, value if isinstance(value, (bytes, str)) else json.dumps(value))
    return buffer.getvalue()


def config_of(data):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return json.loads(archive.read("config.json"))


def edited(weights, edit):
    """Return a .weights.h5 file after `edit(file)`."""
    import h5py

    buffer = io.BytesIO(weights)
    with h5py.File(buffer, "r+") as file:
        edit(file)
    return buffer.getvalue()


def load_bytes(data, folder):
    (folder / "bad.keras").write_bytes(data)
    return clstm.keras.load(folder / "bad.keras")


def test_a_repacked_archive_is_read(saved, tmp_path):
    expected = load_bytes(saved[0], tmp_path).state_dict()
    found = load_bytes(repacked(saved[0], zipfile.ZIP_DEFLATED), tmp_path).state_dict()
    assert all((found[name] == array).all() for name, array in expected.items())


def test_corrupt_archives_are_named(saved, tmp_path):
    data = saved[0]
    whole = bytearray(data)
    whole[data.index(b"\x89HDF") + 3000] ^= 1
    for bad, text in (
        (b"", "it isn't JSON"),
        (b"PK\x03\x04", "it is no archive, or corrupt"),
        (data[:-30], "it is no archive, or corrupt"),
        (bytes(whole), "its model.weights.h5 is corrupt"),
        (repacked(data, config__json=None), "it has no config.json"),
        (repacked(data, **{"model.weights__h5": None}), "it has no model.weights.h5"),
        (repacked(data, config__json=b"\xff"), "config.json isn't JSON"),
        (repacked(data, config__json="[" * 100_000), "config.json isn't JSON"),
        (repacked(data, config__json=[]), "the model has class_name = None"),
        (repacked(data, metadata__json={"keras_version": "2.15.0"}), "it was saved by Keras '2.15.0', expected 3"),
        (repacked(data, metadata__json={}), "it was saved by Keras None"),
        (
            repacked(data, zipfile.ZIP_DEFLATED, config__json=" " * 10**8),
            "its config.json has 100,000,000 bytes, packed",
        ),
        (repacked(data, **{"model.weights__h5": b"\x89HDF\r\n\x1a\n"}), "its HDF5 is corrupt"),
        (saved[1], "it is HDF5: weights alone"),
    ):
        with pytest.raises(ModelFileError, match=rf"bad.keras' can't be loaded: {text}"):
            load_bytes(bad, tmp_path)
    with pytest.raises(FileNotFoundError):
        clstm.keras.load(tmp_path / "none.keras")
    with pytest.raises(IsADirectoryError):
        clstm.keras.load(tmp_path)
    (tmp_path / "model.json").write_text(json.dumps(config_of(data)), encoding="utf-8")
    with pytest.raises(ModelFileError, match="a model without weights"):
        clstm.keras.load(tmp_path / "model.json")


def test_hostile_configurations_are_named(saved, tmp_path):
    data = saved[0]

    def changed(layer, **options):
        config = config_of(data)
        config["config"]["layers"][layer]["config"].update(options)
        return repacked(data, config__json=config)

    for bad, text in (
        (changed(2, units=10**12), "can't be loaded"),
        (changed(2, units=10**30), "can't be loaded"),
        (changed(2, units="3"), r"layer 'lstm.*' \(LSTM\) can't be read: units is '3', expected an integer"),
        (changed(2, units=4), r"layers/lstm/cell/vars/0 has shape \(2, 12\), expected \(2, 16\)"),
        (changed(2, use_bias=False), "layers/lstm/cell has 3 variables, expected 2"),
        (changed(2, use_bias=1), "use_bias is 1, expected True or False"),
        (changed(2, activation={"class_name": "function", "config": "f"}), "activation is {'class_name'"),
        (changed(2, dtype={"class_name": "DTypePolicy", "config": 5}), "dtype is 5"),
        (changed(2, new_option=3), "new_option is 3, which isn't known"),
        (changed(1, name=5), r"a layer \(Embedding\) has name = 5"),
        (changed(1, input_dim=10**15, output_dim=10), "can't be loaded"),
        (changed(3, units=10**9), "layers/dense/vars/0 has shape"),
    ):
        with pytest.raises(ModelFileError, match=text):
            load_bytes(bad, tmp_path)


def test_hostile_weights_are_named(saved, tmp_path):
    import h5py

    data, weights = saved
    path = "layers/dense/vars/0"

    def replace(file, value=None, **options):
        shape = file[path].shape
        del file[path]
        if value is not None:
            file[path] = value
        elif options:
            file.create_dataset(path, **{"shape": shape, "dtype": "f4", **options})

    for edit, text in (
        (lambda file: replace(file), "layers/dense has 1 variables, expected 2"),
        (
            lambda file: file.move(path, "layers/dense/vars/7"),
            "has no layers/dense .no '0' there.; it has layers/dense",
        ),
        (lambda file: file.move("layers/dense", "layers/den"), "it has no layers/dense"),
        (lambda file: file.move("layers", "other"), "it has no layers/embedding"),
        (lambda file: replace(file, h5py.SoftLink("/layers/dense/vars/1")), "layers/dense is a link"),
        (lambda file: replace(file, h5py.ExternalLink("other.h5", "/x")), "layers/dense is a link"),
        (lambda file: replace(file, np.zeros((3, 2), np.float16)), "has dtype float16, expected float32 or float64"),
        (lambda file: replace(file, np.zeros((3, 2))), "weight has dtype float64, expected float32"),
        (lambda file: replace(file, "text"), r"has shape \(\)"),
        (lambda file: (replace(file), file.create_group(path)), "'0' is a Group, expected a Dataset"),
        (lambda file: replace(file, shape=(3, 2), chunks=(3, 2)), "isn't all in the file"),
        (lambda file: replace(file, external=[("/etc/hostname", 0, 24)]), "isn't all in the file"),
    ):
        with pytest.raises(ModelFileError, match=text):
            load_bytes(repacked(data, **{"model.weights__h5": edited(weights, edit)}), tmp_path)


def test_the_layout_of_keras_2_is_named(keras, layers, tmp_path):
    import h5py

    with h5py.File(tmp_path / "old.weights.h5", "w") as file:
        file.attrs["layer_names"] = ["lstm"]
    with pytest.raises(ModelFileError, match="layout of Keras 2; load it in Keras 3"):
        clstm.keras.load_weights([clstm.LSTM(2, 3)], tmp_path / "old.weights.h5")


def test_nothing_changes_where_a_file_doesnt_fit(saved, tmp_path):
    (tmp_path / "model.weights.h5").write_bytes(saved[1])
    parts = [clstm.Embedding(6, 2, dtype=np.float64), clstm.LSTM(2, 3), clstm.Linear(3, 2)]
    before = [part.state_dict() for part in parts]
    with pytest.raises(ModelFileError, match="weight has dtype float32, expected float64"):
        clstm.keras.load_weights(parts, tmp_path / "model.weights.h5")
    for part, state in zip(parts, before, strict=True):
        assert all((state[name] == array).all() for name, array in part.state_dict().items())


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_is_one_error_or_none(saved, tmp_path, data):
    """A byte changed or the end cut off: either it is read, or it is a ModelFileError."""
    content = bytearray(saved[data.draw(st.sampled_from([0, 1]))])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2, 100]))])
    (tmp_path / "any.weights.h5").write_bytes(content)
    parts = [clstm.Embedding(6, 2), clstm.LSTM(2, 3), clstm.Linear(3, 2)]
    try:
        clstm.keras.load_weights(parts, tmp_path / "any.weights.h5")
    except ModelFileError:
        event("refused")


# ------------------------------------------------------------------------------------------------------ a real model


def test_a_trained_classifier_predicts_the_same(keras, layers, record, tmp_path):
    train, test = clstm.datasets.load_movie_reviews().train, clstm.datasets.load_movie_reviews().test
    texts, labels = train.texts[:600], np.array([label == "positive" for label in train.labels[:600]])
    vocabulary = clstm.Vocabulary.from_texts(texts, max_size=1000)

    def ids(texts):
        return vocabulary.encode_batch(texts)[0][:, :25]

    model = keras.Sequential([
        keras.Input((None,), dtype="int32"),
        layers.Embedding(len(vocabulary), 32, mask_zero=True),
        layers.Bidirectional(layers.LSTM(24, dropout=0.1)),
        layers.Dense(1, activation="sigmoid"),
    ])  # fmt: skip
    model.compile(optimizer=keras.optimizers.Adam(0.003), loss="binary_crossentropy")
    model.fit(ids(texts), labels, batch_size=50, epochs=1, verbose=0)
    model.save(tmp_path / "reviews.keras")
    tokens = ids(test.texts[:100])
    expected = model.predict(tokens, verbose=0)
    found = clstm.keras.load(tmp_path / "reviews.keras")(tokens)
    record("float32", np.abs(found - expected).max())
    assert ((found > 0.5) == (expected > 0.5)).all()
    assert expected.std() > 0.01
