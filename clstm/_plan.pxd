"""How many threads a job gets and how they share it: a model of its cost, in processor cycles.

Only time depends on the choice: every split gives the same bits.
"""

from clstm._kernels cimport clstm_kernels

cdef struct Split:
    int threads
    bint side_by_side  # half the threads a direction
    bint by_panels     # else by rows
    Py_ssize_t chunk   # steps projected at once; 0: in one pass with the recurrent product


cdef enum:
    BARRIER_CYCLES = 400       # a spin barrier, all threads running
    REGION_CYCLES = 15_000     # entering and leaving a parallel region
    EPILOGUE_CYCLES = 70       # gates and cell update of one vector of units
    PANEL_CYCLES = 25          # handing a tile over
    L1_BYTES = 32 << 10
    L2_BYTES = 1 << 20


cdef inline double step_cycles(const clstm_kernels *kernels, double rows, double panels, double K) noexcept nogil:
    """One step of `rows` rows and `panels` panels of 4 vectors, summed over K."""
    cdef double panel_bytes = 4.0 * kernels.vector_length * kernels.item_size
    cdef double size = panels * K * panel_bytes
    cdef double bytes_a_cycle = 64 if size <= L1_BYTES else 40 if size <= 2 * L2_BYTES else 10
    cdef double product = K * max(2 * rows, panel_bytes / bytes_a_cycle)
    return panels * (product + PANEL_CYCLES + rows * EPILOGUE_CYCLES)


cdef inline Split cheapest(const clstm_kernels *kernels, double rows, double panels, double K, Py_ssize_t steps,
                           double rest_cycles, Py_ssize_t D, int num_threads) noexcept nogil:
    """The cheapest split of D directions of `steps` steps each, with rest_cycles of work that splits freely."""
    cdef Split best, split
    cdef double cost, least, team
    cdef bint by_panels
    cdef int side
    best.threads, best.side_by_side, best.by_panels, best.chunk = 1, False, False, 0
    least = D * (steps * step_cycles(kernels, rows, panels, K) + rest_cycles)
    if num_threads == 1:
        return best
    for side in range(2):
        if side and (D == 1 or num_threads % 2 == 1):
            continue
        team = num_threads / 2 if side else num_threads
        for by_panels in range(2):
            if by_panels:
                if panels < team:
                    continue
                cost = step_cycles(kernels, rows, ceil_div(panels, team), K) + (BARRIER_CYCLES if team > 1 else 0)
            else:
                cost = step_cycles(kernels, max(1, ceil_div(rows, team)), panels, K)
            cost = REGION_CYCLES + (1 if side else D) * (steps * cost + rest_cycles / team)
            if cost < least:
                least = cost
                best.threads, best.side_by_side, best.by_panels = num_threads, side, by_panels
    return best


cdef inline double ceil_div(double a, double b) noexcept nogil:
    return <double>(<Py_ssize_t>((a + b - 1) / b))


cdef inline Split split_forward(const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t steps,
                                Py_ssize_t cells, Py_ssize_t D, int num_threads) noexcept nogil:
    cdef double rows = cells / <double>max(1, steps)
    cdef double panels = kernels.padded(H) // kernels.vector_length
    cdef Split split = cheapest(kernels, rows, panels, H, steps, 2.0 * cells * panels * I, D, num_threads)
    cdef double team = split.threads // 2 if split.side_by_side else split.threads
    cdef double weights = 4.0 * kernels.padded(H) * (I + H) * kernels.item_size
    if split.by_panels:
        weights /= team
    else:
        rows = max(1, rows / team)
    # With a full tile a step, one pass over [x, h] is cheapest as long as both panels stay in L2; else the input
    # panels are read once for a chunk of steps, whose result stays in L2 with the recurrent panels.
    if rows < kernels.tile_rows or weights > L2_BYTES:
        split.chunk = max(1, <Py_ssize_t>(96 / rows))
    return split


cdef inline Split split_backward(const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t steps,
                                 Py_ssize_t cells, Py_ssize_t D, int num_threads) noexcept nogil:
    cdef double rows = cells / <double>max(1, steps)
    cdef double width = 4 * kernels.vector_length
    cdef double panels = (H + width - 1) // width
    cdef double rest = 2.0 * cells * 4 * H * (H + 2 * I) / width
    return cheapest(kernels, rows, panels, 4 * H, steps, rest, D, num_threads)


cdef struct StepSplit:
    int threads
    bint by_panels
    Py_ssize_t group  # panels that are taken together, up and down in turn; 0: all
    double cycles


cdef inline StepSplit split_step(const clstm_kernels *kernels, Py_ssize_t I, Py_ssize_t H, Py_ssize_t layers,
                                 Py_ssize_t rows, int num_threads) noexcept nogil:
    """The cheapest split of one step of stacked layers, in a region of its own.

    Between two steps the weights of all layers pass, so they count as those of one layer.
    """
    cdef double panels = kernels.padded(H) // kernels.vector_length
    cdef double K = I + H + (layers - 1) * 2 * H
    cdef double above = (layers - 1) * (PANEL_CYCLES + EPILOGUE_CYCLES)  # of the layers but the first, a panel and row
    cdef double share = ceil_div(panels, num_threads), part = ceil_div(rows, num_threads), cost
    cdef StepSplit best
    best.threads, best.by_panels = 1, False
    best.cycles = step_cycles(kernels, rows, panels, K) + panels * rows * above
    if num_threads > 1 and panels >= num_threads:
        cost = (REGION_CYCLES + (layers - 1) * BARRIER_CYCLES + step_cycles(kernels, rows, share, K)
                + share * rows * above)
        if cost < best.cycles:
            best.threads, best.by_panels, best.cycles = num_threads, True, cost
    if num_threads > 1 and rows >= num_threads:
        cost = REGION_CYCLES + step_cycles(kernels, part, panels, K) + panels * part * above
        if cost < best.cycles:
            best.threads, best.by_panels, best.cycles = num_threads, False, cost
    # A group costs about 30 ns, and saves reading its part of the cache's size from the next level. With many rows that
    # costs no time, for it is done meanwhile.
    cdef double weights = 4.0 * kernels.padded(H) * K * kernels.item_size
    if best.by_panels:
        weights /= best.threads
    best.group = 4 if weights > 5 * L2_BYTES / 4 and rows < 2 * kernels.tile_rows else 0
    return best
