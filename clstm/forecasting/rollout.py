"""Forecasting several steps ahead: each forecast value is fed back to the network as if it had been observed."""

from __future__ import annotations

import numpy as np

from clstm.forecasting.cutoffs import CutoffState
from clstm.forecasting.encoding import Encoding, Scaling
from clstm.forecasting.network import ForecastNetwork

BLOCK_ROWS = 4096  # rows that are rolled out together: few enough for their states to stay in the cache


def roll_out(
    network: ForecastNetwork,
    encoding: Encoding,
    cutoff: CutoffState,
    covariates: np.ndarray,
    uniform: np.ndarray | None = None,
) -> np.ndarray:
    """Return the forecast values after each cut-off: medians, or sampled paths.

    Parameters
    ----------
    network : ForecastNetwork
    encoding : Encoding
    cutoff : CutoffState
    covariates : ndarray of shape (rows, steps, covariates)
        Of the steps ahead.
    uniform : ndarray of shape (samples, steps, columns), optional
        Uniform numbers that values are drawn by, the same for all rows. Without them the medians are fed back.

    Returns
    -------
    ndarray of shape (rows, samples, steps, columns)
        With one sample if nothing is drawn.
    """
    samples = 1 if uniform is None else len(uniform)
    noise = None if uniform is None else network.output.noise(uniform, network.shared)
    block = max(1, BLOCK_ROWS // samples)
    if len(cutoff.series) <= block:
        return _roll_out_block(network, encoding, cutoff, covariates, samples, noise)
    blocks = [slice(first, first + block) for first in range(0, len(cutoff.series), block)]
    paths = [_roll_out_block(network, encoding, cutoff.rows(b), covariates[b], samples, noise) for b in blocks]
    return np.concatenate(paths)


def _roll_out_block(
    network: ForecastNetwork,
    encoding: Encoding,
    cutoff: CutoffState,
    covariates: np.ndarray,
    samples: int,
    noise: np.ndarray | None,
) -> np.ndarray:
    """Return the paths of some rows. Each row is repeated `samples` times, so that all paths take a step together."""
    rows, known, columns = cutoff.last_values.shape
    steps = covariates.shape[1]

    def repeat(array: np.ndarray, axis: int = 0) -> np.ndarray:
        return np.repeat(array, samples, axis) if samples > 1 else array

    scaling = Scaling(*(repeat(array[cutoff.series]) for array in encoding.y_scaling))
    covariates = repeat(covariates)
    y = np.empty((rows * samples, known + steps, columns))
    y[:, :known] = repeat(cutoff.last_values)
    h, c = cutoff.state
    stream = network.lstm.stream(rows * samples, (repeat(h, 1), repeat(c, 1)))
    x = np.empty((rows * samples, network.lstm.input_size), network.dtype)
    offset = encoding.differences.offset
    last = scaling(y[:, known - 1] - offset(y, known - 1))
    for step in range(steps):
        x[:, :columns] = last
        x[:, columns:] = covariates[:, step]
        raw = network.describe(stream.step(x), x)
        if noise is None:
            last = network.output.point(raw)
        else:
            drawn = network.output.draw(raw.reshape(rows, samples, columns, -1), noise[:, step])
            last = drawn.reshape(rows * samples, columns)
        y[:, known + step] = offset(y, known + step) + scaling.center + scaling.scale * last
    return y[:, known:].reshape(rows, samples, steps, columns)
