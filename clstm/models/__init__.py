"""Networks: layers put together, trained by `clstm.train.fit`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clstm._package import lazy

if TYPE_CHECKING:
    from clstm.models.base import LSTMNetwork as LSTMNetwork
    from clstm.models.sequence import LSTMClassifierNetwork as LSTMClassifierNetwork
    from clstm.models.sequence import NetworkContext as NetworkContext
    from clstm.models.sequence import SequenceNetwork as SequenceNetwork

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "base": ("LSTMNetwork",),
        "sequence": ("LSTMClassifierNetwork", "NetworkContext", "SequenceNetwork"),
    },
)
