"""The documentation as a site: ``python -m sphinx -W -b html docs docs/_build``.

Pages are the Markdown files beside this one, which can be read as they are, too; `index.rst` puts them in order,
`api.rst` takes the reference from the docstrings, and each script of `examples/` is run and becomes a page with its
picture.
``-D plot_gallery=0`` leaves the running out.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path, PurePosixPath
from typing import Any

from sphinx.addnodes import download_reference, pending_xref

import clstm

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

project = "clstm"
author = copyright = "The clstm developers"
version = release = clstm.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "index.md"]  # index.rst includes index.md
templates_path = ["templates"]
html_theme = "furo"
html_title = f"clstm {release}"

myst_heading_anchors = 3  # a section can be linked to as on code hosts: page.md#its-heading

# clstm.torch can be described where PyTorch isn't installed.
autodoc_mock_imports = [] if importlib.util.find_spec("torch") else ["torch"]
autodoc_typehints = "none"  # the docstrings say it better
autosummary_ignore_module_all = False
numpydoc_show_class_members = False
default_role = "code"


def shared_by_examples() -> list[str]:
    """Return the modules that scripts import: all whose docstring doesn't begin with an underlined title."""
    docstrings = {path.stem: ast.get_docstring(ast.parse(path.read_text("utf-8"))) for path in EXAMPLES.glob("*.py")}
    return [name for name, text in docstrings.items() if not re.match(r".+\n===+\n", text or "")]


sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "ignore_pattern": "|".join(rf"^{name}\.py$" for name in shared_by_examples()),
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "show_signature": False,
}
suppress_warnings = ["sphinx_gallery.duplicate_filename"]  # a script's twin in examples/peers has its name


def page_of(target: str) -> str:
    """Return the page that shows a file of the repository; any name where none does."""
    path = PurePosixPath(target)
    if "examples" in path.parts:
        return f"gallery/{path.stem if path.suffix else 'index'}" if path.suffix in ("", ".py") else ""
    return {"README": "index"}.get(path.stem, path.stem.lower()) if path.suffix == ".md" else ""


def link_within_site(app: Any, doctree: Any) -> None:
    """Let links between files of the repository, which lead somewhere on a code host, lead to pages of the site."""
    for link in [*doctree.findall(pending_xref), *doctree.findall(download_reference)]:
        target, _, heading = link["reftarget"].partition("#")
        if target in app.env.found_docs:
            continue
        page = page_of(f"{target}.md" if link["refdomain"] == "doc" else target)
        if link["reftype"] == "myst" and page in app.env.found_docs:
            place = {"refdomain": "doc", "reftarget": page, "reftargetid": link.get("reftargetid") or heading or None}
            link.replace_self(pending_xref("", *link.children, **{**link.attributes, **place}))


def only_rst_heads_a_gallery(app: Any) -> None:
    """Keep sphinx-gallery from taking examples/data, which has a README.md, for a gallery too."""
    app.config.sphinx_gallery_conf["source_suffix"] = {".rst": "restructuredtext"}


def skip_what_scikit_learn_documents(
    app: Any, what: str, name: str, member: Any, skip: bool, options: Any
) -> bool | None:
    """Leave out the members that estimators have from scikit-learn, whose docstrings lead to pages of its own site."""
    return True if str(getattr(member, "__module__", "")).startswith("sklearn.") else None


def link_attributes_to_their_class(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Let the attributes that a class's docstring lists lead to those of this class, not of another one."""
    if what == "class":
        lines[:] = [re.sub(r":obj:`(\w+) <\.?\w+>`", rf":obj:`\1 <{name}.\1>`", line) for line in lines]


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", link_attributes_to_their_class, priority=600)  # after numpydoc
    app.connect("autodoc-skip-member", skip_what_scikit_learn_documents)
    app.connect("doctree-read", link_within_site)
    app.connect("builder-inited", only_rst_heads_a_gallery, priority=20)  # before the gallery is made
