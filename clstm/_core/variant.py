"""What a step of an LSTM computes: the options of its equations, as the compiled code takes them.

The equations stand in docs/equations.md. `clstm.LSTM` makes a `Cell` from its arguments; the `pack_cell` of a backend
takes it with the weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

# An activation's code is its index; src/variant.h has the same order.
ACTIVATIONS = (
    "sigmoid", "tanh", "relu", "hard_sigmoid", "leaky_relu", "thresholded_relu", "elu", "affine", "scaled_tanh",
    "softsign", "softplus", "linear", "exponential", "selu",
)  # fmt: skip

# alpha and beta where they aren't given, ONNX's values; those that aren't here have neither.
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
class Cell:
    """The options of one direction's step.

    Attributes
    ----------
    coupled : bool
        The input gate is 1 - f. Weights, biases and gains still have the rows of i, which are zero.
    cell_clip, gate_clip : float
        The limits of c, and of what goes into the activations of i, f, g and o; infinite for none.
    layer_norm, peephole : bool
    projected : bool
        The output is weight_hr m.
    zoneout : (float, float)
        The parts of h and c that stay at each step in inference.
    activations : three of (code, alpha, beta)
        Of the gates i, f and o, of g, and of what o lets out.
    """

    coupled: bool = False
    cell_clip: float = math.inf
    gate_clip: float = math.inf
    layer_norm: bool = False
    peephole: bool = False
    projected: bool = False
    zoneout: tuple[float, float] = (0.0, 0.0)
    activations: tuple[Activation, Activation, Activation] = (SIGMOID, TANH, TANH)

    @property
    def plain(self) -> bool:
        """Whether it is the LSTM of Gers et al. (2000), for which there are kernels of its own (`pack`).

        Masks of training need `pack_cell`, however plain the cell.
        """
        return self == Cell()
