"""One layer of either compiled path against the reference: random problems, and both solutions of them.

The functions under test are the internal ones of `clstm._core.backend`: what they read is read-only here; what they
write is full of NaN before, and lies among canaries where it isn't dense.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import numpy as np

from clstm import reference
from clstm._core import backend, variant
from clstm._core.job import Gradients, Job, Masks
from clstm._core.segments import Segments
from tests.helpers.arrays import TOLERANCE, assert_canaries, place, read_only

VECTOR = [name for name in backend.available() if name != "portable"]
# What a direction has of weights, in the order in which they are packed.
WEIGHTS = (
    "weight_ih", "weight_hh", "bias", "weight_hr", "weight_peephole", "weight_norm_gates", "weight_norm_cell",
    "bias_norm_cell",
)  # fmt: skip
OUTPUTS = ("y", "h_n", "c_n")
OF_ROWS = (*OUTPUTS, "dx", "dh0", "dc0")  # results that have a part for each row of the batch


@dataclass(frozen=True)
class Options:
    """What a step computes, by what a user would write.

    `drawn` are the masks of training that are drawn: of "h" (recurrent dropout), "zoneout_h" and "zoneout_c"; None in
    inference, where zoneout is an average.
    """

    projected: bool = False
    peephole: bool = False
    coupled: bool = False
    layer_norm: bool = False
    norm_bias: bool = True
    cell_clip: float = np.inf
    gate_clip: float = np.inf
    zoneout: tuple[float, float] = (0.0, 0.0)
    drawn: tuple[str, ...] | None = None
    activations: tuple = ("sigmoid", "tanh", "tanh")

    @property
    def reference(self):
        """The options that the reference takes."""
        return reference.Variant(self.coupled, self.cell_clip, self.gate_clip, self.zoneout, self.activations)

    @property
    def variant(self):
        """The options that the compiled paths take."""

        def coded(activation):
            name, *given = (activation,) if isinstance(activation, str) else activation
            return (variant.ACTIVATIONS.index(name), *(given or variant.ALPHA_BETA.get(name, (0.0, 0.0))))

        return variant.Variant(
            self.coupled, self.cell_clip, self.gate_clip, self.layer_norm, self.peephole, self.projected, self.zoneout,
            tuple(map(coded, self.activations)),
        )  # fmt: skip

    def weight_shapes(self, inputs, H, P):
        """Return the shape of each weight that a layer with these options has."""
        shapes = {"weight_ih": (4 * H, inputs), "weight_hh": (4 * H, P), "bias": (4 * H,)}
        if self.projected:
            shapes["weight_hr"] = (P, H)
        if self.peephole:
            shapes["weight_peephole"] = (3 * H,)
        if self.layer_norm:
            shapes |= {"weight_norm_gates": (4 * H,), "weight_norm_cell": (H,)}
            if self.norm_bias:
                shapes["bias_norm_cell"] = (H,)
        return shapes

    def rows_of_i(self, name, H):
        """Return how many rows of a weight belong to an input gate that isn't there."""
        return H if self.coupled and name not in ("weight_hr", "weight_norm_cell", "bias_norm_cell") else 0


PLAIN = Options()


@dataclass
class Problem:
    """All that a layer is given, forward and backward, as dense arrays.

    T steps, B rows, n states (B, or the number of segments), H units, P outputs, D directions.
    """

    options: Options
    weights: list[dict[str, np.ndarray]]  # of each direction; rows of a missing input gate are there, and zero
    x: np.ndarray  # (T, B, inputs)
    h0: np.ndarray  # (D, n, P)
    c0: np.ndarray  # (D, n, H)
    lengths: np.ndarray | Segments | None
    masks: list | None  # of each direction: of h (n, P), of zoneout (T, B, P) and (T, B, H)
    dy: np.ndarray  # (T, B, D * P)
    dh_n: np.ndarray
    dc_n: np.ndarray
    reverse: bool = False  # the first direction, too, reads from the end

    def segments(self):
        """Return (row of the batch, first step, number of steps), each (n,)."""
        T, B, _ = self.x.shape
        if isinstance(self.lengths, Segments):
            return self.lengths.batch, self.lengths.start, self.lengths.length
        return np.arange(B), np.zeros(B, int), np.full(B, T) if self.lengths is None else self.lengths

    @property
    def inside(self):
        """Where there are steps, (T, B)."""
        inside = np.zeros(self.x.shape[:2], bool)
        for row, start, length in zip(*self.segments(), strict=True):
            assert not inside[start : start + length, row].any()
            inside[start : start + length, row] = True
        return inside

    @property
    def past(self):
        """Where there are none, (T, B)."""
        return ~self.inside

    def rows(self, rows):
        """Return the same problem with some of the rows only."""
        states = {name: np.ascontiguousarray(getattr(self, name)[:, rows])
                  for name in ("x", "h0", "c0", "dy", "dh_n", "dc_n")}  # fmt: skip
        lengths = None if self.lengths is None else self.lengths[rows]
        masks = self.masks and [
            tuple(None if mask is None else np.ascontiguousarray(mask[..., rows, :]) for mask in of_direction)
            for of_direction in self.masks
        ]
        return replace(self, lengths=lengths, masks=masks, **states)


def cut(rng, T, B):
    """Cut the rows of a batch at random: segments in random order, some empty, some left out, none of the last row."""
    batch, start, length = [], [], []
    for row in range(max(B - 1, 0)):
        for begin, end in pairwise(np.sort(rng.integers(0, T + 1, rng.integers(2, 5)))):
            if rng.random() < 0.8:
                batch.append(row), start.append(begin), length.append(end - begin)
    order = rng.permutation(len(batch))
    return Segments(*(np.array(array, np.int64)[order] for array in (batch, start, length)))


def make(
    T, B, inputs, H, D, dtype, options=PLAIN, lengths=None, *, P=None, gain=1.0, reverse=False, seed=0
):  # fmt: skip
    """Return a random problem.

    `lengths` is None, "ragged" (one row is full and one empty), "segments" (see `cut`), or the lengths. `P` is the
    width of a projection, about half of H by default. Weights are uniform between -gain / sqrt(H) and gain / sqrt(H).
    """
    rng = np.random.default_rng([seed, T, B, inputs, H, D])
    P = (P or H // 2 + 1) if options.projected else H
    n = B
    if lengths == "segments":
        lengths = cut(rng, T, B)
        n = len(lengths.batch)
    elif lengths == "ragged":
        lengths = rng.integers(0, T + 1, B)
        lengths[rng.permutation(B)[:2]] = [T, 0][: min(B, 2)]
    elif lengths is not None:
        lengths = np.asarray(lengths, np.int64)

    def normal(*shape):
        return rng.normal(size=shape).astype(dtype)

    def weight(name, shape):
        values = gain * rng.uniform(-1, 1, size=shape) / np.sqrt(H) + (1 if name.startswith("weight_norm") else 0)
        values[: options.rows_of_i(name, H)] = 0
        return values.astype(dtype)

    def drawn_masks():
        return (
            (rng.random((n, P)) < 0.6).astype(dtype) / dtype(0.6) if "h" in options.drawn else None,
            (rng.random((T, B, P)) < 0.4).astype(np.uint8) if "zoneout_h" in options.drawn else None,
            rng.random((T, B, H)) < 0.4 if "zoneout_c" in options.drawn else None,
        )

    shapes = options.weight_shapes(inputs, H, P)
    problem = Problem(
        options, [{name: weight(name, shape) for name, shape in shapes.items()} for _ in range(D)],
        normal(T, B, inputs), normal(D, n, P), normal(D, n, H), lengths,
        None if options.drawn is None else [drawn_masks() for _ in range(D)],
        normal(T, B, D * P), normal(D, n, P), normal(D, n, H), reverse,
    )  # fmt: skip
    problem.x[problem.past] = np.nan  # which nobody may read
    problem.dy[problem.past] = np.nan
    return problem


@cache
def solved(*sizes, **options):
    """Make a problem, solve it by the reference, and keep both: they are the same for every instruction set."""
    problem = make(*sizes, **options)
    return problem, expect(problem)


# By a compiled path --------------------------------------------------------------------------------------------------


def pack(problem, num_threads=1, general=False):
    """Pack the weights of each direction; `general`: those of the plain variant, too, for the kernels of all others."""
    general = general or problem.masks is not None
    packed_for = replace(problem.options.variant, general=general)
    return [backend.path().pack(packed_for, weights, num_threads) for weights in problem.weights]


def job_of(problem, packs, x, outputs, num_threads=1, train=False):
    """Return the job of running `packs` on x and the initial states of the problem, to fill outputs y, h_n and c_n."""
    segmented = isinstance(problem.lengths, Segments)
    return Job(
        packs,
        x,
        read_only(problem.h0),
        read_only(problem.c0),
        *outputs,
        num_threads,
        lengths=None if segmented else problem.lengths,
        segments=problem.lengths if segmented else None,
        masks=None if problem.masks is None else [Masks(*masks) for masks in problem.masks],
        keep=train,
        reverse=problem.reverse,
    )


def forward(problem, packs, x, outputs, num_threads=1, train=False):
    """Run `packs` on x and the initial states of the problem; fill outputs y, h_n and c_n, and return the tape."""
    return backend.path().forward(job_of(problem, packs, x, outputs, num_threads, train))


def steps(packs, batch_size, num_threads=1, residual=False):
    """Return what advances a stream of stacked layers."""
    return backend.path().steps(packs, batch_size, num_threads, residual)


def solve(problem, num_threads=1, layout="dense", train=True, need_dx=True, add=None, general=False):
    """Run the problem through the path in use; return all results by name, as dense arrays.

    `add` is what gradients of weights start from; None if they are to be written, not added to. `general` is that of
    `pack`.
    """
    packs, x, h0, c0 = pack(problem, num_threads, general), problem.x, problem.h0, problem.c0
    x, dy = (read_only(place(array, layout)[0]) for array in (x, problem.dy))
    y, y_base = place(np.full_like(problem.dy, np.nan), layout)
    h_n, c_n, dh0, dc0 = (np.full_like(array, np.nan) for array in (h0, c0, h0, c0))
    if isinstance(problem.lengths, Segments):  # of which only the steps are written
        y[problem.past] = 0
    path, job = backend.path(), job_of(problem, packs, x, (y, h_n, c_n), num_threads, train)
    tape = path.forward(job)
    assert (tape is None) == (not train)
    results, placed = {"y": y, "h_n": h_n, "c_n": c_n}, [(y, y_base)]
    if train:
        for d in range(len(packs)):
            results[f"gates[{d}]"], results[f"cells[{d}]"] = path.gates_and_cells(tape, job, d)
        dx, dx_base = place(np.full_like(problem.x, np.nan), layout) if need_dx else (None, None)
        start = np.nan if add is None else add
        gradients = [{name: np.full_like(array, start) for name, array in own.items()} for own in problem.weights]
        job.y = read_only(y)
        final = read_only(problem.dh_n), read_only(problem.dc_n)
        path.backward(tape, job, Gradients(dy, *final, dx, dh0, dc0, gradients, add is not None))
        results |= {"dh0": dh0, "dc0": dc0}
        if need_dx:
            results["dx"] = dx
            placed.append((dx, dx_base))
        results |= {f"d{name}[{d}]": array for d, own in enumerate(gradients) for name, array in own.items()}
    results = {name: np.array(array, order="C") for name, array in results.items()}
    for view, base in placed:
        assert_canaries(view, base)
    return results


# By the reference ----------------------------------------------------------------------------------------------------


def expect(problem):
    """Solve the problem with the reference, in float64; each segment is a sequence, with a state like any other."""
    options, P, H, T, B = problem.options, problem.h0.shape[2], problem.c0.shape[2], *problem.x.shape[:2]
    steps = list(zip(*problem.segments(), strict=True))
    lengths = np.array([length for _, _, length in steps], np.int64)

    def gathered(array):
        """Make (T, n, ..) of (T, B, ..), with zeros where there is no step."""
        rows = np.zeros((T, len(steps), *array.shape[2:]))
        for r, (row, start, length) in enumerate(steps):
            rows[:length, r] = array[start : start + length, row]
        return rows

    def scattered(rows, array):
        for r, (row, start, length) in enumerate(steps):
            array[start : start + length, row] += rows[:length, r]
        return array

    def exact(array):
        return None if array is None else array.astype(np.float64)

    shapes = {"y": problem.dy, "dx": problem.x, "h_n": problem.h0, "dh0": problem.h0, "c_n": problem.c0}
    results = {name: np.zeros(array.shape) for name, array in (shapes | {"dc0": problem.c0}).items()}
    x = gathered(problem.x)
    for d, weights in enumerate(problem.weights):
        part, reverse = slice(d * P, (d + 1) * P), problem.reverse or d == 1
        used = {name: exact(array[options.rows_of_i(name, H) :]) for name, array in weights.items()}
        W, U, b, *extras = map(used.get, WEIGHTS)
        given = {"extras": reference.Extras(*extras), "variant": options.reference, "masks": None}
        if problem.masks is not None:
            recurrent, *zoneout = problem.masks[d]
            stays = (None if mask is None else gathered(mask) != 0 for mask in zoneout)
            given["masks"] = reference.Masks(exact(recurrent), *stays)
        run = reference.lstm_direction(
            x, exact(problem.h0[d]), exact(problem.c0[d]), W, U, b, lengths, reverse, **given
        )
        back = reference.lstm_direction_backward(
            run, x, W, U, gathered(problem.dy[:, :, part]), exact(problem.dh_n[d]), exact(problem.dc_n[d]), lengths,
            reverse, **given,
        )  # fmt: skip
        scattered(run.y, results["y"][:, :, part])
        scattered(back.x, results["dx"])
        results["h_n"][d], results["c_n"][d] = run.h_n, run.c_n
        results["dh0"][d], results["dc0"][d] = back.h0, back.c0
        gates = np.stack([run.i, run.f, run.g, run.o], axis=2)
        results[f"gates[{d}]"] = scattered(gates, np.zeros((T, B, 4, H)))
        results[f"cells[{d}]"] = scattered(run.c, np.zeros((T, B, H)))
        gradients = dict(zip(WEIGHTS, (back.weight_ih, back.weight_hh, back.bias, *back.extras), strict=True))
        for name, array in weights.items():
            whole = np.zeros(array.shape)
            whole[options.rows_of_i(name, H) :] = gradients[name]
            results[f"d{name}[{d}]"] = whole
    return results


def assert_solved(problem, results, expected, sensitive=False):
    """Compare results with the reference's.

    `sensitive`: an error may also be as large as that of inputs which are off by some units in the last place. Random
    options can magnify a rounding error many times, where they divide by the deviation of few units, or don't bound
    the states.
    """
    dtype, moved = problem.x.dtype, None
    absolute, relative = TOLERANCE[dtype.type]
    for name, got in results.items():
        want = expected[name]
        assert got.dtype == dtype
        assert got.shape == want.shape
        largest = np.abs(want).max(initial=0)
        scale = 1 if problem.options.variant.plain else max(1, largest)
        tolerance = relative * largest if name.startswith("d") else absolute * scale
        if sensitive and not np.abs(got - want).max(initial=0) <= tolerance:
            moved = sensitivity(problem, expected) if moved is None else moved
            tolerance = max(tolerance, 16 * moved[name])
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance, err_msg=name)


def sensitivity(problem, expected):
    """Return by how much the exact results move if every input does by one unit in the last place, up or down."""
    rng = np.random.default_rng(0)

    def shaken(array):
        return array * (1 + np.finfo(array.dtype).eps * rng.choice([-1.0, 1.0], array.shape))

    moved = expect(
        replace(
            problem, x=shaken(problem.x), h0=shaken(problem.h0), c0=shaken(problem.c0),
            weights=[{name: shaken(array) for name, array in weights.items()} for weights in problem.weights],
        )
    )  # fmt: skip
    return {name: np.abs(moved[name] - array).max(initial=0) for name, array in expected.items()}


# Options to try ------------------------------------------------------------------------------------------------------

PARAMETERS = [
    ("hard_sigmoid", 1 / 6, 0.5), ("leaky_relu", 0.3, 0.0), ("thresholded_relu", 0.2, 0.0), ("elu", 0.5, 0.0),
    ("affine", 0.7, -0.1), ("scaled_tanh", 1.3, 0.8),
]  # fmt: skip
ACTIVATIONS = [*variant.ACTIVATIONS, *PARAMETERS]  # with their default parameters, and with others

ALONE = {
    "plain": PLAIN,
    "projected": Options(projected=True),
    "peephole": Options(peephole=True),
    "coupled": Options(coupled=True),
    "cell_clip": Options(cell_clip=0.3),
    "gate_clip": Options(gate_clip=0.4),
    "layer_norm": Options(layer_norm=True),
    "layer_norm without bias": Options(layer_norm=True, norm_bias=False),
    "recurrent_dropout": Options(drawn=("h",)),
    "zoneout in training": Options(zoneout=(0.3, 0.4), drawn=("zoneout_h", "zoneout_c")),
    "zoneout of h": Options(zoneout=(0.3, 0.0), drawn=("zoneout_h",)),
    "zoneout of c": Options(zoneout=(0.0, 0.3), drawn=("zoneout_c",)),
    "zoneout in inference": Options(zoneout=(0.3, 0.4)),
    "zoneout without its masks": Options(zoneout=(0.3, 0.4), drawn=("h",)),
    "coupled peephole": Options(coupled=True, peephole=True),
    "coupled layer_norm": Options(coupled=True, layer_norm=True),
    "projection and zoneout": Options(projected=True, zoneout=(0.3, 0.2), drawn=("zoneout_h", "zoneout_c")),
    "projection and recurrent_dropout": Options(projected=True, drawn=("h",)),
    "Keras's hard sigmoid": Options(activations=(("hard_sigmoid", 1 / 6, 0.5), "tanh", "tanh")),
    "alpha and beta": Options(activations=(("hard_sigmoid", 0.3, 0.4), ("scaled_tanh", 1.7, 0.6), ("elu", 0.4, 0.0))),
    "everything": Options(
        True, True, True, True, True, 0.9, 1.5, (0.1, 0.2), ("h", "zoneout_h", "zoneout_c"),
        ("hard_sigmoid", "softsign", ("scaled_tanh", 1.7, 0.6)),
    ),
}  # fmt: skip

# Unbounded activations let states grow, and every rounding error with them: their weights are smaller.
BOUNDED_GAIN, UNBOUNDED_GAIN = 1.0, 0.3


def random_options(rng):
    """Draw options, each present about as often as not."""

    def maybe(value, otherwise, chance=0.5):
        return value if rng.random() < chance else otherwise

    names = [name for name in variant.ACTIVATIONS if name != "exponential"]  # whose states overflow in a few steps
    drawn = tuple(name for name in ("h", "zoneout_h", "zoneout_c") if rng.random() < 0.5)
    return Options(
        projected=maybe(True, False), peephole=maybe(True, False), coupled=maybe(True, False),
        layer_norm=maybe(True, False), norm_bias=maybe(True, False), cell_clip=maybe(0.7, np.inf),
        gate_clip=maybe(1.2, np.inf), zoneout=(maybe(0.3, 0.0), maybe(0.2, 0.0)), drawn=maybe(drawn, None, 0.8),
        activations=tuple(map(str, rng.choice(names, 3))) if rng.random() < 0.4 else PLAIN.activations,
    )  # fmt: skip


def random_problem(seed, dtype):
    """Return a problem of random sizes, options and lengths, and the generator that drew them."""
    rng = np.random.default_rng([17, seed])
    T, B, inputs, H = (int(rng.integers(1, most)) for most in (9, 30, 30, 80))
    D, P = int(rng.integers(1, 3)), int(rng.integers(1, 90))
    lengths = [None, "ragged", "segments"][rng.integers(3)]
    options, reverse = random_options(rng), D == 1 and rng.random() < 0.3
    gain = 2 * (BOUNDED_GAIN if options.activations == PLAIN.activations else UNBOUNDED_GAIN)
    return make(T, B, inputs, H, D, dtype, options, lengths, P=P, gain=gain, reverse=reverse, seed=seed), rng
