"""Plans: layouts that can run, memory and time that move as they must, fits tested on results they have not seen."""

from dataclasses import replace

import pytest

from laptime.config import Parallel
from laptime.errors import InvalidConfiguration, UnknownName, UserError
from laptime.planning import calibration
from laptime.planning.accelerators import accelerator, accelerators, recognised
from laptime.planning.best import options
from laptime.planning.layouts import candidates, memory, spread
from laptime.planning.plan import Question, answered, assumptions
from laptime.planning.published import Entry, entries, taken, write
from laptime.planning.timing import Fit, Setting, step
from laptime.planning.workload import Workload, measured, samples_to_target, workload
from laptime.rules.load import load_round
from laptime.training.distributed.layout import Layout, Split

DEEP = Layout(embedding="embedding", blocks=tuple(f"blocks.{i}" for i in range(32)), splits=(Split("blocks.*.mlp", "enter"),),
              divisible={"heads": 32}, length=8192)
WORK = Workload("deep", 4e14, 40e9, 8_000_000_000, 1.0, 32e9, 64e9, 32, 8192 * 4096 * 2)
H100 = accelerator("h100")
FIT = Fit(0.5, 0.0)


def test_every_accelerator_is_recognised_by_its_own_name_and_the_published_spellings():
    for one in accelerators():
        assert recognised(f"NVIDIA {one.names[0]} 80GB") is one
    for text, name in (("NVIDIA H100-SXM5-80GB", "H100"), ("NVIDIA A100-SXM4-80GB", "A100"), ("NVIDIA H200-NVL-141GB", "H200-NVL"),
                       ("NVIDIA Blackwell GPU (GB200)", "GB200"), ("NVIDIA Blackwell GPU (B200-SXM-180GB)", "B200"),
                       ("Intel(R) Gaudi(R) 2 AI Accelerator", "Gaudi2"), ("NVIDIA A100-PCIe-40GB", "A100-PCIe")):
        assert recognised(text).name == name
    assert recognised("TPU-v4") is None


def test_accelerator_that_nobody_knows_is_refused_with_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'h200'"):
        accelerator("h20")


def test_sharding_tensor_and_pipeline_divide_the_state_and_only_they_do():
    whole = memory(WORK, DEEP, spread(Parallel(), DEEP, 8, 8))
    assert whole.optimizer == 64e9
    for change in ({"shard": 8}, {"tensor": 8}, {"pipeline": 8, "accumulation_steps": 8}):
        assert memory(WORK, DEEP, spread(Parallel(**change), DEEP, 8, 8)).optimizer == 64e9 / 8
    assert memory(WORK, DEEP, spread(Parallel(context=8), DEEP, 8, 8)).optimizer == 64e9


def test_blocks_computed_again_keep_less_and_take_longer():
    plain, again = (spread(Parallel(checkpointing=mode), DEEP, 8, 8) for mode in ("off", "blocks"))
    assert memory(WORK, DEEP, again).passing < 0.1 * memory(WORK, DEEP, plain).passing
    assert step(Setting(WORK, DEEP, H100, FIT), again, 8).compute_s == pytest.approx(4 / 3 * step(Setting(WORK, DEEP, H100, FIT), plain, 8).compute_s)


def test_step_of_one_accelerator_is_operations_over_peak_and_utilisation():
    found = step(Setting(WORK, DEEP, H100, FIT), spread(Parallel(), DEEP, 1, 4), 4)
    assert found.seconds == pytest.approx(4 * 4e14 / (989e12 * 0.5))
    assert found.sent_bytes == 0


def test_pipeline_waits_less_with_more_micro_batches():
    few, many = (step(Setting(WORK, DEEP, H100, FIT), spread(Parallel(pipeline=4, accumulation_steps=n), DEEP, 4, 64), 64) for n in (4, 32))
    assert few.waiting_s == pytest.approx(few.compute_s * 3 / 4)
    assert many.waiting_s == pytest.approx(many.compute_s * 3 / 32)


def test_tensor_groups_beyond_a_domain_pay_the_network():
    near = step(Setting(WORK, DEEP, replace(H100, domain=8), FIT), spread(Parallel(tensor=8), DEEP, 8, 8), 8)
    far = step(Setting(WORK, DEEP, replace(H100, domain=4), FIT), spread(Parallel(tensor=8), DEEP, 8, 8), 8)
    assert far.exposed_s > 4 * near.exposed_s
    assert far.sent_bytes == near.sent_bytes


def test_candidates_all_pass_the_checks_of_a_run_and_share_the_batch():
    found = list(candidates(DEEP, H100, 64, 128))
    assert len({one.text for one in found}) > 20
    for one in found:
        assert one.count == 64
        assert one.micro * one.micros * one.data * one.shard == 128
        assert one.tensor <= 8


def test_model_that_can_only_be_copied_has_one_kind_of_layout():
    assert {one.text for one in candidates(Layout(), H100, 8, 64)} == {"data 8"}


def test_model_too_large_to_copy_is_sharded():
    big = replace(WORK, parameters=70_000_000_000, weight_bytes=280e9, optimizer_bytes=560e9)
    first = options(Setting(big, DEEP, H100, FIT), 64, 64)[0]
    assert first.fits
    assert first.spread.shard * first.spread.tensor * first.spread.pipeline >= 16


@pytest.mark.parametrize(("parallel", "says"), [
    (Parallel(tensor=3), "divisible by tensor 3"), (Parallel(pipeline=64), "at least one of 32 blocks"),
    (Parallel(accumulation_steps=3), "global batch"), (Parallel(accumulation_steps=64), "at least")])
def test_layout_that_cannot_run_is_refused(parallel, says):
    with pytest.raises(InvalidConfiguration, match=says):
        spread(parallel, DEEP, 64 if parallel.pipeline == 64 else 8, 8 * 4)


def test_samples_to_target_lie_on_the_lines_between_reference_points():
    rules = load_round("v5.1").benchmarks["llama31_8b"]
    assert samples_to_target(rules, 8, 1.0) == samples_to_target(rules, 16, 1.0)
    low, high = samples_to_target(rules, 32, 1.0), samples_to_target(rules, 64, 1.0)
    assert samples_to_target(rules, 48, 1.0) == pytest.approx((low + high) / 2)
    last = max(point.batch_size for point in rules.references)
    assert samples_to_target(rules, 2 * last, 1.0) == 2 * samples_to_target(rules, last, 1.0)


def test_published_entries_are_split_in_halves_that_both_hold_every_large_group():
    table = entries()
    assert len(table) >= 300
    half = [entry for entry in table if entry.for_fitting]
    assert 0.4 < len(half) / len(table) < 0.6


def test_committed_calibration_is_within_its_budget_and_follows_from_the_committed_entries():
    """Budget: the issue's 35 % median on entries that were not fitted to; the worst is named."""
    kept = calibration.kept()
    assert kept["tested_entries"] >= 20
    assert kept["median_error"] <= 0.35
    assert kept["worst"]["entry"]
    known = calibration.fits()
    sample = [entry for entry in entries() if not entry.for_fitting and entry.benchmark == "resnet"][:8]
    errors = sorted(abs(one.error) for one in calibration.tested(sample, known))
    assert errors[len(errors) // 2] <= 0.5


def test_fit_recovers_what_made_the_entries():
    work = workload("resnet")
    truth = Fit(0.3, 0.0005)
    made = []
    for count in (8, 16, 64, 256, 512):
        one = spread(Parallel(accumulation_steps=1), Layout(), count, 4096)
        seconds = step(Setting(work, Layout(), H100, truth), one, 4096).seconds
        made.append(Entry("v4.0", "x", f"s{count}", "resnet", "H100", count, 4096, 4096e3, seconds * 1000 / 60))
    found = calibration.fitted(made)["resnet"]
    assert found.utilisation == pytest.approx(0.3, rel=0.06)
    assert found.floor_s == pytest.approx(0.0005, rel=0.25)


def test_entries_survive_the_file(tmp_path):
    one = Entry("v4.0", "a,b", 'say "x"', "resnet", "H100", 8, 3200.0, 45e6, 12.5)
    write([one], tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().count("\n") == 2
    with pytest.raises(UserError, match="expected a results store"):
        list(taken(tmp_path / "none.sqlite", {}))


@pytest.mark.parametrize("name", measured())
def test_every_measured_benchmark_can_be_planned(name):
    answer = answered(Question(name, "H200", 8))
    assert answer.options
    assert answer.minutes(answer.options[0]) > 0
    assert set(assumptions(answer)) == {"peak", "utilisation", "bandwidth", "memory", "samples"}


def test_layout_asked_for_is_the_only_answer():
    answer = answered(Question("bert", "H200", 8, overrides=("parallel.shard=8",)))
    assert [option.spread.text for option in answer.options] == ["shard 8"]


def test_frozen_weights_take_memory_but_no_gradients():
    found = workload("llama2_70b_lora")
    assert found.parameters == 68_976_648_192 + 44_564_480
    assert found.weight_bytes == 2 * 68_976_648_192 + 4 * 44_564_480
    assert found.gradient_bytes < 0.001 * found.weight_bytes


def test_benchmark_whose_work_nobody_measured_is_refused():
    with pytest.raises(UserError, match=r"expected work\.json in the folder of benchmark 'ncf'"):
        answered(Question("ncf", "H200", 8))
