"""Writing a file atomically: its name always has the complete old content or the complete new content."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Replace the content of the file at `path` by `data` in one step.

    The data is written to a temporary file in the same folder and synced to the disk. Then the file is renamed to
    `path` and the folder is synced. Whatever stops this (an error, Ctrl-C, a kill, a crash of the system), the earlier
    file is complete until the new one has replaced it. Only a kill can leave the temporary file (``.clstm-*.tmp``)
    behind.

    As with `open`, a symbolic link is followed, a new file gets the permissions of the umask, and an existing one keeps
    its own (its owner too, where the system lets us). Unlike with `open`, other hard links keep the old content.

    Raises
    ------
    OSError
        The folder is missing (`FileNotFoundError`) or can't be written to, the file may not be written
        (`PermissionError`), is a folder (`IsADirectoryError`) or no regular file, the disk is full, ... The path is
        named.
    """
    path = os.fsdecode(path)
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    if not stat.S_ISDIR(os.stat(folder).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder)
    old = _writable_file(path, target)
    temporary = os.path.join(folder, f".clstm-{os.urandom(8).hex()}.tmp")
    mode = 0o666 if old is None else stat.S_IMODE(old.st_mode) & 0o777
    try:
        # The file has its mode from the start, so that private content is never readable by others.
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            if old is not None:
                _copy_owner_and_mode(file.fileno(), old, mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise OSError(error.errno, f"{error.strerror or error} (an earlier file is as it was)", path) from error
        raise
    _sync_folder(folder)


def _writable_file(path: str, target: str) -> os.stat_result | None:
    """Return the status of the file that will be replaced, None if there is none; refuse what can't be replaced."""
    try:
        old = os.lstat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(old.st_mode):  # a loop of links, which realpath leaves as it is
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    if stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(old.st_mode):  # a rename would replace a device by a file
        raise OSError(errno.EINVAL, "not a regular file", path)
    if not os.access(target, os.W_OK):  # a rename needs no permission to write the file
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return old


def _copy_owner_and_mode(descriptor: int, old: os.stat_result, mode: int) -> None:
    """Give the new file the old one's owner, where the system allows it, and its mode."""
    if not hasattr(os, "fchown"):  # Windows
        return
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        with suppress(OSError):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    with suppress(OSError):  # some file systems have no modes
        os.fchmod(descriptor, mode)


def _sync_folder(folder: str) -> None:
    """Make the rename survive a crash of the system, where the system has a call for that."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # a folder can be writable but not readable
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems can't sync folders
            raise OSError(error.errno, error.strerror, folder) from error
    finally:
        os.close(descriptor)
