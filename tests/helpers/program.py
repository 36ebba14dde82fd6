"""The command line: in this process where that shows the same, in a process like any user's where it doesn't."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
import threading
import warnings

import pytest

import clstm
from clstm import cli
from tests.helpers import processes

posix = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX system")


def environment(**changes):
    """Return this process's environment, but such that the program runs as for anyone."""
    own = {"PYTHONUNBUFFERED": None, "COLUMNS": None, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"}
    return processes.environment(**own | changes)


def program(*arguments):
    """Return the command that runs the program."""
    return [sys.executable, "-m", "clstm", *map(str, arguments)]


def run(*arguments, status=0, input=None, folder=None, **changes):
    """Run the program, check its exit status, and return what it wrote as (standard output, standard error).

    A process of its own runs it only where a folder or variables of the environment are given.
    """
    data = b"" if input is None else input.encode()
    if folder is None and not changes:
        code, out, err = run_here(list(map(str, arguments)), data)
    else:
        done = subprocess.run(
            program(*arguments), input=data, cwd=folder, capture_output=True, env=environment(**changes), timeout=120,
            check=False,
        )  # fmt: skip
        code, out, err = done.returncode, done.stdout, done.stderr
    out, err = out.decode(), err.decode()
    assert code == status, err
    assert "Traceback" not in err
    return out, err


def run_here(arguments, data):
    """Run the program in this process, with streams of its own; return its exit status and what it wrote."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with tempfile.TemporaryFile() as file, pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("default")
        file.write(data)
        file.seek(0)
        patch.setattr(sys, "stdin", io.TextIOWrapper(file, encoding="utf-8"))
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        try:
            code = cli.main(arguments)
        finally:
            clstm.set_num_threads(None)  # which --threads sets
        for stream in (out, err):
            stream.flush()
        sys.stdin.detach()
    return code, out.buffer.getvalue(), err.buffer.getvalue()


def fails(message, *arguments, **options):
    """Check that the program fails with one line that holds `message`, and nothing on standard output."""
    out, err = run(*arguments, status=1, **options)
    assert out == ""
    *before, line = err.splitlines()
    assert line.startswith("clstm: error: ")
    assert message in line
    assert not any(said.startswith("clstm: error") for said in before)


def start(*arguments, **options):
    """Start the program with pipes; it can be interrupted even if these tests run in the background."""
    restore = (lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)) if os.name == "posix" else None
    return subprocess.Popen(
        program(*arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment(), preexec_fn=restore, **options,
    )  # fmt: skip


def read_line(stream, seconds=60):
    """Return the next line, or fail if none comes."""
    got = []
    reader = threading.Thread(target=lambda: got.append(stream.readline()), daemon=True)
    reader.start()
    reader.join(seconds)
    assert got, "no line came"
    assert got[0], "the program ended"
    return got[0].decode().rstrip("\r\n")
