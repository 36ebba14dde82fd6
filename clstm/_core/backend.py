"""Which compiled module does the work: the vector path, or the portable one where no vector kernels fit.

Chosen once, at import, from what the processor reports. The environment variable CLSTM_ISA forces one:
``avx512``, ``avx2``, ``neon`` or ``portable``.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any

from clstm._core.vector import forward_backward as vector_path
from clstm._core.vector import runtime

INSTRUCTION_SETS = ("avx512", "avx2", "neon", "portable")


def available() -> tuple[str, ...]:
    """Return the instruction sets that this build holds and this processor has, best first."""
    return (*runtime.instruction_sets(), "portable")


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
        runtime.use(name)
    _chosen = name


def steps(compiled: ModuleType, packs: Any, batch_size: int, num_threads: int, residual: bool) -> Any:
    """Return what steps a stream of stacked layers that `compiled` has packed: a `clstm._core._stream.Steps`."""
    if compiled is vector_path:
        from clstm._core.vector import step  # loaded when first used: layers without streams do without it

        return step.steps(packs, batch_size, num_threads, residual)
    return compiled.steps(packs, batch_size, num_threads, residual)


def module() -> ModuleType:
    """Return the module in use: pack, forward, backward (and dense products), the same in both."""
    if _chosen != "portable":
        return vector_path
    from clstm._core.portable import forward_backward as portable_path  # loads SciPy's BLAS

    return portable_path


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
    runtime.use(_chosen)
