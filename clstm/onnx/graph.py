"""A graph that is built node by node, and written as an ONNX model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from clstm._version import __version__
from clstm.onnx.package import helper, numpy_helper, onnx

# From this version on the axes of reductions are inputs; every runtime of recent years reads it.
OPSET = 18
LARGEST = 2**31 - 1  # bytes that protobuf can write


class Graph:
    """A graph that is built node by node. Values are identified by their names.

    Attributes
    ----------
    with_state, with_lengths : bool
        Whether the model has inputs for the initial state, and for the lengths.
    """

    def __init__(self, state: bool, lengths: bool) -> None:
        self.with_state, self.with_lengths = state, lengths
        self.nodes: list[onnx.NodeProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self._names: set[str] = set()

    def serialize(self) -> bytes:
        """Return the content of an ONNX file."""
        size = sum(len(tensor.raw_data) for tensor in self.initializers)
        if size > LARGEST - (1 << 20):
            raise ValueError(f"model has {size} bytes of weights, and an ONNX file can have {LARGEST}")
        graph = helper.make_graph(self.nodes, "clstm", self.inputs, self.outputs, self.initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=8, producer_name="clstm", producer_version=__version__
        )
        return model.SerializeToString()

    def node(
        self, operator: str, inputs: Sequence[str], name: str, outputs: Sequence[str] = (), **attributes: Any
    ) -> str:
        """Add a node; return its first output, which has the node's name if no outputs are given."""
        outputs = list(outputs) or [name]
        self.nodes.append(helper.make_node(operator, list(inputs), outputs, name=name, **attributes))
        return outputs[0]

    def constant(self, name: str, value: Any) -> str:
        """Add a constant, once for each name."""
        if name not in self._names:
            self._names.add(name)
            self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def axes(self, *axes: int) -> str:
        """Add a constant of axes."""
        return self.constant("axes_" + "_".join(map(str, axes)).replace("-", "minus_"), np.array(axes, np.int64))

    def input(self, name: str, dtype: Any, *shape: int | str) -> str:
        """Add an input of the model; a size may be a name."""
        self.inputs.append(helper.make_tensor_value_info(name, element_type(dtype), shape))
        return name

    def output(self, name: str, dtype: Any, *shape: int | str) -> str:
        """Add an output of the model."""
        self.outputs.append(helper.make_tensor_value_info(name, element_type(dtype), shape))
        return name


def element_type(dtype: Any) -> int:
    """Return ONNX's number of a dtype."""
    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
