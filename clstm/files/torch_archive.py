"""The zip archive that torch.save writes: its records, and the storages and tensors in them.

The record ``data.pkl`` is a pickle of the state_dict, where a tensor is the number of a storage with an offset, sizes
and strides; ``data/<number>`` holds the bytes of a storage.
"""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from clstm.files.model_file import ModelFileError, shown

ByteOrder = Literal["<", ">", "="]

# The code of each kind of storage: NumPy's, but for bfloat16, which NumPy doesn't have.
STORAGES = {
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


def stored_as(code: str, byteorder: ByteOrder) -> np.dtype:
    """Return the dtype in which elements of a code are stored; bfloat16 is the upper half of a float32."""
    return np.dtype("u2" if code == "bf16" else code).newbyteorder(byteorder)


def native(array: np.ndarray, bfloat16: bool) -> np.ndarray:
    """Return stored elements in a dtype and byte order that NumPy computes with."""
    if bfloat16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


class Archive:
    """The records of a file that torch.save wrote, which are all in one folder. A storage is read when first used."""

    def __init__(self, records: zipfile.ZipFile, size: int) -> None:
        self._records = records
        self._left = size  # bytes still to be read: overlapping records would need more than the file has
        names = records.namelist()
        if any(name.partition("/")[2] == "constants.pkl" for name in names):
            raise ModelFileError("it is a TorchScript program, expected a state_dict")
        pickles = [name for name in names if name.partition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise ModelFileError("it is a zip archive, but not one that torch.save wrote")
        self._folder = pickles[0].partition("/")[0]
        order = bytes(self.record("byteorder")) if f"{self._folder}/byteorder" in names else b"little"
        orders: dict[bytes, ByteOrder] = {b"little": "<", b"big": ">"}
        if order not in orders:
            raise ModelFileError(f"its byte order is {order[:20]!r}")
        self._byteorder = orders[order]
        self._storages: dict[str, np.ndarray] = {}

    def record(self, name: str) -> bytearray:
        """Return a record; zipfile has verified its checksum."""
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
        content: Any
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
            stored = stored_as(code, self._byteorder)
            if data.size % stored.itemsize:
                raise ModelFileError(f"its storage {shown(number)} has {data.size} bytes of {code} elements")
            self._storages[number] = native(data.view(stored), code == "bf16")
        elements = self._storages[number]
        if elements.size < size or elements.dtype != stored_as("f4" if code == "bf16" else code, "="):
            raise ModelFileError(f"its storage {shown(number)} isn't what its tensors need")
        return elements


@dataclass(frozen=True)
class Storage:
    """A storage that hasn't been read."""

    archive: Archive = field(repr=False)
    number: str
    code: str
    size: int


@dataclass(frozen=True)
class Tensor:
    """A tensor whose storage hasn't been read."""

    storage: Storage
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
