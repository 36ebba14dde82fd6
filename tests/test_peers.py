"""The comparison with other libraries: that it compares results, and runs."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import clstm


@pytest.fixture
def peers(monkeypatch):
    """The modules of benchmarks/peers by name, with turns that take no time."""
    monkeypatch.syspath_prepend(Path(__file__).resolve().parent.parent)
    names = ("measure", "problems", "systems", "timing", "__main__")
    modules = {name.strip("_"): importlib.import_module(f"benchmarks.peers.{name}") for name in names}
    monkeypatch.setattr(modules["timing"], "PAUSE", 0.001)
    monkeypatch.setattr(modules["timing"], "SAMPLE", 0.001)
    return modules


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    num_threads = torch.get_num_threads()
    yield torch
    torch.set_num_threads(num_threads)


def missing(peers, monkeypatch, *names):
    for peer in peers["systems"].PEERS:
        for package in set(peer.packages) & set(names):
            monkeypatch.setitem(sys.modules, package, None)


CASES = (
    {},
    {"lengths": (1, 6)},
    {"bidirectional": True, "num_layers": 2},
    {"bidirectional": True, "num_layers": 2, "lengths": (1, 6)},
    {"dtype": "float64", "num_layers": 2},
)


@pytest.mark.parametrize("mode", ["inference", "training"])
@pytest.mark.parametrize("options", CASES, ids=str)
def test_every_system_computes_the_same(peers, torch, mode, options):
    problem = peers["problems"].Problem(peers["problems"].Case(6, 4, 5, 7, **options), mode)
    ours = peers["systems"].Clstm()
    ours.prepare(problem, 1)
    expected = ours.arrays(ours.run())
    for system in (peer() for peer in peers["systems"].PEERS if peer.available()):
        if system.supports(problem):
            system.prepare(problem, 1)
            assert peers["measure"].difference(system.arrays(system.run()), expected) < 1e-6


def test_command_writes_a_table_and_a_report(peers, torch, tmp_path, capsys):
    path = tmp_path / "peers.json"
    arguments = ["--shapes", "5,2,3,4", "--threads", "1", "--rounds", "3", "--json", str(path)]
    assert peers["main"].main(arguments) == 0
    report = json.loads(path.read_text(encoding="utf-8"))
    assert [result["mode"] for result in report["results"]] == ["inference", "training"]
    for result in report["results"]:
        assert result["differences"]["PyTorch"] < 1e-6
        assert {len(times) for times in result["seconds"].values()} == {3}
        assert set(result["seconds"]) == {"clstm", *result["ratios"]}
        assert result["ratios"]["PyTorch"]["low"] <= result["ratios"]["PyTorch"]["median"]
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 5, 2, 3, 4")]
    assert len(rows) == 2


def test_nothing_is_timed_where_results_differ(peers, monkeypatch, capsys):
    class Other(peers["systems"].Clstm):
        name = "other"

        def run(self):
            return {name: array + np.float32(0.001) for name, array in super().run().items()}

    monkeypatch.setattr(peers["systems"], "PEERS", (Other,))
    monkeypatch.setattr(Other, "packages", ("numpy",))
    monkeypatch.setattr(peers["timing"], "sample", lambda *_: pytest.fail("timed"))
    assert peers["main"].main(["--shapes", "5,2,3,4", "--threads", "1", "--mode", "inference"]) == 1
    assert "5, 2, 3, 4 (inference): other and clstm differ by 1.0e-03" in capsys.readouterr().err


def test_differences_are_relative_for_large_numbers_and_keep_nan(peers):
    difference = peers["measure"].difference
    expected = {"y": np.array([0.5, 1.0]), "dx": np.array([100.0, 0.0])}
    assert difference({"y": np.array([0.5, 0.9]), "dx": np.array([100.0, 0.0])}, expected) == pytest.approx(0.1)
    assert difference({"y": np.array([0.5, 1.0]), "dx": np.array([100.0, 2.0])}, expected) == pytest.approx(0.02)
    assert np.isnan(difference({"y": np.array([0.5, np.nan]), "dx": np.array([100.0, 0.0])}, expected))
    with pytest.raises(peers["measure"].DisagreementError, match="results are"):
        difference({"y": expected["y"]}, expected)
    with pytest.raises(peers["measure"].DisagreementError, match="shape"):
        difference({**expected, "y": np.zeros(3)}, expected)


def test_missing_peers_are_named_with_the_extra_and_left_out(peers, monkeypatch, capsys):
    missing(peers, monkeypatch, "torch", "onnx", "onnxruntime")
    assert peers["main"].main(["--shapes", "5,2,3,4", "--threads", "1", "--rounds", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "peers: PyTorch is left out, for torch is missing: pip install 'clstm-cpu[peers]'",
        "peers: ONNX Runtime is left out, for onnxruntime and onnx is missing: pip install 'clstm-cpu[peers]'",
    ]
    assert captured.out.count("| 5, 2, 3, 4") == 2


def test_ratios_pair_the_times_of_a_round(peers):
    found = peers["measure"].ratio([2.0, 40.0, 3.0], [1.0, 10.0, 1.0])  # the second round was disturbed
    assert found["median"] == 3.0
    results = [{"mode": "training", "threads": 1, "ratios": {"PyTorch": {"median": median}}} for median in (1.0, 4.0)]
    (line,) = peers["measure"].summary(results)
    assert (line["geometric_mean"], line["least"], line["cases"]) == (pytest.approx(2.0), 1.0, 2)


def test_work_is_counted_over_real_steps_of_all_layers(peers):
    case = peers["problems"].Case(6, 4, 5, 7, num_layers=2, bidirectional=True, lengths=(1, 6))
    problem = peers["problems"].Problem(case, "training")
    assert problem.lengths.max() == 6
    multiply_adds = sum(weight.size for name, weight in problem.weights.items() if name.startswith("weight"))
    assert problem.flops == 3 * 2 * multiply_adds * problem.lengths.sum()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--shapes", "1,2,3"], "1,2,3"),
        (["--shapes", "1,2,3,0"], "1,2,3,0"),
        (["--shapes", "1,2,3,x"], "1,2,3,x"),
        (["--rounds", "0"], "--rounds"),
        (["--clock", "processor", "--threads", "2"], "--clock processor"),
    ],
)
def test_wrong_usage_is_named(peers, arguments, named, capsys):
    with pytest.raises(SystemExit) as caught:
        peers["main"].main(arguments)
    assert caught.value.code == 2
    assert named in capsys.readouterr().err


def test_a_number_of_threads_that_was_not_taken_is_an_error(peers, monkeypatch):
    monkeypatch.setattr(clstm.threads, "_one_because", "built without OpenMP")
    problem = peers["problems"].Problem(peers["problems"].Case(2, 1, 2, 2), "inference")
    with pytest.raises(RuntimeError, match="clstm has 1 threads, not 2"):
        peers["systems"].Clstm().prepare(problem, 2)


def test_picture_shows_every_mode_and_number_of_threads(peers, tmp_path):
    pytest.importorskip("matplotlib")
    picture = importlib.import_module("benchmarks.peers.picture")
    results = [
        {"case": {"label": label}, "mode": mode, "threads": count, "gflops": {"clstm": 2.0, "PyTorch": 1.0}}
        for label in ("a", "b")
        for mode in ("inference", "training")
        for count in (1, 2)
    ]
    picture.draw(tmp_path / "peers.png", results)
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")
