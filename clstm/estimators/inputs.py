"""What X is, a class for each kind: how it is read at `fit` and since, also by streams, and what files hold of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, ClassVar, TypeVar

import numpy as np

from clstm._checks import as_array, check_choice, check_index, check_token_ids
from clstm.estimators import sklearn_api as scikit
from clstm.estimators.reading import as_numbers, check_finite, cut_to_lengths, kind_of, read_floats, read_ids
from clstm.estimators.samples import Samples, mean_and_scale
from clstm.estimators.scales import take_scales
from clstm.models.sequence import SequenceNetwork
from clstm.text.vocabulary import Vocabulary, check_texts
from clstm.train.batches import PaddedRows

Self = TypeVar("Self", bound="Input")


@dataclass(frozen=True, eq=False, kw_only=True)
class Input:
    """What X was at `fit`, and how X is read since.

    Attributes
    ----------
    kind : str
        What `kind_of` calls it.
    description : str
        What errors call it.
    n_features_in : int or None
        Features of each step; columns of a table; None of tokens.
    feature_names_in : ndarray of str or None
        Names of a data frame's columns.
    num_ids : int or None
        Number of token ids; None of floats.
    vocabulary : Vocabulary or None
        Of texts.
    """

    kind: ClassVar[str]
    description: ClassVar[str]
    n_features_in: int | None = None
    feature_names_in: np.ndarray | None = None
    num_ids: int | None = None
    vocabulary: Vocabulary | None = None

    @classmethod
    def learn(cls, X: Any, lengths: Any, vocab_size: int | None, estimator: str) -> tuple[Input, PaddedRows]:
        """Return what X is, at a first `fit`, and its rows, floats as they are.

        `vocab_size` is the estimator's argument, and `estimator` its class's name, for errors.
        """
        raise NotImplementedError

    def read(self, X: Any, lengths: Any, estimator: str) -> PaddedRows:
        """Return the rows of another X, which must be of the same kind, floats as they are."""
        kind = kind_of(X)
        if kind != self.kind:
            found = KINDS[kind].description
            raise ValueError(f"X holds {found}, expected {self.description}, as fit was given")
        return self._rows(X, lengths, estimator)

    def _rows(self, X: Any, lengths: Any, estimator: str) -> PaddedRows:
        """Return the rows of an X of this kind."""
        raise NotImplementedError

    def measured(self: Self, samples: Samples, standardize: bool) -> Self:
        """Return it with the scales of the training samples, where it has scales."""
        return self

    def prepared(self, rows: PaddedRows, dtype: np.dtype) -> PaddedRows:
        """Return rows as the network takes them."""
        return rows

    def steps(self, name: str, x: Any) -> tuple[np.ndarray, list[tuple[str, int | None]]]:
        """Return a stream's steps as an array, and the axes that it must have after batch and time."""
        raise NotImplementedError

    def features_of_steps(self, name: str, steps: np.ndarray, network: SequenceNetwork) -> np.ndarray:
        """Return what the network's LSTM reads for an array from `steps`."""
        raise NotImplementedError

    def network_sizes(self, embedding_dim: int) -> dict[str, int | None]:
        """Return the network's arguments ``input_size`` and ``vocab_size``."""
        raise NotImplementedError

    def content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what a file contains of it."""
        names = self.feature_names_in
        config = {
            "kind": self.kind,
            "n_features_in": self.n_features_in,
            "feature_names_in": None if names is None else names.tolist(),
            "num_ids": self.num_ids,
            "vocabulary": None if self.vocabulary is None else self.vocabulary.to_dict(),
        }
        return config, {"input.mean": np.zeros(0), "input.scale": np.ones(0)}

    @classmethod
    def restored(cls, config: Mapping[str, Any], mean: np.ndarray, scale: np.ndarray) -> Input:
        """Return what `content` described, of which nothing is trusted but the scales."""
        raise NotImplementedError


# -------------------------------------------------------------------------------------------------------------- floats


@dataclass(frozen=True, eq=False, kw_only=True)
class Floats(Input):
    """Floats, which are standardised.

    Attributes
    ----------
    mean, scale : ndarray of float64, shape (features,)
        What is subtracted, and by what the result is then divided.
    """

    mean: np.ndarray = field(default_factory=lambda: np.zeros(1))
    scale: np.ndarray = field(default_factory=lambda: np.ones(1))

    def measured(self, samples: Samples, standardize: bool) -> Floats:
        """Return it with mean and scale of the training samples; with 0 and 1 if they aren't to be standardised."""
        width = samples.rows.values.shape[1]
        mean, scale = np.zeros(width), np.ones(width)
        if standardize:
            mean, scale = mean_and_scale(samples.rows.values, samples.step_weight())
        return replace(self, mean=mean, scale=scale)

    def prepared(self, rows: PaddedRows, dtype: np.dtype) -> PaddedRows:
        """Return the rows standardised; raise ValueError where that isn't finite in the dtype."""
        rows = PaddedRows.end_to_end(self._standardized(rows.values, dtype), rows.lengths)
        check_finite("X", rows, " when standardised")
        return rows

    def _standardized(self, values: np.ndarray, dtype: np.dtype) -> np.ndarray:
        with np.errstate(over="ignore"):
            return ((values - self.mean) / self.scale).astype(dtype)

    def steps(self, name: str, x: Any) -> tuple[np.ndarray, list[tuple[str, int | None]]]:
        """Return a stream's steps as floats, which have an axis of features."""
        return as_numbers(name, x), [("features", len(self.mean))]

    def features_of_steps(self, name: str, steps: np.ndarray, network: SequenceNetwork) -> np.ndarray:
        """Return the steps standardised; raise ValueError where they aren't finite."""
        values = self._standardized(steps, network.dtype)
        if not np.isfinite(values).all():
            raise ValueError(f"{name} contains NaN or infinity, expected finite numbers")
        return values

    def network_sizes(self, embedding_dim: int) -> dict[str, int | None]:
        """Return the features as the size of the network's input."""
        return {"input_size": len(self.mean), "vocab_size": None}

    def content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return what a file contains of it."""
        return super().content()[0], {"input.mean": self.mean, "input.scale": self.scale}


@dataclass(frozen=True, eq=False, kw_only=True)
class Table(Floats):
    """An array or data frame (n, time), which scikit-learn checks: one feature; the columns are the steps."""

    kind = "table"
    description = "an array (n, time)"

    @classmethod
    def learn(cls, X: Any, lengths: Any, vocab_size: int | None, estimator: str) -> tuple[Table, PaddedRows]:
        """Return the table's columns, and its rows as sequences of one feature."""
        columns: Any = _columns(estimator)()
        array = scikit.validate_data(columns, X, dtype=[np.float64, np.float32], reset=True)
        names = getattr(columns, "feature_names_in_", None)
        found = cls(n_features_in=columns.n_features_in_, feature_names_in=names)
        return found, cut_to_lengths(array[:, :, np.newaxis], lengths)

    def _rows(self, X: Any, lengths: Any, estimator: str) -> PaddedRows:
        columns: Any = _columns(estimator)()
        columns.n_features_in_ = self.n_features_in
        if self.feature_names_in is not None:
            columns.feature_names_in_ = self.feature_names_in
        array = scikit.validate_data(columns, X, dtype=[np.float64, np.float32], reset=False)
        return cut_to_lengths(array[:, :, np.newaxis], lengths)

    @classmethod
    def restored(cls, config: Mapping[str, Any], mean: np.ndarray, scale: np.ndarray) -> Table:
        """Return what `content` described."""
        names = config["feature_names_in"]
        if names is not None:
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError("its feature_names_in aren't strings")
            names = np.array(names, object)
        n_features_in = check_index("its n_features_in", config["n_features_in"], low=1)
        return cls(n_features_in=n_features_in, feature_names_in=names, mean=mean, scale=scale)


@cache
def _columns(estimator: str) -> type:
    """Return a class for validate_data to write X's columns to, or to compare them with.

    Written to the estimator, they would stay there when its fit fails. Errors of scikit-learn contain the class's name.
    """
    return type(estimator, (scikit.BaseEstimator,), {})


@dataclass(frozen=True, eq=False, kw_only=True)
class Sequences(Floats):
    """An array (n, time, features), or a list of arrays (time, features), or (time,) of one feature."""

    kind = "sequences"
    description = "sequences of floats"

    @classmethod
    def learn(cls, X: Any, lengths: Any, vocab_size: int | None, estimator: str) -> tuple[Sequences, PaddedRows]:
        """Return the number of features, and the rows."""
        rows = read_floats(X, lengths)
        return cls(n_features_in=rows.values.shape[1]), rows

    def read(self, X: Any, lengths: Any, estimator: str) -> PaddedRows:
        """Return the rows of other sequences, which must have as many features."""
        # Lists of equal lengths look like a table, but can be sequences of one feature.
        if self.n_features_in == 1 and kind_of(X) == "table" and np.ndim(X) == 2:
            X = as_array("X", X)[:, :, np.newaxis]
        return super().read(X, lengths, estimator)

    def _rows(self, X: Any, lengths: Any, estimator: str) -> PaddedRows:
        rows = read_floats(X, lengths)
        width, expected = rows.values.shape[1], self.n_features_in
        if width != expected:
            # The words are scikit-learn's, whose checks look for them.
            raise ValueError(f"X has {width} features, but {estimator} is expecting {expected} features as input")
        return rows

    @classmethod
    def restored(cls, config: Mapping[str, Any], mean: np.ndarray, scale: np.ndarray) -> Sequences:
        """Return what `content` described."""
        n_features_in = check_index("its n_features_in", config["n_features_in"], len(mean), len(mean))
        return cls(n_features_in=n_features_in, mean=mean, scale=scale)


# -------------------------------------------------------------------------------------------------------------- tokens


@dataclass(frozen=True, eq=False, kw_only=True)
class Tokens(Input):
    """Token ids, or texts that are made into some; the network has an embedding of them."""

    num_ids: int

    def features_of_steps(self, name: str, steps: np.ndarray, network: SequenceNetwork) -> np.ndarray:
        """Return the tokens' vectors."""
        return network.embedding(steps)

    def network_sizes(self, embedding_dim: int) -> dict[str, int | None]:
        """Return the size of a token's vector as that of the network's input, and the number of ids."""
        return {"input_size": embedding_dim, "vocab_size": self.num_ids}


@dataclass(frozen=True, eq=False, kw_only=True)
class TokenIds(Tokens):
    """Lists or arrays of token ids."""

    kind = "ids"
    description = "lists of token ids"

    @classmethod
    def learn(cls, X: Any, lengths: Any, vocab_size: int | None, estimator: str) -> tuple[TokenIds, PaddedRows]:
        """Return the number of ids, which is one more than the greatest if `vocab_size` is None, and the rows."""
        _refuse_lengths(lengths, cls.description)
        rows = read_ids(X, vocab_size)
        return cls(num_ids=vocab_size or int(rows.values.max(initial=0)) + 1), rows

    def _rows(self, X: Any, lengths: Any, estimator: str) -> PaddedRows:
        _refuse_lengths(lengths, self.description)
        return read_ids(X, self.num_ids)

    def steps(self, name: str, x: Any) -> tuple[np.ndarray, list[tuple[str, int | None]]]:
        """Return a stream's steps as ids, which must be in range."""
        return check_token_ids(name, x, self.num_ids), []

    @classmethod
    def restored(cls, config: Mapping[str, Any], mean: np.ndarray, scale: np.ndarray) -> TokenIds:
        """Return what `content` described."""
        return cls(num_ids=check_index("its num_ids", config["num_ids"], low=1))


@dataclass(frozen=True, eq=False, kw_only=True)
class Texts(Tokens):
    """Strings, of which each word is a token."""

    vocabulary: Vocabulary

    kind = "texts"
    description = "strings"

    @classmethod
    def learn(cls, X: Any, lengths: Any, vocab_size: int | None, estimator: str) -> tuple[Texts, PaddedRows]:
        """Return the texts' vocabulary, and their ids as rows."""
        vocabulary = Vocabulary.from_texts(check_texts("X", X), vocab_size)
        found = cls(num_ids=len(vocabulary), vocabulary=vocabulary)
        return found, found._rows(X, lengths, estimator)

    def _rows(self, X: Any, lengths: Any, estimator: str) -> PaddedRows:
        _refuse_lengths(lengths, self.description)
        texts = check_texts("X", X)
        return PaddedRows([self.vocabulary.encode(text) for text in texts], self.vocabulary.PADDING)

    def steps(self, name: str, x: Any) -> tuple[np.ndarray, list[tuple[str, int | None]]]:
        """Return the ids of a stream's steps, which must be one word each."""
        words = as_array(name, x)
        ids = [self.vocabulary.encode(str(word)) for word in words.reshape(-1)]
        if any(len(some) != 1 for some in ids):
            raise ValueError(f"{name} is {x!r:.60}, expected one word a step")
        return np.array(ids, np.int64).reshape(words.shape), []

    @classmethod
    def restored(cls, config: Mapping[str, Any], mean: np.ndarray, scale: np.ndarray) -> Texts:
        """Return what `content` described."""
        vocabulary = Vocabulary.from_dict(config["vocabulary"])
        return cls(num_ids=len(vocabulary), vocabulary=vocabulary)


def _refuse_lengths(lengths: Any, description: str) -> None:
    if lengths is not None:
        raise ValueError(f"lengths is given, but X holds {description}, which have lengths already")


KINDS: dict[str, type[Input]] = {kind.kind: kind for kind in (Table, Sequences, TokenIds, Texts)}


def restored_input(config: Mapping[str, Any], arrays: dict[str, np.ndarray]) -> Input:
    """Return the input that a file describes, and take its scales out of the file's arrays."""
    mean, scale = take_scales(arrays, "input")
    return KINDS[check_choice("its kind", config["kind"], tuple(KINDS))].restored(config, mean, scale)
