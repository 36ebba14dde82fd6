"""Training on long series: cut into segments, each of which begins with the state that all before it left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from clstm.forecasting.network import ForecastNetwork
from clstm.forecasting.rollout import states_along
from clstm.layers.lstm import State


@dataclass
class Batch:
    """Some segments.

    Attributes
    ----------
    places : ndarray of int, shape (time, segments)
        Which steps of the series they are, those past a segment's end included.
    rows : ndarray of int, shape (segments,)
        Of which series.
    lengths : ndarray of int, shape (segments,)
    state : (h, c)
        At their beginnings.
    """

    places: np.ndarray
    rows: np.ndarray
    lengths: np.ndarray
    state: State

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def inside(self) -> np.ndarray:
        """Whether a step is one of the segment's, (time, segments)."""
        return np.arange(len(self.places))[:, np.newaxis] < self.lengths


class Segments:
    """Mini-batches of segments of series, cut anew at other places and shuffled each time they are iterated over.

    An epoch begins with one pass of inference along the series, which keeps the state wherever a segment begins. So
    all that came before is context, as with a state carried from one segment to the next, but segments of one series
    can be in one batch, in any order. The states are as old as the epoch, which short epochs forgive (Kapturowski et
    al. 2019, "Recurrent experience replay in distributed reinforcement learning", has them far older).

    Parameters
    ----------
    network : ForecastNetwork
    inputs : ndarray of shape (time, series, features)
    lengths : ndarray of int, shape (series,)
        Steps to train on.
    size : int
        Steps of a segment; the first and last of a series can be shorter.
    batch_size : int
        Segments of a batch, about.
    generator : Generator
    """

    def __init__(
        self,
        network: ForecastNetwork,
        inputs: np.ndarray,
        lengths: np.ndarray,
        size: int,
        batch_size: int,
        generator: np.random.Generator,
    ) -> None:
        self._network, self._inputs, self._lengths = network, inputs, lengths
        self._size, self._generator = size, generator
        # Each iteration has as many batches, whether the cuts make a segment more or not.
        self._batches = max(1, int(np.ceil(lengths / size).sum()) // batch_size)

    def __len__(self) -> int:
        """Batches of an epoch."""
        return self._batches

    def __iter__(self) -> Iterator[Batch]:
        longest = int(self._lengths.max())
        cuts = [0, *range(int(self._generator.integers(1, self._size + 1)), longest, self._size)]
        ends = dict(zip(cuts, [*cuts[1:], longest], strict=True))
        starts, rows, states = [], [], []
        for start, state in states_along(self._network, self._inputs, self._lengths, cuts):
            going_on = np.flatnonzero(self._lengths > start)
            starts += [start] * len(going_on)
            rows.append(going_on)
            states.append([array[:, going_on] for array in state])
        starts, rows = np.array(starts), np.concatenate(rows)
        h, c = (np.concatenate(arrays, axis=1) for arrays in zip(*states, strict=True))
        lengths = np.minimum([ends[start] for start in starts], self._lengths[rows]) - starts

        for chosen in np.array_split(self._generator.permutation(len(rows)), min(len(self), len(rows))):
            steps = np.arange(lengths[chosen].max())[:, np.newaxis]
            places = np.minimum(starts[chosen] + steps, len(self._inputs) - 1)
            yield Batch(places, rows[chosen], lengths[chosen], (h[:, chosen], c[:, chosen]))
