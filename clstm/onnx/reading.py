"""Loading ONNX models. Nothing in a model is trusted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from clstm._checks import check_index
from clstm.layers.lstm import LSTM
from clstm.onnx.attributes import Attributes
from clstm.onnx.lstm_node import NodeOptions, make_layer, run_layer
from clstm.onnx.model import Declared, Model, Step
from clstm.onnx.node import MANY, Node, PartialFunction
from clstm.onnx.operators import OPERATORS
from clstm.onnx.package import DecodeError, onnx
from clstm.onnx.types import dtype_of, tensor_array

# Versions of the operator set that `operators` was written for: the broadcasting of 7 is NumPy's.
OLDEST, NEWEST = 7, 28
_LSTM_INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")


def load(path_or_model: Any, *, num_threads: int | None = None) -> Model:
    """Make an ONNX model ready to run.

    LSTM nodes become layers of this library, with all attributes that the operator has; other nodes run on NumPy. What
    isn't supported is an error here, not in a call. Needs onnx (``clstm-cpu[onnx]``), but
    neither PyTorch nor ONNX Runtime.

    Parameters
    ----------
    path_or_model : str, path, bytes or onnx.ModelProto
        A file (weights in separate files are read from its folder only), its content, or a model in memory.
    num_threads : int, optional
        Threads of the LSTM layers; None leaves it to `clstm.set_num_threads` and the environment.

    Returns
    -------
    Model
        With `run`, and the layers in `lstms`.

    Raises
    ------
    ImportError
        onnx isn't installed.
    OSError
        The file can't be read.
    TypeError
        `path_or_model` is something else.
    ValueError
        It isn't a complete ONNX model, or has something that isn't supported: an operator or attribute, an operator set
        other than 7 to 28, an element type such as float16, a weight whose shape doesn't fit. Named with the node.

    Examples
    --------
    >>> import clstm.onnx
    >>> model = clstm.onnx.load("tagger.onnx")                          # doctest: +SKIP
    >>> [(value.name, value.shape, value.type) for value in model.get_inputs()]         # doctest: +SKIP
    [('x', ['batch', 'time', 16], 'tensor(float)')]
    >>> (out,) = model.run(["out"], {"x": x})                           # doctest: +SKIP
    """
    if num_threads is not None:
        num_threads = check_index("num_threads", num_threads, low=1)
    name, proto = _proto(path_or_model)
    try:
        return _Builder(proto, num_threads).build()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _proto(source: Any) -> tuple[str, onnx.ModelProto]:
    """Return the source's name for errors, and the model that it holds, with all external data."""
    if isinstance(source, onnx.ModelProto):
        return "the model", source
    if isinstance(source, (bytes, bytearray, memoryview)):
        return "the model", _parsed("the model", bytes(source))
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"path_or_model is {type(source).__name__}, expected a path, bytes or an onnx.ModelProto")
    name = os.fsdecode(source)
    model = _parsed(name, Path(name).read_bytes())
    try:
        onnx.load_external_data_for_model(model, os.path.dirname(os.path.abspath(name)))
    except (ValueError, onnx.checker.ValidationError) as error:
        raise ValueError(f"{name}: its external data can't be read: {error}") from None
    return name, model


def _parsed(name: str, data: bytes) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise ValueError(f"{name} isn't an ONNX model ({error})") from None
    return model


class _Builder:
    """Goes through a graph once, in order: nodes with known inputs are computed, the others become steps."""

    def __init__(self, proto: onnx.ModelProto, num_threads: int | None) -> None:
        if not proto.HasField("graph") or not proto.ir_version:
            raise ValueError("it isn't an ONNX model, or has no graph")
        if proto.functions:
            import onnx.inliner

            try:
                proto = onnx.inliner.inline_local_functions(proto)
            except (RuntimeError, onnx.checker.ValidationError) as error:
                raise ValueError(f"its functions can't be inlined: {error}") from None
        self.graph, self.num_threads = proto.graph, num_threads
        self.opset = _opset(proto.opset_import)
        self.constants: dict[str, np.ndarray] = {}
        self.known: set[str] = set()  # all names so far, of constants and of results of steps
        self.steps: list[Step] = []
        self.lstms: dict[str, LSTM] = {}

    def build(self) -> Model:
        if self.graph.sparse_initializer:
            raise ValueError("it has sparse initializers, which aren't supported")
        for tensor in self.graph.initializer:
            self._define([tensor.name], f"initializer {tensor.name!r}")
            self._add_constant(tensor.name, tensor_array(f"initializer {tensor.name!r}", tensor))
        inputs = [_declared(value, "input") for value in self.graph.input if value.name not in self.constants]
        self._define([declared.name for declared in inputs], "the graph's inputs")
        for place, node in enumerate(self.graph.node):
            self._add(_what(node, place), node)
        outputs = [_declared(value, "output") for value in self.graph.output]
        for declared in outputs:
            if declared.name not in self.known:
                raise ValueError(f"output {declared.name!r} is computed by no node")
        if len({declared.name for declared in outputs}) != len(outputs):
            raise ValueError("two outputs have one name")
        steps = _with_last_reads(self.steps, {declared.name for declared in outputs})
        read = {name for step in steps for name in step.inputs} | {declared.name for declared in outputs}
        constants = {name: array for name, array in self.constants.items() if name in read}
        return Model(inputs, outputs, constants, steps, self.lstms)

    def _define(self, names: Iterable[str], what: str) -> None:
        for name in names:
            if not name or not isinstance(name, str):  # protobuf returns bytes if they aren't UTF-8
                raise ValueError(f"{what}: {name!r} isn't a name")
            if name in self.known:
                raise ValueError(f"{what}: the name {name!r} is given twice")
            self.known.add(name)

    def _add_constant(self, name: str, array: np.ndarray) -> None:
        """Add a known value, which can't be written to."""
        array = array.view()
        array.flags.writeable = False
        self.constants[name] = array

    def _add(self, what: str, node: onnx.NodeProto) -> None:
        inputs, outputs = _without_last_blanks(node.input), _without_last_blanks(node.output)
        for name in inputs:
            if name and name not in self.known:
                raise ValueError(f"{what}: its input {name!r} is computed by no node before it")
        try:
            if node.domain not in ("", "ai.onnx"):
                raise ValueError(f"operators of the domain {node.domain!r} aren't supported")
            function, inputs = self._function(node, inputs, len(outputs))
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from error
        # An output without a name is unused; it gets a name that no other value can have.
        outputs = [name or f"\0{len(self.known)}.{place}" for place, name in enumerate(outputs)]
        self._define(outputs, what)
        step = Step(what, _tuple_of(function, len(outputs)), tuple(inputs), tuple(outputs))
        if all(name in self.constants for name in inputs if name):
            for name, array in zip(outputs, step.run(self.constants), strict=True):
                self._add_constant(name, array)
        else:
            self.steps.append(step)

    def _function(self, node: onnx.NodeProto, inputs: list[str], outputs: int) -> tuple[Callable[..., Any], list[str]]:
        """Return the function of a node and the names of its inputs."""
        attributes = Attributes(node)
        constants = {place: self.constants[name] for place, name in enumerate(inputs) if name in self.constants}
        if node.op_type == "LSTM":
            _check_count("inputs", len(inputs), 3, 8)
            _check_count("outputs", outputs, 0, 3)
            options = NodeOptions.read(attributes)
            attributes.expect_all_read()
            return self._lstm(node, options, [*inputs, *[""] * (8 - len(inputs))], constants)
        if node.op_type not in OPERATORS:
            raise ValueError(f"the operator isn't supported; those that are: LSTM, {', '.join(sorted(OPERATORS))}")
        operator = OPERATORS[node.op_type]
        _check_count("inputs", len(inputs), *operator.inputs)
        _check_count("outputs", outputs, 0, operator.outputs)
        least, most = operator.inputs
        if not all(inputs if most == MANY else inputs[:least]):
            raise ValueError("an input that it needs has no name")
        function = operator.make(Node(attributes, self.opset, constants, outputs))
        attributes.expect_all_read()
        if isinstance(function, PartialFunction):
            return function.function, [inputs[place] for place in function.places]
        return function, inputs

    def _lstm(
        self, node: onnx.NodeProto, options: NodeOptions, inputs: list[str], constants: dict[int, np.ndarray]
    ) -> tuple[Callable[..., Any], list[str]]:
        places = dict(zip(_LSTM_INPUTS, inputs, strict=True))
        for name in _LSTM_INPUTS[:3]:
            if not places[name]:
                raise ValueError(f"its input {name} is missing")
        weights = [_LSTM_INPUTS.index(name) for name in ("W", "R", "B", "P")]
        data = [_LSTM_INPUTS.index(name) for name in ("X", "sequence_lens", "initial_h", "initial_c")]

        if all(place in constants for place in weights if inputs[place]):
            W, R, B, P = (constants.get(place) for place in weights)
            assert W is not None and R is not None  # noqa: PT018 (their names were checked above)
            layer = make_layer(options, W, R, B, P, self.num_threads)
            name = str(node.name or next(filter(None, node.output), "LSTM"))
            while name in self.lstms:
                name += "_"
            self.lstms[name] = layer
            return lambda *arrays: run_layer(layer, options, *arrays), [inputs[place] for place in data]

        def run(x: Any, lengths: Any, h0: Any, c0: Any, W: Any, R: Any, B: Any, P: Any) -> Any:
            # The weights are inputs, so each call makes a layer.
            return run_layer(make_layer(options, W, R, B, P, self.num_threads), options, x, lengths, h0, c0)

        return run, [inputs[place] for place in (*data, *weights)]


def _opset(imports: Iterable[onnx.OperatorSetIdProto]) -> int:
    versions = [entry.version for entry in imports if entry.domain in ("", "ai.onnx")]
    if len(versions) != 1:
        raise ValueError(f"it imports {len(versions)} versions of ONNX's operator set, expected one")
    if not OLDEST <= versions[0] <= NEWEST:
        raise ValueError(f"its operator set is version {versions[0]}, expected {OLDEST} to {NEWEST}")
    return versions[0]


def _declared(value: onnx.ValueInfoProto, kind: str) -> Declared:
    if not value.type.HasField("tensor_type"):
        raise ValueError(f"{kind} {value.name!r} isn't a tensor, which isn't supported")
    tensor = value.type.tensor_type
    dtype_of(f"{kind} {value.name!r}", tensor.elem_type)
    shape = None
    if tensor.HasField("shape"):
        shape = tuple(
            dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else (dim.dim_param or None)
            for dim in tensor.shape.dim
        )
        if any(isinstance(size, bytes) for size in shape):
            raise ValueError(f"{kind} {value.name!r} has the shape {shape}, with a name that isn't text")
    return Declared(value.name, tensor.elem_type, shape)


def _what(node: onnx.NodeProto, place: int) -> str:
    return f"node {node.name!r} ({node.op_type})" if node.name else f"node number {place} ({node.op_type})"


def _without_last_blanks(names: Iterable[str]) -> list[str]:
    names = list(names)
    while names and not names[-1]:
        names.pop()
    return names


def _check_count(what: str, count: int, least: int, most: int) -> None:
    if not least <= count <= most:
        raise ValueError(f"it has {count} {what}, expected {least if least == most else f'{least} to {most}'}")


def _tuple_of(function: Callable[..., Any], count: int) -> Callable[..., tuple[np.ndarray, ...]]:
    """Return a function that returns the results that are used as a tuple of arrays."""

    def run(*arrays: np.ndarray | None) -> tuple[np.ndarray, ...]:
        results = function(*arrays)
        results = results if isinstance(results, tuple) else (results,)
        return tuple(np.asarray(result) for result in results[:count])

    return run


def _with_last_reads(steps: list[Step], outputs: set[str]) -> list[Step]:
    """Return the steps, each with the values that no later one needs, so that a run can free them."""
    later, found = set(outputs), []
    for step in reversed(steps):
        last = {name for name in (*step.inputs, *step.outputs) if name} - later
        later |= last
        found.append(Step(step.what, step.function, step.inputs, step.outputs, tuple(last)))
    return found[::-1]
