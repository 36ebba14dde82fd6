"""The portable path: BLAS and plain loops, where no vector kernel runs."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    def __getattr__(name: str) -> Any:
        """Return a compiled module, of which type checkers have no stub."""
