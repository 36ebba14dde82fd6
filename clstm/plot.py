"""Pictures, drawn by matplotlib (``pip install clstm-cpu[plot]``), which is imported when the first one is drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clstm._checks import check_choice, check_index

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from clstm.estimators.base import BaseModel
    from clstm.trace import LayerTrace, Trace
    from clstm.train.history import History
    from clstm.translation.translator import Alignment

# The panels of `gates`: their titles, and where their scales begin, which the usual activations keep to.
_PANELS = {
    "i": ("input gate i", 0),
    "f": ("forget gate f", 0),
    "g": ("candidate g", -1),
    "o": ("output gate o", 0),
    "c": ("cell state c", None),
    "h": ("output h", -1),
}

# Okabe & Ito's palette, which colour-blind people tell apart
_BLACK, _BLUE, _ORANGE = "#222222", "#0072B2", "#D55E00"


def forecast(
    history: Any,
    forecast: Any,
    *,
    actual: Any = None,
    dates: Any = None,
    ax: Axes | None = None,
    label: str = "forecast",
) -> Axes:
    """Draw a series and its forecast, with intervals as bands.

    Parameters
    ----------
    history : array_like of shape (time,)
        What came before; as much of it as shall be seen, or nothing.
    forecast : clstm.forecasting.results.Forecast or array_like of shape (h,)
        Of one series and column, as `LSTMForecaster.predict` gives it, with ``level`` or without.
    actual : array_like of shape (h,), optional
        What came.
    dates : array_like of shape (time + h,), optional
        Of both, for the horizontal axis. Without them steps are counted from the forecast's beginning.
    ax : matplotlib.axes.Axes, optional
        New ones if left out.
    label : str, default "forecast"
        What the legend calls it.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        matplotlib isn't installed.
    ValueError
        A wrong shape.
    """
    from clstm.forecasting.results import Forecast

    if not isinstance(forecast, Forecast):
        forecast = Forecast(np.asarray(forecast))
    history, point = np.asarray(history), forecast.point
    for name, array, size in (("history", history, None), ("forecast", point, None), ("actual", actual, len(point))):
        if array is not None and (np.ndim(array) != 1 or (size is not None and len(array) != size)):
            raise ValueError(f"{name} has shape {np.shape(array)}, expected ({'time' if size is None else size},)")
    before = len(history)
    x = np.arange(-before, len(point)) if dates is None else np.asarray(dates)
    if len(x) != before + len(point):
        raise ValueError(f"dates has shape {x.shape}, expected ({before + len(point)},), those of history and forecast")

    ax = _pyplot().subplots(figsize=(9, 4), layout="constrained")[1] if ax is None else ax
    ax.plot(x[:before], history, color=_BLACK, linewidth=1.2, label="history")
    for place, level in enumerate(sorted(forecast.lower, reverse=True)):
        ax.fill_between(
            x[before:], forecast.lower[level], forecast.upper[level], color=_BLUE, alpha=0.18 + 0.14 * place,
            linewidth=0, label=f"{level:g}%",
        )  # fmt: skip
    if actual is not None:
        ax.plot(x[before:], actual, color=_BLACK, linewidth=1.2, linestyle="--", label="what came")
    ax.plot(x[before:], point, color=_ORANGE, linewidth=1.6, label=label)
    if x.dtype.kind == "M":
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator()
        ax.xaxis.set_major_locator(locator)
        ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    elif dates is None:
        ax.set_xlabel("steps from the forecast's beginning")
    ax.margins(x=0)
    ax.legend(frameon=False, ncols=3)
    return ax


def attention(alignment: Alignment, ax: Axes | None = None) -> Axes:
    """Draw what a translator looked at: a row for each word that it wrote, a column for each word of the source.

    Parameters
    ----------
    alignment : Alignment
        From ``Translator.translate(..., return_attention=True)``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a figure of its own if left out.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ImportError
        matplotlib isn't installed.
    """
    if ax is None:
        width, height = len(alignment.source_words), len(alignment.target_words)
        _, ax = _pyplot().subplots(figsize=(2 + 0.45 * width, 1.5 + 0.4 * height), layout="constrained")
    picture = ax.imshow(alignment.weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(
        range(len(alignment.source_words)), alignment.source_words, rotation=45, ha="left", rotation_mode="anchor"
    )
    ax.set_yticks(range(len(alignment.target_words)), alignment.target_words)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.figure.colorbar(picture, ax=ax, label="attention")
    return ax


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
    """Draw what an LSTM's gates and cells did over time: a panel a gate, a line a unit, a column a step.

    Gates are pale where they are closed (0) and dark where they are open (1); what can be negative is blue below zero
    and red above.

    Parameters
    ----------
    trace : Trace
        From `LSTM.trace`, or a network's or model's ``trace``.
    tokens : sequence of str, optional
        What was read at each step of the row. If left out those of the trace, or the steps' numbers where it has none.
    layer, direction, row : int
        What to draw: one layer, the last if left out, in one direction (0 forward, 1 reverse), of one row.
    gates : str, default "ifgoch"
        Which panels, in this order: input, forget, candidate, output gate, cell state, output.
    units : sequence of int, optional
        Only these units; all if left out.
    sort : {"similar", "i", "f", "g", "o", "c", "h"} or None, default "similar"
        The order of the units, the same in all panels: those whose cells behave alike beside each other; or by the
        mean of one gate, cell state or output, the highest on top. None leaves them as they are, or as `units` has
        them.
    axes : matplotlib.axes.Axes or sequence of them, optional
        Where to draw, as many as there are panels; a figure of its own if left out.

    Returns
    -------
    ndarray of matplotlib.axes.Axes
        One a panel.

    Raises
    ------
    ImportError
        matplotlib isn't installed.
    TypeError, ValueError
        Something else than a trace; a layer, direction, row, unit or gate that it doesn't have; a row without steps;
        or as many tokens as it has no steps, as many axes as there are no panels.

    Notes
    -----
    Colours go from 0 to 1 for i, f and o, from -1 to 1 for g and h, and for c to its own largest value on either side;
    further where activations or a projection lead beyond. Of a projected h the lines are its features.
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

    own = axes is None
    if own:
        width = 1.6 + (0.12 if tokens is None else 0.34) * trace.lengths
        height = len(panels) * (0.35 + min(max(0.25 * len(order), 0.3), 1.15)) + (0.4 if tokens is None else 0.9)
        figure, axes = _pyplot().subplots(
            len(panels), sharex=True, squeeze=False, figsize=(min(max(width, 5), 16), height), layout="constrained"
        )
        if len(trace.layers) > 1 or len(trace.layers[layer]) > 1:
            figure.suptitle(f"layer {layer}, reading {'backwards' if direction else 'forwards'}", fontsize=10)
    axes = _check_axes(axes, len(panels))
    in_order = sort is None and units is None
    for ax, name in zip(axes, panels, strict=True):
        values = getattr(part, name)
        if values.shape[1] == part.c.shape[1]:
            _draw_panel(ax, name, values[:, order], order, in_order)
        else:
            _draw_panel(ax, name, values, None, True)
    for ax in axes[-1:] if own else axes:
        _label_steps(ax, tokens, trace.lengths)
    return axes


def _check_panels(names: Any) -> str:
    if not isinstance(names, str) or not names or set(names) - set(_PANELS) or len(set(names)) < len(names):
        raise ValueError(f"gates is {names!r}, expected some of the letters {''.join(_PANELS)}, each once")
    return names


def _check_axes(axes: Any, count: int) -> np.ndarray:
    axes = np.atleast_1d(np.array(axes, object)).ravel()
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
    # By the angle in the plane of the first two principal components: neighbours behave alike (Friendly 2002).
    size = np.linalg.norm(values, axis=0)
    _, _, components = np.linalg.svd(values / np.where(size, size, 1), full_matrices=False)
    first, second = components[0], components[1] if len(components) > 1 else 0 * components[0]
    angle = np.arctan2(second, first)
    # The circle is cut where the gap is widest.
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
        few = count <= 2  # too low for a label beside the numbers
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
    """Write what was read below an axis, as large as there is room for."""
    if tokens is None:
        from matplotlib.ticker import MaxNLocator

        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("step", fontsize=8)
        return
    room = 72 * ax.get_window_extent().width / ax.figure.dpi / steps  # points
    size = min(max(0.85 * room, 6), 9)
    every = max(1, math.ceil(1.1 * size / room))
    shown = [_visible(str(token)) for token in tokens[::every]]
    if 0.65 * size * max(map(len, shown)) < room * every:
        style = {}
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


def history(model: BaseModel | History, axes: Any = None) -> np.ndarray:
    """Draw how a training went: losses, the validation's score and the learning rate of each epoch.

    Parameters
    ----------
    model : fitted model or clstm.train.history.History
        A model with a `history_`, or what `clstm.train.fit` returned.
    axes : matplotlib.axes.Axes or sequence of them, optional
        Where to draw: one for the losses alone, or more for the score, where there is one, and the rate, where it
        changes. A figure of its own if left out.

    Returns
    -------
    ndarray of matplotlib.axes.Axes
        One a panel. Of the epochs the one whose weights were kept, where validation chose it, is marked.

    Raises
    ------
    ImportError
        matplotlib isn't installed.
    NotFittedError
        The model isn't fitted.
    TypeError, ValueError
        Something else than these, no epochs, or more axes than there are panels.
    """
    from clstm.estimators.base import BaseModel
    from clstm.train.history import History

    if isinstance(model, BaseModel):
        model._check_fitted()
    found = getattr(model, "history_", model)
    if not isinstance(found, History):
        raise TypeError(f"model is {type(model).__name__}, expected a fitted model or a History")
    if not found.n_epochs:
        raise ValueError("the history has no epochs: the training was ended before the first one was")
    panels = {"loss": {"training": found.train_loss, "validation": found.validation_loss}}
    if found.validation_score:
        panels["validation score"] = {"validation": found.validation_score}
    if len(set(found.lr)) > 1:
        panels["learning rate"] = {"rate": found.lr}
    if axes is None:
        count = len(panels)
        axes = _pyplot().subplots(count, sharex=True, squeeze=False, figsize=(6.5, 0.7 + 2 * count),
                                  layout="constrained")[1]  # fmt: skip
    axes = np.atleast_1d(np.array(axes, object)).ravel()
    if not 0 < len(axes) <= len(panels):
        raise ValueError(f"axes holds {len(axes)}, expected 1 to {len(panels)}: {', '.join(panels)}")

    from matplotlib.ticker import MaxNLocator

    colours = {"training": _BLACK, "validation": _ORANGE, "rate": _BLUE}
    for ax, (label, curves) in zip(axes, panels.items(), strict=False):
        for name, values in curves.items():
            if values:
                epochs = range(1, len(values) + 1)
                marker = "o" if len(values) <= 30 else None
                ax.plot(epochs, values, color=colours[name], linewidth=1.4, marker=marker, markersize=3, label=name)
        if found.best_epoch is not None:
            ax.axvline(found.best_epoch, color="0.6", linewidth=1, linestyle=":", zorder=0, label="kept")
        ax.set_ylabel(label)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes[0].legend(frameon=False)
    axes[-1].set_xlabel("epoch")
    return axes


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError("pictures need matplotlib: pip install clstm-cpu[plot]") from None
    return pyplot
