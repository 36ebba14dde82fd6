"""The variants of an LSTM: the options of a step's equations, as the compiled paths take them.

The equations are in docs/equations.md. `clstm.LSTM` makes a `Variant` for each direction from its arguments, and a
path's `pack` takes it together with the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# An activation's code is its index; src/ and portable/variant.pyx have the same order.
ACTIVATIONS = (
    "sigmoid", "tanh", "relu", "hard_sigmoid", "leaky_relu", "thresholded_relu", "elu", "affine", "scaled_tanh",
    "softsign", "softplus", "linear", "exponential", "selu",
)  # fmt: skip

# Default alpha and beta, with ONNX's values. Activations that aren't listed have neither.
ALPHA_BETA = {
    "hard_sigmoid": (0.2, 0.5),
    "leaky_relu": (0.01, 0.0),
    "thresholded_relu": (1.0, 0.0),
    "elu": (1.0, 0.0),
    "affine": (1.0, 0.0),
    "scaled_tanh": (1.0, 1.0),
}

# selu(x) = SELU_SCALE * (x if x > 0 else SELU_ALPHA * (e^x - 1)): Klambauer et al. (2017), the constants of PyTorch
# and Keras
SELU_ALPHA = 1.6732632423543772848170429916717
SELU_SCALE = 1.0507009873554804934193349852946

NORM_EPS = 1e-5  # layer_norm's, added to the variance

Activation = tuple[int, float, float]
SIGMOID: Activation = (ACTIVATIONS.index("sigmoid"), 0.0, 0.0)
TANH: Activation = (ACTIVATIONS.index("tanh"), 0.0, 0.0)


@dataclass(frozen=True)
class Variant:
    """The options of one direction's step; the defaults are those of the plain LSTM of Gers et al. (2000).

    Attributes
    ----------
    coupled : bool
        The input gate is 1 - f. Weights, biases and gains still have the rows of i, which are zero.
    cell_clip, gate_clip : float
        Limits of c, and of the arguments of the activations of i, f, g and o; infinite for none.
    layer_norm, peephole : bool
    projected : bool
        The output is weight_hr m, where m is the output of an LSTM without projection.
    zoneout : (float, float)
        In inference, the fractions of the previous h and c in the new ones.
    activations : three of (code, alpha, beta)
        Of the gates i, f and o; of g; and of c where it enters the output.
    general : bool
        Use the kernels for any variant, even where all other options are at their defaults. Needed where calls have
        masks, and where the other direction's variant isn't plain.
    """

    coupled: bool = False
    cell_clip: float = math.inf
    gate_clip: float = math.inf
    layer_norm: bool = False
    peephole: bool = False
    projected: bool = False
    zoneout: tuple[float, float] = (0.0, 0.0)
    activations: tuple[Activation, Activation, Activation] = (SIGMOID, TANH, TANH)
    general: bool = False

    @property
    def plain(self) -> bool:
        """Whether the kernels for the plain LSTM are used, which are the fastest."""
        return self == PLAIN


PLAIN = Variant()
