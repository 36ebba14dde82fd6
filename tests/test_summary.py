"""Summaries: numbers worked by hand, and totals that are those of the weights."""

import numpy as np
import pytest

import clstm
from clstm.language.network import LSTMLanguageNetwork
from clstm.layers.adaptive_softmax import AdaptiveLogSoftmax
from clstm.layers.attention import Attention
from clstm.layers.base import Layer
from clstm.models import LSTMClassifierNetwork, SequenceNetwork
from clstm.translation.encoder_decoder import EncoderDecoder


def rows_of(layer):
    return [(row.name, row.kind, row.depth, row.output, row.parameters) for row in layer.summary().rows]


@pytest.mark.smoke
def test_a_layer_by_hand():
    # 4 gates of 32 units, each with 8 inputs, 32 outputs of the step before and two biases
    assert rows_of(clstm.LSTM(8, 32, batch_first=True)) == [
        ("", "LSTM", 0, ("batch", "time", 32), 4 * 32 * (8 + 32 + 2))
    ]
    assert rows_of(clstm.LSTMCell(8, 32, bias=False)) == [("", "LSTMCell", 0, ("batch", 32), 4 * 32 * (8 + 32))]
    assert rows_of(clstm.Linear(8, 3)) == [("", "Linear", 0, ("...", 3), 27)]
    assert rows_of(clstm.Embedding(10, 4)) == [("", "Embedding", 0, ("...", 4), 40)]
    assert rows_of(clstm.Dropout(0.5)) == [("", "Dropout", 0, (), 0)]


def test_stacked_layers_have_a_row_each():
    # Twelve, for their numbers have one digit and two
    lstm = clstm.LSTM(8, 32, 12, bidirectional=True, dtype=np.float64)
    above = 2 * 4 * 32 * (64 + 32 + 2)
    assert rows_of(lstm) == [
        ("", "LSTM", 0, ("time", "batch", 64), 0),
        ("", "layer 0", 1, ("time", "batch", 64), 2 * 4 * 32 * (8 + 32 + 2)),
        *(("", f"layer {layer}", 1, ("time", "batch", 64), above) for layer in range(1, 12)),
    ]
    assert lstm.summary().rows[1].nbytes == 8 * 2 * 4 * 32 * (8 + 32 + 2)


def test_a_network_as_a_table():
    network = LSTMClassifierNetwork(100, 64, 20000, 2, 2)
    assert str(network.summary()).splitlines() == [
        "-------------------------------------------------------------",
        "layer                   output shape       parameters  memory",
        "-------------------------------------------------------------",
        "LSTMClassifierNetwork   (batch, 2)",
        "  embedding: Embedding  (..., 100)          2,000,000    8 MB",
        "  lstm: LSTM            (batch, time, 64)",
        "    layer 0             (batch, time, 64)      42,496  170 kB",
        "    layer 1             (batch, time, 64)      33,280  133 kB",
        "  fc: Linear            (..., 2)                  130   520 B",
        "-------------------------------------------------------------",
        "total, float32                              2,075,906  8.3 MB",
    ]
    assert repr(network.summary()) == str(network.summary())


class Doubled(Layer):
    """A user's own layer, which says nothing of its output."""

    def __init__(self):
        super().__init__()
        self._add_part("one", clstm.Linear(3, 3))
        self._add_weight("scale", (3,), np.dtype(np.float64), lambda: np.ones(3))


@pytest.mark.parametrize(
    "layer",
    [
        clstm.LSTM(3, 5, 2, bias=False, bidirectional=True),
        SequenceNetwork(3, 5, 2, 2, pooling=None),
        SequenceNetwork(3, 5, 2, vocab_size=7, pooling="max"),
        EncoderDecoder(10, 12, 4, 6, 2),
        LSTMLanguageNetwork(20, 4, 6, tied=True),
        LSTMLanguageNetwork(20, 4, 6, cutoffs=[5, 10]),
        AdaptiveLogSoftmax(16, 40, [5, 10]),
        Attention(4, 6, 3),
        Doubled(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_totals_are_those_of_the_weights(layer):
    summary = layer.summary()
    assert summary.parameters == layer.num_parameters()
    assert summary.nbytes == sum(weight.nbytes for weight in layer.parameters().values())
    total = str(summary).splitlines()[-1].split()
    assert f"{summary.parameters:,}" in total


def test_shapes_are_those_of_calls():
    network = SequenceNetwork(3, 5, 2, 2, pooling=None, seed=0)
    y, _ = network(np.zeros((4, 6, 3), np.float32))
    assert network.summary().rows[0].output == ("batch", "time", y.shape[-1])
    attention = Attention(4, 6, 3, seed=0)
    y, _ = attention(np.zeros((2, 5, 4), np.float32), np.zeros((2, 7, 6), np.float32))
    assert attention.summary().rows[0].output == ("batch", "queries", y.shape[-1])
    assert rows_of(Doubled())[0] == ("", "Doubled", 0, (), 3)
    assert Doubled().summary().dtype == "float32 and float64"


def test_fitted_models():
    y = np.sin(np.arange(60) / 4)
    model = clstm.LSTMForecaster(hidden_size=4, n_epochs=1, seed=0, verbose=0)
    with pytest.raises(ValueError, match="this LSTMForecaster isn't fitted yet: call fit"):
        model.summary()
    summary = model.fit(y).summary()
    assert summary.title == str(summary).splitlines()[0] == "LSTMForecaster"
    raw, _ = model.network_(np.zeros((6, 1, 1), np.float32))
    assert summary.rows[0].output == ("time", "batch", *raw.shape[2:])
    assert summary.parameters == model.network_.num_parameters()
    texts = ["a fine film", "dull"] * 4
    model = clstm.TextClassifier(hidden_size=4, n_epochs=1, seed=0, verbose=0).fit(texts, ["good", "bad"] * 4)
    assert [row.name for row in model.summary().rows] == ["", "embedding", "lstm", "fc"]
    model = clstm.LanguageModel(hidden_size=4, n_epochs=1, batch_size=2, seed=0, verbose=0).fit("to be or " * 9)
    assert model.summary().rows[0].output == ("time", "batch", len(model.vocabulary_))


@pytest.mark.parametrize(
    ("count", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (71_234, "71.2 kB"), (999_600, "1 MB")],
)
def test_memory_has_three_significant_digits(count, shown):
    from clstm.summary import _in_bytes

    assert _in_bytes(count) == shown
