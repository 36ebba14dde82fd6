"""PyTorch's LSTM and LSTMCell computed by this library: same constructor, call and state_dict, training included.

`LSTM` and `LSTMCell` derive from torch.nn's, whose parameters, checks and copies they keep; forward and backward run in
`clstm.LSTM`, through `torch.autograd.Function`. `replace` changes the class of a model's LSTMs in place.

How they do, and how they see that weights have changed, stands in `clstm.torch.autograd`.
"""

from __future__ import annotations

from clstm.torch.modules import LSTM as LSTM
from clstm.torch.modules import LSTMCell as LSTMCell
from clstm.torch.modules import replace as replace
from clstm.torch.modules import restore as restore

__all__ = ["LSTM", "LSTMCell", "replace", "restore"]
