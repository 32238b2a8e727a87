"""From a configuration to a session that plays, trains and judges itself; every logged value is read from what acts.

An epoch is a generation: games by the newest network (in use), then training on the window; where self-play is
continuous, the games of a generation are those that were ready (`continuous.py`). Networks that are judged by
matches are saved as checkpoints and judged off the clock; prediction of professional moves is measured on it.
"""

from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

import torch

from laptime.benchmark import Context, Session
from laptime.config import Json
from laptime.events import At, Checkpoint, Epoch, Evaluated, Evaluating, Event, Note, Progress
from laptime.suite.minigo.config import MinigoConfig, validate
from laptime.suite.minigo.continuous import Continuous
from laptime.suite.minigo.examples import Micro, synthetic
from laptime.suite.minigo.learner import Learner, summary
from laptime.suite.minigo.model import DualNetwork, initialise, initialised_names
from laptime.suite.minigo.player import Player
from laptime.suite.minigo.predict import right_moves
from laptime.suite.minigo.published import MOVES, OPPONENT, START, load_games, load_moves, load_network, window_file
from laptime.suite.minigo.selfplay import SelfPlay
from laptime.training.loop import Batch
from laptime.training.speed import Precision, apply_tf32, resolve
from laptime.training.state import Saved, State, state_of

PROGRESS_EVERY = 8


def build(config: MinigoConfig, ctx: Context) -> Session:
    """A session on the starting network. Raises InvalidConfiguration for what `ctx.world` cannot run."""
    validate(config, ctx.world.size)
    return SelfTaught(config, ctx)


class SelfTaught:
    """A session without a data set (`benchmark.Session`)."""

    def __init__(self, config: MinigoConfig, ctx: Context) -> None:
        self.config, self.ctx, self.world = config, ctx, ctx.world
        self.speed = resolve(config.speed, ctx.world.device)
        apply_tf32(self.speed)
        self.model, self.champion = self._network(), self._network()
        self.learner = Learner(config, ctx.seeds, ctx.world, self.model, self.speed)
        self._own_champion = config.gate.games > 0 or config.data.stale_players
        continuous = config.data.selfplay == "continuous"
        self._continuous = Continuous(config, ctx.seeds, ctx.world) if continuous else None

    # --- the contract ---

    @property
    def hyperparameters(self) -> Mapping[str, Json]:
        learner = self.learner
        return {
            "global_batch_size": learner.loss.total,
            "gradient_accumulation_steps": learner.spread.accumulation,
            "learning_rates": list(learner.schedule.rates),
            "learning_rate_boundaries": list(learner.schedule.boundaries),
            "selfplay_games": self.config.data.games,
            "virtual_losses": self.config.search.leaves,
        }

    @property
    def initialised(self) -> list[str]:
        return initialised_names(self.model)

    def state(self) -> State:
        modules: dict[str, torch.nn.Module] = {"model": self.model}
        if self._own_champion:
            modules["champion"] = self.champion
        return state_of(modules=modules, optimizers={"optimizer": self.learner.optimizer},
                        counters={"steps": self.learner.steps})

    def warm_up(self) -> None:
        """Train on random positions and play one short game; the window stays as it is."""
        for batch in self.synthetic():
            self.learner.step(batch)
        if self._continuous:
            self._continuous.start().ready()  # it only waits from there on
        SelfPlay(self.config, self.learner.player(), lambda number: self.ctx.seeds.numpy("warm up", number)).play([0])

    def synthetic(self) -> Iterator[Batch[Micro]]:
        """Batches of the one shape that training has."""
        spread, to = self.learner.spread, self.learner.to
        for seed in range(2):
            micro = tuple(synthetic(self.config, spread.micro_batch_size, to, seed) for _ in range(spread.accumulation))
            yield Batch(micro, self.config.global_batch_size)

    def step(self, batch: Batch[Micro]) -> torch.Tensor:
        """One optimizer step; returns this rank's share of the loss, on the device."""
        return self.learner.step(batch)

    def batches(self, generation: int) -> Iterator[Batch[Micro]]:
        """Play the games of a generation, then what it trains on."""
        self.play(generation)
        yield from self.learner.batches(generation)

    def play(self, generation: int) -> dict[str, float]:
        """Play the games of a generation; the first also takes in the supplied ones. Returns what is told of them."""
        if self.config.data.start and not self.learner.window.generations:
            for number in range(self.config.data.window):
                self.learner.window.add(load_games(self.ctx.store.data(window_file(number))))
        if self._continuous:
            self._continuous.use(self._in_use, generation)
            games, told = self._continuous.collect(self.learner.window)
            return {**told, **summary(games)}
        games = self.learner.play(generation, self._in_use)
        return {"actual_selfplay_games_per_generation": self.config.data.games, **summary(games)}

    def train(self) -> Iterator[Event]:
        try:
            yield from self._generations()
        finally:
            if self._continuous:
                self._continuous.close()

    def evaluate(self, checkpoint: Path) -> Mapping[str, float]:
        """Share of games that a saved network wins against the opponent."""
        candidate, opponent = self._network(started=False), self._network(started=False)
        _restore(candidate, checkpoint)
        load_network(opponent, self.ctx.store.weights(OPPONENT))
        match = self.config.match
        rate = self.learner.win_rate((self._player(candidate), self._player(opponent)), "match", 0, match.games,
                                     match.readouts)
        return {"eval_accuracy": rate}

    # --- inside ---

    def _generations(self) -> Iterator[Event]:
        at, plan = At(), self.ctx.plan
        for generation in count(1):
            yield Epoch(at := at.in_epoch(generation))
            yield Note(at, self.play(generation))
            loss = torch.zeros(())
            for batch in self.learner.batches(generation):
                loss = self.step(batch)
                at = at.after(batch.global_size)
                if at.step % PROGRESS_EVERY == 0:
                    yield Progress(at)
            yield Note(at, {"train_loss": float(self.world.sum(loss.double()))})
            self._gate(generation)
            if self._continuous:
                self._continuous.use(self._in_use, generation + 1)
            if plan.due_at_end(generation):
                yield from self._judged(at)
            if plan.exhausted_after(generation):
                return

    @property
    def _in_use(self) -> DualNetwork:
        """The network that plays."""
        return self.champion if self._own_champion else self.model

    def _network(self, *, started: bool = True) -> DualNetwork:
        """A network with starting weights: supplied, or drawn where there are none."""
        config, ctx = self.config, self.ctx
        model = DualNetwork(config.model, config.game.size, config.norm_span, ctx.world)
        if started:
            initialise(model, ctx.seeds.torch("init"))
        if started and config.data.start and START in ctx.store.metadata.files:
            load_network(model, ctx.store.weights(START))
        return model.to(ctx.world.device, Precision.of(self.speed).parameters)

    def _player(self, model: DualNetwork) -> Player:
        return self.learner.player(model)

    def _judged(self, at: At) -> Iterator[Event]:
        if self.config.data.evaluation == "match":
            yield Checkpoint(at, self._save(at.epoch))
            return
        yield Evaluating(at)
        yield Evaluated(at, {"eval_accuracy": self._predicted()})

    def _save(self, generation: int) -> Path:
        path = self.ctx.scratch / f"generation-{generation:04d}.pt"
        if self.world.first:
            self.ctx.scratch.mkdir(parents=True, exist_ok=True)
            Saved({name: tensor.detach().cpu() for name, tensor in self.model.state_dict().items()}, {}, {}).save(path)
        return path

    def _predicted(self) -> float:
        """Share of professional moves found, over all ranks."""
        games = load_moves(self.ctx.store.data(MOVES))
        found, asked = right_moves(self.config, self.learner.player(), games,
                                   slice(self.world.rank, None, self.world.size), self.ctx.seeds.numpy("predict"))
        total = self.world.sum(torch.tensor([found, asked], device=self.world.device))
        return float(total[0]) / max(1, int(total[1]))

    def _gate(self, generation: int) -> None:
        """A new network plays itself into use: it must win often enough against the one that plays now."""
        gate = self.config.gate
        if not gate.games or self.config.data.stale_players:
            return
        rate = self.learner.win_rate((self._player(self.model), self._player(self.champion)), "gate", generation,
                                     gate.games, gate.readouts)
        if rate >= gate.rate:
            self.champion.load_state_dict(self.model.state_dict())


def _restore(model: DualNetwork, path: Path) -> None:
    """Fill a network from a checkpoint of this run. Raises DataProblem."""
    saved = Saved.load(path).tensors
    for name, tensor in model.state_dict().items():
        tensor.copy_(saved[name])
