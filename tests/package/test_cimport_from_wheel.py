"""The example of docs/streaming.md, built and run against the wheel alone (pytest --artifacts FOLDER)."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import textwrap
import venv
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
SCRIPT = """
import clstm, numpy as np
from pathlib import Path
from follow import follow
assert Path(clstm.__file__).is_relative_to({site!r}), clstm.__file__
lstm = clstm.LSTM(6, 20, 2, seed=0)
x = np.random.default_rng(0).standard_normal((30, 3, 6), dtype=np.float32)
y = np.empty((30, 3, 20), np.float32)
follow(lstm.stream(3), x, y)
assert y.tobytes() == lstm.stream(3).run(x).tobytes()
"""


@pytest.fixture
def python(request, tmp_path) -> Path:
    """The Python of a new environment that has the wheel, and all but clstm from the environment of the tests."""
    folder = request.config.getoption("--artifacts")
    if folder is None:
        pytest.skip("no --artifacts folder given")
    for needed in ("Cython", "setuptools", "pip"):
        pytest.importorskip(needed)
    (wheel,) = Path(folder).glob("clstm_cpu-*.whl")
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False)
    python = environment / "bin" / "python"
    site = environment / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    # Names that the environment has come first, so clstm is the wheel's.
    (site / "outer.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--ignore-installed",
    ]
    subprocess.run([sys.executable, *install, str(wheel)], cwd=tmp_path, check=True)
    return python


@pytest.mark.peer
@pytest.mark.subprocess
@pytest.mark.skipif(sys.platform == "win32", reason="paths of environments on Unix")
def test_documented_cython_code_is_built_and_run_from_the_wheel(python, tmp_path):
    text = (PROJECT / "docs" / "streaming.md").read_text(encoding="utf-8")
    (code,) = (part.partition("```")[0] for part in text.split("```cython\n")[1:])
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "follow.pyx").write_text(code)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"CFLAGS": "-O0"}
    script = textwrap.dedent(SCRIPT.format(site=str(python.parents[1])))
    for command in (["-m", "Cython.Build.Cythonize", "--inplace", "follow.pyx"], ["-c", script]):
        result = subprocess.run(
            [python, *command], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )
        assert result.returncode == 0, result.stdout + result.stderr
