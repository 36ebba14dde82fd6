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
 *   U, W         forward panels  [panel of VL units][k][gate][VL]; a last panel of fewer units has them gate by gate without gaps,
 *                in as few vectors
 *                with AVX2 each panel as two halves [k][2 vectors][VL], one behind the other; so those of 3 and 4 vectors below
 *   bias         [vector of a panel][panel][VL]: where H is a multiple of VL, [gate][H]
 *   Ub, Wb       product panels  [panel of 4 VL columns][k = gate * H + unit][vectors of the panel][VL];
 *                the last panel has only the vectors it needs (1 to 4)
 *   gates        [cell][gate][Hp], a row every gates_stride(H); i, f, g, o; backward overwrites them with their
 *                gradients
 *   c, h, dh, dc [cell or row][Hp], a row every state_stride(H); row b is the b-th sorted one
 * All of these are 64-byte aligned and owned by the caller. No row stride is a multiple of 4 KiB: rows a power of two
 * apart partition cache sets (20% lost in a prototype). Arrays don't overlap, but that y is what the next step reads.
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
    ptrdiff_t steps, rows, positions;
    const ptrdiff_t *active; /* [steps] */
    const ptrdiff_t *start;  /* [steps] */
    const ptrdiff_t *length; /* [rows], falling */
    const ptrdiff_t *order;  /* [rows] the caller's index of each sorted row */
} clstm_walk;

typedef struct {
    void *data;
    const ptrdiff_t *row; /* [rows] */
    ptrdiff_t step;
} clstm_sequences;

/* A cell beyond the plain one, as its pack has it: see cell.h. NULL where an option is off. */
typedef struct {
    int code; /* index in clstm.cell.ACTIVATIONS */
    double alpha, beta;
} clstm_activation;

typedef struct {
    int coupled;
    double cell_clip, gate_clip;        /* of c, and of what goes into the gates; infinite for none */
    clstm_activation gate, candidate, output;
    const void *peephole;               /* [3][Hp] of i, f, o */
    const void *gate_gain, *gate_shift; /* [4][Hp], with layer norm; then the bias of the job is zero */
    const void *cell_gain, *cell_shift; /* [Hp] */
    const void *R, *Rb;                 /* weight_hr (P, H) as product panels of its P rows, and of its H columns */
} clstm_variant;

/* One call with such a cell; P is the width of h, y and their gradients, where the plain layer has H. */
typedef struct {
    const clstm_variant *variant;
    const void *h_dropout_mask;          /* [B][P], the caller's order: what h is multiplied with before it meets U; or NULL */
    clstm_sequences h_zoneout_mask, c_zoneout_mask; /* a byte each that tells which of h and c stay at a step; data NULL for none */
    double h_zoneout, c_zoneout;       /* else the part of h and c that stays */
    void *preactivations;                  /* [B][gates_stride(H)], with layer norm: what is normalised, or its gradient */
    void *stage_results;                /* [B][gates_stride(H)], with layer norm: what passes from one part of a step to the next */
    void *normed, *statistics;   /* [cell][gates_stride(H)], [cell][STATISTICS_PER_POSITION], training with layer norm */
    void *m;                     /* with a projection: [B][state_stride(H)], in training [cell] */
    /* backward */
    void *dh;                    /* [cell][state_stride(P)], with a projection */
    void *unit_parameter_sums;              /* [B][row_sums(cell)][Hp]: gradients of what each unit has of its own, a row's steps summed */
    void *dR, *dpeephole, *dgate_gain, *dgate_shift, *dcell_gain, *dcell_shift;
    double upper_activation[2], lower_activation[2]; /* activations of the limits of gates and candidate; set by the worker */
} clstm_variant_call;

typedef struct {
    const clstm_walk *walk;
    ptrdiff_t I, H, P;          /* P: features of h and y; H unless there is a variant */
    const clstm_variant_call *variant_call; /* NULL: the plain cell */
    const void *W, *U, *bias;
    clstm_sequences x, y;
    ptrdiff_t y_steps;      /* steps of y in all: those past a row's length are set to zero */
    ptrdiff_t first, last;  /* steps to do, last excluded: all of the walk's, or a part that goes on where one ended */
    const void *h0, *c0;    /* [B][P], [B][H], the caller's order */
    void *hn, *cn;          /* the same */
    void *h;                /* 2 states_size(P): h of the step before and of this one in turn, by groups of rows */
    void *c;                /* inference: states_size(H), the running c, by groups; training: [B][state_stride], the initial c */
    ptrdiff_t h_buffer_stride;         /* set by the kernels: from one h to the other, */
    int contiguous_groups;              /* and whether a group's rows stand apart. A step alone: [2][B] in h, and [B] in c, in order */
    void *gates, *cell_states;    /* training: what backward reads; NULL in inference */
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
    ptrdiff_t I, H, P;
    const clstm_variant_call *variant_call;
    const void *Ub, *Wb;
    clstm_sequences x, y, dy, dx;
    int add_dx;               /* dx += : another direction has written it */
    const void *h0;           /* [B][P], the caller's order */
    const void *dhn, *dcn;    /* [B][P], [B][H], the caller's order */
    void *dh0, *dc0;          /* the same */
    void *dh;                 /* [B][state_stride(P)] */
    void *dc;                 /* states_size(H): groups of rows that aren't dealt out in turn stand apart */
    const void *c;            /* [B][state_stride]: the initial c */
    void *gates;
    const void *cell_states;
    void *dW, *dU, *db;       /* (4H, I), (4H, P), (4H,) as PyTorch lays them out */
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
    int add;                /* they are added to what is there */
} clstm_outer;

typedef struct {
    const char *name;
    ptrdiff_t vector_length, item_size, gradient_block, tile_rows;
    ptrdiff_t (*padded)(ptrdiff_t n);
    ptrdiff_t (*state_stride)(ptrdiff_t H);
    ptrdiff_t (*gates_stride)(ptrdiff_t H);
    ptrdiff_t (*states_size)(ptrdiff_t B, ptrdiff_t H, ptrdiff_t groups);
    ptrdiff_t (*columns_width)(ptrdiff_t I, ptrdiff_t P);
    ptrdiff_t (*unit_parameters)(const clstm_variant *variant);
    ptrdiff_t statistics_per_position;
    /* weight (4H, K) -> forward panels, its panels [first, last) */
    void (*pack_forward)(const void *weight, ptrdiff_t H, ptrdiff_t K, void *panels, ptrdiff_t first, ptrdiff_t last);
    void (*pack_bias)(const void *bias, ptrdiff_t H, void *packed); /* (4H,) -> as the sums of forward panels begin */
    void (*pack_units)(const void *values, ptrdiff_t parts, ptrdiff_t H, void *packed); /* (parts * H,) -> [parts][Hp] */
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
