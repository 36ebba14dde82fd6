"""Models with `fit`: the base of all of them, and those of sequences and texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clstm._package import lazy

if TYPE_CHECKING:
    from clstm.estimators.base import BaseModel as BaseModel
    from clstm.estimators.base import NotFittedError as NotFittedError
    from clstm.estimators.classifier import LSTMClassifier as LSTMClassifier
    from clstm.estimators.optimizers import OPTIMIZERS as OPTIMIZERS
    from clstm.estimators.optimizers import SCHEDULES as SCHEDULES
    from clstm.estimators.regressor import LSTMRegressor as LSTMRegressor
    from clstm.estimators.sequence import SequenceEstimator as SequenceEstimator
    from clstm.estimators.stream import EstimatorStream as EstimatorStream
    from clstm.estimators.text_classifier import TextClassifier as TextClassifier

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "base": ("BaseModel", "NotFittedError"),
        "classifier": ("LSTMClassifier",),
        "regressor": ("LSTMRegressor",),
        "optimizers": ("OPTIMIZERS", "SCHEDULES"),
        "sequence": ("SequenceEstimator",),
        "stream": ("EstimatorStream",),
        "text_classifier": ("TextClassifier",),
    },
)
