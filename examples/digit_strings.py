"""
Strings of digits
=================

Somebody says a telephone number, and nobody says where one digit ends and the next begins. Connectionist temporal
classification (Graves et al. 2006) trains a network with the digits and their order alone: each frame of sound gives
a digit or a blank, and all ways to spell the right string count.
"""

import matplotlib.pyplot as plt
import numpy as np
import runs
import step_network
from classifiers import regression_on_summaries
from datasets import load_spoken_digits
from sklearn.model_selection import train_test_split

from clstm import decoding, losses
from clstm.models import SequenceNetwork
from clstm.train.batches import BucketedBatches, PaddedRows

RECIPE = {"n_epochs": 10, "lr": 1e-2}

# %%
# The strings
# -----------
# Recordings of single digits are joined, two to five in a string. A fifth of the recordings is held out, and the
# strings of the test are made of those alone. Class 0 is the blank, so digit d is class d + 1.

recordings, digits = load_spoken_digits()
X, X_test, y, y_test = train_test_split(recordings, digits, test_size=0.2, stratify=digits, random_state=0)
frames = np.concatenate(X)
mean, deviation = frames.mean(axis=0), frames.std(axis=0)


def strings(recordings, digits, count, seed):
    """Return the sounds of some strings, (frames, 13) each, and their classes."""
    generator = np.random.default_rng(seed)
    chosen = [generator.integers(len(recordings), size=generator.integers(2, 6)) for _ in range(count)]
    sounds = [np.concatenate([(recordings[i] - mean) / deviation for i in rows]) for rows in chosen]
    return PaddedRows(sounds), PaddedRows([digits[rows] + 1 for rows in chosen])


test_sounds, test_labels = strings(X_test, y_test, 500, seed=0)
everything = np.arange(len(test_sounds))

# %%
# Training
# --------
# The network reads each string in both directions and gives eleven scores a frame. What `losses.ctc` wants to know
# beside them is the digits in their order, and how many frames and digits each string has.


def new_network(seed):
    """Return a network with random weights."""
    return SequenceNetwork(13, 64, 11, bidirectional=True, pooling=None, seed=seed)


def training_data(seed):
    """Return batches of rows, and what reads their sounds, and their digits with the lengths of both."""
    sounds, labels = strings(X, y, 2000, seed=[seed, 1])

    def read(rows):
        x, lengths = sounds.batch(rows)
        targets, counts = labels.batch(rows)
        return (x, lengths), (targets, lengths, counts)

    return BucketedBatches(sounds.lengths, 20, seed=seed), read


def ctc(scores, targets, lengths, counts):
    """Return the loss of scores (batch, time, classes), and its gradient."""
    loss, gradient = losses.ctc(scores.swapaxes(0, 1), targets, lengths, counts)
    return loss, gradient.swapaxes(0, 1)


def train(seed):
    """Return a network that can hear strings of digits."""
    network = new_network(seed)
    step_network.train(network, ctc, *training_data(seed), **RECIPE)
    return network


# %%
# Testing
# -------
# Strings can be compared whose lengths differ: the digit error rate is the number of digits to put in, take out or
# change, divided by the number of digits said. Greedy decoding takes the best class of each frame; the beam adds up
# all ways to spell a string.


def edits(found, said):
    """Return the least number of edits that make one string of the other (Levenshtein's distance)."""
    row = np.arange(len(said) + 1)
    for i, digit in enumerate(found, 1):
        changed = np.minimum(row[:-1] + (said != digit), row[1:] + 1)
        row = np.minimum.accumulate(np.concatenate([[i], changed]) - np.arange(len(row))) + np.arange(len(row))
    return row[-1]


def error(found):
    """Return the digit error rate on the test strings, in per cent."""
    said = cut(*test_labels.batch(everything))
    return 100 * sum(map(edits, found, said)) / sum(map(len, said))


def cut(rows, lengths):
    """Return each row without its padding."""
    return [row[:length] for row, length in zip(rows, lengths, strict=True)]


def measure(network, seconds):
    """Return the error rates of a network."""
    x, lengths = test_sounds.batch(everything)
    scores = network(x, lengths=lengths)[0].swapaxes(0, 1)
    found, _ = decoding.ctc_beam(scores, lengths)
    metrics = {"greedy error %": error(decoding.ctc_greedy(scores, lengths)), "beam error %": error(found)}
    return runs.Result(metrics, seconds)


def baseline():
    """Return the error rates of cutting: as many equal pieces as digits of mean length, each one classified."""
    usual = np.mean([len(recording) for recording in X])
    model = regression_on_summaries().fit([(recording - mean) / deviation for recording in X], y)
    found = []
    for sound in cut(*test_sounds.batch(everything)):
        pieces = np.array_split(sound, np.clip(round(len(sound) / usual), 2, 5))
        found.append(model.predict(pieces) + 1)
    return {"greedy error %": error(found), "beam error %": np.nan}


results = {"clstm": []}
for seed in runs.seeds():
    network, seconds = runs.timed(lambda seed=seed: train(seed))
    results["clstm"].append(measure(network, seconds))
    if runs.torch_is_there():
        from peers import digit_strings as peer

        twin = new_network(seed)
        weights, seconds = runs.timed(
            lambda seed=seed, twin=twin: peer.train(twin.state_dict(), *training_data(seed), **RECIPE)
        )
        twin.load_state_dict(weights)
        results.setdefault("PyTorch", []).append(measure(twin, seconds))
runs.show(results, baseline())

# %%
# One string
# ----------
# Above, the probability of each digit and of the blank in each frame; below, the sound. The network says a digit once,
# in a few frames, and the blank else; the dashed lines are where one recording ends and the next begins, which it was
# never told.

chosen = np.random.default_rng(4).integers(len(X_test), size=5)
sound = np.concatenate([(X_test[i] - mean) / deviation for i in chosen])
scores = network(sound[np.newaxis])[0].swapaxes(0, 1)
(found,), (log_probability,) = decoding.ctc_beam(scores)
probabilities = np.exp(scores[:, 0] - np.logaddexp.reduce(scores[:, 0], axis=1)[:, np.newaxis])

figure, (above, below) = plt.subplots(2, sharex=True, figsize=(10, 5.5), height_ratios=[1.3, 1], layout="constrained")
above.plot(probabilities[:, 0], color="0.7", label="blank")
above.plot(probabilities[:, 1:], color="#0072b2", label=["a digit"] + [None] * 9)
best = probabilities.argmax(axis=1)
for start in np.flatnonzero((best > 0) & (best != np.concatenate([[0], best[:-1]]))):
    above.annotate(best[start] - 1, (start, 1.03), color="#0072b2", fontsize=14, ha="center", annotation_clip=False)
said, heard = (" ".join(map(str, string)) for string in (y_test[chosen], found - 1))
above.set_title(f"said: {said}    decoded: {heard}, with probability {np.exp(log_probability):.2f}", pad=22)
above.set(ylabel="probability", ylim=(0, 1.01))
above.legend(loc="center right")
below.imshow(sound.T, aspect="auto", cmap="cividis", origin="lower", vmin=-3, vmax=3)
below.set(xlabel="frame", ylabel="coefficient (MFCC)", yticks=range(0, 13, 3))
for ax in (above, below):
    for border in np.cumsum([len(X_test[i]) for i in chosen])[:-1]:
        ax.axvline(border - 0.5, color="0.3" if ax is above else "white", linestyle="--", linewidth=1)
plt.show()
