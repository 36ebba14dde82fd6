"""Losses of predicted numbers: squared error, Huber, quantiles, and the density of predicted mixtures."""

from __future__ import annotations

from typing import Any

import numpy as np

from clstm import mixture
from clstm._checks import as_array, check_array, check_positive, check_real, quiet
from clstm.losses.reduction import Loss, check_not_empty, check_pair, mean


@quiet
def mse(prediction: np.ndarray, target: np.ndarray, *, sample_weight: np.ndarray | None = None) -> Loss:
    """Return the mean of (prediction - target)^2, and its gradient.

    Parameters
    ----------
    prediction : ndarray of any shape
        float32 or float64.
    target : ndarray of the same shape and dtype
    sample_weight : ndarray, optional
        See the module.

    Returns
    -------
    value : float
    gradient : ndarray of the same shape

    Raises
    ------
    TypeError
        A wrong dtype.
    ValueError
        A wrong shape, no elements, or only weights of 0.
    """
    prediction, target = check_pair("prediction", prediction, "target", target)
    difference = prediction - target
    return mean(np.square(difference), 2 * difference, sample_weight)


@quiet
def huber(
    prediction: np.ndarray, target: np.ndarray, *, delta: float = 1.0, sample_weight: np.ndarray | None = None
) -> Loss:
    """Return the mean of ``d^2 / 2`` where ``|d| <= delta``, else ``delta (|d| - delta / 2)``, and its gradient.

    d is prediction - target. Huber (1964): quadratic in small errors (half of `mse`), linear in large ones.

    Parameters
    ----------
    prediction : ndarray of any shape
        float32 or float64.
    target : ndarray of the same shape and dtype
    delta : float, default 1.0
        Above 0.
    sample_weight : ndarray, optional
        See the module.

    Returns
    -------
    value : float
    gradient : ndarray of the same shape

    Raises
    ------
    TypeError
        A wrong dtype.
    ValueError
        A wrong shape, `delta` not above 0, no elements, or only weights of 0.
    """
    prediction, target = check_pair("prediction", prediction, "target", target)
    delta = check_positive("delta", delta)
    difference = prediction - target
    clipped = np.clip(difference, -delta, delta)
    # c d - c^2 / 2 is d^2 / 2 inside, where c = d, and delta |d| - delta^2 / 2 outside
    return mean(clipped * (difference - clipped / 2), clipped, sample_weight)


@quiet
def quantile(
    prediction: np.ndarray,
    target: np.ndarray,
    *,
    q: float | np.ndarray = 0.5,
    sample_weight: np.ndarray | None = None,
) -> Loss:
    """Return the mean of q (target - prediction) where that is positive, else (1 - q) (prediction - target).

    The pinball loss (Koenker & Bassett 1978): its expected value is smallest when the prediction is the target's
    q-quantile. With q = 0.5 it is half of the absolute error. PyTorch doesn't have it. Where prediction and target are
    equal the gradient is 0.

    Parameters
    ----------
    prediction : ndarray of any shape
        float32 or float64.
    target : ndarray of the same shape and dtype
    q : float or ndarray, default 0.5
        Quantile level, above 0 and below 1; an array (of any dtype) has one for each element of the last axis.
    sample_weight : ndarray, optional
        See the module.

    Returns
    -------
    value : float
    gradient : ndarray of the same shape

    Raises
    ------
    TypeError
        A wrong dtype.
    ValueError
        A wrong shape, a quantile out of range, no elements, or only weights of 0.
    """
    prediction, target = check_pair("prediction", prediction, "target", target)
    q = _check_quantiles(q, prediction)
    difference = target - prediction
    losses = np.maximum(q * difference, (q - 1) * difference)
    gradient = np.where(difference > 0, -q, np.where(difference < 0, 1 - q, 0 * difference))
    return mean(losses, gradient, sample_weight)


def _check_quantiles(q: Any, prediction: np.ndarray) -> np.ndarray:
    array = as_array("q", q)
    if array.ndim == 0:
        array = np.asarray(check_real("q", q))
    elif array.shape != prediction.shape[-1:]:
        raise ValueError(f"q has shape {array.shape}, expected (prediction's last axis={prediction.shape[-1]},)")
    if not (array.min() > 0 and array.max() < 1):
        raise ValueError(f"q holds values of {array.min()} to {array.max()}, expected above 0 and below 1")
    return array.astype(prediction.dtype)


@quiet
def mixture_density(parameters: np.ndarray, targets: np.ndarray, *, sample_weight: np.ndarray | None = None) -> Loss:
    """Return the mean of -log p(target) under mixtures of Gaussians in the plane, and its gradient.

    Graves (2013), arXiv:1308.0850, equation 26 without the end-of-stroke term. `clstm.mixture` describes the
    parameters, and its `sample` draws points from them.

    Parameters
    ----------
    parameters : ndarray of shape (..., 6 * components)
        A network's outputs, float32 or float64; all values are allowed.
    targets : ndarray of shape (..., 2)
        Points, of the same dtype.
    sample_weight : ndarray, optional
        A weight for each point, or for one or more of the first axes of `targets`; see the module.

    Returns
    -------
    value : float
        In nats per point. It can be negative, because a density can exceed 1.
    gradient : ndarray of shape (..., 6 * components)

    Raises
    ------
    TypeError
        A wrong dtype.
    ValueError
        A wrong shape, no elements, or only weights of 0.
    """
    parameters = mixture.check_parameters(parameters)
    check_not_empty("parameters", parameters)
    leading = parameters.shape[:-1]
    axes = [*(("parameters' axis", size) for size in leading), ("x and y", 2)]
    targets = check_array("targets", targets, parameters.dtype, axes)
    losses, gradient = mixture.negative_log_likelihood(
        parameters.reshape(-1, parameters.shape[-1]), targets.reshape(-1, 2)
    )
    return mean(losses.reshape(leading), gradient.reshape(parameters.shape), sample_weight)
