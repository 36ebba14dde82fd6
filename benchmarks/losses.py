"""Losses that have much to compute: value and gradient."""

import numpy as np

import clstm

from . import cases


class MixtureDensity:
    """A batch of a pen's moves, as in examples/write_digits.py, and one of long lines."""

    params = (((100, 8, 20), (64, 500, 20)), ("float32", "float64"))
    param_names = ("shape", "dtype")

    def setup(self, shape, dtype):
        rng = np.random.default_rng(0)
        batch, time, components = shape
        self.parameters = rng.standard_normal((batch, time, 6 * components)).astype(dtype)
        self.targets = rng.standard_normal((batch, time, 2)).astype(dtype)

    def time_value_and_gradient(self, shape, dtype):
        clstm.losses.mixture_density(self.parameters, self.targets)

    def time_sample(self, shape, dtype):
        clstm.mixture.sample(self.parameters, seed=0)


class CTC:
    """A batch of strings of digits, as in examples/digit_strings.py, and one of sentences in letters."""

    params = (((150, 32, 11, 4), (400, 32, 29, 60)), ("float32", "float64"), cases.THREADS)
    param_names = ("shape", "dtype", "threads")

    def setup(self, shape, dtype, threads):
        rng = np.random.default_rng(0)
        time, batch, classes, labels = shape
        self.logits = rng.standard_normal((time, batch, classes)).astype(dtype)
        self.lengths = rng.integers(time // 2, time, batch, endpoint=True)
        self.targets = rng.integers(1, classes, (batch, labels))
        self.counts = rng.integers(labels // 2, labels, batch, endpoint=True)
        clstm.set_num_threads(threads)

    def teardown(self, shape, dtype, threads):
        clstm.set_num_threads(None)

    def time_value_and_gradient(self, shape, dtype, threads):
        clstm.losses.ctc(self.logits, self.targets, self.lengths, self.counts)

    def time_greedy(self, shape, dtype, threads):
        clstm.decoding.ctc_greedy(self.logits, self.lengths)

    def time_beam(self, shape, dtype, threads):
        clstm.decoding.ctc_beam(self.logits, self.lengths)
