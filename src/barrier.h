/* The spin barrier of a team (see team.h), by dissemination: in round r a thread tells that it is there and waits for the
 * one 2^r ranks on, who has by then heard of the 2^r ranks from there; log2(size) rounds, each one line of cache read. */
#ifndef CLSTM_BARRIER_H
#define CLSTM_BARRIER_H

#include <sched.h>

#include "team.h"
#include "vector.h"

/* Some microseconds, more than threads that all run are apart mostly. Where nobody else wants the processor, yielding
 * costs little; where others do, spinning on would take it from the very thread that is waited for. */
#define SPINS_BEFORE_YIELD 50

INLINE void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

NOINLINE void barrier(const clstm_team *team)
{
    clstm_counter *own = &team->counters[team->rank];
    for (isize distance = 1; distance < team->size; distance *= 2) {
        const clstm_counter *other = &team->counters[(team->rank + distance) % team->size];
        const unsigned round = own->arrived + 1;
        __atomic_store_n(&own->arrived, round, __ATOMIC_RELEASE);
        for (int spins = 0; (int)(__atomic_load_n(&other->arrived, __ATOMIC_ACQUIRE) - round) < 0;)
            if (++spins < SPINS_BEFORE_YIELD)
                relax();
            else
                sched_yield();
    }
}

#endif
