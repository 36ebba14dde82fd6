"""The dates of series: reading them, finding the step they have in common, and checking that they have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clstm._checks import as_array
from clstm.forecasting.calendars import Frequency, check_frequency, find_frequency


def read_dates(name: str, value: Any, length: int) -> np.ndarray:
    """Return the dates of one series as datetime64[s] or int64: one for each value, or the first one only.

    Raises
    ------
    TypeError
        They are neither dates nor integers.
    ValueError
        Another number of them than `length` and 1, or one is NaT.
    """
    array = np.atleast_1d(as_array(name, value))
    if array.dtype.kind in "OU":
        try:
            array = array.astype("datetime64[s]")
        except (TypeError, ValueError):
            raise TypeError(f"{name} begins with {str(array[0])!r}, expected dates (datetime64) or integers") from None
    if array.dtype.kind not in "Miu":
        raise TypeError(f"{name} has dtype {array.dtype}, expected dates (datetime64) or integers")
    array = array.astype("datetime64[s]" if array.dtype.kind == "M" else np.int64)
    if array.shape not in ((1,), (length,)):
        raise ValueError(f"{name} has shape {array.shape}, expected ({length},), or a single date")
    if array.dtype.kind == "M" and np.isnat(array).any():
        raise ValueError(f"{name} holds NaT, expected a date for each value")
    return array


def find_step(
    names: Sequence[str], dates: Sequence[np.ndarray] | None, lengths: Sequence[int], freq: str | None
) -> tuple[Frequency | None, list[Any]]:
    """Return the step of the series' dates and the first date of each; without dates None, and None for each.

    Parameters
    ----------
    names : sequence of str
        What each series' dates are called in errors.
    dates : sequence of ndarray, or None
        Of each series, as `read_dates` returns them.
    lengths : sequence of int
        The number of values of each series.
    freq : str or None
        The step that the caller gave.

    Raises
    ------
    ValueError
        The dates have no constant step, or another one than `freq` or the first series; or there is `freq`, but there
        are no dates.
    """
    frequency = None if freq is None else check_frequency("freq", freq)
    if dates is None:
        if frequency is not None:
            raise ValueError(f"freq is {freq!r}, but there are no dates: expected the first of each series in dates")
        return None, [None] * len(lengths)
    for name, one, length in zip(names, dates, lengths, strict=True):
        if len(one) == 1 and length > 1:
            if frequency is None:
                raise ValueError(f"{name} is a single date and freq is None, expected a date for each value, or freq")
            continue
        frequency = frequency or find_frequency(name, one)
        check_dates(name, one, frequency)
    return frequency, [one[0] for one in dates]


def check_dates(name: str, dates: np.ndarray, frequency: Frequency, start: Any = None) -> None:
    """Raise ValueError unless the dates are `frequency` apart, and begin at `start` where that is given."""
    if not len(dates):
        return
    expected = frequency.dates(dates[0] if start is None else start, 0, len(dates))
    wrong = dates != expected
    if wrong.any():
        index = int(wrong.argmax())
        raise ValueError(
            f"{name}[{index}] is {dates[index]}, expected {expected[index]} with frequency {frequency.name}"
        )
