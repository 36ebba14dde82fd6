"""
Shoulder exercises of people never seen
=======================================

Ten people with a smart watch did seven exercises of physiotherapy, with one arm and with the other: acceleration and
rotation ten times a second. What matters is a person who comes new, so the model is tested on people of whom it has
seen nothing, on windows of four seconds and on whole recordings.
"""

import numpy as np
from augmenting import turned
from classifiers import Split, compare, regression_on_summaries
from datasets import load_shoulder_exercises, windows_of
from matplotlib import pyplot as plt

from clstm import LSTMClassifier

# %%
# Windows of four seconds, a new one every two.

recordings, exercises, people = load_shoulder_exercises()
windows = [windows_of(recording, size=40, step=20) for recording in recordings]

# %%
# A watch sits a little differently on every wrist. So each window is shown four times, each time as from a watch that
# is turned and stretched at random.


def labelled_windows(rows):
    labels = np.repeat(exercises[rows], [len(windows[row]) for row in rows])
    return np.concatenate([windows[row] for row in rows]), labels


def more(X, y, seed):
    return turned(X, axes=3, copies=4, strength=0.2, seed=seed), np.tile(y, 4)


# %%
# People 1 to 5 are tested with the recipe that is best on people 6 to 10, and the other way round: so no one's
# recordings had a say in how they are judged. Two or three are left out at a time, and a model learns from all others.

recipe = {"dropout": 0.5, "n_epochs": 4}
folds = [([1, 2], "max"), ([3, 4, 5], "max"), ([6, 7], "mean"), ([8, 9, 10], "mean")]
probabilities = {}
for strangers, pooling in folds:
    test = np.isin(people, strangers)
    model = LSTMClassifier(**recipe, pooling=pooling, random_state=0)
    model.fit(*more(*labelled_windows(np.flatnonzero(~test)), seed=0))
    probabilities |= {row: model.predict_proba(windows[row]) for row in np.flatnonzero(test)}
    print(f"people {strangers} are done", flush=True)

# %%
# A recording's exercise is the one that its windows say on average.

names = model.classes_
found = names[[probabilities[row].mean(axis=0).argmax() for row in range(len(recordings))]]
found_windows = np.array([np.mean(names[probabilities[row].argmax(axis=1)] == y) for row, y in enumerate(exercises)])
print(f"{np.mean(found == exercises):.1%} of the recordings are named rightly")

# %%
# Beside logistic regression on mean, deviation, minimum and maximum of each channel in a window, and the same in
# PyTorch.


def splits(seed):
    for strangers, pooling in folds:
        test = np.isin(people, strangers)
        X, y = labelled_windows(np.flatnonzero(~test))
        X_test = [windows[row] for row in np.flatnonzero(test)]
        yield Split(X, y, X_test, exercises[test], more(X, y, seed), {"pooling": pooling})


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

full = {"PEN": "pendulum", "ABD": "abduction", "FEL": "forward elevation", "IR": "internal rotation",
        "ER": "external rotation", "TRAP": "trapezius", "ROW": "row"}  # fmt: skip
figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
each = np.arange(1, 11)
left.bar(each - 0.2, [found_windows[people == person].mean() for person in each], 0.4, color="#56b4e9")
left.bar(each + 0.2, [np.mean((found == exercises)[people == person]) for person in each], 0.4, color="#0072b2")
left.axhline(1 / 7, color="0.4", linestyle=":")
left.legend(["by chance", "windows of 4 s", "whole recordings"], loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
left.set(xlabel="person, of whom the model has seen nothing", ylabel="share named rightly", xticks=each, ylim=(0, 1.02))

counts = np.array([[np.sum((exercises == true) & (found == guess)) for guess in full] for true in full])
right.imshow(counts, cmap="Blues", vmax=24)
for (true, guess), count in np.ndenumerate(counts):
    if count:
        right.text(guess, true, count, ha="center", va="center", color="white" if count > 12 else "black")
right.set_xticks(range(7), full.values(), rotation=35, ha="right")
right.set_yticks(range(7), full.values())
right.set(xlabel="named", ylabel="done", title="Whole recordings")
plt.show()
