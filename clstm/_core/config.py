"""The configuration, as a bug report needs it: versions, instruction set, threads, BLAS."""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO

import numpy as np

from clstm._core import backend, threads
from clstm._core.vector import runtime


def config() -> dict[str, Any]:
    """Return the versions, instruction set, threads and BLAS in use, as values that can be written as JSON.

    Returns
    -------
    dict
        ``clstm``, ``python``, ``numpy``, ``scipy``, ``safetensors`` (versions; None where it isn't installed),
        ``platform``, ``instruction_set`` in use, ``instruction_sets`` (all that this build and processor have),
        ``openmp`` (bool), ``threads`` and ``threads_from`` (what sets that number), ``blas`` (of SciPy; None
        where that is unknown).

    Raises
    ------
    ValueError
        CLSTM_NUM_THREADS is not a number of threads.
    """
    import platform

    from clstm._version import __version__

    return {
        "clstm": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": _version("scipy"),
        "safetensors": _version("safetensors"),
        "platform": f"{sys.platform} {platform.machine()}",
        "instruction_set": backend.isa(),
        "instruction_sets": list(backend.available()),
        "openmp": runtime.has_openmp(),
        "threads": threads.get_num_threads(),
        "threads_from": threads.source(),
        "blas": _blas(),
    }


def show_config(file: TextIO | None = None) -> None:
    """Print what `config` returns, a line each.

    Parameters
    ----------
    file : text file, optional
        Standard output if left out.
    """
    found = config()
    others = [name for name in found["instruction_sets"] if name != found["instruction_set"]]
    lines = {
        "clstm": found["clstm"],
        "Python": f"{found['python']} on {found['platform']}",
        "NumPy": found["numpy"],
        "SciPy": found["scipy"] or "not installed",
        "safetensors": found["safetensors"] or "not installed",
        "instruction set": found["instruction_set"] + (f" (also here: {', '.join(others)})" if others else ""),
        "OpenMP": "yes" if found["openmp"] else "no",
        "threads": f"{found['threads']} ({found['threads_from']})",
        "BLAS": found["blas"] or "unknown",
    }
    for name, value in lines.items():
        print(f"{name + ':':<17}{value}", file=file)


def _version(package: str) -> str | None:
    import importlib.metadata  # 30 ms

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _blas() -> str | None:
    """Return name and version of SciPy's BLAS, read from a file of its build: importing SciPy would take longer."""
    import importlib.util

    package = importlib.util.find_spec("scipy")
    if package is None or package.origin is None:
        return None
    path = os.path.join(os.path.dirname(package.origin), "__config__.py")
    spec = importlib.util.spec_from_file_location("_scipy_build", path)
    if spec is None or spec.loader is None:
        return None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        blas = module.CONFIG["Build Dependencies"]["blas"]
        return f"{blas['name']} {blas['version']}"
    except (OSError, AttributeError, KeyError, TypeError):
        return None
