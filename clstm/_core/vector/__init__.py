"""The vector path: jobs and threads over the C kernels of src/."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Return a compiled module, of which type checkers have no stub."""
