"""`clstm demo` and the same recipe in PyTorch, in turn: accuracy on the test part, and seconds of training.

    python benchmarks/demo_torch.py [--faq] [--seeds 3] [--threads 2]

Both read the same words with the same ids, start from the same distributions, see batches made the same way, and keep
the average of the weights of the best epoch on the validation part. What is drawn at random differs. PyTorch packs its
sequences, as it must for the reverse direction to start at each row's own end.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import clstm
from clstm import TextClassifier, Vocabulary
from clstm.batches import BucketedBatches, PaddedRows, batches_by_length
from clstm.commands import FAQ
from clstm.datasets import load_movie_reviews


def make_network(torch: Any, params: dict[str, Any], vocab_size: int, label_size: int) -> Any:
    nn = torch.nn
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


def run_torch(params: dict[str, Any], reviews: Any, seed: int, threads: int) -> tuple[float, float]:
    """Return the accuracy on the test part and the seconds of training, reading the words included."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    start = time.perf_counter()
    vocabulary = Vocabulary.from_texts(reviews.train.texts, params["vocab_size"])
    rows, targets = {}, {}
    for part in ("train", "validation", "test"):
        texts, labels = getattr(reviews, part).texts, getattr(reviews, part).labels
        rows[part] = PaddedRows([vocabulary.encode(text) for text in texts], vocabulary.PADDING)
        targets[part] = torch.tensor([label == "positive" for label in labels]).long()
    network = make_network(torch, params, len(vocabulary), 2)
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
    seconds = time.perf_counter() - start
    average.load_state_dict(weights)
    return accuracy("test", scores("test")), seconds


def run_clstm(params: dict[str, Any], reviews: Any, seed: int, threads: int) -> tuple[float, float]:
    """Return the accuracy on the test part and the seconds of training, reading the words included."""
    classifier = TextClassifier(**(params | {"seed": seed, "num_threads": threads, "verbose": 0}))
    clstm.set_num_threads(threads)
    start = time.perf_counter()
    classifier.fit(
        reviews.train.texts, reviews.train.labels, (reviews.validation.texts, reviews.validation.labels)
    )  # fmt: skip
    seconds = time.perf_counter() - start
    return classifier.score(reviews.test.texts, reviews.test.labels), seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faq", action="store_true", help="the sizes of `clstm demo --faq`")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each (default: %(default)s)")
    parser.add_argument("--only", choices=("clstm", "torch"), help="leave the other out")
    arguments = parser.parse_args()

    params = TextClassifier(**(FAQ if arguments.faq else {})).get_params()
    reviews = load_movie_reviews()
    runs = {"clstm": run_clstm, "torch": run_torch}
    if arguments.only:
        runs = {arguments.only: runs[arguments.only]}
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    print("seed  library  test accuracy  seconds")
    for seed in range(arguments.seeds):
        for name, run in runs.items():
            accuracy, seconds = run(params, reviews, seed, arguments.threads)
            results[name].append((accuracy, seconds))
            print(f"{seed:>4}  {name:<7}  {accuracy:>13.2%}  {seconds:>7.1f}", flush=True)
    for name, of_library in results.items():
        accuracy, seconds = (statistics.mean(values) for values in zip(*of_library, strict=True))
        print(f"mean  {name:<7}  {accuracy:>13.2%}  {seconds:>7.1f}")


if __name__ == "__main__":
    main()
