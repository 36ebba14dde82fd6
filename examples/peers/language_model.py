"""`clstm.LanguageModel` of characters in PyTorch: the same model, recipe, chunks and scores."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import nn

from clstm.language.characters import Characters
from clstm.language.text_batches import TextStreams
from clstm.language.training import WARM_UP, WARM_UP_SHARE


class Network(nn.Module):
    def __init__(self, vocab_size: int, params: dict[str, Any]) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, params["embedding_dim"])
        nn.init.normal_(self.embedding.weight, std=1.0 if params["embedding_std"] is None else params["embedding_std"])
        layers = params["num_layers"]
        self.lstm = nn.LSTM(
            params["embedding_dim"], params["hidden_size"], layers, dropout=params["dropout"] if layers > 1 else 0.0
        )
        self.dropout = nn.Dropout(params["dropout"])
        self.decoder = nn.Linear(params["hidden_size"], vocab_size)

    def forward(self, ids: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        y, state = self.lstm(self.dropout(self.embedding(ids)), state)
        return self.decoder(self.dropout(y)), state


class TorchLanguageModel:
    """Takes the arguments of a `clstm.LanguageModel` of characters with a plain softmax, by `get_params`."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params

    def fit(self, text: str) -> TorchLanguageModel:
        params = self.params
        torch.manual_seed(params["seed"])
        if params["num_threads"]:
            torch.set_num_threads(params["num_threads"])
        self.vocabulary = Characters.from_texts([text])
        ids = np.concatenate([[0], self.vocabulary.encode(text)])
        streams = TextStreams(ids, params["batch_size"], params["chunk_length"], seed=params["seed"])
        self.network = network = Network(len(self.vocabulary), params)
        weights = list(network.parameters())
        averages = [weight.detach().clone() for weight in weights]
        steps = params["n_epochs"] * len(streams)
        warm_up = max(1, min(WARM_UP, int(WARM_UP_SHARE * steps)))
        optimizer = torch.optim.Adam(weights, lr=params["lr"], fused=True)

        def rate(step: int) -> float:
            done = (step - warm_up) / max(1, steps - warm_up)
            return (step + 1) / warm_up if step < warm_up else (1 + math.cos(math.pi * min(done, 1))) / 2

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        updates = 0
        for _ in range(params["n_epochs"]):
            state = None
            for chunk in streams:
                read, targets = map(torch.from_numpy, streams.at(chunk))
                optimizer.zero_grad()
                scores, state = network(read, state)
                state = tuple(part.detach() for part in state)
                nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten()).backward()
                nn.utils.clip_grad_norm_(weights, params["clip_norm"])
                optimizer.step()
                schedule.step()
                updates += 1
                decay = params["ema_decay"]
                with torch.no_grad():  # the first updates are averaged as if there had always been some
                    torch._foreach_lerp_(averages, weights, (1 - decay) / (1 - decay**updates))
        with torch.no_grad():
            for weight, average in zip(weights, averages, strict=True):
                weight.copy_(average)
        return self

    def bits_per_character(self, text: str) -> float:
        ids = torch.from_numpy(np.concatenate([[0], self.vocabulary.encode(text)]))[:, None]
        self.network.eval()
        total, state = 0.0, None
        with torch.no_grad():
            for start in range(0, len(ids) - 1, 4096):
                targets = ids[start + 1 : start + 4097]
                scores, state = self.network(ids[start : start + len(targets)], state)
                total += nn.functional.cross_entropy(scores[:, 0], targets[:, 0], reduction="sum").item()
        return total / (len(ids) - 1) / math.log(2)
