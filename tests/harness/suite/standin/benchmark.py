"""A benchmark that plays events instead of training: whatever a harness may meet, in milliseconds."""

import os
import signal
import time
from pathlib import Path

import torch

from laptime.benchmark import Benchmark
from laptime.events import At, Epoch, Evaluated, Evaluating, Note, Progress, Sizes
from laptime.training.data.store import Manifest, entries
from laptime.training.state import Count, State

from .config import PRESETS

SAMPLES = 16


class StandIn:
    """A session with one tensor of state."""

    def __init__(self, config, ctx):
        self.config, self.ctx = config, ctx
        self.weight, self.steps = torch.zeros(4), Count()
        self.samples, self.epoch, self.batches = Count(), Count(1), Count()
        self.extra = {}
        self.initialised = ["weight"]
        self.hyperparameters = {"global_batch_size": config.global_batch_size, "gradient_accumulation_steps": 1,
                                "opt_weight": config.opt_weight}
        if config.behaviour == "early data":
            ctx.store.data("numbers.bin")

    def state(self):
        return State({"weight": self.weight, **self.extra}, {}, {"steps": self.steps, "samples": self.samples,
                                                                 "epoch": self.epoch, "batches": self.batches},
                     touched={"weight": lambda: torch.tensor([0, 2])} if self.config.behaviour == "trace" else {})

    def warm_up(self):
        self.weight += 1
        self.steps.value += 1
        if self.config.behaviour == "lazy state":
            self.extra["velocity"] = torch.zeros(1)

    def train(self):
        assert self.ctx.store.data("numbers.bin").read_bytes() == bytes(range(SAMPLES))
        at = At() if self.config.behaviour == "starts anew" else At(self.samples.value, self.epoch.value, self.steps.value)
        for epoch in range(at.epoch, self.config.limit_epochs + 1):
            seen = self.batches.value
            if not seen or at == At():
                yield Epoch(at := at.in_epoch(epoch))
            for _ in range(seen, SAMPLES // self.config.global_batch_size):
                at = self._step(at)
                yield Progress(at)
            self.epoch.value, self.batches.value = epoch + 1, 0
            time.sleep(self.config.pause)
            self._misbehave(epoch)
            yield Evaluating(at)
            yield Note(at, {"train_loss": 1.0 / epoch, "weight": float(self.weight.sum())})
            good = self.config.reaches_at and epoch >= self.config.reaches_at
            yield Evaluated(at, {"eval_accuracy": 0.9 if good else 0.1})

    def evaluate(self, checkpoint: Path):
        raise NotImplementedError

    def _step(self, at):
        at = at.after(self.config.global_batch_size)
        self.weight.mul_(1.1).add_(torch.arange(4) / at.step)
        self.steps.value, self.samples.value = at.step, at.samples
        self.batches.value += 1
        return at

    def _happens(self, epoch):
        """In the second epoch, and with `once` never again."""
        if epoch != 2 or not self.config.once:
            return epoch == 2
        mark = self.ctx.store.data("numbers.bin").with_name("happened")
        before = mark.exists()
        mark.touch()
        return not before

    def _misbehave(self, epoch):
        if self.config.behaviour == "crash" and self._happens(epoch):
            raise RuntimeError("the network exploded")
        if self.config.behaviour == "killed" and self._happens(epoch):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.config.behaviour == "together" or self.config.behaviour.startswith("rank 1"):
            self._exchange(epoch)
        if epoch == 2 and self.config.behaviour == "one rank crashes":
            if self.ctx.world.rank == 1:
                raise RuntimeError("the network exploded")
            time.sleep(120)


    def _exchange(self, epoch):
        """A collective in each epoch, to which rank 1 does not come in the second."""
        if self.ctx.world.rank == 1 and self._happens(epoch):
            match self.config.behaviour:
                case "rank 1 is killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "rank 1 stops":
                    os.kill(os.getpid(), signal.SIGSTOP)
                case "rank 1 hangs":
                    time.sleep(600)
                case "rank 1 is deaf":
                    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
                    time.sleep(600)
                case "rank 1 raises":
                    raise RuntimeError("the network exploded")
        self.ctx.world.sum(torch.ones(1))


def generate(config, root, seed):
    (root / "numbers.bin").write_bytes(bytes(range(SAMPLES)))
    Manifest("numbers", "standin 1", "0123", {"train_samples": SAMPLES, "eval_samples": 4}, entries(root, ["numbers.bin"])).save(root)


def prepare(config, source, root):
    generate(config, root, 0)


def sizes(config, manifest):
    return Sizes(manifest.count("train_samples"), manifest.count("eval_samples"), SAMPLES, config.limit_epochs)


BENCHMARK = Benchmark(presets=PRESETS, prepare=prepare, generate=generate, sizes=sizes, build=StandIn)
