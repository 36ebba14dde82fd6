"""The network's state at cut-offs: the steps up to which series are known, and from which forecasts start."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from clstm.forecasting.encoding import Encoding
from clstm.forecasting.network import ForecastNetwork
from clstm.forecasting.series import Panel
from clstm.layers.lstm import State


@dataclass(frozen=True)
class CutoffState:
    """The state at some cut-offs, with what else forecasts from them need: a row for each.

    Attributes
    ----------
    state : (h, c)
        Each (layers, rows, hidden_size), after all values before the cut-off but the last, which the network reads
        together with the covariates of the first step ahead.
    last_values : ndarray of shape (rows, history_size, columns)
        The last values before the cut-off.
    n_values : ndarray of int, shape (rows,)
        The number of values before the cut-off.
    series : ndarray of int, shape (rows,)
        The index of the series.
    """

    state: State
    last_values: np.ndarray
    n_values: np.ndarray
    series: np.ndarray

    def rows(self, part: slice) -> CutoffState:
        """Return some of the rows."""
        h, c = self.state
        return CutoffState((h[:, part], c[:, part]), self.last_values[part], self.n_values[part], self.series[part])


def read_to_end(network: ForecastNetwork, encoding: Encoding, panel: Panel) -> CutoffState:
    """Read series from their beginnings; return the state at their ends, in the order of the series."""
    steps = encoding.encode(panel)
    _, state = network.lstm(steps.inputs, None, steps.lengths)
    last_values = np.stack([y[-encoding.history_size :] for y in panel.y])
    return CutoffState(state, last_values, panel.lengths, np.arange(len(panel.y)))


def read_on(network: ForecastNetwork, encoding: Encoding, panel: Panel, before: CutoffState) -> CutoffState:
    """Read new values of series from the state before them; return the state at their new ends."""
    y = [np.concatenate(both) for both in zip(before.last_values, panel.y, strict=True)]
    steps = encoding.encode_new(y, panel.X, before.n_values)
    _, state = network.lstm(steps.inputs, before.state, steps.lengths)
    last_values = np.stack([values[-encoding.history_size :] for values in y])
    return CutoffState(state, last_values, before.n_values + panel.lengths, before.series)


def read_to_cutoffs(network: ForecastNetwork, encoding: Encoding, panel: Panel, cutoffs: np.ndarray) -> CutoffState:
    """Read series once from their beginnings; return the state at every cut-off.

    Parameters
    ----------
    network : ForecastNetwork
    encoding : Encoding
    panel : Panel
    cutoffs : ndarray of int, shape (series, windows)
        The number of values before each cut-off.

    Returns
    -------
    CutoffState
        With a row for each cut-off: all of the first series, then all of the second, and so on.
    """
    steps = encoding.encode(panel)
    stops = cutoffs - encoding.history_size
    lstm = network.lstm
    h, c = (np.empty((lstm.num_layers, *stops.shape, lstm.hidden_size), lstm.dtype) for _ in "hc")
    for stop, (h_n, c_n) in states_along(network, steps.inputs, steps.lengths, np.unique(stops)):
        series, windows = np.nonzero(stops == stop)
        h[:, series, windows], c[:, series, windows] = h_n[:, series], c_n[:, series]
    last_values = [
        y[cut - encoding.history_size : cut] for y, cuts in zip(panel.y, cutoffs, strict=True) for cut in cuts
    ]
    rows = lstm.num_layers, cutoffs.size, lstm.hidden_size
    return CutoffState(
        (h.reshape(rows), c.reshape(rows)),
        np.stack(last_values),
        cutoffs.ravel(),
        np.repeat(np.arange(len(cutoffs)), cutoffs.shape[1]),
    )


def states_along(
    network: ForecastNetwork, x: np.ndarray, lengths: np.ndarray, stops: Iterable[int]
) -> Iterator[tuple[int, State]]:
    """Read rows once from zero state; yield at each stop its number of steps, and the state of all rows.

    Parameters
    ----------
    network : ForecastNetwork
    x : ndarray of shape (time, rows, features)
    lengths : ndarray of int, shape (rows,)
        A row whose length is below a stop has its last state there.
    stops : iterable of int
        Rising, 0 to time.
    """
    lstm = network.lstm
    shape = (lstm.num_layers, x.shape[1], lstm.hidden_size)
    state = np.zeros(shape, lstm.dtype), np.zeros(shape, lstm.dtype)
    position = 0
    for stop in stops:
        if stop > position:
            _, state = lstm(x[position:stop], state, np.clip(lengths - position, 0, stop - position))
            position = stop
        yield stop, state
