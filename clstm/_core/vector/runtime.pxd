"""What all jobs of the vector path need: see runtime.pyx."""

cimport numpy as cnp

from clstm._core.vector cimport kernels as c

cdef bint may_use_threads() noexcept nogil
cdef const c.clstm_kernels *kernels_of(cnp.ndarray array) noexcept

cdef class Arena:
    cdef object memory
    cdef char *next
    cdef Py_ssize_t size

    cdef Py_ssize_t plan(self, Py_ssize_t count, Py_ssize_t item_size)
    cdef int allocate(self, double slack=*) except -1
    cdef void *take(self, Py_ssize_t count, Py_ssize_t item_size) noexcept

cdef int region_threads(int wanted, int allowed) noexcept
cdef c.clstm_counter *new_counters(Py_ssize_t threads, Py_ssize_t teams) except NULL
cdef c.clstm_team team_of(Py_ssize_t rank, Py_ssize_t size, c.clstm_counter *counters, Py_ssize_t index,
                          Py_ssize_t threads) noexcept nogil
