/* What the vector kernels offer to Cython: one table of functions an instruction set and real type.
 *
 * Sizes: T steps, B rows (the batch), I inputs, H hidden units. All sizes and offsets count reals unless they say
 * otherwise; `void *` is an array of the table's real type.
 *
 * A batch is visited as a walk: rows stand sorted by falling length, so that the rows alive at step s are the first
 * active[s]. The (step, row) pairs that exist are cells, numbered step by step: cell (s, b) = start[s] + b.
 * A line tells where a row's vectors lie in an array of the caller's: step s of sorted row b begins at
 * data + row[b] + s * step. A reverse direction has lines that begin at each row's own end and a negative step;
 * batch-first arrays have other numbers; nothing is copied.
 *
 * Layouts made here (VL = reals in a vector, Hp = H rounded up to VL, zeros in between):
 *   U, W, bias   forward panels  [panel of VL units][k][gate][VL], bias [gate][Hp]
 *   Ub, Wb       product panels  [panel of 4 VL columns][k = gate * H + unit][vectors of the panel][VL];
 *                the last panel has only the vectors it needs (1 to 4)
 *   gates        [cell][gate][Hp], a row every gates_stride(H); i, f, g, o; backward overwrites them with their
 *                gradients
 *   c, h, dh, dc [cell or row][Hp], a row every state_stride(H); row b is the b-th sorted one
 * All of these are 64-byte aligned and owned by the caller. No row stride is a multiple of 4 KiB: rows a power of two
 * apart share cache sets (20% lost in a prototype). Arrays don't overlap, but that y is what the next step reads.
 *
 * A worker (forward, step, backward, input_gradient, product, outer) is called once by each thread of a team and returns
 * when its part is done.
 * Nothing here allocates, prints or knows Python.
 */
#ifndef CLSTM_KERNELS_H
#define CLSTM_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "team.h"

#undef I /* complex.h's, which NumPy's headers bring; here I is the number of inputs */

typedef struct {
    ptrdiff_t steps, rows, cells;
    const ptrdiff_t *active; /* [steps] */
    const ptrdiff_t *start;  /* [steps] */
    const ptrdiff_t *length; /* [rows], falling */
    const ptrdiff_t *order;  /* [rows] the caller's index of each sorted row */
} clstm_walk;

typedef struct {
    void *data;
    const ptrdiff_t *row; /* [rows] */
    ptrdiff_t step;
} clstm_lines;

typedef struct {
    const clstm_walk *walk;
    ptrdiff_t I, H;
    const void *W, *U, *bias;
    clstm_lines x, y;
    ptrdiff_t y_steps;      /* steps of y in all: those past a row's length are set to zero */
    ptrdiff_t first, last;  /* steps to do, last excluded: all of the walk's, or a part that goes on where one ended */
    const void *h0, *c0;    /* [B][H], the caller's order */
    void *hn, *cn;          /* [B][H], the caller's order */
    void *h;                /* 3 states_size(): h of the step before and of this one in turn, in inference c, by groups */
    void *c;                /* training: [B][state_stride], the initial c */
    ptrdiff_t half;         /* set by the kernels: from one h to the other, */
    int apart;              /* and whether a group's rows stand apart. A step alone: [2][B] in h, and [B] in c, in order */
    void *gates, *cells;    /* training: what backward reads; NULL in inference */
    void *projected;        /* inference, chunk > 0: [min(chunk, steps) * (B + row_groups)][gates_stride] */
    ptrdiff_t chunk;        /* steps whose input projection is done at once; 0: in one pass with the recurrent product */
    ptrdiff_t row_groups;   /* groups of threads that deal the rows out, their threads the panels: see walk.h */
} clstm_forward;

typedef struct {
    clstm_forward *layers; /* [count], each with a walk of two steps, chunk 0, and lines x and y for either step */
    ptrdiff_t count;
    ptrdiff_t parity;      /* 0 and 1 in turn: the half of h that holds the step before */
} clstm_step;

typedef struct {
    const clstm_walk *walk;
    ptrdiff_t I, H;
    const void *Ub, *Wb;
    clstm_lines x, y, dy, dx;
    int add_dx;               /* dx += : another direction has written it */
    const void *h0;           /* [B][H], the caller's order */
    const void *dhn, *dcn;    /* [B][H], the caller's order */
    void *dh0, *dc0;          /* [B][H], the caller's order */
    void *dh;                 /* [B][state_stride] */
    void *dc;                 /* states_size(), by groups */
    const void *c;            /* [B][state_stride]: the initial c */
    void *gates;
    const void *cells;
    void *dW, *dU, *db;       /* (4H, I), (4H, H), (4H,) as PyTorch lays them out */
    int add;                  /* they are added to what is there */
    void *columns;            /* [gradient_block][columns_width] for each thread */
    void *sums;               /* [4H][columns_width], behind it [4][Hp] */
    ptrdiff_t row_groups;
} clstm_backward;

typedef struct {
    ptrdiff_t rows, K, N;
    const void *a;        /* rows, each a_stride after the one before */
    ptrdiff_t a_stride;
    const void *panels;   /* product panels, k < K */
    const void *bias;     /* [N rounded up to VL] or NULL */
    void *out;            /* [rows][N] */
    ptrdiff_t out_stride;
} clstm_product;

typedef struct {
    ptrdiff_t rows, N, K;   /* gradient (N, K) = sum over rows of d (rows, N)^T a (rows, K) */
    const void *d, *a;
    ptrdiff_t d_stride, a_stride;
    void *gradient, *bias_gradient; /* (N, K), (N,) or NULL */
    void *columns, *sums;
} clstm_outer;

typedef struct {
    const char *name;
    ptrdiff_t vector_length, item_size, gradient_block, tile_rows;
    ptrdiff_t (*padded)(ptrdiff_t n);
    ptrdiff_t (*state_stride)(ptrdiff_t H);
    ptrdiff_t (*gates_stride)(ptrdiff_t H);
    ptrdiff_t (*states_size)(ptrdiff_t B, ptrdiff_t H, ptrdiff_t groups);
    ptrdiff_t (*columns_width)(ptrdiff_t I, ptrdiff_t H);
    /* weight (4H, K) -> forward panels, its panels [first, last) */
    void (*pack_forward)(const void *weight, ptrdiff_t H, ptrdiff_t K, void *panels, ptrdiff_t first, ptrdiff_t last);
    void (*pack_bias)(const void *bias, ptrdiff_t H, void *packed);
    /* forward panels of (4H, K) -> product panels of K columns, its panels [first, last) */
    void (*repack_backward)(const void *forward, ptrdiff_t H, ptrdiff_t K, void *panels, ptrdiff_t first, ptrdiff_t last);
    /* matrix with element (k, n) at k * k_stride + n * n_stride -> product panels */
    void (*pack_product)(const void *matrix, ptrdiff_t K, ptrdiff_t N, ptrdiff_t k_stride, ptrdiff_t n_stride, void *panels);
    void (*forward)(const clstm_forward *job, clstm_team team);
    void (*step)(const clstm_step *job, clstm_team team);
    /* everything but dx, which the team may do after a barrier */
    void (*backward)(const clstm_backward *job, clstm_team team);
    void (*input_gradient)(const clstm_backward *job, clstm_team team);
    void (*product)(const clstm_product *job, clstm_team team);
    void (*outer)(const clstm_outer *job, clstm_team team);
    void (*wait)(const clstm_team *team); /* barrier */
    /* y = sigmoid (which = 0) or tanh (1) of n reals: for the accuracy tests */
    void (*activate)(int which, const void *x, void *y, ptrdiff_t n);
    /* the limits of the machine: see roofline.h */
    ptrdiff_t (*multiply_add)(ptrdiff_t rounds, void *sum);
    uint64_t (*read_memory)(const void *data, ptrdiff_t bytes, int streams, ptrdiff_t repeats);
} clstm_kernels;

/* The table of an instruction set ("avx512", "avx2", "neon") and item size (4 or 8);
 * NULL where this build or this processor lacks it. */
const clstm_kernels *clstm_kernels_for(const char *isa, ptrdiff_t item_size);

#endif
