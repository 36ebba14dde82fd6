/* The barrier of a team (see team.h), by dissemination: in round r a thread announces its arrival and waits for the thread
 * 2^r ranks on, which has by then heard of the 2^r ranks from there on. So it takes log2(size) rounds, and each reads one cache line.
 *
 * A waiting thread spins first, since threads that all run mostly arrive within a few microseconds. Then it sleeps, since the
 * thread that it waits for may need this very processor: without sleeping, other libraries' threads on the same processors
 * (OpenBLAS's spin for 20 ms after a call) took most of the time. It doesn't yield instead, because Linux 6.18
 * counts a yield as a whole time slice used. */
#ifndef CLSTM_BARRIER_H
#define CLSTM_BARRIER_H

#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#else
#include <sched.h>
#endif

#include "team.h"
#include "vector.h"

/* 40 to 90 us on today's processors. That is longer than waking a thread takes; otherwise each sleep would make the
 * next thread sleep. */
#define SPINS_BEFORE_SLEEP 2000

INLINE void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

INLINE int has_reached(const clstm_counter *counter, unsigned round)
{
    return (int)(__atomic_load_n(&counter->arrived, __ATOMIC_ACQUIRE) - round) >= 0;
}

NOINLINE void sleep_until(clstm_counter *counter, unsigned round)
{
#if defined(__linux__)
    __atomic_fetch_add(&counter->sleepers, 1, __ATOMIC_SEQ_CST);
    for (unsigned now; now = __atomic_load_n(&counter->arrived, __ATOMIC_SEQ_CST), (int)(now - round) < 0;)
        syscall(SYS_futex, &counter->arrived, FUTEX_WAIT_PRIVATE, now, NULL, NULL, 0);
    __atomic_fetch_sub(&counter->sleepers, 1, __ATOMIC_SEQ_CST);
#else
    while (!has_reached(counter, round))
        sched_yield();
#endif
}

INLINE void arrive(clstm_counter *counter, unsigned round)
{
#if defined(__linux__)
    /* sequentially consistent: either a thread about to sleep sees the new round, or this thread sees the sleeper */
    __atomic_store_n(&counter->arrived, round, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&counter->sleepers, __ATOMIC_SEQ_CST) > 0)
        syscall(SYS_futex, &counter->arrived, FUTEX_WAKE_PRIVATE, 1 << 30, NULL, NULL, 0);
#else
    __atomic_store_n(&counter->arrived, round, __ATOMIC_RELEASE);
#endif
}

NOINLINE void barrier(const clstm_team *team)
{
    clstm_counter *own = &team->counters[team->rank];
    for (isize distance = 1; distance < team->size; distance *= 2) {
        clstm_counter *other = &team->counters[(team->rank + distance) % team->size];
        const unsigned round = own->arrived + 1;
        arrive(own, round);
        int spins = 0;
        while (!has_reached(other, round) && ++spins < SPINS_BEFORE_SLEEP)
            relax();
        if (spins == SPINS_BEFORE_SLEEP)
            sleep_until(other, round);
    }
}

#endif
