"""What is public in the package, read from its sources: modules, names, signatures.

``python tests/architecture/public_api.py`` writes the snapshot beside this file, which `test_public_api.py` compares
with the sources. A change of the snapshot is a change of what users may rely on.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "clstm"
SNAPSHOT = Path(__file__).with_suffix(".txt")


def public_api() -> str:
    """Return a line for each public module, name and method."""
    lines = []
    for module in sorted(public_modules(), key=lambda path: "" if path == PACKAGE / "__init__.py" else str(path)):
        lines += [module_name(module), *(f"    {line}" for line in names_of(module))]
    return "\n".join(lines) + "\n"


def public_modules() -> Iterator[Path]:
    """Return the sources whose names are public: what lies directly in the package, without underscore."""
    yield PACKAGE / "__init__.py"
    for path in PACKAGE.iterdir():
        if path.suffix == ".py" and not path.name.startswith("_") and path.name != "reference.py":
            yield path
        elif (path / "__init__.py").exists() and not path.name.startswith("_"):
            yield path / "__init__.py"


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def names_of(path: Path) -> Iterator[str]:
    """Return a line for each public name of a module, and one for each public method of a class."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for name, home in sorted(reexported(tree).items()):
        source = PACKAGE.parent.joinpath(*home.split("."))
        if source.is_dir():
            yield f"module {name}"
        else:
            yield from definitions(ast.parse(source.with_suffix(".py").read_text(encoding="utf-8")), {name})
    yield from definitions(tree, listed_in(tree) - reexported(tree).keys())


def reexported(tree: ast.Module) -> dict[str, str]:
    """Return what a public module re-exports (``from clstm.x import A as A``), with the module of each name."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if alias.asname == alias.name and not alias.name.startswith("_"):
                    module = node.module if node.module != "clstm" else f"clstm.{alias.name}"
                    found[alias.name] = module
    return found


def listed_in(tree: ast.Module) -> set[str]:
    """Return the names of a literal ``__all__``, or of all that is defined without underscore."""
    defined = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            if isinstance(node.value, ast.List):
                return {element.value for element in node.value.elts}
        elif isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            defined.add(node.name)
    return {name for name in defined if not name.startswith("_")}


def definitions(tree: ast.Module, names: set[str]) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in names:
            yield f"{node.name}{signature(node)}"
        elif isinstance(node, ast.ClassDef) and node.name in names:
            bases = ", ".join(map(ast.unparse, node.bases))
            yield f"class {node.name}({bases})"
            yield from (f"    {line}" for line in members(node))
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if getattr(target, "id", "") in names:
                yield f"constant {target.id}"


def members(node: ast.ClassDef) -> Iterator[str]:
    """Return the constructor, the call, fields, public methods and properties that a class defines itself."""
    for member in node.body:
        if isinstance(member, ast.FunctionDef):
            if member.name in ("__init__", "__call__") or not member.name.startswith("_"):
                kinds = [ast.unparse(decorator) for decorator in member.decorator_list]
                yield "".join(f"@{kind} " for kind in kinds) + f"{member.name}{signature(member)}"
        elif isinstance(member, ast.AnnAssign) and not member.target.id.startswith("_"):
            yield f"{member.target.id}: {ast.unparse(member.annotation)}"


def signature(node: ast.FunctionDef) -> str:
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"({ast.unparse(node.args)}){returns}"


if __name__ == "__main__":
    SNAPSHOT.write_text(public_api(), encoding="utf-8")
