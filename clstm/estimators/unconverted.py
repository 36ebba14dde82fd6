"""The earlier base of a model, which sets what `fit` learnt attribute by attribute: LSTMForecaster still uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from clstm.estimators.base import BaseModel, NotYetFitted, for_json


class UnconvertedModel(BaseModel):
    """A model without a frozen `Fitted`; delete this class with its last subclass."""

    network_ = history_ = n_iter_ = NotYetFitted()  # plain attributes again

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "network_":
            self.__dict__["_fitted_params"] = self.get_params()
        super().__setattr__(name, value)

    def _check_params(self) -> None:
        raise NotImplementedError

    def _fitted_content(self) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
        raise NotImplementedError

    def _restore(self, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        raise NotImplementedError

    def save(self, path: Any) -> None:
        from clstm.files.model_file import save_model

        self._check_fitted()
        params = {name: for_json(value) for name, value in self._fitted_params.items()}
        config, arrays = self._fitted_content()
        save_model(path, type(self).__name__, {"params": params, **config}, arrays)

    @classmethod
    def _from_content(cls, content: Any) -> Any:
        self = cls(**cls._params_in_file(content.config))
        self._check_params()
        self._restore(content.config, content.arrays)
        return self

    def __getstate__(self) -> dict[str, Any]:
        from clstm.files.model_file import model_to_bytes

        state: dict[str, Any] = {"params": self.get_params(), "fitted": None}
        if self.__sklearn_is_fitted__():
            state["fitted"] = model_to_bytes(type(self).__name__, *self._fitted_content())
            state["fitted_params"] = self._fitted_params
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        from clstm.files.model_file import model_from_bytes

        if state["fitted"] is not None:
            self.__dict__.update(state["fitted_params"])
            content = model_from_bytes(state["fitted"], type(self).__name__)
            self._restore(content.config, content.arrays)
        self.__dict__.update(state["params"])

    def _read_to_trace(self, X: Any, **options: Any) -> tuple[np.ndarray, np.ndarray, Any]:
        raise NotImplementedError

    def _trace(self, X: Any, **options: Any) -> Any:
        self._check_fitted()
        single = isinstance(X, str)
        x, lengths, tokens = self._read_to_trace([X] if single else X, **options)
        trace = replace(self.network_.trace(x, lengths=lengths), tokens=tokens)
        return trace.row(0) if single else trace

    def summary(self) -> Any:
        self._check_fitted()
        return replace(self.network_.summary(), title=type(self).__name__)

    def _check_fitted(self) -> None:
        self.network_  # noqa: B018 (reading it raises)

    def __sklearn_is_fitted__(self) -> bool:
        return "network_" in vars(self)
