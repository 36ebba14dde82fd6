"""The portable path: BLAS and plain loops, where no vector kernel runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """Return a compiled module, of which type checkers have no stub."""
