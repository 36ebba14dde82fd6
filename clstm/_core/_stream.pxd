"""What `clstm.stream` offers to other Cython code: needs neither NumPy's headers nor those of this package."""

cdef class Steps:  # of the package's own: a backend's part
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

    # One step: x (batch_size, input_size) to out (batch_size, hidden_size), both dense, of the stream's dtype and
    # apart from each other. Returns 0, or -1 where another thread is using the stream: nothing is done then.
    cdef int step_nogil(self, const void *x, void *out) noexcept nogil
