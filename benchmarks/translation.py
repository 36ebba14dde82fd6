"""The translator: a step of training, and beam search."""

import numpy as np

import clstm
from clstm.layers.attention import Attention
from clstm.losses import cross_entropy
from clstm.translation import beam_search
from clstm.translation.encoder_decoder import EncoderDecoder

from . import cases

WORDS, BATCH, TIME = 5000, 64, 12


class _Sentences:
    """A network of the default sizes, and random sentences."""

    params = (cases.THREADS,)
    param_names = ("threads",)

    def setup(self, threads):
        clstm.set_num_threads(threads)
        rng = np.random.default_rng(0)
        self.network = EncoderDecoder(WORDS, WORDS, 128, 256, dropout=0.3, seed=0, num_threads=threads)
        self.source, self.target = rng.integers(4, WORDS, (2, BATCH, TIME))
        self.lengths = rng.integers(TIME // 2, TIME, BATCH, endpoint=True)
        self.lengths[0] = TIME


class TranslatorStep(_Sentences):
    """Forward, loss, backward and Adam, for 64 sentences of 6 to 12 words."""

    def setup(self, threads):
        super().setup(threads)
        self.wanted = self.target[np.arange(TIME) < self.lengths[:, np.newaxis]]
        self.optimiser = clstm.optim.Adam(self.network)

    def time_step(self, threads):
        scores, context = self.network.forward_train(self.source, self.target, self.lengths, self.lengths)
        _, dscores = cross_entropy(scores, self.wanted, label_smoothing=0.1)
        self.optimiser.step(self.network.backward(context, dscores))


class BeamSearch(_Sentences):
    """64 sentences at once, 12 words each."""

    params = (cases.THREADS, (1, 5))
    param_names = ("threads", "beam_size")

    def setup(self, threads, beam_size):
        super().setup(threads)

    def time_search(self, threads, beam_size):
        steps = np.full(BATCH, TIME)
        beam_search(
            self.network, self.source, self.lengths, beam_size=beam_size, length_penalty=1.0, max_steps=steps,
            start=2, end=3, never=(0, 2),
        )  # fmt: skip


class AttentionLayer:
    """Forward and backward by itself."""

    params = (("general", "dot"),)
    param_names = ("score",)

    def setup(self, score):
        rng = np.random.default_rng(0)
        self.attention = Attention(256, 256, 128, score, seed=0)
        self.queries, self.memory = rng.standard_normal((2, BATCH, TIME, 256), dtype=np.float32)
        self.lengths = rng.integers(TIME // 2, TIME, BATCH, endpoint=True)
        self.dy = np.ones((BATCH, TIME, 128), np.float32)

    def time_forward_backward(self, score):
        _, context = self.attention.forward_train(self.queries, self.memory, self.lengths)
        self.attention.backward(context, self.dy)
