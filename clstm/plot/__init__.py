"""Pictures, drawn by matplotlib (``pip install clstm-cpu[plot]``), which is imported when the first one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clstm._package import lazy

if TYPE_CHECKING:
    from clstm.plot.alignment import attention as attention
    from clstm.plot.gate_panels import gates as gates
    from clstm.plot.series import forecast as forecast
    from clstm.plot.training import history as history

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "alignment": ("attention",),
        "gate_panels": ("gates",),
        "series": ("forecast",),
        "training": ("history",),
    },
)
