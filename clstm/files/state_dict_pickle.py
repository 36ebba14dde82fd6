"""Reading the pickle of a state_dict without running anything in it.

Python's unpickler calls whatever functions a file names. This reader knows only what a state_dict of tensors needs: the
opcodes in `_OPCODES`, which make dicts, lists, tuples, numbers and strings, and the names in `_CALLED` and
`torch_archive.STORAGES`, which are replaced by functions and codes of this package. All else is refused by name.

The format: PyTorch, "Serialization semantics", and Python's pickletools.
"""

from __future__ import annotations

import io
import math
import pickletools
from collections.abc import Callable
from typing import Any

from clstm.files.model_file import ModelFileError, shown
from clstm.files.torch_archive import STORAGES, Archive, Storage, Tensor


def _rebuild_tensor(
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    requires_grad: Any = False,
    hooks: Any = None,
    metadata: Any = None,
) -> Tensor:
    """Return a tensor for the arguments that torch.save writes, which are checked."""
    del requires_grad, hooks
    sizes = (offset, *shape, *strides) if isinstance(shape, tuple) and isinstance(strides, tuple) else (None,)
    if (
        not isinstance(storage, Storage)
        or metadata
        or any(type(size) is not int or not 0 <= size < 2**58 for size in sizes)
        or len(shape) != len(strides)
        or len(shape) > 32
    ):
        raise ModelFileError("a tensor is described in a way that torch.save never does")
    # No more elements than the storage has: else a small file could ask for any amount of memory.
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if math.prod(shape) > storage.size or (math.prod(shape) > 0 and last >= storage.size):
        raise ModelFileError(f"a tensor of shape {shape} is larger than its storage of {storage.size} elements")
    return Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor: Any, requires_grad: Any = True, hooks: Any = None) -> Any:
    """Return a parameter's tensor."""
    del requires_grad, hooks
    return tensor


def _new_dict() -> dict[Any, Any]:
    """Return an empty dict: state_dicts are OrderedDicts that are made empty and filled by opcodes."""
    return {}


_CALLED: dict[str, Callable[..., Any]] = {
    "collections OrderedDict": _new_dict,
    "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils _rebuild_parameter": _rebuild_parameter,
}
_NAMES = {**_CALLED, **{f"torch {name}": code for name, code in STORAGES.items()}}
_MARK = object()


def read_pickle(data: bytearray, archive: Archive) -> Any:
    """Return the content of a pickle that holds nothing but a state_dict, or several in dicts.

    Raises
    ------
    ModelFileError
        It is corrupt, or holds anything else.
    """
    reader = _Reader(archive)
    try:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
            if opcode.name == "STOP":
                return reader.stack.pop()
            if opcode.name not in _OPCODES:
                raise ModelFileError(f"its data.pkl has the opcode {opcode.name}, which a state_dict doesn't need")
            _OPCODES[opcode.name](reader, argument)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"its data.pkl is corrupt ({error})") from None
    raise ModelFileError("its data.pkl is truncated")


class _Reader:
    """The state of reading a pickle: the stack and the memo of Python's pickle machine."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def take(self, count: int) -> list[Any]:
        """Remove the topmost values and return them."""
        values = self.stack[len(self.stack) - count :] if count <= len(self.stack) else [_MARK]
        if any(value is _MARK for value in values):
            raise ValueError("the stack is empty")
        del self.stack[len(self.stack) - count :]
        return values

    def take_to_mark(self) -> list[Any]:
        """Remove the values above the topmost mark, and the mark, and return the values."""
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def top(self, kind: type, problem: str) -> Any:
        """Return the topmost value, which must be of a type."""
        if not isinstance(self.stack[-1], kind):
            raise ValueError(problem)
        return self.stack[-1]

    def append(self, values: list[Any]) -> None:
        """Append values to the list on top."""
        self.top(list, "an item is appended outside of a list").extend(values)

    def set_items(self, values: list[Any]) -> None:
        """Set keys and values, one after the other in `values`, in the dict on top."""
        keys = values[::2]
        if any(type(key) not in (str, int) for key in keys):  # hashing a deeply nested tuple would overflow C's stack
            raise ValueError("a key is neither a string nor a number")
        self.top(dict, "an item is set outside of a dict").update(zip(keys, values[1::2], strict=True))

    def set_attributes(self) -> None:
        """Drop a state_dict's attributes, which are the versions of its modules."""
        self.take(1)
        self.top(dict, "an item is set outside of a dict")

    def remember(self, place: int) -> None:
        """Put the topmost value in the memo."""
        self.memo[place] = self.stack[-1]

    def push_named(self, name: str) -> None:
        """Push what replaces a name of PyTorch's."""
        if name not in _NAMES:
            full = shown(name.replace(" ", "."))
            raise ModelFileError(f"it holds a {full}, expected tensors in dicts only: save model.state_dict() instead")
        self.stack.append(_NAMES[name])

    def call(self) -> None:
        """Replace a function and its arguments by the result."""
        function, arguments = self.take(2)
        if not any(function is known for known in _CALLED.values()) or not isinstance(arguments, tuple):
            raise ModelFileError("it calls what isn't a function of a state_dict")
        self.stack.append(function(*arguments))

    def push_storage(self) -> None:
        """Replace the description of a storage by the storage."""
        kind, code, number, _, size = self.stack.pop()
        if kind != "storage" or code not in STORAGES.values() or type(number) is not str or type(size) is not int:
            raise ModelFileError("a storage is described in a way that torch.save never does")
        self.stack.append(Storage(self.archive, number, code, size))


def _push(make: Callable[[Any], Any]) -> Callable[[_Reader, Any], None]:
    """Return an opcode that pushes a value made from its argument."""
    return lambda reader, argument: reader.stack.append(make(argument))


_OPCODES: dict[str, Callable[[_Reader, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME"), lambda reader, argument: None),
    **dict.fromkeys(
        ("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE"),
        _push(lambda argument: argument),
    ),
    "NONE": _push(lambda _: None),
    "NEWTRUE": _push(lambda _: True),
    "NEWFALSE": _push(lambda _: False),
    "MARK": _push(lambda _: _MARK),
    "EMPTY_DICT": _push(lambda _: {}),
    "EMPTY_LIST": _push(lambda _: []),
    "EMPTY_TUPLE": _push(lambda _: ()),
    "TUPLE1": lambda reader, _: reader.stack.append(tuple(reader.take(1))),
    "TUPLE2": lambda reader, _: reader.stack.append(tuple(reader.take(2))),
    "TUPLE3": lambda reader, _: reader.stack.append(tuple(reader.take(3))),
    "TUPLE": lambda reader, _: reader.stack.append(tuple(reader.take_to_mark())),
    "APPEND": lambda reader, _: reader.append(reader.take(1)),
    "APPENDS": lambda reader, _: reader.append(reader.take_to_mark()),
    "SETITEM": lambda reader, _: reader.set_items(reader.take(2)),
    "SETITEMS": lambda reader, _: reader.set_items(reader.take_to_mark()),
    "BUILD": lambda reader, _: reader.set_attributes(),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda reader, place: reader.remember(place)),
    "MEMOIZE": lambda reader, _: reader.remember(len(reader.memo)),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda reader, place: reader.stack.append(reader.memo[place])),
    "GLOBAL": lambda reader, name: reader.push_named(name),
    "STACK_GLOBAL": lambda reader, _: reader.push_named(" ".join(reader.take(2))),
    "REDUCE": lambda reader, _: reader.call(),
    "BINPERSID": lambda reader, _: reader.push_storage(),
}
