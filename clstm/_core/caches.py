"""The sizes of this machine's caches, from which `clstm._core.vector.plan` estimates what a split of work costs."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from typing import NamedTuple


class Caches(NamedTuple):
    """Bytes of data that one core can have in each level of cache.

    Attributes
    ----------
    l1, l2 : int
        The core's part, where cores share the cache.
    l3 : int
        The whole level 3, whatever cores share it, for all of them read the same weights there; 0 where there is none.
    """

    l1: int
    l2: int
    l3: int


# Small, so that plans fit the caches of any machine whose sizes can't be read.
FALLBACK = Caches(32 << 10, 512 << 10, 8 << 20)


@functools.cache
def caches() -> Caches:
    """Return this machine's caches, looked up once: from sysfs or macOS's sysctl, else `FALLBACK`."""
    found = from_sysctl() if sys.platform == "darwin" else from_sysfs()
    return found or FALLBACK


def from_sysfs(root: str = "/sys/devices/system/cpu/cpu0/cache") -> Caches | None:
    """Return the caches of the first core by Linux's sysfs, None where it doesn't have levels 1 and 2.

    Parameters
    ----------
    root : str
        The directory of one processor's caches, with a directory ``index*`` for each.
    """
    sizes: dict[int, int] = {}
    sharing: dict[int, int] = {}
    try:
        for index in os.listdir(root):
            directory = os.path.join(root, index)
            if not index.startswith("index") or _read(directory, "type") == "Instruction":
                continue
            level = int(_read(directory, "level"))
            sizes[level] = _bytes(_read(directory, "size"))
            sharing[level] = _count(_read(directory, "shared_cpu_list"))
        # Processors that share level 1 are threads of one core.
        cores = max(1, sharing[2] // sharing[1])
        found = Caches(sizes[1], sizes[2] // cores, sizes.get(3, 0))
    except (OSError, ValueError, KeyError, ZeroDivisionError):
        return None
    return found if found.l1 > 0 and found.l2 > 0 else None


def from_sysctl() -> Caches | None:
    """Return the caches of macOS's fast cores, None where it doesn't have levels 1 and 2."""
    l1, l2, sharing, l3 = (
        _sysctl(f"hw.perflevel0.{name}") or _sysctl(f"hw.{name}")
        for name in ("l1dcachesize", "l2cachesize", "cpusperl2", "l3cachesize")
    )
    return Caches(l1, l2 // max(1, sharing), l3) if l1 and l2 else None


def _sysctl(name: str) -> int:
    value, size = ctypes.c_int64(0), ctypes.c_size_t(8)
    try:
        failed = ctypes.CDLL(None).sysctlbyname(name.encode(), ctypes.byref(value), ctypes.byref(size), None, 0)
    except (AttributeError, OSError, TypeError):
        return 0
    return 0 if failed else value.value


def _read(directory: str, name: str) -> str:
    with open(os.path.join(directory, name), encoding="ascii") as file:
        return file.read().strip()


def _bytes(text: str) -> int:
    """Read "48K", "2M" or a plain number."""
    unit = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}.get(text[-1:], 1)
    return int(text if unit == 1 else text[:-1]) * unit


def _count(text: str) -> int:
    """Return how many processors a list such as "0-3,8-11" names."""
    ranges = (part.partition("-") for part in text.split(","))
    return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)
