"""Segments: the parts of a batch's rows from one reset to the next, which a path computes as separate rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Segments:
    """The segments that a path computes in place of the whole rows of a batch.

    Segment n is the steps start[n] to start[n] + length[n] - 1 of row batch[n] of the batch. The states (h0, c0, h_n,
    c_n) have a row for each segment. Only the steps of segments are written to the output.

    Attributes
    ----------
    batch, start, length : ndarray of int64 (N,)
    """

    batch: np.ndarray
    start: np.ndarray
    length: np.ndarray
