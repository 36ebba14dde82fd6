"""What the portable path's streams use of its forward pass."""

from clstm._core.portable.pack cimport VariantWeights
from clstm._core.portable.variant cimport VariantStep, real

cdef struct VariantRun:               # what the loops read and write of a VariantMemory
    VariantStep step
    const void* weight_hr             # (P, H), NULL without projection
    const void* recurrent             # (rows of the states, P), the dropout mask of h; NULL where there is none
    const unsigned char* zoneout_h    # (T, B, P) and
    const unsigned char* zoneout_c    # (T, B, H); NULL where there is no mask
    Py_ssize_t batch                  # B
    void* norms                       # these are NULL where they aren't needed
    void* scales
    void* outputs
    void* doutputs
    double* sums


cdef class VariantMemory:
    cdef VariantRun run
    cdef readonly VariantWeights weights
    cdef readonly object norms, scales, outputs, sums, doutputs
    cdef tuple masks


cdef void forward_row(real* gates, real* c, real* h, Py_ssize_t H) noexcept nogil

cdef void forward_variant(const VariantRun* run, const Py_ssize_t* time, const Py_ssize_t* row, Py_ssize_t begin,
                          Py_ssize_t n, real* gates, real* c, real* h, real* scratch, Py_ssize_t P,
                          Py_ssize_t H) noexcept nogil
