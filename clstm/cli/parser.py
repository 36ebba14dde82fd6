"""The command line: its entry point, and the exit status.

Data goes to standard output, progress and messages to standard error. Exit status: 0 done, 1 failed, 2 wrong usage,
130 interrupted by Ctrl-C, 141 if the reader of standard output has ended. A command's modules are imported only when it
is chosen.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from clstm.cli.command_options import COMMANDS, Command
from clstm.cli.console import INTERRUPTED, end_output, flush, one_line, say

FAILED = 1
WRONG_USAGE = 2
BROKEN_PIPE = 141  # 128 + SIGPIPE, as shells count

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
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        arguments = parse(argv)
    except SystemExit as end:  # argparse has printed the help, the version or what is wrong
        return end.code if isinstance(end.code, int) else WRONG_USAGE
    if arguments.threads is not None:
        from clstm._core.threads import set_num_threads

        set_num_threads(arguments.threads)
    return arguments.command.function()(arguments)


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the arguments; wrong ones, ``--help`` and ``--version`` end in SystemExit, as everywhere in argparse."""
    top = parser()
    arguments, unknown = top.parse_known_args(argv)
    if unknown and hasattr(arguments, "texts"):
        # argparse takes positional arguments in one run: it leaves over those that come after an option.
        dashes = unknown.index("--") if "--" in unknown else len(unknown)
        if not any(text.startswith("-") and text != "-" for text in unknown[:dashes]):
            arguments.texts += unknown[:dashes] + unknown[dashes + 1 :]
            unknown = []
    if unknown:
        top.error(f"unrecognized arguments: {' '.join(unknown)}")
    if arguments.command.name == "predict" and bool(arguments.texts) == (arguments.file is not None):
        arguments.parser.error("give one of TEXT, -f FILE, or - for standard input")
    return arguments


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    from clstm._version import __version__

    top = argparse.ArgumentParser(
        prog="clstm",
        description="Train, test and use LSTM networks, fast on CPUs: for texts, series and language.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"clstm {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True, parser_class=CommandParser)
    for command in COMMANDS:
        commands.add_parser(command.name, help=command.summary, command=command)
    return top


class CommandParser(argparse.ArgumentParser):
    """The parser of one command. It gets its options when the command is chosen, so that others cost no time."""

    def __init__(self, *, command: Command, **options: Any) -> None:
        super().__init__(
            description=command.summary[0].upper() + command.summary[1:] + ".",
            usage=command.usage,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,
        )
        self._command = command

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse the command's arguments.

        ``--task`` decides which other options there are. So it is taken out of the arguments first, and the remaining
        ones are parsed by the task's options.
        """
        task = None
        if self._command.chooses_task:
            only_task = argparse.ArgumentParser(prog=self.prog, usage=self.usage, add_help=False, allow_abbrev=False)
            self._command.add_task(only_task)
            namespace, args = only_task.parse_known_args(args, namespace)
            task = namespace.task
        self._command.add_options(self, task)
        self.set_defaults(command=self._command, parser=self)
        return super().parse_known_args(args, namespace)


def _show_warning(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    say(f"clstm: warning: {message}")
