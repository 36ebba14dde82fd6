/* What it costs to enter and leave a parallel region here, in processor cycles. */
#ifndef CLSTM_REGION_H
#define CLSTM_REGION_H

#include "speed.h"
#include "team.h"

#if CLSTM_OPENMP && defined(__GNUC__)

/* The least of a few regions of `threads` threads; the first one, which may start them, isn't counted. */
static double clstm_region_cycles(int threads)
{
    enum { REGIONS = 6 };
    const double most = 1e-3; /* on a busy machine each may take a scheduler's turn */
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

#else
static double clstm_region_cycles(int threads)
{
    (void)threads;
    return 15000;
}
#endif

#endif
