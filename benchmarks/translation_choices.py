"""How `Translator`'s defaults were chosen: `python -m benchmarks.translation_choices [--pairs 8000] [--lr 0.01] ...`.

It learns from English sentences and their French translations and reports on 500 English sentences held out, none of
them in the test of examples/translation.py: the loss after each epoch, how certain the attention is (the mean of each
word's largest share; 1 where each word looks at one place only), and BLEU at the end.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np

from clstm import Translator
from clstm.translation.encoder_decoder import EncoderDecoder

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "examples"))
from datasets import load_sentence_pairs

SETTINGS = {
    "n_epochs": int, "batch_size": int, "lr": float, "dropout": float, "embedding_dim": int, "hidden_size": int,
    "attention": str, "seed": int,
}  # fmt: skip


class Variant(Translator):
    """A translator whose network differs from the class's in what is no argument of it."""

    def _make_network(self, source_size, target_size, generator):
        network = EncoderDecoder(
            source_size, target_size, self.embedding_dim, self.hidden_size, score=self.attention,
            dropout=self.dropout, seed=generator, embedding_std=self.embedding_std,
        )  # fmt: skip
        if self.divisor is not None:
            network.attention._scale = np.float32(1 / self.divisor)
        return network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, help="learn from the pairs of so many English sentences (default: all)")
    parser.add_argument("--words", type=int, default=99, help="of so many words at most (default: any)")
    parser.add_argument("--divisor", type=float, help="of the score 'general' (default: hidden_size)")
    parser.add_argument("--embedding-std", type=float, default=1.0, help="default: 1")
    for name, kind in SETTINGS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help="default: the class's")
    arguments = parser.parse_args()

    french_of = defaultdict(list)
    for english, french in load_sentence_pairs("fr"):
        if len(english.split()) <= arguments.words:
            french_of[english].append(french)
    sentences = np.random.default_rng(0).permutation(sorted(french_of)).tolist()
    held_out, training = sentences[1000:1500], sentences[1500:][: arguments.pairs]
    pairs, validation = (
        tuple(zip(*((english, french) for english in some for french in french_of[english]), strict=True))
        for some in (training, held_out)
    )
    print(f"{len(pairs[0])} pairs")
    given = {name: value for name in SETTINGS if (value := getattr(arguments, name)) is not None}
    model = Variant(**({"seed": 0} | given))
    model.divisor, model.embedding_std = arguments.divisor, arguments.embedding_std
    start = time.process_time()
    model.fit(*pairs, validation)
    seconds = time.process_time() - start
    translations, alignments = model.translate(held_out, return_attention=True)
    certainty = np.concatenate([alignment.weights.max(axis=1) for alignment in alignments if alignment.target_words])
    losses = ", ".join(f"{loss:.3f}" for loss in model.history_.validation_loss)
    score = model.score(held_out, [french_of[english] for english in held_out])
    print(f"losses {losses}; certainty {certainty.mean():.2f}; BLEU {score:.1f}; {seconds:.0f} s of the processor")
    for english, french in zip(held_out[:8], translations, strict=False):
        print(f"{english:45} {french}")


if __name__ == "__main__":
    main()
