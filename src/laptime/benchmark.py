"""The contract between a benchmark and everything else (docs/architecture.md, "The contract").

A benchmark is a frozen record of facts and functions. It sees numbers (`Plan`), never a round, a target or a clock.
Rules: events are yielded on every rank in the same order, metrics are equal on every rank; never yield inside a torch
context manager; no collective in `finally`; closing the generator at any event releases workers; `warm_up` is
idempotent; `build` is deterministic in (config, seeds, world).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from laptime.config import Config, Json
from laptime.events import Event, Plan, Sizes
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.layout import Layout
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds
from laptime.training.state import State

C = TypeVar("C", bound=Config)


@dataclass(frozen=True)
class Context:
    """What the world gives a run. `scratch`: a folder of this run for checkpoints and index arrays."""

    world: World
    store: Store
    seeds: Seeds
    plan: Plan
    scratch: Path


class Session(Protocol):
    """A model ready to train."""

    @property
    def hyperparameters(self) -> Mapping[str, Json]:
        """Our names for what the log must say, read from live optimizer and schedule objects."""

    @property
    def initialised(self) -> Sequence[str]:
        """Tensors initialised in `build`, by the reference's names."""

    def state(self) -> State:
        """Every tensor, counter, generator and data position that a step can change."""

    def warm_up(self) -> None:
        """Run synthetic batches of every shape the session will meet."""

    def train(self) -> Iterator[Event]:
        """Train and evaluate; the first touch of data."""

    def evaluate(self, checkpoint: Path) -> Mapping[str, float]:
        """Metrics of a checkpoint, where rounds evaluate off the clock."""


def anything_goes(config: Config, processes: int) -> None:
    """The default `Benchmark.validate`: build() finds what cannot run."""


def copied(config: Config) -> Layout:
    """The default `Benchmark.layout`: a model that can only be copied."""
    return Layout()


@dataclass(frozen=True)
class Benchmark(Generic[C]):
    """One benchmark. `prepare` and `generate` are untimed and write the same on-disk format.

    presets:  name -> configuration ("full", "mini", perhaps a round whose model differed)
    prepare:  (config, source folder, data folder): verify and reformat real data
    generate: (config, data folder, seed): make learnable data in the published layout, then reformat as `prepare` does
    sizes:    pure, before build
    validate: (configuration, processes that read samples of their own): raises InvalidConfiguration before anything is
              made or built
    build:    model, optimizer and optimizer state; the data door is locked
    layout:   how the model can be spread over processes (docs/parallel.md)
    resumes:  a session whose state is restored goes on where that was saved (`training.loop` does); False: starts anew
    """

    presets: Mapping[str, Callable[[], C]]
    prepare: Callable[[C, Path, Path], None]
    generate: Callable[[C, Path, int], None]
    sizes: Callable[[C, Manifest], Sizes]
    build: Callable[[C, Context], Session]
    validate: Callable[[C, int], None] = anything_goes
    layout: Callable[[C], Layout] = copied
    resumes: bool = True
