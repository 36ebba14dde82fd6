"""Mini-batches for training on long series: segments of them, each with the network's state where it begins."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from clstm.forecasting.cutoffs import states_along
from clstm.forecasting.network import ForecastNetwork
from clstm.layers.lstm import State


@dataclass
class Batch:
    """Some segments.

    Attributes
    ----------
    steps : ndarray of int, shape (time, segments)
        Their steps in the series. A segment shorter than the longest is padded with the steps after it.
    series : ndarray of int, shape (segments,)
        The series of each segment.
    lengths : ndarray of int, shape (segments,)
    state : (h, c)
        The state at the beginning of each segment.
    """

    steps: np.ndarray
    series: np.ndarray
    lengths: np.ndarray
    state: State

    def __len__(self) -> int:
        """Return the number of segments."""
        return len(self.series)

    @property
    def inside(self) -> np.ndarray:
        """Whether a step belongs to the segment rather than to its padding, (time, segments)."""
        return np.arange(len(self.steps))[:, np.newaxis] < self.lengths


class Segments:
    """Mini-batches of segments of series; each iteration cuts the series at other steps and shuffles the segments.

    An epoch begins with one pass of inference along the series, which stores the state wherever a segment begins. So
    each segment has all steps before it as context, as if the state were carried from one segment to the next, but
    segments of one series can be in one batch, in any order. The weights change during the epoch while these states
    don't. That does little harm if epochs are short; Kapturowski et al. (2019), "Recurrent experience replay in
    distributed reinforcement learning", train on much older states.

    Parameters
    ----------
    network : ForecastNetwork
    inputs : ndarray of shape (time, series, features)
    lengths : ndarray of int, shape (series,)
        Steps to train on.
    size : int
        Steps of a segment; the first and last of a series can be shorter.
    batch_size : int
        Segments of a batch, approximately.
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
        # All epochs have the same number of batches, although some cuts make one segment more than others.
        self._batches = max(1, int(np.ceil(lengths / size).sum()) // batch_size)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self._batches

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of an epoch."""
        longest = int(self._lengths.max())
        cuts = [0, *range(int(self._generator.integers(1, self._size + 1)), longest, self._size)]
        ends = dict(zip(cuts, [*cuts[1:], longest], strict=True))
        first_steps, rows, states = [], [], []
        for start, state in states_along(self._network, self._inputs, self._lengths, cuts):
            longer = np.flatnonzero(self._lengths > start)
            first_steps += [start] * len(longer)
            rows.append(longer)
            states.append([array[:, longer] for array in state])
        starts, series = np.array(first_steps), np.concatenate(rows)
        h, c = (np.concatenate(arrays, axis=1) for arrays in zip(*states, strict=True))
        lengths = np.minimum([ends[start] for start in first_steps], self._lengths[series]) - starts

        for chosen in np.array_split(self._generator.permutation(len(series)), min(len(self), len(series))):
            offsets = np.arange(lengths[chosen].max())[:, np.newaxis]
            steps = np.minimum(starts[chosen] + offsets, len(self._inputs) - 1)
            yield Batch(steps, series[chosen], lengths[chosen], (h[:, chosen], c[:, chosen]))
