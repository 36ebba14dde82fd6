"""Progress of training on standard error: a line for each epoch, and a bar on a terminal if tqdm is installed."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable
from typing import Any

from clstm._package import public


@public("clstm.train")
class Progress:
    """Writes to the standard error that is current at each call; nothing if `verbose` is 0.

    Parameters
    ----------
    verbose : int
        0 is silent; 1 writes lines, and shows a bar if standard error is a terminal and tqdm is installed.
    """

    def __init__(self, verbose: int) -> None:
        self.verbose = verbose

    def batches(self, batches: Iterable[Any], label: str) -> Generator[Any, None, None]:
        """Yield the batches, with a bar that is removed after the last one."""
        bar = self._bar_class()
        if bar is None:
            yield from batches
            return
        with bar(batches, desc=label, unit="batch", leave=False, file=sys.stderr, dynamic_ncols=True) as shown:
            yield from shown

    def line(self, text: str) -> None:
        """Write a line."""
        if self.verbose and sys.stderr is not None:
            try:
                print(text, file=sys.stderr, flush=True)
            except OSError:  # a closed pipe or a full disk must not end the training
                self.verbose = 0

    def _bar_class(self) -> Any:
        if not self.verbose or sys.stderr is None or not sys.stderr.isatty():
            return None
        try:
            from tqdm import tqdm
        except ImportError:
            return None
        return tqdm
