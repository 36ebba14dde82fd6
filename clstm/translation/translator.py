"""Translator: sentences in one language in, sentences in another out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from clstm._checks import check_flag, check_index, check_real
from clstm._package import public
from clstm.estimators.base import BaseModel
from clstm.estimators.parameters import (
    AT_LEAST_1,
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    Check,
    at_least,
    check_seed,
    check_verbose,
    one_of,
    optional,
)
from clstm.layers.attention import SCORES
from clstm.translation.fitted import Alignment, FittedTranslator
from clstm.translation.scoring import bleu
from clstm.translation.sentences import SentenceVocabulary


def _check_hidden_size(name: str, value: Any) -> None:
    if check_index(name, value, low=2) % 2:
        raise ValueError(f"{name} is {value}, expected an even number: half for each direction")


def _check_search(beam_size: Any, length_penalty: Any) -> tuple[int, float]:
    """Return the arguments of the beam search, checked."""
    return check_index("beam_size", beam_size, low=1), check_real("length_penalty", length_penalty, low=0.0)


@public("clstm")
class Translator(BaseModel):
    """An LSTM that learns from sentences and their translations and translates others.

    An encoder reads the source's words in both directions; a decoder generates the target's one by one, with attention
    over the source (`EncoderDecoder`; Luong, Pham & Manning 2015). In training the decoder reads the correct words
    (teacher forcing), and Adam minimises the cross-entropy of the next word at a rate that falls to zero along a
    cosine. Translation searches for the likeliest sentence with a beam search. For an unknown word the source word with
    the highest attention is copied.

    Parameters
    ----------
    vocab_size : int or None, default 8000
        Highest number of ids in each language, the four that aren't words included; its commonest words have one.
        None: all words.
    min_count : int, default 2
        Words that occur less often in the training sentences have no id; the unknown word is learnt from them.
    embedding_dim : int, default 128
        Size of a word's vector.
    hidden_size : int, default 256
        Features of h and c in each layer of the decoder, and half of that in each direction of the encoder. Even.
    num_layers : int, default 1
    attention : {"general", "dot"}, default "general"
        The attention's score; see `clstm.layers.attention.Attention`.
    dropout : float, default 0.2
        On the embeddings, between layers and on the attention's output, in training.
    label_smoothing : float, default 0.1
        Share of the probability of each correct word that is spread over all words, in training.
    n_epochs : int, default 8
        Passes over the training sentences.
    batch_size : int, default 32
        Pairs per step; of similar length.
    lr : float, default 1e-2
        Initial learning rate.
    clip_norm : float or None, default 1.0
        Limit of the norm of all gradients together.
    patience : int, optional
        Stop after so many epochs in a row without a lower validation loss.
    num_threads : int, optional
        Threads for the LSTMs and the optimiser; None leaves it to `clstm.set_num_threads` and the environment.
    seed : int or numpy.random.Generator, optional
        For everything random. The same seed and data give the same bits.
    verbose : int, default 1
        1 shows the progress of `fit` on standard error, 0 nothing.

    Attributes
    ----------
    source_vocabulary_, target_vocabulary_ : SentenceVocabulary
        The known words.
    network_ : EncoderDecoder
        The network, for what this class has no method for.
    history_ : History
        Losses and times of each epoch.
    n_iter_ : int
        Number of completed epochs.

    Notes
    -----
    Translation doesn't change the model: several threads may translate with it at once.

    Examples
    --------
    >>> from clstm import Translator
    >>> english = ["I eat.", "You eat.", "I sleep.", "You sleep."] * 8
    >>> french = ["Je mange.", "Tu manges.", "Je dors.", "Tu dors."] * 8
    >>> small = {"embedding_dim": 32, "hidden_size": 32, "batch_size": 4, "n_epochs": 20, "lr": 0.01}
    >>> model = Translator(**small, seed=0, verbose=0)
    >>> model.fit(english, french).translate(["You sleep.", "I eat."])
    ['Tu dors.', 'Je mange.']
    """

    _fitted: FittedTranslator
    _fitted_class = FittedTranslator
    _checks: ClassVar[Mapping[str, Check]] = {
        "vocab_size": optional(at_least(5)),
        "min_count": AT_LEAST_1,
        "embedding_dim": AT_LEAST_1,
        "hidden_size": _check_hidden_size,
        "num_layers": AT_LEAST_1,
        "attention": one_of(SCORES),
        "dropout": FRACTION,
        "label_smoothing": FRACTION,
        "n_epochs": AT_LEAST_1,
        "batch_size": AT_LEAST_1,
        "lr": NOT_NEGATIVE,
        "clip_norm": optional(POSITIVE),
        "patience": optional(AT_LEAST_1),
        "num_threads": optional(AT_LEAST_1),
        "seed": check_seed,
        "verbose": check_verbose,
    }

    def __init__(
        self,
        *,
        vocab_size: int | None = 8000,
        min_count: int = 2,
        embedding_dim: int = 128,
        hidden_size: int = 256,
        num_layers: int = 1,
        attention: str = "general",
        dropout: float = 0.2,
        label_smoothing: float = 0.1,
        n_epochs: int = 8,
        batch_size: int = 32,
        lr: float = 1e-2,
        clip_norm: float | None = 1.0,
        patience: int | None = None,
        num_threads: int | None = None,
        seed: int | np.random.Generator | None = None,
        verbose: int = 1,
    ) -> None:
        self._store(locals())

    @property
    def source_vocabulary_(self) -> SentenceVocabulary:
        """The known words of the source's language."""
        return self._fitted.source_vocabulary

    @property
    def target_vocabulary_(self) -> SentenceVocabulary:
        """The known words of the target's language."""
        return self._fitted.target_vocabulary

    # ------------------------------------------------------------------------------------------------- training

    def fit(self, sources: Any, targets: Any, validation_data: tuple[Any, Any] | None = None) -> Translator:
        """Learn from sentences and their translations.

        Ctrl-C ends the training and keeps what was learnt; `history_.interrupted` is True then. If `fit` raises, the
        model is as it was before the call.

        Parameters
        ----------
        sources, targets : collection of str
            Each source with its target; a source may occur several times, with different targets.
        validation_data : (sources, targets), optional
            The loss on them after each epoch decides which epoch's weights are used. Without them the last epoch's are.

        Returns
        -------
        Translator
            Itself.

        Raises
        ------
        TypeError
            Sentences that aren't strings, or an argument of the wrong kind.
        ValueError
            No sentences, no words in them, not as many targets as sources, or an argument out of range.
        FloatingPointError
            The training diverged.
        """
        from clstm.translation.training import learn

        return self._learn(learn, sources, targets, validation_data)

    # ---------------------------------------------------------------------------------------------- translation

    def translate(
        self,
        sentences: Any,
        beam_size: int = 5,
        length_penalty: float = 1.0,
        return_attention: bool = False,
    ) -> list[str] | tuple[list[str], list[Alignment]]:
        """Return the translation of each sentence.

        Parameters
        ----------
        sentences : collection of str
            May be empty. A sentence without words is translated as an empty one.
        beam_size : int, default 5
            Number of unfinished translations that are extended in parallel; 1 takes the likeliest word each time.
        length_penalty : float, default 1.0
            0 or more. 0 ranks translations by their probability, which is higher for shorter ones; 1 approximately by
            the mean probability of their words.
        return_attention : bool, default False
            Whether to return an `Alignment` for each sentence, too: `clstm.plot.attention` draws it.

        Returns
        -------
        list of str, or (list of str, list of Alignment)

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError
            A single string, or something that isn't a collection of strings.
        ValueError
            An argument out of range.
        """
        fitted = self._fitted
        beam_size, length_penalty = _check_search(beam_size, length_penalty)
        return_attention = check_flag("return_attention", return_attention)
        translations, alignments = fitted.translate(sentences, beam_size, length_penalty)
        return (translations, alignments) if return_attention else translations

    def score(self, sources: Any, references: Any, beam_size: int = 5, length_penalty: float = 1.0) -> float:
        """Return the BLEU (0 to 100) of the translations, by sacrebleu with its defaults (Post 2018).

        Parameters
        ----------
        sources : collection of str
        references : collection of str, or of collections of str
            The right translation of each source, or several.
        beam_size, length_penalty
            As for `translate`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ImportError
            sacrebleu isn't installed.
        TypeError, ValueError
            As of `translate`; not as many references as sources, or a source without one.
        """
        fitted = self._fitted
        beam_size, length_penalty = _check_search(beam_size, length_penalty)
        return bleu(fitted.translate(sources, beam_size, length_penalty)[0], references)
