"""The command line of the comparison: options, a table while it runs, a report at the end."""

from __future__ import annotations

import argparse
import importlib.util
import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clstm._core import backend

from . import environment, grids, measure, picture, roofline, systems, timing
from .problems import MODES, Case
from .summary import lines, summary
from .table import Table

GRIDS = ("standard", "four", "quick", "wide")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; return 0, or 1 if results differ."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    options = parsed(arguments)
    if options.picture and importlib.util.find_spec("matplotlib") is None:
        return fail("--picture needs matplotlib: pip install 'clstm-cpu[peers]'")
    environment.start_again("benchmarks.peers", arguments, environment.wanted(options.isa, options.keep_memory))
    peers = present(options)
    tasks = chosen(options)
    if not tasks:
        return fail("nothing to do: no case of the grid is of these modes")

    facts = environment.environment(peers)
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    head = [f"{facts['processor']}, {facts['processors']} processors, {facts['instruction_set']}; {facts['date']}"]
    head += [f"{versions}; load {facts['load']}; {options.clock} time; rounds {options.rounds}"]
    head += [" ".join(f"{name}={value}" for name, value in facts["variables"].items())] if facts["variables"] else []
    limits = {}
    if backend.isa() != "portable":
        limits = {number: roofline.limits(number, backend.isa()) for number in options.threads}
    for found in (limit.report() for limit in limits.values()):
        peaks = ", ".join(f"{dtype} {peak:.0f}" for dtype, peak in found["peak_gflops"].items())
        reads = ", ".join(f"{name} {speed:.0f}" for name, speed in found["read_gb_per_s"].items())
        head.append(f"threads {found['threads']}: peak {peaks} GFLOP/s; read {reads} GB/s")
    print("\n".join(head))
    print(
        "Ratios of times: above 1, clstm is faster. In the last columns the roofline's GFLOP/s, shares of it, and "
        "clstm's share of what is attainable with the activations counted.\n"
    )
    if max(options.threads) > facts["processors"]:
        warn(f"{max(options.threads)} threads on {facts['processors']} processors: they will wait for each other")

    table = Table([case for _, case in tasks], peers)
    results: list[dict[str, Any]] = []
    for num_threads in options.threads:
        for mode, case in tasks:
            limit = limits.get(num_threads)
            try:
                result = measure.measure(case, mode, num_threads, peers, options.rounds, options.clock, limit)
            except measure.DisagreementError as error:
                return fail(str(error))
            results.append(result)
            table.add(result)
    summaries = summary(results)
    end = [f"load at the end {environment.load()}", "", *lines(summaries)]
    print("\n" + "\n".join(end))

    command = shlex.join(["python", "-m", "benchmarks.peers", *arguments])
    if options.json:
        report = {
            "command": command,
            **facts,
            "load_at_end": environment.load(),
            "rounds": options.rounds,
            "clock": options.clock,
            "caches": roofline.caches(),
            "limits": [limit.report() for limit in limits.values()],
            "summary": summaries,
            "results": results,
        }
        Path(options.json).write_text(json.dumps(report, indent=1), encoding="utf-8")
    if options.markdown:
        text = [f"`{command}`", "", *(f"{line}  " for line in head), end[0], "", *table.lines, "", *end[2:], ""]
        Path(options.markdown).write_text("\n".join(text), encoding="utf-8")
    if options.picture:
        picture.draw(options.picture, results)
    return 0


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description="Compare clstm's LSTM with that of other libraries."
    )
    names = tuple(peer.name for peer in systems.PEERS)
    parser.add_argument(
        "--threads", type=positive, nargs="+", default=[1, 2], metavar="N", help="numbers of threads (default: 1 2)"
    )
    cases = parser.add_mutually_exclusive_group()
    cases.add_argument("--grid", choices=GRIDS, default="standard", help="default: standard")
    cases.add_argument(
        "--shapes", type=shape, nargs="+", metavar="T,B,I,H", help="time, batch, input and hidden size, of a layer each"
    )
    parser.add_argument("--dtype", choices=tuple(measure.LIMITS), help="of all cases (default: as the grid has it)")
    parser.add_argument("--mode", choices=MODES, nargs="+", help="default: all that the grid has")
    parser.add_argument(
        "--peers", choices=names, nargs="+", default=names, metavar="NAME", help=f"default: {', '.join(names)}"
    )
    parser.add_argument("--rounds", type=positive, default=5, metavar="N", help="turns of each system (default: 5)")
    parser.add_argument(
        "--clock", choices=tuple(timing.CLOCKS), default="wall", help="processor: for one thread on a busy machine"
    )
    parser.add_argument(
        "--isa",
        choices=("avx512", "avx2"),
        help="hold all systems to an instruction set; those that can't are left out",
    )
    parser.add_argument("--keep-memory", action="store_true", help="have glibc keep what is freed for the next step")
    parser.add_argument("--json", metavar="FILE", help="write all that was measured")
    parser.add_argument("--markdown", metavar="FILE", help="write the table and the summary")
    parser.add_argument("--picture", metavar="FILE", help="draw it (needs matplotlib)")
    options = parser.parse_args(arguments)
    if options.clock == "processor" and options.threads != [1]:
        parser.error("--clock processor needs --threads 1: threads that wait use processor time, too")
    return options


def present(options: argparse.Namespace) -> list[systems.System]:
    """Return the available peers, and say why the others are not."""
    peers = []
    for peer in systems.PEERS:
        if peer.name not in options.peers:
            continue
        if not peer.available():
            missing = " and ".join(peer.missing())
            warn(f"{peer.name} is left out, for {missing} is missing: pip install 'clstm-cpu[{peer.extra}]'")
        elif options.isa == "avx2" and not peer.held_to_isa:
            warn(f"{peer.name} is left out, for nothing holds it to avx2")
        else:
            peers.append(peer())
    return peers


def chosen(options: argparse.Namespace) -> list[tuple[str, Case]]:
    """Return the modes and cases in their order."""
    layers = dict.fromkeys(("inference", "training"), options.shapes) if options.shapes else None
    cases = layers or grids.grid(options.grid)
    tasks = [(mode, case) for mode in options.mode or cases for case in cases.get(mode, ())]
    if options.dtype:
        tasks = list(dict.fromkeys((mode, replace(case, dtype=options.dtype)) for mode, case in tasks))
    return tasks


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


if __name__ == "__main__":
    sys.exit(main())
