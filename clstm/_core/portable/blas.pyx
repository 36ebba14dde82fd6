"""SciPy's matrix products, found when this module is imported.

`cimport` from scipy.linalg.cython_blas would do the same at import, but would make SciPy a requirement of the build. What
SciPy offers to Cython lies in a table of capsules, each of which has the C signature of its function as its name.
"""

import re

from cpython.pycapsule cimport PyCapsule_GetName, PyCapsule_GetPointer

from scipy.linalg import cython_blas

cdef void* product(str name, str real) except NULL:
    """Return the address of SciPy's function, whose reals have to be of the C type `real`."""
    capsule = cython_blas.__pyx_capi__[name]
    cdef const char* signature = PyCapsule_GetName(capsule)
    # SciPy's own names of float and double end in cython_blas_s and cython_blas_d.
    found = re.sub(r"\w*cython_blas_([sd])\b", lambda match: {"s": "float", "d": "double"}[match[1]], signature.decode())
    expected = "void (char *, char *, int *, int *, int *, {0}, {0}, int *, {0}, int *, {0}, {0}, int *)"
    if found != expected.format(f"{real} *"):
        raise ImportError(f"scipy.linalg.cython_blas.{name} is {found}, expected {expected.format(real + ' *')}")
    return PyCapsule_GetPointer(capsule, signature)


sgemm = <sgemm_t> product("sgemm", "float")
dgemm = <dgemm_t> product("dgemm", "double")
