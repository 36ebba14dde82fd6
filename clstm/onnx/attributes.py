"""The attributes of a node, each read by its type. An attribute that isn't read is an error: it would be ignored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from clstm.onnx.package import onnx
from clstm.onnx.types import tensor_array

_KINDS = onnx.AttributeProto
_REQUIRED: Any = object()


class Attributes:
    """The attributes of a node.

    Each method returns the attribute `name`, or `default` if the node doesn't have it.
    """

    def __init__(self, node: onnx.NodeProto) -> None:
        self._protos: dict[str, onnx.AttributeProto] = {}
        for attribute in node.attribute:
            if attribute.name in self._protos:
                raise ValueError(f"attribute {attribute.name!r} is given twice")
            self._protos[attribute.name] = attribute
        self._unread = dict.fromkeys(self._protos)

    def integer(self, name: str, default: Any = _REQUIRED) -> int:
        """Return an integer."""
        return self._get(name, _KINDS.INT, default, lambda proto: int(proto.i))

    def real(self, name: str, default: Any = _REQUIRED) -> float:
        """Return a floating-point number."""
        return self._get(name, _KINDS.FLOAT, default, lambda proto: float(proto.f))

    def flag(self, name: str, default: bool) -> bool:
        """Return a boolean, which ONNX stores as 0 or 1."""
        value = self.integer(name, int(default))
        if value not in (0, 1):
            raise ValueError(f"attribute {name!r} is {value}, expected 0 or 1")
        return bool(value)

    def text(self, name: str, default: Any = _REQUIRED) -> str:
        """Return a string."""
        return self._get(name, _KINDS.STRING, default, lambda proto: _text(proto.s))

    def integers(self, name: str, default: Any = _REQUIRED) -> list[int]:
        """Return a list of integers."""
        return self._get(name, _KINDS.INTS, default, lambda proto: list(proto.ints))

    def reals(self, name: str, default: Any = _REQUIRED) -> list[float]:
        """Return a list of floating-point numbers."""
        return self._get(name, _KINDS.FLOATS, default, lambda proto: list(proto.floats))

    def texts(self, name: str, default: Any = _REQUIRED) -> list[str]:
        """Return a list of strings."""
        return self._get(name, _KINDS.STRINGS, default, lambda proto: [_text(text) for text in proto.strings])

    def tensor(self, name: str, default: Any = _REQUIRED) -> np.ndarray:
        """Return an array."""
        return self._get(name, _KINDS.TENSOR, default, lambda proto: tensor_array(f"attribute {name!r}", proto.t))

    def has(self, name: str) -> bool:
        """Return whether the node has an attribute."""
        return name in self._protos

    def expect_all_read(self) -> None:
        """Raise ValueError if the node has an attribute that hasn't been read."""
        if self._unread:
            raise ValueError(f"attribute {next(iter(self._unread))!r} isn't supported")

    def _get(self, name: str, kind: int, default: Any, read: Callable[[Any], Any]) -> Any:
        self._unread.pop(name, None)
        if name not in self._protos:
            if default is _REQUIRED:
                raise ValueError(f"attribute {name!r} is missing")
            return default
        proto = self._protos[name]
        if proto.ref_attr_name or proto.type != kind:
            found = {number: text for text, number in _KINDS.AttributeType.items()}.get(proto.type, proto.type)
            raise ValueError(f"attribute {name!r} is of type {found}, expected {_KINDS.AttributeType.Name(kind)}")
        return read(proto)


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")
