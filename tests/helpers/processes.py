"""Code in fresh processes of this Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import clstm

ROOT = Path(clstm.__file__).parents[1]


def environment(**changes: str | None) -> dict[str, str]:
    """Return this process's environment such that `import clstm` finds the package under test; None removes a name."""
    changed = os.environ | {"PYTHONPATH": str(ROOT)} | changes
    return {name: value for name, value in changed.items() if value is not None}


def run_python(code, *arguments, folder=None, options=(), check=True, timeout=120, **changes):
    """Run Python code in another process; return the completed process, which must have ended well if `check`.

    It starts in `folder`, by default where the package under test lies, since Python imports from there first.
    `options` are the interpreter's; `changes` those of the environment.
    """
    command = [sys.executable, *options, "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=folder or ROOT,
        env=environment(**changes),
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0 or not check, done.stderr
    return done


def packages_loaded(*codes: str, folder: Path, **changes: str) -> list[set[str]]:
    """Return what a fresh process has loaded after each of `codes`: top-level names outside the standard library."""
    report = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    program = "\n".join(f"{textwrap.dedent(code)}\n{report}" for code in codes)
    lines = run_python(program, folder=folder, OMP_NUM_THREADS="1", **changes).stdout.splitlines()
    reports = [json.loads(line) for line in lines if line.startswith("[")]
    assert len(reports) == len(codes)
    # names beside the standard library's that every Cython module brings
    return [
        {name for name in set(names) - sys.stdlib_module_names if not name.startswith(("_cython_", "cython_runtime"))}
        for names in reports
    ]
