"""The options of the complete LSTM, alone and together, as the public classes offer them: against the reference."""

import copy
import itertools
import pickle

import numpy as np
import pytest

from clstm import LSTM, LSTMCell, reference
from tests.helpers.arrays import assert_close
from tests.helpers.products import products

TOLERANCE = {np.float32: (2e-5, 5e-4), np.float64: (1e-11, 1e-8)}

pytestmark = pytest.mark.usefixtures("isa")

ALONE = {
    "proj_size": {"proj_size": 5},
    "peephole": {"peephole": True},
    "coupled": {"coupled": True},
    "cell_clip": {"cell_clip": 0.3},
    "gate_clip": {"gate_clip": 0.4},
    "layer_norm": {"layer_norm": True},
    "recurrent_dropout": {"recurrent_dropout": 0.4},
    "weight_dropout": {"weight_dropout": 0.3},
    "zoneout": {"zoneout": (0.2, 0.4)},
    "zoneout of c": {"zoneout": (0, 0.5)},
    "activations": {"activations": (("hard_sigmoid", 0.3, 0.4), "softsign", "relu")},
    "learn_initial_state": {"learn_initial_state": True},
    "residual": {"residual": True},
    "sizes": {"hidden_size": [11, 19, 7]},
    "nothing": {},
}


def random_options(rng, layers):
    """Draw any mixture of options."""

    def maybe(value, p=0.4):
        return value if rng.random() < p else None

    names = ("sigmoid", "tanh", "relu", ("hard_sigmoid", 0.25, 0.5), ("leaky_relu", 0.1), "softsign", "softplus",
             ("elu", 0.8), ("affine", 0.7, 0.1), ("scaled_tanh", 0.9, 1.1), "linear", "selu",
             ("thresholded_relu", 0.3))  # fmt: skip
    gates = ("sigmoid", ("hard_sigmoid", 0.25, 0.5), ("scaled_tanh", 0.5, 0.8))
    options = {
        "bidirectional": maybe(True),
        "bias": maybe(False, 0.2),
        "proj_size": maybe(int(rng.integers(1, 7))),
        "peephole": maybe(True),
        "coupled": maybe(True),
        "cell_clip": maybe(rng.uniform(0.1, 1)),
        "gate_clip": maybe(rng.uniform(0.3, 2)),
        "layer_norm": maybe(True),
        "recurrent_dropout": maybe(0.3),
        "weight_dropout": maybe(0.3),
        "zoneout": maybe((rng.uniform(), rng.uniform())),
        "learn_initial_state": maybe(True),
        "residual": maybe(True) if layers > 1 else None,
        "dropout": maybe(0.3) if layers > 1 else None,
        "activations": maybe((gates[rng.integers(3)], *(names[rng.integers(len(names))] for _ in "gh"))),
        "batch_first": maybe(True),
    }
    return {name: value for name, value in options.items() if value is not None}


def shake(lstm, rng):
    """Give weights that begin as zeros or ones other values, so that their part can be seen."""
    with lstm.updating() as weights:
        for name, weight in weights.items():
            if name.startswith(("weight_norm", "bias_norm", "h0", "c0")):
                weight += rng.uniform(-0.4, 0.4, weight.shape)
    return lstm


def cells(lstm):
    """Return the reference's options of each direction."""
    activations = lstm.activations
    return [
        reference.Variant(lstm.coupled, lstm.cell_clip or np.inf, lstm.gate_clip or np.inf, lstm.zoneout,
                       activations[3 * d : 3 * d + 3] if len(activations) == 6 else activations)
        for d in range(lstm.num_directions)
    ]  # fmt: skip


class Problem:
    """An input and gradients of the outputs, in float64, for the reference, and in the layer's dtype and layout."""

    def __init__(self, lstm, T, B, rng, lengths=None, reset=None, given=True):
        self.lstm, self.lengths, self.reset = lstm, lengths, reset
        D, layout = lstm.num_directions, lstm._layout
        self.x = self._draw(rng, (T, B, lstm.input_size))
        self.dy = self._draw(rng, (T, B, D * layout.h_sizes[-1]))
        state = [[self._draw(rng, (D, B, size)) for size in sizes] for sizes in (layout.h_sizes, layout.c_sizes)]
        self.state = state if given else None
        self.dstate = [[self._draw(rng, (D, B, size)) for size in sizes] for sizes in (layout.h_sizes, layout.c_sizes)]

    def _draw(self, rng, shape):
        return rng.standard_normal(shape).astype(self.lstm.dtype)

    def _own(self, array):
        return array.swapaxes(0, 1) if self.lstm.batch_first else array

    def _own_state(self, state):
        if state is None or self.lstm._layout.listed:
            return state
        return tuple(np.concatenate(parts) for parts in state)

    @property
    def arguments(self):
        reset = None if self.reset is None else self._own(self.reset)
        return {"x": self._own(self.x), "state": self._own_state(self.state), "lengths": self.lengths, "reset": reset}

    def run(self, **options):
        """Return what inference gives."""
        return self.lstm(**self.arguments, **options)

    def train(self, **options):
        """Return outputs and gradients, with the masks that were drawn."""
        lstm, twin = self.lstm, copy.deepcopy(self.lstm)
        y, state, context = lstm.forward_train(**self.arguments, **options)
        T, B, D = *self.x.shape[:2], lstm.num_directions
        connections = twin._training_packs(1)[2]
        masks, dropout = [], []
        for layer in range(lstm.num_layers):
            drawn = twin._draw_masks(T, B, lstm._layout.c_sizes[layer]) or [(None, None, None)] * D
            masks.append([reference.Masks(*mask) for mask in drawn])
            if lstm.dropout > 0 and layer < lstm.num_layers - 1:
                y_shape = (T, B, D * lstm._layout.h_sizes[layer])
                dropout.append(twin._dropout.forward_train(np.ones(y_shape))[0])
        grads = lstm.backward(context, self._own(self.dy), self._own_state(self.dstate))
        return (y, state, grads), (connections, masks, dropout or None)

    def expected(self, drawn=None):
        """Return the reference's output, and its gradients where there are drawn masks."""
        lstm = self.lstm
        weights = {name: array.astype(np.float64) for name, array in lstm.parameters().items()}
        connections, masks, dropout = drawn or ([None] * len(lstm._suffixes), None, None)
        for suffix, factors in zip(lstm._suffixes, connections, strict=True):
            if factors is not None:
                weights["weight_hh" + suffix] = weights["weight_hh" + suffix] * factors
        state = [None, None] if self.state is None else [list(flat(parts)) for parts in self.state]
        options = {"variant": cells(lstm), "masks": masks, "reset": self.reset, "residual": lstm.residual}
        output = reference.lstm(self.x.astype(float), *state, weights, self.lengths, dropout, **options)
        if drawn is None:
            return output, None
        dstate = [list(flat(parts)) for parts in self.dstate]
        grads = reference.lstm_backward(
            output, weights, self.dy.astype(float), *dstate, self.lengths, dropout, **options
        )
        for suffix, factors in zip(lstm._suffixes, connections, strict=True):
            if factors is not None:
                grads.weights["weight_hh" + suffix] *= factors
        return output, grads

    def assert_same(self, y, state, output, tolerance):
        """Return the largest difference."""
        differences = [assert_close(self._own(y), output.y, tolerance, "y")]
        for name, ours, theirs in zip(("h_n", "c_n"), state, (output.h_n, output.c_n), strict=True):
            differences.append(assert_close_states(ours, theirs, tolerance, name))
        return max(differences)


def flat(parts):
    return itertools.chain.from_iterable(part.astype(float) for part in parts)


def assert_close_states(ours, theirs, tolerance, name):
    if isinstance(ours, list):
        ours, theirs = list(itertools.chain.from_iterable(ours)), list(theirs)
    return max(assert_close(own, other, tolerance, name) for own, other in zip(ours, theirs, strict=True))


KNOWN = {}  # by a case, what the reference says: the same for every instruction set


def known(case, solve):
    """Return what was found for a case before, or find it."""
    if case not in KNOWN:
        KNOWN[case] = solve()
    return KNOWN[case]


def assert_agrees(case, lstm, T, B, rng, lengths=None, reset=None, given=True, **options):
    """Return the largest differences of outputs and of gradients; `case` names all that makes the problem."""
    output_tolerance, gradient_tolerance = TOLERANCE[lstm.dtype.type]
    problem = Problem(lstm, T, B, rng, lengths, reset, given)
    output, _ = known((case, "inference"), problem.expected)
    outputs = [problem.assert_same(*problem.run(), output, output_tolerance)]
    (y, state, grads), drawn = problem.train(**options)
    output, expected = known((case, "training"), lambda: problem.expected(drawn))
    outputs.append(problem.assert_same(y, state, output, output_tolerance))
    gradients = [assert_close(problem._own(grads.x), expected.x, gradient_tolerance, "x")]
    for name in ("h0", "c0"):
        ours, theirs = getattr(grads, name), getattr(expected, name)
        gradients.append(assert_close_states(ours, theirs, gradient_tolerance, name))
    assert list(grads.weights) == list(lstm.parameters())
    for name, grad in grads.weights.items():
        assert grad.dtype == lstm.dtype
        gradients.append(assert_close(grad, expected.weights[name], gradient_tolerance, name))
    return max(outputs), max(gradients)


def make(options, dtype, seed, num_layers=3):
    num_layers = len(options["hidden_size"]) if "hidden_size" in options else num_layers
    options = {"hidden_size": 13, "num_layers": num_layers, **options}
    return shake(LSTM(4, dtype=dtype, seed=seed, **options), np.random.default_rng(seed))


RESET = np.random.default_rng(5).random((9, 5)) < 0.25
LENGTHS = np.array([9, 0, 4, 1, 7])


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", ALONE)
def test_every_option_agrees_with_the_reference(name, bidirectional, dtype, record_property):
    lstm = make(ALONE[name] | {"bidirectional": bidirectional}, dtype, 1, num_layers=2)
    case = (name, bidirectional, dtype)
    differences = assert_agrees(case, lstm, 9, 5, np.random.default_rng(2), LENGTHS)
    record_property("difference", (name, dtype.__name__, *map(float, differences)))


@pytest.mark.parametrize("seed", range(30))
def test_any_options_agree_with_the_reference(seed, record_property):
    rng = np.random.default_rng(seed)
    layers, dtype = int(rng.integers(1, 4)), (np.float32, np.float64)[seed % 2]
    lstm = make(random_options(rng, layers), dtype, seed, layers)
    T, B = int(rng.integers(1, 14)), int(rng.integers(1, 9))
    lengths = rng.integers(0, T + 1, B) if rng.random() < 0.5 else None
    reset = rng.random((T, B)) < 0.2 if rng.random() < 0.5 else None
    differences = assert_agrees(("any", seed), lstm, T, B, rng, lengths, reset, given=rng.random() < 0.5)
    record_property("difference", ("any together", dtype.__name__, *map(float, differences)))


# Resets --------------------------------------------------------------------------------------------------------------


@products(
    options={"plain": {}, "learnt state": {"learn_initial_state": True},
             "layer_norm and projection": {"layer_norm": True, "proj_size": 3}},
    bidirectional=[False, True], lengths={"full": None, "ragged": LENGTHS}, given=[False, True],
)  # fmt: skip
def test_resets_agree_with_the_reference(dtype, bidirectional, options, lengths, given, record_property):
    lstm = make(options | {"bidirectional": bidirectional}, dtype, 3, 2)
    case = ("reset", dtype, bidirectional, str(options), lengths is None, given)
    differences = assert_agrees(case, lstm, 9, 5, np.random.default_rng(4), lengths, RESET, given)
    record_property("difference", ("reset", dtype.__name__, *map(float, differences)))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_reset_row_is_its_pieces(bidirectional):
    lstm = LSTM(4, 13, 2, bidirectional=bidirectional, seed=0)
    x = np.random.default_rng(0).standard_normal((10, 1, 4), dtype=np.float32)
    reset = np.zeros((10, 1), bool)
    reset[[3, 4], 0] = True
    y, (h_n, c_n) = lstm(x, reset=reset)
    pieces = [lstm(x[a:b]) for a, b in ((0, 3), (3, 4), (4, 10))]
    if bidirectional:  # the second layer sees both directions of the first, each cut at the same places
        np.testing.assert_allclose(y, np.concatenate([piece[0] for piece in pieces]), rtol=0, atol=1e-6)
        return
    np.testing.assert_allclose(y, np.concatenate([piece[0] for piece in pieces]), rtol=0, atol=1e-6)
    np.testing.assert_allclose(h_n, pieces[-1][1][0], rtol=0, atol=1e-6)
    np.testing.assert_allclose(c_n, pieces[-1][1][1], rtol=0, atol=1e-6)


def test_no_reset_changes_nothing():
    lstm = LSTM(4, 13, 2, bidirectional=True, seed=0)
    x = np.random.default_rng(0).standard_normal((9, 5, 4), dtype=np.float32)
    y, _ = lstm(x, lengths=LENGTHS, reset=np.zeros((9, 5), bool))
    assert y.tobytes() == lstm(x, lengths=LENGTHS)[0].tobytes()


def test_reset_without_batch_and_batch_first():
    lstm = LSTM(4, 13, batch_first=True, seed=0)
    x = np.random.default_rng(0).standard_normal((1, 9, 4), dtype=np.float32)
    reset = RESET[:, :1]
    y, _ = lstm(x, reset=reset.T)
    assert y[0].tobytes() == lstm(x[0], reset=reset[:, 0])[0].tobytes()


@pytest.mark.parametrize(
    ("reset", "error", "match"),
    [
        (np.zeros((9, 4), bool), ValueError, r"reset has shape \(9, 4\), expected \(time=9, batch=5\)"),
        (np.zeros((9, 5)), TypeError, "reset has dtype float64, expected bool"),
    ],
)
def test_bad_resets(reset, error, match):
    with pytest.raises(error, match=match):
        LSTM(4, 3)(np.zeros((9, 5, 4), np.float32), reset=reset)


# The rest of the interface -------------------------------------------------------------------------------------------

EVERYTHING = {"proj_size": 5, "peephole": True, "coupled": True, "cell_clip": 0.8, "gate_clip": 2.0, "layer_norm": True,
              "recurrent_dropout": 0.3, "weight_dropout": 0.2, "zoneout": 0.2, "learn_initial_state": True,
              "activations": ("sigmoid", "softsign", ("scaled_tanh", 1.1, 0.9))}  # fmt: skip


@products(
    options={"everything": EVERYTHING, "zoneout": {"zoneout": 0.3}, "recurrent_dropout": {"recurrent_dropout": 0.5},
             "plain": {}}, reset=[None, "reset"], bidirectional=[False, True],
)  # fmt: skip
def test_checkpoints_give_the_same_gradients(options, reset, bidirectional):
    lstm = make(options | {"bidirectional": bidirectional}, np.float64, 5, 2)
    rng = np.random.default_rng(6)
    reset = None if reset is None else rng.random((90, 20)) < 0.05
    case = ("checkpoint", bidirectional, str(options), reset is None)
    assert_agrees(case, lstm, 90, 20, rng, rng.integers(0, 91, 20), reset, given=False, checkpoint=True)


@pytest.mark.parametrize("options", [*ALONE.values(), EVERYTHING], ids=[*ALONE, "everything"])
def test_streams_step_through_the_same_numbers(options):
    lstm = make(options, np.float64, 7, 3)
    x = np.random.default_rng(0).standard_normal((12, 2, 4))
    y, state = lstm(x)
    stream = lstm.stream(2)
    stepped = [stream.step(x[0]), *stream.run(x[1:7]), *(stream.step(step) for step in x[7:])]
    np.testing.assert_allclose(np.stack(stepped), y, rtol=0, atol=1e-12)
    for ours, theirs in zip(stream.state, state, strict=True):
        assert_close_states(ours, list(itertools.chain.from_iterable(theirs)) if isinstance(theirs, list) else theirs,
                            1e-12, "state")  # fmt: skip
    stream.reset()
    np.testing.assert_allclose(stream.run(x), y, rtol=0, atol=1e-12)
    twin = copy.copy(stream)
    stream.reset(np.array([True, False]))
    again = stream.step(x[0])
    np.testing.assert_allclose(again[0], y[0, 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(again[1], twin.step(x[0])[1], rtol=0, atol=1e-12)
    stream.state = twin.state
    np.testing.assert_allclose(stream.step(x[1]), twin.step(x[1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "options",
    [*(options for name, options in ALONE.items() if name not in ("residual", "sizes")), EVERYTHING],
    ids=[*(name for name in ALONE if name not in ("residual", "sizes")), "everything"],
)
def test_a_cell_is_one_step_of_the_layer(options):
    rng = np.random.default_rng(0)
    cell = shake(LSTMCell(4, 13, dtype=np.float64, seed=1, **options), rng)
    lstm = LSTM(4, 13, dtype=np.float64, seed=1, **options)
    lstm.load_state_dict({f"{name}_l0": array for name, array in cell.state_dict().items()})
    P = lstm.proj_size or 13
    x, h, c = rng.standard_normal((5, 4)), rng.standard_normal((5, P)), rng.standard_normal((5, 13))
    for state in (None, (h, c)):
        layer_state = None if state is None else (h[np.newaxis], c[np.newaxis])
        _, expected = lstm(x[np.newaxis], layer_state)
        for ours, theirs in zip(cell(x, state), expected, strict=True):
            np.testing.assert_allclose(ours, theirs[0], rtol=0, atol=1e-12)
        lstm._generator.bit_generator.state = cell._generator.bit_generator.state
        (h_n, _), context = cell.forward_train(x, state)
        y, _, layer_context = lstm.forward_train(x[np.newaxis], layer_state)
        np.testing.assert_allclose(h_n, y[0], rtol=0, atol=1e-12)
        grads = cell.backward(context, (h, c))
        expected = lstm.backward(layer_context, np.zeros_like(y), (h[np.newaxis], c[np.newaxis]))
        np.testing.assert_allclose(grads.x, expected.x[0], rtol=0, atol=1e-11)
        np.testing.assert_allclose(grads.h0, expected.h0[0], rtol=0, atol=1e-11)
        np.testing.assert_allclose(grads.c0, expected.c0[0], rtol=0, atol=1e-11)
        assert list(grads.weights) == list(cell.parameters())
        for name, grad in grads.weights.items():
            np.testing.assert_allclose(grad, expected.weights[f"{name}_l0"], rtol=0, atol=1e-11, err_msg=name)


def test_names_and_shapes_of_the_weights():
    lstm = LSTM(4, [6, 8], bidirectional=True, **(EVERYTHING | {"proj_size": 5}))
    assert {name: array.shape for name, array in lstm.parameters().items() if name.endswith("l1_reverse")} == {
        "weight_ih_l1_reverse": (24, 10),
        "weight_hh_l1_reverse": (24, 5),
        "bias_ih_l1_reverse": (24,),
        "bias_hh_l1_reverse": (24,),
        "weight_hr_l1_reverse": (5, 8),
        "weight_peephole_l1_reverse": (16,),
        "weight_norm_gates_l1_reverse": (24,),
        "weight_norm_cell_l1_reverse": (8,),
        "bias_norm_cell_l1_reverse": (8,),
        "h0_l1_reverse": (5,),
        "c0_l1_reverse": (8,),
    }
    assert lstm.num_layers == 2
    assert "bias_norm_cell_l0" not in LSTM(4, 6, bias=False, layer_norm=True).parameters()
    initial = LSTM(4, 6, layer_norm=True, learn_initial_state=True).parameters()
    assert (initial["weight_norm_gates_l0"] == 1).all()
    assert not initial["h0_l0"].any()


def test_forget_bias_is_the_forget_gates_of_coupled_ones():
    weights = LSTM(4, 6, coupled=True, forget_bias=1.5).parameters()
    assert (weights["bias_ih_l0"] + weights["bias_hh_l0"])[:6].tolist() == [1.5] * 6


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda lstm: pickle.loads(pickle.dumps(lstm))])
def test_copies_compute_the_same(clone):
    lstm = make(EVERYTHING, np.float32, 1, 2)
    x = np.random.default_rng(0).standard_normal((6, 3, 4), dtype=np.float32)
    assert clone(lstm)(x)[0].tobytes() == lstm(x)[0].tobytes()
    assert clone(lstm).forward_train(x)[0].tobytes() == lstm.forward_train(x)[0].tobytes()


def test_training_draws_anew_and_inference_nothing():
    for name in ("recurrent_dropout", "weight_dropout", "zoneout"):
        lstm = LSTM(4, 13, seed=0, **{name: 0.5})
        x = np.random.default_rng(0).standard_normal((6, 3, 4), dtype=np.float32)
        first, second = (lstm.forward_train(x)[0] for _ in range(2))
        assert abs(first - second).max() > 1e-3, name
        assert lstm(x)[0].tobytes() == lstm(x)[0].tobytes()


def test_all_dropped_is_no_recurrence():
    lstm = LSTM(4, 13, seed=0, recurrent_dropout=1.0)
    x = np.random.default_rng(0).standard_normal((1, 3, 4), dtype=np.float32).repeat(2, axis=0)
    h0 = np.ones((1, 3, 13), np.float32)
    y, _, _ = lstm.forward_train(x, (h0, np.zeros_like(h0)))
    np.testing.assert_array_equal(y[0], LSTM.__call__(lstm, x[:1])[0][0])


def test_represent_themselves():
    assert repr(LSTM(4, [5, 6], peephole=True, zoneout=0.1)) == (
        "LSTM(4, (5, 6), num_layers=2, peephole=True, zoneout=(0.1, 0.1))"
    )
    assert repr(LSTMCell(4, 5, proj_size=3)) == "LSTMCell(4, 5, proj_size=3)"


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"proj_size": 6}, ValueError, "proj_size is 6, expected below hidden_size, which is 6"),
        ({"proj_size": -1}, ValueError, "proj_size is -1, expected at least 0"),
        ({"peephole": 1}, TypeError, "peephole is 1, expected True or False"),
        ({"cell_clip": 0}, ValueError, "cell_clip is 0.0, expected above 0"),
        ({"gate_clip": "a"}, TypeError, "gate_clip is 'a', expected a number"),
        ({"gate_clip": float("nan")}, ValueError, "gate_clip is nan, expected a finite number"),
        ({"recurrent_dropout": 1.1}, ValueError, "recurrent_dropout is 1.1, expected at most 1.0"),
        ({"weight_dropout": -0.1}, ValueError, "weight_dropout is -0.1, expected at least 0.0"),
        ({"zoneout": (0.1, 0.2, 0.3)}, TypeError, "expected a pair"),
        ({"zoneout": (0.1, 2)}, ValueError, "zoneout c is 2.0, expected at most 1.0"),
        ({"activations": "tanh"}, TypeError, "activations is 'tanh', expected a sequence of three"),
        ({"activations": ("tanh", "tanh")}, ValueError, "activations has 2, expected three"),
        ({"activations": ("sigmoid",) * 6}, ValueError, "activations has 6, expected three"),
        ({"activations": ("sigmoid", "sin", "tanh")}, ValueError, r"activations\[1\] is 'sin', expected one of"),
        ({"activations": ("sigmoid", ("tanh", 1), "tanh")}, ValueError, "tanh has no parameters"),
        ({"activations": ("sigmoid", ("elu", "x"), "tanh")}, TypeError, "alpha is 'x', expected a number"),
        ({"activations": ("sigmoid", ("elu", -0.5), "tanh")}, ValueError, r"activations\[1\]'s alpha is -0.5"),
        ({"activations": (("leaky_relu", -1), "tanh", "tanh")}, ValueError, r"activations\[0\]'s alpha is -1"),
        ({"activations": ("sigmoid", "tanh", ("scaled_tanh", 0))}, ValueError, r"activations\[2\]'s alpha is 0"),
        ({"activations": ("sigmoid", (), "tanh")}, ValueError, r"activations\[1\] is \(\), expected"),
        ({"residual": True}, ValueError, "residual is True, but num_layers is 1"),
        ({"residual": True, "hidden_size": [6, 7]}, ValueError, "expected layers of one width"),
        ({"hidden_size": []}, ValueError, "hidden_size is empty"),
        ({"hidden_size": [6, 0]}, ValueError, r"hidden_size\[1\] is 0, expected at least 1"),
        ({"hidden_size": [6, 7], "num_layers": 3}, ValueError, "num_layers is 3, but hidden_size has 2 sizes"),
        ({"hidden_size": "66"}, TypeError, "hidden_size is '66', expected an integer"),
    ],
)
def test_bad_constructions_name_what_is_wrong(options, error, match):
    with pytest.raises(error, match=match):
        LSTM(4, **{"hidden_size": 6, **options})


def test_states_of_unequal_sizes():
    lstm = LSTM(4, [5, 6], seed=0)
    x = np.zeros((3, 2, 4), np.float32)
    _, (h_n, c_n) = lstm(x)
    assert [part.shape for part in h_n] == [part.shape for part in c_n] == [(1, 2, 5), (1, 2, 6)]
    lstm(x, (h_n, c_n))
    assert [part.shape for part in lstm(x[:, 0])[1][0]] == [(1, 5), (1, 6)]
    lstm(x[:, 0], lstm(x[:, 0])[1])
    with pytest.raises(TypeError, match="h0 is ndarray, expected a list with an array for each layer"):
        lstm(x, (np.zeros((2, 2, 5), np.float32), c_n))
    with pytest.raises(ValueError, match="c0 has 1 arrays, expected 2"):
        lstm(x, (h_n, c_n[:1]))
    with pytest.raises(ValueError, match=r"h0\[1\] has shape"):
        lstm(x, (c_n[:1] * 2, c_n))


def test_states_of_projections():
    lstm = LSTM(4, 6, proj_size=3)
    x = np.zeros((3, 2, 4), np.float32)
    assert [part.shape for part in lstm(x)[1]] == [(1, 2, 3), (1, 2, 6)]
    with pytest.raises(ValueError, match=r"h0 has shape \(1, 2, 6\), expected .*proj_size=3"):
        lstm(x, (np.zeros((1, 2, 6), np.float32),) * 2)
