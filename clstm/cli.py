"""The command line: its arguments, and what ends it.

Data goes to standard output, progress and messages to standard error. Exit status: 0 done, 1 failed, 2 wrong usage,
130 ended by Ctrl-C, 141 where what read the output has ended. What a command needs is imported when it runs.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from clstm import commands
from clstm.console import end_output, flush, one_line, say

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = commands.INTERRUPTED
BROKEN_PIPE = 141  # 128 + SIGPIPE

DEMO_MODEL = "clstm-demo.safetensors"

EXAMPLES = """\
examples:
  clstm demo
  clstm train reviews.tsv -o reviews.safetensors
  clstm test reviews.safetensors more.tsv
  clstm predict reviews.safetensors "What a film!"
  tail -f comments.txt | clstm predict reviews.safetensors -

exit status: 0 done, 1 failed, 2 wrong usage, 130 ended by Ctrl-C"""

DATA_FORMATS = """\
DATA is a file in UTF-8, or - for standard input. Its extension tells the
format (.tsv .tab .csv .jsonl .ndjson .json); for any other its first line does:
  tsv       columns between tabs; quotes are plain characters
  csv       columns between commas; quotes around what holds commas, quotes
            or line breaks
  jsonl     a JSON object on each line
  fasttext  one word __label__NAME on each line, the rest is the text

The first row of a table names the columns if one is asked for by name, or if
one has a usual name and never holds it again. The usual names, also in JSON:
  text      text, sentence, review, comment, message, content
  label     label, class, category, sentiment, target
Of two columns without names, the label is the one with fewer different values
(in a test: with more of the model's labels)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process if left out.

    Returns
    -------
    int
        The exit status.
    """
    debug = "--debug" in (sys.argv[1:] if argv is None else argv)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            status = _run(argv)
            flush()
        except KeyboardInterrupt:
            status = INTERRUPTED
        except BrokenPipeError:
            status = BROKEN_PIPE
        except Exception as error:
            if debug:
                raise
            say(f"clstm: error: {one_line(error)}")
            status = FAILED
        end_output()
    return status


def _run(argv: Sequence[str] | None) -> int:
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        arguments = _parse(argv)
    except SystemExit as end:  # help, version, wrong usage: all said
        return end.code
    if arguments.threads is not None:
        from clstm.threads import set_num_threads

        set_num_threads(arguments.threads)
    return arguments.run(arguments)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    top = parser()
    arguments, rest = top.parse_known_args(argv)
    if rest and hasattr(arguments, "texts"):
        # argparse takes positional arguments in one run: those behind an option are left over
        dashes = rest.index("--") if "--" in rest else len(rest)
        if not any(text.startswith("-") and text != "-" for text in rest[:dashes]):
            arguments.texts += rest[:dashes] + rest[dashes + 1 :]
            rest = []
    if rest:
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    return arguments


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    from clstm import __version__

    top = argparse.ArgumentParser(
        prog="clstm",
        description="Train, test and use text classifiers: LSTM networks that are fast on CPUs.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"clstm {__version__}")
    add = top.add_subparsers(title="commands", metavar="COMMAND", required=True).add_parser

    command = _command(add, "demo", commands.demo, "train on the movie reviews that come with clstm")
    command.usage = "%(prog)s [options]"
    command.add_argument("--faq", action="store_true", help="the network of the FAQ: 5,000 words, embeddings of 100, "
                         "two layers of 256, the last output")  # fmt: skip
    command.add_argument("--model", metavar="MODEL", default=DEMO_MODEL, help="where to save it (default: %(default)s)")
    _add_settings(command)

    command = _command(add, "train", commands.train, "train a model on your own texts", DATA_FORMATS)
    command.usage = "%(prog)s [options] DATA -o MODEL"
    command.add_argument("data", metavar="DATA", help="labelled texts, or - for standard input")
    command.add_argument("-o", "--output", metavar="MODEL", required=True, help="where to save the model")
    command.add_argument("--validation", metavar="FILE", help="labelled texts to choose the best epoch by")
    _add_columns(command)
    _add_settings(command)

    command = _command(add, "test", commands.test, "print accuracy, precision and recall of a model", DATA_FORMATS)
    command.usage = "%(prog)s [options] MODEL DATA"
    command.add_argument("model", metavar="MODEL", help="a saved model")
    command.add_argument("data", metavar="DATA", help="labelled texts, or - for standard input")
    _add_columns(command)

    command = _command(add, "predict", _predict, "print the label of each text, a line for each")
    command.add_argument("model", metavar="MODEL", help="a saved model")
    command.add_argument("texts", metavar="TEXT", nargs="*", help="a text, or - for the lines of standard input; "
                         "put -- before one that begins with a dash")  # fmt: skip
    command.add_argument(
        "-f", "--file", metavar="FILE", help="a file with a text on each line, or - for standard input"
    )
    command.add_argument("--proba", action="store_true", help="all labels with their probabilities, likeliest first, "
                         "between tabs")  # fmt: skip
    command.set_defaults(parser=command)

    command = _command(add, "info", commands.info, "print what a saved model is")
    command.add_argument("model", metavar="MODEL", help="a saved model")

    _command(add, "config", commands.config, "print versions, instruction set and threads")
    return top


def _command(
    add: Callable[..., argparse.ArgumentParser],
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    epilog: str | None = None,
) -> argparse.ArgumentParser:
    """Add a command with the options that all have."""
    command = add(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument("--threads", type=_integer(1), metavar="N", help="threads to use (default: see clstm config)")
    command.add_argument("--debug", action="store_true", help="show where an error comes from")
    return command


def _add_columns(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("data")
    group.add_argument("--format", choices=("tsv", "csv", "jsonl", "fasttext"), help="the format of DATA")
    group.add_argument(
        "--text-column", metavar="COLUMN", help="the text's column by name, or by number from 1; its key"
    )
    group.add_argument("--label-column", metavar="COLUMN", help="the label's, likewise")
    group.add_argument(
        "--header", action=argparse.BooleanOptionalAction, help="whether the first row names the columns"
    )


def _add_settings(command: argparse.ArgumentParser) -> None:
    """Add the options that are arguments of TextClassifier; one that isn't given has that class's default."""
    command.add_argument("-q", "--quiet", action="store_true", help="don't show the progress of training")
    group = command.add_argument_group("training")
    for option, name, kind, text in SETTINGS:
        if kind is bool:
            group.add_argument(option, dest=name, action=argparse.BooleanOptionalAction, help=text)
        elif isinstance(kind, tuple):
            group.add_argument(option, dest=name, choices=kind, help=text)
        else:
            group.add_argument(option, dest=name, type=kind, metavar="X" if kind is _real else "N", help=text)
    group.add_argument("--seed", type=_integer(0), metavar="N", default=0, help="for all that is random (default: 0)")
    command.set_defaults(settings=(*(name for _, name, *_ in SETTINGS), "seed"))


def _predict(arguments: argparse.Namespace) -> int:
    if bool(arguments.texts) == (arguments.file is not None):
        usage = arguments.parser.format_usage()
        say(f"{usage}clstm predict: error: give one of TEXT, -f FILE, or - for standard input")
        return WRONG_USAGE
    return commands.predict(arguments)


def _integer(low: int) -> Callable[[str], int]:
    def integer(text: str) -> int:
        value = int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else -1
        if value < low:
            raise argparse.ArgumentTypeError(f"{text!r} is not an integer from {low}")
        return value

    return integer


def _real(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return value


# Option, argument of TextClassifier, kind, help; its defaults stand here again, for it isn't imported to print them.
SETTINGS = (
    ("--epochs", "n_epochs", _integer(1), "passes over the texts (default: 8, or what makes 2,000 steps)"),
    ("--batch-size", "batch_size", _integer(1), "texts a step (default: 32)"),
    ("--lr", "lr", _real, "learning rate (default: 0.001)"),
    ("--vocab-size", "vocab_size", _integer(3), "words to know, the commonest (default: all)"),
    ("--max-length", "max_length", _integer(1), "words of a text to read (default: all)"),
    ("--embedding-dim", "embedding_dim", _integer(1), "size of a word's vector (default: 64)"),
    ("--hidden-size", "hidden_size", _integer(1), "size of the LSTM's state (default: 64)"),
    ("--num-layers", "num_layers", _integer(1), "layers of the LSTM (default: 1)"),
    ("--bidirectional", "bidirectional", bool, "read each text from its end too (default: yes)"),
    ("--pooling", "pooling", ("max", "mean", "last"), "what is taken of the LSTM's outputs (default: max)"),
    ("--dropout", "dropout", _real, "share of the values zeroed in training (default: 0.6)"),
    ("--word-dropout", "word_dropout", _real, "share of the words made unknown in training (default: 0.2)"),
    ("--embedding-std", "embedding_std", _real, "standard deviation of the first word vectors (default: 0.1)"),
    ("--clip-norm", "clip_norm", _real, "limit of the gradients' norm (default: 1.0)"),
    ("--ema-decay", "ema_decay", _real, "decay of the average of the weights (default: 0.99)"),
    ("--patience", "patience", _integer(1), "stop after so many epochs that were not the best (default: never)"),
    ("--validation-fraction", "validation_fraction", _real, "share of the texts to choose the best epoch by, "
     "where there is no --validation (default: 0.0)"),
)  # fmt: skip


def _show_warning(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    say(f"clstm: warning: {message}")
