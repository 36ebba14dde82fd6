"""Linear: y = x weight^T + bias, over the last axis."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from clstm._checks import as_array, check_array, check_dtype, check_flag, check_index, dense_rows, random_generator
from clstm._core import dense
from clstm._package import public
from clstm.layers.base import Layer, LayerContext, LayerGradients, dtype_option, represent, take_context
from clstm.layers.torch_weights import make, read_source, to_module

if TYPE_CHECKING:
    from clstm.summary import Axes


@public("clstm")
class Linear(Layer):
    """y = x weight^T + bias, over the last axis.

    Parameters
    ----------
    in_features, out_features : int
        Sizes of the last axis of input and output.
    bias : bool, default True
        Whether there is a bias.
    dtype : dtype, default float32
        float32 or float64, of weights, input and output.
    seed : int or numpy.random.Generator, optional
        For the initial weights, U(-1/sqrt(in_features), 1/sqrt(in_features)).

    Examples
    --------
    >>> import numpy as np
    >>> from clstm.layers import Linear
    >>> Linear(64, 2, seed=0)(np.zeros((8, 64), np.float32)).shape
    (8, 2)
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: Any = np.float32,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        self.in_features = check_index("in_features", in_features, low=1)
        self.out_features = check_index("out_features", out_features, low=1)
        self.bias = check_flag("bias", bias)
        self.dtype = check_dtype("dtype", dtype)
        generator = random_generator(seed)
        bound = self.in_features**-0.5
        shapes = {"weight": (self.out_features, self.in_features)} | (
            {"bias": (self.out_features,)} if self.bias else {}
        )
        for name, shape in shapes.items():
            self._add_weight(name, shape, self.dtype, partial(generator.uniform, -bound, bound, shape))
        self._weights_added()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Apply the layer.

        Parameters
        ----------
        x : ndarray of shape (..., in_features)
            Any leading axes, also none, of the layer's dtype.

        Returns
        -------
        ndarray of shape (..., out_features)

        Raises
        ------
        TypeError
            A dtype other than the layer's (nothing is cast).
        ValueError
            A last axis other than in_features.
        """
        return self._apply(self._check_x(x))

    def forward_train(self, x: np.ndarray) -> tuple[np.ndarray, LayerContext]:
        """Apply the layer and return a context for one `backward`, until which `x` must not be changed."""
        x = self._check_x(x)
        y = self._apply(x)
        return y, LayerContext(self, y.shape, self.dtype, kept=(x, self._packed))

    def backward(self, context: LayerContext, dy: np.ndarray) -> LayerGradients:
        """Return the gradients of a loss, given its gradient at the output of one `forward_train`.

        Parameters
        ----------
        context : LayerContext
            From `forward_train`; used up by this call.
        dy : ndarray of shape (..., out_features)

        Returns
        -------
        LayerGradients

        Raises
        ------
        TypeError, ValueError
            A wrong dtype or shape (the context can then still be used), or a context of another layer or already
            used.
        """
        (x, product), dy = take_context(context, self, dy)
        dx, dweight, dbias = product.backward(self._rows(x), self._rows(dy))
        weights = {"weight": dweight} | ({"bias": dbias} if self.bias else {})
        return LayerGradients(weights, dx.reshape(x.shape))

    @classmethod
    def from_torch(cls, source: Any, *, prefix: str = "", dtype: Any = None) -> Linear:
        """Return a layer with the weights of PyTorch's; without PyTorch, from a state_dict.

        Parameters
        ----------
        source, prefix, dtype
            As for `LSTM.from_torch`, of a torch.nn.Linear.

        Raises
        ------
        TypeError, ValueError
            No such weights.
        """
        _, arrays = read_source("Linear", source, prefix, dtype, "weight")
        weight = arrays["weight"]
        if weight.ndim != 2:
            raise ValueError(f"weight has shape {weight.shape}, expected (out_features, in_features)")
        return make(cls, arrays, in_features=weight.shape[1], out_features=weight.shape[0], bias="bias" in arrays)

    def to_torch(self) -> Any:
        """Return a torch.nn.Linear with a copy of the weights; needs PyTorch."""
        sizes = {"in_features": self.in_features, "out_features": self.out_features}
        return to_module(self, "Linear", **sizes, bias=self.bias)

    def _weights_changed(self) -> None:
        self._packed = dense.pack(self._weights["weight"], self._weights.get("bias"))

    def _check_x(self, x: Any) -> np.ndarray:
        x = as_array("x", x)
        leading = [("...", None)] * (x.ndim - 1)
        return check_array("x", x, self.dtype, [*leading, ("in_features", self.in_features)])

    def _apply(self, x: np.ndarray) -> np.ndarray:
        y = self._packed.forward(self._rows(x))
        return y.reshape(*x.shape[:-1], self.out_features)

    def _rows(self, array: np.ndarray) -> np.ndarray:
        """View the leading axes as one: (n, features), each row contiguous."""
        return dense_rows(array.reshape(math.prod(array.shape[:-1]), array.shape[-1]))

    def _output_axes(self) -> Axes:
        return ("...", self.out_features)

    def __repr__(self) -> str:
        return represent(self, (self.in_features, self.out_features), {"bias": (self.bias, True)} | dtype_option(self))
