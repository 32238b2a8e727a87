"""Benchmarks whose layout names layers for float8: exactly those compute in it, and training reaches its target."""

import json
import re

import pytest
import torch
from harness_runs import Quiet
from sessions import SEED, benchmark_of

from laptime import errors
from laptime.benchmark import Context
from laptime.config import Parallel, RunRequest, override
from laptime.events import Cadence, Plan, Point
from laptime.harness.preflight import resolve
from laptime.harness.runset import run_set
from laptime.suite import folders
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.layout import Layout, check_speed
from laptime.training.distributed.world import World
from laptime.training.nn.float8 import Linear
from laptime.training.seeds import Seeds

NARROW = ["speed.dtype=float8"]
RUNNABLE = [name for name, folder in folders().items() if (folder / "benchmark.py").is_file()]


def layout_of(name, preset) -> Layout:
    benchmark = benchmark_of(name)
    return benchmark.layout(benchmark.presets[preset]())


ABLE = [name for name in RUNNABLE if layout_of(name, "full").float8]


def full_model(name, tmp_path, overrides):
    """The model of a session at full scale, without memory, and the session's hyperparameters."""
    benchmark = benchmark_of(name)
    config = override(benchmark.presets["full"](), overrides)
    facts = json.loads((folders()[name] / "golden.json").read_text())["full_manifest"]
    store = Store(tmp_path, Manifest(name, "", "", facts, {}))
    plan = Plan(config.global_batch_size, Point(1, "epochs"), Cadence("epochs", (1,)), benchmark.sizes(config, store.metadata))
    with torch.device("meta"):
        session = benchmark.build(config, Context(World(0, 1, torch.device("meta")), store, Seeds(SEED), plan, tmp_path))
    return session.model, session.hyperparameters


@pytest.mark.parametrize("name", ABLE)
def test_layers_named_in_the_layout_compute_in_float8_and_no_others(name, tmp_path):
    model, hyperparameters = full_model(name, tmp_path, NARROW)
    layers = {key: module for key, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    found = {key: (one.in_features, one.out_features) for key, one in layers.items() if getattr(one, "float8", False)}
    named = layout_of(name, "full")
    expected = {}
    for pattern, sizes in named.float8.items():
        matching = re.compile(re.escape(pattern).replace(r"\*", "[^.]+"))
        expected |= {key: sizes for key in layers if matching.fullmatch(key)}
    assert found == expected
    assert len(found) == len(named.blocks) * len(named.float8)
    assert hyperparameters.get("lowest_numerical_precision_in_linear", "fp8") == "fp8"


@pytest.mark.parametrize("name", ABLE)
def test_no_layer_computes_in_float8_unless_asked(name, tmp_path):
    model, _ = full_model(name, tmp_path, ["speed.dtype=bfloat16"])
    layers = [one for one in model.modules() if isinstance(one, Linear)]
    assert layers
    assert not any(one.float8 for one in layers)


@pytest.mark.parametrize("name", ABLE)
def test_every_preset_has_sizes_for_float8(name):
    for preset, make in benchmark_of(name).presets.items():
        config = override(make(), NARROW)
        check_speed(config.speed, Parallel(), layout_of(name, preset))


@pytest.mark.parametrize("name", sorted(set(RUNNABLE) - set(ABLE)))
def test_benchmark_without_such_layers_is_refused_before_anything_starts(name):
    with pytest.raises(errors.InvalidConfiguration, match="layers that can compute in float8"):
        resolve(RunRequest(name, round="smoke", overrides=tuple(NARROW)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ABLE)
def test_smoke_run_in_float8_reaches_its_target(name, tmp_path):
    request = RunRequest(name, round="smoke", out=tmp_path / "out", data=tmp_path / "data", system="box", threads=1,
                         overrides=tuple(NARROW))
    assert run_set(request, Quiet()).exit_code == errors.FINE
