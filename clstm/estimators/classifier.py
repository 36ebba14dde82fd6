"""LSTMClassifier: sequences in, classes out, as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from clstm._checks import check_choice, check_real
from clstm._core.numerics import softmax
from clstm._package import public
from clstm.estimators import sklearn_api as scikit
from clstm.estimators.class_targets import ClassTargets
from clstm.estimators.fitted_sequence import FittedSequence
from clstm.estimators.parameters import Check, optional
from clstm.estimators.sequence import SequenceEstimator


class FittedClassifier(FittedSequence):
    """What one `fit` or `partial_fit` of an LSTMClassifier learnt."""

    targets_class = ClassTargets
    targets: ClassTargets


def _check_class_weight(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        check_choice(name, value, ("balanced",))
        return
    for label, weight in value.items():
        check_real(f"{name}[{label!r}]", weight, low=0.0)


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

    _fitted: FittedClassifier
    _fitted_class = FittedClassifier
    _checks: ClassVar[Mapping[str, Check]] = {
        **SequenceEstimator._checks,
        "class_weight": optional(_check_class_weight),
    }
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

    @property
    def classes_(self) -> np.ndarray:
        """The classes, sorted, of shape (classes,)."""
        return self._fitted.targets.classes

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
        return self._train(X, y, sample_weight, lengths, classes=classes, go_on=True, one_epoch=True)

    def predict_proba(self, X: Any, *, lengths: Any = None) -> Any:
        """Return the probability of each class, for each sequence or step.

        Takes and raises what `predict` does.

        Returns
        -------
        ndarray of float64, shape (n, classes), or of steps (n, time, classes) or a list of arrays (time, classes)
            In the order of `classes_`; the sum over these is 1.
        """
        fitted = self._fitted
        out, rows = fitted.outputs(X, lengths, type(self).__name__)
        return fitted.as_given(softmax(out, dtype=np.float64), rows, X)

    @classmethod
    def _params_in_file(cls, config: Mapping[str, Any]) -> dict[str, Any]:
        params = super()._params_in_file(config)
        if "class_weight" in config:
            return params | {"class_weight": dict(config["class_weight"])}
        return params
