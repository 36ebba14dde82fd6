/* Sigmoid and tanh of vectors in registers, by one range reduction and one division, without a table.
 *
 *     sigmoid(-|x|) = s / (s + e^r)               with s = 2^n, n = round(-|x| / ln 2), r = |x| + n ln 2
 *     tanh(-|x|) = (s e^r - 1) / (s e^r + 1)      with the same of 2|x|, and -r instead of r
 *
 * |r| <= ln(2)/2 (Cody & Waite 1980), e^r - 1 = r + r^2 P(r) with P fitted to the smallest largest error (relative to
 * e^r - 1: 2^-25 in float32, 2^-54 in float64). The other half follows by symmetry: sigmoid(x) = 1 - sigmoid(-x).
 * Today's processors divide in a unit of its own, so a division costs less than Newton's iteration, which would occupy the units
 * of the other multiply-adds; and its bits are the same everywhere.
 *
 * At most 2 units in the last place from the exact value in float32 and 2.5 in float64 (tests/layers/test_activations.py),
 * exact at infinity (sigmoid(-inf) = 0, tanh(+-inf) = +-1); NaN results in NaN. Results below the smallest normal number
 * are 0.
 */
#ifndef CLSTM_ACTIVATIONS_H
#define CLSTM_ACTIVATIONS_H

#include "vector.h"

/* ROUNDER: 1.5 * 2^MANTISSA, which rounds to whole numbers when it is added, and the exponent's bias, so that the last
 * bits of n + ROUNDER are the exponent of 2^n. EXP_ZERO: 2^n counts as 0 from here down. TANH_LOW: whether tanh needs
 * ln 2 in two parts; in float32, n LN2_LOW changes e^(-2|x|) by less than 0.06 units in the last place. */
#if defined(CLSTM_F32)
#define MANTISSA 23
#define ROUNDER (12582912.0f + 127)
#define EXP_ZERO -88.0f
#define LOG2E 0x1.715476p+0f
#define LN2_HIGH 0x1.62e430p-1f
#define LN2_LOW -1.90465430e-9f
#define TANH_LOW 0
static const real EXPM1[] = {0.001392618359f, 0.008363476023f, 0.04166655462f, 0.1666657329f, 0.5f};
#else
#define MANTISSA 52
#define ROUNDER (6755399441055744.0 + 1023)
#define EXP_ZERO -709.0
#define LOG2E 0x1.71547652b82fep+0
#define LN2_HIGH 0x1.62e42fefa39efp-1
#define LN2_LOW 2.3190468138462996e-17
#define TANH_LOW 1
static const real EXPM1[] = {2.510038549551031908e-8,   2.762008844540974816e-7, 2.755726845999706477e-6,
                             0.00002480152129595437513, 0.0001984126986305361688, 0.00138888889172137169,
                             0.008333333333330061833,   0.04166666666662412787,  0.1666666666666666745, 0.5};
#endif

/* For x <= 0, x = n ln 2 + r: return r, or -r if `negative`, and 2^n in *scale. `low`: whether ln 2 is in two parts. */
INLINE vec reduced(vec x, vec *scale, int low, int negative)
{
    x = larger(broadcast(EXP_ZERO), x);
    const vec shifted = x * LOG2E + ROUNDER, n = shifted - ROUNDER, r = negative ? n * LN2_HIGH - x : x - n * LN2_HIGH;
    *scale = (vec)((ivec)shifted << MANTISSA);
    return !low ? r : negative ? r + n * LN2_LOW : r - n * LN2_LOW;
}

/* P(r), of the comment at the top */
INLINE vec polynomial(vec r)
{
    vec p = broadcast(EXPM1[0]);
    UNROLL
    for (size_t i = 1; i < sizeof EXPM1 / sizeof EXPM1[0]; i++)
        p = p * r + EXPM1[i];
    return p;
}

/* For x <= 0: e^x = *scale * (1 + the returned value) */
INLINE vec exp_parts(vec x, vec *scale, int low)
{
    const vec r = reduced(x, scale, low, 0);
    return polynomial(r) * (r * r) + r;
}

/* Replace the first `sigmoids` vectors of x by their sigmoids and the `tanhs` vectors behind them by their tanhs, 4
 * vectors at most. Each is a chain of dependent operations; interleaving several chains keeps the units busy. */
INLINE void squash(vec *x, int sigmoids, int tanhs)
{
#define EACH UNROLL for (int j = 0; j < sigmoids + tanhs; j++)
#define IS_TANH (j >= sigmoids)
    vec below[4], scale[4], r[4], p[4], divisor[4];
    EACH below[j] = (vec)((ivec)x[j] | SIGN_BITS);
    EACH r[j] = IS_TANH ? reduced(2 * below[j], &scale[j], TANH_LOW, 0) : reduced(below[j], &scale[j], 1, 1);
    EACH p[j] = polynomial(r[j]);
    EACH p[j] = IS_TANH ? p[j] * (r[j] * r[j]) + r[j] : p[j] * r[j] + 1; /* e^r - 1, and that / r */
    EACH divisor[j] = IS_TANH ? scale[j] * p[j] + (scale[j] + 1) : p[j] * r[j] + scale[j] + 1;
    EACH below[j] = (IS_TANH ? scale[j] * p[j] + (scale[j] - 1) : scale[j]) / divisor[j];
    EACH x[j] = IS_TANH ? with_sign_of(x[j], below[j]) : one_minus_unless_below_0(x[j], below[j]);
#undef EACH
#undef IS_TANH
}

INLINE vec sigmoid(vec x)
{
    squash(&x, 1, 0);
    return x;
}

INLINE vec tanh_(vec x)
{
    squash(&x, 0, 1);
    return x;
}

/* Replace n vectors by their tanhs. */
INLINE void tanhs(vec *x, int n)
{
    for (; n >= 4; n -= 4, x += 4)
        squash(x, 0, 4);
    if (n & 2)
        squash(x, 0, 2);
    if (n & 1)
        squash(x + (n & 2), 0, 1);
}

#endif
