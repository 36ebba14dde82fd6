"""Accuracy of the vector kernels' sigmoid and tanh.

`CLSTM_EXHAUSTIVE=1` tries every float32 there is, which takes five minutes a function, else it is every 4,099th.
"""

import os

import numpy as np
import pytest

from clstm._core import backend
from clstm._core.vector import runtime as _runtime
from tests.helpers.activations import EXACT, LARGEST_ULP
from tests.helpers.problems import VECTOR

pytestmark = pytest.mark.skipif(not VECTOR, reason="no vector kernels in this build or on this processor")


def worst_ulp(name, x):
    """The largest error in units in the last place of x's type, where the exact result is normal."""
    wider = np.float64 if x.dtype == np.float32 else np.longdouble
    with np.errstate(over="ignore"):
        exact = EXACT[name](x.astype(wider))
    normal = np.abs(exact) >= np.finfo(x.dtype).tiny
    error = np.abs(_runtime.activate(name, x).astype(wider) - exact) / np.spacing(np.abs(exact).astype(x.dtype))
    return error[normal].max(initial=0)


@pytest.mark.parametrize("name", EXACT)
def test_float32_is_within_two_ulp(vector_isa, name):
    step = 1 if os.environ.get("CLSTM_EXHAUSTIVE") else 4099
    block = 1 << 24
    worst = 0.0
    for first in range(0, 1 << 32, block * step):
        patterns = np.arange(first, min(first + block * step, 1 << 32), step, dtype=np.int64).astype(np.uint32)
        x = patterns.view(np.float32)
        worst = max(worst, worst_ulp(name, np.ascontiguousarray(x[np.isfinite(x)])))
    assert 0.5 <= worst <= LARGEST_ULP[np.float32]


@pytest.mark.parametrize("name", EXACT)
def test_ranges_where_gates_live(vector_isa, name, dtype):
    rng = np.random.default_rng(0)
    x = np.concatenate(
        [rng.uniform(-90, 90, 100_000), rng.uniform(-2, 2, 100_000), rng.standard_normal(50_000) * 1e-4]
    ).astype(dtype)
    assert worst_ulp(name, x) <= LARGEST_ULP[dtype]


def test_ends(vector_isa, dtype):
    huge = np.finfo(dtype).max
    x = np.array([np.inf, -np.inf, huge, -huge, 1e4, -1e4, 0.0, -0.0, np.nan], dtype)
    np.testing.assert_array_equal(
        _runtime.activate("sigmoid", x), np.array([1, 0, 1, 0, 1, 0, 0.5, 0.5, np.nan], dtype)
    )
    tanh = _runtime.activate("tanh", x)
    np.testing.assert_array_equal(tanh, np.array([1, -1, 1, -1, 1, -1, 0, -0.0, np.nan], dtype))
    assert np.signbit(tanh[7])
    assert not np.signbit(tanh[6])


@pytest.mark.usefixtures("restored_isa")
@pytest.mark.parametrize("name", EXACT)
def test_same_bits_with_every_instruction_set(name, dtype):
    x = np.random.default_rng(1).uniform(-20, 20, 10_001).astype(dtype)
    results = []
    for isa in VECTOR:
        backend.use(isa)
        results.append(_runtime.activate(name, x).tobytes())
    assert len(set(results)) == 1


def test_denormals_are_flushed_and_the_mode_restored(vector_isa):
    tiny = np.full(64, np.finfo(np.float32).smallest_subnormal)
    np.testing.assert_array_equal(_runtime.activate("tanh", tiny), np.zeros(64, np.float32))
    assert np.float32(1e-39) * np.float32(0.5) > 0
