/* Sizes and strides of the layouts in kernels.h, and weights to panels. */
#ifndef CLSTM_LAYOUT_H
#define CLSTM_LAYOUT_H

#include "kernels.h"
#include "vector.h"

/* Rows of (step, row) cells that one block of a weight gradient sums up: fixed, since it orders the sum. */
#define GRADIENT_BLOCK 128

/* Reals between the states of two steps, and of two groups of rows: with less, the prefetcher of one thread's core goes on past
 * the end of what it reads and fetches what another is about to write. */
#define STATES_APART (4096 / (isize)sizeof(real))

static isize padded(isize n) { return round_up(n, VL); }

static isize gates_stride(isize H) { return 4 * padded(H) + VL; }

static isize state_stride(isize H)
{
    isize stride = padded(H);
    return stride * (isize)sizeof(real) % 512 ? stride : stride + VL;
}

/* Reals for a state of B rows in up to `groups` groups. */
static isize states_size(isize B, isize H, isize groups)
{
    return (B + groups) * state_stride(H) + groups * STATES_APART;
}

/* Columns of [x, h] side by side, each part padded. */
static isize columns_width(isize I, isize P) { return padded(I) + padded(P); }

static isize product_panels(isize N) { return (N + 4 * VL - 1) / (4 * VL); }

/* Vectors in product panel q of N columns. */
INLINE int panel_vectors(isize N, isize q) { return (int)smaller(4, (N - q * 4 * VL + VL - 1) / VL); }

static void pack_bias(const void *bias, isize gates, isize H, void *packed)
{
    isize Hp = padded(H);
    memset(packed, 0, gates * Hp * sizeof(real));
    for (isize gate = 0; gate < gates; gate++)
        memcpy((real *)packed + gate * Hp, (const real *)bias + gate * H, H * sizeof(real));
}

static void pack_product(const void *matrix_, isize K, isize N, isize k_stride, isize n_stride, void *panels)
{
    const real *matrix = matrix_;
    for (isize q = 0; q < product_panels(N); q++) {
        isize width = panel_vectors(N, q) * VL, columns = smaller(width, N - q * 4 * VL);
        real *panel = (real *)panels + q * K * 4 * VL;
        const real *source = matrix + q * 4 * VL * n_stride;
        for (isize k = 0; k < K; k++)
            for (isize column = 0; column < width; column++)
                panel[k * width + column] = column < columns ? source[k * k_stride + column * n_stride] : 0;
    }
}

#endif
