"""The comparison with other libraries: that it compares results, and runs."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import clstm
from clstm._core import backend

ROOT = Path(__file__).resolve().parents[2]
# JAX stays out of this process: after it, every fork is a warning. It has a test of its own, in another process.
HERE = ("PyTorch", "ONNX Runtime", "OpenVINO")


@pytest.fixture
def peers(monkeypatch):
    """The modules of benchmarks/peers by name, with turns that take no time."""
    monkeypatch.syspath_prepend(ROOT)
    names = (
        "environment",
        "grids",
        "measure",
        "memory",
        "problems",
        "roofline",
        "summary",
        "systems",
        "timing",
        "pages",
        "__main__",
    )
    modules = {name.strip("_"): importlib.import_module(f"benchmarks.peers.{name}") for name in names}
    monkeypatch.setattr(modules["timing"], "PAUSE", 0.001)
    monkeypatch.setattr(modules["timing"], "SAMPLE", 0.001)
    monkeypatch.setattr(modules["timing"], "ATTEMPTS", 1)
    monkeypatch.setattr(modules["roofline"], "SAMPLE", 0.0001)
    monkeypatch.setattr(modules["roofline"], "ROUNDS", 1)
    monkeypatch.setattr(modules["roofline"], "LARGEST", 1 << 20)
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


@pytest.mark.peer
@pytest.mark.parametrize("mode", ["inference", "training", "stream", "classifier"])
@pytest.mark.parametrize("options", CASES, ids=str)
@pytest.mark.parametrize("name", HERE)
def test_every_system_computes_the_same(peers, torch, name, mode, options):
    (system,) = (peer() for peer in peers["systems"].PEERS if peer.name == name)
    for package in system.packages:
        pytest.importorskip(package)
    if mode == "stream":
        options = {key: value for key, value in options.items() if key in ("num_layers", "dtype")}
    problem = peers["problems"].Problem(peers["problems"].Case(6, 4, 5, 7, **options), mode)
    if not system.supports(problem):
        assert problem.trains or problem.case.dtype == "float64"
        assert name != "PyTorch"
        return
    for_threads = clstm.get_num_threads()
    ours = peers["systems"].Clstm()
    ours.prepare(problem, 1)
    system.prepare(problem, 1)
    clstm.set_num_threads(for_threads)
    expected = ours.arrays(ours.run())
    assert peers["measure"].difference(system.arrays(system.run()), expected) < 1e-6
    if mode == "stream":  # it starts from the initial state again
        assert peers["measure"].difference(system.arrays(system.run()), expected) < 1e-6


@pytest.mark.subprocess
def test_jax_and_keras_compute_the_same(tmp_path):
    for package in ("jax", "keras"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"could not import {package!r}")
    path = tmp_path / "peers.json"
    command = [sys.executable, "-m", "benchmarks.peers", "--grid", "quick", "--peers", "JAX", "Keras", "--rounds", "1"]
    command += ["--json", str(path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    results = json.loads(path.read_text(encoding="utf-8"))["results"]
    for result in results:
        wanted = {"classifier": set(), "stream": {"JAX"}}.get(result["mode"], {"JAX", "Keras"})
        assert set(result["differences"]) == wanted
        assert all(
            settings["pool"] == result["threads"] for settings in result["settings"].values() if "pool" in settings
        )
        assert max(result["differences"].values(), default=0.0) < 1e-5


@pytest.mark.peer
def test_command_writes_a_table_and_a_report(peers, torch, tmp_path, capsys):
    path, markdown = tmp_path / "peers.json", tmp_path / "peers.md"
    arguments = ["--shapes", "5,2,3,4", "--threads", "1", "--rounds", "3", "--peers", *HERE]
    assert peers["main"].main([*arguments, "--json", str(path), "--markdown", str(markdown)]) == 0
    report = json.loads(path.read_text(encoding="utf-8"))
    assert [result["mode"] for result in report["results"]] == ["inference", "training"]
    for result in report["results"]:
        assert result["differences"]["PyTorch"] < 1e-6
        assert {len(times) for times in result["seconds"].values()} == {3}
        assert set(result["seconds"]) == {"clstm", *result["ratios"]}
        assert result["ratios"]["PyTorch"]["low"] <= result["ratios"]["PyTorch"]["median"]
        assert result["ratio"] == min(found["median"] for found in result["ratios"].values())
        assert result["ratio"] == result["ratios"][result["best"]]["median"]
        if backend.isa() != "portable":
            assert set(result["shares"]) == set(result["seconds"])
            assert result["shares"]["clstm"] == pytest.approx(result["gflops"]["clstm"] / result["roofline"])
    if backend.isa() != "portable":
        (limits,) = report["limits"]
        assert min(limits["peak_gflops"].values()) > 0
        assert limits["threads"] == 1
        assert {"L1", "L2"} <= set(limits["read_gb_per_s"])
    assert {"versions", "processor", "load", "caches", "command", "instruction_set"} <= set(report)
    assert [line["mode"] for line in report["summary"]] == ["inference", "training"]
    written = markdown.read_text(encoding="utf-8").splitlines()
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| 5, 2, 3, 4")]
    assert len(rows) == 2
    assert [line for line in written if line.startswith("| 5, 2, 3, 4")] == rows


def test_the_standard_grid_covers_what_it_must(peers):
    grid = peers["grids"].grid("standard")
    assert set(grid) == set(peers["problems"].MODES)
    for mode in ("inference", "training"):
        cases = grid[mode]
        for name, least, greatest in (
            ("batch", 1, 512),
            ("hidden_size", 16, 2048),
            ("time", 1, 4096),
            ("num_layers", 1, 4),
        ):
            values = [getattr(case, name) for case in cases]
            assert (min(values), max(values)) == (least, greatest)
        assert {case.dtype for case in cases} == {"float32", "float64"}
        assert any(case.bidirectional for case in cases)
        ragged = [
            (case.batch, case.hidden_size) for case in cases if case.lengths == (10, 100) and not case.bidirectional
        ]
        assert ragged == [(32, 256), (64, 128)]
        assert len(set(cases)) == len(cases)


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
    missing(peers, monkeypatch, "torch", "onnx", "onnxruntime", "openvino", "jax", "keras")
    assert peers["main"].main(["--shapes", "5,2,3,4", "--threads", "1", "--rounds", "1"]) == 0
    captured = capsys.readouterr()
    assert captured.err.splitlines() == [
        "peers: PyTorch is left out, for torch is missing: pip install 'clstm-cpu[peers]'",
        "peers: ONNX Runtime is left out, for onnxruntime and onnx is missing: pip install 'clstm-cpu[peers]'",
        "peers: OpenVINO is left out, for openvino and onnx is missing: pip install 'clstm-cpu[peers]'",
        "peers: JAX is left out, for jax is missing: pip install 'clstm-cpu[peers-all]'",
        "peers: Keras is left out, for keras and jax is missing: pip install 'clstm-cpu[peers-all]'",
    ]
    assert captured.out.count("| 5, 2, 3, 4") == 2
    assert "inference, float32, 1 thread**: no peer" in captured.out


@pytest.mark.subprocess
def test_asv_finds_every_benchmark_without_the_peers():
    # `asv continuous` installs neither peers nor extras where it runs, and imports every file
    root = Path(__file__).resolve().parents[2]
    files = sorted((root / "benchmarks").rglob("*.py"))
    modules = [".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__") for file in files]
    modules = [module for module in modules if not module.endswith("__main__")]
    assert {"benchmarks.ctc", "benchmarks.inference", "benchmarks.peers.systems.xla"} <= set(modules)
    absent = "torch onnxruntime openvino jax keras h5py matplotlib sklearn pandas polars narwhals sacrebleu asv_runner"
    code = f"import importlib, sys; sys.modules.update(dict.fromkeys({absent.split()!r}))"
    code += f"; [importlib.import_module(module) for module in {modules!r}]"
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_reports_become_tables_of_both_numbers_of_threads(peers):
    def measured(label, ratio, threads):
        found = result(label, "JAX", ratio, {"clstm": 0.5, "JAX": 0.4}, "inference", threads)
        return found | {"gflops": {"clstm": 10.0 * threads}, "attained": 0.6}

    results = [measured("a", 2.0, 1), measured("b", 1.0, 1), measured("b", 3.0, 2)]
    report = dict.fromkeys(("date", "processor", "instruction_set", "load", "load_at_end", "command"), "x")
    text = peers["pages"].page([report | {"versions": {"jax": "1"}, "results": results}])
    assert "| a | 10 | 2.00 | 50 | 60 |" in text
    assert "| b | 10 / 20 | 1.00 / 3.00 | 50 / 50 | 60 / 60 |" in text
    assert "| inference, float32, to JAX | 2 | 1.41 / 3.00 | 1.00 / 3.00 |" in text


def test_ratios_pair_the_times_of_a_round(peers):
    found = peers["measure"].ratio([2.0, 40.0, 3.0], [1.0, 10.0, 1.0])  # the second round was disturbed
    assert found["median"] == 3.0


def result(label, peer, ratio, shares=None, mode="training", threads=1):
    ratios = {peer: {"median": ratio, "low": ratio, "high": ratio}}
    case = {"label": label, "dtype": "float32"}
    return {
        "case": case, "mode": mode, "threads": threads, "ratios": ratios, "best": peer, "ratio": ratio,
        "shares": shares or {},
    }  # fmt: skip


def test_summary_names_what_is_behind_and_what_is_slower_than_wanted(peers):
    results = [
        result("a", "PyTorch", 4.0, {"clstm": 0.4, "PyTorch": 0.1}),
        result("b", "PyTorch", 1.0, {"clstm": 0.80, "PyTorch": 0.80}),
        result("c", "JAX", 0.9, {"clstm": 0.95, "JAX": 0.99}),
        result("d", "JAX", 0.98),
        result("a", "JAX", 1.0, threads=2),
    ]
    one, two = peers["summary"].summary(results)
    assert (one["threads"], two["threads"]) == (1, 2)
    assert (one["cases"], one["least"], one["geometric_mean"]) == (4, 0.9, pytest.approx((4 * 0.9 * 0.98) ** 0.25))
    assert one["behind"] == [{"label": "c", "peer": "JAX", "ratio": 0.9}]
    assert (one["open"]["cases"], one["open"]["geometric_mean"]) == (2, pytest.approx((4 * 0.98) ** 0.5))
    assert (one["contested"], one["contested_reached"]) == (2, 1)
    assert one["bound"] == pytest.approx(one["geometric_mean"])  # what is attainable isn't known
    half = peers["summary"].summary([results[0] | {"attained": 0.5}, results[1] | {"attained": 1.1}])[0]
    assert half["bound"] == pytest.approx((4 / 0.5 * 1) ** 0.5)
    measured = [
        given | {"shares": {name: np.float64(share) for name, share in given["shares"].items()}} for given in results
    ]
    assert json.loads(json.dumps(peers["summary"].summary(measured)))[0]["contested_reached"] == 1
    assert one["targets"] == {"ratio": 1, "": 2, "roofline": 1}
    assert [(case["label"], case["met"]) for case in one["slower"]] == [("b", ""), ("c", "roofline"), ("d", "")]
    assert one["peers"]["PyTorch"] == {"cases": 2, "geometric_mean": pytest.approx(2.0), "least": 1.0}
    text = "\n".join(peers["summary"].lines([one, two]))
    assert "behind: c: 0.90 to JAX" in text
    assert "1.37 if it attained all that is attainable; 1.98 in the 2 cases in which no peer is above 77%" in text
    assert "b: 1.00, PyTorch at 80% of the roofline, clstm at 80%: no target" in text
    assert "c: 0.90, JAX at 99% of the roofline, clstm at 95%: roofline" in text


def test_the_attainable_counts_where_the_ratio_is_beyond_the_machine(peers):
    met = peers["summary"].met
    near = result("a", "JAX", 1.0, {"clstm": 0.85, "JAX": 0.8})
    assert met(near) == met(near | {"attained": 0.85}) == ""
    assert met(near | {"attained": 0.95}) == "attainable"
    assert met(near | {"attained": 0.92, "ratio": 1.2}) == ""  # 1.3 could be reached, and 1.25 is wanted
    assert met(result("a", "JAX", 1.4, threads=2)) == ""
    assert met(result("a", "JAX", 1.5, threads=2)) == met(result("a", "JAX", 1.3, mode="inference")) == "ratio"


def test_a_disturbed_turn_is_repeated(peers, monkeypatch):
    timing = peers["timing"]
    switches, seconds = iter([0, 5, 5, 8, 8, 9]), iter([3.0, 2.0, 1.0])
    monkeypatch.setattr(timing, "resource", object())
    monkeypatch.setattr(timing, "ATTEMPTS", 4)
    monkeypatch.setattr(timing, "switches", lambda: next(switches))
    monkeypatch.setattr(timing, "sample", lambda *arguments: next(seconds))
    assert timing.quiet_sample(lambda: None, 1) == (1.0, 2)


# ---------------------------------------------------------------------------------------------------- the roofline


@pytest.fixture(params=[(isa, dtype) for isa in backend.available()[:-1] for dtype in ("float32", "float64")], ids=str)
def kernels(request):
    """The dtype, while the kernels of one instruction set are in use."""
    isa, dtype = request.param
    before = backend.isa()
    backend.use(isa)
    yield dtype
    backend.use(before)


def test_kernels_of_the_roofline_do_what_they_count(kernels):
    from clstm._core.vector import roofline as _roofline

    operations, total = _roofline.multiply_add(kernels, 10)
    assert total == operations / 10 / 2  # every lane is 1
    assert total % 8 == 0
    rng = np.random.default_rng(0)
    words = rng.integers(2**64, size=3 * 1024 // 8, dtype=np.uint64)
    for streams in (1, 2, 4):
        assert _roofline.read_memory(words.view(kernels), streams, 3) == 3 * int(words.sum()) % 2**64


def test_kernels_of_the_roofline_refuse_what_they_cant_read(kernels):
    from clstm._core.vector import roofline as _roofline

    words = np.zeros(1024, kernels)
    with pytest.raises(ValueError, match="streams is 3"):
        _roofline.read_memory(words, 3, 1)
    with pytest.raises(ValueError, match="multiple of 1024"):
        _roofline.read_memory(words[:5], 1, 1)
    with pytest.raises(ValueError, match="contiguous"):
        _roofline.read_memory(words[::2], 1, 1)


@pytest.mark.parametrize("num_threads", [1, 2])
def test_limits_are_measured(peers, kernels, num_threads):
    limits = peers["roofline"].limits.__wrapped__(num_threads, "any")
    assert limits.peaks["float32"] > 0
    assert limits.peaks["float64"] > 0
    assert min(limits.bandwidths) == 1 << 14
    assert max(limits.bandwidths) == (1 << 20) // num_threads
    assert min(limits.bandwidths.values()) > 0
    json.dumps(limits.report())


def test_reading_is_as_fast_as_the_set_that_each_thread_reads_allows(peers):
    limits = peers["roofline"].Limits(2, {}, {1024: 100.0, 2048: 10.0, 4096: 20.0})
    assert limits.read(1024) == 1024 / 100  # 512 each: the smallest that was measured
    assert limits.read(4095) == 4095 / 100  # not yet 2048 each
    assert limits.read(4096) == 4096 / 20  # 4096 each were read faster than 2048 each
    assert limits.read(100000) == 100000 / 20
    assert limits.read(100, working_set=100000) == 100 / 20
    assert limits.level(512) == 100


@pytest.mark.parametrize(
    ("mode", "options", "nanoseconds"),
    [
        # a step: 2 * 4 * 8 * 8 = 512 flops, 5.12 ns, but U's 1024 bytes take 10.24; projection 2 * 4 * 8 * 4 * 10 flops
        ("inference", {}, 25.6 + 10 * 10.24),
        ("inference", {"batch": 4}, 4 * (25.6 + 10 * 5.12)),
        ("inference", {"num_layers": 2}, 25.6 + 51.2 + 2 * 10 * 10.24),  # the second layer's input is H wide
        ("inference", {"bidirectional": True}, 2 * (25.6 + 10 * 10.24)),
        ("inference", {"dtype": "float64"}, 25.6 * 2 + 10 * 2048 / 50),  # past the next set's size
        # W and U of one step: 1536 bytes
        ("inference", {"time": 1}, 15.36),
        ("stream", {}, 10 * 15.36),
        # there and back, and dW, dx and dU at the peak
        ("training", {}, 25.6 + 2 * 10 * 10.24 + 2 * 25.6 + 51.2),
    ],
)
def test_least_seconds_of_cases_worked_by_hand(peers, mode, options, nanoseconds):
    case = peers["problems"].Case(**({"time": 10, "batch": 1, "input_size": 4, "hidden_size": 8} | options))
    limits = peers["roofline"].Limits(1, {"float32": 100e9, "float64": 50e9}, {1024: 100e9, 2048: 50e9})
    found = peers["roofline"].least_seconds(peers["problems"].Problem(case, mode), limits)
    assert found == pytest.approx(nanoseconds * 1e-9)


def test_attainable_seconds_add_the_activations(peers):
    case = peers["problems"].Case(10, 4, 4, 8, bidirectional=True)
    speeds = {"float32": {"sigmoid": 3e9, "tanh": 1e9}}
    limits = peers["roofline"].Limits(1, {"float32": 100e9}, {1024: 100e9}, speeds)
    for mode, nanoseconds in (("inference", 1 + 2), ("training", 1 + 3)):
        problem = peers["problems"].Problem(case, mode)
        added = peers["roofline"].attainable_seconds(problem, limits) - peers["roofline"].least_seconds(problem, limits)
        assert added == pytest.approx(2 * 10 * 4 * 8 * nanoseconds * 1e-9)


def test_least_seconds_of_a_ragged_batch_and_two_threads(peers):
    case = peers["problems"].Case(3, 4, 4, 8, lengths=(1, 3))
    problem = peers["problems"].Problem(case, "inference")
    problem.active = np.array([4, 1, 0])
    limits = peers["roofline"].Limits(2, {"float32": 200e9}, {512: 200e9, 1024: 100e9})
    found = peers["roofline"].least_seconds(problem, limits)
    # step 0: 2048 flops, 10.24 ns; step 1: 512 bytes for each thread, 5.12 ns; projection of 5 cells, 256 flops each
    assert found == pytest.approx((10.24 + 5.12 + 5 * 1.28) * 1e-9)


def test_caches_are_positive_and_in_order(peers):
    caches = peers["roofline"].caches()
    assert list(caches) == sorted(caches)
    assert min(caches.values()) >= 1 << 12


# ------------------------------------------------------------------------------------------- counting, options, memory


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
        (["--peers", "nobody"], "--peers"),
        (["--isa", "portable"], "--isa"),
    ],
)
def test_wrong_usage_is_named(peers, arguments, named, capsys):
    with pytest.raises(SystemExit) as caught:
        peers["main"].main(arguments)
    assert caught.value.code == 2
    assert named in capsys.readouterr().err


def test_a_number_of_threads_that_was_not_taken_is_an_error(peers, monkeypatch):
    monkeypatch.setattr(clstm._core.threads, "_one_because", "built without OpenMP")
    problem = peers["problems"].Problem(peers["problems"].Case(2, 1, 2, 2), "inference")
    with pytest.raises(RuntimeError, match="clstm has 1 threads, not 2"):
        peers["systems"].Clstm().prepare(problem, 2)


def test_variables_are_set_before_a_library_is_loaded(peers, monkeypatch):
    environment = peers["environment"]
    assert environment.wanted(None, False) == {}
    held = environment.wanted("avx2", True)
    assert held["CLSTM_ISA"] == "avx2"
    assert {"ATEN_CPU_CAPABILITY", "MKL_ENABLE_INSTRUCTIONS", "ONEDNN_MAX_CPU_ISA", "MALLOC_TRIM_THRESHOLD_"} <= set(
        held
    )
    started = []
    monkeypatch.setattr(os, "execve", lambda *arguments: started.append(arguments))
    environment.start_again("benchmarks.peers", ["--grid", "quick"], {})
    assert not started
    environment.start_again("benchmarks.peers", ["--grid", "quick"], held)
    ((program, command, variables),) = started
    assert [program, "-m", "benchmarks.peers", "--grid", "quick"] == command
    assert held.items() <= variables.items()
    for name, value in held.items():
        monkeypatch.setenv(name, value)
    environment.start_again("benchmarks.peers", [], held)
    assert len(started) == 1


@pytest.mark.peer
def test_what_nothing_holds_to_an_instruction_set_is_left_out(peers, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    options = peers["main"].parsed(["--isa", "avx2", "--peers", "ONNX Runtime"])
    assert peers["main"].present(options) == []
    assert "ONNX Runtime is left out, for nothing holds it to avx2" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_memory_counts_what_training_takes(peers, tmp_path, monkeypatch):
    case = peers["problems"].Case(200, 16, 64, 64)
    monkeypatch.setattr(peers["memory"].grids, "grid", lambda name: {"training": [case]})
    path = tmp_path / "memory.json"
    monkeypatch.chdir(ROOT)
    assert peers["memory"].main(["--systems", "clstm", "--json", str(path)]) == 0
    (found,) = json.loads(path.read_text(encoding="utf-8"))["results"]
    kept = 200 * 16 * 5 * 64 * 4  # four gates and c of every cell
    assert kept < found["bytes"]["clstm"] < 8 * kept


@pytest.mark.peer
def test_picture_shows_every_mode_and_number_of_threads(peers, tmp_path):
    pytest.importorskip("matplotlib")
    picture = importlib.import_module("benchmarks.peers.picture")
    results = [
        result(label, "PyTorch", ratio, {} if mode == "classifier" else {"clstm": 0.5, "PyTorch": 0.4}, mode, threads)
        for label, ratio in (("a", 1.2), ("b", 0.01), ("c", 30.0))
        for mode in ("inference", "training", "classifier")
        for threads in (1, 2)
    ]
    results.append(
        {**results[0], "mode": "stream", "best": None, "ratio": None, "ratios": {}, "shares": {"clstm": 0.5}}
    )
    picture.draw(tmp_path / "peers.png", results)
    assert (tmp_path / "peers.png").read_bytes().startswith(b"\x89PNG")
