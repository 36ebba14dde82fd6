"""The commands of the command line: what each is called, what its options are, and which function runs it."""

from __future__ import annotations

import importlib
from argparse import ArgumentParser, BooleanOptionalAction, Namespace
from collections.abc import Callable
from typing import Any, NamedTuple

from clstm.cli.options import defaults_of, integer, percent, real

DEMO_MODEL = "clstm-demo.safetensors"


class Command(NamedTuple):
    """A command.

    Attributes
    ----------
    name, summary : str
    module : str
        Where the function of the command's name is, in `clstm.cli`.
    own_options : callable
        Adds the command's options to a parser, given the task that was chosen.
    usage : str or None
        The usage that help prints, where argparse's would be too long.
    chooses_task : bool
        Whether ``--task`` chooses what the other options are.
    """

    name: str
    summary: str
    module: str
    own_options: Callable[[ArgumentParser, str], None]
    usage: str | None = None
    chooses_task: bool = False

    def function(self) -> Callable[[Namespace], int]:
        """Return the function that runs the command and returns the exit status."""
        return getattr(importlib.import_module(f"clstm.cli.{self.module}"), self.name)

    def add_options(self, parser: ArgumentParser, task: str | None) -> None:
        """Add the options that all commands have, and the command's."""
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.add_argument(
            "--threads", type=integer(1), metavar="N", help="threads to use (default: see clstm config)"
        )
        parser.add_argument("--debug", action="store_true", help="show where an error comes from")
        self.own_options(parser, task or "text")
        if self.chooses_task:
            self.add_task(parser)

    def add_task(self, parser: ArgumentParser) -> None:
        """Add ``--task``."""
        from clstm.cli.tasks import TASKS

        parser.add_argument(
            "--task", choices=tuple(TASKS), default="text",
            help="what to learn; --task TASK --help shows the options of each (default: %(default)s)",
        )  # fmt: skip


def _add_model(parser: ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a saved model")


def _add_columns(parser: ArgumentParser, *tasks: str) -> None:
    """Add the options that say how the data of some tasks are read."""
    from clstm.cli.tasks import TASKS

    chosen = [TASKS[name] for name in tasks]
    formats = dict.fromkeys(format for task in chosen for format in task.formats)
    if not formats:
        return
    group = parser.add_argument_group("data")
    group.add_argument("--format", choices=tuple(formats), help="the format of DATA")
    for option, text in dict(column for task in chosen for column in task.columns).items():
        group.add_argument(option, metavar="COLUMN", help=text)
    if any(task.has_header for task in chosen):
        group.add_argument("--header", action=BooleanOptionalAction, help="whether the first row names the columns")


def _add_horizon(parser: ArgumentParser) -> Any:
    group = parser.add_argument_group("forecasts")
    group.add_argument("--horizon", type=integer(1), metavar="N", default=1, help="steps ahead (default: %(default)s)")
    group.add_argument("--level", type=percent, metavar="X", action="append", default=[],
                       help="an interval that holds X percent of the values; may be given several times")  # fmt: skip
    return group


def _add_settings(parser: ArgumentParser, task: str) -> None:
    """Add the options that are arguments of the task's model. Those that aren't given have the model's defaults."""
    from clstm.cli.tasks import TASKS

    parser.add_argument("-q", "--quiet", action="store_true", help="don't show the progress of training")
    group = parser.add_argument_group("training")
    chosen = TASKS[task]
    defaults = defaults_of(chosen.model_class())
    for setting in chosen.settings:
        setting.add_to(group, defaults[setting.name])
    group.add_argument(
        "--seed", dest=f"set_{chosen.seed}", type=integer(0), metavar="N", default=0,
        help="for all that is random (default: %(default)s)",
    )  # fmt: skip
    parser.set_defaults(settings=(*(setting.name for setting in chosen.settings), chosen.seed))


def _demo(parser: ArgumentParser, task: str) -> None:
    from clstm.cli.training import FAQ

    network = f"{FAQ['vocab_size']:,} words, embeddings of {FAQ['embedding_dim']}, {FAQ['num_layers']} layers of "
    network += f"{FAQ['hidden_size']}, pooling {FAQ['pooling']}"
    parser.add_argument("--faq", action="store_true", help=f"the network of the FAQ: {network}")
    parser.add_argument(
        "--model", metavar="MODEL", default=DEMO_MODEL, help="where to save the model (default: %(default)s)"
    )
    _add_settings(parser, "text")


def _train(parser: ArgumentParser, task: str) -> None:
    from clstm.cli.tasks import TASKS

    chosen = TASKS[task]
    parser.description = f"Train a model on your own {chosen.data}."
    parser.epilog = chosen.data_help
    parser.add_argument("data", metavar="DATA", help=f"{chosen.data}, or - for standard input")
    parser.add_argument("-o", "--output", metavar="MODEL", required=True, help="where to save the model")
    if chosen.has_validation:
        parser.add_argument("--validation", metavar="FILE", help=f"{chosen.data} to choose the best epoch by")
    _add_columns(parser, task)
    _add_settings(parser, task)


def _test(parser: ArgumentParser, task: str) -> None:
    from clstm.cli.tasks import TASKS

    others = "That is for models of texts. For others, see clstm train --task TASK --help."
    parser.epilog = f"{TASKS['text'].data_help}\n\n{others}"
    _add_model(parser)
    parser.add_argument("data", metavar="DATA", help="data like those it was trained on; or - for standard input")
    _add_columns(parser, *TASKS)
    _add_horizon(parser).add_argument(
        "--windows", type=integer(1), metavar="N", default=1,
        help="forecasts to make, one after the other, up to the end of the series (default: %(default)s)",
    )  # fmt: skip


def _predict(parser: ArgumentParser, task: str) -> None:
    _add_model(parser)
    parser.add_argument(
        "texts", metavar="TEXT", nargs="*",
        help="a text, or - for the lines of standard input; put -- before one that begins with a dash",
    )  # fmt: skip
    parser.add_argument(
        "-f", "--file", metavar="FILE",
        help="a file with a text on each line, or - for standard input; a table of sequences if the model reads them",
    )  # fmt: skip
    parser.add_argument(
        "--proba", action="store_true", help="all labels with their probabilities, likeliest first, between tabs"
    )
    _add_columns(parser, "classify")


def _forecast(parser: ArgumentParser, task: str) -> None:
    from clstm.cli.tasks import TASKS

    parser.epilog = TASKS["forecast"].data_help
    _add_model(parser)
    parser.add_argument(
        "series", metavar="DATA", nargs="?", help="the values after the training; with dates also the whole series"
    )
    _add_columns(parser, "forecast")
    _add_horizon(parser)


def _generate(parser: ArgumentParser, task: str) -> None:
    import inspect

    from clstm.language.language_model import LanguageModel

    temperature = inspect.signature(LanguageModel.generate).parameters["temperature"].default
    _add_model(parser)
    parser.add_argument("--prompt", metavar="TEXT", default="", help="how the text begins (default: empty)")
    parser.add_argument("--length", type=integer(1), metavar="N", default=500,
                        help="characters, or words, to write (default: %(default)s)")  # fmt: skip
    parser.add_argument(
        "--temperature", type=real, metavar="X", default=temperature,
        help="below 1 what is likely gets likelier, at 0 it is certain (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--top-k", type=integer(1), metavar="N", help="draw from the N likeliest only")
    parser.add_argument(
        "--top-p", type=real, metavar="X", help="draw only from the likeliest that together have this probability"
    )
    parser.add_argument("--seed", type=integer(0), metavar="N", default=0, help="for the draws (default: %(default)s)")


def _info(parser: ArgumentParser, task: str) -> None:
    _add_model(parser)


COMMANDS = (
    Command("demo", "train on the movie reviews that come with clstm", "training", _demo, "%(prog)s [options]"),
    Command("train", "train a model on your own data", "training", _train,
            "%(prog)s [--task TASK] [options] DATA -o MODEL", chooses_task=True),
    Command("test", "print how good a model's predictions are", "commands", _test,
            "%(prog)s [options] MODEL DATA"),
    Command("predict", "print the label of each text or sequence, a line for each", "prediction", _predict),
    Command("forecast", "print what comes next in a series, as CSV", "commands", _forecast,
            "%(prog)s [options] MODEL [DATA]"),
    Command("generate", "print a text that a language model writes", "commands", _generate,
            "%(prog)s [options] MODEL"),
    Command("info", "print what a saved model is", "commands", _info),
    Command("config", "print versions, instruction set and threads", "commands", lambda parser, task: None),
)  # fmt: skip
