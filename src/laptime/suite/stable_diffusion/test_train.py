"""The session: hyperparameters from live objects, loss, evaluation off the clock, validation, the official checker."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from judged import accepted, errors
from played import Played, TickingClock

from laptime.benchmark import Context
from laptime.config import RunRequest, override
from laptime.errors import InvalidConfiguration
from laptime.events import At, Cadence, Checkpoint, Epoch, Plan, Point
from laptime.harness.one_run import Job, Run
from laptime.harness.preflight import Preflight, resolve
from laptime.log.write import LogWriter
from laptime.rules.load import load_round
from laptime.suite.stable_diffusion import train
from laptime.suite.stable_diffusion.clip import Clip
from laptime.suite.stable_diffusion.config import FAULTS, PRESETS, full, mini, smoke, validate
from laptime.suite.stable_diffusion.data import sizes
from laptime.suite.stable_diffusion.diffusion import (
    Noising,
    drawn_latents,
    guided,
    kept_signal,
    sampled,
    sampling_levels,
)
from laptime.suite.stable_diffusion.evaluate import Pictures, empty_caption
from laptime.suite.stable_diffusion.peer import CASES
from laptime.suite.stable_diffusion.reader import Micro, synthetic
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.world import World
from laptime.training.loop import Batch
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
META = World(0, 1, torch.device("meta"))
TINY = override(mini(), ["global_batch_size=6", "model.width=16", "model.head_width=8", "model.groups=4", "model.transformer_groups=4",
                         "text.width=16", "text.heads=2", "speed.dtype=float64", "schedule.warmup_steps=3", "optimizer.base_learning_rate=1e-3"])
GOLDEN = json.loads(Path(train.__file__).with_name("golden.json").read_text())


def session_of(config, tmp_path, world=ALONE):
    facts = {"train_samples": config.data.train_samples, "eval_samples": config.data.eval_samples,
             "latent_side": config.latent_side, "length": config.text.length}
    store = Store(tmp_path, Manifest("none", "", "", facts, {}))
    plan = Plan(config.global_batch_size, Point(1, "epochs"), Cadence("epochs", (1,)), sizes(config, store.metadata))
    return train.build(config, Context(world, store, Seeds(5), plan, tmp_path))


@pytest.fixture(autouse=True)
def text_weights(monkeypatch):
    """Without a data set, the frozen text tower has no weights: they are set to something known."""
    build_text = train.build_text

    def filled(config, ctx, speed):
        tower = build_text(config, ctx, speed)
        generator = torch.Generator().manual_seed(11)
        if ctx.world.device.type != "meta":
            for parameter in tower.parameters():
                parameter.normal_(0.0, 0.1, generator=generator)
        return tower

    monkeypatch.setattr(train, "build_text", filled)


def batch_of(config, step):
    """Six samples, in micro-batches as `config` says."""
    whole = synthetic(config, 6, ALONE, seed=step)
    parts = torch.arange(6).chunk(config.parallel.accumulation_steps)
    return Batch(tuple(Micro(*(part[chosen] for part in whole)) for chosen in parts), 6)


def first_losses(config, tmp_path, steps=6):
    session = session_of(config, tmp_path)
    return torch.tensor([session.step(batch_of(config, step)).item() for step in range(steps)], dtype=torch.float64)


def test_first_losses_are_the_golden_ones(tmp_path):
    assert first_losses(TINY, tmp_path).tolist() == pytest.approx(GOLDEN["first_losses"]["adamw"], rel=1e-6)


def test_losses_do_not_depend_on_accumulation(tmp_path):
    whole, parts = (first_losses(override(TINY, [f"parallel.accumulation_steps={n}"]), tmp_path) for n in (1, 3))
    assert torch.allclose(whole, parts, rtol=1e-10, atol=0)


def test_loss_is_the_mean_squared_error_of_the_velocity(tmp_path):
    """An untrained network says zero, so the loss is the mean square of what it should say."""
    session, micro = session_of(TINY, tmp_path), synthetic(TINY, 6, ALONE)
    loss = session.loss.__self__
    mean, logarithm = micro.moments.double().chunk(2, 1)
    noise, spread = (draw(micro.keys, torch.float64) for draw in (loss.noise, loss.spread))
    latents = TINY.autoencoder.scale * (mean + (logarithm / 2).exp() * spread)
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    kept = torch.from_numpy(np.cumprod(1 - betas))[micro.levels][:, None, None, None]
    wanted = kept.sqrt() * noise - (1 - kept).sqrt() * latents
    assert session.loss(session.model, micro).item() == pytest.approx(wanted.square().mean().item(), rel=1e-6)


def test_loss_falls_on_samples_seen_again_and_again(tmp_path):
    session = session_of(TINY, tmp_path)
    found = [session.step(batch_of(TINY, 0)).item() for _ in range(60)]
    assert found[-1] < 0.7 * found[0]


def test_frozen_text_tower_gets_no_gradient_and_is_no_part_of_the_state(tmp_path):
    session = session_of(TINY, tmp_path)
    session.step(batch_of(TINY, 0))
    assert all(not parameter.requires_grad for parameter in session.loss.__self__.text.parameters())
    assert not [name for name in session.state().tensors if "token_embedding" in name]


def test_hyperparameters_of_the_full_preset_are_the_reference_ones(tmp_path):
    with torch.device("meta"):
        session = session_of(full(), tmp_path, META)
    found = dict(session.hyperparameters)
    assert found.pop("opt_base_learning_rate") == pytest.approx(1.25e-7 * 2048, rel=1e-12)  # logs carry the scaled rate
    assert found == {
        "global_batch_size": 2048, "gradient_accumulation_steps": 1, "opt_name": "adamw", "opt_adamw_beta_1": 0.9, "opt_adamw_beta_2": 0.999,
        "opt_adamw_epsilon": 1e-8, "opt_adamw_weight_decay": 0.01, "opt_learning_rate_warmup_steps": 1000}


def test_scaled_rate_counts_a_sample_once_however_the_batch_is_accumulated(tmp_path):
    """The reference multiplies devices, local batch and accumulation; a global batch here is that product."""
    with torch.device("meta"):
        session = session_of(override(full(), ["parallel.accumulation_steps=4"]), tmp_path, META)
    assert session.hyperparameters["opt_base_learning_rate"] == pytest.approx(1.25e-7 * 2048, rel=1e-12)
    assert session.hyperparameters["gradient_accumulation_steps"] == 4


@pytest.mark.parametrize("case", ["full width, less depth", "full"])
@pytest.mark.parametrize(("device", "layout"), [("cpu", "contiguous"), ("cuda", "auto")])
def test_full_size_is_measured_at_the_rate_of_a_run_under_way(case, device, layout):
    config = CASES[case](torch.device(device))
    assert config.speed.memory_format == layout
    assert config.schedule.warmup_steps == 0
    assert config.learning_rate == pytest.approx(full().learning_rate, rel=1e-12)
    assert config.model.width == full().model.width
    assert config.global_batch_size < 64


def test_full_preset_has_the_values_of_its_reference_point():
    config = full()
    (point,) = [one for one in load_round("v5.0").benchmarks["stable_diffusion"].references if one.batch_size == 2048]
    mine = {"opt_base_learning_rate": config.optimizer.base_learning_rate, "opt_adamw_beta_1": config.optimizer.beta1,
            "opt_adamw_beta_2": config.optimizer.beta2, "opt_adamw_weight_decay": config.optimizer.weight_decay,
            "opt_adamw_epsilon": config.optimizer.epsilon, "opt_learning_rate_warmup_steps": config.schedule.warmup_steps}
    assert {key: float(point.hyperparameters[key]) for key in mine} == mine
    assert max(point.values) < config.schedule.train_steps * config.global_batch_size


@pytest.mark.parametrize(("step", "share"), [(0, 1e-6), (1, (1 - 1e-6) / 1000 + 1e-6), (500, 0.5000005), (999, 0.999001), (1000, 1.0), (9000, 1.0)])
def test_rate_warms_up_linearly_and_stays(tmp_path, step, share):
    """The reference's formula: (1 - 1e-6) / 1000 n + 1e-6 of the base."""
    with torch.device("meta"):
        schedule = session_of(full(), tmp_path, META).schedule.schedule
    assert schedule.value(step) == pytest.approx(1.25e-7 * 2048 * share, rel=1e-6)


def test_build_is_deterministic(tmp_path):
    one, other = session_of(TINY, tmp_path), session_of(TINY, tmp_path)
    assert one.state().fingerprint() == other.state().fingerprint()


def test_checkpoint_is_evaluated_with_its_own_weights(tmp_path):
    session = session_of(TINY, tmp_path)
    path = session.checkpoints.save(At(samples=6))
    session.evaluation = lambda: {"FID": session.model.last.weight.abs().sum().item()}
    session.step(batch_of(TINY, 0))
    assert session.evaluation()["FID"] > 0
    assert session.evaluate(path) == {"FID": 0.0}
    assert session.evaluation()["FID"] > 0


# --- diffusion ---


def test_schedule_and_noising_equal_diffusers():
    from diffusers import DDPMScheduler

    theirs = DDPMScheduler(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction")
    assert torch.allclose(kept_signal(full().diffusion).float(), theirs.alphas_cumprod, rtol=1e-4)
    latents, noise, levels = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2), torch.tensor([0, 500, 999])
    seen, wanted = Noising(full().diffusion)(latents, noise, levels)
    assert torch.allclose(seen, theirs.add_noise(latents, noise, levels), rtol=1e-4, atol=1e-5)
    assert torch.allclose(wanted, theirs.get_velocity(latents, noise, levels), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("steps", [8, 50])
def test_sampling_equals_diffusers_ddim(steps):
    from diffusers import DDIMScheduler

    theirs = DDIMScheduler(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
                           clip_sample=False, set_alpha_to_one=False, steps_offset=1, timestep_spacing="leading")
    theirs.set_timesteps(steps)
    assert sampling_levels(steps, 1000) == theirs.timesteps.tolist()
    noise = torch.randn(2, 4, 3, 3, dtype=torch.float64)

    def velocity(seen, levels):
        return 0.3 * seen.roll(1, -1) + 0.001 * levels.to(seen.dtype)[:, None, None, None]

    other = noise
    for level in theirs.timesteps:
        other = theirs.step(velocity(other, level.expand(2)), level, other, eta=0.0).prev_sample
    assert torch.allclose(sampled(full().diffusion, steps, noise, velocity), other, rtol=1e-4, atol=1e-4)


def test_sampling_with_the_true_velocity_finds_the_latents():
    """Knowing the latents, each step keeps them: only the noise shrinks."""
    latents, noise = torch.randn(2, 4, 2, 2, dtype=torch.float64), torch.randn(2, 4, 2, 2, dtype=torch.float64)
    kept = kept_signal(full().diffusion)
    level = sampling_levels(50, 1000)[0]
    start = kept[level].sqrt() * latents + (1 - kept[level]).sqrt() * noise

    def velocity(seen, levels):
        signal, share = kept[levels[0]].sqrt(), (1 - kept[levels[0]]).sqrt()
        return signal * (seen - signal * latents) / share - share * latents

    found = sampled(full().diffusion, 50, start, velocity)
    assert torch.allclose(found, kept[0].sqrt() * latents + (1 - kept[0]).sqrt() * noise, rtol=1e-8)


def test_guidance_goes_away_from_the_empty_caption():
    predict = guided(lambda seen, levels, context: seen * context.mean(), torch.full((2, 1, 1), 3.0), torch.full((2, 1, 1), 1.0), 8.0)
    seen, levels = torch.ones(2, 1, 1, 1), torch.zeros(2)
    assert torch.allclose(predict(seen, levels), torch.full((2, 1, 1, 1), 2.0))
    split = guided(lambda seen, levels, context: context[:, :, :, None], torch.full((2, 1, 1), 3.0), torch.full((2, 1, 1), 1.0), 8.0)
    assert torch.allclose(split(seen, levels), torch.full((2, 1, 1, 1), 1 + 8.0 * 2))


def test_latents_are_drawn_with_clamped_variances_and_scaled():
    moments = torch.tensor([2.0, -100.0])[None, :, None, None]
    assert drawn_latents(moments, torch.ones(1, 1, 1, 1), 0.5).item() == pytest.approx(0.5 * (2 + math.exp(-15)))


def test_pictures_of_a_caption_follow_from_the_run_s_seed(tmp_path):
    session = session_of(override(TINY, ["speed.dtype=float32"]), tmp_path)
    pictures = session.evaluation.pictures
    coder = pictures_coder()
    captions = empty_caption(TINY).expand(3, -1)
    one, again, other = (pictures(coder, np.array(numbers), captions) for numbers in ([0, 1, 2], [0, 1, 2], [5, 1, 2]))
    assert torch.equal(one, again)
    assert not torch.equal(one[0], other[0])
    assert torch.allclose(one[1], other[1], atol=1e-5)
    assert isinstance(pictures, Pictures)


def pictures_coder():
    from laptime.suite.stable_diffusion.autoencoder import Autoencoder
    from laptime.suite.stable_diffusion.judging import shipped

    coder = Autoencoder(mini().autoencoder)
    coder.load_state_dict(shipped("autoencoder"))
    return coder


def test_similarity_is_the_plain_cosine():
    clip = Clip(mini().text, mini().vision)
    from laptime.suite.stable_diffusion.judging import shipped

    clip.load_state_dict(shipped("clip"))
    pictures, numbers = torch.rand(4, 3, 32, 32), torch.randint(1, 500, (4, 12))
    with torch.no_grad():
        images, words = clip.embedded_images(pictures), clip.embedded(numbers)
        found = clip.similarity(pictures, numbers)
    for i in range(4):
        a, b = images[i].tolist(), words[i].tolist()
        plain = sum(x * y for x, y in zip(a, b, strict=True)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
        assert found[i].item() == pytest.approx(plain, rel=1e-5)


# --- validation ---


@pytest.mark.parametrize(("change", "says"), [
    ("global_batch_size=15", "divisible by processes x accumulation_steps = 2"),
    ("global_batch_size=60000", "at most data.train_samples"),
    ("model.attention=true", "model.attention for 2 levels"),
    ("model.groups=3", "model.groups divides"),
    ("model.head_width=7", "model.head_width and model.transformer_groups"),
    ("text.heads=5", "heads that divide"),
    ("text.unused_layers=3", "unused_layers below"),
    ("vision.patch=5", "vision.patch that divides"),
    ("autoencoder.groups=5", "autoencoder.groups"),
    ("data.side=20", "can halve"),
    ("diffusion.learnt=nothing", "velocity or noise"),
    ("diffusion.last_beta=1.5", "diffusion.last_beta"),
    ("sampling.steps=7", "sampling.steps that divide"),
    ("optimizer.beta2=1.0", "beta2 in"),
    ("schedule.train_steps=0", "train_steps of at least 1"),
    ("data.eval_samples=1", "eval_samples of at least 2"),
    ("data.shards=0", "data.shards from 1"),
    ("data.uncaptioned=1", "uncaptioned in"),
])
def test_validation_refuses(change, says):
    with pytest.raises(InvalidConfiguration, match=says):
        validate(override(TINY, [change]), processes=2)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_valid_on_one_process(name):
    validate(PRESETS[name](), processes=1)


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_valid_and_change_something(fault):
    assert override(mini(), FAULTS[fault]) != mini()
    validate(override(smoke(), FAULTS[fault]), processes=1)


def test_mini_differs_from_full_in_sizes_only():
    reference, small = full(), mini()
    assert small.diffusion == reference.diffusion
    for group, names in (("model", ("conditioned", "timed")), ("text", ("unused_layers",)), ("optimizer", ("beta1", "beta2", "epsilon", "weight_decay")),
                         ("schedule", ("warmup_start",)), ("data", ("shuffle_captions",))):
        for name in names:
            assert getattr(getattr(small, group), name) == getattr(getattr(reference, group), name), name


# --- the official checker (dev extra) reads logs of a stand-in session at the full preset ---


class PlayedOffline(Played):
    """Checkpoints at every point of the plan; both metrics pass at the one after `fails`."""

    def train(self):
        at, batch, done = At(), self.plan.global_batch_size, 0
        yield Epoch(at)
        while not self.plan.exhausted(at):
            step = -(-self.plan.evaluations.next_after(at.samples) // batch)
            at, done = At(step * batch, 1, step), done + 1
            yield Checkpoint(at, Path(f"{done}.pt"))

    def evaluate(self, checkpoint):
        passed = int(checkpoint.stem) > self.fails
        return {"FID": self.passes if passed else 200.0, "CLIP": 0.16 if passed else 0.1}


def played_offline(path, round_name, *, fails=3, fid=88.5):
    request = RunRequest("stable_diffusion", round=round_name, device="meta", system="box", out=path.parent)
    flight = resolve(request)
    store = Store(path.parent, Manifest("stable_diffusion", "published", "0", GOLDEN["full_manifest"], {}))
    real = flight.benchmark

    def build(config, ctx):
        with torch.device("meta"):
            return PlayedOffline(real.build(config, ctx), ctx.plan, fails, fid)

    flight = Preflight(request, flight.round, flight.rules, replace(real, build=build), flight.config)
    job = Job(request, 0, 1234567, path, path.with_suffix(".json"), path.parent)
    with LogWriter(path, flight.round.dialect, flight.rules.log_name) as writer:
        run = Run(job, flight, META, store, sink=writer, emit=lambda event: None)
        run.clock = run.journal._clock = TickingClock()
        return run.execute()


def records(path):
    return [json.loads(line[8:]) for line in path.read_text().splitlines() if line.startswith(":::MLLOG")]


@pytest.mark.parametrize("round_name", ["v3.1", "v4.0", "v4.1", "v5.0"])
def test_official_checker_and_ours_accept_the_log_of_a_full_run(tmp_path, round_name):
    path = tmp_path / "result_0.txt"
    assert played_offline(path, round_name).status == "converged"
    assert accepted(path, round_name)
    for level in ("official", "rules"):
        assert errors(path, round_name=round_name, level=level) == []


def test_log_names_the_metric_on_each_line_and_ends_with_the_passing_checkpoint(tmp_path):
    path = tmp_path / "result_0.txt"
    outcome = played_offline(path, "v5.0")
    found = [(r["metadata"]["metric"], r["metadata"]["samples_count"], r["value"]) for r in records(path) if r["key"] == "eval_accuracy"]
    assert found[-2:] == [("FID", 2_048_000, 88.5), ("CLIP", 2_048_000, 0.16)]
    assert [place for _, place, _ in found] == [512_000, 512_000, 1_024_000, 1_024_000, 1_536_000, 1_536_000, 2_048_000, 2_048_000]
    (stop,) = [r for r in records(path) if r["key"] == "run_stop"]
    (start,) = [r for r in records(path) if r["key"] == "run_start"]
    first = next(r for r in records(path) if r["key"] == "eval_accuracy")
    assert start["time_ms"] < stop["time_ms"] < first["time_ms"]
    assert outcome.seconds == (stop["time_ms"] - start["time_ms"]) / 1000


@pytest.mark.parametrize("key", ["opt_adamw_beta_1", "opt_learning_rate_warmup_steps", "opt_name"])
def test_official_checker_and_ours_refuse_a_log_without_a_key(tmp_path, key):
    path = tmp_path / "result_0.txt"
    played_offline(path, "v5.0")
    lines = [line for line in path.read_text().splitlines(keepends=True) if f'"key": "{key}"' not in line]
    path.write_text("".join(lines))
    assert not accepted(path, "v5.0")
    assert errors(path, round_name="v5.0")


def test_log_that_misses_one_metric_is_refused_by_both(tmp_path):
    path = tmp_path / "result_0.txt"
    played_offline(path, "v5.0")
    path.write_text(path.read_text().replace("88.5", "90.5"))
    assert not accepted(path, "v5.0")
    assert errors(path, round_name="v5.0")


def test_run_that_never_passes_evaluates_every_checkpoint_and_is_no_success(tmp_path):
    path = tmp_path / "result_0.txt"
    assert played_offline(path, "v5.0", fails=99).status == "not converged"
    assert len([r for r in records(path) if r["key"] == "eval_accuracy"]) == 2 * 10
    assert errors(path, round_name="v5.0") == []
