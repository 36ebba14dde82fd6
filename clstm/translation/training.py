"""How a Translator learns: from pairs of sentences to a `FittedTranslator`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from clstm._checks import random_generator
from clstm.losses import cross_entropy
from clstm.optim import Adam
from clstm.schedules import CosineLR
from clstm.text.vocabulary import check_texts
from clstm.train.batches import batches_by_length
from clstm.train.history import History
from clstm.train.loop import BucketedBatches, fit
from clstm.translation.encoder_decoder import EncoderDecoder
from clstm.translation.fitted import PREDICT_ROWS, PREDICT_STEPS, FittedTranslator, make_network
from clstm.translation.sentence_pairs import SentencePairs
from clstm.translation.sentences import SentenceVocabulary


def learn(params: Mapping[str, Any], sources: Any, targets: Any, validation_data: Any) -> FittedTranslator:
    """Return what is learnt from pairs of sentences; arguments and errors are those of `Translator.fit`."""
    sources, targets = _check_pairs("sources", sources, "targets", targets)
    validation_sources, validation_targets = _check_validation_data(validation_data)
    generator = random_generator(params["seed"])
    source_vocabulary, target_vocabulary = (
        SentenceVocabulary.from_texts(texts, params["vocab_size"], params["min_count"]) for texts in (sources, targets)
    )
    network = make_network(params, len(source_vocabulary), len(target_vocabulary), generator)
    training = SentencePairs(source_vocabulary, target_vocabulary, sources, targets)
    validation = SentencePairs(source_vocabulary, target_vocabulary, validation_sources, validation_targets)
    return FittedTranslator(
        params=params,
        network=network,
        history=_train(params, network, training, validation, generator),
        source_vocabulary=source_vocabulary,
        target_vocabulary=target_vocabulary,
    )


def _train(
    params: Mapping[str, Any],
    network: EncoderDecoder,
    training: SentencePairs,
    validation: SentencePairs,
    generator: np.random.Generator,
) -> History:
    """Train the network; there may be no pairs to validate on."""

    def loss_step(rows: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
        arguments, correct = training.batch(rows)
        scores, context = network.forward_train(*arguments)
        loss, dscores = cross_entropy(scores, correct, label_smoothing=params["label_smoothing"])
        return loss, network.backward(context, dscores)

    def validate() -> tuple[float, None]:
        total, words = 0.0, 0
        for rows in batches_by_length(validation.lengths, PREDICT_ROWS, PREDICT_STEPS):
            arguments, correct = validation.batch(rows)
            total += cross_entropy(network(*arguments), correct)[0] * len(correct)
            words += len(correct)
        return total / words, None

    optimizer = Adam(network, lr=params["lr"])
    batches = BucketedBatches(training.lengths, params["batch_size"], seed=generator)
    validated = len(validation.lengths) > 0
    return fit(
        optimizer,
        loss_step,
        batches,
        n_epochs=params["n_epochs"],
        validate=validate if validated else None,
        patience=params["patience"] if validated else None,
        clip_norm=params["clip_norm"],
        schedule=CosineLR(optimizer, params["n_epochs"] * len(batches)),
        schedule_every="batch",
        verbose=int(params["verbose"]),
    )


def _check_validation_data(validation_data: Any) -> tuple[list[str], list[str]]:
    """Return the sources and targets to validate on; none for None."""
    if validation_data is None:
        return [], []
    if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
        raise TypeError(f"validation_data is {type(validation_data).__name__}, expected a pair (sources, targets)")
    names = ("validation_data's sources", "validation_data's targets")
    return _check_pairs(names[0], validation_data[0], names[1], validation_data[1])


def _check_pairs(source_name: str, sources: Any, target_name: str, targets: Any) -> tuple[list[str], list[str]]:
    sources, targets = check_texts(source_name, sources), check_texts(target_name, targets)
    if len(sources) != len(targets):
        raise ValueError(f"{target_name} has {len(targets)} entries, expected one for each of {len(sources)} sources")
    return sources, targets
