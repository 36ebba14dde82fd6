"""Every backend behind the layer, against the reference: the portable one, and the vector one by instruction set.

The functions under test are the internal ones: pack, forward, backward of one layer in one or both directions. What
they read is read-only here; what they write is full of NaN before, and lies among canaries where it isn't dense.
"""

import os
import signal
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clstm import reference
from clstm._core import backend as backends
from clstm._core.job import Gradients, Job
from clstm._core.variant import PLAIN

# Absolute for outputs; for gradients relative to the largest element of each.
TOLERANCE = {np.float32: (1e-5, 1e-4), np.float64: (1e-12, 1e-9)}
WEIGHTS = ("weight_ih", "weight_hh", "bias")
LAYOUTS = ["dense", "batch_first", "sliced", "scattered"]
CANARY = 7.0


@dataclass(frozen=True)
class Backend:
    name: str

    @property
    def same_bits(self):
        """Whether a row's result is the same bits in whatever batch it is computed."""
        return self.name != "portable"  # there BLAS decides

    def __getattr__(self, function):
        return getattr(backends.path(), function)


@pytest.fixture(scope="module", params=backends.available())
def backend(request):
    before = backends.isa()
    backends.use(request.param)
    yield Backend(request.param)
    backends.use(before)


@pytest.fixture(scope="module", params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    return request.param


# Problems and their solutions ----------------------------------------------------------------------------------------


@dataclass
class Problem:
    """All that a layer is given, forward and backward; dense arrays."""

    weights: list  # for each direction (weight_ih, weight_hh, bias)
    x: np.ndarray
    h0: np.ndarray
    c0: np.ndarray
    lengths: np.ndarray | None
    dy: np.ndarray
    dh_n: np.ndarray
    dc_n: np.ndarray

    @property
    def past(self):
        """Where y and dy are past their row's length, (T, B)."""
        T, B, _ = self.x.shape
        return np.zeros((T, B), bool) if self.lengths is None else np.arange(T)[:, np.newaxis] >= self.lengths

    def rows(self, rows):
        """The same problem with some of the rows only."""
        dense = np.ascontiguousarray
        lengths = None if self.lengths is None else self.lengths[rows]
        states = [dense(array[:, rows]) for array in (self.x, self.h0, self.c0)]
        return Problem(self.weights, *states, lengths, *(dense(a[:, rows]) for a in (self.dy, self.dh_n, self.dc_n)))


def make(T, B, inputs, H, D, dtype, lengths=None, seed=0):
    """A random problem; `lengths` is None, "ragged" (with a full row and an empty one), or the lengths."""
    rng = np.random.default_rng([seed, T, B, inputs, H, D])
    if isinstance(lengths, str):
        lengths = rng.integers(0, T + 1, B)
        lengths[rng.permutation(B)[:2]] = [T, 0][: min(B, 2)]

    def normal(*shape):
        return rng.normal(size=shape).astype(dtype)

    def uniform(*shape):
        return (rng.uniform(-1, 1, size=shape) / np.sqrt(H)).astype(dtype)

    weights = [(uniform(4 * H, inputs), uniform(4 * H, H), uniform(4 * H)) for _ in range(D)]
    problem = Problem(
        weights, normal(T, B, inputs), normal(D, B, H), normal(D, B, H),
        None if lengths is None else np.asarray(lengths, np.int64),
        normal(T, B, D * H), normal(D, B, H), normal(D, B, H),
    )  # fmt: skip
    problem.x[problem.past] = np.nan  # which nobody may read
    problem.dy[problem.past] = np.nan
    return problem


def place(array, layout):
    """Return a view with the values of `array` that lies in memory as `layout` says, and the array it is a view of."""
    T, B, F = array.shape
    if layout == "batch_first":
        base = np.full((B, T, F), CANARY, array.dtype)
        view = base.swapaxes(0, 1)
    elif layout == "sliced":  # vectors of it are misaligned
        base = np.full((T, B, F + 5), CANARY, array.dtype)
        view = base[:, :, 1 : F + 1]
    elif layout == "scattered":
        base = np.full((2 * T, 2 * B, F + 1), CANARY, array.dtype)
        view = base[::2, ::-2, 1:]
    else:
        base = view = np.empty((T, B, F), array.dtype)
    view[...] = array
    return view, base


def read_only(*arrays):
    views = [array.view() for array in arrays]
    for view in views:
        view.flags.writeable = False
    return views


def solve(backend, problem, num_threads=1, layout="dense", train=True, need_dx=True):
    """Run the problem through a backend; return all results by name, as dense arrays."""
    dtype, D = problem.x.dtype, len(problem.weights)
    packs = [backend.pack(PLAIN, dict(zip(WEIGHTS, weights, strict=True)), num_threads) for weights in problem.weights]
    x, h0, c0, dy = read_only(place(problem.x, layout)[0], problem.h0, problem.c0, place(problem.dy, layout)[0])
    y, y_base = place(np.full(problem.dy.shape, np.nan, dtype), layout)
    h_n, c_n = np.full_like(h0, np.nan), np.full_like(c0, np.nan)
    job = Job(packs, x, h0, c0, y, h_n, c_n, num_threads, problem.lengths, keep=train)
    tape = backend.forward(job)
    results = {"y": y, "h_n": h_n, "c_n": c_n}
    dx_base = None
    if train:
        dx, dx_base = place(np.full(x.shape, np.nan, dtype), layout) if need_dx else (None, None)
        dh0, dc0 = np.full_like(h0, np.nan), np.full_like(c0, np.nan)
        grads = [
            {name: np.full_like(array, np.nan) for name, array in zip(WEIGHTS, weights, strict=True)}
            for weights in problem.weights
        ]
        (job.y,) = read_only(y)
        backend.backward(
            tape, job, Gradients(dy, *read_only(problem.dh_n, problem.dc_n), dx, dh0, dc0, grads)
        )  # fmt: skip
        results |= {"dx": dx, "dh0": dh0, "dc0": dc0} if need_dx else {"dh0": dh0, "dc0": dc0}
        for d in range(D):
            for name, gradient in grads[d].items():
                results[f"d{name}[{d}]"] = gradient
    else:
        assert tape is None
    results = {name: np.array(array, order="C") for name, array in results.items()}
    for view, base in [(y, y_base)] + ([] if dx_base is None else [(dx, dx_base)]):
        view[...] = CANARY
        assert (base == CANARY).all()
    return results


def expect(problem):
    """Solve the problem with the reference, in float64."""

    def exact(array):
        return array.astype(np.float64)

    H = problem.h0.shape[2]
    x, h0, c0, dy, dh_n, dc_n = map(
        exact, (problem.x, problem.h0, problem.c0, problem.dy, problem.dh_n, problem.dc_n)
    )  # fmt: skip
    results = {name: np.empty_like(h0) for name in ("h_n", "c_n", "dh0", "dc0")}
    results |= {"y": np.zeros(dy.shape), "dx": np.zeros(x.shape)}
    for d, weights in enumerate(problem.weights):
        W, U, b = map(exact, weights)
        half = slice(d * H, (d + 1) * H)
        run = reference.lstm_direction(x, h0[d], c0[d], W, U, b, problem.lengths, d == 1)
        back = reference.lstm_direction_backward(
            run, x, W, U, dy[:, :, half], dh_n[d], dc_n[d], problem.lengths, d == 1
        )
        results["y"][:, :, half], results["h_n"][d], results["c_n"][d] = run.y, run.h_n, run.c_n
        results["dx"] += back.x
        results["dh0"][d], results["dc0"][d] = back.h0, back.c0
        results |= {
            f"dweight_ih[{d}]": back.weight_ih, f"dweight_hh[{d}]": back.weight_hh, f"dbias[{d}]": back.bias
        }  # fmt: skip
    return results


def assert_close(results, expected, dtype):
    absolute, relative = TOLERANCE[dtype]
    for name, got in results.items():
        want = expected[name]
        assert got.dtype == dtype
        assert got.shape == want.shape
        tolerance = absolute if name in ("y", "h_n", "c_n") else relative * np.abs(want).max(initial=0)
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance, err_msg=name)


def assert_same_bits(results, others):
    assert results.keys() <= others.keys()
    for name, array in results.items():
        np.testing.assert_array_equal(array.view(f"u{array.itemsize}"), others[name].view(f"u{array.itemsize}"), name)


# Against the reference -----------------------------------------------------------------------------------------------

# T, B, inputs, H, D, lengths, layout: every size of a list occurs, with others of all kinds.
CASES = [
    (5, 1, 1, 1, 1, None, "dense"),
    (40, 1, 64, 70, 1, None, "dense"),
    (40, 2, 65, 16, 1, None, "batch_first"),
    (5, 3, 2, 3, 2, "ragged", "dense"),
    (40, 5, 7, 5, 1, "ragged", "sliced"),
    (5, 6, 64, 17, 2, "ragged", "batch_first"),
    (2, 7, 3, 33, 1, None, "scattered"),
    (40, 13, 3, 17, 2, "ragged", "scattered"),
    (5, 33, 65, 33, 1, "ragged", "sliced"),
    (1, 33, 7, 70, 2, None, "dense"),
    (40, 33, 1, 16, 2, "ragged", "dense"),
    (2, 13, 2, 1, 1, "ragged", "dense"),
    (5, 7, 1, 70, 1, "ragged", "batch_first"),
    (1, 1, 65, 3, 2, None, "sliced"),
    (1, 6, 2, 5, 1, "ragged", "scattered"),
    (3, 70, 300, 130, 1, "ragged", "dense"),
    (150, 40, 3, 4, 2, "ragged", "dense"),
    (0, 3, 2, 5, 2, None, "dense"),
    (0, 3, 2, 5, 1, [0, 0, 0], "batch_first"),
    (5, 0, 7, 3, 2, None, "dense"),
    (5, 0, 7, 3, 1, [], "scattered"),
    (5, 4, 3, 17, 2, [0, 0, 0, 0], "sliced"),
    (4, 3, 3, 8, 2, [0, 0, 1], "dense"),
]


@cache
def solved_case(case, dtype):
    *sizes, lengths, _ = CASES[case]
    problem = make(*sizes, dtype, lengths)
    return problem, expect(problem)


@pytest.mark.parametrize("case", range(len(CASES)), ids=lambda case: "-".join(map(str, CASES[case])))
def test_against_the_reference(backend, dtype, case):
    problem, expected = solved_case(case, dtype)
    layout = CASES[case][-1]
    one = solve(backend, problem, 1, layout)
    assert_close(one, expected, dtype)
    assert not one["y"][problem.past].any()
    assert not one["dx"][problem.past].any()
    if problem.lengths is not None:
        empty = problem.lengths == 0
        for before, after in [(problem.h0, "h_n"), (problem.c0, "c_n"), (problem.dh_n, "dh0"), (problem.dc_n, "dc0")]:
            assert (one[after][:, empty] == before[:, empty]).all()
    # the same bits with other numbers of threads, in another layout, for inference, and without dx
    for num_threads in (2, 3):
        assert_same_bits(solve(backend, problem, num_threads, layout), one)
        assert_same_bits(solve(backend, problem, num_threads, "dense", train=False), one)
    assert_same_bits(solve(backend, problem, layout="dense", need_dx=False), one)


@settings(max_examples=60, derandomize=True)
@given(
    sizes=st.tuples(*(st.integers(low, high) for low, high in [(0, 9), (0, 40), (1, 20), (1, 40), (1, 2)])),
    ragged=st.booleans(),
    layout=st.sampled_from(LAYOUTS),
    num_threads=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_shape(backend, dtype, sizes, ragged, layout, num_threads, seed):
    problem = make(*sizes, dtype, "ragged" if ragged else None, seed)
    assert_close(solve(backend, problem, num_threads, layout), expect(problem), dtype)


@pytest.mark.parametrize("H", range(1, 37))
def test_any_number_of_units(backend, dtype, H):
    # the last panel of weights has 1 to all units of a vector; rows by the widest tile, by one tile, and by several
    for B in (1, 3, 7):
        problem = make(3, B, 5, H, 1, dtype)
        results = solve(backend, problem)
        assert_close(results, expect(problem), dtype)
        assert_same_bits(solve(backend, problem, num_threads=3), results)


@cache
def solved_long(dtype):
    problem = make(1000, 3, 6, 40, 1, dtype, [1000, 990, 1])
    return problem, expect(problem)


def test_a_thousand_steps(backend, dtype):
    problem, expected = solved_long(dtype)
    assert_close(solve(backend, problem), expected, dtype)


def test_gradients_by_finite_differences(backend):
    problem = make(4, 3, 2, 3, 2, np.float64, [4, 0, 2])
    problem.x[problem.past] = 0
    dy = np.where(problem.past[..., np.newaxis], 0, problem.dy)
    grads = solve(backend, problem)

    def loss():
        out = solve(backend, problem, train=False)
        return (out["y"] * dy).sum() + (out["h_n"] * problem.dh_n).sum() + (out["c_n"] * problem.dc_n).sum()

    arrays = {"dx": problem.x, "dh0": problem.h0, "dc0": problem.c0}
    for d, weights in enumerate(problem.weights):
        arrays |= {f"dweight_ih[{d}]": weights[0], f"dweight_hh[{d}]": weights[1], f"dbias[{d}]": weights[2]}
    step = 1e-5
    for name, array in arrays.items():
        for index in np.ndindex(array.shape):
            value = array[index]
            array[index] = value + step
            above = loss()
            array[index] = value - step
            below = loss()
            array[index] = value
            assert grads[name][index] == pytest.approx((above - below) / (2 * step), rel=1e-6, abs=1e-8), name


# Rows ----------------------------------------------------------------------------------------------------------------


def test_rows_alone_have_the_bits_of_the_batch(backend, dtype):
    if not backend.same_bits:
        pytest.skip("BLAS may sum in another order for another number of rows")
    for sizes in [(3, 5, 2), (64, 16, 1), (7, 70, 1)]:
        problem = make(6, 13, *sizes, dtype, "ragged")
        together = solve(backend, problem)
        for rows in ([0], [7], [3, 4], [12, 1, 5, 2, 8], list(range(7))):
            alone = solve(backend, problem.rows(rows))
            for name in ("y", "h_n", "c_n", "dx", "dh0", "dc0"):
                assert_same_bits({name: alone[name]}, {name: np.ascontiguousarray(together[name][:, rows])})


@pytest.mark.skipif(len(backends.available()) < 3, reason="one vector instruction set at most")
def test_instruction_sets_agree_bit_for_bit(dtype):
    before = backends.isa()
    problems = [make(20, 13, 9, 37, 2, dtype, "ragged")] + [make(4, 5, 3, H, 1, dtype) for H in range(1, 33)]
    results = []
    for name in backends.available():
        if name != "portable":
            backends.use(name)
            results.append([solve(Backend(name), problem) for problem in problems])
    backends.use(before)
    for others in results[1:]:
        for other, first in zip(others, results[0], strict=True):
            assert_same_bits(other, first)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("lengths", [None, [8, 3, 8, 7, 0, 8, 8]])
def test_nan_and_infinity_stay_in_their_row(backend, dtype, value, lengths):
    T, B, D, row, at = 8, 7, 2, 3, 4
    problem = make(T, B, 5, 19, D, dtype, lengths)
    clean = solve(backend, problem)
    others = np.arange(B) != row

    def others_are_clean(results, names):
        for name in names:
            assert (results[name][:, others] == clean[name][:, others]).all(), name

    problem.x[at, row, 1:3] = value
    weights = problem.weights[0][0]
    problem.x[at, row, 1:3] *= np.sign(weights[0, 1:3])  # both infinities of one sign in the first input gate
    dirty = solve(backend, problem)
    others_are_clean(dirty, ["y", "h_n", "c_n", "dx", "dh0", "dc0"])
    H = 19
    assert (dirty["y"][:at, row, :H] == clean["y"][:at, row, :H]).all()
    if np.isnan(value):
        length = T if lengths is None else lengths[row]
        assert np.isnan(dirty["y"][at:length, row, :H]).all()
        assert np.isnan(dirty["y"][: at + 1, row, H:]).all()
        assert np.isnan(dirty["h_n"][:, row]).all()
        assert np.isnan(dirty["c_n"][:, row]).all()
        assert np.isnan(dirty["dx"][at, row]).all()
        assert np.isnan(dirty["dweight_ih[0]"]).all()

    problem = make(T, B, 5, 19, D, dtype, lengths)
    problem.c0[:, row] = value
    problem.dy[0, row] = value
    others_are_clean(solve(backend, problem), ["y", "h_n", "c_n", "dx", "dh0", "dc0"])


def test_infinite_input_saturates(backend, dtype):
    problem = make(3, 5, 4, 21, 1, dtype)
    problem.x[1, 2, 0] = np.inf
    with np.errstate(invalid="ignore"):  # in its gradients, 0 times infinity
        expected = expect(problem)
    results = solve(backend, problem)
    assert np.isfinite(results["y"]).all()
    assert_close({name: results[name] for name in ("y", "h_n", "c_n")}, expected, dtype)


# Numbers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_large_numbers_make_no_nan(backend, dtype, size):
    problem = make(6, 5, 1, 21, 2, dtype)
    problem.x[...] = np.where(problem.x < 0, -size, size)
    problem.h0 *= dtype(1e4)
    problem.c0 *= dtype(1e4)
    results = solve(backend, problem)
    for name, array in results.items():
        assert np.isfinite(array).all(), name
    assert (np.abs(results["y"]) <= 1).all()
    if dtype == np.float64:  # of near-saturated gates, which float32 can't tell from saturated ones, outputs only
        assert_close({name: results[name] for name in ("y", "h_n", "c_n")}, expect(problem), dtype)


def test_denormal_states(backend, dtype):
    tiny = np.finfo(dtype).tiny
    problem = make(8, 7, 3, 18, 1, dtype, [8, 8, 5, 8, 1, 0, 8])
    problem.x[...] = 0
    problem.weights[0][2][...] = 0
    problem.h0 *= tiny / 64
    problem.c0 *= tiny / 64
    problem.dy *= tiny / 64
    problem.dh_n *= tiny / 64
    problem.dc_n *= tiny / 64
    results, expected = solve(backend, problem), expect(problem)
    for name in ("y", "h_n", "c_n", "dx", "dh0", "dc0"):
        np.testing.assert_allclose(results[name], expected[name], rtol=1e-5, atol=tiny, err_msg=name)
    # whatever the kernels do about denormals inside, nobody else is to notice
    assert (np.full(20, tiny, dtype) * dtype(0.25) > 0).all()


# Calls ---------------------------------------------------------------------------------------------------------------


def test_packs_are_snapshots(backend, dtype):
    problem = make(4, 3, 5, 6, 2, dtype)
    packs = [backend.pack(PLAIN, dict(zip(WEIGHTS, weights, strict=True)), 1) for weights in problem.weights]
    y, h_n, c_n = np.empty_like(problem.dy), np.empty_like(problem.h0), np.empty_like(problem.c0)
    expected = solve(backend, problem, train=False)
    for array in (array for weights in problem.weights for array in weights):
        array[...] = np.nan
    for _ in range(2):
        backend.forward(Job(packs, problem.x, problem.h0, problem.c0, y, h_n, c_n, 1))
        assert_same_bits({"y": y, "h_n": h_n, "c_n": c_n}, expected)


def test_concurrent_calls(backend, dtype):
    problem = make(20, 9, 7, 33, 2, dtype, "ragged")
    expected = solve(backend, problem)
    with ThreadPoolExecutor(4) as pool:
        for results in pool.map(lambda call: solve(backend, problem, 1 + call % 2), range(12)):
            assert_same_bits(results, expected)


def test_others_run_meanwhile(backend):
    problem = make(2000, 4, 64, 96, 1, np.float64)
    started, done = threading.Event(), threading.Event()

    def work():
        started.set()
        solve(backend, problem)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    turns = 0
    while not done.is_set():
        time.sleep(0.001)
        turns += 1
    thread.join()
    assert turns >= 4  # forward and backward would each allow one at most if they held the GIL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_runs_on_one_thread(backend):
    problem = make(10, 66, 32, 32, 1, np.float32)
    expected = solve(backend, problem, 2)  # starts OpenMP's threads, which the child won't have
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that one shouldn't fork with threads around
        child = os.fork()
    if child == 0:
        signal.alarm(30)  # ends it if it hangs
        try:
            assert_same_bits(solve(backend, problem, 1), expected)
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
