"""The demo's classifier of sentences in PyTorch, and fastText's, on the same sentences.

PyTorch's reads the same words with the same ids, starts from the same distributions, sees batches made the same way,
and keeps the average of the weights of the best epoch on the validation part. What is drawn at random differs. One
layer is that of `classifier`, which is faster; several pack their sequences, as they must for the reverse direction to
start at each row's own end.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from typing import Any

from clstm import Vocabulary
from clstm.text import tokenize
from clstm.train.batches import BucketedBatches, PaddedRows, batches_by_length


def make_network(params: dict[str, Any], vocab_size: int, label_size: int) -> Any:
    import torch
    from torch import nn

    if params["num_layers"] == 1:
        from .classifier import Network as OneLayer

        names = ("hidden_size", "bidirectional", "pooling", "dropout")
        network = OneLayer(params["embedding_dim"], vocab_size, label_size, *(params[name] for name in names))
        nn.init.normal_(network.embedding.weight, std=params["embedding_std"])
        return network

    directions = 2 if params["bidirectional"] else 1

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(vocab_size, params["embedding_dim"])
            nn.init.normal_(self.embedding.weight, std=params["embedding_std"])
            self.lstm = nn.LSTM(
                params["embedding_dim"],
                params["hidden_size"],
                params["num_layers"],
                batch_first=True,
                bidirectional=params["bidirectional"],
                dropout=params["dropout"] if params["num_layers"] > 1 else 0.0,
            )
            self.fc = nn.Linear(params["hidden_size"] * directions, label_size)
            self.dropout = nn.Dropout(params["dropout"])

        def forward(self, ids, lengths):
            embedded = self.dropout(self.embedding(ids))
            packed = nn.utils.rnn.pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
            packed, (h_n, _) = self.lstm(packed)
            if params["pooling"] == "last":
                pooled = torch.cat(list(h_n[-directions:]), dim=1)
            else:
                fill = -torch.inf if params["pooling"] == "max" else 0.0
                y, _ = nn.utils.rnn.pad_packed_sequence(packed, batch_first=True, padding_value=fill)
                pooled = y.amax(dim=1) if params["pooling"] == "max" else y.sum(dim=1) / lengths[:, None]
            return self.fc(self.dropout(pooled))

    return Network()


def run_torch(
    params: dict[str, Any], reviews: Any, seed: int, threads: int, clock: Any = time.perf_counter
) -> tuple[float, float]:
    """Return the accuracy on the test part and the seconds of training, reading the words included."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    start = clock()
    vocabulary = Vocabulary.from_texts(reviews.train.texts, params["vocab_size"])
    rows, targets = {}, {}
    for part in ("train", "validation", "test"):
        texts, labels = getattr(reviews, part).texts, getattr(reviews, part).labels
        rows[part] = PaddedRows([vocabulary.encode(text) for text in texts], vocabulary.PADDING)
        targets[part] = torch.tensor([label == "positive" for label in labels]).long()
    network = make_network(params, len(vocabulary), 2)
    optimizer = torch.optim.Adam(network.parameters(), lr=params["lr"])
    batches = BucketedBatches(rows["train"].lengths, params["batch_size"], seed=seed)
    decay = params["ema_decay"]

    def approach(averages: Any, weights: Any, updates: Any) -> None:
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight, (1 - decay) / (1 - decay ** (int(updates) + 1)))

    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=approach)

    def scores(part: str) -> Any:
        average.eval()
        out = torch.empty(len(rows[part]), 2)
        with torch.no_grad():
            for some in batches_by_length(rows[part].lengths, 64, 16384):
                ids, lengths = rows[part].batch(some)
                out[some] = average(torch.from_numpy(ids), torch.from_numpy(lengths))
        return out

    def accuracy(part: str, out: Any) -> float:
        return (out.argmax(dim=1) == targets[part]).double().mean().item()

    best: tuple[Any, ...] = (-1.0, 0.0)
    weights: dict[str, Any] = {}
    for _ in range(params["n_epochs"] or 8):
        network.train()
        for some in batches:
            ids, lengths = rows["train"].batch(some)
            ids, lengths = torch.from_numpy(ids), torch.from_numpy(lengths)
            ids[torch.rand(ids.shape) < params["word_dropout"]] = vocabulary.UNKNOWN
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(ids, lengths), targets["train"][some]).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), params["clip_norm"])
            optimizer.step()
            average.update_parameters(network)
        out = scores("validation")
        result = (accuracy("validation", out), -torch.nn.functional.cross_entropy(out, targets["validation"]).item())
        if result > best:
            best, weights = result, {name: value.clone() for name, value in average.state_dict().items()}
    seconds = clock() - start
    average.load_state_dict(weights)
    return accuracy("test", scores("test")), seconds


def run_fasttext(
    reviews: Any, seed: int, threads: int, clock: Any = time.perf_counter, **options: Any
) -> tuple[float, float, int]:
    """Return the accuracy on the test part, the seconds of training, and the bytes of the model file.

    Joulin et al. (2017); its own defaults but for `options`, and the words that the other classifiers read, shuffled:
    it doesn't do so itself, and learns next to nothing from sentences in their order.
    """
    import fasttext

    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for part in ("train", "test"):
            texts, labels = getattr(reviews, part).texts, getattr(reviews, part).labels
            lines = [f"__label__{label} {' '.join(tokenize(text))}" for text, label in zip(texts, labels, strict=True)]
            random.Random(seed).shuffle(lines)
            paths[part] = os.path.join(folder, part)
            with open(paths[part], "w", encoding="utf-8") as file:
                print(*lines, sep="\n", file=file)
        start = clock()
        model = fasttext.train_supervised(paths["train"], seed=seed, thread=threads, verbose=0, **options)
        seconds = clock() - start
        saved = os.path.join(folder, "model.bin")
        model.save_model(saved)
        return model.test(paths["test"])[1], seconds, os.path.getsize(saved)
