"""Optimisers, gradient clipping, and an average of the weights.

An optimiser is made for a layer or network and changes its weights in place: ``optimizer.step(grads.weights)``.
Meanings, defaults and order of operations are PyTorch's; each weight is read and written in one pass.

A gradient that holds only some rows (`RowGradient`, of an `Embedding(..., sparse=True)`) updates these as the array
would, and leaves all others, and what is kept for them, as they are. Without momentum SGD so does the same as with an
array; Adam and RMSprop don't, for with an array the averages of unseen rows decay and go on moving them (PyTorch's
SparseAdam is this lazy form, too). What is for all rows at each step, momentum and weight decay, is refused.

Gradients that aren't finite are used like any others and spoil the weights that they belong to: no step is left out
in silence. `clip_grad_norm` returns a norm that isn't finite then, by which a caller can tell, and leave the step out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from clstm._checks import (
    as_array,
    check_flag,
    check_fraction,
    check_index,
    check_positive,
    check_real,
    check_state_dict,
)
from clstm._core import _optim, threads
from clstm.layers.base import Layer
from clstm.layers.row_gradient import RowGradient, check_rows

# Weights of fewer elements take one thread: that needs 2 ms at most, of which another would save half where the
# machine is idle, but where it is busy waiting for the other can cost a scheduler's time slice, 10 ms.
MIN_PARALLEL_SIZE = 1 << 21


class Optimizer:
    """Base of the optimisers: checks gradients, and holds the learning rate, the settings and the state.

    A subclass names its settings, as keyword arguments of `__init__`, and the state arrays it keeps for each weight,
    and overrides `_update`.
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
        """The learning rate; to be set at any time, 0 or more."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = check_real("lr", value, low=0.0)

    def step(self, grads: Mapping[str, np.ndarray | RowGradient]) -> None:
        """Update the layer's weights in place.

        Parameters
        ----------
        grads : mapping of str to ndarray or RowGradient
            The gradient of each weight by its name, of its shape and dtype; only read.

        Raises
        ------
        TypeError
            Not a mapping, or an array of another dtype.
        ValueError
            A name is missing or unexpected, a shape differs, or there is a `RowGradient` beside momentum or weight
            decay; no weight has changed then.
        """
        grads = _check_grads(grads, self.layer.parameters())
        for name, (_, rows) in grads.items():
            if rows is not None:
                self._check_all_rows_wait(name)
        self.num_steps += 1
        with self.layer.updating() as weights:
            for name, weight in weights.items():
                grad, rows = grads[name]
                state = [array.reshape(-1) for array in self._state[name].values()]
                self._update(
                    weight.reshape(-1), grad, *state, num_threads=_threads_for(self.layer, grad.size), rows=rows
                )

    def _update(
        self, weight: np.ndarray, grad: np.ndarray, *state: np.ndarray, num_threads: int, rows: np.ndarray | None
    ) -> None:
        """Update a weight, flat as all arrays are; where `rows` is given, only these, which are all that grad holds."""
        raise NotImplementedError

    def _check_all_rows_wait(self, name: str) -> None:
        for setting in ("momentum", "weight_decay"):
            if getattr(self, setting, 0):
                raise ValueError(
                    f"the gradient of {name} is a RowGradient, but {setting} is {getattr(self, setting)}, which would "
                    "move all rows at each step; set it to 0, or pass gradient.to_dense()"
                )

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of all that the next steps depend on, beside the weights.

        Returns
        -------
        dict
            The number of steps done, the learning rate and the settings by name, and each state array as
            ``"<state>.<weight>"``, such as ``"exp_avg.fc.bias"``.
        """
        arrays = {name: array.copy() for name, array in self._arrays().items()}
        return {name: getattr(self, name) for name in self._scalars()} | arrays

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from where `state_dict` was called: with the same weights and gradients, to the same bits.

        Raises
        ------
        TypeError, ValueError
            A name is missing or unexpected, or a value, shape or dtype doesn't fit; nothing has changed then.
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


class SGD(Optimizer):
    """Gradient descent, with momentum if wanted (PyTorch's form, without dampening).

    ::

        g = grad + weight_decay * weight
        buffer = momentum * buffer + g
        weight -= lr * (g + momentum * buffer  if nesterov else  buffer)

    Parameters
    ----------
    layer : Layer
        Whose weights are updated.
    lr : float, default 1e-3
        Learning rate.
    momentum : float, default 0.0
        0 or more; Polyak (1964).
    nesterov : bool, default False
        Nesterov's momentum, as in Sutskever et al. (2013); needs a momentum above 0.
    weight_decay : float, default 0.0
        L2 penalty, of all weights.

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong kind or out of range.
    """

    def __init__(
        self,
        layer: Layer,
        lr: float = 1e-3,
        momentum: float = 0.0,
        *,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        momentum = check_real("momentum", momentum, low=0.0)
        if check_flag("nesterov", nesterov) and momentum == 0:
            raise ValueError("nesterov is True, but momentum is 0")
        state_names = ("momentum_buffer",) if momentum > 0 else ()
        super().__init__(layer, lr, state_names, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)

    def _update(self, weight, grad, buffer=None, *, num_threads, rows):
        _optim.sgd(weight, grad, buffer, self.lr, self.momentum, self.nesterov, self.weight_decay, num_threads, rows)


class Adam(Optimizer):
    """Adam of Kingma & Ba (2015).

    ::

        g = grad + weight_decay * weight
        exp_avg = beta1 * exp_avg + (1 - beta1) * g
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * g^2
        weight -= lr / (1 - beta1^t) * exp_avg / (sqrt(exp_avg_sq / (1 - beta2^t)) + eps)

    Parameters
    ----------
    layer : Layer
        Whose weights are updated.
    lr : float, default 1e-3
        Learning rate.
    betas : (float, float), default (0.9, 0.999)
        Decay of the averages of the gradient and of its square, 0 or more and below 1.
    eps : float, default 1e-8
        Keeps the divisor above 0.
    weight_decay : float, default 0.0
        L2 penalty, of all weights; see `AdamW`.

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong kind or out of range.
    """

    _decoupled = False

    def __init__(
        self,
        layer: Layer,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        try:
            beta1, beta2 = betas
        except (TypeError, ValueError):
            raise TypeError(f"betas is {betas!r}, expected a pair of numbers") from None
        super().__init__(
            layer, lr, ("exp_avg", "exp_avg_sq"), beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay
        )

    def _update(self, weight, grad, exp_avg, exp_avg_sq, *, num_threads, rows):
        step_size = self.lr / (1 - self.beta1**self.num_steps)
        root_scale = (1 - self.beta2**self.num_steps) ** -0.5
        l2, shrink = (0.0, 1 - self.lr * self.weight_decay) if self._decoupled else (self.weight_decay, 1.0)
        _optim.adam(
            weight, grad, exp_avg, exp_avg_sq, self.beta1, self.beta2, step_size, root_scale, self.eps, l2, shrink,
            num_threads, rows,
        )  # fmt: skip


class AdamW(Adam):
    """Adam with decoupled weight decay, of Loshchilov & Hutter (2019).

    As `Adam` without weight decay, after ``weight *= 1 - lr * weight_decay``.

    Parameters
    ----------
    layer : Layer
        Whose weights are updated.
    lr : float, default 1e-3
        Learning rate.
    betas : (float, float), default (0.9, 0.999)
        Decay of the averages of the gradient and of its square, 0 or more and below 1.
    eps : float, default 1e-8
        Keeps the divisor above 0.
    weight_decay : float, default 0.01
        Of all weights.

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong kind or out of range.
    """

    _decoupled = True

    def __init__(
        self,
        layer: Layer,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(layer, lr, betas, eps, weight_decay)


class RMSprop(Optimizer):
    """RMSprop of Tieleman & Hinton (2012), not centred.

    ::

        g = grad + weight_decay * weight
        square_avg = alpha * square_avg + (1 - alpha) * g^2
        buffer = momentum * buffer + g / (sqrt(square_avg) + eps)
        weight -= lr * buffer

    Parameters
    ----------
    layer : Layer
        Whose weights are updated.
    lr : float, default 1e-2
        Learning rate.
    alpha : float, default 0.99
        Decay of the average of the gradient's square, 0 or more and below 1.
    eps : float, default 1e-8
        Keeps the divisor above 0.
    weight_decay : float, default 0.0
        L2 penalty, of all weights.
    momentum : float, default 0.0
        0 or more.

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong kind or out of range.
    """

    def __init__(
        self,
        layer: Layer,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
    ) -> None:
        momentum = check_real("momentum", momentum, low=0.0)
        state_names = ("square_avg", "momentum_buffer") if momentum > 0 else ("square_avg",)
        super().__init__(layer, lr, state_names, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum)

    def _update(self, weight, grad, square_avg, buffer=None, *, num_threads, rows):
        _optim.rmsprop(
            weight, grad, square_avg, buffer, self.lr, self.alpha, self.eps, self.momentum, self.weight_decay,
            num_threads, rows,
        )  # fmt: skip


def clip_grad_norm(grads: Mapping[str, np.ndarray | RowGradient], max_norm: float) -> float:
    """Scale all gradients in place so that their common norm is at most `max_norm` (Pascanu et al. 2013).

    The factor is max_norm / (norm + 1e-6) where that is below 1, as PyTorch has it.

    Parameters
    ----------
    grads : mapping of str to ndarray or RowGradient
        float32 or float64, writable.
    max_norm : float
        Above 0.

    Returns
    -------
    float
        The norm before, in float64: the root of the sum of all squares. Where it isn't finite the gradients have
        been left as they were.

    Raises
    ------
    TypeError
        Something other than float arrays.
    ValueError
        `max_norm` not above 0, or an array that is read-only.
    """
    arrays = _check_writable(grads)
    max_norm = check_positive("max_norm", max_norm)
    norm = math.sqrt(sum(_optim.sum_of_squares(_flat(array)) for array in arrays))
    factor = max_norm / (norm + 1e-6)
    if math.isfinite(norm) and factor < 1:
        for array in arrays:
            array *= factor
    return norm


def clip_grad_value(grads: Mapping[str, np.ndarray | RowGradient], value: float) -> None:
    """Limit every element of all gradients to -value ... value, in place; NaN stays.

    Parameters
    ----------
    grads : mapping of str to ndarray or RowGradient
        float32 or float64, writable.
    value : float
        Above 0.

    Raises
    ------
    TypeError
        Something other than float arrays.
    ValueError
        `value` not above 0, or an array that is read-only.
    """
    arrays = _check_writable(grads)
    value = check_positive("value", value)
    for array in arrays:
        np.clip(array, -value, value, out=array)


class ExponentialMovingAverage:
    """An average of a layer's weights over the last steps, which often predicts better than the last weights.

    Polyak & Juditsky (1992), with weights that decay: each `update` counts the present weights 1 - decay and all
    before decay times. What the weights were before the first `update` doesn't count (the bias correction of Adam):
    after n updates the average is ``average += (1 - decay) / (1 - decay^n) * (weight - average)``, so it begins as
    the first weights it is shown, not as random ones, and is the plain recursion as soon as decay^n is small. On the
    movie reviews, with a decay of 0.99 both are the same from the third epoch on; with 0.998 the corrected average
    is some 10 points of accuracy ahead in the second epoch and level after the fifth.

    Parameters
    ----------
    layer : Layer
        Whose weights are averaged.
    decay : float
        0 or more and below 1: the average reaches back about 1 / (1 - decay) updates.

    Attributes
    ----------
    num_updates : int
        How many there were.

    Raises
    ------
    TypeError, ValueError
        An argument of the wrong kind or out of range.
    """

    def __init__(self, layer: Layer, decay: float) -> None:
        if not isinstance(layer, Layer):
            raise TypeError(f"layer is {type(layer).__name__}, expected a layer or network")
        self.layer = layer
        self.decay = check_fraction("decay", decay)
        self.num_updates = 0
        self._average = layer.state_dict()
        self._applied = False

    def update(self) -> None:
        """Take the layer's present weights into the average; to be called after each step of the optimiser.

        Raises
        ------
        RuntimeError
            Inside `applied`, where the layer's weights are the average.
        """
        if self._applied:
            raise RuntimeError("update inside applied: the layer's weights are the average there")
        self.num_updates += 1
        rate = (1 - self.decay) / (1 - self.decay**self.num_updates)
        for name, weight in self.layer.parameters().items():
            _optim.approach(
                self._average[name].reshape(-1), weight.reshape(-1), rate, _threads_for(self.layer, weight.size)
            )

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the layer the averaged weights inside the ``with`` block, and its own back after it, come what may.

        What changes the layer's weights inside the block is undone with it.

        Raises
        ------
        RuntimeError
            Inside another such block.
        """
        if self._applied:
            raise RuntimeError("applied inside applied: the layer has the averaged weights already")
        own = self.layer.state_dict()
        self._applied = True
        try:
            self.layer.load_state_dict(self._average)
            yield
        finally:
            self.layer.load_state_dict(own)
            self._applied = False

    def state_dict(self) -> dict[str, np.ndarray]:
        """Return a copy of the averaged weights by name, as the layer's `load_state_dict` takes them."""
        return {name: array.copy() for name, array in self._average.items()}

    def load_state_dict(self, state_dict: Mapping[str, Any], num_updates: int) -> None:
        """Go on from an average, and the number of updates it has had.

        Raises
        ------
        TypeError, ValueError
            A name is missing or unexpected, or a shape or dtype differs; nothing has changed then.
        """
        arrays = check_state_dict(state_dict, self._average)
        self.num_updates = check_index("num_updates", num_updates, low=0)
        for name, array in arrays.items():
            self._average[name][...] = array

    def __repr__(self) -> str:
        return f"ExponentialMovingAverage(decay={self.decay}, num_updates={self.num_updates})"


def _threads_for(layer: Layer, size: int) -> int:
    return threads.resolve(layer.num_threads) if size >= MIN_PARALLEL_SIZE else 1


def _flat(array: np.ndarray) -> np.ndarray:
    """Return all elements in C order, aligned: a view where possible, else a copy."""
    return np.require(array, requirements=("C", "A")).reshape(-1)


def _check_grads(
    grads: Any, weights: Mapping[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:  # fmt: skip
    """Return the gradients by name, one for each weight: flat, and the rows that are in it or None for all."""
    if not isinstance(grads, Mapping):
        raise TypeError(
            f"grads is {type(grads).__name__}, expected a mapping of weight names to arrays (grads.weights)"
        )
    missing = [name for name in weights if name not in grads]
    unexpected = [str(name) for name in grads if name not in weights]
    if missing or unexpected:
        problems = [f"lacks {', '.join(missing)}"] if missing else []
        problems += [f"has unexpected {', '.join(unexpected)}"] if unexpected else []
        raise ValueError(f"grads {' and '.join(problems)}; expected {', '.join(weights)}")
    flat = {}
    for name, weight in weights.items():
        grad = grads[name]
        sparse = isinstance(grad, RowGradient)
        if not sparse:
            grad = as_array(f"the gradient of {name}", grad)
        if grad.dtype != weight.dtype:
            raise TypeError(f"the gradient of {name} has dtype {grad.dtype}, expected {weight.dtype}")
        if grad.shape != weight.shape:
            raise ValueError(f"the gradient of {name} has shape {grad.shape}, expected {weight.shape}")
        # The rows again: the array could have been changed since, and they say where to write.
        flat[name] = (_flat(grad.values), check_rows(grad.rows, grad.shape[0])) if sparse else (_flat(grad), None)
    return flat


def _check_writable(grads: Any) -> list[np.ndarray]:
    """Return the arrays of `grads`, to be changed in place."""
    if not isinstance(grads, Mapping):
        raise TypeError(
            f"grads is {type(grads).__name__}, expected a mapping of weight names to arrays (grads.weights)"
        )
    arrays = {name: grad.values if isinstance(grad, RowGradient) else grad for name, grad in grads.items()}
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise TypeError(f"the gradient of {name} is {kind}, expected an array of float32 or float64")
        if not array.flags.writeable:
            raise ValueError(f"the gradient of {name} is read-only, but is to be changed in place")
    return list(arrays.values())


def _check_setting(name: str, value: Any) -> float | bool | int:
    """Return a setting of an optimiser in the range that its name stands for."""
    if name == "num_steps":
        return check_index(name, value, low=0)
    if name == "nesterov":
        return check_flag(name, value)
    if name in ("beta1", "beta2", "alpha"):
        return check_fraction(name, value)
    return check_real(name, value, low=0.0)
