/* The vectors of one instruction set and one real type, on the compiler's own vector types.
 *
 * The build defines CLSTM_F32 or CLSTM_F64, and CLSTM_AVX512, CLSTM_AVX2 or CLSTM_NEON.
 * VL is the number of reals in a vector. Everything else in src/ is written in these terms, so that one
 * source serves every width. Lanes never mix, so results don't depend on the width.
 */
#ifndef CLSTM_VECTOR_H
#define CLSTM_VECTOR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

typedef ptrdiff_t isize;

#if defined(CLSTM_F32)
typedef float real;
typedef int32_t bits;
#define SIGN_BITS ((bits)0x80000000)
#elif defined(CLSTM_F64)
typedef double real;
typedef int64_t bits;
#define SIGN_BITS ((bits)0x8000000000000000)
#else
#error "define CLSTM_F32 or CLSTM_F64"
#endif

/* The sizes of tiles (tile.h), measured for each instruction set:
 *   TILE_ROWS     most rows of a tile
 *   ACCUMULATORS  sums that fit the registers beside the weights and a broadcast. A larger tile is computed in two halves of its
 *                 vectors: a weight that was read serves all rows, so 6 rows x 2 vectors read less than 3 x 4
 *   K_UNROLL      rows of a panel in one pass of the loop over k. With narrow vectors, the instructions of the loop itself are
 *                 a fifth of those of a row
 *   EMBEDDED_BROADCAST_VECTORS  up to so many vectors, each multiply-add reads and broadcasts the row's real from memory
 *   WIDE_n        panels that a tile of n rows takes side by side: fewer than 8 accumulators don't hide the latency of the
 *                 multiply-add */
#if defined(CLSTM_AVX512)
#define VECTOR_BYTES 64
#define TILE_ROWS 6
#define ACCUMULATORS 24
#define K_UNROLL 1
#define EMBEDDED_BROADCAST_VECTORS 2
#define WIDE_1 4
#define WIDE_2 2
#define WIDE_3 2
#elif defined(CLSTM_AVX2)
#define VECTOR_BYTES 32
#define TILE_ROWS 6
#define ACCUMULATORS 12
#define K_UNROLL 4
#define EMBEDDED_BROADCAST_VECTORS 0
#define WIDE_1 2
#define WIDE_2 1
#define WIDE_3 1
#elif defined(CLSTM_NEON)
#define VECTOR_BYTES 16
#define TILE_ROWS 5
#define ACCUMULATORS 20
#define K_UNROLL 1
#define EMBEDDED_BROADCAST_VECTORS 0
#define WIDE_1 4
#define WIDE_2 2
#define WIDE_3 1
#else
#error "define CLSTM_AVX512, CLSTM_AVX2 or CLSTM_NEON"
#endif

#define VL ((isize)(VECTOR_BYTES / sizeof(real)))

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef bits ivec __attribute__((vector_size(VECTOR_BYTES)));

#define INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif

INLINE vec load(const real *p)
{
    vec x;
    memcpy(&x, p, sizeof x);
    return x;
}

INLINE void store(real *p, vec x)
{
    memcpy(p, &x, sizeof x);
}

/* x - 0 rather than 0 + x: the compiler may drop only the subtraction (0 + -0 is 0, not -0), and an addition that is executed
 * cost a third of the kernels' speed. */
INLINE vec broadcast(real x)
{
    return x - (vec){0};
}

/* sum += x y, in assembly: without it gcc 12 keeps the sums of a long loop in memory, moves them from register to
 * register, and reads a weight again for each row. */
INLINE void add_product(vec *sum, vec x, vec y)
{
#if defined(__x86_64__) && defined(CLSTM_F32)
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(*sum) : "v"(x), "v"(y));
#elif defined(__x86_64__)
    __asm__("vfmadd231pd %2, %1, %0" : "+v"(*sum) : "v"(x), "v"(y));
#else
    *sum += x * y;
#endif
}

/* The same with y in memory, for a y that is used only once: one instruction less. Vectors of panels are aligned. */
INLINE void add_product_from_memory(vec *sum, vec x, const real *y)
{
#if defined(__x86_64__)
    typedef real aligned __attribute__((vector_size(VECTOR_BYTES), may_alias));
#if defined(CLSTM_F32)
    __asm__("vfmadd231ps %2, %1, %0" : "+v"(*sum) : "v"(x), "m"(*(const aligned *)y));
#else
    __asm__("vfmadd231pd %2, %1, %0" : "+v"(*sum) : "v"(x), "m"(*(const aligned *)y));
#endif
#else
    *sum += x * load(y);
#endif
}

/* The same with x one real in memory, which AVX-512 broadcasts in the multiply-add itself */
INLINE void add_product_broadcast(vec *sum, const real *x, vec y)
{
#if defined(CLSTM_AVX512) && defined(CLSTM_F32)
    __asm__("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(*sum) : "v"(y), "m"(*x));
#elif defined(CLSTM_AVX512)
    __asm__("vfmadd231pd %2%{1to8%}, %1, %0" : "+v"(*sum) : "v"(y), "m"(*x));
#else
    add_product(sum, broadcast(*x), y);
#endif
}

/* A product that is rounded and not fused into a later addition. In a sum of two products, or where only some paths add
 * something to a product, compilers choose differently what to fuse, and the bits would depend on the choice. */
INLINE vec rounded(vec product)
{
#if defined(__x86_64__)
    __asm__("" : "+v"(product));
#elif defined(__aarch64__)
    __asm__("" : "+w"(product));
#endif
    return product;
}

/* The first n reals of a vector, 0 <= n <= VL; zeros behind them. */
INLINE vec load_part(const real *p, isize n)
{
    real lanes[VECTOR_BYTES / sizeof(real)] = {0};
    for (isize i = 0; i < n; i++)
        lanes[i] = p[i];
    return load(lanes);
}

INLINE void store_part(real *p, vec x, isize n)
{
    real lanes[VECTOR_BYTES / sizeof(real)];
    store(lanes, x);
    for (isize i = 0; i < n; i++)
        p[i] = lanes[i];
}

/* mask ? a : b by lane; the mask is the result of a comparison of vectors */
INLINE vec choose(ivec mask, vec a, vec b)
{
    return (vec)((mask & (ivec)a) | (~mask & (ivec)b));
}

/* y with the sign of x */
INLINE vec with_sign_of(vec x, vec y)
{
    const ivec sign = (ivec){0} + SIGN_BITS;
#if defined(CLSTM_AVX512) && defined(CLSTM_F32)
    return (vec)_mm512_ternarylogic_epi32((__m512i)sign, (__m512i)x, (__m512i)y, 0xca); /* one instruction, where gcc emits two */
#elif defined(CLSTM_AVX512)
    return (vec)_mm512_ternarylogic_epi64((__m512i)sign, (__m512i)x, (__m512i)y, 0xca);
#else
    return choose(sign, x, y);
#endif
}

/* x < 0 ? y : 1 - y by lane */
INLINE vec one_minus_unless_below_0(vec x, vec y)
{
#if defined(CLSTM_AVX512) && defined(CLSTM_F32)
    const __mmask16 above = _mm512_cmp_ps_mask((__m512)x, _mm512_setzero_ps(), _CMP_NLT_UQ);
    return (vec)_mm512_mask_sub_ps((__m512)y, above, _mm512_set1_ps(1), (__m512)y);
#elif defined(CLSTM_AVX512)
    const __mmask8 above = _mm512_cmp_pd_mask((__m512d)x, _mm512_setzero_pd(), _CMP_NLT_UQ);
    return (vec)_mm512_mask_sub_pd((__m512d)y, above, _mm512_set1_pd(1), (__m512d)y);
#else
    return choose(x < 0, y, 1 - y);
#endif
}

/* The larger by lane; b where either is NaN. */
INLINE vec larger(vec a, vec b)
{
#if defined(CLSTM_AVX512) && defined(CLSTM_F32)
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(CLSTM_AVX512)
    return (vec)_mm512_max_pd((__m512d)a, (__m512d)b);
#elif defined(CLSTM_AVX2) && defined(CLSTM_F32)
    return (vec)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(CLSTM_AVX2)
    return (vec)_mm256_max_pd((__m256d)a, (__m256d)b);
#else
    return choose(a > b, a, b);
#endif
}

INLINE isize round_up(isize n, isize step)
{
    return (n + step - 1) / step * step;
}

INLINE isize smaller(isize a, isize b)
{
    return a < b ? a : b;
}

#endif
