"""The twin of `digit_strings` in PyTorch: the same network from the same weights, the same batches and updates."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.functional import ctc_loss

import clstm

from .classifier import Network


def train(weights: dict[str, np.ndarray], batches, read, *, n_epochs: int, lr: float) -> dict[str, np.ndarray]:
    """Return what the weights become by the training that the example does."""
    torch.set_num_threads(clstm.get_num_threads())
    hidden_size = weights["lstm.weight_hh_l0"].shape[1]
    input_size, output_size = weights["lstm.weight_ih_l0"].shape[1], len(weights["fc.weight"])
    network = Network(input_size, None, output_size, hidden_size, bidirectional=True, pooling=None, dropout=0)
    network.load_state_dict({peer_name(name): torch.from_numpy(array) for name, array in weights.items()})
    optimizer = torch.optim.Adam(network.parameters(), lr=lr, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_epochs * len(batches))
    for epoch in range(n_epochs):
        total = count = 0
        for rows in batches:
            (x, lengths), (targets, counts) = (map(torch.from_numpy, pair) for pair in read(rows))
            optimizer.zero_grad()
            loss = ctc_loss(network(x, lengths).log_softmax(-1).transpose(0, 1), targets, lengths, counts)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total, count = total + loss.item() * len(rows), count + len(rows)
        print(f"PyTorch: epoch {epoch + 1}/{n_epochs}: loss {total / count:.4f}")
    trained = network.state_dict()
    return {name: trained[peer_name(name)].numpy() for name in weights}


def peer_name(name: str) -> str:
    """Return what the twin calls the weight of this name: its directions are two LSTMs."""
    if name.endswith("_reverse"):
        return name.replace("lstm", "back").removesuffix("_reverse")
    return name.replace("lstm", "forth")
