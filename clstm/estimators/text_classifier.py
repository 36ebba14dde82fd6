"""TextClassifier: texts in, labels out, in scikit-learn's manner."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from clstm._checks import check_flag
from clstm._core.numerics import softmax
from clstm._package import public
from clstm.estimators.base import BaseModel
from clstm.estimators.fitted_text import FittedText
from clstm.estimators.labels import check_labels
from clstm.estimators.parameters import (
    AT_LEAST_1,
    FRACTION,
    NOT_NEGATIVE,
    PROBABILITY,
    Check,
    at_least,
    check_seed,
    check_verbose,
    one_of,
    optional,
)
from clstm.layers.pooling import POOLINGS
from clstm.text.vocabulary import Vocabulary, check_texts


def check_start(name: str, start: Any) -> None:
    """Check that a classifier can start from the model: a fitted `LanguageModel` of words."""
    if not isinstance(start, BaseModel) or not start._reads_words_for_classifiers:
        raise TypeError(f"{name} is {type(start).__name__}, expected a LanguageModel")
    unit = start._fitted.params["unit"]
    if unit != "word":
        raise ValueError(f"{name} has unit {unit!r}, expected 'word'")


@public("clstm")
class TextClassifier(BaseModel):
    """An LSTM that learns from labelled texts to predict the labels of others.

    Words (`clstm.text.tokenize`) become vectors, an LSTM reads them, its outputs are pooled over the text, and a linear
    layer scores the labels (`LSTMClassifierNetwork`). Adam minimises the cross-entropy. The defaults suit some
    thousand sentences.

    Parameters
    ----------
    vocab_size : int, optional
        Number of token ids, those of padding and unknown words included, for the commonest words of the training texts.
        By default, all words have an id.
    embedding_dim : int, default 64
        Size of a word's vector.
    hidden_size : int, default 64
        Features of h and c in each layer and direction.
    num_layers : int, default 1
        Layers of the LSTM.
    bidirectional : bool, default True
        Whether a second direction reads each text from its end.
    pooling : {"max", "mean", "last"}, default "max"
        What represents a text: the maximum or mean of the outputs over its words, or the last word's.
    dropout : float, default 0.6
        On the embeddings, between layers and on the pooled outputs, in training.
    word_dropout : float, default 0.2
        Share of the words replaced by the unknown word, in training.
    embedding_std : float, default 0.1
        Standard deviation of the initial embeddings.
    n_epochs : int, optional
        Passes over the training texts. By default 8, or as many as 1,000 steps take if that is more.
    batch_size : int, default 32
        Texts per step; of similar length.
    lr : float, default 1e-3
        Learning rate.
    clip_norm : float or None, default 1.0
        Limit of the norm of all gradients together.
    ema_decay : float or None, default 0.99
        Decay of the moving average of the weights, which predictions use. None: they use the last weights.
    patience : int, optional
        Stop after so many epochs in a row without a better validation accuracy.
    validation_fraction : float, default 0.0
        Share of the training texts that is held out for validation if `fit` gets no validation data.
    max_length : int, optional
        Longer texts are cut to this number of words, in training and prediction.
    start : LanguageModel, optional
        A fitted model of words (``unit="word"``) with the same embedding_dim, hidden_size and num_layers, whose
        vocabulary, embeddings and LSTM `fit` starts from. If the classifier is bidirectional, this is only the forward
        direction of the first layer. Files don't contain the model, which isn't needed after `fit`.
    num_threads : int, optional
        Threads for the LSTM and the optimiser; None leaves it to `clstm.set_num_threads` and the environment.
    seed : int or numpy.random.Generator, optional
        For everything random. The same seed and data give the same bits.
    verbose : int, default 1
        1 shows the progress of `fit` on standard error, 0 nothing.

    Attributes
    ----------
    classes_ : ndarray of shape (labels,)
        The labels, sorted.
    vocabulary_ : Vocabulary
        The known words.
    network_ : LSTMClassifierNetwork
        The network, for what this class has no method for.
    history_ : History
        Losses, validation accuracy and times of each epoch.
    n_iter_ : int
        Number of completed epochs.

    Notes
    -----
    Prediction doesn't change the classifier: several threads may predict with it at once.

    Examples
    --------
    >>> from clstm import TextClassifier
    >>> texts = ["a fine film", "dull and long", "fine, moving", "dull"] * 8
    >>> classifier = TextClassifier(seed=0, verbose=0).fit(texts, ["good", "bad", "good", "bad"] * 8)
    >>> classifier.predict(["a moving film"]).tolist()
    ['good']
    """

    _estimator_type = "classifier"  # for scikit-learn before 1.6

    _fitted: FittedText
    _fitted_class = FittedText
    _checks: ClassVar[Mapping[str, Check]] = {
        "vocab_size": optional(at_least(3)),
        "embedding_dim": AT_LEAST_1,
        "hidden_size": AT_LEAST_1,
        "num_layers": AT_LEAST_1,
        "bidirectional": check_flag,
        "pooling": one_of(POOLINGS),
        "dropout": PROBABILITY,
        "word_dropout": PROBABILITY,
        "embedding_std": NOT_NEGATIVE,
        "n_epochs": optional(AT_LEAST_1),
        "batch_size": AT_LEAST_1,
        "lr": NOT_NEGATIVE,
        "clip_norm": optional(NOT_NEGATIVE),
        "ema_decay": optional(PROBABILITY),
        "patience": optional(AT_LEAST_1),
        "validation_fraction": FRACTION,
        "max_length": optional(AT_LEAST_1),
        "start": optional(check_start),
        "num_threads": optional(AT_LEAST_1),
        "seed": check_seed,
        "verbose": check_verbose,
    }

    def __init__(
        self,
        *,
        vocab_size: int | None = None,
        embedding_dim: int = 64,
        hidden_size: int = 64,
        num_layers: int = 1,
        bidirectional: bool = True,
        pooling: str = "max",
        dropout: float = 0.6,
        word_dropout: float = 0.2,
        embedding_std: float = 0.1,
        n_epochs: int | None = None,
        batch_size: int = 32,
        lr: float = 1e-3,
        clip_norm: float | None = 1.0,
        ema_decay: float | None = 0.99,
        patience: int | None = None,
        validation_fraction: float = 0.0,
        max_length: int | None = None,
        start: BaseModel | None = None,
        num_threads: int | None = None,
        seed: int | np.random.Generator | None = None,
        verbose: int = 1,
    ) -> None:
        self._store(locals())

    @classmethod
    def _check_combinations(cls, params: Mapping[str, Any]) -> None:
        if params["start"] is None:
            return
        if params["vocab_size"] is not None:
            raise ValueError("vocab_size is given beside start, whose vocabulary is used")
        learnt = params["start"]._fitted.params
        for name in ("embedding_dim", "hidden_size", "num_layers"):
            if params[name] != learnt[name]:
                raise ValueError(f"{name} is {params[name]}, expected that of start, {learnt[name]}")

    @property
    def classes_(self) -> np.ndarray:
        """The labels, sorted, of shape (labels,)."""
        return self._fitted.classes

    @property
    def vocabulary_(self) -> Vocabulary:
        """The known words."""
        return self._fitted.vocabulary

    # ------------------------------------------------------------------------------------------------- training

    def fit(self, texts: Any, labels: Any, validation_data: tuple[Any, Any] | None = None) -> TextClassifier:
        """Learn from texts and their labels.

        Ctrl-C ends the training and keeps what was learnt; `history_.interrupted` is True then. If `fit` raises, the
        classifier is as it was before the call.

        Parameters
        ----------
        texts : collection of str
        labels : sequence
            A label for each text: all strings, or all integers, or all booleans; at least two different ones.
        validation_data : (texts, labels), optional
            The accuracy on them after each epoch decides which epoch's weights are used (if equal, the lower loss
            does). Without them, and without `validation_fraction`, the last epoch's are.

        Returns
        -------
        TextClassifier
            Itself.

        Raises
        ------
        TypeError
            Texts that aren't strings, labels of another or of different kinds, or an argument of the wrong kind.
        ValueError
            No texts, no words in them, another number of labels than of texts, fewer than two different labels,
            a label in `validation_data` that the training texts don't have, or an argument out of range.
        FloatingPointError
            The training diverged.
        """
        from clstm.estimators.train_text import learn

        return self._learn(learn, texts, labels, validation_data)

    # ----------------------------------------------------------------------------------------------- prediction

    def predict(self, texts: Any) -> np.ndarray:
        """Return the likeliest label of each text.

        Parameters
        ----------
        texts : collection of str
            May be empty.

        Returns
        -------
        ndarray of shape (texts,)
            Of the labels' dtype.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError
            A single string, or something that isn't a collection of strings.
        """
        fitted = self._fitted
        return fitted.classes[fitted.scores(texts).argmax(axis=1)]

    def predict_proba(self, texts: Any) -> np.ndarray:
        """Return the probability of each label for each text.

        Takes and raises what `predict` does.

        Returns
        -------
        ndarray of float64, shape (texts, labels)
            In the order of `classes_`; each row's sum is 1.
        """
        return softmax(self._fitted.scores(texts), dtype=np.float64)

    def score(self, texts: Any, labels: Any) -> float:
        """Return the accuracy: the share of the texts whose predicted label is the given one.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            As of `fit`; labels that the classifier doesn't know aren't errors, but are never predicted.
        """
        self._check_fitted()
        texts = check_texts("texts", texts)
        labels = check_labels("labels", labels, len(texts))
        predicted = self.predict(texts).tolist()
        return sum(guess == label for guess, label in zip(predicted, labels, strict=True)) / len(labels)

    # ---------------------------------------------------------------------------------------------- scikit-learn

    def __sklearn_tags__(self) -> Any:
        """Describe the classifier to scikit-learn, which is installed if it calls this."""
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(one_d_array=True, two_d_array=False, string=True),
        )
