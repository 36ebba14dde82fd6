/* The forward pass of a variant: the products of the plain LSTM, with other epilogues.
 *
 * Without layer norm the rows of a tile are finished at once, as in the plain LSTM. With it a step has stages, between which the
 * threads of a group wait for each other, since each stage needs whole rows of the one before:
 *
 *     pre-activations  |  norm, gates, c  |  norm, m  |  h = weight_hr m
 *
 * The last stage is there if there is a projection. The h buffers hold what enters the gates, which is h times its dropout mask;
 * y has h itself. The arrays of a clstm_variant_call, with their shapes and owners, are described in kernels.h.
 */
#ifndef CLSTM_VARIANT_FORWARD_H
#define CLSTM_VARIANT_FORWARD_H

#include "variant.h"
#include "forward.h"
#include "product.h"

/* What the gates of one row read and write at a step */
typedef struct {
    const real *c_before;
    real *c, *gates, *normed; /* gates and normed are NULL in inference, normed also without layer norm */
    zoneout_of_step zoneout;
} variant_row;

INLINE variant_row variant_row_at(const clstm_forward *job, isize s, isize b)
{
    const clstm_walk *walk = job->walk;
    const clstm_variant_call *call = job->variant_call;
    const isize ld = state_stride(job->H), position = walk->start[s] + b;
    variant_row row = {(const real *)job->c + b * ld, (real *)job->c + b * ld, NULL, NULL,
                    zoneout_at(&call->c_zoneout_mask, call->c_zoneout, b, s)};
    if (job->gates) {
        if (s > 0)
            row.c_before = (const real *)job->cell_states + (walk->start[s - 1] + b) * ld;
        row.c = (real *)job->cell_states + position * ld;
        row.gates = (real *)job->gates + position * gates_stride(job->H);
        if (call->normed)
            row.normed = (real *)call->normed + position * gates_stride(job->H);
    }
    return row;
}

/* Compute the gates of one vector of units from their pre-activations a, and c; return c before zoneout, and o in *o. */
INLINE vec update_units(const clstm_variant *variant, int standard, const variant_row *row, isize H, isize unit,
                        const vec *a, vec *o)
{
    const isize Hp = padded(H);
    const vec c_before = load(row->c_before + unit);
    const real *peephole = (const real *)variant->peephole + unit;
    vec a_i = a[0], a_f = a[1], a_o = a[3];
    if (variant->peephole) {
        a_i += load(peephole) * c_before;
        a_f += load(peephole + Hp) * c_before;
    }
    const double limit = variant->gate_clip;
    const vec f = activation(&variant->gate, standard ? SIGMOID : ANY_ACTIVATION, limited(a_f, limit));
    const vec i = variant->coupled ? 1 - f : activation(&variant->gate, standard ? SIGMOID : ANY_ACTIVATION, limited(a_i, limit));
    const vec g = activation(&variant->candidate, standard ? TANH : ANY_ACTIVATION, limited(a[2], limit));
    const vec c = limited(f * c_before + rounded(i * g), variant->cell_clip);
    if (variant->peephole)
        a_o += load(peephole + 2 * Hp) * c;
    *o = activation(&variant->gate, standard ? SIGMOID : ANY_ACTIVATION, limited(a_o, limit));
    store(row->c + unit, row->zoneout.none ? c : apply_zoneout(&row->zoneout, unit, H, c_before, c));
    if (row->gates) {
        store(row->gates + unit, i);
        store(row->gates + Hp + unit, f);
        store(row->gates + 2 * Hp + unit, g);
        store(row->gates + 3 * Hp + unit, *o);
    }
    return c;
}

/* m = o act(q): the output of one vector of units, before a projection */
INLINE vec output_units(const clstm_variant *variant, int standard, vec q, vec o)
{
    return o * activation(&variant->output, standard ? TANH : ANY_ACTIVATION, q);
}

INLINE real *m_row(const clstm_forward *job, isize s, isize b)
{
    return (real *)job->variant_call->m + (job->gates ? job->walk->start[s] + b : b) * state_stride(job->H);
}

/* Where one row's h of a step goes, with h of the step before and the dropout mask */
typedef struct {
    const real *before, *mask;
    real *y, *h;
    zoneout_of_step zoneout;
} output_row;

INLINE output_row output_row_at(const clstm_forward *job, isize s, isize b)
{
    const clstm_walk *walk = job->walk;
    const clstm_variant_call *call = job->variant_call;
    const isize P = job->P, given = walk->order[b];
    return (output_row){
        s > 0 ? features_at(&job->y, b, s - 1) : (const real *)job->h0 + given * P,
        call->h_dropout_mask ? (const real *)call->h_dropout_mask + given * P : NULL,
        features_at(&job->y, b, s),
        (real *)job->h + ((s + 1) & 1) * job->h_buffer_stride + b * state_stride(P),
        zoneout_at(&call->h_zoneout_mask, call->h_zoneout, b, s),
    };
}

INLINE void store_output(const output_row *row, isize P, isize unit, vec h)
{
    if (!row->zoneout.none)
        h = apply_zoneout(&row->zoneout, unit, P, load_at(row->before, unit, P), h);
    store_at(row->y, unit, P, h);
    store(row->h + unit, row->mask ? h * load_at(row->mask, unit, P) : h);
}

/* finish_rows of a variant without layer norm; it goes over the rows twice for the same reason */
INLINE void finish_variant_rows(const clstm_forward *job, const partition *part, isize s, isize j0, int R, isize p,
                                int Q, real *pre, int standard)
{
    const clstm_variant variant = *job->variant_call->variant;
    const isize H = job->H, step = Q * VL;
    for (int r = 0; r < R; r++) {
        const variant_row row = variant_row_at(job, s, partition_row(part, j0 + r));
        for (int q = 0; q < Q; q++) {
            real *a = pre + (r * 4 * Q + q) * VL;
            const vec sums[] = {load(a), load(a + step), load(a + 2 * step), load(a + 3 * step)};
            vec o, c = update_units(&variant, standard, &row, H, (p + q) * VL, sums, &o);
            store(a, c);
            store(a + step, o);
        }
    }
    for (int r = 0; r < R; r++) {
        const isize b = partition_row(part, j0 + r);
        const output_row row = output_row_at(job, s, b);
        for (int q = 0; q < Q; q++) {
            const real *a = pre + (r * 4 * Q + q) * VL;
            const isize unit = (p + q) * VL;
            const vec m = output_units(&variant, standard, load(a), load(a + step));
            if (variant.R)
                store(m_row(job, s, b) + unit, m);
            else
                store_output(&row, H, unit, m);
        }
    }
}

static void finish_standard_rows(const clstm_forward *job, const partition *part, const row_pointers *rows, isize s,
                            isize j0, int R, isize p, int Q, real *pre)
{
    (void)rows;
    finish_variant_rows(job, part, s, j0, R, p, Q, pre, 1);
}

static void finish_any_rows(const clstm_forward *job, const partition *part, const row_pointers *rows, isize s,
                            isize j0, int R, isize p, int Q, real *pre)
{
    (void)rows;
    finish_variant_rows(job, part, s, j0, R, p, Q, pre, 0);
}

INLINE real *work_row(const void *rows, const clstm_forward *job, isize b) { return (real *)rows + b * gates_stride(job->H); }

/* The epilogue with layer norm: store the pre-activations until the whole row is there. */
static void store_preactivations(const clstm_forward *job, const partition *part, const row_pointers *rows, isize s,
                            isize j0, int R, isize p, int Q, real *pre)
{
    const isize Hp = padded(job->H);
    (void)rows, (void)s;
    for (int r = 0; r < R; r++) {
        real *sums = work_row(job->variant_call->preactivations, job, partition_row(part, j0 + r)) + p * VL;
        for (int gate = 0; gate < 4; gate++)
            for (int q = 0; q < Q; q++)
                store(sums + gate * Hp + q * VL, load(pre + ((r * 4 + gate) * Q + q) * VL));
    }
}

/* Where the statistics of a row's step are stored for the backward pass; NULL in inference, and in all threads of a
 * group but the first, which compute the same ones */
INLINE real *statistics_of(const clstm_forward *job, const group *own_group, isize s, isize b)
{
    if (!job->gates || own_group->team.rank > 0)
        return NULL;
    return (real *)job->variant_call->statistics + (job->walk->start[s] + b) * STATISTICS_PER_POSITION;
}

/* Normalise the pre-activations, and compute the gates and c of this thread's units. */
INLINE void normed_gates(const clstm_forward *job, const group *own_group, const partition *part, isize s, int standard)
{
    const clstm_variant variant = *job->variant_call->variant;
    const isize H = job->H, Hp = padded(H), alive = rows_below(part, job->walk->active[s]);
    const real *gain = variant.gate_gain, *shift = variant.gate_shift;
    for (isize j = 0; j < alive; j++) {
        const isize b = partition_row(part, j);
        const variant_row row = variant_row_at(job, s, b);
        const real *sums = work_row(job->variant_call->preactivations, job, b);
        real *stage_results = work_row(job->variant_call->stage_results, job, b), *statistics = statistics_of(job, own_group, s, b);
        real mean[4], scale[4];
        for (int gate = 0; gate < 4; gate++)
            norm_statistics(sums + gate * Hp, H, &mean[gate], &scale[gate]);
        if (statistics)
            memcpy(statistics, scale, sizeof scale);
        for (isize unit = first_unit(part, VL); unit < end_unit(part, VL, H); unit += VL) {
            vec a[4], o;
            UNROLL
            for (int gate = 0; gate < 4; gate++) {
                const isize at = gate * Hp + unit;
                const vec normed = (load(sums + at) - mean[gate]) * scale[gate];
                if (row.normed)
                    store(row.normed + at, normed);
                a[gate] = normed * load(gain + at) + load(shift + at);
            }
            store(stage_results + unit, update_units(&variant, standard, &row, H, unit, a, &o));
            store(stage_results + Hp + unit, o);
        }
    }
}

/* Normalise c, and compute m of this thread's units. */
INLINE void normed_output(const clstm_forward *job, const group *own_group, const partition *part, isize s, int standard)
{
    const clstm_variant variant = *job->variant_call->variant;
    const isize H = job->H, Hp = padded(H), alive = rows_below(part, job->walk->active[s]);
    const real *gain = variant.cell_gain, *shift = variant.cell_shift;
    for (isize j = 0; j < alive; j++) {
        const isize b = partition_row(part, j);
        const output_row row = output_row_at(job, s, b);
        const real *stage_results = work_row(job->variant_call->stage_results, job, b);
        real *statistics = statistics_of(job, own_group, s, b), mean, scale;
        norm_statistics(stage_results, H, &mean, &scale);
        if (statistics)
            statistics[4] = mean, statistics[5] = scale;
        for (isize unit = first_unit(part, VL); unit < end_unit(part, VL, H); unit += VL) {
            const vec q = (load(stage_results + unit) - mean) * scale * load(gain + unit) + load(shift + unit);
            const vec m = output_units(&variant, standard, q, load(stage_results + Hp + unit));
            if (variant.R)
                store(m_row(job, s, b) + unit, m);
            else
                store_output(&row, H, unit, m);
        }
    }
}

/* h = weight_hr m, of this thread's panels */
static void project_output(const clstm_forward *job, const partition *part, isize s)
{
    const isize H = job->H, P = job->P, alive = rows_below(part, job->walk->active[s]);
    real h[TILE_ROWS * 4 * VECTOR_BYTES / sizeof(real)] __attribute__((aligned(64)));
    tile t = {.to_vector = VL, .end_term = 1};
    for (isize panel = part->panel0; panel < part->panel1; panel++) {
        const int N = panel_vectors(P, panel);
        set_panel(&t.term[0], (const real *)job->variant_call->variant->R + panel * H * 4 * VL, N, H, 0, H);
        clear_prefetch(&t.term[0]);
        for (isize j = 0; j < alive;) {
            const int R = next_rows(alive - j);
            for (int r = 0; r < R; r++) {
                t.term[0].a[r] = m_row(job, s, partition_row(part, j + r));
                t.from[r] = ZEROS;
                t.to[r] = h + r * 4 * VL;
            }
            TILE[R - 1][N - 1](&t);
            for (int r = 0; r < R; r++) {
                const output_row row = output_row_at(job, s, partition_row(part, j + r));
                for (int n = 0; n < N; n++)
                    store_output(&row, P, (panel * 4 + n) * VL, load(t.to[r] + n * VL));
            }
            j += R;
        }
    }
}

static void variant_step(const clstm_forward *job, const group *own_group, const partition *units,
                         const partition *outputs, isize s, isize projected)
{
    const clstm_variant *variant = job->variant_call->variant;
    const int standard = has_standard_activations(variant);
    if (variant->gate_gain) {
        forward_products(job, job->P, units, s, projected, store_preactivations);
        barrier(&own_group->team);
        if (standard)
            normed_gates(job, own_group, units, s, 1);
        else
            normed_gates(job, own_group, units, s, 0);
        barrier(&own_group->team);
        if (standard)
            normed_output(job, own_group, units, s, 1);
        else
            normed_output(job, own_group, units, s, 0);
    } else if (standard) {
        forward_products(job, job->P, units, s, projected, finish_standard_rows);
    } else {
        forward_products(job, job->P, units, s, projected, finish_any_rows);
    }
    if (variant->R) {
        barrier(&own_group->team);
        project_output(job, outputs, s);
    }
}

static void variant_forward_all(const clstm_forward *given, const clstm_team *team)
{
    const clstm_walk *walk = given->walk;
    const isize H = given->H, P = given->P, ld_c = state_stride(H), ld_h = state_stride(P);
    const group own_group = group_of(team, given->row_groups);
    const partition rows = rows_of_thread(walk, &own_group), units = partition_of(walk, &own_group, padded(H) / VL);
    const partition outputs = partition_of(walk, &own_group, product_panels(P));
    const clstm_forward own = job_of_group(given, &own_group), *job = &own;

    for (isize b = rows.first; b < rows.end; b += rows.step) {
        const real *mask = job->variant_call->h_dropout_mask;
        real *h = (real *)job->h + b * ld_h;
        load_state(job->h0, walk, b, P, h);
        for (isize i = 0; i < P && mask; i++)
            h[i] *= mask[walk->order[b] * P + i];
        load_state(job->c0, walk, b, H, (real *)job->c + b * ld_c);
    }
    barrier(&own_group.team);
    for (isize s0 = 0; s0 < walk->steps;) {
        const isize s1 = job->chunk ? smaller(s0 + job->chunk, walk->steps) : walk->steps;
        if (job->chunk)
            project(job, &units, s0, s1);
        isize projected = 0;
        for (; s0 < s1; s0++) {
            variant_step(job, &own_group, &units, &outputs, s0, projected);
            projected += rows_below(&units, walk->active[s0]);
            barrier(&own_group.team);
        }
    }
    for (isize b = rows.first; b < rows.end; b += rows.step) {
        const isize length = walk->length[b];
        const real *c = (const real *)job->c + b * ld_c;
        if (job->gates && length > 0)
            c = (const real *)job->cell_states + (walk->start[length - 1] + b) * ld_c;
        const real *h = length > 0 ? features_at(&job->y, b, length - 1) : (const real *)job->h0 + walk->order[b] * P;
        save_state(job->hn, walk, b, P, h);
        save_state(job->cn, walk, b, H, c);
        clear_past_end(job, b);
    }
}

#endif
