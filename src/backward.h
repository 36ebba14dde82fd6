/* The backward pass over a walk, from the last step to the first:
 *
 *     dh_t = dy_t + dgates_{t+1} U         dc_t = dc_{t+1} f_{t+1} + dh_t o (1 - tanh(c_t)^2)
 *     di = dc g i (1 - i)   df = dc c_{t-1} f (1 - f)   dg = dc i (1 - g^2)   do = dh tanh(c_t) o (1 - o)
 *
 * The gate gradients overwrite the gates. Then dW = sum dgates^T x, dU = sum dgates^T h_{t-1}, db = sum dgates and
 * dx = dgates W. The arrays of a clstm_backward, with their shapes and owners, are described in kernels.h.
 */
#ifndef CLSTM_BACKWARD_H
#define CLSTM_BACKWARD_H

#include "activations.h"
#include "barrier.h"
#include "layout.h"
#include "outer.h"
#include "product.h"
#include "tile.h"
#include "walk.h"

/* What one row reads and writes at a step of the backward pass */
typedef struct {
    const real *c, *c_before, *dy;
    real *dc, *gates;
} backward_row;

/* The gate gradients of n vectors of units from `unit` on, n being a constant where this is inlined. `dh_after` is the
 * part of dh that comes from the step after. */
INLINE void vector_gradients(const backward_row *at, isize H, isize unit, const real *dh_after, int n)
{
    const isize Hp = padded(H);
    vec tanh_c[4];
    UNROLL for (int j = 0; j < n; j++) tanh_c[j] = load(at->c + unit + j * VL);
    squash(tanh_c, 0, n);
    UNROLL for (int j = 0; j < n; j++, unit += VL) {
        const vec i = load(at->gates + unit), f = load(at->gates + Hp + unit);
        const vec g = load(at->gates + 2 * Hp + unit), o = load(at->gates + 3 * Hp + unit);
        const vec dh = load(dh_after + j * VL) + (H - unit >= VL ? load(at->dy + unit) : load_part(at->dy + unit, H - unit));
        const vec q = tanh_c[j], dc = load(at->dc + unit) + dh * o * (1 - q * q);
        store(at->gates + unit, dc * g * i * (1 - i));
        store(at->gates + Hp + unit, dc * load(at->c_before + unit) * f * (1 - f));
        store(at->gates + 2 * Hp + unit, dc * i * (1 - g * g));
        store(at->gates + 3 * Hp + unit, dh * q * o * (1 - o));
        store(at->dc + unit, dc * f);
    }
}

/* The gate gradients of units [unit0, unit1) of one row; dh_after holds the part of dh that comes from the step after. */
INLINE void finish_gradients(const clstm_backward *job, isize s, isize b, isize unit0, isize unit1, const real *dh_after)
{
    const clstm_walk *walk = job->walk;
    const isize H = job->H, ld = state_stride(H), position = walk->start[s] + b;
    const backward_row at = {.c = (const real *)job->cell_states + position * ld,
                         .c_before = s > 0 ? (const real *)job->cell_states + (walk->start[s - 1] + b) * ld
                                           : (const real *)job->c + b * ld,
                         .dy = features_at(&job->dy, b, s),
                         .dc = (real *)job->dc + b * ld,
                         .gates = (real *)job->gates + position * gates_stride(H)};
    isize unit = unit0;
    for (; unit + 4 * VL <= unit1; unit += 4 * VL)
        vector_gradients(&at, H, unit, dh_after + unit - unit0, 4);
    if ((unit1 - unit) / VL & 2) {
        vector_gradients(&at, H, unit, dh_after + unit - unit0, 2);
        unit += 2 * VL;
    }
    if (unit < unit1)
        vector_gradients(&at, H, unit, dh_after + unit - unit0, 1);
}

INLINE const real *gates_of(const clstm_backward *job, isize s, isize b)
{
    return (const real *)job->gates + (job->walk->start[s] + b) * gates_stride(job->H);
}

/* Which of the rows that step s will read are to be prefetched next: first the gates, then dy and the cell states before */
typedef struct {
    const clstm_backward *job;
    const partition *part;
    isize s, prefetched;
} step_prefetch;

/* Prefetch the next of these rows. */
static void prefetch_step_before(void *state_, term *at)
{
    step_prefetch *state = state_;
    const clstm_backward *job = state->job;
    const clstm_walk *walk = job->walk;
    const isize H = job->H, s = state->s, rows = s >= 0 ? rows_below(state->part, walk->active[s]) : 0;
    const isize index = state->prefetched++;
    if (index >= (s > 0 ? 3 : 2) * rows)
        return clear_prefetch(at);
    const isize b = partition_row(state->part, index % rows);
    if (index < rows)
        set_row_prefetch(at, gates_of(job, s, b), 4 * padded(H));
    else if (index < 2 * rows)
        set_row_prefetch(at, features_at(&job->dy, b, s), H);
    else
        set_row_prefetch(at, (const real *)job->cell_states + (walk->start[s - 1] + b) * state_stride(H), H);
}

/* How many of the next panels in the panel order have 4 vectors and may be taken at once. Of large panels only as many
 * as leave room in L2 for other data. */
INLINE isize full_panels(const partition *part, isize s, isize done, isize H, isize P)
{
    const isize full = whole_panels_ahead(part, s, done, P / (4 * VL));
    const isize room = L2_PANEL_BYTES / (4 * VL * 4 * H * (isize)sizeof(real));
    return smaller(full, room > 2 ? room : 2);
}

/* What is done with dh: finish_gradients, or that of a variant */
typedef void finish_gradients_function(const clstm_backward *job, isize s, isize b, isize unit0, isize unit1,
                                       const real *dh_after);

/* Compute dh of a partition's rows and of its panels of P columns at step s, and call `finish` with it; s = -1 is the
 * initial state's. */
INLINE void backward_products(const clstm_backward *job, isize P, const partition *part, isize s,
                              finish_gradients_function *finish)
{
    const clstm_walk *walk = job->walk;
    const isize H = job->H, Pp = padded(P), ld = state_stride(P);
    const isize alive = s >= 0 ? rows_below(part, walk->active[s]) : 0;
    const isize after = s + 1 < walk->steps ? rows_below(part, walk->active[s + 1]) : 0;
    const real *Ub = job->Ub;
    const isize panel = 4 * H * 4 * VL, panels = part->panel1 - part->panel0;
    const isize bytes = panels * panel * (isize)sizeof(real);
    real dh[GROUP_ROWS * 4 * VECTOR_BYTES / sizeof(real)] __attribute__((aligned(64)));
    gates_group group = {.H = H};
    step_prefetch state = {job, part, s - 1, 0};

    int Q = 1;
    for (isize done = 0; done < panels; done += Q) {
        const isize full = full_panels(part, s, done, H, P);
        tile_function *wide = after > 0 && after <= 3 && full > 1 ? widest_tile(next_rows(after), full, 0, 0, &Q) : NULL;
        if (!wide)
            Q = 1;
        const isize q = panel_in_order(part, s, done, Q);
        const isize next = panel_in_order(part, s, smaller(done + Q, panels - 1), 1);
        const int N = panel_vectors(P, q);
        const isize unit0 = q * 4 * VL, unit1 = smaller(unit0 + Q * 4 * VL, Pp);
        for (isize j0 = 0; j0 < after; j0 += group.rows) {
            group.rows = next_block(after - j0, GROUP_ROWS);
            for (isize j = 0; j < group.rows; j++) {
                group.gates[j] = gates_of(job, s + 1, partition_row(part, j0 + j));
                group.to[j] = dh + j * Q * 4 * VL;
            }
            gates_product(&group, Ub + q * panel, N, wide, Ub + next * panel, bytes, prefetch_step_before, &state);
            for (isize j = 0; j < group.rows; j++)
                finish(job, s, partition_row(part, j0 + j), unit0, unit1, group.to[j]);
        }
        /* rows whose last step this is */
        for (isize j = after; j < alive; j++) {
            const isize b = partition_row(part, j);
            finish(job, s, b, unit0, unit1, (const real *)job->dh + b * ld + unit0);
        }
    }
}

static void backward_step(const clstm_backward *job, const partition *part, isize s)
{
    backward_products(job, job->H, part, s, finish_gradients);
}

/* dh of the initial state, into dh: the dgates of the first step times U */
static void backward_start(const clstm_backward *job, const partition *part)
{
    const isize H = job->H, ld = state_stride(H);
    const isize alive = rows_below(part, job->walk->active[0]);
    const real *Ub = job->Ub;
    const isize panel = 4 * H * 4 * VL, bytes = (part->panel1 - part->panel0) * panel * (isize)sizeof(real);
    gates_group group = {.H = H};
    for (isize q = part->panel0; q < part->panel1; q++)
        for (isize j0 = 0; j0 < alive; j0 += group.rows) {
            group.rows = next_block(alive - j0, GROUP_ROWS);
            for (isize j = 0; j < group.rows; j++) {
                const isize b = partition_row(part, j0 + j);
                group.gates[j] = gates_of(job, 0, b);
                group.to[j] = (real *)job->dh + b * ld + q * 4 * VL;
            }
            gates_product(&group, Ub + q * panel, panel_vectors(H, q), NULL, Ub + (q + 1) * panel, bytes, NULL, NULL);
        }
}

/* dx of this thread's positions: a block of them times one panel after the other */
static void input_gradient_all(const clstm_backward *job, const clstm_team *team)
{
    const clstm_walk *walk = job->walk;
    const isize first = walk->positions * team->rank / team->size, last = walk->positions * (team->rank + 1) / team->size;
    const isize I = job->I, H = job->H, stride = gates_stride(H), block = 2 * GROUP_ROWS;
    const real *Wb = job->Wb;
    const isize panel = 4 * H * 4 * VL, bytes = padded(I) * 4 * H * (isize)sizeof(real);
    real sum[GROUP_ROWS * 4 * VECTOR_BYTES / sizeof(real)] __attribute__((aligned(64)));
    gates_group group = {.H = H};
    isize s = 0;
    for (isize position0 = first; position0 < last; position0 += block) {
        const isize position1 = smaller(position0 + block, last);
        while (s + 1 < walk->steps && walk->start[s + 1] <= position0)
            s++;
        for (isize q = 0; q < product_panels(I); q++) {
            const int N = panel_vectors(I, q);
            const isize column = q * 4 * VL, columns = smaller(4 * VL, I - column);
            const int direct = !job->add_dx && columns == N * VL;
            isize step = s;
            for (isize position = position0; position < position1; position += group.rows) {
                real *dx[GROUP_ROWS];
                group.rows = next_block(position1 - position, GROUP_ROWS);
                for (isize j = 0; j < group.rows; j++) {
                    while (step + 1 < walk->steps && walk->start[step + 1] <= position + j)
                        step++;
                    dx[j] = features_at(&job->dx, position + j - walk->start[step], step) + column;
                    group.to[j] = direct ? dx[j] : sum + j * 4 * VL;
                    group.gates[j] = (const real *)job->gates + (position + j) * stride;
                }
                const isize next = q + 1 < product_panels(I) ? q + 1 : 0;
                gates_product(&group, Wb + q * panel, N, NULL, Wb + next * panel, bytes, NULL, NULL);
                for (isize j = 0; j < group.rows && !direct; j++)
                    for (isize i = 0; i < columns; i++)
                        dx[j][i] = (job->add_dx ? dx[j][i] : 0) + group.to[j][i];
            }
        }
    }
}

/* The mask that sorted row b's h was multiplied with before it met U, or NULL */
INLINE const real *h_dropout_mask_of(const clstm_backward *job, isize b)
{
    if (!job->variant_call || !job->variant_call->h_dropout_mask)
        return NULL;
    return (const real *)job->variant_call->h_dropout_mask + job->walk->order[b] * job->P;
}

/* dW, dU and db: this thread's strips of gate rows, summed over all positions */
static void weight_gradients(const clstm_backward *job, const clstm_team *team)
{
    const clstm_walk *walk = job->walk;
    const isize I = job->I, H = job->H, P = job->P, Hp = padded(H), width = columns_width(I, P);
    outer_sum sum = {.groups = 4, .width = H, .stride = Hp, .d_stride = gates_stride(H), .add = job->add, .whole_vectors = 1,
                     .sums_width = width, .columns = (real *)job->columns + team->rank * GRADIENT_BLOCK * width,
                     .sums = job->sums};
    const int masked = job->variant_call && job->variant_call->h_dropout_mask;
    const outer_part input = {job->dW, I, 0}, recurrent = {job->dU, P, padded(I)};
    outer_begin(&sum, team);
    isize s = 0, b = 0;
    for (isize position0 = 0; position0 < walk->positions; position0 += sum.block) {
        const isize position1 = smaller(position0 + sum.block, walk->positions);
        for (isize position = position0; position < position1; position++, b++) {
            while (b == walk->active[s])
                s++, b = 0;
            const real *h_before =
                s > 0 ? features_at(&job->y, b, s - 1) : (const real *)job->h0 + walk->order[b] * P;
            outer_column(&sum, 0, position - position0, features_at(&job->x, b, s), NULL, I);
            if (masked)
                outer_column(&sum, padded(I), position - position0, h_before, h_dropout_mask_of(job, b), P);
            else
                outer_column(&sum, padded(I), position - position0, h_before, NULL, P);
        }
        const real *gates = (const real *)job->gates + position0 * gates_stride(H);
        outer_prefetch(&sum, gates + (position1 - position0) * sum.d_stride, smaller(sum.block, walk->positions - position1));
        outer_block(&sum, &input, gates, position1 - position0);
        outer_block(&sum, &recurrent, gates, position1 - position0);
        if (job->db)
            outer_bias_block(&sum, gates, position1 - position0);
        sum.rows_before = position1;
    }
    outer_end(&sum, &input);
    outer_end(&sum, &recurrent);
    if (job->db)
        outer_bias_end(&sum, job->db);
}

static void backward_all(const clstm_backward *given, const clstm_team *team)
{
    const clstm_walk *walk = given->walk;
    const isize H = given->H, ld = state_stride(H);
    const group own_group = group_of(team, given->row_groups);
    const partition rows = rows_of_thread(walk, &own_group), part = partition_of(walk, &own_group, product_panels(H));
    clstm_backward own = *given, *job = &own;
    if (!is_ragged(walk))
        job->dc = (real *)job->dc + own_group.index * STATE_GAP;
    for (isize b = rows.first; b < rows.end; b += rows.step) {
        load_state(job->dhn, walk, b, H, (real *)job->dh + b * ld);
        load_state(job->dcn, walk, b, H, (real *)job->dc + b * ld);
    }
    barrier(&own_group.team);
    for (isize s = walk->steps - 1; s >= 0; s--) {
        backward_step(job, &part, s);
        barrier(&own_group.team);
    }
    if (walk->steps > 0)
        backward_start(job, &part);
    barrier(team);
    for (isize b = rows.first; b < rows.end; b += rows.step) {
        save_state(job->dh0, walk, b, H, (const real *)job->dh + b * ld);
        save_state(job->dc0, walk, b, H, (const real *)job->dc + b * ld);
    }
    weight_gradients(job, team);
}

#endif
