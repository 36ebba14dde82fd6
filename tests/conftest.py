"""What all tests share: hypothesis settings, the instruction set shown at the top, and two options."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from hypothesis import settings

import clstm
from clstm._core import backend, openmp, threads
from clstm._core.vector import plan

pytest.register_assert_rewrite("tests.helpers")
COLLECTED = pytest.StashKey[list[pytest.Item]]()

# Examples are timed nowhere (the machine may be busy); in continuous integration they are more, and always the same.
IN_CI = "CI" in os.environ
settings.register_profile("clstm", deadline=None, derandomize=IN_CI, max_examples=100 if IN_CI else 40)
settings.load_profile("clstm")


def pytest_addoption(parser):
    parser.addoption(
        "--artifacts", help="folder of a built wheel and source distribution, whose contents are tested too"
    )
    parser.addoption(
        "--differences", action="store_true", help="print the largest differences that tests have recorded"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    config.stash[COLLECTED] = list(items)
    for item in items:
        if {"isa", "vector_isa"} & set(item.fixturenames):
            item.add_marker(pytest.mark.each_isa)


def pytest_report_header():
    return (
        f"clstm {clstm.__version__}: instruction set {backend.isa()} of {', '.join(backend.available())}; "
        f"threads: {threads.get_num_threads()} ({threads.source()})"
    )


# A run that forces one has it alone: the others have runs of their own.
TESTED = (backend.isa(),) if os.environ.get("CLSTM_ISA") else backend.available()


@pytest.fixture(scope="module", params=TESTED)
def isa(request):
    """Each instruction set in turn; a module asks for all its tests with ``pytest.mark.usefixtures``."""
    before = backend.isa()
    backend.use(request.param)
    yield request.param
    backend.use(before)


@pytest.fixture(scope="module", params=[name for name in TESTED if name != "portable"])
def vector_isa(request):
    """Each instruction set that has vector kernels in turn."""
    before = backend.isa()
    backend.use(request.param)
    yield request.param
    plan.force()
    backend.use(before)


@pytest.fixture
def restored_isa():
    """Undo what a test chooses by `backend.use`."""
    before = backend.isa()
    yield
    backend.use(before)


@pytest.fixture(scope="module", params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    """Each type of numbers in turn."""
    return request.param


@pytest.fixture(scope="session")
def collected(request):
    """All tests that were collected, before any were deselected."""
    return request.config.stash[COLLECTED]


@pytest.fixture(autouse=True)
def no_limit_left_behind():
    """Undo what a test sets with torch.set_num_threads: that limits all who share PyTorch's OpenMP, clstm too."""
    before = openmp.most_threads()
    yield
    if openmp.most_threads() != before and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(before)


def pytest_terminal_summary(terminalreporter, config):
    if not config.getoption("--differences"):
        return
    largest = {}  # by the names in a record, its numbers
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if name == "difference" and report.when == "call":
                key = tuple(part for part in value if isinstance(part, str))
                numbers = [part for part in value if not isinstance(part, str)]
                largest[key] = [max(pair) for pair in zip(numbers, largest.get(key, numbers), strict=True)]
    terminalreporter.section("largest differences")
    for key, numbers in largest.items():
        terminalreporter.write_line(f"| {' | '.join([*key, *(f'{number:.0e}' for number in numbers)])} |")
