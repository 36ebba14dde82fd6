"""What all pictures share: matplotlib, colours and axes."""

from __future__ import annotations

from typing import Any

import numpy as np

# Okabe and Ito's palette, which colour-blind people can distinguish.
BLACK, BLUE, ORANGE = "#222222", "#0072B2", "#D55E00"


def pyplot() -> Any:
    """Return matplotlib.pyplot; raise ImportError that says how to install it."""
    try:
        from matplotlib import pyplot as module
    except ImportError:
        raise ImportError("pictures need matplotlib: pip install clstm-cpu[plot]") from None
    return module


def as_row(axes: Any) -> np.ndarray:
    """Return one axes object, or several in any arrangement, as an array of one axis."""
    return np.atleast_1d(np.array(axes, object)).ravel()
