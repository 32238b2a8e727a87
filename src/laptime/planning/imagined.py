"""The planned layout built for real, on the meta device and by pretended processes: bytes of every tensor, counted."""

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from laptime.benchmark import Benchmark, Context, Session
from laptime.config import Config, override
from laptime.events import Cadence, Plan, Point
from laptime.planning.layouts import Spread
from laptime.planning.plan import Question
from laptime.planning.workload import GOLDEN
from laptime.suite import folders, load
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.imagined import Imagined, imagine
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds

SEED = 1  # of the session: nothing is drawn on the meta device


def imagined(question: Question, one: Spread, batch: int) -> Imagined:
    """What the first process of each stage holds of the full preset, spread as `one`.

    Raises InvalidConfiguration for settings that the benchmark refuses.
    """
    benchmark: Benchmark[Config] = load(question.benchmark, "benchmark", question.suite).BENCHMARK
    chosen = [f"parallel.{name}={value}" for name, value in vars(replace(one.parallel, data=one.data)).items()]
    config = override(benchmark.presets["full"](), [*question.overrides, *chosen, f"global_batch_size={batch}"])
    with TemporaryDirectory(prefix="laptime-plan-") as folder:
        return imagine(lambda world: _built(benchmark, config, question, world=world, folder=Path(folder)),
                       config.parallel, one.count)


def _built(benchmark: Benchmark[Config], config: Config, question: Question, *, world: World,
           folder: Path) -> Session:
    golden = folders(question.suite)[question.benchmark] / GOLDEN
    facts = json.loads(golden.read_text(encoding="utf-8"))["full_manifest"]
    store = Store(folder, Manifest(question.benchmark, "none", "", facts, {}))
    plan = Plan(config.global_batch_size, Point(1, "epochs"), Cadence("epochs", (1,), 1),
                benchmark.sizes(config, store.metadata))
    return benchmark.build(config, Context(world, store, Seeds(SEED), plan, folder))
