"""A loaded ONNX model: its steps in order, run on NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm._checks import as_array
from clstm._package import public
from clstm.layers.lstm import LSTM
from clstm.onnx.types import CODES, type_name


@public("clstm.onnx")
@dataclass(frozen=True)
class Value:
    """An input or output of a model, as ONNX Runtime describes it.

    Attributes
    ----------
    name : str
    shape : list of int, str or None
        A number where the size is fixed, a name or None where it is free; empty for what has no stated shape.
    type : str
        ``"tensor(float)"``, ``"tensor(int64)"``, ...
    """

    name: str
    shape: list[int | str | None]
    type: str


@dataclass(frozen=True)
class Step:
    """One node.

    Attributes
    ----------
    what : str
        Its name in errors.
    function : callable
        Computes the outputs.
    inputs, outputs : tuple of str
        The names of its values.
    last_reads : tuple of str
        The values that no later step needs.
    """

    what: str
    function: Callable[..., tuple[np.ndarray, ...]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    last_reads: tuple[str, ...] = ()

    def run(self, values: Mapping[str, Any]) -> tuple[np.ndarray, ...]:
        """Return the outputs; an input without a name is None."""
        arguments = [values[name] if name else None for name in self.inputs]
        try:
            # NaN and infinity cause no warnings, as in ONNX Runtime and in the kernels.
            with np.errstate(all="ignore"):
                return self.function(*arguments)
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            raise ValueError(f"{self.what}: {error}") from error


@dataclass(frozen=True)
class Declared:
    """An input or output as the graph declares it; `shape` is None if it declares none."""

    name: str
    code: int
    shape: tuple[int | str | None, ...] | None

    @property
    def value(self) -> Value:
        """The description that users see."""
        return Value(self.name, list(self.shape or ()), type_name(self.code))


@public("clstm.onnx")
class Model:
    """An ONNX model, made by `clstm.onnx.load`.

    Attributes
    ----------
    lstms : dict of str to LSTM
        The layers of the LSTM nodes, by node name (or the name of the first output if a node has no name). A node of
        direction ``"reverse"`` has a layer of one direction, which gets the steps in reverse order. Nodes whose
        weights are computed in each call have no layer.

    Notes
    -----
    A call changes nothing in the object: many threads may run one model at once.
    """

    def __init__(
        self,
        inputs: Iterable[Declared],
        outputs: Iterable[Declared],
        constants: Mapping[str, np.ndarray],
        steps: Iterable[Step],
        lstms: Mapping[str, LSTM],
    ) -> None:
        self._inputs = {declared.name: declared for declared in inputs}
        self._outputs = {declared.name: declared for declared in outputs}
        self._constants = dict(constants)
        self._steps = tuple(steps)
        self.lstms = dict(lstms)

    def get_inputs(self) -> list[Value]:
        """Return the inputs that `run` needs."""
        return [declared.value for declared in self._inputs.values()]

    def get_outputs(self) -> list[Value]:
        """Return the outputs that `run` returns."""
        return [declared.value for declared in self._outputs.values()]

    def run(self, output_names: Iterable[str] | None, inputs: Mapping[str, Any]) -> list[np.ndarray]:
        """Compute outputs.

        Parameters
        ----------
        output_names : sequence of str or None
            The outputs to return, in this order; None for all of them.
        inputs : mapping of str to ndarray
            Every input by name, with the type and shape that `get_inputs` says. Nothing is cast.

        Returns
        -------
        list of ndarray

        Raises
        ------
        TypeError
            An input of another dtype.
        ValueError
            A name that is missing or unknown, a wrong shape, or values that a node can't compute with (an index out of
            range, shapes that don't fit): the node is named.
        """
        wanted = self._wanted(output_names)
        values = {**self._constants, **self._checked(inputs)}
        for step in self._steps:
            results = step.run(values)
            values.update(zip(step.outputs, results, strict=True))
            for name in step.last_reads:
                del values[name]
        # A read-only array shares the memory of a constant or an input.
        return [array if array.flags.writeable else array.copy() for array in map(values.__getitem__, wanted)]

    def _wanted(self, output_names: Iterable[str] | None) -> list[str]:
        if output_names is None:
            return list(self._outputs)
        if isinstance(output_names, str):
            raise TypeError(f"output_names is {output_names!r}, expected a sequence of names, or None")
        wanted = list(output_names)
        for name in wanted:
            if name not in self._outputs:
                raise ValueError(f"output_names has {name!r}, expected some of {', '.join(self._outputs)}")
        return wanted

    def _checked(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        if not isinstance(inputs, Mapping):
            raise TypeError(f"inputs is {type(inputs).__name__}, expected a mapping of names to arrays")
        for name in inputs:
            if name not in self._inputs:
                raise ValueError(f"inputs has {name!r}, expected {', '.join(self._inputs) or 'none'}")
        arrays = {}
        for name, declared in self._inputs.items():
            if name not in inputs:
                raise ValueError(f"inputs lacks {name!r}; expected {', '.join(self._inputs)}")
            array = as_array(name, inputs[name])
            dtype = CODES[declared.code][1]
            if array.dtype != dtype:
                raise TypeError(f"{name} has dtype {array.dtype}, expected {dtype}")
            if not _fits(array.shape, declared.shape):
                expected = ", ".join("any" if size is None else str(size) for size in declared.shape or ())
                raise ValueError(f"{name} has shape {array.shape}, expected ({expected})")
            arrays[name] = array.view()
            arrays[name].flags.writeable = False
        return arrays


def _fits(shape: tuple[int, ...], declared: tuple[int | str | None, ...] | None) -> bool:
    if declared is None:
        return True
    if len(shape) != len(declared):
        return False
    return all(not isinstance(wanted, int) or size == wanted for size, wanted in zip(shape, declared, strict=True))
