"""
Translation
===========

`clstm.Translator` learns to translate English into French from pairs of short sentences: an encoder reads the English
words in both directions, a decoder writes the French ones and looks, with each of them, at all of the English ones.
The sentences are Tatoeba's. Here it learns those of at most five words;
``python examples/translation.py --full`` learns all of them.
"""

# %%
# One English sentence can have several translations. So it is the English sentences that are split: none of a test
# sentence's pairs is in the training, and all of its translations are right ones when the test is scored.
import copy
from collections import defaultdict

import numpy as np
import runs
from datasets import load_sentence_pairs
from matplotlib import pyplot as plt
from scipy.sparse import csr_array

import clstm
from clstm.translation import bleu

options = runs.options(full="learn sentences of any length")
french_of = defaultdict(list)
for english, french in load_sentence_pairs("fr"):
    if options.full or len(english.split()) <= 5:
        french_of[english].append(french)
sentences = np.random.default_rng(0).permutation(sorted(french_of)).tolist()
test, training = sentences[:1000], sentences[1000:]
references = [french_of[english] for english in test]
sources, targets = zip(*((english, french) for english in training for french in french_of[english]), strict=True)
print(f"{len(sources)} pairs to learn from, {len(test)} English sentences to test on")

# %%
# The baseline is a translation memory: the translation of the training sentence that has the most words in common with
# the test sentence, rare words counting for more.
words = clstm.Vocabulary.from_texts(training)


def rows_of_words(texts):
    ids = [words.encode(text) for text in texts]
    places = (np.repeat(np.arange(len(ids)), [len(row) for row in ids]), np.concatenate(ids))
    return csr_array((np.ones(len(places[0])), places), shape=(len(ids), len(words)))


counts = rows_of_words(training)
rarity = np.log(len(training) / (1 + (counts > 0).sum(axis=0)))
known, asked = counts * rarity[np.newaxis], rows_of_words(test) * rarity[np.newaxis]
known = known / np.sqrt((known * known).sum(axis=1))[:, np.newaxis]
nearest = (asked @ known.T).toarray().argmax(axis=1)
baseline = {"BLEU": bleu([french_of[training[row]][0] for row in nearest], references)}

# %%
# Learning, and the same model and recipe in PyTorch, whose weights then go into the same network: the search for the
# likeliest translation is the same one.
results = defaultdict(list)
recipe = {} if options.full else {"n_epochs": 5}


def learn(seed):
    """Return a translator that has learnt; and keep what it reached, and what its twin did."""
    translator = clstm.Translator(**recipe, seed=seed)
    _, seconds = runs.timed(lambda: translator.fit(sources, targets))
    results["clstm"].append(runs.Result({"BLEU": translator.score(test, references)}, seconds))
    if runs.torch_is_there():
        from peers.translator import train

        weights, seconds = runs.timed(lambda: train(translator, sources, targets, seed))
        twin = copy.deepcopy(translator)
        twin.network_.load_state_dict(weights)
        results["PyTorch"].append(runs.Result({"BLEU": twin.score(test, references)}, seconds))
    return translator


translators = [learn(seed) for seed in range(options.seeds)]
runs.show(results, baseline)

# %%
# Some translations of sentences that were not learnt, and what the decoder looked at when it wrote one of them.
translations, alignments = translators[0].translate(test[:10], return_attention=True)
for english, french in zip(test[:10], translations, strict=True):
    print(f"{english:45} {french}")

longest = max(alignments, key=lambda alignment: len(alignment.target_words))
clstm.plot.attention(longest)
plt.show()
