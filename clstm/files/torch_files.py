"""PyTorch's files without PyTorch: the arrays of a state_dict that torch.save or safetensors wrote."""

from __future__ import annotations

import os
import struct
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from clstm.files.model_file import ModelFileError, read_safetensors, regular_file, shown
from clstm.files.state_dict_pickle import read_pickle
from clstm.files.torch_archive import Archive, Tensor, native, stored_as

_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"

_SAFETENSORS = {
    "F64": "f8", "F32": "f4", "F16": "f2", "BF16": "bf16",
    "I64": "i8", "I32": "i4", "I16": "i2", "I8": "i1", "U8": "u1", "BOOL": "?",
}  # fmt: skip

# What zipfile raises for data that isn't an archive, or for one that is encrypted (RuntimeError).
_CORRUPT = (zipfile.BadZipFile, struct.error, NotImplementedError, EOFError, OverflowError, ValueError, RuntimeError)


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
        archive = Archive(zipfile.ZipFile(file), size)
        return _tensors(read_pickle(archive.record("data.pkl"), archive), key)
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
    others = [name for name, value in content.items() if not isinstance(name, str) or not isinstance(value, Tensor)]
    if others:
        keys = [name for name in others if isinstance(content[name], Mapping)]
        hint = f"; give key, one of {', '.join(map(shown, keys))}" if keys and key is None else ""
        raise ModelFileError(f"its entry {shown(others[0])} isn't a tensor with a name{hint}")
    return {name: tensor.read() for name, tensor in content.items()}


def _read_safetensors(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    arrays = read_safetensors(file.read(size), {name: stored_as(code, "<") for name, code in _SAFETENSORS.items()})
    return {name: native(array, bfloat16=array.dtype == np.uint16) for name, array in arrays.items()}
