"""Mixture density outputs: mixtures of Gaussians in the plane, their likelihood, and points drawn from them.

Graves (2013), "Generating sequences with recurrent neural networks", arXiv:1308.0850, equations 18 to 25, without the
end-of-stroke output. A network's output of 6 K numbers for each point has six blocks of K numbers, one for each
component:

- scores, whose softmax is the components' weights,
- the means of x, and of y,
- the logarithms of the standard deviations of x, and of y,
- numbers whose tanh is the correlation of x and y.

All outputs are allowed; zeros describe K standard normal distributions. The exponentials of the last three blocks
overflow above about 80 in float32 and 700 in float64.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from clstm._checks import check_floats, check_real, random_generator
from clstm._core.numerics import log_sum_exp, softmax

BLOCKS = 6


def sample(parameters: np.ndarray, *, bias: float = 0.0, seed: int | np.random.Generator | None = None) -> np.ndarray:
    """Draw a point from each mixture.

    Parameters
    ----------
    parameters : ndarray of shape (..., 6 * components)
        float32 or float64; see the module.
    bias : float, default 0.0
        0 or more; larger values draw more probable points. Standard deviations are divided by exp(bias), and scores
        multiplied by 1 + bias (equations 61 and 62).
    seed : int or numpy.random.Generator, optional

    Returns
    -------
    ndarray of shape (..., 2)
        x and y, of the parameters' dtype.

    Raises
    ------
    TypeError
        A wrong dtype.
    ValueError
        A wrong shape, or `bias` below 0.
    """
    parameters = check_parameters(parameters)
    bias = check_real("bias", bias, low=0.0)
    generator = random_generator(seed)
    leading = parameters.shape[:-1]
    blocks = parameters.reshape(math.prod(leading), BLOCKS, parameters.shape[-1] // BLOCKS)
    weights = softmax(blocks[:, 0].astype(np.float64) * (1 + bias), axis=1)
    below = weights.cumsum(axis=1)[:, :-1]  # without the last, which rounding can make less than 1
    chosen = (generator.random((len(blocks), 1)) >= below).sum(axis=1)
    _, *mean, log_x, log_y, correlation = blocks[np.arange(len(blocks)), :, chosen].astype(np.float64).T
    x, noise = generator.standard_normal((2, len(blocks)))
    y = np.tanh(correlation) * x + noise / np.cosh(correlation)  # 1 / cosh is sqrt(1 - rho^2), without cancellation
    points = np.stack(mean, axis=-1) + np.stack([x * np.exp(log_x - bias), y * np.exp(log_y - bias)], axis=-1)
    return points.astype(parameters.dtype).reshape(*leading, 2)


def check_parameters(parameters: Any) -> np.ndarray:
    """Return `parameters` as an array, checked to be floats of shape (..., 6 * components)."""
    parameters = check_floats("parameters", parameters)
    if parameters.ndim == 0 or parameters.shape[-1] == 0 or parameters.shape[-1] % BLOCKS:
        raise ValueError(f"parameters has shape {parameters.shape}, expected (..., {BLOCKS} * components)")
    return parameters


def negative_log_likelihood(parameters: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return -log p(target) of each mixture (n, 6 * components) and point (n, 2), and its gradient.

    Let u and v be the distances from a component's mean in standard deviations, and tanh(r) its correlation. Then the
    exponent is (u^2 + v^2 - 2 tanh(r) u v) / (1 - tanh(r)^2), which loses precision by cancellation as the correlation
    approaches 1 or -1. With p = (u + v) / 2 and q = (u - v) / 2 it is p^2 (1 + exp(-2 r)) + q^2 (1 + exp(2 r)), a sum
    of squares, in which nothing cancels.
    """
    n = len(targets)
    # (blocks, components, n): with n last, NumPy's inner loops are long and contiguous, also in sums over components
    blocks = parameters.reshape(n, BLOCKS, -1).transpose(1, 2, 0).copy()
    scores, mean, log_deviation, r = blocks[0], blocks[1:3], blocks[3:5], blocks[5]
    precision = np.exp(-log_deviation)
    stretch, shrink = np.exp(r), np.exp(-r)
    u, v = distance = (targets.T[:, np.newaxis] - mean) * precision
    p, q = (u + v) / 2, (u - v) / 2
    p_shrunk, q_stretched = p * shrink, q * stretch
    log_cosh = np.log((stretch + shrink) / 2)  # of r, and so -log(1 - rho^2) / 2
    exponent = (p * p + q * q + p_shrunk * p_shrunk + q_stretched * q_stretched) / 2
    log_weights = scores - log_sum_exp(scores, axis=0)
    joint = log_weights + log_cosh - log_deviation.sum(axis=0) - exponent - math.log(2 * math.pi)
    likelihood = log_sum_exp(joint, axis=0)

    posterior = np.exp(joint - likelihood)  # probability that a point is of a component
    dp, dq = p + p_shrunk * shrink, q + q_stretched * stretch
    slope = np.stack([dp + dq, dp - dq]) / 2
    gradient = np.empty_like(blocks)
    gradient[0] = softmax(scores, axis=0) - posterior
    gradient[1:3] = -slope * precision
    gradient[3:5] = 1 - distance * slope
    gradient[5] = q_stretched * q_stretched - p_shrunk * p_shrunk - np.tanh(r)
    gradient[1:] *= posterior
    np.copyto(gradient[1:], 0, where=posterior == 0)  # a component so far away that its slope overflowed
    return -likelihood, gradient.transpose(2, 0, 1).reshape(parameters.shape)
