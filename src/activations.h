/* Sigmoid and tanh on vectors: from one reduction, without division or table.
 *
 * expm1: x = n ln 2 + r with n whole and |r| <= ln(2)/2 (Cody & Waite 1980), e^r - 1 = r + r^2 P(r) with P fitted
 * to the smallest largest error (relative to e^r - 1: 2^-25 in float32, 2^-54 in float64).
 * Quotients have divisors in [1, 2]: a quadratic start for the reciprocal (error 1/99, a Chebyshev polynomial),
 * Newton's iteration, and a last step on the quotient's remainder. That takes three quarters of the time of the
 * processor's division, and has the same bits on every processor with fused multiply-add.
 *
 * At most 2 units in the last place from the exact value in float32 and 2.5 in float64 (tests/test_activations.py),
 * exact at the ends (sigmoid(-inf) = 0, tanh(+-inf) = +-1), NaN in gives NaN out. Results below the smallest normal
 * number are 0.
 */
#ifndef CLSTM_ACTIVATIONS_H
#define CLSTM_ACTIVATIONS_H

#include "vector.h"

#if defined(CLSTM_F32)
#define MANTISSA 23
#define ONE_BITS 0x3F800000
#define SIGN_BITS ((bits)0x80000000)
#define ROUNDER 12582912.0f /* 1.5 * 2^23: adding it rounds to whole numbers */
#define EXP_ZERO -88.0f     /* from here down 2^n is 0 */
#define LOG2E 0x1.715476p+0f
#define LN2_HIGH 0x1.62e430p-1f
#define LN2_LOW -1.90465430e-9f
#define NEWTON_STEPS 2
static const real EXPM1[] = {0.001392618359f, 0.008363179053f, 0.04166655462f, 0.1666657699f, 0.5f};
#else
#define MANTISSA 52
#define ONE_BITS 0x3FF0000000000000
#define SIGN_BITS ((bits)0x8000000000000000)
#define ROUNDER 6755399441055744.0
#define EXP_ZERO -709.0
#define LOG2E 0x1.71547652b82fep+0
#define LN2_HIGH 0x1.62e42fefa39efp-1
#define LN2_LOW 2.3190468138462996e-17
#define NEWTON_STEPS 3
static const real EXPM1[] = {2.510038549551031908e-8,   2.762008844540974816e-7, 2.755726845999706477e-6,
                             0.00002480152129595437513, 0.0001984126986305361688, 0.00138888889172137169,
                             0.008333333333330061833,   0.04166666666662412787,  0.1666666666666666745, 0.5};
#endif

/* For x <= 0: e^x = scale (1 + return value). */
INLINE vec exp_parts(vec x, vec *scale)
{
    x = larger(broadcast(EXP_ZERO), x);
    vec rounded = x * LOG2E + ROUNDER;
    vec n = rounded - ROUNDER;
    vec r = x - n * LN2_HIGH;
    r = r - n * LN2_LOW;
    vec p = broadcast(EXPM1[0]);
    UNROLL
    for (size_t i = 1; i < sizeof EXPM1 / sizeof EXPM1[0]; i++)
        p = p * r + EXPM1[i];
    *scale = (vec)(((ivec)rounded << MANTISSA) + ONE_BITS);
    return p * (r * r) + r;
}

/* a / (b + t) for b + t in [1, 2] and b at least |t|; the rounding error of b + t is kept and counts. */
INLINE vec quotient(vec a, real b, vec t)
{
    const real c0 = (real)(70.0 / 33), c1 = (real)(-16.0 / 11), c2 = (real)(32.0 / 99);
    vec d = b + t, low = t - (d - b);
    vec y = (c2 * d + c1) * d + c0;
    UNROLL
    for (int i = 0; i < NEWTON_STEPS; i++)
        y = (1 - d * y) * y + y;
    vec q = a * y;
    return ((a - q * d) - q * low) * y + q;
}

INLINE vec sigmoid(vec x)
{
    vec scale, q = exp_parts((vec)((ivec)x | SIGN_BITS), &scale);
    vec z = scale * q + scale;
    return quotient(choose(x < 0, z, broadcast(1)), 1, z);
}

INLINE vec tanh_(vec x)
{
    ivec sign = (ivec)x & SIGN_BITS;
    vec scale, q = exp_parts(2 * (vec)((ivec)x | SIGN_BITS), &scale);
    vec t = scale * q + (scale - 1); /* e^(-2|x|) - 1, accurate near 0 */
    vec y = quotient(-t, 2, t);
    return (vec)((ivec)y | sign);
}

#endif
