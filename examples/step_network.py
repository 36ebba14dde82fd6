"""How three examples train a network with an output for each step of its input."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from clstm import losses
from clstm.models import SequenceNetwork
from clstm.optim import Adam
from clstm.schedules import CosineLR
from clstm.train import fit
from clstm.train.batches import BucketedBatches


def train(
    network: SequenceNetwork,
    loss: Callable[..., losses.Loss],
    batches: BucketedBatches,
    read: Callable[[np.ndarray], tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]],
    *,
    n_epochs: int,
    lr: float,
) -> None:
    """Train with Adam and a rate that falls to 0 by the cosine.

    `read` gives a batch: the input, with its lengths where they differ, and what `loss` takes beside the output.
    """

    def loss_step(rows):
        (x, *lengths), targets = read(rows)
        out, _, context = network.forward_train(x, None, *lengths)
        value, dout = loss(out, *targets)
        return value, network.backward(context, dout).weights

    optimizer = Adam(network, lr=lr)
    schedule = CosineLR(optimizer, n_epochs * len(batches))
    fit(optimizer, loss_step, batches, n_epochs=n_epochs, schedule=schedule, schedule_every="batch", clip_norm=1.0)
