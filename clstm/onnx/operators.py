"""The operators other than LSTM, in NumPy: those of the usual layers around an LSTM.

Each is a function of the node's attributes and the version of the operator set, which returns the function of the
node's inputs. Where versions from 7 on differ, the version decides, or where a parameter is found: the axes of Squeeze,
for one, were an attribute before they were an input.
"""

from __future__ import annotations

from clstm.onnx import index_operators, math_operators, shape_operators
from clstm.onnx.node import Operators

OPERATORS = Operators(math_operators.OPERATORS | shape_operators.OPERATORS | index_operators.OPERATORS)
