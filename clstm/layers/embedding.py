"""Embedding: a vector for each integer id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clstm._checks import check_dtype, check_flag, check_index, check_real, check_token_ids, random_generator
from clstm._core import _loops
from clstm._package import public
from clstm.layers.base import Layer, LayerContext, LayerGradients, dtype_option, represent, take_context
from clstm.layers.row_gradient import RowGradient
from clstm.layers.torch_weights import make, read_source, refuse_options, to_module

if TYPE_CHECKING:
    from clstm.summary import Axes


@public("clstm")
class Embedding(Layer):
    """A vector for each integer id: y[...] = weight[ids[...]].

    Parameters
    ----------
    num_embeddings : int
        Number of ids, which are 0 to num_embeddings - 1.
    embedding_dim : int
        Size of each vector.
    padding_idx : int, optional
        The id whose vector is zeros initially and has no gradient; a negative one counts from the end.
    std : float, default 1.0
        Standard deviation of the initial weights, drawn from N(0, std^2). With texts, 0.1 gives much better results
        than PyTorch's 1.
    sparse : bool, default False
        Whether the weight's gradient is a `RowGradient` with the rows that were looked up, instead of an array. A
        training step then takes the same time with any number of embeddings. `clstm.optim` describes the updates.
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
        """Look the ids up and return a context for one `backward`."""
        ids = check_token_ids("ids", ids, self.num_embeddings)
        y = self._look_up(ids)
        # A copy, because the caller may change ids, and backward writes to the rows that they number
        return y, LayerContext(self, y.shape, self.dtype, kept=ids.flatten())

    def backward(self, context: LayerContext, dy: np.ndarray) -> LayerGradients:
        """Return the gradients of a loss, given its gradient at the output of one `forward_train`.

        Gradients of equal ids are summed in the order of the ids, in one thread: the bits are always the same.

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
            # Not zeros_like, which writes to the whole array: of zeros, the system clears only the pages that are used
            dweight = np.zeros(self._weights["weight"].shape, self.dtype)
            _loops.scatter_add(dweight, ids, dy, -1 if self.padding_idx is None else self.padding_idx)
            return LayerGradients({"weight": dweight}, None)
        if self.padding_idx is not None:
            real = ids != self.padding_idx
            ids, dy = ids[real], dy[real]
        rows, numbers = np.unique(ids, return_inverse=True)
        numbers = numbers.astype(np.int64, copy=False)
        values = np.zeros((len(rows), self.embedding_dim), self.dtype)
        _loops.scatter_add(values, numbers, dy, -1)
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
            Options that a state_dict doesn't contain. None: the module's, or without a module the default.

        Raises
        ------
        TypeError, ValueError
            Not the weights of an embedding, or a module with max_norm or scale_grad_by_freq, which aren't supported.
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
        return represent(self, (self.num_embeddings, self.embedding_dim), options | dtype_option(self))
