"""What Python needs of OpenMP; without NumPy, since it is loaded with the package. See openmp.py."""

cdef extern from "team.h" nogil:
    int clstm_most_threads()


def most_threads() -> int:
    """Return how many threads OpenMP would use for a region of the calling thread, 0 in a build without OpenMP.

    That is its number of processors or OMP_NUM_THREADS until `omp_set_num_threads` sets another, as threadpoolctl does.
    """
    return clstm_most_threads()
