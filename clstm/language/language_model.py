"""LanguageModel: learns from texts which character or word comes next; scores texts and generates them."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from clstm._checks import check_flag, check_index, check_positive, check_real, random_generator
from clstm._package import public
from clstm.estimators.base import BaseModel
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
from clstm.language.characters import Characters
from clstm.language.fitted import VOCABULARIES, FittedLanguageModel
from clstm.language.generation import generate
from clstm.layers.adaptive_softmax import check_cutoffs
from clstm.text.vocabulary import Vocabulary


def _check_cutoffs(name: str, cutoffs: Any) -> None:
    """Check for rising numbers; that they lie within the vocabulary is checked when that is known."""
    check_cutoffs(cutoffs, sys.maxsize)


@public("clstm")
class LanguageModel(BaseModel):
    """An LSTM that learns to predict the next character or word of a text.

    Tokens become vectors, an LSTM reads them, and a softmax over its outputs gives each token's probability of coming
    next (`LSTMLanguageNetwork`). The text is cut into `batch_size` streams, which are read in parallel, chunk by chunk;
    the state is carried from chunk to chunk, the gradients are not (truncated back-propagation through time). Adam
    minimises the cross-entropy, its rate rising briefly and then falling to zero along a cosine.

    Parameters
    ----------
    unit : {"character", "word"}, default "character"
        What a token is; words are those of `clstm.text.tokenize`.
    vocab_size : int, optional
        Number of token ids, those of the end of a text and of unknown tokens included, for the commonest tokens of the
        text. By default, all tokens have an id.
    embedding_dim : int, default 64
        Size of a token's vector.
    hidden_size : int, default 256
        Features of h and c in each layer.
    num_layers : int, default 1
        Layers of the LSTM.
    tied : bool, default False
        Use the embedding's weights for the softmax, too (one array). If hidden_size isn't embedding_dim, a linear layer
        maps one to the other.
    softmax : {"plain", "adaptive"}, default "plain"
        An adaptive one takes less time for rare tokens (`clstm.layers.adaptive_softmax`).
    cutoffs : sequence of int, optional
        The first id of each of the adaptive softmax's clusters; by default an eighth and half of the vocabulary.
    dropout : float, default 0.1
        On the embeddings, between layers and on the LSTM's output, in training.
    embedding_std : float, optional
        Standard deviation of the initial embeddings; by default 1 for characters, 0.1 for words and tied weights.
    n_epochs : int, default 10
        Passes over the text.
    batch_size : int, default 16
        Streams; fewer where the text is short.
    chunk_length : int, default 64
        Time steps that gradients are propagated back through.
    lr : float, default 0.01
        Highest learning rate.
    clip_norm : float or None, default 1.0
        Limit of the norm of all gradients together.
    ema_decay : float or None, default 0.99
        Decay of the moving average of the weights, which predictions use. None: they use the last weights.
    patience : int, optional
        Stop after so many epochs in a row without a better validation loss.
    validation_fraction : float, default 0.0
        Share of the text, at its end, that is held out for validation if `fit` gets no validation text.
    num_threads : int, optional
        Threads for the LSTM and the optimiser; None leaves it to `clstm.set_num_threads` and the environment.
    seed : int or numpy.random.Generator, optional
        For everything random in `fit`. The same seed and data give the same bits.
    verbose : int, default 1
        1 shows the progress of `fit` on standard error, 0 nothing.

    Attributes
    ----------
    vocabulary_ : Characters or Vocabulary
        The known tokens.
    network_ : LSTMLanguageNetwork
        The network.
    history_ : History
        Losses (nats per token) and times of each epoch.
    n_iter_ : int
        Number of completed epochs.

    Notes
    -----
    No method but `fit` changes the model: several threads may use it at once.

    Examples
    --------
    >>> from clstm import LanguageModel
    >>> model = LanguageModel(hidden_size=32, n_epochs=40, chunk_length=16, batch_size=4, seed=0, verbose=0)
    >>> model.fit("to be or not to be, " * 40).generate("to be or", 12, temperature=0)
    ' not to be, '
    """

    _reads_words_for_classifiers = True

    _fitted: FittedLanguageModel
    _fitted_class = FittedLanguageModel
    _checks: ClassVar[Mapping[str, Check]] = {
        "unit": one_of(VOCABULARIES),
        "vocab_size": optional(at_least(3)),
        "embedding_dim": AT_LEAST_1,
        "hidden_size": AT_LEAST_1,
        "num_layers": AT_LEAST_1,
        "tied": check_flag,
        "softmax": one_of(("plain", "adaptive")),
        "cutoffs": optional(_check_cutoffs),
        "dropout": PROBABILITY,
        "embedding_std": optional(NOT_NEGATIVE),
        "n_epochs": AT_LEAST_1,
        "batch_size": AT_LEAST_1,
        "chunk_length": AT_LEAST_1,
        "lr": NOT_NEGATIVE,
        "clip_norm": optional(NOT_NEGATIVE),
        "ema_decay": optional(PROBABILITY),
        "patience": optional(AT_LEAST_1),
        "validation_fraction": FRACTION,
        "num_threads": optional(AT_LEAST_1),
        "seed": check_seed,
        "verbose": check_verbose,
    }

    def __init__(
        self,
        *,
        unit: str = "character",
        vocab_size: int | None = None,
        embedding_dim: int = 64,
        hidden_size: int = 256,
        num_layers: int = 1,
        tied: bool = False,
        softmax: str = "plain",
        cutoffs: Sequence[int] | None = None,
        dropout: float = 0.1,
        embedding_std: float | None = None,
        n_epochs: int = 10,
        batch_size: int = 16,
        chunk_length: int = 64,
        lr: float = 0.01,
        clip_norm: float | None = 1.0,
        ema_decay: float | None = 0.99,
        patience: int | None = None,
        validation_fraction: float = 0.0,
        num_threads: int | None = None,
        seed: int | np.random.Generator | None = None,
        verbose: int = 1,
    ) -> None:
        self._store(locals())

    @classmethod
    def _check_combinations(cls, params: Mapping[str, Any]) -> None:
        if params["tied"] and params["softmax"] == "adaptive":
            raise ValueError("tied is True and softmax 'adaptive', which has no weights for all tokens to tie")
        if params["cutoffs"] is not None and params["softmax"] != "adaptive":
            raise ValueError(f"cutoffs is given, but softmax is {params['softmax']!r}")

    @property
    def vocabulary_(self) -> Characters | Vocabulary:
        """The known tokens."""
        return self._fitted.vocabulary

    # ------------------------------------------------------------------------------------------------- training

    def fit(self, text: Any, validation_text: Any = None) -> LanguageModel:
        """Learn from a text, or from several.

        Ctrl-C ends the training and keeps what was learnt; `history_.interrupted` is True then. If `fit` raises, the
        model is as it was before the call.

        Parameters
        ----------
        text : str or collection of str
            Several texts are read one after another; their ends are tokens, too, which the model learns to predict.
        validation_text : str or collection of str, optional
            The loss on it after each epoch decides which epoch's weights are used. Without it, and without
            `validation_fraction`, the last epoch's are.

        Returns
        -------
        LanguageModel
            Itself.

        Raises
        ------
        TypeError
            A text that isn't a string, or an argument of the wrong kind.
        ValueError
            A text without tokens, or an argument out of range.
        FloatingPointError
            The training diverged.
        """
        from clstm.language.training import learn

        return self._learn(learn, text, validation_text)

    # --------------------------------------------------------------------------------------------------- scoring

    def bits(self, text: Any) -> np.ndarray:
        """Return the number of bits that each token takes: -log2 of its probability given all tokens before it.

        The state is carried through the whole text, or texts. All tokens that the model doesn't know are the same
        token here: the unknown one.

        Parameters
        ----------
        text : str or collection of str
            The ends of several texts are tokens, too.

        Returns
        -------
        ndarray of float64, shape (tokens,)

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError
            Not a string or strings.
        ValueError
            No tokens.
        """
        return self._fitted.losses(text) / math.log(2)

    def bits_per_character(self, text: Any) -> float:
        """Return the mean of `bits`, for a model of characters.

        Raises
        ------
        ValueError
            A model of words, whose tokens leave out characters: see `perplexity`.
        """
        unit = self._fitted.params["unit"]
        if unit != "character":
            raise ValueError(f"unit is {unit!r}: its tokens leave out characters; use perplexity")
        return float(self.bits(text).mean())

    def perplexity(self, text: Any) -> float:
        """Return 2 ** mean of `bits`: the number of equally likely tokens that would be as hard to predict."""
        return float(2 ** self.bits(text).mean())

    # --------------------------------------------------------------------------------------------------- generation

    def generate(
        self,
        prompt: str,
        n: int,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | np.random.Generator | None = None,
    ) -> str:
        """Generate tokens after a prompt, each drawn from the probabilities given all tokens before it.

        Parameters
        ----------
        prompt : str
            Read first; may be empty. It isn't part of the result.
        n : int
            Number of characters or words to generate.
        temperature : float, default 1.0
            Scores are divided by it: below 1, likely tokens become likelier. 0 takes the likeliest each time.
        top_k : int, optional
            Draw from the k likeliest tokens only.
        top_p : float, optional
            Draw only from the smallest set of tokens with at least this probability together (Holtzman et al. 2020);
            above 0, at most 1. Applied after `top_k`, if both are given.
        seed : int or numpy.random.Generator, optional
            For the draws.

        Returns
        -------
        str
            The characters; or the words, separated by spaces. The end of a text, which a model of several texts may
            generate, is a new line. Unknown tokens are never drawn.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            An argument of the wrong kind or out of range.
        """
        fitted = self._fitted
        if not isinstance(prompt, str):
            raise TypeError(f"prompt is {type(prompt).__name__}, expected a string")
        n = check_index("n", n, low=0)
        temperature = check_real("temperature", temperature, low=0.0)
        top_k = None if top_k is None else check_index("top_k", top_k, low=1)
        if top_p is not None and check_positive("top_p", top_p) > 1:
            raise ValueError(f"top_p is {top_p}, expected at most 1")
        return generate(fitted, prompt, n, temperature, top_k, top_p, random_generator(seed))

    # ---------------------------------------------------------------------------------------------- scikit-learn

    def __sklearn_clone__(self) -> LanguageModel:
        """Return the model itself: the clone of a classifier that starts from it needs a fitted model, too."""
        return self
