"""What a compiled path is given to do: a layer's run over a batch, and the gradients of one.

The letters of the shapes: T steps, B rows of the batch, I input features, H units, P features of h (H where there is no
projection), D directions (1 or 2), N rows of the states (B, or the number of segments).

The caller checks all arguments and owns all arrays: a path allocates none of them and keeps none when it returns,
except that a tape refers to the packed weights and the masks. All arrays but the lengths, the segments and the zoneout
masks have the dtype of the weights, float32 or float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from clstm._core.segments import Segments


class Masks(NamedTuple):
    """The random masks of one direction in training; None for those that are off.

    Attributes
    ----------
    recurrent : ndarray (N, P) or None
        The dropout mask of h where it enters the gates, the same at all steps: 0 or 1 / (1 - p).
    zoneout_h, zoneout_c : ndarray of bool or uint8, (T, B, P) and (T, B, H), or None
        True where a unit of h, or of c, keeps its value of the step before.
    """

    recurrent: np.ndarray | None
    zoneout_h: np.ndarray | None
    zoneout_c: np.ndarray | None


@dataclass(slots=True)
class Job:
    """One layer's run over a batch.

    `forward` reads x, h0 and c0, and writes y, h_n and c_n. `backward` reads x, h0, c0 and y again, which must then
    hold the values that they had when `forward` returned.

    Attributes
    ----------
    packs : sequence of length D
        What `pack` returned for each direction; the second direction reads each row from its end.
    x : ndarray (T, B, I)
        The input: any strides, but each row of features contiguous. Never read past a row's length.
    h0, c0 : ndarray (D, N, P) and (D, N, H)
        The initial state, C-contiguous.
    y : ndarray (T, B, D * P)
        The output, h of every step: any strides, but each row of features contiguous. Past a row's length it is set to
        zero; with `segments`, what belongs to no segment is left as it is.
    h_n, c_n : ndarray (D, N, P) and (D, N, H)
        The final state, C-contiguous.
    num_threads : int
        The most threads that the call may use, 1 or more.
    lengths : ndarray of int64 (B,) or None
        Steps of each row, in any order; None where all have T.
    segments : Segments or None
        Computed in place of whole rows; `lengths` is then not read.
    masks : sequence of D Masks, or None
        None in inference, and where training has no masks. The weights must have been packed for a variant that isn't
        plain: see `clstm._core.variant.Variant.general`.
    keep : bool
        Keep a tape for `backward`.
    reverse : bool
        The first direction, too, reads each row from its end.
    """

    packs: Sequence[Any]
    x: np.ndarray
    h0: np.ndarray
    c0: np.ndarray
    y: np.ndarray
    h_n: np.ndarray
    c_n: np.ndarray
    num_threads: int
    lengths: np.ndarray | None = None
    segments: Segments | None = None
    masks: Sequence[Masks] | None = None
    keep: bool = False
    reverse: bool = False


@dataclass(slots=True)
class Gradients:
    """What `backward` reads beside the job, and what it writes.

    Attributes
    ----------
    dy : ndarray (T, B, D * P)
        Gradient of y, read: any strides, but each row of features contiguous. Never read where there is no step.
    dh_n, dc_n : ndarray (D, N, P) and (D, N, H)
        Gradients of the final state, read, C-contiguous.
    dx : ndarray (T, B, I) or None
        Written, with zeros where there is no step: any strides, but each row of features contiguous. None where the
        gradient of x isn't needed.
    dh0, dc0 : ndarray (D, N, P) and (D, N, H)
        Written, C-contiguous.
    weights : sequence of D dicts of str to ndarray
        For each direction, by name, an array for each weight that was packed, C-contiguous and of its shape: written or
        added to.
    add : bool
        Add the gradients of the weights to what is in the arrays.
    """

    dy: np.ndarray
    dh_n: np.ndarray
    dc_n: np.ndarray
    dx: np.ndarray | None
    dh0: np.ndarray
    dc0: np.ndarray
    weights: Sequence[dict[str, np.ndarray]]
    add: bool = False
