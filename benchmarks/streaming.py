"""Steps and chunks of a stream."""

import numpy as np

import clstm

from . import cases

# (layers, batch, input_size, hidden_size): The first shows the cost of Python, the last ones that of the caches.
SHAPES = ((1, 1, 16, 16), (1, 1, 64, 128), (2, 1, 64, 128), (1, 8, 64, 128), (1, 1, 64, 512), (1, 1, 512, 512))


class Stream:
    params = (SHAPES, cases.THREADS)
    param_names = ("shape", "threads")

    def setup(self, shape, threads):
        layers, batch, input_size, hidden_size = shape
        lstm = clstm.LSTM(input_size, hidden_size, layers, num_threads=threads, seed=0)
        self.stream = lstm.stream(batch)
        self.chunk = np.random.default_rng(1).standard_normal((16, batch, input_size)).astype(np.float32)
        self.x, self.out = self.chunk[0], np.empty((batch, hidden_size), np.float32)

    def time_step(self, shape, threads):
        self.stream.step(self.x)

    def time_step_out(self, shape, threads):
        self.stream.step(self.x, self.out)

    def time_run_16(self, shape, threads):
        self.stream.run(self.chunk)
