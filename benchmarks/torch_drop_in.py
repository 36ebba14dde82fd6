"""One line of a training script in PyTorch changed, nn.LSTM to clstm.torch.LSTM: the same losses, and the time of both.

    python -m benchmarks.torch_drop_in [--threads 1 2] [--steps 200] [--layouts padded packed]
        [--models one deep] [--clock processor]

The script classifies real movie reviews: embedding, LSTM, linear layer, cross entropy and Adam, all PyTorch's. The two
trainings take turns, a step each, from the same weights, on the same batches. Prints the largest difference between
their losses, the median time of a step, and the median of the paired ratios; then how the time of a step of clstm's
compares with its parts by themselves, the LSTM's forward and backward and all the rest, which tells whether the threads
of the two libraries are in each other's way: 1.0 if not. On a busy machine `--clock processor` with one thread is
steadier.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import numpy as np

import clstm

BATCH, VOCABULARY, EMBEDDING, HIDDEN = 32, 4000, 64, 128
MODELS = {"one": {}, "deep": {"num_layers": 2, "bidirectional": True, "dropout": 0.2}}


def batches(steps: int):
    """Return batches of reviews, of about one length each: token ids (batch, time), lengths, labels."""
    import torch

    reviews = clstm.datasets.load_movie_reviews().train
    vocabulary = clstm.Vocabulary.from_texts(reviews.texts, max_size=VOCABULARY)
    labels = np.unique(reviews.labels, return_inverse=True)[1]
    order = np.random.default_rng(0).permutation(len(labels))
    found = []
    for step in range(steps):
        rows = order[np.arange(step * BATCH, (step + 1) * BATCH) % len(order)]
        ids, lengths = vocabulary.encode_batch([reviews.texts[row] for row in rows])
        lengths = np.maximum(lengths, 1)
        found.append(tuple(torch.from_numpy(np.asarray(array, np.int64)) for array in (ids, lengths, labels[rows])))
    return found


class Training:
    """A classifier, its optimiser and its step."""

    def __init__(self, lstm_class, layout: str, **options) -> None:
        import torch
        from torch import nn

        torch.manual_seed(0)
        self.layout = layout
        self.embedding = nn.Embedding(VOCABULARY + 2, EMBEDDING)
        self.lstm = lstm_class(EMBEDDING, HIDDEN, batch_first=True, **options)  # the line that is changed
        self.head = nn.Linear(HIDDEN * (1 + self.lstm.bidirectional), 2)
        self.model = nn.ModuleList([self.embedding, self.lstm, self.head])
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)

    def step(self, ids, lengths, labels) -> float:
        from torch.nn.functional import cross_entropy

        features = self.features(self.embedding(ids), lengths)
        loss = cross_entropy(self.head(features), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def features(self, x, lengths):
        """Return the mean of the outputs, over the real steps where the layout tells them."""
        from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

        if self.layout == "padded":
            return self.lstm(x)[0].mean(dim=1)
        y, _ = self.lstm(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
        return pad_packed_sequence(y, batch_first=True)[0].sum(dim=1) / lengths[:, None]


class Without(Training):
    """The same without the LSTM's work: its outputs are there already."""

    def features(self, x, lengths):
        y = x[:, :, :1].expand(-1, -1, self.head.in_features).contiguous()
        return y.mean(dim=1)


clock = time.perf_counter


def timed(call: Callable[[], object]) -> tuple[object, float]:
    """Return what a call returns, and its seconds."""
    start = clock()
    result = call()
    return result, clock() - start


def parts(training: Training, data) -> float:
    """Return the time of a training's steps, by the time of its LSTM and of the rest, each done by itself in a row."""
    rest = Without(type(training.lstm), training.layout)
    blocks = [data[i : i + 5] for i in range(0, len(data), 5)]
    ratios = []
    for block in blocks:
        inputs = [training.embedding(ids).detach().requires_grad_() for ids, _, _ in block]

        def lstm_alone(block=block, inputs=inputs):
            for x, (_, lengths, _) in zip(inputs, block, strict=True):
                training.features(x, lengths).sum().backward()
                training.model.zero_grad()

        def rest_alone(block=block):
            for batch in block:
                rest.step(*batch)

        def whole(block=block):
            for batch in block:
                training.step(*batch)

        seconds = [timed(call)[1] for call in (whole, lstm_alone, rest_alone) if [call(), time.sleep(0.03)]]
        ratios.append(seconds[0] / (seconds[1] + seconds[2]))
    return statistics.median(ratios)


def main() -> None:
    import torch

    import clstm.torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--layouts", nargs="+", default=["padded", "packed"], choices=["padded", "packed"])
    parser.add_argument("--models", nargs="+", default=["one", "deep"], choices=list(MODELS))
    parser.add_argument("--clock", choices=["wall", "processor"], default="wall")
    arguments = parser.parse_args()
    global clock
    clock = time.perf_counter if arguments.clock == "wall" else time.process_time
    data = batches(arguments.steps)
    print(f"PyTorch {torch.__version__}, {arguments.steps} steps, batch {BATCH}, load {os.getloadavg()[0]:.1f}")
    print(
        "| layout | layers | threads | losses differ by | nn.LSTM, ms | clstm.torch.LSTM, ms | ratio | by its parts |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for layout in arguments.layouts:
        for options in map(MODELS.get, arguments.models):
            for num_threads in arguments.threads:
                torch.set_num_threads(num_threads)
                clstm.set_num_threads(num_threads)
                trainings = [Training(cls, layout, **options) for cls in (torch.nn.LSTM, clstm.torch.LSTM)]
                losses, seconds = [], []
                for step, batch in enumerate(data):
                    results = []
                    for training in trainings:
                        torch.manual_seed(step)  # the same dropout
                        results.append(timed(lambda training=training, batch=batch: training.step(*batch)))
                    losses.append([loss for loss, _ in results])
                    seconds.append([taken for _, taken in results])
                difference = np.abs(np.diff(losses, axis=1)).max()
                theirs, ours = (1000 * statistics.median(column) for column in zip(*seconds, strict=True))
                ratio = statistics.median(a / b for a, b in seconds)
                kind = "2, both directions" if options else "1"
                print(f"| {layout} | {kind} | {num_threads} | {difference:.1e} | {theirs:.1f} | {ours:.1f} | "
                      f"{ratio:.2f} | {parts(trainings[1], data[:40]):.2f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
