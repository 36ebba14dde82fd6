"""A softmax over very many classes, in which rare classes cost little."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from clstm._checks import check_array, check_dtype, check_index, check_positive, check_token_ids, random_generator
from clstm._core.numerics import log_softmax
from clstm._package import public
from clstm.layers.base import Layer, LayerContext, LayerGradients
from clstm.layers.linear import Linear
from clstm.losses import cross_entropy

if TYPE_CHECKING:
    from clstm.summary import Axes


@public("clstm.layers")
class AdaptiveLogSoftmax(Layer):
    """Linear layers and a softmax over classes sorted from the most to the least frequent (Grave et al. 2017).

    The head scores the most frequent classes, and each cluster of other classes as a whole. A cluster scores its
    classes from fewer features, in training only for the rows whose target is one of them. The meaning and the weights'
    names are those of PyTorch's ``AdaptiveLogSoftmaxWithLoss``: ``head.weight``, ``tail.0.0.weight``,
    ``tail.0.1.weight``, ...

    Parameters
    ----------
    in_features : int
        Size of the input's last axis.
    n_classes : int
        Classes are 0 to n_classes - 1; frequent classes should have small numbers.
    cutoffs : sequence of int
        The first class of each cluster, in ascending order, between 1 and n_classes - 1.
    div_value : float, default 4.0
        Cluster i, from 0 on, has in_features / div_value^(i + 1) features, at least 1.
    dtype : dtype, default float32
        float32 or float64.
    seed : int or numpy.random.Generator, optional
        For the initial weights, those of `Linear`.

    References
    ----------
    Grave, Joulin, Cisse, Grangier & Jegou (2017), "Efficient softmax approximation for GPUs".

    Examples
    --------
    >>> import numpy as np
    >>> from clstm.layers.adaptive_softmax import AdaptiveLogSoftmax
    >>> softmax = AdaptiveLogSoftmax(16, 1000, [50, 200], seed=0)
    >>> softmax(np.zeros((3, 16), np.float32)).shape
    (3, 1000)
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        *,
        dtype: Any = np.float32,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        self.in_features = check_index("in_features", in_features, low=1)
        self.n_classes = check_index("n_classes", n_classes, low=2)
        self.cutoffs = check_cutoffs(cutoffs, self.n_classes)
        self.div_value = check_positive("div_value", div_value)
        self.dtype = check_dtype("dtype", dtype)
        options = {"bias": False, "dtype": self.dtype, "seed": random_generator(seed)}
        self._bounds = [*self.cutoffs, self.n_classes]
        self.head = Linear(self.in_features, self.cutoffs[0] + len(self.cutoffs), **options)
        self._add_part("head", self.head)
        self._tail = []
        for i, (start, stop) in enumerate(pairwise(self._bounds)):
            features = max(int(self.in_features / self.div_value ** (i + 1)), 1)
            cluster = Linear(self.in_features, features, **options), Linear(features, stop - start, **options)
            self._tail.append(cluster)
            for j, layer in enumerate(cluster):
                self._add_part(f"tail.{i}.{j}", layer)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the logarithms of the probabilities of all classes.

        Parameters
        ----------
        x : ndarray of shape (..., in_features)

        Returns
        -------
        ndarray of shape (..., n_classes)

        Raises
        ------
        TypeError, ValueError
            A wrong dtype or shape.
        """
        head = log_softmax(self.head(x))
        common = self.cutoffs[0]
        parts = [head[..., :common]]
        for i, (project, score) in enumerate(self._tail):
            parts.append(log_softmax(score(project(x))) + head[..., common + i, np.newaxis])
        return np.concatenate(parts, axis=-1)

    def forward_train(self, x: np.ndarray, targets: Any) -> tuple[float, LayerContext]:
        """Return the mean of -log p(target), and a context for `backward`.

        Parameters
        ----------
        x : ndarray of shape (n, in_features)
        targets : array_like of int, shape (n,)

        Returns
        -------
        loss : float
        context : LayerContext
            For one `backward`.

        Raises
        ------
        TypeError, ValueError
            A wrong dtype or shape, a class out of range, or no rows.
        """
        targets = check_token_ids("targets", targets, self.n_classes)
        x = check_array("x", x, self.dtype, [("n", targets.size), ("in_features", self.in_features)])
        common = self.cutoffs[0]
        numbers = np.searchsorted(self.cutoffs, targets, side="right")  # 0: the head; i + 1: cluster i
        in_head = np.where(numbers == 0, targets, common + numbers - 1)
        logits, head = self.head.forward_train(x)
        loss, dlogits = cross_entropy(logits, in_head)
        clusters = []
        for i, (project, score) in enumerate(self._tail):
            rows = np.flatnonzero(numbers == i + 1)
            if not len(rows):
                clusters.append(None)
                continue
            projected, first = project.forward_train(x[rows])
            scores, second = score.forward_train(projected)
            tail_loss, dscores = cross_entropy(scores, targets[rows] - self.cutoffs[i])
            fraction = len(rows) / len(x)
            loss += fraction * tail_loss
            clusters.append((rows, first, second, dscores * self.dtype.type(fraction)))
        return loss, LayerContext(self, (), self.dtype, kept=(head, dlogits, clusters))

    def backward(self, context: LayerContext) -> LayerGradients:
        """Return the gradients of the mean loss that one `forward_train` returned.

        Parameters
        ----------
        context : LayerContext
            From `forward_train`; used up by this call.

        Returns
        -------
        LayerGradients

        Raises
        ------
        TypeError, ValueError
            A context of another layer or already used.
        """
        head, dlogits, clusters = LayerContext.checked(context, self).take(self)
        grads = self.head.backward(head, dlogits)
        dx, weights = grads.x, {f"head.{name}": grad for name, grad in grads.weights.items()}
        for i, ((project, score), cluster) in enumerate(zip(self._tail, clusters, strict=True)):
            if cluster is None:
                found = [np.zeros_like(layer.parameters()["weight"]) for layer in (project, score)]
            else:
                rows, first, second, dscores = cluster
                scored = score.backward(second, dscores)
                projected = project.backward(first, scored.x)
                dx[rows] += projected.x
                found = [projected.weights["weight"], scored.weights["weight"]]
            weights |= {f"tail.{i}.{j}.weight": grad for j, grad in enumerate(found)}
        return LayerGradients(weights, dx)

    def _output_axes(self) -> Axes:
        return ("...", self.n_classes)

    def __repr__(self) -> str:
        return f"AdaptiveLogSoftmax({self.in_features}, {self.n_classes}, {list(self.cutoffs)}, {self.div_value})"


def check_cutoffs(cutoffs: Any, n_classes: int) -> tuple[int, ...]:
    """Return `cutoffs` as a tuple, checked to hold ascending integers from 1 to n_classes - 1."""
    if not isinstance(cutoffs, (list, tuple)) or not cutoffs:
        raise TypeError(f"cutoffs is {cutoffs!r}, expected a list of one or more numbers of classes")
    result = tuple(check_index(f"cutoffs[{i}]", value, low=1, high=n_classes - 1) for i, value in enumerate(cutoffs))
    if any(a >= b for a, b in pairwise(result)):
        raise ValueError(f"cutoffs is {cutoffs!r}, expected rising numbers")
    return result
