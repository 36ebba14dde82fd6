"""The figures as Markdown: rows that are printed as they are measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .problems import Case
from .systems import System


class Table:
    """Aligned rows: of each case the speed, the ratio to each peer and to the best, the fraction of the roofline."""

    def __init__(self, cases: Sequence[Case], peers: Sequence[System]) -> None:
        self.peers = [peer.name for peer in peers]
        self.heads = ["T, B, I, H", "mode", "threads", "GFLOP/s", *self.peers, "best peer", "to the best"]
        self.heads += ["roofline", "clstm", "best peer", "attained"]
        self.widths = [max(4, len(head)) for head in self.heads]
        self.widths[0] = max(len(str(case)) for case in cases)
        self.widths[1] = len("classifier")
        self.widths[4 + len(self.peers)] = max(map(len, [*self.peers, "best peer"]))
        self.widths[5 + len(self.peers)] = len("1.00 (1.00-1.00)")
        self.lines: list[str] = []
        self._add(self.heads)
        lefts = [i < 2 or i == 4 + len(self.peers) for i in range(len(self.heads))]
        self._write(
            "|" + "|".join("-" * (w + 1) + "-:"[not left] for w, left in zip(self.widths, lefts, strict=True)) + "|"
        )

    def add(self, result: dict[str, Any]) -> None:
        gflops, ratios, shares, best = result["gflops"], result["ratios"], result["shares"], result["best"]
        cells = [result["case"]["label"], result["mode"], str(result["threads"]), f"{gflops['clstm']:.1f}"]
        cells += [f"{ratios[name]['median']:.2f}" if name in ratios else "" for name in self.peers]
        cells += [best or "", "{median:.2f} ({low:.2f}-{high:.2f})".format(**ratios[best]) if best else ""]
        cells += [f"{result['roofline']:.0f}" if result["roofline"] else ""]
        cells += [f"{shares[name]:.0%}" if name in shares else "" for name in ("clstm", best)]
        cells += [f"{result['attained']:.0%}" if result["attained"] else ""]
        self._add(cells)

    def _add(self, cells: Sequence[str]) -> None:
        left = (0, 1, 4 + len(self.peers))
        aligned = [
            f"{cell:{'<' if i in left else '>'}{width}}"
            for i, (cell, width) in enumerate(zip(cells, self.widths, strict=True))
        ]
        self._write("| " + " | ".join(aligned) + " |")

    def _write(self, line: str) -> None:
        self.lines.append(line)
        print(line, flush=True)
