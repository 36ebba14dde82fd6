"""The translator's network and training in PyTorch: the same words, sizes, recipe and number of updates."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import clstm
from clstm.train import BucketedBatches
from clstm.translation import SentencePairs


class EncoderDecoder(nn.Module):
    """Its weights have the names of `clstm.translation.encoder_decoder.EncoderDecoder`."""

    def __init__(self, source_size: int, target_size: int, embedding_dim: int, hidden_size: int, dropout: float):
        super().__init__()
        self.source_embedding = nn.Embedding(source_size, embedding_dim)
        self.encoder = nn.LSTM(embedding_dim, hidden_size // 2, bidirectional=True, batch_first=True)
        self.target_embedding = nn.Embedding(target_size, embedding_dim)
        self.decoder = nn.LSTM(embedding_dim, hidden_size, batch_first=True)
        self.attention = nn.ModuleDict(
            {
                "project": nn.Linear(hidden_size, hidden_size, bias=False),
                "combine": nn.Linear(2 * hidden_size, embedding_dim, bias=False),
            }
        )
        self.fc = nn.Linear(embedding_dim, target_size)
        self.dropout = nn.Dropout(dropout)

    def forward(self, source, source_lengths, target, real):
        """Return the scores of what comes after each real target token."""
        embedded = self.dropout(self.source_embedding(source))
        packed = pack_padded_sequence(embedded, source_lengths, batch_first=True, enforce_sorted=False)
        memory, state = self.encoder(packed)
        memory, _ = pad_packed_sequence(memory, batch_first=True)
        state = tuple(torch.cat(array.unbind(), dim=1)[None] for array in state)
        y, _ = self.decoder(self.dropout(self.target_embedding(target)), state)
        scores = self.attention["project"](y) @ memory.transpose(1, 2) / memory.shape[2]
        past = torch.arange(memory.shape[1]) >= source_lengths[:, None]
        places = scores.masked_fill(past[:, None], -torch.inf).softmax(dim=2)
        attended = torch.tanh(self.attention["combine"](torch.cat([places @ memory, y], dim=2)))
        return self.fc(self.dropout(attended[real]))


def train(translator, sources, targets, seed) -> dict[str, np.ndarray]:
    """Return the weights by name, trained with the arguments and vocabularies of a clstm.Translator."""
    torch.set_num_threads(clstm.get_num_threads())
    torch.manual_seed(seed)
    vocabularies = translator.source_vocabulary_, translator.target_vocabulary_
    pairs = SentencePairs(*vocabularies, sources, targets)
    batches = BucketedBatches(pairs.lengths, translator.batch_size, seed=seed)
    network = EncoderDecoder(
        *map(len, vocabularies), translator.embedding_dim, translator.hidden_size, translator.dropout
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=translator.lr, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, translator.n_epochs * len(batches))
    for epoch in range(1, translator.n_epochs + 1):
        total = 0.0
        for rows in batches:
            arguments, wanted = pairs.batch(rows)
            source, target, source_lengths, target_lengths, wanted = map(torch.from_numpy, (*arguments, wanted))
            real = torch.arange(target.shape[1]) < target_lengths[:, None]
            scores = network(source, source_lengths, target, real)
            loss = functional.cross_entropy(scores, wanted, label_smoothing=translator.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), translator.clip_norm)
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"PyTorch, epoch {epoch}/{translator.n_epochs}: loss {total / len(batches):.4f}", flush=True)
    return {name: array.detach().numpy() for name, array in network.named_parameters()}
