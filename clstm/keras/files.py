"""Keras's files, ``.keras`` archives and ``.weights.h5``, read and written by h5py; nothing in them is ever run."""

from __future__ import annotations

import io
import json
import math
import os
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from clstm.files.atomic import write_atomically
from clstm.files.model_file import ModelFileError

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
# A higher ratio isn't that of weights, but of a file that is made to fill the memory.
_MAX_EXPANSION = 100
# What h5py raises for files that are corrupt
_HDF5_ERRORS = (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, MemoryError)


@contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
    """Raise errors about a file's content as a `ModelFileError` that names the file."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ModelFileError(f"{os.fsdecode(path)!r} can't be loaded: {error}") from None


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Return a file's content."""
    if not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode):  # opening a pipe could wait for ever
        raise ValueError("it isn't a regular file")
    with open(path, "rb") as file:
        return file.read()


def is_archive(data: bytes) -> bool:
    """Return whether data is a ``.keras`` file, by its first bytes."""
    return data.startswith(b"PK\x03\x04")


def read_config(data: bytes) -> Any:
    """Return the configuration of a model in a ``.keras`` archive, or in JSON alone."""
    if data.startswith(_HDF5_MAGIC):
        raise ValueError(
            "it is HDF5: weights alone, or a whole model as Keras 2 saved it. Give the model's JSON (model.to_json()) "
            "and this file as weights; of a whole model, load it in Keras 3 and save it as .keras"
        )
    if not is_archive(data):
        return _json(data, "it")
    with _archive(data) as archive:
        version = _json(_member(archive, _METADATA), _METADATA)
        version = version.get("keras_version") if isinstance(version, Mapping) else None
        if not isinstance(version, str) or not version.startswith("3."):
            raise ValueError(f"it was saved by Keras {version!r:.20}, expected 3; load it in Keras 3 and save it again")
        return _json(_member(archive, _CONFIG), _CONFIG)


def read_weights(data: bytes, wanted: Mapping[str, Sequence[tuple[int, ...]]]) -> dict[str, list[np.ndarray]]:
    """Return arrays from a ``.keras`` archive or a ``.weights.h5`` file.

    Parameters
    ----------
    data : bytes
        The file.
    wanted : mapping of str to sequence of tuple
        By the path of each group, the shapes of the variables in it, all that it has.

    Raises
    ------
    ValueError
        The file is corrupt, a group or variable is missing, or has another shape.
    """
    if not data.startswith(_HDF5_MAGIC):
        with _archive(data) as archive:
            data = _member(archive, _WEIGHTS)
    h5py = _h5py()
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            if "layers" not in file and "_layer_checkpoint_dependencies" not in file and "layer_names" in file.attrs:
                raise ValueError("it has the layout of Keras 2; load it in Keras 3 and save it again")
            return {path: _variables(h5py, file, path, shapes) for path, shapes in wanted.items()}
    except _HDF5_ERRORS as error:
        if type(error) is ValueError:
            raise
        raise ValueError(f"its HDF5 is corrupt ({type(error).__name__}: {str(error)[:200]})") from None


def write_weights(path: str | os.PathLike[str], weights: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Write a ``.weights.h5`` file as Keras does; an earlier one stays complete until the new one has replaced it.

    Parameters
    ----------
    path : path-like
    weights : mapping of str to sequence of ndarray
        By the path of each group, the variables in it.
    """
    buffer = io.BytesIO()
    with _h5py().File(buffer, "w") as file:
        for group_path, arrays in weights.items():
            group = file.create_group(f"{group_path}/vars")
            for place, array in enumerate(arrays):
                group[str(place)] = array
    write_atomically(path, buffer.getvalue())


def _variables(h5py: Any, file: Any, path: str, shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    group = file
    for part in (*path.split("/"), "vars"):
        group = _child(h5py, group, part, h5py.Group, path)
    if len(group) != len(shapes):
        raise ValueError(f"{path} has {len(group)} variables, expected {len(shapes)}")
    arrays = []
    for place, shape in enumerate(shapes):
        dataset = _child(h5py, group, str(place), h5py.Dataset, path)
        if dataset.shape != shape:
            raise ValueError(f"{path}/vars/{place} has shape {dataset.shape}, expected {shape}")
        if dataset.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise ValueError(f"{path}/vars/{place} has dtype {dataset.dtype}, expected float32 or float64")
        size = math.prod(shape) * dataset.dtype.itemsize
        if dataset.external or dataset.is_virtual or dataset.id.get_storage_size() * _MAX_EXPANSION < size:
            raise ValueError(f"{path}/vars/{place} isn't all in the file")
        arrays.append(dataset[()])
    return arrays


def _child(h5py: Any, group: Any, name: str, kind: type, path: str) -> Any:
    """Return a member of a group. It must be in this file: a link could lead to another."""
    if name not in group:
        raise ValueError(f"it has no {path} (no {name!r} there); it has {', '.join(_paths(h5py, group.file))}")
    if group.get(name, getlink=True, getclass=True) is not h5py.HardLink:
        raise ValueError(f"{path} is a link")
    child = group[name]
    if not isinstance(child, kind):
        raise ValueError(f"{path}: {name!r} is a {type(child).__name__}, expected a {kind.__name__}")
    return child


def _paths(h5py: Any, file: Any) -> list[str]:
    """Return the layers in a file, for an error."""
    layers = file.get("layers")
    return [f"layers/{name}" for name in list(layers)[:20]] if isinstance(layers, h5py.Group) else ["no layers"]


@contextmanager
def _archive(data: bytes) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield archive
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError, LookupError) as error:
        raise ValueError(f"it is no archive, or corrupt ({error})") from None


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Return a file of an archive; its checksum is verified."""
    if name not in archive.namelist():
        raise ValueError(f"it has no {name}; it has {', '.join(archive.namelist()[:20]) or 'nothing'}")
    info = archive.getinfo(name)
    if info.file_size > _MAX_EXPANSION * max(info.compress_size, 1000):
        raise ValueError(f"its {name} has {info.file_size:,} bytes, packed in {info.compress_size:,}")
    try:
        return archive.read(name)
    except Exception as error:  # zlib.error and others that the decompressors raise
        raise ValueError(f"its {name} is corrupt ({error})") from None


def _json(data: bytes, what: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:  # ValueError: not UTF-8, or no JSON
        raise ValueError(f"{what} isn't JSON ({error or 'nested too deeply'})") from None


def _h5py() -> Any:
    try:
        import h5py
    except ImportError:
        raise ImportError("Keras's files need h5py: pip install clstm-cpu[keras]") from None
    return h5py
