"""What the estimators import from scikit-learn, in one place: if it isn't installed, the error says what to do."""

from __future__ import annotations

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.exceptions import NotFittedError
    from sklearn.metrics import accuracy_score, d2_pinball_score, r2_score
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_array, check_consistent_length, column_or_1d, validate_data
except ImportError as error:
    raise ImportError(
        f"LSTMClassifier and LSTMRegressor need scikit-learn 1.6 or newer: pip install clstm-cpu[sklearn] ({error})"
    ) from None

__all__ = [
    "BaseEstimator",
    "ClassifierMixin",
    "NotFittedError",
    "RegressorMixin",
    "accuracy_score",
    "check_array",
    "check_classification_targets",
    "check_consistent_length",
    "column_or_1d",
    "d2_pinball_score",
    "r2_score",
    "validate_data",
]
