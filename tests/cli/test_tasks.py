"""`clstm train --task`, `forecast` and `generate`, on small pieces of the real data that the examples use."""

import csv
import importlib.util
import io
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

import clstm
from clstm import cli
from clstm.cli.data_files import DataError
from clstm.cli.series_files import read_sequences, read_series
from clstm.cli.tasks import TASKS
from tests.helpers.program import fails, posix, read_line, run, start

EXAMPLES = Path(__file__).parents[2] / "examples"
SKLEARN = importlib.util.find_spec("sklearn") is not None
needs_sklearn = pytest.mark.skipif(not SKLEARN, reason="needs scikit-learn")

SMALL = ("--hidden-size", "8", "--epochs", "3", "--quiet")


@pytest.fixture(scope="module")
def datasets():
    """The examples' loaders."""
    spec = importlib.util.spec_from_file_location("datasets_of_examples", EXAMPLES / "datasets.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_sequences(path, sequences, labels):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "speaker", *(f"x{i}" for i in range(sequences[0].shape[1]))])
        for number, (sequence, label) in enumerate(zip(sequences, labels, strict=True)):
            writer.writerows([f"u{number}", label, *map(repr, row)] for row in sequence.tolist())


def write_series(path, dates, values):
    rows = (f"{str(date).replace('T', ' ')}:00,{value!r}\n" for date, value in zip(dates, values.tolist(), strict=True))
    path.write_text("date,temp\n" + "".join(rows))


@pytest.fixture(scope="module")
def vowels(datasets, tmp_path_factory):
    """A folder with train.csv and test.csv: utterances of the first two speakers."""
    folder = tmp_path_factory.mktemp("vowels")
    x, y, other_x, other_y = datasets.load_japanese_vowels()
    for name, sequences, speakers in (("train", x, y), ("test", other_x, other_y)):
        some = np.flatnonzero(speakers <= 2)[::2]
        write_sequences(folder / f"{name}.csv", [sequences[i] for i in some], [f"s{speakers[i]}" for i in some])
    return folder


@pytest.fixture(scope="module")
def classifier(vowels):
    pytest.importorskip("sklearn")
    path = vowels / "classifier"
    label = ("--label-column", "speaker")
    out, err = run("train", "--task", "classify", vowels / "train.csv", "-o", path, *label, *SMALL)
    assert out == ""
    assert "train.csv: 30 sequences, " in err
    assert (
        "; labels s1, s2 (CSV, ids in 'id', labels in 'speaker', values in 'x0', 'x1', 'x2', 'x3', 'x4' and 7 more)"
        in err
    )
    return path


@pytest.fixture(scope="module")
def hours(datasets):
    return datasets.load_temperature()


@pytest.fixture(scope="module")
def forecaster(hours, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hours")
    dates, values = hours
    write_series(folder / "train.csv", dates[:300], values[:300])
    write_series(folder / "all.csv", dates[:340], values[:340])
    out, err = run(
        "train", "--task", "forecast", folder / "train.csv", "-o", folder / "model", "--season-length", 24, *SMALL
    )
    assert out == ""
    assert "train.csv: 300 steps, 2010-01-01T00:00" in err
    assert "(CSV, dates in 'date', values in 'temp')" in err
    return folder / "model"


@pytest.fixture(scope="module")
def writer(datasets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("novel")
    novel = datasets.load_moby_dick()
    (folder / "train.txt").write_text(novel[:20_000], "utf-8")
    (folder / "test.txt").write_text(novel[20_000:23_000], "utf-8")
    out, err = run(
        "train", "--task", "language", folder / "train.txt", "-o", folder / "model", "--chunk-length", 32, *SMALL
    )
    assert (out, "train.txt: 20,000 characters" in err) == ("", True)
    return folder / "model"


@pytest.fixture
def ask(capsys):
    """The program in this process, which is faster where nothing but its arguments counts."""

    def ask(*arguments):
        assert cli.main([*map(str, arguments)]) == 0
        return capsys.readouterr()

    return ask


# ----------------------------------------------------------------------------------------------------- the arguments


@pytest.mark.parametrize(
    ("task", "defaults"),
    [
        ("text", ("passes over the texts (default: 8, ", "(default: 0.6)")),
        pytest.param("classify", ("(default: yes)", "common ones (default: all examples alike)"), marks=needs_sklearn),
        pytest.param("regress", ("{mse,huber,quantile}", "what is minimised (default: mse)"), marks=needs_sklearn),
        ("forecast", ("step of the dates: s, min, h, D, W, MS, ... (default: found from the dates)", "--distribution")),
        ("language", ("what is read and written (default: character)", "(default: never)")),
    ],
)
def test_help_of_each_task(capsys, monkeypatch, task, defaults):
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["train", "--task", task, "--help"]) == 0
    out, _ = capsys.readouterr()
    assert all(setting.flag in out for setting in TASKS[task].settings)
    assert all(text in " ".join(out.split()) for text in defaults)
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize("task", ["forecast", "language", *(["classify", "regress"] if SKLEARN else [])])
def test_every_setting_is_an_argument(task):
    known = getattr(clstm, TASKS[task].model)().get_params()
    for setting in TASKS[task].settings:
        assert isinstance(known[setting.name], bool) == (setting.kind is bool)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--task", "nonsense", "x", "-o", "y"], "invalid choice: 'nonsense'"),
        (["train", "--task", "forecast", "x", "-o", "y", "--pooling", "max"], "unrecognized arguments: --pooling"),
        (["train", "--task", "forecast", "x", "-o", "y", "--validation", "z"], "unrecognized arguments: --validation"),
        (["train", "x", "-o", "y", "--season-length", "7"], "unrecognized arguments: --season-length"),
        (["forecast", "model", "--level", "100"], "'100' is not a percentage between 0 and 100"),
        (["forecast", "model", "--horizon", "0"], "'0' is not an integer from 1"),
        (["generate", "model", "--temperature", "-1"], "'-1' is not a number from 0"),
        (["generate"], "required: MODEL"),
    ],
)
def test_wrong_usage(capsys, arguments, message):
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


# --------------------------------------------------------------------------------------------------------- sequences


@pytest.mark.peer
def test_classify_sequences(vowels, classifier, ask):
    label = ("--label-column", "speaker")
    data = read_sequences(vowels / "test.csv", label_column="speaker")
    model = clstm.load(classifier)
    expected = model.predict(data.values).tolist()
    assert ask("predict", classifier, "-f", vowels / "test.csv", *label)[0].splitlines() == expected
    out, _ = run("predict", classifier, "-", "--json", "--proba", *label, input=(vowels / "test.csv").read_text())
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["id"] for row in rows] == data.names
    assert [row["label"] for row in rows] == expected
    found = [[row["probabilities"][name] for name in ("s1", "s2")] for row in rows]
    assert np.array_equal(found, model.predict_proba(data.values))
    result = json.loads(ask("test", classifier, vowels / "test.csv", *label, "--json")[0])
    assert result["accuracy"] == np.mean(np.array(expected) == data.labels)
    assert list(result["labels"]) == ["s1", "s2"]
    assert ask("test", classifier, vowels / "test.csv", *label)[0].startswith(f"accuracy {result['accuracy']:.2%} (")


@needs_sklearn
def test_settings_reach_the_classifier_and_validation_chooses_the_epoch(vowels, tmp_path, ask):
    out, err = ask(
        "train", "--task", "classify", vowels / "train.csv", "-o", tmp_path / "model", "--validation",
        vowels / "test.csv", "--label-column", "speaker", "--no-bidirectional", "--class-weight", "balanced",
        "--seed", 5, "--epochs", 4, "--hidden-size", 6, "--json",
    )  # fmt: skip
    result = json.loads(out)
    assert (result["examples"], result["labels"], len(result["history"]["validation_score"])) == (30, ["s1", "s2"], 4)
    assert "epoch 4/4: loss" in err
    params = clstm.load(tmp_path / "model").get_params()
    given = {"bidirectional": False, "class_weight": "balanced", "random_state": 5, "n_epochs": 4, "hidden_size": 6}
    assert {name: params[name] for name in given} == given


@needs_sklearn
def test_regress_sequences(datasets, tmp_path, ask):
    x, _, _, _ = datasets.load_japanese_vowels()
    write_sequences(tmp_path / "data.csv", x[:40], [len(sequence) for sequence in x[:40]])
    label = ("--label-column", "speaker")
    ask("train", "--task", "regress", tmp_path / "data.csv", "-o", tmp_path / "model", *label, *SMALL)
    data = read_sequences(tmp_path / "data.csv", label_column="speaker", numeric=True)
    model = clstm.load(tmp_path / "model")
    expected = model.predict(data.values)
    out, _ = ask("predict", tmp_path / "model", "-f", tmp_path / "data.csv", *label)
    assert np.allclose([float(line) for line in out.splitlines()], expected, rtol=1e-6)
    result = json.loads(ask("test", tmp_path / "model", tmp_path / "data.csv", *label, "--json")[0])
    assert result["score"] == model.score(data.values, data.labels)
    assert result["mean_absolute_error"] == np.abs(expected - data.labels).mean()


def test_sequences_of_any_order_and_their_errors(tmp_path):
    path = tmp_path / "data.csv"

    def read(text, **options):
        path.write_text(text)
        return read_sequences(path, **options)

    found = read("label,id,a,b\nx,2,1,2\ny,1,3,4\nx,2,5,6\n")
    assert (found.names, found.labels) == (["2", "1"], ["x", "y"])
    assert [values.tolist() for values in found.values] == [[[1, 2], [5, 6]], [[3, 4]]]
    assert read("id,a\n1,2\n", labelled=False).labels is None
    assert read("id,target,a\n1,0.5,2\n", numeric=True).labels.tolist() == [0.5]
    for text, message in (
        ("id,label\n1,x\n", "data.csv: has no column of values"),
        ("id,a,b\n1,2,3\n", "can't tell which column holds the labels: none is called 'label' or 'class'"),
        ("label,a,b\n1,2,3\n", "can't tell which column holds the ids"),
        ("id,label,a\n1,x,2\n1,y,3\n", "data.csv:3: has the label 'y', but the sequence began with 'x'"),
        ("id,label,a\n1,x,2\n1,x,two\n", "data.csv:3: column 'a' holds 'two', expected a finite number"),
        ("id,label,a\n1,x,2\n2,x,\n", "data.csv:3: column 'a' holds '', expected a finite number"),
        ("id,label,a\n1,x,nan\n", "data.csv:2: column 'a' holds 'nan', expected a finite number"),
        ("id,label,a\n1,,2\n", "data.csv:2: has an empty label"),
        ("id,a,a\n1,x,2\n", "has two columns of one name"),
        ("id,label,a\n", "has a header but no rows"),
        ("id,label,a\n1,x\n", "data.csv:2: has 2 columns, but the first row has 3"),
        ('{"id": 1}\n', "is jsonl, expected a CSV or TSV file"),
    ):
        with pytest.raises(DataError) as raised:
            read(text, format=None) if text[0] != "{" else read_sequences(io_file(tmp_path, text))
        assert message in str(raised.value)


def io_file(folder, text):
    (folder / "data.jsonl").write_text(text)
    return folder / "data.jsonl"


# ------------------------------------------------------------------------------------------------------------ series


def table(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_forecast(forecaster, ask):
    expected = clstm.load(forecaster).predict(5, level=[80, 95])
    rows = table(ask("forecast", forecaster, "--horizon", 5, "--level", 80, "--level", 95)[0])
    assert list(rows[0]) == ["date", "forecast", "lo-80", "hi-80", "lo-95", "hi-95"]
    assert [row["date"] for row in rows] == [str(date)[:16] for date in expected.dates]
    assert np.allclose([float(row["forecast"]) for row in rows], expected.point, rtol=1e-6)
    assert np.allclose([float(row["hi-95"]) for row in rows], expected.upper[95], rtol=1e-6)
    result = json.loads(ask("forecast", forecaster, "--horizon", 5, "--level", 80, "--json")[0])
    assert result["forecast"] == expected.point.tolist()
    assert result["lo-80"] == expected.lower[80].tolist()


def test_forecast_continues_from_values_after_the_training(forecaster, hours, tmp_path, ask):
    dates, values = hours
    write_series(tmp_path / "new.csv", dates[300:340], values[300:340])
    expected = clstm.load(forecaster).update(values[300:340]).predict(3)
    whole, _ = ask("forecast", forecaster, forecaster.parent / "all.csv", "--horizon", 3)
    new, _ = run("forecast", forecaster, "-", "--horizon", 3, input=(tmp_path / "new.csv").read_text())
    assert whole == new
    assert np.allclose([float(row["forecast"]) for row in table(whole)], expected, rtol=1e-6)
    assert table(whole)[0]["date"] == "2010-01-15T04:00"
    seen, _ = ask("forecast", forecaster, forecaster.parent / "train.csv")
    assert seen == ask("forecast", forecaster)[0]
    write_series(tmp_path / "gap.csv", dates[310:340], values[310:340])
    fails("continues at 2010-01-13T22:00, expected 2010-01-13T12:00", "forecast", forecaster, tmp_path / "gap.csv")
    write_series(tmp_path / "gap.csv", np.delete(dates[:340], 320), np.delete(values[:340], 320))
    fails("continues at 2010-01-14T09:00, expected 2010-01-14T08:00", "forecast", forecaster, tmp_path / "gap.csv")
    (tmp_path / "bare.csv").write_text("y,z\n1,2\n")
    fails(
        "has no dates, but the model was trained on a series with dates", "forecast", forecaster, tmp_path / "bare.csv"
    )


def test_forecast_without_dates(tmp_path, ask):
    path = tmp_path / "data.csv"
    path.write_text("y\n" + "".join(f"{np.sin(i / 4)}\n" for i in range(200)))
    ask("train", "--task", "forecast", path, "-o", tmp_path / "model", *SMALL)
    rows = table(ask("forecast", tmp_path / "model", "--horizon", 2)[0])
    assert [row["step"] for row in rows] == ["1", "2"]
    out, _ = run("forecast", tmp_path / "model", "-", "--format", "csv", input="y\n0.5\n0.25\n")
    assert float(table(out)[0]["forecast"]) == pytest.approx(
        clstm.load(tmp_path / "model").update([0.5, 0.25]).predict(1)[0], rel=1e-6
    )


def test_test_of_a_forecaster(forecaster, hours, ask):
    _, values = hours
    options = ("--horizon", 8, "--windows", 5, "--level", 80)
    result = json.loads(ask("test", forecaster, forecaster.parent / "all.csv", *options, "--json")[0])
    found = clstm.load(forecaster).backtest(values[:340], h=8, n_windows=5, step_size=8, level=80)
    assert result["mean_absolute_error"] == found.mean_absolute_error
    assert result["coverage"] == {"80": found.coverage(80)}
    out, _ = ask("test", forecaster, forecaster.parent / "all.csv", *options)
    assert out.splitlines()[0].endswith("(5 windows of 8 steps)")
    assert out.splitlines()[1].startswith("within the 80% interval: ")


@pytest.fixture(scope="module")
def two_stations(hours, tmp_path_factory):
    """A forecaster of two series of one table, their rows mixed; what it was trained on, and all."""
    pytest.importorskip("narwhals")
    pd = pytest.importorskip("pandas")
    dates, values = hours
    parts = {"north": (dates[:340], values[:340]), "south, coast": (dates[100:400], values[100:400])}
    frames = [pd.DataFrame({"ds": one, "unique_id": name, "y": y}) for name, (one, y) in parts.items()]
    folder = tmp_path_factory.mktemp("stations")
    whole = pd.concat(frames).sample(frac=1, random_state=0)
    seen = whole[whole["ds"] < dates[300]]
    for name, frame in (("all.csv", whole), ("train.csv", seen)):
        frame.to_csv(folder / name, index=False)
    options = ("-o", folder / "model", "--season-length", 24, *SMALL)
    _, err = run("train", "--task", "forecast", folder / "train.csv", *options)
    assert "train.csv: 500 steps of 2 series, 2010-01-01T00:00" in err
    return folder, seen, whole


@pytest.mark.peer
def test_forecast_of_several_series(two_stations, ask):
    folder, seen, whole = two_stations
    model = clstm.load(folder / "model")
    expected = model.predict(5, level=[80])
    rows = table(ask("forecast", folder / "model", "--horizon", 5, "--level", 80)[0])
    assert list(rows[0]) == ["unique_id", "date", "forecast", "lo-80", "hi-80"]
    assert [row["unique_id"] for row in rows] == ["north"] * 5 + ["south, coast"] * 5
    assert [row["date"] for row in rows] == [str(date)[:16].replace(" ", "T") for date in expected["ds"]]
    assert np.allclose([float(row["hi-80"]) for row in rows], expected["LSTMForecaster-hi-80"], rtol=1e-6)
    result = json.loads(ask("forecast", folder / "model", "--horizon", 5, "--json")[0])
    assert result["forecast"] == expected["LSTMForecaster"].tolist()

    same, _ = ask("forecast", folder / "model", folder / "train.csv")
    assert same == ask("forecast", folder / "model")[0]
    out, _ = ask("forecast", folder / "model", folder / "all.csv", "--horizon", 3)
    expected = model.update(whole[whole["ds"] > seen["ds"].max()]).predict(3)
    assert np.allclose([float(row["forecast"]) for row in table(out)], expected["LSTMForecaster"], rtol=1e-6)


@pytest.mark.peer
def test_test_of_several_series(two_stations, ask):
    folder, _, whole = two_stations
    options = ("--horizon", 8, "--windows", 5, "--level", 80)
    result = json.loads(ask("test", folder / "model", folder / "all.csv", *options, "--json")[0])
    found = clstm.load(folder / "model").backtest(whole, h=8, n_windows=5, step_size=8, level=80)
    assert result["mean_absolute_error"] == pytest.approx((found["y"] - found["LSTMForecaster"]).abs().mean())
    held = found["y"].between(found["LSTMForecaster-lo-80"], found["LSTMForecaster-hi-80"])
    assert result["coverage"]["80"] == pytest.approx(held.mean())


@pytest.mark.peer
def test_wrong_tables_of_several_series(two_stations, forecaster, tmp_path):
    model, path = two_stations[0] / "model", tmp_path / "data.csv"
    for text, problem in (
        ("unique_id,ds,y\nnorth,2010-01-13 12:00,1\nwest,2010-01-01,1\n", "holds 'west', which fit did not"),
        (
            "unique_id,ds,y\nnorth,2010-01-20 12:00,1\n",
            "of 'north'[0] is 2010-01-20T12:00:00, expected 2010-01-13T12:00",
        ),
        ("ds,y\n2010-01-13 12:00,1\n", "has no column of ids, but the model forecasts north, south, coast"),
        ("unique_id,y\nnorth,1\n", "has no column of dates"),
    ):
        path.write_text(text)
        fails(problem, "forecast", model, path)
    fails("holds several series, but the model was trained on one", "forecast", forecaster, two_stations[0] / "all.csv")


def test_dates_and_errors_of_series(tmp_path):
    path = tmp_path / "data.csv"

    def read(text, **options):
        path.write_text(text)
        return read_series(path, **options)

    for cells, dtype in (
        (["2010/01/01 00:00", "2010/01/01 01:00"], "datetime64[m]"),
        (["2010-01-01T00:00:00Z", "2010-01-01 00:00:01"], "datetime64[s]"),
        (["20100101", "20100102"], "datetime64[D]"),
        (["2010-01", "2010-02"], "datetime64[M]"),
    ):
        found = read("ds,y\n" + "".join(f"{cell},1\n" for cell in cells))
        assert found.dates.dtype == dtype
        assert np.array_equal(np.diff(found.dates).astype(int), [60] if "01:00" in cells[1] else [1])
    assert read("a,y,b\n1,2,3\n").values.tolist() == [2]
    assert read("sales\n1\n2\n").values.tolist() == [1, 2]
    assert read("a,y,b\n1,2,3\n", value_column="3").values.tolist() == [3]
    for text, message in (
        ("date,a,b\n2010-01-01,1,2\n", "can't tell which column holds the values: none is called 'y' or 'value'"),
        ("date,y\nyesterday,1\n", "data.csv:2: column 'date' holds 'yesterday', expected a date like"),
        ("date,y\n2010-02-31,1\n", "column 'date' holds no dates"),
        ("date,y\n2010-02-01,\n", "data.csv:2: column 'y' holds '', expected a finite number"),
    ):
        with pytest.raises(DataError) as raised:
            read(text)
        assert message in str(raised.value)
    with pytest.raises(DataError, match="has no column 'c' for the values; it has 'date', 'y'"):
        read("date,y\n2010-02-01,1\n", value_column="c")


# ---------------------------------------------------------------------------------------------------------- language


def test_generate(writer, ask):
    options = ("--prompt", "Call me", "--length", 40, "--temperature", 0.8, "--top-k", 10, "--top-p", 0.9, "--seed", 3)
    expected = clstm.load(writer).generate("Call me", 40, temperature=0.8, top_k=10, top_p=0.9, seed=3)
    assert ask("generate", writer, *options)[0] == f"Call me{expected}\n"
    result = json.loads(ask("generate", writer, *options, "--json")[0])
    assert (result["prompt"], result["text"], result["seed"]) == ("Call me", expected, 3)


def test_test_of_a_language_model(writer, ask):
    result = json.loads(ask("test", writer, writer.parent / "test.txt", "--json")[0])
    model, text = clstm.load(writer), (writer.parent / "test.txt").read_text("utf-8")
    assert result["bits_per_character"] == model.bits_per_character(text)
    assert result["perplexity"] == model.perplexity(text)
    assert ask("test", writer, writer.parent / "test.txt")[0].startswith(
        f"{model.bits_per_character(text):.4f} bits a character, "
    )


def test_start_from_a_language_model(writer, tmp_path, ask):
    (tmp_path / "texts.tsv").write_text("label\ttext\n" + "good\ta fine whale\nbad\ta dull sea\n" * 8)
    sizes = ("--embedding-dim", 4, "--hidden-size", 4, "--epochs", 1, "--quiet")
    ask("train", "--task", "language", "--unit", "word", writer.parent / "test.txt", "-o", tmp_path / "words", *sizes)
    start = ("train", tmp_path / "texts.tsv", "-o", tmp_path / "model", "--start")
    ask(*start, tmp_path / "words", *sizes)
    assert clstm.load(tmp_path / "model").vocabulary_ == clstm.load(tmp_path / "words").vocabulary_
    fails("start has unit 'character', expected 'word'", *start, writer)


@pytest.mark.subprocess
@posix
def test_interrupted_language_training_saves_the_model(writer, tmp_path):
    process = start(
        "train", "--task", "language", writer.parent / "train.txt", "-o", tmp_path / "model", "--hidden-size", "8",
        "--epochs", "400",
    )  # fmt: skip
    while not read_line(process.stderr).startswith("epoch "):
        pass
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.decode().endswith(f"saved to {tmp_path / 'model'}\n")
    assert clstm.load(tmp_path / "model").history_.interrupted


# ------------------------------------------------------------------------------------------------------- every kind


def test_info_of_each_kind(forecaster, writer, ask):
    for path, kind in ((forecaster, "LSTMForecaster"), (writer, "LanguageModel")):
        result = json.loads(ask("info", path, "--json")[0])
        model = clstm.load(path)
        assert result["kind"] == kind == type(model).__name__
        assert result["parameters"] == model.network_.num_parameters()
        assert result["settings"]["hidden_size"] == 8
        out, _ = ask("info", path)
        assert f"{kind}, written by clstm" in out.splitlines()[0]
    assert "vocabulary" in out


def test_a_model_of_another_kind(forecaster, writer, tmp_path):
    fails("holds LSTMForecaster, expected LanguageModel", "generate", forecaster)
    fails("holds LanguageModel, expected LSTMForecaster", "forecast", writer)
    fails("expected TextClassifier or LSTMClassifier or LSTMRegressor", "predict", writer, "text")


def test_several_series_without_names_are_for_python(hours, tmp_path):
    _, values = hours
    model = clstm.LSTMForecaster(hidden_size=4, n_epochs=1, verbose=0, seed=0)
    model.fit([values[:100], values[100:200]]).save(tmp_path / "model")
    fails("several series without names, which is for Python only", "forecast", tmp_path / "model")


@pytest.mark.peer
@needs_sklearn
def test_sequences_must_be_in_a_file(classifier):
    fails("reads sequences, from a file", "predict", classifier, "text")


def test_load_chooses_the_class_and_knows_only_models(tmp_path):
    from clstm.files import ModelFileError, save_model

    for kind in ("LSTM", "os", "Nonsense", "__all__"):
        save_model(tmp_path / "model", kind, {"params": {}}, {})
        with pytest.raises(ModelFileError, match="no model of clstm's"):
            clstm.load(tmp_path / "model")
        assert os.path.exists(tmp_path / "model")
