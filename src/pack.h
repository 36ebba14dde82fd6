/* Packing of LSTM weights into panels (kernels.h has the layouts): squares of VL x VL reals are transposed in registers.
 *
 * Weights are the caller's C-contiguous (4H, K) arrays, of any alignment; panels are 64-byte aligned and must not overlap them. */
#ifndef CLSTM_PACK_H
#define CLSTM_PACK_H

#include "kernels.h"
#include "layout.h"
#include "vector.h"

/* Transposing exchanges, for d = VL/2, ..., 2, 1, the two squares of d x d lanes off the diagonal of rows i and i + d.
 * KEPT and MOVED tell where lane l of the new row i and of the new row i + d comes from: lanes of row i, then of row i + d.
 * They are macros since the compilers' shuffles need constants as lanes. */
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

NOINLINE void transpose_partial_block(const real *from, isize from_step, isize rows, isize lanes, real *to, isize to_step)
{
    vec square[VECTOR_BYTES / sizeof(real)] = {0};
    for (isize i = 0; i < rows; i++)
        square[i] = load_part(from + i * from_step, lanes);
    transpose(square);
    for (isize i = 0; i < lanes; i++)
        store(to + i * to_step, square[i]);
}

/* Transpose `rows` vectors of `lanes` reals into `lanes` vectors of `rows` reals, with zeros behind those. */
INLINE void transpose_block(const real *from, isize from_step, isize rows, isize lanes, real *to, isize to_step)
{
    if (rows < VL || lanes < VL) {
        transpose_partial_block(from, from_step, rows, lanes, to, to_step);
        return;
    }
    vec square[VECTOR_BYTES / sizeof(real)];
    UNROLL for (isize i = 0; i < VL; i++)
        square[i] = load(from + i * from_step);
    transpose(square);
    UNROLL for (isize i = 0; i < VL; i++)
        store(to + i * to_step, square[i]);
}

/* The last panel, of fewer than VL units, without gaps between its gates (layout.h) */
static void pack_partial_panel(const real *weight, isize H, isize K, real *panel)
{
    const isize p = H / VL, units = panel_units(H, p);
    const int vectors = gate_vectors(H, p);
    for (isize column = 0; column < vectors * VL; column++) {
        const real *row = column < 4 * units ? weight + (column / units * H + p * VL + column % units) * K : NULL;
        for (isize k = 0; k < K; k++)
            panel[in_panel(vectors, K, k, (int)(column / VL)) + column % VL] = row ? row[k] : 0;
    }
}

/* Pack weight (4H, K) into forward panels first to last - 1. */
static void pack_forward(const void *weight_, isize H, isize K, void *panels, isize first, isize last)
{
    const real *weight = weight_;
    for (isize p = first; p < last; p++) {
        real *panel = (real *)panels + p * K * 4 * VL;
        if (panel_units(H, p) < VL) {
            pack_partial_panel(weight, H, K, panel);
            continue;
        }
        for (int gate = 0; gate < 4; gate++) /* gate by gate, since the hardware prefetches from about VL rows at a time */
            for (isize k = 0; k < K; k += VL)
                transpose_block(weight + (gate * H + p * VL) * K + k, K, VL, smaller(VL, K - k), panel + in_panel(4, K, k, gate),
                     FIRST_HALF(4) * VL);
    }
}

/* Copy the columns of product panel q, which begin at 4 VL q, from the last forward panel, of fewer than VL units. */
static void repack_partial_panel(const real *forward, isize H, isize K, isize q, real *panel)
{
    const isize p = H / VL, units = panel_units(H, p);
    const int partial = gate_vectors(H, p), vectors = panel_vectors(K, q);
    for (isize column = 0; column < 4 * units; column++)
        for (isize i = 0; i < vectors * VL; i++) {
            const isize k = q * 4 * VL + i, row = column / units * H + p * VL + column % units;
            panel[in_panel(vectors, 4 * H, row, (int)(i / VL)) + i % VL] =
                k < K ? forward[p * K * 4 * VL + in_panel(partial, K, k, (int)(column / VL)) + column % VL] : 0;
        }
}

/* Pack forward panels of (4H, K) into product panels first to last - 1 of its K columns. */
static void repack_backward(const void *forward_, isize H, isize K, void *panels, isize first, isize last)
{
    const real *forward = forward_;
    for (isize q = first; q < last; q++) {
        const int vectors = panel_vectors(K, q);
        real *panel = (real *)panels + q * 4 * H * 4 * VL;
        if (H % VL)
            repack_partial_panel(forward, H, K, q, panel);
        for (isize unit = 0; unit + VL <= H; unit += VL)
            for (int gate = 0; gate < 4; gate++)
                for (int n = 0; n < vectors; n++) {
                    const isize k = (q * 4 + n) * VL;
                    transpose_block(forward + unit * K * 4 + in_panel(4, K, k, gate), FIRST_HALF(4) * VL, smaller(VL, K - k), VL,
                         panel + in_panel(vectors, 4 * H, gate * H + unit, n),
                         (n < FIRST_HALF(vectors) ? FIRST_HALF(vectors) : vectors - FIRST_HALF(vectors)) * VL);
                }
    }
}

#endif
