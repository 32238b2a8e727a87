"""`laptime prepare`: the data of a benchmark, before any clock runs."""

from pathlib import Path

import click

from laptime.cli.options import FOLDER, data_option, round_option, suite_option
from laptime.cli.terminal import say
from laptime.config import RunRequest, SuitePath


@click.command("prepare", epilog="Example: laptime prepare resnet --round smoke")
@click.argument("name")
@round_option(text="Round whose data set is made.")
@data_option
@click.option("--source", type=FOLDER, help="Folder that the published data set was downloaded to.")
@click.option("--force", is_flag=True, help="Make the data again even if it is there.")
@suite_option
def command(*, name: str, round_name: str, data: Path, source: Path | None, force: bool, suite: SuitePath) -> None:
    """Make the data of benchmark NAME, or verify what is there.

    Rounds at laptop scale generate theirs; official rounds reformat a download. Prints the folder of the data.
    """
    request = RunRequest(benchmark=name, round=round_name, data=data, suite=suite)
    from laptime.cli.watch import watcher
    from laptime.harness.preparation import prepare

    with watcher() as reporter:
        folder = prepare(request, reporter, source=source, force=force)
    say(str(folder))
