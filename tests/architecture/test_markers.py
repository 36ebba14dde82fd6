"""The markers of this suite are where they belong: ``peer`` where a package may be missing, ``smoke`` everywhere."""

import ast
from pathlib import Path

import pytest

import clstm

TESTS = Path(__file__).parents[1]
PACKAGE = Path(clstm.__file__).parent
FILES = sorted(TESTS.rglob("test_*.py"))


def marked(nodes, marker):
    """Whether decorators, or what a module gives to `pytestmark`, name a marker."""
    return any(
        isinstance(part, ast.Attribute) and part.attr == marker
        for node in nodes for part in ast.walk(node)
    )  # fmt: skip


def skips(node):
    """Whether code is skipped where a package is missing."""
    return any(isinstance(part, ast.Attribute) and part.attr == "importorskip" for part in ast.walk(node))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(TESTS)))
def test_what_needs_a_package_is_marked(file):
    text = file.read_text(encoding="utf-8")
    if "importorskip" not in text:
        return
    body = ast.parse(text).body
    if marked([node for node in body if isinstance(node, ast.Assign)], "peer"):
        return
    functions = [node for node in body if isinstance(node, ast.FunctionDef)]
    needing = {node.name for node in functions if skips(node)}
    for node in functions:
        needs = node.name in needing or needing & {argument.arg for argument in node.args.args}
        if node.name.startswith("test") and needs:
            assert marked(node.decorator_list, "peer"), f"{file.name}:{node.lineno}: {node.name} lacks pytest.mark.peer"
    for node in body:
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            assert not skips(node), f"{file.name}:{node.lineno}: the module lacks pytestmark = pytest.mark.peer"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(TESTS)))
def test_no_test_module_imports_another(file):
    text = file.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)) if "from tests" in text else ():
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        shared = module.startswith("tests.helpers") or module == "tests.architecture"
        assert shared or module.partition(".")[0] != "tests", f"{file.name}:{node.lineno}: imports {module}"


def test_smoke_touches_every_package():
    packages = [path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()]
    # Where they differ. What is a module of functions is tested beside the folders, in one file or several.
    homes = {"_core": "core", "datasets": "package"}
    without = [
        name for name in sorted(packages)
        if not any("mark.smoke" in file.read_text(encoding="utf-8")
                   for file in (TESTS / homes.get(name, name)).glob("test_*.py"))
    ]  # fmt: skip
    assert without == []


def test_names_are_the_same_in_every_process(collected):
    """No address of an object stands in one; processes that share out the tests must agree on them."""
    assert [item.nodeid for item in collected if " at 0x" in item.nodeid] == []
    assert len({item.nodeid for item in collected}) == len(collected)
