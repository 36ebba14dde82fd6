"""The command line: ``clstm demo``, ``clstm train`` and the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clstm._package import lazy

if TYPE_CHECKING:
    from clstm.cli.parser import main as main

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "parser": ("main",),
    },
)
