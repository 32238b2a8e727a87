"""Saving a run while it goes on, and going on with one that was saved, as each of its processes does it.

When to save is decided by the first process's clock and told to the others beside the exchange that trains; everything
but a copy of the state in memory happens in the background.
"""

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from laptime.config import Json
from laptime.errors import DataProblem, InvalidConfiguration
from laptime.events import Checkpoint, Evaluated, Event, Plan, Progress
from laptime.harness.clock import Stopwatch
from laptime.harness.generations import Generation, Position, complete, whole
from laptime.training.distributed.checkpoint import Saver, size_bytes
from laptime.training.distributed.world import World
from laptime.training.state import State

SEEN_FILE = "seen"
SEEN_SECONDS = 20.0  # for a network folder to show other nodes a new file
LEFT_BYTES = 64 << 20  # of the disk, for logs and whatever else is written there
GREATER = 1.1  # than the tensors in it is a checkpoint, at most, in all but tiny models


def whole_state(event: Event, plan: Plan) -> bool:
    """Whether a session that is restored at this event goes on as if it had not stopped; equal on every rank.

    At the end of training it would go on beyond it, and just before an evaluation it would not know its last loss.
    """
    match event:
        case Progress(at):
            per_epoch = plan.sizes.samples_per_epoch
            ended = per_epoch is not None and at.samples % per_epoch == 0
            return not plan.exhausted(at) and not (ended and plan.due_at_end(at.epoch))
        case Evaluated(at) | Checkpoint(at):
            return not plan.exhausted(at) and not plan.exhausted_after(at.epoch)
        case _:
            return False


class Saves:
    """The saved states of one run. `every_s`: seconds between two, 0: none are made; `step`: where it goes on.

    `folder`: seen by all processes; `warn` is told, on the first one, what could not be saved and why.
    """

    def __init__(self, world: World, folder: Path, identity: Mapping[str, Json], *, every_s: float, step: int | None,
                 timeout_s: float, warn: Callable[[str], None]) -> None:
        self.folder, self._world, self._identity, self._every_s, self._warn = folder, world, identity, every_s, warn
        self._saver = Saver(world, folder, complete=self._completed, timeout_s=timeout_s)
        self._watch, self._last_s, self._step = Stopwatch(), 0.0, -1 if step is None else step
        self._complete: Callable[[Path], None] | None = None  # of what is being written
        self._bytes = 0
        self.costs: dict[str, float] = {"times": 0, "seconds": 0.0, "background_seconds": 0.0, "bytes": 0}
        self.begin = None if step is None else self._begin(step)

    def load(self, state: State) -> None:
        """The state where the run goes on, in place. Raises DataProblem."""
        assert self.begin is not None
        self._saver.load(state, self.begin.path)
        self._watch, self._last_s = Stopwatch(), 0.0

    def due(self, event: Event, plan: Plan, state: Callable[[], State]) -> bool:
        """Whether to save now; equal on every rank. Called at every event."""
        if not self._every_s or not whole_state(event, plan) or event.at.step <= self._step:
            return False
        return self._saver.agree(self._world.first and self._wanted(state))

    def save(self, state: State, position: Position, *, evaluations: Sequence[Json], log: Path) -> None:
        """Copy everything; the rest happens in the background. `log`: read by the first process only."""
        self._said()
        watch, self._step = Stopwatch(), position.at.step
        if self._world.first:
            lines, so_far = log.read_bytes(), list(evaluations)

            def ended(path: Path) -> None:
                complete(path, position, self._identity, evaluations=so_far, log=lines)
                self.costs["background_seconds"] += watch.seconds()

            self._complete = ended
        self._saver.save(state, position.at.step)
        self.costs["times"] += 1
        self.costs["seconds"] += watch.seconds()

    def finish(self) -> None:
        """Wait until what is being saved is on disk."""
        self._said()

    def check_shared(self) -> None:
        """Raises InvalidConfiguration on every process when one does not see the folder that the first one sees."""
        if self._world.first:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / SEEN_FILE).touch()
        self._saver.agree(True)  # it is there now
        if not self._saver.everywhere(self._seen()):
            raise InvalidConfiguration(
                f"expected that all nodes see the folder of saved states, found some that do not see {self.folder}",
                hint="Choose a shared --out, or run without --save-every.")

    def _seen(self) -> bool:
        watch = Stopwatch()
        while not (self.folder / SEEN_FILE).exists():
            if watch.seconds() > SEEN_SECONDS:
                return False
            time.sleep(0.1)
        return True

    def _begin(self, step: int) -> Generation:
        found = next((one for one in whole(self.folder) if one.step == step), None)
        if not self._saver.everywhere(found is not None) or found is None:
            raise DataProblem(f"expected the saved state step-{step} in {self.folder}, found that not all nodes see it",
                              hint="Choose a shared --out, or start the run anew with --fresh.")
        self._bytes = found.size
        return found

    def _wanted(self, state: Callable[[], State]) -> bool:
        """It is time, the one before is on disk, and there is room for another one."""
        if self._saver.busy:
            return False
        self._said()
        now = self._watch.seconds()
        if now - self._last_s < self._every_s:
            return False
        self._last_s = now
        return self._room(state)

    def _room(self, state: Callable[[], State]) -> bool:
        self._bytes = self._bytes or int(size_bytes(state(), self._world) * GREATER)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            self._warn(f"this run was not saved: cannot write to {self.folder}: {error.strerror or error}")
            return False
        if free < self._bytes + LEFT_BYTES:
            self._warn(f"this run was not saved: expected {(self._bytes + LEFT_BYTES) / 1e6:,.0f} MB of room under "
                       f"{self.folder}, found {free / 1e6:,.0f} MB; it goes on")
            return False
        self.costs["bytes"] = self._bytes
        return True

    def _said(self) -> None:
        """Wait for what is being written; where that failed, say so and go on."""
        try:
            self._saver.finish()
        except DataProblem as problem:
            if self._world.first:
                self._warn(f"this run was not saved: {problem}; it goes on")

    def _completed(self, path: Path) -> None:
        assert self._complete is not None
        self._complete(path)
