"""Two libraries with their own threads in one process: NumPy's products (OpenBLAS) and clstm's layers, alternating.

    python -m benchmarks.interference [--threads 2] [--rounds 15]

For each layer the time of its calls when a product comes between them, by their time alone, and the same of the
products; then with OpenBLAS held to one thread by threadpoolctl, where it is installed. 1.0 is no interference. A
product is done between layers' calls of about its own time. Medians over rounds of which each measures all, in turn.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import time
from collections.abc import Callable

import numpy as np

import clstm

# T, B, I, H
SHAPES = ((200, 8, 16, 64), (100, 1, 256, 256), (100, 32, 256, 256))
ALONE = 0.05  # seconds of calls of one kind


def timed(call: Callable[[], object]) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def alone(call: Callable[[], object]) -> float:
    """Return the mean seconds of a call among others of its kind, when all else has come to rest."""
    time.sleep(0.1)
    call()
    times = []
    while sum(times) < ALONE:
        times.append(timed(call))
    return statistics.mean(times)


def in_turn(*calls: Callable[[], object]) -> list[float]:
    """Return the mean seconds of a call of each, alternating, after a rest."""
    time.sleep(0.1)
    for call in calls:
        call()
    times: list[list[float]] = [[] for _ in calls]
    while sum(times[0]) < ALONE:
        for call, own in zip(calls, times, strict=True):
            own.append(timed(call))
    return [statistics.mean(own) for own in times]


def blas_on_one_thread() -> contextlib.AbstractContextManager:
    """Return threadpoolctl's limit on OpenBLAS, nothing where it isn't installed."""
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return contextlib.nullcontext()
    return threadpool_limits(1, user_api="blas")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()

    matrix = np.random.default_rng(0).standard_normal((512, 512)).astype(np.float32)
    print(f"{'T, B, I, H':<18} {'layer alone':>12} {'in turn':>8} {'product in turn':>16} {'layer, BLAS on 1':>17}")
    for shape in SHAPES:
        steps, batch, inputs, hidden = shape
        lstm = clstm.LSTM(inputs, hidden, num_threads=arguments.threads, seed=0)
        x = np.random.default_rng(0).standard_normal((steps, batch, inputs)).astype(np.float32)

        def layer(lstm=lstm, x=x):
            return lstm(x)

        def product():
            return matrix @ matrix

        rounds = []
        for _ in range(arguments.rounds):
            layer_alone, product_alone = alone(layer), alone(product)
            layer_mixed, product_mixed = in_turn(layer, product)
            with blas_on_one_thread():
                layer_limited, _ = in_turn(layer, product)
            ratios = (layer_mixed / layer_alone, product_mixed / product_alone, layer_limited / layer_alone)
            rounds.append((layer_alone, *ratios))
        seconds, mixed, reverse, limited = (statistics.median(column) for column in zip(*rounds, strict=True))
        name = ", ".join(map(str, shape))
        print(f"{name:<18} {seconds * 1e6:9.0f} us {mixed:8.2f} {reverse:16.2f} {limited:17.2f}", flush=True)
    print(f"load {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
