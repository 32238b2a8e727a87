"""Design decision 6: at equal spans the losses do not depend on the layout; at another span they do."""

import json
from contextlib import suppress
from functools import cache

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


def thinned(number, kept):
    """Marks of a test that must run for some benchmarks always, and for the others where minutes count for little."""
    return () if kept or number % 3 == 0 else pytest.mark.slow


def offered(forms, processes, *, thin=False):
    """(benchmark, form) wherever the benchmark's layout says how; what it refuses is tested with the layouts.

    `thin` leaves every form to one benchmark or more, and every benchmark a form or more, and calls the others slow."""
    found, seen = [], set()
    for number, name in enumerate(RUNNABLE):
        benchmark, layout = benchmark_of(name), layouts_of(name)
        for turn, form in enumerate(forms):
            config = override(benchmark.presets[layout["preset"]](), [*layout["overrides"], *form])
            with suppress(InvalidConfiguration):
                check(config.parallel, benchmark.layout(config), processes)
                first = not {name, str(form)} <= seen
                marks = thinned(number + turn, first) if thin else ()
                seen |= {name, str(form)} if not marks else set()
                found.append(pytest.param((name, form), id=f"{name} {' '.join(form)}", marks=marks))
    return found


@pytest.fixture(scope="module")
def prepared_once(tmp_path_factory):
    """(data folder, layouts, the losses of one process for some overrides) of a benchmark, made when first asked for."""

    @cache
    def of(name):
        layout = layouts_of(name)
        root = prepared(name, layout["preset"], tmp_path_factory.mktemp(name), layout["overrides"])
        return root, layout, cache(lambda *more: alone(name, root, layout, more))

    return of


@pytest.fixture
def case(request, prepared_once):
    """(benchmark, data folder, its layouts, losses of one process), and the form where there is one."""
    name, *form = request.param if isinstance(request.param, tuple) else (request.param,)
    return (name, *prepared_once(name), *form)


every = pytest.mark.parametrize("case", RUNNABLE, indirect=True)
some = pytest.mark.parametrize("case", [pytest.param(name, marks=thinned(number, False)) for number, name in enumerate(RUNNABLE)],
                               indirect=True)


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


@every
def test_losses_with_accumulation_equal(case):
    *_, reference = case
    assert relative_difference(reference(), reference("parallel.accumulation_steps=2")) <= 1e-10


@every
def test_losses_with_two_processes_equal(case, pair):
    name, root, layout, reference = case
    assert relative_difference(reference(), several(pair, name, root, layout, [])) <= 1e-10


@every
def test_losses_with_two_processes_and_a_span_across_them_equal(case, pair):
    name, root, layout, reference = case
    assert relative_difference(reference(*layout["other"]), several(pair, name, root, layout, layout["other"])) <= 1e-10


@some
def test_losses_with_two_processes_and_accumulation_equal(case, pair):
    name, root, layout, reference = case
    both = several(pair, name, root, layout, ["parallel.accumulation_steps=2"])
    assert relative_difference(reference(), both) <= 1e-10


@some
def test_losses_in_float32_equal_within_1e_5(case, pair):
    name, root, layout, reference = case
    single = ["speed.dtype=float32"]
    assert relative_difference(reference(*single), several(pair, name, root, layout, single)) <= 1e-5


@pytest.mark.seconds
@pytest.mark.parametrize("case", offered(TWO, 2, thin=True), indirect=True)
def test_losses_of_every_form_that_two_processes_can_take_equal(case, pair):
    name, root, layout, reference, form = case
    assert relative_difference(reference(), several(pair, name, root, layout, form)) <= 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("case", offered(FOUR, 4), indirect=True)
def test_losses_of_every_form_that_four_processes_can_take_equal(case, quad):
    name, root, layout, reference, form = case
    assert relative_difference(reference(), several(quad, name, root, layout, form)) <= 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("case", offered(TWO, 2), indirect=True)
def test_losses_of_every_form_in_float32_equal_within_1e_5(case, pair):
    name, root, layout, reference, form = case
    single = ["speed.dtype=float32"]
    assert relative_difference(reference(*single), several(pair, name, root, layout, [*form, *single])) <= 1e-5


@every
def test_losses_at_another_span_differ(case):
    *_, layout, reference = case
    assert relative_difference(reference(), reference(*layout["other"])) > 1e-4
