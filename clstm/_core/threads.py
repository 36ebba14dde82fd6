"""How many threads a call uses: the number that was set, or that the environment and the processors allow.

`resolve` decides it for each call: the layer's num_threads, else `set_num_threads`, else the smallest of
CLSTM_NUM_THREADS, OMP_NUM_THREADS, the processors this process may run on, and its control group's CPU quota. If
OpenMP's own limit was lowered after it was loaded, as threadpoolctl does, that limit holds as well.
"""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from clstm._checks import check_index
from clstm._core import openmp
from clstm._core.vector import runtime

# More threads than this are refused as a mistake: OpenMP ends the process if it can't start them.
MAX_THREADS = 1024

_FORKED = "forked after a parallel region"

_OPENMP_AT_FIRST = openmp.most_threads()

_most: ContextVar[int] = ContextVar("most", default=MAX_THREADS)

_chosen: int | None = None  # by set_num_threads
_default: tuple[int, str] | None = None  # the number and its source, once looked up
_region_opened = False  # whether this process, or one it was forked from, may have OpenMP threads
_one_because = None if runtime.has_openmp() else "built without OpenMP"  # why this process uses one thread only
_warned = False  # whether the user was warned of that after a fork


def set_num_threads(n: int | None) -> None:
    """Set the number of threads for calls of layers whose `num_threads` is None.

    Parameters
    ----------
    n : int or None
        1 or more; None restores the default, for which the environment and the processors allowed are looked up
        again.

    Raises
    ------
    TypeError
        Not an integer.
    ValueError
        Below 1 or above 1024.
    """
    global _chosen, _default
    _chosen = None if n is None else check_index("n", n, low=1, high=MAX_THREADS)
    if n is None:
        _default = None


def get_num_threads() -> int:
    """Return the number of threads for calls of layers whose `num_threads` is None.

    Raises
    ------
    ValueError
        CLSTM_NUM_THREADS is not a number of threads.
    """
    return 1 if _one_because else _limited(_number_set())


def source() -> str:
    """Return in a few words what sets the number that `get_num_threads` returns."""
    if _one_because:
        return _one_because
    if _limited(_number_set()) < _number_set():
        return "omp_set_num_threads"
    return "set_num_threads" if _chosen is not None else _smallest_limit()[1]


def resolve(num_threads: int | None = None) -> int:
    """Return the number of threads for a call that is about to start, given its layer's `num_threads` or None.

    After a fork it may be 1 whatever was set: in a process that was forked from one with OpenMP threads, libgomp waits
    forever for threads that aren't there. A RuntimeWarning says so once.

    Raises
    ------
    ValueError
        More threads than 1024, or CLSTM_NUM_THREADS is not a number of threads.
    """
    global _region_opened
    if _one_because:
        return _fall_back(num_threads)
    number = _number_set() if num_threads is None else num_threads
    if number > MAX_THREADS:
        raise ValueError(f"num_threads is {number}, expected at most {MAX_THREADS}")
    if number > 1:
        number = _limited(number)
        if number > 1:
            _region_opened = True
    return number


def cpu_quota(root: str = "/") -> int | None:
    """Return how many processors' time the control groups of this process grant it, rounded up; None if no limit.

    The process is in one group for each hierarchy, listed in ``/proc/self/cgroup``; a quota of that group or of
    any above it holds. Version 2 has it in ``cpu.max`` ("quota period", in microseconds, or "max period"),
    version 1 in ``cpu.cfs_quota_us`` (-1 for none) and ``cpu.cfs_period_us``. Inside a container the groups
    listed can be the host's, which aren't visible there; the container's own is then the root.

    Parameters
    ----------
    root : str
        The directory with ``proc`` and ``sys`` in it.
    """
    mounts = os.path.join(root, "sys", "fs", "cgroup")
    quotas = []
    for line in _read(os.path.join(root, "proc", "self", "cgroup")).splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if hierarchy == "0" and not controllers:
            for mount in (mounts, os.path.join(mounts, "unified")):
                quotas += [_quota_v2(directory) for directory in _upwards(mount, group)]
        elif "cpu" in controllers.split(","):
            for name in {controllers, "cpu"}:
                quotas += [_quota_v1(directory) for directory in _upwards(os.path.join(mounts, name), group)]
    return min((quota for quota in quotas if quota is not None), default=None)


@contextmanager
def at_most(number: int) -> Iterator[None]:
    """Use no more than `number` threads in the calls that this thread makes inside the ``with`` block."""
    token = _most.set(number)
    try:
        yield
    finally:
        _most.reset(token)


def _limited(number: int) -> int:
    """Return `number`, or the limit of `at_most` or of OpenMP, if that is lower than when OpenMP was loaded.

    Each thread has a separate OpenMP limit: in a new thread it is again what it was when OpenMP was loaded.
    """
    now = openmp.most_threads()
    return min(number, _most.get(), now if now < _OPENMP_AT_FIRST else number)


def _number_set() -> int:
    return _smallest_limit()[0] if _chosen is None else _chosen


def _smallest_limit() -> tuple[int, str]:
    """Return the default and what set it; looked up once."""
    global _default
    if _default is None:
        limits = {
            "CLSTM_NUM_THREADS": _from_clstm_num_threads(os.environ.get("CLSTM_NUM_THREADS", "")),
            "OMP_NUM_THREADS": _from_omp_num_threads(os.environ.get("OMP_NUM_THREADS", "")),
            "CPU quota": _own_cpu_quota(),
            "processors available": _processors(),
        }
        _default = min(((number, name) for name, number in limits.items() if number), key=lambda limit: limit[0])
    return _default


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return getattr(os, "process_cpu_count", os.cpu_count)() or 1


@functools.cache
def _own_cpu_quota() -> int | None:
    return cpu_quota()


def _from_clstm_num_threads(value: str) -> int | None:
    if not value.strip():
        return None
    number = _whole(value)
    if number is None:
        raise ValueError(f"the environment variable CLSTM_NUM_THREADS is {value!r}, expected an integer from 1")
    return number


def _from_omp_num_threads(value: str) -> int | None:
    """Read a number, or a list of them by nesting level ("4,2"), of which the first counts.

    OpenMP ignores what it can't read there, and so does this.
    """
    return _whole(value.partition(",")[0])


def _whole(text: str) -> int | None:
    text = text.strip()
    return (int(text) or None) if text.isascii() and text.isdecimal() and len(text) < 100 else None


def _upwards(mount: str, group: str) -> list[str]:
    """Return the directories of a group and of all groups above it, below `mount`, which comes last."""
    parts = [part for part in group.split("/") if part]
    if ".." in parts:  # outside of this process's namespace, so not visible
        parts = []
    return [os.path.join(mount, *parts[:depth]) for depth in range(len(parts), -1, -1)]


def _quota_v2(directory: str) -> int | None:
    return _ceil_ratio(*_read(os.path.join(directory, "cpu.max")).split())


def _quota_v1(directory: str) -> int | None:
    quota, period = (_read(os.path.join(directory, f"cpu.cfs_{name}_us")).strip() for name in ("quota", "period"))
    return _ceil_ratio(quota, period)


def _ceil_ratio(*texts: str) -> int | None:
    numbers = [number for text in texts if (number := _whole(text)) is not None]
    if len(texts) != 2 or len(numbers) != 2:  # "max", "-1", or no such file
        return None
    quota, period = numbers
    return max(1, -(-quota // period))


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _fall_back(num_threads: int | None) -> int:
    """Return 1; after a fork, warn the first time that more would have been used."""
    global _warned
    if _one_because == _FORKED and not _warned and (num_threads or _number_set()) > 1:
        _warned = True
        warnings.warn(
            "this process was forked from one that had used several threads, so clstm uses one thread here; "
            "start processes with the 'spawn' or 'forkserver' method to use more",
            RuntimeWarning,
            stacklevel=3,
        )
    return 1


def _after_fork_in_child() -> None:
    global _default, _one_because
    _default = None  # the child may get other processors or another environment
    if _region_opened:
        _one_because = _FORKED
        runtime.stay_on_one_thread()  # for streams, whose number of threads was decided before the fork


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
