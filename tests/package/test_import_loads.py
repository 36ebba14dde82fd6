"""What an import and a prediction load: NumPy and the standard library, nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import clstm
from clstm._core import backend

ROOT = Path(clstm.__file__).parents[1]
VECTOR = backend.available()[0]
needs_vector_path = pytest.mark.skipif(VECTOR == "portable", reason="no vector path on this machine: SciPy's BLAS runs")


def packages_loaded(code: str, folder: Path, **environment: str) -> set[str]:
    """Return what a fresh process loads to run `code`: top-level names outside the standard library."""
    report = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    loaded = set(json.loads(result.stdout.splitlines()[-1])) - sys.stdlib_module_names
    return {name for name in loaded if not name.startswith(("_cython_", "cython_runtime"))}  # of every Cython module


def beyond_numpy(code: str, folder: Path, **environment: str) -> set[str]:
    """Return what `code` loads beyond what `import numpy` does."""
    return packages_loaded(code, folder, **environment) - packages_loaded("import numpy", folder)


def test_import_loads_numpy_only(tmp_path):
    assert packages_loaded("import clstm", tmp_path, CLSTM_ISA=VECTOR) <= {"clstm"} | packages_loaded("", tmp_path)
    assert beyond_numpy("import clstm; clstm.LSTM", tmp_path, CLSTM_ISA=VECTOR) == {"clstm"}


def test_import_loads_no_blas_on_the_portable_path(tmp_path):
    assert beyond_numpy("import clstm; clstm.LSTM", tmp_path, CLSTM_ISA="portable") == {"clstm"}


def test_every_public_name_without_optional_packages(tmp_path):
    code = "import clstm\nfor name in clstm.__all__: getattr(clstm, name)"
    assert beyond_numpy(code, tmp_path, CLSTM_ISA=VECTOR) == {"clstm"}


def test_command_line_loads_numpy_only(tmp_path):
    assert beyond_numpy("import clstm.cli", tmp_path, CLSTM_ISA=VECTOR) == {"clstm"}


@needs_vector_path
def test_lstm_prediction_loads_no_scipy(tmp_path):
    code = """
import numpy as np, clstm
lstm = clstm.LSTM(8, 16, num_layers=2, bidirectional=True, seed=0)
y, _ = lstm(np.ones((5, 3, 8), np.float32), lengths=[5, 0, 2])
assert y.shape == (5, 3, 32) and np.isfinite(y).all()
cell = clstm.LSTMCell(8, 16, seed=0)
cell(np.ones((3, 8), np.float32))
"""
    assert beyond_numpy(code, tmp_path, CLSTM_ISA=VECTOR) == {"clstm"}


@needs_vector_path
def test_text_prediction_loads_safetensors_only(tmp_path):
    texts = ["good film", "bad film", "a good one", "a bad one"]
    model = clstm.TextClassifier(embedding_dim=4, hidden_size=4, n_epochs=1, seed=0, verbose=0)
    model.fit(texts, ["yes", "no", "yes", "no"]).save(tmp_path / "model.safetensors")
    code = """
import clstm
label, = clstm.TextClassifier.load("model.safetensors").predict(["a good film"])
assert label in ("yes", "no")
"""
    assert beyond_numpy(code, tmp_path, CLSTM_ISA=VECTOR) <= {"clstm", "safetensors"}


def test_portable_path_loads_scipy_when_it_runs(tmp_path):
    code = "import numpy as np, clstm; clstm.LSTM(2, 3, seed=0)(np.ones((2, 1, 2), np.float32))"
    assert "scipy" in packages_loaded(code, tmp_path, CLSTM_ISA="portable")


def test_unknown_instruction_set_is_named(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CLSTM_ISA": "mmx"}
    result = subprocess.run(
        [sys.executable, "-c", "import clstm; clstm.LSTM"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "CLSTM_ISA is 'mmx', expected one of avx512, avx2, neon, portable" in result.stderr
