"""PyTorch's files without PyTorch: the arrays of a state_dict that torch.save or safetensors wrote.

torch.save writes a zip archive: ``data.pkl``, a pickle of the state_dict in which each tensor stands as the number of
a storage with an offset, sizes and strides, and ``data/<number>``, the bytes of each storage. Python's unpickler would
run whatever such a file says. This reads the pickle itself and knows only what a state_dict of tensors needs: the
opcodes that make dicts, lists, tuples, numbers and strings, and the names in `_CALLED` and `_STORAGES`, which stand for
functions of this file. Everything else is refused by name, so that a file can't run anything.

The format: PyTorch, "Serialization semantics", and Python's pickletools.
"""

from __future__ import annotations

import io
import math
import os
import pickletools
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from clstm.files.model_file import ModelFileError, read_safetensors, regular_file, shown

_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"

# NumPy has no bfloat16: it is the upper half of a float32.
_STORAGES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "bf16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
    "ComplexFloatStorage": "c8",
    "ComplexDoubleStorage": "c16",
}
_SAFETENSORS = {
    "F64": "f8", "F32": "f4", "F16": "f2", "BF16": "bf16",
    "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip


def read_state_dict(path: str | os.PathLike[str], key: str | None = None) -> dict[str, np.ndarray]:
    """Read a PyTorch model's weights from a file, without PyTorch and without running anything in the file.

    Parameters
    ----------
    path : path-like
        What ``torch.save(model.state_dict(), path)`` wrote with PyTorch 1.6 or newer, or a safetensors file.
    key : str, optional
        Which entry holds the state_dict, where a checkpoint with more was saved: ``torch.save({"model":
        model.state_dict(), "optimizer": ...}, path)``.

    Returns
    -------
    dict of str to ndarray
        The tensors by name, in the file's order. Tensors that shared memory share it here. bfloat16 becomes float32,
        which holds the same values.

    Raises
    ------
    OSError
        There is no such file, it is a folder, or can't be read.
    ModelFileError
        It is no such file, is corrupt, or holds anything but tensors in dicts, such as a whole pickled module; the file
        and the reason are named.

    Examples
    --------
    >>> lstm = clstm.LSTM.from_torch(clstm.read_state_dict("model.pt"), prefix="encoder.")  # doctest: +SKIP
    """
    if key is not None and not isinstance(key, str):
        raise TypeError(f"key is {type(key).__name__}, expected a string")
    with regular_file(path) as file:
        try:
            return _read(file, os.fstat(file.fileno()).st_size, key)
        except ModelFileError as error:
            raise ModelFileError(f"{os.fsdecode(path)!r} can't be read: {error}") from None


def _read(file: BinaryIO, size: int, key: str | None) -> dict[str, np.ndarray]:
    start = file.read(len(_ZIP))
    file.seek(0)
    if start.startswith(_PICKLE):
        raise ModelFileError("it is a bare pickle, expected a zip archive: save it again with PyTorch 1.6 or newer")
    if start != _ZIP:
        if key is not None:
            raise ModelFileError(f"key is {shown(key)}, but it isn't an archive of torch.save, which alone has keys")
        return _read_safetensors(file, size)
    try:
        archive = _Archive(zipfile.ZipFile(file), size)
        return _tensors(_unpickled(archive.record("data.pkl"), archive), key)
    except ModelFileError:
        raise
    except _CORRUPT as error:
        raise ModelFileError(f"its archive is corrupt ({error})") from None


def _tensors(content: Any, key: str | None) -> dict[str, np.ndarray]:
    """Return the state_dict in what a file holds, with its tensors read."""
    if not isinstance(content, Mapping):
        raise ModelFileError(f"it holds a {type(content).__name__}, expected a state_dict")
    if key is not None:
        if key not in content:
            raise ModelFileError(f"key is {shown(key)}, expected one of {', '.join(map(shown, content))}")
        content = content[key]
        if not isinstance(content, Mapping):
            raise ModelFileError(f"its entry {shown(key)} is a {type(content).__name__}, expected a state_dict")
    others = [name for name, value in content.items() if not isinstance(name, str) or not isinstance(value, _Tensor)]
    if others:
        keys = [name for name in others if isinstance(content[name], Mapping)]
        hint = f"; give key, one of {', '.join(map(shown, keys))}" if keys and key is None else ""
        raise ModelFileError(f"its entry {shown(others[0])} isn't a tensor with a name{hint}")
    return {name: tensor.read() for name, tensor in content.items()}


def _read_safetensors(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    arrays = read_safetensors(file.read(size), {name: _stored_as(code, "<") for name, code in _SAFETENSORS.items()})
    return {name: _native(array, bfloat16=array.dtype == np.uint16) for name, array in arrays.items()}


def _stored_as(code: str, byteorder: str) -> np.dtype:
    return np.dtype("u2" if code == "bf16" else code).newbyteorder(byteorder)


def _native(array: np.ndarray, bfloat16: bool) -> np.ndarray:
    if bfloat16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


# ---------------------------------------------------------------------------------------------------- the archive


# What zipfile raises for what isn't an archive; RuntimeError where it is encrypted.
_CORRUPT = (zipfile.BadZipFile, struct.error, NotImplementedError, EOFError, OverflowError, ValueError, RuntimeError)


class _Archive:
    """The records of a file of torch.save, which all stand in one folder; storages are read once, when first used."""

    def __init__(self, records: zipfile.ZipFile, size: int) -> None:
        self._records = records
        self._left = size  # to be read: records may not lie over each other
        names = records.namelist()
        if any(name.partition("/")[2] == "constants.pkl" for name in names):
            raise ModelFileError("it is a TorchScript program, expected a state_dict")
        pickles = [name for name in names if name.partition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise ModelFileError("it is a zip archive, but not one that torch.save wrote")
        self._folder = pickles[0].partition("/")[0]
        order = bytes(self.record("byteorder")) if f"{self._folder}/byteorder" in names else b"little"
        if order not in (b"little", b"big"):
            raise ModelFileError(f"its byte order is {order[:20]!r}")
        self._byteorder = {b"little": "<", b"big": ">"}[order]
        self._storages: dict[str, np.ndarray] = {}

    def record(self, name: str) -> bytearray:
        """Return a record, which its checksum has been found to fit."""
        try:
            record = self._records.getinfo(f"{self._folder}/{name}")
        except KeyError:
            raise ModelFileError(f"its record {shown(name)} is missing") from None
        if record.compress_type != zipfile.ZIP_STORED:
            raise ModelFileError(f"its record {shown(name)} is compressed, which torch.save never does")
        self._left -= record.file_size
        if self._left < 0:
            raise ModelFileError("its records are longer than the file")
        data = bytearray(record.file_size)
        with self._records.open(record) as content:
            position, view = 0, memoryview(data)
            while got := content.readinto(view[position:]):
                position += got
        if position != len(data):
            raise ModelFileError(f"its record {shown(name)} is truncated")
        return data

    def storage(self, number: str, code: str, size: int) -> np.ndarray:
        """Return a storage's elements."""
        if number not in self._storages:
            data = np.frombuffer(self.record(f"data/{number}"), np.uint8)
            stored = _stored_as(code, self._byteorder)
            if data.size % stored.itemsize:
                raise ModelFileError(f"its storage {shown(number)} has {data.size} bytes of {code} elements")
            self._storages[number] = _native(data.view(stored), code == "bf16")
        elements = self._storages[number]
        if elements.size < size or elements.dtype != _stored_as("f4" if code == "bf16" else code, "="):
            raise ModelFileError(f"its storage {shown(number)} isn't what its tensors need")
        return elements


@dataclass(frozen=True)
class _Storage:
    """A storage that hasn't been read."""

    archive: _Archive = field(repr=False)
    number: str
    code: str
    size: int


@dataclass(frozen=True)
class _Tensor:
    """A tensor whose storage hasn't been read."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self) -> np.ndarray:
        """Return the tensor as a view of its storage."""
        storage = self.storage
        elements = storage.archive.storage(storage.number, storage.code, storage.size)
        if math.prod(self.shape) == 0:
            return np.empty(self.shape, elements.dtype)
        return np.lib.stride_tricks.as_strided(
            elements[self.offset :], self.shape, [stride * elements.itemsize for stride in self.strides]
        )


def _rebuild_tensor(storage, offset, shape, strides, requires_grad=False, hooks=None, metadata=None) -> _Tensor:
    del requires_grad, hooks
    sizes = (offset, *shape, *strides) if isinstance(shape, tuple) and isinstance(strides, tuple) else (None,)
    if (
        not isinstance(storage, _Storage)
        or metadata
        or any(type(size) is not int or not 0 <= size < 2**58 for size in sizes)
        or len(shape) != len(strides)
        or len(shape) > 32
    ):
        raise ModelFileError("a tensor is described in a way that torch.save never does")
    # As many elements as the storage has at most, so that nothing of the file's size becomes more.
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if math.prod(shape) > storage.size or (math.prod(shape) > 0 and last >= storage.size):
        raise ModelFileError(f"a tensor of shape {shape} is larger than its storage of {storage.size} elements")
    return _Tensor(storage, offset, shape, strides)


def _new_dict() -> dict[Any, Any]:
    return {}


def _rebuild_parameter(tensor, requires_grad=True, hooks=None) -> Any:
    del requires_grad, hooks
    return tensor


# ---------------------------------------------------------------------------------------------------- the pickle

_CALLED: dict[str, Callable[..., Any]] = {
    "collections OrderedDict": _new_dict,
    "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils _rebuild_parameter": _rebuild_parameter,
}
_NAMES = {**_CALLED, **{f"torch {name}": code for name, code in _STORAGES.items()}}
_MARK = object()


def _unpickled(data: bytearray, archive: _Archive) -> Any:
    """Return what a pickle says that has nothing but what a state_dict needs."""
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    try:
        for name, argument in _opcodes(data):
            if name == "STOP":
                return stack.pop()
            _step(name, argument, stack, memo, archive)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(f"its data.pkl is corrupt ({error})") from None
    raise ModelFileError("its data.pkl is truncated")


def _opcodes(data: bytearray) -> Iterator[tuple[str, Any]]:
    for opcode, argument, _ in pickletools.genops(io.BytesIO(data)):
        yield opcode.name, argument


def _step(name: str, argument: Any, stack: list[Any], memo: dict[int, Any], archive: _Archive) -> None:
    match name:
        case "PROTO" | "FRAME":
            pass
        case "NONE" | "NEWTRUE" | "NEWFALSE":
            stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[name])
        case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINUNICODE":
            stack.append(argument)
        case "MARK":
            stack.append(_MARK)
        case "EMPTY_DICT":
            stack.append({})
        case "EMPTY_LIST":
            stack.append([])
        case "EMPTY_TUPLE":
            stack.append(())
        case "TUPLE1" | "TUPLE2" | "TUPLE3":
            stack.append(tuple(_take(stack, int(name[-1]))))
        case "TUPLE":
            stack.append(tuple(_take_to_mark(stack)))
        case "APPEND":
            (value,) = _take(stack, 1)
            _list(stack).append(value)
        case "APPENDS":
            values = _take_to_mark(stack)
            _list(stack).extend(values)
        case "SETITEM":
            _set_items(stack, _take(stack, 2))
        case "SETITEMS":
            values = _take_to_mark(stack)
            _set_items(stack, values)
        case "BINPUT" | "LONG_BINPUT":
            memo[argument] = stack[-1]
        case "MEMOIZE":
            memo[len(memo)] = stack[-1]
        case "BINGET" | "LONG_BINGET":
            stack.append(memo[argument])
        case "GLOBAL":
            stack.append(_named(argument))
        case "STACK_GLOBAL":
            stack.append(_named(" ".join(_take(stack, 2))))
        case "REDUCE":
            function, arguments = _take(stack, 2)
            if not any(function is known for known in _CALLED.values()) or not isinstance(arguments, tuple):
                raise ModelFileError("it calls what isn't a function of a state_dict")
            stack.append(function(*arguments))
        case "BUILD":  # a state_dict's attributes: the versions of its modules
            _take(stack, 1)
            _dict(stack)
        case "BINPERSID":
            kind, code, number, _, size = stack.pop()
            if kind != "storage" or code not in _STORAGES.values() or type(number) is not str or type(size) is not int:
                raise ModelFileError("a storage is described in a way that torch.save never does")
            stack.append(_Storage(archive, number, code, size))
        case _:
            raise ModelFileError(f"its data.pkl has the opcode {name}, which a state_dict doesn't need")


def _named(name: str) -> Any:
    if name not in _NAMES:
        full = shown(name.replace(" ", "."))
        raise ModelFileError(f"it holds a {full}, expected tensors in dicts only: save model.state_dict() instead")
    return _NAMES[name]


def _take(stack: list[Any], count: int) -> list[Any]:
    values = stack[len(stack) - count :] if count <= len(stack) else [_MARK]
    if any(value is _MARK for value in values):
        raise ValueError("the stack is empty")
    del stack[len(stack) - count :]
    return values


def _take_to_mark(stack: list[Any]) -> list[Any]:
    values = []
    while (value := stack.pop()) is not _MARK:
        values.append(value)
    return values[::-1]


def _set_items(stack: list[Any], values: list[Any]) -> None:
    keys = values[::2]
    if any(type(key) not in (str, int) for key in keys):  # a deep tuple's hash would overflow C's stack
        raise ValueError("a key is neither a string nor a number")
    _dict(stack).update(zip(keys, values[1::2], strict=True))


def _dict(stack: list[Any]) -> dict[Any, Any]:
    if not isinstance(stack[-1], dict):
        raise ValueError("an item is set outside of a dict")
    return stack[-1]


def _list(stack: list[Any]) -> list[Any]:
    if not isinstance(stack[-1], list):
        raise ValueError("an item is appended outside of a list")
    return stack[-1]
