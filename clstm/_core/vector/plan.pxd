"""What the jobs of the vector path ask of the cost model in plan.pyx."""

from clstm._core.vector.kernels cimport clstm_kernels

cdef struct Machine:
    double l1, l2, l3    # bytes, see clstm._core.caches
    double region        # cycles of entering and leaving a parallel region, and of filling its threads' caches
    double multiply_add  # cycles of a multiply-add of vectors, see src/speed.h
    double l3_speed      # bytes a cycle that one thread reads from level 3
    double barrier       # cycles of one round of a barrier, see src/region.h

cdef struct Split:
    int threads
    bint side_by_side  # each half of the threads has one direction
    int row_groups     # groups that the threads of a direction are divided into: see src/walk.h
    Py_ssize_t chunk   # steps whose input is projected at once; 0: in one pass with the recurrent product
    double cycles      # the cost that the model expects

cdef Split split_forward(const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t steps, Py_ssize_t positions,
                         Py_ssize_t D, int num_threads) except *
cdef Split split_backward(const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t steps,
                          Py_ssize_t positions, Py_ssize_t D, int num_threads) except *
cdef Split split_step(const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t layers, Py_ssize_t rows,
                      int num_threads) except *

# A wavefront over stacked layers: each team of `members` threads has every teams-th layer, and all
# take step_block steps at a time.
cdef struct Stack:
    int teams, members     # teams is 1 where layer after layer is faster
    Py_ssize_t step_block
    Split first, others    # how a team divides the work of a layer

cdef Stack stack_forward(const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t layers, Py_ssize_t steps,
                         Py_ssize_t positions, int num_threads) except *
