"""Long data frames of each library: forecasts are returned in frames of the library that `fit` was given."""

import datetime

import numpy as np
import pytest

from clstm import LSTMForecaster

pytest.importorskip("narwhals")

pytestmark = pytest.mark.peer

TINY = {
    "hidden_size": 4,
    "n_epochs": 1,
    "segment_length": 16,
    "n_samples": 16,
    "seed": 0,
    "verbose": 0,
    "num_threads": 1,
}
DAYS = np.datetime64("2024-01-01") + np.arange(60)
Y = np.sin(np.arange(60)) + np.arange(60) / 10


def make(library, content):
    if library == "pandas":
        return pytest.importorskip("pandas").DataFrame(content)
    if library == "polars":
        return pytest.importorskip("polars").DataFrame(content)
    return pytest.importorskip("pyarrow").table(content)


def column(frame, name):
    return np.array(frame[name]) if type(frame).__module__.startswith("pandas") else frame[name].to_numpy()


def long(library, lengths=(40, 30), first=0, **more):
    """Return the frame of two series, the second a day later and twice as high, its rows in no order."""
    ids = np.repeat(["a", "b"], lengths)
    steps = np.concatenate([np.arange(first, first + length) for length in lengths])
    late, order = ids == "b", np.random.default_rng(0).permutation(len(ids))
    dates = (DAYS[steps + late]).astype("datetime64[ms]")
    content = {
        "unique_id": ids.tolist(),
        "ds": dates,
        "y": Y[steps] * (1 + late),
        **{k: v[steps] for k, v in more.items()},
    }
    return make(
        library,
        {name: [one[k] for k in order] if isinstance(one, list) else one[order] for name, one in content.items()},
    )


@pytest.fixture(params=["pandas", "polars", "pyarrow"])
def library(request):
    pytest.importorskip(request.param)
    return request.param


def test_a_frame_gives_the_same_as_the_list_of_its_series(library):
    frame = long(library)
    framed = LSTMForecaster(**TINY).fit(frame)
    listed = LSTMForecaster(**TINY).fit([Y[:40], 2 * Y[:30]], dates=[DAYS[:40], DAYS[1:31]])
    forecast, expected = framed.predict(3, level=[80, 97.5]), listed.predict(3, level=[80, 97.5])
    assert type(forecast) is type(frame)
    assert column(forecast, "unique_id").tolist() == ["a"] * 3 + ["b"] * 3
    np.testing.assert_array_equal(column(forecast, "ds"), np.concatenate([DAYS[40:43], DAYS[31:34]]))
    values = {
        "LSTMForecaster": [one.point for one in expected],
        "LSTMForecaster-lo-80": [one.lower[80] for one in expected],
        "LSTMForecaster-hi-97.5": [one.upper[97.5] for one in expected],
    }
    for name, arrays in values.items():
        np.testing.assert_array_equal(column(forecast, name), np.concatenate(arrays))

    back = framed.backtest(frame, h=2, n_windows=3, level=80)
    expected = listed.backtest([Y[:40], 2 * Y[:30]], h=2, n_windows=3, level=80)
    np.testing.assert_array_equal(column(back, "y"), np.concatenate([one.actual.ravel() for one in expected]))
    np.testing.assert_array_equal(
        column(back, "LSTMForecaster"), np.concatenate([one.point.ravel() for one in expected])
    )
    np.testing.assert_array_equal(column(back, "ds"), np.concatenate([one.dates.ravel() for one in expected]))
    assert column(back, "cutoff")[:4].tolist() == [
        *[column(back, "ds")[0] - np.timedelta64(1, "D")] * 2,
        *column(back, "ds")[[0, 0]],
    ]


def test_quantiles_and_samples_are_frames_too(library):
    forecaster = LSTMForecaster(**TINY).fit(long(library))
    quantiles = forecaster.predict_quantiles(2, [0.1, 0.5])
    assert (column(quantiles, "LSTMForecaster-q-0.1") < column(quantiles, "LSTMForecaster-q-0.5")).all()
    paths = forecaster.sample(5, 2, seed=0)
    assert len(column(paths, "ds")) == 2 * 5 * 2
    assert column(paths, "sample")[:6].tolist() == [0, 0, 1, 1, 2, 2]


def test_update_continues_the_dates_and_files_remember_the_library(library, tmp_path):
    forecaster = LSTMForecaster(**TINY).fit(long(library))
    forecaster.save(tmp_path / "model")
    loaded = LSTMForecaster.load(tmp_path / "model")
    more = make(library, {"unique_id": ["b"], "ds": DAYS[31:32].astype("datetime64[ms]"), "y": [2 * Y[30]]})
    forecast = loaded.update(more).predict(1)
    assert type(forecast) is type(more)
    np.testing.assert_array_equal(column(forecast, "ds"), DAYS[[40, 32]])
    with pytest.raises(ValueError, match=r"y\['ds'\] of 'b'\[0\] is 2024-02-01T00:00:00, expected 2024-02-02T00:00:00"):
        loaded.update(more)


def test_exogenous_columns_and_the_dates_ahead(library):
    wave = np.cos(np.arange(60))
    forecaster = LSTMForecaster(**TINY).fit(long(library, price=wave))
    assert forecaster.form_.names == ["price"]
    ahead = {
        "unique_id": ["b", "b", "a", "a"],
        "ds": DAYS[[31, 32, 40, 41]].astype("datetime64[ms]"),
        "price": [0.3, 0.4, 0.1, 0.2],
    }
    listed = LSTMForecaster(**TINY).fit([Y[:40], 2 * Y[:30]], [wave[:40], wave[:30]], dates=[DAYS[:40], DAYS[1:31]])
    expected = np.concatenate(listed.predict(2, [[0.1, 0.2], [0.3, 0.4]]))
    np.testing.assert_array_equal(column(forecaster.predict(2, make(library, ahead)), "LSTMForecaster"), expected)
    wrong = {
        "X is missing, expected the 1 exogenous": None,
        r"X\['ds'\] of 'b'\[0\] is 2024-02-02": ahead | {"ds": DAYS[[32, 33, 40, 41]].astype("datetime64[ms]")},
        "X lacks the columns price; it has unique_id, ds": {name: ahead[name] for name in ("unique_id", "ds")},
        r"X\['price'\]\[0\] is nan": ahead | {"price": [np.nan, 0.0, 0.0, 0.0]},
        "X holds 2 dates of 'a', expected 3": ahead,
        r"X\['unique_id'\] holds 'c', which fit did not": ahead | {"unique_id": ["b", "b", "c", "c"]},
    }
    for message, content in wrong.items():
        with pytest.raises(ValueError, match=message):
            forecaster.predict(3 if "expected 3" in message else 2, None if content is None else make(library, content))
    with pytest.raises(TypeError, match="X is ndarray, expected a data frame as at fit"):
        forecaster.predict(2, np.ones((2, 1)))


def test_dates_and_integers_are_returned_in_their_type(library):
    days = [datetime.date(2024, 1, 1) + datetime.timedelta(int(k)) for k in range(30)]
    for ds, following in ((days, days[-1] + datetime.timedelta(1)), (list(range(30)), 30)):
        content = {"unique_id": [7] * 30, "ds": ds, "y": Y[:30]}
        forecast = LSTMForecaster(**TINY).fit(make(library, content)).predict(1)
        assert column(forecast, "unique_id").tolist() == [7]
        assert column(forecast, "ds").astype("datetime64[D]" if ds is days else int)[0] == following


def test_files_of_frames_with_integers_in_place_of_dates(library, tmp_path):
    frame = make(library, {"unique_id": ["a"] * 60, "ds": np.arange(0, 120, 2), "y": Y})
    forecaster = LSTMForecaster(**TINY).fit(frame)
    forecaster.save(tmp_path / "model")
    loaded = LSTMForecaster.load(tmp_path / "model")
    assert loaded.frequency_.name == "2"
    assert (loaded.form_, loaded.calendar_) == (forecaster.form_, [])
    forecast = loaded.predict(2)
    assert column(forecast, "ds").tolist() == [120, 122]
    np.testing.assert_array_equal(column(forecast, "LSTMForecaster"), column(forecaster.predict(2), "LSTMForecaster"))


def test_wrong_frames_get_one_line():
    pandas = pytest.importorskip("pandas")
    good = {"unique_id": ["a"] * 9, "ds": DAYS[:9], "y": Y[:9]}
    wrong = {
        "y lacks the columns unique_id, ds; it has y": {"y": Y[:9]},
        r"y\['y'\]\[2\] is nan": good | {"y": [1, 2, np.nan, *range(6)]},
        r"y\['ds'\] of 'a' has an unknown frequency": good | {"ds": DAYS[[0, 1, 2, 3, 4, 5, 6, 7, 9]]},
        r"y\['ds'\] has the time zone UTC": good | {"ds": pandas.to_datetime(DAYS[:9]).tz_localize("UTC")},
        "unique_id holds 0.5, expected strings or integers": good | {"unique_id": [0.5] * 9},
        r"y\['unique_id'\] holds values of several kinds": good | {"unique_id": ["a", 1] * 4 + ["a"]},
        "y has no rows": {name: [] for name in good},
    }
    for message, content in wrong.items():
        with pytest.raises((TypeError, ValueError), match=message):
            LSTMForecaster(**TINY).fit(pandas.DataFrame(content))
    with pytest.raises(TypeError, match="X is given together with a data frame"):
        LSTMForecaster(**TINY).fit(pandas.DataFrame(good), np.ones((9, 1)))
    with pytest.raises(TypeError, match="y is ndarray, but fit had a data frame"):
        LSTMForecaster(**TINY).fit(pandas.DataFrame(good)).update(np.ones(3))
