"""The gates of a trace: a heat map for each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clstm._checks import check_choice, check_index
from clstm.plot.axes import as_row, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from clstm.trace import LayerTrace, Trace

# The panels of `gates`: their titles, and where their scales begin, if the activations are the usual ones.
_PANELS = {
    "i": ("input gate i", 0),
    "f": ("forget gate f", 0),
    "g": ("candidate g", -1),
    "o": ("output gate o", 0),
    "c": ("cell state c", None),
    "h": ("output h", -1),
}


def gates(
    trace: Trace,
    tokens: Sequence[str] | None = None,
    *,
    layer: int = -1,
    direction: int = 0,
    row: int = 0,
    gates: str = "ifgoch",
    units: Sequence[int] | None = None,
    sort: str | None = "similar",
    axes: Any = None,
) -> np.ndarray:
    """Draw an LSTM's gates and cell states over time: a panel for each, a line for each unit, a column for each step.

    Gates are pale where they are closed (0) and dark where they are open (1); what can be negative is blue below zero
    and red above.

    Parameters
    ----------
    trace : Trace
        From `LSTM.trace`, or a network's or model's ``trace``.
    tokens : sequence of str, optional
        The tokens of the row's steps. If left out those of the trace, or the steps' numbers if it has none.
    layer, direction, row : int
        What to draw: one layer, the last if left out, in one direction (0 forward, 1 reverse), of one row.
    gates : str, default "ifgoch"
        Which panels, in this order: input, forget, candidate, output gate, cell state, output.
    units : sequence of int, optional
        Only these units; all if left out.
    sort : {"similar", "i", "f", "g", "o", "c", "h"} or None, default "similar"
        The order of the units, the same in all panels: units whose cell states are similar next to each other; or by
        the mean of one gate, cell state or output, the highest on top. None leaves the order as it is, or that of
        `units`.
    axes : matplotlib.axes.Axes or sequence of them, optional
        Where to draw, as many as there are panels; in a new figure if left out.

    Returns
    -------
    ndarray of matplotlib.axes.Axes
        One a panel.

    Raises
    ------
    ImportError
        matplotlib isn't installed.
    TypeError, ValueError
        `trace` isn't a trace; it doesn't have the layer, direction, row, unit or gate; the row has no steps; or there
        isn't one token for each step, or one axes object for each panel.

    Notes
    -----
    Colours range from 0 to 1 for i, f and o, from -1 to 1 for g and h, and for c to its largest absolute value; further
    where activations or a projection give larger values. A projected h has a line for each of its features.
    """
    from clstm.trace import Trace

    if not isinstance(trace, Trace):
        raise TypeError(f"trace is {type(trace).__name__}, expected a Trace, as trace returns it")
    panels = _check_panels(gates)
    layer = check_index("layer", layer, low=-len(trace.layers), high=len(trace.layers) - 1) % len(trace.layers)
    direction = check_index("direction", direction, low=0, high=len(trace.layers[layer]) - 1)
    if trace.batch_axis is not None:
        trace = trace.row(row)
    elif check_index("row", row):
        raise ValueError(f"row is {row}, but the trace has no batch axis")
    if not trace.lengths:
        raise ValueError(f"row {row} has no steps to draw")
    tokens = trace.tokens if tokens is None else list(tokens)
    if tokens is not None and len(tokens) != trace.lengths:
        raise ValueError(f"tokens has {len(tokens)} entries, expected one for each of {trace.lengths} steps")
    part = trace[layer, direction]
    order = _order_of_units(part, units, sort)

    new = axes is None
    axes = _new_axes(trace, layer, direction, len(panels), len(order), tokens) if new else axes
    axes = _check_axes(axes, len(panels))
    in_order = sort is None and units is None
    for ax, name in zip(axes, panels, strict=True):
        values = getattr(part, name)
        if values.shape[1] == part.c.shape[1]:
            _draw_panel(ax, name, values[:, order], order, in_order)
        else:
            _draw_panel(ax, name, values, None, True)
    for ax in axes[-1:] if new else axes:
        _label_steps(ax, tokens, int(trace.lengths))
    return axes


def _new_axes(
    trace: Trace, layer: int, direction: int, panels: int, units: int, tokens: Sequence[str] | None
) -> np.ndarray:
    """Return the axes of a new figure, which is as large as there are steps, panels and units."""
    width = 1.6 + (0.12 if tokens is None else 0.34) * trace.lengths
    height = panels * (0.35 + min(max(0.25 * units, 0.3), 1.15)) + (0.4 if tokens is None else 0.9)
    figure, axes = pyplot().subplots(
        panels, sharex=True, squeeze=False, figsize=(min(max(width, 5), 16), height), layout="constrained"
    )
    if len(trace.layers) > 1 or len(trace.layers[layer]) > 1:
        figure.suptitle(f"layer {layer}, reading {'backwards' if direction else 'forwards'}", fontsize=10)
    return axes


def _check_panels(names: Any) -> str:
    if not isinstance(names, str) or not names or set(names) - set(_PANELS) or len(set(names)) < len(names):
        raise ValueError(f"gates is {names!r}, expected some of the letters {''.join(_PANELS)}, each once")
    return names


def _check_axes(axes: Any, count: int) -> np.ndarray:
    axes = as_row(axes)
    if len(axes) != count:
        raise ValueError(f"axes holds {len(axes)}, expected {count}, one a panel")
    return axes


def _order_of_units(part: LayerTrace, units: Any, sort: str | None) -> np.ndarray:
    """Return the numbers of the units to draw, from the top to the bottom."""
    count = part.c.shape[1]
    if units is None:
        units = range(count)
    elif not np.ndim(units) or not len(units):
        raise ValueError(f"units is {units!r}, expected one or more numbers of units")
    order = np.array([check_index(f"units[{k}]", unit, low=0, high=count - 1) for k, unit in enumerate(units)])
    if sort is None:
        return order
    check_choice("sort", sort, ("similar", *_PANELS))
    values = getattr(part, "c" if sort == "similar" else sort)
    if values.shape[1] != count:
        raise ValueError(f"sort is {sort!r}, but {sort} has {values.shape[1]} features of {count} units: a projection")
    values = np.nan_to_num(values[:, order].astype(np.float64), posinf=0, neginf=0)
    if sort != "similar":
        return order[np.argsort(-values.mean(axis=0), kind="stable")]
    # By the angle in the plane of the first two principal components: neighbours are similar (Friendly 2002).
    size = np.linalg.norm(values, axis=0)
    _, _, components = np.linalg.svd(values / np.where(size, size, 1), full_matrices=False)
    first, second = components[0], components[1] if len(components) > 1 else 0 * components[0]
    angle = np.arctan2(second, first)
    # The order starts after the widest gap of the circle.
    around = np.argsort(angle, kind="stable")
    gaps = np.diff(angle[around], append=angle[around[0]] + 2 * np.pi)
    return order[np.roll(around, -1 - int(gaps.argmax()))]


def _draw_panel(ax: Axes, name: str, values: np.ndarray, units: np.ndarray | None, in_order: bool) -> None:
    """Draw values (time, features) as a heat map with its colour bar; `units` are the features' numbers, or None."""
    title, lowest = _PANELS[name]
    extreme = float(np.abs(values).max(where=np.isfinite(values), initial=0)) or 1.0
    if lowest == 0 and values.min() >= 0:
        low, high, colours = 0.0, max(1.0, extreme), "YlGnBu"
    else:
        high = extreme if lowest is None else max(1.0, extreme)
        low, colours = -high, "RdBu_r"
    picture = ax.imshow(values.T, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    ax.set_title(title, loc="left", fontsize=9)
    count = values.shape[1]
    if units is None:
        ax.set_ylabel("feature", fontsize=8)
    elif count <= 12:
        few = count <= 2  # the panel is too low for a label beside the numbers
        ax.set_yticks(range(count), [f"unit {unit}" for unit in units] if few else units)
        ax.set_ylabel("" if few else "unit", fontsize=8)
    elif in_order:
        ax.set_ylabel("unit", fontsize=8)
    else:
        ax.set_ylabel(f"{count} units", fontsize=8)
        ax.set_yticks([])
    ax.tick_params(labelsize=8, length=2)
    ticks = [low, (low + high) / 2, high]
    height = ax.get_window_extent().height / ax.figure.dpi
    bar = ax.figure.colorbar(picture, ax=ax, pad=0.01, fraction=0.05, aspect=max(2, height / 0.13), ticks=ticks)
    bar.ax.set_yticklabels([f"{value:.3g}" for value in ticks])
    bar.ax.tick_params(labelsize=7, length=2)
    bar.outline.set_linewidth(0.5)


def _label_steps(ax: Axes, tokens: Sequence[str] | None, steps: int) -> None:
    """Write the tokens below the axis, as large as there is room for."""
    if tokens is None:
        from matplotlib.ticker import MaxNLocator

        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("step", fontsize=8)
        return
    room = 72 * ax.get_window_extent().width / ax.figure.dpi / steps  # in points
    size = min(max(0.85 * room, 6), 9)
    every = max(1, math.ceil(1.1 * size / room))
    shown = [_visible(str(token)) for token in tokens[::every]]
    if 0.65 * size * max(map(len, shown)) < room * every:
        style: dict[str, Any] = {}
    elif room < 18:
        style = {"rotation": 90}
    else:
        style = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    ax.set_xticks(range(0, steps, every), shown, fontsize=size, parse_math=False, **style)


def _visible(token: str) -> str:
    """Return a token with its white space shown."""
    for what, shown in ((" ", "\u2423"), ("\n", "\u21b5"), ("\t", "\u21e5")):
        token = token.replace(what, shown)
    return token
