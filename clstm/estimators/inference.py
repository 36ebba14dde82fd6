"""A network's outputs for many rows, in batches of similar length."""

from __future__ import annotations

import numpy as np

from clstm.models.sequence import SequenceNetwork
from clstm.train.batches import PaddedRows, batches_by_length

# A batch has at most so many rows, of similar length, and so many steps.
PREDICT_ROWS, PREDICT_STEPS = 64, 16384


def run(
    network: SequenceNetwork, rows: PaddedRows, batch_size: int = PREDICT_ROWS, max_steps: int = PREDICT_STEPS
) -> np.ndarray:
    """Return the network's outputs for all rows (rows, outputs), or without pooling for all steps (steps, outputs)."""
    per_step = network.pooling is None
    count = len(rows.values) if per_step else len(rows)
    out = np.empty((count, network.output_size), network.dtype)
    for some in batches_by_length(rows.lengths, batch_size, max_steps):
        x, lengths = rows.batch(some)
        some_out, _ = network(x, lengths=lengths)
        if per_step:
            places, inside = rows.places(some)
            out[places] = some_out[inside]
        else:
            out[some] = some_out
    return out
