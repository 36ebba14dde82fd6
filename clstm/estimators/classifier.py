"""LSTMClassifier: sequences in, classes out, as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from clstm._checks import check_choice, check_real
from clstm._core.numerics import softmax
from clstm._package import public
from clstm.estimators import sklearn_api as scikit
from clstm.estimators.base import for_json
from clstm.estimators.inputs import Samples, is_list, read_step_targets
from clstm.estimators.sequence import SequenceEstimator
from clstm.losses import cross_entropy
from clstm.train.batches import PaddedRows


@public("clstm")
class LSTMClassifier(scikit.ClassifierMixin, SequenceEstimator):
    """An LSTM that gives sequences, or each of their steps, a class; a scikit-learn estimator.

    An LSTM reads the sequence, its outputs are pooled, and a linear layer scores the classes. What is minimised is the
    cross-entropy.

    X is one of

    - an array (n, time, features), with `lengths` where rows are shorter,
    - a list or object array of arrays (time_i, features), or (time_i,) for one feature,
    - an array or data frame (n, time) of one feature,
    - a list of strings,
    - a list of lists of token ids, which are integers.

    y is a class for each sequence: any integers, booleans or strings. Or it is one for each step: an array (n, time),
    or a list of arrays (time_i,). `predict` then gives the same.

    Parameters
    ----------
    hidden_size : int, default 64
        Features of h and c in each layer and direction.
    num_layers : int, default 1
        Layers of the LSTM.
    bidirectional : bool, default True
        Whether a second direction reads each sequence from its end. `stream` needs False.
    pooling : {"max", "mean", "last"}, default "max"
        What represents a sequence: the maximum or mean of the outputs over its steps, or the last step's. Where y has
        something for each step there is none.
    dropout : float, default 0.0
        Between layers, on what was pooled and on embeddings, in training.
    n_epochs : int, default 100
        Passes over the training sequences.
    batch_size : int, default 32
        Sequences a step of the optimiser; of similar length. All of them where there are no more.
    lr : float, default 5e-3
        Learning rate; with a schedule its highest.
    optimizer : {"adam", "adamw", "rmsprop", "sgd"}, default "adam"
        "sgd" has Nesterov's momentum of 0.9.
    weight_decay : float, default 0.0
        Of the optimiser; with "adamw" apart from the gradient.
    clip_norm : float or None, default 1.0
        Limit of the gradients' common norm.
    schedule : {"one_cycle", "cosine"}, callable or None, default "one_cycle"
        Of the learning rate, batch by batch: up during the first tenth and then down to 0 along a cosine; only down; or
        what ``schedule(optimizer, number_of_steps)`` returns, a `clstm.schedules.Schedule`.
    class_weight : dict or "balanced", optional
        Weight of each class in the loss, 1 where the dict has none; "balanced" gives all classes the same in sum.
    standardize : bool, default True
        Whether X's features are brought to mean 0 and standard deviation 1, of the training sequences' real steps.
    embedding_dim : int, default 64
        Size of a token's vector, where X is texts or token ids.
    vocab_size : int, optional
        Number of token ids, which are 0 to vocab_size - 1; of texts, the commonest words get one. If left out, as many
        as the training data need.
    early_stopping : bool, default False
        Stop when the validation accuracy hasn't become better by more than `tol` for `n_iter_no_change` epochs in a
        row. Without `eval_set`, `validation_fraction` of the sequences are held back for it. Whenever there is
        validation, the best epoch's weights are kept.
    validation_fraction : float, default 0.1
    n_iter_no_change : int, default 10
    tol : float, default 0.0
    warm_start : bool, default False
        Whether `fit` begins with the weights, and the standardisation, of the `fit` before.
    callbacks : callable or list of them, optional
        Each called with the `History` after each epoch; the training ends if one returns true.
    dtype : {"float32", "float64"}, default "float32"
        Of weights and work.
    num_threads : int, optional
        Threads; None leaves it to `clstm.set_num_threads` and the environment, and takes one inside joblib's threads.
    random_state : int, numpy.random.Generator or RandomState, optional
        For everything random. The same seed and data give the same bits, with any number of threads.
    verbose : int, default 0
        1 shows the progress of `fit` on standard error.

    Attributes
    ----------
    classes_ : ndarray of shape (classes,)
        The classes, sorted.
    n_features_in_ : int
        Features of each step; of X (n, time), its columns. Not there for texts and token ids.
    feature_names_in_ : ndarray of str
        Of a data frame's columns.
    per_step_ : bool
        Whether y has something for each step.
    network_ : clstm.models.SequenceNetwork
        The network, for what this class doesn't offer.
    history_ : clstm.train.History
        Losses, validation scores, rates and times of each epoch.
    loss_curve_ : list of float
        Mean training loss of each epoch.
    validation_scores_ : list of float or None
        Accuracy of each epoch; None without validation.
    n_iter_ : int
        Epochs that were ended.
    vocabulary_ : clstm.Vocabulary or None
        The words known, where X is texts.

    Notes
    -----
    Prediction keeps nothing in the object: many threads may predict with one estimator at once. Files, copies and
    pickles hold the fitted model as arrays and JSON (docs/model-files.md).

    Examples
    --------
    >>> import numpy as np
    >>> from clstm import LSTMClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(rng.integers(5, 15), 2)) for _ in range(60)]
    >>> y = ["up" if x[:, 0].mean() > 0 else "down" for x in X]
    >>> classifier = LSTMClassifier(hidden_size=8, n_epochs=30, random_state=0).fit(X, y)
    >>> classifier.predict([np.ones((4, 2)), -np.ones((7, 2))]).tolist()
    ['up', 'down']
    """

    _score_name = "accuracy"
    score = SequenceEstimator.score  # the mixin's knows neither lengths nor steps

    def __init__(
        self,
        *,
        hidden_size: int = 64,
        num_layers: int = 1,
        bidirectional: bool = True,
        pooling: str = "max",
        dropout: float = 0.0,
        n_epochs: int = 100,
        batch_size: int = 32,
        lr: float = 5e-3,
        optimizer: str = "adam",
        weight_decay: float = 0.0,
        clip_norm: float | None = 1.0,
        schedule: Any = "one_cycle",
        class_weight: Mapping[Any, float] | str | None = None,
        standardize: bool = True,
        embedding_dim: int = 64,
        vocab_size: int | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 0.0,
        warm_start: bool = False,
        callbacks: Any = None,
        dtype: Any = "float32",
        num_threads: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self._store(locals())

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None, *, lengths: Any = None
    ) -> LSTMClassifier:
        """Learn for one epoch, going on from what was learnt before.

        The first call finds mean and scale for `standardize`, and what X and y are; all later ones go by these. The
        optimiser's state is carried on, but not through files and copies; `schedule` and `early_stopping` have no part.

        Parameters
        ----------
        X, y, sample_weight, lengths
            As for `fit`.
        classes : array_like, optional
            All classes that there will be; if left out at the first call, those of its y.
        """
        self._all_classes = classes
        try:
            return super().partial_fit(X, y, sample_weight, lengths=lengths)
        finally:
            vars(self).pop("_all_classes", None)

    def predict_proba(self, X: Any, *, lengths: Any = None) -> Any:
        """Return the probability of each class, for each sequence or step.

        Takes and raises what `predict` does.

        Returns
        -------
        ndarray of float64, shape (n, classes), or of steps (n, time, classes) or a list of arrays (time, classes)
            In the order of `classes_`; the sum over these is 1.
        """
        out, rows = self._outputs(X, lengths)
        return self._as_given(softmax(out, dtype=np.float64), rows, X)

    def _read_targets(self, y: Any, rows: PaddedRows, lengths: Any, reset: bool) -> np.ndarray | PaddedRows:
        per_step = _has_steps(y)
        if not reset and per_step != self.per_step_:
            raise ValueError(f"y has a class for each {'step' if per_step else 'sequence'}, unlike the y before")
        labels = read_step_targets(y, rows, lengths).values if per_step else scikit.column_or_1d(y, warn=True)
        scikit.check_array(labels, ensure_2d=False, dtype=None, input_name="y")
        scikit.check_classification_targets(labels)
        found = np.unique(labels)
        if reset:
            given = getattr(self, "_all_classes", None)
            self.per_step_, self.classes_ = per_step, found if given is None else np.unique(given)
            if len(self.classes_) < 2:
                raise ValueError(f"y holds one class, {found.tolist()[0]!r}, expected two or more classes")
        unknown = found[~np.isin(found, self.classes_)]
        if len(unknown):
            raise ValueError(
                f"y holds the class {unknown.tolist()[0]!r}, expected one of {self.classes_.tolist()!r:.100}"
            )
        places = np.searchsorted(self.classes_, labels)
        return PaddedRows.end_to_end(places, rows.lengths) if per_step else places

    def _study(self, samples: Samples, onwards: bool) -> None:
        super()._study(samples, onwards)
        self._class_weights = self._find_class_weights(samples)

    def _find_class_weights(self, samples: Samples) -> np.ndarray | None:
        if self.class_weight is None:
            return None
        if self.class_weight == "balanced":
            counts = np.bincount(samples.flat_targets(), samples.flat_weight(), len(self.classes_))
            weights = counts.sum() / (np.count_nonzero(counts) * np.where(counts > 0, counts, np.inf))
        else:
            weights = np.array([self.class_weight.get(label, 1.0) for label in self.classes_.tolist()])
        return weights.astype(self.dtype)

    def _output_size(self) -> int:
        return len(self.classes_)

    def _loss(self, out: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> tuple[float, np.ndarray]:
        return cross_entropy(out, targets, weights=self._class_weights, sample_weight=weight)

    def _metric(self, out: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> float:
        return float(np.average(out.argmax(axis=1) == targets, weights=weight))

    def _predictions(self, out: np.ndarray) -> np.ndarray:
        return self.classes_[out.argmax(axis=1)]

    def _score(self, y: Any, out: np.ndarray, weight: Any) -> float:
        return scikit.accuracy_score(y, self._predictions(out), sample_weight=weight)

    def _step_result(self) -> Callable[[np.ndarray], np.ndarray]:
        return softmax

    def _check_params(self) -> None:
        super()._check_params()
        if self.class_weight is not None and not isinstance(self.class_weight, Mapping):
            check_choice("class_weight", self.class_weight, ("balanced",))
        elif self.class_weight:
            for label, weight in self.class_weight.items():
                check_real(f"class_weight[{label!r}]", weight, low=0.0)

    def _fitted_content(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        config, arrays = super()._fitted_content()
        config |= {"classes": self.classes_.tolist(), "classes_dtype": self.classes_.dtype.str}
        if isinstance(self.class_weight, Mapping):
            config["class_weight"] = [[for_json(label), weight] for label, weight in self.class_weight.items()]
        return config, arrays

    def _restore(self, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        classes, dtype = config["classes"], np.dtype(config["classes_dtype"])
        if not isinstance(classes, list) or len(classes) < 2 or dtype.kind not in "biufUO":
            raise ValueError("its classes aren't a list of two or more labels")
        if not all(isinstance(label, (str, int, float)) for label in classes):
            raise ValueError("its classes aren't strings or numbers")
        self.classes_ = np.array(classes, dtype)
        if self.classes_.tolist() != np.unique(self.classes_).tolist():
            raise ValueError("its classes aren't sorted")
        if "class_weight" in config:
            self.class_weight = dict(config["class_weight"])
        super()._restore(config, arrays)


def _has_steps(y: Any) -> bool:
    """Return whether y has a class for each step, not for each sequence."""
    if is_list(y):
        return len(y) > 0 and np.ndim(next(iter(y))) > 0
    shape = getattr(y, "shape", ())
    return len(shape) > 1 and shape[1] != 1
