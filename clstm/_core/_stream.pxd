"""Streams for other Cython code: needs neither NumPy's headers nor those of this package."""

cdef class Steps:  # internal: what a compiled path implements
    cdef readonly Py_ssize_t batch_size, input_size, hidden_size, num_layers
    cdef readonly object dtype
    cdef readonly bint brief

    cdef void step(self, const void *x, void *out) noexcept nogil


cdef class Stream:
    cdef readonly Py_ssize_t batch_size, input_size, hidden_size, num_layers, item_size
    cdef readonly object dtype
    cdef readonly Steps _steps
    cdef int type_number, busy
    cdef bint brief

    # Take one step from x (batch_size, input_size) to out (batch_size, hidden_size), both C-contiguous, of the stream's
    # dtype, and without shared memory. Returns 0, or -1 and does nothing where another thread is using the stream.
    cdef int step_nogil(self, const void *x, void *out) noexcept nogil
