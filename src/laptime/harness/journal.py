"""Events become log records: numbering, intervals, positions and the round's vocabulary, all in one place.

The harness writes through a `Journal`; a benchmark never sees it. Moments carry our names; the round's vocabulary turns
them into keys, and a moment that the round does not know is not written.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from laptime.config import Json
from laptime.events import At, Checkpoint, Epoch, Evaluated, Evaluating, Event, Note, Plan
from laptime.harness.clock import Clock
from laptime.log.record import EventType, Record
from laptime.rules.model import BenchmarkRules, Round

PACKAGE = Path(__file__).parents[2]
SIZES = ("train_samples", "eval_samples")  # moments that a round may know under keys of its own


class Sink(Protocol):
    """Where records go."""

    def write(self, record: Record) -> None: ...


class Nowhere:
    """The sink of ranks that write no log."""

    def write(self, record: Record) -> None:
        """Drop it."""


@dataclass(frozen=True)
class Memory:
    """What a journal knows beside the log, for one that goes on with it: of each at most one, by the fields' names."""

    block: tuple[At, ...] = ()
    blocks: int = 0
    epoch: tuple[At, ...] = ()
    paused: tuple[At, ...] = ()
    paused_ms: int = 0


class Journal:
    """Writes the log of one run. `plan` becomes known after the sizes are."""

    def __init__(self, sink: Sink, round_: Round, rules: BenchmarkRules, clock: Clock) -> None:
        self._sink, self._round, self._rules, self._clock = sink, round_, rules, clock
        self._plan: Plan | None = None
        self._block: At | None = None  # where the open block began
        self._blocks = 0  # begun so far
        self._epoch: At | None = None  # where the open epoch began
        self._hyperparameters: dict[str, Json] = {}  # as logged: positions may depend on them
        self._evaluating: At | None = None
        self._paused: tuple[At, int] | None = None  # where and when the last evaluation inside an epoch ended

    def point(self, moment: str, value: Json, metadata: Mapping[str, Json] | None = None) -> int:
        return self._write(moment, value, "POINT_IN_TIME", metadata)

    def start(self, moment: str, metadata: Mapping[str, Json] | None = None, *, at_ms: int | None = None) -> int:
        return self._write(moment, None, "INTERVAL_START", metadata, at_ms)

    def stop(self, moment: str, metadata: Mapping[str, Json] | None = None, *, at_ms: int | None = None) -> int:
        return self._write(moment, None, "INTERVAL_END", metadata, at_ms)

    def line(self, key: str, value: Json, metadata: Mapping[str, Json] | None = None, *,
             at_ms: int | None = None) -> None:
        """A point under its literal key, past the vocabulary."""
        self._put(key, value, "POINT_IN_TIME", metadata, at_ms)

    def values(self, values: Mapping[str, Json]) -> None:
        """Every value the closed division asks for, in the round's order, under the round's keys (open runs too)."""
        written: set[str] = set()
        self._hyperparameters = dict(values)
        for rule in self._rules.keys:
            if rule.key not in written and rule.name in values and rule.applies("closed", "both", values):
                self.line(rule.key, values[rule.name])
                written.add(rule.key)
        for moment in SIZES:
            if moment in values and self._round.vocabulary.get(moment) not in written:
                self.point(moment, values[moment])

    def follow(self, plan: Plan) -> None:
        """The plan that block lengths derive from."""
        self._plan = plan

    @property
    def evaluating(self) -> bool:
        """An evaluation was announced and has not ended."""
        return self._evaluating is not None

    def memory(self) -> Memory:
        """What is needed, beside this log and the plan, to go on from here."""
        paused, stamp = self._paused or (None, 0)
        return Memory(_some(self._block), self._blocks, _some(self._epoch), _some(paused), stamp)

    def mute(self) -> None:
        """Write nothing until `recall`: the log has these lines."""
        self._sink = Nowhere()

    def recall(self, memory: Memory, sink: Sink) -> None:
        """Go on with a log in `sink` where another journal stopped."""
        self._sink, self._blocks, self._evaluating = sink, memory.blocks, None
        self._block, self._epoch = _one(memory.block), _one(memory.epoch)
        paused = _one(memory.paused)
        self._paused = None if paused is None else (paused, memory.paused_ms)

    def event(self, event: Event) -> None:
        """The lines that an event stands for."""
        self._resume(event.at)
        match event:
            case Epoch(at):
                self._close_epoch()
                self._open_block(at)
                self._epoch = at
                self.start("epoch_start", self._epoch_metadata(at))
            case Evaluating(at):
                self._close_block(at, whole_epoch=self._whole_epochs())
                self._evaluating = at
                self.start("eval_start", self._position(at))
            case Evaluated(at, metrics):
                self._metrics(at, metrics)
                stamp = self.stop("eval_stop", self._position(at))
                self._evaluating = None
                self._paused = None if self._epoch is None else (at, stamp)
            case Note(at, values):
                self._note(at, values)
            case _:
                pass

    def saved(self, checkpoint: Checkpoint) -> int:
        """A checkpoint was written: a block ends. Returns the stamp, which is the run's end if it meets the target."""
        at = checkpoint.at
        stamp = self.point("save_model", {"iteration": self._number(at.epoch)})
        self._close_block(at, whole_epoch=self._whole_epochs())
        self._paused = None if self._epoch is None else (at, self._clock.now_ms())  # not before the end of the block
        return stamp

    def won(self, at: At, seconds: float) -> None:
        """The first checkpoint that meets the target was written `seconds` after the clock started."""
        self.point("eval_result", None, {"iteration": self._number(at.epoch), "timestamp": seconds})

    def finish(self, at: At, *, converged: bool, at_ms: int | None = None) -> int:
        """Close what is open and end the run, now or (where checkpoints were evaluated afterwards) at `at_ms`."""
        self._resume(at)
        if self._evaluating is not None:
            self.stop("eval_stop", self._position(self._evaluating))
            self._evaluating = None
        self._close_block(at, whole_epoch=True)
        stamp = self.stop("run_stop", {"status": "success" if converged else "aborted"}, at_ms=at_ms)
        self.point("run_final", None)
        return stamp

    def _note(self, at: At, values: Mapping[str, float]) -> None:
        """What the rules of the benchmark have a key for on a line of its own, with its position; the rest together."""
        keys = {rule.name: rule.key for rule in self._rules.keys if not rule.common}
        for name, value in values.items():
            if name in keys:
                self.line(keys[name], value, self._position(at))
        rest = {name: value for name, value in values.items() if name not in keys}
        if rest:
            self.point("tracked_stats", rest)

    def _whole_epochs(self) -> bool:
        return self._plan is not None and self._plan.evaluations.unit == "epochs"

    def _metrics(self, at: At, metrics: Mapping[str, float]) -> None:
        for name in self._rules.target:
            self.point("eval_accuracy", metrics[name], {**self._position(at), **self._named(name)})
        for name, interval in self._rules.target.items():
            self.point("eval_target", interval.high if interval.low is None else interval.low, self._named(name))

    def _named(self, metric: str) -> dict[str, Json]:
        """Metadata that tells which metric a line holds, in rounds with a line for each."""
        return {self._rules.metric_key: metric} if self._rules.metric_key else {}

    def _open_block(self, at: At) -> None:
        self._paused = None  # an evaluation at the very end of an epoch: the block begins with the next one
        if self._block is None:
            self._block, self._blocks = at, self._blocks + 1
            self.start("block_start", self._block_metadata(at, length=True))

    def _resume(self, at: At) -> None:
        """Training went on inside an epoch after an evaluation: a block began where and when that ended."""
        if self._paused is not None and at.samples > self._paused[0].samples and self._block is None:
            self._block, stamp = self._paused
            self._blocks += 1
            self.start("block_start", self._block_metadata(self._block, length=True), at_ms=stamp)
            self._paused = None

    def _close_epoch(self) -> None:
        if self._epoch is not None:
            self.stop("epoch_stop", self._epoch_metadata(self._epoch))
            self._epoch = None

    def _close_block(self, at: At, *, whole_epoch: bool) -> None:
        if whole_epoch:
            self._close_epoch()
        if self._block is not None:
            self.stop("block_stop", self._block_metadata(self._block, length=False))
            self._block = None

    def _number(self, epoch: int) -> int:
        return epoch - 1 + self._round.first_epoch

    def _position(self, at: At) -> dict[str, Json]:
        return {self._rules.position.key: self._place(at)}

    def _place(self, at: At) -> int | float:
        """Where training is, in the unit of the rules."""
        names = {**self._hyperparameters, "samples": at.samples, "epoch": at.epoch, "step": at.step}
        if self._plan is not None:
            names |= {"samples_per_epoch": self._plan.sizes.samples_per_epoch,
                      "global_batch_size": self._plan.global_batch_size}
        value = self._rules.position.value.value({name: v for name, v in names.items() if v is not None})
        assert isinstance(value, int | float)
        return value

    def _epoch_metadata(self, at: At) -> dict[str, Json]:
        return {"epoch_num": self._place(at) if self._rules.position.everywhere else self._number(at.epoch)}

    def _block_metadata(self, at: At, *, length: bool) -> dict[str, Json]:
        if self._rules.position.key != "epoch_num":
            return self._position(at)
        if self._rules.position.everywhere:
            return {"first_epoch_num": self._place(at), **({"epoch_count": self._block_length(at)} if length else {})}
        metadata: dict[str, Json] = {"first_epoch_num": self._number(at.epoch)}
        if self._plan is not None and self._plan.evaluations.unit == "samples":  # no whole epochs: blocks are counted
            metadata["first_epoch_num"] = self._number(self._blocks)
        if length:
            metadata["epoch_count"] = self._block_epochs(at)
        return metadata

    def _block_length(self, at: At) -> int | float:
        """From here to the batch that meets the next evaluation point in samples, in the unit of the rules."""
        plan = self._plan
        end = plan.evaluations.next_after(at.samples) if plan and plan.evaluations.unit == "samples" else None
        if plan is None or end is None:
            return 0
        batches = -(-(end - at.samples) // plan.global_batch_size)
        return self._place(replace(at, samples=at.samples + batches * plan.global_batch_size)) - self._place(at)

    def _block_epochs(self, at: At) -> int:
        """Epochs from here to the next evaluation, or to the limit where that comes first."""
        if self._plan is None or self._plan.evaluations.unit != "epochs":
            return 1
        end = self._plan.evaluations.next_after(at.epoch - 1)
        if self._plan.limit.unit == "epochs":
            end = min(end or int(self._plan.limit.value), int(self._plan.limit.value))
        return max(1, (end or at.epoch) - at.epoch + 1)

    def _write(self, moment: str, value: Json, kind: EventType, metadata: Mapping[str, Json] | None,
               at_ms: int | None = None) -> int:
        key = self._round.vocabulary.get(moment)
        stamp = self._clock.now_ms() if at_ms is None else at_ms
        if key is not None:
            self._put(key, value, kind, metadata, stamp)
        return stamp

    def _put(self, key: str, value: Json, kind: EventType, metadata: Mapping[str, Json] | None,
             at_ms: int | None) -> None:
        stamp = self._clock.now_ms() if at_ms is None else at_ms
        self._sink.write(Record(key, value, stamp, kind, {**_call_site(), **(metadata or {})}))


def _some(at: At | None) -> tuple[At, ...]:
    return () if at is None else (at,)


def _one(found: tuple[At, ...]) -> At | None:
    return found[0] if found else None


def _call_site() -> dict[str, Json]:
    """File and line of the harness call behind a record: equal in all runs, which is what the seed rule compares."""
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
    path = Path(frame.f_code.co_filename)
    name = path.relative_to(PACKAGE) if path.is_relative_to(PACKAGE) else Path(path.name)
    return {"file": name.as_posix(), "lineno": frame.f_lineno}
