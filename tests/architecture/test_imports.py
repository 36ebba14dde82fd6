"""The layout of the package: imports run down the list of levels below, and never in a circle.

All forms of import count: at the top of a file, inside a function, under TYPE_CHECKING, ``cimport``, and module names
in strings (tables of what is loaded when first used).
"""

from __future__ import annotations

import ast
import re
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
# `import clstm` is the whole; _moved is a table of old names.
NO_RULE = {PACKAGE / "__init__.py", PACKAGE / "_moved.py"}


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


def imports_in(text: str, python: bool) -> list[tuple[int, str]]:
    """Return the line and the dotted name, from clstm on, of all that a source imports."""
    if python:
        return sorted(set(python_imports(text)))
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        match = re.match(r"\s*(?:from\s+(clstm[\w.]*)\s+c?import\s+(.*)|c?import\s+(clstm[\w.]*))", line)
        if match:
            names = re.findall(r"(\w+)(?:\s+as\s+\w+)?", match[2] or "") or [""]
            found += [(number, f"{match[1] or match[3]}.{name}".rstrip(".")) for name in names]
    return found


def python_imports(text: str) -> list[tuple[int, str]]:
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.Constant) and is_module_name(node.value):
            found.append((node.lineno, node.value))
    return [(line, name) for line, name in found if name == "clstm" or name.startswith("clstm.")]


def is_module_name(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"clstm(\.\w+)+", value) is not None and resolve(value) != ()


def edges() -> list[tuple[Path, int, tuple[str, ...], tuple[str, ...]]]:
    """Return file, line, module and imported module of every import inside the package."""
    found = []
    for path in SOURCES:
        if path in NO_RULE:
            continue
        for line, name in imports_in(path.read_text(encoding="utf-8"), path.suffix == ".py"):
            target, source = resolve(name), module_of(path)
            if target != source:
                found.append((path, line, source, target))
    return found


def broken_rules(found: list[tuple[Path, int, tuple[str, ...], tuple[str, ...]]]) -> list[str]:
    """Return a line for each import that leads up, or across a level."""
    broken = []
    for path, line, source, target in found:
        where = f"{path.relative_to(PACKAGE.parent)}:{line}"
        if not target:
            broken.append(f"{where} imports clstm itself, which is the whole package")
        elif source[0] != target[0] and LEVEL[source[0]] <= LEVEL[target[0]]:
            broken.append(f"{where} imports clstm.{'.'.join(target)}, which isn't on a lower level than {source[0]}")
    return broken


def circles(found: list[tuple[Path, int, tuple[str, ...], tuple[str, ...]]]) -> list[str]:
    """Return the modules that import each other in a circle, whatever the level."""
    imported: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for _, _, source, target in found:
        # A package's own file has a table of names that are loaded when first used
        if source not in {module[:-1] for module in MODULES if len(module) > 1}:
            imported.setdefault(source, set()).add(target)
    remaining = dict(imported)
    while True:  # take away what imports nothing that remains
        leaves = [module for module, targets in remaining.items() if not targets & remaining.keys()]
        if not leaves:
            return sorted(".".join(module) for module in remaining)
        for module in leaves:
            del remaining[module]


@pytest.mark.smoke
def test_every_module_has_a_level():
    tops = {module[0] for module in MODULES if module}
    assert tops == set(LEVEL)


@pytest.mark.smoke
def test_imports_run_downwards():
    assert broken_rules(edges()) == []


@pytest.mark.smoke
def test_no_imports_in_a_circle():
    assert circles(edges()) == []


@pytest.mark.smoke
def test_reference_is_imported_by_nothing():
    assert [str(path) for path, _, _, target in edges() if target == ("reference",)] == []
    assert imports_in((PACKAGE / "reference.py").read_text(encoding="utf-8"), True) == []


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("layers/lstm.py", "from clstm.train import fit"),
        ("layers/lstm.py", "def f():\n    from clstm import train"),
        ("layers/lstm.py", "if TYPE_CHECKING:\n    from clstm.models.sequence import SequenceNetwork"),
        ("layers/lstm.py", "import clstm.cli"),
        ("layers/lstm.py", "import clstm"),
        ("layers/lstm.py", "HOMES = {'fit': 'clstm.train.loop'}"),
        ("translation/translator.py", "from clstm.language import LanguageModel"),
        ("_core/vector/step.pyx", "from clstm.layers cimport lstm"),
    ],
)
def test_the_rule_sees_each_form_of_import(file, source):
    path = PACKAGE / file
    found = [(path, line, module_of(path), resolve(name)) for line, name in imports_in(source, path.suffix == ".py")]
    (message,) = broken_rules(found)
    assert message.startswith(f"clstm/{file}:")


@pytest.mark.smoke
def test_the_rule_sees_circles():
    a, b, c = ("_core", "a"), ("_core", "b"), ("_core", "c")
    path = PACKAGE / "_core"
    assert circles([(path, 1, a, b), (path, 1, b, c)]) == []
    assert circles([(path, 1, a, b), (path, 1, b, c), (path, 1, c, a)]) == ["_core.a", "_core.b", "_core.c"]


@pytest.mark.smoke
def test_few_files_lie_at_the_top():
    files = sorted(path.name for path in PACKAGE.iterdir() if path.is_file() and path.suffix not in (".so", ".pyd"))
    assert len(files) <= 20, files
