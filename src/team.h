/* The threads that work on one job: the rank of this one, their number, and the counters of their barrier.
 *
 * A barrier (barrier.h) spins on one padded counter a thread: 40 to 80 ns if both of two threads run, a tenth of an OpenMP
 * barrier. After a while it sleeps, so that a machine with more threads than cores isn't busy with spinning.
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
    volatile unsigned arrived; /* barrier rounds that this thread has reached */
    volatile int sleepers;     /* threads that sleep until it reaches another round */
    char padding[120];         /* each counter has two cache lines to itself: processors prefetch lines in pairs */
} clstm_counter;

typedef struct {
    ptrdiff_t rank, size;
    clstm_counter *counters; /* [2][size], zero when the job begins: those of the team, and those of its groups (walk.h) */
} clstm_team;

#endif
