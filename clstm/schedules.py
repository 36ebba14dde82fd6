"""Learning-rate schedules: they set the `lr` of an optimiser.

A schedule sets the rate of the first step when it is made, and the next one at each call of `step`. What a step is,
an epoch or a mini-batch, is the caller's choice: the numbers given count calls of `step`. Where PyTorch has the same
schedule, the rates are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from clstm._checks import check_choice, check_fraction, check_index, check_real
from clstm.optim import Optimizer


class Schedule:
    """Base of the schedules: counts the steps from the optimiser's rate at the start, `base_lr`.

    A subclass overrides `_next_lr`, and names in `_saved` what else its future depends on.
    """

    _saved: tuple[str, ...] = ()

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer is {type(optimizer).__name__}, expected an optimiser")
        self.optimizer = optimizer
        self.base_lr = optimizer.lr
        self.num_steps = 0

    def step(self, metric: float | None = None) -> None:
        """Set the optimiser's rate for the next step.

        Parameters
        ----------
        metric : float, optional
            What was measured, for the schedules that go by it; the others don't look at it.
        """
        self.num_steps += 1
        self.optimizer.lr = self._next_lr(metric)

    def _next_lr(self, metric: float | None) -> float:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next rates depend on beside the arguments and the optimiser: numbers by name."""
        return {name: getattr(self, name) for name in ("base_lr", "num_steps", *self._saved)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was called; the optimiser has its own, with the present rate.

        Raises
        ------
        TypeError, ValueError
            A name is missing or unexpected, or a value is no number; nothing has changed then.
        """
        names = tuple(self.state_dict())
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"state_dict is {type(state_dict).__name__}, expected a mapping")
        if set(state_dict) != set(names):
            raise ValueError(f"state_dict has {', '.join(map(str, state_dict))}; expected {', '.join(names)}")
        self._load({name: _check_number(name, state_dict[name]) for name in names})

    def _load(self, state: Mapping[str, float]) -> None:
        for name in ("base_lr", "num_steps", *self._saved):
            setattr(self, name, state[name])


class StepLR(Schedule):
    """Multiplies the rate by `gamma` after every `step_size` steps.

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int
        1 or more.
    gamma : float, default 0.1
        0 or more.
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        super().__init__(optimizer)
        self.step_size = check_index("step_size", step_size, low=1)
        self.gamma = check_real("gamma", gamma, low=0.0)

    def _next_lr(self, metric):
        return self.base_lr * self.gamma ** (self.num_steps // self.step_size)


class CosineLR(Schedule):
    """Lowers the rate to `min_lr` over half a period of the cosine, and leaves it there (Loshchilov & Hutter 2017).

    Parameters
    ----------
    optimizer : Optimizer
    total_steps : int
        Steps until `min_lr`, 1 or more. (PyTorch's goes up again after them.)
    min_lr : float, default 0.0
        0 or more.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, min_lr: float = 0.0) -> None:
        super().__init__(optimizer)
        self.total_steps = check_index("total_steps", total_steps, low=1)
        self.min_lr = check_real("min_lr", min_lr, low=0.0)

    def _next_lr(self, metric):
        share = min(self.num_steps / self.total_steps, 1.0)
        return self.min_lr + (self.base_lr - self.min_lr) * (1 + math.cos(math.pi * share)) / 2


class ReduceOnPlateau(Schedule):
    """Multiplies the rate by `factor` when the metric has not got better for more than `patience` steps in a row.

    Parameters
    ----------
    optimizer : Optimizer
    factor : float, default 0.1
        0 or more and below 1.
    patience : int, default 10
        0 or more.
    min_lr : float, default 0.0
        The rate is not lowered below it.
    mode : {"min", "max"}, default "min"
        Whether lower or higher is better.
    threshold : float, default 1e-4
        By which share of the best value it must be better to count. NaN is never better.
    """

    _saved = ("best", "num_bad_steps")

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 0.1,
        patience: int = 10,
        min_lr: float = 0.0,
        mode: str = "min",
        *,
        threshold: float = 1e-4,
    ) -> None:
        super().__init__(optimizer)
        self.factor = check_fraction("factor", factor)
        self.patience = check_index("patience", patience, low=0)
        self.min_lr = check_real("min_lr", min_lr, low=0.0)
        self.mode = check_choice("mode", mode, ("min", "max"))
        self.threshold = check_fraction("threshold", threshold)
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_steps = 0

    def step(self, metric: float | None = None) -> None:
        """Look at the metric and set the optimiser's rate for the next step.

        Parameters
        ----------
        metric : float
            What was measured, such as the validation loss.

        Raises
        ------
        ValueError
            No metric.
        TypeError
            Not a number.
        """
        if metric is None:
            raise ValueError("metric is None, expected what was measured: ReduceOnPlateau goes by it")
        super().step(_check_number("metric", metric))

    def _next_lr(self, metric):
        lr = self.optimizer.lr
        if self._is_better(metric):
            self.best, self.num_bad_steps = metric, 0
            return lr
        self.num_bad_steps += 1
        if self.num_bad_steps <= self.patience:
            return lr
        self.num_bad_steps = 0
        return min(lr, max(lr * self.factor, self.min_lr))

    def _is_better(self, metric: float) -> bool:
        if self.mode == "min":
            return metric < self.best * (1 - self.threshold)
        return metric > self.best * (1 + self.threshold)


class WarmUp(Schedule):
    """Raises the rate in `steps` equal steps to the optimiser's own; from then on another schedule has it.

    The first step has 1 / `steps` of the rate, the last of them all of it (Goyal et al. 2017).

    Parameters
    ----------
    optimizer : Optimizer
    steps : int
        1 or more.
    after : Schedule, optional
        Of the same optimiser, made just before; it begins after the warm-up. Without it the rate stays.

    Examples
    --------
    >>> from clstm.layers import Linear
    >>> from clstm.optim import SGD
    >>> from clstm.schedules import CosineLR, WarmUp
    >>> optimizer = SGD(Linear(4, 2, seed=0), lr=1.0)
    >>> schedule = WarmUp(optimizer, 4, after=CosineLR(optimizer, 2))
    >>> rates = []
    >>> for _ in range(7):
    ...     rates.append(optimizer.lr)
    ...     schedule.step()
    >>> rates
    [0.25, 0.5, 0.75, 1.0, 1.0, 0.5, 0.0]
    """

    def __init__(self, optimizer: Optimizer, steps: int, after: Schedule | None = None) -> None:
        super().__init__(optimizer)
        self.steps = check_index("steps", steps, low=1)
        if after is not None:
            if not isinstance(after, Schedule):
                raise TypeError(f"after is {type(after).__name__}, expected a schedule")
            if after.optimizer is not optimizer:
                raise ValueError("after is a schedule of another optimiser")
        self.after = after
        optimizer.lr = self.base_lr / self.steps

    def step(self, metric: float | None = None) -> None:
        """Set the optimiser's rate for the next step; `metric` is for the schedule that comes after."""
        if self.num_steps < self.steps or self.after is None:
            super().step(metric)
        else:
            self.num_steps += 1
            self.after.step(metric)

    def _next_lr(self, metric):
        return self.base_lr * min((self.num_steps + 1) / self.steps, 1.0)

    def state_dict(self) -> dict[str, Any]:
        """Return all that the next rates depend on; that of the schedule after it as ``"after.<name>"``."""
        later = self.after.state_dict() if self.after is not None else {}
        return super().state_dict() | {f"after.{name}": value for name, value in later.items()}

    def _load(self, state: Mapping[str, float]) -> None:
        super()._load(state)
        if self.after is not None:
            prefix = "after."
            self.after._load({name[len(prefix) :]: state[name] for name in state if name.startswith(prefix)})


def _check_number(name: str, value: Any) -> float:
    """Return `value` as an int or float, which may be infinite or NaN (what `check_real` refuses)."""
    if isinstance(value, (bool, str, bytes)):
        raise TypeError(f"{name} is {value!r}, expected a number")
    try:
        return value if isinstance(value, int) else float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} is {value!r}, expected a number") from None
