"""The command line as users have it: what it writes, its exit status, and the files that it leaves."""

import json
import os
import shlex
import signal
import subprocess
import sys

import numpy as np
import pytest

import clstm
from clstm import cli
from clstm._core import backend
from clstm.cli.tasks import TASKS
from clstm.datasets import load_movie_reviews
from clstm.estimators.text_classifier import TextClassifier
from clstm.files import load_model
from tests.helpers.program import environment, fails, posix, program, read_line, run, start

COMMANDS = ("demo", "train", "test", "predict", "forecast", "generate", "info", "config")
SMALL = ("--embedding-dim", "8", "--hidden-size", "8", "--batch-size", "16", "--epochs", "2")


def write_tsv(path, part, count):
    pairs = zip(part.labels[:count], part.texts[:count], strict=True)
    path.write_text("".join(f"{label}\t{text}\n" for label, text in pairs), "utf-8")


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with train.tsv, validation.tsv, test.tsv, and model.safetensors trained on them by the program."""
    folder = tmp_path_factory.mktemp("work")
    reviews = load_movie_reviews()
    write_tsv(folder / "train.tsv", reviews.train, 300)
    write_tsv(folder / "validation.tsv", reviews.validation, 60)
    write_tsv(folder / "test.tsv", reviews.test, 100)
    out, err = run(
        "train", folder / "train.tsv", "-o", folder / "model.safetensors", "--validation", folder / "validation.tsv",
        *SMALL,
    )  # fmt: skip
    assert out == ""
    assert f"{folder / 'train.tsv'}: 300 examples; labels negative, positive (TSV without header" in err
    assert "epoch 2/2: loss" in err
    assert err.endswith(f"saved to {folder / 'model.safetensors'}\n")
    return folder


@pytest.fixture(scope="module")
def model(work):
    return work / "model.safetensors"


# ------------------------------------------------------------------------------------------------ help, wrong usage


@pytest.mark.subprocess
def test_version_and_help():
    assert run("--version") == (f"clstm {clstm.__version__}\n", "")
    out, err = run("--help", COLUMNS="80")
    assert err == ""
    assert all(f"\n    {command} " in out for command in COMMANDS)
    assert "exit status: 0 done, 1 failed, 2 wrong usage" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main([command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"usage: clstm {command} ")
    assert err == ""
    assert all(option in out for option in ("--json", "--threads", "--debug"))
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["nonsense"], "invalid choice: 'nonsense'"),
        (["config", "extra"], "unrecognized arguments: extra"),
        (["config", "--nonsense"], "unrecognized arguments: --nonsense"),
        (["config", "--js"], "unrecognized arguments: --js"),
        (["config", "--threads", "0"], "'0' is not an integer from 1"),
        (["config", "--threads", "two"], "'two' is not an integer from 1"),
        (["train", "data.tsv"], "required: -o/--output"),
        (["train", "-o", "model"], "required: DATA"),
        (["train", "data.tsv", "-o", "model", "--lr", "nan"], "'nan' is not a number from 0"),
        (["train", "data.tsv", "-o", "model", "--pooling", "sum"], "invalid choice: 'sum'"),
        (["train", "data.tsv", "-o", "model", "--format", "xml"], "invalid choice: 'xml'"),
        (["train", "data.tsv", "-o", "model", "--seed", "-1"], "'-1' is not an integer from 0"),
        (["predict"], "required: MODEL"),
        (["predict", "model"], "give one of TEXT, -f FILE, or -"),
        (["predict", "model", "text", "-f", "file"], "give one of TEXT, -f FILE, or -"),
        (["predict", "model", "text", "--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_wrong_usage(capsys, arguments, message):
    assert cli.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("usage: clstm")
    assert message in err.splitlines()[-1]


def test_wrong_usage_of_the_program():
    out, err = run("predict", status=2)
    assert out == ""
    assert "clstm predict: error: " in err


def test_every_argument_of_the_classifier_is_an_option():
    names = {setting.name for setting in TASKS["text"].settings}
    assert names == set(TextClassifier().get_params()) - {"seed", "verbose", "num_threads"}


# -------------------------------------------------------------------------------------------------------- training


def test_train_saves_the_best_epoch_and_prints_json(work, tmp_path):
    out, err = run(
        "train", work / "train.tsv", "-o", tmp_path / "a.model", "--validation", work / "validation.tsv", "--json",
        "--quiet", *SMALL,
    )  # fmt: skip
    result = json.loads(out)
    assert result["model"] == str(tmp_path / "a.model")
    assert (result["examples"], result["labels"]) == (300, ["negative", "positive"])
    assert len(result["history"]["train_loss"]) == 2
    assert result["history"]["best_epoch"] in (1, 2)
    assert result["seconds"] > 0
    assert "epoch" not in err  # quiet
    assert "300 examples" in err


def test_same_command_gives_the_same_weights(work, model, tmp_path):
    for seed in (0, 1):
        run(
            "train", work / "train.tsv", "-o", tmp_path / f"{seed}", "--validation", work / "validation.tsv",
            "--seed", seed, *SMALL,
        )  # fmt: skip
    first, again, other = (load_model(path).arrays for path in (model, tmp_path / "0", tmp_path / "1"))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["fc.weight"], other["fc.weight"])


def test_options_reach_the_classifier(work, tmp_path):
    path = tmp_path / "model"
    options = {
        "vocab_size": 50, "embedding_dim": 3, "hidden_size": 5, "num_layers": 2, "pooling": "mean", "dropout": 0.25,
        "word_dropout": 0.125, "embedding_std": 0.5, "batch_size": 64, "lr": 0.01, "clip_norm": 2.0, "ema_decay": 0.5,
        "patience": 1, "validation_fraction": 0.25, "max_length": 7, "seed": 3,
    }  # fmt: skip
    given = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]
    run("train", work / "train.tsv", "-o", path, "--no-bidirectional", "--epochs", 3, "--threads", 2, *given)
    expected = {**options, "bidirectional": False, "n_epochs": 3, "num_threads": None, "verbose": 1, "start": None}
    assert TextClassifier.load(path).get_params() == expected


def test_train_on_named_columns_from_standard_input(tmp_path):
    table = "id,verdict,body\n" + "".join(
        f'{i},{"yn"[i % 2]},"{"good" if i % 2 else "bad"}, it is"\n' for i in range(40)
    )
    options = ("--format", "csv", "--text-column", "body", "--label-column", "verdict")
    _, err = run("train", "-", "-o", tmp_path / "model", *options, *SMALL, input=table)
    assert "standard input: 40 examples; labels n, y (CSV with header, text in column 3, label in column 2)" in err


def test_training_errors(work, tmp_path):
    def train_fails(message, content, *options):
        data = tmp_path / "data.tsv"
        data.write_bytes(content)
        fails(message, "train", data, "-o", tmp_path / "model", *options)
        assert not (tmp_path / "model").exists()

    name = tmp_path / "data.tsv"
    train_fails(f"{name}: is empty", b"")
    train_fails(f"{name}:2: not UTF-8 (byte 0xe9)", b"a\tx\nb\tcaf\xe9\n")
    train_fails(f"{name}:3: has 1 column, but the first row has 2", b"a\tx\na\ty\nb\n")
    train_fails("nothing but 'a', expected at least two different labels", b"a\tx\na\ty\n")
    train_fails("no words", b"a\t.\nb\t;\nb\t,\n")
    missing = tmp_path / "missing.tsv"
    fails(f"{missing}: No such file or directory", "train", missing, "-o", tmp_path / "model")
    fails(f"{tmp_path}: Is a directory", "train", tmp_path, "-o", tmp_path / "model")


def test_validation_label_that_training_lacks(work, tmp_path):
    (tmp_path / "other.tsv").write_text("positive\tx\nneutral\ty\nneutral\tz\n")
    files = ("train", work / "train.tsv", "-o", tmp_path / "model", "--validation", tmp_path / "other.tsv")
    fails("'neutral'", *files, *SMALL)


@posix
def test_place_of_the_model_is_checked_before_training(capsys, tmp_path):
    data = tmp_path / "missing.tsv"  # would fail too, but later

    def refused(path, message):
        assert cli.main(["train", str(data), "-o", str(path)]) == 1
        assert message in capsys.readouterr().err

    refused(tmp_path, "is a folder, expected a file")
    refused("", "is a folder, expected a file")
    refused(tmp_path / "no" / "model", "no such folder")
    refused("/dev/full", "not a regular file")
    if os.geteuid():  # root may write anywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        refused(tmp_path / "locked" / "model", "not allowed")


@pytest.mark.subprocess
@posix
def test_disk_full_while_saving_keeps_the_earlier_model(work, model, tmp_path):
    path = tmp_path / "model"
    path.write_bytes(model.read_bytes())
    limited = f"ulimit -f 8; exec {shlex.join(program('train', work / 'train.tsv', '-o', path, *SMALL))}"
    result = subprocess.run(["sh", "-c", limited], capture_output=True, env=environment(), timeout=120)
    assert result.returncode == 1
    assert result.stderr.decode().splitlines()[-1].startswith(f"clstm: error: {path}: File too large")
    assert path.read_bytes() == model.read_bytes()
    assert os.listdir(tmp_path) == ["model"]


@pytest.mark.subprocess
@posix
def test_interrupted_training_saves_the_model(work, tmp_path):
    path = tmp_path / "model"
    process = start("train", work / "train.tsv", "-o", path, *SMALL, "--epochs", "1000")
    while not (line := read_line(process.stderr)).startswith("epoch "):
        pass
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == b""
    last = err.decode().splitlines()[-2:]
    assert last[0].startswith("interrupted: ")
    assert last[1] == f"saved to {path}"
    history = TextClassifier.load(path).history_
    assert history.interrupted
    assert int(line.removeprefix("epoch ").partition("/")[0]) <= history.n_epochs < 1000


# ------------------------------------------------------------------------------------------------------- prediction


@pytest.mark.smoke
def test_predict_texts(work, model):
    texts = ["A gripping story, beautifully told.", "dull", ""]
    expected = TextClassifier.load(model).predict(texts).tolist()
    out, err = run("predict", model, *texts)
    assert out.splitlines() == expected
    assert err == ""


def test_predict_probabilities(model):
    out, _ = run("predict", model, "--proba", "a fine film", "--threads", "1", "--", "--proba")
    rows = [line.split("\t") for line in out.splitlines()]
    assert len(rows) == 2
    for row, expected in zip(rows, TextClassifier.load(model).predict_proba(["a fine film", "--proba"]), strict=True):
        assert {row[0], row[2]} == {"negative", "positive"}
        assert float(row[1]) >= float(row[3])
        assert float(row[1]) == pytest.approx(expected.max(), abs=1e-4)


def test_predict_json(model):
    out, _ = run("predict", model, "a fine film", "dull", "--json", "--proba")
    rows = [json.loads(line) for line in out.splitlines()]
    for row, expected in zip(rows, TextClassifier.load(model).predict_proba(["a fine film", "dull"]), strict=True):
        assert row["label"] == max(row["probabilities"], key=row["probabilities"].get)
        assert row["probabilities"] == dict(zip(["negative", "positive"], expected.tolist(), strict=True))
    assert run("predict", model, "dull", "--json")[0] == json.dumps({"label": rows[1]["label"]}) + "\n"


def test_predict_a_line_for_each_line(model, tmp_path):
    texts = [*load_movie_reviews().test.texts[:50], "", "  ", "last"]
    expected = "".join(label + "\n" for label in TextClassifier.load(model).predict(texts))
    file = tmp_path / "texts.txt"
    file.write_text("\n".join(texts), "utf-8")
    assert run("predict", model, "-f", file) == (expected, "")
    assert run("predict", model, "-", input="\n".join(texts) + "\n") == (expected, "")
    assert run("predict", "--file", "-", model, input="\r\n".join(texts)) == (expected, "")
    assert run("predict", model, "-", input="") == ("", "")


@pytest.mark.subprocess
def test_predict_answers_each_line_at_once(model):
    process = start("predict", model, "-")
    for text in ("good", "bad", ""):
        process.stdin.write(text.encode() + b"\n")
        process.stdin.flush()
        assert read_line(process.stdout) in ("negative", "positive")
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == (b"", b"", 0)


def test_predict_bad_input(model, tmp_path):
    file = tmp_path / "texts.txt"
    file.write_bytes(b"fine\nfine\ncaf\xe9\nfine\n")
    out, err = run("predict", model, "-f", file, status=1)
    assert len(out.splitlines()) == 2  # of the lines before
    assert err == f"clstm: error: {file}:3: not UTF-8 (byte 0xe9); convert it first\n"
    fails(f"{tmp_path / 'missing.txt'}: No such file", "predict", model, "-f", tmp_path / "missing.txt")


@pytest.mark.subprocess
def test_predict_takes_any_bytes_as_argument(model):
    if os.name == "posix":
        result = subprocess.run([*program("predict", model), b"caf\xe9 \xff"], capture_output=True, env=environment())
        assert result.returncode == 0
        assert result.stdout.decode().strip() in ("negative", "positive")


@pytest.mark.subprocess
def test_labels_are_written_in_utf_8_whatever_the_locale(tmp_path):
    path = tmp_path / "model"
    texts = ["gut", "schlecht", "sehr gut", "sehr schlecht"] * 4
    classifier = TextClassifier(embedding_dim=4, hidden_size=4, n_epochs=1, seed=0, verbose=0)
    classifier.fit(texts, ["größer als 0", "kleiner\nals 0"] * 8).save(path)
    options = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    out, _ = run("predict", path, *texts, **options)
    assert set(out.splitlines()) <= {"größer als 0", "kleiner als 0"}
    out, _ = run("predict", path, "--json", *texts, **options)
    assert {json.loads(line)["label"] for line in out.splitlines()} <= {"größer als 0", "kleiner\nals 0"}


def test_integer_labels_stay_integers(tmp_path):
    path = tmp_path / "model"
    classifier = TextClassifier(embedding_dim=4, hidden_size=4, n_epochs=1, seed=0, verbose=0)
    classifier.fit(["good", "bad"] * 8, [1, 0] * 8).save(path)
    assert json.loads(run("predict", path, "good", "--json")[0])["label"] in (0, 1)
    (tmp_path / "data.csv").write_text("text,label\ngood,1\nbad,0\n")
    assert json.loads(run("test", path, tmp_path / "data.csv", "--json")[0])["examples"] == 2


@pytest.mark.subprocess
@posix
def test_interrupted_prediction_ends_quietly(model):
    process = start("predict", model, "-")
    process.stdin.write(b"good\n")
    process.stdin.flush()
    read_line(process.stdout)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == (b"", b"", 130)


# ------------------------------------------------------------------------------------------- standard output and error


@pytest.mark.subprocess
@posix
def test_broken_pipe_ends_quietly(model, tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("a fine film\n" * 50_000)
    with start("predict", model, "-f", file, "--proba") as process:
        read_line(process.stdout)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


@pytest.mark.subprocess
@posix
def test_broken_pipe_of_help():
    result = subprocess.run(
        ["sh", "-c", f"{shlex.join(program('train', '--help'))} | true"], capture_output=True, env=environment()
    )
    assert result.stderr == b""


@pytest.mark.subprocess
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("command", ["predict", "config", "help"])
def test_full_disk(model, command):
    arguments = {"predict": ("predict", model, "good"), "config": ("config",), "help": ("--help",)}[command]
    with open("/dev/full", "wb") as full:
        result = subprocess.run(program(*arguments), stdout=full, stderr=subprocess.PIPE, env=environment())
    assert result.returncode == 1
    assert result.stderr == b"clstm: error: can't write to standard output: No space left on device\n"


@pytest.mark.subprocess
@posix
def test_closed_streams(work, model, tmp_path):
    def shell(redirection, *arguments, status):
        command = f"exec {shlex.join(program(*arguments))} {redirection}"
        result = subprocess.run(["sh", "-c", command], capture_output=True, env=environment(), timeout=60)
        assert result.returncode == status, result.stderr
        return result.stdout.decode(), result.stderr.decode()

    assert shell(">&-", "predict", model, "good", status=1) == ("", "clstm: error: standard output is closed\n")
    assert shell(">&-", "config", status=1) == ("", "clstm: error: standard output is closed\n")
    assert shell("<&-", "predict", model, "-", status=1) == ("", "clstm: error: standard input is closed\n")
    path = tmp_path / "model"
    assert shell("2>&-", "train", work / "train.tsv", "-o", path, *SMALL, status=0) == ("", "")
    assert load_model(path).kind == "TextClassifier"
    out, _ = shell("2>&-", "predict", path, "good", status=0)
    assert out.strip() in ("negative", "positive")
    path.unlink()
    _, err = shell(">&-", "train", work / "train.tsv", "-o", path, *SMALL, status=0)
    assert err.endswith(f"saved to {path}\n")
    assert load_model(path).kind == "TextClassifier"


# ------------------------------------------------------------------------------------------------------- other commands


def test_test(work, model):
    out, err = run("test", model, work / "test.tsv")
    result = json.loads(run("test", model, work / "test.tsv", "--json")[0])
    lines = [line.split("\t") for line in (work / "test.tsv").read_text("utf-8").splitlines()]
    labels = np.array([label for label, _ in lines])
    predicted = TextClassifier.load(model).predict([text for _, text in lines])
    assert result["accuracy"] == np.mean(labels == predicted)
    assert (result["correct"], result["examples"]) == ((labels == predicted).sum(), 100)
    assert list(result["labels"]) == ["negative", "positive"]
    for name, row in result["labels"].items():
        hits = ((labels == name) & (predicted == name)).sum()
        assert row["recall"] == hits / (labels == name).sum()
        assert row["precision"] == (hits / (predicted == name).sum() if (predicted == name).any() else None)
        assert (row["examples"], row["predicted"]) == ((labels == name).sum(), (predicted == name).sum())
    first, _, header, *rows = out.splitlines()
    assert first == f"accuracy {result['accuracy']:.2%} ({result['correct']} of 100)"
    assert header.split() == ["label", "precision", "recall", "examples"]
    assert [row.split()[0] for row in rows] == ["negative", "positive"]
    assert "100 examples" in err


def test_test_with_a_label_that_the_model_lacks(model):
    data = '{"text": "so so", "label": "neutral"}\n{"text": "fine", "label": "positive"}\n'
    out, err = run("test", model, "-", "--json", input=data)
    assert "labels that the model doesn't know, so never predicts: neutral" in err
    row = json.loads(out)["labels"]["neutral"]
    assert row == {"precision": None, "recall": 0.0, "examples": 1, "predicted": 0}


def test_info(work, model):
    result = json.loads(run("info", model, "--json")[0])
    classifier = TextClassifier.load(model)
    assert result["model"] == str(model)
    assert result["bytes"] == model.stat().st_size
    assert result["clstm"] == clstm.__version__
    assert result["labels"] == ["negative", "positive"]
    assert result["vocabulary"] == len(classifier.vocabulary_.words)
    assert result["parameters"] == sum(array.size for array in load_model(model).arrays.values())
    assert result["settings"]["hidden_size"] == 8
    assert len(result["history"]["train_loss"]) == 2
    out, err = run("info", model)
    assert err == ""
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert lines["labels"] == "negative, positive"
    assert lines["training"].startswith("2 epochs in ")
    assert lines["hidden_size"] == "8"


def test_bad_models(model, tmp_path):
    whole = model.read_bytes()
    path = tmp_path / "bad.safetensors"
    fails(f"{path}: No such file or directory", "info", path)
    for content in (b"", b"not a model at all", whole[:-1], whole[:1000]):
        path.write_bytes(content)
        fails("bad.safetensors", "predict", path, "good")
    fails("Is a directory", "test", tmp_path, "-", input="x")


@pytest.mark.subprocess
def test_config(tmp_path):
    out, err = run("config", "--threads", "3")
    assert err == ""
    found = json.loads(run("config", "--threads", "3", "--json")[0])
    assert found["clstm"] == clstm.__version__
    assert f"instruction set: {found['instruction_set']}" in out
    if found["openmp"]:
        assert (found["threads"], found["threads_from"]) == (3, "set_num_threads")
        assert json.loads(run("config", "--json", OMP_NUM_THREADS="1")[0])["threads"] == 1
        fails("CLSTM_NUM_THREADS is 'many', expected an integer from 1", "config", CLSTM_NUM_THREADS="many")


@pytest.mark.subprocess
def test_debug_shows_the_traceback(tmp_path):
    result = subprocess.run(program("info", tmp_path / "no", "--debug"), capture_output=True, env=environment())
    assert result.returncode == 1
    assert b"Traceback" in result.stderr
    assert b"FileNotFoundError" in result.stderr


def test_demo_and_its_second_command(tmp_path):
    path = tmp_path / "a model.safetensors"
    out, err = run("demo", "--model", path, *SMALL, "--epochs", "1", "--batch-size", "128")
    assert "movie reviews: 8,465 sentences to train on, 1,033 to choose the best epoch by, 1,107 to test" in err
    assert "epoch 1/1: loss" in err
    accuracy = float(out.split()[2].rstrip("%,")) / 100
    test = load_movie_reviews().test
    assert out.startswith("test accuracy ")
    assert accuracy == pytest.approx(TextClassifier.load(path).score(test.texts, test.labels), abs=0.0006)
    sentences = [text for text in test.texts if text in out]
    assert len(sentences) == 8
    command = out.splitlines()[-1].strip()
    name, *arguments = shlex.split(command)
    assert (name, arguments[:2]) == ("clstm", ["predict", str(path)])
    assert run(*arguments)[0].strip() in ("negative", "positive")


@pytest.mark.subprocess
def test_demo_with_the_sizes_of_the_faq(tmp_path):
    out, _ = run(
        "demo", "--faq", "--json", "--hidden-size", "4", "--epochs", "1", "--batch-size", "128", folder=tmp_path
    )
    result = json.loads(out)
    assert result["model"] == "clstm-demo.safetensors"
    assert 0.4 < result["test_accuracy"] < 0.9
    assert len(result["sentences"]) == 8
    assert set(result["sentences"][0]) == {"text", "label", "predicted", "probability"}
    classifier = TextClassifier.load(tmp_path / "clstm-demo.safetensors")
    params = classifier.get_params()
    assert (params["vocab_size"], params["embedding_dim"], params["num_layers"]) == (5000, 100, 2)
    assert (params["pooling"], params["bidirectional"], params["hidden_size"]) == ("last", False, 4)
    assert (params["embedding_std"], params["seed"]) == (0.1, 0)
    assert len(classifier.vocabulary_) == 5000


# ------------------------------------------------------------------------------------------------------- what it loads


@pytest.mark.subprocess
@pytest.mark.parametrize("command", ["predict", "config"])
def test_commands_load_nothing_optional(model, command):
    arguments = ["predict", str(model), "good"] if command == "predict" else ["config"]
    code = f"import sys; from clstm.cli import main; main({arguments!r}); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment())
    loaded = {name.partition(".")[0] for name in result.stdout.splitlines()[-1].split()}
    assert "numpy" in loaded
    unwanted = {"scipy", "tqdm", "sklearn", "matplotlib", "torch", "pandas"}
    if command == "predict" and backend.isa() == "portable":
        unwanted.remove("scipy")  # its BLAS does the work
    assert not loaded & unwanted
