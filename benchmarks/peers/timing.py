"""Time one system at a time, once the other systems' threads have come to rest.

Threads of a library's pool go on spinning after a call for up to a tenth of a second, and would slow the next system.
So each turn begins when this process has come to rest, and with untimed calls: a virtual machine's host may run two
processors that wake up on one core for some hundredths of a second, which halves the speed of two threads.
"""

from __future__ import annotations

import math
import time

try:
    import resource
except ImportError:  # Windows
    resource = None
from collections.abc import Callable
from typing import Any

PAUSE = 0.02  # seconds of rest before a turn, at least
WARM = 0.05  # seconds of untimed calls in a turn, at least
SAMPLE = 0.03  # seconds of timed ones, at least
PATIENCE = 2.0  # seconds in which a process comes to rest
ATTEMPTS = 4  # at a turn without others' work between

# How a round is timed. Processor time tells more on a busy machine, but of one thread only: of more, it would
# count the time in which they spin.
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "processor": time.process_time}

Run = Callable[[], Any]


def settle() -> None:
    """Sleep until no thread of this process runs any more."""
    end = time.perf_counter() + PATIENCE
    while time.perf_counter() < end:
        used = time.process_time()
        time.sleep(PAUSE)
        if time.process_time() - used < 0.05 * PAUSE:
            return


def sample(run: Run, calls: int, clock: str = "wall") -> float:
    """Return the seconds that each of `calls` takes in one round."""
    now = CLOCKS[clock]
    settle()
    warm = time.perf_counter() + WARM
    run()
    while time.perf_counter() < warm:
        run()
    start = now()
    for _ in range(calls):
        run()
    return (now() - start) / calls


def quiet_sample(run: Run, calls: int, clock: str = "wall") -> tuple[float, int]:
    """Return the sample of the least disturbed of some rounds, and how many had to be repeated.

    A turn is disturbed when the system took a processor from one of this process's threads more than once in its timed
    calls: others were at work, or two of the threads shared a processor. Processor time doesn't count what others do.
    """
    turns: list[tuple[int, float]] = []
    for _ in range(ATTEMPTS if resource is not None and clock == "wall" else 1):
        before = switches()
        seconds = sample(run, calls, clock)
        turns.append((switches() - before, seconds))
        if turns[-1][0] <= 1:
            break
    return min(turns)[1], len(turns) - 1


def switches() -> int:
    """Return how often threads of this process have had to leave a processor to others."""
    return 0 if resource is None else resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def calls_in_sample(run: Run) -> int:
    """Return how many calls make a round long enough."""
    run()  # the first call may make ready
    return max(1, math.ceil(SAMPLE / min(sample(run, 1) for _ in range(2))))
