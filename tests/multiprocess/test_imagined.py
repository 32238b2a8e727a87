"""Full presets on processes that do not exist: whole models are counted exactly, and each process holds its part.

A benchmark says in golden.json, "imagined", what to imagine: {"processes": 1024, "overrides": [...]}; without it, every
benchmark with blocks is imagined on sixteen processes.
"""

import json
import resource

import pytest
import tiny_decoder
import torch
from sessions import benchmark_of

from laptime.benchmark import Context
from laptime.config import Parallel, override
from laptime.errors import InvalidConfiguration
from laptime.events import Cadence, Plan, Point
from laptime.suite import folders
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.imagined import holding, imagine
from laptime.training.distributed.layout import check, sizes
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds

pytestmark = pytest.mark.seconds
RUNNABLE = [name for name, folder in folders().items() if (folder / "benchmark.py").is_file()]
SIXTEEN = {"processes": 16, "overrides": ["parallel.pipeline=2", "parallel.tensor=2", "parallel.shard=2"]}
META = World(0, 1, torch.device("meta"))


def decoder(config, world):
    return tiny_decoder.session(config, world)


def test_parts_of_a_model_add_up_to_the_whole():
    config = tiny_decoder.Config(parallel=Parallel(shard=2, tensor=2, pipeline=2))
    whole = holding(decoder(tiny_decoder.Config(), META).state())
    found = imagine(lambda world: decoder(config, world), config.parallel, 8)
    assert found.parameters == whole.parameters_whole
    assert [one.rank for one in found.stages] == [0, 4]
    assert whole.parameters_bytes == whole.gradients_bytes == 8 * whole.parameters_whole
    assert whole.optimizer_bytes == 2 * whole.parameters_bytes + 16  # two moments, the rate, the number of updates
    assert whole.parameters_bytes / 8 < found.largest.parameters_bytes < whole.parameters_bytes / 3


def test_imagined_process_holds_what_a_real_one_holds(pair):
    config = tiny_decoder.Config(parallel=Parallel(shard=2))
    real = pair.run("forms:decoder_weights", ["parallel.shard=2"])
    found = imagine(lambda world: decoder(config, world), config.parallel, 2)
    assert found.largest.parameters_bytes == 8 * real[0]["here"]


def test_a_parallel_that_does_not_fit_is_refused():
    with pytest.raises(InvalidConfiguration, match="divisible by pipeline 3"):
        imagine(lambda world: None, Parallel(pipeline=3), 8)


@pytest.mark.parametrize("name", RUNNABLE)
def test_full_preset_is_counted_exactly_and_no_process_holds_all_of_it(name, tmp_path):
    benchmark, facts = benchmark_of(name), json.loads((folders()[name] / "golden.json").read_text())
    wanted = facts.get("imagined", SIXTEEN)
    config = override(benchmark.presets["full"](), wanted["overrides"])
    try:
        check(config.parallel, benchmark.layout(config), wanted["processes"])
    except InvalidConfiguration as refused:
        pytest.skip(str(refused))
    store = Store(tmp_path, Manifest(name, "", "", facts["full_manifest"], {}))
    plan = Plan(config.global_batch_size, Point(1, "epochs"), Cadence("epochs", (1,)), benchmark.sizes(config, store.metadata))
    before = resource.getrusage(resource.RUSAGE_SELF)
    found = imagine(lambda world: benchmark.build(config, Context(world, store, Seeds(1), plan, tmp_path)), config.parallel,
                    wanted["processes"])
    used = resource.getrusage(resource.RUSAGE_SELF)
    assert found.parameters == facts["parameters"]
    parts = sizes(config.parallel, wanted["processes"])
    whole = 4 * (facts["parameters"] + facts.get("frozen_parameters", 0))
    fewest = whole / (parts["pipeline"] * parts["tensor"] * parts["shard"] * parts["context"])
    assert 0.9 * fewest < found.largest.parameters_bytes < whole / 2
    assert used.ru_utime - before.ru_utime < 60
    assert (used.ru_maxrss - before.ru_maxrss) * 1024 < 8 * 2**30
