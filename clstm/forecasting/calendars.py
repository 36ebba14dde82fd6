"""Dates at a constant step, and the calendar features of a date: time of day, day of the week, time of the year.

Dates are NumPy's datetime64. A step is a number of seconds, or of months where the dates are the first or last days of
months. Integers are allowed in place of dates; they have no calendar features.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm._checks import check_choice
from clstm._package import public

MINUTE, HOUR, DAY, WEEK, YEAR = 60, 3600, 86400, 7 * 86400, 365.2425 * 86400
MONTH = YEAR / 12

# The units of a frequency's name, in seconds and in months; a suffix S or E says that the dates are the first or the
# last days of months.
_SECONDS = {"s": 1, "min": MINUTE, "h": HOUR, "D": DAY, "W": WEEK}
_MONTHS = {"M": 1, "Q": 3, "Y": 12}
_NAMES = ("s", "min", "h", "D", "W", "MS", "ME", "QS", "QE", "YS", "YE")

# Harmonics of the day and of the year: enough to describe a morning's rise, or a holiday season.
HOUR_HARMONICS, YEAR_HARMONICS = 3, 6


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
        """The number and the unit; without a number 1, and for integers no unit."""
        unit = self.name.lstrip("0123456789")
        return int(self.name[: len(self.name) - len(unit)] or 1), unit

    @property
    def seconds(self) -> float:
        """The length of the step, on average; 0 for integers."""
        count, unit = self._parts
        return count * (_SECONDS.get(unit) or _MONTHS.get(unit[:1], 0) * MONTH)

    def dates(self, start: Any, first: int, count: int) -> np.ndarray:
        """Return `count` dates, the first of them `first` steps after `start`: datetime64[s], or int64.

        `first` is an integer, or an array (..., 1) of them for dates (..., count).
        """
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
    """Return the step of two or more dates, or integers.

    Raises
    ------
    ValueError
        The step isn't constant, or not above 0.
    """
    if len(dates) < 2:
        raise ValueError(f"{name} holds {len(dates)} dates, expected two or more to find the frequency, or freq")
    of_integers = dates.dtype.kind == "i"
    if not of_integers:
        frequency = _find_months(dates)
        if frequency is not None:
            return frequency
    steps = np.diff(dates) if of_integers else np.diff(dates).astype("timedelta64[s]").astype(np.int64)
    if (steps != steps[0]).any():
        index = int((steps != steps[0]).argmax())
        raise ValueError(
            f"{name} has an unknown frequency: from {dates[0]} to {dates[1]}, but then from {dates[index]} to "
            f"{dates[index + 1]}; expected a constant step"
        )
    if steps[0] <= 0:
        raise ValueError(f"{name} goes from {dates[0]} to {dates[1]}, expected rising dates a second or more apart")
    step = int(steps[0])
    return Frequency(str(step)) if of_integers else _in_largest_unit(step, _SECONDS, "")


def _find_months(dates: np.ndarray) -> Frequency | None:
    """Return the step of dates that all are first days, or all last days, of months equally far apart; else None."""
    months = dates.astype("datetime64[M]")
    steps = np.diff(months).astype(np.int64)
    if steps[0] <= 0 or (steps != steps[0]).any():
        return None
    first_days = months.astype("datetime64[D]")
    last_days = (months + 1).astype("datetime64[D]") - 1
    for suffix, days in (("S", first_days), ("E", last_days)):
        if (dates == days).all():
            return _in_largest_unit(int(steps[0]), _MONTHS, suffix)
    return None


def _in_largest_unit(step: int, units: dict[str, int], suffix: str) -> Frequency:
    unit = max((unit for unit in units if step % units[unit] == 0), key=units.__getitem__)
    count = step // units[unit]
    return Frequency(f"{count if count > 1 else ''}{unit}{suffix}")


@dataclass(frozen=True)
class Feature:
    """A calendar feature.

    Attributes
    ----------
    period : float
        Seconds after which it repeats.
    longest_step : float
        Seconds between dates up to which they differ in it.
    encode : callable
        Returns its columns (time, size) for dates (time,) of datetime64[s].
    """

    period: float
    longest_step: float
    encode: Callable[[np.ndarray], np.ndarray]


def _encode_hour(dates: np.ndarray) -> np.ndarray:
    return _harmonics(dates.astype(np.int64) % DAY / DAY, HOUR_HARMONICS)


def _encode_weekday(dates: np.ndarray) -> np.ndarray:
    return np.eye(7)[(dates.astype(np.int64) // DAY + 3) % 7]  # 1970-01-01 was a Thursday; Monday is 0


def _encode_yearday(dates: np.ndarray) -> np.ndarray:
    since_new_year = (dates - dates.astype("datetime64[Y]").astype("datetime64[s]")).astype(np.int64)
    return _harmonics(since_new_year / YEAR, YEAR_HARMONICS)


def _harmonics(phase: np.ndarray, count: int) -> np.ndarray:
    angles = 2 * np.pi * phase[:, np.newaxis] * np.arange(1, count + 1)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)


FEATURES = {
    "hour": Feature(DAY, HOUR * 12, _encode_hour),
    "weekday": Feature(WEEK, DAY, _encode_weekday),
    "yearday": Feature(YEAR, YEAR / 2, _encode_yearday),
}


def choose_features(frequency: Frequency, steps: int) -> list[str]:
    """Return the features that can be learnt from a series of so many steps: it holds two periods or more of each."""
    seconds = frequency.seconds
    return [
        name
        for name, feature in FEATURES.items()
        if 0 < seconds <= feature.longest_step and seconds * steps >= 2 * feature.period
    ]


def check_features(name: str, value: Any) -> None:
    """Check for "auto", None, or a list of names of calendar features."""
    if value is None or value == "auto":
        return
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ValueError(f"{name} is {value!r}, expected 'auto', None or a list of {', '.join(FEATURES)}")
    for feature in value:
        check_choice(name, feature, tuple(FEATURES))


def features(dates: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return the calendar features (time, size) of dates; their order is that of `FEATURES`, whatever `names` has."""
    dates = dates.astype("datetime64[s]")
    columns = [feature.encode(dates) for name, feature in FEATURES.items() if name in names]
    return np.concatenate([np.empty((len(dates), 0)), *columns], axis=1)


def count_features(names: Sequence[str]) -> int:
    """Return how many columns `features` returns."""
    return features(np.empty(0, "datetime64[s]"), names).shape[1]
