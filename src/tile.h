/* The product that carries the library: a tile of R rows times N vectors (of each of Q panels),
 *
 *     to[r][n] = from[r][n] + sum over the terms, in order, of  sum over k of  a[r][k] * w[k][n]
 *
 * A term is one of the products that are summed, for example W x and U h. Layout of its operands:
 *   w     a packed panel, [k][N][VL] or its halves (layout.h), 64-byte aligned and read in order
 *   a[r]  K contiguous reals anywhere, in no panel's layout and with any alignment, read one at a time
 *   from, to  vectors from_vector and to_vector reals apart, of any alignment; `to` may be `from`
 * All of it is owned by the caller; only `to` is written, and it must not overlap w or a.
 *
 * Every sum runs in the order of k with fused multiply-adds, whatever R, N and Q are: the bits of a result depend
 * neither on how rows are grouped nor on the width of a vector.
 *
 * Each size of tile is a function that is never inlined: where a long epilogue follows, gcc 12 would spill the
 * accumulators inside the loop. They are written to `to`, which is mostly a small buffer in L1.
 */
#ifndef CLSTM_TILE_H
#define CLSTM_TILE_H

#include "layout.h"
#include "vector.h"

#define MAX_TERMS 4
#define CACHE_LINE 64

typedef struct {
    const real *a[TILE_ROWS];
    const real *w;
    isize w_half;  /* reals from the first half of the vectors to the second, where panels are halved */
    isize w_panel; /* reals from one panel to the next, for Q > 1 */
    isize K;
    const char *prefetch[2]; /* memory to prefetch while the first and the second half are added */
    isize prefetch_step;     /* bytes to go on with each k */
} term;

typedef struct {
    const real *from[TILE_ROWS];
    real *to[TILE_ROWS];
    isize from_vector, to_vector; /* reals from one vector n to the next */
    isize from_panel, to_panel;   /* reals from one panel q to the next */
    int first_term, end_term;     /* the terms to add, the last excluded */
    term term[MAX_TERMS];
} tile;

typedef void tile_function(const tile *);

/* Let a term read rows k0 to k0 + K - 1 of a panel of N vectors and `rows` rows. */
INLINE void set_panel(term *term, const real *panel, int N, isize rows, isize k0, isize K)
{
    term->w = panel + in_panel(N, rows, k0, 0);
    term->w_half = N > FIRST_HALF(N) ? in_panel(N, rows, k0, FIRST_HALF(N)) - in_panel(N, rows, k0, 0) : 0;
    term->K = K;
}

/* Prefetching ------------------------------------------------------------------------------------------------------
 *
 * While a tile runs, it prefetches what is needed next, one instruction with each k: reading from L3 when it is needed
 * would be too slow. Tiles of several panels don't prefetch: they have few rows and are bound by reading, and each
 * prefetch slowed them. */

/* Panels of up to so many bytes are still in L2 when they are used again. */
#define L2_PANEL_BYTES (1 << 19)

/* Prefetch a part of the panel `next` (or of each of its halves), which is used after the current one: the part is the
 * one with the number of the current block of rows, so that the panel is complete after a few blocks. Only where all
 * panels together, of `bytes` bytes, don't stay in L2; it brought a third of the speed at B = 32, H = 256.
 * Return whether there was anything to prefetch. */
INLINE int set_panel_prefetch(term *term, const real *next, isize block, isize bytes)
{
    if (bytes <= L2_PANEL_BYTES || block >= FIRST_HALF(4) * VECTOR_BYTES / CACHE_LINE)
        return 0;
    term->prefetch[0] = (const char *)next + block * term->K * CACHE_LINE;
    term->prefetch[1] = term->prefetch[0] + term->w_half * (isize)sizeof(real);
    term->prefetch_step = CACHE_LINE;
    return 1;
}

/* Prefetch a row of n reals, spread over all k of the term. */
INLINE void set_row_prefetch(term *term, const real *row, isize n)
{
    term->prefetch[0] = term->prefetch[1] = (const char *)row;
    term->prefetch_step = sizeof(real);
    while (term->prefetch_step * term->K < n * (isize)sizeof(real))
        term->prefetch_step *= 2;
}

/* Prefetch nothing: the instructions are still executed, on memory that the tile reads anyway. */
INLINE void clear_prefetch(term *term)
{
    term->prefetch[0] = term->prefetch[1] = (const char *)term->w;
    term->prefetch_step = 0;
}

/* Prefetch a row of n reals at once. */
INLINE void prefetch_row(const real *row, isize n)
{
    for (isize i = 0; i < n; i += CACHE_LINE / (isize)sizeof(real))
        __builtin_prefetch(row + i, 0, 3);
}

/* The product ------------------------------------------------------------------------------------------------------
 *
 * The functions below are inlined with constant sizes into one function for each size. Their loops unroll, and
 * the accumulators, an array [R][Q][V], become registers. */

/* What is added at once: V vectors from vector n0 on, of panels of N vectors each. V is N, or one half of a panel. */
typedef struct {
    int R, N, Q, V, n0;
} tile_size;

/* The factors of the rows: factor (r, k) is row[r][k * step]. */
typedef struct {
    const real *row[TILE_ROWS];
    isize step;
} tile_factors;

/* The rows of weights from the next k on: in the first and the second half of the first panel, and the distance between
 * panels */
typedef struct {
    const real *first, *second;
    isize panel;
} tile_weights;

/* What to prefetch with the next k, if `on` */
typedef struct {
    int on;
    const char *address;
    isize step;
} tile_prefetch;

INLINE const real *weights_at(tile_size size, tile_weights w, isize k, int q, int n)
{
    const int in_first = FIRST_HALF(size.N), in_second = n - in_first;
    const real *first = w.first + (k * in_first + n) * VL;
    const real *second = w.second + (k * (size.N - in_first) + in_second) * VL;
    return q * w.panel + (in_second < 0 ? first : second);
}

/* Add the k-th next product of each row: acc[r][q][n] += a[r][k] * w[q][k][n]. Either the factors of all rows stay in
 * registers meanwhile or the weights of a panel, whichever are fewer. */
INLINE void add_products(vec *acc, tile_size size, tile_factors a, tile_weights w, isize k)
{
    const int R = size.R, Q = size.Q, V = size.V;
    vec factor[TILE_ROWS], weight[4];
    if (R < V)
        UNROLL for (int r = 0; r < R; r++) factor[r] = broadcast(a.row[r][k * a.step]);
    UNROLL for (int q = 0; q < Q; q++) {
        vec *sums = acc + q * V;
        UNROLL for (int n = 0; n < V; n++) {
            const real *at = weights_at(size, w, k, q, size.n0 + n);
            if (R == 1 && V > 1) {
                add_product_from_memory(&sums[n], factor[0], at);
                continue;
            }
            weight[n] = load(at);
            UNROLL for (int r = 0; r < R && R < V; r++) add_product(&sums[r * Q * V + n], factor[r], weight[n]);
        }
        UNROLL for (int r = 0; r < R && R >= V; r++) {
            const real *x = &a.row[r][k * a.step];
            if (V <= EMBEDDED_BROADCAST_VECTORS) {
                UNROLL for (int n = 0; n < V; n++) add_product_broadcast(&sums[r * Q * V + n], x, weight[n]);
                continue;
            }
            factor[r] = broadcast(*x);
            UNROLL for (int n = 0; n < V; n++) add_product(&sums[r * Q * V + n], factor[r], weight[n]);
        }
    }
}

/* Add the next `count` products of each row. */
INLINE void add_block(vec *acc, tile_size size, int count, tile_factors a, tile_weights w, tile_prefetch prefetch)
{
    UNROLL for (int k = 0; k < count; k++) {
        if (prefetch.on)
            __builtin_prefetch(prefetch.address + k * prefetch.step, 0, 2);
        add_products(acc, size, a, w, k);
    }
}

/* The weights behind the next `count` rows */
INLINE tile_weights skip_rows(tile_weights w, tile_size size, int count)
{
    w.first += count * FIRST_HALF(size.N) * VL;
    w.second += count * (size.N - FIRST_HALF(size.N)) * VL;
    return w;
}

/* Add one term. K is at least 1 and the second loop ends in its middle: where a loop may run no time at all, gcc 12 moves
 * every accumulator to memory before it and back behind it. */
INLINE void add_term(vec *acc, tile_size size, const term *term)
{
    const real *row[TILE_ROWS];
    tile_weights w = {term->w, term->w + term->w_half, term->w_panel};
    tile_prefetch prefetch = {size.Q == 1, term->prefetch[size.n0 > 0], term->prefetch_step};
    tile_factors a = {.step = 1};
    const isize K = term->K;
    UNROLL for (int r = 0; r < size.R; r++) row[r] = term->a[r];
    isize k = 0;
    for (; K_UNROLL > 1 && k + K_UNROLL <= K; k += K_UNROLL, prefetch.address += K_UNROLL * prefetch.step) {
        UNROLL for (int r = 0; r < size.R; r++) a.row[r] = row[r] + k;
        add_block(acc, size, K_UNROLL, a, w, prefetch);
        w = skip_rows(w, size, K_UNROLL);
    }
    while (K_UNROLL == 1 || k < K) {
        UNROLL for (int r = 0; r < size.R; r++) a.row[r] = row[r] + k;
        add_block(acc, size, 1, a, w, prefetch);
        w = skip_rows(w, size, 1);
        prefetch.address += prefetch.step;
        if (++k == K)
            break;
    }
}

/* Add all terms, of which there is at least one, for the same reason as in add_term. */
INLINE void add_terms(const tile *t, tile_size size)
{
    const int R = size.R, Q = size.Q, V = size.V;
    vec acc[ACCUMULATORS];
    UNROLL for (int r = 0; r < R; r++)
    UNROLL for (int q = 0; q < Q; q++)
    UNROLL for (int n = 0; n < V; n++)
        acc[(r * Q + q) * V + n] = load(t->from[r] + q * t->from_panel + (size.n0 + n) * t->from_vector);
    int i = t->first_term;
    do
        add_term(acc, size, &t->term[i]);
    while (++i < t->end_term);
    UNROLL for (int r = 0; r < R; r++)
    UNROLL for (int q = 0; q < Q; q++)
    UNROLL for (int n = 0; n < V; n++)
        store(t->to[r] + q * t->to_panel + (size.n0 + n) * t->to_vector, acc[(r * Q + q) * V + n]);
}

/* A tile whose accumulators don't fit the registers is computed as two, one for each half of its vectors. */
INLINE void compute_tile(const tile *t, int R, int N, int Q)
{
    if (R * N * Q <= ACCUMULATORS) {
        add_terms(t, (tile_size){R, N, Q, N, 0});
    } else {
        add_terms(t, (tile_size){R, N, Q, FIRST_HALF(N), 0});
        add_terms(t, (tile_size){R, N, Q, N - FIRST_HALF(N), FIRST_HALF(N)});
    }
}

#define DEFINE_TILE(R, N, Q) NOINLINE void tile_##R##_##N##_##Q(const tile *t) { compute_tile(t, R, N, Q); }
#define DEFINE_TILES(R) DEFINE_TILE(R, 1, 1) DEFINE_TILE(R, 2, 1) DEFINE_TILE(R, 3, 1) DEFINE_TILE(R, 4, 1)
#define TILES(R) {tile_##R##_1_1, tile_##R##_2_1, tile_##R##_3_1, tile_##R##_4_1}

DEFINE_TILES(1)
DEFINE_TILES(2)
DEFINE_TILES(3)
#if TILE_ROWS > 3
DEFINE_TILES(4)
DEFINE_TILES(5)
#endif
#if TILE_ROWS > 5
DEFINE_TILES(6)
#endif

/* [rows - 1][vectors - 1] */
static tile_function *const TILE[TILE_ROWS][4] = {
    TILES(1), TILES(2), TILES(3),
#if TILE_ROWS > 3
    TILES(4), TILES(5),
#endif
#if TILE_ROWS > 5
    TILES(6),
#endif
};

/* Tiles of several panels ------------------------------------------------------------------------------------------ */

/* The largest product of the rows and the panels of a tile */
#define MAX_ROW_PANELS 6

/* One row times Q panels of 4 vectors and the `partial` vectors (0 to 3) of the panel behind them */
INLINE void compute_row_tile(const tile *t, int Q, int partial)
{
    vec acc[4 * 4 + 3];
    UNROLL for (int i = 0; i < 4 * Q + partial; i++)
        acc[i] = load(t->from[0] + i / 4 * t->from_panel + i % 4 * t->from_vector);
    int s = t->first_term;
    do {
        const real *a = t->term[s].a[0], *w = t->term[s].w;
        const isize K = t->term[s].K, w_panel = t->term[s].w_panel, w_half = t->term[s].w_half;
        isize k = 0;
        do {
            const vec factor = broadcast(a[k]);
            UNROLL for (int i = 0; i < 4 * Q + partial; i++) {
                const int N = i / 4 < Q ? 4 : partial, n = i % 4;
                const isize half = n < FIRST_HALF(N) ? 0 : N == 4 ? w_half : FIRST_HALF(N) * K * VL;
                add_product_from_memory(&acc[i], factor, w + i / 4 * w_panel + half + in_panel(N, 0, k, n));
            }
        } while (++k < K);
    } while (++s < t->end_term);
    UNROLL for (int i = 0; i < 4 * Q + partial; i++)
        store(t->to[0] + i / 4 * t->to_panel + i % 4 * t->to_vector, acc[i]);
}

#define DEFINE_ROW_TILE(Q, PARTIAL) NOINLINE void row_##Q##_##PARTIAL(const tile *t) { compute_row_tile(t, Q, PARTIAL); }
#define DEFINE_ROW_TILES(Q) DEFINE_ROW_TILE(Q, 0) DEFINE_ROW_TILE(Q, 1) DEFINE_ROW_TILE(Q, 2) DEFINE_ROW_TILE(Q, 3)
#define ROW_TILES(Q) {row_##Q##_0, row_##Q##_1, row_##Q##_2, row_##Q##_3}

DEFINE_ROW_TILES(1)
DEFINE_ROW_TILES(2)
#if WIDE_1 > 2
DEFINE_ROW_TILES(4)
#endif

/* [log2 of the panels][vectors of the panel behind them] */
static tile_function *const ROW_TILE[][4] = {
    ROW_TILES(1), ROW_TILES(2),
#if WIDE_1 > 2
    ROW_TILES(4),
#endif
};

#if WIDE_2 > 1
DEFINE_TILE(2, 4, 2)
#endif
#if WIDE_3 > 1
DEFINE_TILE(3, 4, 2)
#endif

/* The tile for `rows` rows that takes the most panels: there are `panels` panels of 4 vectors, and beside them one of
 * `partial` vectors (0 to 3), which is first in the panel order if partial_first. The number of panels that it takes
 * goes to *taken. */
INLINE tile_function *widest_tile(int rows, isize panels, int partial, int partial_first, int *taken)
{
    if (rows == 1 && panels > 0) {
        const int log2 = WIDE_1 > 2 && panels >= 4 ? 2 : panels >= 2;
        const int joined = partial_first || panels == 1 << log2 ? partial : 0;
        *taken = (1 << log2) + (joined > 0);
        return ROW_TILE[log2][joined];
    }
    if (partial > 0 && (partial_first || panels == 0))
        return *taken = 1, TILE[rows - 1][partial - 1];
#if WIDE_2 > 1
    if (rows == 2 && panels >= 2)
        return *taken = 2, tile_2_4_2;
#endif
#if WIDE_3 > 1
    if (rows == 3 && panels >= 2)
        return *taken = 2, tile_3_4_2;
#endif
    return *taken = 1, TILE[rows - 1][3];
}

/* Sums of outer products ------------------------------------------------------------------------------------------- */

/* The same product with factors from the columns of a block: to[r][n] += sum over k < K of a[k * lda + r] * panel[k][n].
 * The panel has `block` rows, of which K >= 1 count; vectors of `to`, of row r at r * ld, are VL apart. `prefetch` is memory
 * to prefetch meanwhile, a cache line with each k. For sums over rows, which are the gradients of weights. */
typedef struct {
    const real *a;
    isize lda;
    const real *panel;
    isize block, K;
    real *to;
    isize ld;
    const char *prefetch;
} outer_tile;

typedef void outer_function(const outer_tile *);

/* Add the next K_UNROLL products. Written out where R >= V: by way of add_block, gcc 12 moves AVX2's accumulators from
 * register to register, 18 moves for 48 multiply-adds. */
INLINE void add_unrolled_outer_products(vec *acc, tile_size size, const real *column, isize lda, tile_weights w,
                                        tile_prefetch prefetch)
{
    if (size.R < size.V) {
        tile_factors a = {.step = lda};
        UNROLL for (int r = 0; r < size.R; r++) a.row[r] = column + r;
        add_block(acc, size, K_UNROLL, a, w, prefetch);
        return;
    }
    UNROLL for (int k = 0; k < K_UNROLL; k++) {
        if (prefetch.on)
            __builtin_prefetch(prefetch.address + k * prefetch.step, 0, 2);
        UNROLL for (int r = 0; r < size.R; r++) {
            const vec factor = broadcast(column[k * lda + r]);
            UNROLL for (int n = 0; n < size.V; n++)
                add_product(&acc[r * size.V + n], factor, load(weights_at(size, w, k, 0, size.n0 + n)));
        }
    }
}

INLINE void add_outer_products(const outer_tile *t, tile_size size)
{
    const int R = size.R, V = size.V;
    const isize lda = t->lda, K = t->K, ld = t->ld;
    const real *column = t->a;
    real *to = t->to;
    vec acc[ACCUMULATORS];
    tile_weights w = {t->panel, t->panel + t->block * FIRST_HALF(size.N) * VL, 0};
    tile_prefetch prefetch = {size.n0 == 0, t->prefetch, CACHE_LINE};
    UNROLL for (int r = 0; r < R; r++)
    UNROLL for (int n = 0; n < V; n++) acc[r * V + n] = load(to + r * ld + (size.n0 + n) * VL);
    isize k = 0;
    for (; K_UNROLL > 1 && k + K_UNROLL <= K; k += K_UNROLL, column += K_UNROLL * lda) {
        prefetch.address = t->prefetch + k * CACHE_LINE;
        add_unrolled_outer_products(acc, size, column, lda, w, prefetch);
        w = skip_rows(w, size, K_UNROLL);
    }
    while (K_UNROLL == 1 || k < K) {
        tile_factors a = {.step = lda};
        UNROLL for (int r = 0; r < R; r++) a.row[r] = column + r;
        prefetch.address = t->prefetch + k * CACHE_LINE;
        add_block(acc, size, 1, a, w, prefetch);
        w = skip_rows(w, size, 1);
        column += lda;
        if (++k == K)
            break;
    }
    UNROLL for (int r = 0; r < R; r++)
    UNROLL for (int n = 0; n < V; n++) store(to + r * ld + (size.n0 + n) * VL, acc[r * V + n]);
}

INLINE void compute_outer_tile(const outer_tile *t, int R, int N)
{
    if (R * N <= ACCUMULATORS) {
        add_outer_products(t, (tile_size){R, N, 1, N, 0});
    } else {
        add_outer_products(t, (tile_size){R, N, 1, FIRST_HALF(N), 0});
        add_outer_products(t, (tile_size){R, N, 1, N - FIRST_HALF(N), FIRST_HALF(N)});
    }
}

#define DEFINE_OUTER_TILE(R, N) NOINLINE void outer_##R##_##N(const outer_tile *t) { compute_outer_tile(t, R, N); }
#define DEFINE_OUTER_TILES(R) \
    DEFINE_OUTER_TILE(R, 1) DEFINE_OUTER_TILE(R, 2) DEFINE_OUTER_TILE(R, 3) DEFINE_OUTER_TILE(R, 4)
#define OUTER_TILES(R) {outer_##R##_1, outer_##R##_2, outer_##R##_3, outer_##R##_4}

DEFINE_OUTER_TILES(1)
DEFINE_OUTER_TILES(2)
DEFINE_OUTER_TILES(3)
#if TILE_ROWS > 3
DEFINE_OUTER_TILES(4)
DEFINE_OUTER_TILES(5)
#endif
#if TILE_ROWS > 5
DEFINE_OUTER_TILES(6)
#endif

/* [rows - 1][vectors - 1] */
static outer_function *const OUTER_TILE[TILE_ROWS][4] = {
    OUTER_TILES(1), OUTER_TILES(2), OUTER_TILES(3),
#if TILE_ROWS > 3
    OUTER_TILES(4), OUTER_TILES(5),
#endif
#if TILE_ROWS > 5
    OUTER_TILES(6),
#endif
};

/* Rows of the next tile when `left` rows are left: tiles of nearly equal size (8 = 4 + 4), not 6 and then 2. Where panels are
 * halved, tiles of 4 rows have too few accumulators to hide the latency of the multiply-add, and 8 = 5 + 3 is faster. */
INLINE int next_rows(isize left)
{
    const isize tiles = (left + TILE_ROWS - 1) / TILE_ROWS;
    int rows = TILE_ROWS;
    while ((rows - 1) * tiles >= left) /* until rows is left / tiles, rounded up; divisions are slow */
        rows--;
    return HALVED_PANELS && left > rows && (rows == 4 || left - rows == 4) ? rows + 1 : rows;
}

#endif
