"""The gates of every step: of layers against the reference, of networks and models against their own calls."""

import copy

import numpy as np
import pytest

import clstm
from clstm import LSTM, reference
from clstm._core.job import Job
from clstm._core.numerics import softmax
from clstm.estimators.base import NotFittedError
from clstm.language.network import LSTMLanguageNetwork
from clstm.models import LSTMClassifierNetwork, SequenceNetwork
from clstm.trace import Trace
from clstm.translation.encoder_decoder import EncoderDecoder
from tests.helpers.products import products

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-12}
NAMES = "ifgoch"

pytestmark = pytest.mark.usefixtures("isa")


def problem(lstm, T, B, seed=0):
    """Return x (time first) and the state for a layer."""
    rng = np.random.default_rng(seed)
    shape = (lstm.num_layers * lstm.num_directions, B, lstm.hidden_size)
    x, h0, c0 = (rng.standard_normal(size).astype(lstm.dtype) for size in ((T, B, lstm.input_size), shape, shape))
    return x, (h0, c0)


def wide(arrays):
    return [np.asarray(array, np.float64) for array in arrays]


def assert_same_bits(result, expected):
    assert result.shape == expected.shape
    assert result.dtype == expected.dtype
    assert np.ascontiguousarray(result).tobytes() == np.ascontiguousarray(expected).tobytes()


# Layers --------------------------------------------------------------------------------------------------------------


@products(
    bidirectional=[False, True], num_layers=[1, 3], lengths={"full": None, "ragged": [5, 0, 9, 1, 9, 3]},
    hidden_size=[1, 19, 64],
)  # fmt: skip
def test_gates_agree_with_the_reference(dtype, bidirectional, num_layers, lengths, hidden_size):
    lstm = LSTM(5, hidden_size, num_layers, bidirectional=bidirectional, dtype=dtype, seed=1)
    x, state = problem(lstm, 9, 6)
    if lengths is not None:
        x[np.arange(9)[:, np.newaxis] >= lengths] = np.nan  # must not be read
    trace = lstm.trace(x, state, lengths)
    weights = dict(zip(lstm.parameters(), wide(lstm.parameters().values()), strict=True))
    expected = reference.lstm(*wide((np.nan_to_num(x), *state)), weights, lengths)
    assert len(trace.layers) == num_layers
    for layer, directions in enumerate(trace.layers):
        assert len(directions) == 1 + bidirectional
        for direction, part in enumerate(directions):
            run = expected.runs[layer][direction]
            assert trace[layer, direction] is part
            for name in NAMES:
                values = getattr(part, name)
                assert values.dtype == dtype
                assert values.shape == (9, 6, hidden_size)
                right = run.y if name == "h" else getattr(run, name)
                np.testing.assert_allclose(values, right, rtol=0, atol=TOLERANCE[dtype], err_msg=name)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("lengths", [None, [7, 2, 4]])
def test_output_and_state_are_the_bits_of_a_call(bidirectional, lengths):
    lstm = LSTM(6, 20, 2, dropout=0.9, bidirectional=bidirectional, seed=0)
    x, state = problem(lstm, 7, 3)
    y, (h_n, c_n) = lstm(x, state, lengths)
    trace = lstm.trace(x, state, lengths)
    assert_same_bits(trace.y, y)
    assert_same_bits(trace.state[0], h_n)
    assert_same_bits(trace.state[1], c_n)
    assert_same_bits(np.concatenate([part.h for part in trace.layers[-1]], axis=-1), y)
    assert trace.lengths.tolist() == (lengths or [7, 7, 7])
    for layer, directions in enumerate(trace.layers):
        for direction, part in enumerate(directions):
            for row, length in enumerate(trace.lengths):
                last = 0 if direction else length - 1
                place = layer * lstm.num_directions + direction
                assert_same_bits(part.c[last, row], c_n[place, row])
                assert_same_bits(part.h[last, row], h_n[place, row])
                for name in NAMES:
                    assert not getattr(part, name)[length:, row].any()


def test_a_trace_draws_nothing_from_dropout():
    lstm = LSTM(3, 4, 2, dropout=0.5, seed=0)
    twin = copy.deepcopy(lstm)
    x, _ = problem(lstm, 5, 2)
    lstm.trace(x)
    assert_same_bits(lstm.forward_train(x)[0], twin.forward_train(x)[0])


@pytest.mark.smoke
def test_layouts_are_the_same_trace():
    x, state = problem(LSTM(4, 9, 2, bidirectional=True), 6, 3)
    plain, batch_first = (LSTM(4, 9, 2, bidirectional=True, batch_first=first, seed=0) for first in (False, True))
    trace, other = plain.trace(x, state, [6, 1, 4]), batch_first.trace(x.swapaxes(0, 1), state, [6, 1, 4])
    assert (trace.batch_axis, other.batch_axis) == (1, 0)
    assert_same_bits(other.y.swapaxes(0, 1), trace.y)
    for name, array in trace.arrays().items():
        assert other.arrays()[name].shape == (3, 6, 9)
        assert_same_bits(other.arrays()[name].swapaxes(0, 1), array)


@pytest.mark.parametrize("batch_first", [False, True])
def test_input_without_batch(batch_first):
    lstm = LSTM(4, 9, 2, bidirectional=True, batch_first=batch_first, seed=0)
    x, (h0, c0) = problem(lstm, 6, 1)
    alone = lstm.trace(x[:, 0], (h0[:, 0], c0[:, 0]))
    trace = LSTM(4, 9, 2, bidirectional=True, seed=0).trace(x, (h0, c0))
    assert (alone.batch_axis, alone.lengths) == (None, 6)
    assert alone.state[1].shape == (4, 9)
    for name, array in trace.arrays().items():
        assert_same_bits(alone.arrays()[name], array[:, 0])


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_row_is_cut_to_its_length(batch_first):
    lstm = LSTM(4, 9, 2, bidirectional=True, batch_first=batch_first, seed=0)
    x, state = problem(lstm, 6, 3)
    trace = lstm.trace(x.swapaxes(0, 1) if batch_first else x, state, [6, 0, 4])
    row = trace.row(-1)
    assert (row.lengths, row.batch_axis, row.y.shape) == (4, None, (4, 18))
    whole = lstm.trace(x[:4, 2], tuple(part[:, 2] for part in state))
    for name, array in whole.arrays().items():
        np.testing.assert_allclose(row.arrays()[name], array, rtol=0, atol=1e-6)
    np.testing.assert_allclose(row.state[1], whole.state[1], rtol=0, atol=1e-6)
    assert trace.row(1)[0].f.shape == (0, 9)
    with pytest.raises(ValueError, match="row is 3, expected at most 2"):
        trace.row(3)
    with pytest.raises(TypeError, match="row is 'a', expected an integer"):
        trace.row("a")
    with pytest.raises(ValueError, match="the trace has no batch axis"):
        row.row(0)


def test_names_and_places(tmp_path):
    lstm = LSTM(4, 9, 2, bidirectional=True, seed=0)
    trace = lstm.trace(problem(lstm, 6, 3)[0])
    assert list(trace.arrays()) == [f"{n}_l{k}{r}" for k in (0, 1) for r in ("", "_reverse") for n in NAMES]
    np.savez(tmp_path / "trace.npz", **trace.arrays())
    assert_same_bits(np.load(tmp_path / "trace.npz")["c_l1_reverse"], trace[1, 1].c)
    assert trace[-1] is trace[1] is trace[1, 0]
    assert repr(trace) == "Trace(layers=2, directions=2, y (6, 3, 18))"
    assert repr(trace[0]).startswith("LayerTrace(i (6, 3, 9), f (6, 3, 9)")
    for place in (2, (0, 2), (-3, 1)):
        with pytest.raises(IndexError, match="the trace has 2 layers and 2 directions"):
            trace[place]


@pytest.mark.parametrize(("T", "B"), [(0, 3), (4, 0), (0, 0)])
def test_empty_input(T, B):
    lstm = LSTM(3, 5, 2, bidirectional=True, seed=0)
    trace = lstm.trace(problem(lstm, T, B)[0])
    assert trace.y.shape == (T, B, 10)
    assert {array.shape for array in trace.arrays().values()} == {(T, B, 5)}


def test_any_number_of_threads_gives_the_same_bits():
    lstm = LSTM(33, 40, 2, bidirectional=True, seed=0)
    x, state = problem(lstm, 12, 13)
    lengths = np.random.default_rng(0).integers(0, 13, 13)
    found = set()
    for lstm.num_threads in (1, 2, 5):
        found.add(b"".join(array.tobytes() for array in lstm.trace(x, state, lengths).arrays().values()))
    assert len(found) == 1


def test_a_layer_in_the_reverse_direction_only():
    lstm = LSTM(3, 7, dtype=np.float64, seed=0)
    x, (h0, c0) = problem(lstm, 6, 4)
    lengths = np.array([6, 2, 0, 5])
    path, packs = lstm._ready()
    y, h_n, c_n = np.zeros((6, 4, 7)), np.empty_like(h0), np.empty_like(c0)
    job = Job(packs, x, h0, c0, y, h_n, c_n, 1, lengths, keep=True, reverse=True)
    gates, cells = path.gates_and_cells(path.forward(job), job, 0)
    weights = reference._weights_of(lstm.parameters(), "l0")
    run = reference.lstm_direction(x, h0[0], c0[0], *weights, lengths, reverse=True)
    np.testing.assert_allclose(cells, run.c, rtol=0, atol=1e-12)
    for place, name in enumerate("ifgo"):
        np.testing.assert_allclose(gates[:, :, place], getattr(run, name), rtol=0, atol=1e-12)


def test_bad_arguments():
    lstm = LSTM(3, 5, seed=0)
    x = np.zeros((4, 2, 3), np.float32)
    with pytest.raises(ValueError, match=r"x has shape \(4, 2, 2\), expected"):
        lstm.trace(x[:, :, :2])
    with pytest.raises(TypeError, match="x has dtype float64, expected float32"):
        lstm.trace(x.astype(float))
    with pytest.raises(ValueError, match=r"lengths\[1\] is 5, expected 0 to 4"):
        lstm.trace(x, lengths=[4, 5])
    with pytest.raises(ValueError, match="lengths is given, but x has no batch axis"):
        lstm.trace(x[:, 0], lengths=[4])
    with pytest.raises(ValueError, match="h0 has shape"):
        lstm.trace(x, (np.zeros((1, 3, 5), np.float32),) * 2)


# Options of the layer ------------------------------------------------------------------------------------------------

OPTIONS = {
    "proj_size": {"proj_size": 5},
    "peephole": {"peephole": True},
    "coupled": {"coupled": True},
    "clipped": {"cell_clip": 0.3, "gate_clip": 0.5},
    "layer_norm": {"layer_norm": True},
    "zoneout": {"zoneout": (0.3, 0.2)},
    "dropped": {"recurrent_dropout": 0.5, "weight_dropout": 0.5},
    "activations": {"activations": ("hard_sigmoid", "relu", "softsign")},
    "learnt state": {"learn_initial_state": True},
    "unequal": {"hidden_size": (7, 12)},
    "residual": {"residual": True},
    "many": {"proj_size": 5, "peephole": True, "layer_norm": True, "cell_clip": 0.7, "zoneout": 0.1, "residual": True},
}


@products(name=list(OPTIONS), bidirectional=[False, True], cut={"whole": False, "reset": True})
def test_options_agree_with_the_reference(name, bidirectional, cut):
    options = {"hidden_size": 9, "num_layers": 2} | OPTIONS[name]
    if isinstance(options["hidden_size"], tuple):
        del options["num_layers"]
    lstm = LSTM(4, bidirectional=bidirectional, dtype=np.float64, seed=0, **options)
    rng = np.random.default_rng(1)
    with lstm.updating() as weights:
        for key, weight in weights.items():
            if key.startswith(("h0", "c0", "bias_norm")):  # which begin as zeros
                weight[...] = rng.standard_normal(weight.shape)
    x, lengths = rng.standard_normal((7, 5, 4)), [7, 0, 3, 6, 7]
    reset = rng.random((7, 5)) < 0.3 if cut else None
    trace = lstm.trace(x, lengths=lengths, reset=reset)
    y, (h_n, c_n) = lstm(x, lengths=lengths, reset=reset)
    assert_same_bits(trace.y, y)
    for found, right in zip((*trace.state[0], *trace.state[1]), (*h_n, *c_n), strict=True):
        assert_same_bits(found, right)
    zoneout = lstm.zoneout if isinstance(lstm.zoneout, tuple) else (lstm.zoneout,) * 2
    variant = reference.Variant(
        lstm.coupled, *(np.inf if clip is None else clip for clip in (lstm.cell_clip, lstm.gate_clip)), zoneout,
        options.get("activations", ("sigmoid", "tanh", "tanh")),
    )  # fmt: skip
    expected = reference.lstm(
        x, None, None, lstm.parameters(), np.array(lengths), variant=variant, reset=reset, residual=lstm.residual
    )
    for layer, directions in enumerate(trace.layers):
        for direction, part in enumerate(directions):
            run = expected.runs[layer][direction]
            for gate in NAMES:
                right = run.y if gate == "h" else getattr(run, gate)
                np.testing.assert_allclose(getattr(part, gate), right, rtol=0, atol=1e-11, err_msg=gate)
    assert lstm.summary().parameters == lstm.num_parameters()
    assert lstm.summary().rows[0].output == ("time", "batch", y.shape[-1])
    row = trace.row(2)
    assert row.y.shape == (3, y.shape[-1])
    assert [part[0].c.shape for part in row.layers] == [(3, part[0].c.shape[-1]) for part in trace.layers]


# Networks ------------------------------------------------------------------------------------------------------------


def test_networks_trace_the_input_of_a_call():
    ids, lengths = np.array([[3, 1, 4, 1], [5, 9, 0, 0]]), [4, 2]
    floats = np.random.default_rng(0).standard_normal((2, 4, 3)).astype(np.float32)
    for network, x in (
        (LSTMClassifierNetwork(6, 8, 10, 2, 2, dropout=0.5, embedding_dropout=0.5, bidirectional=True, seed=0), ids),
        (SequenceNetwork(3, 8, 2, pooling=None, input_dropout=0.5, seed=0), floats),
    ):
        trace = network.trace(x, lengths=lengths)
        out, (h_n, c_n) = network(x, lengths=lengths)
        assert_same_bits(trace.state[0], h_n)
        assert_same_bits(trace.state[1], c_n)
        pooled = trace.y if network.pooling is None else network._pool(trace.y, h_n, np.array(lengths))
        assert_same_bits(network.head(pooled), out)
        one = network.trace(x[0])
        np.testing.assert_allclose(one[-1].c, trace.row(0)[-1].c, rtol=0, atol=1e-6)
    state = network.init_hidden(2)
    state[1][:] = 2
    assert not np.allclose(network.trace(floats, state)[0].c, network.trace(floats)[0].c)


def test_a_network_reads_with_its_encoder():
    ids = np.array([[3, 1, 4], [5, 2, 0]])
    network = EncoderDecoder(10, 12, 6, 8, 2, seed=0)
    assert_same_bits(network.trace(ids, lengths=[3, 2]).y, network.encode(ids, [3, 2]).outputs)
    network = LSTMLanguageNetwork(10, 6, 8, seed=0)
    assert network.trace(ids.T).y.shape == (3, 2, 8)


def test_bad_arguments_of_networks():
    network = LSTMClassifierNetwork(6, 8, 10, 2, 1, seed=0)
    with pytest.raises(ValueError, match="x holds the id 10, expected 0 to 9"):
        network.trace([[10]])
    with pytest.raises(ValueError, match=r"x has shape \(1, 1, 1\), expected \(batch, time\) or \(time,\)"):
        network.trace([[[1]]])
    with pytest.raises(TypeError, match="x has dtype float64, expected integers"):
        network.trace([[1.0]])


# Models --------------------------------------------------------------------------------------------------------------

TEXTS = ["A fine film!", "Dull and long.", "Fine, and moving", "Dull"] * 6
LABELS = ["good", "bad", "good", "bad"] * 6


def test_a_text_classifier_traces_words():
    model = clstm.TextClassifier(embedding_dim=5, hidden_size=6, n_epochs=1, seed=0, verbose=0).fit(TEXTS, LABELS)
    texts = ["A fine, unheard-of film!", "...", "dull"]
    trace = model.trace(texts)
    assert isinstance(trace, Trace)
    assert trace.tokens == [["a", "fine", "unheard", "of", "film", "!"], ["<unknown>"], ["dull"]]
    assert trace.lengths.tolist() == [6, 1, 1]
    for row, text in enumerate(texts):
        one = trace.row(row)
        scores = model.network_.head(one.y.max(axis=0))
        np.testing.assert_allclose(softmax(scores, dtype=np.float64), model.predict_proba([text])[0], rtol=0, atol=1e-6)
        alone = model.trace(text)
        assert alone.tokens == one.tokens
        assert alone.batch_axis is None
        np.testing.assert_allclose(alone[0, 1].f, one[0, 1].f, rtol=0, atol=1e-6)
    model = clstm.TextClassifier(max_length=2, hidden_size=4, n_epochs=1, seed=0, verbose=0).fit(TEXTS, LABELS)
    assert model.trace("one two three").tokens == ["one", "two"]
    for wrong in (3, [3], b"dull"):
        with pytest.raises(TypeError, match="texts"):
            model.trace(wrong)
    with pytest.raises(ValueError, match="texts is empty"):
        model.trace([])


@pytest.mark.peer
def test_estimators_trace_what_they_standardise():
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    X = [5 + 3 * rng.standard_normal((length, 2)) for length in (4, 7, 3, 6)]
    model = clstm.LSTMRegressor(hidden_size=4, n_epochs=2, random_state=0).fit(X, [0.0, 1.0, 2.0, 3.0])
    trace = model.trace(X)
    assert trace.lengths.tolist() == [4, 7, 3, 6]
    assert trace.tokens is None
    steps = np.concatenate(X)
    for row, x in enumerate(X):
        x = ((x - steps.mean(axis=0)) / steps.std(axis=0)).astype(np.float32)
        np.testing.assert_allclose(trace.row(row).y, model.network_.lstm(x)[0], rtol=0, atol=1e-5)
    array = rng.standard_normal((3, 5, 2))
    assert model.trace(array, lengths=[5, 2, 1]).lengths.tolist() == [5, 2, 1]
    with pytest.raises(ValueError, match="3 features, but LSTMRegressor is expecting 2"):
        model.trace(np.zeros((3, 5, 3)))
    model = clstm.LSTMClassifier(hidden_size=4, n_epochs=1, random_state=0).fit(TEXTS, LABELS)
    assert model.trace(TEXTS[:2]).tokens == [["a", "fine", "film", "!"], ["dull", "and", "long"]]
    assert model.trace("Dull!").tokens == ["dull", "!"]


def test_a_forecaster_traces_its_reading():
    y = np.sin(np.arange(60) / 4)
    model = clstm.LSTMForecaster(hidden_size=4, n_epochs=1, season_length=3, seed=0, verbose=0).fit(y)
    trace = model.trace(y)
    assert (trace.batch_axis, trace.y.shape) == (None, (56, 4))
    for found, kept in zip(trace.state, model._fitted.cutoff.state, strict=True):
        assert_same_bits(found, kept[:, 0])
    with pytest.raises(ValueError, match="y has 4 values, expected 5 or more"):
        model.trace(y[:4])
    model = clstm.LSTMForecaster(hidden_size=4, n_epochs=1, seed=0, verbose=0).fit([y, y[:40]])
    assert model.trace([y, y[:40]]).lengths.tolist() == [59, 39]


def test_a_language_model_traces_its_reading():
    model = clstm.LanguageModel(hidden_size=8, n_epochs=1, chunk_length=8, batch_size=2, seed=0, verbose=0)
    model.fit("to be or not to be, " * 8)
    text = "to be or"
    trace = model.trace(text)
    assert trace.tokens == ["\n", *text]
    probabilities = softmax(model.network_.scores(trace.y), dtype=np.float64)[:-1]
    bits = -np.log2(probabilities[range(8), model.vocabulary_.encode(text)])
    np.testing.assert_allclose(bits, model.bits(text), rtol=0, atol=1e-5)
    both = model.trace([text, "not"])
    assert (both.batch_axis, both.lengths.tolist()) == (1, [9, 4])
    assert both.row(1).tokens == ["\n", "n", "o", "t"]
    model = clstm.LanguageModel(unit="word", hidden_size=8, n_epochs=1, batch_size=2, seed=0, verbose=0).fit(TEXTS)
    assert model.trace("Fine, and dull").tokens == ["\n", "fine", "and", "dull"]


def test_a_translator_traces_its_encoder():
    model = clstm.Translator(min_count=1, embedding_dim=4, hidden_size=6, n_epochs=1, seed=0, verbose=0)
    model.fit(["I eat.", "You eat."] * 8, ["Je mange.", "Tu manges."] * 8)
    trace = model.trace(["You eat.", "eat"])
    assert trace.tokens == [["you", "eat", ".", "<end>"], ["eat", "<end>"]]
    assert trace.lengths.tolist() == [4, 2]
    ids = model.source_vocabulary_.encode_tokens(model.source_vocabulary_.split("You eat."))
    memory = model.network_.encode(ids[np.newaxis])
    np.testing.assert_allclose(trace.row(0).y, memory.outputs[0], rtol=0, atol=1e-6)


def test_a_model_that_is_not_fitted_says_so():
    models = [clstm.TextClassifier(), clstm.LanguageModel(), clstm.Translator(), clstm.LSTMForecaster()]
    for model in models:
        name = type(model).__name__
        for ask in (lambda model=model: model.trace(["a"]), model.summary):
            with pytest.raises(NotFittedError, match=f"this {name} isn't fitted yet"):
                ask()
