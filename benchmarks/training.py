"""Training: a layer's forward and backward, an optimiser's step, an epoch of the text classifier."""

import numpy as np

import clstm

from . import cases


class ForwardBackward:
    params = (cases.SHAPES, cases.DTYPES, cases.THREADS)
    param_names = ("shape", "dtype", "threads")

    def setup(self, shape, dtype, threads):
        self.lstm = cases.layer(shape, dtype, threads)
        self.x = cases.sequence(shape, dtype)
        self.dy = np.ones((*shape[:2], shape[3]), dtype)

    def time_forward_backward(self, shape, dtype, threads):
        _, _, context = self.lstm.forward_train(self.x)
        self.lstm.backward(context, self.dy)


class Ragged:
    """Rows of many lengths: padding should cost nothing."""

    shape = (100, 32, 256, 256)
    params = ((False, True), cases.THREADS)
    param_names = ("bidirectional", "threads")

    def setup(self, bidirectional, threads):
        time, batch, _, hidden_size = self.shape
        self.lstm = cases.layer(self.shape, num_threads=threads, bidirectional=bidirectional)
        self.x = cases.sequence(self.shape)
        self.lengths = cases.ragged_lengths(self.shape)
        self.dy = np.ones((time, batch, (1 + bidirectional) * hidden_size), np.float32)

    def time_forward_backward(self, bidirectional, threads):
        _, _, context = self.lstm.forward_train(self.x, lengths=self.lengths)
        self.lstm.backward(context, self.dy)


class OptimiserStep:
    """An update of all weights, with the packing that follows it."""

    params = (("SGD", "Adam", "AdamW", "RMSprop"),)
    param_names = ("optimiser",)

    def setup(self, optimiser):
        lstm = cases.layer((1, 1, 256, 256))
        self.optimiser = getattr(clstm.optim, optimiser)(lstm, lr=1e-3)
        self.grads = {name: np.full_like(weight, 1e-3) for name, weight in lstm.parameters().items()}

    def time_step(self, optimiser):
        self.optimiser.step(self.grads)


class Packing:
    """Packing after an update: forward panels at once, the others in the next backward; here as a training step."""

    params = (((20, 8, 128, 128), (100, 1, 256, 256), (50, 64, 512, 512)),)
    param_names = ("shape",)

    def setup(self, shape):
        self.lstm = cases.layer(shape)
        self.x = cases.sequence(shape)
        self.dy = np.ones((*shape[:2], shape[3]), np.float32)

    def time_pack(self, shape):
        with self.lstm.updating():
            pass

    def time_pack_and_train(self, shape):
        with self.lstm.updating():
            pass
        _, _, context = self.lstm.forward_train(self.x)
        self.lstm.backward(context, self.dy)


class EmbeddingStep:
    """Forward, backward, clipping and Adam, with gradients as arrays or as rows."""

    params = ((5_000, 200_000), (False, True))
    param_names = ("num_embeddings", "sparse")

    def setup(self, num_embeddings, sparse):
        rng = np.random.default_rng(0)
        self.embedding = clstm.Embedding(num_embeddings, 128, sparse=sparse, seed=0)
        self.embedding.num_threads = 1
        self.optimiser = clstm.optim.Adam(self.embedding)
        self.ids = rng.zipf(1.2, size=(32, 100)) % num_embeddings
        self.dy = np.ones((32, 100, 128), np.float32)

    def time_step(self, num_embeddings, sparse):
        _, context = self.embedding.forward_train(self.ids)
        grads = self.embedding.backward(context, self.dy).weights
        clstm.optim.clip_grad_norm(grads, 1.0)
        self.optimiser.step(grads)


class TextClassifierEpoch:
    """One epoch of the default recipe on a thousand sentences."""

    params = (cases.THREADS,)
    param_names = ("threads",)
    timeout = 300

    def setup(self, threads):
        clstm.set_num_threads(threads)
        self.texts, self.labels = cases.reviews(1000)

    def time_fit(self, threads):
        clstm.TextClassifier(n_epochs=1, seed=0, verbose=0).fit(self.texts, self.labels)
