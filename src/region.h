/* Measures what it costs on this machine to enter and leave a parallel region, and a barrier in it, in processor cycles. */
#ifndef CLSTM_REGION_H
#define CLSTM_REGION_H

#include <stdlib.h>

#include "speed.h"
#include "team.h"

#if CLSTM_OPENMP && defined(__GNUC__)

/* The least time of a few regions of `threads` threads; the first one, which may start the threads, isn't counted. */
static double clstm_region_cycles(int threads)
{
    enum { REGIONS = 6 };
    const double most = 1e-3; /* seconds: on a busy machine each region may wait for the scheduler */
    double least = most;
    const double begin = omp_get_wtime();
    for (int region = 0; region < REGIONS && (region < 2 || omp_get_wtime() - begin < most); region++) {
        const double start = omp_get_wtime();
        int ran = 0;
#pragma omp parallel num_threads(threads) reduction(+ : ran)
        ran += 1;
        const double taken = omp_get_wtime() - start;
        if (region > 0 && ran > 0 && taken < least)
            least = taken;
    }
    return least / clstm_cycle();
}

/* One round of a barrier in a region of `threads` threads, the least of a few; 0 if there were fewer threads. It
 * depends on where the processors are: ten times as long if they share no cache of level 3, or anywhere on a virtual
 * machine's host. */
static double clstm_barrier_cycles(const clstm_kernels *kernels, int threads)
{
    enum { SAMPLES = 4, BARRIERS = 8 };
    double least = 0;
    int rounds = 0;
    clstm_counter *counters = calloc(threads, sizeof(clstm_counter));
    if (counters == NULL)
        return 0;
    while (1 << rounds < threads)
        rounds++;
#pragma omp parallel num_threads(threads)
    if (omp_get_num_threads() == threads) {
        const clstm_team team = {omp_get_thread_num(), threads, counters};
        for (int sample = 0; sample < SAMPLES; sample++) {
            kernels->wait(&team);
            const double start = omp_get_wtime();
            for (int barrier = 0; barrier < BARRIERS; barrier++)
                kernels->wait(&team);
            const double taken = omp_get_wtime() - start;
            if (team.rank == 0 && (least == 0 || taken < least) && taken > 0)
                least = taken;
        }
    }
    free(counters);
    return least / (BARRIERS * rounds) / clstm_cycle();
}

#else
static double clstm_barrier_cycles(const clstm_kernels *kernels, int threads)
{
    (void)kernels, (void)threads;
    return 0;
}
static double clstm_region_cycles(int threads)
{
    (void)threads;
    return 15000;
}
#endif

#endif
