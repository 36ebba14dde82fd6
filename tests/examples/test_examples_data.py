"""The examples' data: each loader returns what it says, as it stands in the file of the source."""

from __future__ import annotations

import gzip
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
DATA = EXAMPLES / "data"


@pytest.fixture(scope="module")
def datasets():
    spec = importlib.util.spec_from_file_location("examples_datasets", EXAMPLES / "datasets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def check_sequences(sequences, count, features, shortest, longest):
    assert len(sequences) == count
    assert {(s.dtype, s.shape[1:]) for s in sequences} == {(np.dtype(np.float32), (features,))}
    lengths = [len(s) for s in sequences]
    assert (min(lengths), max(lengths)) == (shortest, longest)
    assert all(np.isfinite(s).all() for s in sequences)


def test_japanese_vowels(datasets):
    train, speakers, test, test_speakers = datasets.load_japanese_vowels()
    check_sequences(train, 270, 12, 7, 26)
    check_sequences(test, 370, 12, 7, 29)
    assert np.bincount(speakers).tolist() == [0] + 9 * [30]
    assert np.bincount(test_speakers).tolist() == [0, 31, 35, 88, 44, 29, 24, 40, 50, 29]  # as UCI describes it
    text = (DATA / "japanese_vowels" / "JapaneseVowels_TEST.ts").read_text()
    last = text.strip().splitlines()[-1].split(":")
    # A channel is a line's field, a frame has one number of each.
    assert [",".join(f"{value:g}" for value in channel) for channel in test[-1].T] == [
        ",".join(f"{float(value):g}" for value in channel.split(",")) for channel in last[:-1]
    ]
    assert test_speakers[-1] == int(last[-1])


def test_spoken_digits(datasets):
    recordings, digits = datasets.load_spoken_digits()
    check_sequences(recordings, 3000, 13, 6, 92)
    assert np.bincount(digits).tolist() == 10 * [300]
    with np.load(DATA / "spoken_digits" / "digits.npz") as content:
        np.testing.assert_array_equal(np.concatenate(recordings), content["X"])
        assert [len(recording) for recording in recordings] == content["lengths"].tolist()


def test_shoulder_exercises(datasets):
    recordings, exercises, people = datasets.load_shoulder_exercises()
    check_sequences(recordings, 140, 6, 189, 523)
    # Ten people did seven exercises, with one arm and the other.
    pairs, counts = np.unique([*zip(people.astype(str), exercises, strict=True)], axis=0, return_counts=True)
    assert len(pairs) == 70
    assert set(counts) == {2}
    assert set(people) == set(range(1, 11))
    assert set(exercises) == {"PEN", "ABD", "FEL", "IR", "ER", "TRAP", "ROW"}
    with np.load(DATA / "shoulder_exercises" / "watch_10hz.npz") as content:
        np.testing.assert_array_equal(np.concatenate(recordings), content["X"])


def test_windows(datasets):
    windows = datasets.windows_of(np.arange(20).reshape(10, 2), size=4, step=3)
    assert windows.shape == (3, 4, 2)
    assert windows[:, 0, 0].tolist() == [0, 6, 12]


def test_pen_digits(datasets):
    points, digits = datasets.load_pen_digits()
    assert points.shape == (10992, 8, 2)
    assert points.dtype == np.float32
    assert np.bincount(digits).tolist() == [1143, 1143, 1144, 1055, 1144, 1055, 1056, 1142, 1055, 1055]
    # Each digit is scaled so that its longer side is 0 to 100.
    assert (points.min(axis=1) == 0).any(axis=1).all()
    assert (points.max(axis=(1, 2)) == 100).all()
    first = (DATA / "pen_digits" / "penbased.csv").read_text().split("\n", 1)[0]
    assert [*points[0].ravel(), digits[0]] == [float(value) for value in first.split(",")]


def test_hand_movements(datasets):
    paths, movements = datasets.load_hand_movements()
    assert paths.shape == (360, 45, 2)
    assert paths.dtype == np.float32
    assert np.bincount(movements).tolist() == [0] + 15 * [24]
    assert paths.min() == 0
    assert paths.max() == 1
    # A path, not x of all frames and then y: the hand moves little from frame to frame.
    assert np.abs(np.diff(paths, axis=1)).mean() < 0.1 * paths.std()


def test_city_video(datasets):
    frames = datasets.load_city_video()
    assert frames.shape == (190, 36, 64)
    assert frames.dtype == np.uint8
    # A video: a frame is far closer to the next than to one of two seconds later.
    frames = frames.astype(float)
    assert np.abs(frames[1:] - frames[:-1]).mean() < 0.5 * np.abs(frames[50:] - frames[:-50]).mean()


def test_moby_dick(datasets):
    novel = datasets.load_moby_dick()
    assert len(novel) == 1190317
    assert "Call me Ishmael." in novel[:100]
    assert novel.count("\nCHAPTER ") + novel.startswith("CHAPTER ") == 135
    assert "\r" not in novel


@pytest.mark.parametrize(("language", "count"), [("de", 34313), ("es", 27296), ("fr", 30306)])
def test_sentence_pairs(datasets, language, count):
    pairs = datasets.load_sentence_pairs(language)
    assert len(pairs) == count
    assert {len(pair) for pair in pairs} == {2}
    assert all(text == text.strip() and text for pair in pairs for text in pair)
    words = [" ".join(texts).lower().split() for texts in zip(*pairs, strict=True)]
    own = {"de": "ich", "es": "que", "fr": "je"}[language]
    assert words[0].count("the") > 0.01 * len(words[0]) > words[1].count("the") * 10
    assert words[1].count(own) > 0.01 * len(words[1]) > words[0].count(own) * 10
    raw = gzip.decompress((DATA / "sentence_pairs" / f"en_{language}.tsv.gz").read_bytes()).decode()
    assert raw.split("\n", 1)[0].rstrip("\r") == "\t".join(pairs[0])


def test_languages(datasets):
    languages = datasets.load_languages(500)
    assert list(languages) == ["English", "German", "Spanish", "French"]
    assert [len(sentences) for sentences in languages.values()] == 4 * [500]
    assert len({sentence for sentences in languages.values() for sentence in sentences}) == 2000
    pairs = datasets.load_sentence_pairs("fr")
    assert set(languages["French"]) <= {french for _, french in pairs}
    assert languages == datasets.load_languages(500)


def test_births(datasets):
    days, births = datasets.load_births()
    assert days.dtype == "datetime64[D]"
    assert days[0] == np.datetime64("1969-01-01")
    assert days[-1] == np.datetime64("1988-12-31")
    assert (np.diff(days) == np.timedelta64(1, "D")).all()
    assert (births[0], births.min(), births.max()) == (8486, 6675, 12851)
    weekday = (days.astype(int) + 3) % 7  # 0 is Monday
    assert births[weekday == 6].mean() < 0.9 * births[weekday == 1].mean()  # fewest on Sundays


def test_temperature(datasets):
    hours, degrees = datasets.load_temperature()
    assert hours.dtype == "datetime64[h]"
    assert len(hours) == len(degrees) == 8759
    assert hours[0] == np.datetime64("2010-01-01T00")
    assert hours[-1] == np.datetime64("2010-12-31T23")
    gaps = hours[:-1][np.diff(hours) != np.timedelta64(1, "h")]
    assert gaps.astype(str).tolist() == ["2010-03-14T02"]  # summer time begins: no hour 3
    assert (degrees[0], degrees.min(), degrees.max()) == (39.4, 37.5, 75.9)


def test_co2(datasets):
    days, co2 = datasets.load_co2()
    assert days.dtype == "datetime64[D]"
    assert days[0] == np.datetime64("1958-03-29")
    assert (np.diff(days) == np.timedelta64(7, "D")).all()
    assert (len(co2), np.isnan(co2).sum()) == (2284, 59)
    assert (co2[0], np.nanmin(co2), np.nanmax(co2)) == (316.1, 313, 373.9)


def test_sunspots(datasets):
    months, numbers = datasets.load_sunspots()
    assert months.dtype == "datetime64[M]"
    assert months[0] == np.datetime64("1749-01")
    assert months[-1] == np.datetime64("2009-06")
    assert (np.diff(months) == np.timedelta64(1, "M")).all()
    assert numbers[:3].tolist() == [58.0, 62.6, 70.0]
    assert numbers.max() == 253.8


def test_every_file_is_described(datasets):
    described = set(re.findall(r"^\| `(\w+)/`", (DATA / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert described == {path.name for path in DATA.iterdir() if path.is_dir()}
