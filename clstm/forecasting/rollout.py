"""Running a forecaster's network: along series, keeping the state at some places, and from there into the future."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from clstm.forecasting.differencing import Differences
from clstm.forecasting.network import ForecastNetwork
from clstm.layers.lstm import State

ROWS = 4096  # that are rolled forward together, so that their states stay in the cache


def pad(rows: list[np.ndarray], dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (time_i, features) as one array (time, rows, features), zero past their ends, and their lengths."""
    lengths = np.array([len(row) for row in rows])
    padded = np.zeros((lengths.max(), len(rows), rows[0].shape[1]), dtype)
    for place, row in enumerate(rows):
        padded[: len(row), place] = row
    return padded, lengths


def states_along(
    network: ForecastNetwork, x: np.ndarray, lengths: np.ndarray, stops: Iterable[int], state: State | None = None
) -> Iterator[tuple[int, State]]:
    """Yield each stop, a number of steps, and the state of all rows there (of a row that ended before, its last).

    Parameters
    ----------
    network : ForecastNetwork
    x : ndarray of shape (time, rows, features)
    lengths : ndarray of int, shape (rows,)
    stops : iterable of int
        Rising, 0 to time.
    state : (h, c), optional
        To begin with; zeros if left out.
    """
    if state is None:
        lstm = network.lstm
        shape = (lstm.num_layers, x.shape[1], lstm.hidden_size)
        state = np.zeros(shape, lstm.dtype), np.zeros(shape, lstm.dtype)
    place = 0
    for stop in stops:
        if stop > place:
            _, state = network.lstm(x[place:stop], state, np.clip(lengths - place, 0, stop - place))
            place = stop
        yield stop, state


def roll(
    network: ForecastNetwork,
    differences: Differences,
    state: State,
    tails: np.ndarray,
    known: np.ndarray,
    center: np.ndarray,
    scale: np.ndarray,
    uniform: np.ndarray | None = None,
) -> np.ndarray:
    """Return forecasts from many places at once: of each its values one after the other, each fed back as if it came.

    Parameters
    ----------
    network : ForecastNetwork
    differences : Differences
    state : (h, c)
        Each (layers, rows, hidden_size).
    tails : ndarray of shape (rows, differences.order + 1, columns)
        The last values that are known.
    known : ndarray of shape (rows, steps, features)
        What is known of the steps ahead.
    center, scale : ndarray of shape (rows, columns)
        Of the differences.
    uniform : ndarray of shape (samples, steps, columns), optional
        Uniform numbers by which values are drawn, the same for all rows. Without them the medians are fed back.

    Returns
    -------
    ndarray of shape (rows, samples, steps, columns)
        With one sample where nothing is drawn.
    """
    samples = 1 if uniform is None else len(uniform)
    noise = None if uniform is None else network.output.noise(uniform, network.shared)
    rows_a_time = max(1, ROWS // samples)
    parts = []
    for first in range(0, len(tails), rows_a_time):
        rows = slice(first, first + rows_a_time)
        part = tuple(array[:, rows] for array in state), tails[rows], known[rows], center[rows], scale[rows]
        parts.append(_roll(network, differences, *part, samples, noise))
    return np.concatenate(parts)


def _roll(network, differences, state, tails, known, center, scale, samples, noise):
    rows, tail, columns = tails.shape
    steps = known.shape[1]

    def spread(array: np.ndarray, axis: int = 0) -> np.ndarray:
        return np.repeat(array, samples, axis) if samples > 1 else array

    center, scale, known = spread(center), spread(scale), spread(known)
    y = np.empty((rows * samples, tail + steps, columns))
    y[:, :tail] = spread(tails)
    stream = network.lstm.stream(rows * samples, tuple(spread(array, 1) for array in state))
    x = np.empty((rows * samples, network.lstm.input_size), network.dtype)
    last = (y[:, tail - 1] - differences.offset(y, tail - 1) - center) / scale
    for step in range(steps):
        x[:, :columns] = last
        x[:, columns:] = known[:, step]
        raw = network.describe(stream.step(x), x)
        if noise is None:
            last = network.output.point(raw)
        else:
            drawn = network.output.draw(raw.reshape(rows, samples, columns, -1), noise[:, step])
            last = drawn.reshape(rows * samples, columns)
        y[:, tail + step] = differences.offset(y, tail + step) + center + scale * last
    return y[:, tail:].reshape(rows, samples, steps, columns)
