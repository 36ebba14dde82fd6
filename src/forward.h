/* The forward pass over a walk. The input projection of a chunk of steps, then each step's recurrent product; the gates, the
 * cell update and the output are computed in that product's epilogue, where the sums of i, f, g, o are still in L1.
 *
 *     i, f, o = sigmoid(W x_t + U h_{t-1} + b)    g = tanh(W_g x_t + U_g h_{t-1} + b_g)
 *     c_t = f c_{t-1} + i g                       h_t = o tanh(c_t)
 *
 * The arrays of a clstm_forward, with their shapes and owners, are described in kernels.h. In training W x + b is written to
 * the gates of its position, in inference to `projected`, a buffer of the chunk's gate rows for each group. A step reads
 * one h buffer and writes the other; its y is written directly to the caller's array, of any alignment.
 */
#ifndef CLSTM_FORWARD_H
#define CLSTM_FORWARD_H

#include "activations.h"
#include "barrier.h"
#include "layout.h"
#include "tile.h"
#include "walk.h"

/* The rows of gates that belong to the rows of a partition at one step: row j is number first + j * step of `rows`. */
typedef struct {
    real *rows;
    isize first, step;
} gate_rows;

INLINE real *gate_row(const gate_rows *g, isize j, isize stride) { return g->rows + (g->first + j * g->step) * stride; }

INLINE gate_rows gate_rows_of_step(const clstm_forward *job, const partition *part, isize s, isize projected)
{
    if (job->gates)
        return (gate_rows){job->gates, job->walk->start[s] + part->first, part->step};
    return (gate_rows){job->projected, projected, 1};
}

/* For up to 3 rows, return the tile that takes the most of the next panels in the panel order, and their number in
 * *taken. For more rows, return NULL and 1 panel: their tile is looked up for each panel. */
INLINE tile_function *next_wide_tile(const partition *part, isize H, isize pass, isize done, isize rows, int *taken)
{
    if (rows > 3)
        return *taken = 1, NULL;
    const isize whole = whole_panels(H);
    const int partial_first = pass & 1, rest = part->panel1 > whole && (!partial_first || done == 0) ? partial_panel_vectors(H) : 0;
    const isize beside = whole_panels_ahead(part, pass, done + (partial_first && rest), whole);
    return widest_tile(next_rows(rows), beside, rest, partial_first, taken);
}

/* Write W x + b for steps s0 to s1 - 1 to their rows of gates. */
static void project(const clstm_forward *job, const partition *part, isize s0, isize s1)
{
    const clstm_walk *walk = job->walk;
    const isize I = job->I, Hp = padded(job->H), stride = gates_stride(job->H);
    isize total = 0;
    for (isize s = s0; s < s1; s++)
        total += rows_below(part, walk->active[s]);
    if (total == 0)
        return;
    const isize bytes = (part->panel1 - part->panel0) * 4 * VL * (I + job->H) * (isize)sizeof(real);
    tile t = {.from_vector = Hp, .to_vector = Hp, .from_panel = VL, .to_panel = VL, .end_term = 1};
    int taken = 1;
    for (isize p = part->panel0; p < part->panel1; p += taken) {
        tile_function *wide = next_wide_tile(part, job->H, 0, p - part->panel0, total, &taken);
        const int N = gate_vectors(job->H, p);
        const real *bias = (const real *)job->bias + p * VL;
        set_panel(&t.term[0], (const real *)job->W + p * I * 4 * VL, N, I, 0, I);
        t.term[0].w_panel = I * 4 * VL;
        isize s = s0, j = 0, alive = rows_below(part, walk->active[s]), projected = 0;
        gate_rows gates = gate_rows_of_step(job, part, s, projected);
        const real *next = (const real *)job->W + (p + 1 < part->panel1 ? p + 1 : part->panel0) * I * 4 * VL;
        for (isize left = total, block = 0; left > 0; block++) {
            int R = next_rows(left);
            if (!set_panel_prefetch(&t.term[0], next, block, bytes))
                clear_prefetch(&t.term[0]);
            for (int r = 0; r < R; r++, j++) {
                while (j == alive) {
                    projected += alive;
                    s++, j = 0;
                    alive = rows_below(part, walk->active[s]);
                    gates = gate_rows_of_step(job, part, s, projected);
                }
                t.term[0].a[r] = features_at(&job->x, partition_row(part, j), s);
                t.from[r] = bias;
                t.to[r] = gate_row(&gates, j, stride) + p * VL;
            }
            (wide ? wide : TILE[R - 1][N - 1])(&t);
            left -= R;
        }
    }
}

/* The row of h and, in inference, of c that belongs to sorted row b; and the one of the j-th row of a partition */
INLINE isize state_of(const clstm_forward *job, const partition *part, isize b)
{
    return job->contiguous_groups ? partition_index(part, b) : b;
}

INLINE isize state_row(const clstm_forward *job, const partition *part, isize j)
{
    return job->contiguous_groups ? j : partition_row(part, j);
}

/* Rows that are taken through all panels before the next rows; their pointers are kept in an array. */
#define MAX_BLOCK_ROWS (32 * TILE_ROWS)

/* What one row reads at a step (x, and h and c of the step before) and what it writes (its gates, which are those of
 * its position in training and those of the projected chunk in inference, c, h and y) */
typedef struct {
    const real *x, *h_before, *c_before;
    real *gates, *c, *h, *y;
} row_pointers;

INLINE row_pointers row_pointers_at(const clstm_forward *job, const partition *part, const gate_rows *gates, isize P,
                                    isize s, isize j)
{
    const clstm_walk *walk = job->walk;
    const isize b = partition_row(part, j), row = state_row(job, part, j), ld = state_stride(job->H);
    real *h = (real *)job->h + row * state_stride(P), *c = (real *)job->c + row * ld;
    row_pointers at = {.x = features_at(&job->x, b, s), .y = features_at(&job->y, b, s), .c_before = c, .c = c};
    at.h_before = h + (s & 1) * job->h_buffer_stride;
    at.h = h + ((s + 1) & 1) * job->h_buffer_stride;
    at.gates = job->gates || job->chunk ? gate_row(gates, j, gates_stride(job->H)) : NULL;
    if (job->gates) {
        at.c_before = s > 0 ? (real *)job->cell_states + (walk->start[s - 1] + b) * ld : (real *)job->c + b * ld;
        at.c = (real *)job->cell_states + (walk->start[s] + b) * ld;
    }
    return at;
}

/* All bits are set in the first half of these lanes: VL lanes from VL - n on are a mask of the first n lanes. */
static const bits INSIDE[2 * VECTOR_BYTES / sizeof(real)] = {[0 ... VECTOR_BYTES / sizeof(real) - 1] = -1};

/* Give each gate a vector of its own, with zeros behind its units: for the sums of R rows of a last panel of fewer than
 * VL units, which is the last of Q panels and has the gates' units one behind the other. Not inlined, since it is
 * called seldom and its constants would otherwise be set up for every panel. */
NOINLINE void spread_gates(real *pre, int R, int Q, isize units)
{
    const ivec inside = (ivec)load((const real *)(INSIDE + VL - units));
    real dense[4 * VECTOR_BYTES / sizeof(real)] __attribute__((aligned(64)));
    for (int r = 0; r < R; r++) {
        real *sums = pre + (r * 4 * Q + Q - 1) * VL;
        UNROLL for (int n = 0; n < 4; n++) store(dense + n * VL, load(sums + n * Q * VL));
        UNROLL for (int gate = 0; gate < 4; gate++)
            store(sums + gate * Q * VL, (vec)(inside & (ivec)load(dense + gate * units)));
    }
}

/* The epilogue of R rows and of Q panels from panel p on: pre[r][gate][q] is W x + U h + b. It goes over the rows
 * twice, first to c, then to h: the chain of operations from the gates through tanh(c) to h is too long for the
 * processor to overlap it with that of the next row. */
INLINE void finish_units(const clstm_forward *job, const row_pointers *rows, int R, isize p, int Q, const real *pre, int training)
{
    const isize H = job->H, Hp = padded(H), gate_step = Q * VL;
    const int interleaved = training && job->contiguous_groups; /* behind our rows of gates lie those of another thread */
    vec tanh_c[MAX_ROW_PANELS], out[MAX_ROW_PANELS]; /* tanh_c is first c itself */
    for (int i = 0; i < R; i++) {
        const int r = interleaved ? (int)irregular_order(i, R) : i;
        const row_pointers *at = &rows[r];
        for (int q = 0; q < Q; q++) {
            const isize unit = (p + q) * VL;
            const real *a = pre + (r * 4 * Q + q) * VL;
            vec gates[] = {load(a), load(a + gate_step), load(a + 3 * gate_step), load(a + 2 * gate_step)};
            squash(gates, 3, 1);
            const vec in = gates[0], f = gates[1], o = gates[2], g = gates[3];
            const vec c = f * load(at->c_before + unit) + rounded(in * g);
            store(at->c + unit, c);
            tanh_c[r * Q + q] = c;
            out[r * Q + q] = o;
            if (training) {
                store(at->gates + unit, in);
                store(at->gates + Hp + unit, f);
                store(at->gates + 2 * Hp + unit, g);
                store(at->gates + 3 * Hp + unit, o);
            }
        }
    }
    tanhs(tanh_c, R * Q);
    for (int i = 0; i < R; i++) {
        const int r = interleaved ? (int)irregular_order(i, R) : i;
        for (int q = 0; q < Q; q++) {
            const isize unit = (p + q) * VL;
            const vec h = out[r * Q + q] * tanh_c[r * Q + q];
            store(rows[r].h + unit, h);
            if (H - unit >= VL)
                store(rows[r].y + unit, h);
            else
                store_part(rows[r].y + unit, h, H - unit);
        }
    }
}

/* The epilogue of the R rows from the j0-th of the partition on, at step s and panels p to p + Q - 1. finish_rows is
 * that of the plain LSTM; variants have others. */
typedef void finish_function(const clstm_forward *job, const partition *part, const row_pointers *rows, isize s,
                            isize j0, int R, isize p, int Q, real *pre);

static void finish_rows(const clstm_forward *job, const partition *part, const row_pointers *rows, isize s,
                            isize j0, int R, isize p, int Q, real *pre)
{
    (void)part, (void)s, (void)j0;
    if (job->gates)
        Q == 1 ? finish_units(job, rows, R, p, 1, pre, 1) : finish_units(job, rows, R, p, Q, pre, 1);
    else
        Q == 1 ? finish_units(job, rows, R, p, 1, pre, 0) : finish_units(job, rows, R, p, Q, pre, 0);
}

/* Prefetch the index-th of the rows that step s will read or write: first the rows of x, then those of y, gates and c. */
INLINE void set_step_prefetch(const clstm_forward *job, const partition *part, isize s, isize index, term *at)
{
    const clstm_walk *walk = job->walk;
    const isize H = job->H, rows = s < walk->steps ? rows_below(part, walk->active[s]) : 0;
    if (rows == 0 || index >= (job->gates ? 4 : 2) * rows)
        return clear_prefetch(at);
    const isize b = partition_row(part, index % rows), position = walk->start[s] + b;
    if (index < rows)
        set_row_prefetch(at, features_at(&job->x, b, s), job->I);
    else if (index < 2 * rows)
        set_row_prefetch(at, features_at(&job->y, b, s), H);
    else if (index < 3 * rows)
        set_row_prefetch(at, (const real *)job->gates + position * gates_stride(H), 4 * padded(H));
    else
        set_row_prefetch(at, (const real *)job->cell_states + position * state_stride(H), H);
}

/* Let a tile read and write for R rows at panels p to p + Q - 1: both products if `fused`, else the recurrent one
 * alone, on the input projection in the rows' gates. */
INLINE void set_tile_rows(tile *t, const row_pointers *rows, int R, int fused, const real *bias, isize p, int Q, real *pre)
{
    for (int r = 0; r < R; r++) {
        t->term[fused].a[r] = rows[r].h_before;
        if (fused)
            t->term[0].a[r] = rows[r].x;
        t->from[r] = fused ? bias + p * VL : rows[r].gates + p * VL;
        t->to[r] = pre + r * 4 * Q * VL;
    }
}

/* Compute one step of a partition: both products, and the epilogue `finish`. `projected` is the number of rows of gates that
 * the partition has in the chunk before this step. */
INLINE void forward_products(const clstm_forward *job, isize P, const partition *part, isize s, isize projected,
                             finish_function *finish)
{
    const clstm_walk *walk = job->walk;
    const isize I = job->I, H = job->H, Hp = padded(H);
    const isize alive = rows_below(part, walk->active[s]);
    const gate_rows gates = gate_rows_of_step(job, part, s, projected);
    const int fused = job->chunk == 0;
    const isize panels = part->panel1 - part->panel0, bytes = panels * 4 * VL * (fused ? I + P : P) * (isize)sizeof(real);
    real pre[TILE_ROWS * 4 * VECTOR_BYTES / sizeof(real)] __attribute__((aligned(64)));
    row_pointers rows[MAX_BLOCK_ROWS];

    tile t = {.from_vector = Hp, .from_panel = VL, .to_panel = VL, .end_term = 1 + fused};
    term *recurrent = &t.term[fused];
    recurrent->w_panel = P * 4 * VL;
    if (fused)
        t.term[0].w_panel = I * 4 * VL;
    isize prefetched = 0;
    for (isize block0 = 0, block, pass = s; block0 < alive; block0 += block, pass++) {
        block = next_block(alive - block0, MAX_BLOCK_ROWS);
        for (isize j = 0; j < block; j++) {
            rows[j] = row_pointers_at(job, part, &gates, P, s, block0 + j);
            if (panels < Hp / VL) /* the other threads' part of h is in their caches: fetch all lines of it at once */
                prefetch_row(rows[j].h_before, P);
        }
        int Q = 1;
        for (isize done = 0; done < panels; done += Q) {
            tile_function *wide = next_wide_tile(part, H, pass, done, block, &Q);
            const isize p = panel_in_order(part, pass, done, Q);
            const isize next = panel_in_order(part, pass, smaller(done + Q, panels - 1), 1);
            const int N = gate_vectors(H, p);
            set_panel(recurrent, (const real *)job->U + p * P * 4 * VL, N, P, 0, P);
            if (fused)
                set_panel(&t.term[0], (const real *)job->W + p * I * 4 * VL, N, I, 0, I);
            t.to_vector = Q * VL;
            for (isize j = 0, index = 0; j < block; index++) {
                const int R = next_rows(block - j);
                if (!set_panel_prefetch(recurrent, (const real *)job->U + next * P * 4 * VL, index, bytes))
                    set_step_prefetch(job, part, s + 1, prefetched++, recurrent);
                if (fused && !set_panel_prefetch(&t.term[0], (const real *)job->W + next * I * 4 * VL, index, bytes))
                    set_step_prefetch(job, part, s + 1, prefetched++, &t.term[0]);
                set_tile_rows(&t, rows + j, R, fused, (const real *)job->bias, p, Q, pre);
                (wide ? wide : TILE[R - 1][N - 1])(&t);
                if (panel_units(H, p + Q - 1) < VL)
                    spread_gates(pre, R, Q, panel_units(H, p + Q - 1));
                finish(job, part, rows + j, s, block0 + j, R, p, Q, pre);
                j += R;
            }
        }
    }
}

static void forward_step(const clstm_forward *job, const partition *part, isize s, isize projected)
{
    forward_products(job, job->H, part, s, projected, finish_rows);
}

/* The job with the group's own part of `projected` */
INLINE clstm_forward job_of_group(const clstm_forward *job, const group *g)
{
    clstm_forward own = *job;
    own.h_buffer_stride = own.walk->rows * state_stride(own.P);
    own.contiguous_groups = 0;
    if (own.projected) {
        const isize max_rows = (own.walk->rows + g->count - 1) / g->count;
        own.projected = (real *)own.projected + g->index * smaller(own.chunk, own.walk->steps) * max_rows * gates_stride(own.H);
    }
    return own;
}

/* Zero y at the times behind the row's end, of which there are y_steps in all. In the reverse direction time s is step
 * length - 1 - s. */
INLINE void clear_past_end(const clstm_forward *job, isize b)
{
    const isize length = job->walk->length[b];
    for (isize s = length; s < job->y_steps; s++)
        memset(features_at(&job->y, b, job->y.step < 0 ? length - 1 - s : s), 0, job->P * sizeof(real));
}

static void forward_all(const clstm_forward *given, const clstm_team *team)
{
    const clstm_walk *walk = given->walk;
    const isize H = given->H, ld = state_stride(H);
    const group own_group = group_of(team, given->row_groups);
    const partition rows = rows_of_thread(walk, &own_group), part = partition_of(walk, &own_group, padded(H) / VL);
    clstm_forward own = job_of_group(given, &own_group), *job = &own;
    job->h_buffer_stride = (walk->rows + own_group.count - 1) / own_group.count * ld + STATE_GAP;
    job->contiguous_groups = own_group.count > 1;
    job->h = (real *)job->h + own_group.index * 2 * job->h_buffer_stride;
    if (!job->gates)
        job->c = (real *)job->c + own_group.index * job->h_buffer_stride;

    for (isize b = rows.first; b < rows.end && job->first == 0; b += rows.step) {
        const isize row = state_of(job, &part, b);
        load_state(job->h0, walk, b, H, (real *)job->h + row * ld);
        load_state(job->c0, walk, b, H, (real *)job->c + (job->gates ? b : row) * ld);
    }
    barrier(&own_group.team);
    for (isize s0 = job->first; s0 < job->last;) {
        const isize s1 = job->chunk ? smaller(s0 + job->chunk, job->last) : job->last;
        if (job->chunk)
            project(job, &part, s0, s1);
        isize projected = 0;
        for (; s0 < s1; s0++) {
            forward_step(job, &part, s0, projected);
            projected += rows_below(&part, walk->active[s0]);
            barrier(&own_group.team);
        }
    }
    for (isize b = rows.first; b < rows.end && job->last == walk->steps; b += rows.step) {
        const isize length = walk->length[b];
        const isize row = state_of(job, &part, b);
        const real *c = (const real *)job->c + (job->gates ? b : row) * ld;
        if (job->gates && length > 0)
            c = (const real *)job->cell_states + (walk->start[length - 1] + b) * ld;
        save_state(job->hn, walk, b, H, (const real *)job->h + (length & 1) * job->h_buffer_stride + row * ld);
        save_state(job->cn, walk, b, H, c);
        clear_past_end(job, b);
    }
}

#endif
