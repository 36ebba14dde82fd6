"""The vector path: jobs and threads over the kernels of src/.

`pack`, `forward` and `backward` are what `clstm.backend` promises; `_portable` has the same. They allocate, plan how
the work is split, fill in a job for each direction and enter one parallel region; the loops over time and batch are in
C (src/kernels.h says how a batch is visited and how arrays are laid out). Arguments are trusted.
"""

import numpy as np

cimport numpy as cnp
from cython.parallel cimport parallel, prange
from libc.stdlib cimport free
from libc.string cimport memset

from clstm cimport _kernels as c
from clstm._plan cimport Split, Stack, split_backward, split_forward, stack_forward
from clstm._runtime cimport Arena, kernels_of, new_counters, region_threads, team_of

cnp.import_array()

ctypedef cnp.intp_t isize

cdef class Packed:
    """The weights of one direction as panels; never changed, so that any number of calls may share it."""

    cdef int prepare_backward(self, bint need_input, int num_threads) except -1:
        if self.Ub == NULL:
            self.hidden_arena = Arena()
            self.Ub = self.product_panels(self.hidden_arena, self.U, self.H, num_threads)
        if need_input and self.Wb == NULL:
            self.input_arena = Arena()
            self.Wb = self.product_panels(self.input_arena, self.W, self.I, num_threads)
        return 0

    cdef void *product_panels(self, Arena arena, const void *panels, Py_ssize_t K, int num_threads) except NULL:
        cdef const c.clstm_kernels *kernels = self.kernels
        cdef Py_ssize_t H = self.H, size = arena.plan(4 * H * kernels.padded(K), kernels.item_size), q
        arena.allocate()
        cdef void *product = arena.take(size, kernels.item_size)
        cdef Py_ssize_t width = 4 * kernels.vector_length, count = (K + width - 1) // width
        cdef int threads = pack_threads(4 * H * K, num_threads)
        if threads == 1:
            kernels.repack_backward(panels, H, K, product, 0, count)
        else:
            for q in prange(count, nogil=True, num_threads=threads, schedule="static"):
                kernels.repack_backward(panels, H, K, product, q, q + 1)
        return product


cdef int pack_threads(Py_ssize_t size, int num_threads) noexcept:
    """Threads that pay for packing a matrix of `size` numbers."""
    return num_threads if size >= 1 << 18 else 1


def pack(cnp.ndarray weight_ih, cnp.ndarray weight_hh, cnp.ndarray bias, int num_threads) -> Packed:
    """Return a snapshot of one direction's weights: weight_ih (4H, I), weight_hh (4H, H), bias (4H,), C-contiguous."""
    cdef const c.clstm_kernels *kernels = kernels_of(weight_ih)
    cdef Py_ssize_t item = kernels.item_size, I = weight_ih.shape[1], H = weight_hh.shape[1], p
    cdef Py_ssize_t Hp = kernels.padded(H), count = Hp // kernels.vector_length
    cdef Packed packed = Packed()
    cdef Arena arena = Arena()
    packed.kernels, packed.I, packed.H, packed.forward_arena = kernels, I, H, arena
    arena.plan(4 * Hp * I, item)
    arena.plan(4 * Hp * H, item)
    arena.plan(4 * Hp, item)
    arena.allocate()
    packed.W = arena.take(4 * Hp * I, item)
    packed.U = arena.take(4 * Hp * H, item)
    packed.bias = arena.take(4 * Hp, item)
    cdef const void *w_ih = cnp.PyArray_DATA(weight_ih)
    cdef const void *w_hh = cnp.PyArray_DATA(weight_hh)
    kernels.pack_bias(cnp.PyArray_DATA(bias), H, packed.bias)
    cdef void *W = packed.W
    cdef void *U = packed.U
    cdef int threads = pack_threads(4 * H * (I + H), num_threads)
    if threads == 1:
        kernels.pack_forward(w_ih, H, I, W, 0, count)
        kernels.pack_forward(w_hh, H, H, U, 0, count)
    else:
        for p in prange(count, nogil=True, num_threads=threads, schedule="static"):
            kernels.pack_forward(w_ih, H, I, W, p, p + 1)
            kernels.pack_forward(w_hh, H, H, U, p, p + 1)
    return packed


cdef class Walk:
    """The order in which a batch is visited (clstm_walk), and the memory it lies in."""

    cdef c.clstm_walk walk
    cdef Arena arena

    def __cinit__(self, cnp.ndarray lengths, Py_ssize_t T, Py_ssize_t B):
        cdef Py_ssize_t b, s, steps
        cdef isize *order
        cdef isize *length
        cdef isize *active
        cdef isize *start
        self.arena = Arena()
        self.arena.plan(2 * (T + B), sizeof(isize))
        self.arena.allocate()
        order = <isize *>self.arena.take(2 * (T + B), sizeof(isize))
        length, active, start = order + B, order + 2 * B, order + 2 * B + T
        cdef cnp.ndarray sorted_rows
        if lengths is None:
            for b in range(B):
                order[b], length[b] = b, T
        else:
            sorted_rows = np.argsort(-lengths, kind="stable")
            for b in range(B):
                order[b] = (<isize *>cnp.PyArray_DATA(sorted_rows))[b]
                length[b] = (<cnp.int64_t *>cnp.PyArray_DATA(lengths))[order[b]]
        steps = length[0] if B > 0 else 0
        b = B
        self.walk.cells = 0
        for s in range(steps):
            while length[b - 1] <= s:
                b -= 1
            active[s], start[s] = b, self.walk.cells
            self.walk.cells += b
        self.walk.steps, self.walk.rows = steps, B
        self.walk.order, self.walk.length = <const Py_ssize_t *>order, <const Py_ssize_t *>length
        self.walk.active, self.walk.start = <const Py_ssize_t *>active, <const Py_ssize_t *>start


cdef c.clstm_lines lines_of(cnp.ndarray array, Py_ssize_t column, bint reverse, const c.clstm_walk *walk,
                            isize *row) noexcept:
    """Where each sorted row's steps lie in array (T, B, features), from feature `column` on; `row` holds B offsets."""
    cdef Py_ssize_t item = cnp.PyArray_ITEMSIZE(array), b
    cdef Py_ssize_t time = array.strides[0] // item, batch = array.strides[1] // item
    for b in range(walk.rows):
        row[b] = walk.order[b] * batch
        if reverse:
            row[b] += (walk.length[b] - 1) * time
    cdef c.clstm_lines lines
    lines.data = <char *>cnp.PyArray_DATA(array) + column * item
    lines.row = <const Py_ssize_t *>row
    lines.step = -time if reverse else time
    return lines


cdef class Tape:
    """What backward needs of one forward: the walk, and each direction's gates, cell states and initial c."""

    cdef tuple packs
    cdef bint reverse
    cdef Walk walk
    cdef Arena arena
    cdef void *gates[2]
    cdef void *cells[2]
    cdef void *c[2]


cdef char *item_at(cnp.ndarray array, Py_ssize_t d) noexcept:
    """The d-th (B, H) part of a contiguous (D, B, H) array."""
    return <char *>cnp.PyArray_DATA(array) + d * array.strides[0]


cdef Py_ssize_t projected_rows_of(Split split, Py_ssize_t steps, Py_ssize_t B) noexcept:
    """Rows of gates that a layer's chunk of steps needs in inference."""
    return min(split.chunk, steps) * (B + split.row_groups) if split.chunk > 0 else 0


cdef int plan_forward(Arena arena, const c.clstm_kernels *kernels, Py_ssize_t B, Py_ssize_t H,
                      Split split, Py_ssize_t projected_rows) except -1:
    """Plan the memory that `set_forward` takes."""
    cdef Py_ssize_t item = kernels.item_size
    arena.plan(2 * B, sizeof(isize))
    arena.plan(3 * kernels.states_size(B, H, split.row_groups), item)
    arena.plan(projected_rows * kernels.gates_stride(H), item)
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
    job.I, job.H = packed.I, packed.H
    job.W, job.U, job.bias = packed.W, packed.U, packed.bias
    job.x = lines_of(x, 0, reverse, &walk.walk, rows)
    job.y = lines_of(y, column, reverse, &walk.walk, rows + B)
    job.y_steps, job.first, job.last = y.shape[0], 0, walk.walk.steps
    job.h0, job.c0 = item_at(h0, d), item_at(c0, d)
    job.hn, job.cn = item_at(h_n, d), item_at(c_n, d)
    job.h = arena.take(3 * kernels.states_size(B, packed.H, split.row_groups), item)
    job.projected = arena.take(projected_rows * kernels.gates_stride(packed.H), item)
    job.chunk, job.row_groups = split.chunk, split.row_groups
    return 0


def forward(packs, cnp.ndarray x, cnp.ndarray h0, cnp.ndarray c0, lengths, cnp.ndarray y, cnp.ndarray h_n,
            cnp.ndarray c_n, int num_threads, bint keep, bint reverse=False, masks=None):
    """Run one layer of one or two directions; see `clstm.backend`. Returns a Tape if `keep`.

    With `reverse` the first direction, too, reads each row from its end.
    """
    cdef Py_ssize_t T = x.shape[0], B = x.shape[1], D = len(packs), d
    cdef Packed packed = packs[0]
    cdef const c.clstm_kernels *kernels = packed.kernels
    cdef Py_ssize_t item = kernels.item_size, I = packed.I, H = packed.H
    cdef Py_ssize_t ld = kernels.state_stride(H), gates_stride = kernels.gates_stride(H)
    cdef Walk walk = Walk(lengths, T, B)
    cdef Py_ssize_t cells = walk.walk.cells, steps = walk.walk.steps
    cdef Split split = split_forward(kernels, I, H, steps, cells, D, num_threads)
    cdef Py_ssize_t projected_rows = 0 if keep else projected_rows_of(split, steps, B)

    cdef Tape tape = None
    if keep:
        tape = Tape()
        tape.packs, tape.reverse, tape.walk, tape.arena = tuple(packs), reverse, walk, Arena()
        for d in range(D):
            tape.arena.plan(cells * gates_stride, item)
            tape.arena.plan(cells * ld, item)
            tape.arena.plan(B * ld, item)
        tape.arena.allocate()
    cdef Arena arena = Arena()
    for d in range(D):
        plan_forward(arena, kernels, B, H, split, projected_rows)
    arena.allocate()

    cdef c.clstm_forward jobs[2]
    for d in range(D):
        set_forward(&jobs[d], arena, walk, packs[d], split, projected_rows, x, y, d * H, reverse or d == 1, h0, c0,
                    h_n, c_n, d)
        if keep:
            jobs[d].projected = NULL
            jobs[d].gates = tape.gates[d] = tape.arena.take(cells * gates_stride, item)
            jobs[d].cells = tape.cells[d] = tape.arena.take(cells * ld, item)
            jobs[d].c = tape.c[d] = tape.arena.take(B * ld, item)

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
    cdef Py_ssize_t T = x.shape[0], B = x.shape[1], L = len(packs), layer
    cdef Packed packed = packs[0]
    cdef const c.clstm_kernels *kernels = packed.kernels
    cdef Py_ssize_t H = packed.H, projected_rows
    if num_threads == 1:
        return False
    cdef Walk walk = Walk(lengths, T, B)
    cdef Py_ssize_t steps = walk.walk.steps
    cdef Stack stack = stack_forward(kernels, packed.I, H, L, steps, walk.walk.cells, num_threads)
    if stack.teams < 2:
        return False

    cdef Arena arena = Arena()
    arena.plan(L, sizeof(c.clstm_forward))
    cdef Split split
    for layer in range(L):
        split = stack.first if layer == 0 else stack.others
        plan_forward(arena, kernels, B, H, split, projected_rows_of(split, steps, B))
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
    cdef Py_ssize_t steps = jobs[0].walk.steps, pieces = max(1, (steps + stack.piece - 1) // stack.piece)
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
                job.first, job.last = piece * stack.piece, min((piece + 1) * stack.piece, steps)
                kernels.forward(&job, own)
            layer += teams
        kernels.wait(&everyone)


def backward(Tape tape, cnp.ndarray x, cnp.ndarray h0, cnp.ndarray c0, cnp.ndarray y, lengths, cnp.ndarray dy,
             cnp.ndarray dh_n, cnp.ndarray dc_n, cnp.ndarray dx, cnp.ndarray dh0, cnp.ndarray dc0, weight_grads,
             int num_threads, bint add=False):
    """Write the gradients of one layer; see `clstm.backend`. Uses the tape up.

    With `add` those of the weights are added to what is there.
    """
    cdef Py_ssize_t B = x.shape[1], D = len(tape.packs), d
    cdef Packed packed = tape.packs[0]
    cdef const c.clstm_kernels *kernels = packed.kernels
    cdef Py_ssize_t item = kernels.item_size, I = packed.I, H = packed.H
    cdef Py_ssize_t ld = kernels.state_stride(H), width = kernels.columns_width(I, H)
    cdef const c.clstm_walk *walk = &tape.walk.walk
    cdef Split split = split_backward(kernels, I, H, walk.steps, walk.cells, D, num_threads)
    cdef Py_ssize_t columns = split.threads * kernels.gradient_block * width
    cdef Py_ssize_t sums = 4 * H * width + 4 * kernels.padded(H)
    cdef Py_ssize_t states = kernels.states_size(B, H, split.row_groups)
    cdef bint need_input = dx is not None
    if need_input and lengths is not None:
        dx[...] = 0

    cdef Arena arena = Arena()
    for d in range(D):
        arena.plan(4 * B, sizeof(isize))
        arena.plan(B * ld, item)
        arena.plan(states, item)
        arena.plan(columns, item)
        arena.plan(sums, item)
    arena.allocate()

    cdef c.clstm_backward jobs[2]
    cdef isize *rows
    cdef cnp.ndarray dweight_ih, dweight_hh, dbias
    for d in range(D):
        packed = tape.packs[d]
        packed.prepare_backward(need_input, num_threads)
        dweight_ih, dweight_hh, dbias = weight_grads[d]
        memset(&jobs[d], 0, sizeof(c.clstm_backward))
        rows = <isize *>arena.take(4 * B, sizeof(isize))
        jobs[d].walk = walk
        jobs[d].I, jobs[d].H = I, H
        jobs[d].Ub, jobs[d].Wb = packed.Ub, packed.Wb
        jobs[d].x = lines_of(x, 0, tape.reverse or d == 1, walk, rows)
        jobs[d].y = lines_of(y, d * H, tape.reverse or d == 1, walk, rows + B)
        jobs[d].dy = lines_of(dy, d * H, tape.reverse or d == 1, walk, rows + 2 * B)
        if need_input:
            jobs[d].dx = lines_of(dx, 0, tape.reverse or d == 1, walk, rows + 3 * B)
        jobs[d].add_dx = d == 1
        jobs[d].h0 = item_at(h0, d)
        jobs[d].dhn, jobs[d].dcn = item_at(dh_n, d), item_at(dc_n, d)
        jobs[d].dh0, jobs[d].dc0 = item_at(dh0, d), item_at(dc0, d)
        jobs[d].dh, jobs[d].dc = arena.take(B * ld, item), arena.take(states, item)
        jobs[d].c, jobs[d].gates, jobs[d].cells = tape.c[d], tape.gates[d], tape.cells[d]
        jobs[d].dW, jobs[d].dU = cnp.PyArray_DATA(dweight_ih), cnp.PyArray_DATA(dweight_hh)
        jobs[d].db, jobs[d].add = cnp.PyArray_DATA(dbias), add
        jobs[d].columns, jobs[d].sums = arena.take(columns, item), arena.take(sums, item)
        jobs[d].row_groups = split.row_groups

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


def steps(packs, Py_ssize_t batch_size, int num_threads, bint residual=False):
    """Return what steps a stream of stacked layers; see `clstm._stream`."""
    from clstm._step import VectorSteps  # which needs this module

    return VectorSteps(packs, batch_size, num_threads)
