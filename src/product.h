/* Products of rows with product panels: dgates U and dgates W in the backward pass, and dense layers.
 *
 * Rows are the caller's, contiguous and of any alignment; panels are [panel of 4 VL columns][k][vectors][VL] or their halves
 * (layout.h), 64-byte aligned. Results go to rows of any alignment that must not overlap either.
 */
#ifndef CLSTM_PRODUCT_H
#define CLSTM_PRODUCT_H

#include "layout.h"
#include "tile.h"
#include "walk.h"

/* A larger panel doesn't stay in L2 beside the other data, and is taken gate by gate. */
#define MAX_PANEL_BYTES (512 << 10)

static const real ZEROS[VECTOR_BYTES / sizeof(real)] __attribute__((aligned(64)));

/* Rows of gates to be multiplied with a product panel, and where their products go, as vectors VL apart */
#define GROUP_ROWS (8 * TILE_ROWS)
typedef struct {
    isize H, rows;
    const real *gates[GROUP_ROWS];
    real *to[GROUP_ROWS];
} gates_group;

/* Sets what a term prefetches next. */
typedef void prefetch_function(void *state, term *at);

/* Multiply the rows of a group with a panel of N vectors: sums over k = gate * H + unit. The gates are separate terms
 * where padding is between them, and where each is to prefetch something else (`set_prefetch`, or NULL for nothing,
 * with its `state`). A panel larger than MAX_PANEL_BYTES is taken gate by gate, by all rows of the group for each gate.
 * `wide` is a tile that takes more panels, for groups of one tile; `next` the panel after this one, and `bytes` the
 * size of all panels. */
INLINE void gates_product(const gates_group *group, const real *panel, int N, tile_function *wide, const real *next,
                          isize bytes, prefetch_function *set_prefetch, void *state)
{
    const isize H = group->H, gate_reals = H * N * VL;
    const int large = 4 * gate_reals * (isize)sizeof(real) > MAX_PANEL_BYTES;
    const int terms = (set_prefetch && !wide) || large || padded(H) != H ? 4 : 1;
    const int passes = !wide && large ? 4 : 1;
    tile t = {.to_vector = VL, .to_panel = 4 * VL};
    for (int gate = 0; gate < terms; gate++) {
        set_panel(&t.term[gate], panel, N, 4 * H, gate * H, 4 * H / terms);
        t.term[gate].w_panel = 4 * gate_reals;
    }
    for (int pass = 0; pass < passes; pass++) {
        t.first_term = pass * (terms / passes), t.end_term = t.first_term + terms / passes;
        t.from_vector = pass > 0 ? VL : 0;
        for (isize j = 0, block = 0; j < group->rows; block++) {
            const int R = next_rows(group->rows - j);
            for (int r = 0; r < R; r++, j++) {
                t.to[r] = group->to[j];
                t.from[r] = pass > 0 ? t.to[r] : ZEROS;
                for (int gate = 0; gate < terms; gate++)
                    t.term[gate].a[r] = group->gates[j] + gate * padded(H);
            }
            for (int gate = t.first_term; gate < t.end_term; gate++) {
                term *at = &t.term[gate];
                const isize gate_step = in_panel(N, 4 * H, H, 0); /* from one gate's rows to the next one's */
                const real *following = passes == 1 ? next + gate * gate_step : gate < 3 ? at->w + gate_step : next;
                if (set_panel_prefetch(at, following, block, bytes))
                    continue;
                if (set_prefetch)
                    set_prefetch(state, at);
                else
                    clear_prefetch(at);
            }
            (wide ? wide : TILE[R - 1][N - 1])(&t);
        }
    }
}

/* out = bias + a B for this thread's rows: a block of rows times one panel after the other */
static void product_all(const clstm_product *job, const clstm_team *team)
{
    const isize first = job->rows * team->rank / team->size, last = job->rows * (team->rank + 1) / team->size;
    const isize N = job->N, block = 16 * TILE_ROWS;
    real part[TILE_ROWS * 4 * VECTOR_BYTES / sizeof(real)] __attribute__((aligned(64)));
    tile t = {.end_term = 1, .to_vector = VL};
    for (isize row0 = first; row0 < last; row0 += block) {
        const isize row1 = smaller(row0 + block, last);
        for (isize q = 0; q < product_panels(N); q++) {
            const int vectors = panel_vectors(N, q);
            const isize column = q * 4 * VL, columns = smaller(4 * VL, N - column);
            const int whole = columns == vectors * VL;
            set_panel(&t.term[0], (const real *)job->panels + q * job->K * 4 * VL, vectors, job->K, 0, job->K);
            clear_prefetch(&t.term[0]);
            t.from_vector = job->bias ? VL : 0;
            for (isize row = row0; row < row1;) {
                const int R = next_rows(row1 - row);
                for (int r = 0; r < R; r++) {
                    real *out = (real *)job->out + (row + r) * job->out_stride + column;
                    t.term[0].a[r] = (const real *)job->a + (row + r) * job->a_stride;
                    t.from[r] = job->bias ? (const real *)job->bias + column : ZEROS;
                    t.to[r] = whole ? out : part + r * 4 * VL;
                }
                TILE[R - 1][vectors - 1](&t);
                for (int r = 0; r < R && !whole; r++)
                    memcpy((real *)job->out + (row + r) * job->out_stride + column, t.to[r], columns * sizeof(real));
                row += R;
            }
        }
    }
}

#endif
