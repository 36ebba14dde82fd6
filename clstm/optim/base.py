"""What all optimisers share: the checks of a step, the settings and the state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from clstm._checks import check_flag, check_fraction, check_index, check_real, check_state_dict
from clstm._core import threads
from clstm._package import public
from clstm.layers.base import Layer
from clstm.layers.row_gradient import RowGradient
from clstm.optim.gradients import check_gradients

# Smaller weights are updated by one thread. That takes 2 ms at most, of which a second thread would save half on an
# idle machine; on a busy one, waiting for the second thread can cost a scheduler's time slice, 10 ms.
MIN_PARALLEL_SIZE = 1 << 21


@public("clstm.optim")
class Optimizer:
    """Base of the optimisers: checks gradients, and holds the learning rate, the settings and the state.

    A subclass passes to `__init__` the names of the state arrays that it needs for each weight, and its settings as
    keyword arguments; and it overrides `_update`.

    Parameters
    ----------
    layer : Layer
        Whose weights are updated.
    lr : float
        Learning rate.
    state_names : tuple of str
        Names of the state arrays, which have the shape of their weight and begin as zeros.
    **settings : float or bool
        Attributes that the updates depend on.
    """

    def __init__(self, layer: Layer, lr: float, state_names: tuple[str, ...], **settings: float | bool) -> None:
        if not isinstance(layer, Layer):
            raise TypeError(f"layer is {type(layer).__name__}, expected a layer or network")
        self.layer = layer
        self.lr = lr
        self.num_steps = 0
        self._settings = tuple(settings)
        for name, value in settings.items():
            setattr(self, name, _check_setting(name, value))
        # For each weight the arrays of state_names, in their order
        self._state = {
            name: {state_name: np.zeros_like(weight) for state_name in state_names}
            for name, weight in layer.parameters().items()
        }

    @property
    def lr(self) -> float:
        """The learning rate, 0 or more. It can be set at any time."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = check_real("lr", value, low=0.0)

    def step(self, grads: Mapping[str, np.ndarray | RowGradient]) -> None:
        """Update the layer's weights in place.

        Parameters
        ----------
        grads : mapping of str to ndarray or RowGradient
            The gradient of each weight by its name, of its shape and dtype. It isn't changed.

        Raises
        ------
        TypeError
            Not a mapping, or an array of another dtype.
        ValueError
            A name is missing or unexpected, a shape differs, or there is a `RowGradient` together with momentum or
            weight decay. No weight has changed then.
        """
        checked = check_gradients(grads, self.layer.parameters())
        for name, (_, rows) in checked.items():
            if rows is not None:
                self._refuse_row_gradient(name)
        self.num_steps += 1
        with self.layer.updating() as weights:
            for name, weight in weights.items():
                grad, rows = checked[name]
                state = [array.reshape(-1) for array in self._state[name].values()]
                self._update(
                    weight.reshape(-1), grad, *state, num_threads=threads_for(self.layer, grad.size), rows=rows
                )

    def _update(
        self, weight: np.ndarray, grad: np.ndarray, *state: np.ndarray, num_threads: int, rows: np.ndarray | None
    ) -> None:
        """Update a weight in place; if `rows` is given, only these rows, which are the ones that `grad` holds.

        All arrays are flat.
        """
        raise NotImplementedError

    def _refuse_row_gradient(self, name: str) -> None:
        """Raise ValueError if a setting changes all rows at each step, which a `RowGradient` can't express."""
        for setting in ("momentum", "weight_decay"):
            if getattr(self, setting, 0):
                raise ValueError(
                    f"the gradient of {name} is a RowGradient, but {setting} is {getattr(self, setting)}, which would "
                    "move all rows at each step; set it to 0, or pass gradient.to_dense()"
                )

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of all that later steps depend on, except the weights.

        Returns
        -------
        dict
            The number of steps so far, the learning rate and the settings by name, and each state array as
            ``"<state>.<weight>"``, such as ``"exp_avg.fc.bias"``.
        """
        arrays = {name: array.copy() for name, array in self._arrays().items()}
        return {name: getattr(self, name) for name in self._scalars()} | arrays

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore the state: with the same weights and gradients, later steps have the same results, bit for bit.

        Parameters
        ----------
        state_dict : mapping
            As `state_dict` returned it.

        Raises
        ------
        TypeError, ValueError
            A name is missing or unexpected, or a value, shape or dtype is wrong. Nothing has changed then.
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"state_dict is {type(state_dict).__name__}, expected a mapping")
        scalars = self._scalars()
        missing = [name for name in scalars if name not in state_dict]
        if missing:
            raise ValueError(f"state_dict lacks {', '.join(missing)}")
        values = {name: _check_setting(name, state_dict[name]) for name in scalars}
        arrays = check_state_dict({name: a for name, a in state_dict.items() if name not in scalars}, self._arrays())
        for name, value in values.items():
            setattr(self, name, value)
        for name, array in self._arrays().items():
            array[...] = arrays[name]

    def _scalars(self) -> tuple[str, ...]:
        return ("num_steps", "lr", *self._settings)

    def _arrays(self) -> dict[str, np.ndarray]:
        return {
            f"{state_name}.{name}": array for name, state in self._state.items() for state_name, array in state.items()
        }

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)}" for name in ("lr", *self._settings))
        return f"{type(self).__name__}({settings})"


def threads_for(layer: Layer, size: int) -> int:
    """Return the number of threads for an update of a weight with `size` elements."""
    return threads.resolve(layer.num_threads) if size >= MIN_PARALLEL_SIZE else 1


def _check_setting(name: str, value: Any) -> float | bool | int:
    """Return a setting of an optimiser, checked to be in the range that belongs to its name."""
    if name == "num_steps":
        return check_index(name, value, low=0)
    if name == "nesterov":
        return check_flag(name, value)
    if name in ("beta1", "beta2", "alpha"):
        return check_fraction(name, value)
    return check_real(name, value, low=0.0)
