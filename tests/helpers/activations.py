"""What the vector kernels' sigmoid and tanh are compared with."""

import numpy as np

EXACT = {"sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh}
LARGEST_ULP = {np.float32: 2.0, np.float64: 2.5}  # units in the last place of a result
