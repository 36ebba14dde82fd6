"""How many threads a job gets and how they divide it: a model of its cost, in processor cycles.

Only time depends on the choice: every split gives the same bits. The caches, the speed of multiply-adds and of level 3 and
the cost of a parallel region are those of this machine (`clstm._core.caches`, src/speed.h, src/region.h), each
measured once in a process: see `machine`. The constants below were measured on a machine with AVX-512.
"""

import numpy as np

cimport numpy as cnp
from libc.stdint cimport int64_t

from clstm._core.vector.kernels cimport clstm_kernels
from clstm._core.vector.runtime cimport kernels_of

cnp.import_array()

cdef extern from "region.h" nogil:
    const double CLSTM_USUAL_L3
    int64_t clstm_now()
    double clstm_multiply_add_cycles(const clstm_kernels *kernels)
    double clstm_l3_bytes_a_cycle(const clstm_kernels *kernels, double l2)
    double clstm_region_cycles(int threads)
    double clstm_barrier_cycles(const clstm_kernels *kernels, int threads)

cdef enum:
    USUAL_BARRIER_CYCLES = 200  # one round of a spin barrier of processors near each other: where it can't be measured
    TRANSFER_ROUNDS = 2        # reading the results of a step that other threads have written costs so many such rounds
    EPILOGUE_CYCLES = 70       # gates and cell update of one vector of units
    PANEL_CYCLES = 25          # calling a tile
    FMA_LATENCY = 4            # of a product with too few accumulators to overlap
    REGION_CACHE_CYCLES = 12_000  # cost of a region beyond an empty one: filling caches with the job, x, y, weights
    MIN_STEP_BLOCK = 6         # steps of a wavefront's block: the rows of a tile in the input projection of one row
    MAX_STEP_BLOCKS = 16       # threads are idle in the first and last blocks, and each block costs a barrier
    BUSY_REGION = 30_000       # cycles of a region and of a barrier's round above which other processes were probably running
    BUSY_BARRIER = 5_000
    BUSY_NANOSECONDS = 20_000_000  # for so long they are measured again then

    L1_BYTES_PER_CYCLE = 64
    L2_BYTES_PER_CYCLE = 36
    MEMORY_BYTES_PER_CYCLE = 5
    TRANSFER_BYTES_PER_CYCLE = 10  # of results that other threads have written

    FEW_ROWS = 1               # of a step: up to so many, the input projection of a chunk is faster by its larger tiles
    AVX2_FEW_ROWS = 2          # whose larger tiles hide more of the reading
    MIN_CHUNK = 48             # rows of a chunk, which reads all input weights once
    MAX_CHUNK = 96
    ONE_PASS_PANEL = 256 << 10  # bytes of a panel [W, U] that leaves room in L2 for the next one

    MAX_THREADS = 1024         # of clstm._core.threads

cdef double AVX2_4_ROWS = 1.15  # a tile of 4 rows and half the vectors has 8 accumulators, too few to hide the latency
cdef double L3_SLACK = 1.5  # rows hide the reading of weights from level 3 if they take so many times as long
cdef double WAVEFRONT_GAIN = 0.9  # a wavefront must be expected to take less than this part of the time: the model isn't exact

# What has been measured of this machine; 0 where it hasn't been.
cdef double _multiply_adds[5]              # cycles of a multiply-add, by 16 bytes of the vectors
cdef double _l3_speed = 0                  # bytes a cycle
cdef double _regions[MAX_THREADS + 1]      # cycles, by number of threads
cdef double _barriers[MAX_THREADS + 1]     # cycles, by number of threads
cdef Py_ssize_t _measurements = 0


cdef Machine machine(const clstm_kernels *kernels, int num_threads, double weights=0) except *:
    """Return this machine, with regions of num_threads threads.

    Each speed is measured once in a process, before the first job whose plan depends on it, so that a job is planned
    the same way throughout a process: multiply-adds before the first job of an instruction set (0.1 ms), level 3 before the first one whose
    `weights`, in bytes, level 2 doesn't hold (1 to 10 ms), a region and its barrier before the first one that could pay for
    a region of num_threads threads (0.1 ms, or 20 on a busy machine). The GIL is held from the first look
    at a value until it is stored, so that no two threads measure at once.
    """
    global _l3_speed, _measurements
    from clstm._core.caches import caches

    cdef Machine found
    found.l1, found.l2, found.l3 = caches()
    cdef int width = kernels.vector_length * kernels.item_size // 16
    if _multiply_adds[width] == 0:
        _multiply_adds[width] = clstm_multiply_add_cycles(kernels)
        _measurements += 1
    if weights > found.l2 and _l3_speed == 0:
        _l3_speed = clstm_l3_bytes_a_cycle(kernels, found.l2)
        _measurements += 1
    num_threads = min(num_threads, MAX_THREADS)
    if num_threads > 1 and _regions[num_threads] == 0:
        measure_region(kernels, num_threads)
        _measurements += 1
    found.multiply_add = _multiply_adds[width]
    found.l3_speed = _l3_speed or CLSTM_USUAL_L3
    found.region = _regions[num_threads] + REGION_CACHE_CYCLES
    found.barrier = _barriers[num_threads] or USUAL_BARRIER_CYCLES
    return found


cdef void measure_region(const clstm_kernels *kernels, int num_threads) noexcept:
    """Measure a region of num_threads threads and its barrier, again for a while if other processes seem to be running."""
    cdef double region = clstm_region_cycles(num_threads), barrier = clstm_barrier_cycles(kernels, num_threads)
    cdef int64_t begin = clstm_now()
    while (region > BUSY_REGION or barrier > BUSY_BARRIER) and clstm_now() - begin < BUSY_NANOSECONDS:
        region = min(region, clstm_region_cycles(num_threads))
        barrier = min(barrier, clstm_barrier_cycles(kernels, num_threads))
    _regions[num_threads], _barriers[num_threads] = region, barrier


def speed() -> dict[str, float]:
    """Return what has been measured of this machine, 0 for what hasn't been: for tests and inspection.

    Returns
    -------
    dict
        ``multiply_add``, cycles of a multiply-add of vectors with the instruction set in use; ``l3_speed``, bytes a cycle
        that one thread reads from level 3; ``barrier``, cycles of one round of a barrier of two threads; ``measurements``, how
        often this process has measured anything.
    """
    cdef const clstm_kernels *kernels = kernels_of(np.empty(0, np.float32))
    cdef int width = 0 if kernels == NULL else kernels.vector_length * kernels.item_size // 16
    return {
        "multiply_add": _multiply_adds[width], "l3_speed": _l3_speed, "barrier": _barriers[2], "measurements": _measurements,
    }


cdef double bytes_per_cycle(const Machine *machine, double own, double whole) noexcept nogil:
    """Return how fast a thread reads its `own` bytes of weights, of the `whole` bytes that all threads read."""
    if own <= machine.l1:
        return L1_BYTES_PER_CYCLE
    if own <= machine.l2:
        return L2_BYTES_PER_CYCLE
    return machine.l3_speed if whole <= machine.l3 else min(machine.l3_speed, <double>MEMORY_BYTES_PER_CYCLE)


cdef inline bint is_avx2(const clstm_kernels *kernels) noexcept nogil:
    return kernels.vector_length * kernels.item_size == 32


cdef double step_cycles(const clstm_kernels *kernels, const Machine *machine, double rows, double panels, double K,
                        double all_panels) noexcept nogil:
    """Return the cost of one step of `rows` rows and `panels` panels of 4 vectors, summed over K, by one of the threads that
    divide `all_panels` panels."""
    cdef double panel_bytes = 4.0 * kernels.vector_length * kernels.item_size
    cdef double reading = panel_bytes / bytes_per_cycle(machine, panels * K * panel_bytes, all_panels * K * panel_bytes)
    cdef double adding = max(4 * machine.multiply_add * rows, FMA_LATENCY / min(4.0, panels))
    if rows == 4 and is_avx2(kernels):
        adding *= AVX2_4_ROWS
    cdef double product = max(adding, reading)
    if reading * MEMORY_BYTES_PER_CYCLE >= panel_bytes:  # reading from memory is uneven, and a part of it is never hidden
        product += 0.1 * min(adding, reading)
    return panels * (K * product + PANEL_CYCLES + rows * EPILOGUE_CYCLES)


cdef Split cheapest(const clstm_kernels *kernels, const Machine *machine, double rows, double panels, double K,
                    Py_ssize_t steps, double row_cycles, double rest_cycles, Py_ssize_t D,
                    int num_threads) noexcept nogil:
    """Return the cheapest split of D directions of `steps` steps each.

    Besides the product over K, each row costs row_cycles for each panel and step, which are divided as the rows and panels
    are; and each direction costs rest_cycles, which any number of threads can divide.
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
                # each step begins with reading what the other threads have written in the last one
                if members > 1:
                    cost += (rounds + TRANSFER_ROUNDS) * machine.barrier
                    cost += own_rows * K * kernels.item_size * (members - 1) / members / TRANSFER_BYTES_PER_CYCLE
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
    # One pass over [x, h] is cheapest where the rows of a step take longer than reading its weights. Otherwise the input panels
    # are read once for a chunk of steps, and the result stays in L2 together with the recurrent panels.
    cdef double own = weights / (team // split.row_groups)
    cdef bint past_caches = own > machine.l2 and (panel > ONE_PASS_PANEL or weights > machine.l3 / 2)
    cdef double reading = panel / (I + H) / bytes_per_cycle(machine, own, weights)
    if own > machine.l2:
        reading *= L3_SLACK
    cdef int few_rows = AVX2_FEW_ROWS if is_avx2(kernels) else FEW_ROWS
    cdef bint one_pass = steps == 1 or rows > few_rows and not past_caches and rows * row_cycles > reading
    # The gates of the chunk take a quarter of level 2
    cdef double chunk_rows = machine.l2 / 4 / (kernels.gates_stride(H) * kernels.item_size)
    if not one_pass:
        split.chunk = max(1, <Py_ssize_t>(min(max(chunk_rows, MIN_CHUNK), MAX_CHUNK) / rows))
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
    """Split every job in this way from now on, whatever it costs; without arguments, as the model says. For tests."""
    global _wavefront
    _wavefront = -1 if wavefront is None else wavefront
    _forced.threads, _forced.side_by_side = threads, side_by_side
    _forced.row_groups, _forced.chunk, _forced.cycles = row_groups, chunk, 0


# forward_on or backward_on
ctypedef Split (*split_on)(const clstm_kernels *kernels, const Machine *machine, Py_ssize_t I, Py_ssize_t H,
                           Py_ssize_t steps, Py_ssize_t positions, Py_ssize_t D, int num_threads) noexcept nogil


cdef Split split_here(split_on model, const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t steps,
                      Py_ssize_t positions, Py_ssize_t D, int num_threads) except *:
    """Return what the model chooses on this machine. Regions are measured only for work that could pay for one."""
    if _forced.threads > 0:
        return _forced
    cdef double weights = 4.0 * kernels.padded(H) * (I + H) * kernels.item_size
    cdef Machine here = machine(kernels, 1, weights)
    cdef Split split = model(kernels, &here, I, H, steps, positions, D, 1)
    if num_threads > 1 and split.cycles > REGION_CACHE_CYCLES:
        here = machine(kernels, num_threads, weights)
        split = model(kernels, &here, I, H, steps, positions, D, num_threads)
    return split


cdef Split split_forward(const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t steps, Py_ssize_t positions,
                         Py_ssize_t D, int num_threads) except *:
    """Return how the forward pass of D directions is split: `positions` (step, row) pairs in `steps` steps."""
    return split_here(forward_on, kernels, I, H, steps, positions, D, num_threads)


cdef Split split_backward(const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t steps,
                          Py_ssize_t positions, Py_ssize_t D, int num_threads) except *:
    """Return how the backward pass is split."""
    return split_here(backward_on, kernels, I, H, steps, positions, D, num_threads)


cdef Split split_step(const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t layers, Py_ssize_t rows,
                      int num_threads) except *:
    """Return how one step of stacked layers is split, which has a parallel region to itself.

    The weights of all layers are read between two uses of any of them, so they count as those of one layer. What the caller does
    between steps can make a region cost more than those measured, so a step must be worth several.
    """
    cdef double panels = kernels.padded(H) // kernels.vector_length
    cdef double K = I + H + (layers - 1) * 2 * H
    cdef double weights = 4.0 * kernels.padded(H) * K * kernels.item_size
    cdef Machine here = machine(kernels, 1, weights)
    cdef double row_cycles = (layers - 1) * (PANEL_CYCLES + EPILOGUE_CYCLES)  # of all layers but the first
    cdef Split split = cheapest(kernels, &here, rows, panels, K, 1, row_cycles, 0, 1, 1)
    if num_threads > 1 and split.cycles > 4 * REGION_CACHE_CYCLES:
        here = machine(kernels, num_threads, weights)
        split = cheapest(kernels, &here, rows, panels, K, 1, row_cycles, (layers - 1) * here.barrier, 1, num_threads)
    return split


cdef Stack stack_forward(const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t layers, Py_ssize_t steps,
                         Py_ssize_t positions, int num_threads) except *:
    """Return whether a wavefront over stacked layers of one direction is faster, and how its work is split.

    Each layer is one block of steps behind the layer before, so that all are at work except in the first and last blocks.
    """
    cdef Stack stack
    cdef Machine here
    cdef Split first = split_forward(kernels, I, H, steps, positions, 1, num_threads)
    cdef Split others = split_forward(kernels, H, H, steps, positions, 1, num_threads)
    cdef double one_by_one = first.cycles + (layers - 1) * others.cycles, most
    cdef Py_ssize_t blocks
    stack.teams = min(num_threads, layers)
    stack.members = num_threads // stack.teams
    stack.step_block = max(<Py_ssize_t>MIN_STEP_BLOCK, (steps + MAX_STEP_BLOCKS - 1) // MAX_STEP_BLOCKS)
    if _wavefront == 0 or _wavefront < 0 and (steps < 2 * stack.step_block or one_by_one < REGION_CACHE_CYCLES):
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
    blocks = max(1, (steps + stack.step_block - 1) // stack.step_block)
    # The team with the most layers decides, which may have one more than another.
    most = max(stack.first.cycles, stack.others.cycles) + (ceil_div(layers, stack.teams) - 1) * stack.others.cycles
    most = region + most * (blocks + layers - 1) / blocks + (blocks + layers - 1) * here.barrier
    if _wavefront < 0 and most > WAVEFRONT_GAIN * one_by_one:
        stack.teams = 1
    return stack


def plan(input_size: int, hidden_size: int, steps: int, batch: int, directions: int = 1, num_threads: int = 1, *,
         backward: bool = False, dtype: type = np.float32, caches: tuple[int, int, int] | None = None,
         region: float | None = None, multiply_add: float | None = None,
         l3_speed: float | None = None, barrier: float | None = None) -> dict[str, object]:
    """Return what the model chooses for a layer, on this machine or on an imagined one: for tests and inspection.

    Parameters
    ----------
    input_size, hidden_size, steps, batch, directions, num_threads : int
    backward : bool
        Plan the backward pass rather than the forward pass.
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
        ``threads`` in all; ``side_by_side``, whether each half of them has one direction; ``row_groups``, the groups that
        the threads of a direction are divided into, each with some of the rows; ``panel_threads`` in each group, which
        divide the panels;
        ``chunk``, the steps projected at once, 0 for one pass with the recurrent product; ``cycles`` expected;
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
        of.barrier = USUAL_BARRIER_CYCLES
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
