"""What all examples share when they are run: seeds, the twin in PyTorch, and a table of what came of it."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

# Tells the seconds; `options` puts the processor's in place of the clock's.
clock = time.perf_counter


@dataclass
class Result:
    """What one system reached with one seed: its metrics by name, and the seconds that its training took."""

    metrics: dict[str, float]
    seconds: float


def seeds(argv: Sequence[str] | None = None) -> range:
    """Return the seeds from the command line: ``--seeds 3`` for a mean of three; one if it says nothing."""
    return range(options(argv).seeds)


def options(argv: Sequence[str] | None = None, **switches: str) -> argparse.Namespace:
    """Return the number of seeds, and whether each switch is on; `switches` says what each of them does."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--seeds", type=int, default=1, help="train with so many seeds and show the means (default 1)")
    processor = "measure seconds of the processor, where others are using the machine too; for CLSTM_NUM_THREADS=1"
    parser.add_argument("--processor-time", action="store_true", help=processor)
    for name, meaning in switches.items():
        parser.add_argument(f"--{name}", action="store_true", help=meaning)
    known = sys.argv[1:] if argv is None and "sphinx" not in sys.modules else argv or []
    chosen = parser.parse_args(known)
    global clock
    clock = time.process_time if chosen.processor_time else time.perf_counter
    return chosen


def torch_is_there() -> bool:
    """Return whether PyTorch can be imported, and say so if not."""
    if importlib.util.find_spec("torch") is None:
        print("PyTorch isn't installed, so nothing is compared with it (pip install torch).")
        return False
    return True


def timed(train: Callable[[], object]) -> tuple[object, float]:
    """Return what `train` returns, and the seconds it took."""
    start = clock()
    return train(), clock() - start


def show(results: dict[str, list[Result]], baseline: dict[str, float] | None = None) -> None:
    """Print a table: a line a system, the mean of each metric over the seeds, and the training time; and each run."""
    names = list(next(iter(results.values()))[0].metrics)
    several = {
        f"{system}, seed {seed}": [run] for system, runs in results.items() for seed, run in enumerate(runs) if runs[1:]
    }
    width = max(map(len, [*several, *results, "baseline"]))
    print(" " * width + "".join(f"  {name:>16}" for name in names) + f"  {'seconds':>10}")
    if baseline is not None:
        print(f"{'baseline':<{width}}" + "".join(f"  {baseline.get(name, np.nan):>16.4g}" for name in names))
    for system, runs in (several | results).items():
        means = [np.mean([run.metrics[name] for run in runs]) for name in names]
        row = "".join(f"  {mean:>16.4g}" for mean in means)
        print(f"{system:<{width}}{row}  {np.mean([run.seconds for run in runs]):>10.1f}")
