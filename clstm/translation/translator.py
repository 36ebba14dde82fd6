"""Translator: sentences in one language in, sentences in another out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from clstm._checks import (
    check_choice,
    check_flag,
    check_fraction,
    check_index,
    check_positive,
    check_real,
    random_generator,
)
from clstm._package import public
from clstm.estimators.base import BaseModel
from clstm.layers.attention import SCORES
from clstm.layers.base import blank_weights
from clstm.text.vocabulary import check_texts
from clstm.train.batches import PaddedRows, batches_by_length
from clstm.train.history import History
from clstm.translation.beam_search import beam_search
from clstm.translation.encoder_decoder import EncoderDecoder
from clstm.translation.sentences import JOINER, SentenceVocabulary, capitalised, join

# Inference takes so many sentences at once, of similar length, and at most so many steps in one batch.
PREDICT_ROWS, PREDICT_STEPS = 64, 8192


@public("clstm.translation")
class Alignment(NamedTuple):
    """What the attention took of each source word when it wrote each target word.

    Attributes
    ----------
    source_words, target_words : list of str
        The source's end and the target's words, punctuation included.
    weights : ndarray of shape (target words, source words)
        Each row's sum is 1 with what the source's end took, which isn't shown.
    """

    source_words: list[str]
    target_words: list[str]
    weights: np.ndarray


@public("clstm")
class Translator(BaseModel):
    """An LSTM that learns from sentences and their translations and translates others.

    An encoder reads the source's words in both directions; a decoder writes the target's one by one, and looks with
    each of them at all of the source's (`EncoderDecoder`; Luong, Pham & Manning 2015). Training gives the decoder the
    right words so far and minimises the cross-entropy of the next one, with Adam at a rate that falls to zero along a
    cosine. Translation looks for the likeliest sentence by beam search. A word that the target vocabulary lacks is
    taken from the source, where the attention was highest.

    Parameters
    ----------
    vocab_size : int or None, default 8000
        Most ids of each language, with the four that aren't words; its commonest words get one. None: all words.
    min_count : int, default 2
        Words that stand less often in the training sentences get none, so that the unknown word is learnt from them.
    embedding_dim : int, default 128
        Size of a word's vector.
    hidden_size : int, default 256
        Features of h and c in each layer of the decoder; half of them in each direction of the encoder. Even.
    num_layers : int, default 1
    attention : {"general", "dot"}, default "general"
        How decoder and encoder are compared; see `clstm.layers.attention.Attention`.
    dropout : float, default 0.2
        On the vectors, between layers and on what the words are chosen by, in training.
    label_smoothing : float, default 0.1
        Share of each right word spread over all words, in training.
    n_epochs : int, default 8
        Passes over the training sentences.
    batch_size : int, default 32
        Pairs a step; of similar length.
    lr : float, default 1e-2
        Learning rate to begin with.
    clip_norm : float or None, default 1.0
        Limit of the gradients' common norm.
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
        The words known.
    network_ : EncoderDecoder
        The network, for what this class doesn't offer.
    history_ : History
        Losses and times of each epoch.
    n_iter_ : int
        Epochs that were ended.

    Notes
    -----
    Translation keeps nothing in the object: many threads may translate with one model at once.

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

    # ------------------------------------------------------------------------------------------------- training

    def fit(self, sources: Any, targets: Any, validation_data: tuple[Any, Any] | None = None) -> Translator:
        """Learn from sentences and their translations.

        Ctrl-C ends the training and keeps what was learnt; `history_.interrupted` tells. If an exception ends it, the
        model stays as it was before the call.

        Parameters
        ----------
        sources, targets : collection of str
            Each source with its target; a source may stand several times, with other targets.
        validation_data : (sources, targets), optional
            The loss on them after each epoch decides which epoch's weights are kept. Without them the last epoch's are.

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
        from clstm.losses import cross_entropy
        from clstm.optim import Adam
        from clstm.schedules import CosineLR
        from clstm.train.loop import BucketedBatches, fit

        self._check_params()
        sources, targets = _check_pairs("sources", sources, "targets", targets)
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
                kind = type(validation_data).__name__
                raise TypeError(f"validation_data is {kind}, expected a pair (sources, targets)")
            names = ("validation_data's sources", "validation_data's targets")
            validation_data = _check_pairs(names[0], validation_data[0], names[1], validation_data[1])
        generator = random_generator(self.seed)
        source_vocabulary, target_vocabulary = (
            SentenceVocabulary.from_texts(texts, self.vocab_size, self.min_count) for texts in (sources, targets)
        )
        network = self._make_network(len(source_vocabulary), len(target_vocabulary), generator)
        training = SentencePairs(source_vocabulary, target_vocabulary, sources, targets)
        validation = SentencePairs(source_vocabulary, target_vocabulary, *(validation_data or ([], [])))

        def loss_step(rows: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
            arguments, wanted = training.batch(rows)
            scores, context = network.forward_train(*arguments)
            loss, dscores = cross_entropy(scores, wanted, label_smoothing=self.label_smoothing)
            return loss, network.backward(context, dscores)

        def validate() -> tuple[float, None]:
            total = words = 0
            for rows in batches_by_length(validation.lengths, PREDICT_ROWS, PREDICT_STEPS):
                arguments, wanted = validation.batch(rows)
                total += cross_entropy(network(*arguments), wanted)[0] * len(wanted)
                words += len(wanted)
            return total / words, None

        optimizer = Adam(network, lr=self.lr)
        batches = BucketedBatches(training.lengths, self.batch_size, seed=generator)
        history = fit(
            optimizer,
            loss_step,
            batches,
            n_epochs=self.n_epochs,
            validate=validate if validation_data else None,
            patience=self.patience if validation_data else None,
            clip_norm=self.clip_norm,
            schedule=CosineLR(optimizer, self.n_epochs * len(batches)),
            schedule_every="batch",
            verbose=int(self.verbose),
        )
        self.source_vocabulary_, self.target_vocabulary_ = source_vocabulary, target_vocabulary
        self.network_, self.history_, self.n_iter_ = network, history, history.n_epochs
        return self

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
            How many beginnings of a translation are followed at once; 1 takes the likeliest word each time.
        length_penalty : float, default 1.0
            0 or more. 0 ranks translations by their probability, which is higher the shorter they are; 1 nearly by
            that of a word.
        return_attention : bool, default False
            Return an `Alignment` for each sentence, too: `clstm.plot.attention` draws it.

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
        self._check_fitted()
        beam_size = check_index("beam_size", beam_size, low=1)
        length_penalty = check_real("length_penalty", length_penalty, low=0.0)
        return_attention = check_flag("return_attention", return_attention)
        sentences = _check_sentences(sentences)
        source, target = self.source_vocabulary_, self.target_vocabulary_
        words = [source.split(sentence) for sentence in sentences]
        rows = _pad(source.encode_tokens(some) for some in words)
        alignments = [Alignment([], [], np.zeros((0, 0), self.network_.dtype))] * len(words)
        translations = [""] * len(words)
        for some in batches_by_length(rows.lengths, PREDICT_ROWS, PREDICT_STEPS):
            ids, lengths = rows.batch(some)
            found = beam_search(
                self.network_,
                ids,
                lengths,
                beam_size=beam_size,
                length_penalty=length_penalty,
                max_steps=2 * lengths + 10,
                start=target.START,
                end=target.END,
                never=(target.PADDING, target.START),
            )
            for row, (tokens, places) in zip(some, found, strict=True):
                if words[row]:
                    written = self._words(tokens, places, words[row])
                    if written and sentences[row].lstrip()[0].isupper():
                        written[0] = capitalised(written[0])
                    translations[row] = join(written)
                    alignments[row] = Alignment(_bare(words[row]), _bare(written), places[:, :-1])
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
        self._check_fitted()
        return bleu(self.translate(sources, beam_size, length_penalty), references)

    def _read_to_trace(self, X: Any) -> tuple[np.ndarray, np.ndarray, list[list[str]]]:
        source = self.source_vocabulary_
        words = [source.split(sentence) for sentence in check_texts("sentences", X)]
        rows = _pad(source.encode_tokens(some) for some in words)
        tokens = [[*_bare(some), *source.decode([source.END])] for some in words]
        return *rows.batch(np.arange(len(rows))), tokens

    def _words(self, tokens: np.ndarray, places: np.ndarray, source_words: Sequence[str]) -> list[str]:
        """Return the words of a translation, unknown ones copied from the source word with the highest attention."""
        words = self.target_vocabulary_.decode(tokens)
        # Not punctuation, where the attention rests when it has found nothing
        sources = [place for place, word in enumerate(source_words) if any(map(str.isalnum, word))]
        if sources:
            for index in np.flatnonzero(tokens == self.target_vocabulary_.UNKNOWN):
                words[index] = source_words[sources[places[index, sources].argmax()]]
        return words

    # ------------------------------------------------------------------------------------------------- arguments

    def _check_params(self) -> None:
        for name in ("min_count", "embedding_dim", "num_layers", "n_epochs", "batch_size"):
            check_index(name, getattr(self, name), low=1)
        if check_index("hidden_size", self.hidden_size, low=2) % 2:
            raise ValueError(f"hidden_size is {self.hidden_size}, expected an even number: half for each direction")
        for name, low in (("vocab_size", 5), ("patience", 1), ("num_threads", 1)):
            if getattr(self, name) is not None:
                check_index(name, getattr(self, name), low=low)
        check_choice("attention", self.attention, SCORES)
        check_fraction("dropout", self.dropout)
        check_fraction("label_smoothing", self.label_smoothing)
        check_real("lr", self.lr, low=0.0)
        if self.clip_norm is not None:
            check_positive("clip_norm", self.clip_norm)
        random_generator(self.seed)
        if not isinstance(self.verbose, bool):
            check_index("verbose", self.verbose, low=0)

    def _make_network(self, source_size: int, target_size: int, generator: np.random.Generator) -> EncoderDecoder:
        return EncoderDecoder(
            source_size, target_size, self.embedding_dim, self.hidden_size, self.num_layers, score=self.attention,
            dropout=self.dropout, seed=generator, num_threads=self.num_threads,
        )  # fmt: skip

    # ----------------------------------------------------------------------------------------------------- files

    def _fitted_content(self) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
        config = {
            "source_vocabulary": self.source_vocabulary_.to_dict(),
            "target_vocabulary": self.target_vocabulary_.to_dict(),
            "history": self.history_.as_dict(),
        }
        return config, self.network_.parameters()

    def _restore(self, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        source, target = (
            SentenceVocabulary.from_dict(config[name]) for name in ("source_vocabulary", "target_vocabulary")
        )
        history = History.from_dict(config["history"])
        if self.num_layers > len(arrays):
            raise ValueError(f"it has {len(arrays)} arrays, which isn't what its params ask for")
        with blank_weights():  # takes no memory, whatever sizes the file asks for; then the arrays must have them
            network = self._make_network(len(source), len(target), random_generator(0))
        network.load_state_dict(arrays, assign=True)
        self.source_vocabulary_, self.target_vocabulary_ = source, target
        self.network_, self.history_, self.n_iter_ = network, history, history.n_epochs


@public("clstm.translation")
class SentencePairs:
    """Pairs of sentences as ids, made into what the network takes batch by batch."""

    def __init__(self, source: SentenceVocabulary, target: SentenceVocabulary, sources: list[str], targets: list[str]):
        self._sources = _pad(source.encode_tokens(source.split(text)) for text in sources)
        self._targets = _pad(target.encode_tokens(target.split(text)) for text in targets)
        self._start = target.START
        self.lengths = self._sources.lengths + self._targets.lengths

    def batch(self, rows: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
        """Return the arguments of a call of the network, and the token that is right at each place it scores."""
        source, source_lengths = self._sources.batch(rows)
        wanted, lengths = self._targets.batch(rows)
        given = np.empty_like(wanted)
        given[:, 0], given[:, 1:] = self._start, wanted[:, :-1]
        real = np.arange(wanted.shape[1]) < lengths[:, np.newaxis]
        return (source, given, source_lengths, lengths), wanted[real]


def bleu(translations: Sequence[str], references: Any) -> float:
    """Return sacrebleu's BLEU of translations, each of which may have one reference or several."""
    try:
        from sacrebleu.metrics import BLEU
    except ImportError:
        raise ImportError("BLEU needs sacrebleu: pip install clstm-cpu[translation]") from None
    if isinstance(references, (str, bytes)) or not hasattr(references, "__len__"):
        raise TypeError(f"references is {type(references).__name__}, expected a list of strings, or of lists of them")
    if len(references) != len(translations):
        raise ValueError(
            f"references has {len(references)} entries, expected one for each of {len(translations)} sources"
        )
    several = [
        check_texts(f"references[{index}]", [some] if isinstance(some, str) else some)
        for index, some in enumerate(references)
    ]
    # sacrebleu's form: first references, second ones, and so on, None where a sentence has no more
    streams = [
        [some[place] if place < len(some) else None for some in several] for place in range(max(map(len, several)))
    ]
    return BLEU().corpus_score(list(translations), streams).score


def _pad(rows) -> PaddedRows:
    return PaddedRows(list(rows), SentenceVocabulary.PADDING)


def _bare(words: Sequence[str]) -> list[str]:
    return [word.replace(JOINER, "") for word in words]


def _check_sentences(sentences: Any) -> list[str]:
    if isinstance(sentences, (str, bytes)) or not hasattr(sentences, "__len__"):
        raise TypeError(f"sentences is {type(sentences).__name__}, expected a list of strings, also for a single one")
    return check_texts("sentences", sentences) if len(sentences) else []


def _check_pairs(source_name: str, sources: Any, target_name: str, targets: Any) -> tuple[list[str], list[str]]:
    sources, targets = check_texts(source_name, sources), check_texts(target_name, targets)
    if len(sources) != len(targets):
        raise ValueError(f"{target_name} has {len(targets)} entries, expected one for each of {len(sources)} sources")
    return sources, targets
