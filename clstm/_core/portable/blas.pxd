"""The two products that the portable path takes from SciPy's BLAS, as Fortran's sgemm and dgemm: see blas.pyx."""

ctypedef void (*sgemm_t)(
    char*, char*, int*, int*, int*, float*, float*, int*, float*, int*, float*, float*, int*
) noexcept nogil
ctypedef void (*dgemm_t)(
    char*, char*, int*, int*, int*, double*, double*, int*, double*, int*, double*, double*, int*
) noexcept nogil

cdef sgemm_t sgemm
cdef dgemm_t dgemm
