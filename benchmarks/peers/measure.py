"""The comparison: the same results first, then times in turn."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from . import timing
from .problems import Case, Problem
from .systems import Clstm, System

# Differences allowed: absolute, but of an array that holds numbers above 1 relative to the greatest of them.
LIMITS = {"float32": 1e-4, "float64": 1e-10}


class DisagreementError(Exception):
    """A peer computes something else than clstm."""


def measure(
    case: Case, mode: str, num_threads: int, peers: Sequence[System], rounds: int, clock: str = "wall"
) -> dict[str, Any]:
    """Compare the results of clstm and of all peers that support the case, then time them in turn.

    Returns
    -------
    dict
        "case", "mode", "threads"; "seconds" of a call for each round, by system; "gflops" from their medians;
        "ratios" and "differences", by peer; "settings" that a system chose.

    Raises
    ------
    DisagreementError
        A peer's results differ by more than LIMITS from clstm's; nothing was timed.
    """
    problem = Problem(case, mode)
    systems = [Clstm(), *(peer for peer in peers if peer.supports(problem))]
    for system in systems:
        system.prepare(problem, num_threads)

    expected = systems[0].arrays(systems[0].run())
    differences = {}
    for system in systems[1:]:
        found = differences[system.name] = difference(system.arrays(system.run()), expected)
        if not found <= LIMITS[case.dtype]:
            raise DisagreementError(f"{case} ({mode}): {system.name} and clstm differ by {found:.1e}")

    calls = [timing.calls_in_sample(system.run) for system in systems]
    seconds = {system.name: [] for system in systems}
    for turn in range(rounds):
        for place in range(len(systems)):
            i = (place + turn) % len(systems)  # each system is the first in its turn
            seconds[systems[i].name].append(timing.sample(systems[i].run, calls[i], clock))
    return {
        "case": {"label": str(case), **asdict(case)},
        "mode": mode,
        "threads": num_threads,
        "seconds": seconds,
        "gflops": {name: problem.flops / statistics.median(times) / 1e9 for name, times in seconds.items()},
        "ratios": {name: ratio(seconds[name], seconds["clstm"]) for name in differences},
        "differences": differences,
        "settings": {system.name: system.settings() for system in systems if system.settings()},
    }


def difference(arrays: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> float:
    """Return the greatest difference, as LIMITS counts it; NaN if there is one."""
    if arrays.keys() != expected.keys():
        raise DisagreementError(f"results are {sorted(arrays)}, expected {sorted(expected)}")
    differences = []
    for name, array in arrays.items():
        if array.shape != expected[name].shape:
            raise DisagreementError(f"{name} has shape {array.shape}, expected {expected[name].shape}")
        scale = max(1.0, np.abs(expected[name]).max())
        differences.append(np.abs(array - expected[name]).max() / scale)
    return float(np.max(differences))


def ratio(peer: Sequence[float], ours: Sequence[float]) -> dict[str, float]:
    """Return the median and the quartiles of the ratios of two systems' times, round by round."""
    low, median, high = np.percentile(np.divide(peer, ours), (25, 50, 75)).tolist()
    return {"median": median, "low": low, "high": high}


def summary(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the geometric mean and the least of the ratios for each mode, number of threads and peer."""
    groups: dict[tuple[str, int, str], list[float]] = {}
    for result in results:
        for peer, found in result["ratios"].items():
            groups.setdefault((result["mode"], result["threads"], peer), []).append(found["median"])
    return [
        {
            "mode": mode,
            "threads": num_threads,
            "peer": peer,
            "cases": len(ratios),
            "geometric_mean": statistics.geometric_mean(ratios),
            "least": min(ratios),
        }
        for (mode, num_threads, peer), ratios in groups.items()
    ]
