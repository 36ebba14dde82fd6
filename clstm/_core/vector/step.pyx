"""Steps of streams on the vector path.

For layers without options and of one width, the jobs are built once and reused at each step (src/step.h). For others,
each step is a forward pass of each layer.
"""

import numpy as np

cimport numpy as cnp
from cython.parallel cimport parallel
from libc.string cimport memset

from clstm._core.job import Job
from clstm._core.vector import forward_backward

from clstm._core.vector cimport kernels as c
from clstm._core.vector.kernels cimport clstm_walk
from clstm._core.vector.pack cimport Packed, alike
from clstm._core.vector.plan cimport Split, split_step
from clstm._core.vector.runtime cimport Arena, may_use_threads, team_of
from clstm._core._stream cimport Steps

cnp.import_array()

ctypedef cnp.intp_t isize

cdef enum:
    BRIEF_CYCLES = 4_000        # releasing the GIL costs about 300
    SHORT_RUN_CYCLES = 60_000   # below, single steps cost less than starting the forward pass of a layer


cdef class VectorSteps(Steps):
    """Steps of plain layers of one width."""

    cdef tuple packs
    cdef int num_threads    # the most that are allowed
    cdef int threads        # those that are used
    cdef double cycles      # expected of one step
    cdef Arena arena
    cdef const c.clstm_kernels *kernels
    cdef c.clstm_step job
    cdef c.clstm_counter *counters
    cdef object h           # (2, num_layers, batch_size, hidden_size): the buffers that steps alternate between
    cdef object c

    def __cinit__(self, packs, Py_ssize_t batch_size, int num_threads):
        cdef Packed packed = packs[0]
        cdef const c.clstm_kernels *kernels = packed.kernels
        cdef Py_ssize_t B = batch_size, L = len(packs), I = packed.I, H = packed.H
        cdef double row_bytes = 5.0 * sizeof(isize) + 3.0 * L * kernels.state_stride(H) * kernels.item_size
        if B * row_bytes > <double>(<size_t>-1) / 4:
            raise MemoryError(f"batch_size is {B}, too large for this machine's addresses")
        cdef Split split = split_step(kernels, I, H, L, B, num_threads)
        self.packs, self.num_threads, self.threads, self.kernels = tuple(packs), num_threads, split.threads, kernels
        self.batch_size, self.input_size, self.hidden_size, self.num_layers = B, I, H, L
        self.dtype = np.dtype(np.float32 if kernels.item_size == 4 else np.float64)
        self.cycles, self.brief = split.cycles, split.cycles < BRIEF_CYCLES
        self.set_jobs(split.row_groups)

    cdef int set_jobs(self, int row_groups) except -1:
        """Allocate the state and the jobs, and fill them in."""
        cdef Py_ssize_t B = self.batch_size, L = self.num_layers, H = self.hidden_size
        cdef Py_ssize_t item = self.kernels.item_size, ld = self.kernels.state_stride(H)
        cdef Py_ssize_t h_buffer = B * ld, line = 64 // item
        cdef Py_ssize_t h_size = (2 * h_buffer + line - 1) // line * line, c_size = (h_buffer + line - 1) // line * line
        self.arena = Arena()
        self.arena.plan(2 * self.threads, sizeof(c.clstm_counter))
        self.arena.plan(L, sizeof(c.clstm_forward))
        self.arena.plan(1, sizeof(c.clstm_walk))
        self.arena.plan(4 + 5 * B, sizeof(isize))
        self.arena.plan(L * h_size, item)
        self.arena.plan(L * c_size, item)
        self.arena.allocate()
        self.counters = <c.clstm_counter *>self.arena.take(2 * self.threads, sizeof(c.clstm_counter))
        self.job.layers = <c.clstm_forward *>self.arena.take(L, sizeof(c.clstm_forward))
        cdef c.clstm_walk *walk = <c.clstm_walk *>self.arena.take(1, sizeof(c.clstm_walk))
        cdef isize *numbers = <isize *>self.arena.take(4 + 5 * B, sizeof(isize))
        cdef char *h = <char *>self.arena.take(L * h_size, item)
        cdef char *c_ = <char *>self.arena.take(L * c_size, item)
        memset(h, 0, L * h_size * item)
        memset(c_, 0, L * c_size * item)
        self.h = self.view(h, (2, L, B, H), (h_buffer, h_size, ld, 1))
        self.c = self.view(c_, (L, B, H), (c_size, ld, 1))
        self.job.count, self.job.parity = L, 0
        self.set_walk(walk, numbers)
        self.set_layers(walk, numbers + 4 + 2 * B, h, h_size, c_, c_size, row_groups)
        return 0

    cdef void set_walk(self, clstm_walk *walk, isize *numbers) noexcept:
        """Fill in a walk of two steps of all rows, one for each parity, with arrays in `numbers`."""
        cdef Py_ssize_t B = self.batch_size, b
        cdef isize *start = numbers + 2
        cdef isize *order = numbers + 4
        cdef isize *length = order + B
        numbers[0] = numbers[1] = B
        start[0], start[1] = 0, B
        for b in range(B):
            order[b], length[b] = b, 2
        walk.steps, walk.rows, walk.positions = 2, B, 2 * B
        walk.active, walk.start = <const Py_ssize_t *>numbers, <const Py_ssize_t *>start
        walk.order, walk.length = <const Py_ssize_t *>order, <const Py_ssize_t *>length

    cdef void set_layers(self, const clstm_walk *walk, isize *rows, char *h, Py_ssize_t h_size, char *c_,
                         Py_ssize_t c_size, int row_groups) noexcept:
        """Fill in the job of each layer, whose h and c have h_size and c_size reals; `rows` has room for 3 offsets a row."""
        cdef Py_ssize_t B = self.batch_size, L = self.num_layers, H = self.hidden_size, item = self.kernels.item_size
        cdef Py_ssize_t ld = self.kernels.state_stride(H), h_buffer = B * ld, layer, b
        cdef isize *h_row = rows + B
        cdef isize *y_row = rows + 2 * B
        cdef c.clstm_forward *job = NULL
        cdef c.clstm_sequences between
        cdef Packed packed
        for b in range(B):
            rows[b], h_row[b], y_row[b] = b * self.input_size, b * ld, b * H
        memset(self.job.layers, 0, L * sizeof(c.clstm_forward))
        for layer in range(L):
            packed = self.packs[layer]
            job = &self.job.layers[layer]
            job.walk, job.I, job.H = walk, packed.I, H
            job.W, job.U, job.bias = packed.W, packed.U, packed.bias
            job.h, job.c = h + layer * h_size * item, c_ + layer * c_size * item
            job.h_buffer_stride, job.row_groups = h_buffer, row_groups
            job.x.row = <const Py_ssize_t *>rows
            if layer > 0:
                job.x = between
            # A step of parity 0 writes the second h buffer, one of parity 1 the first: the x of the layer above.
            between.data = <char *>job.h + h_buffer * item
            between.row = <const Py_ssize_t *>h_row
            between.step = -h_buffer
            job.y = between
        job.y.row, job.y.step = <const Py_ssize_t *>y_row, 0

    cdef object view(self, char *data, shape, strides):
        """Return an array over a part of the arena; strides are in reals."""
        memory = self.arena.memory
        return np.ndarray(shape, self.dtype, memory, data - <char *>cnp.PyArray_DATA(memory),
                          [stride * self.dtype.itemsize for stride in strides])

    cdef void step(self, const void *x, void *out) noexcept nogil:
        cdef const c.clstm_kernels *kernels = self.kernels
        cdef c.clstm_step *job = &self.job
        cdef c.clstm_counter *counters = self.counters
        cdef int n = self.threads
        job.layers[0].x.data = <void *>x
        job.layers[job.count - 1].y.data = out
        if n > 1 and may_use_threads():
            memset(counters, 0, 2 * n * sizeof(c.clstm_counter))
            with parallel(num_threads=n):
                kernels.step(job, team_of(c.clstm_thread(), c.clstm_threads(), counters, 0, n))
        else:
            kernels.step(job, team_of(0, 1, counters, 0, 1))
        job.parity ^= 1

    def run(self, cnp.ndarray x, cnp.ndarray y, int num_threads):
        if len(x) * self.cycles < SHORT_RUN_CYCLES:
            Steps.run(self, x, y, num_threads)
            return
        # The forward pass of a layer reads the input weights once for many steps.
        h, c = self.state()
        h_n, c_n = np.empty(h.shape, self.dtype), np.empty(h.shape, self.dtype)
        for layer, pack in enumerate(self.packs):
            part = slice(layer, layer + 1)
            last = layer == self.num_layers - 1
            result = y if last else np.empty((len(x), self.batch_size, self.hidden_size), self.dtype)
            forward_backward.forward(
                Job((pack,), x, h[part].copy(), c[part].copy(), result, h_n[part], c_n[part], num_threads)
            )
            x = result
        h[...], c[...] = h_n, c_n

    def state(self):
        return self.h[self.job.parity], self.c

    def twin(self):
        return VectorSteps(self.packs, self.batch_size, self.num_threads)


cdef class LayerSteps(Steps):
    """Steps of layers of any kind, each by its forward pass.

    With `residual`, each layer but the first adds its input to its output.
    """

    cdef tuple packs
    cdef object h, c        # [layer] (batch_size, its width)
    cdef int num_threads
    cdef bint residual

    def __cinit__(self, packs, Py_ssize_t batch_size, int num_threads, bint residual):
        cdef Packed packed
        self.packs, self.num_threads, self.residual = tuple(packs), num_threads, residual
        self.batch_size, self.num_layers = batch_size, len(packs)
        self.brief = True  # it needs the GIL anyway
        self.h, self.c = [], []
        for packed in packs:
            if not self.h:
                self.input_size = packed.I
                self.dtype = np.dtype(np.float32 if packed.kernels.item_size == 4 else np.float64)
            self.hidden_size = packed.P
            self.h.append(np.zeros((batch_size, packed.P), self.dtype))
            self.c.append(np.zeros((batch_size, packed.H), self.dtype))

    cdef void step(self, const void *x, void *out) noexcept nogil:
        with gil:
            self.run_one(<size_t>x, <size_t>out)

    cdef int run_one(self, size_t x, size_t out) except -1:
        cdef cnp.npy_intp[3] shape
        shape[0], shape[1], shape[2] = 1, self.batch_size, self.input_size
        source = cnp.PyArray_SimpleNewFromData(3, shape, self.dtype.num, <void *>x)
        shape[2] = self.hidden_size
        self.run(source, cnp.PyArray_SimpleNewFromData(3, shape, self.dtype.num, <void *>out), self.num_threads)
        return 0

    def run(self, cnp.ndarray x, cnp.ndarray y, int num_threads):
        cdef bint last
        for layer, pack in enumerate(self.packs):
            last = layer == self.num_layers - 1
            h, c = self.h[layer][np.newaxis], self.c[layer][np.newaxis]
            result = y if last else np.empty((len(x), self.batch_size, h.shape[2]), self.dtype)
            forward_backward.forward(Job((pack,), x, h.copy(), c.copy(), result, h, c, num_threads))
            if self.residual and layer > 0:
                np.add(result, x, out=result)
            x = result

    def state(self):
        return self.h, self.c

    def twin(self):
        return LayerSteps(self.packs, self.batch_size, self.num_threads, self.residual)


def steps(packs, Py_ssize_t batch_size, int num_threads, bint residual=False):
    """Return the steps of a stream of stacked layers; see `clstm._core._stream`."""
    if alike(packs) and not residual:
        return VectorSteps(packs, batch_size, num_threads)
    return LayerSteps(packs, batch_size, num_threads, residual)
