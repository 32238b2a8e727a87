"""The program: help, unknown names, exit codes, one line for whatever goes wrong."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from laptime.cli import main as program
from laptime.cli.reference import every_command
from laptime.errors import FINDINGS, INTERRUPTED, RUN_FAILED, WRONG_USE, IllegalRun, RunFailed, UserError

COMMANDS = {" ".join(words): command for words, command in every_command()}


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Make `laptime list` raise `error`."""
    def raises() -> None:
        raise error
    monkeypatch.setattr(program.program, "get_command", lambda context, name: click.Command("list", callback=raises))


def test_help_lists_every_command_in_the_order_of_the_work(run):
    answer = run("--help")
    assert answer.code == 0
    listed = re.findall(r"^  (\w+)  +\S", answer.out.split("order of the work")[1], re.M)
    assert listed == list(program.COMMANDS)


def test_no_arguments_is_wrong_use_and_shows_the_help(run):
    answer = run()
    assert (answer.code, answer.out) == (WRONG_USE, "")
    assert "Commands" in answer.err


@pytest.mark.parametrize("name", program.COMMANDS)
def test_table_of_commands_matches_the_modules(name):
    command = program.program.get_command(click.Context(program.program), name)
    assert command is not None
    assert command.name == name


@pytest.mark.parametrize("title", COMMANDS)
def test_help_of_a_command_ends_with_an_example_of_itself(title):
    example = COMMANDS[title].epilog or ""
    assert example.startswith(f"Example: {title}")


@pytest.mark.parametrize("title", COMMANDS)
def test_every_option_says_what_it_does(title):
    assert all(option.help for option in COMMANDS[title].params if isinstance(option, click.Option))


@pytest.mark.parametrize(("arguments", "message"), [
    (["lst"], "unknown command 'lst'. Did you mean 'list'?"),
    (["show", "resnt"], "unknown benchmark 'resnt'. Did you mean 'resnet'?"),
    (["show", "resnet", "--round", "v4.9"], "unknown round 'v4.9'. Did you mean 'v4.1'?"),
    (["show", "resnet", "--diff", "mimi"], "unknown preset 'mimi'"),
    (["show", "resnet", "--roudn", "v4.0"], "--round"),
    (["explain", "opt_nam"], "unknown rule or key 'opt_nam'. Did you mean 'opt_name'?"),
    (["run", "resnet", "--nproc", "0"], "0 is not in the range"),
    (["run", "resnet", "--division", "clsed"], "closed"),
    (["run"], "Missing argument 'NAME'"),
    (["list", "--suite", "/nowhere/at/all"], "expected a folder with benchmarks"),
    (["check", "/nowhere/at/all"], "found nothing at /nowhere/at/all"),
    (["score", "/nowhere/at/all"], "found nothing at /nowhere/at/all"),
    (["plot", "/nowhere/at/all"], "found nothing at /nowhere/at/all"),
    (["rcp", "shw", "resnet"], "shw"),
], ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_wrong_use_is_one_line_and_a_hint(run, arguments, message):
    answer = run(*arguments)
    assert (answer.code, answer.out) == (WRONG_USE, "")
    first, *hints = answer.err.splitlines()
    assert first.startswith("laptime: ")
    assert message in first
    assert len(hints) <= 1


@pytest.mark.parametrize(("error", "code"), [(UserError("a problem"), WRONG_USE), (IllegalRun("a problem"), FINDINGS),
                                             (RunFailed("a problem"), RUN_FAILED), (click.UsageError("a problem"), WRONG_USE),
                                             (click.FileError("a", "problem"), WRONG_USE)])
def test_known_error_is_one_line_with_its_exit_code(run, monkeypatch, error, code):
    failing(monkeypatch, error)
    answer = run("list")
    assert answer.code == code
    first, *hints = answer.err.splitlines()
    assert "problem" in first
    assert len(hints) <= 1


def test_hint_stands_on_a_line_of_its_own(run, monkeypatch):
    failing(monkeypatch, UserError("a problem\nof two lines", hint="do this"))
    assert run("list").err == "laptime: a problem of two lines\n  do this\n"


def test_bug_is_one_line_that_names_the_full_report(run, monkeypatch):
    failing(monkeypatch, ZeroDivisionError("by zero"))
    answer = run("list")
    assert answer.code == RUN_FAILED
    assert len(answer.err.splitlines()) == 1
    assert "this is a bug" in answer.err
    report = Path(re.search(r"full report is in (\S+)", answer.err)[1])  # type: ignore[index]
    assert "ZeroDivisionError: by zero" in report.read_text()
    report.unlink()


def test_missing_extra_is_one_line_and_what_to_install(run, monkeypatch):
    failing(monkeypatch, ModuleNotFoundError("No module named 'torch'", name="torch.distributed"))
    answer = run("list")
    assert answer.code == WRONG_USE
    assert answer.err == "laptime: this needs the package torch, which is not installed\n  pip install 'laptime[train]'\n"


def test_missing_module_of_our_own_is_a_bug(run, monkeypatch):
    failing(monkeypatch, ModuleNotFoundError("No module named 'laptime.x'", name="laptime.x"))
    assert run("list").code == RUN_FAILED


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_interrupt_has_the_exit_code_of_the_shell(run, monkeypatch, error):
    failing(monkeypatch, error)
    answer = run("list")
    assert (answer.code, answer.err) == (INTERRUPTED, "laptime: interrupted\n")


def test_broken_pipe_is_quiet():
    code = "import sys; from laptime.cli.main import main; sys.exit(main(['show', 'resnet', '--json']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=60)
    assert errors == b""
    assert process.returncode in (0, program.BROKEN_PIPE)  # 0: all was written before the reader left


def test_version_is_that_of_the_package(run):
    assert run("--version").out.startswith("laptime, version ")


@pytest.mark.skipif(not hasattr(signal, "SIGINT") or os.name != "posix", reason="needs POSIX signals")
def test_output_in_a_pipe_has_no_colour():
    done = subprocess.run([sys.executable, "-m", "laptime", "show", "resnet"], capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout
