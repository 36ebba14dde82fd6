"""Arrays in every memory layout, and comparisons of results."""

from __future__ import annotations

import numpy as np

# Of float32 and float64: absolute for outputs below 1, relative above; for gradients relative to the largest element.
TOLERANCE = {np.float32: (1e-5, 1e-4), np.float64: (1e-12, 1e-9)}
LAYOUTS = ("dense", "batch_first", "sliced", "scattered")
CANARY = 7.0


def place(array, layout):
    """Return a view with the values of `array` that lies in memory as `layout` says, and the array it is a view of.

    The memory between the elements of the view holds CANARY.
    """
    T, B, F = array.shape
    if layout == "batch_first":
        base = np.full((B, T, F), CANARY, array.dtype)
        view = base.swapaxes(0, 1)
    elif layout == "sliced":  # its rows are misaligned for vector instructions
        base = np.full((T, B, F + 5), CANARY, array.dtype)
        view = base[:, :, 1 : F + 1]
    elif layout == "scattered":
        base = np.full((2 * T, 2 * B, F + 1), CANARY, array.dtype)
        view = base[::2, ::-2, 1:]
    else:
        assert layout == "dense"
        base = view = np.empty((T, B, F), array.dtype)
    view[...] = array
    return view, base


def assert_canaries(view, base):
    """Check that nothing was written beside the view; overwrites the view."""
    view[...] = CANARY
    assert (base == CANARY).all()


def read_only(array):
    """Return a view that can't be written to."""
    view = array.view()
    view.flags.writeable = False
    return view


def misaligned(array):
    """Return a copy whose elements lie at odd addresses."""
    memory = np.zeros(array.nbytes + 1, np.uint8)
    view = memory[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    assert not view.flags.aligned
    return view


def bits(*arrays):
    """Return the bytes of arrays, to compare."""
    return [array.tobytes() for array in arrays]


def assert_same_bits(results, others):
    """Check that each array of `results` has the bits of the array of that name in `others`."""
    assert results.keys() <= others.keys()
    for name, array in results.items():
        np.testing.assert_array_equal(array.view(f"u{array.itemsize}"), others[name].view(f"u{array.itemsize}"), name)


def assert_close(result, expected, tolerance, name=""):
    """Compare within a tolerance that is relative where values are above 1; return the largest such difference."""
    assert result.shape == expected.shape, name
    scale = max(1, abs(expected).max(initial=0))
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance * scale, err_msg=name)
    return abs(result - expected).max(initial=0) / scale
