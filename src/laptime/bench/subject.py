"""What is measured: a benchmark whose folder has a `peer.py`, and sessions of it built without any data."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import torch

from laptime.benchmark import Benchmark, Context
from laptime.config import Config, Json, Speed, SuitePath
from laptime.errors import UnknownName
from laptime.events import Cadence, Plan, Point
from laptime.suite import BUILT_IN, folders, load
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.world import World
from laptime.training.loop import Batch, Supervised
from laptime.training.seeds import Seeds

PART = "peer"
SEED = 1  # of measured sessions: the time of a step does not depend on it


class Comparison(Protocol):
    """What a module `suite/<name>/peer.py` holds.

    CASES: what is trained -> its configuration on a device, the cheapest first
    FACTS: a configuration -> what the manifest of its data says
    PEERS: an independent implementation and how it is set up -> a function that builds it for a configuration on a
           device, with the same sizes, dtype and synthetic input, and returns one whole training step. It raises
           UserError where a package or a compiler is missing. The cheapest to build first
    FEEDS: a kind of image, text, ... -> the configuration of a small data set of about as many samples as asked for
    """

    @property
    def CASES(self) -> Mapping[str, Callable[[torch.device], Config]]: ...
    @property
    def FACTS(self) -> Callable[[Config], Mapping[str, Json]]: ...
    @property
    def PEERS(self) -> Mapping[str, Callable[[Config, torch.device], Callable[[], None]]]: ...
    @property
    def FEEDS(self) -> Mapping[str, Callable[[int], Config]]: ...


@dataclass(frozen=True)
class Subject:
    """One benchmark under measurement."""

    name: str
    folder: Path
    benchmark: Benchmark[Config]
    comparison: Comparison


def subjects(names: tuple[str, ...] = (), suite: SuitePath = BUILT_IN) -> list[Subject]:
    """The named benchmarks, or all that have a `peer.py`. Raises UnknownName."""
    known = folders(suite)
    chosen = names or tuple(name for name, folder in known.items() if (folder / f"{PART}.py").is_file())
    return [_subject(name, suite) for name in chosen]


def _subject(name: str, suite: SuitePath) -> Subject:
    benchmark: Benchmark[Config] = load(name, "benchmark", suite).BENCHMARK
    folder = folders(suite)[name]
    if not (folder / f"{PART}.py").is_file():
        raise UnknownName(f"benchmark '{name}' has no {PART}.py that says what to measure",
                          hint=f"Measured: {', '.join(one.name for one in subjects((), suite)) or 'none'}.")
    return Subject(name, folder, benchmark, cast(Comparison, load(name, PART, suite)))


def synthetic_store(subject: Subject, config: Config, folder: Path) -> Store:
    """A store that knows the sizes of the data and holds none."""
    return Store(folder, Manifest(subject.name, "none", "", subject.comparison.FACTS(config), {}))


@runtime_checkable
class Stepping(Protocol):
    """A session whose steps can be timed: the common one, or one with a loop of its own that offers these like it."""

    @property
    def speed(self) -> Speed: ...
    def synthetic(self) -> Iterator[Batch[object]]: ...
    def batches(self, epoch: int, /) -> Iterator[Batch[object]]: ...
    def step(self, batch: Batch[object]) -> torch.Tensor: ...


def built(subject: Subject, config: Config, world: World, store: Store, folder: Path) -> Supervised[object]:
    """The session that a run would train. Raises UnknownName for one whose steps cannot be timed."""
    sizes = subject.benchmark.sizes(config, store.metadata)
    plan = Plan(config.global_batch_size, Point(1, "epochs"), Cadence("epochs", (1,), 1), sizes)
    session = subject.benchmark.build(config, Context(world, store, Seeds(SEED), plan, folder))
    if not isinstance(session, Stepping):
        raise UnknownName(f"benchmark '{subject.name}' has a training loop of its own; its steps cannot be timed here")
    return cast(Supervised[object], session)  # all that is used of it here


def step_of(session: Supervised[object]) -> Callable[[], None]:
    """One whole training step on one synthetic batch that stays."""
    batch: Batch[object] = next(session.synthetic())

    def step() -> None:
        session.step(batch)

    return step
