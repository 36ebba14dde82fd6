"""The examples' scripts as they stand: a title, a picture, public names only. CI runs some of them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
FILES = sorted((PROJECT / "examples").glob("*.py"))
PEERS = sorted((PROJECT / "examples" / "peers").glob("*.py"))


def is_script(path: Path) -> bool:
    """Return whether a file is a page of the gallery: by its title, as docs/conf.py does. Others are their parts."""
    return re.match(r".+\n===+\n", ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "") is not None


SCRIPTS = [path for path in FILES if is_script(path)]


def imports(path: Path) -> list[str]:
    """Return all that a file imports, as module.name."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script_can_be_a_page(path):
    text = path.read_text("utf-8")
    title, underline, blank, *prose = ast.get_docstring(ast.parse(text)).splitlines()
    assert len(title) == len(underline)
    assert blank == ""
    assert prose
    assert text.count("plt.show()") == 1
    assert "# %%\n" in text
    assert not re.search(r"[^\x00-\x7f]", title)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_only_scripts_draw(path):
    assert ("plt.show()" in path.read_text("utf-8")) == (path in SCRIPTS)


@pytest.mark.parametrize("path", [*FILES, *PEERS], ids=lambda path: str(path.relative_to(PROJECT)))
def test_public_names_only(path):
    assert [name for name in imports(path) if name.startswith("clstm") and "._" in name] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_public_attributes_only(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
            assert not re.match(r"_[^_]", node.attr), f"line {node.lineno}: {node.attr}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_pytorch_is_imported_by_the_twins_only(path):
    assert not any(name.partition(".")[0] == "torch" for name in imports(path))


def test_site_has_every_page_and_every_public_name():
    import clstm

    pages = (PROJECT / "docs" / "index.rst").read_text("utf-8").split()
    for page in (PROJECT / "docs").glob("*.md"):
        assert page.stem in pages or page.stem == "index", page.name
    reference = re.findall(r"[\w.]+", (PROJECT / "docs" / "api.rst").read_text("utf-8"))
    for name in {*clstm.__all__, *clstm._NEED_EXTRAS}:
        assert name in reference, name
