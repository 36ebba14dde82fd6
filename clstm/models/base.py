"""What the networks around an LSTM share: a trace of the LSTM that reads their input, and loading from files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from clstm._checks import check_token_ids
from clstm._package import public
from clstm.layers.base import Layer, blank_weights

if TYPE_CHECKING:
    from clstm.layers.lstm import State
    from clstm.trace import Trace


@public("clstm.models")
class LSTMNetwork(Layer):
    """Base of the networks whose input an LSTM reads: floats, or token ids through an embedding."""

    # Names of the attributes with the embedding, which may be missing or None, and the LSTM
    _reader: tuple[str, str] = ("embedding", "lstm")

    def trace(self, x: Any, state: State | None = None, lengths: Any = None) -> Trace:
        """Return the gates, cell states and outputs of the LSTM that reads the input, at every step.

        Parameters
        ----------
        x
            The input, as of a call, or one row of it without a batch axis.
        state, lengths
            As of `LSTM.trace`, which also raises the errors.

        Returns
        -------
        Trace
            Of inference, without dropout.
        """
        embedding, lstm = (getattr(self, name, None) for name in self._reader)
        if embedding is not None:
            x = check_token_ids("x", x, embedding.num_embeddings)
            if x.ndim not in (1, 2):
                layout = "(batch, time)" if lstm.batch_first else "(time, batch)"
                raise ValueError(f"x has shape {x.shape}, expected {layout} or (time,)")
            x = embedding(x)
        return lstm.trace(x, state, lengths)


Network = TypeVar("Network", bound=LSTMNetwork)


def restored(make: Callable[[], Network], arrays: Mapping[str, np.ndarray], num_layers: int) -> Network:
    """Return the network that `make` makes, with weights from a file, of which nothing is trusted.

    Whatever sizes the file's arguments have, a network with blank weights takes no memory; then the arrays must have
    the shapes of its weights.

    Parameters
    ----------
    make : callable
        Makes the network from the arguments in the file.
    arrays : mapping of str to ndarray
        The file's weights by name.
    num_layers : int
        The network's layers. Each of them has weights, so arguments with more layers than arrays are refused before
        any layer is made.

    Raises
    ------
    TypeError, ValueError
        The arrays aren't the network's weights.
    """
    if num_layers > len(arrays):
        raise ValueError(f"it has {len(arrays)} arrays, which isn't what its params ask for")
    with blank_weights():
        network = make()
    network.load_state_dict(arrays, assign=True)
    return network
