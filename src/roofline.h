/* The two limits of the machine, for measurements: multiply-adds in registers, and reading memory.
 *
 * Both functions return a result that can be checked, so that no compiler can omit the work.
 */
#ifndef CLSTM_ROOFLINE_H
#define CLSTM_ROOFLINE_H

#include "vector.h"

/* Independent chains of multiply-adds: enough to hide the latency at two a cycle, and no more than the registers hold */
#if defined(CLSTM_AVX2)
#define CHAINS 12
#else
#define CHAINS 24
#endif

#define READ_STREAMS 4
#define READ_VECTORS 4 /* that are read from a stream at once */

typedef uint64_t words __attribute__((vector_size(VECTOR_BYTES)));

/* `rounds` multiply-adds in every lane of CHAINS vectors, each of which makes 1 * 0.5 + 0.5 of a 1. Return the number
 * of operations, an addition and a multiplication each counting one. *sum is the sum of all lanes: half of the
 * operations of one round. */
NOINLINE isize multiply_add(isize rounds, void *sum)
{
    volatile real one = 1, half = (real)0.5; /* volatile, so that the compiler can't fold the sums */
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

/* Read `count` parts of `part` bytes, a constant where this is inlined. */
INLINE void read_streams(words sum[READ_STREAMS][READ_VECTORS], const char *data, isize part, int count)
{
    for (const char *p = data, *end = p + part; p < end; p += READ_VECTORS * VECTOR_BYTES)
        UNROLL for (int s = 0; s < count; s++)
        UNROLL for (int v = 0; v < READ_VECTORS; v++) {
            words next;
            memcpy(&next, p + s * part + v * VECTOR_BYTES, sizeof next);
            sum[s][v] += next;
        }
}

/* Read `bytes` bytes at `data` `repeats` times, in `streams` (1, 2 or 4) parts at the same time; `bytes` is a multiple of
 * streams * READ_VECTORS * VECTOR_BYTES. Return the sum of the 64-bit words, each counted as often as it was read. */
NOINLINE uint64_t read_memory(const void *data, isize bytes, int streams, isize repeats)
{
    const isize part = bytes / streams;
    words sum[READ_STREAMS][READ_VECTORS] = {{{0}}};
    for (isize repeat = 0; repeat < repeats; repeat++) {
        if (streams == 4)
            read_streams(sum, data, part, 4);
        else if (streams == 2)
            read_streams(sum, data, part, 2);
        else
            read_streams(sum, data, part, 1);
        __asm__ volatile("" ::: "memory"); /* read it again */
    }
    uint64_t total = 0;
    for (int s = 0; s < READ_STREAMS; s++)
        for (int v = 0; v < READ_VECTORS; v++)
            for (int word = 0; word < VECTOR_BYTES / 8; word++)
                total += sum[s][v][word];
    return total;
}

#endif
