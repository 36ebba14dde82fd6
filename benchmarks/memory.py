"""Peak memory of the process, data and weights included."""

import numpy as np

import clstm

from . import cases


class Layer:
    params = (cases.SHAPES,)
    param_names = ("shape",)

    def setup(self, shape):
        self.lstm = cases.layer(shape)
        self.x = cases.sequence(shape)
        self.dy = np.ones((*shape[:2], shape[3]), np.float32)

    def peakmem_forward(self, shape):
        self.lstm(self.x)

    def peakmem_forward_backward(self, shape):
        _, _, context = self.lstm.forward_train(self.x)
        self.lstm.backward(context, self.dy)


class TextClassifier:
    timeout = 300

    def setup(self):
        self.texts, self.labels = cases.reviews(1000)

    def peakmem_fit(self):
        clstm.TextClassifier(n_epochs=1, seed=0, verbose=0).fit(self.texts, self.labels)
