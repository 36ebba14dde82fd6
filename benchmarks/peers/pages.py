"""Reports of the comparison as the tables of docs/benchmarks.md: figures with 1 / 2 threads side by side.

    python -m benchmarks.peers.pages inference.json training.json > tables.md

Each report is what `python -m benchmarks.peers --json` wrote.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from .summary import lines, summary

TITLES = {
    "inference": "Inference",
    "stream": "Single steps (`lstm.stream()`)",
    "training": "Training, the layer alone",
    "classifier": "A classifier's whole training step",
}

Result = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables of the reports whose files are named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.pages", description=__doc__.splitlines()[0])
    parser.add_argument("reports", nargs="+", type=Path, metavar="FILE")
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in parser.parse_args(arguments).reports]
    print("\n".join(page(reports)))
    return 0


def page(reports: Iterable[dict[str, Any]]) -> list[str]:
    """Return the lines: where and with what it was measured, the means, a table for each mode, the targets."""
    reports = list(reports)
    out = []
    for report in reports:
        versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
        head = f"{report['date']}, {report['processor']}, {report['instruction_set']}; {versions}"
        out += [f"{head}; load {report['load']} to {report['load_at_end']}"]
        out += ["", "```bash", report["command"], "```", ""]
    results = [result for report in reports for result in report["results"]]
    summaries = summary(results)
    out += means(summaries)
    for mode, title in TITLES.items():
        own = [result for result in results if result["mode"] == mode]
        if own:
            out += ["", f"**{title}**", "", *table(own)]
    return [*out, "", *lines(summaries)]


def means(summaries: Sequence[dict[str, Any]]) -> list[str]:
    """Return the table of geometric means and leasts, of the best peers and of each."""
    groups: dict[tuple[str, str], dict[str, dict[int, dict[str, Any]]]] = {}
    for group in summaries:
        found = groups.setdefault((group["mode"], group["dtype"]), {})
        for name, ratios in {"the best peer": group, **group["peers"]}.items():
            if ratios["cases"]:
                found.setdefault(name, {})[group["threads"]] = ratios
    threads = sorted({group["threads"] for group in summaries})
    out = [f"| | cases | geometric mean, {' / '.join(map(str, threads))} threads | least |", "|---|---|---|---|"]
    for (mode, dtype), found in groups.items():
        for name, ratios in found.items():
            if name == "the best peer" and len(found) == 2:  # it is the only one
                continue
            cells = [
                " / ".join(f"{ratios[number][key]:.2f}" for number in threads if number in ratios)
                for key in ("geometric_mean", "least")
            ]
            cases = max(of["cases"] for of in ratios.values())
            out.append(f"| {mode}, {dtype}, to {name} | {cases} | {' | '.join(cells)} |")
    return out


def table(results: Sequence[Result]) -> list[str]:
    """Return the table of one mode: a row for each case."""
    cases: dict[str, list[Result]] = {}
    for result in sorted(results, key=lambda result: result["threads"]):
        cases.setdefault(result["case"]["label"], []).append(result)
    peers = list(dict.fromkeys(name for result in results for name in result["ratios"]))
    columns: dict[str, Callable[[Result], str]] = {"clstm, GFLOP/s": lambda of: f"{of['gflops']['clstm']:.0f}"}
    for name in peers:
        columns[name] = lambda of, name=name: f"{of['ratios'][name]['median']:.2f}" if name in of["ratios"] else ""
    if any(result["shares"] for result in results):
        columns["of the roofline, %"] = lambda of: f"{of['shares']['clstm']:.0%}"[:-1]
        columns["of the attainable, %"] = lambda of: f"{of['attained']:.0%}"[:-1]
    out = [f"| T, B, I, H | {' | '.join(columns)} |", "|---" * (1 + len(columns)) + "|"]
    for label, own in cases.items():
        cells = (" / ".join(filter(None, map(column, own))) for column in columns.values())
        out.append(f"| {label} | {' | '.join(cells)} |")
    return out


if __name__ == "__main__":
    sys.exit(main())
