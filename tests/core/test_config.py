import io
import json
import platform

import numpy as np
import pytest
import scipy

import clstm
from clstm._core import backend, threads
from clstm._core.config import config, show_config
from tests.helpers.processes import run_python


def test_config_tells_what_is_in_use(monkeypatch):
    monkeypatch.setattr(threads, "_chosen", 3)
    found = config()
    assert found["clstm"] == clstm.__version__
    assert found["python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert found["scipy"] == scipy.__version__
    assert found["instruction_set"] == backend.isa()
    assert found["instruction_sets"] == list(backend.available())
    assert (found["threads"], found["threads_from"]) == (
        (3, "set_num_threads") if found["openmp"] else (1, "built without OpenMP")
    )
    blas = scipy.show_config(mode="dicts")["Build Dependencies"]["blas"]
    assert found["blas"] == f"{blas['name']} {blas['version']}"
    assert json.loads(json.dumps(found)) == found


def test_show_config_prints_a_line_each(capsys):
    show_config()
    printed = capsys.readouterr().out
    found = config()
    lines = dict(line.split(":", 1) for line in printed.splitlines())
    assert list(lines) == [
        "clstm", "Python", "NumPy", "SciPy", "safetensors", "instruction set", "OpenMP", "threads", "BLAS",
    ]  # fmt: skip
    assert lines["clstm"].strip() == clstm.__version__
    assert lines["instruction set"].split()[0] == found["instruction_set"]
    assert lines["threads"].strip() == f"{found['threads']} ({found['threads_from']})"
    file = io.StringIO()
    show_config(file)
    assert file.getvalue() == printed


def test_without_scipy(monkeypatch):
    import importlib.metadata
    import importlib.util

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    file = io.StringIO()
    show_config(file)
    assert "SciPy:           not installed" in file.getvalue()
    assert "BLAS:            unknown" in file.getvalue()


@pytest.mark.parametrize("content", ["", "raise OSError", "CONFIG = {}", "CONFIG = None"])
def test_scipy_of_an_unknown_build(monkeypatch, tmp_path, content):
    import importlib.util

    package = tmp_path / "scipy" / "__init__.py"
    package.parent.mkdir()
    package.write_text("")
    (package.parent / "__config__.py").write_text(content)
    spec = importlib.util.spec_from_file_location("scipy", package)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    assert config()["blas"] is None
    (package.parent / "__config__.py").unlink()
    assert config()["blas"] is None


@pytest.mark.subprocess
def test_config_does_not_load_scipy():
    code = "import sys, clstm._core.config; clstm._core.config.config(); print('scipy' in sys.modules)"
    assert run_python(code).stdout.strip() == "False"
