"""
What does an LSTM do at "but"? Its gates, word by word
======================================================

A classifier that reads film reviews forwards, and whose last state decides, is trained as ever. Then `trace` shows what
its gates and cells did at every word: of one sentence as a picture, of 1,107 as a list of words at which it forgets.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from runs import options

from clstm import TextClassifier, plot
from clstm.datasets import load_movie_reviews

reviews = load_movie_reviews()
train, validation, test = reviews.train, reviews.validation, reviews.test
asked = options(save="write the pictures to docs/pictures")

# %%
# Nothing is asked of the training: any fitted model has `trace`. Of all words that stand in the test sentences 20 times
# or more, the mean of the forget gates over all units and places says where the network forgets what it has read.


def by_word(values, words):
    """Return the words that stand 20 times or more, and the mean value of each, the smallest first."""
    known, place, count = np.unique(words, return_inverse=True, return_counts=True)
    mean = np.bincount(place, values) / count
    order = np.argsort(mean)
    order = order[count[order] >= 20]
    return known[order], mean[order]


for seed in range(asked.seeds):
    classifier = TextClassifier(bidirectional=False, pooling="last", n_epochs=4, seed=seed)
    classifier.fit(train.texts, train.labels, (validation.texts, validation.labels))
    trace = classifier.trace(test.texts)
    inside = np.arange(trace.y.shape[1]) < trace.lengths[:, np.newaxis]
    words, forget = by_word(trace[0].f.mean(axis=-1)[inside], np.concatenate(trace.tokens))

    print(f"seed {seed}: accuracy {classifier.score(test.texts, test.labels):.1%}, mean forget gate")
    print("  lowest:  " + ", ".join(f"{word} {value:.2f}" for word, value in zip(words[:6], forget[:6], strict=True)))
    print("  highest: " + ", ".join(f"{word} {value:.2f}" for word, value in zip(words[-6:], forget[-6:], strict=True)))
    print(f'  "but" has place {list(words).index("but") + 1} of {len(words)}, "and" {list(words).index("and") + 1}')

# %%
# What the model is made of, and how the last training went.

print(classifier.summary())
curves = plot.history(classifier)

# %%
# One sentence of the test, full of praise before "but" and of blame after it. A line is a unit, and units that behave
# alike are beside each other: what the cells have gathered up to "creative" fades after "but", and from the second
# "too" on they hold its opposite.

sentence = next(text for text in test.texts if text.startswith("Challenging, intermittently"))
positive = list(classifier.classes_).index("positive")
before, whole = classifier.predict_proba([sentence.partition("But")[0], sentence])[:, positive]
print(f'{sentence!r}: positive by {before:.0%} before "but", by {whole:.0%} at the end')
gates = plot.gates(classifier.trace(sentence))
# sphinx_gallery_thumbnail_number = 2
if asked.save:
    pictures = Path(__file__).resolve().parents[1] / "docs" / "pictures"
    gates[0].figure.savefig(pictures / "gates.png", dpi=80)
    curves[0].figure.savefig(pictures / "history.png", dpi=80)
plt.show()
