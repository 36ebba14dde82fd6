"""More threads than processors: the work done by several processes at once, against one process alone.

    python -m benchmarks.oversubscribed [--processes 4] [--threads 2] [--seconds 2] [--rounds 3] [--peers]

1.0 is in proportion: together the processes do as much as one alone. Far below it they spend their time waiting for
threads that aren't running. Each round measures every case alone and at once, in turn; the figures are medians. The
share of the processors' time that went to others, who disturb the measurement, is in the last column.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

CASES = (
    ((100, 1, 512, 512), "inference"),
    ((100, 32, 256, 256), "inference"),
    ((1, 1, 256, 256), "inference"),
    ((100, 1, 512, 512), "training"),
    ((100, 32, 256, 256), "training"),
)


def clstm_call(shape: tuple[int, ...], mode: str, threads: int) -> Callable[[], object]:
    """Return a function that runs clstm once."""
    import clstm

    steps, batch, inputs, hidden = shape
    lstm = clstm.LSTM(inputs, hidden, num_threads=threads, seed=0)
    x = np.random.default_rng(0).standard_normal((steps, batch, inputs), np.float32)
    dy = np.ones((steps, batch, hidden), np.float32)

    def train():
        _, _, context = lstm.forward_train(x)
        lstm.backward(context, dy)

    return (lambda: lstm(x)) if mode == "inference" else train


def torch_call(shape: tuple[int, ...], mode: str, threads: int) -> Callable[[], object]:
    """Return a function that runs PyTorch once."""
    import torch

    torch.set_num_threads(threads)
    steps, batch, inputs, hidden = shape
    lstm = torch.nn.LSTM(inputs, hidden)
    x = torch.randn(steps, batch, inputs, requires_grad=mode == "training")
    dy = torch.ones(steps, batch, hidden)

    def infer():
        with torch.inference_mode():
            lstm(x)

    def train():
        lstm(x)[0].backward(dy)

    return infer if mode == "inference" else train


def worker(library: str, case: int, threads: int, seconds: float) -> None:
    """Say "ready", wait for a line, and print the calls a second of the time given."""
    call = {"clstm": clstm_call, "PyTorch": torch_call}[library](*CASES[case], threads)
    for _ in range(3):
        call()
    print("ready", flush=True)
    sys.stdin.readline()
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        call()
        calls += 1
    print(calls / (time.perf_counter() - start), flush=True)


def together(processes: int, *arguments: object) -> float:
    """Return the calls a second of all of some processes at once."""
    command = [sys.executable, "-m", "benchmarks.oversubscribed", "--worker", *map(str, arguments)]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    for process in workers:
        process.stdout.readline()
    for process in workers:
        process.stdin.write("go\n")
        process.stdin.flush()
    return sum(float(process.communicate()[0]) for process in workers)


def processor_time() -> float:
    """Return the seconds that all processors have worked for anyone, 0 where the system doesn't tell."""
    try:
        with open("/proc/stat", encoding="ascii") as file:
            numbers = [int(number) for number in file.readline().split()[1:]]
    except OSError:
        return 0.0
    return (sum(numbers) - numbers[3] - numbers[4]) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2, help="of each process (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", action="store_true", help="PyTorch too")
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        library, case, threads, seconds = arguments.worker
        worker(library, int(case), int(threads), float(seconds))
        return

    print(f"{arguments.processes} processes of {arguments.threads} threads on {os.cpu_count()} processors")
    print(f"{'T, B, I, H':<18} {'mode':<10} {'library':<8} {'alone':>9} {'at once':>9} {'ratio':>6} {'others':>7}")
    for number, (shape, mode) in enumerate(CASES):
        for library in ("clstm", "PyTorch") if arguments.peers else ("clstm",):
            begin, own, wall = processor_time(), os.times(), time.perf_counter()
            pairs = []
            for _ in range(arguments.rounds):
                options = (library, number, arguments.threads, arguments.seconds)
                pairs.append((together(1, *options), together(arguments.processes, *options)))
            now = os.times()
            children = now.children_user + now.children_system - own.children_user - own.children_system
            others = (processor_time() - begin - children) / (time.perf_counter() - wall) / (os.cpu_count() or 1)
            alone, at_once = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(b / a for a, b in pairs)
            name = ", ".join(map(str, shape))
            figures = f"{alone:9.1f} {at_once:9.1f} {ratio:6.2f} {others:7.0%}"
            print(f"{name:<18} {mode:<10} {library:<8} {figures}", flush=True)


if __name__ == "__main__":
    main()
