"""Cells beyond the plain one, of every backend, against the reference with the same weights and masks.

The functions under test are the internal ones, as in test_backends.py: those of backend.Path.
What they read is read-only here; what they write is full of NaN before.
"""

from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from clstm import reference
from clstm._core import backend as backends
from clstm._core.job import Gradients, Job, Masks
from clstm._core.segments import Segments
from clstm._core.variant import ACTIVATIONS, ALPHA_BETA, PLAIN, Variant

# Absolute for outputs below 1, relative above; for gradients relative to the largest element of each: as in
# test_backends.py.
TOLERANCE = {np.float32: (1e-5, 1e-4), np.float64: (1e-12, 1e-9)}

pytestmark = pytest.mark.usefixtures("isa")

# Weights of one direction after the first three, as pack and the gradients have them, by the reference's names.
EXTRAS = ("weight_hr", "weight_peephole", "weight_norm_gates", "weight_norm_cell", "bias_norm_cell")
WEIGHTS = ("weight_ih", "weight_hh", "bias", *EXTRAS)


@pytest.fixture(scope="module", params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


def activation(name, *alpha_beta):
    return (ACTIVATIONS.index(name), *(alpha_beta or ALPHA_BETA.get(name, (0.0, 0.0))))


# Problems and their solutions ----------------------------------------------------------------------------------------


@dataclass
class Problem:
    """All that a layer is given, forward and backward; dense arrays.

    `lengths` may be Segments; the states then have as many rows. `masks` is what a job has.
    """

    cells: list
    weights: list  # for each direction weight_ih, weight_hh, bias and EXTRAS
    x: np.ndarray
    h0: np.ndarray
    c0: np.ndarray
    lengths: np.ndarray | Segments | None
    masks: list | None
    dy: np.ndarray
    dh_n: np.ndarray
    dc_n: np.ndarray
    reverse: bool = False

    @property
    def inside(self):
        """Where there are steps, (T, B)."""
        T, B, _ = self.x.shape
        if isinstance(self.lengths, Segments):
            inside = np.zeros((T, B), bool)
            for b, start, length in zip(self.lengths.batch, self.lengths.start, self.lengths.length, strict=True):
                inside[start : start + length, b] = True
            return inside
        return np.ones((T, B), bool) if self.lengths is None else np.arange(T)[:, np.newaxis] < self.lengths


def pieces(rng, T, B):
    """Cut the rows of a batch into pieces of random lengths, in random order; some are empty, one row isn't there."""
    batch, start, length = [], [], []
    for b in range(max(B - 1, 0)):
        cuts = np.sort(rng.integers(0, T + 1, rng.integers(2, 5)))
        for begin, end in pairwise(cuts):
            batch.append(b), start.append(begin), length.append(end - begin)
    order = rng.permutation(len(batch))
    return Segments(*(np.array(array, np.int64)[order] for array in (batch, start, length)))


def make(
    T, B, inputs, H, D, dtype, *, cell=None, proj=0, bias=True, recurrent=0.0, train=False, lengths="ragged",
    reverse=False, seed=0,
):  # fmt: skip
    """A random problem; `lengths` is None, "ragged" (with a full row and an empty one) or "rows"."""
    rng = np.random.default_rng([seed, T, B, inputs, H, D])
    cell = replace(Variant() if cell is None else cell, projected=proj > 0)
    cells = cell if isinstance(cell, list) else [cell] * D
    P = proj or H
    n = B
    if lengths == "ragged":
        lengths = rng.integers(0, T + 1, B)
        lengths[rng.permutation(B)[:2]] = [T, 0][: min(B, 2)]
    elif lengths == "rows":
        lengths = pieces(rng, T, B)
        n = len(lengths.batch)

    def normal(*shape):
        return rng.normal(size=shape).astype(dtype)

    def uniform(*shape):
        return (rng.uniform(-1, 1, size=shape) / np.sqrt(P)).astype(dtype)

    weights, masks = [], []
    for own in cells:
        there = {
            "weight_ih": uniform(4 * H, inputs), "weight_hh": uniform(4 * H, P), "bias": uniform(4 * H),
            "weight_hr": uniform(P, H) * 2 if proj else None,
            "weight_peephole": uniform(3 * H) if own.peephole else None,
            "weight_norm_gates": 1 + uniform(4 * H) if own.layer_norm else None,
            "weight_norm_cell": 1 + uniform(H) if own.layer_norm else None,
            "bias_norm_cell": uniform(H) if own.layer_norm and bias else None,
        }  # fmt: skip
        if own.coupled:
            for array in there.values():
                if array is not None and len(array) in (3 * H, 4 * H):
                    array[:H] = 0
        weights.append(tuple(there.values()))
        masks.append((
            ((rng.random((n, P)) >= recurrent) / (1 - recurrent)).astype(dtype) if recurrent else None,
            (rng.random((T, B, P)) < own.zoneout[0]).astype(np.uint8) if own.zoneout[0] else None,
            rng.random((T, B, H)) < own.zoneout[1] if own.zoneout[1] else None,
        ))  # fmt: skip
    problem = Problem(
        cells, weights, normal(T, B, inputs), normal(D, n, P), normal(D, n, H), lengths,
        masks if train or recurrent else None, normal(T, B, D * P), normal(D, n, P), normal(D, n, H), reverse,
    )  # fmt: skip
    problem.x[~problem.inside] = np.nan  # which nobody may read
    problem.dy[~problem.inside] = np.nan
    return problem


def read_only(*arrays):
    views = [array.view() for array in arrays]
    for view in views:
        view.flags.writeable = False
    return views


def named(weights):
    """Return weights by name, without those that are None."""
    return {name: array for name, array in zip(WEIGHTS, weights, strict=False) if array is not None}


def pack(problem, num_threads=1):
    """Pack all directions for the kernels of any variant, also where they are plain."""
    return [
        backends.path().pack(replace(cell, general=True), named(weights), num_threads)
        for cell, weights in zip(problem.cells, problem.weights, strict=True)
    ]


def job_of(problem, packs, y, h_n, c_n, num_threads=1, keep=False):
    lengths, segments = problem.lengths, None
    if isinstance(lengths, Segments):
        lengths, segments = None, lengths
    masks = None if problem.masks is None else [Masks(*masks) for masks in problem.masks]
    return Job(
        packs, *read_only(problem.x, problem.h0, problem.c0), y, h_n, c_n, num_threads, lengths, segments, masks, keep,
        problem.reverse,
    )  # fmt: skip


def solve(problem, num_threads=1, train=True, need_dx=True, add=None):
    """Run the problem through the backend in use; return all results by name. `add` is what gradients begin with."""
    compiled = backends.path()
    packs = pack(problem, num_threads)
    x, h0, c0, dy, dh_n, dc_n = read_only(
        problem.x, problem.h0, problem.c0, problem.dy, problem.dh_n, problem.dc_n
    )  # fmt: skip
    y, h_n, c_n = (np.full_like(array, np.nan) for array in (dy, h0, c0))
    if isinstance(problem.lengths, Segments):
        y[~problem.inside] = 0
    job = job_of(problem, packs, y, h_n, c_n, num_threads, train)
    tape = compiled.forward(job)
    results = {"y": y, "h_n": h_n, "c_n": c_n}
    if not train:
        assert tape is None
        return results
    for d in range(len(packs)):
        results[f"gates[{d}]"], results[f"cells[{d}]"] = compiled.gates_and_cells(tape, job, d)
    dx = np.full_like(x, np.nan) if need_dx else None
    dh0, dc0 = np.full_like(h0, np.nan), np.full_like(c0, np.nan)
    grads = [
        {name: np.full_like(array, np.nan if add is None else add) for name, array in named(w).items()}
        for w in problem.weights
    ]
    (job.y,) = read_only(y)
    compiled.backward(tape, job, Gradients(dy, dh_n, dc_n, dx, dh0, dc0, grads, add is not None))
    results |= {"dx": dx, "dh0": dh0, "dc0": dc0} if need_dx else {"dh0": dh0, "dc0": dc0}
    for d, own in enumerate(grads):
        for name, gradient in own.items():
            results[f"d{name}[{d}]"] = gradient
    return results


def reference_variant(cell):
    return reference.Variant(
        cell.coupled, cell.cell_clip, cell.gate_clip, cell.zoneout,
        tuple((ACTIVATIONS[code], alpha, beta) for code, alpha, beta in cell.activations),
    )  # fmt: skip


def expect(problem):
    """Solve the problem with the reference, in float64; pieces of rows one by one."""
    T, B, _ = problem.x.shape
    P, H = problem.h0.shape[2], problem.c0.shape[2]
    rows = problem.lengths
    if not isinstance(rows, Segments):
        rows = Segments(np.arange(B), np.zeros(B, np.int64), np.full(B, T) if rows is None else rows)

    def exact(array):
        return None if array is None else array.astype(np.float64)

    results = {name: exact(array) for name, array in [("h_n", problem.h0), ("c_n", problem.c0)]}
    results |= {name: exact(array) for name, array in [("dh0", problem.dh_n), ("dc0", problem.dc_n)]}
    results |= {"y": np.zeros(problem.dy.shape), "dx": np.zeros(problem.x.shape)}
    for d, (cell, arrays) in enumerate(zip(problem.cells, problem.weights, strict=True)):
        drop = H if cell.coupled else 0  # the rows of i, which the reference hasn't got
        W, U, b, hr, p, gain, *norm = map(exact, arrays)
        W, U, b = W[drop:], U[drop:], b[drop:]
        extras = reference.Extras(hr, None if p is None else p[drop:], None if gain is None else gain[drop:], *norm)
        half = slice(d * P, (d + 1) * P)
        totals = {name: np.zeros_like(exact(a)) for name, a in
                  zip(("weight_ih", "weight_hh", "bias", *EXTRAS), arrays, strict=True) if a is not None}  # fmt: skip
        gates, cells = np.zeros((T, B, 4, H)), np.zeros((T, B, H))
        reverse = problem.reverse or d == 1
        for r, (b_, start, length) in enumerate(zip(rows.batch, rows.start, rows.length, strict=True)):
            steps, row = slice(start, start + length), slice(b_, b_ + 1)
            masks = None
            if problem.masks is not None:
                recurrent, *zoneout = problem.masks[d]
                masks = reference.Masks(
                    None if recurrent is None else exact(recurrent[r : r + 1]),
                    *(None if mask is None else mask[steps, row] for mask in zoneout),
                )
            options = {"extras": extras, "variant": reference_variant(cell), "masks": masks}
            x = exact(problem.x[steps, row])
            run = reference.lstm_direction(
                x, exact(problem.h0[d, r : r + 1]), exact(problem.c0[d, r : r + 1]), W, U, b, None, reverse, **options
            )
            back = reference.lstm_direction_backward(
                run, x, W, U, exact(problem.dy[steps, row, half]), exact(problem.dh_n[d, r : r + 1]),
                exact(problem.dc_n[d, r : r + 1]), None, reverse, **options,
            )  # fmt: skip
            results["y"][steps, row, half] = run.y
            results["h_n"][d, r], results["c_n"][d, r] = run.h_n[0], run.c_n[0]
            results["dh0"][d, r], results["dc0"][d, r] = back.h0[0], back.c0[0]
            results["dx"][steps, row] += back.x
            gates[steps, row] = np.stack([run.i, run.f, run.g, run.o], axis=2)
            cells[steps, row] = run.c
            for name, total in totals.items():
                gradient = getattr(back, name) if hasattr(back, name) else getattr(back.extras, name)
                total[len(total) - len(gradient) :] += gradient
        results |= {f"gates[{d}]": gates, f"cells[{d}]": cells}
        results |= {f"d{name}[{d}]": total for name, total in totals.items()}
    return results


@cache
def solved_case(case, dtype):
    """Return a problem and what is expected of it: the same for every backend."""
    sizes, options = CASES[case]
    problem = make(*sizes, dtype, **options)
    return problem, expect(problem)


def sensitivity(problem, expected):
    """Return by how much the exact results move if every input does by one unit in the last place, up or down."""
    rng = np.random.default_rng(0)

    def shaken(array):
        return None if array is None else array * (1 + np.finfo(array.dtype).eps * rng.choice([-1.0, 1.0], array.shape))

    moved = expect(
        replace(
            problem, x=shaken(problem.x), h0=shaken(problem.h0), c0=shaken(problem.c0),
            weights=[tuple(map(shaken, weights)) for weights in problem.weights],
        )
    )  # fmt: skip
    return {name: np.abs(moved[name] - array).max(initial=0) for name, array in expected.items()}


def assert_close(results, problem, dtype, expected=None):
    """Compare with the reference.

    Some random cells magnify a rounding error many times: those that divide by the deviation of few units, or that are
    not bounded. An error may therefore be as large as that of inputs which are off by some units in the last place.
    """
    expected = expect(problem) if expected is None else expected
    absolute, relative = TOLERANCE[dtype]
    moved = None
    for name, got in results.items():
        want = expected[name]
        assert got.dtype == dtype
        assert got.shape == want.shape
        largest = np.abs(want).max(initial=0)
        tolerance = relative * largest if name.startswith("d") else absolute * max(1, largest)
        if not np.abs(got - want).max(initial=0) <= tolerance:
            moved = sensitivity(problem, expected) if moved is None else moved
            tolerance = max(tolerance, 16 * moved[name])
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance, err_msg=name)


def assert_same_bits(results, others):
    assert results.keys() <= others.keys()
    for name, array in results.items():
        np.testing.assert_array_equal(array.view(f"u{array.itemsize}"), others[name].view(f"u{array.itemsize}"), name)


# Against the reference -----------------------------------------------------------------------------------------------

ALONE = {
    "plain": {},
    "projection": {"proj": 5},
    "projection wider than the cell": {"proj": 21},
    "peephole": {"cell": Variant(peephole=True)},
    "coupled": {"cell": Variant(coupled=True)},
    "cell_clip": {"cell": Variant(cell_clip=0.3)},
    "gate_clip": {"cell": Variant(gate_clip=0.4)},
    "layer_norm": {"cell": Variant(layer_norm=True)},
    "layer_norm without bias": {"cell": Variant(layer_norm=True), "bias": False},
    "recurrent_dropout": {"recurrent": 0.5},
    "zoneout in training": {"cell": Variant(zoneout=(0.3, 0.2)), "train": True},
    "zoneout in inference": {"cell": Variant(zoneout=(0.3, 0.2))},
    "zoneout of h": {"cell": Variant(zoneout=(0.3, 0.0)), "train": True},
    "zoneout of c": {"cell": Variant(zoneout=(0.0, 0.3)), "train": True},
    "coupled peephole": {"cell": Variant(coupled=True, peephole=True)},
    "coupled layer_norm": {"cell": Variant(coupled=True, layer_norm=True)},
    "projection and zoneout": {"proj": 5, "cell": Variant(zoneout=(0.3, 0.2)), "train": True},
    "projection and recurrent_dropout": {"proj": 5, "recurrent": 0.4},
    "Keras's hard sigmoid": {
        "cell": Variant(activations=(activation("hard_sigmoid", 1 / 6, 0.5), activation("tanh"), activation("tanh")))
    },
    "alpha and beta": {
        "cell": Variant(activations=(
            activation("hard_sigmoid", 0.3, 0.4), activation("scaled_tanh", 1.7, 0.6), activation("elu", 0.4, 0.0)
        ))
    },
    **{
        f"{name} everywhere": {"cell": Variant(activations=(activation(name),) * 3, gate_clip=1.2, cell_clip=1.0)}
        for name in ACTIVATIONS
    },
    **{
        f"{name} inside": {"cell": Variant(activations=(activation("sigmoid"), activation(name), activation(name)))}
        for name in ACTIVATIONS
        if name != "exponential"  # of c, which it makes grow without end
    },
}  # fmt: skip


def combination(seed):
    """Draw options at random, each present about as often as not."""
    rng = np.random.default_rng([17, seed])

    def maybe(value, otherwise):
        return value if rng.random() < 0.5 else otherwise

    bounded = [name for name in ACTIVATIONS if name not in ("exponential", "affine", "linear", "softplus")]
    cell = Variant(
        coupled=maybe(True, False),
        cell_clip=maybe(0.8, np.inf),
        gate_clip=maybe(1.1, np.inf),
        layer_norm=maybe(True, False),
        peephole=maybe(True, False),
        zoneout=(maybe(0.3, 0.0), maybe(0.2, 0.0)),
        activations=maybe(tuple(activation(str(rng.choice(bounded))) for _ in range(3)), Variant().activations),
    )
    options = {
        "cell": cell,
        "proj": maybe(int(rng.integers(1, 30)), 0),
        "bias": maybe(True, False),
        "recurrent": maybe(0.4, 0.0),
        "train": maybe(True, False),
        "lengths": [None, "ragged", "rows"][rng.integers(3)],
        "reverse": maybe(True, False),
    }
    T, B, inputs, H, D = (int(rng.integers(low, high)) for low, high in [(1, 9), (1, 41), (1, 20), (1, 40), (1, 3)])
    return (T, B, inputs, H, D), options


CASES = {name: ((7, 9, 6, 19, 2), options) for name, options in ALONE.items()}
CASES |= {f"{name}, pieces": ((7, 9, 6, 19, 2), ALONE[name] | {"lengths": "rows"}) for name in list(ALONE)[:14]}
CASES |= {f"{name}, reverse": ((6, 5, 3, 17, 1), ALONE[name] | {"reverse": True}) for name in list(ALONE)[:14]}
CASES |= {f"combination {seed}": combination(seed) for seed in range(80)}


@pytest.mark.parametrize("case", CASES)
def test_against_the_reference(dtype, case):
    problem, expected = solved_case(case, dtype)
    one = solve(problem)
    assert_close(one, problem, dtype, expected)
    inside = problem.inside
    assert not one["y"][~inside].any()
    assert not one["dx"][~inside].any()
    # the same bits with other numbers of threads, for inference (the masks, if any, are the same), and without dx
    for num_threads in (2, 8):
        assert_same_bits(solve(problem, num_threads), one)
    assert_same_bits(solve(problem, train=False), one)
    assert_same_bits(solve(problem, need_dx=False), one)


@pytest.mark.parametrize("options", [{}, {"proj": 37}, {"cell": Variant(layer_norm=True, peephole=True)}], ids=str)
def test_many_rows_and_threads(dtype, options):
    problem = make(9, 150, 40, 70, 2, dtype, **options)
    one = solve(problem, 1)
    assert_close(one, problem, dtype)
    for num_threads in (2, 8):
        assert_same_bits(solve(problem, num_threads), one)


@pytest.mark.parametrize("sizes", [(0, 3, 2, 5, 2), (5, 0, 3, 4, 1), (1, 1, 1, 1, 2), (3, 2, 300, 1, 1)], ids=str)
@pytest.mark.parametrize("lengths", [None, "ragged", "rows"])
def test_edges_of_shape(dtype, sizes, lengths):
    cell = Variant(peephole=True, layer_norm=True, zoneout=(0.3, 0.2), coupled=True)
    problem = make(*sizes, dtype, cell=cell, proj=3, recurrent=0.3, lengths=lengths)
    assert_close(solve(problem), problem, dtype)


def test_gradients_add_up(dtype):
    problem = make(7, 9, 6, 19, 2, dtype, cell=Variant(peephole=True, layer_norm=True, coupled=True), proj=5)
    alone, added = solve(problem), solve(problem, add=3.0)
    _, relative = TOLERANCE[dtype]
    for name, gradient in alone.items():
        if name.startswith(("dweight", "dbias")):
            scale = 3 + np.abs(gradient).max()
            np.testing.assert_allclose(added[name], gradient + 3, rtol=0, atol=relative * scale, err_msg=name)


def test_gates_are_those_of_plain_layers(dtype):
    problem = make(7, 9, 6, 19, 2, dtype)
    compiled = backends.path()
    packs = [compiled.pack(PLAIN, named(weights[:3]), 1) for weights in problem.weights]
    outputs = [np.empty_like(array) for array in (problem.dy, problem.h0, problem.c0)]
    job = job_of(problem, packs, *outputs, keep=True)
    tape = compiled.forward(job)
    results = {}
    for d in range(2):
        results[f"gates[{d}]"], results[f"cells[{d}]"] = compiled.gates_and_cells(tape, job, d)
    assert_close(results, problem, dtype)


def test_pieces_of_plain_layers(dtype):
    problem = make(7, 9, 6, 19, 2, dtype, lengths="rows")
    compiled = backends.path()
    packs = [compiled.pack(PLAIN, named(weights[:3]), 1) for weights in problem.weights]
    y, h_n, c_n = (np.zeros_like(array) for array in (problem.dy, problem.h0, problem.c0))
    job = job_of(problem, packs, y, h_n, c_n, keep=True)
    tape = compiled.forward(job)
    dx, dh0, dc0 = (np.full_like(array, np.nan) for array in (problem.x, problem.h0, problem.c0))
    grads = [
        {name: np.full_like(array, np.nan) for name, array in named(weights[:3]).items()} for weights in problem.weights
    ]
    compiled.backward(tape, job, Gradients(problem.dy, problem.dh_n, problem.dc_n, dx, dh0, dc0, grads))
    results = {"y": y, "h_n": h_n, "c_n": c_n, "dx": dx, "dh0": dh0, "dc0": dc0}
    for d, own in enumerate(grads):
        results |= {f"d{name}[{d}]": gradient for name, gradient in own.items()}
    assert_close(results, problem, dtype)


def test_masks_of_a_plain_cell_that_keep_all_change_nothing(dtype):
    problem = make(7, 9, 6, 19, 2, dtype)
    kept = [(np.ones((9, 19), dtype), np.zeros((7, 9, 19), np.uint8), np.zeros((7, 9, 19), bool))] * 2
    assert_same_bits(solve(replace(problem, masks=kept)), solve(problem))


# Streams -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"proj": 5},
        {"cell": Variant(peephole=True, coupled=True)},
        {"cell": Variant(layer_norm=True, zoneout=(0.3, 0.2))},
    ],
    ids=str,
)
def test_streams(dtype, options, residual):
    T, B, layers, width = 6, 3, 3, options.get("proj", 7)
    problems = [make(T, B, width, 7, 1, dtype, lengths=None, seed=seed, **options) for seed in range(layers)]
    steps = backends.path().steps([pack(problem)[0] for problem in problems], B, 1, residual)
    assert (steps.hidden_size, steps.input_size, steps.num_layers) == (width, width, layers)
    state = steps.state()
    x = problems[0].x
    for layer, problem in enumerate(problems):
        state[0][layer][...], state[1][layer][...] = problem.h0[0], problem.c0[0]
    y = np.empty((T, B, width), dtype)
    steps.run(x, y, 1)
    expected = x.astype(float)
    for layer, problem in enumerate(problems):
        results = expect(replace(problem, x=expected))
        expected = results["y"] + expected if residual and layer else results["y"]
        absolute = TOLERANCE[dtype][0] * 3
        np.testing.assert_allclose(steps.state()[0][layer], results["h_n"][0], rtol=0, atol=absolute)
        np.testing.assert_allclose(steps.state()[1][layer], results["c_n"][0], rtol=0, atol=absolute)
    np.testing.assert_allclose(y, expected, rtol=0, atol=TOLERANCE[dtype][0] * 3)


def test_streams_of_unequal_layers(dtype):
    T, B, sizes = 4, 2, [(3, 5), (5, 8), (8, 2)]
    problems = [make(T, B, inputs, H, 1, dtype, lengths=None) for inputs, H in sizes]
    steps = backends.path().steps([pack(problem)[0] for problem in problems], B, 1, False)
    h, c = steps.state()
    assert [array.shape for array in h] == [array.shape for array in c] == [(B, H) for _, H in sizes]
    y = np.empty((T, B, 2), dtype)
    steps.run(problems[0].x, y, 1)
    expected = problems[0].x
    for problem in problems:
        zeros = np.zeros_like(problem.h0)
        expected = expect(replace(problem, x=expected, h0=zeros, c0=zeros))["y"]
    np.testing.assert_allclose(y, expected, rtol=0, atol=TOLERANCE[dtype][0])
