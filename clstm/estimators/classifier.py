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
    """An LSTM that classifies sequences, or each of their steps; a scikit-learn estimator.

    An LSTM reads the sequence, its outputs are pooled, and a linear layer scores the classes. Training minimises the
    cross-entropy.

    X is one of

    - an array (n, time, features), with `lengths` where rows are shorter,
    - a list or object array of arrays (time_i, features), or (time_i,) for one feature,
    - an array or data frame (n, time) of one feature,
    - a list of strings,
    - a list of lists of token ids, which are integers.

    y is a class for each sequence: any integers, booleans or strings. Or it is one for each step: an array (n, time),
    or a list of arrays (time_i,). `predict` returns the same form then.

    Parameters
    ----------
    hidden_size : int, default 64
        Features of h and c in each layer and direction.
    num_layers : int, default 1
        Layers of the LSTM.
    bidirectional : bool, default True
        Whether a second direction reads each sequence from its end. `stream` needs False.
    pooling : {"max", "mean", "last"}, default "max"
        What represents a sequence: the maximum or mean of the outputs over its steps, or the last step's. Not used if
        y has a class for each step.
    dropout : float, default 0.0
        Between layers, on the pooled outputs and on embeddings, in training.
    n_epochs : int, default 100
        Passes over the training sequences.
    batch_size : int, default 32
        Sequences per step of the optimiser; of similar length. All of them if there are no more.
    lr : float, default 5e-3
        Learning rate; with a schedule, the highest.
    optimizer : {"adam", "adamw", "rmsprop", "sgd"}, default "adam"
        "sgd" has Nesterov momentum of 0.9.
    weight_decay : float, default 0.0
        Of the optimiser; with "adamw" it is decoupled from the gradient.
    clip_norm : float or None, default 1.0
        Limit of the norm of all gradients together.
    schedule : {"one_cycle", "cosine"}, callable or None, default "one_cycle"
        Of the learning rate, for each batch. "one_cycle" rises during the first tenth of the steps and then falls to 0
        along a cosine; "cosine" only falls; a callable is called with (optimizer, number of steps) and returns a
        `clstm.schedules.Schedule`.
    class_weight : dict or "balanced", optional
        Weight of each class in the loss, 1 for those that the dict lacks; with "balanced" all classes have the same
        weight in total.
    standardize : bool, default True
        Whether X's features are scaled to mean 0 and standard deviation 1 over the training sequences' real steps.
    embedding_dim : int, default 64
        Size of a token's vector, if X is texts or token ids.
    vocab_size : int, optional
        Number of token ids, which are 0 to vocab_size - 1; of texts, the commonest words have one. By default, as many
        as the training data need.
    early_stopping : bool, default False
        Stop when the validation accuracy hasn't improved by more than `tol` for `n_iter_no_change` epochs in a row.
        Without `eval_set`, `validation_fraction` of the sequences are held out for it. Whenever there is validation,
        the best epoch's weights are used.
    validation_fraction : float, default 0.1
    n_iter_no_change : int, default 10
    tol : float, default 0.0
    warm_start : bool, default False
        Whether `fit` starts from the weights, and with the standardisation, of the `fit` before.
    callbacks : callable or list of them, optional
        Each is called with the `History` after each epoch; training ends if one returns a true value.
    dtype : {"float32", "float64"}, default "float32"
        Of weights and calculations.
    num_threads : int, optional
        Threads; None leaves it to `clstm.set_num_threads` and the environment, and is one inside joblib's threads.
    random_state : int, numpy.random.Generator or RandomState, optional
        For everything random. The same seed and data give the same bits, with any number of threads.
    verbose : int, default 0
        1 shows the progress of `fit` on standard error.

    Attributes
    ----------
    classes_ : ndarray of shape (classes,)
        The classes, sorted.
    n_features_in_ : int
        Features of each step; of X (n, time), its columns. Texts and token ids have none.
    feature_names_in_ : ndarray of str
        Names of a data frame's columns; another X has none.
    per_step_ : bool
        Whether y has a class for each step.
    network_ : clstm.models.SequenceNetwork
        The network, for what this class has no method for.
    history_ : clstm.train.History
        Losses, validation scores, rates and times of each epoch.
    loss_curve_ : list of float
        Mean training loss of each epoch.
    validation_scores_ : list of float or None
        Validation accuracy of each epoch; None without validation.
    n_iter_ : int
        Number of completed epochs.
    vocabulary_ : clstm.Vocabulary or None
        The known words, if X is texts.

    Notes
    -----
    Prediction doesn't change the estimator: several threads may predict with it at once. Files, copies and pickles
    contain the fitted model as arrays and JSON (docs/model-files.md).

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
    score = SequenceEstimator.score  # that of the mixin has no lengths, and no classes of steps

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

    def partial_fit(  # type: ignore[override]  # scikit-learn's classifiers have `classes` before `sample_weight`
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None, *, lengths: Any = None
    ) -> LSTMClassifier:
        """Train for one more epoch.

        The first call determines what X and y are, and the mean and scale for `standardize`; later ones use these. The
        optimiser continues with its state, but not after files and copies; `schedule` and `early_stopping` aren't used.

        Parameters
        ----------
        X, y, sample_weight, lengths
            As for `fit`.
        classes : array_like, optional
            All classes of this and later calls; by default those of the first call's y.
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
