/* Measures this machine in processor cycles: what the model of the cost of a split (plan.pyx) can't know beforehand. */
#ifndef CLSTM_SPEED_H
#define CLSTM_SPEED_H

#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__unix__) || defined(__APPLE__)
#include <sys/mman.h>
#endif

#include "kernels.h"

#define CLSTM_USUAL_L3 10.0 /* bytes a cycle */

/* Nanoseconds since 1970, which a double couldn't hold exactly */
static int64_t clstm_now(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static double clstm_since(int64_t start) { return 1e-9 * (double)(clstm_now() - start); }

#if defined(__GNUC__)

/* Seconds of one cycle, by dependent additions, of which every processor does one a cycle. The least of many short
 * samples, since other processes may take the processor meanwhile. */
static double clstm_cycle(void)
{
    enum { SAMPLES = 40, ROUNDS = 250, ADDITIONS = 8 };
    double least = 1;
    for (int sample = 0; sample < SAMPLES; sample++) {
        size_t sum = 0, step = 3;
        const int64_t start = clstm_now();
        for (int round = 0; round < ROUNDS; round++) {
#define ADD __asm__ volatile("" : "+r"(sum), "+r"(step)); sum += step;
            ADD ADD ADD ADD ADD ADD ADD ADD
#undef ADD
            __asm__ volatile("" : "+r"(sum));
        }
        const double cycle = clstm_since(start) / (ROUNDS * ADDITIONS);
        if (cycle > 0 && cycle < least)
            least = cycle;
    }
    return least;
}

/* Cycles of one independent multiply-add of vectors: 1/4, 1/2, 1 or 2, by the number of units, so that every process
 * has the same result. The fastest of 50 us counts, since some processors run wide vectors slowly at first. */
static double clstm_multiply_add_cycles(const clstm_kernels *kernels)
{
    enum { ROUNDS = 200 };
    double sum, least = 1, cycles;
    const double operations_a_vector = 2.0 * (double)kernels->vector_length;
    const int64_t begin = clstm_now();
    for (int64_t start = begin; start - begin < 50000; start = clstm_now()) {
        const double vectors = (double)kernels->multiply_add(ROUNDS, &sum) / operations_a_vector;
        const double taken = clstm_since(start) / vectors;
        if (taken > 0 && taken < least)
            least = taken;
    }
    cycles = least / clstm_cycle();
    return cycles < 0.36 ? 0.25 : cycles < 0.71 ? 0.5 : cycles < 1.42 ? 1 : 2;
}

/* Memory for a short time, from the system rather than the heap, which would keep it. NULL if there is none. */
static void *clstm_map_memory(size_t bytes)
{
#if defined(MAP_ANONYMOUS)
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
#else
    return malloc(bytes);
#endif
}

static void clstm_unmap_memory(void *memory, size_t bytes)
{
#if defined(MAP_ANONYMOUS)
    munmap(memory, bytes);
#else
    (void)bytes;
    free(memory);
#endif
}

/* Bytes a cycle that one thread reads from level 3, by reading four times the size of level 2 several times */
static double clstm_l3_bytes_a_cycle(const clstm_kernels *kernels, double l2)
{
    enum { READS = 4, UNIT = 1 << 12 };
    const ptrdiff_t bytes = (ptrdiff_t)(4 * l2) / UNIT * UNIT;
    char *memory = clstm_map_memory(bytes + UNIT);
    double least = 1;
    if (memory == NULL)
        return CLSTM_USUAL_L3;
    char *aligned = memory + (UNIT - (size_t)memory % UNIT);
    memset(aligned, 1, bytes);
    for (int read = 0; read < READS; read++) {
        const int64_t start = clstm_now();
        kernels->read_memory(aligned, bytes, 1, 1);
        const double taken = clstm_since(start);
        if (taken > 0 && taken < least)
            least = taken;
    }
    clstm_unmap_memory(memory, bytes + UNIT);
    return (double)bytes * clstm_cycle() / least;
}

#else
static double clstm_cycle(void) { return 0.3e-9; }
static double clstm_multiply_add_cycles(const clstm_kernels *kernels)
{
    (void)kernels;
    return 0.5; /* two units */
}
static double clstm_l3_bytes_a_cycle(const clstm_kernels *kernels, double l2)
{
    (void)kernels, (void)l2;
    return CLSTM_USUAL_L3;
}
#endif

#endif
