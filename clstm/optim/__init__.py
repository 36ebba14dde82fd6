"""Optimisers, gradient clipping, and an average of the weights.

An optimiser is made for a layer or network and changes its weights in place: ``optimizer.step(grads.weights)``.
Meanings, defaults and order of operations are PyTorch's; each weight is read and written in one pass.

A `RowGradient`, which an ``Embedding(..., sparse=True)`` returns, holds only some rows of a gradient. It updates these
rows as an array would, and leaves all other rows and their state unchanged. With SGD the result is that of an array
with zeros in the other rows. With Adam and RMSprop it isn't: given an array, their averages decay in the other rows
too, and Adam continues to move these. (PyTorch's SparseAdam is lazy in the same way.) Momentum and weight decay change
all rows at each step, so they are refused together with a `RowGradient`.

Gradients that aren't finite are used like any others and make the weights NaN or infinite; no step is skipped silently.
`clip_grad_norm` then returns a norm that isn't finite, so that a caller can skip the step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clstm._package import lazy

if TYPE_CHECKING:
    from clstm.optim.averaging import ExponentialMovingAverage as ExponentialMovingAverage
    from clstm.optim.base import Optimizer as Optimizer
    from clstm.optim.clipping import clip_grad_norm as clip_grad_norm
    from clstm.optim.clipping import clip_grad_value as clip_grad_value
    from clstm.optim.optimizers import SGD as SGD
    from clstm.optim.optimizers import Adam as Adam
    from clstm.optim.optimizers import AdamW as AdamW
    from clstm.optim.optimizers import RMSprop as RMSprop

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "averaging": ("ExponentialMovingAverage",),
        "base": ("Optimizer",),
        "clipping": ("clip_grad_norm", "clip_grad_value"),
        "optimizers": ("SGD", "Adam", "AdamW", "RMSprop"),
    },
)
