"""The full preset's events without its hours: real rules, real live hyperparameters (meta device), played training."""

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import torch

from laptime.benchmark import Context
from laptime.config import RunRequest
from laptime.events import At, Checkpoint, Epoch, Evaluated, Evaluating, Note, Plan
from laptime.harness.clock import Clock
from laptime.harness.one_run import Job, Run
from laptime.harness.preflight import Preflight, resolve
from laptime.log.write import LogWriter
from laptime.suite import folders
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.world import World
from laptime.training.state import State


class Played:
    """Plays the plan: accuracy grows by a hundredth per evaluation, from `failing` on, and passes the target at the one
    after `fails`."""

    def __init__(self, real, plan: Plan, fails: int, passes: float, failing: float = 0.5):
        self.plan, self.fails, self.passes, self.failing = plan, fails, passes, failing
        self.hyperparameters, self.initialised = real.hyperparameters, real.initialised

    def state(self):
        return State()

    def warm_up(self):
        """Nothing to warm up."""

    def train(self):
        if self.plan.limit.unit == "samples":
            yield from self._by_samples()
            return
        at, done = At(), 0
        for epoch in range(1, int(self.plan.limit.value) + 1):
            yield Epoch(at := at.in_epoch(epoch))
            at = At(at.samples + (self.plan.sizes.samples_per_epoch or 1), epoch, at.step + 1)
            if self.plan.due_at_end(epoch):
                done += 1
                yield Evaluating(at)
                yield Evaluated(at, {"eval_accuracy": self.passes if done > self.fails else self.failing + done / 100})

    def _by_samples(self):
        """From one evaluation point to the next, at the first batch boundary that reaches it."""
        at, done, batch = At(), 0, self.plan.global_batch_size
        yield Epoch(at)
        while not self.plan.exhausted(at):
            due = self.plan.evaluations.next_after(at.samples)
            step = -(-due // batch)
            at, done = At(step * batch, 1, step), done + 1
            yield Evaluating(at)
            yield Evaluated(at, {"eval_accuracy": self.passes if done > self.fails else self.failing + done / 100})


class PlayedOffline(Played):
    """The same, but judged from checkpoints after training; every epoch has the lines of `notes`."""

    def __init__(self, *arguments, notes):
        super().__init__(*arguments)
        self.notes, self.saved = notes, {}

    def train(self):
        for event in super().train():
            if isinstance(event, Evaluated):
                path = Path(str(len(self.saved)))
                self.saved[path] = event.metrics
                yield Checkpoint(event.at, path)
            elif not isinstance(event, Evaluating):
                yield event
                if self.notes:
                    yield Note(event.at, self.notes)

    def evaluate(self, checkpoint):
        return self.saved[checkpoint]


def undrawn(tensor, *_, **__):
    """Instead of 25 million random numbers for weights that nothing reads."""
    return tensor


class TickingClock(Clock):
    """A second passes between any two lines."""

    def now_ms(self):
        self.ticks = getattr(self, "ticks", 0) + 1
        return 1_700_000_000_000 + 1000 * self.ticks


def played_log(path, name, round_name, overrides=(), *, fails=8, passes=0.7601, failing=0.5, seed=1234567,
               division="closed", notes=None, facts=None):
    """Write the log of a played run of benchmark `name`; returns the outcome. `notes`: of every epoch, where models are
    judged after training; `facts`: of the data set, where it is not that of the full preset."""
    request = RunRequest(name, round=round_name, division=division, overrides=tuple(overrides), device="meta", system="box",
                         out=path.parent)
    flight = resolve(request)
    facts = facts or json.loads((folders()[name] / "golden.json").read_text())["full_manifest"]
    store = Store(path.parent, Manifest(name, "published", "0", facts, {}))
    world = World(0, 1, torch.device("meta"))
    real = flight.benchmark

    def build(config, ctx: Context):
        with torch.device("meta"), patch.object(torch.nn.init, "trunc_normal_", undrawn):
            played = real.build(config, ctx), ctx.plan, fails, passes, failing
            return PlayedOffline(*played, notes=notes) if flight.rules.evaluate_offline else Played(*played)

    flight = Preflight(request, flight.round, flight.rules, replace(real, build=build), flight.config)
    job = Job(request, 0, seed, path, path.with_suffix(".json"), path.parent)
    with suppress(FileNotFoundError):
        path.unlink()
    with LogWriter(path, flight.round.dialect, flight.rules.log_name) as writer:
        run = Run(job, flight, world, store, sink=writer, emit=lambda event: None)
        run.clock = run.journal._clock = TickingClock()
        return run.execute()
