/* Sizes and strides of the layouts that kernels.h describes, and the packing of biases and product panels. */
#ifndef CLSTM_LAYOUT_H
#define CLSTM_LAYOUT_H

#include "kernels.h"
#include "vector.h"

/* At most so many positions are added to a weight gradient at once. */
#define GRADIENT_BLOCK 256

/* Reals between the states of two steps, and between those of two groups of rows. With less, the hardware prefetcher of
 * one core runs past the end of what its thread reads, into lines that another thread is about to write. */
#define STATE_GAP (4096 / (isize)sizeof(real))

static isize padded(isize n) { return round_up(n, VL); }

static isize gates_stride(isize H) { return 4 * padded(H) + VL; }

static isize state_stride(isize H)
{
    isize stride = padded(H);
    return stride * (isize)sizeof(real) % 512 ? stride : stride + VL;
}

/* Reals for a state of B rows in up to `groups` groups of threads */
static isize states_size(isize B, isize H, isize groups)
{
    return (B + groups) * state_stride(H) + groups * STATE_GAP;
}

/* Columns of [x, h] side by side, each part padded. */
static isize columns_width(isize I, isize P) { return padded(I) + padded(P); }

static isize product_panels(isize N) { return (N + 4 * VL - 1) / (4 * VL); }

/* A tile with more accumulators than the registers hold is computed in two halves of its vectors, and so its panel is
 * stored as two halves, one behind the other. With the vectors of both halves side by side, each half would use only
 * every other cache line, and so only half of the cache's sets. FIRST_HALF(N): vectors of the first half of N. */
#define HALVED_PANELS (4 * TILE_ROWS > ACCUMULATORS)
#define FIRST_HALF(N) (HALVED_PANELS && (N) > 2 ? 2 : (N))

/* Offset of vector n of row k in a panel of N vectors and K rows */
INLINE isize in_panel(int N, isize K, isize k, int n)
{
    return (n < FIRST_HALF(N) ? k * FIRST_HALF(N) + n : K * FIRST_HALF(N) + k * (N - FIRST_HALF(N)) + n - FIRST_HALF(N)) * VL;
}

/* Vectors in product panel q of N columns. */
INLINE int panel_vectors(isize N, isize q) { return (int)smaller(4, (N - q * 4 * VL + VL - 1) / VL); }

/* Hidden units of forward panel p. The last panel may have fewer than VL; it stores the units of one gate behind those of the
 * gate before without gaps, and so has only the vectors it needs. */
INLINE isize panel_units(isize H, isize p) { return smaller(VL, H - p * VL); }

/* The number of forward panels of 4 vectors, and the number of vectors of the panel behind them, which is 0 if there is
 * none */
INLINE isize whole_panels(isize H) { return (4 * H + VL - 1) / VL / 4; }

INLINE int partial_panel_vectors(isize H) { return (int)((4 * H + VL - 1) / VL % 4); }

INLINE int gate_vectors(isize H, isize p) { return p < whole_panels(H) ? 4 : partial_panel_vectors(H); }

/* Per-unit parameters (parts * H,) to [parts][Hp], with zeros behind the H units of each part */
static void pack_units(const void *values, isize parts, isize H, void *packed)
{
    isize Hp = padded(H);
    memset(packed, 0, parts * Hp * sizeof(real));
    for (isize part = 0; part < parts; part++)
        memcpy((real *)packed + part * Hp, (const real *)values + part * H, H * sizeof(real));
}

/* bias (4H,) in the layout in which the sums of forward panels begin: vector n of panel p at n Hp + p VL */
static void pack_bias(const void *bias, isize H, void *packed)
{
    const isize whole = H / VL, units = H % VL;
    pack_units(bias, 4, H, packed);
    for (isize column = 0; column < (units ? 4 * VL : 0); column++)
        ((real *)packed)[column / VL * padded(H) + whole * VL + column % VL] =
            column < 4 * units ? ((const real *)bias)[column / units * H + whole * VL + column % units] : 0;
}

static void pack_product(const void *matrix_, isize K, isize N, isize k_stride, isize n_stride, void *panels)
{
    const real *matrix = matrix_;
    for (isize q = 0; q < product_panels(N); q++) {
        const int vectors = panel_vectors(N, q);
        const isize columns = smaller(vectors * VL, N - q * 4 * VL);
        real *panel = (real *)panels + q * K * 4 * VL;
        const real *source = matrix + q * 4 * VL * n_stride;
        for (isize k = 0; k < K; k++)
            for (isize column = 0; column < vectors * VL; column++)
                panel[in_panel(vectors, K, k, (int)(column / VL)) + column % VL] =
                    column < columns ? source[k * k_stride + column * n_stride] : 0;
    }
}

#endif
