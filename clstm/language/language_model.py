"""LanguageModel: learns from a text which character or word comes next; scores texts and writes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
from clstm.language.characters import Characters
from clstm.language.network import LSTMLanguageNetwork
from clstm.layers.adaptive_softmax import check_cutoffs
from clstm.layers.base import blank_weights
from clstm.text.vocabulary import Vocabulary, check_texts
from clstm.train.batches import PaddedRows
from clstm.train.history import History

# The steps of the warm-up, and their greatest share of a short training.
WARM_UP, WARM_UP_SHARE = 100, 0.1

# Random numbers for so many scores are drawn at once in `generate`.
NOISE = 1 << 16

_VOCABULARIES = {"character": Characters, "word": Vocabulary}


@public("clstm")
class LanguageModel(BaseModel):
    """An LSTM that learns from a text what comes next, character by character or word by word.

    Tokens become vectors, an LSTM reads them, and a softmax over its outputs gives each token's probability of coming
    next (`LSTMLanguageNetwork`). The text is cut into `batch_size` streams that are read side by side in chunks; the
    state is carried from chunk to chunk, the gradients are not (truncated back-propagation through time). Adam
    minimises the cross-entropy, its rate rising briefly and then falling to zero along a cosine.

    Parameters
    ----------
    unit : {"character", "word"}, default "character"
        What a token is; words are those of `clstm.text.tokenize`.
    vocab_size : int, optional
        Number of token ids, those of the end of a text and of unknown tokens included; the commonest tokens of the text
        get one. All tokens if left out.
    embedding_dim : int, default 64
        Size of a token's vector.
    hidden_size : int, default 256
        Features of h and c in each layer.
    num_layers : int, default 1
        Layers of the LSTM.
    tied : bool, default False
        The softmax's weights are those of the embedding, one array. Where hidden_size isn't embedding_dim a linear
        layer leads from one to the other.
    softmax : {"plain", "adaptive"}, default "plain"
        An adaptive one spends little on rare tokens (`clstm.layers.adaptive_softmax`).
    cutoffs : sequence of int, optional
        The first id of each of the adaptive softmax's clusters; an eighth and half of the vocabulary if left out.
    dropout : float, default 0.1
        On the embeddings, between layers and on the LSTM's output, in training.
    embedding_std : float, optional
        Standard deviation of the initial embeddings; 1 for characters, 0.1 for words and tied weights if left out.
    n_epochs : int, default 10
        Passes over the text.
    batch_size : int, default 16
        Streams; fewer where the text is short.
    chunk_length : int, default 64
        Time steps through which gradients go back.
    lr : float, default 0.01
        Greatest learning rate.
    clip_norm : float or None, default 1.0
        Limit of the gradients' common norm.
    ema_decay : float or None, default 0.99
        Decay of the moving average of the weights, which is what predicts. None predicts with the last weights.
    patience : int, optional
        Stop after so many epochs in a row without a better validation loss.
    validation_fraction : float, default 0.0
        Share of the text, at its end, kept for validation where `fit` is given none.
    num_threads : int, optional
        Threads for the LSTM and the optimiser; None leaves it to `clstm.set_num_threads` and the environment.
    seed : int or numpy.random.Generator, optional
        For everything random in `fit`. The same seed and data give the same bits.
    verbose : int, default 1
        1 shows the progress of `fit` on standard error, 0 nothing.

    Attributes
    ----------
    vocabulary_ : Characters or Vocabulary
        The tokens known.
    network_ : LSTMLanguageNetwork
        The network.
    history_ : History
        Losses (nats a token) and times of each epoch.
    n_iter_ : int
        Epochs that were ended.

    Notes
    -----
    All methods but `fit` keep nothing in the object: many threads may use one model at once.

    Examples
    --------
    >>> from clstm import LanguageModel
    >>> model = LanguageModel(hidden_size=32, n_epochs=40, chunk_length=16, batch_size=4, seed=0, verbose=0)
    >>> model.fit("to be or not to be, " * 40).generate("to be or", 12, temperature=0)
    ' not to be, '
    """

    _reads_words_for_classifiers = True

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

    # ------------------------------------------------------------------------------------------------- training

    def fit(self, text: Any, validation_text: Any = None) -> LanguageModel:
        """Learn from a text, or from several.

        Ctrl-C ends the training and keeps what was learnt; `history_.interrupted` tells. If an exception ends it, the
        model stays as it was before the call.

        Parameters
        ----------
        text : str or collection of str
            Several texts are read one after another, and their ends are tokens that are learnt, too.
        validation_text : str or collection of str, optional
            The loss on it after each epoch decides which epoch's weights are kept. Without it, and without
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
        from clstm.language.text_batches import TextStreams
        from clstm.optim import Adam
        from clstm.schedules import CosineLR, WarmUp
        from clstm.train.loop import fit

        self._check_params()
        texts = _as_texts("text", text)
        generator = random_generator(self.seed)
        vocabulary = _VOCABULARIES[self.unit].from_texts(texts, self.vocab_size)
        ids = _encode(vocabulary, text)
        held_back = None
        if validation_text is not None:
            _as_texts("validation_text", validation_text)
            held_back = _encode(vocabulary, validation_text)
        elif self.validation_fraction:
            cut = min(max(math.ceil(len(ids) * (1 - self.validation_fraction)), 2), len(ids) - 1)
            ids, held_back = ids[:cut], ids[cut - 1 :]
        if len(ids) < 2 or (held_back is not None and len(held_back) < 2):
            raise ValueError(f"text has {len(ids) - 1} tokens, expected more, to learn from and to validate on")
        network = self._make_network(len(vocabulary), generator)
        streams = TextStreams(ids, self.batch_size, self.chunk_length, seed=generator)
        state = None

        def train_step(steps: range) -> tuple[float, dict[str, np.ndarray]]:
            nonlocal state
            if steps.start < len(steps):  # an epoch's first chunk
                state = None
            loss, grads, state = network.train_step(*streams.at(steps), state)
            return loss, grads

        def validate() -> tuple[float, None]:
            whole = TextStreams(held_back, self.batch_size, self.chunk_length)
            return float(network.losses(*whole.at(range(whole.steps)))[0].mean()), None

        optimizer = Adam(network, lr=self.lr)
        steps = self.n_epochs * len(streams)
        warm_up = max(1, min(WARM_UP, int(WARM_UP_SHARE * steps)))
        history = fit(
            optimizer,
            train_step,
            streams,
            n_epochs=self.n_epochs,
            validate=None if held_back is None else validate,
            patience=None if held_back is None else self.patience,
            ema_decay=self.ema_decay,
            clip_norm=self.clip_norm,
            schedule=WarmUp(optimizer, warm_up, after=CosineLR(optimizer, max(1, steps - warm_up))),
            schedule_every="batch",
            verbose=int(self.verbose),
        )
        self.vocabulary_, self.network_ = vocabulary, network
        self.history_, self.n_iter_ = history, history.n_epochs
        return self

    # --------------------------------------------------------------------------------------------------- scoring

    def bits(self, text: Any) -> np.ndarray:
        """Return how many bits each token of the text takes: -log2 of its probability given all before it.

        The state is carried through the whole text, or texts. A token that the model doesn't know counts as "an unknown
        one".

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
        self._check_fitted()
        _as_texts("text", text)
        ids = _encode(self.vocabulary_, text)[:, np.newaxis]
        if len(ids) < 2:
            raise ValueError("text has no tokens")
        return self.network_.losses(ids[:-1], ids[1:])[0][:, 0] / math.log(2)

    def bits_per_character(self, text: Any) -> float:
        """Return the mean of `bits`, for a model of characters.

        Raises
        ------
        ValueError
            A model of words, whose tokens leave out characters: see `perplexity`.
        """
        self._check_fitted()
        unit = self._fitted_params["unit"]
        if unit != "character":
            raise ValueError(f"unit is {unit!r}: its tokens leave out characters, so ask for the perplexity")
        return float(self.bits(text).mean())

    def perplexity(self, text: Any) -> float:
        """Return 2 to the mean of `bits`: among how many equally likely tokens it would be as hard to choose."""
        return float(2 ** self.bits(text).mean())

    # --------------------------------------------------------------------------------------------------- writing

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
        """Return `n` more tokens behind a prompt, each drawn from its probabilities given all before it.

        Parameters
        ----------
        prompt : str
            What was read before; may be empty. It isn't in what is returned.
        n : int
            Characters or words to write.
        temperature : float, default 1.0
            Scores are divided by it: below 1 the likely gets likelier. 0 takes the likeliest each time.
        top_k : int, optional
            Draw from the k likeliest only.
        top_p : float, optional
            Draw from the fewest tokens that have this probability together only (Holtzman et al. 2020); above 0, at
            most 1. After `top_k`, if both are given.
        seed : int or numpy.random.Generator, optional
            For the draws.

        Returns
        -------
        str
            The characters; or the words, with spaces between. The end of a text, which a model of several texts may
            write, is a new line. Unknown tokens are never drawn.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError, ValueError
            An argument of the wrong kind or out of range.
        """
        self._check_fitted()
        if not isinstance(prompt, str):
            raise TypeError(f"prompt is {type(prompt).__name__}, expected a string")
        n = check_index("n", n, low=0)
        temperature = check_real("temperature", temperature, low=0.0)
        top_k = None if top_k is None else check_index("top_k", top_k, low=1)
        if top_p is not None and check_positive("top_p", top_p) > 1:
            raise ValueError(f"top_p is {top_p}, expected at most 1")
        generator = random_generator(seed)

        network, size = self.network_, len(self.vocabulary_)
        vectors = network.embedding.parameters()["weight"]
        stream = network.lstm.stream()
        *read, last = _encode(self.vocabulary_, prompt).tolist() if prompt else [self.vocabulary_.PADDING]
        if read:
            stream.run(vectors[read])
        h = np.empty((1, network.lstm.hidden_size), network.dtype)
        written, noise = [], iter(())
        for _ in range(n):
            scores = network.scores(stream.step(vectors[last : last + 1], h))[0]
            scores[self.vocabulary_.UNKNOWN] = -np.inf
            if temperature:
                scores /= temperature
                if top_k is not None and top_k < size:
                    scores[scores < np.partition(scores, -top_k)[-top_k]] = -np.inf
                if top_p is not None:
                    _keep_likeliest(scores, top_p)
                # The greatest of scores + Gumbel noise is a draw from their softmax.
                drawn = next(noise, None)
                if drawn is None:
                    rows = max(1, min(n - len(written), NOISE // size))
                    noise = iter(generator.gumbel(size=(rows, size)).astype(network.dtype))
                    drawn = next(noise)
                scores += drawn
            last = int(scores.argmax())
            written.append(last)
        return self._join(written)

    def _join(self, ids: list[int]) -> str:
        if self._fitted_params["unit"] == "character":
            return "".join(self.vocabulary_.decode(ids))
        words = (" " + self.vocabulary_.decode([number])[0] if number else "\n" for number in ids)
        return "".join(words).replace("\n ", "\n").removeprefix(" ")

    def _read_to_trace(self, X: Any) -> tuple[np.ndarray, np.ndarray, list[list[str]]]:
        texts = check_texts("text", X)
        rows = PaddedRows([_encode(self.vocabulary_, text) for text in texts], self.vocabulary_.PADDING)
        ids, lengths = rows.batch(np.arange(len(rows)))
        split = list if self.unit == "character" else self.vocabulary_.tokens
        return ids.T, lengths, [["\n", *split(text)] for text in texts]  # behind the end of another, as `decode` has it

    # ------------------------------------------------------------------------------------------------- arguments

    def _check_params(self) -> None:
        """Raise TypeError or ValueError for an argument of the wrong kind or out of range."""

        def optional(check: Callable[..., Any], name: str, **limits: float) -> None:
            if getattr(self, name) is not None:
                check(name, getattr(self, name), **limits)

        check_choice("unit", self.unit, tuple(_VOCABULARIES))
        check_choice("softmax", self.softmax, ("plain", "adaptive"))
        for name in ("embedding_dim", "hidden_size", "num_layers", "n_epochs", "batch_size", "chunk_length"):
            check_index(name, getattr(self, name), low=1)
        optional(check_index, "vocab_size", low=3)
        for name in ("patience", "num_threads"):
            optional(check_index, name, low=1)
        check_flag("tied", self.tied)
        if self.tied and self.softmax == "adaptive":
            raise ValueError("tied is True and softmax 'adaptive', which has no weights for all tokens to tie")
        if self.cutoffs is not None and self.softmax != "adaptive":
            raise ValueError(f"cutoffs is given, but softmax is {self.softmax!r}")
        check_real("dropout", self.dropout, low=0.0, high=1.0)
        optional(check_real, "embedding_std", low=0.0)
        check_real("lr", self.lr, low=0.0)
        optional(check_real, "clip_norm", low=0.0)
        optional(check_real, "ema_decay", low=0.0, high=1.0)
        check_fraction("validation_fraction", self.validation_fraction)
        random_generator(self.seed)
        if not isinstance(self.verbose, bool):
            check_index("verbose", self.verbose, low=0)

    def _make_network(self, vocab_size: int, generator: np.random.Generator) -> LSTMLanguageNetwork:
        cutoffs = None
        if self.softmax == "adaptive":
            cutoffs = self.cutoffs
            if cutoffs is None:
                cutoffs = sorted({max(1, vocab_size // 8), vocab_size // 2})
            check_cutoffs(cutoffs, vocab_size)
        std = self.embedding_std
        if std is None:
            std = 1.0 if self.unit == "character" and not self.tied else 0.1
        return LSTMLanguageNetwork(
            vocab_size, self.embedding_dim, self.hidden_size, self.num_layers, tied=self.tied, cutoffs=cutoffs,
            dropout=self.dropout, embedding_std=std, seed=generator, num_threads=self.num_threads,
        )  # fmt: skip

    # ----------------------------------------------------------------------------------------------------- files

    def _fitted_content(self) -> tuple[dict[str, Any], Mapping[str, np.ndarray]]:
        config = {"vocabulary": self.vocabulary_.to_dict(), "history": self.history_.as_dict()}
        return config, self.network_.parameters()

    def _restore(self, config: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        vocabulary = _VOCABULARIES[self.unit].from_dict(config["vocabulary"])
        history = History.from_dict(config["history"])
        if len(arrays) < 4 * self.num_layers:  # before so many layers are made
            raise ValueError(f"it has {len(arrays)} arrays, which isn't what its params ask for")
        with blank_weights():
            network = self._make_network(len(vocabulary), random_generator(0))
        network.load_state_dict(arrays, assign=True)
        self.vocabulary_, self.network_ = vocabulary, network
        self.history_, self.n_iter_ = history, history.n_epochs

    # ---------------------------------------------------------------------------------------------- scikit-learn

    def __sklearn_clone__(self) -> LanguageModel:
        """Return the model itself: a classifier that starts from it is cloned with what was learnt here."""
        return self


def _as_texts(name: str, text: Any) -> list[str]:
    """Return a text or a collection of texts as a list."""
    return [text] if isinstance(text, str) else check_texts(name, text)


def _encode(vocabulary: Characters | Vocabulary, text: Any) -> np.ndarray:
    """Return the ids of a text behind the id that stands between texts; of several, each with that id at its end."""
    end = vocabulary.PADDING
    if isinstance(text, str):
        return np.concatenate([[end], vocabulary.encode(text)])
    return np.concatenate([[end], *(part for one in text for part in (vocabulary.encode(one), [end]))])


def _keep_likeliest(scores: np.ndarray, share: float) -> None:
    """Set all scores to -inf but the fewest whose softmax together has this share."""
    order = np.argsort(-scores)
    likely = np.exp(scores[order] - scores[order[0]], dtype=np.float64).cumsum()
    kept = int(np.searchsorted(likely, share * likely[-1])) + 1
    scores[order[kept:]] = -np.inf
