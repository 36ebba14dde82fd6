"""The twin of `digit_strings` in PyTorch: the same network from the same weights, the same batches and updates."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn.functional import ctc_loss
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import clstm


class SequenceNetwork(nn.Module):
    """LSTM in both directions, and Linear on each step."""

    def __init__(self, input_size, hidden_size, output_size):
        super().__init__()
        self.lstm = nn.LSTM(input_size, hidden_size, batch_first=True, bidirectional=True)
        self.fc = nn.Linear(2 * hidden_size, output_size)

    def forward(self, x, lengths):
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, _ = pad_packed_sequence(self.lstm(packed)[0])
        return self.fc(y)


def train(weights: dict[str, np.ndarray], batches, read, *, n_epochs: int, lr: float) -> dict[str, np.ndarray]:
    """Return what the weights become by the training that the example does."""
    torch.set_num_threads(clstm.get_num_threads())
    output_size, hidden_size = weights["fc.weight"].shape
    network = SequenceNetwork(weights["lstm.weight_ih_l0"].shape[1], hidden_size // 2, output_size)
    network.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    optimizer = torch.optim.Adam(network.parameters(), lr=lr, foreach=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_epochs * len(batches))
    for epoch in range(n_epochs):
        total = count = 0
        for rows in batches:
            (x, lengths), (targets, counts) = (map(torch.from_numpy, pair) for pair in read(rows))
            optimizer.zero_grad()
            loss = ctc_loss(network(x, lengths).log_softmax(-1), targets, lengths, counts)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total, count = total + loss.item() * len(rows), count + len(rows)
        print(f"PyTorch: epoch {epoch + 1}/{n_epochs}: loss {total / count:.4f}")
    return {name: tensor.numpy() for name, tensor in network.state_dict().items()}
