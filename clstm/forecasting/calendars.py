"""Dates at a constant step, and what a forecaster is told of them: the hour, the day of the week, the day of the year.

Dates are NumPy's datetime64. A step is a number of seconds, or of months where the dates are the first or last days of
months; integers will do as well, as a calendar of nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm._package import public

MINUTE, HOUR, DAY, WEEK, YEAR = 60, 3600, 86400, 7 * 86400, 365.2425 * 86400
MONTH = YEAR / 12

# What a frequency's name stands for: seconds, or months and whether their last day is meant.
_SECONDS = {"s": 1, "min": MINUTE, "h": HOUR, "D": DAY, "W": WEEK}
_MONTHS = {"M": 1, "Q": 3, "Y": 12}
_NAMES = ("s", "min", "h", "D", "W", "MS", "ME", "QS", "QE", "YS", "YE")

# Harmonics of a period that stand for a place in it: enough for a morning's rise, or for a holiday season.
HOUR_HARMONICS, YEAR_HARMONICS = 3, 6

FEATURES = ("hour", "weekday", "yearday")


@public("clstm.forecasting")
@dataclass(frozen=True)
class Frequency:
    """The step from one date to the next.

    Attributes
    ----------
    name : str
        As pandas has it: a number, which can be left out, and s, min, h, D, W, MS, ME, QS, QE, YS or YE (months,
        quarters and years have a start or an end). A number alone is the step of integers.
    """

    name: str

    @property
    def _parts(self) -> tuple[int, str]:
        count, unit = re.fullmatch(r"(\d*)([A-Za-z]*)", self.name).groups()
        return int(count or 1), unit

    @property
    def seconds(self) -> float:
        """The step's length, on average; of integers 0."""
        count, unit = self._parts
        return count * (_SECONDS.get(unit) or _MONTHS.get(unit[:1], 0) * MONTH)

    def dates(self, start: Any, first: int, count: int) -> np.ndarray:
        """Return `count` dates (..., count), beginning `first` (...) steps after `start`: datetime64[s], or int64."""
        step, unit = self._parts
        steps = first + np.arange(count)
        if not unit:
            return int(start) + step * steps
        start = np.datetime64(start, "s")
        if unit in _SECONDS:
            return start + (step * _SECONDS[unit] * steps).astype("timedelta64[s]")
        months = start.astype("datetime64[M]") + (step * _MONTHS[unit[0]] * steps).astype("timedelta64[M]")
        if unit[1] == "S":
            return months.astype("datetime64[s]")
        return ((months + 1).astype("datetime64[D]") - 1).astype("datetime64[s]")


def check_frequency(name: str, value: Any) -> Frequency:
    """Return the frequency of that name; raise ValueError for one that isn't known."""
    if isinstance(value, str):
        match = re.fullmatch(r"([1-9]\d{0,6})?([A-Za-z]+)", value)
        if match:
            unit = {"H": "h", "d": "D", "T": "min", "S": "s", "M": "ME", "Q": "QE", "Y": "YE"}.get(match[2], match[2])
            if unit in _NAMES:
                return Frequency(f"{match[1] or ''}{unit}")
    raise ValueError(f"{name} is {value!r}, expected one of {', '.join(_NAMES)}, with a number before it or without")


def read_frequency(name: Any) -> Frequency:
    """Return the frequency that a model file names; raise ValueError where it is none."""
    if isinstance(name, str) and re.fullmatch(r"[1-9]\d{0,18}", name):
        return Frequency(name)
    return check_frequency("its frequency", name)


def find_frequency(name: str, dates: np.ndarray) -> Frequency:
    """Return the step of some dates, two or more, or integers.

    Raises
    ------
    ValueError
        The step isn't constant, or not above 0.
    """
    if len(dates) < 2:
        raise ValueError(f"{name} holds {len(dates)} dates, expected two or more to tell the frequency, or freq")
    steps = np.diff(dates)
    if dates.dtype.kind == "i":
        seconds, unit = steps, ""
    else:
        days = dates.astype("datetime64[D]")
        months = days.astype("datetime64[M]")
        month_steps = np.diff(months).astype(np.int64)
        for suffix, anchor in (("S", months.astype("datetime64[D]")), ("E", (months + 1).astype("datetime64[D]") - 1)):
            if (dates == anchor).all() and month_steps[0] > 0 and (month_steps == month_steps[0]).all():
                return _in_largest_unit(int(month_steps[0]), _MONTHS, suffix)
        seconds, unit = steps.astype("timedelta64[s]").astype(np.int64), "s"
    if (seconds != seconds[0]).any():
        place = int((seconds != seconds[0]).argmax())
        raise ValueError(
            f"{name} has an unknown frequency: from {dates[0]} to {dates[1]}, but then from {dates[place]} to "
            f"{dates[place + 1]}; expected a constant step"
        )
    if seconds[0] <= 0:
        raise ValueError(f"{name} goes from {dates[0]} to {dates[1]}, expected rising dates a second or more apart")
    return _in_largest_unit(int(seconds[0]), _SECONDS, "") if unit else Frequency(str(int(seconds[0])))


def _in_largest_unit(step: int, units: dict[str, int], suffix: str) -> Frequency:
    unit = max((unit for unit in units if step % units[unit] == 0), key=units.get)
    count = step // units[unit]
    return Frequency(f"{count if count > 1 else ''}{unit}{suffix}")


def choose_features(frequency: Frequency, steps: int) -> list[str]:
    """Return the features that a series of so many steps can teach: where it holds two periods or more of each."""
    seconds = frequency.seconds
    span = seconds * steps
    periods = {"hour": (DAY, HOUR * 12), "weekday": (WEEK, DAY), "yearday": (YEAR, YEAR / 2)}
    return [name for name, (period, longest) in periods.items() if 0 < seconds <= longest and span >= 2 * period]


def features(dates: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return what is told of dates, (time, features): harmonics of the time of day and of the year, and weekdays."""
    seconds = dates.astype("datetime64[s]").astype(np.int64)
    columns = [np.empty((len(dates), 0))]
    if "hour" in names:
        columns.append(_harmonics(seconds % DAY / DAY, HOUR_HARMONICS))
    if "weekday" in names:
        columns.append(np.eye(7)[(seconds // DAY + 3) % 7])  # 1970-01-01 was a Thursday; Monday is 0
    if "yearday" in names:
        year = dates.astype("datetime64[Y]")
        passed = (dates.astype("datetime64[s]") - year.astype("datetime64[s]")).astype(np.int64)
        columns.append(_harmonics(passed / YEAR, YEAR_HARMONICS))
    return np.concatenate(columns, axis=1)


def count_features(names: Sequence[str]) -> int:
    """Return how many columns `features` has."""
    return features(np.empty(0, "datetime64[s]"), names).shape[1]


def _harmonics(phase: np.ndarray, count: int) -> np.ndarray:
    angles = 2 * np.pi * phase[:, np.newaxis] * np.arange(1, count + 1)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)
