"""`clstm demo` and the same recipe in PyTorch, one after the other: accuracy on the test part, and seconds of training.

    python benchmarks/demo_torch.py [--faq] [--seeds 3] [--threads 2]

examples/peers/sentiment.py says how the same they are.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from peers.sentiment import run_torch

import clstm
from clstm import TextClassifier
from clstm.cli.training import FAQ
from clstm.datasets import load_movie_reviews


def run_clstm(params: dict[str, Any], reviews: Any, seed: int, threads: int) -> tuple[float, float]:
    """Return the accuracy on the test part and the seconds of training, reading the words included."""
    classifier = TextClassifier(**(params | {"seed": seed, "num_threads": threads, "verbose": 0}))
    clstm.set_num_threads(threads)
    start = time.perf_counter()
    classifier.fit(
        reviews.train.texts, reviews.train.labels, (reviews.validation.texts, reviews.validation.labels)
    )  # fmt: skip
    seconds = time.perf_counter() - start
    return classifier.score(reviews.test.texts, reviews.test.labels), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faq", action="store_true", help="the sizes of `clstm demo --faq`")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each (default: %(default)s)")
    parser.add_argument("--only", choices=("clstm", "torch"), help="leave the other out")
    arguments = parser.parse_args()

    params = TextClassifier(**(FAQ if arguments.faq else {})).get_params()
    reviews = load_movie_reviews()
    runs = {"clstm": run_clstm, "torch": run_torch}
    if arguments.only:
        runs = {arguments.only: runs[arguments.only]}
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    print("seed  library  test accuracy  seconds")
    for seed in range(arguments.seeds):
        for name, run in runs.items():
            accuracy, seconds = run(params, reviews, seed, arguments.threads)
            results[name].append((accuracy, seconds))
            print(f"{seed:>4}  {name:<7}  {accuracy:>13.2%}  {seconds:>7.1f}", flush=True)
    for name, of_library in results.items():
        accuracy, seconds = (statistics.mean(values) for values in zip(*of_library, strict=True))
        print(f"mean  {name:<7}  {accuracy:>13.2%}  {seconds:>7.1f}")


if __name__ == "__main__":
    main()
