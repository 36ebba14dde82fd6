"""Writing files atomically: whatever stops it, the earlier file is complete and nothing else is left."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from clstm.files.atomic import write_atomically

POSIX = pytest.mark.skipif(os.name != "posix", reason="needs POSIX calls")
NOBODY = 65534


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def umask():
    """Set a umask for the test."""
    old = os.umask(0o022)
    yield os.umask
    os.umask(old)


def run(code, *arguments):
    """Run Python code in another process; it must end well."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ------------------------------------------------------------------------------------------------- what it writes


@pytest.mark.smoke
@pytest.mark.parametrize("data", [b"", b"a", bytes(range(256)) * 20_000])
def test_new_file_and_replaced_file(tmp_path, data):
    path = tmp_path / "file"
    for content in (data, b"another", data):
        write_atomically(path, content)
        assert path.read_bytes() == content
    assert names(tmp_path) == ["file"]


def test_path_may_be_a_string_and_relative(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_atomically("file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_names_of_the_greatest_length(tmp_path):
    path = tmp_path / ("é" * 127)  # 254 bytes of UTF-8
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"


@POSIX
def test_new_file_has_the_permissions_of_the_umask(tmp_path, umask):
    for mask in (0o022, 0o077, 0o002):
        umask(mask)
        path = tmp_path / f"{mask:o}"
        write_atomically(path, b"new")
        assert mode(path) == 0o666 & ~mask


@POSIX
@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o664, 0o666])
def test_replaced_file_keeps_its_permissions(tmp_path, umask, permissions):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(permissions)
    write_atomically(path, b"new")
    assert mode(path) == permissions


@POSIX
def test_a_private_file_is_private_while_it_is_written(tmp_path, umask, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(0o600)
    seen = []
    monkeypatch.setattr(os, "fchmod", lambda descriptor, _: seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode)))
    write_atomically(path, b"new")
    assert seen == [0o600]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away")
def test_replaced_file_keeps_its_owner(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    os.chown(path, NOBODY, NOBODY)
    path.chmod(0o640)
    write_atomically(path, b"new")
    status = os.stat(path)
    assert (status.st_uid, status.st_gid, mode(path)) == (NOBODY, NOBODY, 0o640)


@POSIX
def test_symbolic_links_are_followed(tmp_path):
    (tmp_path / "there").mkdir()
    target = tmp_path / "there" / "target"
    target.write_bytes(b"old")
    link, second = tmp_path / "link", tmp_path / "second"
    link.symlink_to(Path("there", "target"))
    second.symlink_to(link)
    write_atomically(second, b"new")
    assert link.is_symlink()
    assert second.is_symlink()
    assert target.read_bytes() == b"new"
    assert not target.is_symlink()
    assert names(tmp_path / "there") == ["target"]


@POSIX
def test_a_dangling_link_gets_its_target(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("target")
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


# ------------------------------------------------------------------------------------------------- errors


def check_refused(path, error, code):
    """Check that the write fails with `error`, which names the path; return the message."""
    with pytest.raises(error) as caught:
        write_atomically(path, b"new")
    assert caught.value.errno == code
    return str(caught.value)


def test_missing_folder(tmp_path):
    message = check_refused(tmp_path / "missing" / "file", FileNotFoundError, errno.ENOENT)
    assert str(tmp_path / "missing") in message
    assert names(tmp_path) == []


@POSIX
def test_a_file_as_folder(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    message = check_refused(tmp_path / "file" / "inner", NotADirectoryError, errno.ENOTDIR)
    assert str(tmp_path / "file") in message


def test_a_folder_as_file(tmp_path):
    message = check_refused(tmp_path, IsADirectoryError, errno.EISDIR)
    assert str(tmp_path) in message
    assert names(tmp_path) == []


@POSIX
def test_a_loop_of_links(tmp_path):
    link = tmp_path / "link"
    link.symlink_to("link")
    assert str(link) in check_refused(link, OSError, errno.ELOOP)
    assert link.is_symlink()


@POSIX
def test_a_device_or_pipe_is_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert "not a regular file" in check_refused(pipe, OSError, errno.EINVAL)
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)
    if os.path.exists("/dev/full"):
        assert "/dev/full" in check_refused("/dev/full", OSError, errno.EINVAL)
        assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


def test_too_long_a_name(tmp_path):
    path = tmp_path / ("a" * 300)
    assert str(path) in check_refused(path, OSError, errno.ENAMETOOLONG)


@pytest.mark.parametrize("path", [None, 3, ["file"]])
def test_other_types_than_paths(path):
    with pytest.raises(TypeError):
        write_atomically(path, b"new")


# Run as an ordinary user, since root may write anywhere: arguments are the path and the user to become.
UNPRIVILEGED = """
import os, sys
from clstm.files.atomic import write_atomically
path, user = sys.argv[1], int(sys.argv[2])
if os.geteuid() == 0:
    os.setgid(user)
    os.setuid(user)
try:
    write_atomically(path, b"new")
except PermissionError as error:
    print(error.filename)
"""


@pytest.mark.subprocess
@POSIX
@pytest.mark.parametrize(("folder_mode", "file_mode"), [(0o555, 0o666), (0o777, 0o444), (0o555, None)])
def test_read_only_folder_and_read_only_file(folder_mode, file_mode):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to other users
        folder = Path(folder)
        path = folder / "file"
        if file_mode is not None:
            path.write_bytes(b"old")
            path.chmod(file_mode)
        before = names(folder)
        folder.chmod(folder_mode)
        try:
            assert run(UNPRIVILEGED, path, NOBODY).strip() == str(path)
        finally:
            folder.chmod(0o700)
        assert names(folder) == before
        assert file_mode is None or path.read_bytes() == b"old"


@pytest.mark.subprocess
@POSIX
def test_a_folder_that_may_be_written_but_not_read():
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        folder.chmod(0o733)
        try:
            assert run(UNPRIVILEGED, folder / "file", NOBODY) == ""
        finally:
            folder.chmod(0o700)
        assert names(folder) == ["file"]
        assert (folder / "file").read_bytes() == b"new"


# ------------------------------------------------------------------------------------------------- interruptions


@pytest.mark.parametrize("old", [None, b"old"])
@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), OSError("odd"), KeyboardInterrupt(), MemoryError()]
)
def test_an_error_at_any_step_leaves_the_earlier_file_and_nothing_else(tmp_path, monkeypatch, old, call, error):
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    before = names(tmp_path)

    def fail(*_):
        raise error

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(type(error)) as caught:
        write_atomically(path, b"new")
    assert names(tmp_path) == before
    assert old is None or path.read_bytes() == old
    if isinstance(error, OSError):
        assert caught.value.errno == error.errno
        assert caught.value.filename in (None, str(path))
        assert "an earlier file is as it was" in str(caught.value)
        assert str(path) in str(caught.value)


FULL_DISK = """
import errno, os, resource, sys
from clstm.files.atomic import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_atomically(sys.argv[1], bytes(1_000_000))
except OSError as error:
    print(error.errno == errno.EFBIG, error.filename)
"""


@pytest.mark.subprocess
@POSIX
def test_a_disk_that_takes_only_a_part(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    assert run(FULL_DISK, path).split() == ["True", str(path)]
    assert names(tmp_path) == ["file"]
    assert path.read_bytes() == b"old"


# One process forks others, which are killed: before or after each call, then at random moments of repeated writes.
KILLED_AT_CALLS = """
import os, signal, sys
from pathlib import Path
from clstm.files.atomic import write_atomically

path = Path(sys.argv[1])
old, new = b"old" * 1000, b"new" * 100_000
for call in ("open", "fchmod", "fsync", "replace", "close"):
    for after in (False, True):
        path.write_bytes(old)
        child = os.fork()
        if child == 0:
            original = getattr(os, call)
            def killed(*arguments, **options):
                if after:
                    original(*arguments, **options)
                os.kill(os.getpid(), signal.SIGKILL)
            setattr(os, call, killed)
            write_atomically(path, new)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), call
        replaced = (call, after) in (("replace", True), ("close", False), ("close", True))
        assert path.read_bytes() == (new if replaced else old), (call, after)
"""

KILLED_ANYWHERE = """
import os, random, signal, sys, time
from pathlib import Path
from clstm.files.atomic import write_atomically

path = Path(sys.argv[1])
contents = [letter * 3_000_000 for letter in (b"a", b"b")]
random.seed(0)
interrupted, seen, rounds = 0, set(), 0
start = time.perf_counter()
for content in contents * 2:
    write_atomically(path, content)
one_write = (time.perf_counter() - start) / 4  # which takes long while the machine is busy
while rounds < 40 or rounds < 1000 and not (interrupted and len(seen) == 2):  # on a busy machine it takes longer
    rounds += 1
    child = os.fork()
    if child == 0:
        while True:
            for content in contents:
                write_atomically(path, content)
    time.sleep(one_write * random.uniform(0.1, 3))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert path.read_bytes() in contents
    seen.add(path.read_bytes()[:1])
    for temporary in path.parent.glob(".clstm-*.tmp"):
        interrupted += 1
        temporary.unlink()
print(interrupted, len(seen))
"""


@pytest.mark.subprocess
@POSIX
def test_a_kill_at_any_call_leaves_the_old_file_or_the_new(tmp_path):
    run(KILLED_AT_CALLS, tmp_path / "file")


@pytest.mark.subprocess
@POSIX
def test_kills_at_random_moments_leave_a_complete_file(tmp_path):
    interrupted, seen = map(int, run(KILLED_ANYWHERE, tmp_path / "file").split())
    assert interrupted > 0  # some kills came in the middle of writing
    assert seen == 2  # and some writes were completed


@pytest.mark.subprocess
@POSIX
def test_two_writers_at_once_leave_the_file_of_one(tmp_path):
    code = "import sys; from clstm.files.atomic import write_atomically\n"
    code += "for _ in range(30): write_atomically(sys.argv[1], sys.argv[2].encode() * 300_000)"
    path = tmp_path / "file"
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path), letter]) for letter in "ab"]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert path.read_bytes() in (b"a" * 300_000, b"b" * 300_000)
    assert names(tmp_path) == ["file"]
