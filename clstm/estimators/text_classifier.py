"""TextClassifier: texts in, labels out, in scikit-learn's manner."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from clstm._checks import check_choice, check_flag, check_index, check_real, random_generator
from clstm._core.numerics import softmax
from clstm._package import public
from clstm.estimators.base import BaseModel
from clstm.estimators.inputs import PREDICT_ROWS, PREDICT_STEPS, run
from clstm.estimators.labels import check_labels, check_validation_data, find_targets, split
from clstm.layers.pooling import POOLINGS
from clstm.models.base import restored
from clstm.models.sequence import LSTMClassifierNetwork
from clstm.text.vocabulary import Vocabulary, check_texts
from clstm.train.batches import PaddedRows
from clstm.train.history import History

# An epoch of few texts has few steps: where the number of epochs is left open, it makes this many steps at least.
MIN_EPOCHS, MIN_STEPS = 8, 1000

# Inference takes this many texts at a time.
PREDICT_TEXTS = 8192


@public("clstm")
class TextClassifier(BaseModel):
    """An LSTM that learns from labelled texts and gives labels to others.

    Words (`clstm.text.tokenize`) become vectors, an LSTM reads them, its outputs are pooled over the text, and a linear
    layer scores the labels (`LSTMClassifierNetwork`). Adam minimises the cross-entropy. The defaults suit some
    thousand sentences.

    Parameters
    ----------
    vocab_size : int, optional
        Number of token ids, those of padding and unknown words included; the commonest words of the training texts get
        one. All words if left out.
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
        On the embeddings, between layers and on what was pooled, in training.
    word_dropout : float, default 0.2
        Share of the words replaced by the unknown word, in training.
    embedding_std : float, default 0.1
        Standard deviation of the initial embeddings.
    n_epochs : int, optional
        Passes over the training texts. If left out 8, or more where few texts need them to make 1,000 steps.
    batch_size : int, default 32
        Texts a step; of similar length.
    lr : float, default 1e-3
        Learning rate.
    clip_norm : float or None, default 1.0
        Limit of the gradients' common norm.
    ema_decay : float or None, default 0.99
        Decay of the moving average of the weights, which is what predicts. None predicts with the last weights.
    patience : int, optional
        Stop after so many epochs in a row without a better validation accuracy.
    validation_fraction : float, default 0.0
        Share of the training texts kept for validation where `fit` is given none.
    max_length : int, optional
        Longer texts are cut to so many words, in training and prediction.
    start : LanguageModel, optional
        A fitted model of words (``unit="word"``) with the same embedding_dim, hidden_size and num_layers, whose
        vocabulary, embeddings and LSTM `fit` begins with. With both directions, only the forward one of the first layer
        has something to begin with. Files don't keep it: what was learnt in the end is in the classifier's own weights.
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
        The words known.
    network_ : LSTMClassifierNetwork
        The network, for what this class doesn't offer.
    history_ : History
        Losses, validation accuracy and times of each epoch.
    n_iter_ : int
        Epochs that were ended.

    Notes
    -----
    Prediction keeps nothing in the object: many threads may predict with one classifier at once.

    Examples
    --------
    >>> from clstm import TextClassifier
    >>> texts = ["a fine film", "dull and long", "fine, moving", "dull"] * 8
    >>> classifier = TextClassifier(seed=0, verbose=0).fit(texts, ["good", "bad", "good", "bad"] * 8)
    >>> classifier.predict(["a moving film"]).tolist()
    ['good']
    """

    _estimator_type = "classifier"  # for scikit-learn before 1.6

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

    # ------------------------------------------------------------------------------------------------- training

    def fit(self, texts: Any, labels: Any, validation_data: tuple[Any, Any] | None = None) -> TextClassifier:
        """Learn from texts and their labels.

        Ctrl-C ends the training and keeps what was learnt; `history_.interrupted` tells. If an exception ends it, the
        classifier stays as it was before the call.

        Parameters
        ----------
        texts : collection of str
        labels : sequence
            A label for each text: all strings, or all integers, or all booleans; at least two different ones.
        validation_data : (texts, labels), optional
            The accuracy on them after each epoch decides which epoch's weights are kept (of equal ones, the one with
            the lower loss). Without them, and without `validation_fraction`, the last epoch's are.

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
        from clstm.losses import cross_entropy
        from clstm.optim import Adam
        from clstm.train.loop import BucketedBatches, fit

        self._check_params()
        texts = check_texts("texts", texts)
        labels = check_labels("labels", labels, len(texts))
        generator = random_generator(self.seed)
        if validation_data is not None:
            validation_texts, validation_labels = check_validation_data(validation_data)
        elif self.validation_fraction:
            texts, labels, validation_texts, validation_labels = split(
                texts, labels, self.validation_fraction, generator
            )
        else:
            validation_texts, validation_labels = [], []
        classes, targets = np.unique(np.array(labels), return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"labels holds nothing but {labels[0]!r}, expected at least two different labels")
        validation_targets = find_targets("validation_data's labels", validation_labels, classes)

        start = self.start
        vocabulary = Vocabulary.from_texts(texts, self.vocab_size) if start is None else start.vocabulary_
        network = self._make_network(len(vocabulary), len(classes), generator, self.embedding_std)
        if start is not None:
            self._take_over(network, start)
        training, validation = (_encode(vocabulary, some, self.max_length) for some in (texts, validation_texts))

        def loss_step(rows: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
            ids, lengths = training.batch(rows)
            if self.word_dropout:
                # Padding too may become the unknown word here, but is never read.
                dropped = generator.random(ids.shape, np.float32) < self.word_dropout
                ids = np.where(dropped, vocabulary.UNKNOWN, ids)
            out, _, context = network.forward_train(ids, lengths=lengths)
            loss, dout = cross_entropy(out, targets[rows])
            return loss, network.backward(context, dout).weights

        def validate() -> tuple[float, float]:
            out = run(network, validation)
            return cross_entropy(out, validation_targets)[0], float((out.argmax(axis=1) == validation_targets).mean())

        batches = BucketedBatches(training.lengths, self.batch_size, seed=generator)
        history = fit(
            Adam(network, lr=self.lr),
            loss_step,
            batches,
            n_epochs=self._count_epochs(len(batches)),
            validate=validate if validation_texts else None,
            monitor="score",
            patience=self.patience if validation_texts else None,
            ema_decay=self.ema_decay,
            clip_norm=self.clip_norm,
            score_name="accuracy",
            verbose=int(self.verbose),
        )
        self.classes_, self.vocabulary_, self.network_ = classes, vocabulary, network
        self.history_, self.n_iter_ = history, history.n_epochs
        return self

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
        scores = self._scores(texts)
        return self.classes_[scores.argmax(axis=1)]

    def predict_proba(self, texts: Any) -> np.ndarray:
        """Return the probability of each label for each text.

        Takes and raises what `predict` does.

        Returns
        -------
        ndarray of float64, shape (texts, labels)
            In the order of `classes_`; each row's sum is 1.
        """
        return softmax(self._scores(texts), dtype=np.float64)

    def score(self, texts: Any, labels: Any) -> float:
        """Return the accuracy: the share of the texts whose predicted label is the one given.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            As of `fit`; labels that the classifier doesn't know are no error, but never predicted.
        """
        self._check_fitted()
        texts = check_texts("texts", texts)
        labels = check_labels("labels", labels, len(texts))
        predicted = self.predict(texts).tolist()
        return sum(guess == label for guess, label in zip(predicted, labels, strict=True)) / len(labels)

    def _scores(self, texts: Any) -> np.ndarray:
        """Return the network's scores (texts, labels)."""
        self._check_fitted()
        if isinstance(texts, (str, bytes)) or not hasattr(texts, "__len__"):
            raise TypeError(f"texts is {type(texts).__name__}, expected a list of strings, also for a single one")
        scores = np.empty((len(texts), len(self.classes_)), self.network_.dtype)
        if len(texts):
            texts = check_texts("texts", texts)
        max_length = self._fitted_params["max_length"]
        for start in range(0, len(texts), PREDICT_TEXTS):
            rows = _encode(self.vocabulary_, texts[start : start + PREDICT_TEXTS], max_length)
            scores[start : start + PREDICT_TEXTS] = run(self.network_, rows, PREDICT_ROWS, PREDICT_STEPS)
        return scores

    def _read_to_trace(self, X: Any) -> tuple[np.ndarray, np.ndarray, list[list[str]]]:
        texts = check_texts("texts", X)
        rows = _encode(self.vocabulary_, texts, self.max_length)
        tokens = [self.vocabulary_.tokens(text)[: self.max_length] for text in texts]
        return *rows.batch(np.arange(len(rows))), tokens

    # ------------------------------------------------------------------------------------------------- arguments

    def _check_params(self) -> None:
        """Raise TypeError or ValueError for an argument of the wrong kind or out of range."""

        def optional(check: Callable[..., Any], name: str, **limits: float) -> None:
            if getattr(self, name) is not None:
                check(name, getattr(self, name), **limits)

        for name in ("embedding_dim", "hidden_size", "num_layers", "batch_size"):
            check_index(name, getattr(self, name), low=1)
        optional(check_index, "vocab_size", low=3)
        for name in ("n_epochs", "patience", "max_length", "num_threads"):
            optional(check_index, name, low=1)
        for name in ("dropout", "word_dropout"):
            check_real(name, getattr(self, name), low=0.0, high=1.0)
        check_real("embedding_std", self.embedding_std, low=0.0)
        check_flag("bidirectional", self.bidirectional)
        if self.start is not None:
            self._check_start(self.start)
        check_choice("pooling", self.pooling, tuple(POOLINGS))
        check_real("lr", self.lr, low=0.0)
        optional(check_real, "clip_norm", low=0.0)
        optional(check_real, "ema_decay", low=0.0, high=1.0)
        if check_real("validation_fraction", self.validation_fraction, low=0.0, high=1.0) == 1:
            raise ValueError("validation_fraction is 1, expected below 1")
        random_generator(self.seed)
        if not isinstance(self.verbose, bool):
            check_index("verbose", self.verbose, low=0)

    def _check_start(self, start: Any) -> None:
        if not isinstance(start, BaseModel) or not start._reads_words_for_classifiers:
            raise TypeError(f"start is {type(start).__name__}, expected a LanguageModel")
        start._check_fitted()
        learnt = start._fitted_params
        if learnt["unit"] != "word":
            raise ValueError(f"start has unit {learnt['unit']!r}, expected 'word'")
        if self.vocab_size is not None:
            raise ValueError("vocab_size is given beside start, whose vocabulary is taken over")
        for name in ("embedding_dim", "hidden_size", "num_layers"):
            if getattr(self, name) != learnt[name]:
                raise ValueError(f"{name} is {getattr(self, name)}, expected that of start, {learnt[name]}")

    def _take_over(self, network: LSTMClassifierNetwork, start: BaseModel) -> None:
        """Give the network the language model's embeddings, and its LSTM as far as it reads the same."""
        layers = tuple(f"_l{layer}" for layer in range(1 if self.bidirectional else self.num_layers))
        learnt = {
            name: weight
            for name, weight in start.network_.parameters().items()
            if name == "embedding.weight" or (name.startswith("lstm.") and name.endswith(layers))
        }
        network.load_state_dict(network.parameters() | learnt)

    def _count_epochs(self, steps: int) -> int:
        if self.n_epochs is not None:
            return self.n_epochs
        return max(MIN_EPOCHS, math.ceil(MIN_STEPS / steps))

    def _make_network(
        self, vocab_size: int, label_size: int, generator: np.random.Generator, embedding_std: float
    ) -> LSTMClassifierNetwork:
        return LSTMClassifierNetwork(
            self.embedding_dim, self.hidden_size, vocab_size, label_size, self.num_layers,
            dropout=self.dropout, bidirectional=self.bidirectional, pooling=self.pooling,
            embedding_std=embedding_std, embedding_dropout=self.dropout, pooled_dropout=self.dropout,
            seed=generator, num_threads=self.num_threads,
        )  # fmt: skip

    # ----------------------------------------------------------------------------------------------------- files

    def _fitted_content(self) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
        config = {
            "classes": self.classes_.tolist(),
            "vocabulary": self.vocabulary_.to_dict(),
            "history": self.history_.as_dict(),
        }
        return config, self.network_.parameters()

    def _restore(self, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        classes = config["classes"]
        if not isinstance(classes, list):
            raise ValueError("its classes aren't a list")
        self.classes_ = np.array(check_labels("classes", classes, len(classes)))
        if len(classes) < 2 or self.classes_.tolist() != np.unique(self.classes_).tolist():
            raise ValueError("its classes aren't two or more sorted labels")
        self.vocabulary_ = Vocabulary.from_dict(config["vocabulary"])
        self.history_ = History.from_dict(config["history"])
        self.n_iter_ = self.history_.n_epochs

        self.network_ = restored(
            lambda: self._make_network(len(self.vocabulary_), len(classes), random_generator(0), self.embedding_std),
            arrays,
            self.num_layers,
        )

    # ---------------------------------------------------------------------------------------------- scikit-learn

    def __sklearn_tags__(self) -> Any:
        """Describe the classifier to scikit-learn, the only one who asks."""
        from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier",
            target_tags=TargetTags(required=True),
            classifier_tags=ClassifierTags(),
            input_tags=InputTags(one_d_array=True, two_d_array=False, string=True),
        )


def _encode(vocabulary: Vocabulary, texts: list[str], max_length: int | None) -> PaddedRows:
    return PaddedRows([vocabulary.encode(text)[:max_length] for text in texts], vocabulary.PADDING)
