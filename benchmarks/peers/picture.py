"""The figures as bars."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def draw(path: str, results: Sequence[dict[str, Any]]) -> None:
    """Write a picture of what `measure` returned: a panel for each mode and number of threads, bars for each case."""
    from matplotlib.figure import Figure

    labels = list(dict.fromkeys(result["case"]["label"] for result in results))
    names = list(dict.fromkeys(name for result in results for name in result["gflops"]))
    kinds = list(dict.fromkeys((result["mode"], result["threads"]) for result in results))
    height = 0.8 / len(names)
    figure = Figure(figsize=(2 + 3 * len(kinds), 1.5 + 0.2 * len(labels) * (len(names) + 1)), layout="constrained")
    panels = figure.subplots(1, len(kinds), squeeze=False, sharey=True)[0]
    for panel, (mode, num_threads) in zip(panels, kinds, strict=True):
        for i, name in enumerate(names):
            bars = [
                (labels.index(result["case"]["label"]) + (i - (len(names) - 1) / 2) * height, result["gflops"][name])
                for result in results
                if (result["mode"], result["threads"]) == (mode, num_threads) and name in result["gflops"]
            ]
            places, speeds = zip(*bars, strict=True) if bars else ((), ())
            panel.barh(places, speeds, height, color=f"C{i}", label=name)
        panel.set_title(f"{mode}, {num_threads} thread{'s' * (num_threads > 1)}", fontsize="medium")
        panel.set_xlabel("GFLOP/s")
        panel.set_yticks(np.arange(len(labels)), labels)
        panel.set_axisbelow(True)
        panel.grid(axis="x", alpha=0.3)
    panels[0].set_ylim(len(labels) - 0.5, -0.5)
    panels[0].set_ylabel("time, batch, input size, hidden size")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(names))
    figure.savefig(path, dpi=120)
