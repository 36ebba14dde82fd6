/* Sigmoid and tanh on vectors: from one reduction, without division or table.
 *
 * expm1: x = n ln 2 + r with n whole and |r| <= ln(2)/2 (Cody & Waite 1980), e^r - 1 = r + r^2 P(r) with P fitted
 * to the smallest largest error (relative to e^r - 1: 2^-25 in float32, 2^-54 in float64).
 * Quotients have divisors in [1, 2]: a quadratic start for the reciprocal (error 1/99, a Chebyshev polynomial),
 * Newton's iteration, and a last step on the quotient's remainder. That takes less time than the processor's
 * division, and has the same bits on every processor with fused multiply-add.
 *
 * At most 2 units in the last place from the exact value in float32 and 2.5 in float64 (tests/test_activations.py),
 * exact at the ends (sigmoid(-inf) = 0, tanh(+-inf) = +-1), NaN in gives NaN out. Results below the smallest normal
 * number are 0.
 */
#ifndef CLSTM_ACTIVATIONS_H
#define CLSTM_ACTIVATIONS_H

#include "vector.h"

/* ROUNDER: 1.5 * 2^MANTISSA, adding which rounds to whole numbers, and the exponent's bias, so that the last bits of
 * n + ROUNDER are the exponent of 2^n. EXP_ZERO: from here down 2^n is 0. TANH_LOW: whether tanh needs ln 2 in two parts;
 * in float32 what n LN2_LOW adds to e^(-2|x|) is less than 0.06 units. */
#if defined(CLSTM_F32)
#define MANTISSA 23
#define SIGN_BITS ((bits)0x80000000)
#define ROUNDER (12582912.0f + 127)
#define EXP_ZERO -88.0f
#define LOG2E 0x1.715476p+0f
#define LN2_HIGH 0x1.62e430p-1f
#define LN2_LOW -1.90465430e-9f
#define TANH_LOW 0
#define NEWTON_STEPS 2
static const real EXPM1[] = {0.001392618359f, 0.008363179053f, 0.04166655462f, 0.1666657699f, 0.5f};
#else
#define MANTISSA 52
#define SIGN_BITS ((bits)0x8000000000000000)
#define ROUNDER (6755399441055744.0 + 1023)
#define EXP_ZERO -709.0
#define LOG2E 0x1.71547652b82fep+0
#define LN2_HIGH 0x1.62e42fefa39efp-1
#define LN2_LOW 2.3190468138462996e-17
#define TANH_LOW 1
#define NEWTON_STEPS 3
static const real EXPM1[] = {2.510038549551031908e-8,   2.762008844540974816e-7, 2.755726845999706477e-6,
                             0.00002480152129595437513, 0.0001984126986305361688, 0.00138888889172137169,
                             0.008333333333330061833,   0.04166666666662412787,  0.1666666666666666745, 0.5};
#endif

/* For x <= 0: e^x = scale (1 + return value). */
INLINE vec exp_parts(vec x, vec *scale, int low)
{
    x = larger(broadcast(EXP_ZERO), x);
    vec rounded = x * LOG2E + ROUNDER;
    vec n = rounded - ROUNDER;
    vec r = x - n * LN2_HIGH;
    if (low)
        r = r - n * LN2_LOW;
    vec p = broadcast(EXPM1[0]);
    UNROLL
    for (size_t i = 1; i < sizeof EXPM1 / sizeof EXPM1[0]; i++)
        p = p * r + EXPM1[i];
    *scale = (vec)((ivec)rounded << MANTISSA);
    return p * (r * r) + r;
}

/* a / (b + t) for b + t in [1, 2] and a / b at most twice the quotient q: then a - b q is exact, and the remainder has one
 * rounding. The first step of Newton's iteration leaves errors of both signs instead of twice as large ones below. */
INLINE vec quotient(vec a, real b, vec t)
{
    const real c0 = (real)(70.0 / 33), c1 = (real)(-16.0 / 11), c2 = (real)(32.0 / 99);
    vec d = b + t, y = (c2 * d + c1) * d + c0;
    UNROLL
    for (int i = 0; i < NEWTON_STEPS; i++)
        y = ((i == 0 ? (real)(1 + 0.5 / (99 * 99)) : 1) - d * y) * y + y;
    vec q = a * y;
    return ((a - b * q) - t * q) * y + q;
}

INLINE vec sigmoid(vec x)
{
    vec scale, q = exp_parts((vec)((ivec)x | SIGN_BITS), &scale, 1);
    vec z = scale * q + scale;
    return quotient(choose(x < 0, z, broadcast(1)), 1, z);
}

INLINE vec tanh_(vec x)
{
    vec scale, q = exp_parts(2 * (vec)((ivec)x | SIGN_BITS), &scale, TANH_LOW);
    vec t = scale * q + (scale - 1); /* e^(-2|x|) - 1, accurate near 0 */
    vec y = quotient(t, 2, t);       /* -tanh(|x|) */
    return (vec)(((ivec)x & SIGN_BITS) | ((ivec)y & ~SIGN_BITS));
}

#endif
