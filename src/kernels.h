/* The interface between the vector kernels and Cython: one table of functions for each instruction set and real type.
 *
 * Sizes: T steps, B rows (the batch), I inputs, H hidden units, P features of h and y (H unless there is a projection).
 * All sizes and offsets count reals unless they say otherwise; `void *` is an array of the table's real type.
 *
 * Walk. Rows are sorted by falling length, so that the rows alive at step s are the first active[s]. The (step, row)
 * pairs that exist are positions, numbered step by step: position (s, b) = start[s] + b.
 * Sequences tell where the features of each row lie in one of the caller's arrays: those of sorted row b at step s begin at
 * data + row[b] + s * step. In the reverse direction row[b] is the end of row b and step is negative; batch-first
 * arrays only have other numbers. Nothing is copied.
 *
 * Layouts made here (VL = reals in a vector, Hp = H rounded up to VL, with zeros behind the H units):
 *   U, W         forward panels  [panel of VL units][k][gate][VL]. If VL doesn't divide H, the last panel holds its units'
 *                gates one behind the other without gaps, in as few vectors as they need.
 *                With AVX2 each panel is two halves, [k][2 vectors][VL], one behind the other; so are product panels of 3
 *                and 4 vectors (layout.h says why)
 *   bias         [vector of a panel][panel][VL]: [gate][H] where H is a multiple of VL
 *   Ub, Wb       product panels  [panel of 4 VL columns][k = gate * H + unit][vectors of the panel][VL];
 *                the last panel has only the vectors that it needs (1 to 4)
 *   gates        [position][gate][Hp], one position every gates_stride(H); gates in the order i, f, g, o. The backward pass
 *                overwrites them with their gradients
 *   c, h, dh, dc [position or row][Hp], one every state_stride(H); row b is the b-th sorted one
 * All of these are 64-byte aligned and owned by the caller; a job only borrows them. No stride is a multiple of 4 KiB, since
 * rows a power of two apart share cache sets (20% slower in a prototype). Arrays don't overlap, except that the y of a
 * step is what the next step reads as h.
 *
 * A worker (forward, step, backward, input_gradient, product, outer) is called once by each thread of a team and returns
 * when that thread's part is done. Nothing here allocates, prints or knows Python.
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

/* The options of a variant of the LSTM with their packed parameters: see variant.h. NULL where an option is off. */
typedef struct {
    int code; /* index in clstm._core.variant.ACTIVATIONS */
    double alpha, beta;
} clstm_activation;

typedef struct {
    int coupled;
    double cell_clip, gate_clip;        /* limits of c and of the gates' inputs; infinite for none */
    clstm_activation gate, candidate, output;
    const void *peephole;               /* [3][Hp] of i, f, o */
    const void *gate_gain, *gate_shift; /* [4][Hp], with layer norm; the bias of the job is zero then */
    const void *cell_gain, *cell_shift; /* [Hp] */
    const void *R, *Rb;                 /* weight_hr (P, H) as product panels of its P rows, and of its H columns */
} clstm_variant;

/* What one call of a variant has besides its clstm_forward or clstm_backward */
typedef struct {
    const clstm_variant *variant;
    const void *h_dropout_mask;  /* [B][P], the caller's order: what h is multiplied with before it meets U; or NULL */
    clstm_sequences h_zoneout_mask, c_zoneout_mask; /* bytes, not 0 for units that keep their old value; data NULL for none */
    double h_zoneout, c_zoneout; /* without masks (inference): the part of the old value that each unit keeps */
    void *preactivations;        /* [B][gates_stride(H)], with layer norm: what is normalised, or its gradient */
    void *stage_results;         /* [B][gates_stride(H)], with layer norm: what one stage of a step leaves for the next */
    void *normed;                /* [position][gates_stride(H)], training with layer norm: the normalised pre-activations */
    void *statistics;            /* [position][STATISTICS_PER_POSITION], training with layer norm */
    void *m;                     /* with a projection: its input, [B][state_stride(H)], in training [position] */
    /* backward pass */
    void *dh;                    /* [position][state_stride(P)], with a projection */
    void *unit_parameter_sums;   /* [B][unit_parameters(variant)][Hp]: gradients of peepholes, gains and shifts, summed over the
                                    steps of each row */
    void *dR, *dpeephole, *dgate_gain, *dgate_shift, *dcell_gain, *dcell_shift;
    /* activations at +-gate_clip, of the gates and of the candidate; set by the worker */
    double upper_activation[2], lower_activation[2];
} clstm_variant_call;

typedef struct {
    const clstm_walk *walk;
    ptrdiff_t I, H, P;
    const clstm_variant_call *variant_call; /* NULL for the plain LSTM */
    const void *W, *U, *bias;
    clstm_sequences x, y;
    ptrdiff_t y_steps;       /* steps that y has in all: those behind a row's length are set to zero */
    ptrdiff_t first, last;   /* steps to do, last excluded: all of the walk's, or some that continue where a call ended */
    const void *h0, *c0;     /* [B][P], [B][H], the caller's order */
    void *hn, *cn;           /* the same */
    void *h;                 /* 2 states_size(P): two buffers, of which each step reads one and writes the other */
    void *c;                 /* inference: states_size(H), the current c; training: [B][state_stride], the initial c */
    ptrdiff_t h_buffer_stride; /* from one h buffer to the other; set by the kernels unless this is a layer of a clstm_step */
    int contiguous_groups;   /* set by the kernels: the rows of h and c of each group of threads are contiguous, so that groups
                                don't share memory; else all are in the order of the rows */
    void *gates, *cell_states; /* training: what the backward pass reads; NULL in inference */
    void *projected;         /* inference, chunk > 0: input projections, [min(chunk, steps) * (B + row_groups)][gates_stride] */
    ptrdiff_t chunk;         /* steps whose input projection is done at once; 0: in one pass with the recurrent product */
    ptrdiff_t row_groups;    /* groups of threads: each has some of the rows, its threads some of the panels (walk.h) */
} clstm_forward;

typedef struct {
    clstm_forward *layers; /* [count], each with a walk of two steps, chunk 0, and sequences x and y for both steps */
    ptrdiff_t count;
    ptrdiff_t parity;      /* 0 and 1 alternately: the h buffer that holds the result of the step before */
} clstm_step;

typedef struct {
    const clstm_walk *walk;
    ptrdiff_t I, H, P;
    const clstm_variant_call *variant_call;
    const void *Ub, *Wb;
    clstm_sequences x, y, dy, dx;
    int add_dx;               /* add to dx, which another direction has written */
    const void *h0;           /* [B][P], the caller's order */
    const void *dhn, *dcn;    /* [B][P], [B][H], the caller's order */
    void *dh0, *dc0;          /* the same */
    void *dh;                 /* [B][state_stride(P)] */
    void *dc;                 /* states_size(H): groups are STATE_GAP apart, unless their rows are interleaved */
    const void *c;            /* [B][state_stride]: the initial c */
    void *gates;
    const void *cell_states;
    void *dW, *dU, *db;       /* (4H, I), (4H, P), (4H,) in PyTorch's layout */
    int add;                  /* add to dW, dU and db instead of writing them */
    void *columns;            /* [gradient_block][columns_width] for each thread */
    void *sums;               /* [4H][columns_width], behind it [4][Hp] */
    ptrdiff_t row_groups;
} clstm_backward;

typedef struct {
    ptrdiff_t rows, K, N;
    const void *a;        /* [rows][K], one row every a_stride */
    ptrdiff_t a_stride;
    const void *panels;   /* product panels of K rows */
    const void *bias;     /* [N rounded up to VL] or NULL */
    void *out;            /* [rows][N] */
    ptrdiff_t out_stride;
} clstm_product;

typedef struct {
    ptrdiff_t rows, N, K;   /* gradient (N, K) = sum over rows of d (rows, N)^T a (rows, K) */
    const void *d, *a;
    ptrdiff_t d_stride, a_stride;
    void *gradient, *bias_gradient; /* (N, K), (N,) or NULL */
    void *columns, *sums;   /* as in clstm_backward */
    int add;                /* add to the gradients instead of writing them */
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
    /* weight (4H, K) to forward panels, of which [first, last) are written */
    void (*pack_forward)(const void *weight, ptrdiff_t H, ptrdiff_t K, void *panels, ptrdiff_t first, ptrdiff_t last);
    void (*pack_bias)(const void *bias, ptrdiff_t H, void *packed); /* (4H,) to the layout of `bias` */
    void (*pack_units)(const void *values, ptrdiff_t parts, ptrdiff_t H, void *packed); /* (parts * H,) to [parts][Hp] */
    /* forward panels of (4H, K) to product panels of K columns, of which [first, last) are written */
    void (*repack_backward)(const void *forward, ptrdiff_t H, ptrdiff_t K, void *panels, ptrdiff_t first, ptrdiff_t last);
    /* matrix with element (k, n) at k * k_stride + n * n_stride to product panels */
    void (*pack_product)(const void *matrix, ptrdiff_t K, ptrdiff_t N, ptrdiff_t k_stride, ptrdiff_t n_stride, void *panels);
    void (*forward)(const clstm_forward *job, clstm_team team);
    void (*step)(const clstm_step *job, clstm_team team);
    /* everything but dx, which the team may compute after a barrier */
    void (*backward)(const clstm_backward *job, clstm_team team);
    void (*input_gradient)(const clstm_backward *job, clstm_team team);
    void (*product)(const clstm_product *job, clstm_team team);
    void (*outer)(const clstm_outer *job, clstm_team team);
    void (*wait)(const clstm_team *team); /* barrier */
    /* y = sigmoid (which = 0) or tanh (1) of n reals: for the accuracy tests */
    void (*activate)(int which, const void *x, void *y, ptrdiff_t n);
    /* measure the machine: see roofline.h */
    ptrdiff_t (*multiply_add)(ptrdiff_t rounds, void *sum);
    uint64_t (*read_memory)(const void *data, ptrdiff_t bytes, int streams, ptrdiff_t repeats);
} clstm_kernels;

/* The table of an instruction set ("avx512", "avx2", "neon") and item size (4 or 8);
 * NULL if this build or this processor doesn't have it. */
const clstm_kernels *clstm_kernels_for(const char *isa, ptrdiff_t item_size);

#endif
