"""The contract of the two compiled paths, and the choice between them.

A layer's work is done by the vector path where the processor has an instruction set that this build has kernels for,
else by the portable path. Both have the functions of `Path`, with the same results to rounding.

The choice is made once, at import, from what the processor reports. The environment variable CLSTM_ISA forces one:
``avx512``, ``avx2``, ``neon`` or ``portable``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from clstm._core.vector import path as vector_path
from clstm._core.vector import runtime

if TYPE_CHECKING:
    from clstm._core._stream import Steps
    from clstm._core.job import Gradients, Job
    from clstm._core.variant import Variant

INSTRUCTION_SETS = ("avx512", "avx2", "neon", "portable")


class Path(Protocol):
    """What a compiled path offers: `clstm._core.vector.path` and `clstm._core.portable.path`.

    Arguments are trusted. All functions may be called by several threads at once, also with the same packed weights.
    The GIL is released while the loops run.
    """

    def pack(self, variant: Variant, weights: Mapping[str, np.ndarray], num_threads: int) -> Any:
        """Return a snapshot of one direction's weights, laid out for the path's kernels; opaque and never changed.

        Parameters
        ----------
        variant : Variant
            The options of the step. The plain LSTM has separate, faster kernels.
        weights : mapping of str to ndarray
            C-contiguous, of one dtype: weight_ih (4H, I), weight_hh (4H, P) and bias (4H,), gates in the order i, f, g,
            o; and where the variant has them weight_hr (P, H), weight_peephole (3H,) of i, f and o, weight_norm_gates
            (4H,), weight_norm_cell (H,), and bias_norm_cell (H,), which may be left out for zeros. With coupled gates
            the rows of i are there, and zero.
        num_threads : int
        """

    def forward(self, job: Job) -> Any:
        """Run one layer in one or two directions; return a tape for one `backward` if ``job.keep``, else None."""

    def forward_stacked(self, jobs: Sequence[Job]) -> bool:
        """Run stacked layers side by side on several threads, if that is expected to be faster than one by one.

        Parameters
        ----------
        jobs : sequence of Job
            One for each layer, from the bottom: of one direction each, without tape, masks or segments, all with the
            same number of threads. The x of each but the first is the y of the one before.

        Returns
        -------
        bool
            Whether it ran them; otherwise nothing has been done.
        """

    def backward(self, tape: Any, job: Job, gradients: Gradients) -> None:
        """Write the gradients of one layer, given what `forward` returned for the same job; uses the tape up."""

    def gates_and_cells(self, tape: Any, job: Job, direction: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the gates i, f, g, o (T, B, 4, H) and the cell states (T, B, H) of a direction, before `backward`.

        New arrays, zero where there was no step.
        """

    def steps(self, packs: Sequence[Any], batch_size: int, num_threads: int, residual: bool) -> Steps:
        """Return what advances a stream of stacked layers.

        Parameters
        ----------
        packs : sequence
            The packed weights of each layer, from the bottom.
        batch_size, num_threads : int
        residual : bool
            Add the input of each layer but the first to its output.
        """


def available() -> tuple[str, ...]:
    """Return the instruction sets that this build has kernels for and this processor has, best first."""
    return (*runtime.instruction_sets(), "portable")


def isa() -> str:
    """Return the name of the instruction set in use."""
    return _chosen


def use(name: str) -> None:
    """Use the instruction set `name` for every layer that is made, or given new weights, from now on.

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


def path() -> Path:
    """Return the path in use."""
    if _chosen != "portable":
        return vector_path
    from clstm._core.portable import path as portable_path  # loads SciPy's BLAS

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
