# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The portable path: matrix products by BLAS, all else in plain loops; runs wherever SciPy does.

This is the module to read first. Its equations are those of docs/equations.md; the vector path (_lstm.pyx) offers the
same functions and the same results, faster.

The batch is packed. Its rows are taken in order of falling length and cut into blocks. In a block, the rows still
running at step s are then the first few, and what belongs to one step lies together, without holes:

    step          0  0  0  0 | 1  1  1 | 2  2  2 | 3        a block of four rows, lengths 1, 3, 3, 4
    row           3  1  2  0 | 3  1  2 | 3  1  2 | 3
    packed row    0  1  2  3 | 4  5  6 | 7  8  9 | 10

Finished rows are simply not there, so work is proportional to the real steps. One block after the other, that makes
N packed rows. The reverse direction differs in one thing only: its step s is at time length - 1 - s of the row.

    gates         (N, 4H)     i, f, g, o of each packed row; backward puts da in their place, the gradients of the sums
                              that went into sigmoid and tanh
    cells         (N, H)      c after the step
    h, c, dh, dc  (B, H)      the state between two steps, by falling length: a step reads and writes the first rows of
                              its block
    x, y, dy, dx  (T, B, ..)  the caller's, with any strides, but each row contiguous; all other arrays are dense

In inference only a chunk of steps has gates in memory, a buffer for each thread, and there are no cells.

Threads share out blocks (or, for the weight gradients, tiles of gates) and never wait for each other: one parallel
region for forward, two for backward. How sums are cut depends on the shapes only, so the number of threads doesn't
change a bit.
"""

import numpy as np

from cython.parallel cimport prange, threadid
from libc.limits cimport INT_MAX
from libc.math cimport exp, expf, fabs, fabsf, tanh, tanhf
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from scipy.linalg cimport cython_blas

from clstm._stream cimport Steps

ctypedef fused real:
    float
    double

cdef enum:
    CHUNK = 128            # packed rows in a product with the input weights; a block has at most 32
    TILE = 64              # rows of the weight gradients in a thread's unit of work
    PRODUCT = 1 << 18      # multiply-adds in a call of BLAS: up to there OpenBLAS stays on the thread that calls it
    PARALLEL = 1 << 20     # multiply-adds in all below which a second thread isn't worth waking


# Products and activations --------------------------------------------------------------------------------------------

cdef inline void blas_gemm(char* trans_a, char* trans_b, int m, int n, int k, const real* a, int lda, const real* b,
                           int ldb, real beta, real* c, int ldc) noexcept nogil:
    cdef real one = 1
    if real is float:
        cython_blas.sgemm(trans_a, trans_b, &m, &n, &k, &one, <real*> a, &lda, <real*> b, &ldb, &beta, c, &ldc)
    else:
        cython_blas.dgemm(trans_a, trans_b, &m, &n, &k, &one, <real*> a, &lda, <real*> b, &ldb, &beta, c, &ldc)


cdef void gemm(bint at, bint bt, Py_ssize_t m, Py_ssize_t n, Py_ssize_t k, const real* a, Py_ssize_t lda, const real* b,
               Py_ssize_t ldb, real beta, real* c, Py_ssize_t ldc) noexcept nogil:
    """c (m, n) = a b + beta c, row-major, with a (m, k), or (k, m) if at; b (k, n), or (n, k) if bt.

    The longest side is halved until a product is so small that BLAS doesn't wake threads of its own, which would fight
    with ours for the processors. That keeps within the 32-bit sizes of BLAS, too.
    """
    cdef Py_ssize_t half
    if m * n * k <= PRODUCT:
        # BLAS is column-major: it sees all matrices transposed, and c^T = b^T a^T
        blas_gemm("T" if bt else "N", "T" if at else "N", <int> n, <int> m, <int> k, b, <int> ldb, a, <int> lda, beta,
                  c, <int> ldc)
    elif n >= m and n >= k:
        half = halved(n)
        gemm(at, bt, m, half, k, a, lda, b, ldb, beta, c, ldc)
        gemm(at, bt, m, n - half, k, a, lda, b + half * (ldb if bt else 1), ldb, beta, c + half, ldc)
    elif k >= m:
        half = halved(k)
        gemm(at, bt, m, n, half, a, lda, b, ldb, beta, c, ldc)
        gemm(at, bt, m, n, k - half, a + half * (lda if at else 1), lda, b + half * (1 if bt else ldb), ldb, <real> 1,
             c, ldc)
    else:
        half = halved(m)
        gemm(at, bt, half, n, k, a, lda, b, ldb, beta, c, ldc)
        gemm(at, bt, m - half, n, k, a + half * (1 if at else lda), lda, b, ldb, beta, c + half * ldc, ldc)


cdef inline Py_ssize_t halved(Py_ssize_t size) noexcept nogil:
    return (size // 2 + 15) // 16 * 16  # in multiples of BLAS's own tiles


cdef inline real sigmoid(real x) noexcept nogil:
    # 1 / (1 + z) or z / (1 + z) with z = exp(-|x|), which can't overflow
    cdef real z
    if real is float:
        z = expf(-fabsf(x))
    else:
        z = exp(-fabs(x))
    return (z if x < 0 else 1) / (1 + z)


cdef inline real tanh_(real x) noexcept nogil:
    if real is float:
        return tanhf(x)
    else:
        return tanh(x)


# The packed order ----------------------------------------------------------------------------------------------------

cdef class Order:
    """Which row and time each packed row is, for one direction."""

    cdef readonly Py_ssize_t rows, blocks, block  # N; number of blocks; rows of a block (the last may have fewer)
    cdef readonly Py_ssize_t[::1] batch           # (B,) rows of the batch by falling length
    cdef readonly Py_ssize_t[::1] steps           # (blocks,) steps of the longest row
    cdef readonly Py_ssize_t[:, ::1] start        # (blocks, most steps + 1) first packed row of each step
    cdef readonly Py_ssize_t[::1] row             # (N,) row of the batch
    cdef readonly Py_ssize_t[::1] time            # (N,) time step
    cdef readonly Py_ssize_t[::1] before          # (N,) time of the row's step before; -1 where this is the first

    def __init__(self, lengths, Py_ssize_t time, Py_ssize_t batch, bint reverse):
        if lengths is None:
            lengths = np.full(batch, time)
        order = np.argsort(-lengths, kind="stable")
        falling = lengths[order]
        # Large blocks make good products, many of them give work to many threads: to four as soon as they have 16 rows.
        self.block = min(32, max(16, -(-batch // 4)))
        first = np.arange(0, batch, self.block)
        self.blocks = len(first)
        steps = falling[0] if batch else 0
        running = np.searchsorted(-falling, -np.arange(steps), side="left")  # rows of the batch that are longer than s
        running = np.clip(running - first[:, np.newaxis], 0, self.block)  # rows of each block, (blocks, steps)
        start = np.zeros((self.blocks, steps + 1), np.intp)
        start[:, 1:] = np.cumsum(running).reshape(running.shape)
        start[1:, 0] = start[:-1, -1]
        self.rows = start[-1, -1] if batch else 0

        block, step = np.divmod(np.repeat(np.arange(running.size), running.ravel()), max(steps, 1))
        place = first[block] + np.arange(self.rows) - start[block, step]  # by falling length
        times = falling[place] - 1 - step if reverse else step
        self.batch = order.astype(np.intp)
        self.steps = falling[first].astype(np.intp)
        self.start = start
        self.row = order[place].astype(np.intp)
        self.time = times.astype(np.intp)
        self.before = np.where(step == 0, -1, times + 1 if reverse else times - 1).astype(np.intp)

    cdef Py_ssize_t chunk_end(self, Py_ssize_t block, Py_ssize_t step) noexcept nogil:
        """The step before which a chunk that begins with `step` ends: it has at most CHUNK packed rows."""
        cdef Py_ssize_t end = step + 1
        while end < self.steps[block] and self.start[block, end + 1] - self.start[block, step] <= CHUNK:
            end += 1
        return end


class Pack:
    """A snapshot of one direction's weights. BLAS does its own packing, so they stay as they are."""

    def __init__(self, weight_ih, weight_hh, bias):
        if max(weight_ih.shape) > INT_MAX:
            raise ValueError(f"weight_ih has shape {weight_ih.shape}, beyond the 32-bit sizes of BLAS")
        self.weight_ih = np.array(weight_ih, order="C")
        self.weight_hh = np.array(weight_hh, order="C")
        self.bias = np.array(bias, order="C")


# Forward -------------------------------------------------------------------------------------------------------------

cdef void forward_row(real* gates, real* c, real* h, Py_ssize_t H) noexcept nogil:
    """A row's step: gates from the sums a in their place, c and h from those before."""
    cdef Py_ssize_t j
    cdef real i, f, g, o
    for j in range(H):
        i = sigmoid(gates[j])
        f = sigmoid(gates[H + j])
        g = tanh_(gates[2 * H + j])
        o = sigmoid(gates[3 * H + j])
        c[j] = f * c[j] + i * g
        h[j] = o * tanh_(c[j])
        gates[j], gates[H + j], gates[2 * H + j], gates[3 * H + j] = i, f, g, o


cdef void forward_block(
    const real[:, ::1] weight_ih, const real[:, ::1] weight_hh, const real[::1] bias, const real[:, :, :] x,
    Order order, Py_ssize_t block, real* h, real* c, real[:, :, :] y, real* inputs, real* gates, real[:, ::1] cells,
    bint keep,
) noexcept nogil:
    """All steps of a block; h and c (rows of the block, H) go from the first state to the last.

    inputs (CHUNK, I) is scratch; gates are those of the block's packed rows if keep, else scratch too, (CHUNK, 4H).
    """
    cdef Py_ssize_t I = weight_ih.shape[1], H = weight_hh.shape[1]
    cdef Py_ssize_t first = 0, last, step, p, k, n, begin, rows
    cdef real* a = gates
    while first < order.steps[block]:
        last = order.chunk_end(block, first)
        begin = order.start[block, first]
        rows = order.start[block, last] - begin
        if not keep:
            a = gates

        # a = W x + b for all steps of the chunk
        for k in range(rows):
            memcpy(inputs + k * I, &x[order.time[begin + k], order.row[begin + k], 0], I * sizeof(real))
            memcpy(a + k * 4 * H, &bias[0], 4 * H * sizeof(real))
        gemm(False, True, rows, 4 * H, I, inputs, I, &weight_ih[0, 0], I, <real> 1, a, 4 * H)

        for step in range(first, last):
            begin = order.start[block, step]
            n = order.start[block, step + 1] - begin
            # a += U h, then gates, c and h
            gemm(False, True, n, 4 * H, H, h, H, &weight_hh[0, 0], H, <real> 1, a, 4 * H)
            for k in range(n):
                p = begin + k
                forward_row(a + k * 4 * H, c + k * H, h + k * H, H)
                memcpy(&y[order.time[p], order.row[p], 0], h + k * H, H * sizeof(real))
                if keep:
                    memcpy(&cells[p, 0], c + k * H, H * sizeof(real))
            a += n * 4 * H
        first = last


def forward_direction(
    const real[:, ::1] weight_ih, const real[:, ::1] weight_hh, const real[::1] bias, const real[:, :, :] x,
    Order order, real[:, ::1] h, real[:, ::1] c, real[:, :, :] y, real[:, :, ::1] inputs, real[:, :, ::1] scratch,
    real[:, ::1] gates, real[:, ::1] cells, bint keep, int num_threads,
):
    """All steps of one direction; inputs and scratch (threads, CHUNK, ...) are each thread's own."""
    cdef Py_ssize_t block, work = order.rows * weight_ih.shape[0] * (weight_ih.shape[1] + weight_hh.shape[1])
    cdef bint parallel = num_threads > 1 and order.blocks > 1 and work > PARALLEL
    for block in prange(order.blocks, schedule="dynamic", chunksize=1, nogil=True, num_threads=num_threads,
                        use_threads_if=parallel):
        forward_block(
            weight_ih, weight_hh, bias, x, order, block, &h[block * order.block, 0], &c[block * order.block, 0], y,
            &inputs[threadid(), 0, 0], &gates[order.start[block, 0], 0] if keep else &scratch[threadid(), 0, 0], cells,
            keep,
        )


# Backward ------------------------------------------------------------------------------------------------------------

cdef void backward_row(real* gates, const real* c, const real* c_before, const real* dy, const real* dh, real* dc,
                       Py_ssize_t H) noexcept nogil:
    """A row's step back: gates to da, dc to that of the step before."""
    cdef Py_ssize_t j
    cdef real i, f, g, o, tanh_c, dh_j, dc_j
    for j in range(H):
        i, f, g, o = gates[j], gates[H + j], gates[2 * H + j], gates[3 * H + j]
        tanh_c = tanh_(c[j])
        dh_j = dh[j] + dy[j]
        dc_j = dc[j] + dh_j * o * (1 - tanh_c * tanh_c)         # h = o tanh(c)
        gates[j] = dc_j * g * i * (1 - i)                       # c = f c_before + i g
        gates[H + j] = dc_j * c_before[j] * f * (1 - f)
        gates[2 * H + j] = dc_j * i * (1 - g * g)
        gates[3 * H + j] = dh_j * tanh_c * o * (1 - o)
        dc[j] = dc_j * f


cdef void backward_block(
    const real[:, ::1] weight_ih, const real[:, ::1] weight_hh, const real[:, ::1] c0, const real[:, :, :] dy,
    Order order, Py_ssize_t block, real* dh, real* dc, real[:, ::1] gates, const real[:, ::1] cells, real* inputs,
    real[:, :, :] dx, bint need_dx,
) noexcept nogil:
    """All steps of a block from the last: gates become da, dh and dc (rows of the block, H) go to those of h0 and c0.

    Then its part of dx, added to what is there; inputs (CHUNK, I) is scratch.
    """
    cdef Py_ssize_t I = weight_ih.shape[1], H = weight_hh.shape[1]
    cdef Py_ssize_t step, p, k, j, n, begin, end, rows
    cdef const real* c_before
    for step in range(order.steps[block] - 1, -1, -1):
        begin = order.start[block, step]
        n = order.start[block, step + 1] - begin
        for k in range(n):
            p = begin + k
            c_before = &cells[order.start[block, step - 1] + k, 0] if step > 0 else &c0[order.row[p], 0]
            backward_row(&gates[p, 0], &cells[p, 0], c_before, &dy[order.time[p], order.row[p], 0], dh + k * H,
                         dc + k * H, H)
        # dh = U^T da
        gemm(False, False, n, H, 4 * H, &gates[begin, 0], 4 * H, &weight_hh[0, 0], H, <real> 0, dh, H)

    if need_dx:
        begin = order.start[block, 0]
        end = order.start[block, order.steps[block]]
        while begin < end:
            rows = min(end - begin, <Py_ssize_t> CHUNK)
            # dx = W^T da
            gemm(False, False, rows, I, 4 * H, &gates[begin, 0], 4 * H, &weight_ih[0, 0], I, <real> 0, inputs, I)
            for k in range(rows):
                for j in range(I):
                    dx[order.time[begin + k], order.row[begin + k], j] += inputs[k * I + j]
            begin += rows


cdef void backward_weights(
    const real[:, :, :] x, const real[:, ::1] h0, const real[:, :, :] y, Order order, const real[:, ::1] da,
    real* inputs, real* outputs, const real[::1] ones, Py_ssize_t first, Py_ssize_t last,
    real[:, ::1] dweight_ih, real[:, ::1] dweight_hh, real[::1] dbias,
) noexcept nogil:
    """Rows TILE * first ... TILE * last - 1 of the weight gradients, added to zeros; inputs and outputs are scratch."""
    cdef Py_ssize_t I = x.shape[2], H = h0.shape[1]
    cdef Py_ssize_t begin = 0, rows, p, k, tile, row, count
    cdef const real* h_before
    while begin < order.rows:
        rows = min(order.rows - begin, <Py_ssize_t> CHUNK)
        for k in range(rows):
            p = begin + k
            memcpy(inputs + k * I, &x[order.time[p], order.row[p], 0], I * sizeof(real))
            h_before = &h0[order.row[p], 0] if order.before[p] < 0 else &y[order.before[p], order.row[p], 0]
            memcpy(outputs + k * H, h_before, H * sizeof(real))
        for tile in range(first, last):
            row = tile * TILE
            count = min(4 * H - row, <Py_ssize_t> TILE)
            # dW += da x^T, dU += da h_before^T, db += da
            gemm(True, False, count, I, rows, &da[begin, row], 4 * H, inputs, I, <real> 1, &dweight_ih[row, 0], I)
            gemm(True, False, count, H, rows, &da[begin, row], 4 * H, outputs, H, <real> 1, &dweight_hh[row, 0], H)
            gemm(True, False, count, 1, rows, &da[begin, row], 4 * H, &ones[0], 1, <real> 1, &dbias[row], 1)
        begin += rows


def backward_direction(
    const real[:, ::1] weight_ih, const real[:, ::1] weight_hh, const real[:, :, :] x, const real[:, ::1] h0,
    const real[:, ::1] c0, const real[:, :, :] y, const real[:, :, :] dy, Order order, real[:, ::1] dh,
    real[:, ::1] dc, real[:, ::1] gates, const real[:, ::1] cells, real[:, :, ::1] inputs, real[:, :, ::1] outputs,
    const real[::1] ones, real[:, :, :] dx, bint need_dx, real[:, ::1] dweight_ih, real[:, ::1] dweight_hh,
    real[::1] dbias, int num_threads,
):
    """All steps of one direction, then its weight gradients; inputs and outputs (threads, CHUNK, ...) are scratch."""
    cdef Py_ssize_t block, part, tiles = (weight_ih.shape[0] + TILE - 1) // TILE, parts = min(num_threads, tiles)
    cdef Py_ssize_t work = order.rows * weight_ih.shape[0] * (weight_ih.shape[1] + weight_hh.shape[1])
    cdef bint parallel = num_threads > 1 and work > PARALLEL
    for block in prange(order.blocks, schedule="dynamic", chunksize=1, nogil=True, num_threads=num_threads,
                        use_threads_if=parallel and order.blocks > 1):
        backward_block(
            weight_ih, weight_hh, c0, dy, order, block, &dh[block * order.block, 0], &dc[block * order.block, 0], gates,
            cells, &inputs[threadid(), 0, 0], dx, need_dx,
        )
    for part in prange(parts, schedule="static", chunksize=1, nogil=True, num_threads=num_threads,
                       use_threads_if=parallel):
        backward_weights(
            x, h0, y, order, gates, &inputs[threadid(), 0, 0], &outputs[threadid(), 0, 0], ones,
            part * tiles // parts, (part + 1) * tiles // parts, dweight_ih, dweight_hh, dbias,
        )


# Streams -------------------------------------------------------------------------------------------------------------

cdef struct StepLayer:
    Py_ssize_t inputs  # not I, which complex.h defines
    const void* weight_ih
    const void* weight_hh
    const void* bias
    void* h
    void* c


cdef void forward_step(
    const StepLayer* layers, Py_ssize_t count, Py_ssize_t B, Py_ssize_t H, const real* x, real* gates, real* out,
) noexcept nogil:
    """One step of stacked layers, each reading the h of the one below; gates (B, 4H) is scratch."""
    cdef Py_ssize_t layer, b, I
    cdef real* h
    cdef real* c
    for layer in range(count):
        I, h, c = layers[layer].inputs, <real*> layers[layer].h, <real*> layers[layer].c
        for b in range(B):
            memcpy(gates + b * 4 * H, layers[layer].bias, 4 * H * sizeof(real))
        gemm(False, True, B, 4 * H, I, x, I, <const real*> layers[layer].weight_ih, I, <real> 1, gates, 4 * H)
        gemm(False, True, B, 4 * H, H, h, H, <const real*> layers[layer].weight_hh, H, <real> 1, gates, 4 * H)
        for b in range(B):
            forward_row(gates + b * 4 * H, c + b * H, h + b * H, H)
        x = h
    memcpy(out, x, B * H * sizeof(real))


cdef class PortableSteps(Steps):
    """Steps of layers packed by `pack`, on one thread.

    A run is step by step, too: BLAS gives other bits for the product of many steps' inputs than for that of one.
    """

    cdef tuple packs
    cdef object h, c, gates  # (L, B, H), (L, B, H), (B, 4H)
    cdef StepLayer* layers
    cdef void* gates_data
    cdef bint single

    def __cinit__(self, packs, Py_ssize_t batch_size):
        cdef Py_ssize_t layer, L = len(packs)
        self.packs, self.batch_size, self.num_layers = tuple(packs), batch_size, L
        self.hidden_size, self.input_size = packs[0].weight_hh.shape[1], packs[0].weight_ih.shape[1]
        self.dtype = packs[0].bias.dtype
        self.single = self.dtype.itemsize == 4
        self.h = np.zeros((L, batch_size, self.hidden_size), self.dtype)
        self.c = np.zeros_like(self.h)
        self.gates = np.empty((batch_size, 4 * self.hidden_size), self.dtype)
        self.gates_data = address(self.gates)
        self.layers = <StepLayer*> calloc(L, sizeof(StepLayer))
        if self.layers == NULL:
            raise MemoryError
        for layer, weights in enumerate(packs):
            self.layers[layer].inputs = weights.weight_ih.shape[1]
            self.layers[layer].weight_ih = address(weights.weight_ih)
            self.layers[layer].weight_hh = address(weights.weight_hh)
            self.layers[layer].bias = address(weights.bias)
            self.layers[layer].h, self.layers[layer].c = address(self.h[layer]), address(self.c[layer])

    def __dealloc__(self):
        free(self.layers)

    cdef void step(self, const void* x, void* out) noexcept nogil:
        cdef Py_ssize_t L = self.num_layers, B = self.batch_size, H = self.hidden_size
        if self.single:
            forward_step(self.layers, L, B, H, <const float*> x, <float*> self.gates_data, <float*> out)
        else:
            forward_step(self.layers, L, B, H, <const double*> x, <double*> self.gates_data, <double*> out)

    def state(self):
        return self.h, self.c

    def twin(self):
        return PortableSteps(self.packs, self.batch_size)


cdef void* address(array) except? NULL:
    return <void*> <size_t> array.ctypes.data


# What lstm.py calls: the functions of _lstm.pyx; all arguments are checked --------------------------------------------

class Tape:
    """What forward leaves for one backward: for each direction its Pack, Order, gates and cells."""

    def __init__(self):
        self.directions = []


def pack(weight_ih, weight_hh, bias, int num_threads):
    """Return a snapshot of one direction's weights: weight_ih (4H, I), weight_hh (4H, H), bias (4H,)."""
    return Pack(weight_ih, weight_hh, bias)


def forward(packs, x, h0, c0, lengths, y, h_n, c_n, int num_threads, bint keep, bint reverse=False,
            masks=None):
    """Run one layer in D = len(packs) directions; return a tape for `backward` if keep, else None.

    x (T, B, I); h0, c0 (D, B, H); lengths int64 (B,) or None. Written are y (T, B, D*H) and h_n, c_n (D, B, H).
    With `reverse` the first direction, too, reads each row from its end.
    """
    cdef Order order
    T, B, I = x.shape
    H = h0.shape[2]
    dtype = x.dtype
    tape = Tape()
    if lengths is not None:
        y.fill(0)  # for what lies past them
    for d, weights in enumerate(packs):
        order = Order(lengths, T, B, reverse or d == 1)
        h, c = h0[d][order.batch], c0[d][order.batch]
        threads = max(1, min(num_threads, order.blocks))
        inputs = np.empty((threads, min(order.rows, CHUNK), I), dtype)
        scratch = np.empty((threads, 0 if keep else min(order.rows, CHUNK), 4 * H), dtype)
        gates = np.empty((order.rows if keep else 0, 4 * H), dtype)
        cells = np.empty((order.rows if keep else 0, H), dtype)
        forward_direction(weights.weight_ih, weights.weight_hh, weights.bias, x, order, h, c,
                          y[:, :, d * H : (d + 1) * H], inputs, scratch, gates, cells, keep, threads)
        h_n[d][order.batch], c_n[d][order.batch] = h, c
        tape.directions.append((weights, order, gates, cells))
    return tape if keep else None


def backward(tape, x, h0, c0, y, lengths, dy, dh_n, dc_n, dx, dh0, dc0, weight_grads, int num_threads, bint add=False):
    """Run the way back, once for a tape.

    x, h0, c0, y, lengths as for `forward`; dy (T, B, D*H); dh_n, dc_n (D, B, H). Written are dx (T, B, I) unless it is
    None, dh0, dc0 (D, B, H), and weight_grads: for each direction dweight_ih, dweight_hh and dbias,
    which with `add` are added to what is there.
    """
    cdef Order order
    I, H = x.shape[2], h0.shape[2]
    dtype = x.dtype
    need_dx = dx is not None
    if need_dx:
        dx.fill(0)  # directions add to it
    else:
        dx = np.empty((0, 0, I), dtype)
    for d, (weights, order, gates, cells) in enumerate(tape.directions):
        half = slice(d * H, (d + 1) * H)
        dh, dc = dh_n[d][order.batch], dc_n[d][order.batch]
        rows, threads = min(order.rows, CHUNK), min(num_threads, max(order.blocks, -(-4 * H // TILE)))
        inputs, outputs = np.empty((threads, rows, I), dtype), np.empty((threads, rows, H), dtype)
        for gradient in weight_grads[d] if not add else ():
            gradient.fill(0)
        backward_direction(weights.weight_ih, weights.weight_hh, x, h0[d], c0[d], y[:, :, half], dy[:, :, half], order,
                           dh, dc, gates, cells, inputs, outputs, np.ones(rows, dtype), dx, need_dx, *weight_grads[d],
                           threads)
        dh0[d][order.batch], dc0[d][order.batch] = dh, dc


def forward_stacked(packs, x, h0, c0, lengths, ys, h_n, c_n, int num_threads):
    """Leave stacked layers to be run one by one; see `clstm._lstm`."""
    return False


def steps(packs, Py_ssize_t batch_size, int num_threads, bint residual=False):
    """Return what steps a stream of stacked layers."""
    return PortableSteps(packs, batch_size)
