"""The number of threads that OpenMP would use. Needs no NumPy, since `import clstm` loads it: see openmp.py."""

cdef extern from "team.h" nogil:
    int clstm_most_threads()


def most_threads() -> int:
    """Return how many threads OpenMP would use for a region of the calling thread, 0 in a build without OpenMP.

    That is the number of processors, or OMP_NUM_THREADS, unless `omp_set_num_threads` was called, as threadpoolctl does.
    """
    return clstm_most_threads()
