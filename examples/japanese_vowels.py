"""
Who said "ae"? Nine speakers
============================

Nine men said the two vowels /ae/ again and again: 7 to 29 frames of 12 cepstral coefficients each. An LSTM that reads
an utterance in both directions learns from 270 of them who speaks, and is tested on the 370 of the official test set.
"""

import numpy as np
from augmenting import noisy
from classifiers import Split, compare, regression_on_summaries
from datasets import load_japanese_vowels
from matplotlib import pyplot as plt

from clstm import LSTMClassifier

# %%
# The utterances have lengths of their own and stay as they are: a list of arrays (frames, 12).

X, speakers, X_test, test_speakers = load_japanese_vowels()
print(
    f"{len(X)} utterances to learn from, of {min(map(len, X))} to {max(map(len, X))} frames; {len(X_test)} for the test"
)

# %%
# They are few. So each is shown six times, each time with noise as strong as the channels vary.

recipe = {"hidden_size": 32, "pooling": "mean", "dropout": 0.5, "n_epochs": 10, "lr": 1e-2}
model = LSTMClassifier(**recipe, random_state=0, verbose=1)
model.fit(noisy(X, copies=6, strength=1.0, seed=0), np.tile(speakers, 6))
print(f"accuracy on the test set: {model.score(X_test, test_speakers):.2%}")

# %%
# Beside logistic regression on mean, deviation, minimum and maximum of each coefficient, which doesn't know what came
# when, and the same network, batches and updates in PyTorch.
# The recipe was chosen by cross-validation inside the training set; the test set took no part in it.


def split(seed):
    yield Split(X, speakers, X_test, test_speakers, augmented=(noisy(X, 6, 1.0, seed), np.tile(speakers, 6)))


compare(recipe, split, regression_on_summaries())

# %%
# How soon does it know? The same model is given only the beginning of each test utterance.

frames = np.arange(1, 16)
heard = [[x[:count] for x in X_test] for count in frames]
found = np.array([model.predict(beginnings) == test_speakers for beginnings in heard])

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=[3, 2], layout="constrained")
for speaker in np.unique(speakers):
    left.plot(frames, found[:, test_speakers == speaker].mean(axis=1), color="0.75", linewidth=1)
left.plot(frames, found.mean(axis=1), color="#0072b2", linewidth=3, label="all speakers")
left.plot([], [], color="0.75", label="each speaker")
left.set(xlabel="frames heard", ylabel="share of utterances whose speaker is found", ylim=(0, 1.02))
left.set_title("Knowing who speaks, frame by frame")
left.legend(loc="lower right")

counts = np.zeros((9, 9), int)
np.add.at(counts, (test_speakers - 1, model.predict(X_test) - 1), 1)
right.imshow(counts / counts.sum(axis=1, keepdims=True), cmap="Blues", vmax=1.2)
for (true, guess), count in np.ndenumerate(counts):
    if count:
        right.text(guess, true, count, ha="center", va="center", color="white" if true == guess else "black")
right.set(xlabel="speaker found", ylabel="who spoke", xticks=range(9), yticks=range(9))
right.set_xticklabels(range(1, 10))
right.set_yticklabels(range(1, 10))
right.set_title("Whole utterances")
plt.show()
