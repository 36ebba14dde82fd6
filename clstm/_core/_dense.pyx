"""Dense products on the vector path: y = x weight^T + bias and its backward pass, by the kernels that the LSTM uses.

They are faster than BLAS at the sizes of output layers, and a row's result is the same bits in any batch. Arguments
aren't checked here: arrays have one dtype and contiguous rows, with any stride between rows.
"""

import numpy as np

cimport numpy as cnp
from cython.parallel cimport parallel
from libc.string cimport memset

from clstm._core.vector cimport kernels as c
from clstm._core.vector.runtime cimport Arena, kernels_of, region_threads, team_of

cnp.import_array()

cdef enum:
    FLOPS_A_THREAD = 1 << 20  # for less work than this, starting a parallel region costs more than a thread saves


cdef class Packed:
    """A weight (N, K) and bias (N,) packed into panels, for the forward and the backward pass; never changed."""

    cdef const c.clstm_kernels *kernels
    cdef Py_ssize_t N, K
    cdef Arena arena, back_arena
    cdef object weight
    cdef void *panels   # of N columns, for y
    cdef void *bias
    cdef void *back     # of K columns, for dx; packed by the first backward pass

    cdef int prepare_backward(self) except -1:
        cdef Arena arena
        if self.back == NULL:
            arena = Arena()
            arena.plan(self.N * self.kernels.padded(self.K), self.kernels.item_size)
            arena.allocate()
            self.back = arena.take(0, 1)
            self.back_arena = arena
            self.kernels.pack_product(cnp.PyArray_DATA(self.weight), self.N, self.K, self.K, 1, self.back)
        return 0


def pack(cnp.ndarray weight, cnp.ndarray bias) -> Packed:
    """Return a snapshot of weight (N, K) and bias (N,) or None, C-contiguous."""
    cdef const c.clstm_kernels *kernels = kernels_of(weight)
    cdef Packed packed = Packed()
    cdef Py_ssize_t N = weight.shape[0], K = weight.shape[1], item = kernels.item_size
    cdef Arena arena = Arena()
    packed.kernels, packed.N, packed.K, packed.arena = kernels, N, K, arena
    packed.weight = weight.copy()
    arena.plan(K * kernels.padded(N), item)
    arena.plan(kernels.padded(N), item)
    arena.allocate()
    packed.panels = arena.take(K * kernels.padded(N), item)
    kernels.pack_product(cnp.PyArray_DATA(weight), K, N, 1, K, packed.panels)
    packed.bias = NULL
    if bias is not None:
        packed.bias = arena.take(kernels.padded(N), item)
        memset(packed.bias, 0, kernels.padded(N) * item)
        kernels.pack_product(cnp.PyArray_DATA(bias), 1, N, 0, 1, packed.bias)
    return packed


cdef int useful_threads(Py_ssize_t rows, Py_ssize_t N, Py_ssize_t K, int num_threads) noexcept:
    cdef int useful = max(1, min(num_threads, rows * N * K // FLOPS_A_THREAD))
    return 1 if useful == 1 else region_threads(useful, num_threads)


cdef c.clstm_product product_of(cnp.ndarray a, const void *panels, const void *bias, cnp.ndarray out) noexcept:
    cdef c.clstm_product job
    cdef Py_ssize_t item = cnp.PyArray_ITEMSIZE(a)
    job.rows, job.K, job.N = a.shape[0], a.shape[1], out.shape[1]
    job.a, job.a_stride = cnp.PyArray_DATA(a), a.strides[0] // item
    job.panels, job.bias = panels, bias
    job.out, job.out_stride = cnp.PyArray_DATA(out), out.strides[0] // item
    return job


def forward(Packed packed, cnp.ndarray x, cnp.ndarray y, int num_threads) -> None:
    """Write y (rows, N) = x (rows, K) weight^T + bias."""
    cdef c.clstm_product job = product_of(x, packed.panels, packed.bias, y)
    cdef const c.clstm_kernels *kernels = packed.kernels
    cdef int n = useful_threads(job.rows, job.N, job.K, num_threads)
    with nogil:
        if n == 1:
            kernels.product(&job, team_of(0, 1, NULL, 0, 1))
        else:
            with parallel(num_threads=n):
                kernels.product(&job, team_of(c.clstm_thread(), c.clstm_threads(), NULL, 0, 1))


def backward(Packed packed, cnp.ndarray x, cnp.ndarray dy, cnp.ndarray dx, cnp.ndarray dweight, cnp.ndarray dbias,
             int num_threads) -> None:
    """Write dx (rows, K), dweight (N, K) and, unless None, dbias (N,)."""
    cdef const c.clstm_kernels *kernels = packed.kernels
    cdef Py_ssize_t item = kernels.item_size, N = packed.N, K = packed.K
    cdef Py_ssize_t width = kernels.columns_width(K, 0)
    cdef int n = useful_threads(x.shape[0], N, K, num_threads)
    packed.prepare_backward()
    cdef c.clstm_product product = product_of(dy, packed.back, NULL, dx)
    cdef Arena arena = Arena()
    arena.plan(n * kernels.gradient_block * width, item)
    arena.plan(N * width + kernels.padded(N), item)
    arena.allocate()
    cdef c.clstm_outer outer
    outer.rows, outer.N, outer.K = x.shape[0], N, K
    outer.d, outer.d_stride = cnp.PyArray_DATA(dy), dy.strides[0] // item
    outer.a, outer.a_stride = cnp.PyArray_DATA(x), x.strides[0] // item
    outer.gradient = cnp.PyArray_DATA(dweight)
    outer.bias_gradient = cnp.PyArray_DATA(dbias) if dbias is not None else NULL
    outer.add = False
    outer.columns = arena.take(n * kernels.gradient_block * width, item)
    outer.sums = arena.take(N * width + kernels.padded(N), item)
    with nogil:
        if n == 1:
            kernels.product(&product, team_of(0, 1, NULL, 0, 1))
            kernels.outer(&outer, team_of(0, 1, NULL, 0, 1))
        else:
            with parallel(num_threads=n):
                kernels.product(&product, team_of(c.clstm_thread(), c.clstm_threads(), NULL, 0, 1))
                kernels.outer(&outer, team_of(c.clstm_thread(), c.clstm_threads(), NULL, 0, 1))
