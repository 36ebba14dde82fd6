"""Pointers to the elements of arrays, after a check of what a loop relies on.

Typed memoryviews check the same, but bring about a megabyte of generated C into every module that uses one, which takes
longer to compile than all the loops. A module that cimports this calls `cnp.import_array()`.
"""

cimport numpy as cnp


cdef inline bint is_single(cnp.ndarray array) except -1:
    """Return whether the array is of float32; float64 is the only other choice."""
    if array is None:
        raise TypeError("expected an array, got None")
    if cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT32:
        return True
    if cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT64:
        return False
    raise ValueError(f"expected an array of float32 or float64, got {array.dtype}")


cdef inline int check_type(cnp.ndarray array, int type_number, int dimensions) except -1:
    if array is None:
        raise TypeError("expected an array, got None")
    if not cnp.PyArray_EquivTypenums(cnp.PyArray_TYPE(array), type_number):
        raise ValueError(f"expected an array of {cnp.PyArray_DescrFromType(type_number)}, got {array.dtype}")
    if cnp.PyArray_NDIM(array) != dimensions:
        raise ValueError(f"expected an array with {dimensions} dimensions, got {cnp.PyArray_NDIM(array)}")
    return 0


cdef inline const void* dense(cnp.ndarray array, int type_number, int dimensions) except? NULL:
    """Return the elements of a C-contiguous array that is only read."""
    check_type(array, type_number, dimensions)
    if not cnp.PyArray_ISCARRAY_RO(array):
        raise ValueError("expected a C-contiguous array in the byte order of this machine")
    return cnp.PyArray_DATA(array)


cdef inline void* dense_writable(cnp.ndarray array, int type_number, int dimensions) except? NULL:
    """Return the elements of a C-contiguous array that is written to."""
    check_type(array, type_number, dimensions)
    if not cnp.PyArray_ISCARRAY(array):
        raise ValueError("expected a writable C-contiguous array in the byte order of this machine")
    return cnp.PyArray_DATA(array)


cdef inline void* strided(cnp.ndarray array, int type_number, int dimensions, bint writable) except? NULL:
    """Return the first element of an array with any strides; `stride` has those."""
    cdef int axis
    check_type(array, type_number, dimensions)
    if not cnp.PyArray_ISBEHAVED_RO(array) or (writable and not cnp.PyArray_ISWRITEABLE(array)):
        raise ValueError("expected an aligned array in the byte order of this machine, writable where it is written to")
    for axis in range(dimensions):
        if cnp.PyArray_STRIDE(array, axis) % cnp.PyArray_ITEMSIZE(array):
            raise ValueError(f"expected strides in whole elements, got {array.strides[axis]} bytes")
    return cnp.PyArray_DATA(array)


cdef inline Py_ssize_t stride(cnp.ndarray array, int axis) noexcept:
    """Return the step from one element to the next along an axis, counted in elements."""
    return cnp.PyArray_STRIDE(array, axis) // cnp.PyArray_ITEMSIZE(array)
