"""The layers: LSTM, LSTMCell, their streams, and the layers around them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clstm._package import lazy

if TYPE_CHECKING:
    from clstm.layers.adaptive_softmax import AdaptiveLogSoftmax as AdaptiveLogSoftmax
    from clstm.layers.attention import Attention as Attention
    from clstm.layers.attention import AttentionGradients as AttentionGradients
    from clstm.layers.base import Layer as Layer
    from clstm.layers.base import LayerContext as LayerContext
    from clstm.layers.base import LayerGradients as LayerGradients
    from clstm.layers.dropout import Dropout as Dropout
    from clstm.layers.embedding import Embedding as Embedding
    from clstm.layers.gate_orders import GATE_ORDERS as GATE_ORDERS
    from clstm.layers.gate_orders import reorder_gates as reorder_gates
    from clstm.layers.linear import Linear as Linear
    from clstm.layers.lstm import LSTM as LSTM
    from clstm.layers.lstm_cell import LSTMCell as LSTMCell
    from clstm.layers.pooling import POOLINGS as POOLINGS
    from clstm.layers.pooling import LastPooling as LastPooling
    from clstm.layers.pooling import MaxPooling as MaxPooling
    from clstm.layers.pooling import MeanPooling as MeanPooling
    from clstm.layers.recurrent import LSTMContext as LSTMContext
    from clstm.layers.recurrent import LSTMGradients as LSTMGradients
    from clstm.layers.row_gradient import RowGradient as RowGradient
    from clstm.layers.stream import Stream as Stream

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "adaptive_softmax": ("AdaptiveLogSoftmax",),
        "attention": ("Attention", "AttentionGradients"),
        "base": ("Layer", "LayerContext", "LayerGradients"),
        "dropout": ("Dropout",),
        "embedding": ("Embedding",),
        "gate_orders": ("GATE_ORDERS", "reorder_gates"),
        "linear": ("Linear",),
        "lstm": ("LSTM",),
        "lstm_cell": ("LSTMCell",),
        "pooling": ("POOLINGS", "LastPooling", "MaxPooling", "MeanPooling"),
        "recurrent": ("LSTMContext", "LSTMGradients"),
        "row_gradient": ("RowGradient",),
        "stream": ("Stream",),
    },
)
