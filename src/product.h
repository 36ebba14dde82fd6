/* Rows times product panels: dgates U and dgates W in the backward pass, and dense layers. */
#ifndef CLSTM_PRODUCT_H
#define CLSTM_PRODUCT_H

#include "layout.h"
#include "tile.h"
#include "walk.h"

#define MAX_PANEL_BYTES (512 << 10)

static const real ZEROS[VECTOR_BYTES / sizeof(real)] __attribute__((aligned(64)));

/* Rows of gates to be multiplied with a product panel, and where the products go: vectors VL apart */
#define GROUP_ROWS (8 * TILE_ROWS)
typedef struct {
    isize H, rows;
    const real *gates[GROUP_ROWS];
    real *to[GROUP_ROWS];
} gates_group;

/* Asks for something needed next. */
typedef void prefetch_function(void *state, segment *at);

/* Sum over k = gate * H + unit. Each gate is a segment where padding stands between them, or for the sake of what there
 * is to prefetch for (`prefetch` or NULL). A panel of N vectors too large to stay in L2 beside other things is taken gate by gate,
 * all rows of the group at each. `wide`: for a group of one tile, a tile that takes more panels. `next`: the panel after
 * this one; `bytes`: of all panels. */
INLINE void gates_product(const gates_group *group, const real *panel, int N, tile_function *wide, const real *next,
                          isize bytes, prefetch_function *prefetch, void *state)
{
    const isize H = group->H, gate_reals = H * N * VL;
    const int large = 4 * gate_reals * (isize)sizeof(real) > MAX_PANEL_BYTES;
    const int segments = (prefetch && !wide) || large || padded(H) != H ? 4 : 1;
    const int pieces = !wide && large ? 4 : 1;
    tile t = {.to_vector = VL, .to_panel = 4 * VL};
    for (int gate = 0; gate < segments; gate++) {
        set_panel(&t.segment[gate], panel, N, 4 * H, gate * H, 4 * H / segments);
        t.segment[gate].w_panel = 4 * gate_reals;
    }
    for (int piece = 0; piece < pieces; piece++) {
        t.first = piece * (segments / pieces), t.segments = t.first + segments / pieces;
        t.from_vector = piece > 0 ? VL : 0;
        for (isize j = 0, block = 0; j < group->rows; block++) {
            const int R = next_rows(group->rows - j);
            for (int r = 0; r < R; r++, j++) {
                t.to[r] = group->to[j];
                t.from[r] = piece > 0 ? t.to[r] : ZEROS;
                for (int gate = 0; gate < segments; gate++)
                    t.segment[gate].a[r] = group->gates[j] + gate * padded(H);
            }
            for (int gate = t.first; gate < t.segments; gate++) {
                segment *at = &t.segment[gate];
                const isize later = in_panel(N, 4 * H, H, 0); /* from one gate's rows to the next one's */
                const real *then = pieces == 1 ? next + gate * later : gate < 3 ? at->w + later : next;
                if (set_panel_prefetch(at, then, block, bytes))
                    continue;
                if (prefetch)
                    prefetch(state, at);
                else
                    clear_prefetch(at);
            }
            (wide ? wide : TILE[R - 1][N - 1])(&t);
        }
    }
}

/* out = bias + a B for this thread's rows, a block of rows against every panel in turn. */
static void product_all(const clstm_product *job, const clstm_team *team)
{
    const isize first = job->rows * team->rank / team->size, last = job->rows * (team->rank + 1) / team->size;
    const isize N = job->N, block = 16 * TILE_ROWS;
    real part[TILE_ROWS * 4 * VECTOR_BYTES / sizeof(real)] __attribute__((aligned(64)));
    tile t = {.segments = 1, .to_vector = VL};
    for (isize row0 = first; row0 < last; row0 += block) {
        const isize row1 = smaller(row0 + block, last);
        for (isize q = 0; q < product_panels(N); q++) {
            const int vectors = panel_vectors(N, q);
            const isize column = q * 4 * VL, columns = smaller(4 * VL, N - column);
            const int whole = columns == vectors * VL;
            set_panel(&t.segment[0], (const real *)job->panels + q * job->K * 4 * VL, vectors, job->K, 0, job->K);
            clear_prefetch(&t.segment[0]);
            t.from_vector = job->bias ? VL : 0;
            for (isize row = row0; row < row1;) {
                const int R = next_rows(row1 - row);
                for (int r = 0; r < R; r++) {
                    real *out = (real *)job->out + (row + r) * job->out_stride + column;
                    t.segment[0].a[r] = (const real *)job->a + (row + r) * job->a_stride;
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
