"""Frequencies of dates, calendar features, and differences of series."""

import numpy as np
import pytest

from clstm.forecasting.calendars import check_frequency, choose_features, features, find_frequency
from clstm.forecasting.differencing import Differences


@pytest.mark.parametrize(
    ("start", "step", "name"),
    [
        ("2024-01-30T22:59:30", np.timedelta64(1, "s"), "s"),
        ("2024-01-30T22:59", np.timedelta64(15, "m"), "15min"),
        ("2024-01-30T22", np.timedelta64(1, "h"), "h"),
        ("2024-01-30T22", np.timedelta64(36, "h"), "36h"),
        ("2024-02-27", np.timedelta64(1, "D"), "D"),
        ("2024-02-27", np.timedelta64(14, "D"), "2W"),
    ],
)
def test_constant_steps_are_found_and_continued(start, step, name):
    dates = np.datetime64(start) + step * np.arange(9)
    frequency = find_frequency("dates", dates[:5])
    assert frequency.name == name
    assert check_frequency("freq", name) == frequency
    assert frequency.seconds == step / np.timedelta64(1, "s")
    np.testing.assert_array_equal(frequency.dates(dates[0], 5, 4), dates[5:])


@pytest.mark.parametrize(
    ("dates", "name", "following"),
    [
        (["2023-11-01", "2023-12-01"], "MS", ["2024-01-01", "2024-02-01"]),
        (["2023-12-31", "2024-01-31"], "ME", ["2024-02-29", "2024-03-31"]),
        (["2023-07-01", "2023-10-01"], "QS", ["2024-01-01", "2024-04-01"]),
        (["2023-09-30", "2023-12-31"], "QE", ["2024-03-31", "2024-06-30"]),
        (["2022-01-01", "2023-01-01"], "YS", ["2024-01-01", "2025-01-01"]),
        (["2022-12-31", "2024-12-31"], "2YE", ["2026-12-31", "2028-12-31"]),
    ],
)
def test_months_quarters_and_years(dates, name, following):
    dates, following = np.array(dates, "datetime64[s]"), np.array(following, "datetime64[s]")
    frequency = find_frequency("dates", dates)
    assert frequency.name == name
    np.testing.assert_array_equal(frequency.dates(dates[0], 2, 2), following)


def test_integers_in_place_of_dates():
    frequency = find_frequency("dates", np.array([10, 12, 14]))
    assert frequency.name == "2"
    assert frequency.dates(10, 3, 2).tolist() == [16, 18]
    assert choose_features(frequency, 1000) == []


@pytest.mark.parametrize(("name", "same"), [("H", "h"), ("d", "D"), ("M", "ME"), ("30T", "30min")])
def test_other_names_of_a_frequency(name, same):
    assert check_frequency("freq", name).name == same


@pytest.mark.parametrize("name", ["fortnight", "B", "", "0D", "-1D", "1.5h", 7, None])
def test_unknown_frequencies(name):
    with pytest.raises(ValueError, match=r"freq is .*, expected one of s, min, h, D, W, MS"):
        check_frequency("freq", name)


def test_dates_without_a_constant_step():
    days = np.datetime64("2024-01-01") + np.array([0, 1, 2, 4])
    with pytest.raises(
        ValueError, match=r"ds has an unknown frequency: .*then from 2024-01-03 to 2024-01-05; expected"
    ):
        find_frequency("ds", days)
    with pytest.raises(ValueError, match="ds holds 1 dates, expected two or more"):
        find_frequency("ds", days[:1])


def test_features_are_chosen_that_the_series_has_two_periods_of():
    def chosen(name, steps):
        return choose_features(check_frequency("freq", name), steps)

    assert chosen("h", 47) == []
    assert chosen("h", 48) == ["hour"]
    assert chosen("h", 3 * 8766) == ["hour", "weekday", "yearday"]
    assert chosen("D", 730) == ["weekday"]
    assert chosen("D", 731) == ["weekday", "yearday"]
    assert chosen("W", 200) == chosen("MS", 30) == ["yearday"]
    assert chosen("YS", 100) == []


def test_features_of_dates():
    hours = np.datetime64("2024-02-27T00") + np.arange(24 * 9)
    encoded = features(hours, ["hour", "weekday", "yearday"])
    assert encoded.shape == (24 * 9, 6 + 7 + 12)
    np.testing.assert_allclose(encoded[:24, :6], encoded[24:48, :6])  # the hour
    assert len(np.unique(encoded[:24, :6].round(6), axis=0)) == 24
    assert encoded[0, 6:13].tolist() == [0, 1, 0, 0, 0, 0, 0]  # a Tuesday
    np.testing.assert_array_equal(encoded[:48, 6:13], encoded[7 * 24 :, 6:13])
    # The day 59 days after New Year is February 29 in a leap year, and March 1 in others
    leap, other = (features(np.array([day], "datetime64[D]"), ["yearday"]) for day in ("2024-02-29", "2023-03-01"))
    np.testing.assert_allclose(leap, other)
    assert features(hours, []).shape == (24 * 9, 0)


@pytest.mark.parametrize("lags", [(), (1,), (7,), (1, 7), (1, 1), (2, 3)])
def test_offsets_undo_differences(lags):
    y = np.random.default_rng(0).standard_normal((30, 2)).cumsum(axis=0)
    differences = Differences(lags)
    z, expected = differences(y), y
    for lag in lags:
        expected = expected[lag:] - expected[:-lag]
    assert differences.order == sum(lags)
    np.testing.assert_allclose(z, expected, atol=1e-12)
    for step in range(differences.order, 30):
        np.testing.assert_allclose(z[step - differences.order] + differences.offset(y, step), y[step], atol=1e-12)
