"""The vector kernels of variants that aren't plain, every instruction set against the reference.

As in test_backends.py, what they read is read-only and what they write is full of NaN before.
"""

import itertools
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from clstm import reference
from clstm._core import backend as backends
from clstm._core import variant as cells
from clstm._core.job import Gradients, Job, Masks
from clstm._core.segments import Segments
from clstm._core.vector import plan as _plan
from tests.core.test_backends import LAYOUTS, TOLERANCE, Backend, assert_same_bits, place, read_only

VECTOR = [name for name in backends.available() if name != "portable"]
EXTRAS = ("weight_hr", "weight_peephole", "weight_norm_gates", "weight_norm_cell", "bias_norm_cell")
WEIGHTS = ("weight_ih", "weight_hh", "bias", *EXTRAS)


@pytest.fixture(scope="module", params=VECTOR)
def backend(request):
    before = backends.isa()
    backends.use(request.param)
    yield Backend(request.param)
    backends.use(before)


@pytest.fixture(scope="module", params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


@dataclass(frozen=True)
class Options:
    """A cell by what a user would ask for."""

    projected: bool = False
    peephole: bool = False
    coupled: bool = False
    layer_norm: bool = False
    norm_bias: bool = True
    cell_clip: float = np.inf
    gate_clip: float = np.inf
    zoneout: tuple = (0.0, 0.0)
    drawn: tuple = ()  # masks that are drawn, as in training: of "h", "zoneout_h", "zoneout_c"; () is inference
    activations: tuple = ("sigmoid", "tanh", "tanh")

    @property
    def reference(self):
        return reference.Variant(self.coupled, self.cell_clip, self.gate_clip, self.zoneout, self.activations)

    @property
    def cell(self):
        def coded(activation):
            name, *given = (activation,) if isinstance(activation, str) else activation
            return (cells.ACTIVATIONS.index(name), *(given or cells.ALPHA_BETA.get(name, (0.0, 0.0))))

        return cells.Variant(
            self.coupled, self.cell_clip, self.gate_clip, self.layer_norm, self.peephole, self.projected, self.zoneout,
            tuple(map(coded, self.activations)), general=True,
        )  # fmt: skip


@dataclass
class Problem:
    """All that a layer is given, forward and backward; dense arrays."""

    options: Options
    weights: list  # for each direction by name; coupled with the rows of i, which are zero
    x: np.ndarray
    h0: np.ndarray
    c0: np.ndarray
    lengths: object  # None, an array or Segments
    masks: list | None
    dy: np.ndarray
    dh_n: np.ndarray
    dc_n: np.ndarray
    later: dict = field(default_factory=dict)


def make(T, B, inputs, H, D, dtype, options, lengths=None, P=None, seed=0):
    """A random problem; `lengths` None, "ragged", "rows" (pieces of the batch's rows), or the lengths."""
    rng = np.random.default_rng([seed, T, B, inputs, H, D])
    P = (P or max(1, H // 2 + 1)) if options.projected else H
    n = B
    if lengths == "rows":  # each row of the batch is cut into two pieces, between which there may be a step of neither
        first = rng.integers(0, T + 1, B)
        gap = rng.integers(0, 2, B)
        second = np.maximum(0, T - first - gap)
        lengths = Segments(
            np.tile(np.arange(B), 2).astype(np.int64),
            np.concatenate([np.zeros(B, np.int64), np.minimum(T, first + gap)]),
            np.concatenate([first, second]).astype(np.int64),
        )
        n = 2 * B
    elif isinstance(lengths, str):
        lengths = rng.integers(0, T + 1, B)
        lengths[rng.permutation(B)[:2]] = [T, 0][: min(B, 2)]
    elif lengths is not None:
        lengths = np.asarray(lengths, np.int64)

    def normal(*shape):
        return rng.normal(size=shape).astype(dtype)

    def uniform(*shape):
        return (2 * rng.uniform(-1, 1, size=shape) / np.sqrt(H)).astype(dtype)

    weights = []
    for _ in range(D):
        own = {"weight_ih": uniform(4 * H, inputs), "weight_hh": uniform(4 * H, P), "bias": uniform(4 * H)}
        if options.projected:
            own["weight_hr"] = uniform(P, H)
        if options.peephole:
            own["weight_peephole"] = uniform(3 * H)
        if options.layer_norm:
            own["weight_norm_gates"], own["weight_norm_cell"] = 1 + uniform(4 * H), 1 + uniform(H)
            if options.norm_bias:
                own["bias_norm_cell"] = uniform(H)
        if options.coupled:
            for name in own.keys() - {"weight_hr", "weight_norm_cell", "bias_norm_cell"}:
                own[name][:H] = 0
        weights.append(own)
    masks = None
    if options.drawn:
        masks = [
            (
                (rng.random((n, P)) < 0.7).astype(dtype) / dtype(0.7) if "h" in options.drawn else None,
                (rng.random((T, B, P)) < 0.4).astype(np.uint8) if "zoneout_h" in options.drawn else None,
                rng.random((T, B, H)) < 0.4 if "zoneout_c" in options.drawn else None,
            )
            for _ in range(D)
        ]
    problem = Problem(
        options, weights, normal(T, B, inputs), normal(D, n, P), normal(D, n, H), lengths, masks, normal(T, B, D * P),
        normal(D, n, P), normal(D, n, H),
    )  # fmt: skip
    past = ~real(problem)
    problem.x[past] = np.nan  # which nobody may read
    problem.dy[past] = np.nan
    return problem


def real(problem):
    """Where there are steps, (T, B)."""
    T, B, _ = problem.x.shape
    if problem.lengths is None:
        return np.ones((T, B), bool)
    if not isinstance(problem.lengths, Segments):
        return np.arange(T)[:, np.newaxis] < problem.lengths
    steps = np.zeros((T, B), bool)
    for batch, start, length in zip(problem.lengths.batch, problem.lengths.start, problem.lengths.length, strict=True):
        assert not steps[start : start + length, batch].any()
        steps[start : start + length, batch] = True
    return steps


def rows_of(problem):
    """Return the lengths and the segments of a job."""
    return (None, problem.lengths) if isinstance(problem.lengths, Segments) else (problem.lengths, None)


def masks_of(problem):
    return None if problem.masks is None else [Masks(*masks) for masks in problem.masks]


def solve(backend, problem, num_threads=1, layout="dense", train=True, need_dx=True, add=False):
    """Run the problem through a backend; return all results by name, as dense arrays."""
    dtype, D = problem.x.dtype, len(problem.weights)
    packs = [backend.pack(problem.options.cell, weights, num_threads) for weights in problem.weights]
    x, h0, c0, dy = read_only(place(problem.x, layout)[0], problem.h0, problem.c0, place(problem.dy, layout)[0])
    y, y_base = place(np.full(problem.dy.shape, np.nan, dtype), layout)
    h_n, c_n = np.full_like(h0, np.nan), np.full_like(c0, np.nan)
    if isinstance(problem.lengths, Segments):
        y[~real(problem)] = 0
    job = Job(packs, x, h0, c0, y, h_n, c_n, num_threads, *rows_of(problem), masks_of(problem), train)
    tape = backend.forward(job)
    results = {"y": y, "h_n": h_n, "c_n": c_n}
    dx_base = None
    if train:
        for d in range(D):
            results[f"gates[{d}]"], results[f"cells[{d}]"] = backend.gates_and_cells(tape, job, d)
        dx, dx_base = place(np.full(x.shape, np.nan, dtype), layout) if need_dx else (None, None)
        dh0, dc0 = np.full_like(h0, np.nan), np.full_like(c0, np.nan)
        grads = [
            {name: np.full_like(array, 1 if add else np.nan) for name, array in weights.items()}
            for weights in problem.weights
        ]
        (job.y,) = read_only(y)
        backend.backward(
            tape, job, Gradients(dy, *read_only(problem.dh_n, problem.dc_n), dx, dh0, dc0, grads, add)
        )  # fmt: skip
        results |= {"dx": dx, "dh0": dh0, "dc0": dc0} if need_dx else {"dh0": dh0, "dc0": dc0}
        for d, own in enumerate(grads):
            results |= {f"d{name}[{d}]": gradient for name, gradient in own.items()}
    else:
        assert tape is None
    results = {name: np.array(array, order="C") for name, array in results.items()}
    for view, base in [(y, y_base)] + ([] if dx_base is None else [(dx, dx_base)]):
        view[...] = 7
        assert layout == "dense" or (base == 7).all()
    return results


def expect(problem):
    """Solve the problem with the reference, in float64; pieces as sequences of their own."""
    options, H = problem.options, problem.c0.shape[2]
    T, B, _ = problem.x.shape
    _, n, P = problem.h0.shape
    names = [name for name in WEIGHTS if name in problem.weights[0]]
    batch, start, length = np.arange(B), np.zeros(B, int), np.full(B, T)
    if isinstance(problem.lengths, Segments):
        batch, start, length = problem.lengths.batch, problem.lengths.start, problem.lengths.length
    elif problem.lengths is not None:
        length = problem.lengths

    def own(array):
        """Segments of their own (T, n, ..), from (T, B, ..); zeros where there is no step."""
        rows = np.zeros((T, n, *array.shape[2:]))
        for r in range(n):
            rows[: length[r], r] = array[start[r] : start[r] + length[r], batch[r]]
        return rows

    def back(rows, array):
        for r in range(n):
            array[start[r] : start[r] + length[r], batch[r]] += rows[: length[r], r]

    def exact(array):
        return None if array is None else array.astype(np.float64)

    def used(name, array):
        """Without the rows of i where the cell has none."""
        drop = options.coupled and array is not None and name not in ("weight_hr", "weight_norm_cell", "bias_norm_cell")
        return exact(array[H:] if drop else array)

    results = {"y": np.zeros(problem.dy.shape), "dx": np.zeros(problem.x.shape)}
    results |= {name: np.zeros(problem.h0.shape) for name in ("h_n", "dh0")}
    results |= {name: np.zeros(problem.c0.shape) for name in ("c_n", "dc0")}
    for d, weights in enumerate(problem.weights):
        half, reverse = slice(d * P, (d + 1) * P), d == 1
        W, U, b, *extras = (used(name, weights.get(name)) for name in WEIGHTS)
        masks = None
        if problem.masks is not None:
            recurrent, z_h, z_c = problem.masks[d]
            masks = reference.Masks(exact(recurrent), *(None if z is None else own(z) != 0 for z in (z_h, z_c)))
        given = {"extras": reference.Extras(*extras), "variant": options.reference, "masks": masks}
        x = own(np.nan_to_num(problem.x))
        run = reference.lstm_direction(x, exact(problem.h0[d]), exact(problem.c0[d]), W, U, b, length, reverse, **given)
        grads = reference.lstm_direction_backward(
            run, x, W, U, own(np.nan_to_num(problem.dy[:, :, half])), exact(problem.dh_n[d]), exact(problem.dc_n[d]),
            length, reverse, **given,
        )  # fmt: skip
        back(run.y, results["y"][:, :, half])
        back(grads.x, results["dx"])
        results["h_n"][d], results["c_n"][d] = run.h_n, run.c_n
        results["dh0"][d], results["dc0"][d] = grads.h0, grads.c0
        results[f"gates[{d}]"], results[f"cells[{d}]"] = np.zeros((T, B, 4, H)), np.zeros((T, B, H))
        for gate, values in enumerate((run.i, run.f, run.g, run.o)):
            back(values, results[f"gates[{d}]"][:, :, gate])
        back(run.c, results[f"cells[{d}]"])
        gradients = dict(zip(WEIGHTS, (grads.weight_ih, grads.weight_hh, grads.bias, *grads.extras), strict=True))
        for name in names:
            whole = np.zeros(weights[name].shape)
            whole[len(whole) - len(gradients[name]) :] = gradients[name]
            results[f"d{name}[{d}]"] = whole
    return results


def assert_close(results, expected, dtype):
    absolute, relative = TOLERANCE[dtype]
    for name, got in results.items():
        want = expected[name]
        assert got.dtype == dtype
        assert got.shape == want.shape
        most = np.abs(want).max(initial=0)
        tolerance = relative * most if name.startswith("d") else absolute * max(1, most)
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance, err_msg=name)


# Against the reference -----------------------------------------------------------------------------------------------

ALONE = {
    "plain": Options(),
    "projected": Options(projected=True),
    "peephole": Options(peephole=True),
    "coupled": Options(coupled=True),
    "cell_clip": Options(cell_clip=0.4),
    "gate_clip": Options(gate_clip=0.5),
    "layer_norm": Options(layer_norm=True),
    "layer_norm-without-bias": Options(layer_norm=True, norm_bias=False),
    "recurrent_dropout": Options(drawn=("h",)),
    "zoneout": Options(zoneout=(0.3, 0.4), drawn=("zoneout_h", "zoneout_c")),
    "zoneout_h": Options(zoneout=(0.3, 0.0), drawn=("zoneout_h",)),
    "zoneout_c": Options(zoneout=(0.0, 0.3), drawn=("zoneout_c",)),
    "zoneout-inference": Options(zoneout=(0.3, 0.4)),
    "zoneout-without-masks-of-it": Options(zoneout=(0.3, 0.4), drawn=("h",)),
    "everything": Options(
        True, True, True, True, True, 0.9, 1.5, (0.1, 0.2), ("h", "zoneout_h", "zoneout_c"),
        ("hard_sigmoid", "softsign", ("scaled_tanh", 1.7, 0.6)),
    ),
}  # fmt: skip

SIZES = [
    # T, B, inputs, H, D, lengths, layout, threads
    (7, 5, 3, 13, 1, None, "dense", 1),
    (6, 9, 5, 37, 2, "ragged", "batch_first", 3),
    (5, 3, 20, 70, 1, "rows", "scattered", 2),
    (9, 4, 2, 16, 2, "rows", "sliced", 8),
]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("option", ALONE)
def test_each_option_alone(backend, dtype, option, sizes):
    T, B, inputs, H, D, lengths, layout, threads = sizes
    problem = make(T, B, inputs, H, D, dtype, ALONE[option], lengths)
    expected = expect(problem)
    results = solve(backend, problem, threads, layout)
    assert_close(results, expected, dtype)
    inference = solve(backend, problem, threads, layout, train=False)
    assert_same_bits(inference, results)


EMPTY = [(0, 3, 2, 5, 2, None), (0, 3, 2, 5, 1, [0, 0, 0]), (5, 0, 3, 4, 1, None), (4, 3, 2, 9, 1, [0, 0, 0])]


@pytest.mark.parametrize("sizes", EMPTY, ids=str)
@pytest.mark.parametrize("option", ["plain", "projected", "everything"])
def test_nothing_to_do(backend, dtype, option, sizes):
    *sizes, lengths = sizes
    problem = make(*sizes, dtype, ALONE[option], lengths)
    assert_close(solve(backend, problem, 3), expect(problem), dtype)


ACTIVATIONS = [
    "sigmoid", "tanh", "relu", "hard_sigmoid", ("hard_sigmoid", 1 / 6, 0.5), "leaky_relu", ("leaky_relu", 0.3, 0.0),
    "thresholded_relu", ("thresholded_relu", 0.2, 0.0), "elu", ("elu", 0.5, 0.0), "selu", "affine",
    ("affine", 0.7, -0.1), "scaled_tanh", ("scaled_tanh", 1.3, 0.8), "softsign", "softplus", "linear", "exponential",
]  # fmt: skip


@pytest.mark.parametrize("place", range(3), ids=["gates", "candidate", "output"])
@pytest.mark.parametrize("name", ACTIVATIONS, ids=str)
@pytest.mark.parametrize("gate_clip", [np.inf, 0.6])
def test_each_activation(backend, dtype, name, place, gate_clip):
    names = ["sigmoid", "tanh", "tanh"]
    names[place] = name
    problem = make(4, 3, 3, 18, 1, dtype, Options(activations=tuple(names), gate_clip=gate_clip))
    if name == "exponential":  # or states overflow in a few steps
        problem.weights = [{name: 0.1 * array for name, array in own.items()} for own in problem.weights]
        problem.weights[0]["bias"] -= 1
    assert_close(solve(backend, problem), expect(problem), dtype)


def random_options(rng):
    def maybe(value, otherwise, chance=0.5):
        return value if rng.random() < chance else otherwise

    names = [name for name in cells.ACTIVATIONS if name != "exponential"]  # whose states overflow in a few steps
    drawn = tuple(name for name in ("h", "zoneout_h", "zoneout_c") if rng.random() < 0.4)
    return Options(
        projected=maybe(True, False), peephole=maybe(True, False), coupled=maybe(True, False),
        layer_norm=maybe(True, False), norm_bias=maybe(True, False), cell_clip=maybe(0.7, np.inf, 0.3),
        gate_clip=maybe(1.2, np.inf, 0.3), zoneout=maybe((0.2, 0.3), (0.0, 0.0), 0.3), drawn=drawn,
        activations=tuple(rng.choice(names, 3)) if rng.random() < 0.4 else ("sigmoid", "tanh", "tanh"),
    )  # fmt: skip


def random_problem(seed, dtype):
    rng = np.random.default_rng(seed)
    T, B, inputs, H = (int(rng.integers(1, most)) for most in (9, 12, 30, 80))
    D, P = int(rng.integers(1, 3)), int(rng.integers(1, 90))
    lengths = [None, "ragged", "rows"][rng.integers(3)]
    options = random_options(rng)
    problem = make(T, B, inputs, H, D, dtype, options, lengths, P, seed)
    if options.activations != Options().activations:  # without bounds, states grow, and every rounding with them
        problem.weights = [{name: 0.3 * array for name, array in own.items()} for own in problem.weights]
    return problem, rng


@pytest.mark.parametrize("seed", range(80))
def test_random_combinations(backend, seed):
    problem, rng = random_problem(seed, np.float64)
    threads, layout = int(rng.choice([1, 2, 3, 8])), str(rng.choice(LAYOUTS))
    results = solve(backend, problem, threads, layout)
    assert_close(results, expect(problem), np.float64)


# The same bits -------------------------------------------------------------------------------------------------------

SPLITS = [(1, 1), (2, 1), (2, 2), (3, 1), (3, 3), (4, 2), (8, 1), (8, 4)]


@pytest.fixture
def force():
    yield _plan.force
    _plan.force()


@pytest.mark.parametrize("seed", range(100, 112))
def test_same_bits_however_the_work_is_shared(backend, dtype, force, seed):
    problem, _ = random_problem(seed, dtype)
    expected = solve(backend, problem)
    sides = (False, True) if len(problem.weights) == 2 else (False,)
    for (threads, row_groups), chunk, side in itertools.product(SPLITS, (0, 3), sides):
        force(threads, side_by_side=side, row_groups=row_groups, chunk=chunk)
        assert_same_bits(solve(backend, problem, threads), expected)


@pytest.mark.parametrize("seed", range(200, 240))
def test_same_bits_on_every_instruction_set(dtype, seed):
    problem, _ = random_problem(seed, dtype)
    before, results = backends.isa(), []
    try:
        for name in VECTOR:
            backends.use(name)
            results.append(solve(Backend(name), problem))
    finally:
        backends.use(before)
    for other in results[1:]:
        assert_same_bits(results[0], other)


@pytest.mark.parametrize("option", ["everything", "layer_norm", "peephole"])
def test_same_bits_in_any_batch(backend, dtype, option):
    problem = make(6, 11, 4, 21, 2, dtype, ALONE[option], "ragged")
    whole = solve(backend, problem)
    for rows in ([3], [0, 10, 4], [9, 8, 7, 6, 5, 2, 1]):
        masks = problem.masks and [
            tuple(None if mask is None else np.ascontiguousarray(mask[..., rows, :]) for mask in own)
            for own in problem.masks
        ]
        part = replace(
            problem, lengths=problem.lengths[rows], masks=masks,
            **{name: np.ascontiguousarray(getattr(problem, name)[:, rows])
               for name in ("x", "h0", "c0", "dy", "dh_n", "dc_n")},
        )  # fmt: skip
        results = solve(backend, part)
        for name in ("y", "h_n", "c_n", "dx", "dh0", "dc0"):
            assert_same_bits({name: results[name]}, {name: np.ascontiguousarray(whole[name][:, rows])})


def test_rows_are_the_rows_that_lengths_make(backend, dtype):
    options = ALONE["everything"]
    problem = make(6, 5, 4, 21, 2, dtype, options, "ragged")
    rows = Segments(np.arange(5), np.zeros(5, np.int64), np.asarray(problem.lengths))
    assert_same_bits(solve(backend, replace(problem, lengths=rows)), solve(backend, problem))


# Beside the plain kernels --------------------------------------------------------------------------------------------


def plain_weights(problem):
    return [tuple(weights[name] for name in WEIGHTS[:3]) for weights in problem.weights]


class PlainPacks:
    """A backend that packs plain cells by the plain kernels' `pack`."""

    def __init__(self, backend):
        self.backend = backend

    def __getattr__(self, name):
        return getattr(self.backend, name)

    def pack(self, variant, weights, num_threads):
        assert replace(variant, general=False).plain
        return self.backend.pack(cells.PLAIN, weights, num_threads)


@pytest.mark.parametrize("lengths", [None, "ragged", "rows"])
def test_the_plain_cell(backend, dtype, lengths):
    """By either kernels the same to rounding; and pieces of rows are for both."""
    problem = make(8, 6, 5, 35, 2, dtype, Options(), lengths)
    plain = solve(PlainPacks(backend), problem, 2)
    expected = expect(problem)
    assert_close(plain, expected, dtype)
    few = 64 * np.finfo(dtype).eps
    for name, array in solve(backend, problem, 2).items():
        np.testing.assert_allclose(array, plain[name], rtol=0, atol=few * max(1, np.abs(array).max()), err_msg=name)


@pytest.mark.parametrize("option", ["everything", "projected", "peephole"])
def test_gradients_are_added_to(backend, dtype, option):
    problem = make(5, 4, 3, 19, 2, dtype, ALONE[option])
    once, added = solve(backend, problem), solve(backend, problem, add=True)
    for name, array in added.items():
        expected = 1 + once[name] if name.startswith(("dweight", "dbias")) else once[name]
        np.testing.assert_array_equal(array, expected, err_msg=name)


def test_without_the_gradient_of_x(backend, dtype):
    problem = make(5, 4, 3, 19, 2, dtype, ALONE["everything"], "ragged")
    results = solve(backend, problem, need_dx=False)
    assert "dx" not in results
    assert_same_bits(results, solve(backend, problem))


def test_of_one_direction_by_itself(backend, dtype):
    """`reverse`: the first direction, too, reads from the end; each has a cell of its own."""
    problem = make(6, 4, 3, 17, 2, dtype, ALONE["everything"], "ragged")
    both = solve(backend, problem)
    P = problem.h0.shape[2]
    pack = backend.pack(problem.options.cell, problem.weights[1], 1)
    y, h_n, c_n = np.empty_like(problem.dy[:, :, P:]), np.empty_like(problem.h0[1:]), np.empty_like(problem.c0[1:])
    backend.forward(Job(
        [pack], problem.x, problem.h0[1:].copy(), problem.c0[1:].copy(), y, h_n, c_n, 1, *rows_of(problem),
        masks_of(problem)[1:], reverse=True,
    ))  # fmt: skip
    assert_same_bits({"y": y, "h_n": h_n}, {"y": both["y"][:, :, P:].copy(), "h_n": both["h_n"][1:]})


def test_a_clipped_gate_has_no_gradient(backend, dtype):
    """Where all sums are beyond the limit nothing gets through, whatever the activation."""
    for name in cells.ACTIVATIONS:
        options = Options(gate_clip=0.25, activations=(name, name, "tanh"))
        problem = make(3, 2, 3, 18, 1, dtype, options)
        problem.weights[0]["bias"][...] = np.where(np.arange(72) % 2, 1000, -1000)
        results = solve(backend, problem)
        for gradient in ("dweight_ih[0]", "dweight_hh[0]", "dbias[0]", "dx", "dh0"):
            assert not results[gradient].any(), (name, gradient)


# Streams -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["everything", "projected", "layer_norm"])
def test_steps_are_a_run(backend, dtype, option):
    options = replace(ALONE[option], drawn=())
    rng = np.random.default_rng(0)
    widths, packs, inputs = (19, 33), [], 5
    for H in widths:
        problem = make(1, 1, inputs, H, 1, dtype, options)
        packs.append(backend.pack(options.cell, problem.weights[0], 1))
        inputs = problem.h0.shape[2]
    x = rng.normal(size=(7, 3, 5)).astype(dtype)
    steps = backend.steps(packs, 3, 2, False)
    assert (steps.input_size, steps.hidden_size, steps.num_layers, steps.dtype) == (5, inputs, 2, dtype)
    y = np.empty((7, 3, inputs), dtype)
    steps.run(x, y, 2)
    again, one_by_one = steps.twin(), np.empty_like(y)
    for t in range(7):
        again.run(x[t : t + 1], one_by_one[t : t + 1], 1)
    assert_same_bits({"y": one_by_one}, {"y": y})
    for own, other in zip(steps.state(), again.state(), strict=True):
        for layer in range(2):
            assert_same_bits({"": own[layer]}, {"": other[layer]})
