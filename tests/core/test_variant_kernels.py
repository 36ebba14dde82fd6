"""The vector kernels: the same bits however the work is split, on every instruction set and in any batch."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from clstm._core import backend
from clstm._core.vector import plan
from tests.helpers.arrays import assert_same_bits
from tests.helpers.problems import (
    ALONE,
    OF_ROWS,
    PLAIN,
    VECTOR,
    Problem,
    Segments,
    make,
    pack,
    random_problem,
    solve,
    steps,
)

SPLITS = [(1, 1), (2, 1), (2, 2), (3, 1), (3, 3), (4, 2), (8, 1), (8, 4)]


@pytest.fixture
def force():
    yield plan.force
    plan.force()


@pytest.mark.usefixtures("vector_isa")
@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=pytest.mark.exhaustive if seed >= 104 else ()) for seed in range(100, 112)]
)
def test_same_bits_however_the_work_is_split(dtype, force, seed):
    problem, _ = random_problem(seed, dtype)
    expected = solve(problem, general=True)
    sides = (False, True) if len(problem.weights) == 2 else (False,)
    for (threads, row_groups), chunk, side in itertools.product(SPLITS, (0, 3), sides):
        force(threads, side_by_side=side, row_groups=row_groups, chunk=chunk)
        assert_same_bits(solve(problem, threads, general=True), expected)


@pytest.mark.skipif(len(VECTOR) < 2, reason="one vector instruction set at most")
@pytest.mark.usefixtures("restored_isa")
class TestEveryInstructionSet:
    def assert_same(self, problem, **options):
        results = []
        for name in VECTOR:
            backend.use(name)
            results.append(solve(problem, **options))
        for other in results[1:]:
            assert_same_bits(results[0], other)

    def test_same_bits_of_plain_layers(self, dtype):
        for H in range(1, 33):
            self.assert_same(make(4, 5, 3, H, 1, dtype))
        self.assert_same(make(20, 13, 9, 37, 2, dtype, lengths="ragged"))

    @pytest.mark.parametrize("option", ALONE)
    def test_same_bits_of_each_option(self, dtype, option):
        self.assert_same(make(6, 7, 5, 21, 2, dtype, ALONE[option], "segments"), general=True)

    @pytest.mark.exhaustive
    @pytest.mark.parametrize("seed", range(200, 240))
    def test_same_bits_of_random_options(self, dtype, seed):
        self.assert_same(random_problem(seed, dtype)[0], general=True)


@pytest.mark.usefixtures("vector_isa")
@pytest.mark.parametrize("option", ["everything", "layer_norm", "peephole"])
def test_same_bits_in_any_batch(dtype, option):
    problem = make(6, 11, 4, 21, 2, dtype, ALONE[option], "ragged")
    whole = solve(problem)
    for rows in ([3], [0, 10, 4], [9, 8, 7, 6, 5, 2, 1]):
        results = solve(problem.rows(rows))
        for name in OF_ROWS:
            assert_same_bits({name: results[name]}, {name: np.ascontiguousarray(whole[name][:, rows])})


@pytest.mark.usefixtures("vector_isa")
def test_segments_from_the_first_step_are_lengths(dtype):
    problem = make(6, 5, 4, 21, 2, dtype, ALONE["everything"], "ragged")
    segments = Segments(np.arange(5), np.zeros(5, np.int64), np.asarray(problem.lengths))
    assert_same_bits(solve(replace(problem, lengths=segments)), solve(problem))


@pytest.mark.usefixtures("vector_isa")
def test_one_direction_alone_reads_from_the_end(dtype):
    both = make(6, 4, 3, 17, 2, dtype, ALONE["everything"], "ragged")
    expected, P = solve(both, train=False), both.h0.shape[2]
    second = {name: np.ascontiguousarray(getattr(both, name)[1:]) for name in ("h0", "c0", "dh_n", "dc_n")}
    alone = Problem(
        both.options, both.weights[1:], both.x, lengths=both.lengths, masks=both.masks[1:],
        dy=np.ascontiguousarray(both.dy[:, :, P:]), reverse=True, **second,
    )  # fmt: skip
    found = solve(alone, train=False)
    assert_same_bits({"y": found["y"], "h_n": found["h_n"], "c_n": found["c_n"]}, {
        "y": np.ascontiguousarray(expected["y"][:, :, P:]), "h_n": expected["h_n"][1:], "c_n": expected["c_n"][1:]
    })  # fmt: skip


@pytest.mark.usefixtures("vector_isa")
@pytest.mark.parametrize("option", ["plain", "everything", "projected", "layer_norm"])
def test_steps_are_a_run(dtype, option):
    options = replace(ALONE[option], drawn=None)
    rng = np.random.default_rng(0)
    packs, inputs = [], 5
    for H in (19, 33):
        problem = make(1, 1, inputs, H, 1, dtype, options)
        packs += pack(problem, general=options != PLAIN)
        inputs = problem.h0.shape[2]
    x = rng.normal(size=(7, 3, 5)).astype(dtype)
    stepper = steps(packs, 3, num_threads=2)
    assert (stepper.input_size, stepper.hidden_size, stepper.num_layers, stepper.dtype) == (5, inputs, 2, dtype)
    y = np.empty((7, 3, inputs), dtype)
    stepper.run(x, y, 2)
    again, one_by_one = stepper.twin(), np.empty_like(y)
    for t in range(7):
        again.run(x[t : t + 1], one_by_one[t : t + 1], 1)
    assert_same_bits({"y": one_by_one}, {"y": y})
    for own, other in zip(stepper.state(), again.state(), strict=True):
        for layer in range(2):
            assert_same_bits({"": own[layer]}, {"": other[layer]})
