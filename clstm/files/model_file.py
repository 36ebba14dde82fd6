"""Model files: arrays, and what they mean, as safetensors with JSON metadata. docs/model-files.md has the format."""

from __future__ import annotations

import io
import json
import os
import stat
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from clstm._checks import as_array
from clstm._package import public
from clstm.files.atomic import write_atomically

FORMAT_VERSION = 1

# All metadata is in one entry: safetensors writes several in no fixed order, and the same model must give the same
# bytes.
_ENTRY = "clstm"
_DTYPES: dict[str, np.dtype] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8"), "I64": np.dtype("<i8")}
_MAX_HEADER = 100_000_000  # the largest that safetensors reads
_LENGTH_BYTES = 8


@public("clstm.files")
class ModelFileError(ValueError):
    """A model file can't be read: it is truncated, corrupt, of a newer version, of another kind, or no model at all."""


@public("clstm.files")
@dataclass(frozen=True)
class ModelFile:
    """What a model file holds.

    Attributes
    ----------
    kind : str
        The class whose model it is.
    config : dict
        What the model was saved with. The file may come from anyone: check the values that you use.
    arrays : dict of str to ndarray
        Fresh and writable; names and shapes are for `load_state_dict` to check.
    version : str
        The version of clstm that wrote it.
    """

    kind: str
    config: dict[str, Any]
    arrays: dict[str, np.ndarray]
    version: str


def save_model(
    path: str | os.PathLike[str], kind: str, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> None:
    """Write a model file; an earlier file stays complete until the new one has replaced it.

    Parameters
    ----------
    path : path-like
        A symbolic link is followed. See `clstm.files.atomic.write_atomically` for permissions.
    kind, config, arrays
        As in `model_to_bytes`.

    Raises
    ------
    OSError
        The file can't be written; the path is named, and an earlier file is as it was.
    TypeError, ValueError
        As `model_to_bytes`.
    """
    write_atomically(path, model_to_bytes(kind, config, arrays))


def load_model(path: str | os.PathLike[str], kind: str | None = None) -> ModelFile:
    """Read a model file; nothing in it is ever executed.

    Memory stays within a small multiple of the file's size, and a file that isn't a model is refused by its header.

    Parameters
    ----------
    path : path-like
    kind : str, optional
        The kind that it must be.

    Raises
    ------
    OSError
        There is no such file (`FileNotFoundError`), it is a folder (`IsADirectoryError`), or can't be read.
    ModelFileError
        Its content is wrong in any way; the file and the reason are named.
    """
    with regular_file(path) as file:
        return _read(file, os.fstat(file.fileno()).st_size, repr(os.fsdecode(path)), kind)


def regular_file(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file to read it.

    Raises
    ------
    OSError
        There is no such file, it is a folder, or can't be read.
    ModelFileError
        It isn't a regular file: opening a pipe, for one, could wait for ever.
    """
    path = os.fsdecode(path)
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a pipe, for one
        raise ModelFileError(f"{path!r} isn't a regular file")
    return open(path, "rb")


def model_to_bytes(kind: str, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return the content of a model file: the same bytes for the same model and version.

    Parameters
    ----------
    kind : str
        The class whose model it is.
    config : mapping
        What isn't an array, such as options and the vocabulary: only dicts with string keys, lists, strings, finite
        numbers, booleans and None, so that what is loaded equals it.
    arrays : mapping of str to ndarray
        float32, float64 or int64, of any shape.

    Raises
    ------
    TypeError
        An argument of another type, an array of another dtype, or a value that JSON doesn't have.
    ValueError
        A number that isn't finite, something that JSON would change (a tuple, a key that isn't a string), or more than
        100 MB of JSON.
    """
    from safetensors.numpy import save

    from clstm._version import __version__

    if not isinstance(kind, str):
        raise TypeError(f"kind is {type(kind).__name__}, expected a string")
    arrays = _little_endian(arrays)
    content = {
        "format_version": FORMAT_VERSION,
        "clstm_version": __version__,
        "kind": kind,
        "config": _checked_config(config),
    }
    data = save(arrays, {_ENTRY: json.dumps({**content, "crc32": _checksum(content, arrays)})})
    header = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if header > _MAX_HEADER:
        raise ValueError(f"config and names take {header:,} bytes, expected at most {_MAX_HEADER:,}")
    return data


def model_from_bytes(data: bytes, kind: str | None = None) -> ModelFile:
    """Return the model in bytes that `model_to_bytes` returned.

    Raises
    ------
    TypeError
        Not bytes.
    ModelFileError
        As `load_model`.
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(f"data is {type(data).__name__}, expected bytes")
    file = io.BytesIO(data)
    return _read(file, file.getbuffer().nbytes, "the model data", kind)


def _read(file: BinaryIO, size: int, name: str, kind: str | None) -> ModelFile:
    if kind is not None and not isinstance(kind, str):
        raise TypeError(f"kind is {type(kind).__name__}, expected a string")
    try:
        content = _read_content(file, size)
        if kind is not None and content["kind"] != kind:
            raise ModelFileError(f"it holds a {shown(content['kind'])}, not a {kind!r}")
        file.seek(0)
        arrays = read_safetensors(file.read(size))
        if content.pop("crc32") != _checksum(content, arrays):
            raise ModelFileError("its content doesn't match its checksum: it is corrupt")
    except ModelFileError as error:
        raise ModelFileError(f"{name} can't be loaded: {error}") from None
    native = {key: array.astype(array.dtype.newbyteorder("="), copy=False) for key, array in arrays.items()}
    return ModelFile(content["kind"], content["config"], native, content["clstm_version"])


def _read_content(file: BinaryIO, size: int) -> dict[str, Any]:
    """Return the model's description, from the header alone, before anything else is read."""
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    if not 0 < length <= size - _LENGTH_BYTES:
        raise ModelFileError(f"it is truncated or no model file ({size:,} bytes)")
    if length > _MAX_HEADER:
        raise ModelFileError(f"its header has {length:,} bytes, expected at most {_MAX_HEADER:,}")
    header = _parsed(file.read(length), "header")
    metadata = header.get("__metadata__")
    text = metadata.get(_ENTRY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise ModelFileError("it is a safetensors file, but not a model of clstm")
    content = _parsed(text, "metadata")
    version = content.get("format_version")
    if type(version) is not int or version < 1:
        raise ModelFileError(f"its format version is {shown(version)}, expected {FORMAT_VERSION}")
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"it was written by clstm {shown(content.get('clstm_version'))} in format {shown(version)}, newer than "
            f"format {FORMAT_VERSION}, the newest that this version reads: upgrade clstm"
        )
    expected = {"format_version": int, "clstm_version": str, "kind": str, "config": dict, "crc32": int}
    for key, type_ in expected.items():
        if type(content.get(key)) is not type_:
            raise ModelFileError(f"its metadata has {key} = {shown(content.get(key))}, expected {type_.__name__}")
    return content


def _parsed(text: str | bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # ValueError: not UTF-8, not JSON, or an integer with too many digits
        raise ModelFileError(f"its {what} isn't JSON ({error or 'nested too deeply'})") from None
    if not isinstance(value, dict):
        raise ModelFileError(f"its {what} isn't a JSON object")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} isn't a JSON number")


def read_safetensors(data: bytes, dtypes: Mapping[str, np.dtype] = _DTYPES) -> dict[str, np.ndarray]:
    """Return the arrays of a safetensors file, in the dtypes that it stores.

    Parameters
    ----------
    data : bytes
        The file.
    dtypes : mapping of str to dtype
        The dtypes that are allowed, by safetensors' names.

    Raises
    ------
    ModelFileError
        The file is corrupt, or has an array of another dtype.
    """
    from safetensors import SafetensorError, deserialize

    try:
        parts = deserialize(data)  # checks sizes and offsets
    except SafetensorError as error:
        raise ModelFileError(str(error)) from None
    arrays = {}
    for name, part in parts:
        dtype = dtypes.get(part["dtype"])
        if dtype is None:
            raise ModelFileError(f"array {shown(name)} is {part['dtype']}, expected {', '.join(dtypes)}")
        try:
            arrays[name] = np.frombuffer(part["data"], dtype).reshape(part["shape"])
        except (ValueError, OverflowError):  # more axes or elements than NumPy allows
            raise ModelFileError(f"array {shown(name)} has an impossible shape") from None
    return arrays


def _little_endian(arrays: Any) -> dict[str, np.ndarray]:
    """Return `arrays` as safetensors takes them: little-endian and contiguous."""
    if not isinstance(arrays, Mapping):
        raise TypeError(f"arrays is {type(arrays).__name__}, expected a mapping of names to arrays")
    result = {}
    for name, value in arrays.items():
        if not isinstance(name, str):
            raise TypeError(f"arrays has the key {name!r}, expected strings")
        if name == "__metadata__" or not name.isprintable():
            raise ValueError(f"arrays has the key {name!r}, which can't name an array")
        array = as_array(f"arrays[{name!r}]", value)
        dtype = array.dtype.newbyteorder("<")
        if dtype not in _DTYPES.values():
            raise TypeError(f"arrays[{name!r}] has dtype {array.dtype}, expected float32, float64 or int64")
        result[name] = np.asarray(array, dtype=dtype, order="C")
    return result


def _checked_config(config: Any) -> dict[str, Any]:
    """Return `config` as it will be loaded."""
    if not isinstance(config, Mapping):
        raise TypeError(f"config is {type(config).__name__}, expected a mapping")
    config = dict(config)
    try:
        loaded = json.loads(json.dumps(config, allow_nan=False))
    except TypeError as error:
        raise TypeError(f"config can't be written as JSON: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"config can't be written as JSON: {error}") from None
    if loaded != config:
        raise ValueError("config holds what JSON would change: a tuple, or a key that isn't a string")
    return loaded


def _checksum(content: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> int:
    """Return the CRC-32 of a model file's content, which doesn't depend on the layout of its JSON."""
    try:
        text = json.dumps(content, allow_nan=False)
    except (ValueError, RecursionError) as error:
        # Some JSON can be read but not written: 1e999, or nesting up to the limit.
        raise ModelFileError(f"its metadata isn't valid ({error})") from None
    checksum = zlib.crc32(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        checksum = zlib.crc32(f"{name}:{array.dtype.str}:{array.shape}".encode(), checksum)
        checksum = zlib.crc32(array.data, checksum)
    return checksum


def shown(value: Any) -> str:
    """Return a short text for any value of a file that isn't trusted, for an error."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**18:
        return "a huge number"
    text = repr(value) if isinstance(value, (str, int, float, type(None))) else type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."
