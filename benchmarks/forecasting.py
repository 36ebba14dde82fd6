"""The forecaster: an epoch of training, a backtest, an update, a forecast with intervals."""

import numpy as np

import clstm

from . import cases


class Forecaster:
    params = (cases.THREADS,)
    param_names = ("threads",)

    def setup(self, threads):
        hours = np.arange(8759)
        self.y = np.sin(hours * 2 * np.pi / 24) + 0.1 * np.random.default_rng(0).standard_normal(len(hours))
        self.forecaster = clstm.LSTMForecaster(season_length=24, n_epochs=1, num_threads=threads, seed=0, verbose=0)
        self.forecaster.fit(self.y[:2000])

    def time_fit_one_epoch(self, threads):
        self.forecaster.fit(self.y)

    def time_backtest_1000_cutoffs(self, threads):
        self.forecaster.backtest(self.y, h=24, n_windows=1000)

    def time_backtest_100_cutoffs_with_intervals(self, threads):
        self.forecaster.backtest(self.y, h=24, n_windows=100, level=[80, 95])

    def time_update_by_one(self, threads):
        self.forecaster.update(self.y[:1])

    def time_predict_with_intervals(self, threads):
        self.forecaster.predict(24, level=[80, 95])
