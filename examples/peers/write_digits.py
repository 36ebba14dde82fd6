"""The twin of `write_digits` in PyTorch: what is its own is the loss."""

from __future__ import annotations

import math

import torch

from . import step_network


def mixture_density(parameters, targets):
    """Return the mean of -log p(target), with PyTorch's functions of whole arrays."""
    scores, mean_x, mean_y, log_x, log_y, r = parameters.unflatten(-1, (6, -1)).unbind(-2)
    rho = torch.tanh(r)
    u = (targets[..., :1] - mean_x) * torch.exp(-log_x)
    v = (targets[..., 1:] - mean_y) * torch.exp(-log_y)
    rest = 1 - rho * rho
    exponent = (u * u + v * v - 2 * rho * u * v) / (2 * rest)
    density = -exponent - log_x - log_y - torch.log(rest) / 2 - math.log(2 * math.pi)
    return -torch.logsumexp(torch.log_softmax(scores, dim=-1) + density, dim=-1).mean()


def train(weights, batches, read, **recipe):
    """Return the trained weights."""
    return step_network.train(weights, mixture_density, batches, read, **recipe)
