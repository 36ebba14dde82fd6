"""What an import says in a source tree that isn't built, as a clone after ``pip install .``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def unbuilt(tmp_path) -> Path:
    """A copy of the source tree without its extensions."""
    shutil.copytree(
        PROJECT / "clstm", tmp_path / "clstm", ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__", "*.gz")
    )
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("arguments", [("-c", "import clstm"), ("-c", "from clstm import LSTM"), ("-m", "clstm")])
def test_import_says_what_to_do(unbuilt, arguments):
    result = run(unbuilt, *arguments)
    assert result.returncode == 1
    message = result.stderr.strip().splitlines()[-1]
    # python -m says what failed in its own words, on one line
    assert (
        f"clstm in '{unbuilt / 'clstm'}' isn't built for this Python (No module named 'clstm._core._openmp')" in message
    )
    assert "python -m pip install -e ." in message
    assert "start Python in another folder" in message
    assert "During handling" not in result.stderr


def test_an_error_of_something_else_is_not_hidden(unbuilt):
    (unbuilt / "clstm" / "_core" / "openmp.py").write_text("import no_such_package\n")
    result = run(unbuilt, "-c", "import clstm")
    assert result.stderr.strip().splitlines()[-1] == "ModuleNotFoundError: No module named 'no_such_package'"
