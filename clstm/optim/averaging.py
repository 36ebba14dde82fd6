"""An exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from clstm._checks import check_fraction, check_index, check_state_dict
from clstm._core import _optim
from clstm._package import public
from clstm.layers.base import Layer
from clstm.optim.base import threads_for


@public("clstm.optim")
class ExponentialMovingAverage:
    """An exponential moving average of a layer's weights, which often predicts better than the last weights.

    Averages of the weights were proposed by Polyak & Juditsky (1992). Update n does
    ``average += (1 - decay) / (1 - decay^n) * (weight - average)``. The divisor is the bias correction that Adam has
    too: the average starts as the weights at the first `update`, without the random initial weights, and when decay^n
    is small it is the usual recursion. On the movie reviews the correction makes no difference from the third epoch on
    with a decay of 0.99; with 0.998 it gives about 10 points of accuracy more in the second epoch, and no difference
    after the fifth.

    Parameters
    ----------
    layer : Layer
        Whose weights are averaged.
    decay : float
        0 or more and below 1. The average is over about the last 1 / (1 - decay) updates.

    Attributes
    ----------
    num_updates : int
        Number of updates so far.

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong kind or out of range.
    """

    def __init__(self, layer: Layer, decay: float) -> None:
        if not isinstance(layer, Layer):
            raise TypeError(f"layer is {type(layer).__name__}, expected a layer or network")
        self.layer = layer
        self.decay = check_fraction("decay", decay)
        self.num_updates = 0
        self._average = layer.state_dict()
        self._applied = False

    def update(self) -> None:
        """Include the layer's current weights in the average. Call it after each step of the optimiser.

        Raises
        ------
        RuntimeError
            Inside `applied`, where the layer's weights are the average.
        """
        if self._applied:
            raise RuntimeError("update inside applied: the layer's weights are the average there")
        self.num_updates += 1
        rate = (1 - self.decay) / (1 - self.decay**self.num_updates)
        for name, weight in self.layer.parameters().items():
            _optim.approach(
                self._average[name].reshape(-1), weight.reshape(-1), rate, threads_for(self.layer, weight.size)
            )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Set the layer's weights to the average inside the ``with`` block.

        When the block ends, also by an exception, the layer has its own weights again; changes made to its weights
        inside the block are lost.

        Raises
        ------
        RuntimeError
            Inside another such block.
        """
        if self._applied:
            raise RuntimeError("applied inside applied: the layer has the averaged weights already")
        own = self.layer.state_dict()
        self._applied = True
        try:
            self.layer.load_state_dict(self._average)
            yield
        finally:
            self.layer.load_state_dict(own)
            self._applied = False

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return a copy of the averaged weights by name, as the layer's `load_state_dict` takes them."""
        return {name: array.copy() for name, array in self._average.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], num_updates: int) -> None:
        """Restore an average and its number of updates.

        Parameters
        ----------
        state_dict : mapping of str to array
            As `state_dict` returned it.
        num_updates : int
            The `num_updates` of that time, 0 or more.

        Raises
        ------
        TypeError, ValueError
            A name is missing or unexpected, or a shape or dtype differs. Nothing has changed then.
        """
        arrays = check_state_dict(state_dict, self._average)
        self.num_updates = check_index("num_updates", num_updates, low=0)
        for name, array in arrays.items():
            self._average[name][...] = array

    def __repr__(self) -> str:
        return f"ExponentialMovingAverage(decay={self.decay}, num_updates={self.num_updates})"
