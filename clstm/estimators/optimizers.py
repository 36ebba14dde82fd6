"""The optimisers and learning rate schedules that an estimator's arguments can name."""

from __future__ import annotations

from collections.abc import Callable

from clstm.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from clstm.schedules import CosineLR, Schedule, WarmUp

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "sgd": lambda network, **options: SGD(network, momentum=0.9, nesterov=True, **options),
}

WARM_UP = 0.1  # share of the steps


def _one_cycle(optimizer: Optimizer, steps: int) -> Schedule:
    warm_up = max(1, round(WARM_UP * steps))
    return WarmUp(optimizer, warm_up, CosineLR(optimizer, max(1, steps - warm_up)))


SCHEDULES: dict[str, Callable[[Optimizer, int], Schedule]] = {"cosine": CosineLR, "one_cycle": _one_cycle}
