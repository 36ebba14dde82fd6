"""
Moby Dick, character by character
=================================

A language model reads the novel and learns which character comes next. How many bits a character of the last tenth
takes, which it has never seen, says how well it knows English and Melville. Then it writes on. This is a short
training; `benchmarks/moby_dick.py` has the long one of the docs.
"""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from datasets import load_moby_dick
from runs import Result, seeds, show, timed, torch_is_there

from clstm import LanguageModel

# %%
# The last tenth of the novel is for the test. Without any context, from the frequencies of the characters alone, a
# character takes some four and a half bits.

novel = load_moby_dick()
cut = len(novel) * 9 // 10
train, test = novel[:cut], novel[cut:]
_, counts = np.unique(list(train), return_counts=True)
shares = counts / counts.sum()
baseline = {"bits a character": -(shares * np.log2(shares)).sum()}

# %%
# The model: an LSTM of 128 units over characters. ``fit`` cuts the text into 16 streams and goes through them side by
# side, the state carried along.

results = {"clstm": []}
for seed in seeds():
    model = LanguageModel(hidden_size=128, n_epochs=2, seed=seed)
    _, seconds = timed(lambda model=model: model.fit(train))
    results["clstm"].append(Result({"bits a character": model.bits_per_character(test)}, seconds))

# %%
# It writes, character by character, each drawn from the probabilities given all before it.

text, seconds = timed(lambda: model.generate("Call me Ishmael.", 2000, temperature=0.7, seed=1))
print(f"Call me Ishmael.{text[:400]}...\n({2000 / seconds:,.0f} characters a second)\n")

# %%
# The same model and recipe in PyTorch.

if torch_is_there():
    from peers.language_model import TorchLanguageModel

    results["PyTorch"] = []
    for seed in seeds():
        twin = TorchLanguageModel(model.get_params() | {"seed": seed})
        _, seconds = timed(lambda twin=twin: twin.fit(train))
        results["PyTorch"].append(Result({"bits a character": twin.bits_per_character(test)}, seconds))
show(results, baseline)

# %%
# What surprises the model: the bits of each character, in a passage of the last tenth. The first letters of words and
# rare names take many, the rest of a word few.

start = test.index(". ", 20000) + 2
width = 60
lines = textwrap.wrap(" ".join(test[start : start + 400].split()), width, break_on_hyphens=False)[:4]
passage = " ".join(lines)
bits = iter(model.bits(test[:start] + passage)[-len(passage) :])
figure, axes = plt.subplots(len(lines), figsize=(11, 1.5 * len(lines)), sharey=True, layout="constrained")
for axis, line in zip(axes, lines, strict=True):
    of_line = np.array([next(bits) for _ in line])
    axis.bar(range(len(line)), of_line, color=plt.cm.cividis_r(np.clip(of_line / 8, 0, 1)), width=0.9)
    axis.set_xticks(range(len(line)), line, family="monospace", fontsize=13)
    axis.tick_params(axis="x", length=0)
    axis.set_xlim(-0.6, width - 0.4)
    axis.spines[["top", "right"]].set_visible(False)
    next(bits, None)  # of the space where the line is broken
axes[0].set_title("How much each character of an unseen passage surprises the model")
figure.supylabel("bits a character")
plt.show()
