"""The compiled side: Cython over the C kernels of src/, the portable path, threads, and the choice between the two."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    def __getattr__(name: str) -> Any:
        """Return a compiled module, of which type checkers have no stub."""
