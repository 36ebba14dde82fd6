"""What a `fit` learnt: one frozen object, with a copy of the arguments that the fit had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np

from clstm.models.base import LSTMNetwork
from clstm.train.history import History

Self = TypeVar("Self", bound="Fitted")


@dataclass(frozen=True, eq=False, kw_only=True)
class Fitted:
    """What one `fit` learnt; each model subclasses it with its vocabulary, classes, scales and so on.

    A model is in two states at once: the arguments that its user may have set since, which the next `fit` takes, and
    this object, which everything else works with. Prediction, traces, streams, files and copies are computed from it
    alone, and in its methods there are no other arguments to take by mistake. It never changes: a model that learns
    more (`partial_fit`, or a forecaster's `update`) gets another one, made with `dataclasses.replace`.

    Attributes
    ----------
    params : mapping of str to object
        The arguments that the fit had, by name; read-only, from `frozen`.
    network : LSTMNetwork
    history : History
        Losses and times of each epoch.
    """

    params: Mapping[str, Any]
    network: LSTMNetwork
    history: History

    def content(self) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
        """Return what a file contains of it, besides the arguments: what JSON can represent, and arrays."""
        raise NotImplementedError

    @classmethod
    def restored(
        cls: type[Self], params: Mapping[str, Any], config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
    ) -> Self:
        """Return what `content` described. The arguments are checked; nothing else in a file is trusted.

        Raises
        ------
        KeyError, TypeError, ValueError
            Something is missing, or isn't what `content` returns for these arguments; the message says what.
        """
        raise NotImplementedError

    def read_to_trace(self, X: Any) -> tuple[np.ndarray, np.ndarray, list[list[str]] | None]:
        """Return X as the network takes it, each row's length, and each row's tokens where it is text."""
        raise NotImplementedError


def frozen(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a read-only copy of a model's arguments, which later changes of the user's lists and dicts don't reach."""
    return MappingProxyType({name: _copied(value) for name, value in params.items()})


def _copied(value: Any) -> Any:
    # Generators, callables and models are shared: a seed's generator must advance, and the others are only read.
    if type(value) in (list, tuple):
        return type(value)(_copied(item) for item in value)
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    return value.copy() if isinstance(value, np.ndarray) else value
