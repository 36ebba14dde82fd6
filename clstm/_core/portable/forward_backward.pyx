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

from clstm._core.portable.pack cimport VariantWeights, Weights, address, weights_of
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
    cdef readonly object sorted_rows        # (B,) rows of the states by falling length, an array
    cdef readonly tuple at                  # time and row as arrays: an index of the positions in (T, B, ..)
    cdef const Py_ssize_t* steps            # (blocks,) steps of the longest row
    cdef const Py_ssize_t* start            # (blocks, width) first position of each step, and where the last one ends
    cdef const Py_ssize_t* state            # (N,) row of the states
    cdef const Py_ssize_t* row              # (N,) row of the batch; differs from `state` with segments
    cdef const Py_ssize_t* time             # (N,) time step
    cdef const Py_ssize_t* before           # (N,) time of the row's step before; -1 where this is the first
    cdef Py_ssize_t width
    cdef list arrays                        # what the pointers point into

    def __init__(self, lengths, segments, Py_ssize_t time, Py_ssize_t batch, bint reverse):
        if segments is not None:
            lengths, batch = segments.length, len(segments.length)
        elif lengths is None:
            lengths = np.full(batch, time)
        self.arrays = []
        order = np.argsort(-lengths, kind="stable")
        falling = lengths[order]
        first, running, start = self.cut_into_blocks(falling, batch)
        steps = running.shape[1]
        block, step = np.divmod(np.repeat(np.arange(running.size), running.ravel()), max(steps, 1))
        place = first[block] + np.arange(self.positions) - start[block, step]  # by falling length
        times = falling[place] - 1 - step if reverse else step
        state = row = order[place]
        if segments is not None:
            row = segments.batch[state]
            times = times + segments.start[state]
        self.sorted_rows, self.at = order, (times, row)
        self.state, self.row, self.time = self.indices(state), self.indices(row), self.indices(times)
        self.before = self.indices(np.where(step == 0, -1, times + 1 if reverse else times - 1))

    cdef const Py_ssize_t* indices(self, array) except NULL:
        """Return the elements of an integer array, which is held as long as this object."""
        array = np.ascontiguousarray(array, np.intp)
        self.arrays.append(array)
        return <const Py_ssize_t*> address(array)

    cdef tuple cut_into_blocks(self, falling, Py_ssize_t batch):
        """Set sizes, steps and start; return the first row of each block, its rows at each step, and start."""
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
        self.steps, self.start, self.width = self.indices(falling[first]), self.indices(start), start.shape[1]
        return first, running, start

    cdef Py_ssize_t chunk_end(self, Py_ssize_t block, Py_ssize_t step) noexcept nogil:
        """Return the step before which a chunk that begins with `step` ends: it has at most CHUNK positions."""
        cdef const Py_ssize_t* start = self.start + block * self.width
        cdef Py_ssize_t end = step + 1
        while end < self.steps[block] and start[end + 1] - start[step] <= CHUNK:
            end += 1
        return end


cdef class VariantMemory:
    """One direction's run of a variant that isn't plain: weights, masks, and what each step stores for the backward pass.

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


cdef struct Batch:          # an array of the caller's, (T, B, ..)
    char* data
    Py_ssize_t time, row    # strides in bytes; each row of features is contiguous


cdef struct Work:           # what both passes over one direction read and write
    Weights weights
    const VariantRun* run   # NULL for the plain LSTM
    Batch x, y
    void* gates             # (N, 4H); in inference scratch, (threads, chunk, 4H)
    void* cell_states       # (N, H); NULL in inference
    void* inputs            # scratch, (threads, chunk, I)
    void* scratch           # (threads, extra), used by variants
    Py_ssize_t chunk, extra


cdef Batch batch_of(array):
    cdef Batch batch
    batch.data = <char*> address(array)
    batch.time, batch.row = (0, 0) if array is None else array.strides[:2]
    return batch


cdef inline void* features_at(const Batch* batch, Py_ssize_t time, Py_ssize_t row) noexcept nogil:
    """Return where the features of a row at a time step are."""
    return batch.data + time * batch.time + row * batch.row


cdef Work work_of(direction, job, y, inputs, scratch):
    """Return the Work of a Direction, whose part of the output is y; the caller holds all arrays while it is used."""
    cdef Work work
    cdef VariantMemory variant = direction.variant
    work.weights = weights_of(direction.packed)
    work.run = NULL if variant is None else &variant.run
    work.x, work.y = batch_of(job.x), batch_of(y)
    work.gates, work.cell_states = address(direction.gates), address(direction.cell_states)
    work.inputs, work.scratch = address(inputs), address(scratch)
    work.chunk, work.extra = inputs.shape[1], scratch.shape[1]
    return work


cdef inline bint worth_threads(const Work* work, Order order, int num_threads) noexcept nogil:
    cdef const Weights* weights = &work.weights
    return num_threads > 1 and order.positions * 4 * weights.units * (weights.inputs + weights.outputs) > PARALLEL


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


cdef void forward_inputs(const Work* work, Order order, Py_ssize_t begin, Py_ssize_t rows, real* inputs,
                         real* a) noexcept nogil:
    """Write a (rows, 4H) = W x + b of the positions from `begin` on; inputs (rows, I) is scratch."""
    cdef Py_ssize_t I = work.weights.inputs, H = work.weights.units, k
    for k in range(rows):
        memcpy(inputs + k * I, features_at(&work.x, order.time[begin + k], order.row[begin + k]), I * sizeof(real))
        memcpy(a + k * 4 * H, work.weights.bias, 4 * H * sizeof(real))
    gemm(False, True, rows, 4 * H, I, inputs, I, <const real*> work.weights.weight_ih, I, <real> 1, a, 4 * H)


cdef void forward_block(const Work* work, Order order, Py_ssize_t block, int thread, real* h, real* c) noexcept nogil:
    """Take all steps of a block: h and c (rows of the block, ..) are the initial state and become the final one.

    Variants that aren't plain need scratch of 2P + H for each row of the block.
    """
    cdef const VariantRun* run = work.run
    cdef const Py_ssize_t* start = order.start + block * order.width
    cdef Py_ssize_t I = work.weights.inputs, P = work.weights.outputs, H = work.weights.units
    cdef Py_ssize_t first = 0, last, step, p, k, n, begin
    cdef bint keep = work.cell_states != NULL
    cdef real* gates = <real*> work.gates + (start[0] if keep else thread * work.chunk) * 4 * H
    cdef real* scratch = <real*> work.scratch + thread * work.extra
    cdef real* a = gates
    cdef const real* seen = h
    while first < order.steps[block]:
        last = order.chunk_end(block, first)
        begin = start[first]
        if not keep:
            a = gates
        # a = W x + b for all steps of the chunk
        forward_inputs(work, order, begin, start[last] - begin, <real*> work.inputs + thread * work.chunk * I, a)
        for step in range(first, last):
            begin, n = start[step], start[step + 1] - start[step]
            # a += U h, then gates, c and h
            if run != NULL and run.recurrent != NULL:
                apply_dropout(run, &order.state[begin], h, scratch, n, P)
                seen = scratch
            gemm(False, True, n, 4 * H, P, seen, P, <const real*> work.weights.weight_hh, P, <real> 1, a, 4 * H)
            if run != NULL:
                forward_variant(run, &order.time[begin], &order.row[begin], begin, n, a, c, h, scratch, P, H)
            for k in range(n):
                p = begin + k
                if run == NULL:
                    forward_row(a + k * 4 * H, c + k * H, h + k * H, H)
                memcpy(features_at(&work.y, order.time[p], order.row[p]), h + k * P, P * sizeof(real))
            if keep:
                memcpy(<real*> work.cell_states + begin * H, c, n * H * sizeof(real))
            a += n * 4 * H
        first = last


cdef void forward_direction(const Work* work, Order order, real* h, real* c, int num_threads) noexcept:
    """Take all steps of one direction: h and c, rows by falling length, become the final state."""
    cdef Py_ssize_t block, P = work.weights.outputs, H = work.weights.units
    cdef bint parallel = order.blocks > 1 and worth_threads(work, order, num_threads)
    for block in prange(order.blocks, schedule="dynamic", chunksize=1, nogil=True, num_threads=num_threads,
                        use_threads_if=parallel):
        forward_block(work, order, block, threadid(), h + block * order.block * P, c + block * order.block * H)


# Backward ------------------------------------------------------------------------------------------------------------

cdef struct BackwardWork:   # what the backward pass reads and writes beside the Work of the direction
    Batch dy, dx            # dx.data is NULL where that gradient isn't needed
    const void* h0          # (rows of the states, P)
    const void* c0          # (rows of the states, H)
    void* outputs           # scratch, (threads, chunk, P)
    const void* ones        # (chunk,)
    void* dweight_ih        # as the weights
    void* dweight_hh
    void* dbias
    void* dweight_hr        # NULL without projection


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
                        Py_ssize_t n, const Batch* dy, const real* dh, real* scratch, Py_ssize_t P,
                        Py_ssize_t H) noexcept nogil:
    """Return dm (n, H), from the gradients of the outputs of n rows through zoneout and projection.

    The first (n, P) of scratch is then what zoneout passes directly to the gradient of the h before.
    """
    cdef Py_ssize_t k, j, at
    cdef real* dout = scratch + n * P if run.doutputs == NULL else <real*> run.doutputs + begin * P
    cdef real* dm = dout if run.weight_hr == NULL else scratch + n * P
    cdef const real* dy_row
    for k in range(n):
        dy_row = <const real*> features_at(dy, time[k], row[k])
        for j in range(P):
            dout[k * P + j] = dh[k * P + j] + dy_row[j]
        at = time[k] * run.batch + row[k]
        zoneout_backward(dout + k * P, scratch + k * P, NULL if run.zoneout_h == NULL else run.zoneout_h + at * P,
                        run.step.zoneout_h, P)
    if run.weight_hr != NULL:
        gemm(False, False, n, H, P, dout, P, <const real*> run.weight_hr, H, <real> 0, dm, H)
    return dm


cdef void backward_block(const Work* work, const BackwardWork* back, Order order, Py_ssize_t block, int thread,
                         real* dh, real* dc) noexcept nogil:
    """Take all steps of a block backward: gates become da, dh and dc (rows of the block, ..) those of h0 and c0.

    Variants that aren't plain need scratch, P + max(P, H) for each row of the block and SCRATCH * H.
    """
    cdef const VariantRun* run = work.run
    cdef const Py_ssize_t* start = order.start + block * order.width
    cdef Py_ssize_t P = work.weights.outputs, H = work.weights.units, step, p, k, n, begin, at
    cdef real* gates = <real*> work.gates
    cdef real* scratch = <real*> work.scratch + thread * work.extra
    cdef const real* c = <const real*> work.cell_states
    cdef const real* c_before
    cdef const real* dy
    cdef const real* dm = NULL
    for step in range(order.steps[block] - 1, -1, -1):
        begin, n = start[step], start[step + 1] - start[step]
        if run != NULL:
            dm = backward_output(run, &order.time[begin], &order.row[begin], begin, n, &back.dy, dh, scratch, P, H)
        for k in range(n):
            p = begin + k
            c_before = c + (start[step - 1] + k) * H if step > 0 else <const real*> back.c0 + order.state[p] * H
            if run == NULL:
                dy = <const real*> features_at(&back.dy, order.time[p], order.row[p])
                backward_row(gates + p * 4 * H, c + p * H, c_before, dy, dh + k * H, dc + k * H, H)
            else:
                at = order.time[p] * run.batch + order.row[p]
                backward_variant_row(
                    &run.step, gates + p * 4 * H, NULL if run.norms == NULL else <const real*> run.norms + p * 4 * H,
                    NULL if run.scales == NULL else <const real*> run.scales + p * 4, c_before, dm + k * H, dc + k * H,
                    NULL if run.zoneout_c == NULL else run.zoneout_c + at * H, run.sums + block * SUMS * H,
                    scratch + order.block * (P + max(P, H)), H,
                )
        # dh = U^T da
        gemm(False, False, n, P, 4 * H, gates + begin * 4 * H, 4 * H, <const real*> work.weights.weight_hh, P, <real> 0,
             dh, P)
        if run != NULL:
            if run.recurrent != NULL:
                apply_dropout(run, &order.state[begin], dh, dh, n, P)
            for k in range(n * P):
                dh[k] += scratch[k]


cdef void backward_inputs(const Work* work, const Batch* dx, Order order, Py_ssize_t block,
                          real* inputs) noexcept nogil:
    """Add a block's gradients to dx; inputs (CHUNK, I) is scratch."""
    cdef const Py_ssize_t* start = order.start + block * order.width
    cdef Py_ssize_t I = work.weights.inputs, H = work.weights.units, k, j, rows
    cdef Py_ssize_t begin = start[0], end = start[order.steps[block]]
    cdef const real* da = <const real*> work.gates
    cdef real* dx_row
    while begin < end:
        rows = min(end - begin, <Py_ssize_t> CHUNK)
        # dx = W^T da
        gemm(False, False, rows, I, 4 * H, da + begin * 4 * H, 4 * H, <const real*> work.weights.weight_ih, I, <real> 0,
             inputs, I)
        for k in range(rows):
            dx_row = <real*> features_at(dx, order.time[begin + k], order.row[begin + k])
            for j in range(I):
                dx_row[j] += inputs[k * I + j]
        begin += rows


cdef void read_inputs(const Work* work, const void* h0, Order order, Py_ssize_t begin, Py_ssize_t rows, real* inputs,
                      real* outputs) noexcept nogil:
    """Write the x (rows, I) and h_before (rows, P) of the positions from `begin` on to inputs and outputs."""
    cdef Py_ssize_t I = work.weights.inputs, P = work.weights.outputs, p
    cdef const real* h_before
    for p in range(begin, begin + rows):
        if order.before[p] < 0:
            h_before = <const real*> h0 + order.state[p] * P
        else:
            h_before = <const real*> features_at(&work.y, order.before[p], order.row[p])
        memcpy(inputs + (p - begin) * I, features_at(&work.x, order.time[p], order.row[p]), I * sizeof(real))
        memcpy(outputs + (p - begin) * P, h_before, P * sizeof(real))
    if work.run != NULL and work.run.recurrent != NULL:
        apply_dropout(work.run, &order.state[begin], outputs, outputs, rows, P)


cdef void backward_weights(const Work* work, const BackwardWork* back, Order order, real* inputs, real* outputs,
                           Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Add rows TILE * first ... TILE * last - 1 of the weight gradients; inputs and outputs are scratch.

    With a variant that isn't plain, db is left to `VariantMemory.add_sums`.
    """
    cdef Py_ssize_t I = work.weights.inputs, P = work.weights.outputs, H = work.weights.units
    cdef Py_ssize_t begin = 0, rows, tile, row, count
    cdef real* dweight_ih = <real*> back.dweight_ih
    cdef real* dweight_hh = <real*> back.dweight_hh
    cdef real* dbias = <real*> back.dbias
    cdef const real* da
    while begin < order.positions:
        rows = min(order.positions - begin, <Py_ssize_t> CHUNK)
        read_inputs(work, back.h0, order, begin, rows, inputs, outputs)
        for tile in range(first, last):
            row = tile * TILE
            count = min(4 * H - row, <Py_ssize_t> TILE)
            da = <const real*> work.gates + begin * 4 * H + row
            # dW += da x^T, dU += da h_before^T, db += da
            gemm(True, False, count, I, rows, da, 4 * H, inputs, I, <real> 1, dweight_ih + row * I, I)
            gemm(True, False, count, P, rows, da, 4 * H, outputs, P, <real> 1, dweight_hh + row * P, P)
            if work.run == NULL:
                gemm(True, False, count, 1, rows, da, 4 * H, <const real*> back.ones, 1, <real> 1, dbias + row, 1)
        begin += rows


cdef void backward_projection_tile(const real* doutputs, const real* outputs, real* dweight_hr, Py_ssize_t positions,
                                   Py_ssize_t row, Py_ssize_t P, Py_ssize_t H) noexcept nogil:
    cdef Py_ssize_t begin = 0, rows
    while begin < positions:
        rows = min(positions - begin, <Py_ssize_t> CHUNK)
        # dW_hr += dout m^T
        gemm(True, False, min(P - row, <Py_ssize_t> TILE), H, rows, doutputs + begin * P + row, P, outputs + begin * H,
             H, <real> 1, dweight_hr + row * H, H)
        begin += rows


cdef void backward_projection(const Work* work, real* dweight_hr, Py_ssize_t positions, int num_threads) noexcept:
    """Add the gradient of the projection, in the same tiles and chunks as those of the other weights."""
    cdef Py_ssize_t P = work.weights.outputs, H = work.weights.units, tile, tiles = (P + TILE - 1) // TILE
    cdef bint parallel = num_threads > 1 and tiles > 1 and positions * P * H > PARALLEL
    for tile in prange(tiles, schedule="static", chunksize=1, nogil=True, num_threads=num_threads,
                       use_threads_if=parallel):
        backward_projection_tile(<const real*> work.run.doutputs, <const real*> work.run.outputs, dweight_hr, positions,
                                 tile * TILE, P, H)


cdef void backward_direction(const Work* work, const BackwardWork* back, Order order, real* dh, real* dc,
                             int num_threads) noexcept:
    """Take all steps of one direction backward, then its weight gradients; dh and dc become those of h0 and c0."""
    cdef Py_ssize_t I = work.weights.inputs, P = work.weights.outputs, H = work.weights.units
    cdef Py_ssize_t block, part, tiles = (4 * H + TILE - 1) // TILE, parts = min(num_threads, tiles)
    cdef bint parallel = worth_threads(work, order, num_threads)
    cdef real* inputs = <real*> work.inputs
    cdef real* outputs = <real*> back.outputs
    for block in prange(order.blocks, schedule="dynamic", chunksize=1, nogil=True, num_threads=num_threads,
                        use_threads_if=parallel and order.blocks > 1):
        backward_block(work, back, order, block, threadid(), dh + block * order.block * P, dc + block * order.block * H)
        if back.dx.data != NULL:
            backward_inputs(work, &back.dx, order, block, inputs + threadid() * work.chunk * I)
    for part in prange(parts, schedule="static", chunksize=1, nogil=True, num_threads=num_threads,
                       use_threads_if=parallel):
        backward_weights(work, back, order, inputs + threadid() * work.chunk * I,
                         outputs + threadid() * work.chunk * P, part * tiles // parts, (part + 1) * tiles // parts)
    if back.dweight_hr != NULL:
        backward_projection(work, <real*> back.dweight_hr, order.positions, num_threads)


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
    cdef bint keep = job.keep
    cdef VariantMemory variant = None
    T, B, I = job.x.shape
    P, H, dtype = job.h0.shape[2], job.c0.shape[2], job.x.dtype
    cdef Order order = Order(job.lengths, job.segments, T, B, reverse)
    h, c = job.h0[d][order.sorted_rows], job.c0[d][order.sorted_rows]
    cdef int threads = max(1, min(job.num_threads, order.blocks))
    extra = 0
    if packed.variant is not None:
        variant = VariantMemory(packed.variant, None if job.masks is None else job.masks[d], B)
        extra = order.block * (2 * P + H)
        if keep:
            variant.keep_for(order, H, dtype)
    chunk = min(order.positions, CHUNK)
    inputs, scratch = np.empty((threads, chunk, I), dtype), np.empty((threads, extra), dtype)
    gates = np.empty((order.positions if keep else threads * chunk, 4 * H), dtype)
    cell_states = np.empty((order.positions, H), dtype) if keep else None
    direction = Direction(packed, order, variant, gates, cell_states)
    cdef Work work = work_of(direction, job, y, inputs, scratch)
    if dtype.itemsize == sizeof(float):
        forward_direction(&work, order, <float*> address(h), <float*> address(c), threads)
    else:
        forward_direction(&work, order, <double*> address(h), <double*> address(c), threads)
    job.h_n[d][order.sorted_rows], job.c_n[d][order.sorted_rows] = h, c
    return direction


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
    cdef VariantMemory variant = direction.variant
    I, P, H, dtype = job.x.shape[2], job.h0.shape[2], job.c0.shape[2], job.x.dtype
    weights, features = gradients.weights[d], slice(d * P, (d + 1) * P)
    dh, dc = gradients.dh_n[d][order.sorted_rows], gradients.dc_n[d][order.sorted_rows]
    cdef int threads = min(job.num_threads, max(order.blocks, -(-4 * H // TILE)))
    extra = 0
    if variant is not None:
        variant.begin_backward(order, P, H)
        extra = order.block * (P + max(P, H)) + SCRATCH * H
    chunk = min(order.positions, CHUNK)
    inputs, outputs = np.empty((threads, chunk, I), dtype), np.empty((threads, chunk, P), dtype)
    scratch, ones = np.empty((threads, extra), dtype), np.ones(chunk, dtype)
    cdef Work work = work_of(direction, job, job.y[:, :, features], inputs, scratch)
    cdef BackwardWork back
    back.dy = batch_of(gradients.dy[:, :, features])
    back.dx = batch_of(gradients.dx)
    back.h0, back.c0 = address(job.h0[d]), address(job.c0[d])
    back.outputs, back.ones = address(outputs), address(ones)
    back.dweight_ih, back.dweight_hh = address(weights["weight_ih"]), address(weights["weight_hh"])
    back.dbias, back.dweight_hr = address(weights["bias"]), address(weights.get("weight_hr"))
    if dtype.itemsize == sizeof(float):
        backward_direction(&work, &back, order, <float*> address(dh), <float*> address(dc), threads)
    else:
        backward_direction(&work, &back, order, <double*> address(dh), <double*> address(dc), threads)
    if variant is not None:
        variant.add_sums(weights)
    gradients.dh0[d][order.sorted_rows], gradients.dc0[d][order.sorted_rows] = dh, dc


def gates_and_cells(tape, job, direction):
    """Return the gates (T, B, 4, H) and cell states (T, B, H) of a direction; see `clstm._core.backend.Path`."""
    of = tape[direction]
    at = of.order.at
    T, B, H = job.x.shape[0], job.x.shape[1], of.cell_states.shape[1]
    gates, cells = np.zeros((T, B, 4, H), of.gates.dtype), np.zeros((T, B, H), of.gates.dtype)
    gates[at], cells[at] = of.gates.reshape(-1, 4, H), of.cell_states
    return gates, cells
