/* Backward of a cell beyond the plain one, from the last step to the first, a step in parts between which the threads of a
 * group wait for each other, as forward:
 *
 *     dh = dy + h_mask (dgates_{t+1} U)  |  dm = dh weight_hr  |  norm of c  |  gates, dc  |  norm of the gates
 *
 * those of them that there are. After the last one the gates hold the gradients of W x + U h, and the plain cell's sums
 * follow. What each unit has of its own (peepholes, gains, shifts) gets the sums of each row's steps, at the end added up
 * in the order of the rows.
 */
#ifndef CLSTM_CELL_BACKWARD_H
#define CLSTM_CELL_BACKWARD_H

#include "backward.h"
#include "cell.h"

/* What one row's step has: from forward, and the gradients */
typedef struct {
    const real *c, *c_before, *normed, *statistics;
    real *gates, *dc, *row_sums, *sums, *update;
    stays zoneout;
} gradient_row;

INLINE gradient_row gradient_row_at(const clstm_backward *job, isize s, isize b)
{
    const clstm_walk *walk = job->walk;
    const clstm_variant *variant = job->variant;
    const isize H = job->H, ld = state_stride(H), stride = gates_stride(H), cell = walk->start[s] + b;
    return (gradient_row){
        (const real *)job->cells + cell * ld,
        s > 0 ? (const real *)job->cells + (walk->start[s - 1] + b) * ld : (const real *)job->c + b * ld,
        (const real *)variant->normed + cell * stride,
        (const real *)variant->statistics + cell * CELL_STATISTICS,
        (real *)job->gates + cell * stride,
        (real *)job->dc + b * ld,
        (real *)variant->row_sums + b * row_sums(variant->cell) * padded(H),
        (real *)variant->sums + b * stride,
        (real *)variant->update + b * stride,
        stays_at(&variant->c_stays, variant->c_part, b, s),
    };
}

INLINE void add_to(real *sum, vec x) { store(sum, load(sum) + x); }

/* c before zoneout: what is kept, or once more from the gates */
INLINE vec c_of_units(const clstm_cell *cell, const gradient_row *row, isize Hp, isize unit)
{
    if (row->zoneout.none)
        return load(row->c + unit);
    const vec i = load(row->gates + unit), f = load(row->gates + Hp + unit), g = load(row->gates + 2 * Hp + unit);
    return limited(f * load(row->c_before + unit) + rounded(i * g), cell->cell_clip);
}

/* Of m = o act(q): the gradients of o, the return value, and of q */
INLINE vec output_gradient(const clstm_cell *cell, int usual, vec dm, vec o, vec q, vec *dq)
{
    const vec squashed = activation(&cell->output, usual ? TANH : ANY, q);
    *dq = rounded(dm * o * slope(&cell->output, usual ? TANH : ANY, squashed));
    return dm * squashed;
}

/* The gradient of y = act(limited(a)) with regard to a; a was beyond a limit where y is what the limit gives. */
INLINE vec gate_gradient(const clstm_variant *variant, int candidate, int usual, vec dy, vec y)
{
    const clstm_activation *own = candidate ? &variant->cell->candidate : &variant->cell->gate;
    const vec da = rounded(dy * slope(own, usual ? (candidate ? TANH : SIGMOID) : ANY, y));
    if (!(variant->cell->gate_clip < INFINITY))
        return da;
    const real highest = (real)variant->highest[candidate], lowest = (real)variant->lowest[candidate];
    return choose((y == highest) | (y == lowest), broadcast(0), da);
}

/* The gradients of the sums of the gates (with layer norm, of what comes out of it) and of c_before, from those of o and of
 * what leaves the cell as c. */
INLINE void gate_gradients(const clstm_backward *job, int usual, const gradient_row *row, isize unit, vec d_o, vec dc_out,
                           vec c)
{
    const clstm_variant *variant = job->variant;
    const clstm_cell *cell = variant->cell;
    const isize H = job->H, Hp = padded(H);
    const vec i = load(row->gates + unit), f = load(row->gates + Hp + unit);
    const vec g = load(row->gates + 2 * Hp + unit), o = load(row->gates + 3 * Hp + unit);
    const vec c_before = load(row->c_before + unit);
    const real *peephole = (const real *)cell->peephole + unit;
    real *own_sums = row->row_sums + unit;
    vec dc = load(row->dc + unit), dc_before = broadcast(0);
    if (!row->zoneout.none)
        dc = moved(&row->zoneout, unit, H, dc, &dc_before);
    dc += dc_out;
    const vec da_o = gate_gradient(variant, 0, usual, d_o, o);
    if (cell->peephole) {
        dc += load(peephole + 2 * Hp) * da_o;
        add_to(own_sums + 2 * Hp, da_o * c);
    }
    dc = within(dc, c, cell->cell_clip);
    const vec da_f = gate_gradient(variant, 0, usual, dc * (cell->coupled ? c_before - g : c_before), f);
    const vec da_i = cell->coupled ? broadcast(0) : gate_gradient(variant, 0, usual, dc * g, i);
    const vec da_g = gate_gradient(variant, 1, usual, dc * i, g);
    dc_before += dc * f;
    if (cell->peephole) {
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
        if (cell->gate_gain) {
            add_to(own_sums + gate * Hp, da[gate] * load(row->normed + at));
            add_to(own_sums + (4 + gate) * Hp, da[gate]);
            store(row->sums + at, da[gate] * load((const real *)cell->gate_gain + at));
        } else {
            store(row->gates + at, da[gate]);
        }
    }
}

/* From the gradients dm of m, of units [unit0, unit1): those of the gates; with layer norm, of the norm of c. */
INLINE void unit_gradients(const clstm_backward *job, isize s, isize b, isize unit0, isize unit1, const real *dm, int usual)
{
    const clstm_cell *cell = job->variant->cell;
    const isize Hp = padded(job->H);
    const gradient_row row = gradient_row_at(job, s, b);
    for (isize unit = unit0; unit < unit1; unit += VL) {
        const vec o = load(row.gates + 3 * Hp + unit), c = c_of_units(cell, &row, Hp, unit);
        vec dq;
        if (cell->gate_gain) {
            real *own_sums = row.row_sums + (row_sums(cell) - 2) * Hp + unit;
            const vec gain = load((const real *)cell->cell_gain + unit);
            const vec normed = (c - row.statistics[4]) * row.statistics[5];
            const vec q = normed * gain + load((const real *)cell->cell_shift + unit);
            store(row.update + 2 * Hp + unit, output_gradient(cell, usual, load(dm + unit - unit0), o, q, &dq));
            store(row.update + unit, dq * gain);
            store(row.update + Hp + unit, normed);
            add_to(own_sums, dq * normed);
            add_to(own_sums + Hp, dq);
        } else {
            const vec d_o = output_gradient(cell, usual, load(dm + unit - unit0), o, c, &dq);
            gate_gradients(job, usual, &row, unit, d_o, dq, c);
        }
    }
}

/* Through the norm of c, and the gates */
INLINE void norm_gradients_of_c(const clstm_backward *job, const share *mine, isize s, int usual)
{
    const isize H = job->H, Hp = padded(H), alive = rows_below(mine, job->walk->active[s]);
    for (isize j = 0; j < alive; j++) {
        const gradient_row row = gradient_row_at(job, s, row_of(mine, j));
        const real *dnormed = row.update, *normed = row.update + Hp;
        real mean, product;
        norm_means(dnormed, normed, H, &mean, &product);
        for (isize unit = first_unit(mine, 4 * VL); unit < end_unit(mine, 4 * VL, H); unit += VL) {
            const vec dc = row.statistics[5] * (load(dnormed + unit) - mean - load(normed + unit) * product);
            gate_gradients(job, usual, &row, unit, load(row.update + 2 * Hp + unit), rounded(dc),
                           c_of_units(job->variant->cell, &row, Hp, unit));
        }
    }
}

/* Through the norm of the gates */
static void norm_gradients_of_gates(const clstm_backward *job, const share *mine, isize s)
{
    const isize H = job->H, Hp = padded(H), alive = rows_below(mine, job->walk->active[s]);
    for (isize j = 0; j < alive; j++) {
        const gradient_row row = gradient_row_at(job, s, row_of(mine, j));
        for (int gate = 0; gate < 4; gate++) {
            const real *dnormed = row.sums + gate * Hp, *normed = row.normed + gate * Hp;
            real mean, product;
            norm_means(dnormed, normed, H, &mean, &product);
            for (isize unit = first_unit(mine, 4 * VL); unit < end_unit(mine, 4 * VL, H); unit += VL)
                store(row.gates + gate * Hp + unit,
                      row.statistics[gate] * (load(dnormed + unit) - mean - load(normed + unit) * product));
        }
    }
}

/* dh of columns [unit0, unit1) of a row, from what comes from the step after; then on as far as this part goes. At step -1 it
 * is that of the initial state. */
INLINE void finish_cell_gradients(const clstm_backward *job, isize s, isize b, isize unit0, isize unit1, const real *dh_after,
                                  int usual)
{
    const clstm_walk *walk = job->walk;
    const clstm_variant *variant = job->variant;
    const isize P = job->P;
    const real *mask = h_mask_of(job, b);
    const int last = s + 1 == walk->length[b];
    const stays zoneout = s >= 0 ? stays_at(&variant->h_stays, variant->h_part, b, s) : (stays){1, NULL, 0};
    const int stayed_after = !last && (variant->h_stays.data || variant->h_part > 0);
    real *staying = (real *)job->dh + b * state_stride(P);
    real own[4 * 4 * VECTOR_BYTES / sizeof(real)] __attribute__((aligned(64)));
    real *to = variant->cell->R && s >= 0
                   ? (real *)variant->dh + (walk->start[s] + b) * state_stride(P) + unit0
                   : own;
    for (isize unit = unit0; unit < unit1; unit += VL) {
        vec dh = load(dh_after + unit - unit0), before;
        if (mask && !last)
            dh = rounded(dh * load_at(mask, unit, P));
        if (stayed_after)
            dh += load(staying + unit);
        if (s < 0) {
            store(staying + unit, dh);
            continue;
        }
        dh += load_at(line_at(&job->dy, b, s), unit, P);
        if (!zoneout.none) {
            dh = moved(&zoneout, unit, P, dh, &before);
            store(staying + unit, before);
        }
        store(to + unit - unit0, dh);
    }
    if (s >= 0 && !variant->cell->R)
        unit_gradients(job, s, b, unit0, unit1, own, usual);
}

static void finish_usual_gradients(const clstm_backward *job, isize s, isize b, isize unit0, isize unit1, const real *dh_after)
{
    finish_cell_gradients(job, s, b, unit0, unit1, dh_after, 1);
}

static void finish_any_gradients(const clstm_backward *job, isize s, isize b, isize unit0, isize unit1, const real *dh_after)
{
    finish_cell_gradients(job, s, b, unit0, unit1, dh_after, 0);
}

/* dm = dh weight_hr of this thread's panels, and on */
INLINE void projection_gradients(const clstm_backward *job, const share *mine, isize s, int usual)
{
    const clstm_walk *walk = job->walk;
    const isize H = job->H, Hp = padded(H), P = job->P, ld = state_stride(P), alive = rows_below(mine, walk->active[s]);
    real dm[TILE_ROWS * 4 * VECTOR_BYTES / sizeof(real)] __attribute__((aligned(64)));
    tile t = {.to_vector = VL, .segments = 1};
    for (isize panel = mine->panel0; panel < mine->panel1; panel++) {
        const isize unit0 = panel * 4 * VL, unit1 = smaller(unit0 + 4 * VL, Hp);
        set_panel(&t.segment[0], (const real *)job->variant->cell->Rb + panel * P * 4 * VL, panel_vectors(H, panel), P, 0, P);
        ask_for_nothing(&t.segment[0]);
        for (isize j = 0; j < alive;) {
            const int R = next_rows(alive - j);
            for (int r = 0; r < R; r++) {
                t.segment[0].a[r] = (const real *)job->variant->dh + (walk->start[s] + row_of(mine, j + r)) * ld;
                t.from[r] = ZEROS;
                t.to[r] = dm + r * 4 * VL;
            }
            TILE[R - 1][panel_vectors(H, panel) - 1](&t);
            for (int r = 0; r < R; r++)
                unit_gradients(job, s, row_of(mine, j + r), unit0, unit1, t.to[r], usual);
            j += R;
        }
    }
}

INLINE void cell_step_back(const clstm_backward *job, const group *own_group, const share *units, const share *outputs, isize s,
                           int usual)
{
    const clstm_cell *cell = job->variant->cell;
    backward_products(job, job->P, outputs, s, usual ? finish_usual_gradients : finish_any_gradients);
    if (cell->R) {
        barrier(&own_group->team);
        projection_gradients(job, units, s, usual);
    }
    if (cell->gate_gain) {
        barrier(&own_group->team);
        norm_gradients_of_c(job, units, s, usual);
        barrier(&own_group->team);
        norm_gradients_of_gates(job, units, s);
    }
}

/* Adds up the rows' sums of `count` gradients of H reals each, from the first-th sum on, of this thread's part of the units. */
static void add_rows(const clstm_backward *job, const clstm_team *team, isize first, isize count, void *gradient_)
{
    const isize H = job->H, Hp = padded(H), stride = row_sums(job->variant->cell) * Hp;
    const isize begin = Hp / VL * team->rank / team->size * VL, end = Hp / VL * (team->rank + 1) / team->size * VL;
    real *gradient = gradient_;
    for (isize k = 0; k < count && gradient; k++)
        for (isize unit = begin; unit < end; unit += VL) {
            const real *from = (const real *)job->variant->row_sums + (first + k) * Hp + unit;
            real *to = gradient + k * H;
            vec sum = broadcast(0);
            for (isize b = 0; b < job->walk->rows; b++)
                sum += load(from + b * stride);
            store_at(to, unit, H, job->add ? load_at(to, unit, H) + sum : sum);
        }
}

/* What the activations make of the limits, of several lanes by the very code that made the gates */
static void set_highest(clstm_variant *variant, int usual)
{
    const clstm_cell *cell = variant->cell;
    for (int candidate = 0; candidate < 2; candidate++) {
        const clstm_activation *own = candidate ? &cell->candidate : &cell->gate;
        const int code = usual ? (candidate ? TANH : SIGMOID) : ANY;
        const real limit = (real)cell->gate_clip;
        variant->highest[candidate] = activation(own, code, limited(broadcast(limit), limit))[0];
        variant->lowest[candidate] = activation(own, code, limited(broadcast(-limit), limit))[0];
    }
}

static void cell_backward_all(const clstm_backward *given, const clstm_team *team)
{
    const clstm_walk *walk = given->walk;
    const isize H = given->H, P = given->P, ld_c = state_stride(H), ld_h = state_stride(P);
    const group own_group = group_of(team, given->row_groups);
    const share rows = rows_of(walk, &own_group), units = share_of(walk, &own_group, product_panels(H));
    const share outputs = share_of(walk, &own_group, product_panels(P));
    const isize sums = row_sums(given->variant->cell) * padded(H);
    const int usual = is_usual(given->variant->cell);
    clstm_variant variant = *given->variant;
    clstm_backward own = *given;
    const clstm_backward *job = &own;
    own.variant = &variant;
    set_highest(&variant, usual);

    for (isize b = rows.first; b < rows.end; b += rows.step) {
        load_state(job->dhn, walk, b, P, (real *)job->dh + b * ld_h);
        load_state(job->dcn, walk, b, H, (real *)job->dc + b * ld_c);
        memset((real *)variant.row_sums + b * sums, 0, sums * sizeof(real));
    }
    barrier(&own_group.team);
    for (isize s = walk->steps - 1; s >= 0; s--) {
        if (usual)
            cell_step_back(job, &own_group, &units, &outputs, s, 1);
        else
            cell_step_back(job, &own_group, &units, &outputs, s, 0);
        barrier(&own_group.team);
    }
    backward_products(job, P, &outputs, -1, usual ? finish_usual_gradients : finish_any_gradients);
    barrier(team);
    for (isize b = rows.first; b < rows.end; b += rows.step) {
        save_state(job->dh0, walk, b, P, (const real *)job->dh + b * ld_h);
        save_state(job->dc0, walk, b, H, (const real *)job->dc + b * ld_c);
    }
    weight_gradients(job, team);
    isize first = 0;
    if (variant.cell->peephole) {
        add_rows(job, team, first, 3, variant.dpeephole);
        first += 3;
    }
    if (variant.cell->gate_gain) {
        add_rows(job, team, first, 4, variant.dgate_gain);
        add_rows(job, team, first + 4, 4, variant.dgate_shift);
        add_rows(job, team, first + 8, 1, variant.dcell_gain);
        add_rows(job, team, first + 9, 1, variant.dcell_shift);
    }
    if (variant.cell->R) {
        barrier(team); /* the memory of the sums is used again */
        const clstm_outer projection = {.rows = walk->cells, .N = P, .K = H, .d = variant.dh, .a = variant.m, .d_stride = ld_h,
                                        .a_stride = ld_c, .gradient = variant.dR, .columns = job->columns, .sums = job->sums,
                                        .add = job->add};
        outer_all(&projection, team);
    }
}

#endif
