"""What an import and a prediction load: NumPy and the standard library, nothing else."""

from __future__ import annotations

import pytest

import clstm
from clstm._core import backend
from tests.helpers.processes import packages_loaded, run_python

VECTOR = backend.available()[0]
needs_vector_path = pytest.mark.skipif(VECTOR == "portable", reason="no vector path on this machine: SciPy's BLAS runs")

pytestmark = pytest.mark.subprocess


def test_steps_of_an_import_load_numpy_only(tmp_path):
    """In one process: each step loads what the ones before did, and no more than it says."""
    nothing, package, numpy, layer, command_line, all_names = packages_loaded(
        "", "import clstm", "import numpy", "clstm.LSTM", "import clstm.cli",
        "for name in clstm.__all__: getattr(clstm, name)", folder=tmp_path, CLSTM_ISA=VECTOR,
    )  # fmt: skip
    assert package <= {"clstm"} | nothing
    assert layer - numpy == set()
    assert command_line - numpy == set()
    assert all_names - numpy == set()


def test_import_loads_no_blas_on_the_portable_path(tmp_path):
    numpy, layer = packages_loaded("import numpy", "import clstm; clstm.LSTM", folder=tmp_path, CLSTM_ISA="portable")
    assert layer - numpy == {"clstm"}


@needs_vector_path
@pytest.mark.smoke
def test_predictions_load_no_scipy(tmp_path):
    texts = ["good film", "bad film", "a good one", "a bad one"]
    model = clstm.TextClassifier(embedding_dim=4, hidden_size=4, n_epochs=1, seed=0, verbose=0)
    model.fit(texts, ["yes", "no", "yes", "no"]).save(tmp_path / "model.safetensors")
    layers = """
        import clstm
        lstm = clstm.LSTM(8, 16, num_layers=2, bidirectional=True, seed=0)
        y, _ = lstm(np.ones((5, 3, 8), np.float32), lengths=[5, 0, 2])
        assert y.shape == (5, 3, 32) and np.isfinite(y).all()
        cell = clstm.LSTMCell(8, 16, seed=0)
        cell(np.ones((3, 8), np.float32))
    """
    texts = """
        label, = clstm.TextClassifier.load("model.safetensors").predict(["a good film"])
        assert label in ("yes", "no")
    """
    numpy, of_layers, of_texts = packages_loaded(
        "import numpy as np", layers, texts, folder=tmp_path, CLSTM_ISA=VECTOR
    )  # fmt: skip
    assert of_layers - numpy == {"clstm"}
    assert of_texts - numpy <= {"clstm", "safetensors"}


def test_portable_path_loads_scipy_when_it_runs(tmp_path):
    code = "import numpy as np, clstm; clstm.LSTM(2, 3, seed=0)(np.ones((2, 1, 2), np.float32))"
    (loaded,) = packages_loaded(code, folder=tmp_path, CLSTM_ISA="portable")
    assert "scipy" in loaded


def test_unknown_instruction_set_is_named(tmp_path):
    done = run_python("import clstm; clstm.LSTM", folder=tmp_path, check=False, CLSTM_ISA="mmx")
    assert done.returncode == 1
    assert "CLSTM_ISA is 'mmx', expected one of avx512, avx2, neon, portable" in done.stderr
