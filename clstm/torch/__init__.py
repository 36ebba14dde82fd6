"""PyTorch's LSTM and LSTMCell computed by this library: same constructor, call and state_dict, training included.

`LSTM` and `LSTMCell` derive from torch.nn's and inherit parameters, checks and copying; the forward and backward passes
run in `clstm.LSTM`, through `torch.autograd.Function`. `replace` changes the class of a model's LSTMs in place.

`clstm.torch.autograd` has the forward and backward passes, `clstm.torch.packed_weights` how changed weights are
noticed.
"""

from __future__ import annotations

from clstm.torch.modules import LSTM as LSTM
from clstm.torch.modules import LSTMCell as LSTMCell
from clstm.torch.replacement import replace as replace
from clstm.torch.replacement import restore as restore

__all__ = ["LSTM", "LSTMCell", "replace", "restore"]
