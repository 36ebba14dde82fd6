"""Streams for other Cython code; needs neither NumPy nor a header of this package. See docs/streaming.md.

    from clstm._stream cimport Stream

    cdef Stream stream = lstm.stream()
    with nogil:
        busy = stream.step_nogil(&x[0, 0], &y[0, 0])
"""

cdef class Steps:
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
