"""Design decision 6: at equal spans the losses do not depend on the layout; at another span they do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sessions import losses, prepared, session_of

from laptime.suite import folders
from laptime.training.distributed.world import World

STEPS = 20
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


def two_processes(name, root, layout, more, out):
    script = Path(__file__).parents[1] / "support" / "sessions.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script), str(out),
               name, layout["preset"], str(root), str(STEPS), *layout["overrides"], *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(out.read_text())


def relative_difference(one, other):
    return max(abs(a - b) / abs(a) for a, b in zip(one, other, strict=True))


def test_losses_with_accumulation_equal(case):
    name, root, layout, reference = case
    assert relative_difference(reference, alone(name, root, layout, ["parallel.accumulation_steps=2"])) <= 1e-10


def test_losses_with_two_processes_equal(case, tmp_path):
    name, root, layout, reference = case
    assert relative_difference(reference, two_processes(name, root, layout, [], tmp_path / "losses.json")) <= 1e-10


def test_losses_with_two_processes_and_a_span_across_them_equal(case, tmp_path):
    name, root, layout, _ = case
    wide = alone(name, root, layout, layout["other"])
    assert relative_difference(wide, two_processes(name, root, layout, layout["other"], tmp_path / "l.json")) <= 1e-10


def test_losses_with_two_processes_and_accumulation_equal(case, tmp_path):
    name, root, layout, reference = case
    both = two_processes(name, root, layout, ["parallel.accumulation_steps=2"], tmp_path / "losses.json")
    assert relative_difference(reference, both) <= 1e-10


def test_losses_in_float32_equal_within_1e_5(case, tmp_path):
    name, root, layout, _ = case
    single = ["speed.dtype=float32"]
    reference = alone(name, root, layout, single)
    assert relative_difference(reference, two_processes(name, root, layout, single, tmp_path / "losses.json")) <= 1e-5


def test_losses_at_another_span_differ(case):
    name, root, layout, reference = case
    assert relative_difference(reference, alone(name, root, layout, layout["other"])) > 1e-4
