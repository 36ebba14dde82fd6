"""How the recipes of the classifying examples were chosen: by validation inside the training part, test data unseen.

    python examples/choosing.py hand_movements

trains each candidate on part of the training data of seed 0, and prints its mean accuracy on the rest of them.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import datasets
import numpy as np
from augmenting import noisy, turned
from sklearn.model_selection import LeaveOneGroupOut, StratifiedKFold, train_test_split

from clstm import LSTMClassifier

Recipe = dict[str, Any]
Prepare = Callable[[Any, np.ndarray], tuple[Any, np.ndarray]]


def validate(title: str, recipe: Recipe, X: Any, y: np.ndarray, folds: Any, prepare: Prepare | None = None) -> None:
    """Print the mean accuracy over the folds; `prepare` changes the training data."""
    start, scores = time.perf_counter(), []
    for train, rest in folds:
        some = _take(X, train), y[train]
        model = LSTMClassifier(**recipe, random_state=0).fit(*(prepare(*some) if prepare else some))
        predicted = model.predict(_take(X, rest))
        scores.append(np.mean((predicted if predicted.ndim == 1 else predicted[:, -1]) == y[rest]))
    print(f"{np.mean(scores):.2%}  {time.perf_counter() - start:5.1f} s  {title} {recipe}", flush=True)


def japanese_vowels() -> None:
    X, y, _, _ = datasets.load_japanese_vowels()
    common = {"dropout": 0.5, "n_epochs": 10, "lr": 1e-2}
    for copies, strength, recipe in [
        (1, 0.0, {"n_epochs": 60}),
        (6, 0.5, {}),
        (6, 0.5, {"hidden_size": 32}),
        (6, 1.0, {"hidden_size": 32}),
        (6, 0.5, {"hidden_size": 32, "pooling": "max"}),
    ]:
        folds = [fold for seed in (0, 1) for fold in StratifiedKFold(5, shuffle=True, random_state=seed).split(X, y)]

        def prepare(X: Any, y: np.ndarray, copies: int = copies, strength: float = strength) -> Any:
            return noisy(X, copies, strength, seed=0), np.tile(y, copies)

        validate(f"{copies} copies, noise {strength}", {**common, **recipe}, X, y, folds, prepare)


def spoken_digits() -> None:
    X, y = datasets.load_spoken_digits()
    train, rest = _training_part(y, 0.2)
    for recipe in [
        {"pooling": "mean", "n_epochs": 10},
        {"pooling": "max", "n_epochs": 10},
        {"pooling": "mean", "dropout": 0.3, "n_epochs": 20},
        {"pooling": "last", "dropout": 0.3, "n_epochs": 20},
        {"pooling": "max", "dropout": 0.3, "n_epochs": 20},
    ]:
        validate("", {"lr": 1e-2, **recipe}, X, y, [(train, rest)])


def pen_digits() -> None:
    X, y = datasets.load_pen_digits()
    train, rest = _training_part(y, 0.2)
    common = {"bidirectional": False, "hidden_size": 128, "batch_size": 64, "lr": 5e-3, "pooling": "last"}
    for at_each, copies, recipe in [
        (False, 1, {"n_epochs": 20}),
        (True, 1, {"n_epochs": 20}),
        (False, 4, {"n_epochs": 8}),
        (True, 4, {"n_epochs": 8}),
    ]:

        def prepare(X: Any, y: np.ndarray, copies: int = copies, at_each: bool = at_each) -> Any:
            X, y = turned(X - 50, 2, copies, 0.1, seed=0) + 50 if copies > 1 else X, np.tile(y, copies)
            return X, np.repeat(y[:, np.newaxis], 8, axis=1) if at_each else y

        title = f"the digit at {'each point' if at_each else 'the end'}, {copies} copies"
        validate(title, {**common, **recipe}, X, y, [(train, rest)], prepare)


def hand_movements() -> None:
    X, y = datasets.load_hand_movements()
    with_velocity = np.concatenate([X, np.diff(X, axis=1, prepend=X[:, :1])], axis=2)
    train, _ = train_test_split(np.arange(len(X)), test_size=120, stratify=y, random_state=0)
    for title, channels, recipe in [
        ("place", X, {"pooling": "max"}),
        ("place and velocity", with_velocity, {"pooling": "mean"}),
        ("place and velocity", with_velocity, {"pooling": "last"}),
        ("place and velocity", with_velocity, {"pooling": "max"}),
        ("place and velocity", with_velocity, {"pooling": "max", "dropout": 0.3}),
    ]:
        folds = StratifiedKFold(4, shuffle=True, random_state=0).split(channels[train], y[train])
        recipe = {"n_epochs": 60, "batch_size": 16, "lr": 5e-3, **recipe}
        validate(title, recipe, channels[train], y[train], folds)


def shoulder_exercises() -> None:
    """For people 1 to 5 and people 6 to 10 apart: what one half would choose is tested on the other half."""
    recordings, exercises, people = datasets.load_shoulder_exercises()
    windows = [datasets.windows_of(recording, 40, 20) for recording in recordings]
    X, counts = np.concatenate(windows), [len(some) for some in windows]
    y, people = np.repeat(exercises, counts), np.repeat(people, counts)
    for first in (1, 6):
        half = np.flatnonzero((first <= people) & (people < first + 5))
        for copies, strength, recipe in [
            (1, 0.0, {"pooling": "mean", "n_epochs": 12}),
            (1, 0.0, {"pooling": "max", "n_epochs": 12}),
            (4, 0.2, {"pooling": "mean", "n_epochs": 4}),
            (4, 0.2, {"pooling": "max", "n_epochs": 4}),
            (4, 0.4, {"pooling": "mean", "n_epochs": 4}),
            (4, 0.4, {"pooling": "max", "n_epochs": 4}),
        ]:
            folds = LeaveOneGroupOut().split(half, groups=people[half])

            def prepare(X: Any, y: np.ndarray, copies: int = copies, strength: float = strength) -> Any:
                return turned(X, 3, copies, strength, seed=0), np.tile(y, copies)

            title = f"people {first} to {first + 4}, {copies} copies turned by {strength}"
            validate(title, {"dropout": 0.5, **recipe}, X[half], y[half], folds, prepare)


def language_of_a_sentence() -> None:
    languages = datasets.load_languages(6000)
    X = [np.array(list(text.encode())) for some in languages.values() for text in some]
    y = np.repeat(list(languages), 6000)
    train, rest = _training_part(y, 0.2)
    common = {"vocab_size": 256, "embedding_dim": 32, "dropout": 0.2, "n_epochs": 4, "lr": 5e-3}
    for recipe in [{"pooling": "mean"}, {"pooling": "last"}, {"pooling": "max"}, {"pooling": "max", "lr": 1e-2}]:
        validate("", {**common, **recipe}, X, y, [(train, rest)])


def _training_part(y: np.ndarray, share: float) -> list[np.ndarray]:
    """Return which rows of seed 0's training part to train on here, and which to validate on."""
    train, _ = train_test_split(np.arange(len(y)), test_size=share, stratify=y, random_state=0)
    return train_test_split(train, test_size=share, stratify=y[train], random_state=0)


def _take(X: Any, rows: np.ndarray) -> Any:
    return X[rows] if isinstance(X, np.ndarray) else [X[row] for row in rows]


if __name__ == "__main__":
    USES = (japanese_vowels, spoken_digits, pen_digits, hand_movements, shoulder_exercises, language_of_a_sentence)
    for use in USES:
        if use.__name__ in sys.argv[1:] or not sys.argv[1:]:
            print(use.__name__, flush=True)
            use()
