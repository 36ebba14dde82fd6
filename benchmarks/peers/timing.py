"""Time for one system at a time, on cores that the others' threads have left.

Threads of a library's pool go on spinning after a call for up to a tenth of a second, and would slow the next system.
So each turn begins when this process has come to rest, and with untimed calls: a virtual machine's host may run two
processors that wake up on one core for some hundredths of a second, which halves the speed of two threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

PAUSE = 0.02  # seconds of rest before a turn, at least
WARM = 0.05  # seconds of untimed calls in a turn, at least
SAMPLE = 0.03  # seconds of timed ones, at least
PATIENCE = 2.0  # seconds in which a process comes to rest

# What a turn is timed with. Processor time tells more on a busy machine, but of one thread only: of more, it would
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
    """Return the seconds that each of `calls` takes, in one turn."""
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


def calls_in_sample(run: Run) -> int:
    """Return how many calls make a turn long enough."""
    run()  # the first call may make ready
    return max(1, math.ceil(SAMPLE / min(sample(run, 1) for _ in range(2))))
