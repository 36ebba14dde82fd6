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

A cell beyond the plain one goes the same ways: only what happens to a row between two products is another
(_portable_cell.pyx), h has P units, which a projection makes of m, and there is more to keep:

    norms         (N, 4H)     the normalised sums, with layer norm, and
    scales        (N, 4)      what they were multiplied by
    outs          (N, H)      m, with a projection; backward adds douts (N, P), the gradients of its product
    sums          (blocks, SUMS * H)  gradients of what each unit has alone (bias, peepholes, ...), in float64

Pieces of rows (`clstm._core.rows.Rows`) are rows here, with states of their own: x, y and what is as long as they are know
them by their place in the batch.

In inference only a chunk of steps has gates in memory, a buffer for each thread, and there are no cells.

Threads share out blocks (or, for the weight gradients, tiles of gates) and never wait for each other: one parallel
region for forward, two for backward. How sums are cut depends on the shapes only, so the number of threads doesn't
change a bit.
"""

import numpy as np

from cython.parallel cimport prange, threadid
from libc.limits cimport INT_MAX
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from clstm._core.portable cimport blas

from clstm._core.portable.variant cimport (
    SCRATCH, SUMS, CellStep, backward_cell_row, fill_activation, forward_cell_row, real, settle, settle_backward,
    sigmoid, tanh_,
)
from clstm._core._stream cimport Steps

from clstm._core.rows import Rows

cdef enum:
    CHUNK = 128            # packed rows in a product with the input weights; a block has at most 32
    TILE = 64              # rows of the weight gradients in a thread's unit of work
    PRODUCT = 1 << 18      # multiply-adds in a call of BLAS: up to there OpenBLAS stays on the thread that calls it
    PARALLEL = 1 << 20     # multiply-adds in all below which a second thread isn't worth waking


# Products -----------------------------------------------------------------------------------------------------------

cdef inline void blas_gemm(char* trans_a, char* trans_b, int m, int n, int k, const real* a, int lda, const real* b,
                           int ldb, real beta, real* c, int ldc) noexcept nogil:
    cdef real one = 1
    if real is float:
        blas.sgemm(trans_a, trans_b, &m, &n, &k, &one, <real*> a, &lda, <real*> b, &ldb, &beta, c, &ldc)
    else:
        blas.dgemm(trans_a, trans_b, &m, &n, &k, &one, <real*> a, &lda, <real*> b, &ldb, &beta, c, &ldc)


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


# The packed order ----------------------------------------------------------------------------------------------------

cdef class Order:
    """Which row and time each packed row is, for one direction."""

    cdef readonly Py_ssize_t rows, blocks, block  # N; number of blocks; rows of a block (the last may have fewer)
    cdef readonly Py_ssize_t[::1] batch           # (B,) rows of the states by falling length
    cdef readonly Py_ssize_t[::1] steps           # (blocks,) steps of the longest row
    cdef readonly Py_ssize_t[:, ::1] start        # (blocks, most steps + 1) first packed row of each step
    cdef readonly Py_ssize_t[::1] state           # (N,) row of the states
    cdef readonly Py_ssize_t[::1] row             # (N,) row of the batch: another one where rows are pieces of it
    cdef readonly Py_ssize_t[::1] time            # (N,) time step
    cdef readonly Py_ssize_t[::1] before          # (N,) time of the row's step before; -1 where this is the first

    def __init__(self, lengths, Py_ssize_t time, Py_ssize_t batch, bint reverse):
        pieces = lengths if isinstance(lengths, Rows) else None
        if pieces is not None:
            lengths, batch = pieces.length, len(pieces.length)
        elif lengths is None:
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
        self.state = self.row = order[place].astype(np.intp)
        if pieces is not None:
            self.row = pieces.batch[order[place]].astype(np.intp)
            times = times + pieces.start[order[place]]
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
        self.cell = None

    @property
    def hidden_size(self):
        return len(self.weight_ih) // 4


class CellPack(Pack):
    """Of a cell beyond the plain one. Where the gates are normalised, their sums begin with 0 instead of the bias."""

    def __init__(self, cell, weight_ih, weight_hh, bias, *extras):
        super().__init__(weight_ih, weight_hh, bias)
        self.cell = CellWeights(cell, self.bias, *extras)
        if cell.layer_norm:
            self.bias = np.zeros_like(self.bias)


cdef class CellWeights:
    """What a cell has beside the weights of the plain one."""

    cdef CellStep step
    cdef readonly object weight_hr
    cdef tuple arrays  # which step points into

    def __init__(self, cell, bias, weight_hr, peephole, norm_gates, norm_cell, norm_cell_bias):
        cdef bint single = bias.dtype.itemsize == 4
        given = (weight_hr, peephole, norm_gates, bias if cell.layer_norm else None, norm_cell, norm_cell_bias)
        self.arrays = tuple(None if array is None else np.array(array, order="C") for array in given)
        self.weight_hr, peephole, gain, shift, norm_cell, norm_cell_bias = self.arrays
        self.step.peephole, self.step.gain, self.step.shift = address(peephole), address(gain), address(shift)
        self.step.norm_cell, self.step.norm_cell_bias = address(norm_cell), address(norm_cell_bias)
        self.step.coupled, self.step.cell_clip = cell.coupled, cell.cell_clip
        self.step.stay_h, self.step.stay_c = cell.zoneout
        fill_activation(&self.step.gate, cell.activations[0], cell.gate_clip, single)
        fill_activation(&self.step.candidate, cell.activations[1], cell.gate_clip, single)
        fill_activation(&self.step.output, cell.activations[2], np.inf, single)


cdef struct CellRun:  # what the loops see of a Variant
    CellStep step
    const void* weight_hr             # (P, H), NULL without projection
    const void* recurrent             # (rows of the states, P), NULL where nothing is dropped
    const unsigned char* zoneout_h    # (T, B, P) and
    const unsigned char* zoneout_c    # (T, B, H), NULL where nothing is zoned out
    Py_ssize_t batch                  # B
    void* norms                       # NULL where they aren't needed, and so are the others
    void* scales
    void* outs
    void* douts
    double* sums


cdef class Variant:
    """One direction's way through a cell beyond the plain one: its weights, its masks, and what it keeps of each step.

    The masks, if given, say that it is training.
    """

    cdef CellRun run
    cdef readonly CellWeights cell
    cdef readonly object norms, scales, outs, sums, douts
    cdef tuple masks

    def __init__(self, CellWeights cell, masks, Order order, Py_ssize_t batch, Py_ssize_t P, Py_ssize_t H, dtype,
                 bint keep):
        self.cell = cell
        self.run.step, self.run.batch = cell.step, batch
        self.run.weight_hr = address(cell.weight_hr)
        if masks is not None:
            self.run.step.stay_h = self.run.step.stay_c = 0
            recurrent, zoneout_h, zoneout_c = masks
            self.masks = (
                None if recurrent is None else np.ascontiguousarray(recurrent, dtype),
                None if zoneout_h is None else np.ascontiguousarray(zoneout_h).view(np.uint8),
                None if zoneout_c is None else np.ascontiguousarray(zoneout_c).view(np.uint8),
            )
            self.run.recurrent = address(self.masks[0])
            self.run.zoneout_h = <const unsigned char*> address(self.masks[1])
            self.run.zoneout_c = <const unsigned char*> address(self.masks[2])
        if keep and cell.step.gain != NULL:
            self.norms, self.scales = np.empty((order.rows, 4 * H), dtype), np.empty((order.rows, 4), dtype)
            self.run.norms, self.run.scales = address(self.norms), address(self.scales)
        if keep and cell.weight_hr is not None:
            self.outs = np.empty((order.rows, H), dtype)
            self.run.outs = address(self.outs)

    def begin_backward(self, Order order, Py_ssize_t P, Py_ssize_t H):
        self.sums = np.zeros((order.blocks, SUMS * H))
        self.run.sums = <double*> address(self.sums)
        if self.outs is not None:
            self.douts = np.empty((order.rows, P), self.outs.dtype)
            self.run.douts = address(self.douts)

    def add_sums(self, gradients):
        """Add the gradients of bias, peephole, norm_gates, norm_cell and norm_cell_bias, None for those off."""
        H = self.sums.shape[1] // SUMS
        parts = np.split(self.sums.sum(axis=0), np.cumsum([4, 3, 4, 1]) * H)
        for gradient, part in zip(gradients, parts, strict=True):
            if gradient is not None:
                gradient += part


cdef void* address(array) except? NULL:
    return NULL if array is None else <void*> <size_t> array.ctypes.data


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


cdef void forward_cell(const CellRun* run, const Py_ssize_t* time, const Py_ssize_t* row, Py_ssize_t begin,
                       Py_ssize_t n, real* gates, real* c, real* h, real* scratch, Py_ssize_t P,
                       Py_ssize_t H) noexcept nogil:
    """As `forward_row`, n rows from packed row `begin` on, whose time and row of the batch are given.

    scratch holds m of n rows and what the projection makes of it.
    """
    cdef Py_ssize_t k, at
    cdef real* m = scratch if run.outs == NULL else <real*> run.outs + begin * H
    cdef real* new = m if run.weight_hr == NULL else scratch + n * H
    for k in range(n):
        at = time[k] * run.batch + row[k]
        forward_cell_row(
            &run.step, gates + k * 4 * H, NULL if run.norms == NULL else <real*> run.norms + (begin + k) * 4 * H,
            NULL if run.scales == NULL else <real*> run.scales + (begin + k) * 4, c + k * H, m + k * H,
            NULL if run.zoneout_c == NULL else run.zoneout_c + at * H, H,
        )
    if run.weight_hr != NULL:
        gemm(False, True, n, P, H, m, H, <const real*> run.weight_hr, H, <real> 0, new, P)
    for k in range(n):
        at = time[k] * run.batch + row[k]
        settle(h + k * P, new + k * P, NULL if run.zoneout_h == NULL else run.zoneout_h + at * P, run.step.stay_h, P)


cdef void dropped(const CellRun* run, const Py_ssize_t* state, const real* h, real* out, Py_ssize_t n,
                  Py_ssize_t P) noexcept nogil:
    """Write the rows of h (n, P) times the recurrent masks of their states; out may be h."""
    cdef Py_ssize_t k, j
    cdef const real* mask
    for k in range(n):
        mask = <const real*> run.recurrent + state[k] * P
        for j in range(P):
            out[k * P + j] = h[k * P + j] * mask[j]


cdef void forward_block(
    const real[:, ::1] weight_ih, const real[:, ::1] weight_hh, const real[::1] bias, const real[:, :, :] x,
    Order order, const CellRun* run, Py_ssize_t block, real* h, real* c, real[:, :, :] y, real* inputs, real* gates,
    real* scratch, real[:, ::1] cells, bint keep,
) noexcept nogil:
    """All steps of a block; h and c (rows of the block, ...) go from the first state to the last.

    inputs (CHUNK, I) is scratch; gates are those of the block's packed rows if keep, else scratch too, (CHUNK, 4H).
    run is NULL for a plain cell; others have scratch, (2P + H) a row of the block.
    """
    cdef Py_ssize_t I = weight_ih.shape[1], P = weight_hh.shape[1], H = weight_hh.shape[0] // 4
    cdef Py_ssize_t first = 0, last, step, p, k, n, begin, rows
    cdef real* a = gates
    cdef const real* seen = h
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
            if run != NULL and run.recurrent != NULL:
                dropped(run, &order.state[begin], h, scratch, n, P)
                seen = scratch
            gemm(False, True, n, 4 * H, P, seen, P, &weight_hh[0, 0], P, <real> 1, a, 4 * H)
            if run != NULL:
                forward_cell(run, &order.time[begin], &order.row[begin], begin, n, a, c, h, scratch, P, H)
            for k in range(n):
                p = begin + k
                if run == NULL:
                    forward_row(a + k * 4 * H, c + k * H, h + k * H, H)
                memcpy(&y[order.time[p], order.row[p], 0], h + k * P, P * sizeof(real))
                if keep:
                    memcpy(&cells[p, 0], c + k * H, H * sizeof(real))
            a += n * 4 * H
        first = last


def forward_direction(
    const real[:, ::1] weight_ih, const real[:, ::1] weight_hh, const real[::1] bias, const real[:, :, :] x,
    Order order, Variant variant, real[:, ::1] h, real[:, ::1] c, real[:, :, :] y, real[:, :, ::1] inputs,
    real[:, :, ::1] buffer, real[:, ::1] scratch, real[:, ::1] gates, real[:, ::1] cells, bint keep, int num_threads,
):
    """All steps of one direction; inputs, buffer (threads, CHUNK, ..) and scratch (threads, ..) have parts for each."""
    cdef Py_ssize_t block, work = order.rows * weight_ih.shape[0] * (weight_ih.shape[1] + weight_hh.shape[1])
    cdef bint parallel = num_threads > 1 and order.blocks > 1 and work > PARALLEL
    cdef const CellRun* run = NULL if variant is None else &variant.run
    for block in prange(order.blocks, schedule="dynamic", chunksize=1, nogil=True, num_threads=num_threads,
                        use_threads_if=parallel):
        forward_block(
            weight_ih, weight_hh, bias, x, order, run, block, &h[block * order.block, 0], &c[block * order.block, 0], y,
            &inputs[threadid(), 0, 0], &gates[order.start[block, 0], 0] if keep else &buffer[threadid(), 0, 0],
            &scratch[threadid(), 0], cells, keep,
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


cdef real* backward_out(const CellRun* run, const Py_ssize_t* time, const Py_ssize_t* row, Py_ssize_t begin,
                        Py_ssize_t n, const real[:, :, :] dy, const real* dh, real* scratch, Py_ssize_t P,
                        Py_ssize_t H) noexcept nogil:
    """Return dm (n, H): the way back from the outputs of n rows, through zoneout and projection.

    What stays of the gradients of h is left at the beginning of scratch, (n, P).
    """
    cdef Py_ssize_t k, j, at
    cdef real* dout = scratch + n * P if run.douts == NULL else <real*> run.douts + begin * P
    cdef real* dm = dout if run.weight_hr == NULL else scratch + n * P
    for k in range(n):
        for j in range(P):
            dout[k * P + j] = dh[k * P + j] + dy[time[k], row[k], j]
        at = time[k] * run.batch + row[k]
        settle_backward(dout + k * P, scratch + k * P, NULL if run.zoneout_h == NULL else run.zoneout_h + at * P,
                        run.step.stay_h, P)
    if run.weight_hr != NULL:
        gemm(False, False, n, H, P, dout, P, <const real*> run.weight_hr, H, <real> 0, dm, H)
    return dm


cdef void backward_block(
    const real[:, ::1] weight_ih, const real[:, ::1] weight_hh, const real[:, ::1] c0, const real[:, :, :] dy,
    Order order, const CellRun* run, Py_ssize_t block, real* dh, real* dc, real[:, ::1] gates,
    const real[:, ::1] cells, real* inputs, real* scratch, real[:, :, :] dx, bint need_dx,
) noexcept nogil:
    """All steps of a block from the last: gates become da, dh and dc (rows of the block, ..) go to those of h0 and c0.

    Then its part of dx, added to what is there; inputs (CHUNK, I) is scratch. run is NULL for a plain cell; others have
    scratch, (P + max(P, H)) a row of the block and SCRATCH * H.
    """
    cdef Py_ssize_t I = weight_ih.shape[1], P = weight_hh.shape[1], H = weight_hh.shape[0] // 4
    cdef Py_ssize_t step, p, k, j, n, begin, end, rows, at
    cdef const real* c_before
    cdef const real* dm = NULL
    for step in range(order.steps[block] - 1, -1, -1):
        begin = order.start[block, step]
        n = order.start[block, step + 1] - begin
        if run != NULL:
            dm = backward_out(run, &order.time[begin], &order.row[begin], begin, n, dy, dh, scratch, P, H)
        for k in range(n):
            p = begin + k
            c_before = &cells[order.start[block, step - 1] + k, 0] if step > 0 else &c0[order.state[p], 0]
            if run == NULL:
                backward_row(&gates[p, 0], &cells[p, 0], c_before, &dy[order.time[p], order.row[p], 0], dh + k * H,
                             dc + k * H, H)
            else:
                at = order.time[p] * run.batch + order.row[p]
                backward_cell_row(
                    &run.step, &gates[p, 0], NULL if run.norms == NULL else <const real*> run.norms + p * 4 * H,
                    NULL if run.scales == NULL else <const real*> run.scales + p * 4, c_before, dm + k * H, dc + k * H,
                    NULL if run.zoneout_c == NULL else run.zoneout_c + at * H, run.sums + block * SUMS * H,
                    scratch + order.block * (P + max(P, H)), H,
                )
        # dh = U^T da
        gemm(False, False, n, P, 4 * H, &gates[begin, 0], 4 * H, &weight_hh[0, 0], P, <real> 0, dh, P)
        if run != NULL:
            if run.recurrent != NULL:
                dropped(run, &order.state[begin], dh, dh, n, P)
            for k in range(n * P):
                dh[k] += scratch[k]

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
    const real[:, :, :] x, const real[:, ::1] h0, const real[:, :, :] y, Order order, const CellRun* run,
    const real[:, ::1] da, real* inputs, real* outputs, const real[::1] ones, Py_ssize_t first, Py_ssize_t last,
    real[:, ::1] dweight_ih, real[:, ::1] dweight_hh, real[::1] dbias,
) noexcept nogil:
    """Rows TILE * first ... TILE * last - 1 of the weight gradients, added to those there; the two buffers are scratch.

    db is left to `Variant.add_sums` where run isn't NULL.
    """
    cdef Py_ssize_t I = x.shape[2], P = h0.shape[1], H = da.shape[1] // 4
    cdef Py_ssize_t begin = 0, rows, p, k, tile, row, count
    cdef const real* h_before
    while begin < order.rows:
        rows = min(order.rows - begin, <Py_ssize_t> CHUNK)
        for k in range(rows):
            p = begin + k
            memcpy(inputs + k * I, &x[order.time[p], order.row[p], 0], I * sizeof(real))
            h_before = &h0[order.state[p], 0] if order.before[p] < 0 else &y[order.before[p], order.row[p], 0]
            memcpy(outputs + k * P, h_before, P * sizeof(real))
        if run != NULL and run.recurrent != NULL:
            dropped(run, &order.state[begin], outputs, outputs, rows, P)
        for tile in range(first, last):
            row = tile * TILE
            count = min(4 * H - row, <Py_ssize_t> TILE)
            # dW += da x^T, dU += da h_before^T, db += da
            gemm(True, False, count, I, rows, &da[begin, row], 4 * H, inputs, I, <real> 1, &dweight_ih[row, 0], I)
            gemm(True, False, count, P, rows, &da[begin, row], 4 * H, outputs, P, <real> 1, &dweight_hh[row, 0], P)
            if run == NULL:
                gemm(True, False, count, 1, rows, &da[begin, row], 4 * H, &ones[0], 1, <real> 1, &dbias[row], 1)
        begin += rows


def backward_direction(
    const real[:, ::1] weight_ih, const real[:, ::1] weight_hh, const real[:, :, :] x, const real[:, ::1] h0,
    const real[:, ::1] c0, const real[:, :, :] y, const real[:, :, :] dy, Order order, Variant variant,
    real[:, ::1] dh, real[:, ::1] dc, real[:, ::1] gates, const real[:, ::1] cells, real[:, :, ::1] inputs,
    real[:, :, ::1] outputs, real[:, ::1] scratch, const real[::1] ones, real[:, :, :] dx, bint need_dx,
    real[:, ::1] dweight_ih, real[:, ::1] dweight_hh, real[::1] dbias, int num_threads,
):
    """All steps of one direction, then its weight gradients; inputs and outputs (threads, CHUNK, ...) are scratch."""
    cdef Py_ssize_t block, part, tiles = (weight_ih.shape[0] + TILE - 1) // TILE, parts = min(num_threads, tiles)
    cdef Py_ssize_t work = order.rows * weight_ih.shape[0] * (weight_ih.shape[1] + weight_hh.shape[1])
    cdef bint parallel = num_threads > 1 and work > PARALLEL
    cdef const CellRun* run = NULL if variant is None else &variant.run
    for block in prange(order.blocks, schedule="dynamic", chunksize=1, nogil=True, num_threads=num_threads,
                        use_threads_if=parallel and order.blocks > 1):
        backward_block(
            weight_ih, weight_hh, c0, dy, order, run, block, &dh[block * order.block, 0], &dc[block * order.block, 0],
            gates, cells, &inputs[threadid(), 0, 0], &scratch[threadid(), 0], dx, need_dx,
        )
    for part in prange(parts, schedule="static", chunksize=1, nogil=True, num_threads=num_threads,
                       use_threads_if=parallel):
        backward_weights(
            x, h0, y, order, run, gates, &inputs[threadid(), 0, 0], &outputs[threadid(), 0, 0], ones,
            part * tiles // parts, (part + 1) * tiles // parts, dweight_ih, dweight_hh, dbias,
        )


cdef void backward_projection_tile(const real[:, ::1] douts, const real[:, ::1] outs, real[:, ::1] dweight_hr,
                                   Py_ssize_t row) noexcept nogil:
    cdef Py_ssize_t H = outs.shape[1], P = douts.shape[1], begin = 0, rows
    while begin < outs.shape[0]:
        rows = min(outs.shape[0] - begin, <Py_ssize_t> CHUNK)
        # dW_hr += dout m^T
        gemm(True, False, min(P - row, <Py_ssize_t> TILE), H, rows, &douts[begin, row], P, &outs[begin, 0], H, <real> 1,
             &dweight_hr[row, 0], H)
        begin += rows


def backward_projection(const real[:, ::1] douts, const real[:, ::1] outs, real[:, ::1] dweight_hr, int num_threads):
    """Add the gradient of the projection, in the tiles and chunks of those of the other weights."""
    cdef Py_ssize_t P = douts.shape[1], tile, tiles = (P + TILE - 1) // TILE
    cdef bint parallel = num_threads > 1 and tiles > 1 and douts.size * outs.shape[1] > PARALLEL
    for tile in prange(tiles, schedule="static", chunksize=1, nogil=True, num_threads=num_threads,
                       use_threads_if=parallel):
        backward_projection_tile(douts, outs, dweight_hr, tile * TILE)


# Streams -------------------------------------------------------------------------------------------------------------

cdef struct StepLayer:
    Py_ssize_t inputs, outputs, units  # not I, which complex.h defines
    const void* weight_ih
    const void* weight_hh
    const void* bias
    const CellRun* run                 # NULL for a plain cell
    void* h
    void* c


cdef void forward_step(
    const StepLayer* layers, Py_ssize_t count, bint residual, Py_ssize_t B, const Py_ssize_t* zeros, const real* x,
    real* gates, real* scratch, real* out,
) noexcept nogil:
    """One step of stacked layers, each reading the output of the one below; gates (B, 4H) and scratch are for all."""
    cdef Py_ssize_t layer, b, k, I, P = layers[count - 1].outputs, H
    cdef const StepLayer* at
    cdef real* h
    cdef real* c
    for layer in range(count):
        at = &layers[layer]
        I, P, H, h, c = at.inputs, at.outputs, at.units, <real*> at.h, <real*> at.c
        for b in range(B):
            memcpy(gates + b * 4 * H, at.bias, 4 * H * sizeof(real))
        gemm(False, True, B, 4 * H, I, x, I, <const real*> at.weight_ih, I, <real> 1, gates, 4 * H)
        gemm(False, True, B, 4 * H, P, h, P, <const real*> at.weight_hh, P, <real> 1, gates, 4 * H)
        if at.run != NULL:
            forward_cell(at.run, zeros, zeros, 0, B, gates, c, h, scratch, P, H)
        else:
            for b in range(B):
                forward_row(gates + b * 4 * H, c + b * H, h + b * H, H)
        if residual:  # of all but the first, out is then what the next one reads
            for k in range(B * P):
                out[k] = h[k] + x[k] if layer > 0 else h[k]
            x = out
        else:
            x = h
    if not residual:
        memcpy(out, x, B * P * sizeof(real))


cdef class PortableSteps(Steps):
    """Steps of layers packed by `pack` or `pack_cell`, on one thread.

    A run is step by step, too: BLAS gives other bits for the product of many steps' inputs than for that of one.
    """

    cdef tuple packs, variants
    cdef object h, c, gates, scratch, zeros  # (L, B, P), (L, B, H) or lists of (B, ..); (B, 4H) of the widest layer
    cdef StepLayer* layers
    cdef void* gates_data
    cdef void* scratch_data
    cdef const Py_ssize_t* zeros_data
    cdef bint single, residual

    def __cinit__(self, packs, Py_ssize_t batch_size, bint residual=False):
        cdef Py_ssize_t layer, L = len(packs), B = batch_size, P, H
        cdef Variant variant
        self.packs, self.batch_size, self.num_layers, self.residual = tuple(packs), batch_size, L, residual
        self.hidden_size, self.input_size = packs[L - 1].weight_hh.shape[1], packs[0].weight_ih.shape[1]
        self.dtype = packs[0].bias.dtype
        self.single = self.dtype.itemsize == 4
        sizes = [(pack.weight_hh.shape[1], pack.hidden_size) for pack in packs]
        P, H = max(P for P, _ in sizes), max(H for _, H in sizes)
        if len(set(sizes)) == 1:
            self.h, self.c = np.zeros((L, B, P), self.dtype), np.zeros((L, B, H), self.dtype)
        else:
            self.h, self.c = ([np.zeros((B, size[k]), self.dtype) for size in sizes] for k in range(2))
        self.gates = np.empty((B, 4 * H), self.dtype)
        self.scratch = np.empty((B, H + P), self.dtype)
        self.zeros = np.zeros(B, np.intp)  # time, and row of the batch
        self.gates_data, self.scratch_data = address(self.gates), address(self.scratch)
        self.zeros_data = <const Py_ssize_t*> address(self.zeros)
        self.layers = <StepLayer*> calloc(L, sizeof(StepLayer))
        if self.layers == NULL:
            raise MemoryError
        self.variants = tuple(
            None if pack.cell is None else Variant(pack.cell, None, None, B, 0, 0, self.dtype, False) for pack in packs
        )
        for layer, weights in enumerate(packs):
            variant = self.variants[layer]
            self.layers[layer].run = NULL if variant is None else &variant.run
            self.layers[layer].inputs = weights.weight_ih.shape[1]
            self.layers[layer].outputs, self.layers[layer].units = sizes[layer]
            self.layers[layer].weight_ih = address(weights.weight_ih)
            self.layers[layer].weight_hh = address(weights.weight_hh)
            self.layers[layer].bias = address(weights.bias)
            self.layers[layer].h, self.layers[layer].c = address(self.h[layer]), address(self.c[layer])

    def __dealloc__(self):
        free(self.layers)

    cdef void step(self, const void* x, void* out) noexcept nogil:
        if self.single:
            forward_step(self.layers, self.num_layers, self.residual, self.batch_size, self.zeros_data,
                         <const float*> x, <float*> self.gates_data, <float*> self.scratch_data, <float*> out)
        else:
            forward_step(self.layers, self.num_layers, self.residual, self.batch_size, self.zeros_data,
                         <const double*> x, <double*> self.gates_data, <double*> self.scratch_data, <double*> out)

    def state(self):
        return self.h, self.c

    def twin(self):
        return PortableSteps(self.packs, self.batch_size, self.residual)


# What lstm.py calls: the functions of _lstm.pyx; all arguments are checked --------------------------------------------

class Tape:
    """What forward leaves for one backward: for each direction its Pack, Order, Variant, gates and cells."""

    def __init__(self):
        self.directions = []


def pack(weight_ih, weight_hh, bias, int num_threads):
    """Return a snapshot of one direction's weights: weight_ih (4H, I), weight_hh (4H, H), bias (4H,)."""
    return Pack(weight_ih, weight_hh, bias)


def pack_cell(cell, weight_ih, weight_hh, bias, weight_hr, peephole, norm_gates, norm_cell, norm_cell_bias,
              int num_threads):
    """Return a snapshot of one direction's weights, of a `clstm._core.variant.Cell`.

    weight_ih (4H, I), weight_hh (4H, P), bias (4H,), weight_hr (P, H), peephole (3H,), norm_gates (4H,), norm_cell and
    norm_cell_bias (H,); None for those that the cell doesn't have.
    """
    return CellPack(cell, weight_ih, weight_hh, bias, weight_hr, peephole, norm_gates, norm_cell, norm_cell_bias)


def forward(packs, x, h0, c0, lengths, y, h_n, c_n, int num_threads, bint keep, bint reverse=False, masks=None):
    """Run one layer in D = len(packs) directions; return a tape for `backward` if keep, else None.

    x (T, B, I); h0 (D, B, P), c0 (D, B, H); lengths int64 (B,), Rows or None. Written are y (T, B, D*P) and h_n, c_n.
    With `reverse` the first direction, too, reads each row from its end. masks, if it is training, has for each
    direction, or None: recurrent (B, P), zoneout_h (T, B, P) and zoneout_c (T, B, H), each None where it is off.
    With Rows, B of the states and of recurrent is their number, and of y only their steps are written.
    """
    cdef Order order
    T, B, I = x.shape
    P, H = h0.shape[2], c0.shape[2]
    dtype = x.dtype
    tape = Tape()
    if lengths is not None and not isinstance(lengths, Rows):
        y.fill(0)  # for what lies past them
    for d, weights in enumerate(packs):
        order = Order(lengths, T, B, reverse or d == 1)
        h, c = h0[d][order.batch], c0[d][order.batch]
        threads = max(1, min(num_threads, order.blocks))
        variant, extra = None, 0
        if weights.cell is not None:
            variant = Variant(weights.cell, None if masks is None else masks[d], order, B, P, H, dtype, keep)
            extra = order.block * (2 * P + H)
        inputs = np.empty((threads, min(order.rows, CHUNK), I), dtype)
        buffer = np.empty((threads, 0 if keep else min(order.rows, CHUNK), 4 * H), dtype)
        gates = np.empty((order.rows if keep else 0, 4 * H), dtype)
        cells = np.empty((order.rows if keep else 0, H), dtype)
        forward_direction(weights.weight_ih, weights.weight_hh, weights.bias, x, order, variant, h, c,
                          y[:, :, d * P : (d + 1) * P], inputs, buffer, np.empty((threads, extra), dtype), gates, cells,
                          keep, threads)
        h_n[d][order.batch], c_n[d][order.batch] = h, c
        tape.directions.append((weights, order, variant, gates, cells))
    return tape if keep else None


def backward(tape, x, h0, c0, y, lengths, dy, dh_n, dc_n, dx, dh0, dc0, weight_grads, int num_threads, bint add=False):
    """Run the way back, once for a tape.

    x, h0, c0, y, lengths as for `forward`; dy (T, B, D*P); dh_n, dc_n as h_n, c_n. Written are dx (T, B, I) unless it
    is None, dh0, dc0, and weight_grads: for each direction dweight_ih, dweight_hh and dbias, of a cell also those of
    the other weights of `pack_cell`, None for those that it doesn't have. With `add` they are added to what is there.
    """
    cdef Order order
    I, P, H = x.shape[2], h0.shape[2], c0.shape[2]
    dtype = x.dtype
    need_dx = dx is not None
    if need_dx:
        dx.fill(0)  # directions add to it
    else:
        dx = np.empty((0, 0, I), dtype)
    for d, (weights, order, variant, gates, cells) in enumerate(tape.directions):
        half = slice(d * P, (d + 1) * P)
        dh, dc = dh_n[d][order.batch], dc_n[d][order.batch]
        rows, threads = min(order.rows, CHUNK), min(num_threads, max(order.blocks, -(-4 * H // TILE)))
        inputs, outputs = np.empty((threads, rows, I), dtype), np.empty((threads, rows, P), dtype)
        dweight_ih, dweight_hh, dbias, *of_cell = weight_grads[d]
        extra = 0
        if variant is not None:
            variant.begin_backward(order, P, H)
            extra = order.block * (P + max(P, H)) + SCRATCH * H
        for gradient in weight_grads[d] if not add else ():
            if gradient is not None:
                gradient.fill(0)
        backward_direction(weights.weight_ih, weights.weight_hh, x, h0[d], c0[d], y[:, :, half], dy[:, :, half], order,
                           variant, dh, dc, gates, cells, inputs, outputs, np.empty((threads, extra), dtype),
                           np.ones(rows, dtype), dx, need_dx, dweight_ih, dweight_hh, dbias, threads)
        if variant is not None:
            dweight_hr, *of_units = of_cell
            variant.add_sums((dbias, *of_units))
            if dweight_hr is not None:
                backward_projection(variant.douts, variant.outs, dweight_hr, threads)
        dh0[d][order.batch], dc0[d][order.batch] = dh, dc


def kept(tape, Py_ssize_t d, Py_ssize_t T, Py_ssize_t B):
    """Return gates (T, B, 4, H) and c (T, B, H) of a direction, zeros where there is no step; before `backward`."""
    _, order, _, gates, cells = tape.directions[d]
    at = np.asarray(order.time), np.asarray(order.row)
    H = cells.shape[1]
    all_gates, all_cells = np.zeros((T, B, 4, H), cells.dtype), np.zeros((T, B, H), cells.dtype)
    all_gates[at], all_cells[at] = gates.reshape(-1, 4, H), cells
    return all_gates, all_cells


def forward_stacked(packs, x, h0, c0, lengths, ys, h_n, c_n, int num_threads):
    """Leave stacked layers to be run one by one; see `clstm._core.vector.forward_backward`."""
    return False


def steps(packs, Py_ssize_t batch_size, int num_threads, bint residual=False):
    """Return what steps a stream of stacked layers, each but the first added to its input if residual."""
    return PortableSteps(packs, batch_size, residual)
