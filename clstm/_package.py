"""How packages load their public names when they are first used, and how their classes name their public home."""

from __future__ import annotations

import importlib
import sys

TYPE_CHECKING = False  # not typing's, whose import takes longer than all else that `import clstm` does
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    AnyClass = TypeVar("AnyClass", bound=type)


def lazy(package: str, modules: Mapping[str, tuple[str, ...]]) -> tuple[Callable, Callable, list[str]]:
    """Return ``__getattr__``, ``__dir__`` and ``__all__`` of a package whose names are loaded when first used.

    Parameters
    ----------
    package : str
        Its name.
    modules : mapping of str to tuple of str
        For each module inside it, the public names that this module holds.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def load_name(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(f"{package}.{homes[name]}"), name)
        vars(sys.modules[package])[name] = value  # the next use finds it without this function
        return value

    def list_names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return load_name, list_names, sorted(homes)


def public(home: str) -> Callable[[AnyClass], AnyClass]:
    """Give a class its public home as ``__module__``, so that pickles and messages never name the file it lies in."""

    def set_home(cls: AnyClass) -> AnyClass:
        cls.__module__ = home
        return cls

    return set_home
