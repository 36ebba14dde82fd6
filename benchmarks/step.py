"""One time step: the cell, and a sequence of length 1, whose state the caller passes on."""

import numpy as np

import clstm

from . import cases


class Step:
    params = ((1, 8, 32), (32, 128, 256, 512), cases.THREADS)
    param_names = ("batch", "hidden_size", "threads")

    def setup(self, batch, hidden_size, threads):
        shape = (1, batch, hidden_size, hidden_size)
        self.x = cases.sequence(shape)
        self.lstm = cases.layer(shape, num_threads=threads)
        self.cell = clstm.LSTMCell(hidden_size, hidden_size, seed=0, num_threads=threads)
        self.state = (np.zeros((1, batch, hidden_size), np.float32),) * 2
        self.cell_state = (self.state[0][0],) * 2

    def time_sequence_of_one(self, batch, hidden_size, threads):
        self.lstm(self.x, self.state)

    def time_cell(self, batch, hidden_size, threads):
        self.cell(self.x[0], self.cell_state)
