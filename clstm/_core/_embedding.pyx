"""The weight gradient of an embedding: rows added up by id.

Arrays, all C-contiguous and checked by the caller: total (num_embeddings, dim), written to; ids (n,), each below
num_embeddings; rows (n, dim). One thread adds the rows in the order of ids, so the result is always the same bits.
"""

from cython cimport floating
from libc.stdint cimport int64_t


def scatter_add(floating[:, ::1] total, const int64_t[::1] ids, const floating[:, ::1] rows, int64_t skip):
    """Add rows[i] to total[ids[i]] for every i in turn, but for the id `skip` (-1: none is left out)."""
    cdef Py_ssize_t n = ids.shape[0], dim = total.shape[1], i, j
    cdef floating* to
    cdef const floating* row
    with nogil:
        for i in range(n):
            if ids[i] == skip:
                continue
            to = &total[ids[i], 0]
            row = &rows[i, 0]
            for j in range(dim):
                to[j] += row[j]
