"""Losses that have much to compute: value and gradient."""

import numpy as np

import clstm


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
