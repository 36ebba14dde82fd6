"""The figures as a picture: by shape, the ratio to the best peer and the fractions of the roofline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .summary import HIGH_ENOUGH, NOISE
from .systems import PEERS

COLOURS = {peer.name: f"C{i}" for i, peer in enumerate(PEERS, start=1)}
OURS = "C0"
SHAPES = "osD^v"  # of numbers of threads
ROW = 0.21  # inches of a case


def draw(path: str, results: Sequence[dict[str, Any]]) -> None:
    """Write a picture of what `measure` returned.

    A row is a case; modes with the same cases stand side by side. Each mode has the ratio to the best peer, in the
    peer's colour, and the shares of the roofline of clstm and of that peer. The marker tells the number of threads.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    cases: dict[str, list[str]] = {}
    for result in results:
        labels = cases.setdefault(result["mode"], [])
        if result["case"]["label"] not in labels:
            labels.append(result["case"]["label"])
    blocks: dict[tuple[str, ...], list[str]] = {}
    for mode, labels in cases.items():
        blocks.setdefault(tuple(labels), []).append(mode)
    threads = sorted({result["threads"] for result in results})
    shapes = {number: SHAPES[i % len(SHAPES)] for i, number in enumerate(threads)}
    columns = 2 * max(map(len, blocks.values()))
    heights = [ROW * len(labels) + 0.9 for labels in blocks]
    figure = Figure(figsize=(3.2 + 3.1 * columns, 0.8 + sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(blocks), columns, height_ratios=heights)
    for row, (labels, modes) in enumerate(blocks.items()):
        for i, mode in enumerate(modes):
            own = [result for result in results if result["mode"] == mode]
            panels = [figure.add_subplot(grid[row, 2 * i])]
            draw_ratios(panels[0], mode, labels, own, shapes)
            if any(result["shares"] for result in own):
                panels.append(figure.add_subplot(grid[row, 2 * i + 1]))
                draw_shares(panels[1], mode, labels, own, shapes)
            for j, panel in enumerate(panels):
                prepare(panel, labels, show_labels=i == j == 0)
            if row == i == 0:
                panels[0].set_ylabel("time, batch, input size, hidden size")

    def key(label: str, **style: Any) -> Line2D:
        return Line2D([], [], linestyle="", label=label, **style)

    used = dict.fromkeys(result["best"] for result in results if result["best"])
    keys = [key("clstm", marker="o", color=OURS)]
    keys += [key(name, marker="o", color=colour) for name, colour in COLOURS.items() if name in used]
    keys += [
        key(f"{number} thread{'s' * (number > 1)}", marker=shape, color="0.3", fillstyle="none")
        for number, shape in shapes.items()
    ]
    figure.legend(handles=keys, loc="outside upper center", ncols=len(keys), frameon=False)
    figure.savefig(path, dpi=110)


def draw_ratios(panel: Any, mode: str, labels: Sequence[str], results: Sequence[dict], shapes: dict[int, str]) -> None:
    for place, result in placed(labels, results, shapes):
        if result["ratio"] is None:
            continue
        colour = COLOURS.get(result["best"], "0.5")
        panel.plot([1, result["ratio"]], [place, place], color=colour, linewidth=1.5, alpha=0.5, zorder=1)
        panel.plot(result["ratio"], place, shapes[result["threads"]], color=colour, markersize=4.5, zorder=2)
    panel.set_xscale("log")
    ratios = [result["ratio"] for result in results if result["ratio"] is not None]
    low, high = min([0.9, *ratios]) / 1.05, max([1.6, *ratios]) * 1.05
    panel.set_xlim(low, high)
    wanted = (
        (0.7, 0.8, 0.9, 1, 1.25, 1.5, 2, 2.5) if low > 0.6 and high < 3 else (0.01, 0.1, 0.25, 0.5, 1, 2, 4, 10, 50)
    )
    ticks = [tick for tick in wanted if low < tick < high]
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.set_xticks([], minor=True)
    panel.axvspan(low, NOISE, color="C3", alpha=0.08, linewidth=0)
    panel.axvline(1, color="0.3", linewidth=0.8)
    panel.set_title(f"{mode}: speed to the best peer's", fontsize="medium")


def draw_shares(panel: Any, mode: str, labels: Sequence[str], results: Sequence[dict], shapes: dict[int, str]) -> None:
    for place, result in placed(labels, results, shapes):
        shares = result["shares"]
        if not shares:
            continue
        shape, best = shapes[result["threads"]], result["best"]
        if best:
            panel.plot([shares[best], shares["clstm"]], [place, place], color="0.7", linewidth=1, zorder=1)
            panel.plot(shares[best], place, shape, color=COLOURS.get(best, "0.5"), markersize=3.5, zorder=2)
        panel.plot(shares["clstm"], place, shape, color=OURS, markersize=4.5, zorder=3)
    panel.axvline(HIGH_ENOUGH, color="0.3", linewidth=0.8, linestyle=":")
    panel.set_xlim(0, max([1.02, *(share * 1.02 for result in results for share in result["shares"].values())]))
    panel.set_xticks([0, 0.25, 0.5, 0.75, HIGH_ENOUGH], ["0", "25%", "50%", "75%", f"{HIGH_ENOUGH:.0%}"])
    panel.set_title(f"{mode}: share of the roofline", fontsize="medium")


def placed(labels: Sequence[str], results: Sequence[dict], shapes: dict[int, str]) -> list[tuple[float, dict]]:
    """Return each result with its height: the row of its case, one number of threads below the other."""
    numbers = list(shapes)
    return [
        (
            labels.index(result["case"]["label"])
            + 0.3 * (numbers.index(result["threads"]) - (len(numbers) - 1) / 2) / max(1, len(numbers) - 1),
            result,
        )
        for result in results
    ]


def prepare(panel: Any, labels: Sequence[str], show_labels: bool) -> None:
    panel.set_ylim(len(labels) - 0.4, -0.6)
    panel.set_yticks(range(len(labels)), labels if show_labels else [""] * len(labels), fontsize="small")
    panel.tick_params(axis="x", labelsize="small")
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="x", alpha=0.25)
    panel.set_axisbelow(True)
    for row in range(0, len(labels), 2):
        panel.axhspan(row - 0.5, row + 0.5, color="0.5", alpha=0.07, linewidth=0)
