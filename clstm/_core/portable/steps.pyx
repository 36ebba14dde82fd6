# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The portable path's steps for streams."""

import numpy as np

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from clstm._core._stream cimport Steps
from clstm._core.portable.forward_backward cimport VariantMemory, VariantRun, forward_row, forward_variant
from clstm._core.portable.pack cimport Weights, address, weights_of
from clstm._core.portable.products cimport gemm
from clstm._core.portable.variant cimport real


cdef struct StepLayer:
    Weights weights
    const VariantRun* run              # NULL for the plain LSTM
    void* h
    void* c


cdef void forward_step(
    const StepLayer* layers, Py_ssize_t count, bint residual, Py_ssize_t B, const Py_ssize_t* zeros, const real* x,
    real* gates, real* scratch, real* out,
) noexcept nogil:
    """Take one step of stacked layers, each of which reads the output of the one below; all share gates and scratch."""
    cdef Py_ssize_t layer, b, k, I, P = layers[count - 1].weights.outputs, H
    cdef const StepLayer* at
    cdef real* h
    cdef real* c
    for layer in range(count):
        at = &layers[layer]
        I, P, H = at.weights.inputs, at.weights.outputs, at.weights.units
        h, c = <real*> at.h, <real*> at.c
        for b in range(B):
            memcpy(gates + b * 4 * H, at.weights.bias, 4 * H * sizeof(real))
        gemm(False, True, B, 4 * H, I, x, I, <const real*> at.weights.weight_ih, I, <real> 1, gates, 4 * H)
        gemm(False, True, B, 4 * H, P, h, P, <const real*> at.weights.weight_hh, P, <real> 1, gates, 4 * H)
        if at.run != NULL:
            forward_variant(at.run, zeros, zeros, 0, B, gates, c, h, scratch, P, H)
        else:
            for b in range(B):
                forward_row(gates + b * 4 * H, c + b * H, h + b * H, H)
        if residual:  # the next layer reads the sum, in out
            for k in range(B * P):
                out[k] = h[k] + x[k] if layer > 0 else h[k]
            x = out
        else:
            x = h
    if not residual:
        memcpy(out, x, B * P * sizeof(real))


cdef class PortableSteps(Steps):
    """Steps of stacked layers on one thread.

    A run of many steps takes them one by one, too, for BLAS gives other bits for the product of many steps' inputs than
    for that of one step's.
    """

    cdef tuple packs, runs
    cdef object h, c, gates, scratch, zeros  # (L, B, P), (L, B, H) or lists of (B, ..); (B, 4H) of the widest layer
    cdef StepLayer* layers
    cdef void* gates_data
    cdef void* scratch_data
    cdef const Py_ssize_t* zeros_data
    cdef bint single, residual

    def __cinit__(self, packs, Py_ssize_t batch_size, bint residual=False):
        cdef Py_ssize_t L = len(packs), B = batch_size, P, H
        self.packs, self.batch_size, self.num_layers, self.residual = tuple(packs), batch_size, L, residual
        self.hidden_size, self.input_size = packs[L - 1].weight_hh.shape[1], packs[0].weight_ih.shape[1]
        self.dtype = packs[0].bias.dtype
        self.single = self.dtype.itemsize == 4
        sizes = [(pack.weight_hh.shape[1], pack.hidden_size) for pack in packs]
        P, H = max(P for P, _ in sizes), max(H for _, H in sizes)
        if len(set(sizes)) == 1:
            self.h, self.c = np.zeros((L, B, P), self.dtype), np.zeros((L, B, H), self.dtype)
        else:
            self.h, self.c = ([np.zeros((B, size[k]), self.dtype) for size in sizes] for k in range(2))
        self.gates = np.empty((B, 4 * H), self.dtype)
        self.scratch = np.empty((B, H + P), self.dtype)
        self.zeros = np.zeros(B, np.intp)  # the time step, and the row of the batch, of every position
        self.gates_data, self.scratch_data = address(self.gates), address(self.scratch)
        self.zeros_data = <const Py_ssize_t*> address(self.zeros)
        self.layers = <StepLayer*> calloc(L, sizeof(StepLayer))
        if self.layers == NULL:
            raise MemoryError
        self.runs = tuple(None if pack.variant is None else VariantMemory(pack.variant, None, B) for pack in packs)
        for layer in range(L):
            self.set_layer(&self.layers[layer], layer)

    cdef int set_layer(self, StepLayer* out, Py_ssize_t layer) except -1:
        """Fill in where a layer's weights and state are."""
        cdef VariantMemory memory = self.runs[layer]
        out.weights = weights_of(self.packs[layer])
        out.run = NULL if memory is None else &memory.run
        out.h, out.c = address(self.h[layer]), address(self.c[layer])
        return 0

    def __dealloc__(self):
        free(self.layers)

    cdef void step(self, const void* x, void* out) noexcept nogil:
        if self.single:
            forward_step(self.layers, self.num_layers, self.residual, self.batch_size, self.zeros_data,
                         <const float*> x, <float*> self.gates_data, <float*> self.scratch_data, <float*> out)
        else:
            forward_step(self.layers, self.num_layers, self.residual, self.batch_size, self.zeros_data,
                         <const double*> x, <double*> self.gates_data, <double*> self.scratch_data, <double*> out)

    def state(self):
        return self.h, self.c

    def twin(self):
        return PortableSteps(self.packs, self.batch_size, self.residual)
