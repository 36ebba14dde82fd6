"""How a TextClassifier learns: from texts and labels to a `FittedText`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clstm._checks import random_generator
from clstm.estimators.base import BaseModel
from clstm.estimators.fitted_text import FittedText, encode, make_network
from clstm.estimators.inference import run
from clstm.estimators.labels import check_labels, check_validation_data, find_targets, split
from clstm.losses import cross_entropy
from clstm.models.sequence import LSTMClassifierNetwork
from clstm.optim import Adam
from clstm.text.vocabulary import Vocabulary, check_texts
from clstm.train.history import History
from clstm.train.loop import BucketedBatches, fit

# If the number of epochs isn't given, there are at least so many epochs and steps: few texts make few steps an epoch.
MIN_EPOCHS, MIN_STEPS = 8, 1000


@dataclass(frozen=True)
class LabelledTexts:
    """Texts to train on and to validate on, with each one's index among the classes; there may be none of the latter.

    Attributes
    ----------
    classes : ndarray of shape (labels,)
        The labels of the training texts, sorted.
    texts, validation_texts : list of str
    targets, validation_targets : ndarray of int64
    """

    classes: np.ndarray
    texts: list[str]
    targets: np.ndarray
    validation_texts: list[str]
    validation_targets: np.ndarray


def learn(params: Mapping[str, Any], texts: Any, labels: Any, validation_data: Any) -> FittedText:
    """Return what is learnt from texts and labels; arguments and errors are those of `TextClassifier.fit`."""
    texts = check_texts("texts", texts)
    labels = check_labels("labels", labels, len(texts))
    generator = random_generator(params["seed"])
    data = _divide(texts, labels, validation_data, params["validation_fraction"], generator)
    start = params["start"]
    vocabulary = Vocabulary.from_texts(data.texts, params["vocab_size"]) if start is None else start.vocabulary_
    network = make_network(params, len(vocabulary), len(data.classes), generator)
    if start is not None:
        _load_start(network, params, start)
    history = _train(params, network, vocabulary, data, generator)
    return FittedText(params=params, network=network, history=history, vocabulary=vocabulary, classes=data.classes)


def _divide(
    texts: list[str], labels: list[Any], validation_data: Any, fraction: float, generator: np.random.Generator
) -> LabelledTexts:
    """Return the texts to train on, and those to validate on: those given, or a fraction of all texts."""
    validation_texts: list[str] = []
    validation_labels: list[Any] = []
    if validation_data is not None:
        validation_texts, validation_labels = check_validation_data(validation_data)
    elif fraction:
        texts, labels, validation_texts, validation_labels = split(texts, labels, fraction, generator)
    classes, targets = np.unique(np.array(labels), return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"labels holds nothing but {labels[0]!r}, expected at least two different labels")
    validation_targets = find_targets("validation_data's labels", validation_labels, classes)
    return LabelledTexts(classes, texts, targets, validation_texts, validation_targets)


def _train(
    params: Mapping[str, Any],
    network: LSTMClassifierNetwork,
    vocabulary: Vocabulary,
    data: LabelledTexts,
    generator: np.random.Generator,
) -> History:
    """Train the network."""
    training, validation = (
        encode(vocabulary, texts, params["max_length"]) for texts in (data.texts, data.validation_texts)
    )

    def loss_step(rows: np.ndarray) -> tuple[float, Mapping[str, Any]]:
        ids, lengths = training.batch(rows)
        if params["word_dropout"]:
            # Padding may become the unknown word here, too, but is never read.
            dropped = generator.random(ids.shape, np.float32) < params["word_dropout"]
            ids = np.where(dropped, vocabulary.UNKNOWN, ids)
        out, _, context = network.forward_train(ids, lengths=lengths)
        loss, dout = cross_entropy(out, data.targets[rows])
        return loss, network.backward(context, dout).weights

    def validate() -> tuple[float, float]:
        out = run(network, validation)
        accuracy = float((out.argmax(axis=1) == data.validation_targets).mean())
        return cross_entropy(out, data.validation_targets)[0], accuracy

    batches = BucketedBatches(training.lengths, params["batch_size"], seed=generator)
    return fit(
        Adam(network, lr=params["lr"]),
        loss_step,
        batches,
        n_epochs=params["n_epochs"] or max(MIN_EPOCHS, math.ceil(MIN_STEPS / len(batches))),
        validate=validate if data.validation_texts else None,
        monitor="score",
        patience=params["patience"] if data.validation_texts else None,
        ema_decay=params["ema_decay"],
        clip_norm=params["clip_norm"],
        score_name="accuracy",
        verbose=int(params["verbose"]),
    )


def _load_start(network: LSTMClassifierNetwork, params: Mapping[str, Any], start: BaseModel) -> None:
    """Give the network the language model's embeddings, and those weights of its LSTM that have the same inputs."""
    # The second layer of a bidirectional LSTM reads two directions, that of a language model only one.
    layers = tuple(f"_l{layer}" for layer in range(1 if params["bidirectional"] else params["num_layers"]))
    learnt = {
        name: weight
        for name, weight in start.network_.parameters().items()
        if name == "embedding.weight" or (name.startswith("lstm.") and name.endswith(layers))
    }
    network.load_state_dict(network.parameters() | learnt)
