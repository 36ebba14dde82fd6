"""Dropout: elements zeroed at random in training."""

from __future__ import annotations

import numpy as np

from clstm._checks import check_floats, check_real, random_generator
from clstm._package import public
from clstm.layers.base import Layer, LayerContext, LayerGradients, take_context
from clstm.layers.dropout_masks import draw_dropout_mask


@public("clstm")
class Dropout(Layer):
    """Zeroes each element with probability p in training and scales the others by 1 / (1 - p).

    Srivastava et al. (2014), in the inverted form, in which inference changes nothing.

    Parameters
    ----------
    p : float, default 0.5
        Probability of zeroing, 0 to 1 (both included).
    seed : int or numpy.random.Generator, optional
        For the masks. Each `forward_train` advances the generator, so train with the layer in one thread only.

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
        """Zero elements at random and keep the mask; with p = 0 the output is `x` itself.

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
        mask = draw_dropout_mask(self._generator, self.p, x.shape, x.dtype) if self.p > 0 else None
        y = x if mask is None else _multiply(x, mask)
        return y, LayerContext(self, x.shape, x.dtype, kept=mask)

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
        mask, dy = take_context(context, self, dy)
        return LayerGradients({}, dy if mask is None else _multiply(dy, mask))

    def __repr__(self) -> str:
        return f"Dropout({self.p})"


def _multiply(x: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return x * mask, C-contiguous whatever the layout of x."""
    return np.multiply(x, mask, out=np.empty(x.shape, x.dtype))
