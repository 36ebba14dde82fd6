"""Writing a file so that its name always stands for something whole: the old content or the new one."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Make `data` the content of the file at `path`, all at once.

    It goes to a temporary file in the same folder, is synced to the disk, and takes the name by a rename; then the
    folder is synced. Whatever stops this (an error, Ctrl-C, a kill, a crash of the system), the earlier file is whole
    until the new one has replaced it. Only a kill can leave the temporary file (``.clstm-*.tmp``) behind.

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
        # The mode stands from the start, so that what was private never is open to others.
        with open(temporary, "xb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            if old is not None:
                _take_over(file.fileno(), old, mode)
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
    """Return what the system knows of the file that will be replaced, None where there is none."""
    try:
        old = os.lstat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(old.st_mode):  # realpath gave up
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    if stat.S_ISDIR(old.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(old.st_mode):  # a rename would put a file where a device was
        raise OSError(errno.EINVAL, "not a regular file", path)
    if not os.access(target, os.W_OK):  # a rename wouldn't ask
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    return old


def _take_over(descriptor: int, old: os.stat_result, mode: int) -> None:
    if not hasattr(os, "fchown"):  # Windows
        return
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        with suppress(OSError):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    with suppress(OSError):  # some file systems have no modes
        os.fchmod(descriptor, mode)


def _sync_folder(folder: str) -> None:
    """Let the rename last beyond a crash of the system, where it has such a call."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:  # a folder may be writable and yet not readable
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some file systems can't
            raise OSError(error.errno, error.strerror, folder) from error
    finally:
        os.close(descriptor)
