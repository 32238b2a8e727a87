"""Data before the clock: generated or reformatted once, verified, untimed."""

from pathlib import Path
from typing import Protocol

from laptime.config import RunRequest
from laptime.errors import DataProblem
from laptime.harness.preflight import Preflight, resolve
from laptime.training.data.store import MANIFEST, Manifest, problems

FULL_VERIFICATION_BYTES = 2 << 30  # below this, checksums are compared before every set; above, sizes only
DATA_SEED = 20181212  # of generated data: fixed (day of the first round's results), so that all machines have one set


class Listener(Protocol):
    """Who is told what happens."""

    def message(self, text: str) -> None: ...


def data_folder(flight: Preflight) -> Path:
    """Where the prepared data of this benchmark and preset lies."""
    return flight.request.data / flight.rules.name / flight.rules.preset


def prepare(request: RunRequest, listener: Listener, *, source: Path | None = None, force: bool = False) -> Path:
    """The verified data folder of a request; makes the data where it is missing (or `force`).

    Data of rounds that generate theirs are made on the spot; published data need `source`, the folder they were
    downloaded to. Raises DataProblem.
    """
    flight = resolve(request)
    root = data_folder(flight)
    if force or not (root / MANIFEST).is_file() or _outdated(flight, root):
        _make(flight, root, source, listener)
    manifest = Manifest.load(root)
    _verify(root, manifest)
    flight.benchmark.sizes(flight.config, manifest)
    return root


def _outdated(flight: Preflight, root: Path) -> bool:
    """Whether generated data is of another configuration: it is simply made again. Published data never is."""
    if flight.rules.data != "generated":
        return False
    try:
        flight.benchmark.sizes(flight.config, Manifest.load(root))
    except DataProblem:
        return True
    return False


def _make(flight: Preflight, root: Path, source: Path | None, listener: Listener) -> None:
    generated = flight.rules.data == "generated"
    if not generated and source is None:
        raise DataProblem(f"no prepared {flight.rules.dataset} at {root}",
                          hint=f"Download it, then: laptime prepare {flight.rules.name} --round {flight.round.name} "
                               f"--source FOLDER (see the benchmark's README).")
    verb = "making" if source is None else "reformatting"
    listener.message(f"{verb} the data in {root}: {flight.rules.dataset} (not timed)")
    try:
        root.mkdir(parents=True, exist_ok=True)
        if source is not None:
            flight.benchmark.prepare(flight.config, source, root)
        else:
            flight.benchmark.generate(flight.config, root, DATA_SEED)
    except OSError as error:
        raise DataProblem(f"cannot make the data in {root}: {error.strerror} ({error.filename})",
                          hint="Choose another folder with --data.") from None


def _verify(root: Path, manifest: Manifest) -> None:
    total = sum(entry.size for entry in manifest.files.values())
    found = list(problems(root, manifest, full=total <= FULL_VERIFICATION_BYTES))
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise DataProblem(f"{found[0]}{more}", hint="Make the data again with `laptime prepare --force`.")
