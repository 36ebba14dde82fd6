"""A language model of characters: a step of training, scoring a text, writing."""

import numpy as np

import clstm
from clstm.language.network import LSTMLanguageNetwork

from . import cases

TEXT = "Call me Ishmael. Some years ago, never mind how long precisely, having little or no money. " * 40


class TrainStep:
    """16 streams of 64 steps through 256 units and 90 characters, with Adam."""

    params = (cases.THREADS,)
    param_names = ("threads",)

    def setup(self, threads):
        network = LSTMLanguageNetwork(90, 64, 256, dropout=0.1, num_threads=threads, seed=0)
        self.network, self.optimiser = network, clstm.optim.Adam(network)
        self.ids, self.targets = np.random.default_rng(0).integers(90, size=(2, 64, 16))

    def time_step(self, threads):
        _, grads, _ = self.network.train_step(self.ids, self.targets)
        self.optimiser.step(grads)


class AdaptiveTrainStep:
    """The same of 20,000 words, with a plain and with an adaptive softmax."""

    params = ((None, [2500, 10000]),)
    param_names = ("cutoffs",)

    def setup(self, cutoffs):
        self.network = LSTMLanguageNetwork(20_000, 64, 256, cutoffs=cutoffs, num_threads=1, seed=0)
        self.ids, self.targets = np.random.default_rng(0).zipf(1.3, size=(2, 32, 16)) % 20_000

    def time_step(self, cutoffs):
        self.network.train_step(self.ids, self.targets)


class Model:
    """1,000 characters from 256 units, and the bits of some thousand."""

    def setup(self):
        self.model = clstm.LanguageModel(n_epochs=1, num_threads=1, seed=0, verbose=0).fit(TEXT)

    def time_generate(self):
        self.model.generate("Call me", 1000, seed=0)

    def time_generate_top_p(self):
        self.model.generate("Call me", 1000, top_p=0.9, seed=0)

    def time_bits(self):
        self.model.bits_per_character(TEXT)
