"""The command line: its arguments, and what ends it.

Data goes to standard output, progress and messages to standard error. Exit status: 0 done, 1 failed, 2 wrong usage,
130 ended by Ctrl-C, 141 where what read the output has ended. What a command needs is imported when it runs.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from clstm.cli import commands
from clstm.cli.console import end_output, flush, one_line, say
from clstm.cli.options import integer, percent, real, settings

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
  clstm train --task forecast sales.csv -o sales.safetensors
  clstm forecast sales.safetensors --horizon 28 --level 80
  clstm train --task language novel.txt -o novel.safetensors
  clstm generate novel.safetensors --prompt "Call me" --length 500
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


SEQUENCE_FORMATS = """\
DATA is a CSV or TSV file in UTF-8 with a header, or - for standard input. It
has a row for each step: which sequence it belongs to, the sequence's label (the
same in all its rows), and values. Rows of a sequence stand in order of time.
  id        id, unique_id, sequence, series
  label     label, class, category, sentiment, target
  values    all other columns: numbers"""

SERIES_FORMATS = """\
DATA is a CSV or TSV file in UTF-8 with a header, or - for standard input. It
has a row for each step, in order of time, at a constant step. Usual names:
  id        unique_id, where there are several series; they need dates, and
            narwhals with pandas, polars or pyarrow
  date      ds, date, datetime, timestamp, time: 2026-11-24, 2026-11-24 13:00;
            there may be none
  value     y, value; or the only column beside the date"""

TEST_FORMATS = f"{DATA_FORMATS}\n\nThat is for models of texts; clstm train --task TASK --help tells of the others."

METAVARS = {real: "X", str: "NAME"}  # of settings

# Option, tasks, help.
COLUMNS = (
    ("--text-column", ("text",), "the text's column by name, or by number from 1; its key"),
    (
        "--id-column",
        ("classify", "regress", "forecast"),
        "the column that tells sequences or series apart, by name, or by number from 1",
    ),
    ("--label-column", ("text", "classify", "regress"), "the label's, likewise"),
    ("--date-column", ("forecast",), "the date's column by name, or by number from 1"),
    ("--value-column", ("forecast",), "the value's, likewise"),
)

TASK_FORMATS = {
    "text": DATA_FORMATS,
    "classify": SEQUENCE_FORMATS,
    "regress": SEQUENCE_FORMATS,
    "forecast": SERIES_FORMATS,
    "language": "DATA is a text in UTF-8, or - for standard input.",
}


TASK_DATA = {
    "text": "labelled texts",
    "classify": "labelled sequences",
    "regress": "sequences with a number each",
    "forecast": "series",
    "language": "text",
}


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
        from clstm._core.threads import set_num_threads

        set_num_threads(arguments.threads)
    return arguments.run(arguments)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    top = parser(_task(argv))
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


def _task(argv: Sequence[str] | None) -> str:
    """Return the task that --task names, before all else is parsed; a wrong one is found out later."""
    only = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    only.add_argument("--task", choices=tuple(TASK_DATA))
    try:
        return only.parse_known_args(argv)[0].task or "text"
    except argparse.ArgumentError:
        return "text"


def parser(task: str = "text") -> argparse.ArgumentParser:
    """Return the parser of the whole command line; the options of `clstm train` are those of a task."""
    from clstm._version import __version__

    top = argparse.ArgumentParser(
        prog="clstm",
        description="Train, test and use LSTM networks, fast on CPUs: for texts, series and language.",
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

    command = _command(add, "train", commands.train, f"train a model on your own {TASK_DATA[task]}", TASK_FORMATS[task])
    command.usage = "%(prog)s [--task TASK] [options] DATA -o MODEL"
    command.add_argument("data", metavar="DATA", help=f"{TASK_DATA[task]}, or - for standard input")
    command.add_argument("-o", "--output", metavar="MODEL", required=True, help="where to save the model")
    command.add_argument("--task", choices=tuple(TASK_DATA), default="text", help="what to learn; --task TASK --help "
                         "shows the options of each (default: text)")  # fmt: skip
    if task != "forecast":
        command.add_argument("--validation", metavar="FILE", help=f"{TASK_DATA[task]} to choose the best epoch by")
    _add_columns(command, task)
    _add_settings(command, task)

    command = _command(add, "test", commands.test, "print how good a model's predictions are", TEST_FORMATS)
    command.usage = "%(prog)s [options] MODEL DATA"
    command.add_argument("model", metavar="MODEL", help="a saved model")
    command.add_argument("data", metavar="DATA", help="what it was trained on, but other; or - for standard input")
    _add_columns(command, *TASK_DATA)
    _add_horizon(command)
    command.add_argument("--windows", type=integer(1), metavar="N", default=1, help="forecasts to make, one behind the "
                         "other, up to the end of the series (default: 1)")  # fmt: skip

    command = _command(add, "predict", _predict, "print the label of each text or sequence, a line for each")
    command.add_argument("model", metavar="MODEL", help="a saved model")
    command.add_argument("texts", metavar="TEXT", nargs="*", help="a text, or - for the lines of standard input; "
                         "put -- before one that begins with a dash")  # fmt: skip
    command.add_argument(
        "-f", "--file", metavar="FILE", help="a file with a text on each line, or - for standard input; a table of "
        "sequences if the model reads them"
    )  # fmt: skip
    command.add_argument("--proba", action="store_true", help="all labels with their probabilities, likeliest first, "
                         "between tabs")  # fmt: skip
    _add_columns(command, "classify")
    command.set_defaults(parser=command)

    command = _command(add, "forecast", commands.forecast, "print what comes next in a series, as CSV", SERIES_FORMATS)
    command.usage = "%(prog)s [options] MODEL [DATA]"
    command.add_argument("model", metavar="MODEL", help="a saved model")
    command.add_argument("series", metavar="DATA", nargs="?", help="what came since the training; with dates also the "
                         "whole series")  # fmt: skip
    _add_columns(command, "forecast")
    _add_horizon(command)

    command = _command(add, "generate", commands.generate, "print a text that a language model writes")
    command.usage = "%(prog)s [options] MODEL"
    command.add_argument("model", metavar="MODEL", help="a saved model")
    command.add_argument("--prompt", metavar="TEXT", default="", help="how the text begins (default: empty)")
    command.add_argument("--length", type=integer(1), metavar="N", default=500, help="characters, or words, to write "
                         "(default: 500)")  # fmt: skip
    command.add_argument("--temperature", type=real, metavar="X", default=1.0, help="below 1 the likely gets likelier, "
                         "at 0 it is certain (default: 1)")  # fmt: skip
    command.add_argument("--top-k", type=integer(1), metavar="N", help="draw from the N likeliest only")
    command.add_argument("--top-p", type=real, metavar="X", help="draw from the likeliest that have this probability "
                         "together only")  # fmt: skip
    command.add_argument("--seed", type=integer(0), metavar="N", default=0, help="for the draws (default: 0)")

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
    command.add_argument("--threads", type=integer(1), metavar="N", help="threads to use (default: see clstm config)")
    command.add_argument("--debug", action="store_true", help="show where an error comes from")
    return command


def _add_columns(command: argparse.ArgumentParser, *tasks: str) -> None:
    """Add the options that tell how the data of some tasks are read."""
    if tasks == ("language",):
        return
    group = command.add_argument_group("data")
    formats = ("tsv", "csv", "jsonl", "fasttext") if "text" in tasks else ("tsv", "csv")
    group.add_argument("--format", choices=formats, help="the format of DATA")
    for option, of, text in COLUMNS:
        if not set(of).isdisjoint(tasks):
            group.add_argument(option, metavar="COLUMN", help=text)
    if "text" in tasks:
        group.add_argument(
            "--header", action=argparse.BooleanOptionalAction, help="whether the first row names the columns"
        )


def _add_horizon(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("forecasts")
    group.add_argument("--horizon", type=integer(1), metavar="N", default=1, help="steps ahead (default: 1)")
    group.add_argument("--level", type=percent, metavar="X", action="append", default=[], help="an interval that holds "
                       "X percent of what comes; may be given several times")  # fmt: skip


def _add_settings(command: argparse.ArgumentParser, task: str = "text") -> None:
    """Add the options that are arguments of the task's model; one that isn't given has that class's default."""
    command.add_argument("-q", "--quiet", action="store_true", help="don't show the progress of training")
    group = command.add_argument_group("training")
    chosen = settings(task)
    for option, name, kind, text in chosen:
        if kind is bool:
            group.add_argument(option, dest=f"set_{name}", action=argparse.BooleanOptionalAction, help=text)
        elif isinstance(kind, tuple):
            group.add_argument(option, dest=f"set_{name}", choices=kind, help=text)
        else:
            group.add_argument(option, dest=f"set_{name}", type=kind, metavar=METAVARS.get(kind, "N"), help=text)
    group.add_argument(
        "--seed", dest="set_seed", type=integer(0), metavar="N", default=0, help="for all that is random (default: 0)"
    )
    command.set_defaults(settings=(*(name for _, name, *_ in chosen), "seed"))


def _predict(arguments: argparse.Namespace) -> int:
    if bool(arguments.texts) == (arguments.file is not None):
        usage = arguments.parser.format_usage()
        say(f"{usage}clstm predict: error: give one of TEXT, -f FILE, or - for standard input")
        return WRONG_USAGE
    return commands.predict(arguments)


def _show_warning(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    say(f"clstm: warning: {message}")
