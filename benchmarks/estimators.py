"""The estimators: ragged sequences in, fit and predict."""

import numpy as np

import clstm

from . import cases


class Estimators:
    params = ((10, 100), cases.THREADS)
    param_names = ("time", "threads")

    def setup(self, time, threads):
        rng = np.random.default_rng(0)
        lengths = rng.integers(time // 2, time, 512, endpoint=True)
        self.X = [rng.standard_normal((length, 12)).astype(np.float32) for length in lengths]
        self.y = rng.integers(0, 10, len(self.X))
        options = {"n_epochs": 2, "num_threads": threads, "random_state": 0}
        self.classifier = clstm.LSTMClassifier(**options).fit(self.X, self.y)
        self.regressor = clstm.LSTMRegressor(**options)
        self.stream = clstm.LSTMClassifier(bidirectional=False, **options).fit(self.X, self.y).stream()

    def time_fit_classifier(self, time, threads):
        self.classifier.fit(self.X, self.y)

    def time_fit_regressor(self, time, threads):
        self.regressor.fit(self.X, self.y)

    def time_predict_proba(self, time, threads):
        self.classifier.predict_proba(self.X)

    def time_step_of_a_stream(self, time, threads):
        self.stream.step(self.X[0][0])
