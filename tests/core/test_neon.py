"""The NEON kernels: cross-compiled and run by qemu, or on aarch64 itself; the same bits as this machine's, and right.

A program of its own (tests/core/kernels/run.c) reads the cases, so that no Python for aarch64 is needed.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from clstm._core import _dense, backend
from clstm._core.vector import runtime as _runtime
from tests.helpers.activations import EXACT, LARGEST_ULP
from tests.helpers.arrays import assert_same_bits
from tests.helpers.problems import ACTIVATIONS, ALONE, Options, assert_solved, expect, make, solve

ROOT = Path(__file__).resolve().parents[2]
NATIVE = platform.machine() in ("aarch64", "arm64")
COMPILER = "cc" if NATIVE else "aarch64-linux-gnu-gcc"
EMULATOR = None if NATIVE else shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
FLAGS = ["-O3", "-std=gnu11", "-fno-math-errno", "-ffp-contract=fast", "-Isrc"]  # setup.py's
LAYER, DENSE, ACTIVATION, CELL = range(4)

MISSING = [
    name for name, found in ((COMPILER, shutil.which(COMPILER)), ("qemu-aarch64", NATIVE or EMULATOR)) if not found
]
pytestmark = [
    pytest.mark.exhaustive,  # compiles all kernels for another processor, and emulates it
    pytest.mark.subprocess,
    pytest.mark.skipif(bool(MISSING), reason=f"NEON was not run: no {' and no '.join(MISSING)}"),
]


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The command that runs cases: built once, the kernels for both types as setup.py builds them."""
    folder = tmp_path_factory.mktemp("neon")
    static = [] if NATIVE else ["-static"]
    (folder / "empty.c").write_text('#include <stdio.h>\nint main(void) { return puts("") < 0; }\n')
    empty = [COMPILER, *static, "-pthread", str(folder / "empty.c"), "-o", str(folder / "empty")]
    if subprocess.run(empty, capture_output=True, timeout=60).returncode != 0:
        pytest.skip(f"NEON was not run: {COMPILER} has no C library")
    objects = [folder / f"{real}.o" for real in ("F32", "F64")]
    builds = [
        subprocess.Popen(
            [COMPILER, *FLAGS, "-DCLSTM_NEON", f"-DCLSTM_{compiled.stem}", "-c", "src/kernels.c", "-o", compiled],
            cwd=ROOT, stderr=subprocess.PIPE, text=True,
        )
        for compiled in objects
    ]  # fmt: skip
    for build in builds:
        _, errors = build.communicate(timeout=300)
        assert build.returncode == 0, errors
    sources = ["tests/core/kernels/run.c", "src/dispatch.c"]
    link = [COMPILER, *FLAGS, *static, "-pthread", "-DCLSTM_HAVE_NEON", *sources, *objects, "-o", folder / "run"]
    result = subprocess.run(link, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return [*([EMULATOR] if EMULATOR else []), str(folder / "run")]


@pytest.fixture
def run(program, tmp_path):
    """Run one case: its kind, its sizes and arrays; return what comes out in the shapes given."""

    def run_case(kind, sizes, arrays, shapes):
        dtype = arrays[0].dtype
        with open(tmp_path / "cases", "wb") as file:
            file.write(np.array([kind, dtype.itemsize, *sizes], np.int64).tobytes())
            for array in arrays:
                assert array.dtype == dtype
                file.write(np.ascontiguousarray(array).tobytes())
        command = [*program, "neon", str(tmp_path / "cases"), str(tmp_path / "results")]
        result = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert result.returncode == 0, result.stderr
        numbers = np.fromfile(tmp_path / "results", dtype)
        assert len(numbers) == sum(np.prod(shape, dtype=int) for shape in shapes)
        ends = np.cumsum([np.prod(shape, dtype=int) for shape in shapes])
        return [part.reshape(shape) for part, shape in zip(np.split(numbers, ends[:-1]), shapes, strict=True)]

    return run_case


VECTOR = backend.isa() != "portable"  # then results have the bits of this machine's own kernels


def run_layer(run, problem, reverse=False, threads=1, row_groups=1, chunk=4):
    """Solve a problem of one direction by the program; the results have the names that `solve` gives them."""
    T, B, inputs = problem.x.shape
    H = problem.h0.shape[2]
    lengths = np.full(B, T) if problem.lengths is None else problem.lengths
    sequence, state = (T, B, H), (1, B, H)
    shapes = {
        "y": sequence, "h_n": state, "c_n": state, "y in training": sequence, "dx": problem.x.shape, "dh0": state,
        "dc0": state, "dweight_ih[0]": (4 * H, inputs), "dweight_hh[0]": (4 * H, H), "dbias[0]": (4 * H,),
    }  # fmt: skip
    sizes = [T, B, inputs, H, reverse, threads, row_groups, chunk, *lengths]
    arrays = [*problem.weights[0].values(), problem.x, problem.h0, problem.c0, problem.dy, problem.dh_n, problem.dc_n]
    results = dict(zip(shapes, run(LAYER, sizes, arrays, shapes.values()), strict=True))
    # outputs past a row's end are defined as zero, gradients there as not read
    assert_same_bits({"y": results.pop("y in training")}, results)
    return results


def run_cell(run, problem, reverse=False, threads=1, row_groups=1, chunk=4):
    """The same of a problem with any options, by the general kernels."""
    T, B, inputs = problem.x.shape
    H, P, dtype, options = problem.c0.shape[2], problem.h0.shape[2], problem.x.dtype, problem.options
    cell, (weights,) = options.variant, problem.weights
    mask, h_stays, c_stays = problem.masks[0] if problem.masks else (None, None, None)
    codes, alphas_and_betas = [a[0] for a in cell.activations], [number for a in cell.activations for number in a[1:]]
    lengths = np.full(B, T) if problem.lengths is None else problem.lengths
    flags = (options.projected, options.peephole, options.coupled, options.layer_norm)
    drawn = [array is not None for array in (mask, h_stays, c_stays)]
    sizes = [T, B, inputs, H, reverse, threads, row_groups, chunk, *lengths, P, *flags, *drawn, *codes]
    numbers = np.array([cell.cell_clip, cell.gate_clip, *cell.zoneout, *alphas_and_betas])
    gradients = {
        "weight_hr": (P, H), "weight_peephole": (3 * H,), "weight_norm_gates": (4 * H,), "weight_norm_cell": (H,),
        "bias_norm_cell": (H,),
    }  # fmt: skip
    extras = [weights.get(name, np.zeros(shape)) for name, shape in gradients.items()]
    masks = [
        np.zeros(shape) if array is None else array
        for array, shape in ((mask, (B, P)), (h_stays, (T, B, P)), (c_stays, (T, B, H)))
    ]
    arrays = [numbers, *extras, *masks, *(weights[name] for name in ("weight_ih", "weight_hh", "bias"))]
    arrays += [problem.x, problem.h0, problem.c0, problem.dy, problem.dh_n, problem.dc_n]
    state = {"h": (1, B, P), "c": (1, B, H)}
    shapes = {
        "y": (T, B, P), "h_n": state["h"], "c_n": state["c"], "y in training": (T, B, P), "dx": problem.x.shape,
        "dh0": state["h"], "dc0": state["c"], "dweight_ih[0]": (4 * H, inputs), "dweight_hh[0]": (4 * H, P),
        "dbias[0]": (4 * H,), **{f"d{name}[0]": shape for name, shape in gradients.items()},
    }  # fmt: skip
    results = run(CELL, sizes, [array.astype(dtype) for array in arrays], shapes.values())
    results = dict(zip(shapes, results, strict=True))
    assert_same_bits({"y": results.pop("y in training")}, results)
    return {name: array for name, array in results.items() if name[1:-3] not in gradients.keys() - weights.keys()}


# T, B, inputs, H, lengths
CASES = [
    (1, 1, 1, 1, None),
    (7, 1, 9, 70, None),
    (6, 2, 5, 16, None),
    (9, 3, 4, 13, "ragged"),
    (8, 11, 33, 37, "ragged"),
    (4, 29, 3, 24, None),
    (50, 12, 3, 6, "ragged"),
    (3, 1, 5, 7, None),
    (3, 1, 5, 10, None),
    (3, 2, 5, 21, None),
    (3, 1, 5, 31, None),
    (5, 6, 2, 40, [5, 5, 1, 0, 5, 2]),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_layer(run, dtype, case):
    *sizes, lengths = case
    problem = make(*sizes, 1, dtype, lengths=lengths)
    results = run_layer(run, problem)
    assert_solved(problem, results, expect(problem))
    if VECTOR:
        assert_same_bits(results, solve(problem))
    assert_same_bits(run_layer(run, problem, chunk=0), results)


def test_reverse_direction(run):
    problem = make(8, 7, 5, 19, 2, np.float32, lengths="ragged")
    expected = expect(problem)
    problem.weights = problem.weights[1:]
    problem.h0, problem.c0, problem.dh_n, problem.dc_n = (
        array[1:] for array in (problem.h0, problem.c0, problem.dh_n, problem.dc_n)
    )
    problem.dy = np.ascontiguousarray(problem.dy[:, :, 19:])
    results = run_layer(run, problem, reverse=True)
    del results["dx"]  # of both directions together in `expected`
    absolute, relative = 1e-5, 1e-4
    for name, got in results.items():
        want = expected[name.replace("[0]", "[1]")]
        want = want[1:] if want.shape[0] == 2 else want[..., 19:] if name == "y" else want
        tolerance = absolute if name in ("y", "h_n", "c_n") else relative * np.abs(want).max()
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("option", ALONE)
def test_cell(run, dtype, option):
    problem = make(7, 5, 6, 37, 1, dtype, ALONE[option], "ragged", gain=2.0)
    results = run_cell(run, problem)
    assert_solved(problem, results, expect(problem))
    if VECTOR:
        assert_same_bits(results, solve(problem, general=True))
    assert_same_bits(run_cell(run, problem, threads=3, row_groups=1, chunk=0), results)


@pytest.mark.parametrize("name", ACTIVATIONS, ids=str)
def test_cell_with_activations(run, dtype, name):
    options = Options(gate_clip=1.5, activations=("sigmoid" if name == "exponential" else name, name, name))
    problem = make(3, 4, 3, 19, 1, dtype, options, gain=2.0)
    results = run_cell(run, problem)
    assert_solved(problem, results, expect(problem))
    if VECTOR:
        assert_same_bits(results, solve(problem, general=True))


def test_same_bits_for_every_team(run, dtype):
    problem = make(6, 9, 7, 70, 1, dtype, lengths="ragged")
    expected = run_layer(run, problem)
    for threads, row_groups in [(2, 1), (2, 2), (3, 1), (3, 2), (3, 3), (4, 2)]:
        for chunk in (0, 2):
            results = run_layer(run, problem, threads=threads, row_groups=row_groups, chunk=chunk)
            assert_same_bits(results, expected)


@pytest.mark.parametrize("sizes", [(1, 1, 1), (7, 19, 5), (140, 40, 70)], ids=str)
def test_dense_products(run, dtype, sizes):
    rows, K, N = sizes
    rng = np.random.default_rng(sizes)
    x, weight, bias, dy = (rng.normal(size=shape).astype(dtype) for shape in ((rows, K), (N, K), (N,), (rows, N)))
    names, shapes = ("y", "dx", "dweight", "dbias"), ((rows, N), (rows, K), (N, K), (N,))
    results = dict(zip(names, run(DENSE, [*sizes, 1], [x, weight, bias, dy], shapes), strict=True))
    wide, dwide = x.astype(np.float64), dy.astype(np.float64)
    exact = {"y": wide @ weight.T + bias, "dx": dwide @ weight, "dweight": dwide.T @ wide, "dbias": dwide.sum(0)}
    for name in names:
        tolerance = (1e-5 if dtype == np.float32 else 1e-13) * np.abs(exact[name]).max()
        np.testing.assert_allclose(results[name], exact[name], rtol=0, atol=tolerance, err_msg=name)
    if VECTOR:
        own = {name: np.empty_like(array) for name, array in results.items()}
        packed = _dense.pack(weight, bias)
        _dense.forward(packed, x, own["y"], 1)
        _dense.backward(packed, x, dy, own["dx"], own["dweight"], own["dbias"], 1)
        assert_same_bits(results, own)
    for threads in (2, 3):
        again = run(DENSE, [*sizes, threads], [x, weight, bias, dy], shapes)
        assert_same_bits(dict(zip(names, again, strict=True)), results)


@pytest.mark.parametrize("which", [0, 1], ids=["sigmoid", "tanh"])
def test_activations(run, which, dtype):
    name = ("sigmoid", "tanh")[which]
    rng = np.random.default_rng(0)
    ranges = [rng.uniform(-90, 90, 50_000), rng.uniform(-2, 2, 50_000), rng.standard_normal(50_000) * 1e-4]
    x = np.concatenate([np.array([np.inf, -np.inf, 0, -0.0, np.nan]), *ranges]).astype(dtype)
    if dtype == np.float32:  # every 40,009th float32, denormals and NaN among them
        x = np.concatenate([x, np.arange(0, 1 << 32, 40_009, np.int64).astype(np.uint32).view(np.float32)])
    (y,) = run(ACTIVATION, [which, len(x)], [x], [x.shape])
    assert np.array_equal(np.isnan(y), np.isnan(x))
    x, y = x[~np.isnan(x)], y[~np.isnan(x)]
    wider = np.float64 if dtype == np.float32 else np.longdouble
    with np.errstate(over="ignore"):
        exact = EXACT[name](x.astype(wider))
    normal = np.abs(exact) >= np.finfo(dtype).tiny
    error = np.abs(y.astype(wider) - exact) / np.spacing(np.abs(exact).astype(dtype))
    assert 0.5 <= error[normal].max() <= LARGEST_ULP[dtype]
    if VECTOR:
        assert y.tobytes() == _runtime.activate(name, x).tobytes()


def test_a_case_that_is_cut_off_is_an_error(program, tmp_path):
    """The program itself: it must not pass by doing nothing."""
    (tmp_path / "cases").write_bytes(np.array([ACTIVATION, 4, 0, 5], np.int64).tobytes())
    command = [*program, "neon", str(tmp_path / "cases"), str(tmp_path / "results")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "ends early" in result.stderr
