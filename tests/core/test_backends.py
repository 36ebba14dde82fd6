"""The plain LSTM on every compiled path, against the reference: shapes, layouts, threads, bits, extreme numbers."""

import os
import signal
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.arrays import LAYOUTS, assert_same_bits
from tests.helpers.differences import numerical_gradient
from tests.helpers.problems import OF_ROWS, OUTPUTS, assert_solved, expect, forward, make, pack, solve, solved

pytestmark = pytest.mark.usefixtures("isa")

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
    (0, 3, 2, 5, 1, (0, 0, 0), "batch_first"),
    (5, 0, 7, 3, 2, None, "dense"),
    (5, 0, 7, 3, 1, (), "scattered"),
    (5, 4, 3, 17, 2, (0, 0, 0, 0), "sliced"),
    (4, 3, 3, 8, 2, (0, 0, 1), "dense"),
]


@pytest.mark.smoke
@pytest.mark.parametrize("case", range(len(CASES)), ids=lambda case: "-".join(map(str, CASES[case])))
def test_against_the_reference(dtype, case):
    *sizes, lengths, layout = CASES[case]
    problem, expected = solved(*sizes, dtype, lengths=lengths)
    one = solve(problem, 1, layout)
    assert_solved(problem, one, expected)
    assert not one["y"][problem.past].any()
    assert not one["dx"][problem.past].any()
    if problem.lengths is not None:
        empty = problem.lengths == 0
        for before, after in [(problem.h0, "h_n"), (problem.c0, "c_n"), (problem.dh_n, "dh0"), (problem.dc_n, "dc0")]:
            assert (one[after][:, empty] == before[:, empty]).all()
    # the same bits with other numbers of threads, in another layout, for inference, and without dx
    for num_threads in (2, 3):
        assert_same_bits(solve(problem, num_threads, layout), one)
        assert_same_bits(solve(problem, num_threads, "dense", train=False), one)
    assert_same_bits(solve(problem, layout="dense", need_dx=False), one)


any_shape = given(
    sizes=st.tuples(*(st.integers(low, high) for low, high in [(0, 9), (0, 40), (1, 20), (1, 40), (1, 2)])),
    ragged=st.booleans(),
    layout=st.sampled_from(LAYOUTS),
    num_threads=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)


def check_shape(dtype, sizes, ragged, layout, num_threads, seed):
    problem = make(*sizes, dtype, lengths="ragged" if ragged else None, seed=seed)
    assert_solved(problem, solve(problem, num_threads, layout), expect(problem))


@settings(max_examples=20, derandomize=True)
@any_shape
def test_any_shape(dtype, **options):
    check_shape(dtype, **options)


@pytest.mark.exhaustive
@settings(max_examples=200, derandomize=True)
@any_shape
def test_many_shapes(dtype, **options):
    check_shape(dtype, **options)


# Panels are at most 16 units wide.
UNITS = [pytest.param(H, marks=pytest.mark.exhaustive if 17 < H < 31 or H > 33 else ()) for H in range(1, 37)]


@pytest.mark.parametrize("H", UNITS)
def test_any_number_of_units(dtype, H):
    # the last panel of weights has 1 to all units of a vector; rows by the widest tile, by one tile, and by several
    for B in (1, 3, 7):
        problem, expected = solved(3, B, 5, H, 1, dtype)
        results = solve(problem)
        assert_solved(problem, results, expected)
        assert_same_bits(solve(problem, num_threads=3), results)


def test_a_thousand_steps(dtype):
    problem, expected = solved(1000, 3, 6, 40, 1, dtype, lengths=(1000, 990, 1))
    assert_solved(problem, solve(problem), expected)


def test_gradients_by_finite_differences():
    problem = make(4, 3, 2, 3, 2, np.float64, lengths=[4, 0, 2])
    problem.x[problem.past] = 0
    dy = np.where(problem.past[..., np.newaxis], 0, problem.dy)
    grads = solve(problem)

    def loss():
        out = solve(problem, train=False)
        return (out["y"] * dy).sum() + (out["h_n"] * problem.dh_n).sum() + (out["c_n"] * problem.dc_n).sum()

    arrays = {"dx": problem.x, "dh0": problem.h0, "dc0": problem.c0}
    for d, weights in enumerate(problem.weights):
        arrays |= {f"d{name}[{d}]": array for name, array in weights.items()}
    for name, array in arrays.items():
        expected = numerical_gradient(loss, array, step=1e-5)
        assert grads[name] == pytest.approx(expected, rel=1e-6, abs=1e-8), name


# Rows ----------------------------------------------------------------------------------------------------------------


def test_rows_alone_have_the_bits_of_the_batch(isa, dtype):
    if isa == "portable":
        pytest.skip("BLAS may sum in another order for another number of rows")
    for sizes in [(3, 5, 2), (64, 16, 1), (7, 70, 1)]:
        problem = make(6, 13, *sizes, dtype, lengths="ragged")
        together = solve(problem)
        for rows in ([0], [7], [3, 4], [12, 1, 5, 2, 8], list(range(7))):
            alone = solve(problem.rows(rows))
            for name in OF_ROWS:
                assert_same_bits({name: alone[name]}, {name: np.ascontiguousarray(together[name][:, rows])})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("lengths", [None, [8, 3, 8, 7, 0, 8, 8]])
def test_nan_and_infinity_stay_in_their_row(dtype, value, lengths):
    T, B, D, row, at = 8, 7, 2, 3, 4
    problem = make(T, B, 5, 19, D, dtype, lengths=lengths)
    clean = solve(problem)
    others = np.arange(B) != row

    def others_are_clean(results, names):
        for name in names:
            assert (results[name][:, others] == clean[name][:, others]).all(), name

    problem.x[at, row, 1:3] = value
    weights = problem.weights[0]["weight_ih"]
    problem.x[at, row, 1:3] *= np.sign(weights[0, 1:3])  # both infinities of one sign in the first input gate
    dirty = solve(problem)
    others_are_clean(dirty, OF_ROWS)
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

    problem = make(T, B, 5, 19, D, dtype, lengths=lengths)
    problem.c0[:, row] = value
    problem.dy[0, row] = value
    others_are_clean(solve(problem), OF_ROWS)


def test_infinite_input_saturates(dtype):
    problem = make(3, 5, 4, 21, 1, dtype)
    problem.x[1, 2, 0] = np.inf
    with np.errstate(invalid="ignore"):  # in its gradients, 0 times infinity
        expected = expect(problem)
    results = solve(problem)
    assert np.isfinite(results["y"]).all()
    assert_solved(problem, {name: results[name] for name in OUTPUTS}, expected)


# Numbers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1e2, 1e4, 1e30])
def test_large_numbers_make_no_nan(dtype, size):
    problem = make(6, 5, 1, 21, 2, dtype)
    problem.x[...] = np.where(problem.x < 0, -size, size)
    problem.h0 *= dtype(1e4)
    problem.c0 *= dtype(1e4)
    results = solve(problem)
    for name, array in results.items():
        assert np.isfinite(array).all(), name
    assert (np.abs(results["y"]) <= 1).all()
    if dtype == np.float64:  # of near-saturated gates, which float32 can't tell from saturated ones, outputs only
        assert_solved(problem, {name: results[name] for name in OUTPUTS}, expect(problem))


def test_denormal_states(dtype):
    tiny = np.finfo(dtype).tiny
    problem = make(8, 7, 3, 18, 1, dtype, lengths=[8, 8, 5, 8, 1, 0, 8])
    problem.x[...] = 0
    problem.weights[0]["bias"][...] = 0
    problem.h0 *= tiny / 64
    problem.c0 *= tiny / 64
    problem.dy *= tiny / 64
    problem.dh_n *= tiny / 64
    problem.dc_n *= tiny / 64
    results, expected = solve(problem), expect(problem)
    for name in OF_ROWS:
        np.testing.assert_allclose(results[name], expected[name], rtol=1e-5, atol=tiny, err_msg=name)
    # whatever the kernels do about denormals inside, nobody else is to notice
    assert (np.full(20, tiny, dtype) * dtype(0.25) > 0).all()


# Calls ---------------------------------------------------------------------------------------------------------------


@pytest.mark.smoke
def test_packs_are_snapshots(dtype):
    problem = make(4, 3, 5, 6, 2, dtype)
    packs = pack(problem)
    y, h_n, c_n = np.empty_like(problem.dy), np.empty_like(problem.h0), np.empty_like(problem.c0)
    expected = solve(problem, train=False)
    for array in (array for weights in problem.weights for array in weights.values()):
        array[...] = np.nan
    for _ in range(2):
        forward(problem, packs, problem.x, (y, h_n, c_n))
        assert_same_bits({"y": y, "h_n": h_n, "c_n": c_n}, expected)


@pytest.mark.smoke
def test_concurrent_calls(dtype):
    problem = make(20, 9, 7, 33, 2, dtype, lengths="ragged")
    expected = solve(problem)
    with ThreadPoolExecutor(4) as pool:
        for results in pool.map(lambda call: solve(problem, 1 + call % 2), range(12)):
            assert_same_bits(results, expected)


def test_others_run_meanwhile():
    problem = make(2000, 4, 64, 96, 1, np.float64)
    started, done = threading.Event(), threading.Event()

    def work():
        started.set()
        solve(problem)
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


@pytest.mark.subprocess
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_runs_on_one_thread():
    problem = make(10, 66, 32, 32, 1, np.float32)
    expected = solve(problem, 2)  # starts OpenMP's threads, which the child won't have
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that one shouldn't fork with threads around
        child = os.fork()
    if child == 0:
        signal.alarm(30)  # ends it if it hangs
        try:
            assert_same_bits(solve(problem, 1), expected)
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
