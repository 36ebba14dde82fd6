/* The one product that carries the library: a tile of R rows x N vectors (x Q panels),
 *
 *     to[r][n] = from[r][n] + sum over the segments, in order, of  sum over k of  a[r][k] * w[k][n]
 *
 * w is a packed panel, [k][N][VL] or its halves, aligned and read in order; a[r] are rows anywhere, read one real at a time.
 * Every sum runs in the order of k with fused multiply-adds, whatever R, N and Q: the bits of a result depend
 * neither on how rows were grouped nor on the width of a vector.
 *
 * Each tile is a function of its own that is never inlined: before a long epilogue gcc 12 would spill the
 * accumulators inside the loop. They leave through `to`, mostly a small buffer in L1.
 */
#ifndef CLSTM_TILE_H
#define CLSTM_TILE_H

#include "layout.h"
#include "vector.h"

#define MAX_SEGMENTS 4
#define CACHE_LINE 64

typedef struct {
    const real *a[TILE_ROWS];
    const real *w;
    isize w_half;  /* reals from the first half of the vectors to the second, where there are halves */
    isize w_panel; /* reals from one panel to the next, for Q > 1 */
    isize K;
    const char *next[2]; /* memory to prefetch for meanwhile, at either half; next_step bytes further on with each k */
    isize next_step;
} segment;

typedef struct {
    const real *from[TILE_ROWS];
    real *to[TILE_ROWS];
    isize from_vector, to_vector; /* reals from one vector n to the next */
    isize from_panel, to_panel;   /* reals from one panel q to the next */
    int first, segments; /* segments first to segments - 1 */
    segment segment[MAX_SEGMENTS];
} tile;

typedef void tile_function(const tile *);

/* Rows k0 to k0 + K - 1 of a panel of N vectors and `rows` rows */
INLINE void set_panel(segment *s, const real *panel, int N, isize rows, isize k0, isize K)
{
    s->w = panel + in_panel(N, rows, k0, 0);
    s->w_half = N > FIRST_HALF(N) ? in_panel(N, rows, k0, FIRST_HALF(N)) - in_panel(N, rows, k0, 0) : 0;
    s->K = K;
}

/* What is needed next is prefetched for while a tile runs, a prefetch with each k: from L3 it would come too slowly. Not by tiles
 * of several panels: they have few rows and are bound by reading, which each prefetch slows.
 *
 * Up to L2_PANEL_BYTES bytes, panels are still in L2 when their pass comes again. Of larger ones, while the block-th rows
 * pass, prefetch for the block-th part of the panel `next`, or of its halves: a third of the speed at B = 32, H = 256. Returns whether
 * it did. */
#define L2_PANEL_BYTES (1 << 19)

INLINE int set_panel_prefetch(segment *s, const real *next, isize block, isize bytes)
{
    if (bytes <= L2_PANEL_BYTES || block >= FIRST_HALF(4) * VECTOR_BYTES / CACHE_LINE)
        return 0;
    s->next[0] = (const char *)next + block * s->K * CACHE_LINE;
    s->next[1] = s->next[0] + s->w_half * (isize)sizeof(real);
    s->next_step = CACHE_LINE;
    return 1;
}

/* Ask for n reals at once. */
INLINE void prefetch_row(const real *row, isize n)
{
    for (isize i = 0; i < n; i += CACHE_LINE / (isize)sizeof(real))
        __builtin_prefetch(row + i, 0, 3);
}

INLINE void clear_prefetch(segment *s)
{
    s->next[0] = s->next[1] = (const char *)s->w;
    s->next_step = 0;
}

/* Ask for a row of n reals. */
INLINE void set_row_prefetch(segment *s, const real *row, isize n)
{
    s->next[0] = s->next[1] = (const char *)row;
    s->next_step = sizeof(real);
    while (s->next_step * s->K < n * (isize)sizeof(real))
        s->next_step *= 2;
}

/* acc[r][q][n] += factor * w[n] for the next M rows of a panel: V vectors from vector n0 on, of its N. `factor`: of row r and
 * `ahead`; `next`: what to prefetch for where it `prefetching`. The fewer, factors or weights, stay in registers meanwhile. */
#define ADD_ROWS(M, R, N, Q, V, n0, factor, prefetching, next)                                                \
    UNROLL for (int ahead = 0; ahead < M; ahead++) {                                                   \
        if (prefetching)                                                                                      \
            __builtin_prefetch(next, 0, 2);                                                            \
        vec x[R], b[V];                                                                                \
        if (R < V)                                                                                     \
            UNROLL for (int r = 0; r < R; r++) x[r] = broadcast(factor);                               \
        UNROLL for (int q = 0; q < Q; q++) {                                                           \
            UNROLL for (int n = 0; n < V; n++) {                                                       \
                const int m = n0 + n - FIRST_HALF(N); /* in the second half */                            \
                const real *at = q * w_panel + (m < 0 ? w + (ahead * FIRST_HALF(N) + n0 + n) * VL         \
                                                      : w_half + (ahead * (N - FIRST_HALF(N)) + m) * VL); \
                if (R == 1 && V > 1) {                                                                 \
                    add_product_from_memory(&acc[0][q][n], x[0], at);                                           \
                    continue;                                                                          \
                }                                                                                      \
                b[n] = load(at);                                                                       \
                UNROLL for (int r = 0; r < R && R < V; r++) add_product(&acc[r][q][n], x[r], b[n]);    \
            }                                                                                          \
            UNROLL for (int r = 0; r < R && R >= V; r++) {                                             \
                if (V <= EMBEDDED_BROADCAST_VECTORS) {                                                                  \
                    UNROLL for (int n = 0; n < V; n++) add_product_broadcast(&acc[r][q][n], &factor, b[n]); \
                    continue;                                                                          \
                }                                                                                      \
                x[r] = broadcast(factor);                                                              \
                UNROLL for (int n = 0; n < V; n++) add_product(&acc[r][q][n], x[r], b[n]);             \
            }                                                                                          \
        }                                                                                              \
    }                                                                                                  \
    w += M * FIRST_HALF(N) * VL, w_half += M * (N - FIRST_HALF(N)) * VL;

/* Sums of V vectors from vector n0 on, of a panel's N: all, or one half after the other. There is a segment, and it has a k: with a way
 * past a loop, gcc 12 moves all sums through memory before and behind it. */
#define TILE_PART(R, N, Q, V, n0)                                                                  \
    {                                                                                              \
        vec acc[R][Q][V];                                                                          \
        UNROLL for (int r = 0; r < R; r++)                                                         \
        UNROLL for (int q = 0; q < Q; q++)                                                         \
        UNROLL for (int n = 0; n < V; n++)                                                         \
            acc[r][q][n] = load(t->from[r] + q * t->from_panel + (n0 + n) * t->from_vector);       \
        int s = t->first;                                                                          \
        do {                                                                                       \
            const real *a[R], *w = t->segment[s].w, *w_half = w + t->segment[s].w_half;            \
            const isize K = t->segment[s].K, w_panel = t->segment[s].w_panel;                      \
            const char *next = t->segment[s].next[n0 > 0];                                         \
            const isize next_step = t->segment[s].next_step;                                       \
            UNROLL for (int r = 0; r < R; r++) a[r] = t->segment[s].a[r];                          \
            isize k = 0;                                                                           \
            for (; K_UNROLL > 1 && k + K_UNROLL <= K; k += K_UNROLL, next += K_UNROLL * next_step) {           \
                ADD_ROWS(K_UNROLL, R, N, Q, V, n0, a[r][k + ahead], Q == 1, next + ahead * next_step) \
            }                                                                                      \
            while (K_UNROLL == 1 || k < K) {                                                          \
                ADD_ROWS(1, R, N, Q, V, n0, a[r][k], Q == 1, next)                                 \
                next += next_step;                                                                 \
                if (++k == K)                                                                      \
                    break;                                                                         \
            }                                                                                      \
        } while (++s < t->segments);                                                               \
        UNROLL for (int r = 0; r < R; r++)                                                         \
        UNROLL for (int q = 0; q < Q; q++)                                                         \
        UNROLL for (int n = 0; n < V; n++)                                                         \
            store(t->to[r] + q * t->to_panel + (n0 + n) * t->to_vector, acc[r][q][n]);             \
    }

#define DEFINE_TILE(R, N, Q)                                 \
    NOINLINE void tile_##R##_##N##_##Q(const tile *t)        \
    {                                                        \
        if (R * N * Q <= ACCUMULATORS)                       \
            TILE_PART(R, N, Q, N, 0)                         \
        else {                                               \
            TILE_PART(R, N, Q, FIRST_HALF(N), 0)                \
            TILE_PART(R, N, Q, (N - FIRST_HALF(N)), FIRST_HALF(N)) \
        }                                                    \
    }

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

/* At most, rows times panels of a tile */
#define MAX_VECTORS 6

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

/* Tiles of few rows that take several panels of 4 vectors at once: of one row also the panel of REST vectors behind them. */
#define DEFINE_ROW_TILE(Q, REST)                                                                                           \
    NOINLINE void row_##Q##_##REST(const tile *t)                                                                          \
    {                                                                                                                      \
        vec acc[4 * Q + REST];                                                                                             \
        UNROLL for (int i = 0; i < 4 * Q + REST; i++)                                                                      \
            acc[i] = load(t->from[0] + i / 4 * t->from_panel + i % 4 * t->from_vector);                                    \
        int s = t->first;                                                                                                  \
        do {                                                                                                               \
            const real *a = t->segment[s].a[0], *w = t->segment[s].w;                                                      \
            const isize K = t->segment[s].K, w_panel = t->segment[s].w_panel, w_half = t->segment[s].w_half;               \
            isize k = 0;                                                                                                   \
            do {                                                                                                           \
                const vec x = broadcast(a[k]);                                                                             \
                UNROLL for (int i = 0; i < 4 * Q + REST; i++) {                                                            \
                    const int N = i / 4 < Q ? 4 : REST, n = i % 4;                                                         \
                    const isize half = n < FIRST_HALF(N) ? 0 : N == 4 ? w_half : FIRST_HALF(N) * K * VL;                         \
                    add_product_from_memory(&acc[i], x, w + i / 4 * w_panel + half + in_panel(N, 0, k, n));                         \
                }                                                                                                          \
            } while (++k < K);                                                                                             \
        } while (++s < t->segments);                                                                                       \
        UNROLL for (int i = 0; i < 4 * Q + REST; i++) store(t->to[0] + i / 4 * t->to_panel + i % 4 * t->to_vector, acc[i]); \
    }

#define ROW_TILES(Q) {row_##Q##_0, row_##Q##_1, row_##Q##_2, row_##Q##_3}
#define DEFINE_ROW_TILES(Q) DEFINE_ROW_TILE(Q, 0) DEFINE_ROW_TILE(Q, 1) DEFINE_ROW_TILE(Q, 2) DEFINE_ROW_TILE(Q, 3)

DEFINE_ROW_TILES(1)
DEFINE_ROW_TILES(2)
#if WIDE_1 > 2
DEFINE_ROW_TILES(4)
#endif

/* [log2 panels][vectors behind them] */
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

/* The tile for `rows` rows that takes most of `panels` panels of 4 vectors and of one panel of `rest` vectors (0 to 3) next to them,
 * which comes first in turn where partial_first; how many in *taken. */
INLINE tile_function *widest_tile(int rows, isize panels, int rest, int partial_first, int *taken)
{
    if (rows == 1 && panels > 0) {
        const int log2 = WIDE_1 > 2 && panels >= 4 ? 2 : panels >= 2;
        const int joined = partial_first || panels == 1 << log2 ? rest : 0;
        *taken = (1 << log2) + (joined > 0);
        return ROW_TILE[log2][joined];
    }
    if (rest > 0 && (partial_first || panels == 0))
        return *taken = 1, TILE[rows - 1][rest - 1];
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

/* The same product with a read down a column block: a[k * lda + r]; for sums over rows (weight gradients).
 * to += over one segment, a panel of `block` rows of which K count; vectors of `to` are VL apart. `next`: memory to prefetch for
 * meanwhile, a cache line a k. */
#define OUTER_PART(R, N, V, n0)                                                                                \
    {                                                                                                          \
        vec acc[R][1][V];                                                                                      \
        const real *column = a, *w = panel, *w_half = w + block * FIRST_HALF(N) * VL;                             \
        const isize w_panel = 0;                                                                               \
        UNROLL for (int r = 0; r < R; r++)                                                                     \
        UNROLL for (int n = 0; n < V; n++) acc[r][0][n] = load(to + r * ld + (n0 + n) * VL);                   \
        isize k = 0;                                                                                           \
        for (; K_UNROLL > 1 && k + K_UNROLL <= K; k += K_UNROLL, column += K_UNROLL * lda) {                               \
            ADD_ROWS(K_UNROLL, R, N, 1, V, n0, column[ahead * lda + r], n0 == 0, next + (k + ahead) * CACHE_LINE) \
        }                                                                                                      \
        while (K_UNROLL == 1 || k < K) {                                                                          \
            ADD_ROWS(1, R, N, 1, V, n0, column[r], n0 == 0, next + k * CACHE_LINE)                             \
            column += lda;                                                                                     \
            if (++k == K)                                                                                      \
                break;                                                                                         \
        }                                                                                                      \
        UNROLL for (int r = 0; r < R; r++)                                                                     \
        UNROLL for (int n = 0; n < V; n++) store(to + r * ld + (n0 + n) * VL, acc[r][0][n]);                   \
    }

#define DEFINE_OUTER_TILE(R, N)                                                                                               \
    NOINLINE void outer_##R##_##N(const real *a, isize lda, const real *panel, isize block, isize K, real *to, isize ld,      \
                                  const char *next)                                                                           \
    {                                                                                                                         \
        if (R * N <= ACCUMULATORS)                                                                                            \
            OUTER_PART(R, N, N, 0)                                                                                            \
        else {                                                                                                                \
            OUTER_PART(R, N, FIRST_HALF(N), 0)                                                                                   \
            OUTER_PART(R, N, (N - FIRST_HALF(N)), FIRST_HALF(N))                                                                    \
        }                                                                                                                     \
    }

typedef void outer_function(const real *a, isize lda, const real *panel, isize block, isize K, real *to, isize ld, const char *next);

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

static outer_function *const OUTER_TILE[TILE_ROWS][4] = {
    OUTER_TILES(1), OUTER_TILES(2), OUTER_TILES(3),
#if TILE_ROWS > 3
    OUTER_TILES(4), OUTER_TILES(5),
#endif
#if TILE_ROWS > 5
    OUTER_TILES(6),
#endif
};

/* Rows of the next tile when `left` are left: blocks of nearly equal size (8 = 4 + 4), not 6 and a thin rest. Where vectors are
 * taken in halves, 4 rows have too few sums to hide the latency of the multiply-add: 8 = 5 + 3. */
INLINE int next_rows(isize left)
{
    const isize blocks = (left + TILE_ROWS - 1) / TILE_ROWS;
    int rows = TILE_ROWS;
    while ((rows - 1) * blocks >= left) /* rounded up, left / blocks */
        rows--;
    return HALVED_PANELS && left > rows && (rows == 4 || left - rows == 4) ? rows + 1 : rows;
}

#endif
