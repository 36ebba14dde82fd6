"""All variants of the LSTM on every compiled path, against the reference with the same weights and masks."""

import itertools
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from tests.helpers.arrays import LAYOUTS, TOLERANCE, assert_same_bits
from tests.helpers.problems import (
    ACTIVATIONS,
    ALONE,
    BOUNDED_GAIN,
    PLAIN,
    UNBOUNDED_GAIN,
    Options,
    assert_solved,
    expect,
    make,
    pack,
    random_problem,
    solve,
    solved,
    steps,
)  # fmt: skip
from tests.helpers.products import covering, products

pytestmark = pytest.mark.usefixtures("isa")


def assert_agrees(problem, expected, threads, layout, **options):
    """Compare with the reference; bits with those by other threads, in another layout, for inference, without dx."""
    one = solve(problem, general=True)
    assert_solved(problem, one, expected, **options)
    assert not one["y"][problem.past].any()
    assert not one["dx"][problem.past].any()
    assert_same_bits(solve(problem, threads, layout, general=True), one)
    assert_same_bits(solve(problem, threads, layout, train=False, general=True), one)
    assert_same_bits(solve(problem, need_dx=False, general=True), one)


# Against the reference -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [2, pytest.param(8, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize("option", ALONE)
def test_each_option_alone(dtype, option, threads):
    assert_agrees(*solved(7, 9, 6, 19, 2, dtype, ALONE[option], "ragged"), threads, "dense")


MORE_SIZES = {  # T, B, inputs, H, D, P, lengths, gain, reverse, layout, threads
    "segments": (7, 9, 6, 19, 2, None, "segments", 1.0, False, "dense", 8),
    "from the end": (6, 5, 3, 17, 1, None, "ragged", 1.0, True, "dense", 8),
    "wide projection": (7, 9, 6, 19, 2, 21, "ragged", 1.0, False, "dense", 2),
    "full": (7, 5, 3, 13, 1, None, None, 2.0, False, "dense", 1),
    "batch first": (6, 9, 5, 37, 2, None, "ragged", 2.0, False, "batch_first", 3),
    "scattered": (5, 3, 20, 70, 1, None, "segments", 2.0, False, "scattered", 2),
    "sliced": (9, 4, 2, 16, 2, None, "segments", 2.0, False, "sliced", 8),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("sizes", MORE_SIZES)
@pytest.mark.parametrize("option", ALONE)
def test_each_option_alone_at_other_sizes(dtype, option, sizes):
    T, B, inputs, H, D, P, lengths, gain, reverse, layout, threads = MORE_SIZES[sizes]
    options = {"P": P, "gain": gain, "reverse": reverse}
    assert_agrees(*solved(T, B, inputs, H, D, dtype, ALONE[option], lengths, **options), threads, layout)


@cache
def solved_activation(name, place, gate_clip, dtype):
    names = ["sigmoid", "tanh", "tanh"]
    names[place] = name
    options = Options(activations=tuple(names), gate_clip=gate_clip)
    problem = make(4, 3, 3, 18, 1, dtype, options, gain=0.2 if name == "exponential" else 2.0)
    if name == "exponential":  # whose states overflow in a few steps
        problem.weights[0]["bias"] -= 1
    return problem, expect(problem)


@pytest.mark.parametrize("gate_clip", [np.inf, 0.6])
@pytest.mark.parametrize("name", ACTIVATIONS, ids=str)
def test_each_activation_in_each_place(dtype, name, gate_clip):
    for place in range(3):
        problem, expected = solved_activation(name, place, gate_clip, dtype)
        assert_solved(problem, solve(problem), expected)


@pytest.mark.exhaustive
@pytest.mark.parametrize("where", ["everywhere", "inside"])
@pytest.mark.parametrize("name", ACTIVATIONS, ids=str)
def test_each_activation_in_several_places(dtype, name, where):
    if where == "everywhere":
        options = Options(activations=(name,) * 3, gate_clip=1.2, cell_clip=1.0)
    elif name == "exponential":
        pytest.skip("it makes c grow without end")
    else:
        options = Options(activations=("sigmoid", name, name))
    problem, expected = solved(7, 9, 6, 19, 2, dtype, options, "ragged")
    assert_agrees(problem, expected, 8, "dense", sensitive=True)


OPTIONS = {
    "projected": [False, True], "peephole": [False, True], "coupled": [False, True], "layer_norm": [False, True],
    "norm_bias": [True, False], "cell_clip": [np.inf, 0.8], "gate_clip": [np.inf, 1.1],
    "zoneout_h": [0.0, 0.3], "zoneout_c": [0.0, 0.2], "drawn": [None, (), ("h",), ("zoneout_h", "zoneout_c"),
                                                                 ("h", "zoneout_h"), ("h", "zoneout_c")],
    "activations": [PLAIN.activations, ("hard_sigmoid", "softsign", ("scaled_tanh", 1.7, 0.6)),
                    (("scaled_tanh", 0.5, 0.8), "relu", "elu")],
    "lengths": [None, "ragged", "segments"], "directions": [1, 2], "reverse": [False, True], "layout": LAYOUTS,
    "threads": [1, 2, 3, 8],
}  # fmt: skip
COMBINATIONS = covering(**OPTIONS)


@cache
def solved_combination(index, dtype):
    options = dict(COMBINATIONS[index])
    layout, threads, D = (options.pop(name) for name in ("layout", "threads", "directions"))
    lengths, reverse = options.pop("lengths"), options.pop("reverse")
    options["zoneout"] = options.pop("zoneout_h"), options.pop("zoneout_c")
    options = Options(**options)
    gain = BOUNDED_GAIN if options.activations == PLAIN.activations else UNBOUNDED_GAIN
    T, B, inputs, H = 5 + index % 4, 2 + index % 7, 3 + index % 5, 13 + index % 27
    problem = make(T, B, inputs, H, D, dtype, options, lengths, gain=gain, reverse=reverse, seed=index)
    return problem, expect(problem), threads, layout


@pytest.mark.smoke
@pytest.mark.parametrize("combination", range(len(COMBINATIONS)))
def test_options_in_pairs(dtype, combination):
    """Every value of every option meets every value of every other one in some combination."""
    assert_agrees(*solved_combination(combination, dtype), sensitive=True)


def test_combinations_hold_every_pair():
    for (first, a), (second, b) in itertools.combinations(OPTIONS.items(), 2):
        found = {(case[first], case[second]) for case in COMBINATIONS}
        assert found == set(itertools.product(a, b))


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", range(160))
def test_random_combinations(dtype, seed):
    problem, rng = random_problem(seed, dtype)
    assert_agrees(problem, expect(problem), int(rng.choice([2, 3, 8])), str(rng.choice(LAYOUTS)), sensitive=True)


@pytest.mark.parametrize(
    "options", [PLAIN, Options(projected=True), Options(layer_norm=True, peephole=True)],
    ids=["plain", "projected", "layer_norm and peephole"],
)  # fmt: skip
def test_many_rows_and_threads(dtype, options):
    problem, expected = solved(5, 150, 40, 70, 2, dtype, options, "ragged", P=37)
    one = solve(problem, general=True)
    assert_solved(problem, one, expected)
    for num_threads in (2, 8):
        assert_same_bits(solve(problem, num_threads, general=True), one)


EDGES = {
    "no steps": (0, 3, 2, 5, 2, None), "no rows": (5, 0, 3, 4, 1, None), "one of each": (1, 1, 1, 1, 2, None),
    "many inputs": (3, 2, 300, 1, 1, None), "lengths of no steps": (0, 3, 2, 5, 1, (0, 0, 0)),
    "lengths of 0": (4, 3, 2, 9, 1, (0, 0, 0)), "ragged, no steps": (0, 3, 2, 5, 2, "ragged"),
    "ragged, no rows": (5, 0, 3, 4, 1, "ragged"), "ragged, one of each": (1, 1, 1, 1, 2, "ragged"),
    "ragged, many inputs": (3, 2, 300, 1, 1, "ragged"), "segments, no steps": (0, 3, 2, 5, 2, "segments"),
    "segments, no rows": (5, 0, 3, 4, 1, "segments"), "segments, one of each": (1, 1, 1, 1, 2, "segments"),
    "segments, many inputs": (3, 2, 300, 1, 1, "segments"),
}  # fmt: skip
MANY = Options(True, True, True, True, zoneout=(0.3, 0.2), drawn=("h", "zoneout_h", "zoneout_c"))


@products(edge=EDGES, options={"plain": PLAIN, "projected": ALONE["projected"], "everything": ALONE["everything"],
                               "many": MANY}, threads=[1, 3])  # fmt: skip
def test_edges_of_shape(dtype, edge, options, threads):
    *sizes, lengths = edge
    problem, expected = solved(*sizes, dtype, options, lengths, P=3)
    assert_solved(problem, solve(problem, threads, general=True), expected)


# Calls ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["everything", "projected", "peephole"])
def test_gradients_are_added_to(isa, dtype, option):
    problem = make(7, 9, 6, 19, 2, dtype, ALONE[option], "ragged")
    once, added = solve(problem), solve(problem, add=3.0)
    for name, gradient in once.items():
        if not name.startswith(("dweight", "dbias")):
            np.testing.assert_array_equal(added[name], gradient, err_msg=name)
        elif isa == "portable":  # where BLAS may add in another order
            tolerance = TOLERANCE[dtype][1] * (3 + np.abs(gradient).max())
            np.testing.assert_allclose(added[name], gradient + 3, rtol=0, atol=tolerance, err_msg=name)
        else:
            np.testing.assert_array_equal(added[name], gradient + 3, err_msg=name)


@pytest.mark.parametrize("lengths", [None, "ragged", "segments"])
def test_the_plain_variant_by_its_own_kernels_and_by_the_general_ones(dtype, lengths):
    problem, expected = solved(8, 6, 5, 35, 2, dtype, PLAIN, lengths)
    plain, general = solve(problem, 2), solve(problem, 2, general=True)
    assert {"gates[0]", "cells[1]"} <= plain.keys()
    assert_solved(problem, plain, expected)
    few = 64 * np.finfo(dtype).eps
    for name, array in general.items():
        np.testing.assert_allclose(array, plain[name], rtol=0, atol=few * max(1, np.abs(array).max()), err_msg=name)


def test_masks_that_drop_nothing_change_nothing(dtype):
    problem = make(7, 9, 6, 19, 2, dtype, lengths="ragged")
    nothing = [(np.ones((9, 19), dtype), np.zeros((7, 9, 19), np.uint8), np.zeros((7, 9, 19), bool))] * 2
    assert_same_bits(solve(replace(problem, masks=nothing)), solve(problem, general=True))


def test_a_clipped_gate_has_no_gradient(dtype):
    """Where all sums are beyond the limit nothing gets through, whatever the activation."""
    for name in ACTIVATIONS:
        problem = make(3, 2, 3, 18, 1, dtype, Options(gate_clip=0.25, activations=(name, name, "tanh")))
        problem.weights[0]["bias"][...] = np.where(np.arange(72) % 2, 1000, -1000)
        results = solve(problem)
        for gradient in ("dweight_ih[0]", "dweight_hh[0]", "dbias[0]", "dx", "dh0"):
            assert not results[gradient].any(), (name, gradient)


# Streams -------------------------------------------------------------------------------------------------------------

STREAMED = {
    "plain": PLAIN, "projected": Options(projected=True), "coupled peephole": Options(peephole=True, coupled=True),
    "layer_norm and zoneout": Options(layer_norm=True, zoneout=(0.3, 0.2)),
}  # fmt: skip


@products(options=STREAMED, residual=[False, True], general=[False, True])
def test_streams(dtype, options, residual, general):
    T, B, layers, width = 6, 3, 3, 5 if options.projected else 7
    problems = [make(T, B, width, 7, 1, dtype, options, P=5, seed=seed) for seed in range(layers)]
    stepper = steps([pack(problem, general=general)[0] for problem in problems], B, residual=residual)
    assert (stepper.hidden_size, stepper.input_size, stepper.num_layers) == (width, width, layers)
    state = stepper.state()
    x = problems[0].x
    for layer, problem in enumerate(problems):
        state[0][layer][...], state[1][layer][...] = problem.h0[0], problem.c0[0]
    y = np.empty((T, B, width), dtype)
    stepper.run(x, y, 1)
    expected = x.astype(float)
    for layer, problem in enumerate(problems):
        results = expect(replace(problem, x=expected))
        expected = results["y"] + expected if residual and layer else results["y"]
        absolute = TOLERANCE[dtype][0] * 3
        np.testing.assert_allclose(stepper.state()[0][layer], results["h_n"][0], rtol=0, atol=absolute)
        np.testing.assert_allclose(stepper.state()[1][layer], results["c_n"][0], rtol=0, atol=absolute)
    np.testing.assert_allclose(y, expected, rtol=0, atol=TOLERANCE[dtype][0] * 3)


@pytest.mark.smoke
def test_streams_of_unequal_layers(dtype):
    T, B, sizes = 4, 2, [(3, 5), (5, 8), (8, 2)]
    problems = [make(T, B, inputs, H, 1, dtype) for inputs, H in sizes]
    for general in (False, True):
        stepper = steps([pack(problem, general=general)[0] for problem in problems], B)
        h, c = stepper.state()
        assert [array.shape for array in h] == [array.shape for array in c] == [(B, H) for _, H in sizes]
        y = np.empty((T, B, 2), dtype)
        stepper.run(problems[0].x, y, 1)
        expected = problems[0].x
        for problem in problems:
            zeros = np.zeros_like(problem.h0)
            expected = expect(replace(problem, x=expected, h0=zeros, c0=zeros))["y"]
        np.testing.assert_allclose(y, expected, rtol=0, atol=TOLERANCE[dtype][0])
