"""A layer's inference over whole sequences."""

from . import cases


class Forward:
    params = (cases.SHAPES, cases.DTYPES, cases.THREADS)
    param_names = ("shape", "dtype", "threads")

    def setup(self, shape, dtype, threads):
        self.lstm = cases.layer(shape, dtype, threads)
        self.x = cases.sequence(shape, dtype)

    def time_forward(self, shape, dtype, threads):
        self.lstm(self.x)


class Variants:
    """Other options of a layer: one shape, one thread and two."""

    shape = (100, 32, 256, 256)
    params = (("batch_first", "bidirectional", "two layers", "ragged", "unbatched"), cases.THREADS)
    param_names = ("variant", "threads")

    def setup(self, variant, threads):
        options = {
            "batch_first": {"batch_first": True},
            "bidirectional": {"bidirectional": True},
            "two layers": {"num_layers": 2},
        }
        self.lstm = cases.layer(self.shape, num_threads=threads, **options.get(variant, {}))
        self.x = cases.sequence(self.shape)
        if variant == "batch_first":
            self.x = self.x.swapaxes(0, 1).copy()
        elif variant == "unbatched":
            self.x = self.x[:, 0].copy()
        self.lengths = cases.ragged_lengths(self.shape) if variant == "ragged" else None

    def time_forward(self, variant, threads):
        self.lstm(self.x, lengths=self.lengths)


class Predict:
    """Sentences to labels, tokenisation included."""

    params = ((1, 1000), cases.THREADS)
    param_names = ("sentences", "threads")

    def setup_cache(self):
        import clstm

        texts, labels = cases.reviews(1000)
        clstm.TextClassifier(n_epochs=1, seed=0, verbose=0).fit(texts, labels).save("model.safetensors")

    def setup(self, sentences, threads):
        import clstm

        clstm.set_num_threads(threads)
        self.model = clstm.TextClassifier.load("model.safetensors")
        self.texts = cases.reviews(sentences)[0]

    def time_predict(self, sentences, threads):
        self.model.predict(self.texts)


class Stacked:
    """Stacked layers with small batches, which threads run as a wavefront."""

    params = ((64, 128, 256), (2, 4), cases.THREADS)
    param_names = ("hidden_size", "layers", "threads")

    def setup(self, hidden_size, layers, threads):
        self.lstm = cases.layer((100, 1, hidden_size, hidden_size), num_threads=threads, num_layers=layers)
        self.x = cases.sequence((100, 1, hidden_size, hidden_size))

    def time_call(self, hidden_size, layers, threads):
        self.lstm(self.x)
