# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False, cdivision=True
"""The portable path: matrix products by BLAS, all else in plain loops; runs wherever SciPy does.

Begin reading here. The equations are those of docs/equations.md; the vector path (clstm/_core/vector) has the same
functions and, to rounding, the same results, faster.

The batch is packed without padding. A *position* is a (step, row) pair that exists: one real step of one row. Rows are
sorted by falling length and cut into blocks. The rows of a block that still run at step s are then its first ones, and
the positions of one step lie together, without holes:

    step      0  0  0  0 | 1  1  1 | 2  2  2 | 3        a block of four rows, lengths 1, 3, 3, 4
    row       3  1  2  0 | 3  1  2 | 3  1  2 | 3
    position  0  1  2  3 | 4  5  6 | 7  8  9 | 10

Rows that have ended have no positions, so the work is proportional to the real steps. With one block after the other
there are N positions. The reverse direction differs only in the time of a step: step s is at time length - 1 - s.

    gates         (N, 4H)     i, f, g, o of each position; backward overwrites them with da, the gradients of the sums
                              that are the arguments of sigmoid and tanh
    cell_states   (N, H)      c after the step
    h, c, dh, dc  (B, H)      the state between two steps, rows by falling length: a step reads and writes the first
                              rows of its block
    x, y, dy, dx  (T, B, ..)  the caller's, with any strides, but each row of features contiguous; all other arrays are
                              C-contiguous

A variant that isn't plain takes the same path. It differs in what happens to a row between two products (variant.pyx);
h has P features, which a projection computes from m; and there is more to keep for the backward pass:

    norms         (N, 4H)     with layer norm, the normalised sums,
    scales        (N, 4)      and what they were multiplied by
    outputs       (N, H)      with a projection, m; backward adds doutputs (N, P), the gradients of its product
    sums          (blocks, SUMS * H)  gradients of weights that each unit has of itself (bias, peephole, ...), in float64

Segments of rows (`clstm._core.segments.Segments`) are separate rows here, each with a state; x, y, and masks of (T, B)
are read and written at the segment's place in the batch.

In inference only a chunk of steps has gates in memory, in a buffer for each thread, and there are no cell states.

Threads take blocks (or, for the weight gradients, tiles of gates) and never wait for each other: there is one parallel
region in forward and two in backward. How sums are cut depends on the shapes only, so that the results are the same bits
for every number of threads.
"""

import numpy as np

from cython.parallel cimport prange, threadid
from libc.string cimport memcpy

from clstm._core.portable.pack cimport VariantWeights, address
from clstm._core.portable.products cimport gemm
from clstm._core.portable.variant cimport (
    SCRATCH, SUMS, backward_variant_row, forward_variant_row, real, sigmoid, tanh_, zoneout, zoneout_backward,
)

cdef enum:
    CHUNK = 128            # positions in a product with the input weights; a step of a block has at most 32
    TILE = 64              # rows of the weight gradients in a thread's unit of work
    PARALLEL = 1 << 20     # multiply-adds in all below which starting a second thread doesn't pay


# The packed order ----------------------------------------------------------------------------------------------------

cdef class Order:
    """Which row and time each position has, for one direction."""

    cdef readonly Py_ssize_t positions, blocks, block  # N; number of blocks; rows of a block (the last may have fewer)
    cdef readonly Py_ssize_t[::1] sorted_rows     # (B,) rows of the states by falling length
    cdef readonly Py_ssize_t[::1] steps           # (blocks,) steps of the longest row
    cdef readonly Py_ssize_t[:, ::1] start        # (blocks, most steps + 1) first position of each step
    cdef readonly Py_ssize_t[::1] state           # (N,) row of the states
    cdef readonly Py_ssize_t[::1] row             # (N,) row of the batch; differs from `state` with segments
    cdef readonly Py_ssize_t[::1] time            # (N,) time step
    cdef readonly Py_ssize_t[::1] before          # (N,) time of the row's step before; -1 where this is the first

    def __init__(self, lengths, segments, Py_ssize_t time, Py_ssize_t batch, bint reverse):
        if segments is not None:
            lengths, batch = segments.length, len(segments.length)
        elif lengths is None:
            lengths = np.full(batch, time)
        order = np.argsort(-lengths, kind="stable")
        falling = lengths[order]
        first, running = self.cut_into_blocks(falling, batch)
        steps = running.shape[1]
        block, step = np.divmod(np.repeat(np.arange(running.size), running.ravel()), max(steps, 1))
        place = first[block] + np.arange(self.positions) - np.asarray(self.start)[block, step]  # by falling length
        times = falling[place] - 1 - step if reverse else step
        self.sorted_rows = order.astype(np.intp)
        self.state = self.row = order[place].astype(np.intp)
        if segments is not None:
            self.row = segments.batch[order[place]].astype(np.intp)
            times = times + segments.start[order[place]]
        self.time = times.astype(np.intp)
        self.before = np.where(step == 0, -1, times + 1 if reverse else times - 1).astype(np.intp)

    cdef tuple cut_into_blocks(self, falling, Py_ssize_t batch):
        """Set blocks, block, steps, start and positions; return each block's first row and its rows at each step."""
        # Large blocks make efficient products, many blocks give work to many threads: four blocks from 64 rows on.
        self.block = min(32, max(16, -(-batch // 4)))
        first = np.arange(0, batch, self.block)
        self.blocks = len(first)
        steps = falling[0] if batch else 0
        running = np.searchsorted(-falling, -np.arange(steps), side="left")  # rows of the batch that are longer than s
        running = np.clip(running - first[:, np.newaxis], 0, self.block)  # (blocks, steps)
        start = np.zeros((self.blocks, steps + 1), np.intp)
        start[:, 1:] = np.cumsum(running).reshape(running.shape)
        start[1:, 0] = start[:-1, -1]
        self.positions = start[-1, -1] if batch else 0
        self.steps = falling[first].astype(np.intp)
        self.start = start
        return first, running

    cdef Py_ssize_t chunk_end(self, Py_ssize_t block, Py_ssize_t step) noexcept nogil:
        """Return the step before which a chunk that begins with `step` ends: it has at most CHUNK positions."""
        cdef Py_ssize_t end = step + 1
        while end < self.steps[block] and self.start[block, end + 1] - self.start[block, step] <= CHUNK:
            end += 1
        return end


cdef class VariantMemory:
    """One direction's run of a variant that isn't plain: weights, masks, and what is kept of each step for backward.

    Without masks the run is inference, or training in which nothing is random. `keep_for` makes the memory of training.
    """

    def __init__(self, VariantWeights weights, masks, Py_ssize_t batch):
        self.weights = weights
        self.run.step, self.run.batch = weights.step, batch
        self.run.weight_hr = address(weights.weight_hr)
        if masks is not None:
            self.run.step.zoneout_h = self.run.step.zoneout_c = 0
            recurrent, zoneout_h, zoneout_c = masks
            self.masks = (
                None if recurrent is None else np.ascontiguousarray(recurrent),
                None if zoneout_h is None else np.ascontiguousarray(zoneout_h).view(np.uint8),
                None if zoneout_c is None else np.ascontiguousarray(zoneout_c).view(np.uint8),
            )
            self.run.recurrent = address(self.masks[0])
            self.run.zoneout_h = <const unsigned char*> address(self.masks[1])
            self.run.zoneout_c = <const unsigned char*> address(self.masks[2])

    def keep_for(self, Order order, Py_ssize_t H, dtype):
        if self.weights.step.gain != NULL:
            self.norms, self.scales = np.empty((order.positions, 4 * H), dtype), np.empty((order.positions, 4), dtype)
            self.run.norms, self.run.scales = address(self.norms), address(self.scales)
        if self.weights.weight_hr is not None:
            self.outputs = np.empty((order.positions, H), dtype)
            self.run.outputs = address(self.outputs)

    def begin_backward(self, Order order, Py_ssize_t P, Py_ssize_t H):
        self.sums = np.zeros((order.blocks, SUMS * H))
        self.run.sums = <double*> address(self.sums)
        if self.outputs is not None:
            self.doutputs = np.empty((order.positions, P), self.outputs.dtype)
            self.run.doutputs = address(self.doutputs)

    def add_sums(self, gradients):
        """Add the gradients of the units' own weights to those in the dict."""
        H = self.sums.shape[1] // SUMS
        parts = np.split(self.sums.sum(axis=0), np.cumsum([4, 3, 4, 1]) * H)
        names = ("bias", "weight_peephole", "weight_norm_gates", "weight_norm_cell", "bias_norm_cell")
        for name, part in zip(names, parts, strict=True):
            if name in gradients:
                gradients[name] += part


# Forward -------------------------------------------------------------------------------------------------------------

cdef void forward_row(real* gates, real* c, real* h, Py_ssize_t H) noexcept nogil:
    """Take a row's step: the sums in gates (4H,) become the gates, c and h (H,) the next state."""
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


cdef void forward_variant(const VariantRun* run, const Py_ssize_t* time, const Py_ssize_t* row, Py_ssize_t begin,
                       Py_ssize_t n, real* gates, real* c, real* h, real* scratch, Py_ssize_t P,
                       Py_ssize_t H) noexcept nogil:
    """Take a step of n rows as `forward_row` does, from position `begin` on, whose times and rows are given.

    scratch is (n, H + P): m, where it isn't kept, and its projection.
    """
    cdef Py_ssize_t k, at
    cdef real* m = scratch if run.outputs == NULL else <real*> run.outputs + begin * H
    cdef real* new = m if run.weight_hr == NULL else scratch + n * H
    for k in range(n):
        at = time[k] * run.batch + row[k]
        forward_variant_row(
            &run.step, gates + k * 4 * H, NULL if run.norms == NULL else <real*> run.norms + (begin + k) * 4 * H,
            NULL if run.scales == NULL else <real*> run.scales + (begin + k) * 4, c + k * H, m + k * H,
            NULL if run.zoneout_c == NULL else run.zoneout_c + at * H, H,
        )
    if run.weight_hr != NULL:
        gemm(False, True, n, P, H, m, H, <const real*> run.weight_hr, H, <real> 0, new, P)
    for k in range(n):
        at = time[k] * run.batch + row[k]
        zoneout(h + k * P, new + k * P, NULL if run.zoneout_h == NULL else run.zoneout_h + at * P, run.step.zoneout_h, P)


cdef void apply_dropout(const VariantRun* run, const Py_ssize_t* state, const real* h, real* out, Py_ssize_t n,
                  Py_ssize_t P) noexcept nogil:
    """Write the rows of h (n, P) times the dropout masks of their states to out, which may be h."""
    cdef Py_ssize_t k, j
    cdef const real* mask
    for k in range(n):
        mask = <const real*> run.recurrent + state[k] * P
        for j in range(P):
            out[k * P + j] = h[k * P + j] * mask[j]


cdef void forward_block(
    const real[:, ::1] weight_ih, const real[:, ::1] weight_hh, const real[::1] bias, const real[:, :, :] x,
    Order order, const VariantRun* run, Py_ssize_t block, real* h, real* c, real[:, :, :] y, real* inputs, real* gates,
    real* scratch, real[:, ::1] cell_states, bint keep,
) noexcept nogil:
    """Take all steps of a block: h and c (rows of the block, ..) are the initial state and become the final one.

    inputs (CHUNK, I) is scratch; gates are those of the block's positions if keep, else scratch too, (CHUNK, 4H). run is
    NULL for the plain LSTM; other variants need scratch, 2P + H for each row of the block.
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
                apply_dropout(run, &order.state[begin], h, scratch, n, P)
                seen = scratch
            gemm(False, True, n, 4 * H, P, seen, P, &weight_hh[0, 0], P, <real> 1, a, 4 * H)
            if run != NULL:
                forward_variant(run, &order.time[begin], &order.row[begin], begin, n, a, c, h, scratch, P, H)
            for k in range(n):
                p = begin + k
                if run == NULL:
                    forward_row(a + k * 4 * H, c + k * H, h + k * H, H)
                memcpy(&y[order.time[p], order.row[p], 0], h + k * P, P * sizeof(real))
                if keep:
                    memcpy(&cell_states[p, 0], c + k * H, H * sizeof(real))
            a += n * 4 * H
        first = last


def forward_direction(
    const real[:, ::1] weight_ih, const real[:, ::1] weight_hh, const real[::1] bias, const real[:, :, :] x,
    Order order, VariantMemory variant, real[:, ::1] h, real[:, ::1] c, real[:, :, :] y, real[:, :, ::1] inputs,
    real[:, :, ::1] buffer, real[:, ::1] scratch, real[:, ::1] gates, real[:, ::1] cell_states, bint keep, int num_threads,
):
    """Take all steps of one direction; inputs, buffer (threads, CHUNK, ..) and scratch (threads, ..) are by thread."""
    cdef Py_ssize_t block, work = order.positions * weight_ih.shape[0] * (weight_ih.shape[1] + weight_hh.shape[1])
    cdef bint parallel = num_threads > 1 and order.blocks > 1 and work > PARALLEL
    cdef const VariantRun* run = NULL if variant is None else &variant.run
    for block in prange(order.blocks, schedule="dynamic", chunksize=1, nogil=True, num_threads=num_threads,
                        use_threads_if=parallel):
        forward_block(
            weight_ih, weight_hh, bias, x, order, run, block, &h[block * order.block, 0], &c[block * order.block, 0], y,
            &inputs[threadid(), 0, 0], &gates[order.start[block, 0], 0] if keep else &buffer[threadid(), 0, 0],
            &scratch[threadid(), 0], cell_states, keep,
        )


# Backward ------------------------------------------------------------------------------------------------------------

cdef void backward_row(real* gates, const real* c, const real* c_before, const real* dy, const real* dh, real* dc,
                       Py_ssize_t H) noexcept nogil:
    """Take a row's step backward: gates become da, and dc that of the step before."""
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


cdef real* backward_output(const VariantRun* run, const Py_ssize_t* time, const Py_ssize_t* row, Py_ssize_t begin,
                        Py_ssize_t n, const real[:, :, :] dy, const real* dh, real* scratch, Py_ssize_t P,
                        Py_ssize_t H) noexcept nogil:
    """Return dm (n, H), from the gradients of the outputs of n rows through zoneout and projection.

    The first (n, P) of scratch is then what zoneout passes directly to the gradient of the h before.
    """
    cdef Py_ssize_t k, j, at
    cdef real* dout = scratch + n * P if run.doutputs == NULL else <real*> run.doutputs + begin * P
    cdef real* dm = dout if run.weight_hr == NULL else scratch + n * P
    for k in range(n):
        for j in range(P):
            dout[k * P + j] = dh[k * P + j] + dy[time[k], row[k], j]
        at = time[k] * run.batch + row[k]
        zoneout_backward(dout + k * P, scratch + k * P, NULL if run.zoneout_h == NULL else run.zoneout_h + at * P,
                        run.step.zoneout_h, P)
    if run.weight_hr != NULL:
        gemm(False, False, n, H, P, dout, P, <const real*> run.weight_hr, H, <real> 0, dm, H)
    return dm


cdef void backward_block(
    const real[:, ::1] weight_hh, const real[:, ::1] c0, const real[:, :, :] dy, Order order, const VariantRun* run,
    Py_ssize_t block, real* dh, real* dc, real[:, ::1] gates, const real[:, ::1] cell_states, real* scratch,
) noexcept nogil:
    """Take all steps of a block backward: gates become da, dh and dc (rows of the block, ..) those of h0 and c0.

    run is NULL for the plain LSTM; other variants need scratch, P + max(P, H) for each row of the block and SCRATCH * H.
    """
    cdef Py_ssize_t P = weight_hh.shape[1], H = weight_hh.shape[0] // 4, step, p, k, n, begin, at
    cdef const real* c_before
    cdef const real* dm = NULL
    for step in range(order.steps[block] - 1, -1, -1):
        begin = order.start[block, step]
        n = order.start[block, step + 1] - begin
        if run != NULL:
            dm = backward_output(run, &order.time[begin], &order.row[begin], begin, n, dy, dh, scratch, P, H)
        for k in range(n):
            p = begin + k
            c_before = &cell_states[order.start[block, step - 1] + k, 0] if step > 0 else &c0[order.state[p], 0]
            if run == NULL:
                backward_row(&gates[p, 0], &cell_states[p, 0], c_before, &dy[order.time[p], order.row[p], 0], dh + k * H,
                             dc + k * H, H)
            else:
                at = order.time[p] * run.batch + order.row[p]
                backward_variant_row(
                    &run.step, &gates[p, 0], NULL if run.norms == NULL else <const real*> run.norms + p * 4 * H,
                    NULL if run.scales == NULL else <const real*> run.scales + p * 4, c_before, dm + k * H, dc + k * H,
                    NULL if run.zoneout_c == NULL else run.zoneout_c + at * H, run.sums + block * SUMS * H,
                    scratch + order.block * (P + max(P, H)), H,
                )
        # dh = U^T da
        gemm(False, False, n, P, 4 * H, &gates[begin, 0], 4 * H, &weight_hh[0, 0], P, <real> 0, dh, P)
        if run != NULL:
            if run.recurrent != NULL:
                apply_dropout(run, &order.state[begin], dh, dh, n, P)
            for k in range(n * P):
                dh[k] += scratch[k]


cdef void backward_inputs(const real[:, ::1] weight_ih, const real[:, ::1] da, Order order, Py_ssize_t block,
                          real* inputs, real[:, :, :] dx) noexcept nogil:
    """Add a block's gradients to dx; inputs (CHUNK, I) is scratch."""
    cdef Py_ssize_t I = weight_ih.shape[1], H = weight_ih.shape[0] // 4, k, j, rows
    cdef Py_ssize_t begin = order.start[block, 0], end = order.start[block, order.steps[block]]
    while begin < end:
        rows = min(end - begin, <Py_ssize_t> CHUNK)
        # dx = W^T da
        gemm(False, False, rows, I, 4 * H, &da[begin, 0], 4 * H, &weight_ih[0, 0], I, <real> 0, inputs, I)
        for k in range(rows):
            for j in range(I):
                dx[order.time[begin + k], order.row[begin + k], j] += inputs[k * I + j]
        begin += rows


cdef void backward_weights(
    const real[:, :, :] x, const real[:, ::1] h0, const real[:, :, :] y, Order order, const VariantRun* run,
    const real[:, ::1] da, real* inputs, real* outputs, const real[::1] ones, Py_ssize_t first, Py_ssize_t last,
    real[:, ::1] dweight_ih, real[:, ::1] dweight_hh, real[::1] dbias,
) noexcept nogil:
    """Add rows TILE * first ... TILE * last - 1 of the weight gradients; inputs and outputs are scratch.

    Where run isn't NULL, db is left to `VariantMemory.add_sums`.
    """
    cdef Py_ssize_t I = x.shape[2], P = h0.shape[1], H = da.shape[1] // 4
    cdef Py_ssize_t begin = 0, rows, p, k, tile, row, count
    cdef const real* h_before
    while begin < order.positions:
        rows = min(order.positions - begin, <Py_ssize_t> CHUNK)
        for k in range(rows):
            p = begin + k
            memcpy(inputs + k * I, &x[order.time[p], order.row[p], 0], I * sizeof(real))
            h_before = &h0[order.state[p], 0] if order.before[p] < 0 else &y[order.before[p], order.row[p], 0]
            memcpy(outputs + k * P, h_before, P * sizeof(real))
        if run != NULL and run.recurrent != NULL:
            apply_dropout(run, &order.state[begin], outputs, outputs, rows, P)
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
    const real[:, ::1] c0, const real[:, :, :] y, const real[:, :, :] dy, Order order, VariantMemory variant,
    real[:, ::1] dh, real[:, ::1] dc, real[:, ::1] gates, const real[:, ::1] cell_states, real[:, :, ::1] inputs,
    real[:, :, ::1] outputs, real[:, ::1] scratch, const real[::1] ones, real[:, :, :] dx, bint need_dx,
    real[:, ::1] dweight_ih, real[:, ::1] dweight_hh, real[::1] dbias, int num_threads,
):
    """Take all steps of one direction backward, then its weight gradients; inputs and outputs are scratch by thread."""
    cdef Py_ssize_t block, part, tiles = (weight_ih.shape[0] + TILE - 1) // TILE, parts = min(num_threads, tiles)
    cdef Py_ssize_t work = order.positions * weight_ih.shape[0] * (weight_ih.shape[1] + weight_hh.shape[1])
    cdef bint parallel = num_threads > 1 and work > PARALLEL
    cdef const VariantRun* run = NULL if variant is None else &variant.run
    for block in prange(order.blocks, schedule="dynamic", chunksize=1, nogil=True, num_threads=num_threads,
                        use_threads_if=parallel and order.blocks > 1):
        backward_block(weight_hh, c0, dy, order, run, block, &dh[block * order.block, 0], &dc[block * order.block, 0],
                       gates, cell_states, &scratch[threadid(), 0])
        if need_dx:
            backward_inputs(weight_ih, gates, order, block, &inputs[threadid(), 0, 0], dx)
    for part in prange(parts, schedule="static", chunksize=1, nogil=True, num_threads=num_threads,
                       use_threads_if=parallel):
        backward_weights(
            x, h0, y, order, run, gates, &inputs[threadid(), 0, 0], &outputs[threadid(), 0, 0], ones,
            part * tiles // parts, (part + 1) * tiles // parts, dweight_ih, dweight_hh, dbias,
        )


cdef void backward_projection_tile(const real[:, ::1] doutputs, const real[:, ::1] outputs, real[:, ::1] dweight_hr,
                                   Py_ssize_t row) noexcept nogil:
    cdef Py_ssize_t H = outputs.shape[1], P = doutputs.shape[1], begin = 0, rows
    while begin < outputs.shape[0]:
        rows = min(outputs.shape[0] - begin, <Py_ssize_t> CHUNK)
        # dW_hr += dout m^T
        gemm(True, False, min(P - row, <Py_ssize_t> TILE), H, rows, &doutputs[begin, row], P, &outputs[begin, 0], H, <real> 1,
             &dweight_hr[row, 0], H)
        begin += rows


def backward_projection(const real[:, ::1] doutputs, const real[:, ::1] outputs, real[:, ::1] dweight_hr, int num_threads):
    """Add the gradient of the projection, in the same tiles and chunks as those of the other weights."""
    cdef Py_ssize_t P = doutputs.shape[1], tile, tiles = (P + TILE - 1) // TILE
    cdef bint parallel = num_threads > 1 and tiles > 1 and doutputs.size * outputs.shape[1] > PARALLEL
    for tile in prange(tiles, schedule="static", chunksize=1, nogil=True, num_threads=num_threads,
                       use_threads_if=parallel):
        backward_projection_tile(doutputs, outputs, dweight_hr, tile * TILE)


# The functions of clstm._core.backend.Path -------------------------------------------------------------------------

class Direction:
    """What forward keeps of one direction for backward. A tape is a list of them."""

    def __init__(self, packed, order, variant, gates, cell_states):
        self.packed, self.order, self.variant = packed, order, variant
        self.gates, self.cell_states = gates, cell_states


def forward(job):
    """Run one layer of one or two directions; return a tape if ``job.keep``. See `clstm._core.backend.Path`."""
    P = job.h0.shape[2]
    if job.lengths is not None and job.segments is None:
        job.y.fill(0)  # for what lies past them
    tape = [
        forward_one(job, packed, d, job.y[:, :, d * P : (d + 1) * P], job.reverse or d == 1)
        for d, packed in enumerate(job.packs)
    ]
    return tape if job.keep else None


def forward_one(job, packed, d, y, reverse):
    """Run the d-th direction; y is its part of the output. Returns a Direction."""
    cdef Order order
    cdef bint keep = job.keep
    T, B, I = job.x.shape
    P, H, dtype = job.h0.shape[2], job.c0.shape[2], job.x.dtype
    order = Order(job.lengths, job.segments, T, B, reverse)
    h, c = job.h0[d][order.sorted_rows], job.c0[d][order.sorted_rows]
    threads = max(1, min(job.num_threads, order.blocks))
    variant, extra = None, 0
    if packed.variant is not None:
        variant = VariantMemory(packed.variant, None if job.masks is None else job.masks[d], B)
        extra = order.block * (2 * P + H)
        if keep:
            variant.keep_for(order, H, dtype)
    inputs = np.empty((threads, min(order.positions, CHUNK), I), dtype)
    buffer = np.empty((threads, 0 if keep else min(order.positions, CHUNK), 4 * H), dtype)
    gates = np.empty((order.positions if keep else 0, 4 * H), dtype)
    cell_states = np.empty((order.positions if keep else 0, H), dtype)
    forward_direction(packed.weight_ih, packed.weight_hh, packed.bias, job.x, order, variant, h, c, y, inputs, buffer,
                      np.empty((threads, extra), dtype), gates, cell_states, keep, threads)
    job.h_n[d][order.sorted_rows], job.c_n[d][order.sorted_rows] = h, c
    return Direction(packed, order, variant, gates, cell_states)


def forward_stacked(jobs):
    """Leave stacked layers to be run one by one, as `clstm._core.backend.Path` allows."""
    return False


def backward(tape, job, gradients):
    """Write the gradients of one layer and use the tape up; see `clstm._core.backend.Path`."""
    if gradients.dx is not None:
        gradients.dx.fill(0)  # the directions add to it
    for d, direction in enumerate(tape):
        if not gradients.add:
            for gradient in gradients.weights[d].values():
                gradient.fill(0)
        backward_one(direction, job, gradients, d)


def backward_one(direction, job, gradients, d):
    """Run the d-th direction backward; all but the states' gradients are added to what is there."""
    cdef Order order = direction.order
    I, P, H, dtype = job.x.shape[2], job.h0.shape[2], job.c0.shape[2], job.x.dtype
    packed, variant, weights = direction.packed, direction.variant, gradients.weights[d]
    features = slice(d * P, (d + 1) * P)
    need_dx = gradients.dx is not None
    dx = gradients.dx if need_dx else np.empty((0, 0, I), dtype)
    dh, dc = gradients.dh_n[d][order.sorted_rows], gradients.dc_n[d][order.sorted_rows]
    rows, threads = min(order.positions, CHUNK), min(job.num_threads, max(order.blocks, -(-4 * H // TILE)))
    inputs, outputs = np.empty((threads, rows, I), dtype), np.empty((threads, rows, P), dtype)
    extra = 0
    if variant is not None:
        variant.begin_backward(order, P, H)
        extra = order.block * (P + max(P, H)) + SCRATCH * H
    backward_direction(packed.weight_ih, packed.weight_hh, job.x, job.h0[d], job.c0[d], job.y[:, :, features],
                       gradients.dy[:, :, features], order, variant, dh, dc, direction.gates, direction.cell_states,
                       inputs, outputs, np.empty((threads, extra), dtype), np.ones(rows, dtype), dx, need_dx,
                       weights["weight_ih"], weights["weight_hh"], weights["bias"], threads)
    if variant is not None:
        variant.add_sums(weights)
        if "weight_hr" in weights:
            backward_projection(variant.doutputs, variant.outputs, weights["weight_hr"], threads)
    gradients.dh0[d][order.sorted_rows], gradients.dc0[d][order.sorted_rows] = dh, dc


def gates_and_cells(tape, job, direction):
    """Return the gates (T, B, 4, H) and cell states (T, B, H) of a direction; see `clstm._core.backend.Path`."""
    of = tape[direction]
    at = np.asarray(of.order.time), np.asarray(of.order.row)
    T, B, H = job.x.shape[0], job.x.shape[1], of.cell_states.shape[1]
    gates, cells = np.zeros((T, B, 4, H), of.gates.dtype), np.zeros((T, B, H), of.gates.dtype)
    gates[at], cells[at] = of.gates.reshape(-1, 4, H), of.cell_states
    return gates, cells
