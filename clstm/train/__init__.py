"""Training: a loop over batches, with optimiser, schedule, clipping, early stopping and history."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clstm._package import lazy

if TYPE_CHECKING:
    from clstm.train.batches import BucketedBatches as BucketedBatches
    from clstm.train.batches import PaddedRows as PaddedRows
    from clstm.train.batches import batches_by_length as batches_by_length
    from clstm.train.history import History as History
    from clstm.train.loop import fit as fit
    from clstm.train.progress import Progress as Progress

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "batches": ("BucketedBatches", "PaddedRows", "batches_by_length"),
        "history": ("History",),
        "loop": ("fit",),
        "progress": ("Progress",),
    },
)
