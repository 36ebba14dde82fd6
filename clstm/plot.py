"""Pictures, drawn by matplotlib, which is imported when a function is called."""

from __future__ import annotations

from typing import Any

import numpy as np

# Okabe & Ito's palette, which colour-blind people tell apart
_BLACK, _BLUE, _ORANGE = "#222222", "#0072B2", "#D55E00"


def forecast(
    history: Any,
    forecast: Any,
    *,
    actual: Any = None,
    dates: Any = None,
    ax: Any = None,
    label: str = "forecast",
) -> Any:
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
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError("pictures need matplotlib: pip install clstm-cpu[plot]") from None
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

    ax = plt.subplots(figsize=(9, 4), layout="constrained")[1] if ax is None else ax
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
