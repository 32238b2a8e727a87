"""The session: hyperparameters from live objects, schedule, averaged weights, NaN, evaluation, decision 6."""

import json
import math
from pathlib import Path

import pytest
import torch

from laptime.benchmark import Context
from laptime.config import override
from laptime.events import Cadence, Plan, Point
from laptime.suite.rnnt import peer, train
from laptime.suite.rnnt.config import full, mini
from laptime.suite.rnnt.data import EvalBatch, sizes, synthetic_batches
from laptime.suite.rnnt.reader import Micro
from laptime.suite.rnnt.schedule import WarmupHoldDecay
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.nn.transducer_loss import lattice, transducer_loss, transition_scores
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
TINY = override(mini(), ["global_batch_size=4", "model.encoder_width=8", "model.prediction_width=6", "model.joint_width=8",
                         "data.mels=10", "data.frequency_mask_high=3", "schedule.warmup_epochs=0", "speed.dtype=float64",
                         "model.vocabulary=9", "data.eval_utterances=2"])
NO_DROPOUT = ["model.encoder_dropout=0", "model.prediction_dropout=0", "model.joint_dropout=0"]


def facts_of(config):
    return {"train_samples": sum(config.data.train_utterances), "eval_samples": config.data.eval_utterances,
            "vocabulary": config.model.vocabulary, "pieces": ["<unk>", *(f"▁{chr(97 + i)}" for i in range(8))],
            "max_duration": config.data.max_duration, "longest_train": 3000, "longest_eval": 3000, "longest_labels": 4}


def session_of(config, tmp_path, world=ALONE):
    store = Store(tmp_path, Manifest("none", "", "", facts_of(config), {}))
    plan = Plan(config.global_batch_size, Point(1, "epochs"), Cadence("epochs", (1,)), sizes(config, store.metadata))
    return train.build(config, Context(world, store, Seeds(5), plan, tmp_path))


def micro_of(parts, step=0):
    """Four utterances of noise in `parts` micro-batches."""
    generator = torch.Generator().manual_seed(step)
    x = torch.randn(9, 4, 30, generator=generator)
    frames, labels = [9, 8, 5, 3], [[1, 2], [3], [4, 5, 6], [7]]
    size = 4 // parts
    made = []
    for start in range(0, 4, size):
        own = slice(start, start + size)
        padded = torch.zeros(3, size, dtype=torch.int64)
        for b, ids in enumerate(labels[own]):
            padded[:len(ids), b] = torch.tensor(ids)
        made.append(Micro(x[:, own], torch.tensor(frames[own]), padded, torch.arange(start, start + size, dtype=torch.int32),
                          lattice([-(-t // 2) for t in frames[own]], labels[own])))
    return tuple(made)


def first_losses(config, tmp_path, steps=6):
    session = session_of(config, tmp_path)
    parts = config.parallel.accumulation_steps
    return [session.step(Batch(micro_of(parts, step), 4)).item() for step in range(steps)]


def test_first_losses_are_the_golden_ones(tmp_path):
    golden = json.loads(Path(train.__file__).with_name("golden.json").read_text())["first_losses"]["losses"]
    assert first_losses(override(TINY, NO_DROPOUT), tmp_path, len(golden)) == pytest.approx(golden, rel=1e-9)


def test_losses_do_not_depend_on_accumulation_dropout_included(tmp_path):
    whole, parts = first_losses(TINY, tmp_path), first_losses(override(TINY, ["parallel.accumulation_steps=2"]), tmp_path)
    assert whole == pytest.approx(parts, rel=1e-10)
    assert whole != pytest.approx(first_losses(override(TINY, NO_DROPOUT), tmp_path), rel=1e-3)


def test_loss_falls_on_a_batch_seen_again_and_again(tmp_path):
    session = session_of(override(TINY, [*NO_DROPOUT, "optimizer.base_learning_rate=0.05"]), tmp_path)
    losses = [session.step(Batch(micro_of(1), 4)).item() for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]


def test_schedule_has_the_reference_s_values():
    """Full preset, 272 steps per epoch: warm-up of 6 epochs, 40 held, then stairs, and the floor."""
    schedule = train.build_schedule(full().optimizer, full().schedule, 272)
    assert schedule.value(0) == pytest.approx(max(1e-5, 0.004 / 1633))
    assert schedule.value(815) == pytest.approx(0.004 * 816 / 1633)
    assert schedule.value(1631) == pytest.approx(0.004 * 1632 / 1633)
    assert [schedule.value(step) for step in (1632, 46 * 272 - 1)] == [0.004, 0.004]
    assert [schedule.value(step) for step in (46 * 272, 47 * 272 - 1)] == pytest.approx([0.004 * 0.935] * 2)
    assert schedule.value(99 * 272) == pytest.approx(0.004 * 0.935**54)
    assert schedule.value(1000 * 272) == 1e-5


def test_schedule_without_warm_up_starts_at_the_base():
    schedule = WarmupHoldDecay(base=1.0, warmup_epochs=0, hold_epochs=1, gamma=0.5, minimum=0.2, epoch_steps=2)
    assert [schedule.value(step) for step in range(8)] == [1, 1, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2]


def test_hyperparameters_of_the_full_preset_are_the_reference_ones(tmp_path):
    with torch.device("meta"):
        session = session_of(full(), tmp_path, World(0, 1, torch.device("meta")))
    assert session.hyperparameters == {
        "global_batch_size": 1024, "gradient_accumulation_steps": 8, "opt_name": "lamb", "opt_base_learning_rate": 0.004,
        "opt_lamb_epsilon": 1e-9, "opt_lamb_learning_rate_decay_poly_power": 0.935, "opt_lamb_learning_rate_hold_epochs": 40,
        "opt_learning_rate_warmup_epochs": 6, "opt_weight_decay": 0.001, "opt_lamb_beta_1": 0.9, "opt_lamb_beta_2": 0.999,
        "opt_gradient_clip_norm": 1.0, "opt_learning_rate_alt_decay_func": True, "opt_learning_rate_alt_warmup_func": True,
        "opt_lamb_learning_rate_min": 1e-5, "data_train_max_duration": 16.7, "data_train_num_buckets": 1,
        "data_speed_perturbaton_min": 0.85, "data_speed_perturbaton_max": 1.15, "data_spec_augment_freq_n": 2,
        "data_spec_augment_freq_min": 0, "data_spec_augment_freq_max": 20, "data_spec_augment_time_n": 10,
        "data_spec_augment_time_min": 0.0, "data_spec_augment_time_max": 0.03, "model_eval_ema_factor": 0.999,
        "model_weights_initialization_scale": 0.5, "eval_max_prediction_symbols": 300}


def test_sizes_of_the_full_preset_are_those_of_published_logs():
    """278,528 utterances at batch 1,024, 2,048 and 4,096; 278,016 at 1,536 (published logs)."""
    facts = json.loads(Path(train.__file__).with_name("golden.json").read_text())["full_manifest"]
    found = {batch: sizes(override(full(), [f"global_batch_size={batch}"]), Manifest("x", "", "", facts, {})).train_samples
             for batch in (1024, 2048, 4096, 1536)}
    assert found == {1024: 278528, 2048: 278528, 4096: 278528, 1536: 278016}


def test_every_tensor_is_decayed_and_adapted():
    model = train.RNNT(TINY.model, 30)
    (group,) = train.build_optimizer(TINY.optimizer, model).param_groups
    assert len(group["params"]) == len(list(model.parameters()))
    assert group["adapt"]


def test_average_follows_every_step_and_belongs_to_the_state(tmp_path):
    session = session_of(override(TINY, NO_DROPOUT), tmp_path)
    state, average = session.state(), session.evaluation.model
    before = average.joint_net.weight.clone()
    session.step(Batch(micro_of(1), 4))
    expected = 0.97 * before + 0.03 * session.model.joint_net.weight
    assert torch.allclose(average.joint_net.weight, expected, rtol=1e-12)
    assert state.tensors["average.joint_net.weight"].data_ptr() == average.joint_net.weight.data_ptr()


def test_micro_batch_whose_loss_is_not_a_number_teaches_nothing_and_the_other_does(tmp_path):
    one, other = (session_of(override(TINY, [*NO_DROPOUT, "parallel.accumulation_steps=2"]), tmp_path) for _ in range(2))
    sound, spoilt = micro_of(2)[0], micro_of(2)[1]
    spoilt = spoilt._replace(features_TBF=torch.full_like(spoilt.features_TBF, math.nan))
    losses = train.Loss(4, torch.float64)(one.model, spoilt)
    assert losses.item() == 0
    assert losses.requires_grad
    one.step(Batch((sound,), 4))
    before = {name: p.clone() for name, p in other.model.named_parameters()}
    other.step(Batch((spoilt,), 4))
    for name, parameter in other.model.named_parameters():  # only weight decay moved it, along itself
        change = parameter - before[name]
        assert parameter.isfinite().all(), name
        cosine = (change * before[name]).sum() / (change.norm() * before[name].norm())
        assert cosine.item() == pytest.approx(-1.0, abs=1e-9), name
    beside = session_of(override(TINY, [*NO_DROPOUT, "parallel.accumulation_steps=2"]), tmp_path)
    beside.step(Batch((sound, spoilt), 4))
    for (name, parameter), expected in zip(beside.model.named_parameters(), one.model.parameters(), strict=True):
        assert torch.equal(parameter, expected), name


def test_gradient_is_clipped_by_its_whole_norm_and_one_that_is_not_finite_becomes_zero():
    model = torch.nn.Linear(2, 1).double()
    guard = train.GradientGuard(model, 1.0)
    for scale, expected in ((3.0, 1.0), (0.1, 0.1 * 3**0.5)):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, scale)
        guard()
        norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters()))
        assert norm == pytest.approx(expected)
    model.bias.grad = torch.full_like(model.bias, math.inf)
    guard()
    assert not any(p.grad.any() for p in model.parameters())


def test_evaluation_is_the_word_error_rate_of_the_averaged_weights(tmp_path):
    session = session_of(TINY, tmp_path)
    evaluation = session.evaluation
    with torch.no_grad():
        for parameter in evaluation.model.parameters():
            parameter.zero_()
        evaluation.model.joint_net.bias[-1] = 1.0  # blank everywhere

    class Batches(list):
        def transcripts(self):
            return ["a b", "c d"]

    x = torch.zeros(4, 2, 30)
    evaluation.batches = Batches([EvalBatch(x, torch.tensor([4, 3]), (0, 1))])
    assert evaluation() == {"eval_accuracy": 1.0}
    with torch.no_grad():
        evaluation.model.joint_net.bias[2] = 2.0  # "b", up to the limit of each of two frames
    assert evaluation()["eval_accuracy"] == pytest.approx((2 * 60 - 1) / 4)
    assert session.model.training


def test_build_is_deterministic_and_names_the_reference_s_parts(tmp_path):
    one, other = session_of(TINY, tmp_path), session_of(TINY, tmp_path)
    assert one.state().fingerprint() == other.state().fingerprint()
    assert len(one.initialised) == 7


def test_bfloat16_steps_stay_near_float32(tmp_path):
    half, single = (first_losses(override(TINY, [f"speed.dtype={name}", *NO_DROPOUT]), tmp_path, 3) for name in ("bfloat16", "float32"))
    assert half == pytest.approx(single, rel=0.05)
    assert half != single


def test_synthetic_batches_feed_a_step(tmp_path):
    session = session_of(override(TINY, ["speed.dtype=float32"]), tmp_path)
    manifest = Manifest("none", "", "", facts_of(TINY), {})
    assert all(math.isfinite(session.step(batch).item()) for batch in synthetic_batches(TINY, manifest, ALONE))


def test_measured_batch_has_the_lengths_of_the_data(tmp_path):
    """Published: 12.3 s on average with the long ones (961 hours of 281,241), none beyond the limit; the batch keeps all."""
    seconds, labels = zip(*peer.typical(16.7), strict=True)
    assert 11.0 < sum(seconds) / len(seconds) < 12.3
    assert max(seconds) <= 16.7
    assert sum(labels) == pytest.approx(4.2 * sum(seconds), rel=0.02)
    micro = peer.measured_micro(mini(), torch.device("cpu"))
    assert peer.lengths_of(micro).labels.tolist() == [labels for _, labels in peer.MINI]
    assert len(set(micro.frames_B.tolist())) > 8
    speeds = micro.frames_B * 0.03 / torch.tensor([seconds for seconds, _ in peer.MINI])
    assert speeds.min() > 0.85 - 0.05  # a frame more or less
    assert speeds.max() < 1.15 + 0.1


def test_peer_s_loss_over_the_padded_grid_is_ours():
    micro = micro_of(1)[0]
    logits = torch.randn(4, 5, 4, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    cells = micro.cells
    packed = logits[cells.sequence, cells.frame // 4, cells.label // 4]
    ours = transducer_loss(*transition_scores(packed, cells, slice(None)), cells).mean()
    theirs = peer.textbook_loss(logits, micro.labels_UB.T, peer.lengths_of(micro))
    assert theirs.item() == pytest.approx(ours.item(), rel=1e-5)
