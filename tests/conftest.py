"""What all tests share: hypothesis settings, the instruction set shown at the top, and the --artifacts option."""

from __future__ import annotations

import os

from hypothesis import settings

import clstm
from clstm import backend, threads

# Examples are timed nowhere (the machine may be busy), and are the same ones each time in continuous integration.
settings.register_profile("clstm", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("clstm")


def pytest_addoption(parser):
    parser.addoption(
        "--artifacts", help="folder of a built wheel and source distribution, whose contents are tested too"
    )


def pytest_report_header():
    return (
        f"clstm {clstm.__version__}: instruction set {backend.isa()} of {', '.join(backend.available())}; "
        f"threads: {threads.get_num_threads()} ({threads.source()})"
    )
