"""The machine's limits, measured by the project's own kernels, and the least time that a problem can take there.

    python -m benchmarks.peers.roofline [--threads 1 2]

prints them for every instruction set, real type and number of threads.

The limit of a problem is that of docs/benchmarks.md: every multiply-add at the peak, and in each step the recurrent
weights read once from wherever they fit, the slower of both. With several threads each reads its share of the weights
only, which lies in a cache of its own; no other way to split the work is faster, so it is a bound.

That of what is attainable adds the gates' sigmoids and tanhs at the speed that this library's have by themselves, in
the first level of the cache: they keep the same units busy as the multiply-adds.
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clstm._core import backend
from clstm._core.vector import roofline as _roofline

from .problems import Problem

SAMPLE = 0.002  # seconds of a measurement, of which the fastest counts
ROUNDS = 7
SMALLEST, LARGEST = 1 << 14, 1 << 28  # bytes read, of all threads together
USUAL_CACHES = {"L1": 32 << 10, "L2": 1 << 20, "L3": 16 << 20}  # where the system doesn't tell

# A thread's own time doesn't count what others do on its processor; on Windows it is too coarse.
clock = time.thread_time if time.get_clock_info("thread_time").resolution <= 1e-6 else time.perf_counter


@dataclass(frozen=True)
class Limits:
    """What `threads` threads of this machine can do together.

    Attributes
    ----------
    peaks : dict of str to float
        FLOP/s of multiply-adds by dtype.
    bandwidths : dict of int to float
        Bytes/s that are read, by the bytes that each thread reads again and again.
    activations : dict of str to dict of str to float
        Sigmoids and tanhs a second, by dtype and "sigmoid" or "tanh".
    """

    threads: int
    peaks: dict[str, float]
    bandwidths: dict[int, float]
    activations: dict[str, dict[str, float]] = field(default_factory=dict)

    def read(self, nbytes: float, working_set: float | None = None) -> float:
        """Return the seconds in which all threads together read so many bytes, a part each.

        The speed is that of the largest measured set that isn't larger than a thread's part of `working_set`, all that
        is read again and again (`nbytes` if left out). A larger set that was read faster counts instead: it was the
        measurement that was slow.
        """
        part = (nbytes if working_set is None else working_set) / self.threads
        below = [size for size in self.bandwidths if size <= part]
        size = max(below, default=min(self.bandwidths))
        return nbytes / max(speed for other, speed in self.bandwidths.items() if other >= size)

    def level(self, size: float) -> float:
        """Return the bytes/s at which each thread's set of `size` bytes is read."""
        return size * self.threads / self.read(size * self.threads)

    def report(self) -> dict[str, Any]:
        """Return it for JSON, with the bandwidth of each cache level at half its size, and of what is past them.

        Of a large L3, which a virtual machine shares with others, 16 MiB of all threads together stand for it.
        """
        most = (16 << 20) / self.threads
        levels = {name: self.level(min(size / 2, most)) for name, size in caches().items()}
        return {
            "threads": self.threads,
            "peak_gflops": {dtype: peak / 1e9 for dtype, peak in self.peaks.items()},
            "read_gb_per_s": {name: speed / 1e9 for name, speed in levels.items()}
            | {"largest": self.bandwidths[max(self.bandwidths)] / 1e9},
            "read_gb_per_s_by_bytes": {size: speed / 1e9 for size, speed in self.bandwidths.items()},
            "activations_per_s": self.activations,
        }


@functools.cache
def limits(num_threads: int, isa: str) -> Limits:
    """Measure; `isa` is the instruction set in use, and tells one measurement from another."""
    peaks = {dtype: peak(np.dtype(dtype), num_threads) for dtype in ("float32", "float64")}
    speeds = {
        dtype: {name: activations(name, np.dtype(dtype), num_threads) for name in ("sigmoid", "tanh")}
        for dtype in peaks
    }
    return Limits(num_threads, peaks, bandwidths(num_threads), speeds)


def peak(dtype: np.dtype, num_threads: int) -> float:
    """Return the FLOP/s of multiply-adds of all threads together."""

    def work(rounds: int) -> Callable[[int], float]:
        return lambda rank: _roofline.multiply_add(dtype, rounds)[0]

    rounds = 1000
    while fastest([work(rounds)], 1, rounds=1)[1] < SAMPLE:
        rounds *= 2
    return fastest([work(rounds)], num_threads, 3 * ROUNDS)[0]


def activations(name: str, dtype: np.dtype, num_threads: int) -> float:
    """Return the sigmoids or tanhs a second of all threads together, of 4 KiB each."""
    x = [np.linspace(-4, 4, 4096 // dtype.itemsize, dtype=dtype) for _ in range(num_threads)]
    out = [np.empty_like(part) for part in x]

    def work(repeats: int) -> Callable[[int], float]:
        def one(rank: int) -> float:
            _roofline.activate(name, x[rank], out[rank], repeats)
            return repeats * x[rank].size

        return one

    repeats = 100
    while fastest([work(repeats)], 1, rounds=1)[1] < SAMPLE:
        repeats *= 2
    return fastest([work(repeats)], num_threads)[0]


def bandwidths(num_threads: int) -> dict[int, float]:
    """Return bytes/s of all threads together by the bytes that each reads, a factor of sqrt(2) apart."""
    largest = LARGEST // num_threads
    memory = [aligned_ones(largest // 8) for _ in range(num_threads)]
    found = {}
    for half_powers in range(math.ceil(2 * math.log2(largest / SMALLEST)) + 1):
        size = min(largest, int(SMALLEST * 2 ** (half_powers / 2))) // 1024 * 1024
        parts = [array[: size // 8] for array in memory]
        repeats = max(1, round(SAMPLE * 5e10 / size))

        def work(streams: int, parts: list = parts, repeats: int = repeats) -> Callable[[int], float]:
            def read(rank: int) -> float:
                _roofline.read_memory(parts[rank], streams, repeats)
                return parts[rank].nbytes * repeats

            return read

        found[size] = fastest([work(streams) for streams in (1, 2, 4)], num_threads, 3 if size > 1 << 24 else ROUNDS)[0]
    return found


def aligned_ones(count: int, alignment: int = 4096) -> np.ndarray:
    """Return int64 ones that begin at a page: vectors across two cache lines would take twice the time."""
    memory = np.ones(count + alignment // 8, np.int64)
    start = -memory.ctypes.data % alignment // 8
    return memory[start : start + count]


def fastest(works: Sequence[Callable[[int], float]], num_threads: int, rounds: int = ROUNDS) -> tuple[float, float]:
    """Return the most that all threads together do in a second, and the seconds of one thread then.

    A work is given a thread's rank and returns how much it has done.
    """
    ready = threading.Barrier(num_threads)

    def one(rank: int, work: Callable[[int], float]) -> tuple[float, float]:
        ready.wait()
        start = clock()
        done = work(rank)
        seconds = clock() - start
        return done / seconds, seconds

    best = (0.0, math.inf)
    with ThreadPoolExecutor(num_threads) as pool:
        for _ in range(rounds):
            for work in works:
                parts = list(pool.map(one, range(num_threads), [work] * num_threads))
                best = max(best, (sum(speed for speed, _ in parts), parts[0][1]))
    return best


@functools.cache
def caches() -> dict[str, int]:
    """Return the bytes of the first processor's caches for data, by "L1", "L2", "L3"."""
    found = {}
    for cache in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            level, kind, size = ((cache / name).read_text().strip() for name in ("level", "type", "size"))
            if kind != "Instruction":
                found["L" + level] = int(size[:-1]) * {"K": 1 << 10, "M": 1 << 20}[size[-1]]
        except (OSError, ValueError, KeyError):  # not there, or written in another way
            continue
    return dict(sorted((found or USUAL_CACHES).items()))


def least_seconds(problem: Problem, limits: Limits) -> float:
    """Return a time that no program can do the problem's products in, on as many threads as `limits` is of.

    Input projection, weight gradients and dx count at the peak. A step's recurrent product, in training also that of
    the backward pass, takes the longer of its multiply-adds at the peak and of reading the recurrent weights. Where no
    step follows that could use weights again, as in a stream, all weights are read again.
    """
    case = problem.case
    peak, item_size, H = limits.peaks[case.dtype], np.dtype(case.dtype).itemsize, case.hidden_size
    single = problem.mode == "stream" or case.time == 1
    per_row = 2 * 4 * H  # flops for each k
    weights = 4 * H * item_size  # bytes for each k
    whole = case.directions * weights * (sum(case.inputs) + case.num_layers * H)
    working_set = whole if single else weights * H
    reading = limits.read(weights * H, working_set)
    rows = problem.active
    recurrent = float(np.maximum(per_row * H * rows / peak, np.where(rows > 0, reading, 0)).sum())
    seconds = 0.0
    for inputs in case.inputs:
        if single:
            projected = float(np.maximum(per_row * inputs * rows / peak, limits.read(weights * inputs, whole)).sum())
        else:
            projected = per_row * inputs * rows.sum() / peak
        seconds += projected + recurrent
        if problem.trains:
            gradients = per_row * (2 * inputs + H) * rows.sum() / peak  # dW, dx; dU
            seconds += recurrent + gradients
    return case.directions * seconds


def attainable_seconds(problem: Problem, limits: Limits) -> float:
    """Return `least_seconds` and the time of the activations: three sigmoids and two tanhs a unit of each step and row.

    In training tanh of the cell state is computed once more in the backward pass.
    """
    case, speeds = problem.case, limits.activations[problem.case.dtype]
    units = problem.active.sum() * case.directions * case.num_layers * case.hidden_size
    seconds = units * (3 / speeds["sigmoid"] + (3 if problem.trains else 2) / speeds["tanh"])
    return least_seconds(problem, limits) + float(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.roofline", description="Measure the machine.")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N")
    options = parser.parse_args()
    print(", ".join(f"{name} {size >> 10} KiB" for name, size in caches().items()))
    for isa in backend.available()[:-1]:
        backend.use(isa)
        for num_threads in options.threads:
            found = limits(num_threads, isa).report()
            peaks = ", ".join(f"{dtype} {peak:.1f}" for dtype, peak in found["peak_gflops"].items())
            reads = ", ".join(f"{name} {speed:.0f}" for name, speed in found["read_gb_per_s"].items())
            speeds = ", ".join(
                f"{dtype} {name} {speed / 1e9:.2f}"
                for dtype, own in found["activations_per_s"].items()
                for name, speed in own.items()
            )
            print(f"{isa}, threads {num_threads}: GFLOP/s {peaks}; read GB/s {reads}; activations, 10^9/s {speeds}")


if __name__ == "__main__":
    sys.exit(main())
