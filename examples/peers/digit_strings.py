"""The twin of `digit_strings` in PyTorch: the same network from the same weights, the same batches and updates."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn.functional import ctc_loss

from . import step_network
from .classifier import Network


def ctc(scores, targets, lengths, counts):
    """Return PyTorch's loss of scores (batch, time, classes)."""
    return ctc_loss(scores.log_softmax(-1).transpose(0, 1), targets, lengths, counts)


def train(weights: dict[str, np.ndarray], batches, read, **recipe) -> dict[str, np.ndarray]:
    """Return what the weights become by the training that the example does."""
    hidden_size = weights["lstm.weight_hh_l0"].shape[1]
    input_size, output_size = weights["lstm.weight_ih_l0"].shape[1], len(weights["fc.weight"])
    network = Network(input_size, None, output_size, hidden_size, bidirectional=True, pooling=None, dropout=0)
    network.load_state_dict({peer_name(name): torch.from_numpy(array) for name, array in weights.items()})
    step_network.update(network, ctc, batches, read, **recipe)
    trained = network.state_dict()
    return {name: trained[peer_name(name)].numpy() for name in weights}


def peer_name(name: str) -> str:
    """Return what the twin calls the weight of this name: its directions are two LSTMs."""
    if name.endswith("_reverse"):
        return name.replace("lstm", "back").removesuffix("_reverse")
    return name.replace("lstm", "forth")
