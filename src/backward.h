/* Backward over a walk, from the last step to the first:
 *
 *     dh_t = dy_t + dgates_{t+1} U         dc_t = dc_{t+1} f_{t+1} + dh_t o (1 - tanh(c_t)^2)
 *     di = dc g i (1 - i)   df = dc c_{t-1} f (1 - f)   dg = dc i (1 - g^2)   do = dh tanh(c_t) o (1 - o)
 *
 * in place of the gates; then dW = sum dgates^T x, dU = sum dgates^T h_{t-1}, db = sum dgates and dx = dgates W.
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

/* dgates of R cells at step s, from the share's j0-th row on, times the panel of t: into to[r]. */
INLINE void recurrent_product(const clstm_backward *job, const share *mine, isize s, isize j0, int R,
                              tile_function *product, tile *t)
{
    for (int r = 0; r < R; r++) {
        isize cell = job->walk->start[s] + row_of(mine, j0 + r);
        set_gates_row(t, r, (const real *)job->gates + cell * gates_stride(job->H), job->H);
    }
    product(t);
}

/* The gate gradients of units [unit0, unit1) of one row; dh holds the part from the step after. */
INLINE void finish_gradients(const clstm_backward *job, isize s, isize b, isize unit0, isize unit1, const real *dh_after)
{
    const clstm_walk *walk = job->walk;
    const isize H = job->H, Hp = padded(H), ld = state_stride(H), cell = walk->start[s] + b;
    const real *c = (const real *)job->cells + cell * ld;
    const real *c_before =
        s > 0 ? (const real *)job->cells + (walk->start[s - 1] + b) * ld : (const real *)job->c + b * ld;
    const real *dy = line_at(&job->dy, b, s);
    real *dc_row = (real *)job->dc + b * ld, *gate = (real *)job->gates + cell * gates_stride(H);
    for (isize unit = unit0; unit < unit1; unit += VL) {
        const vec i = load(gate + unit), f = load(gate + Hp + unit);
        const vec g = load(gate + 2 * Hp + unit), o = load(gate + 3 * Hp + unit);
        const vec dh = load(dh_after + unit - unit0) +
                       (H - unit >= VL ? load(dy + unit) : load_part(dy + unit, H - unit));
        const vec squashed = tanh_(load(c + unit));
        const vec dc = load(dc_row + unit) + dh * o * (1 - squashed * squashed);
        store(gate + unit, dc * g * i * (1 - i));
        store(gate + Hp + unit, dc * load(c_before + unit) * f * (1 - f));
        store(gate + 2 * Hp + unit, dc * i * (1 - g * g));
        store(gate + 3 * Hp + unit, dh * squashed * o * (1 - o));
        store(dc_row + unit, dc * f);
    }
}

static void backward_step(const clstm_backward *job, const share *mine, isize s)
{
    const clstm_walk *walk = job->walk;
    const isize H = job->H, Hp = padded(H), ld = state_stride(H);
    const isize alive = rows_below(mine, walk->active[s]);
    const isize after = s + 1 < walk->steps ? rows_below(mine, walk->active[s + 1]) : 0;
    real dh[TILE_ROWS * 4 * VECTOR_BYTES / sizeof(real)] __attribute__((aligned(64)));

    tile t = gates_tile(H);
    t.to_vector = VL;
    t.to_panel = 4 * VL;
    int Q = 1;
    for (isize q = mine->panel0; q < mine->panel1; q += Q) {
        const isize full = smaller(mine->panel1, H / (4 * VL)) - q; /* panels of 4 vectors from here */
        const int N = panel_vectors(H, q);
        tile_function *wide = after > 0 && after <= 3 && full > 1 ? widest_tile(next_rows(after), full, &Q) : NULL;
        if (!wide)
            Q = 1;
        const isize unit0 = q * 4 * VL, unit1 = smaller(unit0 + Q * 4 * VL, Hp);
        const isize next = q + 1 < mine->panel1 ? q + 1 : mine->panel0;
        set_gates_panel(&t, (const real *)job->Ub + q * 4 * H * 4 * VL, H, N);
        for (isize j = 0, block = 0; j < after; block++) {
            const int R = next_rows(after - j);
            for (int r = 0; r < R; r++)
                t.to[r] = dh + r * Q * 4 * VL;
            ask_for_gates_panel(&t, (const real *)job->Ub + next * 4 * H * 4 * VL, H, block);
            recurrent_product(job, mine, s + 1, j, R, wide ? wide : TILE[R - 1][N - 1], &t);
            for (int r = 0; r < R; r++)
                finish_gradients(job, s, row_of(mine, j + r), unit0, unit1, t.to[r]);
            j += R;
        }
        /* rows whose last step this is */
        for (isize j = after; j < alive; j++) {
            const isize b = row_of(mine, j);
            finish_gradients(job, s, b, unit0, unit1, (const real *)job->dh + b * ld + unit0);
        }
    }
}

/* dh of the initial state: the first step's dgates times U, into dh. */
static void backward_start(const clstm_backward *job, const share *mine)
{
    const isize H = job->H, ld = state_stride(H);
    const isize alive = rows_below(mine, job->walk->active[0]);
    tile t = gates_tile(H);
    t.to_vector = VL;
    for (isize q = mine->panel0; q < mine->panel1; q++) {
        const int N = panel_vectors(H, q);
        set_gates_panel(&t, (const real *)job->Ub + q * 4 * H * 4 * VL, H, N);
        for (isize j = 0; j < alive;) {
            const int R = next_rows(alive - j);
            for (int r = 0; r < R; r++)
                t.to[r] = (real *)job->dh + row_of(mine, j + r) * ld + q * 4 * VL;
            recurrent_product(job, mine, 0, j, R, TILE[R - 1][N - 1], &t);
            j += R;
        }
    }
}

/* dx of this thread's cells. */
static void input_gradient_all(const clstm_backward *job, const clstm_team *team)
{
    const clstm_walk *walk = job->walk;
    const isize first = walk->cells * team->rank / team->size, last = walk->cells * (team->rank + 1) / team->size;
    const isize I = job->I, H = job->H, stride = gates_stride(H), block = 16 * TILE_ROWS;
    real sum[TILE_ROWS * 4 * VECTOR_BYTES / sizeof(real)] __attribute__((aligned(64)));
    isize s = 0;
    for (isize cell0 = first; cell0 < last; cell0 += block) {
        const isize cell1 = smaller(cell0 + block, last);
        while (s + 1 < walk->steps && walk->start[s + 1] <= cell0)
            s++;
        for (isize q = 0; q < product_panels(I); q++) {
            const int N = panel_vectors(I, q);
            const isize column = q * 4 * VL, columns = smaller(4 * VL, I - column);
            const int direct = !job->add_dx && columns == N * VL;
            tile t = gates_tile(H);
            t.to_vector = VL;
            set_gates_panel(&t, (const real *)job->Wb + q * 4 * H * 4 * VL, H, N);
            const isize next = q + 1 < product_panels(I) ? q + 1 : 0;
            isize step = s;
            for (isize cell = cell0, asked = 0; cell < cell1; asked++) {
                const int R = next_rows(cell1 - cell);
                ask_for_gates_panel(&t, (const real *)job->Wb + next * 4 * H * 4 * VL, H, asked);
                real *dx[TILE_ROWS];
                for (int r = 0; r < R; r++) {
                    while (step + 1 < walk->steps && walk->start[step + 1] <= cell + r)
                        step++;
                    dx[r] = line_at(&job->dx, cell + r - walk->start[step], step) + column;
                    t.to[r] = direct ? dx[r] : sum + r * 4 * VL;
                    set_gates_row(&t, r, (const real *)job->gates + (cell + r) * stride, H);
                }
                TILE[R - 1][N - 1](&t);
                if (!direct)
                    for (int r = 0; r < R; r++)
                        for (isize i = 0; i < columns; i++)
                            dx[r][i] = (job->add_dx ? dx[r][i] : 0) + t.to[r][i];
                cell += R;
            }
        }
    }
}

/* dW, dU, db: this thread's strips of gate rows over all cells. */
static void weight_gradients(const clstm_backward *job, const clstm_team *team)
{
    const clstm_walk *walk = job->walk;
    const isize I = job->I, H = job->H, Hp = padded(H), width = columns_width(I, H);
    real *columns = (real *)job->columns + team->rank * GRADIENT_BLOCK * width;
    outer_sum sum = {.groups = 4, .width = H, .stride = Hp, .add = job->add, .whole_vectors = 1,
                     .sums_width = width, .columns = columns, .sums = job->sums};
    outer_begin(&sum, team);
    isize s = 0, b = 0;
    for (isize cell0 = 0; cell0 < walk->cells; cell0 += GRADIENT_BLOCK) {
        const isize cell1 = smaller(cell0 + GRADIENT_BLOCK, walk->cells);
        for (isize cell = cell0; cell < cell1; cell++, b++) {
            while (b == walk->active[s])
                s++, b = 0;
            const real *h_before =
                s > 0 ? line_at(&job->y, b, s - 1) : (const real *)job->h0 + walk->order[b] * H;
            outer_column(columns, cell - cell0, line_at(&job->x, b, s), I);
            outer_column(columns + GRADIENT_BLOCK * padded(I), cell - cell0, h_before, H);
        }
        const real *gates = (const real *)job->gates + cell0 * gates_stride(H);
        outer_block(&sum, gates, gates_stride(H), cell1 - cell0, padded(I), 0);
        outer_block(&sum, gates, gates_stride(H), cell1 - cell0, Hp, padded(I));
        outer_bias_block(&sum, gates, gates_stride(H), cell1 - cell0);
    }
    outer_end(&sum, 0, I, job->dW);
    outer_end(&sum, padded(I), H, job->dU);
    outer_bias_end(&sum, job->db);
}

static void backward_all(const clstm_backward *job, const clstm_team *team)
{
    const clstm_walk *walk = job->walk;
    const isize H = job->H, ld = state_stride(H);
    const share rows = share_of(team, 0, 0);
    const share mine = share_of(team, job->by_panels, product_panels(H));
    for (isize b = rows.first; b < walk->rows; b += rows.step) {
        load_state(job->dhn, walk, b, H, (real *)job->dh + b * ld);
        load_state(job->dcn, walk, b, H, (real *)job->dc + b * ld);
    }
    if (job->by_panels)
        barrier(team);
    for (isize s = walk->steps - 1; s >= 0; s--) {
        backward_step(job, &mine, s);
        if (job->by_panels)
            barrier(team);
    }
    if (walk->steps > 0)
        backward_start(job, &mine);
    barrier(team);
    for (isize b = rows.first; b < walk->rows; b += rows.step) {
        save_state(job->dh0, walk, b, H, (const real *)job->dh + b * ld);
        save_state(job->dc0, walk, b, H, (const real *)job->dc + b * ld);
    }
    weight_gradients(job, team);
}

#endif
