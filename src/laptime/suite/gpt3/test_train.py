"""The session: hyperparameters, schedule, starting checkpoint, evaluation, validation, decision 6, the official checker."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from judged import accepted, errors
from played import played_log

from laptime.benchmark import Context
from laptime.config import override
from laptime.errors import InvalidConfiguration
from laptime.events import Cadence, Plan, Point
from laptime.suite.gpt3 import published, train
from laptime.suite.gpt3.checkpoint import MOMENTS
from laptime.suite.gpt3.config import FAULTS, PRESETS, full, layout, mini, smoke, validate
from laptime.suite.gpt3.data import Micro, described, sizes, synthetic
from laptime.suite.gpt3.start import from_the_beginning, log_perplexity, write_start
from laptime.suite.gpt3.test_data import DOCUMENTS, TINY, network, values_of
from laptime.suite.gpt3.test_data import root as root  # noqa: PLC0414 - fixtures
from laptime.suite.gpt3.test_data import source as source  # noqa: PLC0414
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.layout import check
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.seeds import Seeds
from laptime.training.threads import one_thread

ALONE = World(0, 1, torch.device("cpu"))
SMALL = override(mini(), ["global_batch_size=6", "model.hidden=16", "model.heads=2", "model.intermediate=64", "model.vocabulary=64",
                          "model.tokens=60", "data.length=12", "data.eval_tokens=100", "speed.dtype=float64"])
GOLDEN = json.loads(Path(train.__file__).with_name("golden.json").read_text())


def session_of(config, root, world=ALONE, store=None):
    store = store or Store(root, Manifest("none", "", "", described(config), {}))
    plan = Plan(config.global_batch_size, Point(1, "epochs"), Cadence("epochs", (1,)), sizes(config, store.metadata))
    return train.build(config, Context(world, store, Seeds(5), plan, root))


def batch_of(config, step):
    """Six windows, in micro-batches as `config` says."""
    tokens = np.random.default_rng(step).integers(0, config.model.tokens, (6, config.data.length))
    labels = np.roll(tokens, -1, axis=1)
    labels[:, -1] = -100
    parts = config.parallel.accumulation_steps
    return Batch(tuple(Micro(torch.from_numpy(a), torch.from_numpy(b)) for a, b in
                       zip(np.split(tokens, parts), np.split(labels, parts), strict=True)), 6)


def first_losses(config, root, steps=6):
    session = session_of(config, root)
    return torch.tensor([session.step(batch_of(config, step)).item() for step in range(steps)], dtype=torch.float64)


def test_first_losses_are_the_golden_ones(tmp_path):
    assert first_losses(SMALL, tmp_path).tolist() == pytest.approx(GOLDEN["first_losses"]["adamw"], rel=1e-9)


def test_losses_do_not_depend_on_accumulation(tmp_path):
    whole, parts = (first_losses(override(SMALL, [f"parallel.accumulation_steps={n}"]), tmp_path) for n in (1, 3))
    assert torch.allclose(whole, parts, rtol=1e-10, atol=0)


def test_loss_falls_on_windows_seen_again_and_again(tmp_path):
    session = session_of(override(SMALL, ["optimizer.base_learning_rate=0.02"]), tmp_path)
    found = [session.step(batch_of(SMALL, 0)).item() for _ in range(60)]
    assert found[0] > 3.9
    assert found[-1] < 1.5


def test_loss_is_the_mean_over_all_places_but_the_last(tmp_path):
    batch = batch_of(SMALL, 1)
    scores = torch.randn(6, 12, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = train.Loss(6 * 11, ALONE)(lambda tokens, positions: scores, batch.micro[0])
    each = scores.log_softmax(-1)
    expected = -sum(each[i, j, batch.micro[0].tokens[i, j + 1]] for i in range(6) for j in range(11)) / 66
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)


def test_bfloat16_steps_stay_near_float32(tmp_path):
    half, single = (first_losses(override(SMALL, [f"speed.dtype={name}"]), tmp_path, 2) for name in ("bfloat16", "float32"))
    assert torch.allclose(half, single, rtol=0.01)
    assert not torch.equal(half, single)


def test_float8_steps_stay_near_bfloat16_and_hardly_depend_on_accumulation(tmp_path):
    narrow, half = (first_losses(override(SMALL, [f"speed.dtype={name}"]), tmp_path) for name in ("float8", "bfloat16"))
    assert torch.allclose(narrow, half, rtol=0.02)
    assert not torch.equal(narrow, half)
    parts = first_losses(override(SMALL, ["speed.dtype=float8", "parallel.accumulation_steps=3"]), tmp_path)
    assert torch.allclose(narrow, parts, rtol=3e-3)


# --- what is logged, and the schedule ---

def test_hyperparameters_of_the_full_preset_are_the_reference_ones(tmp_path):
    with torch.device("meta"):
        session = session_of(full(), tmp_path, World(0, 1, torch.device("meta")))
    assert session.hyperparameters == {
        "global_batch_size": 1536, "gradient_accumulation_steps": 1, "max_sequence_length": 2048, "opt_name": "adam",
        "opt_base_learning_rate": 2e-5, "opt_end_learning_rate": 2e-6, "opt_learning_rate_decay_steps": 108600,
        "opt_learning_rate_warmup_steps": 265, "opt_learning_rate_decay_schedule": "cosine with linear warmup",
        "opt_adam_beta_1": 0.9, "opt_adam_beta_2": 0.95, "opt_adam_epsilon": 1e-8, "opt_weight_decay": 0.1,
        "opt_gradient_clip_norm": 1.0, "init_checkpoint_step": 4000, "dropout": 0.0}


@pytest.mark.parametrize(("batch", "warmup", "decay", "start"), [
    (1536, 265, 108600, 4000), (2048, 199, 81450, 3000), (2304, 177, 72400, 2667), (2904, 141, 57442, 2116), (8192, 50, 20363, 750)])
def test_schedule_is_in_steps_of_the_batch_rounded_up(batch, warmup, decay, start):
    """By the formulas of the rules; some public logs round down instead."""
    found = train.build_schedule(replace(full(), global_batch_size=batch))
    assert (found.warmup_steps, found.decay_steps, found.start) == (warmup, decay, start)


def test_schedule_begins_where_the_checkpoint_ends():
    found = train.build_schedule(full())
    share = (4000 - 265) / (108600 - 265)
    expected = 2e-6 + 1.8e-5 * (1 + np.cos(np.pi * share)) / 2
    assert found.value(0) == pytest.approx(expected, rel=1e-12)
    assert found.value(0) == pytest.approx(2e-5, rel=0.003)  # deep in the flat top
    assert [found.value(step) for step in (108600 - 4000, 10**9)] == pytest.approx([2e-6, 2e-6])


def test_every_parameter_is_decayed(tmp_path):
    session = session_of(SMALL, tmp_path)
    (group,) = session.optimizer.param_groups
    assert group["weight_decay"] == 0.1
    assert len(group["params"]) == len(list(session.model.parameters()))


# --- the starting checkpoint ---

def test_session_begins_with_weights_moments_and_steps_of_the_checkpoint(root):
    session = session_of(TINY, root, store=Store.open(root))
    expected = values_of(network())
    for name, parameter in session.model.named_parameters():
        assert np.array_equal(parameter.detach().numpy(), expected[name]["weight"]), name
        state = session.optimizer.state[parameter]
        assert state["step"].item() == TINY.schedule.start_sequences / TINY.data.start_batch
        for which in MOMENTS:
            assert np.array_equal(state[which].numpy(), expected[name][which]), name


def test_start_that_is_ignored_leaves_random_weights_and_no_moments(root):
    session = session_of(override(TINY, ["model.start=false"]), root, store=Store.open(root))
    parameter = session.model.blocks[0].mlp.up.weight
    assert not np.array_equal(parameter.detach().numpy(), values_of(network())["blocks.0.mlp.up.weight"]["weight"])
    assert not session.optimizer.state[parameter]["exp_avg"].any()


@one_thread()  # the checkpoint's: biases of keys have gradients of rounding alone, which Adam makes steps of
def test_run_goes_on_as_if_the_checkpoint_had_not_been_in_between(tmp_path):
    """Twelve steps of one training equal six, a checkpoint, and six of a session that begins with it."""
    config = override(TINY, ["data.start_batch=2", "data.start_rate=0.01", "optimizer.base_learning_rate=0.01",
                             "optimizer.end_learning_rate=0.001", "schedule.start_sequences=12", "schedule.warmup_sequences=8",
                             "schedule.decay_sequences=40"])
    tokens = np.arange(4 * 5 * 6) % 60
    folder = tmp_path / published.START
    write_start(config, folder, tokens, tokens)
    root_ = Store(tmp_path, Manifest("none", "", "", {**described(config), "start_sequences": 12}, {}))
    listed = {f"{published.START}/{name}": None for name in ("language_model.encoder.final_layernorm.bias/.zarray",)}
    from laptime.training.data.store import entries

    store = Store(tmp_path, replace(root_.metadata, files=entries(tmp_path, listed, "weights")))
    session = session_of(config, tmp_path, store=store)
    from laptime.suite.gpt3.start import trained

    longer = replace(from_the_beginning(config), schedule=replace(config.schedule, start_sequences=0, limit_sequences=24))
    expected, _ = trained(longer, tokens)
    windows = tokens.reshape(-1, 4)
    order = Seeds(4000).numpy("windows", 0).permutation(len(windows))
    for chosen in order[12:24].reshape(6, 2):
        labels = np.roll(windows[chosen], -1, axis=1)
        labels[:, -1] = -100
        session.step(Batch((Micro(torch.from_numpy(windows[chosen]), torch.from_numpy(labels)),), 2))
    for (name, mine), other in zip(session.model.named_parameters(), expected.parameters(), strict=True):
        assert torch.allclose(mine, other, rtol=1e-5, atol=1e-7), name


def test_log_perplexity_of_the_session_is_that_of_the_preparation(root):
    store = Store.open(root)
    session = session_of(TINY, root, store=store)
    store.unlock()
    flat = np.concatenate(DOCUMENTS[published.EVAL])
    found = session.evaluation()["eval_accuracy"]
    assert found == pytest.approx(log_perplexity(session.model, flat, 4), rel=1e-6)
    each = session.model(torch.from_numpy(flat.reshape(4, 4)), torch.arange(4)).log_softmax(-1)
    assert found == pytest.approx(-np.mean([each[i, j, flat[4 * i + j + 1]].item() for i in range(4) for j in range(3)]), rel=1e-5)


# --- what cannot run ---

@pytest.mark.parametrize(("change", "says"), [
    ("global_batch_size=15", "divisible by processes x accumulation_steps = 2"),
    ("model.heads=5", "heads that divide hidden"),
    ("model.tokens=800", "model.tokens <= model.vocabulary"),
    ("optimizer.beta2=1.0", "beta2 in"),
    ("optimizer.clip_norm=0", "clip_norm > 0"),
    ("schedule.decay_sequences=100", "schedule.warmup_sequences < schedule.decay_sequences"),
    ("schedule.limit_sequences=0", "limit_sequences of at least 1"),
    ("data.length=1", "data.length of at least 2"),
    ("data.eval_batch_size=0", "of at least 1"),
])
def test_validation_refuses(change, says):
    with pytest.raises(InvalidConfiguration, match=says):
        validate(override(mini(), [change]), processes=2)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_valid_on_one_process(name):
    validate(PRESETS[name](), processes=1)


def test_reference_s_own_parallel_layout_fits():
    """Tensor 8, pipeline 8, sequence parallel, on 64 x 24 processes (reference defaults; 24 copies)."""
    config = override(full(), ["parallel.tensor=8", "parallel.pipeline=8", "parallel.sequence=true", "parallel.checkpointing=blocks",
                               "parallel.accumulation_steps=64"])
    check(config.parallel, layout(config), 1536)
    validate(config, processes=24)


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_valid_and_change_something(fault):
    assert override(mini(), FAULTS[fault]) != mini()
    validate(override(smoke(), FAULTS[fault]), processes=1)


def test_mini_differs_from_full_in_sizes_only():
    """Design: sizes and the values that scale with them. What does not scale stays."""
    reference, small = full(), mini()
    for group, names in (("model", ("norm_epsilon", "start", "positions_known")),
                         ("optimizer", ("beta1", "beta2", "epsilon", "weight_decay", "clip_norm")),
                         ("data", ("shuffle_labels", "shift_labels"))):
        for name in names:
            assert getattr(getattr(small, group), name) == getattr(getattr(reference, group), name), name
    assert small.optimizer.end_learning_rate == pytest.approx(0.1 * small.optimizer.base_learning_rate)
    assert small.schedule.warmup_sequences < small.schedule.start_sequences < small.schedule.decay_sequences
    assert small.model.intermediate == 4 * small.model.hidden


def test_synthetic_windows_have_the_shape_of_real_ones():
    tokens, labels = synthetic(SMALL, 3, ALONE)
    assert tokens.shape == labels.shape == (3, 12)
    assert int(tokens.max()) < SMALL.model.tokens


# --- the official checker (dev extra) reads logs of a stand-in session at the full preset ---

ROUNDS = ["v3.0", "v3.1", "v4.0", "v4.1"]


@pytest.mark.parametrize("round_name", ROUNDS)
def test_official_checker_and_ours_accept_the_log_of_a_full_run(tmp_path, round_name):
    path = tmp_path / "result_0.txt"
    assert played_log(path, "gpt3", round_name, fails=2, passes=2.6897, failing=2.7).status == "converged"
    assert accepted(path, round_name)
    for level in ("official", "rules"):
        assert errors(path, round_name=round_name, level=level) == []


@pytest.mark.parametrize("key", ["opt_adam_beta_1", "init_checkpoint_step", "max_sequence_length", "eval_samples"])
def test_official_checker_and_ours_refuse_a_log_without_a_key(tmp_path, key):
    path = tmp_path / "result_0.txt"
    played_log(path, "gpt3", "v4.1", fails=2, passes=2.6897, failing=2.7)
    lines = [line for line in path.read_text().splitlines(keepends=True) if f'"key": "{key}"' not in line]
    path.write_text("".join(lines))
    assert not accepted(path, "v4.1")
    assert errors(path, round_name="v4.1")


@pytest.mark.parametrize(("batch", "rate"), [(1536, 2e-5), (2904, 2e-5), (4096, 3e-5), (8192, 3e-5)])
def test_lines_of_a_full_run_count_tokens_from_0(tmp_path, batch, rate):
    path = tmp_path / "result_0.txt"
    changes = [f"global_batch_size={batch}", f"optimizer.base_learning_rate={rate}", f"optimizer.end_learning_rate={rate / 10}"]
    played_log(path, "gpt3", "v4.1", changes, fails=2, passes=2.6897, failing=2.7)
    records = [json.loads(line[8:]) for line in path.read_text().splitlines()]

    def found(key):
        return [{name: value for name, value in record["metadata"].items() if name not in ("file", "lineno")}
                for record in records if record["key"] == key]

    step = -(-24576 // batch) * batch * 2048  # fact: every 24,576 sequences, in whole batches
    assert found("eval_accuracy") == [{"epoch_num": step * i} for i in (1, 2, 3)]
    assert found("block_start") == [{"first_epoch_num": step * i, "epoch_count": step} for i in (0, 1, 2)]
    assert found("block_stop") == [{"first_epoch_num": step * i} for i in (0, 1, 2)]
    assert found("epoch_start") == found("epoch_stop") == [{"epoch_num": 0}]
    assert batch != 1536 or step == 50_331_648
