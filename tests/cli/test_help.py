"""Every default that ``--help`` prints is the code's."""

from __future__ import annotations

import importlib.util
import inspect
import re

import pytest

import clstm
from clstm import cli
from clstm.cli.command_options import COMMANDS
from clstm.cli.parser import parse
from clstm.cli.tasks import TASKS
from clstm.estimators import train_text
from clstm.forecasting import training

NEED_SKLEARN = ("classify", "regress")
needs_sklearn = pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="needs scikit-learn")

# The arguments that each command can't do without.
REQUIRED = {
    "demo": [], "train": ["data", "-o", "model"], "test": ["model", "data"], "predict": ["model", "text"],
    "forecast": ["model"], "generate": ["model"], "info": ["model"], "config": [],
}  # fmt: skip

# What help says about an option that no value could: for each its reason.
SAID_IN_WORDS = {"--threads": "see clstm config", "--prompt": "empty"}

# What None means where it is an argument's default.
NONE_MEANS = {
    "vocab_size": "all", "max_length": "all", "clip_norm": "none", "ema_decay": "none", "patience": "never",
    "start": "none", "schedule": "constant", "class_weight": "all examples alike", "season_length": "none",
    "freq": "found from the dates",
}  # fmt: skip
EPOCHS = {
    "text": f"{train_text.MIN_EPOCHS}, or what makes {train_text.MIN_STEPS:,} steps",
    "forecast": f"{training.MIN_EPOCHS}, or what makes {training.MIN_STEPS:,} steps",
}


def printed_defaults(capsys, monkeypatch, *arguments: str) -> dict[str, str]:
    """Return the default of each option whose help has one."""
    monkeypatch.setenv("COLUMNS", "1000")
    assert cli.main([*arguments, "--help"]) == 0
    options = re.split(r"\n  (?=-)", capsys.readouterr().out)
    defaults = {}
    for option in options[1:]:
        name = re.findall(r"--[a-z-]+", option.partition("   ")[0])[0]
        found = re.findall(r"\(default: (.*?)\)(?=\n|$)", option)
        assert len(found) == option.count("(default:"), option
        if found:
            (defaults[name],) = found
    return defaults


def shown(default: object) -> str:
    return {True: "yes", False: "no"}.get(default, str(default)) if isinstance(default, bool) else str(default)


@pytest.mark.parametrize(
    "task", [pytest.param(task, marks=needs_sklearn) if task in NEED_SKLEARN else task for task in TASKS]
)
def test_defaults_of_each_task_are_those_of_its_model(capsys, monkeypatch, task):
    printed = printed_defaults(capsys, monkeypatch, "train", "--task", task)
    assert (printed.pop("--threads"), printed.pop("--task"), printed.pop("--seed")) == ("see clstm config", "text", "0")
    if task == "text":
        demo = printed_defaults(capsys, monkeypatch, "demo")
        assert {option: demo[option] for option in printed} == printed
    parameters = inspect.signature(getattr(clstm, TASKS[task].model)).parameters
    settings = {setting.flag: setting.name for setting in TASKS[task].settings}
    assert set(printed) == set(settings)
    for option, name in settings.items():
        default = parameters[name].default
        expected = shown(default)
        if default is None:
            expected = EPOCHS[task] if name == "n_epochs" else NONE_MEANS[name]
        assert printed[option] == expected, option


@pytest.mark.parametrize("task", [None, "text"])
@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_defaults_of_each_command_are_what_it_parses(capsys, monkeypatch, command, task):
    chosen = [] if task is None or command != "train" else ["--task", task]
    printed = printed_defaults(capsys, monkeypatch, command, *chosen)
    arguments = parse([command, *chosen, *REQUIRED[command]])
    settings = {setting.flag: setting.name for setting in TASKS["text"].settings} if "settings" in arguments else {}
    for option, default in printed.items():
        if option in settings:
            assert getattr(arguments, f"set_{settings[option]}") is None
        elif option in SAID_IN_WORDS:
            assert default == SAID_IN_WORDS[option]
            assert not getattr(arguments, option[2:])
        else:
            name = option[2:].replace("-", "_")
            assert str(getattr(arguments, name, getattr(arguments, f"set_{name}", ...))) == default, option


def test_defaults_of_commands_are_those_of_the_methods_they_call():
    backtest = inspect.signature(clstm.LSTMForecaster.backtest).parameters
    assert parse(["test", "model", "data"]).windows == backtest["n_windows"].default
    generate = inspect.signature(clstm.LanguageModel.generate).parameters
    arguments = parse(["generate", "model"])
    for name in ("temperature", "top_k", "top_p"):
        assert getattr(arguments, name) == generate[name].default


def test_a_default_of_none_leaves_the_argument_to_the_model():
    arguments = parse(["train", "data", "-o", "model"])
    assert all(getattr(arguments, f"set_{setting.name}") is None for setting in TASKS["text"].settings)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "--task", "forecast", "--season-length", "7", "data", "-o", "model"],
        ["train", "--season-length", "7", "data", "-o", "model", "--task", "forecast"],
        ["train", "data", "--task=forecast", "-o", "model", "--season-length=7"],
    ],
)
def test_the_task_may_be_anywhere_among_the_arguments(arguments):
    parsed = parse(arguments)
    assert (parsed.task, parsed.data, parsed.output, parsed.set_season_length) == ("forecast", "data", "model", 7)


def test_what_follows_two_dashes_names_no_task():
    parsed = parse(["train", "-o", "model", "--", "--task"])
    assert (parsed.task, parsed.data) == ("text", "--task")
