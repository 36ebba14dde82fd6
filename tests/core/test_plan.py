"""The model that splits work over threads, the caches that it reads, and that no split changes a bit."""

import importlib
from pathlib import Path

import numpy as np
import pytest

import clstm
from clstm._core import backend
from clstm._core import caches as machine
from clstm._core.vector import plan as _plan
from tests.helpers.arrays import assert_same_bits
from tests.helpers.problems import VECTOR, make, solve
from tests.helpers.processes import run_python
from tests.helpers.products import products

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def nothing_forced():
    yield
    _plan.force()


# Splits --------------------------------------------------------------------------------------------------------------


SPLITS = [(2, 1), (2, 2), (3, 1), (3, 3), (8, 1), (8, 2), (8, 4), (8, 8), (16, 1), (16, 4), (16, 16)]


@products(directions=[1, 2], lengths=[None, "ragged"], chunk=[0, 3], train=[True, False])
def test_no_split_changes_a_bit(vector_isa, dtype, directions, lengths, chunk, train):
    problem = make(5, 11, 9, 150, directions, dtype, lengths=lengths)
    expected = solve(problem)
    for threads, row_groups in SPLITS:
        for side_by_side in {False, directions == 2}:
            _plan.force(threads, side_by_side, row_groups, chunk)
            assert_same_bits(solve(problem, threads, train=train), expected)


@products(layers_steps=[(2, 40), (3, 13), (4, 1), (5, 40)], batch_first=[False, True], full=[False, True])
def test_a_wavefront_over_layers_changes_no_bit(vector_isa, dtype, layers_steps, batch_first, full):
    layers, steps = layers_steps
    lengths = None if full else [steps, 0, 1, steps // 2, steps]
    lstm = clstm.LSTM(9, 37, layers, batch_first=batch_first, dtype=dtype, seed=0, num_threads=1)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, steps, 9) if batch_first else (steps, 5, 9)).astype(dtype)
    state = tuple(rng.standard_normal((2, layers, 5, 37)).astype(dtype))
    _plan.force(wavefront=False)
    y, final = lstm(x, state, lengths)
    for threads, row_groups, chunk in [(2, 1, 0), (3, 1, 3), (4, 2, 0), (8, 1, 2), (16, 4, 1)]:
        _plan.force(threads, row_groups=row_groups, chunk=chunk, wavefront=True)
        lstm.num_threads = threads
        again, again_final = lstm(x, state, lengths)
        np.testing.assert_array_equal(again, y)
        np.testing.assert_array_equal(again_final, final)


def test_a_wavefront_has_no_steps_to_do(vector_isa):
    lstm = clstm.LSTM(3, 4, 2, seed=0, num_threads=2)
    _plan.force(wavefront=True)
    state = np.ones((2, 2, 3, 4), np.float32)
    y, final = lstm(np.zeros((0, 3, 3), np.float32), tuple(state))
    assert y.shape == (0, 3, 4)
    np.testing.assert_array_equal(final, state)


@pytest.mark.parametrize("threads", [3, 5, 6, 7])
def test_teams_smaller_than_planned(vector_isa, threads):
    """OpenMP may give fewer threads than requested: then groups differ in size and may have only one thread."""
    problem = make(6, 13, 7, 130, 2, np.float32, lengths="ragged")
    expected = solve(problem)
    for row_groups in (2, 4, 8):
        for side_by_side in (False, True):
            for train in (True, False):
                _plan.force(8, side_by_side, row_groups, 4)
                assert_same_bits(solve(problem, threads, train=train), expected)


# The model -----------------------------------------------------------------------------------------------------------

CACHES = (48 << 10, 2 << 20, 64 << 20)
SPEED = {"multiply_add": 0.5, "l3_speed": 10}


def plan(*sizes, **options):
    return _plan.plan(*sizes, **{"caches": CACHES, "region": 15_000, **SPEED, **options})


@pytest.mark.skipif("avx512" not in VECTOR, reason="the table is that of AVX-512")
def test_table_in_the_documents(monkeypatch):
    """`python -m benchmarks.scaling` prints what belongs there."""
    monkeypatch.syspath_prepend(ROOT)
    scaling = importlib.import_module("benchmarks.scaling")
    before = backend.isa()
    backend.use("avx512")
    try:
        assert scaling.table() in (ROOT / "docs" / "scaling.md").read_text()
    finally:
        backend.use(before)


@pytest.mark.smoke
@pytest.mark.parametrize("backward", [False, True])
def test_small_work_stays_on_one_thread(vector_isa, backward):
    assert plan(16, 16, 1, 1, 1, 8, backward=backward)["threads"] == 1
    assert plan(0, 16, 0, 0, 2, 8, backward=backward)["threads"] == 1


@pytest.mark.parametrize("backward", [False, True])
def test_splits_cover_the_threads_and_no_more(vector_isa, backward):
    for threads in (1, 2, 3, 6, 12, 24, 128):
        for batch in (1, 3, 40, 500):
            for directions in (1, 2):
                found = plan(256, 512, 50, batch, directions, threads, backward=backward)
                team = found["threads"] // (2 if found["side_by_side"] else 1)
                assert found["threads"] <= threads
                assert found["row_groups"] * found["panel_threads"] == team
                assert found["row_groups"] <= batch
                assert found["speedup"] >= 1


def test_many_rows_split_by_rows_few_by_panels(vector_isa):
    assert plan(128, 128, 100, 512, 1, 8)["row_groups"] == 8
    assert plan(512, 512, 100, 1, 1, 8)["panel_threads"] == 8
    both = plan(512, 512, 100, 8, 1, 32)
    assert both["row_groups"] > 1
    assert both["panel_threads"] > 1


def test_two_directions_side_by_side(vector_isa):
    assert plan(64, 64, 100, 1, 2, 2)["side_by_side"]
    assert not plan(64, 64, 100, 1, 2, 3)["side_by_side"]


def test_costly_regions_and_small_caches_change_the_split(vector_isa):
    sizes = (128, 128, 10, 1, 1, 8)
    assert plan(*sizes)["threads"] > 1
    assert plan(*sizes, region=1e6)["threads"] == 1
    # weights that are in one thread's cache cost less than those that must be read from level 3
    slow, fast = (plan(256, 256, 100, 1, caches=(l2 >> 5, l2, 1 << 26)) for l2 in (1 << 18, 1 << 23))
    assert slow["cycles"] > 2 * fast["cycles"]


def test_one_pass_where_rows_hide_the_reading_of_weights(vector_isa):
    def one_pass(*sizes, **options):
        return plan(*sizes, **options)["chunk"] == 0

    assert one_pass(128, 128, 100, 32)
    assert one_pass(512, 512, 1, 1)  # one step reads the weights only once
    assert not one_pass(128, 128, 100, 1)
    # from level 3, which on some machines keeps up with fewer rows
    small = {"caches": (32 << 10, 128 << 10, 64 << 20), "multiply_add": 1}
    assert not one_pass(128, 128, 100, 3, **small)
    assert one_pass(128, 128, 100, 3, **small, l3_speed=100)
    # from memory not at all
    assert not one_pass(128, 128, 100, 64, **small | {"caches": (32 << 10, 128 << 10, 256 << 10)})


def test_speed_of_this_machine_is_measured(vector_isa):
    _plan.plan(1024, 1024, 100, 8)
    found = _plan.speed()
    assert found["multiply_add"] in (0.25, 0.5, 1, 2)
    assert 0.1 < found["l3_speed"] < 1000


def test_each_speed_is_measured_once(vector_isa):
    """Plans must not change between the calls of a run: nothing is measured again at a later call."""
    sizes = [(64, 64, 10, 1, 1, 2), (1024, 1024, 100, 8, 1, 2), (1024, 1024, 100, 8, 2, 3)]
    first = [_plan.plan(*size, backward=backward) for size in sizes for backward in (False, True)]
    speed = _plan.speed()
    lstm = clstm.LSTM(16, 64, 2, seed=0, num_threads=2)
    for _ in range(70):
        lstm(np.zeros((20, 8, 16), np.float32))
        assert [_plan.plan(*size, backward=backward) for size in sizes for backward in (False, True)] == first
    assert _plan.speed() == speed


FIRST_CALLS = """
import sys, threading
import numpy as np
import clstm
from clstm._core.vector import plan

assert plan.speed() == {"multiply_add": 0, "l3_speed": 0, "barrier": 0, "measurements": 0}
small, large = clstm.LSTM(4, 8, seed=0, num_threads=1), clstm.LSTM(1024, 1024, seed=0, num_threads=2)
small(np.zeros((3, 1, 4), np.float32))
assert plan.speed()["measurements"] == 1, plan.speed()  # the multiply-adds alone

large_plans, ready = [], threading.Barrier(6)


def call():
    ready.wait()
    large_plans.append(plan.plan(1024, 1024, 20, 4, num_threads=2))
    large(np.zeros((20, 4, 1024), np.float32))


threads = [threading.Thread(target=call) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(large_plans) == 6 and all(found == large_plans[0] for found in large_plans)
assert plan.speed()["measurements"] == 3, plan.speed()  # and once each level 3 and a region of two threads
"""


@pytest.mark.subprocess
@pytest.mark.skipif(not VECTOR, reason="only the vector path has plans")
def test_threads_that_call_at_once_measure_once():
    """In a fresh process, since what was measured is never forgotten."""
    run_python(FIRST_CALLS, CLSTM_ISA=None)  # with the best instruction set, which has plans


@pytest.mark.subprocess
def test_portable_path_has_no_plan():
    code = "from clstm._core.vector import plan; plan.plan(1, 1, 1, 1)"
    result = run_python(code, check=False, CLSTM_ISA="portable")
    assert "ValueError: the portable path is in use" in result.stderr


# Caches --------------------------------------------------------------------------------------------------------------


def write_caches(root, *caches):
    for number, (level, kind, size, cpus) in enumerate(caches):
        directory = root / f"index{number}"
        directory.mkdir()
        for name, value in (("level", level), ("type", kind), ("size", size), ("shared_cpu_list", cpus)):
            (directory / name).write_text(f"{value}\n")


def test_caches_of_a_core(tmp_path):
    write_caches(
        tmp_path,
        (1, "Data", "48K", "0"), (1, "Instruction", "32K", "0"),
        (2, "Unified", "2048K", "0"), (3, "Unified", "32M", "0-7"),
    )  # fmt: skip
    (tmp_path / "uevent").write_text("")
    assert machine.from_sysfs(str(tmp_path)) == machine.Caches(48 << 10, 2 << 20, 32 << 20)


def test_two_threads_of_a_core_share_what_is_its_own(tmp_path):
    write_caches(tmp_path, (1, "Data", "32K", "0,64"), (2, "Unified", "1M", "0,64"))
    assert machine.from_sysfs(str(tmp_path)) == machine.Caches(32 << 10, 1 << 20, 0)


def test_cores_that_share_level_2_have_a_part_each(tmp_path):
    write_caches(tmp_path, (1, "Data", "64K", "0-1"), (2, "Unified", "4M", "0-3,8-11"), (3, "Unified", "16M", "0-15"))
    assert machine.from_sysfs(str(tmp_path)) == machine.Caches(64 << 10, 1 << 20, 16 << 20)


@pytest.mark.parametrize(
    "caches",
    [
        [],
        [(1, "Data", "48K", "0")],
        [(1, "Data", "", "0"), (2, "Unified", "1M", "0")],
        [(1, "Data", "0K", "0"), (2, "Unified", "1M", "0")],
        [(1, "Data", "32K", "rubbish"), (2, "Unified", "1M", "0")],
        [("one", "Data", "32K", "0"), (2, "Unified", "1M", "0")],
    ],
)
def test_useless_descriptions_of_caches_are_ignored(tmp_path, caches):
    write_caches(tmp_path, *caches)
    assert machine.from_sysfs(str(tmp_path)) is None


def test_fallback(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.sys, "platform", "linux")
    assert machine.from_sysfs(str(tmp_path / "missing")) is None
    monkeypatch.setattr(machine, "from_sysfs", lambda: None)
    machine.caches.cache_clear()
    try:
        assert machine.caches() == machine.FALLBACK
    finally:
        machine.caches.cache_clear()


def test_macos_names(monkeypatch):
    sizes = {
        "hw.perflevel0.l1dcachesize": 128 << 10,
        "hw.perflevel0.l2cachesize": 12 << 20,
        "hw.perflevel0.cpusperl2": 4,
    }
    monkeypatch.setattr(machine, "_sysctl", lambda name: sizes.get(name, 0))
    assert machine.from_sysctl() == machine.Caches(128 << 10, 3 << 20, 0)
    sizes.clear()
    sizes.update({"hw.l1dcachesize": 32 << 10, "hw.l2cachesize": 1 << 18, "hw.l3cachesize": 4 << 20})
    assert machine.from_sysctl() == machine.Caches(32 << 10, 1 << 18, 4 << 20)
    sizes.clear()
    assert machine.from_sysctl() is None


@pytest.mark.smoke
def test_caches_of_this_machine():
    found = machine.caches()
    assert 8 << 10 <= found.l1 <= found.l2
