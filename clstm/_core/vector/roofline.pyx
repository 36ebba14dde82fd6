"""The kernels of src/roofline.h, which measure the machine's limits, for benchmarks/peers/roofline.py.

They release the GIL, so that Python threads can load all cores.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport uint64_t

from clstm._core.vector cimport kernels as c
from clstm._core.vector.runtime cimport kernels_of

cnp.import_array()


cdef const c.clstm_kernels *_kernels(cnp.ndarray array) except NULL:
    cdef const c.clstm_kernels *kernels = kernels_of(array)
    if kernels == NULL:
        raise RuntimeError("the portable path has no kernels to measure the machine with")
    return kernels


def multiply_add(dtype, Py_ssize_t rounds) -> tuple[int, float]:
    """Do `rounds` multiply-adds on each lane of as many vectors as hide their latency.

    Returns
    -------
    operations : int
        Additions and multiplications, each counted as one.
    sum : float
        The sum of all lanes, each of which is 1: half of the operations of one round.
    """
    out = np.zeros(1, dtype)
    cdef const c.clstm_kernels *kernels = _kernels(out)
    cdef void *data = cnp.PyArray_DATA(out)
    cdef Py_ssize_t operations
    with nogil:
        operations = kernels.multiply_add(rounds, data)
    return operations, float(out[0])


def read_memory(cnp.ndarray data, int streams, Py_ssize_t repeats) -> int:
    """Read a contiguous array `repeats` times from start to end, in 1, 2 or 4 parts at the same time.

    Returns
    -------
    int
        The sum of its 64-bit words, each counted as often as it was read, modulo 2^64.

    Raises
    ------
    ValueError
        The array isn't contiguous, or its size isn't a multiple of 1024 bytes, which every instruction set can read.
    """
    cdef Py_ssize_t nbytes = data.nbytes
    if streams not in (1, 2, 4):
        raise ValueError(f"streams is {streams}, expected 1, 2 or 4")
    if not cnp.PyArray_IS_C_CONTIGUOUS(data) or nbytes % 1024:
        raise ValueError(f"data has {nbytes} bytes, expected a contiguous array of a multiple of 1024")
    cdef const c.clstm_kernels *kernels = _kernels(data)
    cdef const void *start = cnp.PyArray_DATA(data)
    cdef uint64_t sum
    with nogil:
        sum = kernels.read_memory(start, nbytes, streams, repeats)
    return sum


def activate(str name, cnp.ndarray x, cnp.ndarray out, Py_ssize_t repeats) -> None:
    """Write the sigmoid or tanh of a contiguous array to another of its size and type, `repeats` times."""
    cdef const c.clstm_kernels *kernels = _kernels(x)
    cdef int which = ("sigmoid", "tanh").index(name)
    if not (cnp.PyArray_IS_C_CONTIGUOUS(x) and cnp.PyArray_IS_C_CONTIGUOUS(out) and x.size == out.size and x.dtype == out.dtype):
        raise ValueError("x and out aren't contiguous arrays of one size and type")
    cdef const void *source = cnp.PyArray_DATA(x)
    cdef void *target = cnp.PyArray_DATA(out)
    cdef Py_ssize_t n = x.size, i
    with nogil:
        for i in range(repeats):
            kernels.activate(which, source, target, n)
