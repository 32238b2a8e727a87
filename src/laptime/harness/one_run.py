"""One run, from the first log line to the last: the timing rules are true by the order of the calls below.

The data door opens after run_start has been written; warm-up sees synthetic batches only and leaves no trace; the run
stops at the first evaluation that meets every target; a run that is given up leaves a log that parses.
"""

import gc
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, cast

from laptime.benchmark import Context, Session
from laptime.config import Json, RunRequest, to_json
from laptime.errors import FINE, RunFailed
from laptime.events import At, Checkpoint, Epoch, Evaluated, Evaluating, Event, Note, Plan, Progress
from laptime.harness import caches
from laptime.harness.clock import Clock, Stopwatch
from laptime.harness.generations import Interruption, Offline, Position, history, remember, summary
from laptime.harness.journal import Journal, Sink
from laptime.harness.preflight import Preflight, check_hyperparameters, make_plan, refuse_illegal
from laptime.harness.progress import BEGUN, Begun, Emit, Meter, RunEvent
from laptime.harness.saving import Saves
from laptime.log.record import RESUMED_KEY, ROUND_KEY
from laptime.training.data.store import Store
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds
from laptime.training.state import State

Status = Literal["converged", "not converged", "interrupted", "failed"]
MINUTE_MS = 60_000


class Stopped(BaseException):
    """A signal asks the run to end now."""

    def __init__(self, signal_name: str) -> None:
        super().__init__(signal_name)
        self.signal_name = signal_name


@dataclass(frozen=True)
class Job:
    """One run of a set, as handed to a worker process."""

    request: RunRequest
    index: int
    seed: int
    log: Path
    record: Path
    scratch: Path
    clears_caches: bool = True  # one process does it on each node
    saves: Path | None = None  # folder of the run's saved states; None: it has none
    resume_step: int | None = None  # of the one that it goes on from
    interrupted_ms: int = 0  # when it was interrupted


@dataclass
class Account:
    """What a run leaves for its record beside the log: seconds and peak memory of each phase, evaluations, caches."""

    phases: dict[str, dict[str, Json]] = field(default_factory=dict)
    evaluations: list[dict[str, Json]] = field(default_factory=list)
    facts: dict[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `seconds`: between run_start and run_stop, None when the clock never ran.

    `exit_code`: what went wrong, as the program tells it; 0 when nothing did or nobody knows. `consequence`: it ended
    so because of what another process did, which explains more.
    """

    status: Status
    seconds: float | None
    message: str
    exit_code: int = FINE
    consequence: bool = False


class Run:
    """The state of one run while it goes on. Call `execute` once."""

    def __init__(self, job: Job, flight: Preflight, world: World, store: Store, *, sink: Sink, emit: Emit,
                 saves: Saves | None = None) -> None:
        self.job, self.flight, self.world, self.store, self.emit = job, flight, world, store, emit
        self.saves, self._sink, self._begin = saves, sink, saves.begin if saves else None
        self.clock = Clock()
        self.journal = Journal(sink, flight.round, flight.rules, self.clock)
        self.account = Account()
        self._started_ms: int | None = None
        self._closing = False
        self._result: Outcome | None = None
        self._at = At()
        self._checkpoints: list[tuple[Checkpoint, int]] = []  # to be evaluated after training, and when they were saved
        if saves is not None:
            self.account.facts["saves"] = saves.costs  # as they grow
        if self._begin is not None:
            self.journal.mute()

    def execute(self) -> Outcome:
        try:
            self._announce()
            self._clear_caches()
            session, plan = self._initialised()
            return self._train(session, plan)
        except Stopped as stop:
            return self._given_up("interrupted", f"stopped by {stop.signal_name}")
        except Exception as error:
            outcome = self._given_up("failed", "")
            if outcome.status == "failed":
                raise
            return replace(outcome, message=f"after its end: {type(error).__name__}: {error}")

    def _announce(self) -> None:
        """Who runs what: the lines before anything happens."""
        request, rules, manifest = self.job.request, self.flight.rules, self.store.metadata
        identity = {"submission_org": request.submitter, "submission_platform": request.system,
                    "submission_division": request.division, "submission_status": request.status,
                    "submission_benchmark": rules.log_name, "submission_poc_name": request.submitter,
                    "submission_entry": request.system}
        for moment, value in identity.items():
            self.journal.point(moment, value)
        self.journal.line(ROUND_KEY, self.flight.round.name,
                          {"data": manifest.name, "data_hash": manifest.content_hash, "generator": manifest.generator})

    def _clear_caches(self) -> None:
        with self._phase("caches"):
            clears = self.job.clears_caches and self._begin is None
            report = caches.clear(self.store.paths()) if clears else None
            self.world.barrier()
        if report is not None:
            self.account.facts["caches"] = {"method": report.method, "resident": report.resident}
            self.journal.point("cache_clear", report.cleared)

    def _initialised(self) -> tuple[Session, Plan]:
        """Everything the initialisation allowance covers, and the start of the clock."""
        if self.flight.round.clock == "from_build":
            self._start_clock(None)
        started = self.journal.start("init_start")
        plan = self._planned()
        with self._phase("build"):
            session = self.flight.benchmark.build(self.flight.config, self._context(plan))
        self._declare(session, plan)
        with self._phase("warm_up"):
            self._warm_up(session)
        if self.flight.round.clock == "from_data":
            self._start_clock(self._end_of_initialisation(started))
        return session, plan

    def _planned(self) -> Plan:
        sizes = self.flight.benchmark.sizes(self.flight.config, self.store.metadata)
        plan = make_plan(self.flight.rules, self.flight.config, sizes)
        self.journal.follow(plan)
        return plan

    def _context(self, plan: Plan) -> Context:
        return Context(self.world, self.store, Seeds(self.job.seed), plan, self.job.scratch)

    def _declare(self, session: Session, plan: Plan) -> None:
        """Log what runs, read from live objects; refuse what the closed division forbids."""
        request = self.job.request
        sizes = {"train_samples": plan.sizes.train_samples, "eval_samples": plan.sizes.eval_samples}
        values: dict[str, Json] = {name: value for name, value in sizes.items() if value is not None}
        values |= session.hyperparameters
        self.account.facts["hyperparameters"] = dict(values)
        violations = check_hyperparameters(self.flight.rules, values, request.division)
        self.account.facts["violations"] = violations
        if request.division == "closed" and request.seed is None:
            refuse_illegal(violations, self.flight.rules)
        self.journal.values(values)
        self.journal.point("seed", self.job.seed)
        if self.flight.rules.tensors:
            for tensor in session.initialised:
                self.journal.point("weights_initialization", None, {"tensor": tensor})

    def _warm_up(self, session: Session) -> None:
        """Warm up and put everything back, bit for bit."""
        before = session.state().aside()
        session.warm_up()
        after = session.state()
        missing = sorted(_entries(after) ^ before.names)
        if missing:
            raise RunFailed(f"warm-up created or removed state that build() must make: {', '.join(missing[:3])}")
        after.restore(before)
        changed = after.difference(before)
        if changed:
            raise RunFailed(f"warm-up left a trace in {len(changed)} entries of the state, first '{changed[0]}'")

    def _end_of_initialisation(self, started_ms: int) -> int | None:
        """Time stamp that the clock must start with where initialisation outlasted its allowance, else None."""
        allowance = self.flight.round.init_minutes.get(self.job.request.division)
        latest = None if allowance is None else started_ms + int(allowance * MINUTE_MS) - 1
        return latest if latest is not None and self.clock.now_ms() > latest else None

    def _start_clock(self, at_ms: int | None) -> None:
        self.world.synchronise()
        self.world.barrier()
        gc.collect()
        gc.freeze()
        self.journal.stop("init_stop", at_ms=at_ms)
        self._started_ms = self.journal.start("run_start", at_ms=at_ms)

    def _train(self, session: Session, plan: Plan) -> Outcome:
        self.store.unlock()
        self.journal.point("train_loop", None)
        meter = Meter(self.flight.rules, plan, self.emit, self._gone_on(session))
        events = session.train()
        try:
            with self._phase("train"):
                for event in events:
                    self._check_goes_on(event)
                    if self._follow(event, meter):
                        break
                    if self.saves is not None and self.saves.due(event, plan, session.state):
                        self._save(self.saves, session.state(), event.at)
            if self._checkpoints:
                with self._phase("evaluate"):
                    self._evaluate_checkpoints(session, meter)
            outcome = self._result or self._missed()
            if self.saves is not None:
                self.saves.finish()
            return outcome
        finally:
            events.close()  # type: ignore[attr-defined]

    def _gone_on(self, session: Session) -> Begun:
        """Where the run begins: at its start, or where it was saved, with the log and the clock that it had."""
        if self.saves is None or self._begin is None:
            return BEGUN
        self.saves.load(session.state())
        position = self._begin.position
        self.clock.not_before(max(position.saved_ms, self.job.interrupted_ms))
        self.journal.recall(position.journal, self._sink)
        self._at, self._started_ms = position.at, position.started_ms
        self.account.evaluations = [dict(one) for one in self._begin.evaluations if isinstance(one, Mapping)]
        scratch = self.job.scratch
        self._checkpoints = [(Checkpoint(one.at, scratch / one.name), one.stamp_ms) for one in position.offline]
        self._tell_interruptions(self.saves, position)
        return Begun((self.clock.now_ms() - self._started_ms) / 1000, self._at.samples)

    def _check_goes_on(self, event: Event) -> None:
        """A session with a loop of its own may not know how to go on. Raises RunFailed."""
        if self._begin is not None and event.at.step < self._begin.step:
            raise RunFailed(f"expected a session that goes on from step {self._begin.step}, found one that starts anew",
                            hint="Use --fresh, and run this benchmark without --save-every.")

    def _tell_interruptions(self, saves: Saves, position: Position) -> None:
        """What the log says of a run that was interrupted; its clock never stopped."""
        now_ms = self.clock.now_ms()
        last = Interruption(position.at.step, position.saved_ms, self.job.interrupted_ms, now_ms)
        past = [*history(saves.folder), last]
        self.journal.line(RESUMED_KEY, len(past), {"samples": position.at.samples, **summary(past)}, at_ms=now_ms)
        self.account.facts["interruptions"] = to_json(tuple(past))
        if self.world.first:
            remember(saves.folder, past)

    def _save(self, saves: Saves, state: State, at: At) -> None:
        assert self._started_ms is not None
        offline = tuple(Offline(one.at, one.path.name, stamp) for one, stamp in self._checkpoints)
        position = Position(self.job.seed, self._started_ms, self.clock.now_ms(), at, self.journal.memory(), offline)
        saves.save(state, position, evaluations=list(self.account.evaluations), log=self.job.log)

    def _evaluate_checkpoints(self, session: Session, meter: Meter) -> None:
        """Off the clock, in order, up to the first that meets the target: its stamp ends the run."""
        for checkpoint, stamp in self._checkpoints:
            self._follow(Evaluating(checkpoint.at), meter)
            metrics = session.evaluate(checkpoint.path)
            self._at = checkpoint.at
            self.journal.event(Evaluated(checkpoint.at, metrics))
            if self._evaluated(checkpoint.at, metrics, meter, saved_ms=stamp):
                return

    def _follow(self, event: Event, meter: Meter) -> bool:
        """Log and show one event; True when it ends the run."""
        self._at = event.at
        self.journal.event(event)
        match event:
            case Progress(at):
                meter.tell("progress", at)
            case Epoch(at):
                meter.tell("epoch", at)
            case Evaluating():
                self._evaluation = Stopwatch()
            case Evaluated(at, metrics):
                return self._evaluated(at, metrics, meter)
            case Checkpoint():
                self._checkpoints.append((event, self.journal.saved(event)))
            case Note():
                pass
        return False

    def _evaluated(self, at: At, metrics: Mapping[str, float], meter: Meter, saved_ms: int | None = None) -> bool:
        reached = self.world.agree(self._at_target(metrics))
        self.account.evaluations.append({"epoch": at.epoch, "samples": at.samples, "metrics": dict(metrics),
                                         "seconds": self._evaluation.seconds()})
        ends = reached and self.job.request.stop_at_target
        if ends:
            self._stop_clock("converged", "", saved_ms)
        meter.tell("evaluated", at, metrics)
        return ends

    def _stop_clock(self, status: Status, message: str, at_ms: int | None = None) -> Outcome:
        self._closing = True
        assert self._started_ms is not None
        if at_ms is not None:
            self.journal.won(self._at, (at_ms - self._started_ms) / 1000)
        stamp = self.journal.finish(self._at, converged=status == "converged", at_ms=at_ms)
        self._result = Outcome(status, (stamp - self._started_ms) / 1000, message)
        return self._result

    def _missed(self) -> Outcome:
        """The end of a run that used up its epochs."""
        if not self.job.request.stop_at_target:
            return self._stop_clock("not converged", f"went on to epoch {self._at.epoch}, as asked; {self._first()}")
        return self._stop_clock("not converged", f"the target was not reached by epoch {self._at.epoch}, where the run "
                                                 f"gives up")

    def _at_target(self, metrics: Mapping[str, float]) -> bool:
        return all(interval.contains(metrics[name]) for name, interval in self.flight.rules.target.items())

    def _first(self) -> str:
        """Where a run that goes on to its limit first met the target, in words."""
        met = [one for one in self.account.evaluations if self._at_target(cast(Mapping[str, float], one["metrics"]))]
        return f"first at the target in epoch {met[0]['epoch']}" if met else "never at the target"

    def _given_up(self, status: Status, message: str) -> Outcome:
        """End the log of a run that cannot go on; a second failure (disk full) must not hide the first.

        After run_stop nothing changes the outcome any more, and a log that is being closed is not closed again.
        """
        if self._result is not None:
            return self._result
        if self._started_ms is None or self._closing:
            return Outcome(status, None, message)
        try:
            return self._stop_clock(status, message)
        except RunFailed:
            return Outcome(status, None, message)

    def _phase(self, name: str) -> "Phase":
        return Phase(self, name)


class Phase:
    """Times a part of a run and notes the peak memory at its end."""

    def __init__(self, run: Run, name: str) -> None:
        self._run, self._name = run, name

    def __enter__(self) -> None:
        self._watch = Stopwatch()
        self._run.emit(RunEvent("phase", self._name))

    def __exit__(self, *_: object) -> None:
        peaks = self._run.world.peak_memory_bytes()
        self._run.account.phases[self._name] = {"seconds": self._watch.seconds(), "peak_memory_bytes": dict(peaks)}


def _entries(state: State) -> set[str]:
    return set(state.tensors) | set(state.generators) | set(state.counters)


