"""How a language model generates text: each token is drawn from the softmax of the scores after those before it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from clstm.language.fitted import FittedLanguageModel, encode

# Noise for so many scores is drawn at once: a call of the random generator for each token would be slow.
NOISE = 1 << 16


def generate(
    fitted: FittedLanguageModel,
    prompt: str,
    n: int,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    generator: np.random.Generator,
) -> str:
    """Return `n` more tokens after a prompt; the arguments are those of `LanguageModel.generate`, checked."""
    network, vocabulary = fitted.network, fitted.vocabulary
    vectors = network.embedding.parameters()["weight"]
    stream = network.lstm.stream()
    *read, last = encode(vocabulary, prompt).tolist() if prompt else [vocabulary.PADDING]
    if read:
        stream.run(vectors[read])
    hidden_size: Any = network.lstm.hidden_size  # one number: all layers have the same size
    h = np.empty((1, hidden_size), network.dtype)
    noise = _gumbel_noise(generator, n, len(vocabulary), network.dtype)
    generated: list[int] = []
    for _ in range(n):
        scores = network.scores(stream.step(vectors[last : last + 1], h))[0]
        scores[vocabulary.UNKNOWN] = -np.inf
        if temperature:
            scores /= temperature
            if top_k is not None:
                keep_highest(scores, top_k)
            if top_p is not None:
                keep_likeliest(scores, top_p)
            scores += next(noise)
        last = int(scores.argmax())
        generated.append(last)
    return fitted.join(generated)


def _gumbel_noise(generator: np.random.Generator, n: int, size: int, dtype: np.dtype) -> Iterator[np.ndarray]:
    """Yield `n` rows of noise: the index of the greatest of scores + Gumbel noise is a draw from their softmax."""
    while n > 0:
        rows = max(1, min(n, NOISE // size))
        yield from generator.gumbel(size=(rows, size)).astype(dtype)
        n -= rows


def keep_highest(scores: np.ndarray, count: int) -> None:
    """Set all scores to -inf but the `count` highest."""
    if count < len(scores):
        scores[scores < np.partition(scores, -count)[-count]] = -np.inf


def keep_likeliest(scores: np.ndarray, share: float) -> None:
    """Set all scores to -inf but the fewest whose softmax together has this share."""
    order = np.argsort(-scores)
    likely = np.exp(scores[order] - scores[order[0]], dtype=np.float64).cumsum()
    kept = int(np.searchsorted(likely, share * likely[-1])) + 1
    scores[order[kept:]] = -np.inf
