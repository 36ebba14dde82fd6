"""The examples' data, as arrays and lists: one function a dataset. Sources and licences are in data/README.md."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path

import numpy as np

DATA = Path(__file__).resolve().parent / "data"

Sequences = list[np.ndarray]


def load_japanese_vowels() -> tuple[Sequences, np.ndarray, Sequences, np.ndarray]:
    """Return training utterances (frames, 12) and speakers 1 to 9, and the official test set's."""
    return (*_read_ts("JapaneseVowels_TRAIN.ts"), *_read_ts("JapaneseVowels_TEST.ts"))


def load_spoken_digits() -> tuple[Sequences, np.ndarray]:
    """Return 3,000 recordings (frames, 13) as MFCC, and their digits."""
    content = np.load(DATA / "spoken_digits" / "digits.npz")
    return _cut(content["X"], content["lengths"]), content["y"]


def load_shoulder_exercises() -> tuple[Sequences, np.ndarray, np.ndarray]:
    """Return 140 recordings (steps, 6) at 10 Hz, the names of their exercises, and who did them (1 to 10)."""
    content = np.load(DATA / "shoulder_exercises" / "watch_10hz.npz")
    return _cut(content["X"], content["lengths"]), content["y_labels"][content["y"]], content["subject"]


def windows_of(recording: np.ndarray, size: int, step: int) -> np.ndarray:
    """Return all windows (n, size, channels) of a recording, of which one begins every `step` steps."""
    return np.stack([recording[start : start + size] for start in range(0, len(recording) - size + 1, step)])


def load_pen_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return 10,992 written digits as 8 points (x, y) of the pen, 0 to 100, and the digits."""
    table = np.loadtxt(DATA / "pen_digits" / "penbased.csv", delimiter=",", dtype=np.int64)
    return table[:, :-1].reshape(-1, 8, 2).astype(np.float32), table[:, -1]


def load_hand_movements() -> tuple[np.ndarray, np.ndarray]:
    """Return the hand's place (x, y) in the 45 frames of 360 videos, and the movement's number, 1 to 15."""
    table = np.loadtxt(DATA / "hand_movements" / "movement_libras.csv", delimiter=",")
    return table[:, :-1].reshape(-1, 45, 2).astype(np.float32), table[:, -1].astype(np.int64)


def load_city_video() -> np.ndarray:
    """Return 190 grey frames (36, 64) of a street, 25 a second, uint8."""
    return np.load(DATA / "city_video" / "city_64x36_gray.npz")["frames"]


def load_moby_dick() -> str:
    """Return the novel."""
    return (DATA / "moby_dick" / "moby_dick.txt").read_text(encoding="utf-8")


def load_sentence_pairs(language: str) -> list[tuple[str, str]]:
    """Return pairs of an English sentence and the same in another language: "de", "es" or "fr"."""
    path = DATA / "sentence_pairs" / f"en_{language}.tsv.gz"
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return [tuple(line.rstrip("\r\n").split("\t")[:2]) for line in file]


def load_languages(count: int) -> dict[str, list[str]]:
    """Return so many sentences of English, German, Spanish and French, all different, in no order."""
    codes = {"German": "de", "Spanish": "es", "French": "fr"}
    pairs = {language: load_sentence_pairs(code) for language, code in codes.items()}
    texts = {"English": {english for some in pairs.values() for english, _ in some}}
    texts |= {language: {other for _, other in some} for language, some in pairs.items()}
    owners = Counter(text for some in texts.values() for text in some)  # "No." is of several languages: left out
    own = {language: sorted(text for text in some if owners[text] == 1) for language, some in texts.items()}
    generator = np.random.default_rng(0)
    return {language: generator.permutation(some)[:count].tolist() for language, some in own.items()}


def load_births() -> tuple[np.ndarray, np.ndarray]:
    """Return days (datetime64[D]) from 1969 to 1988 and the births in the US on each."""
    with open(DATA / "series" / "us_births_daily_1969_1988.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    days = [f"{row['year']}-{int(row['month']):02}-{int(row['date_of_month']):02}" for row in rows]
    return np.array(days, "datetime64[D]"), np.array([float(row["births"]) for row in rows])


def load_temperature() -> tuple[np.ndarray, np.ndarray]:
    """Return hours (datetime64[h]) of 2010 and Seattle's temperature in degrees Fahrenheit."""
    with open(DATA / "series" / "seattle_temperature_hourly_2010.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    hours = [row["date"].replace("/", "-").replace(" ", "T")[:13] for row in rows]
    return np.array(hours, "datetime64[h]"), np.array([float(row["temp"]) for row in rows])


def load_co2() -> tuple[np.ndarray, np.ndarray]:
    """Return weeks (datetime64[D]) from 1958 and the CO2 at Mauna Loa in parts per million; NaN where it is missing."""
    with open(DATA / "series" / "co2_weekly.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    days = [f"{row['date'][:4]}-{row['date'][4:6]}-{row['date'][6:]}" for row in rows]
    return np.array(days, "datetime64[D]"), np.array([float(row["co2"] or "nan") for row in rows])


def load_sunspots() -> tuple[np.ndarray, np.ndarray]:
    """Return months (datetime64[M]) from 1749 and the mean number of sunspots in each."""
    months, values = [], []
    for line in (DATA / "series" / "sunspots_monthly.dat").read_text().splitlines():
        fields = line.split()
        if fields and fields[0].isdigit():
            months += [f"{fields[0]}-{month:02}" for month in range(1, len(fields))]
            values += [float(field) for field in fields[1:]]
    return np.array(months, "datetime64[M]"), np.array(values)


def _cut(frames: np.ndarray, lengths: np.ndarray) -> Sequences:
    """Return the sequences that stand end to end in `frames`."""
    return np.split(frames, np.cumsum(lengths)[:-1])


def _read_ts(name: str) -> tuple[Sequences, np.ndarray]:
    """Return the sequences (frames, channels) and labels of a .ts file."""
    sequences, labels = [], []
    for line in (DATA / "japanese_vowels" / name).read_text().splitlines():
        if line and line[0] not in "#@":
            *channels, label = line.split(":")
            sequences.append(np.array([channel.split(",") for channel in channels], np.float32).T)
            labels.append(int(label))
    return sequences, np.array(labels)
