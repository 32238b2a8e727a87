"""What every runnable benchmark owes the contract; a new folder is tested before its author writes a test."""

import dataclasses
import json
import shutil

import pytest
import torch
from sessions import benchmark_of, prepared, session_of

from laptime.benchmark import Context
from laptime.config import flat, from_json, override, to_json
from laptime.errors import DataTouchedTooEarly
from laptime.events import Cadence, Checkpoint, Epoch, Evaluated, Evaluating, Plan, Point
from laptime.rules.load import load_round
from laptime.suite import folders
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds

RUNNABLE = [name for name, folder in folders().items() if (folder / "benchmark.py").is_file()]
HEADINGS = ["Problem", "Directions", "Data", "Model", "Quality", "Departures from the reference",
            "Mini scale: what it keeps and what it drops", "Measured"]


@pytest.fixture(params=RUNNABLE)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Generated smoke data of each benchmark, made once."""
    made = {}

    def of(name):
        if name not in made:
            made[name] = prepared(name, "smoke", tmp_path_factory.mktemp(name))
        return made[name]

    return of


@pytest.fixture(scope="module")
def trained(data):
    """(fingerprint, number of events) after one epoch of a benchmark; the first of each seed is kept."""
    kept = {}

    def run(name, seed, *, again=False):
        if again or (name, seed) not in kept:
            session, _ = session_of(name, "smoke", data(name), seed=seed, unlocked=True, epochs=1)
            events = sum(1 for _ in session.train())
            kept[name, seed] = session.state().fingerprint(), events
        return kept[name, seed]

    return run


def golden(name):
    return json.loads((folders()[name] / "golden.json").read_text())


def test_presets_survive_json(name):
    for make in benchmark_of(name).presets.values():
        config = make()
        assert from_json(type(config), json.loads(json.dumps(to_json(config)))) == config


def test_every_plain_setting_can_be_overridden(name):
    config = benchmark_of(name).presets["full"]()
    for path, value in flat(config).items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        assert override(config, [f"{path}={text}"]) == config, path


def test_presets_without_torch_match_the_benchmark(name):
    presets = __import__(f"laptime.suite.{name}.config", fromlist=["PRESETS"]).PRESETS
    assert {key: make() for key, make in presets.items()} == {k: m() for k, m in benchmark_of(name).presets.items()}


def test_full_preset_on_the_meta_device_has_the_golden_parameter_count(name, tmp_path):
    facts = golden(name)
    benchmark = benchmark_of(name)
    config = benchmark.presets["full"]()
    store = Store(tmp_path, Manifest(name, "", "", facts["full_manifest"], {}))
    plan = Plan(config.global_batch_size, Point(1, "epochs"), Cadence("epochs", (1,)), benchmark.sizes(config, store.metadata))
    with torch.device("meta"):
        session = benchmark.build(config, Context(World(0, 1, torch.device("meta")), store, Seeds(1), plan, tmp_path))
    tensors = session.state().tensors
    assert sum(t.numel() for n, t in tensors.items() if n.startswith("model.") and t.requires_grad) == facts["parameters"]


def test_full_preset_obeys_its_latest_round(name, tmp_path):
    rules = load_round("house").benchmarks[name]
    benchmark = benchmark_of(name)
    config = benchmark.presets[rules.preset]()
    store = Store(tmp_path, Manifest(name, "", "", golden(name)["full_manifest"], {}))
    sizes = benchmark.sizes(config, store.metadata)
    plan = Plan(config.global_batch_size, Point(1, "epochs"), Cadence("epochs", (1,)), sizes)
    with torch.device("meta"):
        session = benchmark.build(config, Context(World(0, 1, torch.device("meta")), store, Seeds(1), plan, tmp_path))
    from laptime.harness.preflight import check_hyperparameters

    assert check_hyperparameters(rules, session.hyperparameters, "closed") == []


def test_build_and_warm_up_work_without_data_files(name, data, tmp_path):
    manifest = Manifest.load(data(name))
    (tmp_path / "manifest.json").write_text((data(name) / "manifest.json").read_text())
    for file, entry in manifest.files.items():
        if entry.kind == "weights":  # this door is open from the start
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(data(name) / file, tmp_path / file)
    session, store = session_of(name, "smoke", tmp_path)
    session.warm_up()
    with pytest.raises(DataTouchedTooEarly):
        store.data(next(iter(manifest.files)))


def test_warm_up_is_undone_by_restore(name, data):
    session, _ = session_of(name, "smoke", data(name))
    before, fingerprint = session.state().copy(), session.state().fingerprint()
    session.warm_up()
    assert session.state().fingerprint() != fingerprint, "a warm-up that changes nothing warms nothing up"
    session.state().restore(before)
    assert session.state().fingerprint() == fingerprint


def test_two_sessions_with_one_seed_agree_and_another_seed_differs(name, trained):
    first = trained(name, 3)
    assert trained(name, 3, again=True) == first
    assert trained(name, 4)[0] != first[0]


def test_generator_can_be_closed_at_every_event(name, data, trained):
    _, total = trained(name, 3)
    for stop in range(1, total + 1, max(1, total // 4)):
        session, _ = session_of(name, "smoke", data(name), seed=3, unlocked=True, epochs=1)
        events = session.train()
        for _ in range(stop):
            next(events)
        events.close()


def test_events_come_in_order_and_leave_torch_as_it_was(name, data):
    session, _ = session_of(name, "smoke", data(name), unlocked=True, epochs=2)
    kinds, positions = [], []
    for event in session.train():
        assert torch.is_grad_enabled()
        assert not torch.is_autocast_enabled("cpu")
        kinds.append(type(event))
        positions.append((event.at.samples, event.at.step))
    assert kinds[0] is Epoch
    assert positions == sorted(positions)
    assert [k for k in kinds if k in (Evaluating, Evaluated)] == [Evaluating, Evaluated] * kinds.count(Evaluated)
    assert kinds.count(Evaluated) + kinds.count(Checkpoint) == 2  # evaluated on the clock, or kept for later


def test_configuration_is_made_of_plain_values(name):
    config = benchmark_of(name).presets["mini"]()
    assert dataclasses.is_dataclass(config)
    assert all(not isinstance(value, dict) for value in flat(config).values())


def test_readme_has_the_headings(name):
    text = (folders()[name] / "README.md").read_text()
    found = [line.lstrip("# ").strip() for line in text.splitlines() if line.startswith("## ")]
    assert [heading for heading in HEADINGS if heading not in found] == []
