/* The backward pass of a variant, from the last step to the first. A step has stages, between which the threads of a group
 * wait for each other, as in the forward pass; which of them there are depends on the options:
 *
 *     dh = dy + h_dropout_mask (dgates_{t+1} U)  |  dm = dh weight_hr  |  norm of c  |  gates, dc  |  norm of the gates
 *
 * After the last stage the gates hold the gradients of W x + U h, from which the weight gradients are computed as in the plain
 * LSTM. The gradients of per-unit parameters (peepholes, gains, shifts) are summed over the steps of each row, and in the
 * end over the rows in order. The arrays are described in kernels.h.
 */
#ifndef CLSTM_VARIANT_BACKWARD_H
#define CLSTM_VARIANT_BACKWARD_H

#include "backward.h"
#include "variant.h"

/* What one row has at a step: results of the forward pass, and gradients */
typedef struct {
    const real *c, *c_before, *normed, *statistics;
    real *gates, *dc, *parameter_sums, *preactivations, *stage_results;
    zoneout_of_step zoneout;
} gradient_row;

INLINE gradient_row gradient_row_at(const clstm_backward *job, isize s, isize b)
{
    const clstm_walk *walk = job->walk;
    const clstm_variant_call *call = job->variant_call;
    const isize H = job->H, ld = state_stride(H), stride = gates_stride(H), position = walk->start[s] + b;
    return (gradient_row){
        (const real *)job->cell_states + position * ld,
        s > 0 ? (const real *)job->cell_states + (walk->start[s - 1] + b) * ld : (const real *)job->c + b * ld,
        (const real *)call->normed + position * stride,
        (const real *)call->statistics + position * STATISTICS_PER_POSITION,
        (real *)job->gates + position * stride,
        (real *)job->dc + b * ld,
        (real *)call->unit_parameter_sums + b * unit_parameters(call->variant) * padded(H),
        (real *)call->preactivations + b * stride,
        (real *)call->stage_results + b * stride,
        zoneout_at(&call->c_zoneout_mask, call->c_zoneout, b, s),
    };
}

INLINE void add_to(real *sum, vec x) { store(sum, load(sum) + x); }

/* c before zoneout: with zoneout it isn't stored, and is computed from the gates again */
INLINE vec c_of_units(const clstm_variant *variant, const gradient_row *row, isize Hp, isize unit)
{
    if (row->zoneout.none)
        return load(row->c + unit);
    const vec i = load(row->gates + unit), f = load(row->gates + Hp + unit), g = load(row->gates + 2 * Hp + unit);
    return limited(f * load(row->c_before + unit) + rounded(i * g), variant->cell_clip);
}

/* For m = o act(q), return the gradient of o; that of q goes to *dq. */
INLINE vec output_gradient(const clstm_variant *variant, int standard, vec dm, vec o, vec q, vec *dq)
{
    const vec squashed = activation(&variant->output, standard ? TANH : ANY_ACTIVATION, q);
    *dq = rounded(dm * o * slope(&variant->output, standard ? TANH : ANY_ACTIVATION, squashed));
    return dm * squashed;
}

/* The gradient of a in y = act(limited(a)). Where y is the activation of a limit, a was beyond it, and its gradient is 0. */
INLINE vec gate_gradient(const clstm_variant_call *call, int candidate, int standard, vec dy, vec y)
{
    const clstm_activation *own = candidate ? &call->variant->candidate : &call->variant->gate;
    const vec da = rounded(dy * slope(own, standard ? (candidate ? TANH : SIGMOID) : ANY_ACTIVATION, y));
    if (!(call->variant->gate_clip < INFINITY))
        return da;
    const real upper = (real)call->upper_activation[candidate], lower = (real)call->lower_activation[candidate];
    return choose((y == upper) | (y == lower), broadcast(0), da);
}

/* The gradients of the pre-activations (with layer norm, of the result of the norm) and of c_before, from d_o, the
 * gradient of o, and dc_out, that of c by way of the output */
INLINE void gate_gradients(const clstm_backward *job, int standard, const gradient_row *row, isize unit, vec d_o, vec dc_out,
                           vec c)
{
    const clstm_variant_call *call = job->variant_call;
    const clstm_variant *variant = call->variant;
    const isize H = job->H, Hp = padded(H);
    const vec i = load(row->gates + unit), f = load(row->gates + Hp + unit);
    const vec g = load(row->gates + 2 * Hp + unit), o = load(row->gates + 3 * Hp + unit);
    const vec c_before = load(row->c_before + unit);
    const real *peephole = (const real *)variant->peephole + unit;
    real *own_sums = row->parameter_sums + unit;
    vec dc = load(row->dc + unit), dc_before = broadcast(0);
    if (!row->zoneout.none)
        dc = zoneout_gradient(&row->zoneout, unit, H, dc, &dc_before);
    dc += dc_out;
    const vec da_o = gate_gradient(call, 0, standard, d_o, o);
    if (variant->peephole) {
        dc += load(peephole + 2 * Hp) * da_o;
        add_to(own_sums + 2 * Hp, da_o * c);
    }
    dc = within(dc, c, variant->cell_clip);
    const vec da_f = gate_gradient(call, 0, standard, dc * (variant->coupled ? c_before - g : c_before), f);
    const vec da_i = variant->coupled ? broadcast(0) : gate_gradient(call, 0, standard, dc * g, i);
    const vec da_g = gate_gradient(call, 1, standard, dc * i, g);
    dc_before += dc * f;
    if (variant->peephole) {
        dc_before += load(peephole) * da_i;
        dc_before += load(peephole + Hp) * da_f;
        add_to(own_sums, da_i * c_before);
        add_to(own_sums + Hp, da_f * c_before);
        own_sums += 3 * Hp;
    }
    store(row->dc + unit, dc_before);
    const vec da[] = {da_i, da_f, da_g, da_o};
    UNROLL
    for (int gate = 0; gate < 4; gate++) {
        const isize at = gate * Hp + unit;
        if (variant->gate_gain) {
            add_to(own_sums + gate * Hp, da[gate] * load(row->normed + at));
            add_to(own_sums + (4 + gate) * Hp, da[gate]);
            store(row->preactivations + at, da[gate] * load((const real *)variant->gate_gain + at));
        } else {
            store(row->gates + at, da[gate]);
        }
    }
}

/* From dm, the gradient of m, of units [unit0, unit1): the gradients of the gates; with layer norm, those of the
 * normalised c */
INLINE void unit_gradients(const clstm_backward *job, isize s, isize b, isize unit0, isize unit1, const real *dm, int standard)
{
    const clstm_variant *variant = job->variant_call->variant;
    const isize Hp = padded(job->H);
    const gradient_row row = gradient_row_at(job, s, b);
    for (isize unit = unit0; unit < unit1; unit += VL) {
        const vec o = load(row.gates + 3 * Hp + unit), c = c_of_units(variant, &row, Hp, unit);
        vec dq;
        if (variant->gate_gain) {
            real *own_sums = row.parameter_sums + (unit_parameters(variant) - 2) * Hp + unit;
            const vec gain = load((const real *)variant->cell_gain + unit);
            const vec normed = (c - row.statistics[4]) * row.statistics[5];
            const vec q = normed * gain + load((const real *)variant->cell_shift + unit);
            store(row.stage_results + 2 * Hp + unit, output_gradient(variant, standard, load(dm + unit - unit0), o, q, &dq));
            store(row.stage_results + unit, dq * gain);
            store(row.stage_results + Hp + unit, normed);
            add_to(own_sums, dq * normed);
            add_to(own_sums + Hp, dq);
        } else {
            const vec d_o = output_gradient(variant, standard, load(dm + unit - unit0), o, c, &dq);
            gate_gradients(job, standard, &row, unit, d_o, dq, c);
        }
    }
}

/* The gradients of the gates by way of the norm of c */
INLINE void norm_gradients_of_c(const clstm_backward *job, const partition *part, isize s, int standard)
{
    const isize H = job->H, Hp = padded(H), alive = rows_below(part, job->walk->active[s]);
    for (isize j = 0; j < alive; j++) {
        const gradient_row row = gradient_row_at(job, s, partition_row(part, j));
        const real *dnormed = row.stage_results, *normed = row.stage_results + Hp;
        real mean, product;
        norm_means(dnormed, normed, H, &mean, &product);
        for (isize unit = first_unit(part, 4 * VL); unit < end_unit(part, 4 * VL, H); unit += VL) {
            const vec dc = row.statistics[5] * (load(dnormed + unit) - mean - load(normed + unit) * product);
            gate_gradients(job, standard, &row, unit, load(row.stage_results + 2 * Hp + unit), rounded(dc),
                           c_of_units(job->variant_call->variant, &row, Hp, unit));
        }
    }
}

/* The gradients of the pre-activations by way of their norm */
static void norm_gradients_of_gates(const clstm_backward *job, const partition *part, isize s)
{
    const isize H = job->H, Hp = padded(H), alive = rows_below(part, job->walk->active[s]);
    for (isize j = 0; j < alive; j++) {
        const gradient_row row = gradient_row_at(job, s, partition_row(part, j));
        for (int gate = 0; gate < 4; gate++) {
            const real *dnormed = row.preactivations + gate * Hp, *normed = row.normed + gate * Hp;
            real mean, product;
            norm_means(dnormed, normed, H, &mean, &product);
            for (isize unit = first_unit(part, 4 * VL); unit < end_unit(part, 4 * VL, H); unit += VL)
                store(row.gates + gate * Hp + unit,
                      row.statistics[gate] * (load(dnormed + unit) - mean - load(normed + unit) * product));
        }
    }
}

/* dh of columns [unit0, unit1) of a row, from the part that comes from the step after; without a projection also the
 * gradients of the units. s = -1 is the initial state's dh. */
INLINE void finish_variant_gradients(const clstm_backward *job, isize s, isize b, isize unit0, isize unit1,
                                     const real *dh_after, int standard)
{
    const clstm_walk *walk = job->walk;
    const clstm_variant_call *call = job->variant_call;
    const isize P = job->P;
    const real *mask = h_dropout_mask_of(job, b);
    const int last = s + 1 == walk->length[b];
    const zoneout_of_step zoneout =
        s >= 0 ? zoneout_at(&call->h_zoneout_mask, call->h_zoneout, b, s) : (zoneout_of_step){1, NULL, 0};
    const int zoned_out_after = !last && (call->h_zoneout_mask.data || call->h_zoneout > 0);
    real *dh_zoned_out = (real *)job->dh + b * state_stride(P);
    real own[4 * 4 * VECTOR_BYTES / sizeof(real)] __attribute__((aligned(64)));
    real *to = call->variant->R && s >= 0
                   ? (real *)call->dh + (walk->start[s] + b) * state_stride(P) + unit0
                   : own;
    for (isize unit = unit0; unit < unit1; unit += VL) {
        vec dh = load(dh_after + unit - unit0), before;
        if (mask && !last)
            dh = rounded(dh * load_at(mask, unit, P));
        if (zoned_out_after)
            dh += load(dh_zoned_out + unit);
        if (s < 0) {
            store(dh_zoned_out + unit, dh);
            continue;
        }
        dh += load_at(features_at(&job->dy, b, s), unit, P);
        if (!zoneout.none) {
            dh = zoneout_gradient(&zoneout, unit, P, dh, &before);
            store(dh_zoned_out + unit, before);
        }
        store(to + unit - unit0, dh);
    }
    if (s >= 0 && !call->variant->R)
        unit_gradients(job, s, b, unit0, unit1, own, standard);
}

static void finish_standard_gradients(const clstm_backward *job, isize s, isize b, isize unit0, isize unit1, const real *dh_after)
{
    finish_variant_gradients(job, s, b, unit0, unit1, dh_after, 1);
}

static void finish_any_gradients(const clstm_backward *job, isize s, isize b, isize unit0, isize unit1, const real *dh_after)
{
    finish_variant_gradients(job, s, b, unit0, unit1, dh_after, 0);
}

/* dm = dh weight_hr of this thread's panels, and the gradients of their units */
INLINE void projection_gradients(const clstm_backward *job, const partition *part, isize s, int standard)
{
    const clstm_walk *walk = job->walk;
    const isize H = job->H, Hp = padded(H), P = job->P, ld = state_stride(P), alive = rows_below(part, walk->active[s]);
    real dm[TILE_ROWS * 4 * VECTOR_BYTES / sizeof(real)] __attribute__((aligned(64)));
    tile t = {.to_vector = VL, .end_term = 1};
    for (isize panel = part->panel0; panel < part->panel1; panel++) {
        const isize unit0 = panel * 4 * VL, unit1 = smaller(unit0 + 4 * VL, Hp);
        set_panel(&t.term[0], (const real *)job->variant_call->variant->Rb + panel * P * 4 * VL, panel_vectors(H, panel), P, 0, P);
        clear_prefetch(&t.term[0]);
        for (isize j = 0; j < alive;) {
            const int R = next_rows(alive - j);
            for (int r = 0; r < R; r++) {
                t.term[0].a[r] = (const real *)job->variant_call->dh + (walk->start[s] + partition_row(part, j + r)) * ld;
                t.from[r] = ZEROS;
                t.to[r] = dm + r * 4 * VL;
            }
            TILE[R - 1][panel_vectors(H, panel) - 1](&t);
            for (int r = 0; r < R; r++)
                unit_gradients(job, s, partition_row(part, j + r), unit0, unit1, t.to[r], standard);
            j += R;
        }
    }
}

INLINE void variant_step_backward(const clstm_backward *job, const group *own_group, const partition *units,
                                  const partition *outputs, isize s, int standard)
{
    const clstm_variant *variant = job->variant_call->variant;
    backward_products(job, job->P, outputs, s, standard ? finish_standard_gradients : finish_any_gradients);
    if (variant->R) {
        barrier(&own_group->team);
        projection_gradients(job, units, s, standard);
    }
    if (variant->gate_gain) {
        barrier(&own_group->team);
        norm_gradients_of_c(job, units, s, standard);
        barrier(&own_group->team);
        norm_gradients_of_gates(job, units, s);
    }
}

/* Sum `count` gradients of per-unit parameters over the rows, from the first-th on, for this thread's part of the units. */
static void sum_over_rows(const clstm_backward *job, const clstm_team *team, isize first, isize count, void *gradient_)
{
    const isize H = job->H, Hp = padded(H), stride = unit_parameters(job->variant_call->variant) * Hp;
    const isize begin = Hp / VL * team->rank / team->size * VL, end = Hp / VL * (team->rank + 1) / team->size * VL;
    real *gradient = gradient_;
    for (isize k = 0; k < count && gradient; k++)
        for (isize unit = begin; unit < end; unit += VL) {
            const real *from = (const real *)job->variant_call->unit_parameter_sums + (first + k) * Hp + unit;
            real *to = gradient + k * H;
            vec sum = broadcast(0);
            for (isize b = 0; b < job->walk->rows; b++)
                sum += load(from + b * stride);
            store_at(to, unit, H, job->add ? load_at(to, unit, H) + sum : sum);
        }
}

/* Set the activations of the limits. They are computed in vectors by the function that computes the gates, so that they
 * compare equal to a gate at its limit. */
static void set_limit_activations(clstm_variant_call *call, int standard)
{
    const clstm_variant *variant = call->variant;
    for (int candidate = 0; candidate < 2; candidate++) {
        const clstm_activation *own = candidate ? &variant->candidate : &variant->gate;
        const int code = standard ? (candidate ? TANH : SIGMOID) : ANY_ACTIVATION;
        const real limit = (real)variant->gate_clip;
        call->upper_activation[candidate] = activation(own, code, limited(broadcast(limit), limit))[0];
        call->lower_activation[candidate] = activation(own, code, limited(broadcast(-limit), limit))[0];
    }
}

static void variant_backward_all(const clstm_backward *given, const clstm_team *team)
{
    const clstm_walk *walk = given->walk;
    const isize H = given->H, P = given->P, ld_c = state_stride(H), ld_h = state_stride(P);
    const group own_group = group_of(team, given->row_groups);
    const partition rows = rows_of_thread(walk, &own_group), units = partition_of(walk, &own_group, product_panels(H));
    const partition outputs = partition_of(walk, &own_group, product_panels(P));
    const isize sums = unit_parameters(given->variant_call->variant) * padded(H);
    const int standard = has_standard_activations(given->variant_call->variant);
    clstm_variant_call call = *given->variant_call;
    clstm_backward own = *given;
    const clstm_backward *job = &own;
    own.variant_call = &call;
    set_limit_activations(&call, standard);

    for (isize b = rows.first; b < rows.end; b += rows.step) {
        load_state(job->dhn, walk, b, P, (real *)job->dh + b * ld_h);
        load_state(job->dcn, walk, b, H, (real *)job->dc + b * ld_c);
        memset((real *)call.unit_parameter_sums + b * sums, 0, sums * sizeof(real));
    }
    barrier(&own_group.team);
    for (isize s = walk->steps - 1; s >= 0; s--) {
        if (standard)
            variant_step_backward(job, &own_group, &units, &outputs, s, 1);
        else
            variant_step_backward(job, &own_group, &units, &outputs, s, 0);
        barrier(&own_group.team);
    }
    backward_products(job, P, &outputs, -1, standard ? finish_standard_gradients : finish_any_gradients);
    barrier(team);
    for (isize b = rows.first; b < rows.end; b += rows.step) {
        save_state(job->dh0, walk, b, P, (const real *)job->dh + b * ld_h);
        save_state(job->dc0, walk, b, H, (const real *)job->dc + b * ld_c);
    }
    weight_gradients(job, team);
    isize first = 0;
    if (call.variant->peephole) {
        sum_over_rows(job, team, first, 3, call.dpeephole);
        first += 3;
    }
    if (call.variant->gate_gain) {
        sum_over_rows(job, team, first, 4, call.dgate_gain);
        sum_over_rows(job, team, first + 4, 4, call.dgate_shift);
        sum_over_rows(job, team, first + 8, 1, call.dcell_gain);
        sum_over_rows(job, team, first + 9, 1, call.dcell_shift);
    }
    if (call.variant->R) {
        barrier(team); /* outer_all uses the memory of the sums again */
        const clstm_outer projection = {.rows = walk->positions, .N = P, .K = H, .d = call.dh, .a = call.m, .d_stride = ld_h,
                                        .a_stride = ld_c, .gradient = call.dR, .columns = job->columns, .sums = job->sums,
                                        .add = job->add};
        outer_all(&projection, team);
    }
}

#endif
