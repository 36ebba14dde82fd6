"""mypy accepts typed code that uses the public API, and reports wrong calls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import clstm

pytest.importorskip("mypy", reason="needs mypy")
pytestmark = pytest.mark.peer

ROOT = Path(clstm.__file__).parents[1]
FOLDER = Path(__file__).parent


@pytest.mark.subprocess
def test_public_api_type_checks(tmp_path):
    environment = dict(os.environ)
    if "site-packages" not in ROOT.parts:  # where mypy looks anyway
        environment["MYPYPATH"] = str(ROOT)
    result = subprocess.run(
        [sys.executable, "-m", "mypy", f"--config-file={FOLDER / 'mypy.ini'}", f"--cache-dir={tmp_path}",
         "--no-error-summary", str(FOLDER / "public_usage.py")],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert (result.stdout, result.stderr) == ("", "")
    assert result.returncode == 0


def test_package_says_that_it_has_types():
    assert (ROOT / "clstm" / "py.typed").exists()
