"""What LSTMClassifier and LSTMRegressor learnt: how they read X and compute outputs, and what their files hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from clstm._checks import random_generator
from clstm.estimators.fitted import Fitted
from clstm.estimators.inference import run
from clstm.estimators.inputs import Input, restored_input
from clstm.estimators.joblib_threads import one_thread_in_joblib_threads
from clstm.estimators.reading import is_list
from clstm.estimators.targets import Targets
from clstm.models.base import restored
from clstm.models.sequence import SequenceNetwork
from clstm.optim import Optimizer
from clstm.train.batches import PaddedRows
from clstm.train.history import History

Self = TypeVar("Self", bound="FittedSequence")


@dataclass(frozen=True)
class TrainingState:
    """What `partial_fit` continues with; the optimiser is the network's. Not in files and copies."""

    network: SequenceNetwork
    optimizer: Optimizer
    generator: np.random.Generator


@dataclass(frozen=True, eq=False, kw_only=True)
class FittedSequence(Fitted):
    """What one `fit` or `partial_fit` of an estimator learnt.

    Attributes
    ----------
    network : SequenceNetwork
    input : Input
        What X was.
    targets : Targets
        What y was.
    state : TrainingState or None
        None after a file or a copy.
    """

    targets_class: ClassVar[type[Targets]]
    network: SequenceNetwork
    input: Input
    targets: Targets
    state: TrainingState | None = None

    def read(self, X: Any, lengths: Any, estimator: str) -> PaddedRows:
        """Return the rows of X as the network takes them; `estimator` is its class's name, for errors."""
        return self.input.prepared(self.input.read(X, lengths, estimator), self.network.dtype)

    def outputs(self, X: Any, lengths: Any, estimator: str) -> tuple[np.ndarray, PaddedRows]:
        """Return the network's outputs for X, one for each row or (end to end) each step, and X's rows."""
        rows = self.read(X, lengths, estimator)
        with one_thread_in_joblib_threads(self.params["num_threads"]):
            return run(self.network, rows), rows

    def as_given(self, values: np.ndarray, rows: PaddedRows, X: Any) -> Any:
        """Return values of rows as they are, those of steps in X's form: one array, or a list of arrays."""
        if not self.targets.per_step:
            return values
        if not is_list(X) and (rows.lengths == rows.lengths[0]).all():
            return values.reshape(len(rows), -1, *values.shape[1:])
        return np.split(values, np.cumsum(rows.lengths)[:-1])

    def read_to_trace(
        self, X: Any, lengths: Any = None, estimator: str = ""
    ) -> tuple[np.ndarray, np.ndarray, list[list[str]] | None]:
        """Return X as the network takes it, each row's length, and each row's words where it is text."""
        rows = self.read(X, lengths, estimator)
        vocabulary = self.input.vocabulary
        tokens = None if vocabulary is None else [vocabulary.tokens(text) for text in X]
        return *rows.batch(np.arange(len(rows))), tokens

    def content(self) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
        """Return what a file contains of it, besides the arguments."""
        input_config, input_arrays = self.input.content()
        targets_config, targets_arrays = self.targets.content(self.params)
        own = {"per_step": self.targets.per_step, "history": self.history.as_dict()}
        return input_config | own | targets_config, targets_arrays | input_arrays | self.network.parameters()

    @classmethod
    def restored(
        cls: type[Self], params: Mapping[str, Any], config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
    ) -> Self:
        """Return what `content` described."""
        weights = dict(arrays)
        targets = cls.targets_class.restored(params, config, weights)
        inputs = restored_input(config, weights)
        history = History.from_dict(config["history"])
        network = restored(
            lambda: make_network(params, inputs, targets, random_generator(0)), weights, params["num_layers"]
        )
        return cls(params=params, network=network, history=history, input=inputs, targets=targets)


def make_network(
    params: Mapping[str, Any], inputs: Input, targets: Targets, generator: np.random.Generator
) -> SequenceNetwork:
    """Return the network for an estimator's arguments, X and y, with fresh weights."""
    sizes: dict[str, Any] = {**inputs.network_sizes(params["embedding_dim"])}  # as SequenceNetwork names them
    return SequenceNetwork(
        **sizes,
        hidden_size=params["hidden_size"],
        output_size=targets.output_size,
        num_layers=params["num_layers"],
        bidirectional=params["bidirectional"],
        dropout=params["dropout"],
        pooling=None if targets.per_step else params["pooling"],
        input_dropout=0.0 if inputs.num_ids is None else params["dropout"],
        output_dropout=params["dropout"],
        dtype=params["dtype"],
        seed=generator,
        num_threads=params["num_threads"],
    )
