"""Losses: the mean over a batch, and its gradient with respect to the first argument.

Every loss returns ``(value, gradient)``: a Python float, summed in float64, and an array of the first argument's
shape and dtype. The gradient is that of the mean, so it can be passed to `backward` unchanged. Reductions are
PyTorch's; a mean with weights is sum(weight * loss) / sum(weight).

Targets and weights must have the dtype of the first argument (nothing is cast) and match its shape (nothing is
broadcast unless a parameter's description says so). NaN and infinity in the first argument pass through to value and
gradient.

Every loss takes a `sample_weight`: a weight, 0 or more, for each sample, or for each sample and step, and so on. Its
shape is that of one or more of the first axes of the losses. Elements of weight 0 are ignored, whatever their values:
so a mask (batch, time), converted to floats, leaves out the steps past the rows' lengths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clstm._package import lazy

if TYPE_CHECKING:
    from clstm.losses.classification import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
    from clstm.losses.classification import cross_entropy as cross_entropy
    from clstm.losses.ctc_loss import ctc as ctc
    from clstm.losses.regression import huber as huber
    from clstm.losses.regression import mixture_density as mixture_density
    from clstm.losses.regression import mse as mse
    from clstm.losses.regression import quantile as quantile

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "classification": ("binary_cross_entropy_with_logits", "cross_entropy"),
        "ctc_loss": ("ctc",),
        "regression": ("huber", "mixture_density", "mse", "quantile"),
    },
)
