"""The fast part of a stream: `step` checks its arguments and takes the step, without allocating memory.

`clstm.layers.stream` adds all that may take longer. A compiled path implements Steps: it holds the state and advances
it.
"""

import numpy as np

cimport numpy as cnp

cnp.import_array()

cdef extern from *:
    """
    #if defined(_MSC_VER)
    #include <intrin.h>
    static int clstm_try_lock(int *flag) { return _InterlockedExchange((volatile long *)flag, 1) == 0; }
    static void clstm_unlock(int *flag) { _InterlockedExchange((volatile long *)flag, 0); }
    #else
    static int clstm_try_lock(int *flag) { return __atomic_exchange_n(flag, 1, __ATOMIC_ACQUIRE) == 0; }
    static void clstm_unlock(int *flag) { __atomic_store_n(flag, 0, __ATOMIC_RELEASE); }
    #endif
    """
    bint clstm_try_lock(int *flag) noexcept nogil
    void clstm_unlock(int *flag) noexcept nogil


cdef class Steps:
    """The state of stacked layers and the functions that advance it, for one thread at a time; paths derive from it.

    Attributes
    ----------
    batch_size, input_size, hidden_size, num_layers, dtype
    brief : bool
        A step takes so little time that releasing the GIL for it doesn't pay.
    """

    cdef void step(self, const void *x, void *out) noexcept nogil:
        """Take one step of all layers: x (batch_size, input_size), out (batch_size, hidden_size)."""

    def run(self, cnp.ndarray x, cnp.ndarray y, int num_threads):
        """Take all steps of x (T, batch_size, input_size) and write y (T, batch_size, hidden_size); any strides."""
        cdef Py_ssize_t t, T = len(x), item = x.itemsize
        cdef cnp.ndarray source = np.ascontiguousarray(x)
        cdef cnp.ndarray target = y if cnp.PyArray_ISCARRAY(y) else np.empty((<object>y).shape, y.dtype)
        cdef const char *read = cnp.PyArray_BYTES(source)
        cdef char *written = cnp.PyArray_BYTES(target)
        with nogil:
            for t in range(T):
                self.step(read, written)
                read += self.batch_size * self.input_size * item
                written += self.batch_size * self.hidden_size * item
        if target is not y:
            y[...] = target

    def state(self):
        """Return h and c, to be read and written: (batch_size, features) of each layer, in one array or in a list."""
        raise NotImplementedError

    def twin(self):
        """Return Steps with the same weights and a separate state of zeros."""
        raise NotImplementedError


cdef class Stream:
    """The base of `clstm.stream.Stream`, which has everything except `step`."""

    def __cinit__(self, Steps steps not None, *args, **kwargs):
        self._steps = steps
        self.batch_size, self.input_size = steps.batch_size, steps.input_size
        self.hidden_size, self.num_layers = steps.hidden_size, steps.num_layers
        self.dtype, self.brief = steps.dtype, steps.brief
        self.item_size = self.dtype.itemsize
        self.type_number = self.dtype.num

    def step(self, x, out=None):
        """Take one step.

        Nothing is allocated where `x` is a C-contiguous array and `out` is given.

        Parameters
        ----------
        x : ndarray of shape (batch_size, input_size), or (input_size,) where batch_size is 1
            The input, of the stream's dtype.
        out : ndarray of shape (batch_size, hidden_size), or (hidden_size,) where x is (input_size,)
            Where to write the result: C-contiguous, of the stream's dtype, sharing no memory with `x`; a new array if
            left out.

        Returns
        -------
        ndarray
            h of the last layer: `out`, or the new array.

        Raises
        ------
        TypeError, ValueError
            A wrong dtype or shape, or an `out` that can't be written to or shares memory with `x`; the state is as
            it was.
        RuntimeError
            Another thread is using this stream.
        """
        if not fits(x, self.type_number, self.batch_size, self.input_size):
            return self._step_slowly(x, out)
        cdef cnp.ndarray source = <cnp.ndarray>x
        cdef int dimensions = cnp.PyArray_NDIM(source), refused
        cdef cnp.npy_intp[2] shape
        if out is None:
            shape[0], shape[dimensions - 1] = self.batch_size, self.hidden_size
            out = cnp.PyArray_SimpleNew(dimensions, shape, self.type_number)
        elif not (
            fits(out, self.type_number, self.batch_size, self.hidden_size)
            and cnp.PyArray_ISWRITEABLE(<cnp.ndarray>out)
            and cnp.PyArray_NDIM(<cnp.ndarray>out) == dimensions
            and apart(source, <cnp.ndarray>out)
        ):
            return self._step_slowly(x, out)
        cdef const void *read = cnp.PyArray_DATA(source)
        cdef void *written = cnp.PyArray_DATA(<cnp.ndarray>out)
        if self.brief:
            refused = self.step_nogil(read, written)
        else:
            with nogil:
                refused = self.step_nogil(read, written)
        if refused:
            self._refuse()
        return out

    cdef int step_nogil(self, const void *x, void *out) noexcept nogil:
        if not clstm_try_lock(&self.busy):
            return -1
        self._steps.step(x, out)
        clstm_unlock(&self.busy)
        return 0

    def _begin(self):
        """Lock the stream until `_end`; refuse if another thread has locked it."""
        if not clstm_try_lock(&self.busy):
            self._refuse()

    def _end(self):
        clstm_unlock(&self.busy)

    def _refuse(self):
        raise RuntimeError("another thread is using this stream; it has one state, so give each thread its own")


cdef inline bint fits(array, int type_number, Py_ssize_t batch, Py_ssize_t features) noexcept:
    """Whether it is a dense array (batch, features), or (features,) where batch is 1, of the type."""
    if not cnp.PyArray_CheckExact(array):
        return False
    cdef cnp.ndarray given = <cnp.ndarray>array
    if cnp.PyArray_TYPE(given) != type_number or not cnp.PyArray_ISCARRAY_RO(given):
        return False
    cdef int dimensions = cnp.PyArray_NDIM(given)
    if dimensions == 2:
        return cnp.PyArray_DIM(given, 0) == batch and cnp.PyArray_DIM(given, 1) == features
    return dimensions == 1 and batch == 1 and cnp.PyArray_DIM(given, 0) == features


cdef inline bint apart(cnp.ndarray a, cnp.ndarray b) noexcept:
    """Whether two dense arrays share no memory."""
    cdef size_t a_start = <size_t>cnp.PyArray_DATA(a), b_start = <size_t>cnp.PyArray_DATA(b)
    return a_start + cnp.PyArray_NBYTES(a) <= b_start or b_start + cnp.PyArray_NBYTES(b) <= a_start
