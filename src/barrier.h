/* The spin barrier of a team (see team.h). */
#ifndef CLSTM_BARRIER_H
#define CLSTM_BARRIER_H

#include <sched.h>

#include "team.h"
#include "vector.h"

#define SPINS_BEFORE_YIELD 4000

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
    if (team->size == 1)
        return;
    unsigned mine = team->counters[team->rank].arrived + 1;
    __atomic_store_n(&team->counters[team->rank].arrived, mine, __ATOMIC_RELEASE);
    for (isize other = 0; other < team->size; other++)
        for (int spins = 0; (int)(__atomic_load_n(&team->counters[other].arrived, __ATOMIC_ACQUIRE) - mine) < 0;)
            if (++spins < SPINS_BEFORE_YIELD)
                relax();
            else
                sched_yield();
}

#endif
