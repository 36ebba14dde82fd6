"""The vector path: jobs and threads over the kernels of src/.

`pack`, `pack_cell`, `forward` and `backward` are what `clstm._core.backend` promises; `_portable` has the same. They allocate,
plan how the work is split, fill in a job for each direction and enter one parallel region; the loops over time and
batch are in C (src/kernels.h says how a batch is visited and how arrays are laid out). Arguments are trusted.
"""

import numpy as np

cimport numpy as cnp
from cython.parallel cimport parallel
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

from clstm._core.vector.pack import pack, pack_cell  # noqa: F401
from clstm._core.rows import Rows

from clstm._core.vector cimport kernels as c
from clstm._core.vector.pack cimport Packed, alike
from clstm._core.vector.plan cimport Split, Stack, split_backward, split_forward, stack_forward
from clstm._core.vector.runtime cimport Arena, new_counters, region_threads, team_of

cnp.import_array()

ctypedef cnp.intp_t isize

cdef class Walk:
    """The order in which a batch is visited (clstm_walk), and the memory it lies in."""

    cdef c.clstm_walk walk
    cdef bint pieces         # the rows are pieces of those of the batch:
    cdef const isize *batch  # which row of the batch each sorted row is a piece of,
    cdef const isize *begin  # and the time at which it begins
    cdef Arena arena

    def __cinit__(self, lengths, Py_ssize_t T, Py_ssize_t B):
        cdef Py_ssize_t b, s, steps
        cdef isize *order
        cdef isize *length
        cdef isize *active
        cdef isize *start
        cdef isize *batch
        cdef isize *begin
        cdef cnp.ndarray sorted_rows, given, of_batch = None, of_begin = None
        self.pieces = lengths is not None and isinstance(lengths, Rows)
        if self.pieces:
            of_batch, of_begin, lengths = lengths.batch, lengths.start, lengths.length
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
        if self.pieces:
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
        row[b] = walk.batch[b] * batch + walk.begin[b] * time if walk.pieces else walk.walk.order[b] * batch
        if reverse:
            row[b] += (walk.walk.length[b] - 1) * time
    cdef c.clstm_sequences lines
    lines.data = <char *>cnp.PyArray_DATA(array) + column * item
    lines.row = <const Py_ssize_t *>row
    lines.step = -time if reverse else time
    return lines


cdef class Tape:
    """What the backward pass needs from a forward pass: the walk, and each direction's gates, cell states, initial c and variant."""

    cdef tuple packs
    cdef object masks
    cdef bint reverse
    cdef Walk walk
    cdef Arena arena
    cdef c.clstm_variant_call variant_calls[2]
    cdef void *gates[2]
    cdef void *cell_states[2]
    cdef void *c[2]


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
    job.y_steps, job.first, job.last = 0 if walk.pieces else y.shape[0], 0, walk.walk.steps
    job.h0, job.c0 = item_at(h0, d), item_at(c0, d)
    job.hn, job.cn = item_at(h_n, d), item_at(c_n, d)
    job.h = arena.take(2 * kernels.states_size(B, packed.P, split.row_groups), item)
    job.c = arena.take(kernels.states_size(B, packed.H, split.row_groups), item)
    job.projected = arena.take(projected_rows * kernels.gates_stride(packed.H), item)
    job.chunk, job.row_groups = split.chunk, split.row_groups
    return 0


# Memory and arguments of variants --------------------------------------------------------------------------------------

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

def forward(packs, cnp.ndarray x, cnp.ndarray h0, cnp.ndarray c0, lengths, cnp.ndarray y, cnp.ndarray h_n,
            cnp.ndarray c_n, int num_threads, bint keep, bint reverse=False, masks=None):
    """Run one layer of one or two directions; see `clstm._core.backend`. Returns a Tape if `keep`.

    With `reverse` the first direction, too, reads each row from its end. Instead of lengths, `clstm._core.rows.Rows`: then y
    gets nothing past their ends. masks, for packs of `pack_cell`: for each direction the mask (B, P) of h where it enters
    the gates, and of what zoneout lets stay of h (T, B, P) and c (T, B, H), bytes; any None.
    """
    cdef Py_ssize_t T = x.shape[0], D = len(packs), d
    cdef Packed packed = packs[0]
    cdef const c.clstm_kernels *kernels = packed.kernels
    cdef Py_ssize_t item = kernels.item_size, I = packed.I, H = packed.H
    cdef Py_ssize_t ld = kernels.state_stride(H), gates_stride = kernels.gates_stride(H)
    cdef Walk walk = Walk(lengths, T, x.shape[1])
    cdef Py_ssize_t positions = walk.walk.positions, steps = walk.walk.steps, B = walk.walk.rows
    cdef bint plain = packed.plain and (D == 1 or (<Packed>packs[1]).plain)
    cdef Split split = split_forward(kernels, I, H, steps, positions, D, num_threads)
    cdef Py_ssize_t projected_rows = 0 if keep else projected_rows_of(split, steps, B)

    cdef Tape tape = None
    if keep:
        tape = Tape()
        tape.packs, tape.reverse, tape.walk, tape.arena, tape.masks = tuple(packs), reverse, walk, Arena(), masks
        for d in range(D):
            tape.arena.plan(positions * gates_stride, item)
            tape.arena.plan(positions * ld, item)
            tape.arena.plan(B * ld, item)
            if not plain:
                plan_kept(tape.arena, packs[d], positions)
        tape.arena.allocate()
    cdef Arena arena = Arena()
    for d in range(D):
        plan_forward(arena, packed, split, B, projected_rows)
        if not plain:
            plan_variant(arena, packs[d], B)
            arena.plan(0 if keep or packed.variant.R == NULL else B * ld, item)
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
            variant_calls[d].m = arena.take(0 if keep or packed.variant.R == NULL else B * ld, item)
            jobs[d].variant_call = &variant_calls[d]
        if keep:
            jobs[d].projected = NULL
            jobs[d].gates = tape.gates[d] = tape.arena.take(positions * gates_stride, item)
            jobs[d].cell_states = tape.cell_states[d] = tape.arena.take(positions * ld, item)
            jobs[d].c = tape.c[d] = tape.arena.take(B * ld, item)
            if not plain:
                set_kept(&variant_calls[d], tape.arena, packs[d], positions)
                tape.variant_calls[d] = variant_calls[d]

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
    return tape


cdef void forward_thread(const c.clstm_kernels *kernels, const c.clstm_forward *jobs, Py_ssize_t D, Py_ssize_t rank,
                         Py_ssize_t size, bint side_by_side, c.clstm_counter *counters) noexcept nogil:
    """What one thread of the region does: its direction, or its part of one after the other."""
    cdef Py_ssize_t d, half = size // 2
    if rank >= size:
        return
    if side_by_side and size % 2 == 0:
        d = rank // half
        kernels.forward(&jobs[d], team_of(rank - d * half, half, counters, d, size))
    else:
        for d in range(D):
            kernels.forward(&jobs[d], team_of(rank, size, counters, d, size))


def forward_stacked(packs, cnp.ndarray x, cnp.ndarray h0, cnp.ndarray c0, lengths, ys, cnp.ndarray h_n, cnp.ndarray c_n,
                    int num_threads):
    """Run stacked layers of one direction as a wavefront, if the model of the cost expects that to be faster.

    packs : one for each layer; ys : the output of each, (T, B, H), which is the input of the next; states (L, B, H).
    Returns whether it did; else nothing has been done.
    """
    cdef Py_ssize_t T = x.shape[0], B, L = len(packs), layer
    cdef Packed packed = packs[0]
    cdef const c.clstm_kernels *kernels = packed.kernels
    cdef Py_ssize_t H = packed.H, projected_rows
    if num_threads == 1 or not alike(packs):
        return False
    cdef Walk walk = Walk(lengths, T, x.shape[1])
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
    cdef c.clstm_forward *jobs = <c.clstm_forward *>arena.take(L, sizeof(c.clstm_forward))
    for layer in range(L):
        split = stack.first if layer == 0 else stack.others
        projected_rows = projected_rows_of(split, steps, B)
        set_forward(&jobs[layer], arena, walk, packs[layer], split, projected_rows, x if layer == 0 else ys[layer - 1],
                    ys[layer], 0, False, h0, c0, h_n, c_n, layer)

    cdef int threads = stack.teams * stack.members
    cdef c.clstm_counter *counters = new_counters(threads, stack.teams)
    cdef int n = region_threads(threads, num_threads)
    with nogil, parallel(num_threads=n):
        stacked_thread(kernels, jobs, L, &stack, c.clstm_thread(), min(threads, c.clstm_threads()), counters)
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

def backward(Tape tape, cnp.ndarray x, cnp.ndarray h0, cnp.ndarray c0, cnp.ndarray y, lengths, cnp.ndarray dy,
             cnp.ndarray dh_n, cnp.ndarray dc_n, cnp.ndarray dx, cnp.ndarray dh0, cnp.ndarray dc0, weight_grads,
             int num_threads, bint add=False):
    """Write the gradients of one layer; see `clstm._core.backend`. Uses the tape up.

    weight_grads: for each direction those of weight_ih, weight_hh and bias, and of a cell of `pack_cell` those of
    weight_hr, the peepholes, and the gains of the gates and of c and c's shift, None where the option is off. With `add`
    they are added to what is there.
    """
    cdef Py_ssize_t D = len(tape.packs), d
    cdef Packed packed = tape.packs[0]
    cdef const c.clstm_kernels *kernels = packed.kernels
    cdef Py_ssize_t item = kernels.item_size, I = packed.I, H = packed.H, P = packed.P
    cdef Py_ssize_t ld = kernels.state_stride(H), ld_h = kernels.state_stride(P), width = kernels.columns_width(I, P)
    cdef const c.clstm_walk *walk = &tape.walk.walk
    cdef Py_ssize_t B = walk.rows
    cdef bint plain = packed.plain and (D == 1 or (<Packed>tape.packs[1]).plain)
    cdef Split split = split_backward(kernels, I, H, walk.steps, walk.positions, D, num_threads)
    cdef Py_ssize_t columns = split.threads * kernels.gradient_block * max(width, kernels.padded(H))
    cdef Py_ssize_t sums = 4 * H * width + 4 * kernels.padded(H), row_sums = 0, dh_size = 0
    cdef Py_ssize_t states = kernels.states_size(B, H, split.row_groups)
    cdef bint need_input = dx is not None
    if need_input and lengths is not None:
        dx[...] = 0

    if not plain:
        row_sums = B * kernels.unit_parameters(&packed.variant) * kernels.padded(H)
    if packed.variant.R != NULL:
        dh_size = walk.positions * ld_h
        sums = max(sums, P * kernels.padded(H) + kernels.padded(P))
    cdef Arena arena = Arena()
    for d in range(D):
        arena.plan(4 * B, sizeof(isize))
        arena.plan(B * ld_h, item)
        arena.plan(states, item)
        arena.plan(columns, item)
        arena.plan(sums, item)
        if not plain:
            plan_variant(arena, packed, B)
            arena.plan(row_sums, item)
            arena.plan(dh_size, item)
    arena.allocate()

    cdef c.clstm_backward jobs[2]
    cdef c.clstm_variant_call *call = NULL
    cdef isize *rows
    cdef cnp.ndarray dweight_ih, dweight_hh, dbias
    cdef bint reverse
    for d in range(D):
        packed = tape.packs[d]
        packed.prepare_backward(need_input, num_threads)
        dweight_ih, dweight_hh, dbias = weight_grads[d][:3]
        reverse = tape.reverse or d == 1
        memset(&jobs[d], 0, sizeof(c.clstm_backward))
        rows = <isize *>arena.take(4 * B, sizeof(isize))
        jobs[d].walk = walk
        jobs[d].I, jobs[d].H, jobs[d].P = I, H, P
        jobs[d].Ub, jobs[d].Wb = packed.Ub, packed.Wb
        jobs[d].x = sequences_of(x, 0, reverse, tape.walk, rows)
        jobs[d].y = sequences_of(y, d * P, reverse, tape.walk, rows + B)
        jobs[d].dy = sequences_of(dy, d * P, reverse, tape.walk, rows + 2 * B)
        if need_input:
            jobs[d].dx = sequences_of(dx, 0, reverse, tape.walk, rows + 3 * B)
        jobs[d].add_dx = d == 1
        jobs[d].h0 = item_at(h0, d)
        jobs[d].dhn, jobs[d].dcn = item_at(dh_n, d), item_at(dc_n, d)
        jobs[d].dh0, jobs[d].dc0 = item_at(dh0, d), item_at(dc0, d)
        jobs[d].dh, jobs[d].dc = arena.take(B * ld_h, item), arena.take(states, item)
        jobs[d].c, jobs[d].gates, jobs[d].cell_states = tape.c[d], tape.gates[d], tape.cell_states[d]
        jobs[d].dW, jobs[d].dU = cnp.PyArray_DATA(dweight_ih), cnp.PyArray_DATA(dweight_hh)
        jobs[d].db, jobs[d].add = cnp.PyArray_DATA(dbias), add
        jobs[d].columns, jobs[d].sums = arena.take(columns, item), arena.take(sums, item)
        jobs[d].row_groups = split.row_groups
        if plain:
            continue
        call = &tape.variant_calls[d]
        set_variant(call, arena, packed, tape.walk, None if tape.masks is None else tape.masks[d], reverse)
        call.unit_parameter_sums = arena.take(row_sums, item)
        call.dh = arena.take(dh_size, item)
        dweight_hr, dpeephole, dnorm_gates, dnorm_cell, dnorm_cell_bias = weight_grads[d][3:]
        call.dR, call.dpeephole, call.dgate_gain = data_of(dweight_hr), data_of(dpeephole), data_of(dnorm_gates)
        call.dcell_gain, call.dcell_shift = data_of(dnorm_cell), data_of(dnorm_cell_bias)
        if packed.variant.gate_gain != NULL:  # the bias comes after the norm
            call.dgate_shift, jobs[d].db = jobs[d].db, NULL
        jobs[d].variant_call = call

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


def kept(Tape tape, Py_ssize_t d, Py_ssize_t T, Py_ssize_t B):
    """Return the gates i, f, g, o (T, B, 4, H) and the cell states (T, B, H) of direction d, before backward uses them up.

    They are zero where there was no step.
    """
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
