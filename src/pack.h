/* LSTM weights to panels: squares of VL x VL reals, turned in registers. */
#ifndef CLSTM_PACK_H
#define CLSTM_PACK_H

#include "kernels.h"
#include "layout.h"
#include "vector.h"

/* Lane l of rows i and i + d, of which the two squares of d x d lanes off the diagonal change places */
#define KEPT(l, d) ((l) & (d) ? VL + ((l) ^ (d)) : (l))
#define MOVED(l, d) ((l) & (d) ? VL + (l) : ((l) ^ (d)) % VL)
#define LANES_2(f, d) f(0, d), f(1, d)
#define LANES_4(f, d) LANES_2(f, d), f(2, d), f(3, d)
#define LANES_8(f, d) LANES_4(f, d), f(4, d), f(5, d), f(6, d), f(7, d)
#define LANES_16(f, d) LANES_8(f, d), f(8, d), f(9, d), f(10, d), f(11, d), f(12, d), f(13, d), f(14, d), f(15, d)
#if defined(CLSTM_AVX512) && defined(CLSTM_F32)
#define LANES LANES_16
#elif defined(CLSTM_AVX512) || (defined(CLSTM_AVX2) && defined(CLSTM_F32))
#define LANES LANES_8
#elif defined(CLSTM_AVX2) || defined(CLSTM_F32)
#define LANES LANES_4
#else
#define LANES LANES_2
#endif

#if defined(__clang__)
#define SHUFFLE(a, b, f, d) __builtin_shufflevector(a, b, LANES(f, d))
#else
#define SHUFFLE(a, b, f, d) __builtin_shuffle(a, b, (ivec){LANES(f, d)})
#endif

#define EXCHANGE(rows, d)                             \
    if (d < VL)                                       \
        UNROLL for (isize i = 0; i < VL; i++)         \
            if (!(i & (d))) {                         \
                const vec a = rows[i], b = rows[(i + (d)) % VL]; \
                rows[i] = SHUFFLE(a, b, KEPT, d);     \
                rows[(i + (d)) % VL] = SHUFFLE(a, b, MOVED, d); \
            }

INLINE void transpose(vec *rows)
{
    EXCHANGE(rows, 8)
    EXCHANGE(rows, 4)
    EXCHANGE(rows, 2)
    EXCHANGE(rows, 1)
}

NOINLINE void turn_part(const real *from, isize from_step, isize rows, isize lanes, real *to, isize to_step)
{
    vec square[VECTOR_BYTES / sizeof(real)] = {0};
    for (isize i = 0; i < rows; i++)
        square[i] = load_part(from + i * from_step, lanes);
    transpose(square);
    for (isize i = 0; i < lanes; i++)
        store(to + i * to_step, square[i]);
}

/* Make `rows` vectors of `lanes` reals `lanes` vectors of `rows` reals, with zeros behind them. */
INLINE void pass(const real *from, isize from_step, isize rows, isize lanes, real *to, isize to_step)
{
    if (rows < VL || lanes < VL) {
        turn_part(from, from_step, rows, lanes, to, to_step);
        return;
    }
    vec square[VECTOR_BYTES / sizeof(real)];
    UNROLL for (isize i = 0; i < VL; i++)
        square[i] = load(from + i * from_step);
    transpose(square);
    UNROLL for (isize i = 0; i < VL; i++)
        store(to + i * to_step, square[i]);
}

/* The last panel of fewer than VL units, dense (layout.h) */
static void pack_rest(const real *weight, isize H, isize K, real *panel)
{
    const isize p = H / VL, units = panel_units(H, p);
    const int vectors = gate_vectors(H, p);
    for (isize column = 0; column < vectors * VL; column++) {
        const real *row = column < 4 * units ? weight + (column / units * H + p * VL + column % units) * K : NULL;
        for (isize k = 0; k < K; k++)
            panel[in_panel(vectors, K, k, (int)(column / VL)) + column % VL] = row ? row[k] : 0;
    }
}

/* weight (4H, K) -> [panel of VL units][k][gate][VL] or its halves (layout.h), panels first to last - 1 */
static void pack_forward(const void *weight_, isize H, isize K, void *panels, isize first, isize last)
{
    const real *weight = weight_;
    for (isize p = first; p < last; p++) {
        real *panel = (real *)panels + p * K * 4 * VL;
        if (panel_units(H, p) < VL) {
            pack_rest(weight, H, K, panel);
            continue;
        }
        for (int gate = 0; gate < 4; gate++) /* one after the other: VL rows are as many as a core reads ahead */
            for (isize k = 0; k < K; k += VL)
                pass(weight + (gate * H + p * VL) * K + k, K, VL, smaller(VL, K - k), panel + in_panel(4, K, k, gate),
                     FIRST_HALF(4) * VL);
    }
}

/* Columns q 4 VL on of the last forward panel, of fewer than VL units, into the q-th product panel */
static void repack_rest(const real *forward, isize H, isize K, isize q, real *panel)
{
    const isize p = H / VL, units = panel_units(H, p);
    const int rest = gate_vectors(H, p), vectors = panel_vectors(K, q);
    for (isize column = 0; column < 4 * units; column++)
        for (isize i = 0; i < vectors * VL; i++) {
            const isize k = q * 4 * VL + i, row = column / units * H + p * VL + column % units;
            panel[in_panel(vectors, 4 * H, row, (int)(i / VL)) + i % VL] =
                k < K ? forward[p * K * 4 * VL + in_panel(rest, K, k, (int)(column / VL)) + column % VL] : 0;
        }
}

/* forward panels of (4H, K) -> [panel of 4 VL columns][gate * H + unit][VL a vector] or its halves, panels first to last - 1 */
static void repack_backward(const void *forward_, isize H, isize K, void *panels, isize first, isize last)
{
    const real *forward = forward_;
    for (isize q = first; q < last; q++) {
        const int vectors = panel_vectors(K, q);
        real *panel = (real *)panels + q * 4 * H * 4 * VL;
        if (H % VL)
            repack_rest(forward, H, K, q, panel);
        for (isize unit = 0; unit + VL <= H; unit += VL)
            for (int gate = 0; gate < 4; gate++)
                for (int n = 0; n < vectors; n++) {
                    const isize k = (q * 4 + n) * VL;
                    pass(forward + unit * K * 4 + in_panel(4, K, k, gate), FIRST_HALF(4) * VL, smaller(VL, K - k), VL,
                         panel + in_panel(vectors, 4 * H, gate * H + unit, n),
                         (n < FIRST_HALF(vectors) ? FIRST_HALF(vectors) : vectors - FIRST_HALF(vectors)) * VL);
                }
    }
}

#endif
