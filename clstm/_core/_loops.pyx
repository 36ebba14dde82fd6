"""Loops over arrays for which NumPy has no function: adding rows up by id, and the maximum over each row's real steps.

Callers check shapes and ids; dtypes and strides are checked here. One thread takes the rows in order, so a result is
always the same bits. Arrays don't overlap.
"""

cimport numpy as cnp
from cython cimport floating
from libc.stdint cimport int64_t

from clstm._core.arrays cimport dense, dense_writable, is_single, strided, stride

cnp.import_array()


# The weight gradient of an embedding ----------------------------------------------------------------------------------

def scatter_add(cnp.ndarray total, cnp.ndarray ids, cnp.ndarray rows, Py_ssize_t skip) -> None:
    """Add rows[i] to total[ids[i]] for every i in turn, except where ids[i] is `skip` (-1 skips none).

    total (num_embeddings, dim), ids int64 (n,), rows (n, dim); C-contiguous.
    """
    cdef bint single = is_single(total)
    cdef int real = cnp.PyArray_TYPE(total)
    cdef void* to = dense_writable(total, real, 2)
    cdef const void* source = dense(rows, real, 2)
    cdef const int64_t* targets = <const int64_t*> dense(ids, cnp.NPY_INT64, 1)
    cdef Py_ssize_t n = ids.shape[0], dim = total.shape[1]
    with nogil:
        if single:
            add_rows(<float*> to, targets, <const float*> source, n, dim, skip)
        else:
            add_rows(<double*> to, targets, <const double*> source, n, dim, skip)


cdef void add_rows(
    floating* total, const int64_t* ids, const floating* rows, Py_ssize_t n, Py_ssize_t dim, Py_ssize_t skip
) noexcept nogil:
    cdef Py_ssize_t i, j
    cdef floating* to
    cdef const floating* row
    for i in range(n):
        if ids[i] == skip:
            continue
        to = total + ids[i] * dim
        row = rows + i * dim
        for j in range(dim):
            to[j] += row[j]


# Pooling by the maximum over time -------------------------------------------------------------------------------------

def max_forward(cnp.ndarray y, cnp.ndarray lengths, cnp.ndarray pooled, cnp.ndarray steps) -> None:
    """Write each unit's maximum to `pooled` and the first step that has it to `steps`; 0 and -1 for rows of no steps.

    y (B, T, H), any strides but dense along H; lengths int64 (B,) in 0..T; pooled and steps (intp) (B, H), C-contiguous.
    NumPy would need a masked copy of y here, twice.
    """
    cdef bint single = is_single(y)
    cdef int real = cnp.PyArray_TYPE(y)
    cdef const void* source = strided(y, real, 3, False)
    cdef const int64_t* of_rows = <const int64_t*> dense(lengths, cnp.NPY_INT64, 1)
    cdef void* best = dense_writable(pooled, real, 2)
    cdef Py_ssize_t* places = <Py_ssize_t*> dense_writable(steps, cnp.NPY_INTP, 2)
    cdef Py_ssize_t B = y.shape[0], H = y.shape[2], row = stride(y, 0), step = stride(y, 1), b
    if cnp.PyArray_SIZE(y) and H > 1 and stride(y, 2) != 1:
        raise ValueError("expected y to be dense along its last axis")
    with nogil:
        for b in range(B):
            if single:
                row_maximum(<const float*> source + b * row, step, of_rows[b], <float*> best + b * H, places + b * H, H)
            else:
                row_maximum(<const double*> source + b * row, step, of_rows[b], <double*> best + b * H, places + b * H, H)


cdef void row_maximum(
    const floating* y, Py_ssize_t stride, Py_ssize_t length, floating* best, Py_ssize_t* step, Py_ssize_t H
) noexcept nogil:
    """The maximum of one row; `stride` lies between its steps."""
    cdef Py_ssize_t t, k
    cdef const floating* now
    for k in range(H):
        best[k] = y[k] if length > 0 else 0
        step[k] = 0 if length > 0 else -1
    for t in range(1, length):
        now = y + t * stride
        for k in range(H):
            if now[k] > best[k] or now[k] != now[k]:  # the first NaN is the maximum, whatever comes after it
                if best[k] == best[k]:
                    best[k] = now[k]
                    step[k] = t


def max_backward(cnp.ndarray dpooled, cnp.ndarray steps, cnp.ndarray dy) -> None:
    """Write each unit's gradient dpooled (B, H) to dy (B, T, H), all zeros, at the step that was its maximum."""
    cdef bint single = is_single(dpooled)
    cdef int real = cnp.PyArray_TYPE(dpooled)
    cdef const void* source = dense(dpooled, real, 2)
    cdef const Py_ssize_t* places = <const Py_ssize_t*> dense(steps, cnp.NPY_INTP, 2)
    cdef void* to = dense_writable(dy, real, 3)
    cdef Py_ssize_t B = dy.shape[0], T = dy.shape[1], H = dy.shape[2]
    with nogil:
        if single:
            to_maxima(<const float*> source, places, <float*> to, B, T, H)
        else:
            to_maxima(<const double*> source, places, <double*> to, B, T, H)


cdef void to_maxima(
    const floating* dpooled, const Py_ssize_t* steps, floating* dy, Py_ssize_t B, Py_ssize_t T, Py_ssize_t H
) noexcept nogil:
    cdef Py_ssize_t b, k, step
    for b in range(B):
        for k in range(H):
            step = steps[b * H + k]
            if step >= 0:
                dy[(b * T + step) * H + k] = dpooled[b * H + k]
