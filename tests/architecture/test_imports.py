"""The layout of the package: imports run down the list of levels below, and never in a circle.

All forms of import count: at the top of a file, inside a function, under TYPE_CHECKING, ``cimport``, relative ones,
module names in strings (tables of what is loaded when first used), and names that ``import_module`` gets computed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import clstm

PACKAGE = Path(clstm.__file__).parent

# From what a user runs down to what knows nothing of the rest. Imports lead to a lower level, or within a package.
LEVELS = (
    {"__main__"},
    {"cli", "plot"},
    {"_load"},
    {"torch", "keras", "onnx"},
    {"forecasting", "language", "translation"},
    {"estimators"},
    {"models"},
    {"train"},
    {"schedules"},
    {"optim"},
    {"stream"},
    {"layers"},
    {"decoding"},
    {"losses"},
    {"mixture"},
    {"text", "files", "datasets", "trace", "summary"},
    {"_core"},
    {"_checks"},
    {"_package", "_version", "_moved", "reference"},
)
LEVEL = {name: len(LEVELS) - number for number, names in enumerate(LEVELS) for name in names}
SOURCES = sorted(path for suffix in ("py", "pyx", "pxd") for path in PACKAGE.rglob(f"*.{suffix}"))
# `import clstm` is the whole package; _moved is a table of old names; _package loads names for the packages' own files.
NO_RULE = {PACKAGE / "__init__.py", PACKAGE / "_moved.py", PACKAGE / "_package.py"}


def module_of(path: Path) -> tuple[str, ...]:
    """Return a file's place under clstm: ("layers", "lstm"), or ("layers",) of a package's own file."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


MODULES = {module_of(path) for path in SOURCES}


def resolve(dotted: str) -> tuple[str, ...]:
    """Return the module that a dotted name under clstm leads to, without names that it holds."""
    parts = tuple(dotted.split("."))[1:]
    while parts and parts not in MODULES:
        parts = parts[:-1]
    return parts


# A file, the line in it, and the two modules of an import.
Edge = tuple[Path, int, tuple[str, ...], tuple[str, ...]]

# What an import is called whose module can't be read from the source.
COMPUTED = "a name that is computed"


def imports_in(text: str, path: Path) -> list[tuple[int, str]]:
    """Return the line and the dotted name, from clstm on, of all that a source imports."""
    found = python_imports(text, path) if path.suffix == ".py" else cython_imports(text, path)
    return sorted({(line, name) for line, name in found if name.partition(".")[0] in ("clstm", COMPUTED)})


def one_line_each(text: str) -> str:
    """Return a source with parentheses and continued lines in one line, and blank lines in place of the others."""

    def joined(found: re.Match[str]) -> str:
        lines = found[0].replace("\\\n", "\n")
        return lines.replace("\n", " ") + "\n" * lines.count("\n")

    return re.sub(r"(?:.*\\\n)+.*|\([^()]*\)", joined, text)


def cython_imports(text: str, path: Path) -> Iterator[tuple[int, str]]:
    """Yield what a Cython source imports, which Python can't parse."""
    for number, line in enumerate(one_line_each(text).splitlines(), 1):
        statement = re.match(r"\s*(?:from\s+([\w.]+)\s+c?import\s+([^#]*)|c?import\s+([^#]*))", line)
        if statement and statement[1]:
            module = absolute(statement[1], path)
            names = re.findall(r"([\w*]+)(?:\s+as\s+\w+)?", statement[2])
            yield from ((number, f"{module}.{name}") for name in names)
        elif statement:
            yield from ((number, name) for name in re.findall(r"([\w.]+)(?:\s+as\s+\w+)?", statement[3]))
        else:
            yield from ((number, name) for name in re.findall(r"[\"']([\w.]+)[\"']", line) if is_module_name(name))


def absolute(name: str, path: Path) -> str:
    """Return the absolute name of a module that may be given relative to a file: ``.lstm``."""
    level = len(name) - len(name.lstrip("."))
    if not level:
        return name
    parts = path.relative_to(PACKAGE.parent).parts
    return ".".join(filter(None, (*parts[: len(parts) - level], name[level:])))


def python_imports(text: str, path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            module = absolute("." * node.level + (node.module or ""), path)
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.Constant) and is_module_name(node.value):
            yield node.lineno, node.value
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__"):
            yield node.lineno, imported_by_call(node)


def called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def imported_by_call(node: ast.Call) -> str:
    """Return the module that ``import_module`` loads, as far as the source says it."""
    match node.args[0]:
        case ast.Constant(value=str(name)):
            return name
        # Of f"clstm.cli.{name}" the package is known, which is enough.
        case ast.JoinedStr(values=[ast.Constant(value=str(start)), *_]) if start.count(".") > 1:
            return start.rpartition(".")[0]
        # The strings of a constant table are found where they are written.
        case ast.Subscript(value=ast.Name(id=table)) if table.isupper():
            return ""
    return COMPUTED


def is_module_name(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"clstm(\.\w+)+", value) is not None and resolve(value) != ()


@cache
def edges() -> list[Edge]:
    """Return every import inside the package."""
    found = []
    for path in SOURCES:
        if path not in NO_RULE:
            found += edges_of(path, path.read_text(encoding="utf-8"))
    return found


def edges_of(path: Path, text: str) -> list[Edge]:
    """Return the imports of a source of other modules of the package."""
    source = module_of(path)
    found = [(path, line, source, (COMPUTED,) if name == COMPUTED else resolve(name)) for line, name in
             imports_in(text, path)]  # fmt: skip
    return [edge for edge in found if edge[3] != source]


def described(edge: Edge) -> str:
    path, line, _, target = edge
    return f"{path.relative_to(PACKAGE.parent)}:{line} imports {'.'.join(('clstm', *target))}"


def broken_rules(found: list[Edge]) -> list[str]:
    """Return a line for each import that leads up, or across a level."""
    broken = []
    for edge in found:
        path, line, source, target = edge
        if target == (COMPUTED,):
            where = f"{path.relative_to(PACKAGE.parent)}:{line}"
            broken.append(f"{where} imports {COMPUTED}: use a constant table of names, or a package's full name")
        elif not target:
            broken.append(f"{described(edge)} itself, which is the whole package")
        elif source[0] != target[0] and LEVEL[source[0]] <= LEVEL[target[0]]:
            broken.append(f"{described(edge)}, which isn't on a lower level than {source[0]}")
    return broken


def circles(found: list[Edge]) -> list[str]:
    """Return a line for each import in a circle, whatever the level."""
    # A package's own file has a table of names that are loaded when first used
    packages = {module[:-1] for module in MODULES if len(module) > 1}
    remaining = [edge for edge in found if edge[2] not in packages]
    while True:  # take away what leads to a module that imports nothing, or comes from one that nothing imports
        sources, targets = {edge[2] for edge in remaining}, {edge[3] for edge in remaining}
        inner = [edge for edge in remaining if edge[3] in sources and edge[2] in targets]
        if len(inner) == len(remaining):
            return sorted(map(described, inner))
        remaining = inner


def check_none(problems: list[str]) -> None:
    assert not problems, "\n" + "\n".join(problems)


@pytest.mark.smoke
def test_every_module_has_a_level():
    tops = {module[0] for module in MODULES if module}
    assert tops == set(LEVEL)


@pytest.mark.smoke
def test_imports_run_downwards():
    check_none(broken_rules(edges()))


@pytest.mark.smoke
def test_no_imports_in_a_circle():
    check_none(circles(edges()))


@pytest.mark.smoke
def test_reference_is_imported_by_nothing():
    check_none([described(edge) for edge in edges() if edge[3] == ("reference",)])
    check_none([described(edge) for edge in edges() if edge[2] == ("reference",)])


@pytest.mark.parametrize(
    ("file", "line", "source"),
    [
        ("layers/lstm.py", 1, "from clstm.train import fit"),
        ("layers/lstm.py", 2, "def f():\n    from clstm import train"),
        ("layers/lstm.py", 2, "if TYPE_CHECKING:\n    from clstm.models.sequence import SequenceNetwork"),
        ("layers/lstm.py", 1, "import clstm.cli"),
        ("layers/lstm.py", 1, "import numpy, clstm.cli as cli"),
        ("layers/lstm.py", 1, "import clstm"),
        ("layers/lstm.py", 1, "from clstm import LSTM"),
        ("layers/lstm.py", 1, "from clstm import *"),
        ("layers/lstm.py", 1, "from ..train import fit"),
        ("layers/lstm.py", 1, "from .. import train"),
        ("layers/lstm.py", 3, "\n\nfrom clstm.train import (\n    fit,\n)"),
        ("layers/lstm.py", 1, "HOMES = {'fit': 'clstm.train.loop'}"),
        ("layers/lstm.py", 1, "sys.modules['clstm.train.loop']"),
        ("layers/lstm.py", 1, "importlib.import_module('clstm')"),
        ("layers/lstm.py", 1, "importlib.import_module(f'clstm.{name}')"),
        ("layers/lstm.py", 1, "importlib.import_module(f'clstm.train.{name}')"),
        ("layers/lstm.py", 1, "importlib.import_module('clstm.' + name)"),
        ("layers/lstm.py", 2, "def f(name):\n    return import_module(name)"),
        ("layers/lstm.py", 1, "__import__(name)"),
        ("translation/translator.py", 1, "from clstm.language import LanguageModel"),
        ("_core/vector/step.pyx", 1, "from clstm.layers cimport lstm"),
        ("_core/vector/step.pyx", 2, "def f():\n    from clstm.layers import lstm"),
        ("_core/vector/step.pyx", 1, "cimport clstm.stream"),
        ("_core/vector/step.pyx", 1, "cimport numpy, clstm.stream as stream"),
        ("_core/vector/step.pyx", 2, "cimport numpy\nfrom clstm.layers.stream cimport (\n    Stream\n)"),
        ("_core/vector/step.pyx", 1, "from clstm.layers.stream cimport \\\n    Stream"),
        ("_core/vector/step.pyx", 1, "from ...layers cimport stream"),
        ("_core/vector/step.pyx", 1, "import clstm"),
        ("_core/vector/step.pyx", 1, "HOME = 'clstm.layers.stream'"),
        ("_core/vector/step.pxd", 1, "from clstm.layers.stream cimport Stream"),
    ],
)
def test_the_rule_sees_each_form_of_import(file, line, source):
    (message,) = broken_rules(edges_of(PACKAGE / file, source))
    assert message.startswith(f"clstm/{file}:{line} imports ")


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("train/loop.py", "from clstm.layers.lstm import LSTM"),
        ("train/loop.py", "from ..layers import lstm"),
        ("train/loop.py", "import_module(f'clstm.layers.{name}')"),
        ("train/loop.py", "HOMES = {'LSTM': 'clstm.layers.lstm'}\nimport_module(HOMES['LSTM'])"),
        ("train/loop.py", '"""See `clstm.cli` and clstm.forecasting."""'),
        ("_core/vector/step.pyx", "from clstm._core.portable cimport step  # of clstm.layers"),
        ("_core/vector/step.pyx", "cimport numpy as np\nfrom libc.string cimport memcpy"),
    ],
)
def test_the_rule_allows_imports_of_lower_levels(file, source):
    assert broken_rules(edges_of(PACKAGE / file, source)) == []


@pytest.mark.smoke
def test_the_rule_sees_circles():
    def edge(source: str, target: str) -> Edge:
        return PACKAGE / "_core" / f"{source}.py", 1, ("_core", source), ("_core", target)

    chain = [edge("a", "b"), edge("b", "c"), edge("c", "d")]
    assert circles(chain) == []
    assert circles([*chain, edge("c", "b")]) == [
        "clstm/_core/b.py:1 imports clstm._core.c", "clstm/_core/c.py:1 imports clstm._core.b",
    ]  # fmt: skip


@pytest.mark.smoke
def test_few_files_lie_at_the_top():
    files = sorted(path.name for path in PACKAGE.iterdir() if path.is_file() and path.suffix not in (".so", ".pyd"))
    assert len(files) <= 20, files
