/* What a step of a variant of the LSTM computes for one vector of units: activations, limits, layer norm, zoneout.
 *
 * docs/equations.md has the equations, clstm/_core/variant.py the options. Everything goes unit by unit, except for the sums over
 * a row that layer norm needs: those run in lanes of 64 bytes, whatever the width of a vector, and the lanes are added in
 * one order, so that every instruction set has the same bits. Per-unit parameters are [part][Hp] and 64-byte aligned, as
 * clstm_variant in kernels.h describes; nothing is written but what the arguments point to.
 */
#ifndef CLSTM_VARIANT_H
#define CLSTM_VARIANT_H

#include <math.h>

#include "activations.h"
#include "layout.h"
#include "tile.h"
#include "walk.h"

/* Activations --------------------------------------------------------------------------------------------------- */

/* In the order of clstm._core.variant.ACTIVATIONS */
enum { SIGMOID, TANH, RELU, HARD_SIGMOID, LEAKY_RELU, THRESHOLDED_RELU, ELU, AFFINE, SCALED_TANH, SOFTSIGN, SOFTPLUS, LINEAR,
       EXPONENTIAL, SELU };

#define SELU_ALPHA ((real)1.6732632423543772848170429916717)
#define SELU_SCALE ((real)1.0507009873554804934193349852946)
#define NORM_EPS ((real)1e-5) /* clstm.variant.NORM_EPS */

#if defined(CLSTM_F32)
#define EXP_MOST 174 /* e^x is infinite from here on */
#define LOG1P_TERMS 8
#else
#define EXP_MOST 1418
#define LOG1P_TERMS 17
#endif

INLINE vec smaller_of(vec a, vec b) { return -larger(-a, -b); }
INLINE vec absolute(vec x) { return (vec)((ivec)x & ~SIGN_BITS); }

/* x, limited to [low, high]; NaN remains NaN */
INLINE vec between(real low, vec x, real high) { return smaller_of(broadcast(high), larger(broadcast(low), x)); }

/* e^x as the square of e^(x/2), since the scale 2^n of e^x itself may overflow where e^x doesn't */
INLINE vec exp_(vec x)
{
    vec scale, q = exp_parts((real)0.5 * smaller_of(broadcast(EXP_MOST), x), &scale, 1), root = scale * q + scale;
    return root * root;
}

/* e^x - 1 for x <= 0 */
INLINE vec expm1_(vec x)
{
    vec scale, q = exp_parts(x, &scale, 1);
    return scale * q + (scale - 1);
}

/* max(x, 0) + log(1 + z), z = e^-|x|: the series of 2 artanh(s), s = z / (2 + z) <= 1/3 */
INLINE vec softplus(vec x)
{
    vec scale, q = exp_parts((vec)((ivec)x | SIGN_BITS), &scale, 1);
    const vec z = scale * q + scale, s = z / (2 + z), s2 = s * s;
    vec sum = broadcast((real)1 / (2 * LOG1P_TERMS + 1));
    UNROLL
    for (int k = LOG1P_TERMS - 1; k >= 0; k--)
        sum = sum * s2 + (real)1 / (2 * k + 1);
    return larger(broadcast(0), x) + 2 * s * sum;
}

NOINLINE vec any_activation(const clstm_activation *a, vec x)
{
    const real alpha = (real)a->alpha, beta = (real)a->beta;
    switch (a->code) {
    case SIGMOID: return sigmoid(x);
    case TANH: return tanh_(x);
    case RELU: return larger(broadcast(0), x);
    case HARD_SIGMOID: return between(0, alpha * x + beta, 1);
    case LEAKY_RELU: return choose(x < 0, alpha * x, x);
    case THRESHOLDED_RELU: return choose(x > alpha, x, broadcast(0));
    case ELU: return choose(x < 0, alpha * expm1_(smaller_of(broadcast(0), x)), x);
    case AFFINE: return alpha * x + beta;
    case SCALED_TANH: return alpha * tanh_(beta * x);
    case SOFTSIGN: return x / (1 + absolute(x));
    case SOFTPLUS: return softplus(x);
    case EXPONENTIAL: return exp_(x);
    case SELU: return SELU_SCALE * choose(x < 0, SELU_ALPHA * expm1_(smaller_of(broadcast(0), x)), x);
    default: return x;
    }
}

/* The derivative of an activation at the point where its value is y. It is known from y alone: alpha of leaky_relu and
 * elu is not negative, so that the sign of y is that of x. */
NOINLINE vec any_slope(const clstm_activation *a, vec y)
{
    const real alpha = (real)a->alpha, beta = (real)a->beta;
    const vec zero = broadcast(0), one = broadcast(1);
    switch (a->code) {
    case SIGMOID: return y * (1 - y);
    case TANH: return 1 - y * y;
    case RELU: return choose(y > 0, one, zero);
    case HARD_SIGMOID: return choose((y > 0) & (y < 1), broadcast(alpha), zero);
    case LEAKY_RELU: return choose(y > 0, one, broadcast(alpha));
    case THRESHOLDED_RELU: return choose(y == 0, zero, one);
    case ELU: return choose(y > 0, one, y + alpha);
    case AFFINE: return broadcast(alpha);
    case SCALED_TANH: return beta * (alpha - y * (y / alpha));
    case SOFTSIGN: return (1 - absolute(y)) * (1 - absolute(y));
    case SOFTPLUS: return -expm1_(-y);
    case EXPONENTIAL: return y;
    case SELU: return choose(y > 0, broadcast(SELU_SCALE), y + SELU_SCALE * SELU_ALPHA);
    default: return one;
    }
}

/* `standard` activations are the sigmoid of the gates and the tanh of candidate and output, known at compile time;
 * ANY_ACTIVATION is looked up for each vector. */
enum { ANY_ACTIVATION = -1 };

INLINE vec activation(const clstm_activation *a, int standard, vec x)
{
    return standard == SIGMOID ? sigmoid(x) : standard == TANH ? tanh_(x) : any_activation(a, x);
}

INLINE vec slope(const clstm_activation *a, int standard, vec y)
{
    return standard == SIGMOID ? y * (1 - y) : standard == TANH ? 1 - y * y : any_slope(a, y);
}

INLINE int has_standard_activations(const clstm_variant *variant)
{
    return variant->gate.code == SIGMOID && variant->candidate.code == TANH && variant->output.code == TANH;
}

/* Limits and zoneout -------------------------------------------------------------------------------------------- */

INLINE vec limited(vec x, double limit) { return limit < INFINITY ? between((real)-limit, x, (real)limit) : x; }

/* The gradient of the argument of `limited`, whose value is x, from the gradient of its result */
INLINE vec within(vec gradient, vec x, double limit)
{
    return limit < INFINITY ? choose(absolute(x) < (real)limit, gradient, broadcast(0)) : gradient;
}

typedef uint8_t byte_vec __attribute__((vector_size(VECTOR_BYTES / sizeof(real))));

/* Zoneout of h or c of one row at one step: a row of bytes, not 0 for a unit that keeps its old value, or NULL in
 * inference, where each unit keeps the part `probability` of it; `none` if there is no zoneout */
typedef struct {
    int none;
    const uint8_t *row;
    real probability;
} zoneout_of_step;

INLINE zoneout_of_step zoneout_at(const clstm_sequences *lines, double probability, isize b, isize s)
{
    const uint8_t *row = lines->data ? (const uint8_t *)lines->data + lines->row[b] + s * lines->step : NULL;
    return (zoneout_of_step){!row && probability == 0, row, (real)probability};
}

/* Which of the units from `unit` on, of n in all, keep their old value */
INLINE ivec zoneout_mask(const uint8_t *row, isize unit, isize n)
{
    byte_vec bytes = {0};
    if (n - unit >= VL)
        memcpy(&bytes, row + unit, sizeof bytes);
    else
        for (isize i = 0; unit + i < n; i++)
            bytes[i] = row[unit + i];
    return __builtin_convertvector(bytes, ivec) != 0;
}

INLINE vec apply_zoneout(const zoneout_of_step *z, isize unit, isize n, vec before, vec now)
{
    if (z->row)
        return choose(zoneout_mask(z->row, unit, n), before, now);
    return z->probability * before + rounded((1 - z->probability) * now);
}

/* Return the gradient of the new value from that of the result; that of the old value goes to *before. */
INLINE vec zoneout_gradient(const zoneout_of_step *z, isize unit, isize n, vec gradient, vec *before)
{
    if (z->row) {
        const ivec stay = zoneout_mask(z->row, unit, n);
        *before = choose(stay, gradient, broadcast(0));
        return choose(stay, broadcast(0), gradient);
    }
    *before = rounded(z->probability * gradient);
    return rounded((1 - z->probability) * gradient);
}

/* Rows -------------------------------------------------------------------------------------------------------------- */

/* A vector from `unit` on of a row of n reals of any alignment, with zeros behind the row */
INLINE vec load_at(const real *row, isize unit, isize n)
{
    return n - unit >= VL ? load(row + unit) : load_part(row + unit, n - unit);
}

INLINE void store_at(real *row, isize unit, isize n, vec x)
{
    if (n - unit >= VL)
        store(row + unit, x);
    else
        store_part(row + unit, x, n - unit);
}

/* The units of a partition's panels, of `width` units each */
INLINE isize first_unit(const partition *part, isize width) { return part->panel0 * width; }
INLINE isize end_unit(const partition *part, isize width, isize H) { return smaller(part->panel1 * width, padded(H)); }

/* Layer norm: Ba, Kiros & Hinton (2016) ------------------------------------------------------------------------------- */

#define NORM_LANES ((isize)(64 / sizeof(real)))
#define NORM_VECTORS (64 / VECTOR_BYTES)
#define STATISTICS_PER_POSITION 8 /* 1 / std of each gate, then mean and 1 / std of c; two are unused */

/* x in the first n lanes, zeros in others */
INLINE vec first_lanes(vec x, isize n)
{
    real lanes[VECTOR_BYTES / sizeof(real)];
    store(lanes, x);
    return load_part(lanes, n);
}

INLINE real add_lanes(const vec *sum)
{
    real lanes[64 / sizeof(real)] __attribute__((aligned(64)));
    memcpy(lanes, sum, sizeof lanes);
    for (isize half = NORM_LANES / 2; half > 0; half /= 2)
        for (isize i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    return lanes[0];
}

/* Sums over a row in lanes of 64 bytes, each vector v of which has a sum of its own. a and b are rows in whole vectors. */
typedef struct {
    const real *a, *b;
    real mean;
    vec sum[NORM_VECTORS], products[NORM_VECTORS];
} norm_sums;

/* Adds the first n units of the vector at unit `at` to sum v; n is VL except in the last vector of a row. */
typedef void norm_term(norm_sums *sums, isize at, isize n, int v);

INLINE void sum_over_units(norm_sums *sums, isize H, norm_term *add)
{
    isize unit = 0;
    for (; unit + NORM_LANES <= H; unit += NORM_LANES)
        UNROLL for (int v = 0; v < NORM_VECTORS; v++) add(sums, unit + v * VL, VL, v);
    for (int v = 0; v < NORM_VECTORS && unit + v * VL < H; v++)
        add(sums, unit + v * VL, smaller(VL, H - unit - v * VL), v);
}

INLINE void add_units(norm_sums *sums, isize at, isize n, int v)
{
    sums->sum[v] += n == VL ? load(sums->a + at) : first_lanes(load(sums->a + at), n);
}

INLINE void add_squares(norm_sums *sums, isize at, isize n, int v)
{
    const vec d = load(sums->a + at) - sums->mean;
    const vec own = n == VL ? d : first_lanes(d, n);
    sums->products[v] += rounded(own * own);
}

INLINE void add_gradients(norm_sums *sums, isize at, isize n, int v)
{
    const vec d = n == VL ? load(sums->a + at) : first_lanes(load(sums->a + at), n);
    const vec x = n == VL ? load(sums->b + at) : first_lanes(load(sums->b + at), n);
    sums->sum[v] += d;
    sums->products[v] += rounded(d * x);
}

/* Mean and 1 / sqrt(variance + eps) of H reals, which are in whole vectors */
static void norm_statistics(const real *row, isize H, real *mean, real *scale)
{
    norm_sums sums = {.a = row};
    sum_over_units(&sums, H, add_units);
    *mean = sums.mean = add_lanes(sums.sum) / (real)H;
    sum_over_units(&sums, H, add_squares);
    const real variance = add_lanes(sums.products) / (real)H;
#if defined(CLSTM_F32)
    *scale = 1 / sqrtf(variance + NORM_EPS);
#else
    *scale = 1 / sqrt(variance + NORM_EPS);
#endif
}

/* The mean of the gradient of normalised reals, and the mean of its products with them */
static void norm_means(const real *gradient, const real *normed, isize H, real *mean, real *product)
{
    norm_sums sums = {.a = gradient, .b = normed};
    sum_over_units(&sums, H, add_gradients);
    *mean = add_lanes(sums.sum) / (real)H;
    *product = add_lanes(sums.products) / (real)H;
}

/* The number of per-unit parameters: peepholes of i, f, o; gains and shifts of the four gates, gain and shift of c */
static isize unit_parameters(const clstm_variant *variant) { return (variant->peephole ? 3 : 0) + (variant->gate_gain ? 10 : 0); }

#endif
