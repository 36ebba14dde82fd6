"""clstm itself."""

from __future__ import annotations

import numpy as np

import clstm
from clstm._core import threads
from clstm.losses import cross_entropy
from clstm.models import LSTMClassifierNetwork
from clstm.optim import Adam

from ..problems import LABELS, VOCABULARY
from .base import System


class Clstm(System):
    name = "clstm"
    modes = ("inference", "training", "stream", "classifier")

    def prepare(self, problem, num_threads):
        self.problem, case = problem, problem.case
        options = {"dtype": np.dtype(case.dtype), "num_threads": num_threads}
        self.expect_threads(threads.resolve(num_threads), num_threads)
        if problem.mode == "classifier":
            clstm.set_num_threads(num_threads)  # for the other layers, and the optimiser
            self.network = LSTMClassifierNetwork(
                case.input_size, case.hidden_size, VOCABULARY, LABELS, case.num_layers,
                bidirectional=case.bidirectional, **options,
            )  # fmt: skip
            self.network.load_state_dict(problem.weights)
            self.optimizer = Adam(self.network)
            return
        self.lstm = clstm.LSTM(**case.layer, **options)
        self.lstm.load_state_dict(problem.weights)
        if problem.mode == "stream":
            self.y = np.empty((case.time, case.batch, case.hidden_size), case.dtype)
            self.stepper = self.lstm.stream(batch_size=case.batch) if hasattr(self.lstm, "stream") else None

    def inference(self):
        y, (h_n, c_n) = self.lstm(self.problem.x, lengths=self.problem.lengths)
        return {"y": y, "h_n": h_n, "c_n": c_n}

    def training(self):
        with self.lstm.updating():  # leaving it packs the weights, as every step of an optimiser does
            pass
        y, _, context = self.lstm.forward_train(self.problem.x, lengths=self.problem.lengths)
        grads = self.lstm.backward(context, self.problem.dy)
        return {"y": y, "dx": grads.x, **grads.weights}

    def stream(self):
        if self.stepper is None:
            state = None
            for t in range(len(self.y)):
                self.y[t], state = self.lstm(self.problem.x[t : t + 1], state)
        else:
            step = self.stepper.step
            self.stepper.reset()
            for x_t, y_t in zip(self.problem.x, self.y, strict=True):
                step(x_t, out=y_t)
        return {"y": self.y}

    def classifier(self):
        scores, _, context = self.network.forward_train(self.problem.ids, lengths=self.problem.lengths)
        loss, dscores = cross_entropy(scores, self.problem.targets)
        grads = self.network.backward(context, dscores).weights
        self.optimizer.step(grads)
        return {"loss": loss, **grads}

    def arrays(self, results):
        return {name: np.asarray(value) for name, value in results.items()}

    def settings(self):
        if self.problem.mode == "stream":
            return {"step": "a call" if self.stepper is None else "stream"}
        return {}
