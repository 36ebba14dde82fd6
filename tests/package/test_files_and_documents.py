"""The package as users get it: its files and metadata, and the commands, example and links in the documents."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import re
import subprocess
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

import clstm

PROJECT = Path(__file__).parents[2]
PACKAGE = importlib.resources.files("clstm")
DOCUMENTS = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", PROJECT / "CHANGELOG.md"]
DOCUMENTS += sorted((PROJECT / "docs").glob("**/*.md"))
README = (PROJECT / "README.md").read_text(encoding="utf-8")


def command(marker: str) -> str:
    """Return the README's command after the comment `marker`, as .ci/run takes it."""
    found = re.findall(rf"<!-- {marker} -->\n```bash\n(.*?)```\n", README, flags=re.DOTALL)
    assert len(found) == 1, f"README.md has {len(found)} commands marked {marker!r}"
    return found[0]


@pytest.fixture
def artifacts(request) -> Path:
    folder = request.config.getoption("--artifacts")
    if folder is None:
        pytest.skip("no --artifacts folder given")
    return Path(folder)


@pytest.fixture
def wheel(artifacts):
    (path,) = artifacts.glob("clstm_cpu-*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


@pytest.fixture
def sdist_files(artifacts):
    (path,) = artifacts.glob("clstm_cpu-*.tar.gz")
    with tarfile.open(path) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


# The installed package


def test_typing_marker_and_data_are_there():
    assert (PACKAGE / "py.typed").is_file()
    names = {file.name for file in (PACKAGE / "datasets").iterdir()}
    assert any(name.endswith(".gz") for name in names)
    assert any("LICENCE" in name.upper() or "LICENSE" in name.upper() for name in names)


def test_version_is_that_of_the_changelog():
    versions = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\]", (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert versions[0] == clstm.__version__


def test_metadata():
    try:
        metadata = importlib.metadata.metadata("clstm-cpu")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("clstm-cpu is not installed, only built in place")
    assert metadata["Version"] == clstm.__version__
    assert metadata["License-Expression"] == "BSD-3-Clause"
    (script,) = importlib.metadata.entry_points(group="console_scripts", name="clstm")
    assert script.value == "clstm.cli:main"


# The wheel and the source distribution (pytest --artifacts FOLDER)


def test_wheel_holds_every_extension_stripped(wheel):
    extensions = [name for name in wheel.namelist() if name.endswith((".so", ".pyd"))]
    built = {Path(name).name.partition(".")[0] for name in extensions}
    assert built == {path.stem for path in (PROJECT / "clstm").rglob("*.pyx")}
    for name in extensions:
        assert b".debug_info" not in wheel.read(name), name
        assert b".symtab" not in wheel.read(name), name


def test_wheel_holds_no_sources_or_tests(wheel):
    assert [name for name in wheel.namelist() if name.endswith((".pyx", ".c", ".h", ".o"))] == []
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"clstm", f"clstm_cpu-{clstm.__version__}.dist-info"}


def test_wheel_holds_what_cython_code_needs_to_step_and_no_more(wheel):
    # test_cimport_from_wheel.py builds such code.
    names = set(wheel.namelist())
    assert {name for name in names if name.endswith((".pxd", ".pxi"))} == {
        "clstm/stream.pxd",
        "clstm/_core/_stream.pxd",
    }
    assert {"clstm/__init__.py", "clstm/_core/__init__.py"} <= names
    assert "extern" not in wheel.read("clstm/_core/_stream.pxd").decode()


def test_wheel_holds_licence_data_and_marker(wheel):
    names = set(wheel.namelist())
    assert f"clstm_cpu-{clstm.__version__}.dist-info/licenses/LICENSE" in names
    assert "clstm/py.typed" in names
    data = {f"clstm/datasets/{path.name}" for path in (PROJECT / "clstm/datasets").iterdir() if path.is_file()}
    assert data <= names


def test_wheel_is_below_3_mb(wheel):
    assert Path(wheel.filename).stat().st_size < 3_000_000


def test_wheel_needs_numpy_scipy_safetensors_only(wheel):
    metadata = message_from_bytes(wheel.read(f"clstm_cpu-{clstm.__version__}.dist-info/METADATA"))
    needed = {re.match(r"[\w-]+", line)[0] for line in metadata.get_all("Requires-Dist") if "extra ==" not in line}
    assert needed == {"numpy", "scipy", "safetensors"}


def test_sdist_holds_all_that_a_build_and_its_tests_need(sdist_files):
    for pattern in ("*.py", "*.pyx", "*.pxd", "*.c", "*.h", "*.md", "*.gz", "*.json"):
        for folder in ("clstm", "src", "tests", "benchmarks", "docs"):
            for path in (PROJECT / folder).rglob(pattern):
                assert str(path.relative_to(PROJECT)) in sdist_files
    assert {"LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "setup.py", "pyproject.toml"} <= sdist_files


def test_sdist_holds_nothing_built(sdist_files):
    assert [name for name in sdist_files if name.endswith((".so", ".pyd", ".o", ".pyc"))] == []


# The documents


@pytest.mark.subprocess
@pytest.mark.parametrize("marker", ["demo command", "test command"])
def test_readme_command_does_all_from_a_fresh_clone(marker):
    text = command(marker)
    assert text.startswith("python3 -m venv .venv && .venv/bin/pip install ")
    assert text.endswith("\n")
    assert text.count("\n") == 1
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_readme_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    # The whole training takes the better part of a minute: here a short one, on a part of the sentences.
    reviews = clstm.datasets.load_movie_reviews()
    for part in (reviews.train, reviews.validation, reviews.test):
        part.texts, part.labels = part.texts[:200], part.labels[:200]
    monkeypatch.setattr("clstm.datasets.load_movie_reviews", lambda: reviews)
    monkeypatch.setattr("clstm.estimators.train_text.MIN_EPOCHS", 1)
    monkeypatch.setattr("clstm.estimators.train_text.MIN_STEPS", 1)
    examples = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert len(examples) == 2
    for code in examples:
        exec(compile(code, "README.md", "exec"), {})
    assert "(8, 100, 128) (1, 8, 128)" in capsys.readouterr().out
    model = clstm.TextClassifier.load("reviews.safetensors")
    assert set(model.classes_) == {"negative", "positive"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_somewhere(document):
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = document.parent / path if path else document
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
            assert anchor in anchors, target


def test_docs_index_names_every_page():
    index = (PROJECT / "docs" / "index.md").read_text(encoding="utf-8")
    for page in (PROJECT / "docs").glob("*.md"):
        if page.name != "index.md":
            assert f"({page.name})" in index, page.name
