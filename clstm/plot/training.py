"""The history of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clstm.plot.axes import BLACK, BLUE, ORANGE, as_row, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from clstm.estimators.base import BaseModel
    from clstm.train.history import History


def history(model: BaseModel | History, axes: Any = None) -> np.ndarray:
    """Draw the course of a training: losses, validation score and learning rate of each epoch.

    Parameters
    ----------
    model : fitted model or clstm.train.history.History
        A model with a `history_`, or what `clstm.train.fit` returned.
    axes : matplotlib.axes.Axes or sequence of them, optional
        Where to draw: one for the losses alone, or more for the score, if there is one, and the learning rate, if it
        changes. In a new figure if left out.

    Returns
    -------
    ndarray of matplotlib.axes.Axes
        One for each panel. If validation chose the epoch whose weights the model has, it is marked.

    Raises
    ------
    ImportError
        matplotlib isn't installed.
    NotFittedError
        The model isn't fitted.
    TypeError, ValueError
        `model` is something else, the history has no epochs, or there are more axes than panels.
    """
    from clstm.estimators.base import BaseModel
    from clstm.train.history import History

    if isinstance(model, BaseModel):
        model._check_fitted()
    found = getattr(model, "history_", model)
    if not isinstance(found, History):
        raise TypeError(f"model is {type(model).__name__}, expected a fitted model or a History")
    if not found.n_epochs:
        raise ValueError("the history has no epochs: the training ended during the first one")
    panels = {"loss": {"training": found.train_loss, "validation": found.validation_loss}}
    if found.validation_score:
        panels["validation score"] = {"validation": found.validation_score}
    if len(set(found.lr)) > 1:
        panels["learning rate"] = {"rate": found.lr}
    if axes is None:
        size = (6.5, 0.7 + 2 * len(panels))
        axes = pyplot().subplots(len(panels), sharex=True, squeeze=False, figsize=size, layout="constrained")[1]
    axes = as_row(axes)
    if not 0 < len(axes) <= len(panels):
        raise ValueError(f"axes holds {len(axes)}, expected 1 to {len(panels)}: {', '.join(panels)}")
    for ax, (label, curves) in zip(axes, panels.items(), strict=False):
        _draw_panel(ax, label, curves, found.best_epoch)
    axes[0].legend(frameon=False)
    axes[-1].set_xlabel("epoch")
    return axes


_COLOURS = {"training": BLACK, "validation": ORANGE, "rate": BLUE}


def _draw_panel(ax: Axes, label: str, curves: dict[str, list[float]], best_epoch: int | None) -> None:
    """Draw curves over the epochs, and mark the epoch whose weights the model has."""
    from matplotlib.ticker import MaxNLocator

    for name, values in curves.items():
        if values:
            epochs = range(1, len(values) + 1)
            marker = "o" if len(values) <= 30 else None
            ax.plot(epochs, values, color=_COLOURS[name], linewidth=1.4, marker=marker, markersize=3, label=name)
    if best_epoch is not None:
        ax.axvline(best_epoch, color="0.6", linewidth=1, linestyle=":", zorder=0, label="kept")
    ax.set_ylabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
