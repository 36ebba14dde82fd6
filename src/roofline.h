/* The machine's two limits, for benchmarks to measure: multiply-adds from registers, and reading memory.
 *
 * Both return what can be checked, so that no compiler leaves the work out.
 */
#ifndef CLSTM_ROOFLINE_H
#define CLSTM_ROOFLINE_H

#include "vector.h"

/* Chains that don't wait for each other: more than the latency of two a cycle, and no more than the registers hold. */
#if defined(CLSTM_AVX2)
#define CHAINS 12
#else
#define CHAINS 24
#endif

#define READ_STREAMS 4
#define READ_VECTORS 4 /* of a stream at once */

typedef uint64_t words __attribute__((vector_size(VECTOR_BYTES)));

/* `rounds` multiply-adds in every lane of CHAINS vectors: each 1 becomes 1 * 0.5 + 0.5. Return the operations, additions
 * and multiplications counted apart; the sum of all lanes, which is half of a round's operations, into *sum. */
NOINLINE isize multiply_add(isize rounds, void *sum)
{
    volatile real one = 1, half = (real)0.5; /* what the compiler doesn't know it can't fold */
    const vec factor = broadcast(half);
    vec chain[CHAINS], all = {0};
    UNROLL for (int i = 0; i < CHAINS; i++)
        chain[i] = broadcast(one);
    for (isize round = 0; round < rounds; round++)
        UNROLL for (int i = 0; i < CHAINS; i++)
            chain[i] = chain[i] * factor + factor;
    UNROLL for (int i = 0; i < CHAINS; i++)
        all += chain[i];
    real total = 0;
    for (int lane = 0; lane < VL; lane++)
        total += all[lane];
    *(real *)sum = total;
    return rounds * CHAINS * VL * 2;
}

/* Read `bytes` at `data` `repeats` times, in `streams` (1 to READ_STREAMS) parts side by side; `bytes` is a multiple of
 * streams * READ_VECTORS * VECTOR_BYTES. Return the sum of its 64-bit words, as often as they were read. */
NOINLINE uint64_t read_memory(const void *data, isize bytes, int streams, isize repeats)
{
    const isize part = bytes / streams, step = READ_VECTORS * VECTOR_BYTES;
    words sum[READ_STREAMS][READ_VECTORS] = {{{0}}};
#define READ(count)                                                                          \
    for (const char *p = data, *end = p + part; p < end; p += step)                          \
        UNROLL for (int s = 0; s < count; s++)                                               \
        UNROLL for (int v = 0; v < READ_VECTORS; v++) {                                      \
            words next;                                                                      \
            memcpy(&next, p + s * part + v * VECTOR_BYTES, sizeof next);                     \
            sum[s][v] += next;                                                               \
        }
    for (isize repeat = 0; repeat < repeats; repeat++) {
        if (streams == 4)
            READ(4)
        else if (streams == 2)
            READ(2)
        else
            READ(1)
        __asm__ volatile("" ::: "memory"); /* read it again */
    }
#undef READ
    uint64_t total = 0;
    for (int s = 0; s < READ_STREAMS; s++)
        for (int v = 0; v < READ_VECTORS; v++)
            for (int word = 0; word < VECTOR_BYTES / 8; word++)
                total += sum[s][v][word];
    return total;
}

#endif
