"""Summaries of layers, networks and models: a table of their parts with output shapes, parameters and memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np


# A shape: names of axes that may have any size, and sizes.
Axes = tuple["str | int", ...]


@dataclass(frozen=True)
class SummaryRow:
    """A line of a `Summary`.

    Attributes
    ----------
    name : str
        The part's name, with which its weights' names begin; empty for the whole.
    kind : str
        Its class; for the layers of an LSTM, "layer 0" and so on.
    depth : int
        Number of parts that contain it.
    output : tuple of str and int
        The output's shape: names of axes that may have any size, and sizes. Empty if the class doesn't say.
    parameters : int
        Number of elements of its own weights, without those of its parts.
    nbytes : int
        Memory of these weights.
    """

    name: str
    kind: str
    depth: int
    output: Axes
    parameters: int
    nbytes: int


@dataclass(frozen=True)
class Summary:
    """The summary of a layer, network or fitted model, as their `summary` returns it; its text is a table.

    Attributes
    ----------
    title : str
        A fitted model's class; empty for a layer or network.
    dtype : str
        Of the weights; empty if there are none.
    rows : tuple of SummaryRow
        The whole first, then its parts in their order.
    """

    title: str
    dtype: str
    rows: tuple[SummaryRow, ...]

    @property
    def parameters(self) -> int:
        """Number of elements of all weights, as `Layer.num_parameters` returns it."""
        return sum(row.parameters for row in self.rows)

    @property
    def nbytes(self) -> int:
        """Memory of all weights in bytes, without the kernels' copies, gradients and an optimiser's state."""
        return sum(row.nbytes for row in self.rows)

    def __str__(self) -> str:
        header = ("layer", "output shape", "parameters", "memory")
        entries = [
            (
                "  " * row.depth + (f"{row.name}: {row.kind}" if row.name else row.kind),
                f"({', '.join(map(str, row.output))})" if row.output else "",
                f"{row.parameters:,}" if row.parameters else "",
                _in_bytes(row.nbytes) if row.parameters else "",
            )
            for row in self.rows
        ]
        total = ("total" + f", {self.dtype}" * bool(self.dtype), "", f"{self.parameters:,}", _in_bytes(self.nbytes))
        widths = [max(map(len, column)) for column in zip(header, *entries, total, strict=True)]

        def line(row: tuple[str, ...]) -> str:
            columns = zip(row, widths, "<<>>", strict=True)
            return "  ".join(f"{text:{side}{width}}" for text, width, side in columns).rstrip()

        rule = "-" * len(line(header))
        title = [self.title] if self.title else []
        return "\n".join([*title, rule, line(header), rule, *map(line, entries), rule, line(total)])

    __repr__ = __str__


class Summarised(Protocol):
    """The attributes of a layer or network that `summarise` uses; its class is on a higher level than this module."""

    _weights: Mapping[str, np.ndarray]
    _parts: Mapping[str, Summarised]

    def parameters(self) -> Mapping[str, np.ndarray]:
        """Return all weights by name."""

    def _output_axes(self) -> Axes: ...
    def _stacked(self) -> Sequence[tuple[Axes, Sequence[np.ndarray]]]: ...


def summarise(layer: Summarised) -> Summary:
    """Return the summary of a layer or network."""
    dtypes = {weight.dtype.name for weight in layer.parameters().values()}
    return Summary("", " and ".join(sorted(dtypes)), tuple(_rows_of(layer, "", 0)))


def _rows_of(layer: Summarised, name: str, depth: int) -> Iterator[SummaryRow]:
    stacked = layer._stacked()
    yield _row(name, type(layer).__name__, depth, layer._output_axes(), [] if stacked else layer._weights.values())
    for number, (output, weights) in enumerate(stacked):
        yield _row("", f"layer {number}", depth + 1, output, weights)
    for part_name, part in layer._parts.items():
        yield from _rows_of(part, part_name, depth + 1)


def _row(name: str, kind: str, depth: int, output: Axes, weights: Iterable[np.ndarray]) -> SummaryRow:
    weights = list(weights)
    sizes = sum(weight.size for weight in weights), sum(weight.nbytes for weight in weights)
    return SummaryRow(name, kind, depth, output, *sizes)


def _in_bytes(count: int) -> str:
    """Return a number of bytes with three significant digits: 712 B, 71.2 kB, 7.12 MB."""
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{count} B" if unit == "B" else f"{value:.3g} {unit}"
