"""See _plan.pyx."""

from clstm._core.vector.kernels cimport clstm_kernels

cdef struct Machine:
    double l1, l2, l3  # bytes, see clstm._core.caches
    double region      # cycles of entering and leaving a parallel region
    double multiply_add  # cycles of one of vectors, see src/speed.h
    double l3_speed    # bytes a cycle that a thread reads from level 3
    double barrier     # cycles of a round of one, see src/region.h

cdef struct Split:
    int threads
    bint side_by_side  # half the threads a direction
    int row_groups     # a direction's threads in so many groups: see src/walk.h
    Py_ssize_t chunk   # steps projected at once; 0: in one pass with the recurrent product
    double cycles      # what the model expects

cdef Split split_forward(const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t steps, Py_ssize_t positions,
                         Py_ssize_t D, int num_threads) except *
cdef Split split_backward(const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t steps,
                          Py_ssize_t positions, Py_ssize_t D, int num_threads) except *
cdef Split split_step(const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t layers, Py_ssize_t rows,
                      int num_threads) except *

# A wavefront over stacked layers: each team of `members` threads has every teams-th layer, and they take `piece` steps at a time.
cdef struct Stack:
    int teams, members     # teams 1: layer after layer is faster
    Py_ssize_t piece
    Split first, others    # how a team shares a layer's work

cdef Stack stack_forward(const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t layers, Py_ssize_t steps,
                         Py_ssize_t positions, int num_threads) except *
