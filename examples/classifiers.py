"""What the examples of classification share: a baseline, the classifier, and its twin in PyTorch, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from runs import Result, seeds, show, timed, torch_is_there
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from clstm import LSTMClassifier


class Split(NamedTuple):
    """What to train on, what to test on, and for this split alone: more to train networks on, and arguments of theirs.

    The baseline is given `X` and `y` themselves.
    """

    X: Any
    y: Any
    X_test: Any
    y_test: Any
    augmented: tuple[Any, Any] | None = None
    recipe: Mapping[str, Any] = MappingProxyType({})


def accuracy(model: Any, X: Any, y: Any) -> dict[str, float]:
    """Return the share of the sequences whose class was found."""
    return {"accuracy": float(np.mean(model.predict(X) == y))}


def summaries(X: Any) -> np.ndarray:
    """Return mean, deviation, least and largest value of each sequence's channels: all but the order."""
    return np.stack([np.concatenate([x.mean(axis=0), x.std(axis=0), x.min(axis=0), x.max(axis=0)]) for x in X])


def regression_on_summaries() -> Any:
    """Return a baseline that doesn't know what came when: logistic regression on each sequence's `summaries`."""
    return make_pipeline(FunctionTransformer(summaries), StandardScaler(), LogisticRegression(max_iter=2000))


def compare(
    recipe: dict[str, Any],
    splits: Callable[[int], Iterable[Split]],
    baseline: Any,
    score: Callable[[Any, Any, Any], dict[str, float]] = accuracy,
) -> None:
    """Train and test all three on the same splits, with each seed of the command line, and print a table.

    `splits` makes the splits of a seed; the metrics are means over all that is tested in them, the seconds their sum.
    """
    makers = {"baseline": lambda **params: clone(baseline), "clstm": LSTMClassifier}
    if torch_is_there():
        from peers.classifier import TorchLSTMClassifier

        makers["PyTorch"] = TorchLSTMClassifier
    results: dict[str, list[Result]] = {name: [] for name in makers}
    for seed in seeds():
        runs: dict[str, list[Result]] = {name: [] for name in makers}
        sizes = []
        for split in splits(seed):
            sizes.append(len(split.y_test))
            for name, make in makers.items():
                model = make(**recipe, **split.recipe, random_state=seed)
                data = (split.X, split.y) if name == "baseline" or split.augmented is None else split.augmented
                _, seconds = timed(partial(model.fit, *data))
                runs[name].append(Result(score(model, split.X_test, split.y_test), seconds))
        for name, parts in runs.items():
            metrics = {
                metric: float(np.average([part.metrics[metric] for part in parts], weights=sizes))
                for metric in parts[0].metrics
            }
            results[name].append(Result(metrics, sum(part.seconds for part in parts)))
            print(f"seed {seed}, {name}: " + ", ".join(f"{metric} {value:.2%}" for metric, value in metrics.items()))
    show(results)
