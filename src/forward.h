/* Forward over a walk: the input projection of a chunk of steps, then each step's recurrent product with the gates,
 * the cell update and the output in its epilogue, while i, f, g, o are still at hand.
 *
 *     i, f, o = sigmoid(W x_t + U h_{t-1} + b)    g = tanh(W_g x_t + U_g h_{t-1} + b_g)
 *     c_t = f c_{t-1} + i g                       h_t = o tanh(c_t)
 */
#ifndef CLSTM_FORWARD_H
#define CLSTM_FORWARD_H

#include "activations.h"
#include "barrier.h"
#include "layout.h"
#include "tile.h"
#include "walk.h"

/* The row of gates that belongs to the j-th row of a share at one step */
typedef struct {
    real *rows;
    isize first, step;
} gate_rows;

INLINE real *gate_row(const gate_rows *g, isize j, isize stride) { return g->rows + (g->first + j * g->step) * stride; }

INLINE gate_rows gate_rows_of_step(const clstm_forward *job, const share *mine, isize s, isize projected)
{
    if (job->gates)
        return (gate_rows){job->gates, job->walk->start[s] + mine->first, mine->step};
    return (gate_rows){job->projected, projected, 1};
}

/* W x + b for steps s0 to s1 - 1, into the gate rows. */
static void project(const clstm_forward *job, const share *mine, isize s0, isize s1)
{
    const clstm_walk *walk = job->walk;
    const isize I = job->I, Hp = padded(job->H), stride = gates_stride(job->H);
    isize total = 0;
    for (isize s = s0; s < s1; s++)
        total += rows_below(mine, walk->active[s]);
    if (total == 0)
        return;
    const isize bytes = (mine->panel1 - mine->panel0) * 4 * VL * (I + job->H) * (isize)sizeof(real);
    tile t = {.from_vector = Hp, .to_vector = Hp, .from_panel = VL, .to_panel = VL, .segments = 1};
    int taken = 1;
    for (isize p = mine->panel0; p < mine->panel1; p += taken) {
        tile_function *wide = total <= 3 ? widest_tile(next_rows(total), mine->panel1 - p, &taken) : NULL;
        const real *bias = (const real *)job->bias + p * VL;
        t.segment[0].w = (const real *)job->W + p * I * 4 * VL;
        t.segment[0].w_panel = I * 4 * VL;
        t.segment[0].K = I;
        isize s = s0, j = 0, alive = rows_below(mine, walk->active[s]), projected = 0;
        gate_rows gates = gate_rows_of_step(job, mine, s, projected);
        const real *next = (const real *)job->W + (p + 1 < mine->panel1 ? p + 1 : mine->panel0) * I * 4 * VL;
        for (isize left = total, block = 0; left > 0; block++) {
            int R = next_rows(left);
            if (!ask_for_panel(&t.segment[0], next, block, bytes))
                ask_for_nothing(&t.segment[0]);
            for (int r = 0; r < R; r++, j++) {
                while (j == alive) {
                    projected += alive;
                    s++, j = 0;
                    alive = rows_below(mine, walk->active[s]);
                    gates = gate_rows_of_step(job, mine, s, projected);
                }
                t.segment[0].a[r] = line_at(&job->x, row_of(mine, j), s);
                t.from[r] = bias;
                t.to[r] = gate_row(&gates, j, stride) + p * VL;
            }
            (wide ? wide : TILE[R - 1][3])(&t);
            left -= R;
        }
    }
}

/* The row of the states h and, in inference, c that belongs to sorted row b, and to the j-th row of a share */
INLINE isize state_of(const clstm_forward *job, const share *mine, isize b)
{
    return job->apart ? index_of(mine, b) : b;
}

INLINE isize state_row(const clstm_forward *job, const share *mine, isize j) { return job->apart ? j : row_of(mine, j); }

/* The epilogue of R rows and Q panels from panel p on: pre[r][gate][q] are W x + U h + b. In two passes, since the chain
 * from the gates through tanh(c) to h is too long for the processor to overlap with the next row's. */
INLINE void finish_rows(const clstm_forward *job, const share *mine, const gate_rows *gates, isize s, isize j0, int R,
                        isize p, int Q, real *pre)
{
    const clstm_walk *walk = job->walk;
    const isize H = job->H, Hp = padded(H), ld = state_stride(H), gate_step = Q * VL;
    const int among_others = job->gates && job->apart; /* behind each row of gates lies one of another thread's */
    for (int i = 0; i < R; i++) {
        const int r = among_others ? (int)uneven(i, R) : i;
        const isize b = row_of(mine, j0 + r);
        real *c_now = (real *)job->c + state_row(job, mine, j0 + r) * ld, *kept = NULL;
        const real *c_before = c_now;
        if (job->gates) {
            c_before = s > 0 ? (real *)job->cells + (walk->start[s - 1] + b) * ld : (real *)job->c + b * ld;
            c_now = (real *)job->cells + (walk->start[s] + b) * ld;
            kept = gate_row(gates, j0 + r, gates_stride(H));
        }
        for (int q = 0; q < Q; q++) {
            const isize unit = (p + q) * VL;
            real *a = pre + (r * 4 * Q + q) * VL;
            const vec in = sigmoid(load(a)), f = sigmoid(load(a + gate_step));
            const vec g = tanh_(load(a + 2 * gate_step)), o = sigmoid(load(a + 3 * gate_step));
            const vec c = f * load(c_before + unit) + in * g;
            store(c_now + unit, c);
            store(a, c);
            store(a + gate_step, o);
            if (kept) {
                store(kept + unit, in);
                store(kept + Hp + unit, f);
                store(kept + 2 * Hp + unit, g);
                store(kept + 3 * Hp + unit, o);
            }
        }
    }
    for (int i = 0; i < R; i++) {
        const int r = among_others ? (int)uneven(i, R) : i;
        const isize b = row_of(mine, j0 + r);
        real *y = line_at(&job->y, b, s);
        real *h_row = (real *)job->h + ((s + 1) & 1) * job->half + state_row(job, mine, j0 + r) * ld;
        for (int q = 0; q < Q; q++) {
            const isize unit = (p + q) * VL;
            const real *a = pre + (r * 4 * Q + q) * VL;
            const vec h = load(a + gate_step) * tanh_(load(a));
            store(h_row + unit, h);
            if (H - unit >= VL)
                store(y + unit, h);
            else
                store_part(y + unit, h, H - unit);
        }
    }
}

/* Ask for the index-th of the rows that step s will read or write. */
INLINE void ask_for_step(const clstm_forward *job, const share *mine, isize s, isize index, segment *at)
{
    const clstm_walk *walk = job->walk;
    const isize H = job->H, rows = s < walk->steps ? rows_below(mine, walk->active[s]) : 0;
    if (rows == 0 || index >= (job->gates ? 4 : 2) * rows)
        return ask_for_nothing(at);
    const isize b = row_of(mine, index % rows), cell = walk->start[s] + b;
    if (index < rows)
        ask_for_row(at, line_at(&job->x, b, s), job->I);
    else if (index < 2 * rows)
        ask_for_row(at, line_at(&job->y, b, s), H);
    else if (index < 3 * rows)
        ask_for_row(at, (const real *)job->gates + cell * gates_stride(H), 4 * padded(H));
    else
        ask_for_row(at, (const real *)job->cells + cell * state_stride(H), H);
}

/* finish_rows, or what another cell does with the sums */
typedef void finish_function(const clstm_forward *job, const share *mine, const gate_rows *gates, isize s, isize j0, int R,
                             isize p, int Q, real *pre);

/* One step of the share's rows and panels, with h of P features; `projected`: the share's gate rows before this step's in
 * the chunk. */
INLINE void forward_products(const clstm_forward *job, isize P, const share *mine, isize s, isize projected,
                             finish_function *finish)
{
    const clstm_walk *walk = job->walk;
    const isize I = job->I, H = job->H, Hp = padded(H), ld = state_stride(P), stride = gates_stride(H);
    const isize alive = rows_below(mine, walk->active[s]);
    const real *h = (const real *)job->h + (s & 1) * job->half;
    const gate_rows gates = gate_rows_of_step(job, mine, s, projected);
    const int fused = job->chunk == 0;
    const isize panels = mine->panel1 - mine->panel0, bytes = panels * 4 * VL * (fused ? I + P : P) * (isize)sizeof(real);
    real pre[TILE_ROWS * 4 * VECTOR_BYTES / sizeof(real)] __attribute__((aligned(64)));
    if (alive == 0)
        return;

    tile t = {.from_vector = Hp, .from_panel = VL, .to_panel = VL, .segments = 1 + fused};
    segment *recurrent = &t.segment[fused];
    recurrent->w_panel = P * 4 * VL;
    recurrent->K = P;
    if (fused) {
        t.segment[0].w_panel = I * 4 * VL;
        t.segment[0].K = I;
    }
    if (panels < Hp / VL) /* the other threads' part is in their caches: else a line would be asked for after the other */
        for (isize j = 0; j < alive; j++)
            ask_for_all(h + state_row(job, mine, j) * ld, P);
    int Q = 1;
    isize asked = 0;
    for (isize done = 0; done < panels; done += Q) {
        tile_function *wide = alive <= 3 ? widest_tile(next_rows(alive), panels - done, &Q) : NULL;
        const isize p = panel_in_turn(mine, s, done, Q), next = panel_in_turn(mine, s, smaller(done + Q, panels - 1), 1);
        recurrent->w = (const real *)job->U + p * P * 4 * VL;
        if (fused)
            t.segment[0].w = (const real *)job->W + p * I * 4 * VL;
        t.to_vector = Q * VL;
        for (isize j = 0, block = 0; j < alive; block++) {
            const int R = next_rows(alive - j);
            if (!ask_for_panel(recurrent, (const real *)job->U + next * P * 4 * VL, block, bytes))
                ask_for_step(job, mine, s + 1, asked++, recurrent);
            if (fused && !ask_for_panel(&t.segment[0], (const real *)job->W + next * I * 4 * VL, block, bytes))
                ask_for_step(job, mine, s + 1, asked++, &t.segment[0]);
            for (int r = 0; r < R; r++) {
                recurrent->a[r] = h + state_row(job, mine, j + r) * ld;
                t.to[r] = pre + r * 4 * Q * VL;
                if (fused) {
                    t.segment[0].a[r] = line_at(&job->x, row_of(mine, j + r), s);
                    t.from[r] = (const real *)job->bias + p * VL;
                } else {
                    t.from[r] = gate_row(&gates, j + r, stride) + p * VL;
                }
            }
            (wide ? wide : TILE[R - 1][3])(&t);
            finish(job, mine, &gates, s, j, R, p, Q, pre);
            j += R;
        }
    }
}

static void forward_step(const clstm_forward *job, const share *mine, isize s, isize projected)
{
    forward_products(job, job->H, mine, s, projected, finish_rows);
}

/* The job with the group's part of `projected` */
INLINE clstm_forward job_of_group(const clstm_forward *job, const group *g)
{
    clstm_forward own = *job;
    own.half = own.walk->rows * state_stride(own.P);
    own.apart = 0;
    if (own.projected) {
        const isize most_rows = (own.walk->rows + g->count - 1) / g->count;
        own.projected = (real *)own.projected + g->index * smaller(own.chunk, own.walk->steps) * most_rows * gates_stride(own.H);
    }
    return own;
}

/* Zeros into a row's y past its end: on in time, either direction */
INLINE void clear_past_end(const clstm_forward *job, isize b)
{
    const isize length = job->walk->length[b];
    for (isize s = length; s < job->y_steps; s++)
        memset(line_at(&job->y, b, job->y.step < 0 ? length - 1 - s : s), 0, job->P * sizeof(real));
}

static void forward_all(const clstm_forward *given, const clstm_team *team)
{
    const clstm_walk *walk = given->walk;
    const isize H = given->H, ld = state_stride(H);
    const group own_group = group_of(team, given->row_groups);
    const share rows = rows_of(walk, &own_group), mine = share_of(walk, &own_group, padded(H) / VL);
    clstm_forward own = job_of_group(given, &own_group), *job = &own;
    job->half = (walk->rows + own_group.count - 1) / own_group.count * ld + STATES_APART;
    job->apart = own_group.count > 1;
    job->h = (real *)job->h + own_group.index * 2 * job->half;
    if (!job->gates)
        job->c = (real *)job->c + own_group.index * job->half;

    for (isize b = rows.first; b < rows.end && job->first == 0; b += rows.step) {
        const isize row = state_of(job, &mine, b);
        load_state(job->h0, walk, b, H, (real *)job->h + row * ld);
        load_state(job->c0, walk, b, H, (real *)job->c + (job->gates ? b : row) * ld);
    }
    barrier(&own_group.team);
    for (isize s0 = job->first; s0 < job->last;) {
        const isize s1 = job->chunk ? smaller(s0 + job->chunk, job->last) : job->last;
        if (job->chunk)
            project(job, &mine, s0, s1);
        isize projected = 0;
        for (; s0 < s1; s0++) {
            forward_step(job, &mine, s0, projected);
            projected += rows_below(&mine, walk->active[s0]);
            barrier(&own_group.team);
        }
    }
    for (isize b = rows.first; b < rows.end && job->last == walk->steps; b += rows.step) {
        const isize length = walk->length[b];
        const isize row = state_of(job, &mine, b);
        const real *c = (const real *)job->c + (job->gates ? b : row) * ld;
        if (job->gates && length > 0)
            c = (const real *)job->cells + (walk->start[length - 1] + b) * ld;
        save_state(job->hn, walk, b, H, (const real *)job->h + (length & 1) * job->half + row * ld);
        save_state(job->cn, walk, b, H, c);
        clear_past_end(job, b);
    }
}

#endif
