"""Learning-rate schedules: they set the `lr` of an optimiser.

A schedule sets the rate of the first step when it is constructed, and that of the next step at each call of `step`.
The caller decides whether a step is an epoch or a mini-batch: all numbers of steps count calls of `step`. If PyTorch
has the same schedule, the rates are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from clstm._checks import check_choice, check_fraction, check_index, check_real
from clstm.optim import Optimizer


class Schedule:
    """Base of the schedules: counts the steps, and keeps the optimiser's initial rate as `base_lr`.

    A subclass overrides `_next_lr`, and lists in `_saved` the other attributes that later rates depend on.

    Parameters
    ----------
    optimizer : Optimizer
        Whose `lr` is set.
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
            A measured value, such as the validation loss, for schedules that depend on it; others ignore it.
        """
        self.num_steps += 1
        self.optimizer.lr = self._next_lr(metric)

    def _next_lr(self, metric: float | None) -> float:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return what later rates depend on, except the arguments and the optimiser: numbers by name."""
        return {name: getattr(self, name) for name in ("base_lr", "num_steps", *self._saved)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the state. The optimiser's own `state_dict` has the current rate.

        Parameters
        ----------
        state_dict : mapping of str to number
            As `state_dict` returned it.

        Raises
        ------
        TypeError, ValueError
            A name is missing or unexpected, or a value is not a number. Nothing has changed then.
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

    def _next_lr(self, metric: float | None) -> float:
        return self.base_lr * self.gamma ** (self.num_steps // self.step_size)


class CosineLR(Schedule):
    """Lowers the rate to `min_lr` along half a period of the cosine, after which it is constant.

    Loshchilov & Hutter (2017), without restarts.

    Parameters
    ----------
    optimizer : Optimizer
    total_steps : int
        Steps until `min_lr`, 1 or more. (With PyTorch's schedule the rate rises again after them.)
    min_lr : float, default 0.0
        0 or more.
    """

    def __init__(self, optimizer: Optimizer, total_steps: int, min_lr: float = 0.0) -> None:
        super().__init__(optimizer)
        self.total_steps = check_index("total_steps", total_steps, low=1)
        self.min_lr = check_real("min_lr", min_lr, low=0.0)

    def _next_lr(self, metric: float | None) -> float:
        progress = min(self.num_steps / self.total_steps, 1.0)
        return self.min_lr + (self.base_lr - self.min_lr) * (1 + math.cos(math.pi * progress)) / 2


class ReduceOnPlateau(Schedule):
    """Multiplies the rate by `factor` when the metric hasn't improved for more than `patience` steps in a row.

    Parameters
    ----------
    optimizer : Optimizer
    factor : float, default 0.1
        0 or more and below 1.
    patience : int, default 10
        0 or more.
    min_lr : float, default 0.0
        The rate isn't lowered below this, 0 or more.
    mode : {"min", "max"}, default "min"
        Whether lower or higher is better.
    threshold : float, default 1e-4
        An improvement counts if it is more than this fraction of the best value. NaN is no improvement.
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
        """Set the optimiser's rate for the next step, given the metric.

        Parameters
        ----------
        metric : float
            The measured value, such as the validation loss.

        Raises
        ------
        ValueError
            No metric.
        TypeError
            Not a number.
        """
        if metric is None:
            raise ValueError("metric is None, expected the measured value that ReduceOnPlateau depends on")
        super().step(_check_number("metric", metric))

    def _next_lr(self, metric: float | None) -> float:
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
    """Raises the rate in `steps` equal increments to the optimiser's own; then another schedule continues.

    The first step has 1 / `steps` of the rate, step number `steps` the full rate (Goyal et al. 2017).

    Parameters
    ----------
    optimizer : Optimizer
    steps : int
        1 or more.
    after : Schedule, optional
        The schedule that starts after the warm-up, of the same optimiser, constructed just before this one. Without it
        the rate is constant after the warm-up.

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
        """Set the optimiser's rate for the next step.

        Parameters
        ----------
        metric : float, optional
            For the schedule after the warm-up.
        """
        if self.num_steps < self.steps or self.after is None:
            super().step(metric)
        else:
            self.num_steps += 1
            self.after.step(metric)

    def _next_lr(self, metric: float | None) -> float:
        return self.base_lr * min((self.num_steps + 1) / self.steps, 1.0)

    def state_dict(self) -> dict[str, Any]:
        """Return what later rates depend on; names of the schedule after the warm-up begin with ``"after."``."""
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
