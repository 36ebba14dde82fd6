"""Pictures, drawn by matplotlib (``pip install clstm-cpu[plot]``), which is imported when the first one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from clstm.translator import Alignment

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
    forecast : clstm.forecasts.Forecast or array_like of shape (h,)
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
    from clstm.forecasts import Forecast

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


def _pyplot() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError("pictures need matplotlib: pip install clstm-cpu[plot]") from None
    return pyplot
