"""Which compiled module does the work: the vector path, or the portable one where no vector kernels fit.

Chosen once, at import, from what the processor reports. The environment variable CLSTM_ISA forces one:
``avx512``, ``avx2``, ``neon`` or ``portable``.
"""

from __future__ import annotations

import os
from types import ModuleType

from clstm import _lstm, _runtime

INSTRUCTION_SETS = ("avx512", "avx2", "neon", "portable")


def available() -> tuple[str, ...]:
    """Return the instruction sets that this build holds and this processor has, best first."""
    return (*_runtime.instruction_sets(), "portable")


def isa() -> str:
    """Return the name of the instruction set in use."""
    return _chosen


def use(name: str) -> None:
    """Use the instruction set `name` for every layer made, or given new weights, from now on.

    For tests and benchmarks; others set CLSTM_ISA before the start.

    Raises
    ------
    ValueError
        Unknown, or not among `available()`.
    """
    global _chosen
    if name not in INSTRUCTION_SETS:
        raise ValueError(f"instruction set {name!r}: expected one of {', '.join(INSTRUCTION_SETS)}")
    if name not in available():
        raise ValueError(f"instruction set {name!r}: not in this build or not on this processor, which has "
                         f"{', '.join(available())}")  # fmt: skip
    if name != "portable":
        _runtime.use(name)
    _chosen = name


def module() -> ModuleType:
    """Return the module in use: pack, forward, backward (and dense products), the same in both."""
    if _chosen != "portable":
        return _lstm
    from clstm import _portable  # loads SciPy's BLAS

    return _portable


def _choose() -> str:
    forced = os.environ.get("CLSTM_ISA", "").strip().lower()
    if not forced:
        return available()[0]
    if forced not in INSTRUCTION_SETS:
        raise ImportError(f"CLSTM_ISA is {forced!r}, expected one of {', '.join(INSTRUCTION_SETS)}")
    if forced not in available():
        raise ImportError(f"CLSTM_ISA is {forced!r}, but this build and processor have {', '.join(available())}")
    return forced


_chosen = _choose()
if _chosen != "portable":
    _runtime.use(_chosen)
