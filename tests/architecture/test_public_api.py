"""The public API is what its snapshot says, classes name their public home, and old module names still work."""

from __future__ import annotations

import importlib.util
import pickle
import sys

import numpy as np
import pytest

import clstm
from clstm import _moved
from tests.architecture import public_api

SKLEARN = importlib.util.find_spec("sklearn") is not None
PACKAGES = [name for name in clstm._MODULES if name not in ("keras", "onnx", "torch")]


def test_public_api_is_that_of_the_snapshot():
    """A difference is a change for users: say it in CHANGELOG.md, then run tests/architecture/public_api.py."""
    assert public_api.public_api() == public_api.SNAPSHOT.read_text(encoding="utf-8")


@pytest.mark.parametrize("package", ["clstm", *(f"clstm.{name}" for name in PACKAGES)])
def test_public_names_are_found_where_they_are_said_to_be(package):
    module = importlib.import_module(package)
    for name in getattr(module, "__all__", ()):
        try:
            value = getattr(module, name)
        except ImportError:  # it needs scikit-learn
            assert not SKLEARN
            continue
        if isinstance(value, type):
            assert getattr(importlib.import_module(value.__module__), value.__name__) is value
            assert value.__module__.count(".") <= 1, f"{value} names the file that it lies in"


def test_what_type_checkers_see_is_what_is_loaded_when_first_used():
    import ast

    for path in public_api.public_modules():
        if path.name != "__init__.py" or path.parent.name in ("keras", "torch", "datasets", "onnx"):
            continue
        seen = public_api.reexported(ast.parse(path.read_text(encoding="utf-8")))
        module = importlib.import_module(public_api.module_name(path))
        names = {*getattr(module, "_NEED_EXTRAS", ()), *module.__all__}
        assert {name for name in seen if name != "__version__"} == names


def test_pickles_name_the_public_home():
    for value in (clstm.LSTM(2, 3, seed=0), clstm.TextClassifier(), clstm.Vocabulary.from_texts(["a b"])):
        assert b"cclstm\n" in pickle.dumps(value, protocol=0)
        assert type(pickle.loads(pickle.dumps(value))) is type(value)


@pytest.mark.parametrize("old", sorted(_moved.MOVED))
def test_old_module_names_still_work_and_warn(old):
    name = f"clstm.{old}"
    if old in ("classifier", "regressor") and not SKLEARN:
        pytest.skip("needs scikit-learn")
    sys.modules.pop(name, None)
    with pytest.warns(DeprecationWarning, match=f"{name} is now clstm.{_moved.MOVED[old]}"):
        module = importlib.import_module(name)
    new = importlib.import_module(f"clstm.{_moved.MOVED[old]}")
    assert dir(module) == dir(new)
    for attribute in (name for name in dir(new) if not name.startswith("__")):
        assert getattr(module, attribute) is getattr(new, attribute)


def test_pickles_of_old_modules_load():
    layer = clstm.LSTM(2, 3, seed=0)
    old = pickle.dumps(layer, protocol=0).replace(b"cclstm\nLSTM\n", b"cclstm.lstm\nLSTM\n")
    sys.modules.pop("clstm.lstm", None)
    with pytest.warns(DeprecationWarning, match="clstm.lstm is now clstm.layers.lstm"):
        loaded = pickle.loads(old)
    x = np.ones((4, 1, 2), np.float32)
    np.testing.assert_array_equal(loaded(x)[0], layer(x)[0])


def test_an_unknown_module_is_still_not_found():
    with pytest.raises(ModuleNotFoundError, match=r"clstm\.nothing"):
        importlib.import_module("clstm.nothing")
