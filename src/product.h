/* Rows times product panels: dgates U and dgates W in the backward pass, and dense layers. */
#ifndef CLSTM_PRODUCT_H
#define CLSTM_PRODUCT_H

#include "layout.h"
#include "tile.h"

static const real ZEROS[VECTOR_BYTES / sizeof(real)] __attribute__((aligned(64)));

/* A tile whose rows are rows of gates, summed from zero. Between the gates stands padding where H isn't a multiple
 * of VL: then each gate is a segment. */
INLINE tile gates_tile(isize H)
{
    tile t = {.segments = padded(H) == H ? 1 : 4};
    for (int r = 0; r < TILE_ROWS; r++)
        t.from[r] = ZEROS;
    for (int gate = 0; gate < t.segments; gate++) {
        t.segment[gate].K = 4 * H / t.segments;
        t.segment[gate].w_panel = 4 * H * 4 * VL;
    }
    return t;
}

INLINE void set_gates_row(tile *t, int r, const real *gates, isize H)
{
    for (int gate = 0; gate < t->segments; gate++)
        t->segment[gate].a[r] = gates + gate * padded(H);
}

INLINE void set_gates_panel(tile *t, const real *panel, isize H, int N)
{
    for (int gate = 0; gate < t->segments; gate++) {
        t->segment[gate].w = panel + gate * H * N * VL;
        t->segment[gate].next = (const char *)t->segment[gate].w;
    }
}

INLINE void ask_for_gates_panel(tile *t, const real *panel, isize H, isize block)
{
    for (int gate = 0; gate < t->segments; gate++)
        ask_for(&t->segment[gate], panel + gate * H * 4 * VL, block);
}

/* out = bias + a B for this thread's rows, a block of rows against every panel in turn. */
static void product_all(const clstm_product *job, const clstm_team *team)
{
    const isize first = job->rows * team->rank / team->size, last = job->rows * (team->rank + 1) / team->size;
    const isize N = job->N, block = 16 * TILE_ROWS;
    real part[TILE_ROWS * 4 * VECTOR_BYTES / sizeof(real)] __attribute__((aligned(64)));
    tile t = {.segments = 1, .to_vector = VL};
    t.segment[0].K = job->K;
    for (isize row0 = first; row0 < last; row0 += block) {
        const isize row1 = smaller(row0 + block, last);
        for (isize q = 0; q < product_panels(N); q++) {
            const int vectors = panel_vectors(N, q);
            const isize column = q * 4 * VL, columns = smaller(4 * VL, N - column);
            const int whole = columns == vectors * VL;
            t.segment[0].w = (const real *)job->panels + q * job->K * 4 * VL;
            t.segment[0].next = (const char *)t.segment[0].w;
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
