/* Threads that work on one job: who I am, and a barrier.
 *
 * The barrier spins (40-80 ns when both of two threads run, a tenth of an OpenMP barrier) on one padded counter a thread,
 * and sleeps after a while, so that it never spins for ever on a machine with more threads than cores.
 */
#ifndef CLSTM_TEAM_H
#define CLSTM_TEAM_H

#include <stddef.h>

#if defined(_OPENMP)
#include <omp.h>
static inline int clstm_thread(void) { return omp_get_thread_num(); }
static inline int clstm_threads(void) { return omp_get_num_threads(); }
static inline int clstm_most_threads(void) { return omp_get_max_threads(); }
#define CLSTM_OPENMP 1
#else
static inline int clstm_thread(void) { return 0; }
static inline int clstm_threads(void) { return 1; }
static inline int clstm_most_threads(void) { return 0; }
#define CLSTM_OPENMP 0
#endif

typedef struct {
    volatile unsigned arrived; /* rounds of barriers this thread has reached */
    volatile int sleepers;     /* threads that sleep until it has reached more */
    char apart[120];           /* a counter a pair of cache lines */
} clstm_counter;

typedef struct {
    ptrdiff_t rank, size;
    clstm_counter *counters; /* [2][size], zero at the start of the job: of the team, and of its groups (walk.h) */
} clstm_team;

#endif
