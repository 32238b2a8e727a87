"""The folder a set of runs writes: the layout of a submission, with a record beside each log."""

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from importlib import metadata
from itertools import count
from pathlib import Path

import orjson

from laptime.config import RunRequest, to_json
from laptime.errors import InvalidConfiguration, UserError
from laptime.harness.aftermath import close_log
from laptime.harness.generations import Generation, clear, identity, refuse_foreign, whole
from laptime.harness.lock import alone_in
from laptime.harness.preflight import Preflight
from laptime.harness.record import save, write_whole
from laptime.harness.scripts import write_descriptions
from laptime.layout import SubmissionPaths
from laptime.log.read import read_log
from laptime.system.machine import describe
from laptime.system.submission import system_name
from laptime.training.distributed.world import device_name, threads_for

SET_FILE = "set.json"
OUTPUT_OF_MEMBER = "output_{}_member_{}.txt"


@dataclass
class SetFolder:
    """`results`: the folder of the logs; `total`: how many runs make the set whole."""

    results: Path
    total: int
    request: RunRequest
    seeds: list[int]
    notes: list[str] = field(default_factory=list)  # what the user should know about the files beside the logs
    flight: Preflight | None = field(default=None, repr=False)
    _set: dict[str, object] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    @contextlib.contextmanager
    def open(cls, flight: Preflight) -> Iterator["SetFolder"]:
        """Make or reopen the folder of a request, for one set at a time.

        Raises UserErrors: not writable, in use by another set, or holding runs of another configuration.
        """
        request = _completed(flight)
        assert request.out is not None
        paths = SubmissionPaths(request.out, request.submitter)
        results = paths.results(request.system, flight.rules.log_name)
        folder = cls(results, request.runs or flight.rules.runs, request, [], flight=flight)
        with contextlib.ExitStack() as held:
            with _writable(results):
                results.mkdir(parents=True, exist_ok=True)
                held.enter_context(alone_in(results))
                folder._agree(_identity(flight))
                for index in set(range(folder.total)) - set(folder.missing()):
                    clear(folder.saved(index))  # of a set that was killed when this run had ended
                folder.notes = write_descriptions(paths, flight, request)
            yield folder

    def agree_on_data(self, content_hash: str) -> None:
        """All runs of a set read the same data. Raises InvalidConfiguration."""
        with self._lock:
            self._agree({**self._set, "data": content_hash})

    def missing(self) -> list[int]:
        """Indices of the runs that are still to be made."""
        return [index for index in range(self.total) if not self.log(index).exists()]

    def log(self, index: int) -> Path:
        return self.results / f"result_{index}.txt"

    def record(self, index: int) -> Path:
        return self.results / f"record_{index}.json"

    def output(self, index: int) -> Path:
        """What the worker and its libraries printed."""
        return self.results / f"output_{index}.txt"

    def output_of(self, index: int, member: int) -> Path:
        """What the workers of another member printed, as far as it was sent here."""
        return self.results / OUTPUT_OF_MEMBER.format(index, member)

    def saved(self, index: int) -> Path:
        """The states of a run that was or may be interrupted; gone when it is finished."""
        return self.results / f"saved_{index}"

    def place_of(self, saves: Path | None) -> str:
        """A folder of saved states as other members find it, below their own `out`; "" for none."""
        assert self.request.out is not None
        return "" if saves is None else saves.relative_to(self.request.out.absolute()).as_posix()

    def going_on(self, content_hash: str) -> dict[int, Generation]:
        """The missing runs that were saved, with what they go on from; other remains of unfinished runs are removed.

        Raises InvalidConfiguration where a run was saved by another program or configuration, or on other data.
        """
        assert self.flight is not None
        mine = identity(replace(self.flight, request=self.request), content_hash)
        found: dict[int, Generation] = {}
        for index in self.missing():
            there, folder = whole(self.saved(index)), self.saved(index)
            if there and not self.request.fresh:
                refuse_foreign(there[-1], mine, f"run {index + 1}")
                found[index] = there[-1]
            elif folder.exists():
                self.notes.append(f"run {index + 1} starts anew: " + ("as asked" if there else
                                  "nothing whole was saved"))
            clear(folder, there if index in found else ())
        return found

    def log_in_progress(self, index: int, begin: Generation | None = None) -> Path:
        """Where the worker writes; becomes `log` when the run is finished. One that goes on has its lines already."""
        path = self.results / f"running_{index}.log"
        self.keep(index, finished=False)  # left over by a set that was killed
        if begin is not None:
            write_whole(path, begin.log())
        return path

    def interrupted_ms(self, index: int) -> int:
        """When the last line of the unfinished attempts at a run was written; 0 where there are none."""
        logs = (read_log(path).records for path in self.results.glob(f"unfinished_{index}_*.log"))
        return max((int(record.time_ms) for records in logs for record in records), default=0)

    def keep(self, index: int, *, finished: bool) -> Path | None:
        """Move the log of a run to its place; an unfinished one is kept under another name and is no result."""
        running = self.results / f"running_{index}.log"
        if not running.exists():
            return None
        if finished:
            log = running.rename(self.log(index))
            clear(self.saved(index))
            return log
        if self.flight is not None:
            close_log(running, self.flight.round, self.flight.rules)
        names = (self.results / f"unfinished_{index}_{number}.log" for number in count())
        return running.rename(next(path for path in names if not path.exists()))

    def reached(self) -> int:
        """How many of the finished runs reached the target, as their records say."""
        finished = (index for index in range(self.total) if self.log(index).exists())
        return sum(1 for index in finished if self._status(index) == "converged")

    def _status(self, index: int) -> object:
        if not self.record(index).exists():  # taken away by hand: nothing vouches for the run
            return None
        outcome = _loaded(self.record(index), f"{self.log(index).name}, so that the run is made again").get("outcome")
        return outcome.get("status") if isinstance(outcome, dict) else None

    def fresh_seed(self, draw: Callable[[], int]) -> int:
        """A seed that no run of this set had."""
        with self._lock:
            seed = next(seed for seed in iter(draw, None) if seed not in self.seeds)
            self.seeds.append(seed)
            self._save_set(self._set)
        return seed

    def known_seed(self, seed: int) -> int:
        """The seed of a run that goes on."""
        with self._lock:
            if seed not in self.seeds:
                self.seeds.append(seed)
                self._save_set(self._set)
        return seed

    def _agree(self, mine: dict[str, object]) -> None:
        """All runs of a set have one identity; a folder that holds another one is refused. Seeds are taken over."""
        path = self.results / SET_FILE
        theirs = _loaded(path, "that folder, or choose another --out") if path.exists() else {}
        seeds = theirs.pop("seeds", [])
        self.seeds = [int(seed) for seed in seeds] if isinstance(seeds, list) else []
        changed = [name for name in mine if name in theirs and mine[name] != theirs[name]]
        if changed:
            name = changed[0]
            raise InvalidConfiguration(f"{self.results} holds runs of another {name}: {_short(theirs[name])}, "
                                       f"asked for {_short(mine[name])}",
                                       hint="Choose another --out, or remove that folder.")
        self._set = {**theirs, **mine}
        self._save_set(self._set)

    def _save_set(self, content: dict[str, object]) -> None:
        save(self.results / SET_FILE, to_json({**content, "seeds": self.seeds}))


def _completed(flight: Preflight) -> RunRequest:
    """The request with its defaults filled in: output folder and system name."""
    request = flight.request
    nodes = f"_{request.nodes}nodes" if request.nodes > 1 else ""
    system = request.system or system_name(describe(), processes=request.nproc) + nodes
    return replace(request, out=out_of(flight), system=system)


def out_of(flight: Preflight) -> Path:
    """The folder that a request writes to."""
    return flight.request.out or Path("runs") / flight.round.name


def _identity(flight: Preflight) -> dict[str, object]:
    """What all runs of a set have in common, as far as it is known before the data are there."""
    request = flight.request
    return {"round": flight.round.name, "division": request.division, "processes": request.processes,
            "threads": threads_for(request.threads, request.nproc), "device": device_name(request.device),
            "seed": request.seed, "stop_at_target": request.stop_at_target, "configuration": to_json(flight.config),
            "laptime version": metadata.version("laptime")}


@contextlib.contextmanager
def _writable(results: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"cannot write to {results}: {error.strerror or error}",
                        hint="Choose another folder with --out.") from None


def _loaded(path: Path, remedy: str) -> dict[str, object]:
    try:
        return dict(orjson.loads(path.read_bytes()))
    except (OSError, orjson.JSONDecodeError, TypeError, ValueError):
        raise UserError(f"{path} is damaged", hint=f"Remove {remedy}.") from None


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"one with digest {hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"
