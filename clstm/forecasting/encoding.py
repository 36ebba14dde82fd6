"""How series become the network's inputs: standardised differences, exogenous variables and calendar features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from clstm.forecasting import calendars
from clstm.forecasting.calendars import Frequency
from clstm.forecasting.dates import check_dates
from clstm.forecasting.differencing import Differences
from clstm.forecasting.series import Form, Panel


class Steps(NamedTuple):
    """Series as the network reads them, padded with zeros to a common number of steps.

    A step's input is the difference at one value, and the covariates of the next; its target is the next difference.

    Attributes
    ----------
    inputs : ndarray of shape (time, series, features)
    targets : ndarray of shape (time, series, columns)
    lengths : ndarray of int, shape (series,)
        The number of steps of each series.
    """

    inputs: np.ndarray
    targets: np.ndarray
    lengths: np.ndarray


class Scaling(NamedTuple):
    """Means and standard deviations that values are standardised by, each (..., columns)."""

    center: np.ndarray
    scale: np.ndarray

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Return the standardised values."""
        return (values - self.center) / self.scale


@dataclass(frozen=True)
class Encoding:
    """How series become the network's inputs, as `fit` found it.

    Attributes
    ----------
    form : Form
    frequency : Frequency or None
        The step of the dates.
    starts : tuple
        The first date of each series, or None in place of each.
    calendar : tuple of str
        The calendar features.
    differences : Differences
    y_scaling : Scaling
        Of each series' differences, (series, columns).
    x_scaling : Scaling
        Of the exogenous variables, (1, exogenous).
    dtype : dtype
        Of the network.
    """

    form: Form
    frequency: Frequency | None
    starts: tuple[Any, ...]
    calendar: tuple[str, ...]
    differences: Differences
    y_scaling: Scaling
    x_scaling: Scaling
    dtype: np.dtype

    @property
    def features(self) -> int:
        """The number of the network's inputs at a step."""
        return self.form.columns + self.form.exogenous + calendars.count_features(self.calendar)

    @property
    def history_size(self) -> int:
        """The number of values of a series that the next difference and its offset are computed from."""
        return self.differences.order + 1

    # ------------------------------------------------------------------------------------------------------ reading

    def read(self, y: Any, X: Any) -> Panel:
        """Return the series that a call after `fit` is given from their beginnings; raise the errors of `Form.read`."""
        panel = self._read(y, X, partial=False)
        if panel.dates is not None and self.frequency is not None:
            for index, dates in enumerate(panel.dates):
                check_dates(panel.form.dates_name(index), dates, self.frequency)
        return panel

    def read_new(self, y: Any, X: Any, n_values: np.ndarray) -> Panel:
        """Return the values after the first `n_values` (series,) of each series, as `read` does."""
        panel = self._read(y, X, partial=True)
        if panel.dates is not None and self.frequency is not None:
            for index, dates in enumerate(panel.dates):
                start = self.frequency.dates(self.starts[index], n_values[index], 1)[0]
                check_dates(panel.form.dates_name(index), dates, self.frequency, start)
        return panel

    def _read(self, y: Any, X: Any, *, partial: bool) -> Panel:
        """Return the series of a call if they are as many as `fit` had."""
        panel = self.form.read(y, X, partial=partial)
        if len(panel.y) != len(self.starts):
            raise ValueError(f"y holds {len(panel.y)} series, expected {len(self.starts)} as at fit")
        return panel

    # -------------------------------------------------------------------------------------------------------- dates

    def starts_of(self, panel: Panel) -> Sequence[Any]:
        """Return the first date of each series of a call, or None in place of each."""
        return self.starts if panel.dates is None else [dates[0] for dates in panel.dates]

    def dates(self, start: Any, first: Any, count: int) -> np.ndarray | None:
        """Return `count` dates of a series from index `first` on; where that is an array (..., 1), from each index."""
        return None if self.frequency is None else self.frequency.dates(start, first, count)

    def dates_ahead(self, n_values: np.ndarray, h: int) -> list[np.ndarray | None]:
        """Return the dates of the `h` steps after the first `n_values` (series,) of each series."""
        return [self.dates(start, count, h) for start, count in zip(self.starts, n_values, strict=True)]

    # ------------------------------------------------------------------------------------------------------- encoding

    def covariates(self, X: np.ndarray, start: Any, first: int) -> np.ndarray:
        """Return what is known of some steps of a series before they come, (time, covariates).

        Parameters
        ----------
        X : ndarray of shape (time, exogenous)
            The exogenous variables of these steps.
        start : datetime64, int, or None
            The first date of the series.
        first : int
            Index of the first of these steps in the series.
        """
        return self._covariates(X, self.dates(start, first, len(X)) if self.calendar else None)

    def covariates_ahead(self, X: Any, h: int, dates: Sequence[np.ndarray | None]) -> np.ndarray:
        """Return the covariates (series, h, covariates) of the steps at the dates that `dates_ahead` returned.

        Raises the errors of `Form.read_ahead` for the exogenous variables `X` that a call was given.
        """
        arrays = self.form.read_ahead(X, h, dates, self.frequency)
        return np.stack([self._covariates(*each) for each in zip(arrays, dates, strict=True)])

    def _covariates(self, X: np.ndarray, dates: np.ndarray | None) -> np.ndarray:
        exogenous = self.x_scaling(X)
        if not self.calendar or dates is None:
            return exogenous
        return np.concatenate([exogenous, calendars.features(dates, self.calendar)], axis=1)

    def encode(self, panel: Panel) -> Steps:
        """Return the steps of series from their beginnings."""
        covariates = [
            self.covariates(X, start, 0)[self.history_size :]
            for X, start in zip(panel.X, self.starts_of(panel), strict=True)
        ]
        return self._steps(panel.y, covariates)

    def encode_new(self, y: Sequence[np.ndarray], X: Sequence[np.ndarray], n_values: np.ndarray) -> Steps:
        """Return the steps of new values.

        Parameters
        ----------
        y : sequence of ndarray of shape (history_size + time_i, columns)
            The last values before the new ones, and these.
        X : sequence of ndarray of shape (time_i, exogenous)
            The exogenous variables of the new values.
        n_values : ndarray of int, shape (series,)
            The number of all values before the new ones.
        """
        return self._steps(y, [self.covariates(*each) for each in zip(X, self.starts, n_values, strict=True)])

    def _steps(self, y: Sequence[np.ndarray], covariates: Sequence[np.ndarray]) -> Steps:
        """Return the steps from each value that has a difference to the next value, whose covariates are given."""
        inputs, targets = [], []
        for values, known, center, scale in zip(y, covariates, *self.y_scaling, strict=True):
            standardized = (self.differences(values) - center) / scale
            inputs.append(np.concatenate([standardized[:-1], known], axis=1))
            targets.append(standardized[1:])
        lengths = np.array([len(one) for one in inputs])
        return Steps(_pad(inputs, self.dtype), _pad(targets, self.dtype), lengths)


def _pad(series: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    """Return arrays (time_i, features) as one (time, series, features), zero past the end of each."""
    padded = np.zeros((max(map(len, series)), len(series), series[0].shape[1]), dtype)
    for index, array in enumerate(series):
        padded[: len(array), index] = array
    return padded
