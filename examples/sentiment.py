"""
Is a sentence about a film positive?
====================================

`TextClassifier` on the sentences that come with the package, once from random weights and once
starting from a language model of the same sentences, beside fastText and the same classifier in PyTorch.
"""

import importlib.util
import os
import tempfile

import matplotlib.pyplot as plt
import numpy as np
import runs

from clstm import LanguageModel, TextClassifier, get_num_threads
from clstm.datasets import load_movie_reviews
from clstm.text import tokenize

# %%
# 8,465 sentences to learn from, and 1,107 for the test; half of them are positive.

reviews = load_movie_reviews()
train, validation, test = reviews.train, reviews.validation, reviews.test
results = {}  # accuracy, seconds, megabytes of the model file
n_epochs = 5  # the default is 8


def megabytes(model):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model")
        model.save(path)
        return os.path.getsize(path) / 1e6


def learn(classifier):
    return classifier.fit(train.texts, train.labels, (validation.texts, validation.labels))


# %%
# The classifier, and the same one starting from a language model that has read the training sentences.

for seed in runs.seeds():
    classifier = TextClassifier(n_epochs=n_epochs, seed=seed)
    _, seconds = runs.timed(lambda model=classifier: learn(model))
    results.setdefault("clstm", []).append((classifier.score(test.texts, test.labels), seconds, megabytes(classifier)))

    language = LanguageModel(unit="word", hidden_size=64, softmax="adaptive", n_epochs=3, dropout=0.3, seed=seed)
    _, before = runs.timed(lambda model=language: model.fit(train.texts))
    started = TextClassifier(start=language, n_epochs=n_epochs, seed=seed)
    _, seconds = runs.timed(lambda model=started: learn(model))
    row = started.score(test.texts, test.labels), before + seconds, megabytes(started)
    results.setdefault("clstm, started from a language model", []).append(row)

# %%
# fastText, with its defaults and with pairs of words, and PyTorch.

if importlib.util.find_spec("fasttext") is None:
    print("fastText isn't installed, so nothing is compared with it (pip install fasttext-wheel).")
else:
    from peers.sentiment import run_fasttext

    for name, options in {"fastText": {}, "fastText, bigrams": {"wordNgrams": 2, "epoch": 25, "lr": 0.5}}.items():
        found = [run_fasttext(reviews, seed, get_num_threads(), runs.clock, **options) for seed in runs.seeds()]
        results[name] = [(accuracy, seconds, size / 1e6) for accuracy, seconds, size in found]
if runs.torch_is_there():
    from peers.sentiment import run_torch

    params = classifier.get_params()
    results["PyTorch"] = [
        (*run_torch(params, reviews, seed, get_num_threads(), runs.clock), np.nan) for seed in runs.seeds()
    ]

print(f"{'':<36}  accuracy  seconds  model, MB")
for name, found in results.items():
    accuracy, seconds, size = np.mean(found, axis=0)
    print(f"{name:<36}  {accuracy:>8.1%}  {seconds:>7.1f}  {size:>9.1f}")

# %%
# What the classifier makes of sentences while it reads them: the probability of "positive" after each word.

positive = list(classifier.classes_).index("positive")
figure, axes = plt.subplots(4, figsize=(11, 9), sharey=True, layout="constrained")
short = [i for i, text in enumerate(test.texts) if 12 <= len(tokenize(text)) <= 18]
chosen = [i for label in classifier.classes_ for i in [i for i in short if test.labels[i] == label][:2]]
for axis, i in zip(axes, chosen, strict=True):
    words = tokenize(test.texts[i])
    beginnings = [" ".join(words[: n + 1]) for n in range(len(words))]
    share = classifier.predict_proba(beginnings)[:, positive]
    axis.axhline(0.5, color="0.7", linewidth=1)
    axis.plot(share, "o-", color="#0072b2")
    axis.set_xticks(range(len(words)), words, rotation=25, ha="right")
    axis.set_title(f"a {test.labels[i]} sentence", loc="left")
    axis.set_ylim(0, 1)
figure.supylabel('probability of "positive" after so many words')
plt.show()
