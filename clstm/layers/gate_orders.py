"""The orders in which libraries stack the four gates of an LSTM, and how to change one into another."""

from __future__ import annotations

from typing import Any

import numpy as np

from clstm._checks import as_array, check_index

# i input, f forget, g candidate, o output; from each library's source or documentation.
GATE_ORDERS = {
    "pytorch": "ifgo",  # torch.nn.LSTM: (W_ii|W_if|W_ig|W_io)
    "keras": "ifgo",  # keras/src/layers/rnn/lstm.py: i, f, c, o
    "equinox": "ifgo",  # equinox/nn/_rnn.py: i, f, g, o = jnp.split(lin, 4)
    "onnx": "iofg",  # the operator LSTM: W[iofc]
    "openvino": "figo",  # LSTMSequence-5: fico
    "haste": "igfo",  # haste_pytorch.LSTM, kernel: i,g,f,o
    "haiku": "igfo",  # haiku/_src/recurrent.py: i, g, f, o = jnp.split(gated, ...)
    "tensorflow1": "igfo",  # BasicLSTMCell: i, j, f, o = array_ops.split(...), j the new input
}


def reorder_gates(array: Any, source: str, target: str, axis: int = 0) -> np.ndarray:
    """Return an LSTM's weight or bias with its four gates in another order.

    Parameters
    ----------
    array : array_like
        Weights, biases or their gradients, with the gates stacked along `axis`, whose size is a multiple of 4.
    source, target : str
        The present order and the new one: the letters i, f, g, o (or c for g) as in ``"ifgo"`` or
        ``"iofc"``, or a library's name: ``"pytorch"``, ``"keras"`` and ``"equinox"`` (i f g o), ``"onnx"`` (i o f g),
        ``"openvino"`` (f i g o), ``"haste"``, ``"haiku"`` and ``"tensorflow1"`` (i g f o).
    axis : int, default 0
        Where the gates are stacked: 0 in PyTorch and ONNX (in ONNX's W and R 1, after the directions), -1 in the
        kernels of Keras, Haste and Haiku.

    Returns
    -------
    ndarray
        A new array of the same shape and dtype.

    Raises
    ------
    TypeError
        An order that isn't a string, an axis that isn't an integer, or something that isn't an array.
    ValueError
        An unknown order, or an axis that doesn't exist or can't be split in four.

    Notes
    -----
    Only the order is changed. Haiku and TensorFlow 1 add 1 to the forget gate's sum (their `forget_bias`): for the same
    outputs, add 1 to that part of the bias. The kernels of Keras, Haste, Haiku and TensorFlow 1 have the shape
    (input, 4 * hidden): transpose them.

    Examples
    --------
    >>> import numpy as np, clstm
    >>> clstm.reorder_gates(np.array([1, 2, 3, 4]), "pytorch", "onnx")
    array([1, 4, 2, 3])
    """
    array = as_array("array", array)
    source, target = _letters("source", source), _letters("target", target)
    axis = check_index("axis", axis)
    if not -array.ndim <= axis < array.ndim:
        raise ValueError(f"axis is {axis}, but array has {array.ndim} axes")
    size = array.shape[axis]
    if size % 4:
        raise ValueError(f"array has shape {array.shape}, expected a multiple of 4 along axis {axis}: four gates")
    gates = np.split(array, 4, axis)
    return np.concatenate([gates[source.index(letter)] for letter in target], axis)


def _letters(name: str, order: Any) -> str:
    """Return an order as the letters i, f, g, o."""
    if not isinstance(order, str):
        raise TypeError(f"{name} is {order!r}, expected a string")
    letters = GATE_ORDERS.get(order.lower(), order.lower().replace("c", "g"))
    if sorted(letters) != sorted("ifgo"):
        raise ValueError(
            f"{name} is {order!r}, expected the letters i, f, g (or c), o in some order, or one of "
            f"{', '.join(map(repr, GATE_ORDERS))}"
        )
    return letters
