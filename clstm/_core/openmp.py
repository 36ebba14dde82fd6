"""OpenMP, loaded before all that uses it, so that its threads spin only for a short while when they wait.

GNU's OpenMP lets a thread that waits spin 300,000 times, 13 ms here, before it sleeps: after every call, and whenever
another thread of the same call isn't running. On a machine with more threads than processors, or with OpenBLAS's
threads on the same ones, that takes much of the time from those who have work. It reads its settings once, when it is
loaded.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

# 40 to 170 us on processors of today: enough for the next of several calls in a row.
SPINS = "4000"


def _load_with_short_spins() -> ModuleType:
    chosen = "GOMP_SPINCOUNT" in os.environ or "OMP_WAIT_POLICY" in os.environ
    if not chosen:
        os.environ["GOMP_SPINCOUNT"] = SPINS
    try:
        return importlib.import_module("clstm._core._openmp")
    finally:
        if not chosen:  # so that other libraries and child processes, with their own copies of OpenMP, don't see it
            del os.environ["GOMP_SPINCOUNT"]


most_threads = _load_with_short_spins().most_threads
