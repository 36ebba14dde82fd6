"""The largest output of each row over its real steps, and its gradient's way back.

y (B, T, H) any strides but dense along H; lengths (B,) in 0..T; pooled, steps and dpooled (B, H) dense.
Nothing aliases. NumPy would need a masked copy of y here, twice.
"""

from cython cimport floating
from libc.stdint cimport int64_t


def max_forward(const floating[:, :, :] y, const int64_t[::1] lengths, floating[:, ::1] pooled,
                Py_ssize_t[:, ::1] steps):
    """Write each unit's maximum to `pooled` and its first step to `steps`; 0 and -1 where a row has no steps."""
    cdef Py_ssize_t b, t, k, H = pooled.shape[1]
    cdef const floating *row
    cdef floating *best
    cdef Py_ssize_t *step
    if H == 0:
        return
    with nogil:
        for b in range(pooled.shape[0]):
            best = &pooled[b, 0]
            step = &steps[b, 0]
            for k in range(H):
                best[k] = y[b, 0, k] if lengths[b] > 0 else 0
                step[k] = 0 if lengths[b] > 0 else -1
            for t in range(1, lengths[b]):
                row = &y[b, t, 0]
                for k in range(H):
                    if row[k] > best[k] or row[k] != row[k]:  # a NaN wins and stays
                        if best[k] == best[k]:
                            best[k] = row[k]
                            step[k] = t


def max_backward(const floating[:, ::1] dpooled, const Py_ssize_t[:, ::1] steps, floating[:, :, ::1] dy):
    """Add each unit's gradient to `dy` (zeros) at the step that was its maximum."""
    cdef Py_ssize_t b, k
    with nogil:
        for b in range(dpooled.shape[0]):
            for k in range(dpooled.shape[1]):
                if steps[b, k] >= 0:
                    dy[b, steps[b, k], k] = dpooled[b, k]
