"""What every model with a `fit` has: arguments by name, one file a model, and copies and pickles through it."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from clstm._package import public

if TYPE_CHECKING:
    from clstm.files.model_file import ModelFile
    from clstm.summary import Summary
    from clstm.trace import Trace

Self = TypeVar("Self", bound="BaseModel")


@public("clstm.estimators")
class NotFittedError(ValueError, AttributeError):
    """A model was used before `fit`."""


@public("clstm.estimators")
class BaseModel:
    """Base of the models that are fitted to data.

    A subclass takes all arguments by keyword and keeps them untouched under their names, as scikit-learn wants it;
    `_check_params` checks them, when they are used. `fit` leaves attributes that end in an underscore, of which
    ``network_`` tells that the model is fitted. What they hold is described by `_fitted_content` and made again by
    `_restore`; files, copies and pickles work through these two, so that nothing is in a file but arrays and JSON.
    """

    # Whether a TextClassifier can start from the network: it has an embedding of words, an LSTM and a vocabulary
    _reads_words_for_classifiers = False

    # ------------------------------------------------------------------------------------------------- arguments

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        """Return the arguments' default values by name."""
        parameters = inspect.signature(cls.__init__).parameters.values()
        return {parameter.name: parameter.default for parameter in parameters if parameter.name != "self"}

    def _store(self, arguments: Mapping[str, Any]) -> None:
        """Keep the arguments of `__init__`, untouched: for ``self._store(locals())`` as all that it does."""
        for name, value in arguments.items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments by name, as they were given; `deep` is scikit-learn's and changes nothing."""
        return {name: getattr(self, name) for name in self._defaults()}

    def set_params(self: Self, **params: Any) -> Self:
        """Set arguments by name, for the next `fit`; return the model.

        Raises
        ------
        ValueError
            There is no such argument; nothing has changed then.
        """
        known = self._defaults()
        for name in params:
            if name not in known:
                raise ValueError(f"there is no argument {name!r}; there are {', '.join(known)}")
        for name, value in params.items():
            setattr(self, name, value)
        return self

    def _check_params(self) -> None:
        """Raise TypeError or ValueError for an argument of the wrong kind or out of range."""
        raise NotImplementedError

    def __repr__(self) -> str:
        given = [
            f"{name}={getattr(self, name)!r}"
            for name, default in self._defaults().items()
            if repr(getattr(self, name)) != repr(default)
        ]
        return f"{type(self).__name__}({', '.join(given)})"

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "network_":
            # What was fitted is described by the arguments of that time, whatever is set for the next fit.
            self.__dict__["_fitted_params"] = self.get_params()
        super().__setattr__(name, value)

    # ----------------------------------------------------------------------------------------------------- files

    def _fitted_content(self) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
        """Return what `fit` found: what JSON can hold, and the arrays."""
        raise NotImplementedError

    def _restore(self, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Make again what `_fitted_content` described, of which nothing is trusted.

        KeyError, TypeError and ValueError say what is wrong with it.
        """
        raise NotImplementedError

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted model to a file: the arguments that `fit` had, what was learnt, and weights.

        The file is safetensors with JSON metadata (see docs/model-files.md). An earlier file is replaced when the new
        one is whole.

        Raises
        ------
        NotFittedError
            Before `fit`.
        OSError
            The file can't be written; an earlier one is as it was.
        """
        from clstm.files.model_file import save_model

        self._check_fitted()
        params = {name: for_json(value) for name, value in self._fitted_params.items()}
        config, arrays = self._fitted_content()
        save_model(path, type(self).__name__, {"params": params, **config}, arrays)

    @classmethod
    def load(cls: type[Self], path: str | os.PathLike[str]) -> Self:
        """Return the model that `save` wrote.

        Raises
        ------
        OSError
            The file can't be read.
        clstm.files.ModelFileError
            It is truncated, corrupt, from a newer version, or holds something else.
        """
        from clstm.files.model_file import load_model

        return cls._from_file(path, load_model(path, cls.__name__))

    @classmethod
    def _from_file(cls: type[Self], path: str | os.PathLike[str], content: ModelFile) -> Self:
        from clstm.files.model_file import ModelFileError

        try:
            params = content.config["params"]
            if not isinstance(params, dict) or not set(params) <= set(cls._defaults()):
                raise ValueError(f"its params aren't those of a {cls.__name__}")
            self = cls(**params)
            self._check_params()
            self._restore(content.config, content.arrays)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise ModelFileError(f"{os.fspath(path)!r} can't be loaded: {reason}") from None
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

    # ---------------------------------------------------------------------------------------------------- inside

    def trace(self, X: Any) -> Trace:
        """Return the gates, cell states and outputs of the LSTM at every step, while it reads texts.

        Parameters
        ----------
        X : str or collection of str
            A text, whose trace has no batch axis, or several, each a row. A `Translator`'s encoder reads them.

        Returns
        -------
        clstm.trace.Trace
            With the tokens that were read. `clstm.plot.gates` draws it.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            Something else than texts, or none.
        """
        return self._trace(X)

    def _trace(self, X: Any, **options: Any) -> Trace:
        """Trace the network while it reads X, or a single row of it that is a string, a series and the like."""
        self._check_fitted()
        single = isinstance(X, str)
        x, lengths, tokens = self._read_to_trace([X] if single else X, **options)
        trace = replace(self.network_.trace(x, lengths=lengths), tokens=tokens)
        return trace.row(0) if single else trace

    def _read_to_trace(self, X: Any) -> tuple[np.ndarray, np.ndarray, list[list[str]] | None]:
        """Return X as the network takes it, each row's length, and the tokens of each row where it has some."""
        raise NotImplementedError

    def summary(self) -> Summary:
        """Return a table of the network's layers: output shapes, parameters and memory of the weights; print it.

        Raises
        ------
        NotFittedError
            Before `fit`, which finds the sizes.
        """
        self._check_fitted()
        return replace(self.network_.summary(), title=type(self).__name__)

    # --------------------------------------------------------------------------------------------------- fitted?

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            name = type(self).__name__
            raise NotFittedError(f"this {name} isn't fitted yet: call fit, or {name}.load")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")


def for_json(value: Any) -> Any:
    """Return an argument as JSON has it; what can't be kept there (a generator, another model) is left out as None.

    So is a dict whose keys aren't all strings: a model with such an argument keeps it otherwise.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, (np.floating, float))):
        return np.dtype(value).name
    if isinstance(value, (list, tuple)):
        return None if any(map(callable, value)) else [for_json(item) for item in value]
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            return None
        return {name: for_json(item) for name, item in value.items()}
    left_out = (np.random.Generator, np.random.RandomState, BaseModel)
    return None if isinstance(value, left_out) or callable(value) else value
