"""See pack.pyx."""

from clstm._core.portable.variant cimport VariantStep


cdef class VariantWeights:
    cdef VariantStep step
    cdef readonly object weight_hr
    cdef tuple arrays  # what step points into


cdef struct Weights:                   # those of a Packed that every variant has
    Py_ssize_t inputs, outputs, units  # I, P and H; not the letters, for complex.h defines I
    const void* weight_ih
    const void* weight_hh
    const void* bias


cdef Weights weights_of(packed)

cdef void* address(array) noexcept
