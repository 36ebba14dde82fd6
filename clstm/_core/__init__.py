"""The compiled side: Cython over the C kernels of src/, the portable path, threads, and the choice between the two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Return a compiled module, of which type checkers have no stub."""
