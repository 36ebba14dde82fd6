"""The command line of the comparison: options, a table as it goes, a report in the end."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

import clstm
from clstm import backend

from . import measure, picture, systems, timing
from .problems import Case, grid


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; return 0, or 1 if results differ."""
    options = parsed(arguments)
    if options.picture and importlib.util.find_spec("matplotlib") is None:
        return fail("--picture needs matplotlib: pip install matplotlib")
    for peer in systems.PEERS:
        if not peer.available():
            missing = " and ".join(peer.missing())
            warn(f"{peer.name} is left out, for {missing} is missing: pip install 'clstm-cpu[peers]'")
    peers = [peer() for peer in systems.PEERS if peer.available()]
    cases = options.shapes or grid(options.grid)
    if options.dtype:
        cases = list(dict.fromkeys(replace(case, dtype=options.dtype) for case in cases))

    facts = environment(peers)
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    print(f"{facts['processor']}, {facts['processors']} processors, {facts['instruction_set']}; {facts['date']}")
    print(f"{versions}; load {facts['load']}; {options.clock} time")
    print("GFLOP/s; ratios of times, with quartiles: above 1, clstm is faster\n", flush=True)
    if max(options.threads) > facts["processors"]:
        warn(f"{max(options.threads)} threads on {facts['processors']} processors: they will wait for each other")

    table = Table(cases, peers)
    results = []
    for num_threads in options.threads:
        for mode in options.mode:
            for case in cases:
                try:
                    results.append(measure.measure(case, mode, num_threads, peers, options.rounds, options.clock))
                except measure.DisagreementError as error:
                    return fail(str(error))
                table.add(results[-1])
    summary = measure.summary(results)
    print(f"\nload at the end {load()}; over {len(cases)} cases:")
    for line in summary:
        text = "{mode}, threads {threads}, vs {peer}: geometric mean {geometric_mean:.2f}, least {least:.2f}"
        print(text.format(**line))

    if options.json:
        command = shlex.join(["python", "-m", "benchmarks.peers", *(sys.argv[1:] if arguments is None else arguments)])
        report = {"command": command, **facts, "load_at_end": load(), "rounds": options.rounds, "clock": options.clock}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({**report, "summary": summary, "results": results}, file, indent=1)
    if options.picture:
        picture.draw(options.picture, results)
    return 0


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description="Compare clstm's LSTM with that of other libraries."
    )
    parser.add_argument(
        "--threads", type=positive, nargs="+", default=[1, 2], metavar="N", help="numbers of threads (default: 1 2)"
    )
    cases = parser.add_mutually_exclusive_group()
    cases.add_argument("--grid", choices=("issue", "quick", "wide"), default="issue", help="default: issue")
    cases.add_argument(
        "--shapes", type=shape, nargs="+", metavar="T,B,I,H", help="time, batch, input and hidden size, of a layer each"
    )
    parser.add_argument("--dtype", choices=tuple(measure.LIMITS), help="of all cases (default: as the grid has it)")
    parser.add_argument(
        "--mode", choices=("inference", "training"), nargs="+", default=["inference", "training"], help="default: both"
    )
    parser.add_argument("--rounds", type=positive, default=11, metavar="N", help="turns of each system (default: 11)")
    parser.add_argument(
        "--clock", choices=tuple(timing.CLOCKS), default="wall", help="processor: for one thread on a busy machine"
    )
    parser.add_argument("--json", metavar="FILE", help="write all that was measured")
    parser.add_argument("--picture", metavar="FILE", help="draw it (needs matplotlib)")
    options = parser.parse_args(arguments)
    if options.clock == "processor" and options.threads != [1]:
        parser.error("--clock processor needs --threads 1: threads that wait use processor time, too")
    return options


def shape(text: str) -> Case:
    numbers = [positive(part) for part in text.split(",")]
    if len(numbers) != 4:
        raise ValueError(text)
    return Case(*numbers)


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def warn(message: str) -> None:
    print(f"peers: {message}", file=sys.stderr, flush=True)


def fail(message: str) -> int:
    warn(message)
    return 1


def environment(peers: Sequence[systems.System]) -> dict[str, Any]:
    """Return what the figures depend on besides the code."""
    names = {peer.packages[0] for peer in peers}
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": load(),
        "python": platform.python_version(),
        "instruction_set": backend.isa(),
        "versions": {"clstm": clstm.__version__, "numpy": np.__version__}
        | {name: importlib.metadata.version(name) for name in sorted(names)},
    }


def processor() -> str:
    """Return the processor's name, as well as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            facts = dict(line.rstrip().replace("\t", "").split(":", 1) for line in file if ":" in line)
    except OSError:
        facts = {}
    name = facts.get("model name", "").strip() or platform.processor() or platform.machine()
    if "model" in facts and "cpu family" in facts:  # the name alone may hide which it is
        name += f" (family {facts['cpu family'].strip()}, model {facts['model'].strip()})"
    return name


def load() -> float | None:
    """Return the load average of the last minute, where the system has one."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


class Table:
    """Rows in Markdown, aligned, printed as they come."""

    def __init__(self, cases: Sequence[Case], peers: Sequence[systems.System]) -> None:
        self.peers = [peer.name for peer in peers]
        self.widths = [max(len(str(case)) for case in cases), 9, 7]
        self.widths += [max(5, len(name)) for name in ("clstm", *self.peers)] + [18] * len(self.peers) + [10]
        self.widths[0] = max(self.widths[0], 10)
        heads = ["T, B, I, H", "mode", "threads", "clstm", *self.peers, *(f"vs {name}" for name in self.peers)]
        self.print([*heads, "difference"])
        print("|" + "|".join("-" * (width + 1) + "-:"[i > 1] for i, width in enumerate(self.widths)) + "|", flush=True)

    def add(self, result: dict[str, Any]) -> None:
        gflops, ratios = result["gflops"], result["ratios"]
        cells = [result["case"]["label"], result["mode"], str(result["threads"])]
        cells += [f"{gflops[name]:.1f}" if name in gflops else "" for name in ("clstm", *self.peers)]
        ratio = "{median:.2f} ({low:.2f}-{high:.2f})"
        cells += [ratio.format(**ratios[name]) if name in ratios else "" for name in self.peers]
        self.print([*cells, f"{max(result['differences'].values(), default=math.nan):.0e}"])

    def print(self, cells: Sequence[str]) -> None:
        aligned = [
            f"{cell:{'<>'[i > 1]}{width}}" for i, (cell, width) in enumerate(zip(cells, self.widths, strict=True))
        ]
        print("| " + " | ".join(aligned) + " |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
