"""What gradient checkpointing saves and costs: peak memory and time. `python -m benchmarks.checkpoint`.

Linux only: the peak is the system's mark of the process, set back once data and weights are there.
"""

import argparse
import statistics
import subprocess
import sys
import time

import numpy as np

from . import cases

SHAPES = ((1000, 32, 256, 256, 1), (1000, 32, 256, 256, 2))  # T, B, I, H, layers


def prepare(shape, num_threads=1):
    """Return a function that goes forward and backward once, with checkpoints or without."""
    *shape, num_layers = shape
    lstm = cases.layer(shape, num_threads=num_threads, num_layers=num_layers)
    x, dy = cases.sequence(shape), np.ones((*shape[:2], shape[3]), np.float32)

    def step(checkpoint):
        y, _, context = lstm.forward_train(x, checkpoint=checkpoint)
        return y, lstm.backward(context, dy)

    return step


def peak_megabytes(shape, checkpoint):
    """Return the peak memory, in MB, of one step in this process above what it has now."""
    step = prepare(shape)
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = status("VmRSS")
    step(checkpoint)
    return (status("VmHWM") - before) / 1e6


def status(name):
    with open("/proc/self/status") as file:
        return int(file.read().partition(f"{name}:")[2].split()[0]) * 1024


def times(shape, num_threads, turns):
    """Return the seconds of each round without and with checkpoints; of processor time on one thread."""
    clock = time.process_time if num_threads == 1 else time.perf_counter
    step, seconds = prepare(shape, num_threads), {False: [], True: []}
    for turn in range(turns + 1):  # the first isn't counted
        for checkpoint, found in seconds.items():
            start = clock()
            step(checkpoint)
            if turn:
                found.append(clock() - start)
    return seconds[False], seconds[True]


class Checkpoint:
    """For asv: one layer over a long sequence."""

    shape = (1000, 32, 256, 256, 1)
    params = ((False, True),)
    param_names = ("checkpoint",)

    def setup(self, checkpoint):
        self.step = prepare(self.shape)

    def time_forward_backward(self, checkpoint):
        self.step(checkpoint)

    def peakmem_forward_backward(self, checkpoint):
        self.step(checkpoint)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="for the times (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=7, help="of each (default: %(default)s)")
    parser.add_argument("--shapes", nargs="+", metavar="T,B,I,H,layers", help="other shapes")
    parser.add_argument("--peak", help=argparse.SUPPRESS)  # what a fresh process is asked
    arguments = parser.parse_args()
    shapes = [tuple(map(int, shape.split(","))) for shape in arguments.shapes or ()] or SHAPES
    if arguments.peak:
        print(peak_megabytes(shapes[0], arguments.peak == "with"))
        return
    print("T, B, I, H, layers        without        with   time with / without (quartiles)")
    for shape in shapes:
        name, peaks = ",".join(map(str, shape)), []
        for which in ("without", "with"):
            command = [sys.executable, "-m", "benchmarks.checkpoint", "--shapes", name, "--peak", which]
            peaks.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
        pairs = zip(*times(shape, arguments.threads, arguments.turns), strict=True)
        ratios = sorted(after / before for before, after in pairs)
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        print(
            f"{name:<22} {peaks[0]:>8.1f} MB {peaks[1]:>8.1f} MB   {middle:.2f} ({low:.2f} to {high:.2f})", flush=True
        )


if __name__ == "__main__":
    main()
