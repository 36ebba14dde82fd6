"""The build's switches and its record of flags, on a project of setup.py and the smallest extension."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

pytest.importorskip("Cython")
pytest.importorskip("setuptools", minversion="77")
pytestmark = [
    pytest.mark.peer,
    pytest.mark.subprocess,
    pytest.mark.skipif(
        sys.platform == "win32" or shutil.which("cc") is None, reason="needs a C compiler that is called as on Unix"
    ),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    shutil.copy(PROJECT / "setup.py", folder)
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "small"\nversion = "1"\n[tool.setuptools]\npackages = []\n'
    )
    (folder / "clstm" / "_core").mkdir(parents=True)
    shutil.copy(PROJECT / "clstm" / "_core" / "_openmp.pyx", folder / "clstm" / "_core")
    shutil.copytree(PROJECT / "src", folder / "src")
    return folder


def build(project: Path, **environment: str) -> subprocess.CompletedProcess:
    switches = ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "CLSTM_SANITIZE", "CLSTM_NO_OPENMP")
    inherited = {name: value for name, value in os.environ.items() if name not in switches}
    return subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=project,
        env={**inherited, "CLSTM_PORTABLE_ONLY": "1", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def built(project: Path, **environment: str) -> tuple[Path, list[int]]:
    """Build; return the extension, and when it and its objects were written."""
    result = build(project, **environment)
    assert result.returncode == 0, result.stderr
    (extension,) = (project / "clstm" / "_core").glob("_openmp.*.so")
    objects = sorted((project / "build").rglob("*.o"))
    assert len(objects) == 2  # the extension's and the table of kernels
    return extension, [path.stat().st_mtime_ns for path in (extension, *objects)]


def test_other_flags_build_again_and_the_same_ones_do_not(project):
    before = built(project)[1]
    assert built(project)[1] == before
    for environment in ({"CFLAGS": "-DOTHER"}, {"CPPFLAGS": "-DOTHER"}, {"LDFLAGS": "-Wl,--as-needed"}):
        times = built(project, **environment)[1]
        assert all(new > old for new, old in zip(times, before, strict=True)), environment
        before = times


def test_sanitizers_are_built_in(project):
    extension, _ = built(project, CLSTM_SANITIZE="undefined, address")
    code = extension.read_bytes()
    assert b"__asan_init" in code
    assert b".debug_line" in code  # for the lines in reports


@pytest.mark.parametrize("value", ["memory", "address,", "address,thread", "1"])
def test_wrong_sanitizers_are_refused_with_one_line(project, value):
    result = build(project, CLSTM_SANITIZE=value)
    assert result.returncode != 0
    assert result.stderr.strip().splitlines()[-1] == (
        f"CLSTM_SANITIZE is {value!r}, expected address, undefined or both of them, or thread, or thread,undefined"
    )
    assert "Traceback" not in result.stderr
