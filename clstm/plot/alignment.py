"""The attention of a translation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clstm.plot.axes import pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from clstm.translation.translator import Alignment


def attention(alignment: Alignment, ax: Axes | None = None) -> Axes:
    """Draw a translator's attention: a row for each word that it wrote, a column for each word of the source.

    Parameters
    ----------
    alignment : Alignment
        From ``Translator.translate(..., return_attention=True)``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; in a new figure if left out.

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
        _, ax = pyplot().subplots(figsize=(2 + 0.45 * width, 1.5 + 0.4 * height), layout="constrained")
    picture = ax.imshow(alignment.weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(
        range(len(alignment.source_words)), alignment.source_words, rotation=45, ha="left", rotation_mode="anchor"
    )
    ax.set_yticks(range(len(alignment.target_words)), alignment.target_words)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.figure.colorbar(picture, ax=ax, label="attention")
    return ax
