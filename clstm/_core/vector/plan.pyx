"""How many threads a job gets and how they share it: a model of its cost, in processor cycles.

Only time depends on the choice: every split gives the same bits. The caches, the speed of multiply-adds and of level 3 and
the cost of a parallel region are this machine's (`clstm._core.caches`, src/speed.h, src/region.h); the constants below were
measured on one with AVX-512.
"""

import numpy as np

cimport numpy as cnp
from libc.string cimport strcmp

from clstm._core.vector.kernels cimport clstm_kernels
from clstm._core.vector.runtime cimport kernels_of

cnp.import_array()

cdef extern from "region.h" nogil:
    const double CLSTM_USUAL_L3
    double clstm_multiply_add_cycles(const clstm_kernels *kernels)
    double clstm_l3_bytes_a_cycle(const clstm_kernels *kernels, double l2)
    double clstm_region_cycles(int threads)
    double clstm_barrier_cycles(const clstm_kernels *kernels, int threads)

cdef enum:
    BARRIER_CYCLES = 200       # one round of a spin barrier, processors near each other: where it isn't measured
    HAND_OVER_ROUNDS = 2       # what a step's results cost that others have written, in such rounds
    BARRIER_USES = 64          # and at the 1st, 2nd, 4th ... it is measured again: processors come and go
    EPILOGUE_CYCLES = 70       # gates and cell update of one vector of units
    PANEL_CYCLES = 25          # handing a tile over
    FMA_LATENCY = 4            # of a product whose sums are too few to overlap
    HAND_OVER_CYCLES = 12_000  # what a region costs beyond an empty one: caches to fill with the job, x, y, weights
    MIN_PIECE = 6              # steps of a wavefront's piece: a tile's rows of the input projection of one row
    MOST_PIECES = 16           # pieces: the first and last leave threads idle, each costs a barrier
    BUSY_REGION = 30_000       # others may have been at work while it was measured: again at the 2nd, 4th, 8th ... use

    L1_BYTES_A_CYCLE = 64
    L2_BYTES_A_CYCLE = 36
    MEMORY_BYTES_A_CYCLE = 5
    HANDED_BYTES_A_CYCLE = 10  # of many results

    FEW_ROWS = 1               # of a step: the input projection of a chunk goes by larger tiles
    AVX2_FEW_ROWS = 2          # which hide more of the reading there
    LEAST_CHUNK = 48           # rows of a chunk: each reads all input weights once
    MOST_CHUNK = 96
    ONE_PASS_PANEL = 256 << 10  # bytes of a panel [W, U] that leaves L2 room for the next

    MOST_THREADS = 1024        # of clstm._core.threads

cdef double AVX2_4_ROWS = 1.15  # 4 rows and half the vectors: 8 sums, too few to hide any delay of a multiply-add
cdef double L3_SLACK = 1.5  # rows hide the reading of weights from level 3 if they take so many times as long
cdef double WAVEFRONT_GAIN = 0.9  # of the time layer by layer: the model isn't better than that

cdef Machine _machine                      # its caches and level 3, once known
cdef const clstm_kernels *_measured = NULL  # of their instruction set the multiply-adds are known
cdef Py_ssize_t _multiply_add_uses = 0, _l3_uses = 0
cdef double _regions[MOST_THREADS + 1]     # the least cycles measured, by number of threads
cdef double _barriers[MOST_THREADS + 1]    # the last ones
cdef Py_ssize_t _uses[MOST_THREADS + 1]


cdef bint is_power_of_2(Py_ssize_t n) noexcept:
    return n & (n - 1) == 0


cdef Machine machine(const clstm_kernels *kernels, int num_threads, double weights=0) except *:
    """This machine, with regions of num_threads threads; asked and measured at first use, what is fastest again at the
    2nd, 4th, 8th ... use: others may have been at work on the same core.

    Level 3 is measured for the first `weights`, in bytes, that level 2 doesn't hold.
    """
    global _measured, _multiply_add_uses, _l3_uses
    cdef Machine found
    cdef double before
    if _machine.l1 == 0:
        from clstm._core.caches import caches

        _machine.l2, _machine.l3 = caches()[1:]
        _machine.l1, _machine.l3_speed = caches().l1, CLSTM_USUAL_L3
    if _measured == NULL or strcmp(_measured.name, kernels.name) != 0:
        _measured, _machine.multiply_add, _multiply_add_uses = kernels, 2, 0
    _multiply_add_uses += 1
    if is_power_of_2(_multiply_add_uses):
        _machine.multiply_add = min(_machine.multiply_add, clstm_multiply_add_cycles(kernels))
    if weights > _machine.l2:
        _l3_uses += 1
        if is_power_of_2(_l3_uses):
            before = 0 if _l3_uses == 1 else _machine.l3_speed
            _machine.l3_speed = max(before, clstm_l3_bytes_a_cycle(kernels, _machine.l2))
    found = _machine
    found.barrier = BARRIER_CYCLES
    num_threads = min(num_threads, MOST_THREADS)
    if num_threads > 1:
        _uses[num_threads] += 1
        if _uses[num_threads] == 1:
            _regions[num_threads] = clstm_region_cycles(num_threads)
        elif _regions[num_threads] > BUSY_REGION and is_power_of_2(_uses[num_threads]):
            _regions[num_threads] = min(_regions[num_threads], clstm_region_cycles(num_threads))
        if is_power_of_2(_uses[num_threads]) or _uses[num_threads] % BARRIER_USES == 0:
            _barriers[num_threads] = clstm_barrier_cycles(kernels, num_threads)
        found.region = _regions[num_threads] + HAND_OVER_CYCLES
        found.barrier = _barriers[num_threads] or BARRIER_CYCLES
    return found


def speed() -> dict[str, float]:
    """Return what was measured of this machine so far: cycles of a multiply-add of vectors, bytes a cycle from level 3,
    cycles of a barrier's round between two threads (0: not yet)."""
    return {"multiply_add": _machine.multiply_add, "l3_speed": _machine.l3_speed, "barrier": _barriers[2]}


cdef double bytes_a_cycle(const Machine *machine, double own, double whole) noexcept nogil:
    """How fast a thread reads its `own` bytes of weights, of `whole` bytes that all threads read."""
    if own <= machine.l1:
        return L1_BYTES_A_CYCLE
    if own <= machine.l2:
        return L2_BYTES_A_CYCLE
    return machine.l3_speed if whole <= machine.l3 else min(machine.l3_speed, <double>MEMORY_BYTES_A_CYCLE)


cdef inline bint is_avx2(const clstm_kernels *kernels) noexcept nogil:
    return kernels.vector_length * kernels.item_size == 32


cdef double step_cycles(const clstm_kernels *kernels, const Machine *machine, double rows, double panels, double K,
                        double all_panels) noexcept nogil:
    """One step of `rows` rows and `panels` panels of 4 vectors, summed over K, by one of the threads that share
    `all_panels`."""
    cdef double panel_bytes = 4.0 * kernels.vector_length * kernels.item_size
    cdef double reading = panel_bytes / bytes_a_cycle(machine, panels * K * panel_bytes, all_panels * K * panel_bytes)
    cdef double adding = max(4 * machine.multiply_add * rows, FMA_LATENCY / min(4.0, panels))
    if rows == 4 and is_avx2(kernels):
        adding *= AVX2_4_ROWS
    cdef double product = max(adding, reading)
    if reading * MEMORY_BYTES_A_CYCLE >= panel_bytes:  # memory isn't that even: a part of the reading is never hidden
        product += 0.1 * min(adding, reading)
    return panels * (K * product + PANEL_CYCLES + rows * EPILOGUE_CYCLES)


cdef Split cheapest(const clstm_kernels *kernels, const Machine *machine, double rows, double panels, double K,
                    Py_ssize_t steps, double row_cycles, double rest_cycles, Py_ssize_t D,
                    int num_threads) noexcept nogil:
    """The cheapest split of D directions of `steps` steps each.

    Besides the product over K, a row has row_cycles for each panel and step, which split as the rows and panels do; and
    a direction has rest_cycles, which split freely.
    """
    cdef Split best
    cdef double own_rows, own_panels, cost
    cdef int threads, team, groups, members, rounds, side
    best.threads, best.side_by_side, best.row_groups, best.chunk = 1, False, 1, 0
    cost = step_cycles(kernels, machine, rows, panels, K, panels) + rows * panels * row_cycles
    best.cycles = D * (steps * cost + rest_cycles)
    threads = num_threads
    while threads > 1 and best.cycles > machine.region:
        for side in range(2):
            if side and (D == 1 or threads % 2 == 1):
                continue
            team = threads // 2 if side else threads
            for groups in range(1, team + 1):
                members = team // groups
                if members * groups != team or members > panels or groups >= rows + 1:
                    continue
                own_rows, own_panels = max(1.0, ceil_div(rows, groups)), ceil_div(panels, members)
                cost = step_cycles(kernels, machine, own_rows, own_panels, K, panels) + own_rows * own_panels * row_cycles
                rounds = 0
                while 1 << rounds < members:
                    rounds += 1
                # each step begins with the other threads' part of the last one's result
                if members > 1:
                    cost += (rounds + HAND_OVER_ROUNDS) * machine.barrier
                    cost += own_rows * K * kernels.item_size * (members - 1) / members / HANDED_BYTES_A_CYCLE
                cost = steps * cost + rest_cycles / team
                cost = machine.region + (1 if side else D) * cost
                if cost < best.cycles:
                    best.cycles, best.threads, best.side_by_side, best.row_groups = cost, threads, side, groups
        threads //= 2
    return best


cdef inline double ceil_div(double a, double b) noexcept nogil:
    return <double>(<Py_ssize_t>((a + b - 1) / b))


cdef Split forward_on(const clstm_kernels *kernels, const Machine *machine, Py_ssize_t I, Py_ssize_t H,
                      Py_ssize_t steps, Py_ssize_t positions, Py_ssize_t D, int num_threads) noexcept nogil:
    cdef double rows = positions / <double>max(1, steps)
    cdef double panels = kernels.padded(H) // kernels.vector_length
    cdef double row_cycles = 4 * machine.multiply_add  # of each k and panel
    cdef Split split = cheapest(kernels, machine, rows, panels, H, steps, row_cycles * I, 0, D, num_threads)
    cdef int team = split.threads // 2 if split.side_by_side else split.threads
    cdef double panel = 4.0 * kernels.vector_length * (I + H) * kernels.item_size, weights = panels * panel
    rows = max(1.0, rows / split.row_groups)
    # One pass over [x, h] is cheapest where the rows of a step take longer than reading its weights. Else the input panels
    # are read once for a chunk of steps, whose result stays in L2 with the recurrent panels.
    cdef double own = weights / (team // split.row_groups)
    cdef bint past_caches = own > machine.l2 and (panel > ONE_PASS_PANEL or weights > machine.l3 / 2)
    cdef double reading = panel / (I + H) / bytes_a_cycle(machine, own, weights)
    if own > machine.l2:
        reading *= L3_SLACK
    cdef int few_rows = AVX2_FEW_ROWS if is_avx2(kernels) else FEW_ROWS
    cdef bint one_pass = steps == 1 or rows > few_rows and not past_caches and rows * row_cycles > reading
    # The chunk's gates take a quarter of level 2
    cdef double chunk_rows = machine.l2 / 4 / (kernels.gates_stride(H) * kernels.item_size)
    if not one_pass:
        split.chunk = max(1, <Py_ssize_t>(min(max(chunk_rows, LEAST_CHUNK), MOST_CHUNK) / rows))
    return split


cdef Split backward_on(const clstm_kernels *kernels, const Machine *machine, Py_ssize_t I, Py_ssize_t H,
                       Py_ssize_t steps, Py_ssize_t positions, Py_ssize_t D, int num_threads) noexcept nogil:
    cdef double rows = positions / <double>max(1, steps)
    cdef double width = 4 * kernels.vector_length
    cdef double panels = (H + width - 1) // width
    cdef double rest = 4 * machine.multiply_add * positions * 4 * H * (H + 2 * I) / width
    return cheapest(kernels, machine, rows, panels, 4 * H, steps, 0, rest, D, num_threads)


cdef Split _forced  # threads is 0: none
_forced.threads = 0


cdef int _wavefront = -1  # over stacked layers: -1 where the model says so, 0 never, 1 always


def force(threads: int = 0, side_by_side: bool = False, row_groups: int = 1, chunk: int = 0,
          wavefront: bool | None = None) -> None:
    """Split every job so from now on, whatever it costs; without arguments, as the model says again. For tests."""
    global _wavefront
    _wavefront = -1 if wavefront is None else wavefront
    _forced.threads, _forced.side_by_side = threads, side_by_side
    _forced.row_groups, _forced.chunk, _forced.cycles = row_groups, chunk, 0


# forward_on or backward_on
ctypedef Split (*split_on)(const clstm_kernels *kernels, const Machine *machine, Py_ssize_t I, Py_ssize_t H,
                           Py_ssize_t steps, Py_ssize_t positions, Py_ssize_t D, int num_threads) noexcept nogil


cdef Split split_here(split_on model, const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t steps,
                      Py_ssize_t positions, Py_ssize_t D, int num_threads) except *:
    """What the model chooses on this machine, whose regions are measured only for work that could pay for one."""
    if _forced.threads > 0:
        return _forced
    cdef double weights = 4.0 * kernels.padded(H) * (I + H) * kernels.item_size
    cdef Machine here = machine(kernels, 1, weights)
    cdef Split split = model(kernels, &here, I, H, steps, positions, D, 1)
    if num_threads > 1 and split.cycles > HAND_OVER_CYCLES:
        here = machine(kernels, num_threads, weights)
        split = model(kernels, &here, I, H, steps, positions, D, num_threads)
    return split


cdef Split split_forward(const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t steps, Py_ssize_t positions,
                         Py_ssize_t D, int num_threads) except *:
    """How a forward of D directions shares its work, of `positions` real (step, row) pairs in `steps` steps."""
    return split_here(forward_on, kernels, I, H, steps, positions, D, num_threads)


cdef Split split_backward(const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t steps,
                          Py_ssize_t positions, Py_ssize_t D, int num_threads) except *:
    """The same of a backward."""
    return split_here(backward_on, kernels, I, H, steps, positions, D, num_threads)


cdef Split split_step(const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t layers, Py_ssize_t rows,
                      int num_threads) except *:
    """The same of one step of stacked layers, in a region of its own.

    Between two steps the weights of all layers pass, so they count as those of one layer. What the caller does between
    them can make a region dearer than those measured, so a step must be worth several.
    """
    cdef double panels = kernels.padded(H) // kernels.vector_length
    cdef double K = I + H + (layers - 1) * 2 * H
    cdef double weights = 4.0 * kernels.padded(H) * K * kernels.item_size
    cdef Machine here = machine(kernels, 1, weights)
    cdef double row_cycles = (layers - 1) * (PANEL_CYCLES + EPILOGUE_CYCLES)  # of the layers but the first
    cdef Split split = cheapest(kernels, &here, rows, panels, K, 1, row_cycles, 0, 1, 1)
    if num_threads > 1 and split.cycles > 4 * HAND_OVER_CYCLES:
        here = machine(kernels, num_threads, weights)
        split = cheapest(kernels, &here, rows, panels, K, 1, row_cycles, (layers - 1) * here.barrier, 1, num_threads)
    return split


cdef Stack stack_forward(const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t layers, Py_ssize_t steps,
                         Py_ssize_t positions, int num_threads) except *:
    """Whether stacked layers of one direction are better run as a wavefront, and how.

    A layer follows the one before it by a piece of the steps, so that all are at work but in the first and last pieces.
    """
    cdef Stack stack
    cdef Machine here
    cdef Split first = split_forward(kernels, I, H, steps, positions, 1, num_threads)
    cdef Split others = split_forward(kernels, H, H, steps, positions, 1, num_threads)
    cdef double one_by_one = first.cycles + (layers - 1) * others.cycles, most
    cdef Py_ssize_t pieces
    stack.teams = min(num_threads, layers)
    stack.members = num_threads // stack.teams
    stack.piece = max(<Py_ssize_t>MIN_PIECE, (steps + MOST_PIECES - 1) // MOST_PIECES)
    if _wavefront == 0 or _wavefront < 0 and (steps < 2 * stack.piece or one_by_one < HAND_OVER_CYCLES):
        stack.teams = 1
        return stack
    here = machine(kernels, num_threads, 4.0 * kernels.padded(H) * (max(I, H) + H) * kernels.item_size)
    cdef double region = here.region
    here.region = 0
    stack.first = forward_on(kernels, &here, I, H, steps, positions, 1, stack.members)
    stack.others = forward_on(kernels, &here, H, H, steps, positions, 1, stack.members)
    if _forced.threads > 0:
        stack.first.row_groups = stack.others.row_groups = _forced.row_groups
        stack.first.chunk = stack.others.chunk = _forced.chunk
    pieces = max(1, (steps + stack.piece - 1) // stack.piece)
    # The busiest team's layers, of which there may be one more than of another's.
    most = max(stack.first.cycles, stack.others.cycles) + (ceil_div(layers, stack.teams) - 1) * stack.others.cycles
    most = region + most * (pieces + layers - 1) / pieces + (pieces + layers - 1) * here.barrier
    if _wavefront < 0 and most > WAVEFRONT_GAIN * one_by_one:
        stack.teams = 1
    return stack


def plan(input_size: int, hidden_size: int, steps: int, batch: int, directions: int = 1, num_threads: int = 1, *,
         backward: bool = False, dtype: type = np.float32, caches: tuple[int, int, int] | None = None,
         region: float | None = None, multiply_add: float | None = None,
         l3_speed: float | None = None, barrier: float | None = None) -> dict[str, object]:
    """Return what the model chooses for a layer, on this machine or on one with other caches: to look at and to test.

    Parameters
    ----------
    input_size, hidden_size, steps, batch, directions, num_threads : int
    backward : bool
        Of the backward pass, not of the forward one.
    dtype : float32 or float64
    caches : (l1, l2, l3), optional
        Bytes, as `clstm._core.caches.Caches`; None for this machine's.
    region : float, optional
        Cycles of entering and leaving a parallel region; None for this machine's.
    multiply_add, l3_speed, barrier : float, optional
        Cycles of a multiply-add of vectors, bytes a cycle that one thread reads from level 3, and cycles of a round of a
        barrier; None for this machine's.

    Returns
    -------
    dict
        ``threads`` in all; ``side_by_side``, whether half of them do each direction; ``row_groups``, the groups that a
        direction's threads make, which deal the rows out; ``panel_threads`` in each group, which share the panels;
        ``chunk``, the steps projected at once, 0 for in one pass with the recurrent product; ``cycles`` expected;
        ``speedup`` against one thread.

    Raises
    ------
    ValueError
        No vector kernels are in use.
    """
    cdef const clstm_kernels *kernels = kernels_of(np.empty(0, dtype))
    if kernels == NULL:
        raise ValueError("the portable path is in use, which has no plan")
    cdef Machine of = machine(kernels, num_threads if region is None else 1, float("inf") if l3_speed is None else 0)
    if caches is not None:
        of.l1, of.l2, of.l3 = caches
    if region is not None:
        of.region = region
    if multiply_add is not None:
        of.multiply_add = multiply_add
    if region is not None:
        of.barrier = BARRIER_CYCLES
    if barrier is not None:
        of.barrier = barrier
    if l3_speed is not None:
        of.l3_speed = l3_speed
    cdef split_on model = backward_on if backward else forward_on
    cdef Py_ssize_t positions = steps * batch
    cdef Split one = model(kernels, &of, input_size, hidden_size, steps, positions, directions, 1)
    cdef Split split = model(kernels, &of, input_size, hidden_size, steps, positions, directions, num_threads)
    team = split.threads // 2 if split.side_by_side else split.threads
    return {
        "threads": split.threads, "side_by_side": bool(split.side_by_side), "row_groups": split.row_groups,
        "panel_threads": team // split.row_groups, "chunk": split.chunk, "cycles": split.cycles,
        "speedup": one.cycles / split.cycles if split.cycles else 1.0,
    }
