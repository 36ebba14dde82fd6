"""The comparison: results are compared first, then timed in alternating rounds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from . import timing
from .problems import Case, Problem
from .roofline import Limits, attainable_seconds, least_seconds
from .systems import Clstm, System

# Differences allowed: absolute, but of an array that holds numbers above 1 relative to the greatest of them.
LIMITS = {"float32": 1e-4, "float64": 1e-10}


class DisagreementError(Exception):
    """A peer computes something else than clstm."""


def measure(
    case: Case,
    mode: str,
    num_threads: int,
    peers: Sequence[System],
    rounds: int,
    clock: str = "wall",
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Compare the results of clstm and of all peers that support the case, then time them in alternating rounds.

    Returns
    -------
    dict
        "case", "mode", "threads"; "seconds" of a call for each round, by system; "gflops" from their medians;
        "ratios" and "differences", by peer; "best", the peer to which the ratio is least, and "ratio", to it (None
        without a peer); "roofline", the GFLOP/s that the machine can reach, and "shares" of it by system (None and
        empty without limits, and of a classifier, which isn't the LSTM's products alone); "attainable", the GFLOP/s
        with the activations counted, and "attained", clstm's share of it; "settings" that a system chose; "disturbed",
        turns that had to be repeated because others took the processors.

    Raises
    ------
    DisagreementError
        A peer's results differ by more than LIMITS from clstm's; nothing was timed.
    """
    problem = Problem(case, mode)
    systems = [Clstm(), *(peer for peer in peers if peer.supports(problem))]
    for system in reversed(systems):  # PyTorch's limit holds for all who share its OpenMP, so it comes before clstm
        system.prepare(problem, num_threads)

    expected = systems[0].arrays(systems[0].run())
    differences = {}
    for system in systems[1:]:
        found = differences[system.name] = difference(system.arrays(system.run()), expected)
        if not found <= LIMITS[case.dtype]:
            raise DisagreementError(f"{case} ({mode}): {system.name} and clstm differ by {found:.1e}")

    calls = [timing.calls_in_sample(system.run) for system in systems]
    seconds = {system.name: [] for system in systems}
    disturbed = 0
    for turn in range(rounds):
        for place in range(len(systems)):
            i = (place + turn) % len(systems)  # each system is the first in its turn
            taken, repeated = timing.quiet_sample(systems[i].run, calls[i], clock)
            seconds[systems[i].name].append(taken)
            disturbed += repeated
    gflops = {name: problem.flops / statistics.median(times) / 1e9 for name, times in seconds.items()}
    ratios = {name: ratio(seconds[name], seconds["clstm"]) for name in differences}
    best = min(ratios, key=lambda name: ratios[name]["median"], default=None)
    roofline = attainable = None
    if limits is not None and mode != "classifier":
        roofline = problem.flops / least_seconds(problem, limits) / 1e9
        attainable = problem.flops / attainable_seconds(problem, limits) / 1e9
    return {
        "case": {"label": str(case), **asdict(case)},
        "mode": mode,
        "threads": num_threads,
        "seconds": seconds,
        "gflops": gflops,
        "ratios": ratios,
        "best": best,
        "ratio": None if best is None else ratios[best]["median"],
        "roofline": roofline,
        "shares": {name: speed / roofline for name, speed in gflops.items()} if roofline else {},
        "attainable": attainable,
        "attained": gflops["clstm"] / attainable if attainable else None,
        "differences": differences,
        "disturbed": disturbed,
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
