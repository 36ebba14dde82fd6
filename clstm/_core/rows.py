"""Pieces of sequences as rows of their own: what `reset` makes of a batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows that a backend works on, instead of whole rows of the batch with their lengths.

    Row r is the steps start[r] to start[r] + length[r] - 1 of batch row batch[r]; the states have a row for each. Only
    those steps of the output are written.

    Attributes
    ----------
    batch, start, length : ndarray of int64 (n,)
    """

    batch: np.ndarray
    start: np.ndarray
    length: np.ndarray
