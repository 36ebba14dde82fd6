"""The twin of `step_network` in PyTorch: the same network from the same weights, the same batches and updates."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import clstm


class StepNetwork(nn.Module):
    """LSTM, and Linear on each step."""

    def __init__(self, input_size, hidden_size, output_size):
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size, batch_first=True)
        self.fc = nn.Linear(hidden_size, output_size)

    def forward(self, x):
        return self.fc(self.lstm(x)[0])


def train(weights: dict[str, np.ndarray], loss, batches, read, **recipe) -> dict[str, np.ndarray]:
    """Return what the weights become by the training that `step_network.train` does, with a loss of tensors."""
    output_size, hidden_size = weights["fc.weight"].shape
    network = StepNetwork(weights["lstm.weight_ih_l0"].shape[1], hidden_size, output_size)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    update(network, loss, batches, read, **recipe)
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}


def update(network: nn.Module, loss, batches, read, *, n_epochs: int, lr: float) -> None:
    """Train a network as `step_network.train` does."""
    torch.set_num_threads(clstm.get_num_threads())
    optimizer = torch.optim.Adam(network.parameters(), lr=lr, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_epochs * len(batches))
    for epoch in range(n_epochs):
        total = count = 0
        for rows in batches:
            inputs, targets = (tuple(map(torch.from_numpy, arrays)) for arrays in read(rows))
            optimizer.zero_grad()
            value = loss(network(*inputs), *targets)
            value.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total, count = total + value.item() * len(rows), count + len(rows)
        print(f"PyTorch: epoch {epoch + 1}/{n_epochs}: loss {total / count:.4f}")
