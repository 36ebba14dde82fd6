"""`clstm.load`: reads a model file, whatever class its model has."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

from clstm.files.model_file import ModelFileError, load_model

if TYPE_CHECKING:
    from clstm.estimators.base import BaseModel

# The classes of the models that `save` writes, and their modules. A file can name no other class.
MODELS = {
    "LSTMClassifier": "clstm.estimators.classifier",
    "LSTMForecaster": "clstm.forecasting.forecaster",
    "LSTMRegressor": "clstm.estimators.regressor",
    "LanguageModel": "clstm.language.language_model",
    "TextClassifier": "clstm.estimators.text_classifier",
    "Translator": "clstm.translation.translator",
}


def load(path: str | os.PathLike[str]) -> BaseModel:
    """Return the model that any class's `save` wrote.

    ``clstm.TextClassifier.load`` and the like do the same, but refuse another class's model.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    BaseModel
        Of the class that the file names; it can only be one of clstm's.

    Raises
    ------
    OSError
        The file can't be read.
    clstm.files.ModelFileError
        It is truncated, corrupt, from a newer version, or has no model that this version knows.
    ImportError
        The model needs a package that isn't installed.
    """
    content = load_model(path)
    if content.kind not in MODELS:
        raise ModelFileError(
            f"{os.fspath(path)!r} can't be loaded: it holds a {content.kind!r:.60}, no model of clstm's"
        )
    model = getattr(importlib.import_module(MODELS[content.kind]), content.kind)
    return model._from_file(path, content)
