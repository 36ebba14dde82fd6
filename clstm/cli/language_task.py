"""The task of ``clstm train --task language``: a text whose language is learnt."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable
from typing import Any

from clstm.cli.console import say
from clstm.cli.options import Setting, common, integer
from clstm.cli.task import Task


class Language(Task):
    """A text whose language is learnt."""

    model = "LanguageModel"
    data = "text"
    data_help = "DATA is a text in UTF-8, or - for standard input."
    formats = ()
    settings = (
        Setting("n_epochs", integer(1), "passes over the data", option="--epochs"),
        Setting("batch_size", integer(1), "sequences a step"),
        *common("lr"),
        Setting("unit", ("character", "word"), "what is read and written"),
        Setting("vocab_size", integer(3), "characters or words to know, the most frequent", "all"),
        Setting("embedding_dim", integer(1), "size of a character's or word's vector"),
        *common("hidden_size", "num_layers"),
        Setting("tied", bool, "share one array of weights between the embedding and the softmax"),
        Setting("softmax", ("plain", "adaptive"), "adaptive: less computation for rare words"),
        *common("dropout"),
        Setting("chunk_length", integer(1), "steps that gradients go back through"),
        *common("clip_norm", "ema_decay", "patience", "validation_fraction"),
    )

    def read(self, path: str, arguments: Namespace, known_labels: Iterable[str] = ()) -> Any:
        """Return a file's text."""
        from clstm.cli.data_files import read_text

        name, text = read_text(path)
        say(f"{name}: {len(text):,} characters")
        return text

    def fit(self, model: Any, data: Any, validation: Any) -> None:
        """Train the language model."""
        model.fit(data, validation)

    def count(self, model: Any, data: Any) -> dict[str, Any]:
        """Return the number of characters, and the size of the vocabulary."""
        return {"characters": len(data), "vocabulary": len(model.vocabulary_)}

    def test(self, model: Any, data: Any, arguments: Namespace) -> dict[str, Any]:
        """Return the perplexity and, of a model of characters, the bits a character."""
        bits = {"bits_per_character": model.bits_per_character(data)} if model.unit == "character" else {}
        return {**bits, "perplexity": model.perplexity(data), "characters": len(data)}

    def show(self, result: dict[str, Any]) -> list[str]:
        """Return the same in a line."""
        bits = f"{result['bits_per_character']:.4f} bits a character, " if "bits_per_character" in result else ""
        return [f"{bits}perplexity {result['perplexity']:.4f} ({result['characters']:,} characters)"]
