"""A dense product y = x weight^T + bias and its backward pass, by the vector kernels or by BLAS."""

from __future__ import annotations

import numpy as np

from clstm._checks import quiet
from clstm._core import _dense, backend, threads


def pack(weight: np.ndarray, bias: np.ndarray | None) -> PanelProduct | BlasProduct:
    """Return the product with a snapshot of weight (out, in) and bias (out,), for the instruction set in use."""
    return (BlasProduct if backend.isa() == "portable" else PanelProduct)(weight, bias)


class PanelProduct:
    """By the LSTM's vector kernels: a row's result is the same bits in any batch and for any number of threads."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray | None) -> None:
        self._packed = _dense.pack(weight, bias)
        self._out, self._in = weight.shape

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return y (n, out) of x (n, in)."""
        y = np.empty((len(x), self._out), x.dtype)
        _dense.forward(self._packed, x, y, threads.resolve())
        return y

    def backward(self, x: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return dx (n, in), dweight (out, in) and dbias (out,) of dy (n, out)."""
        dx = np.empty((len(x), self._in), x.dtype)
        dweight, dbias = np.empty((self._out, self._in), x.dtype), np.empty(self._out, x.dtype)
        _dense.backward(self._packed, x, dy, dx, dweight, dbias, threads.resolve())
        return dx, dweight, dbias


class BlasProduct:
    """By NumPy's BLAS, for the portable path."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray | None) -> None:
        self._weight, self._bias = weight.copy(), None if bias is None else bias.copy()

    @quiet
    def forward(self, x: np.ndarray) -> np.ndarray:
        """Return y (n, out) of x (n, in)."""
        y = np.matmul(x, self._weight.T)
        return y if self._bias is None else y + self._bias

    @quiet
    def backward(self, x: np.ndarray, dy: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return dx (n, in), dweight (out, in) and dbias (out,) of dy (n, out)."""
        return np.matmul(dy, self._weight), np.matmul(dy.T, x), dy.sum(axis=0)
