"""What all jobs of the vector path need: the kernels in use, memory, and teams of threads."""

import numpy as np

cimport numpy as cnp
from cpython.buffer cimport PyBuffer_FillInfo
from libc.stdlib cimport calloc

from clstm._core.vector cimport kernels as c

cnp.import_array()

cdef const c.clstm_kernels *_kernels_f32 = NULL
cdef const c.clstm_kernels *_kernels_f64 = NULL
cdef bint _one_thread = False


def instruction_sets() -> tuple[str, ...]:
    """Return the instruction sets that this build holds and this processor has, best first."""
    return tuple(name for name in ("avx512", "avx2", "neon") if c.clstm_kernels_for(name.encode(), 4) != NULL)


def use(name: str) -> None:
    """Use the kernels of one of `instruction_sets()` for everything that is packed from now on."""
    global _kernels_f32, _kernels_f64
    _kernels_f32 = c.clstm_kernels_for(name.encode(), 4)
    _kernels_f64 = c.clstm_kernels_for(name.encode(), 8)


def has_openmp() -> bool:
    """Return whether this build has OpenMP."""
    return bool(c.CLSTM_OPENMP)


def stay_on_one_thread() -> None:
    """Never open a parallel region again in this process (see `clstm._core.threads`)."""
    global _one_thread
    _one_thread = True


cdef bint may_use_threads() noexcept nogil:
    return not _one_thread


cdef const c.clstm_kernels *kernels_of(cnp.ndarray array) noexcept:
    """Return the kernels in use for an array's item size."""
    return _kernels_f32 if cnp.PyArray_ITEMSIZE(array) == 4 else _kernels_f64


# Large allocations are kept for the next call that needs about as much. Otherwise a training step would spend a fifth of
# its time in the system, which clears fresh pages.
cdef list _spares = []
cdef enum:
    LARGE_BYTES = (1 << 18) + 1
    SPARE_BYTES = 128 << 20


def free_spares() -> None:
    """Free the memory that is kept for later calls."""
    _spares.clear()


cdef class Arena:
    """One allocation for 64-byte aligned parts: `plan` each part, `allocate`, then `take` the parts in the same order."""

    cdef Py_ssize_t plan(self, Py_ssize_t count, Py_ssize_t item_size):
        self.size += (count * item_size + 63) // 64 * 64
        return count

    cdef int allocate(self, double slack=1) except -1:
        """Allocate what was planned, or reuse kept memory that is larger by up to `slack` times the planned size."""
        cdef Py_ssize_t i, spare
        for i in reversed(range(len(_spares))):  # the last one freed is most likely in a cache
            spare = len(_spares[i])
            if self.size + 64 <= spare <= 64 + (1 + slack) * self.size:
                self.memory = _spares.pop(i)
                break
        else:
            self.memory = np.empty(self.size + 64, np.uint8)
        cdef size_t address = <size_t>cnp.PyArray_DATA(self.memory)
        self.next = <char *>((address + 63) // 64 * 64)
        return 0

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        # NumPy calls this before an array over this memory may be made writeable again.
        PyBuffer_FillInfo(buffer, self, cnp.PyArray_DATA(self.memory), self.memory.nbytes, False, flags)

    def __del__(self):
        if self.memory is None or len(self.memory) < LARGE_BYTES:
            return
        _spares.append(self.memory)
        while sum(map(len, _spares)) > SPARE_BYTES:
            del _spares[0]

    cdef void *take(self, Py_ssize_t count, Py_ssize_t item_size) noexcept:
        cdef void *part = self.next
        self.next += (count * item_size + 63) // 64 * 64
        return part


def empty(tuple shape, dtype) -> np.ndarray:
    """Return np.empty(shape, dtype), in the memory of a freed result if there is one of about this size."""
    cdef cnp.dtype of = np.dtype(dtype)
    cdef Py_ssize_t size = of.itemsize, axis
    for axis in shape:
        size *= axis
    if size < LARGE_BYTES:
        return np.empty(shape, of)
    cdef Arena arena = Arena()
    arena.plan(size, 1)
    arena.allocate(0.25)
    cdef cnp.ndarray owned = cnp.PyArray_SimpleNewFromData(1, <cnp.npy_intp *>&size, cnp.NPY_UINT8, arena.next)
    cnp.set_array_base(owned, arena)
    return owned.view(of).reshape(shape)


cdef int _largest_region = 1


cdef int region_threads(int wanted, int allowed) noexcept:
    """Return how many threads to open a parallel region with if `wanted` have work; the others return at once.

    That is as many as the largest region so far: GNU's OpenMP ends the threads that a smaller region doesn't need, and
    starting new ones for the next larger region takes 15 us each.
    """
    global _largest_region
    _largest_region = max(_largest_region, wanted)
    return min(_largest_region, allowed)


cdef c.clstm_counter *new_counters(Py_ssize_t threads, Py_ssize_t teams) except NULL:
    """Return counters for `teams` teams and for the team of all threads, at zero."""
    cdef c.clstm_counter *counters = <c.clstm_counter *>calloc((teams + 1) * 2 * threads, sizeof(c.clstm_counter))
    if counters == NULL:
        raise MemoryError
    return counters


cdef c.clstm_team team_of(Py_ssize_t rank, Py_ssize_t size, c.clstm_counter *counters, Py_ssize_t index,
                          Py_ssize_t threads) noexcept nogil:
    cdef c.clstm_team team
    team.rank, team.size, team.counters = rank, size, counters + index * 2 * threads
    return team


def activate(str name, cnp.ndarray x):
    """Return the sigmoid or tanh of a contiguous array by the vector kernels, to test their accuracy."""
    cdef const c.clstm_kernels *kernels = kernels_of(x)
    y = np.empty_like(x)
    kernels.activate(("sigmoid", "tanh").index(name), cnp.PyArray_DATA(x), cnp.PyArray_DATA(y), x.size)
    return y
