"""Options that several commands share, with the same words everywhere."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from laptime.config import SuitePath

F = TypeVar("F", bound=Callable[..., object])

FOLDER = click.Path(path_type=Path, file_okay=False)
FILE = click.Path(path_type=Path, dir_okay=False)
ANY_PATH = click.Path(path_type=Path)


def round_option(default: str | None = "mini", text: str = "Round whose rules hold.") -> Callable[[F], F]:
    return click.option("--round", "round_name", metavar="ROUND", default=default, show_default=default is not None,
                        help=text)


def suite_option(command: F) -> F:
    return click.option("--suite", type=FOLDER, callback=_suite, help="Folder with benchmarks of your own.")(command)


def data_option(command: F) -> F:
    return click.option("--data", type=FOLDER, default=Path("data"), show_default=True,
                        help="Where prepared data sets lie.")(command)


def level_option(command: F) -> F:
    return click.option("--level", type=click.Choice(["rules", "official"]), default="rules", show_default=True,
                        help="Judge by the text of the rules, or as the official checker does.")(command)


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Answer in JSON.")(command)


def store_option(command: F) -> F:
    return click.option("--store", "store_file", type=FILE, default=Path("results.sqlite"), show_default=True,
                        help="The file that holds the results.")(command)


def _suite(ctx: click.Context, parameter: click.Parameter, value: Path | None) -> SuitePath:
    if value is not None and not value.is_dir():
        raise click.BadParameter(f"expected a folder with benchmarks, found nothing at {value}", ctx, parameter)
    return SuitePath(value)
