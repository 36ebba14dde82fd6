"""The examples' twins in PyTorch are the same networks: with the same weights they say, and learn, the same."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from clstm import LanguageModel, LSTMClassifier, Translator  # noqa: E402
from clstm._checks import random_generator  # noqa: E402
from clstm.language.characters import Characters  # noqa: E402
from clstm.language.network import LSTMLanguageNetwork  # noqa: E402
from clstm.translation.fitted import make_network  # noqa: E402

pytestmark = pytest.mark.peer

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def load(name):
    """Return a module of the twins."""
    spec = importlib.util.spec_from_file_location(f"examples_peers_{name}", EXAMPLES / "peers" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def twins():
    return load("classifier")


def give_weights(model, network):
    """Copy the weights of a fitted LSTMClassifier to the twin's network."""
    weights = {name: torch.from_numpy(array.copy()) for name, array in model.network_.parameters().items()}
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            name = name.replace("forth.", "lstm.")
            if name.startswith("back."):
                name = name.replace("back.", "lstm.") + "_reverse"
            parameter.copy_(weights.pop(name))
    assert not weights


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("kind", ["ragged", "ids", "steps"])
def test_same_weights_same_probabilities(twins, kind, bidirectional, pooling):
    generator = np.random.default_rng(0)
    y = np.arange(12) % 3
    options = {"hidden_size": 8, "n_epochs": 1, "bidirectional": bidirectional, "pooling": pooling, "random_state": 0}
    if kind == "ragged":
        X = [generator.standard_normal((length, 2)) * 3 + 5 for length in range(2, 14)]
    elif kind == "ids":
        X = [generator.integers(0, 20, length) for length in range(2, 14)]
        options |= {"vocab_size": 20, "embedding_dim": 4}
    else:
        X = generator.standard_normal((12, 6, 2))
        y = np.repeat(y[:, np.newaxis], 6, axis=1)
    model = LSTMClassifier(**options).fit(X, y)
    twin = twins.TorchLSTMClassifier(**options).fit(X, y)
    give_weights(model, twin.network)
    np.testing.assert_allclose(twin.predict_proba(X), model.predict_proba(X), atol=1e-5)
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))


def test_same_learning_rates(twins):
    """PyTorch's rates, of which Adam's steps have the size, are the estimator's."""
    from clstm.estimators import SCHEDULES
    from clstm.layers import Linear
    from clstm.optim import SGD

    optimizer = SGD(Linear(2, 1, seed=0), lr=0.1)
    schedule = SCHEDULES["one_cycle"](optimizer, 37)
    peer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    peer_schedule = twins._one_cycle(peer, 37)
    for _ in range(37):
        assert peer.param_groups[0]["lr"] == pytest.approx(optimizer.lr)
        peer.step()
        schedule.step()
        peer_schedule.step()


def test_language_model_learns_the_same(monkeypatch):
    """From the same weights, without dropout, both come to the same: schedule, clipping, state and average agree."""
    words = ["the", "whale", "a", "sea", "of", "ships", "and", "white", "call", "me"]
    text = " ".join(np.random.default_rng(0).choice(words, 2000))
    text, test = text[: 4 * 16 * 100], text[-600:]  # 4 streams of whole chunks: every epoch begins at the first step
    options = {"hidden_size": 24, "embedding_dim": 8, "batch_size": 4, "chunk_length": 16, "dropout": 0.0}
    model = LanguageModel(**options, n_epochs=2, seed=0, verbose=0)
    twins = load("language_model")
    twin = twins.TorchLanguageModel(model.get_params())
    first = LSTMLanguageNetwork(len(Characters.from_texts([text])), 8, 24, embedding_std=1.0, seed=0).state_dict()

    def network(*arguments, make=twins.Network):
        network = make(*arguments)
        network.load_state_dict({name: torch.from_numpy(array) for name, array in first.items()})
        return network

    monkeypatch.setattr(twins, "Network", network)
    model.fit(text)
    twin.fit(text)
    assert twin.bits_per_character(test) == pytest.approx(model.bits_per_character(test), abs=1e-3)


def test_translator_learns_the_same(monkeypatch):
    """From the same weights, without dropout, both come to the same weights: network, smoothing, clipping, rates."""
    english = ["I sing.", "You sing here.", "I walk.", "You walk a lot today.", "We walk here."] * 3
    french = ["Je chante.", "Tu chantes ici.", "Je marche.", "Tu marches beaucoup aujourd'hui.", "Nous marchons."] * 3
    options = {"embedding_dim": 12, "hidden_size": 16, "dropout": 0.0, "batch_size": 15, "n_epochs": 12}
    model = Translator(**options, seed=0, verbose=0).fit(english, french)
    twins = load("translator")
    sizes = len(model.source_vocabulary_), len(model.target_vocabulary_)
    first = make_network(model.get_params(), *sizes, random_generator(0)).state_dict()

    def network(*arguments, make=twins.EncoderDecoder):
        network = make(*arguments)
        network.load_state_dict({name: torch.from_numpy(array) for name, array in first.items()})
        return network

    monkeypatch.setattr(twins, "EncoderDecoder", network)
    weights = twins.train(model, english, french, seed=0)
    for name, weight in model.network_.parameters().items():
        np.testing.assert_allclose(weights[name], weight, atol=2e-4, err_msg=name)
        assert np.abs(weight - first[name]).max() > 1e-2
