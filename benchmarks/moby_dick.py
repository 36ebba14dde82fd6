"""The long training of docs/language-model.md: bits a character on Moby Dick's last tenth, and the same in PyTorch.

    python benchmarks/moby_dick.py [--seeds 0 1 2] [--only clstm] [--epochs 8] [--validate]

What the recipe was chosen by is `--validate`: it learns from the first eight tenths and reports on the ninth.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from datasets import load_moby_dick

from clstm import LanguageModel, set_num_threads

RECIPE = {"hidden_size": 384, "n_epochs": 7, "verbose": 0}


def make(library: str, params: dict[str, Any]) -> Any:
    if library == "clstm":
        return LanguageModel(**params)
    from peers.language_model import TorchLanguageModel

    return TorchLanguageModel(params)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--threads", type=int, default=2, help="threads of each (default: %(default)s)")
    parser.add_argument("--only", choices=("clstm", "torch"), help="leave the other out")
    parser.add_argument("--validate", action="store_true", help="learn from eight tenths, report on the ninth")
    parser.add_argument("--epochs", type=int, default=RECIPE["n_epochs"], help="default: %(default)s")
    parser.add_argument("--hidden-size", type=int, default=RECIPE["hidden_size"], help="default: %(default)s")
    parser.add_argument("--dropout", type=float, help="default: the model's")
    parser.add_argument("--lr", type=float, help="default: the model's")
    arguments = parser.parse_args()

    novel = load_moby_dick()
    tenth = len(novel) // 10
    end = len(novel) - tenth * arguments.validate
    train, test = novel[: end - tenth], novel[end - tenth : end]
    options = RECIPE | {"n_epochs": arguments.epochs, "hidden_size": arguments.hidden_size}
    options |= {name: value for name in ("dropout", "lr") if (value := getattr(arguments, name)) is not None}
    set_num_threads(arguments.threads)
    print("seed  library  bits a character  seconds of training  of the processors")
    for seed in arguments.seeds:
        params = LanguageModel(**options, seed=seed, num_threads=arguments.threads).get_params()
        for library in ("clstm", "torch") if arguments.only is None else (arguments.only,):
            model = make(library, params)
            start, processor = time.perf_counter(), time.process_time()
            model.fit(train)
            seconds, processor = time.perf_counter() - start, time.process_time() - processor
            bits = model.bits_per_character(test)
            print(f"{seed:>4}  {library:<7}  {bits:>16.4f}  {seconds:>19.1f}  {processor:>17.1f}", flush=True)


if __name__ == "__main__":
    main()
