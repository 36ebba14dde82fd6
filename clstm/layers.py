"""The layers around an LSTM: Embedding, Linear, Dropout, each with its own way back.

Inference is ``y = layer(x)``. Training is ``y, context = layer.forward_train(x)`` and then, once for each context,
``grads = layer.backward(context, dy)``. Meanings, names and initial weights are PyTorch's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from clstm import _embedding, dense
from clstm.checks import (
    as_array,
    check_array,
    check_dtype,
    check_flag,
    check_floats,
    check_index,
    check_real,
    check_token_ids,
    dense_rows,
    random_generator,
)
from clstm.layer import Layer
from clstm.masks import draw_factors
from clstm.sparse import RowGradient
from clstm.torch_weights import make, read_source, refuse_options, to_module

if TYPE_CHECKING:
    from clstm.summary import Axes


class LayerGradients(NamedTuple):
    """Gradients of a layer.

    Attributes
    ----------
    weights : dict of str to ndarray or RowGradient
        By weight name, each of its weight's shape.
    x : ndarray or None
        Of the input, in its shape; None where the input is integers.
    """

    weights: dict[str, np.ndarray | RowGradient]
    x: np.ndarray | None


@dataclass
class LayerContext:
    """What one `forward_train` leaves for one `backward`; opaque."""

    owner: Layer
    y_shape: tuple[int, ...]
    dtype: np.dtype
    kept: Any
    used: bool = False


def take_context(context: Any, owner: Layer, dy: Any) -> tuple[Any, np.ndarray]:
    """Return what the context kept, which it gives away, and `dy` as a checked array."""
    if not isinstance(context, LayerContext):
        raise TypeError(f"context is {type(context).__name__}, expected what forward_train returned")
    if context.owner is not owner:
        raise ValueError("context is of another layer")
    if context.used:
        raise ValueError("context was used by an earlier backward; run forward_train again")
    dy = check_array("dy", dy, context.dtype, [("y's axis", size) for size in context.y_shape])
    kept, context.kept, context.used = context.kept, None, True
    return kept, dy


class Embedding(Layer):
    """A vector for each integer id: y[...] = weight[ids[...]].

    Parameters
    ----------
    num_embeddings : int
        Number of ids, which are 0 to num_embeddings - 1.
    embedding_dim : int
        Size of each vector.
    padding_idx : int, optional
        The id whose vector begins as zeros and never gets a gradient; a negative one counts from the end.
    std : float, default 1.0
        Standard deviation of the initial weights, drawn from N(0, std^2). With text, 0.1 learns far better than
        PyTorch's 1.
    sparse : bool, default False
        The weight's gradient is a `RowGradient`, of the rows that were looked up, instead of an array. A training step
        then costs the same with any number of embeddings; what optimisers do with it is said there.
    dtype : dtype, default float32
        float32 or float64, of weights and output.
    seed : int or numpy.random.Generator, optional
        For the initial weights.

    Examples
    --------
    >>> import numpy as np
    >>> from clstm.layers import Embedding
    >>> embedding = Embedding(1000, 64, padding_idx=0, std=0.1, seed=0)
    >>> embedding(np.array([[5, 7, 0], [2, 0, 0]])).shape
    (2, 3, 64)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        std: float = 1.0,
        sparse: bool = False,
        dtype: Any = np.float32,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        self.num_embeddings = check_index("num_embeddings", num_embeddings, low=1)
        self.embedding_dim = check_index("embedding_dim", embedding_dim, low=1)
        if padding_idx is not None:
            padding_idx = check_index(
                "padding_idx", padding_idx, low=-self.num_embeddings, high=self.num_embeddings - 1
            )
            padding_idx %= self.num_embeddings
        self.padding_idx = padding_idx
        self.std = check_real("std", std, low=0.0)
        self.sparse = check_flag("sparse", sparse)
        self.dtype = check_dtype("dtype", dtype)
        generator = random_generator(seed)
        shape = (self.num_embeddings, self.embedding_dim)

        def draw() -> np.ndarray:
            weight = generator.standard_normal(shape)
            weight *= self.std
            if padding_idx is not None:
                weight[padding_idx] = 0
            return weight

        self._add_weight("weight", shape, self.dtype, draw)

    def __call__(self, ids: Any) -> np.ndarray:
        """Look the ids up.

        Parameters
        ----------
        ids : array_like of int, any shape
            Each 0 to num_embeddings - 1.

        Returns
        -------
        ndarray of shape ids.shape + (embedding_dim,)

        Raises
        ------
        TypeError
            Not integers.
        ValueError
            An id out of range.
        """
        return self._look_up(check_token_ids("ids", ids, self.num_embeddings))

    def forward_train(self, ids: Any) -> tuple[np.ndarray, LayerContext]:
        """Look the ids up and keep what `backward` needs."""
        ids = check_token_ids("ids", ids, self.num_embeddings)
        y = self._look_up(ids)
        # A copy: backward writes where the ids say, so they must still be those that were checked.
        return y, LayerContext(self, y.shape, self.dtype, ids.flatten())

    def backward(self, context: LayerContext, dy: np.ndarray) -> LayerGradients:
        """Return the gradients of a loss, given its gradient at the output of one `forward_train`.

        Each row of the weight's gradient sums those of its id in the order of the ids, in one thread.

        Parameters
        ----------
        context : LayerContext
            From `forward_train`; used up by this call.
        dy : ndarray of shape ids.shape + (embedding_dim,)

        Returns
        -------
        LayerGradients
            With `x` None.

        Raises
        ------
        TypeError, ValueError
            A wrong dtype or shape (the context can then still be used), or a context of another layer or already
            used.
        """
        ids, dy = take_context(context, self, dy)
        dy = np.ascontiguousarray(dy).reshape(-1, self.embedding_dim)
        if not self.sparse:
            # Not zeros_like, which writes the zeros: zeros has the system clear the pages that are used.
            dweight = np.zeros(self._weights["weight"].shape, self.dtype)
            _embedding.scatter_add(dweight, ids, dy, -1 if self.padding_idx is None else self.padding_idx)
            return LayerGradients({"weight": dweight}, None)
        if self.padding_idx is not None:
            real = ids != self.padding_idx
            ids, dy = ids[real], dy[real]
        rows, places = np.unique(ids, return_inverse=True)
        places = places.astype(np.int64, copy=False)
        values = np.zeros((len(rows), self.embedding_dim), self.dtype)
        _embedding.scatter_add(values, places, dy, -1)
        return LayerGradients({"weight": RowGradient(rows, values, (self.num_embeddings, self.embedding_dim))}, None)

    @classmethod
    def from_torch(
        cls,
        source: Any,
        *,
        prefix: str = "",
        padding_idx: int | None = None,
        sparse: bool | None = None,
        dtype: Any = None,
    ) -> Embedding:
        """Return an embedding with the weights of PyTorch's; without PyTorch, from a state_dict.

        Parameters
        ----------
        source, prefix, dtype
            As for `LSTM.from_torch`, of a torch.nn.Embedding.
        padding_idx, sparse
            What a state_dict doesn't tell; None takes the module's own, or the default.

        Raises
        ------
        TypeError, ValueError
            No embedding's weights, or a module with max_norm or scale_grad_by_freq, which this layer doesn't have.
        """
        module, arrays = read_source("Embedding", source, prefix, dtype, "weight")
        if module is not None:
            refuse_options(module, "clstm.Embedding", {"max_norm": None, "scale_grad_by_freq": False})
            padding_idx = module.padding_idx if padding_idx is None else padding_idx
            sparse = module.sparse if sparse is None else sparse
        weight = arrays["weight"]
        if weight.ndim != 2:
            raise ValueError(f"weight has shape {weight.shape}, expected (num_embeddings, embedding_dim)")
        sizes = {"num_embeddings": weight.shape[0], "embedding_dim": weight.shape[1]}
        return make(cls, arrays, **sizes, padding_idx=padding_idx, sparse=bool(sparse))

    def to_torch(self) -> Any:
        """Return a torch.nn.Embedding with a copy of the weights; needs PyTorch."""
        sizes = {"num_embeddings": self.num_embeddings, "embedding_dim": self.embedding_dim}
        return to_module(self, "Embedding", **sizes, padding_idx=self.padding_idx, sparse=self.sparse)

    def _look_up(self, ids: np.ndarray) -> np.ndarray:
        return np.take(self._weights["weight"], ids, axis=0)

    def _output_axes(self) -> Axes:
        return ("...", self.embedding_dim)

    def __repr__(self) -> str:
        options = {"padding_idx": (self.padding_idx, None), "std": (self.std, 1.0), "sparse": (self.sparse, False)}
        return _represent(self, (self.num_embeddings, self.embedding_dim), options | _dtype_option(self))


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
        """Apply the layer and keep what `backward` needs: `x` must stay as it is until then."""
        x = self._check_x(x)
        y = self._apply(x)
        return y, LayerContext(self, y.shape, self.dtype, (x, self._packed))

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
        return _represent(
            self, (self.in_features, self.out_features), {"bias": (self.bias, True)} | _dtype_option(self)
        )


class Dropout(Layer):
    """Zeroes each element with probability p in training and scales the rest by 1 / (1 - p); else changes nothing.

    Srivastava et al. (2014), in the inverted form that leaves inference alone.

    Parameters
    ----------
    p : float, default 0.5
        Probability of zeroing, 0 to 1 (both included).
    seed : int or numpy.random.Generator, optional
        For what is zeroed: each `forward_train` draws on, so the layer is not for several threads in training.

    Examples
    --------
    >>> import numpy as np
    >>> from clstm.layers import Dropout
    >>> y, context = Dropout(0.5, seed=0).forward_train(np.ones((2, 3), np.float32))
    >>> sorted(set(y.ravel().tolist()))
    [0.0, 2.0]
    """

    def __init__(self, p: float = 0.5, *, seed: int | np.random.Generator | None = None) -> None:
        super().__init__()
        self.p = check_real("p", p, low=0.0, high=1.0)
        self._generator = random_generator(seed)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return `x` itself: dropout is for training only.

        Raises
        ------
        TypeError
            `x` isn't float32 or float64.
        """
        return check_floats("x", x)

    def forward_train(self, x: np.ndarray) -> tuple[np.ndarray, LayerContext]:
        """Zero elements at random and keep which; with p = 0 the output is `x` itself.

        Parameters
        ----------
        x : ndarray of any shape
            float32 or float64.

        Returns
        -------
        y : ndarray
            Of the shape and dtype of `x`.
        context : LayerContext
            For one `backward`.
        """
        x = check_floats("x", x)
        factors = draw_factors(self._generator, self.p, x.shape, x.dtype) if self.p > 0 else None
        y = x if factors is None else _scaled(x, factors)
        return y, LayerContext(self, x.shape, x.dtype, factors)

    def backward(self, context: LayerContext, dy: np.ndarray) -> LayerGradients:
        """Return the gradients of a loss, given its gradient at the output of one `forward_train`.

        Parameters
        ----------
        context : LayerContext
            From `forward_train`; used up by this call.
        dy : ndarray
            Of the output's shape and dtype.

        Returns
        -------
        LayerGradients
            Without weights.

        Raises
        ------
        TypeError, ValueError
            A wrong dtype or shape (the context can then still be used), or a context of another layer or already
            used.
        """
        factors, dy = take_context(context, self, dy)
        return LayerGradients({}, dy if factors is None else _scaled(dy, factors))

    def __repr__(self) -> str:
        return f"Dropout({self.p})"


def _scaled(x: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return x * factors, C-contiguous whatever the layout of x."""
    return np.multiply(x, factors, out=np.empty(x.shape, x.dtype))


def _dtype_option(layer: Any) -> dict[str, tuple[Any, Any]]:
    return {"dtype": (layer.dtype.name, "float32")}


def _represent(layer: Layer, sizes: tuple[int, ...], options: dict[str, tuple[Any, Any]]) -> str:
    """Return the call that makes such a layer, without options that are at their default."""
    given = [f"{name}={value}" for name, (value, default) in options.items() if value != default]
    return f"{type(layer).__name__}({', '.join([*map(str, sizes), *given])})"
