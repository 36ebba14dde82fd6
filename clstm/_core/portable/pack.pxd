"""See pack.pyx."""

from clstm._core.portable.variant cimport VariantStep


cdef class VariantWeights:
    cdef VariantStep step
    cdef readonly object weight_hr
    cdef tuple arrays  # what step points into


cdef void* address(array) except? NULL
