"""What each option of a layer costs, compared with the plain layer.

    python -m benchmarks.variants [--shape 100 32 256 256] [--threads 1] [--rounds 15] [--only layer_norm ...]

prints a table: the time of each option's forward, of a training step's forward and of its backward, by that of the
plain layer, in one process and in turn; the least time of each over the rounds, which other processes disturb least.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np

import clstm

from . import cases

SHAPE = (100, 32, 256, 256)
OPTIONS: dict[str, dict[str, object]] = {
    "plain": {},
    "proj_size": {"proj_size": 64},
    "peephole": {"peephole": True},
    "coupled": {"coupled": True},
    "cell_clip": {"cell_clip": 3.0},
    "gate_clip": {"gate_clip": 3.0},
    "layer_norm": {"layer_norm": True},
    "recurrent_dropout": {"recurrent_dropout": 0.25},
    "weight_dropout": {"weight_dropout": 0.25},
    "zoneout": {"zoneout": 0.1},
    "activations": {"activations": ("hard_sigmoid", "tanh", "softsign")},
    "learn_initial_state": {"learn_initial_state": True},
    "reset": {},
    "all": {
        "proj_size": 64, "peephole": True, "coupled": True, "cell_clip": 3.0, "gate_clip": 3.0, "layer_norm": True,
        "recurrent_dropout": 0.25, "weight_dropout": 0.25, "zoneout": 0.1, "learn_initial_state": True,
        "activations": ("hard_sigmoid", "tanh", "softsign"),
    },
}  # fmt: skip


class Case:
    """A layer with an option, its input, and the three things that are timed."""

    def __init__(self, option: str, shape: tuple[int, int, int, int], num_threads: int) -> None:
        self.lstm = cases.layer(shape, num_threads=num_threads, **OPTIONS[option])
        self.x = cases.sequence(shape)
        # Episodes of 20 steps on average
        self.reset = np.random.default_rng(3).random(shape[:2]) < 0.05 if option in ("reset", "all") else None
        y, _, self.context = self.lstm.forward_train(self.x, reset=self.reset)
        self.dy = np.ones_like(y)

    def forward(self) -> None:
        self.lstm(self.x, reset=self.reset)

    def forward_train(self) -> None:
        self.context = self.lstm.forward_train(self.x, reset=self.reset)[2]

    def backward(self) -> None:
        self.lstm.backward(self.context, self.dy)


PARTS = ("forward", "forward_train", "backward")


class Options:
    """Each option's forward and backward, at one shape."""

    params = (tuple(OPTIONS), cases.THREADS)
    param_names = ("option", "threads")

    def setup(self, option, threads):
        self.case = Case(option, SHAPE, threads)

    def time_forward(self, option, threads):
        self.case.forward()

    def time_forward_and_backward(self, option, threads):
        self.case.forward_train()
        self.case.backward()


def timed(case: Case) -> list[float]:
    """Return the seconds of each part, one after the other."""
    seconds = []
    for part in PARTS:
        start = time.perf_counter()
        getattr(case, part)()
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=4, default=SHAPE, help="time, batch, input_size, hidden_size")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", nargs="+", choices=OPTIONS, default=list(OPTIONS))
    arguments = parser.parse_args()

    shape = tuple(arguments.shape)
    plain = Case("plain", shape, arguments.threads)
    load = os.getloadavg()[0]
    print(f"| option | forward | forward_train | backward |\n|---|{'---|' * len(PARTS)}")
    for option in arguments.only:
        case = Case(option, shape, arguments.threads)
        timed(plain), timed(case)
        pairs = [(timed(plain), timed(case)) for _ in range(arguments.rounds)]
        least = [[min(part) for part in zip(*own, strict=True)] for own in zip(*pairs, strict=True)]
        ratios = [mine / other for other, mine in zip(*least, strict=True)]
        print(f"| `{option}` | {' | '.join(f'{ratio:.2f}' for ratio in ratios)} |", flush=True)
        times = ", ".join(f"{part} {seconds * 1e3:.2f} ms" for part, seconds in zip(PARTS, least[0], strict=True))
    print(f"\nshape {shape}, {arguments.threads} threads, plain: {times}; clstm {clstm.__version__}, load {load:.1f}")


if __name__ == "__main__":
    main()
