"""`laptime dashboard`: the store as pages, on disk or served on this machine."""

import signal
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from laptime.cli.options import ANY_PATH, FOLDER, round_option, store_option
from laptime.cli.terminal import say
from laptime.dashboard.export import Exporter
from laptime.dashboard.serve import Refresher, Server
from laptime.errors import FINE, UserError
from laptime.results.ingest import Ask

PORT = 8765


@click.group("dashboard", epilog="Example: laptime dashboard export --help")
def command() -> None:
    """The results of a store as pages: tables, charts and single runs."""


@command.command("export", epilog="Example: laptime dashboard export --help")
@click.argument("folder", type=FOLDER)
@store_option
def export(*, folder: Path, store_file: Path) -> int:
    """Write the site of a store into FOLDER; index.html in it opens from disk, without network and server.

    A folder that holds an earlier export is brought up to date.
    """
    done = Exporter(store_file, folder).write(written(store_file))
    say(f"{folder / 'index.html'}: {done.results} results, {done.files} files, {done.size / 2**20:.1f} MiB.")
    return FINE


@command.command("serve", epilog="Example: laptime dashboard serve --help")
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=ANY_PATH)
@store_option
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: one that is free.")
@click.option("--every", type=click.FloatRange(0.2, 3600), default=2.0, show_default=True, metavar="SECONDS",
              help="Look for changes this often.")
@round_option(None, "Round to judge what is at PATH by.  [default: as the logs or their path say]")
@click.option("--label", default="", metavar="TEXT", help="Tells several sets of one's own runs apart.")
def serve(*, paths: tuple[Path, ...], store_file: Path, port: int, every: float, round_name: str | None,
          label: str) -> int:
    """Serve the pages of a store on this machine only, until Ctrl-C.

    Results at each PATH (a folder of runs, a submission) are put into the store first, and again whenever their logs
    have grown: a running benchmark can be watched. Open pages follow by themselves; what is not there yet is awaited.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="laptime-dashboard-")))
        server = stack.enter_context(Server(home / "site", port))
        refresher = Refresher(Exporter(store_file, home / "site"), paths, written, _tell, home / "running",
                              Ask(round_name, label=label), every)
        refresher.first()
        refresher.start()
        stack.callback(refresher.stop)
        say(f"{server.address} shows {store_file}; Ctrl-C ends.")
        try:
            server.serve_forever(poll_interval=0.2)
        except KeyboardInterrupt:
            say("Ended.")
    return FINE


def written(store: Path) -> str:
    """The day on which a store was last written."""
    try:
        return datetime.fromtimestamp(store.stat().st_mtime).date().isoformat()
    except OSError:
        raise UserError(f"expected a store of results, found nothing at {store}",
                        hint="Make one: laptime ingest PATH... --store FILE.") from None


def _tell(text: str) -> None:
    click.echo(f"laptime: {' '.join(text.split())}", err=True)
