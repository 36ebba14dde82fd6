"""Global attention (Luong, Pham & Manning 2015) of a decoder to the outputs of an encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clstm._checks import check_array, check_choice, check_dtype, check_index, check_lengths, random_generator
from clstm._core.numerics import softmax
from clstm._package import public
from clstm.layers.base import Layer, LayerContext, take_context
from clstm.layers.linear import Linear

if TYPE_CHECKING:
    from clstm.summary import Axes

SCORES = ("general", "dot")


@public("clstm.layers")
@dataclass(frozen=True)
class AttentionGradients:
    """Gradients of an `Attention`.

    Attributes
    ----------
    weights : dict of str to ndarray
        By weight name, each of its weight's shape.
    queries, memory : ndarray
        Of the arguments of these names, in their shapes.
    """

    weights: dict[str, np.ndarray]
    queries: np.ndarray
    memory: np.ndarray


@public("clstm.layers")
class Attention(Layer):
    """Global attention, computed for all queries of a row at once.

    For each query q (a decoder's output) and each position s of the memory m (an encoder's outputs)::

        score(q, m_s) = q W m_s / memory_size     "general"   a_s = softmax_s(score(q, m_s))
                        q m_s                     "dot"       y = tanh(W_c [sum_s a_s m_s; q])

    The paper has no divisor. An optimiser such as Adam changes all elements of W by similar amounts, and the sum of
    their changes to a score is proportional to the size (Yang et al. 2021). Without the divisor, after a few hundred
    steps the softmax has nearly all its weight at one position, mostly the last. Its gradient is then almost zero, and
    the attention never learns.

    A query doesn't depend on the attention of an earlier query ("input feeding" in the paper), so training needs no
    loop over time: a batch takes four batched matrix products in the forward pass and six in the backward pass.

    Parameters
    ----------
    query_size, memory_size : int
        Features of a query and of each position of the memory; equal for the score "dot".
    output_size : int
        Features of the output.
    score : {"general", "dot"}, default "general"
    dtype : dtype, default float32
        float32 or float64, of weights, input and output.
    seed : int or numpy.random.Generator, optional
        For the initial weights, which are drawn as those of `Linear`.

    Attributes
    ----------
    project : Linear or None
        W, with "general".
    combine : Linear
        W_c.

    Examples
    --------
    >>> import numpy as np
    >>> from clstm.layers.attention import Attention
    >>> attention = Attention(16, 12, 8, seed=0)
    >>> queries, memory = np.ones((2, 5, 16), np.float32), np.ones((2, 7, 12), np.float32)
    >>> y, weights = attention(queries, memory, lengths=[7, 4])
    >>> y.shape, weights.shape, weights[1, 0].tolist()
    ((2, 5, 8), (2, 5, 7), [0.25, 0.25, 0.25, 0.25, 0.0, 0.0, 0.0])
    """

    def __init__(
        self,
        query_size: int,
        memory_size: int,
        output_size: int,
        score: str = "general",
        *,
        dtype: Any = np.float32,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        self.query_size = check_index("query_size", query_size, low=1)
        self.memory_size = check_index("memory_size", memory_size, low=1)
        self.output_size = check_index("output_size", output_size, low=1)
        self.score = check_choice("score", score, SCORES)
        self.dtype = check_dtype("dtype", dtype)
        if score == "dot" and query_size != memory_size:
            raise ValueError(
                f"query_size is {query_size} and memory_size {memory_size}; the score 'dot' needs equal ones"
            )
        self._scale = self.dtype.type(1 / self.memory_size)
        options = {"bias": False, "dtype": self.dtype, "seed": random_generator(seed)}
        self.project = Linear(query_size, memory_size, **options) if score == "general" else None
        self.combine = Linear(memory_size + query_size, output_size, **options)
        if self.project is not None:
            self._add_part("project", self.project)
        self._add_part("combine", self.combine)

    def __call__(self, queries: np.ndarray, memory: np.ndarray, lengths: Any = None) -> tuple[np.ndarray, np.ndarray]:
        """Attend to the memory.

        Parameters
        ----------
        queries : ndarray of shape (batch, queries, query_size)
        memory : ndarray of shape (batch, positions, memory_size)
        lengths : array_like of int, shape (batch,), optional
            Real positions of each row's memory, 1 or more; all of them if left out. Values past them must be finite,
            but are ignored.

        Returns
        -------
        y : ndarray of shape (batch, queries, output_size)
        weights : ndarray of shape (batch, queries, positions)
            a, the attention weights: their sum is 1 for each query, and past a row's length they are 0.

        Raises
        ------
        TypeError
            A dtype other than the layer's, or lengths that aren't integers.
        ValueError
            A wrong shape, or a length below 1 or above the number of positions.
        """
        queries, memory, lengths = self._check(queries, memory, lengths)
        projected = queries if self.project is None else self.project(queries) * self._scale
        attention = _masked_softmax(projected @ memory.swapaxes(1, 2), lengths)
        y = self.combine(np.concatenate([attention @ memory, queries], axis=2))
        return np.tanh(y, out=y), attention

    def forward_train(
        self, queries: np.ndarray, memory: np.ndarray, lengths: Any = None
    ) -> tuple[np.ndarray, LayerContext]:
        """Attend to the memory, and return a context for `backward`, until which the arrays must not be changed.

        Returns
        -------
        y : ndarray of shape (batch, queries, output_size)
        context : LayerContext
            For one `backward`. Queries, memory and y must not be changed before it.
        """
        queries, memory, lengths = self._check(queries, memory, lengths)
        projected, project = queries, None
        if self.project is not None:
            projected, project = self.project.forward_train(queries)
            projected *= self._scale
        attention = _masked_softmax(projected @ memory.swapaxes(1, 2), lengths)
        y, combine = self.combine.forward_train(np.concatenate([attention @ memory, queries], axis=2))
        np.tanh(y, out=y)
        return y, LayerContext(self, y.shape, self.dtype, kept=(memory, projected, project, attention, combine, y))

    def backward(self, context: LayerContext, dy: np.ndarray) -> AttentionGradients:
        """Return the gradients of a loss, given its gradient at the output of one `forward_train`.

        Parameters
        ----------
        context : LayerContext
            From `forward_train`; used up by this call.
        dy : ndarray of shape (batch, queries, output_size)

        Returns
        -------
        AttentionGradients

        Raises
        ------
        TypeError, ValueError
            A wrong dtype or shape (the context can then still be used), or a context of another layer or already
            used.
        """
        (memory, projected, project, attention, combine, y), dy = take_context(context, self, dy)
        combined = self.combine.backward(combine, dy * (1 - y * y))
        dlooked, dqueries = combined.x[..., : self.memory_size], combined.x[..., self.memory_size :]
        dattention = dlooked @ memory.swapaxes(1, 2)
        dmemory = attention.swapaxes(1, 2) @ dlooked
        # The backward pass of the softmax; past a row's length the weights are 0, and so is their gradient
        dscores = attention * (dattention - (attention * dattention).sum(axis=2, keepdims=True))
        dmemory += dscores.swapaxes(1, 2) @ projected
        dprojected = dscores @ memory
        weights = {}
        if project is not None:
            dprojected *= self._scale
            projection = self.project.backward(project, dprojected)
            weights["project.weight"] = projection.weights["weight"]
            dprojected = projection.x
        weights["combine.weight"] = combined.weights["weight"]
        return AttentionGradients(weights, dqueries + dprojected, dmemory)

    def _check(self, queries, memory, lengths):
        axes = [("batch", None), ("queries", None), ("query_size", self.query_size)]
        queries = check_array("queries", queries, self.dtype, axes)
        axes = [("batch", len(queries)), ("positions", None), ("memory_size", self.memory_size)]
        memory = check_array("memory", memory, self.dtype, axes)
        lengths = check_lengths(lengths, *memory.shape[:2])
        shortest = memory.shape[1] if lengths is None else lengths.min(initial=1)
        if shortest < 1:
            raise ValueError("a row of memory has length 0, expected 1 or more positions")
        return queries, memory, lengths

    def _output_axes(self) -> Axes:
        return ("batch", "queries", self.output_size)

    def __repr__(self) -> str:
        return f"Attention({self.query_size}, {self.memory_size}, {self.output_size}, score={self.score!r})"


def _masked_softmax(scores: np.ndarray, lengths: np.ndarray | None) -> np.ndarray:
    """Change scores (batch, queries, positions) to their softmax over the positions, with 0 past each row's length."""
    if lengths is not None:
        past = np.arange(scores.shape[2]) >= lengths[:, np.newaxis]
        np.copyto(scores, -np.inf, where=past[:, np.newaxis])
    return softmax(scores, out=scores)
