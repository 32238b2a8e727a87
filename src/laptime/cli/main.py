"""The program `laptime`: commands found lazily; the one place where what goes wrong becomes a line and an exit code.

No command module is imported before it is called, so the first screen costs no more than click.
"""

import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import click

from laptime.config import nearest
from laptime.errors import FINE, INTERRUPTED, RUN_FAILED, WRONG_USE, UnknownName, UserError

BROKEN_PIPE = 141  # as shells report SIGPIPE: whoever read the answer has seen enough
LONGEST_LINE = 1000  # characters of a message
EXTRAS = {"torch": "train", "numpy": "train", "simplejpeg": "train", "matplotlib": "plot", "transformers": "dev",
          "pyarrow": "parquet"}

# In the order of the work: name -> (module, what it does). `laptime --help` shows this table and imports none of it.
COMMANDS = {
    "list": ("list", "The suite: benchmarks, targets, rounds, status."),
    "show": ("show", "A benchmark and its rules in a round."),
    "prepare": ("prepare", "Make or reformat the data of a benchmark, untimed."),
    "run": ("run", "Train to the target as often as a round asks for."),
    "launch": ("launch", "The same on many nodes: for torchrun, Slurm or Kubernetes."),
    "check": ("check", "Judge logs by the rules of their round."),
    "score": ("score", "The score of a folder of runs, and how it came about."),
    "rcp": ("rcp", "Reference convergence points."),
    "runs": ("runs", "How many runs a score needs, from data."),
    "review": ("review", "A reviewer's report of a submission, and its objections."),
    "ingest": ("ingest", "Put rounds, submissions and runs into one store of results."),
    "results": ("results", "Tables of the results in a store, filtered."),
    "query": ("query", "Ask a store of results, in SQL or by a question's name."),
    "plot": ("plot", "Figures of a folder of runs, or of a store of results."),
    "dashboard": ("dashboard", "The results of a store as pages, on disk or served on this machine."),
    "plan": ("plan", "What a benchmark will need on so many accelerators, and how long."),
    "bench": ("bench", "Measure overhead, start, training steps and data."),
    "doctor": ("doctor", "What this machine can run, and why not."),
    "explain": ("explain", "What a rule or a log key means."),
}


class Program(click.Group):
    """The group of all commands. An unknown name offers the nearest one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"laptime.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def resolve_command(self, ctx: click.Context,
                        args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            raise UnknownName(f"unknown command '{name}'.{nearest(name, COMMANDS)}", hint="See `laptime --help`.")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands, in the order of the work"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.command("laptime", cls=Program, context_settings={"help_option_names": ["-h", "--help"]},
               epilog="Example: laptime run resnet --round smoke")
@click.version_option(package_name="laptime", prog_name="laptime")
def program() -> None:
    """Time-to-train benchmarks: run them, judge the logs, score the runs.

    An independent implementation of the MLPerf Training benchmark rules.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; never raises."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with program.make_context("laptime", words) as context:  # program.main() would hide broken pipes
            code = program.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as end:  # after --help and the like
        return end.exit_code
    except (Exception, KeyboardInterrupt) as error:
        return _explained(error)
    return code if isinstance(code, int) else FINE


def _explained(error: BaseException) -> int:
    """Say on stderr what went wrong; returns the exit code."""
    match error:
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.format_message(), err=True)
            code = WRONG_USE
        case UserError():
            code = _tell(str(error), error.hint, error.exit_code)
        case click.ClickException():
            code = _tell(error.format_message(), _help_hint(error), WRONG_USE)
        case ModuleNotFoundError(name=str() as module) if (package := module.partition(".")[0]) in EXTRAS:
            code = _tell(f"this needs the package {package}, which is not installed",
                         f"pip install 'laptime[{EXTRAS[package]}]'", WRONG_USE)
        case KeyboardInterrupt() | click.Abort():
            code = _tell("interrupted", "", INTERRUPTED)
        case BrokenPipeError():
            code = _quietly_closed()
        case _:
            code = _bug(error)
    return code


def _tell(message: str, hint: str, code: int) -> int:
    """One line, and one more where there is something to do about it."""
    print(f"laptime: {_line(message)}", file=sys.stderr)
    if hint:
        print(f"  {_line(hint)}", file=sys.stderr)
    return code


def _line(text: str) -> str:
    """`text` on one line of bearable length, without what a terminal would obey: it may quote anything."""
    line = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in " ".join(text.split()))
    return line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + "..."


def _help_hint(error: click.ClickException) -> str:
    return f"See `{error.ctx.command_path} --help`." if isinstance(error, click.UsageError) and error.ctx else ""


def _quietly_closed() -> int:
    """The reader went away: no complaint, not even when the interpreter flushes at exit."""
    with suppress(OSError, ValueError):  # no real file behind it: nothing to flush either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def _bug(error: BaseException) -> int:
    import tempfile  # only here: with traceback it costs a tenth of the first screen
    import traceback

    summary = f"{type(error).__name__}: {error}".splitlines()[0]
    try:
        with tempfile.NamedTemporaryFile("w", prefix="laptime-", suffix=".txt", delete=False) as file:
            traceback.print_exception(error, file=file)
        where = f"the full report is in {Path(file.name)}"
    except OSError as problem:
        where = f"its report could not be written ({problem.strerror})"
    return _tell(f"this is a bug in laptime: {summary}; {where}", "", RUN_FAILED)
