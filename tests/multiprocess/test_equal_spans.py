"""Design decision 6: at equal spans the losses do not depend on the layout; at another span they do."""

import json

import pytest
import torch
from sessions import benchmark_of, losses, prepared, session_of

from laptime.config import override
from laptime.errors import InvalidConfiguration
from laptime.suite import folders
from laptime.training.distributed.layout import check
from laptime.training.distributed.world import World

STEPS = 20
TWO = [["parallel.shard=2"], ["parallel.shard=2", "parallel.checkpointing=blocks", "parallel.accumulation_steps=2"],
       ["parallel.tensor=2"], ["parallel.tensor=2", "parallel.sequence=true"], ["parallel.context=2"],
       ["parallel.pipeline=2", "parallel.accumulation_steps=2"], ["parallel.tables=rows"]]
FOUR = [["parallel.tensor=2", "parallel.pipeline=2", "parallel.accumulation_steps=2"],
        ["parallel.tensor=2", "parallel.pipeline=2", "parallel.sequence=true"],
        ["parallel.tensor=2", "parallel.shard=2", "parallel.sequence=true"], ["parallel.data=2", "parallel.shard=2"]]
ALONE = World(0, 1, torch.device("cpu"))
RUNNABLE = [name for name, folder in folders().items() if (folder / "benchmark.py").is_file()]


def layouts_of(name):
    """The benchmark's own statement of how to set spans and accumulation: golden.json, "equal_spans"."""
    return json.loads((folders()[name] / "golden.json").read_text())["equal_spans"]


@pytest.fixture(scope="module", params=RUNNABLE)
def case(request, tmp_path_factory):
    """(benchmark, data folder, its layouts, the losses of one process)."""
    name = request.param
    layout = layouts_of(name)
    root = prepared(name, layout["preset"], tmp_path_factory.mktemp(name), layout["overrides"])
    return name, root, layout, alone(name, root, layout, [])


def alone(name, root, layout, more):
    torch.set_num_threads(1)
    session, _ = session_of(name, layout["preset"], root, [*layout["overrides"], *more], unlocked=True)
    return losses(session, ALONE, STEPS)


def several(gang, name, root, layout, more):
    first, *others = gang.run("forms:benchmark_losses", name, layout["preset"], str(root), STEPS,
                              [*layout["overrides"], *more])
    assert all(other == first for other in others), "processes disagree on the loss"
    return first


def relative_difference(one, other):
    return max(abs(a - b) / abs(a) for a, b in zip(one, other, strict=True))


def test_losses_with_accumulation_equal(case):
    name, root, layout, reference = case
    assert relative_difference(reference, alone(name, root, layout, ["parallel.accumulation_steps=2"])) <= 1e-10


def test_losses_with_two_processes_equal(case, pair):
    name, root, layout, reference = case
    assert relative_difference(reference, several(pair, name, root, layout, [])) <= 1e-10


def test_losses_with_two_processes_and_a_span_across_them_equal(case, pair):
    name, root, layout, _ = case
    wide = alone(name, root, layout, layout["other"])
    assert relative_difference(wide, several(pair, name, root, layout, layout["other"])) <= 1e-10


def test_losses_with_two_processes_and_accumulation_equal(case, pair):
    name, root, layout, reference = case
    both = several(pair, name, root, layout, ["parallel.accumulation_steps=2"])
    assert relative_difference(reference, both) <= 1e-10


def test_losses_in_float32_equal_within_1e_5(case, pair):
    name, root, layout, _ = case
    single = ["speed.dtype=float32"]
    reference = alone(name, root, layout, single)
    assert relative_difference(reference, several(pair, name, root, layout, single)) <= 1e-5


@pytest.mark.seconds
@pytest.mark.parametrize("form", TWO, ids=" ".join)
def test_losses_of_every_form_that_two_processes_can_take_equal(case, pair, form):
    name, root, layout, reference = case
    skip_unless_offered(name, layout, form, 2)
    assert relative_difference(reference, several(pair, name, root, layout, form)) <= 1e-10


@pytest.mark.seconds
@pytest.mark.parametrize("form", FOUR, ids=" ".join)
def test_losses_of_every_form_that_four_processes_can_take_equal(case, quad, form):
    name, root, layout, reference = case
    skip_unless_offered(name, layout, form, 4)
    assert relative_difference(reference, several(quad, name, root, layout, form)) <= 1e-10


@pytest.mark.seconds
@pytest.mark.parametrize("form", TWO, ids=" ".join)
def test_losses_of_every_form_in_float32_equal_within_1e_5(case, pair, form):
    name, root, layout, _ = case
    skip_unless_offered(name, layout, form, 2)
    single = ["speed.dtype=float32"]
    reference = alone(name, root, layout, single)
    assert relative_difference(reference, several(pair, name, root, layout, [*form, *single])) <= 1e-5


def skip_unless_offered(name, layout, form, processes):
    """A benchmark whose layout does not say how is tested for the refusal instead."""
    benchmark = benchmark_of(name)
    config = override(benchmark.presets[layout["preset"]](), [*layout["overrides"], *form])
    try:
        check(config.parallel, benchmark.layout(config), processes)
    except InvalidConfiguration as refused:
        pytest.skip(str(refused))


def test_losses_at_another_span_differ(case):
    name, root, layout, reference = case
    assert relative_difference(reference, alone(name, root, layout, layout["other"])) > 1e-4
