"""What every model with a `fit` has: arguments by name, one frozen object of what was learnt, files and copies."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from clstm._package import public
from clstm.estimators.fitted import Fitted, frozen

if TYPE_CHECKING:
    from clstm.estimators.parameters import Check
    from clstm.files.model_file import ModelFile
    from clstm.models.base import LSTMNetwork
    from clstm.summary import Summary
    from clstm.trace import Trace
    from clstm.train.history import History

Self = TypeVar("Self", bound="BaseModel")


@public("clstm.estimators")
class NotFittedError(ValueError, AttributeError):
    """A model was used before `fit`."""


class NotYetFitted:
    """What `_fitted` is until a model sets it: reading it raises NotFittedError, which is an AttributeError."""

    def __get__(self, model: BaseModel | None, owner: type[BaseModel]) -> Any:
        if model is None:
            return self
        name = owner.__name__
        raise owner._not_fitted_error(f"this {name} isn't fitted yet: call fit, or {name}.load")


@public("clstm.estimators")
class BaseModel:
    """Base of the models that are fitted to data.

    A subclass takes all arguments by keyword and leaves them untouched under their names, as scikit-learn expects; its
    `_checks` has a check for each. Its `fit` calls `_learn`, which assigns what was learnt, with a copy of the
    arguments, as one frozen object: `_fitted`, of the class `_fitted_class`. Everything else reads that object, so
    arguments set later count from the next `fit` on, and a `fit` that raises changes nothing. Public attributes of what
    was learnt (those that end in an underscore) are properties over it.
    """

    _checks: ClassVar[Mapping[str, Check]]
    _fitted_class: ClassVar[type[Fitted]]
    _fitted: Any = NotYetFitted()
    _not_fitted_error: ClassVar[type[NotFittedError]] = NotFittedError

    # Whether a TextClassifier can start from the network: it has an embedding of words, an LSTM and a vocabulary
    _reads_words_for_classifiers = False

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Return an argument; they are set by `_store`, which type checkers don't see."""

    # ------------------------------------------------------------------------------------------------- arguments

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        """Return the arguments' default values by name."""
        parameters = inspect.signature(cls.__init__).parameters.values()
        return {parameter.name: parameter.default for parameter in parameters if parameter.name != "self"}

    def _store(self, arguments: Mapping[str, Any]) -> None:
        """Set the arguments of `__init__`, untouched: ``self._store(locals())`` is all that it does."""
        for name, value in arguments.items():
            if name not in ("self", "__class__"):
                setattr(self, name, value)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the arguments by name, as they were given; `deep` is scikit-learn's and changes nothing."""
        return {name: getattr(self, name) for name in self._defaults()}

    def set_params(self: Self, **params: Any) -> Self:
        """Set arguments by name, for the next `fit`; return the model.

        Nothing else changes until then: a fitted model predicts, traces and saves with the arguments that its `fit`
        had, `num_threads` and `verbose` included.

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

    def _checked_params(self) -> Mapping[str, Any]:
        """Return a frozen copy of the arguments as they are now.

        Raises
        ------
        TypeError, ValueError
            One is of the wrong kind or out of range, or two don't go together.
        """
        params = frozen(self.get_params())
        for name, check in self._checks.items():
            check(name, params[name])
        self._check_combinations(params)
        return params

    @classmethod
    def _check_combinations(cls, params: Mapping[str, Any]) -> None:
        """Raise TypeError or ValueError for arguments that don't go together, each of which is right by itself."""

    def __repr__(self) -> str:
        given = [
            f"{name}={getattr(self, name)!r}"
            for name, default in self._defaults().items()
            if repr(getattr(self, name)) != repr(default)
        ]
        return f"{type(self).__name__}({', '.join(given)})"

    # ------------------------------------------------------------------------------------------- what was learnt

    def _learn(self: Self, learn: Callable[..., Fitted], *data: Any) -> Self:
        """Assign what ``learn(params, *data)`` returns, with checked arguments; return the model.

        This is the only place where `fit` changes a model, and it comes last: whatever raises before, the model is as
        it was.
        """
        self._fitted = learn(self._checked_params(), *data)
        return self

    @property
    def network_(self) -> LSTMNetwork:
        """The network."""
        return self._fitted.network

    @property
    def history_(self) -> History:
        """Losses and times of each epoch."""
        return self._fitted.history

    @property
    def n_iter_(self) -> int:
        """Number of completed epochs."""
        return self._fitted.history.n_epochs

    def _check_fitted(self) -> None:
        """Raise NotFittedError before `fit`."""
        self._fitted  # noqa: B018 (reading it raises)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    # ----------------------------------------------------------------------------------------------------- files

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

        fitted = self._fitted
        params = {name: for_json(value) for name, value in fitted.params.items()}
        config, arrays = fitted.content()
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
            return cls._from_content(content)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise ModelFileError(f"{os.fspath(path)!r} can't be loaded: {reason}") from None

    @classmethod
    def _from_content(cls: type[Self], content: ModelFile) -> Self:
        """Return the model of a file; KeyError, TypeError and ValueError say what is wrong with it."""
        self = cls(**cls._params_in_file(content.config))
        return self._learn(cls._fitted_class.restored, content.config, content.arrays)

    @classmethod
    def _params_in_file(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that a file has; they aren't checked yet."""
        params = config["params"]
        if not isinstance(params, dict) or not set(params) <= set(cls._defaults()):
            raise ValueError(f"its params aren't those of a {cls.__name__}")
        return params

    # Copies and pickles contain what a file does, and today's arguments, which may be anything that can be pickled.

    def __getstate__(self) -> dict[str, Any]:
        from clstm.files.model_file import model_to_bytes

        state: dict[str, Any] = {"params": self.get_params(), "fitted": None}
        if self.__sklearn_is_fitted__():
            state["fitted"] = model_to_bytes(type(self).__name__, *self._fitted.content())
            state["fitted_params"] = dict(self._fitted.params)
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        from clstm.files.model_file import model_from_bytes

        defaults = self._defaults()  # of arguments that the version which wrote a pickle didn't have
        vars(self).update(defaults | state["params"])
        if state["fitted"] is not None:
            content = model_from_bytes(state["fitted"], type(self).__name__)
            params = frozen(defaults | state["fitted_params"])
            self._fitted = self._fitted_class.restored(params, content.config, content.arrays)

    # ----------------------------------------------------------------------------------------------- look inside

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
        """Trace the network while it reads X, or a single row of it that is a string."""
        fitted = self._fitted
        single = isinstance(X, str)
        x, lengths, tokens = fitted.read_to_trace([X] if single else X, **options)
        trace = replace(fitted.network.trace(x, lengths=lengths), tokens=tokens)
        return trace.row(0) if single else trace

    def summary(self) -> Summary:
        """Return a table of the network's layers: output shapes, parameters and memory of the weights; print it.

        Raises
        ------
        NotFittedError
            Before `fit`, which finds the sizes.
        """
        return replace(self._fitted.network.summary(), title=type(self).__name__)


def for_json(value: Any) -> Any:
    """Return an argument as JSON represents it; None for what JSON can't (a generator, a function, a model).

    So is a dict whose keys aren't all strings: a model with such an argument stores it in another way.
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
