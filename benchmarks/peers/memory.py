"""Peak memory of training: each system and case in a fresh process.

    python -m benchmarks.peers.memory [--systems clstm PyTorch] [--grid four] [--threads 1] [--json FILE]

A child imports its library and makes the problem's data, notes its memory, then prepares and trains STEPS steps. What
counts is how far its peak (VmHWM of Linux, set back before) is above what was noted: weights, gradients, what is stored
for the backward pass, and what the library takes for itself while it works.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from . import grids
from .problems import Case, Problem
from .systems import PEERS, Clstm, System

STEPS = 3
STATUS = Path("/proc/self/status")


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    systems = {system.name: system for system in (Clstm, *PEERS) if "training" in system.modes}
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.memory", description="Peak memory of training.")
    parser.add_argument("--systems", choices=systems, nargs="+", default=["clstm", "PyTorch"], metavar="NAME")
    parser.add_argument("--grid", choices=("standard", "four", "quick"), default="four")
    parser.add_argument("--threads", type=int, default=1, metavar="N")
    parser.add_argument("--json", metavar="FILE", help="write what was measured")
    parser.add_argument("--markdown", metavar="FILE", help="write the table")
    parser.add_argument("--child", nargs=2, metavar=("NAME", "CASE"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        name, case = options.child
        print(json.dumps(peak_above_start(systems[name](), case_from(json.loads(case)), options.threads)))
        return 0
    if not STATUS.exists():
        print("memory: needs Linux, whose /proc tells a process's peak", file=sys.stderr)
        return 1
    for name in options.systems:
        if not systems[name].available():
            extra = systems[name].extra
            print(f"memory: {name} isn't installed: pip install 'clstm-cpu[{extra}]'", file=sys.stderr)
            return 1

    cases = grids.grid(options.grid)["training"]
    width = max(len(str(case)) for case in cases)
    ratios = [f"{name} / clstm" for name in options.systems if name != "clstm"]
    heads = [f"{'T, B, I, H':<{width}}", *(f"{name}, MiB" for name in options.systems), *ratios]
    lines = [f"| {' | '.join(heads)} |", "|".join(["", "-" * (width + 2), *(["---:"] * (len(heads) - 1)), ""])]
    print("\n".join(lines), flush=True)
    results = []
    for case in cases:
        found = {name: in_child(name, case, options.threads) for name in options.systems}
        results.append({"case": {"label": str(case), **asdict(case)}, "threads": options.threads, "bytes": found})
        cells = [f"{nbytes / 2**20:.1f}" for nbytes in found.values()]
        if "clstm" in found:
            cells += [f"{nbytes / found['clstm']:.2f}" for name, nbytes in found.items() if name != "clstm"]
        lines.append(f"| {case!s:<{width}} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    command = shlex.join(["python", "-m", "benchmarks.peers.memory", *arguments])
    if options.json:
        report = {"command": command, "steps": STEPS, "results": results}
        Path(options.json).write_text(json.dumps(report, indent=1), encoding="utf-8")
    if options.markdown:
        Path(options.markdown).write_text("\n".join([f"`{command}`", "", *lines, ""]), encoding="utf-8")
    return 0


def in_child(name: str, case: Case, num_threads: int) -> int:
    """Return the bytes that a fresh process measured."""
    command = [sys.executable, "-m", "benchmarks.peers.memory", "--threads", str(num_threads)]
    command += ["--child", name, json.dumps(asdict(case))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{name}, {case}: the child ended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def case_from(fields: dict) -> Case:
    """Return the case that JSON has made a dict of."""
    return Case(**(fields | {"lengths": fields["lengths"] and tuple(fields["lengths"])}))


def peak_above_start(system: System, case: Case, num_threads: int) -> int:
    """Train STEPS steps; return the bytes by which this process's peak is above what it had before."""
    system.prepare(Problem(Case(2, 1, 2, 2, dtype=case.dtype), "training"), num_threads)
    system.run()  # loads what is loaded at first use
    problem = Problem(case, "training")
    Path("/proc/self/clear_refs").write_text("5")  # sets the peak back to what is used now
    before = memory("VmRSS")
    system.prepare(problem, num_threads)
    for _ in range(STEPS):
        system.run()
    return memory("VmHWM") - before


def memory(name: str) -> int:
    """Return a line of /proc/self/status in bytes."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) << 10
    raise RuntimeError(f"{STATUS} has no {name} (process {os.getpid()})")


if __name__ == "__main__":
    sys.exit(main())
