"""The vector path as a whole: the functions of `clstm._core.backend.Path`, from the modules that hold them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from clstm._core.vector.forward_backward import backward, forward, forward_stacked, gates_and_cells
from clstm._core.vector.pack import pack

if TYPE_CHECKING:
    from clstm._core._stream import Steps

__all__ = ["backward", "forward", "forward_stacked", "gates_and_cells", "pack", "steps"]


def steps(packs: Sequence[Any], batch_size: int, num_threads: int, residual: bool) -> Steps:
    """Return what advances a stream of stacked layers."""
    from clstm._core.vector import step  # loaded when first used: layers without streams do without it

    return step.steps(packs, batch_size, num_threads, residual)
