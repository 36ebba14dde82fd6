"""The vector path: jobs and threads over the kernels of src/.

`forward`, `forward_stacked`, `backward` and `gates_and_cells` are part of `clstm._core.backend.Path`. They allocate, plan
how the work is split, fill in a C job for each direction and enter one parallel region; the loops over time and batch
are in C (src/kernels.h says how a batch is visited and how arrays are laid out). Arguments are trusted.
"""

import numpy as np

cimport numpy as cnp
from cython.parallel cimport parallel
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from clstm._core.vector.pack import OPTIONAL

from clstm._core.vector cimport kernels as c
from clstm._core.vector.pack cimport Packed, alike
from clstm._core.vector.plan cimport Split, Stack, split_backward, split_forward, stack_forward
from clstm._core.vector.runtime cimport Arena, new_counters, region_threads, team_of

cnp.import_array()

ctypedef cnp.intp_t isize

cdef class Walk:
    """The order in which a batch is visited (clstm_walk), and the memory it lies in."""

    cdef c.clstm_walk walk
    cdef bint segmented      # the rows are segments of those of the batch:
    cdef const isize *batch  # which row of the batch each sorted row is a segment of,
    cdef const isize *begin  # and the time at which it begins
    cdef Arena arena

    def __cinit__(self, lengths, segments, Py_ssize_t T, Py_ssize_t B):
        cdef Py_ssize_t b, s, steps
        cdef isize *order
        cdef isize *length
        cdef isize *active
        cdef isize *start
        cdef isize *batch
        cdef isize *begin
        cdef cnp.ndarray sorted_rows, given, of_batch = None, of_begin = None
        self.segmented = segments is not None
        if self.segmented:
            of_batch, of_begin, lengths = segments.batch, segments.start, segments.length
            B = len(lengths)
        self.arena = Arena()
        self.arena.plan(2 * T + 4 * B, sizeof(isize))
        self.arena.allocate()
        active = <isize *>self.arena.take(2 * T + 4 * B, sizeof(isize))
        start, order, length = active + T, active + 2 * T, active + 2 * T + B
        batch, begin = length + B, length + 2 * B
        if lengths is None:
            for b in range(B):
                order[b], length[b] = b, T
        else:
            given = lengths
            sorted_rows = np.argsort(-given, kind="stable")
            for b in range(B):
                order[b] = (<isize *>cnp.PyArray_DATA(sorted_rows))[b]
                length[b] = (<cnp.int64_t *>cnp.PyArray_DATA(given))[order[b]]
        if self.segmented:
            for b in range(B):
                batch[b] = (<cnp.int64_t *>cnp.PyArray_DATA(of_batch))[order[b]]
                begin[b] = (<cnp.int64_t *>cnp.PyArray_DATA(of_begin))[order[b]]
            self.batch, self.begin = batch, begin
        steps = length[0] if B > 0 else 0
        b = B
        self.walk.positions = 0
        for s in range(steps):
            while length[b - 1] <= s:
                b -= 1
            active[s], start[s] = b, self.walk.positions
            self.walk.positions += b
        self.walk.steps, self.walk.rows = steps, B
        self.walk.order, self.walk.length = <const Py_ssize_t *>order, <const Py_ssize_t *>length
        self.walk.active, self.walk.start = <const Py_ssize_t *>active, <const Py_ssize_t *>start


cdef c.clstm_sequences sequences_of(cnp.ndarray array, Py_ssize_t column, bint reverse, Walk walk, isize *row) noexcept:
    """Where each sorted row's steps lie in array (T, B, features), from feature `column` on; `row` holds the offsets."""
    cdef Py_ssize_t item = cnp.PyArray_ITEMSIZE(array), b
    cdef Py_ssize_t time = array.strides[0] // item, batch = array.strides[1] // item
    for b in range(walk.walk.rows):
        row[b] = walk.batch[b] * batch + walk.begin[b] * time if walk.segmented else walk.walk.order[b] * batch
        if reverse:
            row[b] += (walk.walk.length[b] - 1) * time
    cdef c.clstm_sequences lines
    lines.data = <char *>cnp.PyArray_DATA(array) + column * item
    lines.row = <const Py_ssize_t *>row
    lines.step = -time if reverse else time
    return lines


cdef class Tape:
    """What backward needs of one forward: the walk, and each direction's gates, cell states, initial c and variant.

    Backward overwrites the gates, so that a tape serves one backward.
    """

    cdef tuple packs
    cdef object masks
    cdef bint reverse
    cdef Walk walk
    cdef Arena arena
    cdef c.clstm_variant_call variant_calls[2]
    cdef void *gates[2]
    cdef void *cell_states[2]
    cdef void *c[2]


cdef Tape new_tape(packs, Walk walk, masks, bint reverse, bint plain):
    """Return a tape with memory for all directions."""
    cdef Tape tape = Tape()
    cdef Packed packed
    cdef const c.clstm_kernels *kernels
    cdef Py_ssize_t positions = walk.walk.positions, item
    tape.packs, tape.reverse, tape.walk, tape.arena, tape.masks = tuple(packs), reverse, walk, Arena(), masks
    for packed in packs:
        kernels, item = packed.kernels, packed.kernels.item_size
        tape.arena.plan(positions * kernels.gates_stride(packed.H), item)
        tape.arena.plan(positions * kernels.state_stride(packed.H), item)
        tape.arena.plan(walk.walk.rows * kernels.state_stride(packed.H), item)
        if not plain:
            plan_kept(tape.arena, packed, positions)
    tape.arena.allocate()
    return tape


cdef int record(Tape tape, c.clstm_forward *job, Py_ssize_t d, bint plain) except -1:
    """Make the d-th direction's job write what backward needs to the tape's memory."""
    cdef Packed packed = tape.packs[d]
    cdef const c.clstm_kernels *kernels = packed.kernels
    cdef Py_ssize_t item = kernels.item_size, positions = tape.walk.walk.positions, ld = kernels.state_stride(packed.H)
    job.projected = NULL
    job.gates = tape.gates[d] = tape.arena.take(positions * kernels.gates_stride(packed.H), item)
    job.cell_states = tape.cell_states[d] = tape.arena.take(positions * ld, item)
    job.c = tape.c[d] = tape.arena.take(tape.walk.walk.rows * ld, item)
    if not plain:
        set_kept(<c.clstm_variant_call *>job.variant_call, tape.arena, packed, positions)
        tape.variant_calls[d] = job.variant_call[0]
    return 0


cdef char *item_at(cnp.ndarray array, Py_ssize_t d) noexcept:
    """The d-th (B, H) part of a contiguous (D, B, H) array."""
    return <char *>cnp.PyArray_DATA(array) + d * array.strides[0]


cdef Py_ssize_t projected_rows_of(Split split, Py_ssize_t steps, Py_ssize_t B) noexcept:
    """Rows of gates that a layer's chunk of steps needs in inference."""
    return min(split.chunk, steps) * (B + split.row_groups) if split.chunk > 0 else 0


cdef int plan_forward(Arena arena, Packed packed, Split split, Py_ssize_t rows, Py_ssize_t projected_rows) except -1:
    """Plan the memory that `set_forward` takes."""
    cdef const c.clstm_kernels *kernels = packed.kernels
    cdef Py_ssize_t item = kernels.item_size
    arena.plan(2 * rows, sizeof(isize))
    arena.plan(2 * kernels.states_size(rows, packed.P, split.row_groups), item)
    arena.plan(kernels.states_size(rows, packed.H, split.row_groups), item)
    arena.plan(projected_rows * kernels.gates_stride(packed.H), item)
    return 0


cdef int set_forward(c.clstm_forward *job, Arena arena, Walk walk, Packed packed, Split split,
                     Py_ssize_t projected_rows, cnp.ndarray x, cnp.ndarray y, Py_ssize_t column, bint reverse,
                     cnp.ndarray h0, cnp.ndarray c0, cnp.ndarray h_n, cnp.ndarray c_n, Py_ssize_t d) except -1:
    """Fill in the job of one direction, whose outputs are y's features from `column` on and whose states are the d-th."""
    cdef const c.clstm_kernels *kernels = packed.kernels
    cdef Py_ssize_t B = walk.walk.rows, item = kernels.item_size
    cdef isize *rows = <isize *>arena.take(2 * B, sizeof(isize))
    memset(job, 0, sizeof(c.clstm_forward))
    job.walk = &walk.walk
    job.I, job.H, job.P = packed.I, packed.H, packed.P
    job.W, job.U, job.bias = packed.W, packed.U, packed.bias
    job.x = sequences_of(x, 0, reverse, walk, rows)
    job.y = sequences_of(y, column, reverse, walk, rows + B)
    job.y_steps, job.first, job.last = 0 if walk.segmented else y.shape[0], 0, walk.walk.steps
    job.h0, job.c0 = item_at(h0, d), item_at(c0, d)
    job.hn, job.cn = item_at(h_n, d), item_at(c_n, d)
    job.h = arena.take(2 * kernels.states_size(B, packed.P, split.row_groups), item)
    job.c = arena.take(kernels.states_size(B, packed.H, split.row_groups), item)
    job.projected = arena.take(projected_rows * kernels.gates_stride(packed.H), item)
    job.chunk, job.row_groups = split.chunk, split.row_groups
    return 0


# What a variant that isn't plain needs --------------------------------------------------------------------------------

cdef int plan_kept(Arena arena, Packed packed, Py_ssize_t positions) except -1:
    """Plan the memory that `set_kept` takes: what a training forward pass stores for the backward pass."""
    cdef const c.clstm_kernels *kernels = packed.kernels
    if packed.variant.gate_gain != NULL:
        arena.plan(positions * kernels.gates_stride(packed.H), kernels.item_size)
        arena.plan(positions * kernels.statistics_per_position, kernels.item_size)
    if packed.variant.R != NULL:
        arena.plan(positions * kernels.state_stride(packed.H), kernels.item_size)
    return 0


cdef void set_kept(c.clstm_variant_call *call, Arena arena, Packed packed, Py_ssize_t positions) noexcept:
    cdef const c.clstm_kernels *kernels = packed.kernels
    if packed.variant.gate_gain != NULL:
        call.normed = arena.take(positions * kernels.gates_stride(packed.H), kernels.item_size)
        call.statistics = arena.take(positions * kernels.statistics_per_position, kernels.item_size)
    if packed.variant.R != NULL:
        call.m = arena.take(positions * kernels.state_stride(packed.H), kernels.item_size)


cdef int plan_variant(Arena arena, Packed packed, Py_ssize_t rows) except -1:
    """Plan the memory that `set_variant` takes."""
    cdef const c.clstm_kernels *kernels = packed.kernels
    arena.plan(2 * rows, sizeof(isize))
    if packed.variant.gate_gain != NULL:
        arena.plan(2 * rows * kernels.gates_stride(packed.H), kernels.item_size)
    return 0


cdef int set_variant(c.clstm_variant_call *call, Arena arena, Packed packed, Walk walk, masks, bint reverse) except -1:
    """Fill in what the forward and the backward pass have in common; `masks` are the direction's, None in inference."""
    cdef const c.clstm_kernels *kernels = packed.kernels
    cdef Py_ssize_t rows = walk.walk.rows, item = kernels.item_size, stride = kernels.gates_stride(packed.H)
    cdef isize *offsets = <isize *>arena.take(2 * rows, sizeof(isize))
    cdef cnp.ndarray array
    call.variant = &packed.variant
    if packed.variant.gate_gain != NULL:
        call.preactivations = arena.take(2 * rows * stride, item)
        call.stage_results = <char *>call.preactivations + rows * stride * item
    if masks is None:
        call.h_zoneout, call.c_zoneout = packed.h_zoneout, packed.c_zoneout
        return 0
    recurrent, h_zoneout_mask, c_zoneout_mask = masks
    call.h_dropout_mask = data_of(recurrent)
    if h_zoneout_mask is not None:
        array = h_zoneout_mask
        call.h_zoneout_mask = sequences_of(array, 0, reverse, walk, offsets)
    if c_zoneout_mask is not None:
        array = c_zoneout_mask
        call.c_zoneout_mask = sequences_of(array, 0, reverse, walk, offsets + rows)
    return 0


cdef void *data_of(array) noexcept:
    """Where an array lies; NULL for None."""
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)


# Forward ---------------------------------------------------------------------------------------------------------------

def forward(job):
    """Run one layer of one or two directions; return a Tape if ``job.keep``. See `clstm._core.backend.Path`."""
    cdef cnp.ndarray x = job.x, h0 = job.h0, c0 = job.c0, y = job.y, h_n = job.h_n, c_n = job.c_n
    cdef int num_threads = job.num_threads
    cdef bint keep = job.keep, reverse = job.reverse
    packs, masks = job.packs, job.masks
    cdef Py_ssize_t T = x.shape[0], D = len(packs), d
    cdef Packed packed = packs[0]
    cdef const c.clstm_kernels *kernels = packed.kernels
    cdef Walk walk = Walk(job.lengths, job.segments, T, x.shape[1])
    cdef Py_ssize_t steps = walk.walk.steps, B = walk.walk.rows
    cdef bint plain = packed.plain and (D == 1 or (<Packed>packs[1]).plain)
    cdef Split split = split_forward(kernels, packed.I, packed.H, steps, walk.walk.positions, D, num_threads)
    cdef Py_ssize_t projected_rows = 0 if keep else projected_rows_of(split, steps, B)
    # Of a projection's input m, inference needs one step only
    cdef Py_ssize_t m_size = 0 if keep or packed.variant.R == NULL else B * kernels.state_stride(packed.H)
    cdef Tape tape = new_tape(packs, walk, masks, reverse, plain) if keep else None

    cdef Arena arena = Arena()
    for d in range(D):
        plan_forward(arena, packed, split, B, projected_rows)
        if not plain:
            plan_variant(arena, packs[d], B)
            arena.plan(m_size, kernels.item_size)
    arena.allocate()

    cdef c.clstm_forward jobs[2]
    cdef c.clstm_variant_call variant_calls[2]
    if not plain:
        memset(variant_calls, 0, sizeof(variant_calls))
    for d in range(D):
        set_forward(&jobs[d], arena, walk, packs[d], split, projected_rows, x, y, d * packed.P, reverse or d == 1, h0,
                    c0, h_n, c_n, d)
        if not plain:
            set_variant(&variant_calls[d], arena, packs[d], walk, None if masks is None else masks[d], reverse or d == 1)
            variant_calls[d].m = arena.take(m_size, kernels.item_size)
            jobs[d].variant_call = &variant_calls[d]
        if keep:
            record(tape, &jobs[d], d, plain)
    run_forward(kernels, jobs, D, split, num_threads)
    return tape


cdef int run_forward(const c.clstm_kernels *kernels, const c.clstm_forward *jobs, Py_ssize_t D, Split split,
                     int num_threads) except -1:
    """Run the jobs of all directions on the threads of the split."""
    cdef c.clstm_counter *counters = new_counters(split.threads, 2)
    cdef int n = region_threads(split.threads, num_threads)
    with nogil:
        if split.threads == 1:
            forward_thread(kernels, jobs, D, 0, 1, False, counters)
        else:
            with parallel(num_threads=n):
                forward_thread(kernels, jobs, D, c.clstm_thread(), min(split.threads, c.clstm_threads()),
                               split.side_by_side, counters)
    free(counters)
    return 0


cdef void forward_thread(const c.clstm_kernels *kernels, const c.clstm_forward *jobs, Py_ssize_t D, Py_ssize_t rank,
                         Py_ssize_t size, bint side_by_side, c.clstm_counter *counters) noexcept nogil:
    """Do the work of one thread of the region: its direction, or its part of each direction in turn."""
    cdef Py_ssize_t d, half = size // 2
    if rank >= size:
        return
    if side_by_side and size % 2 == 0:
        d = rank // half
        kernels.forward(&jobs[d], team_of(rank - d * half, half, counters, d, size))
    else:
        for d in range(D):
            kernels.forward(&jobs[d], team_of(rank, size, counters, d, size))


def forward_stacked(jobs):
    """Run stacked layers of one direction as a wavefront, if the model of the cost expects that to be faster.

    Returns whether it did. See `clstm._core.backend.Path`.
    """
    cdef cnp.ndarray x = jobs[0].x
    cdef int num_threads = jobs[0].num_threads
    packs = [job.packs[0] for job in jobs]
    cdef Py_ssize_t T = x.shape[0], B, L = len(jobs), layer
    cdef Packed packed = packs[0]
    cdef const c.clstm_kernels *kernels = packed.kernels
    cdef Py_ssize_t H = packed.H, projected_rows
    if num_threads == 1 or not alike(packs):
        return False
    cdef Walk walk = Walk(jobs[0].lengths, None, T, x.shape[1])
    cdef Py_ssize_t steps = walk.walk.steps
    B = walk.walk.rows
    cdef Stack stack = stack_forward(kernels, packed.I, H, L, steps, walk.walk.positions, num_threads)
    if stack.teams < 2:
        return False

    cdef Arena arena = Arena()
    arena.plan(L, sizeof(c.clstm_forward))
    cdef Split split
    for layer in range(L):
        split = stack.first if layer == 0 else stack.others
        plan_forward(arena, packed, split, B, projected_rows_of(split, steps, B))
    arena.allocate()
    cdef c.clstm_forward *layers = <c.clstm_forward *>arena.take(L, sizeof(c.clstm_forward))
    for layer in range(L):
        split = stack.first if layer == 0 else stack.others
        projected_rows = projected_rows_of(split, steps, B)
        job = jobs[layer]
        set_forward(&layers[layer], arena, walk, packs[layer], split, projected_rows, job.x, job.y, 0, False, job.h0,
                    job.c0, job.h_n, job.c_n, 0)

    cdef int threads = stack.teams * stack.members
    cdef c.clstm_counter *counters = new_counters(threads, stack.teams)
    cdef int n = region_threads(threads, num_threads)
    with nogil, parallel(num_threads=n):
        stacked_thread(kernels, layers, L, &stack, c.clstm_thread(), min(threads, c.clstm_threads()), counters)
    free(counters)
    return True


cdef void stacked_thread(const c.clstm_kernels *kernels, c.clstm_forward *jobs, Py_ssize_t L, const Stack *stack,
                         Py_ssize_t rank, Py_ssize_t size, c.clstm_counter *counters) noexcept nogil:
    """What one thread does: the layers of its team, piece after piece, each a piece behind the layer before.

    Of a region smaller than planned the teams have fewer members, or are fewer and have more layers.
    """
    cdef Py_ssize_t teams = min(stack.teams, size), members = size // teams, team = rank // members
    cdef Py_ssize_t steps = jobs[0].walk.steps, pieces = max(1, (steps + stack.step_block - 1) // stack.step_block)
    cdef Py_ssize_t stage, layer, piece
    cdef c.clstm_forward job
    if rank >= teams * members:
        return
    cdef c.clstm_team own = team_of(rank - team * members, members, counters, team, size)
    cdef c.clstm_team everyone = team_of(rank, teams * members, counters, stack.teams, size)
    for stage in range(pieces + L - 1):
        layer = team
        while layer < L:
            piece = stage - layer
            if 0 <= piece < pieces:
                job = jobs[layer]
                job.first, job.last = piece * stack.step_block, min((piece + 1) * stack.step_block, steps)
                kernels.forward(&job, own)
            layer += teams
        kernels.wait(&everyone)


# Backward --------------------------------------------------------------------------------------------------------------

cdef struct Scratch:  # memory of one direction's backward, in reals
    Py_ssize_t states, columns, sums
    Py_ssize_t row_sums, dh  # of variants only


cdef Scratch scratch_of(Packed packed, const c.clstm_walk *walk, Split split, bint plain) noexcept:
    cdef const c.clstm_kernels *kernels = packed.kernels
    cdef Py_ssize_t H = packed.H, P = packed.P, Hp = kernels.padded(H), width = kernels.columns_width(packed.I, P)
    cdef Scratch sizes
    sizes.states = kernels.states_size(walk.rows, H, split.row_groups)
    sizes.columns = split.threads * kernels.gradient_block * max(width, Hp)
    sizes.sums = 4 * H * width + 4 * Hp
    sizes.row_sums = 0 if plain else walk.rows * kernels.unit_parameters(&packed.variant) * Hp
    sizes.dh = 0
    if packed.variant.R != NULL:
        sizes.dh = walk.positions * kernels.state_stride(P)
        sizes.sums = max(sizes.sums, P * Hp + kernels.padded(P))
    return sizes


def backward(Tape tape, job, gradients):
    """Write the gradients of one layer and use the tape up; see `clstm._core.backend.Path`."""
    cdef Py_ssize_t D = len(tape.packs), d
    cdef Packed packed = tape.packs[0]
    cdef const c.clstm_kernels *kernels = packed.kernels
    cdef Py_ssize_t item = kernels.item_size
    cdef const c.clstm_walk *walk = &tape.walk.walk
    cdef Py_ssize_t B = walk.rows
    cdef int num_threads = job.num_threads
    cdef bint plain = packed.plain and (D == 1 or (<Packed>tape.packs[1]).plain)
    cdef bint need_input = gradients.dx is not None
    cdef Split split = split_backward(kernels, packed.I, packed.H, walk.steps, walk.positions, D, num_threads)
    cdef Scratch sizes = scratch_of(packed, walk, split, plain)
    if need_input and (job.lengths is not None or job.segments is not None):
        gradients.dx[...] = 0

    cdef Arena arena = Arena()
    for d in range(D):
        arena.plan(4 * B, sizeof(isize))
        arena.plan(B * kernels.state_stride(packed.P), item)
        arena.plan(sizes.states, item)
        arena.plan(sizes.columns, item)
        arena.plan(sizes.sums, item)
        if not plain:
            plan_variant(arena, packed, B)
            arena.plan(sizes.row_sums, item)
            arena.plan(sizes.dh, item)
    arena.allocate()

    cdef c.clstm_backward jobs[2]
    for d in range(D):
        (<Packed>tape.packs[d]).prepare_backward(need_input, num_threads)
        set_backward(&jobs[d], arena, tape, d, sizes, job, gradients)
        jobs[d].row_groups = split.row_groups
        if not plain:
            set_variant_backward(&jobs[d], arena, tape, d, sizes, gradients.weights[d])
    run_backward(kernels, jobs, D, need_input, split, num_threads)


cdef int set_backward(c.clstm_backward *out, Arena arena, Tape tape, Py_ssize_t d, Scratch sizes, job,
                      gradients) except -1:
    """Fill in the C job of the d-th direction."""
    cdef Packed packed = tape.packs[d]
    cdef Py_ssize_t B = tape.walk.walk.rows, P = packed.P, item = packed.kernels.item_size
    cdef isize *rows = <isize *>arena.take(4 * B, sizeof(isize))
    cdef bint reverse = tape.reverse or d == 1
    weights = gradients.weights[d]
    memset(out, 0, sizeof(c.clstm_backward))
    out.walk = &tape.walk.walk
    out.I, out.H, out.P = packed.I, packed.H, P
    out.Ub, out.Wb = packed.Ub, packed.Wb
    out.x = sequences_of(job.x, 0, reverse, tape.walk, rows)
    out.y = sequences_of(job.y, d * P, reverse, tape.walk, rows + B)
    out.dy = sequences_of(gradients.dy, d * P, reverse, tape.walk, rows + 2 * B)
    if gradients.dx is not None:
        out.dx = sequences_of(gradients.dx, 0, reverse, tape.walk, rows + 3 * B)
    out.add_dx = d == 1
    out.h0 = item_at(job.h0, d)
    out.dhn, out.dcn = item_at(gradients.dh_n, d), item_at(gradients.dc_n, d)
    out.dh0, out.dc0 = item_at(gradients.dh0, d), item_at(gradients.dc0, d)
    out.dh = arena.take(B * packed.kernels.state_stride(P), item)
    out.dc = arena.take(sizes.states, item)
    out.c, out.gates, out.cell_states = tape.c[d], tape.gates[d], tape.cell_states[d]
    out.dW, out.dU = data_of(weights["weight_ih"]), data_of(weights["weight_hh"])
    out.db, out.add = data_of(weights["bias"]), gradients.add
    out.columns, out.sums = arena.take(sizes.columns, item), arena.take(sizes.sums, item)
    return 0


cdef int set_variant_backward(c.clstm_backward *out, Arena arena, Tape tape, Py_ssize_t d, Scratch sizes,
                              weights) except -1:
    """Fill in what a variant that isn't plain adds to the job; `weights` are the gradients to be written."""
    cdef Packed packed = tape.packs[d]
    cdef Py_ssize_t item = packed.kernels.item_size
    cdef c.clstm_variant_call *call = &tape.variant_calls[d]
    set_variant(call, arena, packed, tape.walk, None if tape.masks is None else tape.masks[d], tape.reverse or d == 1)
    call.unit_parameter_sums = arena.take(sizes.row_sums, item)
    call.dh = arena.take(sizes.dh, item)
    dweight_hr, dpeephole, dnorm_gates, dnorm_cell, dnorm_cell_bias = map(weights.get, OPTIONAL)
    call.dR, call.dpeephole, call.dgate_gain = data_of(dweight_hr), data_of(dpeephole), data_of(dnorm_gates)
    call.dcell_gain, call.dcell_shift = data_of(dnorm_cell), data_of(dnorm_cell_bias)
    if packed.variant.gate_gain != NULL:  # the bias comes after the norm
        call.dgate_shift, out.db = out.db, NULL
    out.variant_call = call
    return 0


cdef int run_backward(const c.clstm_kernels *kernels, const c.clstm_backward *jobs, Py_ssize_t D, bint need_input,
                      Split split, int num_threads) except -1:
    """Run the jobs of all directions on the threads of the split."""
    cdef c.clstm_counter *counters = new_counters(split.threads, 2)
    cdef int n = region_threads(split.threads, num_threads)
    with nogil:
        if split.threads == 1:
            backward_thread(kernels, jobs, D, need_input, 0, 1, False, counters)
        else:
            with parallel(num_threads=n):
                backward_thread(kernels, jobs, D, need_input, c.clstm_thread(), min(split.threads, c.clstm_threads()),
                                split.side_by_side, counters)
    free(counters)
    return 0


cdef void backward_thread(const c.clstm_kernels *kernels, const c.clstm_backward *jobs, Py_ssize_t D, bint need_input,
                          Py_ssize_t rank, Py_ssize_t size, bint side_by_side,
                          c.clstm_counter *counters) noexcept nogil:
    cdef Py_ssize_t d, half = size // 2
    cdef c.clstm_team everyone = team_of(rank, size, counters, D, size)
    if rank >= size:
        return
    if side_by_side and size % 2 == 0:
        d = rank // half
        kernels.backward(&jobs[d], team_of(rank - d * half, half, counters, d, size))
    else:
        for d in range(D):
            kernels.backward(&jobs[d], team_of(rank, size, counters, d, size))
    if need_input:
        for d in range(D):  # one after the other: the second adds to what the first wrote
            kernels.wait(&everyone)
            kernels.input_gradient(&jobs[d], everyone)


def gates_and_cells(Tape tape, job, Py_ssize_t direction):
    """Return the gates (T, B, 4, H) and cell states (T, B, H) of a direction; see `clstm._core.backend.Path`."""
    cdef Py_ssize_t T = job.x.shape[0], B = job.x.shape[1], d = direction
    cdef Packed packed = tape.packs[d]
    cdef const c.clstm_kernels *kernels = packed.kernels
    cdef const c.clstm_walk *walk = &tape.walk.walk
    cdef Py_ssize_t item = kernels.item_size, H = packed.H, Hp = kernels.padded(H), s, b, gate, position
    cdef bint reverse = tape.reverse or d == 1
    dtype = np.float32 if item == 4 else np.float64
    cdef cnp.ndarray gates = np.zeros((T, B, 4 * H), dtype), cell_states = np.zeros((T, B, H), dtype)
    cdef cnp.ndarray offsets = np.empty((2, walk.rows), np.intp)
    cdef c.clstm_sequences to_gates = sequences_of(gates, 0, reverse, tape.walk, <isize *>cnp.PyArray_DATA(offsets))
    cdef c.clstm_sequences to_cell_states = sequences_of(cell_states, 0, reverse, tape.walk, <isize *>cnp.PyArray_DATA(offsets) + walk.rows)
    for s in range(walk.steps):
        for b in range(walk.active[s]):
            position = walk.start[s] + b
            for gate in range(4):
                memcpy(<char *>to_gates.data + (to_gates.row[b] + s * to_gates.step + gate * H) * item,
                       <char *>tape.gates[d] + (position * kernels.gates_stride(H) + gate * Hp) * item, H * item)
            memcpy(<char *>to_cell_states.data + (to_cell_states.row[b] + s * to_cell_states.step) * item,
                   <char *>tape.cell_states[d] + position * kernels.state_stride(H) * item, H * item)
    return gates.reshape(T, B, 4, H), cell_states
