"""Dense products on the vector path against NumPy in float64."""

import numpy as np
import pytest

from clstm._core import _dense, backend
from tests.helpers.problems import VECTOR

SHAPES = [(1, 1, 1), (7, 5, 3), (33, 70, 17), (300, 128, 2), (40, 64, 500), (0, 3, 4), (129, 256, 130)]

pytestmark = pytest.mark.skipif(not VECTOR, reason="no vector kernels in this build or on this processor")


def run(rows, K, N, dtype, num_threads):
    rng = np.random.default_rng(rows)
    weight, bias, dy = (rng.standard_normal(shape).astype(dtype) for shape in ((N, K), (N,), (rows, N)))
    x = rng.standard_normal((rows, K + 3)).astype(dtype)[:, :K]  # rows apart
    packed = _dense.pack(weight, bias)
    y = np.full((rows, N + 2), 7, dtype)
    dx, dweight, dbias = np.empty((rows, K), dtype), np.empty((N, K), dtype), np.empty(N, dtype)
    _dense.forward(packed, x, y[:, :N], num_threads)
    _dense.backward(packed, x, dy, dx, dweight, dbias, num_threads)
    assert (y[:, N:] == 7).all()
    wide_x, wide_weight, wide_dy = x.astype(np.float64), weight.astype(np.float64), dy.astype(np.float64)
    exact = (wide_x @ wide_weight.T + bias, wide_dy @ wide_weight, wide_dy.T @ wide_x, wide_dy.sum(0))
    return (y[:, :N], dx, dweight, dbias), exact


@pytest.mark.parametrize("shape", SHAPES)
def test_agrees_with_numpy_on_any_number_of_threads(vector_isa, shape, dtype):
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    first = None
    for num_threads in (1, 2, 5):
        results, exact = run(*shape, dtype, num_threads)
        for result, expected in zip(results, exact, strict=True):
            np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance * max(1, abs(expected).max(initial=0)))
        first = first or [result.tobytes() for result in results]
        assert [result.tobytes() for result in results] == first


def test_a_row_has_the_same_bits_in_any_batch(vector_isa):
    rng = np.random.default_rng(0)
    packed = _dense.pack(rng.standard_normal((9, 40)).astype(np.float32), None)
    x = rng.standard_normal((50, 40)).astype(np.float32)
    together, alone = np.empty((50, 9), np.float32), np.empty((50, 9), np.float32)
    _dense.forward(packed, x, together, 2)
    for row in range(50):
        _dense.forward(packed, x[row : row + 1], alone[row : row + 1], 1)
    assert together.tobytes() == alone.tobytes()


@pytest.mark.usefixtures("restored_isa")
def test_same_bits_with_every_instruction_set():
    found = set()
    for isa in VECTOR:
        backend.use(isa)
        found.add(b"".join(result.tobytes() for result in run(70, 65, 33, np.float32, 2)[0]))
    assert len(found) == 1
