"""The packed weights of one direction, for the jobs of the vector path."""

cimport numpy  # its headers first: kernels.h takes back the name I, which complex.h defines

from clstm._core.vector cimport kernels as c
from clstm._core.vector.runtime cimport Arena

cdef class Packed:
    cdef const c.clstm_kernels *kernels
    cdef Py_ssize_t I, H, P     # P: features of h; H unless there is a projection
    cdef bint plain             # without options; else `variant` has them
    cdef c.clstm_variant variant
    cdef double h_zoneout, c_zoneout  # zoneout probabilities, for inference
    cdef Arena forward_arena, variant_arena, hidden_arena, input_arena
    cdef void *W
    cdef void *U
    cdef void *bias
    cdef void *Ub  # product panels, packed when the first backward pass needs them
    cdef void *Wb

    cdef int prepare_backward(self, bint need_input, int num_threads) except -1
    cdef void *product_panels(self, Arena arena, const void *panels, Py_ssize_t K, int num_threads) except NULL


cdef bint alike(packs) except -1
