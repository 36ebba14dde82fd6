/* Runs the kernels of src/ without Python, for processors that are only emulated: see tests/core/test_neon.py.
 *
 *     run NEON CASES RESULTS
 *
 * CASES is a sequence of cases, each a line of int64 numbers, then the arrays in the order in which they are read
 * below; RESULTS gets the arrays that come out. All arrays are dense, of the case's real type.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

typedef ptrdiff_t isize;
typedef struct {
    const clstm_kernels *kernels;
    FILE *cases, *results;
} files;

static void fail(const char *why)
{
    fprintf(stderr, "run: %s\n", why);
    exit(1);
}

static isize at_least_one(isize n) { return n > 0 ? n : 1; }

static void *reals(const files *f, isize n)
{
    const size_t bytes = (at_least_one(n) * f->kernels->item_size + 63) / 64 * 64;
    void *memory = aligned_alloc(64, bytes);
    if (!memory)
        fail("no memory");
    memset(memory, 0xff, bytes); /* NaN, so that reading memory before it is written shows */
    return memory;
}

static void *read_reals(const files *f, isize n)
{
    void *memory = reals(f, n);
    if (fread(memory, f->kernels->item_size, n, f->cases) != (size_t)n)
        fail("a case ends early");
    return memory;
}

static void write_reals(const files *f, const void *array, isize n)
{
    if (fwrite(array, f->kernels->item_size, n, f->results) != (size_t)n)
        fail("a result can't be written");
}

static void read_sizes(const files *f, isize *sizes, isize n)
{
    int64_t numbers[64];
    if (n > 64 || fread(numbers, 8, n, f->cases) != (size_t)n)
        fail("a case has no sizes");
    for (isize i = 0; i < n; i++)
        sizes[i] = numbers[i];
}

/* Threads ------------------------------------------------------------------------------------------------------- */

typedef void worker(const void *job, clstm_team team);
typedef struct {
    worker *work;
    const void *job;
    clstm_team team;
} member;

static void *start(void *given)
{
    const member *m = given;
    m->work(m->job, m->team);
    return NULL;
}

static void run_team(worker *work, const void *job, isize threads)
{
    pthread_t thread[64];
    member members[64];
    clstm_counter *counters = calloc(2 * threads, sizeof *counters);
    if (!counters || threads > 64)
        fail("too many threads");
    for (isize rank = 0; rank < threads; rank++)
        members[rank] = (member){work, job, {rank, threads, counters}};
    for (isize rank = 1; rank < threads; rank++)
        if (pthread_create(&thread[rank], NULL, start, &members[rank]))
            fail("no thread");
    start(&members[0]);
    for (isize rank = 1; rank < threads; rank++)
        pthread_join(thread[rank], NULL);
    free(counters);
}

static const clstm_kernels *kernels_of_case; /* of the current case */
static void forward(const void *job, clstm_team team) { kernels_of_case->forward(job, team); }
static void backward(const void *job, clstm_team team) { kernels_of_case->backward(job, team); }
static void input_gradient(const void *job, clstm_team team) { kernels_of_case->input_gradient(job, team); }
static void product(const void *job, clstm_team team) { kernels_of_case->product(job, team); }
static void outer(const void *job, clstm_team team) { kernels_of_case->outer(job, team); }

/* Cases --------------------------------------------------------------------------------------------------------- */

/* The rows of a dense (T, B, features) array */
static clstm_sequences sequences_of(void *data, const clstm_walk *walk, isize B, isize features, int reverse)
{
    isize *row = malloc(at_least_one(B) * sizeof *row);
    for (isize b = 0; b < B; b++)
        row[b] = walk->order[b] * features + (reverse ? (walk->length[b] - 1) * B * features : 0);
    return (clstm_sequences){data, row, reverse ? -B * features : B * features};
}

static clstm_walk walk_of(isize T, isize B, const isize *lengths)
{
    isize *order = malloc(at_least_one(B) * sizeof *order), *length = malloc(at_least_one(B) * sizeof *length);
    isize *active = malloc(at_least_one(T) * sizeof *active), *starts = malloc(at_least_one(T) * sizeof *starts);
    isize positions = 0, sorted = 0;
    for (isize steps = T; steps >= 0; steps--)
        for (isize b = 0; b < B; b++)
            if (lengths[b] == steps)
                order[sorted] = b, length[sorted++] = steps;
    const isize steps = B > 0 ? length[0] : 0;
    for (isize s = 0; s < steps; s++) {
        active[s] = 0;
        while (active[s] < B && length[active[s]] > s)
            active[s]++;
        starts[s] = positions;
        positions += active[s];
    }
    return (clstm_walk){steps, B, positions, active, starts, length, order};
}

/* A variant as a case describes it: which options there are, then everything that they could need */
typedef struct {
    clstm_variant options;
    clstm_variant_call call;
    isize P;
    int h_zoneout_mask, c_zoneout_mask;
    unsigned char *h_zoned_out, *c_zoned_out;
} variant_case;

static double number(const files *f, const void *reals_, isize i)
{
    return f->kernels->item_size == 4 ? ((const float *)reals_)[i] : ((const double *)reals_)[i];
}

static const void *read_units(const files *f, isize gates, isize H)
{
    void *packed = reals(f, gates * f->kernels->padded(H));
    f->kernels->pack_units(read_reals(f, gates * H), gates, H, packed);
    return packed;
}

static unsigned char *read_bytes(const files *f, isize n)
{
    const void *given = read_reals(f, n);
    unsigned char *bytes = malloc(at_least_one(n));
    for (isize i = 0; i < n; i++)
        bytes[i] = number(f, given, i) != 0;
    return bytes;
}

/* sizes: P, then whether there are a projection, peepholes, coupled gates, layer norm, a mask of h, zoneout's masks of h and
 * c, then the activations' codes. */
static void read_variant(const files *f, variant_case *v, isize T, isize B, isize H)
{
    const clstm_kernels *k = f->kernels;
    isize sizes[11];
    read_sizes(f, sizes, 11);
    const isize P = v->P = sizes[0];
    /* limits of c and the gates, zoneout probabilities of h and c, alpha and beta of three activations */
    const void *numbers = read_reals(f, 10);
    clstm_activation *activations[] = {&v->options.gate, &v->options.candidate, &v->options.output};
    for (int i = 0; i < 3; i++)
        *activations[i] = (clstm_activation){(int)sizes[8 + i], number(f, numbers, 4 + 2 * i), number(f, numbers, 5 + 2 * i)};
    v->options.cell_clip = number(f, numbers, 0), v->options.gate_clip = number(f, numbers, 1);
    v->options.coupled = (int)sizes[3];
    const void *weight_hr = read_reals(f, P * H);
    const void *peephole = read_units(f, 3, H), *gain = read_units(f, 4, H);
    const void *cell_gain = read_units(f, 1, H), *cell_shift = read_units(f, 1, H);
    const void *mask = read_reals(f, B * P);
    v->h_zoned_out = read_bytes(f, T * B * P), v->c_zoned_out = read_bytes(f, T * B * H);
    if (sizes[1]) {
        void *R = reals(f, H * k->padded(P)), *Rb = reals(f, P * k->padded(H));
        k->pack_product(weight_hr, H, P, 1, H, R);
        k->pack_product(weight_hr, P, H, H, 1, Rb);
        v->options.R = R, v->options.Rb = Rb;
    }
    if (sizes[2])
        v->options.peephole = peephole;
    if (sizes[4])
        v->options.gate_gain = gain, v->options.cell_gain = cell_gain, v->options.cell_shift = cell_shift;
    v->call.variant = &v->options;
    v->call.h_dropout_mask = sizes[5] ? mask : NULL;
    v->h_zoneout_mask = (int)sizes[6], v->c_zoneout_mask = (int)sizes[7];
    if (!(sizes[5] || sizes[6] || sizes[7]))
        v->call.h_zoneout = number(f, numbers, 2), v->call.c_zoneout = number(f, numbers, 3);
}

static void run_direction(const files *f, int with_variant)
{
    const clstm_kernels *k = f->kernels;
    isize sizes[8], lengths[64];
    read_sizes(f, sizes, 8);
    const isize T = sizes[0], B = sizes[1], I = sizes[2], H = sizes[3], threads = sizes[5], groups = sizes[6];
    const isize chunk = sizes[7];
    const int reverse = (int)sizes[4];
    read_sizes(f, lengths, B);
    variant_case v = {.P = H};
    clstm_variant_call *call = with_variant ? &v.call : NULL;
    if (call)
        read_variant(f, &v, T, B, H);
    const isize P = v.P;
    const void *weight_ih = read_reals(f, 4 * H * I), *weight_hh = read_reals(f, 4 * H * P);
    const void *bias = read_reals(f, 4 * H);
    void *x = read_reals(f, T * B * I), *h0 = read_reals(f, B * P), *c0 = read_reals(f, B * H);
    void *dy = read_reals(f, T * B * P), *dhn = read_reals(f, B * P), *dcn = read_reals(f, B * H);

    const clstm_walk walk = walk_of(T, B, lengths);
    const isize Hp = k->padded(H), panels = Hp / k->vector_length, ld = k->state_stride(H), ld_h = k->state_stride(P);
    const isize width = 4 * k->vector_length, stride = k->gates_stride(H);
    void *W = reals(f, 4 * Hp * I), *U = reals(f, 4 * Hp * P), *packed_bias = reals(f, 4 * Hp), *zero = reals(f, 4 * Hp);
    void *Ub = reals(f, 4 * H * k->padded(P)), *Wb = reals(f, 4 * H * k->padded(I));
    k->pack_forward(weight_ih, H, I, W, 0, panels);
    k->pack_forward(weight_hh, H, P, U, 0, panels);
    k->pack_bias(bias, H, packed_bias);
    k->repack_backward(U, H, P, Ub, 0, (P + width - 1) / width);
    k->repack_backward(W, H, I, Wb, 0, (I + width - 1) / width);
    memset(zero, 0, 4 * Hp * k->item_size);
    const int layer_norm = v.options.gate_gain != NULL;
    if (layer_norm) {
        void *shift = reals(f, 4 * Hp);
        k->pack_units(bias, 4, H, shift);
        v.options.gate_shift = shift;
    }
    if (call) {
        if (v.h_zoneout_mask)
            call->h_zoneout_mask = sequences_of(v.h_zoned_out, &walk, B, P, reverse);
        if (v.c_zoneout_mask)
            call->c_zoneout_mask = sequences_of(v.c_zoned_out, &walk, B, H, reverse);
        call->preactivations = reals(f, B * stride), call->stage_results = reals(f, B * stride), call->m = reals(f, B * ld);
    }

    void *y = reals(f, T * B * P), *hn = reals(f, B * P), *cn = reals(f, B * H);
    clstm_forward job = {
        .walk = &walk, .I = I, .H = H, .P = P, .variant_call = call, .W = W, .U = U, .bias = layer_norm ? zero : packed_bias,
        .x = sequences_of(x, &walk, B, I, reverse), .y = sequences_of(y, &walk, B, P, reverse), .y_steps = T, .last = walk.steps,
        .h0 = h0, .c0 = c0, .hn = hn, .cn = cn, .h = reals(f, 2 * k->states_size(B, P, groups)),
        .c = reals(f, k->states_size(B, H, groups)),
        .projected = reals(f, chunk * (B + groups) * stride), .chunk = chunk, .row_groups = groups,
    };
    run_team(forward, &job, threads);
    write_reals(f, y, T * B * P);
    write_reals(f, hn, B * P);
    write_reals(f, cn, B * H);

    job.projected = NULL;
    job.gates = reals(f, walk.positions * stride);
    job.cell_states = reals(f, walk.positions * ld);
    if (call) {
        call->normed = reals(f, walk.positions * stride);
        call->statistics = reals(f, walk.positions * k->statistics_per_position);
        call->m = reals(f, walk.positions * ld);
    }
    memset(y, 0xff, T * B * P * k->item_size);
    run_team(forward, &job, threads);
    write_reals(f, y, T * B * P);

    const isize columns = k->columns_width(I, P), width_of_m = k->columns_width(H, 0);
    const isize own_columns = columns > width_of_m ? columns : width_of_m;
    void *dx = reals(f, T * B * I), *dh0 = reals(f, B * P), *dc0 = reals(f, B * H);
    void *dW = reals(f, 4 * H * I), *dU = reals(f, 4 * H * P), *db = reals(f, 4 * H);
    memset(dx, 0, T * B * I * k->item_size);
    clstm_backward back = {
        .walk = &walk, .I = I, .H = H, .P = P, .variant_call = call, .Ub = Ub, .Wb = Wb, .x = job.x, .y = job.y,
        .dy = sequences_of(dy, &walk, B, P, reverse), .dx = sequences_of(dx, &walk, B, I, reverse),
        .h0 = h0, .dhn = dhn, .dcn = dcn, .dh0 = dh0, .dc0 = dc0, .dh = reals(f, B * ld_h),
        .dc = reals(f, k->states_size(B, H, groups)),
        .c = job.c, .gates = job.gates, .cell_states = job.cell_states, .dW = dW, .dU = dU, .db = layer_norm ? NULL : db,
        .columns = reals(f, threads * k->gradient_block * own_columns),
        .sums = reals(f, 4 * H * columns + 4 * Hp + P * Hp + k->padded(P)), .row_groups = groups,
    };
    if (call) {
        call->dh = reals(f, walk.positions * ld_h);
        call->unit_parameter_sums = reals(f, B * k->unit_parameters(&v.options) * Hp);
        call->dR = reals(f, P * H), call->dpeephole = reals(f, 3 * H), call->dgate_gain = reals(f, 4 * H);
        call->dcell_gain = reals(f, H), call->dcell_shift = reals(f, H);
        call->dgate_shift = layer_norm ? db : NULL;
    }
    run_team(backward, &back, threads);
    run_team(input_gradient, &back, threads);
    write_reals(f, dx, T * B * I);
    write_reals(f, dh0, B * P);
    write_reals(f, dc0, B * H);
    write_reals(f, dW, 4 * H * I);
    write_reals(f, dU, 4 * H * P);
    write_reals(f, db, 4 * H);
    if (call) {
        write_reals(f, call->dR, P * H);
        write_reals(f, call->dpeephole, 3 * H);
        write_reals(f, call->dgate_gain, 4 * H);
        write_reals(f, call->dcell_gain, H);
        write_reals(f, call->dcell_shift, H);
    }
}

static void run_layer(const files *f) { run_direction(f, 0); }
static void run_variant(const files *f) { run_direction(f, 1); }

static void run_dense(const files *f)
{
    const clstm_kernels *k = f->kernels;
    isize sizes[4];
    read_sizes(f, sizes, 4);
    const isize rows = sizes[0], K = sizes[1], N = sizes[2], threads = sizes[3], width = k->columns_width(K, 0);
    const void *x = read_reals(f, rows * K), *weight = read_reals(f, N * K), *bias = read_reals(f, N);
    const void *dy = read_reals(f, rows * N);
    void *panels = reals(f, K * k->padded(N)), *back = reals(f, N * k->padded(K)), *padded_bias = reals(f, k->padded(N));
    void *y = reals(f, rows * N), *dx = reals(f, rows * K), *dweight = reals(f, N * K), *dbias = reals(f, N);
    k->pack_product(weight, K, N, 1, K, panels);
    k->pack_product(weight, N, K, K, 1, back);
    k->pack_product(bias, 1, N, 0, 1, padded_bias);
    const clstm_product forwards = {rows, K, N, x, K, panels, padded_bias, y, N};
    const clstm_product backwards = {rows, N, K, dy, N, back, NULL, dx, K};
    const clstm_outer sum = {rows, N, K, dy, x, N, K, dweight, dbias,
                             reals(f, threads * k->gradient_block * width), reals(f, N * width + k->padded(N)), 0};
    run_team(product, &forwards, threads);
    run_team(product, &backwards, threads);
    run_team(outer, &sum, threads);
    write_reals(f, y, rows * N);
    write_reals(f, dx, rows * K);
    write_reals(f, dweight, N * K);
    write_reals(f, dbias, N);
}

static void run_activation(const files *f)
{
    isize sizes[2];
    read_sizes(f, sizes, 2);
    const void *x = read_reals(f, sizes[1]);
    void *y = reals(f, sizes[1]);
    f->kernels->activate((int)sizes[0], x, y, sizes[1]);
    write_reals(f, y, sizes[1]);
}

int main(int count, char **arguments)
{
    if (count != 4)
        fail("expected the instruction set, the cases, and where the results go");
    files f = {NULL, fopen(arguments[2], "rb"), fopen(arguments[3], "wb")};
    if (!f.cases || !f.results)
        fail("a file can't be opened");
    static void (*const run[])(const files *) = {run_layer, run_dense, run_activation, run_variant};
    int64_t kind, item_size;
    while (fread(&kind, 8, 1, f.cases) == 1) {
        if (fread(&item_size, 8, 1, f.cases) != 1)
            fail("a case has no type");
        kernels_of_case = f.kernels = clstm_kernels_for(arguments[1], item_size);
        if (!f.kernels)
            fail("no such kernels");
        run[kind](&f);
        volatile float denormal = 1e-39f;
        if (denormal * 0.5f == 0)
            fail("denormals still count as zero after a worker");
    }
    return fclose(f.results) ? 1 : 0;
}
