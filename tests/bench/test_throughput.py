"""Choice of the peer, the comparison itself, marks; with peers of known speed."""

import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from laptime.bench import pipeline, throughput
from laptime.bench.pairs import OutOfTime
from laptime.bench.subject import Subject, subjects
from laptime.bench.throughput import QUICK, THOROUGH, Bench, Effort, mark_of
from laptime.config import override
from laptime.errors import UnknownName, UserError
from laptime.suite import folders
from laptime.training.data.store import Store
from laptime.training.distributed.world import World

ALONE = World(0, 1, torch.device("cpu"))
ALL_FORMS = Effort(pairs=2, block_s=0.0, cases=None, forms=None)
TINY = ["global_batch_size=4", "model.width=4", "model.blocks=1,1", "model.norm_span=4", "data.crop=16", "data.eval_resize=18",
        "data.eval_batch_size=4"]


def bench_of(peers, folder, effort=ALL_FORMS, **more):
    real = subjects(("resnet",))[0]
    config = override(real.benchmark.presets["mini"](), TINY)
    comparison = SimpleNamespace(CASES={"tiny": lambda device: config}, FACTS=real.comparison.FACTS, PEERS=peers, FEEDS={}, **more)
    return Bench(Subject("resnet", real.folder, real.benchmark, comparison), ALONE, folder, effort, lambda line: None), config


def lasting(seconds):
    return lambda config, device: lambda: time.sleep(seconds)


def failing(error):
    def build(config, device):
        raise error

    return build


def test_fastest_form_of_the_peer_is_taken(tmp_path):
    bench, config = bench_of({"slow": lasting(0.01), "fast": lasting(0.001), "slower": lasting(0.02)}, tmp_path)
    best = throughput._best_peer(bench, config)
    assert best.name == "fast"
    assert set(best.tried) == {"slow", "fast", "slower"}


def test_long_steps_make_fewer_pairs_but_never_too_few_for_an_interval():
    assert [THOROUGH.pairs_of(seconds) for seconds in (1.0, 15.0, 20.0, 30.0, 1000.0)] == [12, 12, 9, 6, 5]
    assert ALL_FORMS.pairs_of(1000.0) == 2


def test_step_that_lasts_long_is_warmed_with_fewer(tmp_path, monkeypatch):
    def steps_of_warming():
        calls = []
        throughput._warm(lambda: (calls.append(None), time.sleep(0.002)), ALONE)
        return len(calls)

    assert steps_of_warming() == 5
    monkeypatch.setattr(throughput, "WARM_LIMIT_S", 0.001)
    assert steps_of_warming() == 3


def test_form_that_fails_or_takes_too_long_is_left_out_and_named(tmp_path):
    peers = {"broken": failing(RuntimeError("no such instruction")), "endless": failing(OutOfTime()), "fine": lasting(0.001)}
    bench, config = bench_of(peers, tmp_path)
    best = throughput._best_peer(bench, config)
    assert best.name == "fine"
    assert "no such instruction" in best.tried["broken"]
    assert "not ready" in best.tried["endless"]


def test_missing_peer_leaves_our_rate_and_one_line(tmp_path):
    bench, _ = bench_of({"theirs": failing(UserError("pip install it"))}, tmp_path)
    ours, ratio = throughput.measure(bench.subject, ALONE, tmp_path, QUICK, lambda line: None)
    assert ours.value > 0
    assert (ratio.value, ratio.note) == (None, "pip install it")


def test_named_cases_are_measured_and_unknown_ones_refused(tmp_path):
    bench, config = bench_of({"theirs": lasting(0.001)}, tmp_path)
    bench.subject.comparison.CASES["other"] = lambda device: override(config, ["global_batch_size=8", "model.norm_span=8"])
    rows = throughput.measure(bench.subject, ALONE, tmp_path, QUICK, lambda line: None, only=["other"])
    assert {row.what.split(":")[0] for row in rows} == {"resnet other, batch 8"}
    with pytest.raises(UnknownName, match="no case 'big'") as problem:
        throughput.measure(bench.subject, ALONE, tmp_path, QUICK, lambda line: None, only=["big"])
    assert "'tiny', 'other'" in problem.value.hint


def test_ratio_is_peer_time_over_ours_and_short_steps_are_not_judged(tmp_path):
    bench, _ = bench_of({"theirs": lasting(0.5)}, tmp_path)
    ours, theirs, ratio = throughput.measure(bench.subject, ALONE, tmp_path, ALL_FORMS, lambda line: None)
    assert theirs.value == pytest.approx(4 / 0.5, rel=0.1)
    assert ratio.value == pytest.approx(ours.value / theirs.value, rel=1e-6)
    assert ratio.value > 1
    if ours.details["step_ms"] < 15:
        assert (ratio.budget, ratio.verdict) == ("", "")
        assert "20 ms" in ratio.note


def test_quick_look_takes_the_form_that_is_cheapest_to_build(tmp_path):
    peers = {"eager": lasting(0.01), "compiled": lasting(0.0001)}
    bench, config = bench_of(peers, tmp_path, QUICK)
    assert throughput._best_peer(bench, config).name == "eager"
    thorough, _ = bench_of(peers, tmp_path, THOROUGH)
    assert throughput._best_peer(thorough, config).name == "compiled"


def test_marks_are_those_of_the_device(monkeypatch):
    folder = folders()["resnet"]
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    assert mark_of(folder, "full", torch.device("cuda")) == "3000"
    assert mark_of(folder, "mini", torch.device("cuda")) == ""
    assert mark_of(folder, "full", torch.device("cpu")) == ""
    assert mark_of(Path("nowhere"), "full", torch.device("cuda")) == ""


def test_benchmark_without_a_peer_file_is_refused():
    suite = SimpleNamespace(extra=Path(__file__).parents[1] / "harness" / "suite")
    with pytest.raises(UnknownName, match=r"'standin' has no peer\.py"):
        subjects(("standin",), suite)
    assert [one.name for one in subjects((), suite)] == [name for name, path in folders().items() if (path / "peer.py").is_file()]


@pytest.mark.parametrize("name", [one.name for one in subjects()])
def test_every_peer_file_keeps_the_contract(name):
    comparison = subjects((name,))[0].comparison
    for table in (comparison.CASES, comparison.PEERS, comparison.FEEDS):
        assert isinstance(table, Mapping)
        assert table
    for make in comparison.CASES.values():
        for device in ("cpu", "cuda"):
            assert make(torch.device(device)).global_batch_size > 0


@pytest.mark.seconds
@pytest.mark.parametrize("name", [one.name for one in subjects()])
def test_every_feed_makes_its_data(name, tmp_path):
    subject = subjects((name,))[0]
    for number, make in enumerate(subject.comparison.FEEDS.values()):
        config = make(64)
        subject.benchmark.generate(config, tmp_path / str(number), 1)
        sizes = subject.benchmark.sizes(config, Store.open(tmp_path / str(number)).metadata)
        assert sizes.train_samples is None or sizes.train_samples >= config.global_batch_size


def test_samples_per_core_count_processor_time_not_waiting():
    found = pipeline.per_core([(100, 2.0, 50.0), (100, 2.0, 3.0)])
    assert (found.value, found.low, found.high) == pytest.approx((50.0, 50.0, 50.0))


def test_peer_is_the_same_network_and_learns():
    pytest.importorskip("transformers")
    from laptime.suite.resnet import peer
    from laptime.suite.resnet.model import ResNet

    config = override(peer.mini(), TINY)
    theirs, ours = peer.network(config), ResNet(config.model, ALONE)
    assert sum(p.numel() for p in theirs.parameters()) == sum(p.numel() for p in ours.parameters())
    assert {tuple(p.shape) for p in theirs.parameters()} == {tuple(p.shape) for p in ours.parameters()}
    for build in (make for name, make in peer.PEERS.items() if "eager" in name):
        build(config, torch.device("cpu"))()
