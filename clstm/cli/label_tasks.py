"""The tasks whose examples have a label or a number each: texts, and sequences."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable
from typing import Any

from clstm.cli.console import CommandError, say
from clstm.cli.options import Setting, common, epochs_for_steps, integer, real
from clstm.cli.task import ID_COLUMN, LABEL_COLUMN, TEXT_COLUMN, Task, listed

TEXT_FORMATS = """\
DATA is a file in UTF-8, or - for standard input. Its extension decides on the
format (.tsv .tab .csv .jsonl .ndjson .json); for others, its first line does:
  tsv       columns between tabs; quotes are plain characters
  csv       columns between commas; quotes around what holds commas, quotes
            or line breaks
  jsonl     a JSON object on each line
  fasttext  one word __label__NAME on each line, the rest is the text

The first row of a table names the columns if an option names a column that
way, or if a column's first cell is a usual name that the column never holds
again. The usual names, also in JSON:
  text      text, sentence, review, comment, message, content
  label     label, class, category, sentiment, target
Of two columns without names, the label is the one with fewer different values
(in a test: with more of the model's labels)."""

SEQUENCE_FORMATS = """\
DATA is a CSV or TSV file in UTF-8 with a header, or - for standard input. It
has a row for each step: which sequence it belongs to, the sequence's label (the
same in all its rows), and values. A sequence's rows are in order of time.
  id        id, unique_id, sequence, series
  label     label, class, category, sentiment, target
  values    all other columns: numbers"""


class Labels(Task):
    """What tasks share whose models predict labels."""

    def test(self, model: Any, data: Any, arguments: Namespace) -> dict[str, Any]:
        """Return accuracy, and precision and recall of each label (None where the divisor would be 0)."""
        labels, names = data.labels, [str(label) for label in model.classes_]
        unknown = sorted(set(labels) - set(names))
        if unknown:
            say(f"labels that the model doesn't know, so never predicts: {listed(unknown)}")
        predicted = [str(label) for label in model.predict(self.inputs(data))]
        pairs = list(zip(labels, predicted, strict=True))
        correct = sum(label == guess for label, guess in pairs)
        by_label = {}
        for name in names + unknown:
            hits = sum(label == guess == name for label, guess in pairs)
            examples, guesses = labels.count(name), predicted.count(name)
            by_label[name] = {
                "precision": hits / guesses if guesses else None,
                "recall": hits / examples if examples else None,
                "examples": examples,
                "predicted": guesses,
            }
        return {"accuracy": correct / len(pairs), "correct": correct, "examples": len(pairs), "labels": by_label}

    def show(self, result: dict[str, Any]) -> list[str]:
        """Return a table with a row for each label."""
        width = max(len("label"), *map(len, result["labels"]))
        lines = [f"accuracy {result['accuracy']:.2%} ({result['correct']} of {result['examples']})", ""]
        lines.append(f"{'label':<{width}}  precision   recall  examples")
        for label, row in result["labels"].items():
            precision, recall = ("-" if row[key] is None else f"{row[key]:.2%}" for key in ("precision", "recall"))
            lines.append(f"{label:<{width}}  {precision:>9}  {recall:>7}  {row['examples']:>8}")
        return lines

    def inputs(self, data: Any) -> Any:
        """Return what the model predicts from."""
        raise NotImplementedError


def _text_epochs() -> str:
    from clstm.estimators.train_text import MIN_EPOCHS, MIN_STEPS

    return epochs_for_steps(MIN_EPOCHS, MIN_STEPS)


class Texts(Labels):
    """Texts with a label each."""

    model = "TextClassifier"
    data = "labelled texts"
    data_help = TEXT_FORMATS
    formats = ("tsv", "csv", "jsonl", "fasttext")
    columns = (TEXT_COLUMN, LABEL_COLUMN)
    has_header = True
    settings = (
        Setting("n_epochs", integer(1), "passes over the texts", _text_epochs, "--epochs"),
        Setting("batch_size", integer(1), "texts a step"),
        *common("lr"),
        Setting("vocab_size", integer(3), "words to know, the most frequent", "all"),
        Setting("max_length", integer(1), "words of a text to read", "all"),
        Setting("embedding_dim", integer(1), "size of a word's vector"),
        *common("hidden_size", "num_layers"),
        Setting("bidirectional", bool, "read each text from its end too"),
        *common("pooling", "dropout"),
        Setting("word_dropout", real, "share of the words replaced by the unknown word in training"),
        Setting("embedding_std", real, "standard deviation of the initial word vectors"),
        *common("clip_norm", "ema_decay", "patience"),
        Setting(
            "validation_fraction",
            real,
            "share of the texts to choose the best epoch by, where there is no --validation",
        ),
        Setting("start", str, "a saved language model of words to start from", "none"),
    )

    def make(self, arguments: dict[str, Any]) -> Any:
        """Return an unfitted model; of a language model to start from, `arguments` have the path."""
        if "start" in arguments:
            from clstm._load import load

            arguments = {**arguments, "start": load(arguments["start"])}
        return super().make(arguments)

    def read(self, path: str, arguments: Namespace, known_labels: Iterable[str] = ()) -> Any:
        """Return labelled texts."""
        from clstm.cli.example_files import read_examples

        examples = read_examples(
            path,
            format=arguments.format,
            text_column=arguments.text_column,
            label_column=arguments.label_column,
            header=arguments.header,
            known_labels=set(known_labels),
        )
        labels = sorted(set(examples.labels))
        say(f"{examples.source}: {len(examples.texts):,} examples; labels {listed(labels)} ({examples.layout})")
        return examples

    def fit(self, model: Any, data: Any, validation: Any) -> None:
        """Train the classifier."""
        held_out = None if validation is None else (validation.texts, validation.labels)
        model.fit(data.texts, data.labels, validation_data=held_out)

    def count(self, model: Any, data: Any) -> dict[str, Any]:
        """Return the number of texts, and the labels."""
        return {"examples": len(data.texts), "labels": model.classes_.tolist()}

    def inputs(self, data: Any) -> Any:
        """Return the texts."""
        return data.texts


class Sequences(Task):
    """Sequences with a label or a number each."""

    data_help = SEQUENCE_FORMATS
    columns = (ID_COLUMN, LABEL_COLUMN)
    seed = "random_state"
    settings = (
        Setting("n_epochs", integer(1), "passes over the data", option="--epochs"),
        Setting("batch_size", integer(1), "sequences a step"),
        *common("lr", "hidden_size", "num_layers"),
        Setting("bidirectional", bool, "read each sequence from its end too"),
        *common("pooling", "dropout"),
        Setting("optimizer", ("adam", "adamw", "rmsprop", "sgd"), "the rule by which weights are updated"),
        Setting("schedule", ("one_cycle", "cosine"), "of the learning rate", "constant"),
        *common("weight_decay", "clip_norm", "standardize"),
        Setting("early_stopping", bool, "stop when the validation gets no better"),
        Setting("n_iter_no_change", integer(1), "epochs without a better validation before it stops"),
        *common("validation_fraction"),
    )
    numeric: bool

    def read(self, path: str, arguments: Namespace, known_labels: Iterable[str] = ()) -> Any:
        """Return sequences with their labels."""
        from clstm.cli.series_files import read_sequences

        data = read_sequences(
            path,
            format=arguments.format,
            id_column=arguments.id_column,
            label_column=arguments.label_column,
            numeric=self.numeric,
        )
        labels = "" if self.numeric or data.labels is None else f"; labels {listed(sorted(set(data.labels)))}"
        say(f"{data.source}: {len(data.values):,} sequences, {_steps(data):,} steps{labels} ({data.layout})")
        return data

    def fit(self, model: Any, data: Any, validation: Any) -> None:
        """Train the estimator."""
        held_out = None if validation is None else (validation.values, validation.labels)
        model.fit(data.values, data.labels, eval_set=held_out)

    def count(self, model: Any, data: Any) -> dict[str, Any]:
        """Return the numbers of sequences and steps."""
        return {"examples": len(data.values), "steps": _steps(data)}


class Classes(Sequences, Labels):
    """Sequences with a label each."""

    model = "LSTMClassifier"
    data = "labelled sequences"
    numeric = False
    settings = (
        *Sequences.settings,
        Setting(
            "class_weight", ("balanced",), "balanced: rare labels count as much as common ones", "all examples alike"
        ),
    )

    def count(self, model: Any, data: Any) -> dict[str, Any]:
        """Return the numbers of sequences and steps, and the labels."""
        return {**super().count(model, data), "labels": model.classes_.tolist()}

    def inputs(self, data: Any) -> Any:
        """Return the sequences."""
        return data.values


class Numbers(Sequences):
    """Sequences with a number each."""

    model = "LSTMRegressor"
    data = "sequences with a number each"
    numeric = True
    settings = (
        *Sequences.settings,
        Setting("loss", ("mse", "huber", "quantile"), "what is minimised"),
        Setting("quantile", real, "of the quantile loss"),
    )

    def test(self, model: Any, data: Any, arguments: Namespace) -> dict[str, Any]:
        """Return the model's score and the mean absolute error."""
        import numpy as np

        predicted = model.predict(data.values)
        if predicted.ndim != 1:
            raise CommandError(f"the model predicts {predicted.shape[1]} numbers for a sequence; test it in Python")
        return {
            "score": model.score(data.values, data.labels),
            "mean_absolute_error": float(np.abs(predicted - data.labels).mean()),
            "examples": len(data.values),
        }

    def show(self, result: dict[str, Any]) -> list[str]:
        """Return the same in a line."""
        score, error = f"score {result['score']:.4f}", f"mean absolute error {result['mean_absolute_error']:.6g}"
        return [f"{score}, {error} ({result['examples']} examples)"]


def _steps(data: Any) -> int:
    return sum(map(len, data.values))
