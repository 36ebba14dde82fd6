"""The optimisers: SGD, Adam, AdamW and RMSprop."""

from __future__ import annotations

from clstm._checks import check_flag, check_real
from clstm._core import _optim
from clstm._package import public
from clstm.layers.base import Layer
from clstm.optim.base import Optimizer


@public("clstm.optim")
class SGD(Optimizer):
    """Gradient descent, optionally with momentum (PyTorch's form, without dampening).

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
        L2 penalty on all weights.

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


@public("clstm.optim")
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
        Decay of the moving averages of the gradient and of its square, 0 or more and below 1.
    eps : float, default 1e-8
        Added to the divisor, so that it is above 0.
    weight_decay : float, default 0.0
        L2 penalty on all weights. `AdamW` decays them instead.

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


@public("clstm.optim")
class AdamW(Adam):
    """Adam with decoupled weight decay, of Loshchilov & Hutter (2019).

    First ``weight *= 1 - lr * weight_decay``, then the step of `Adam` without weight decay.

    Parameters
    ----------
    layer : Layer
        Whose weights are updated.
    lr : float, default 1e-3
        Learning rate.
    betas : (float, float), default (0.9, 0.999)
        Decay of the moving averages of the gradient and of its square, 0 or more and below 1.
    eps : float, default 1e-8
        Added to the divisor, so that it is above 0.
    weight_decay : float, default 0.01
        Decay of all weights.

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


@public("clstm.optim")
class RMSprop(Optimizer):
    """RMSprop of Tieleman & Hinton (2012), without centring.

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
        Decay of the moving average of the gradient's square, 0 or more and below 1.
    eps : float, default 1e-8
        Added to the divisor, so that it is above 0.
    weight_decay : float, default 0.0
        L2 penalty on all weights.
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
