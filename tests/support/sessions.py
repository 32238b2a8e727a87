"""Sessions for tests: built on data in a folder, without a harness; as a program, one rank of a multi-process run.

As a program (under torchrun or alone): `sessions.py OUT.json BENCHMARK PRESET DATA STEPS [override ...]` writes the global
losses of the first STEPS steps.
"""

import json
import sys
from pathlib import Path

import torch

from laptime.benchmark import Context
from laptime.config import override
from laptime.events import Cadence, Plan, Point
from laptime.suite import load
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.arrange import arrange
from laptime.training.distributed.world import World, join, leave
from laptime.training.seeds import Seeds

SEED = 7


def benchmark_of(name):
    return load(name, "benchmark").BENCHMARK


def prepared(name, preset, root, overrides=()):
    """A folder with generated data of a preset."""
    benchmark = benchmark_of(name)
    root.mkdir(parents=True, exist_ok=True)
    benchmark.generate(override(benchmark.presets[preset](), overrides), root, 11)
    return root


def session_of(name, preset, root, overrides=(), *, world=None, seed=SEED, unlocked=False, epochs=2):
    """(session, store) of a preset on the data in `root`."""
    benchmark = benchmark_of(name)
    config = override(benchmark.presets[preset](), overrides)
    store = Store(root, Manifest.load(root))
    world = world or World(0, 1, torch.device("cpu"))
    plan = Plan(config.global_batch_size, Point(epochs, "epochs"), Cadence("epochs", (1,), 1),
                benchmark.sizes(config, store.metadata))
    session = benchmark.build(config, Context(world, store, Seeds(seed), plan, root / "scratch"))
    if unlocked:
        store.unlock()
    return session, store


def losses(session, world, steps):
    """Global losses of the first `steps` steps, as the training loop takes them."""
    found = []
    for epoch in range(1, steps + 1):
        batches = session.batches(epoch)
        for batch in batches:
            found.append(float(world.replicas.sum(session.step(batch).double())))
            if len(found) == steps:
                batches.close()
                return found
    return found


def main(out, name, preset, root, steps, *overrides):
    torch.set_num_threads(1)
    world = join("cpu", timeout_s=60)
    world = arrange(world, override(benchmark_of(name).presets[preset](), overrides).parallel)
    session, _ = session_of(name, preset, Path(root), overrides, world=world, unlocked=True)
    found = losses(session, world, int(steps))
    if world.first:
        Path(out).write_text(json.dumps(found))
    leave(world)


if __name__ == "__main__":
    main(*sys.argv[1:])
