"""How a LanguageModel learns: from texts to a `FittedLanguageModel`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from clstm._checks import random_generator
from clstm.language.fitted import VOCABULARIES, FittedLanguageModel, check_text_or_texts, encode, make_network
from clstm.language.network import LSTMLanguageNetwork
from clstm.language.text_batches import TextStreams
from clstm.optim import Adam
from clstm.schedules import CosineLR, WarmUp
from clstm.train.history import History
from clstm.train.loop import fit

# Steps of the warm-up, and their highest share of a short training.
WARM_UP, WARM_UP_SHARE = 100, 0.1


def learn(params: Mapping[str, Any], text: Any, validation_text: Any) -> FittedLanguageModel:
    """Return what is learnt from a text or texts; arguments and errors are those of `LanguageModel.fit`."""
    texts = check_text_or_texts("text", text)
    generator = random_generator(params["seed"])
    vocabulary = VOCABULARIES[params["unit"]].from_texts(texts, params["vocab_size"])
    ids = encode(vocabulary, text)
    validation_ids = None
    if validation_text is not None:
        check_text_or_texts("validation_text", validation_text)
        validation_ids = encode(vocabulary, validation_text)
    elif params["validation_fraction"]:
        cut = min(max(math.ceil(len(ids) * (1 - params["validation_fraction"])), 2), len(ids) - 1)
        ids, validation_ids = ids[:cut], ids[cut - 1 :]
    if len(ids) < 2 or (validation_ids is not None and len(validation_ids) < 2):
        raise ValueError(f"text has {len(ids) - 1} tokens, expected more, to learn from and to validate on")
    network = make_network(params, len(vocabulary), generator)
    history = _train(params, network, ids, validation_ids, generator)
    return FittedLanguageModel(params=params, network=network, history=history, vocabulary=vocabulary)


def _train(
    params: Mapping[str, Any],
    network: LSTMLanguageNetwork,
    ids: np.ndarray,
    validation_ids: np.ndarray | None,
    generator: np.random.Generator,
) -> History:
    """Train the network, by truncated back-propagation through time."""
    streams = TextStreams(ids, params["batch_size"], params["chunk_length"], seed=generator)
    state = None

    def train_step(steps: range) -> tuple[float, dict[str, np.ndarray]]:
        nonlocal state
        if steps.start < len(steps):  # an epoch's first chunk
            state = None
        loss, grads, state = network.train_step(*streams.at(steps), state)
        return loss, grads

    def validate(ids: np.ndarray) -> tuple[float, None]:
        whole = TextStreams(ids, params["batch_size"], params["chunk_length"])
        return float(network.losses(*whole.at(range(whole.steps)))[0].mean()), None

    optimizer = Adam(network, lr=params["lr"])
    steps = params["n_epochs"] * len(streams)
    warm_up = max(1, min(WARM_UP, int(WARM_UP_SHARE * steps)))
    return fit(
        optimizer,
        train_step,
        streams,
        n_epochs=params["n_epochs"],
        validate=None if validation_ids is None else partial(validate, validation_ids),
        patience=None if validation_ids is None else params["patience"],
        ema_decay=params["ema_decay"],
        clip_norm=params["clip_norm"],
        schedule=WarmUp(optimizer, warm_up, after=CosineLR(optimizer, max(1, steps - warm_up))),
        schedule_every="batch",
        verbose=int(params["verbose"]),
    )
