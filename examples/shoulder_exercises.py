"""
Shoulder exercises of people never seen
=======================================

Ten people with a smart watch did seven exercises of physiotherapy, with one arm and with the other: acceleration and
rotation ten times a second. What matters is a person who comes new, so the model is tested on people of whom it has
seen nothing, on windows of four seconds and on whole recordings.
"""

import numpy as np
from augmenting import turned
from classifiers import compare, regression_on_summaries
from datasets import load_shoulder_exercises, windows_of
from matplotlib import pyplot as plt
from sklearn.model_selection import GroupKFold

from clstm import LSTMClassifier

# %%
# Windows of four seconds, a new one every two.

recordings, exercises, people = load_shoulder_exercises()
windows = [windows_of(recording, size=40, step=20) for recording in recordings]

# %%
# A watch sits a little differently on every wrist. So each window is shown four times, each time as from a watch that
# is turned and stretched at random.


def training_windows(rows, seed):
    some = [windows[row] for row in rows]
    labels = np.repeat(exercises[rows], [len(of_one) for of_one in some])
    return turned(np.concatenate(some), copies=4, strength=0.2, seed=seed), np.tile(labels, 4)


recipe = {"pooling": "mean", "dropout": 0.5, "n_epochs": 4}


# %%
# Five times two people are left out, and a model learns from the other eight. A recording's exercise is the one that
# its windows say on average.

folds = list(GroupKFold(5).split(recordings, exercises, people))
found_windows, found = np.empty(140), np.empty(140, object)
for train, test in folds:
    model = LSTMClassifier(**recipe, random_state=0).fit(*training_windows(train, seed=0))
    for row in test:
        probabilities = model.predict_proba(windows[row])
        found[row] = model.classes_[probabilities.mean(axis=0).argmax()]
        found_windows[row] = np.mean(model.classes_[probabilities.argmax(axis=1)] == exercises[row])
    print(f"people {set(people[test])}: {found_windows[test].mean():.1%} of windows, "
          f"{np.mean(found[test] == exercises[test]):.1%} of recordings", flush=True)  # fmt: skip

# %%
# Beside logistic regression on mean, deviation, minimum and maximum of each channel in a window, and the same in
# PyTorch.


def splits(seed):
    for train, test in folds:
        yield *training_windows(train, seed), [windows[row] for row in test], exercises[test]


def score(model, X, y):
    probabilities = [model.predict_proba(windows) for windows in X]
    labels = np.repeat(y, [len(windows) for windows in X])
    return {
        "windows": np.mean(model.classes_[np.concatenate(probabilities).argmax(axis=1)] == labels),
        "recordings": np.mean(model.classes_[[p.mean(axis=0).argmax() for p in probabilities]] == y),
    }


compare(recipe, splits, regression_on_summaries(), score)

# %%
# Each person, and what was taken for what.

names = {"PEN": "pendulum", "ABD": "abduction", "FEL": "forward elevation", "IR": "internal rotation",
         "ER": "external rotation", "TRAP": "trapezius", "ROW": "row"}  # fmt: skip
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
each = np.arange(1, 11)
left.bar(each - 0.2, [found_windows[people == person].mean() for person in each], 0.4, color="#56b4e9")
left.bar(each + 0.2, [np.mean((found == exercises)[people == person]) for person in each], 0.4, color="#0072b2")
left.axhline(1 / 7, color="0.4", linestyle=":")
left.legend(["by chance", "windows of 4 s", "whole recordings"], loc="lower right")
left.set(xlabel="person, of whom the model has seen nothing", ylabel="share found", xticks=each, ylim=(0, 1))

counts = np.array([[np.sum((exercises == true) & (found == guess)) for guess in names] for true in names])
right.imshow(counts, cmap="Blues", vmax=24)
for (true, guess), count in np.ndenumerate(counts):
    if count:
        right.text(guess, true, count, ha="center", va="center", color="white" if count > 12 else "black")
right.set_xticks(range(7), names.values(), rotation=35, ha="right")
right.set_yticks(range(7), names.values())
right.set(xlabel="found", ylabel="done", title="Recordings")
plt.show()
