"""What the figures depend on besides the code; and a start again in another environment."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import clstm
from clstm._core import backend

from .systems import System

# glibc keeps what is freed, instead of giving it back to the system and having it cleared again by the next step.
KEEP_MEMORY = {
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TOP_PAD_": "200000000",
}

# What holds the peers to an instruction set; PyTorch also uses MKL.
HELD = {
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
    }
}


def wanted(isa: str | None, keep_memory: bool) -> dict[str, str]:
    """Return the variables to start with."""
    variables = dict(KEEP_MEMORY) if keep_memory else {}
    if isa is not None:
        variables |= {"CLSTM_ISA": isa} | HELD.get(isa, {})
    return variables


def start_again(module: str, arguments: Sequence[str], variables: Mapping[str, str]) -> None:
    """Start the module again with these variables if they aren't set: libraries read them when they are loaded."""
    if any(os.environ.get(name) != value for name, value in variables.items()):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, "-m", module, *arguments], {**os.environ, **variables})


def environment(peers: Sequence[System]) -> dict[str, Any]:
    """Return what to report with the figures."""
    names = {package for peer in peers for package in peer.packages}
    set_by_user = {*KEEP_MEMORY, "CLSTM_ISA", *HELD["avx2"]}
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": load(),
        "python": platform.python_version(),
        "instruction_set": backend.isa(),
        "versions": {"clstm": clstm.__version__, "numpy": np.__version__}
        | {name: importlib.metadata.version(name) for name in sorted(names)},
        "variables": {name: os.environ[name] for name in sorted(set_by_user) if name in os.environ},
    }


def processor() -> str:
    """Return the processor's name, as well as the system tells it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            facts = dict(line.rstrip().replace("\t", "").split(":", 1) for line in file if ":" in line)
    except OSError:
        facts = {}
    name = facts.get("model name", "").strip() or platform.processor() or platform.machine()
    if "model" in facts and "cpu family" in facts:  # the name alone may hide which it is
        name += f" (family {facts['cpu family'].strip()}, model {facts['model'].strip()})"
    return name


def load() -> float | None:
    """Return the load average of the last minute, where the system has one."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
