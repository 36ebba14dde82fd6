"""A series with its forecast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clstm.plot.axes import BLACK, BLUE, ORANGE, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from clstm.forecasting.results import Forecast


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
        The values before the forecast; as many of them as shall be drawn, or none.
    forecast : clstm.forecasting.results.Forecast or array_like of shape (h,)
        Of one series and column, as `LSTMForecaster.predict` returns it, with ``level`` or without.
    actual : array_like of shape (h,), optional
        The values that the forecast is of.
    dates : array_like of shape (time + h,), optional
        The dates of both, for the horizontal axis. Without them steps are counted from the forecast's beginning.
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

    ax = pyplot().subplots(figsize=(9, 4), layout="constrained")[1] if ax is None else ax
    _draw(ax, x, history, forecast, actual, label)
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


def _draw(ax: Axes, x: np.ndarray, history: np.ndarray, forecast: Forecast, actual: Any, label: str) -> None:
    """Draw the curves and bands at the positions x (time + h,)."""
    past, ahead = x[: len(history)], x[len(history) :]
    ax.plot(past, history, color=BLACK, linewidth=1.2, label="history")
    for place, level in enumerate(sorted(forecast.lower, reverse=True)):
        ax.fill_between(
            ahead, forecast.lower[level], forecast.upper[level], color=BLUE, alpha=0.18 + 0.14 * place,
            linewidth=0, label=f"{level:g}%",
        )  # fmt: skip
    if actual is not None:
        ax.plot(ahead, actual, color=BLACK, linewidth=1.2, linestyle="--", label="actual")
    ax.plot(ahead, forecast.point, color=ORANGE, linewidth=1.6, label=label)
