"""Several members make one set: the first one leads and writes the log, the others start their processes of each run.

A run ends everywhere when it ends badly anywhere, with the outcome that explains most. Alone, all this does nothing.
"""

import contextlib
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path

from laptime.config import Json, from_json, to_json
from laptime.errors import FINE, INTERRUPTED, DataProblem, RunFailed, UserError
from laptime.harness.launcher import BAD, PATIENCE_SECONDS, Launcher, explained
from laptime.harness.nodes import LOST_SECONDS, NAP_SECONDS, Line, NodeLost, Word, connected, listening
from laptime.harness.one_run import Job, Outcome
from laptime.harness.place import Meeting, Place, free_port
from laptime.harness.preflight import Preflight
from laptime.harness.preparation import Listener as Told
from laptime.harness.preparation import data_folder, prepare
from laptime.harness.progress import RunEvent
from laptime.harness.set_folder import OUTPUT_OF_MEMBER, out_of
from laptime.harness.worker import save_job
from laptime.training.data.store import Manifest

OUTPUT_BYTES = 256 << 10  # of what a member's workers printed, its end, that is sent to the first one
# of a request, what may differ between members or concerns the log only
PER_MEMBER = ("out", "data", "suite", "command", "variables", "status", "submitter", "system", "fresh")


class Company:
    """The other members, as the first one sees them."""

    def __init__(self, place: Place, lines: dict[int, Line]) -> None:
        self._place, self._lines = place, lines
        self._ended: dict[int, Outcome] = {}
        self._printed: dict[int, str] = {}
        self._running = False

    def prepare(self, content_hash: str) -> None:
        """Let every node have the data that this one has: first one member of each, then the others look.

        Raises DataProblem where they differ, NodeLost.
        """
        for turn in ("make", "look"):
            for line in self._lines.values():
                line.say("prepare", turn=turn, hash=content_hash)
            for line in self._lines.values():
                answer = line.word()
                if answer is not None and answer["kind"] != "ready":
                    raise DataProblem(f"{line.peer}: {answer.get('text')}")

    def begin(self, index: int, seed: int, saves: str = "", step: int | None = None) -> Meeting:
        """Tell all members that a run begins; where its processes meet.

        `saves`: folder of its saved states below each member's `out`, "" for none; `step`: of the one it goes on from.
        """
        address = self._place.address
        meeting = Meeting(address, free_port(address) if self._place.size > 1 else 0)
        self._ended, self._printed, self._running = {}, {}, True
        for line in self._lines.values():
            line.say("run", index=index, seed=seed, address=meeting.address, port=meeting.port, saves=saves, step=step)
        return meeting

    def trouble(self) -> Outcome | None:
        """How the run ended badly elsewhere; None while all is well."""
        for member in self._lines:
            self._hear(member, patience=0.0)
        bad = [outcome for outcome in self._ended.values() if outcome.status in BAD]
        return explained(bad) if bad else None

    def finish(self, outcome: Outcome) -> Outcome:
        """The run has ended here so: wait until it has ended everywhere; the outcome that explains most."""
        if outcome.status in BAD:
            self.stop()
        for member in self._lines:
            self._hear(member, patience=PATIENCE_SECONDS + LOST_SECONDS)
            if member not in self._ended:
                self._ended[member] = Outcome("failed", None, f"{self._lines[member].peer} did not end its processes",
                                              consequence=True)
        self._running = False
        return explained([outcome, *self._ended.values()])

    def printed(self) -> dict[int, str]:
        """What the workers of each member printed during the last run."""
        return self._printed

    def stop(self) -> None:
        """Ask all members to end the run."""
        for line in self._lines.values():
            line.say("stop")

    def end(self, code: int, message: str) -> None:
        """Tell all members that the set has ended."""
        for line in self._lines.values():
            line.say("end", code=code, text=message)

    def _hear(self, member: int, patience: float) -> None:
        if member in self._ended:
            return
        line = self._lines[member]
        try:
            word = line.word(patience)
        except NodeLost as lost:
            self._ended[member] = Outcome("failed", None, str(lost))
            return
        if word is None:
            return
        if word["kind"] == "ended":
            outcome = from_json(Outcome, word["outcome"])
            self._ended[member] = replace(outcome, message=f"{line.peer}: {outcome.message}")
            self._printed[member] = str(word["printed"])
        elif word["kind"] == "leaving":
            self._ended[member] = Outcome("interrupted", None, f"{line.peer} was {word['text']}")


@contextlib.contextmanager
def company(place: Place, flight: Preflight) -> Iterator[Company]:
    """The other members, once all are there. They are told how the block ended."""
    with listening(place, identity(flight)) as lines:
        others = Company(place, lines)
        try:
            yield others
        except UserError as error:
            others.end(error.exit_code, str(error))
            raise
        except BaseException as error:
            others.end(INTERRUPTED, f"the first member ended: {type(error).__name__}")
            raise


def identity(flight: Preflight) -> dict[str, Json]:
    """What all members of a job have in common."""
    request = {name: value for name, value in asdict(flight.request).items() if name not in PER_MEMBER}
    return {"command": repr(sorted((name, str(to_json(value))) for name, value in request.items())),
            "laptime_version": metadata.version("laptime"), "torch_version": metadata.version("torch")}


class Follower:
    """Another member than the first: does what it is told until the set ends, or until it `stopped` (by a signal)."""

    def __init__(self, place: Place, flight: Preflight, listener: Told) -> None:
        self._place, self._flight, self._listener = place, flight, listener
        self._launcher = Launcher(place)
        self._ordered = False
        self.joined = False
        self.stopped: signal.Signals | None = None

    def follow(self, line: Line) -> tuple[int, str]:
        """Exit code and message of the set. Raises NodeLost when the first member is gone."""
        while True:
            word = line.word(NAP_SECONDS)
            if word is None:
                if self.stopped is not None and not self._ordered:
                    line.say("leaving", text=f"stopped by {self.stopped.name}")
                    self._ordered = True  # the first member now ends the set
                continue
            match word["kind"]:
                case "prepare":
                    self._prepare(line, word)
                case "run":
                    self._run(line, word)
                case "end":
                    code = word["code"]
                    return (code if isinstance(code, int) else FINE), str(word["text"])

    def _prepare(self, line: Line, word: Word) -> None:
        if (word["turn"] == "make") == (self._place.local_rank > 0):
            line.say("ready")
            return
        root = data_folder(self._flight)
        try:
            mine = Manifest.load(prepare(self._flight.request, self._listener)).content_hash
        except UserError as error:
            line.say("refused", text=str(error))
            return
        same = mine == word["hash"]
        line.say("ready" if same else "refused",
                 text=f"expected data with the hash {word['hash']} in {root}, found {mine}")

    def _run(self, line: Line, word: Word) -> None:
        index, seed, port = (int(str(word[name])) for name in ("index", "seed", "port"))
        self._listener.message(f"run {index + 1}, seed {seed}: here rank {', '.join(map(str, self._place.ranks))}")
        self._ordered = self.stopped is not None
        with tempfile.TemporaryDirectory(prefix="laptime-", ignore_cleanup_errors=True) as scratch:
            folder = Path(scratch)
            job = Job(self._flight.request, index, seed, folder / "log", folder / "record", folder / "run",
                      saves=self._saves(word), resume_step=_number(word["step"]))
            save_job(job, folder / "job.json")
            output = folder / "output.txt"
            outcome = self._launcher.run(folder / "job.json", job, output, Silent(),
                                         meeting=Meeting(str(word["address"]), port),
                                         trouble=lambda: self._trouble(line))
            printed = output.read_bytes()[-OUTPUT_BYTES:].decode(errors="replace")
        if self.stopped is not None:
            outcome = Outcome("interrupted", None, f"stopped by {self.stopped.name}")
        sent = OUTPUT_OF_MEMBER.format(index, self._place.member)
        outcome = replace(outcome, message=outcome.message.replace(str(output), f"{sent} beside the log"))
        line.say("ended", outcome=to_json(outcome), printed=printed)

    def _saves(self, word: Word) -> Path | None:
        """The folder of saved states that the first member names."""
        return out_of(self._flight).absolute() / str(word["saves"]) if word["saves"] else None

    def _trouble(self, line: Line) -> Outcome | None:
        """Whether the first member asks to stop, or is gone."""
        try:
            word = line.word(0.0)
        except NodeLost as lost:
            return Outcome("failed", None, str(lost))
        if self.stopped is not None:
            return Outcome("interrupted", None, f"stopped by {self.stopped.name}")
        self._ordered = self._ordered or (word is not None and word["kind"] == "stop")
        return Outcome("interrupted", None, "stopped by the first member") if self._ordered else None


def _number(value: Json) -> int | None:
    return value if isinstance(value, int) else None


class Silent:
    """Only the first member shows what goes on."""

    def event(self, index: int, event: RunEvent) -> None:
        """Drop it."""


def followed(place: Place, flight: Preflight, listener: Told, follower: Follower) -> tuple[int, str]:
    """Join the set of the first member, and stay until it ends. Raises UserErrors."""
    listener.message(f"member {place.member + 1} of {place.members}, led from {place.address}:{place.port}")
    with connected(place, identity(flight)) as line:
        follower.joined = True
        try:
            return follower.follow(line)
        except NodeLost as lost:
            raise RunFailed(f"{lost}; its folder holds the runs that are finished") from None
