"""The logs of a stand-in session at the full preset, judged by the official checker in every round; presets; speech."""


import numpy as np
import pytest
from judged import accepted, errors
from played import played_log

from laptime.config import override
from laptime.errors import InvalidConfiguration
from laptime.rules.load import load_round
from laptime.suite.rnnt.audio import read_audio
from laptime.suite.rnnt.config import PRESETS, full, mini, smoke, v1_0, validate
from laptime.suite.rnnt.speech import drawn, write_published

ROUNDS = ["v1.0", "v1.1", "v2.0", "v2.1", "v3.0", "v3.1"]


@pytest.mark.parametrize("round_name", ROUNDS)
def test_official_checker_and_ours_accept_the_log_of_a_stand_in_session(tmp_path, round_name):
    path = tmp_path / "result_0.txt"
    assert played_log(path, "rnnt", round_name, fails=40, passes=0.0579).status == "converged"
    assert accepted(path, round_name)
    for level in ("official", "rules"):
        assert errors(path, level=level) == []
    assert path.read_text().count('"weights_initialization"') == (7 if round_name < "v3.0" else 0)


@pytest.mark.parametrize(("change", "says"), [
    ("optimizer.epsilon=1e-8", "optimizer.epsilon"), ("data.speed_low=0.9", "data.speed_low"),
    ("optimizer.clip_norm=2", "opt_gradient_clip_norm"), ("data.max_symbols=200", "data.max_symbols")])
def test_closed_run_at_the_full_preset_with_another_value_does_not_start(tmp_path, change, says):
    from laptime.errors import IllegalRun

    with pytest.raises(IllegalRun, match=says):
        played_log(tmp_path / "result_0.txt", "rnnt", "v3.1", [change], passes=0.0579)


def test_run_without_clipping_is_legal_and_says_infinity(tmp_path):
    path = tmp_path / "result_0.txt"
    played_log(path, "rnnt", "v3.1", ["optimizer.clip_norm=0"], passes=0.0579)
    assert accepted(path, "v3.1")
    assert '"opt_gradient_clip_norm", "value": Infinity' in path.read_text()


def test_reference_points_of_the_latest_round_are_the_published_ones():
    points = {point.batch_size: point.values for point in load_round("v3.1").benchmarks["rnnt"].references}
    assert sorted(points) == [512, 1024, 1536, 2048, 3072, 6144]
    assert sorted(points[512]) == [37, 39, 39, 40, 40, 40, 40, 40, 40, 41, 41, 41, 42, 42, 43, 43, 44, 46, 51, 52]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_valid_on_one_process(name):
    validate(PRESETS[name](), processes=1)


def test_first_round_differs_in_its_buckets_only():
    assert override(v1_0(), ["data.buckets=1"]) == full()


def test_mini_keeps_audio_pipeline_and_optimizer_constants():
    reference, small = full(), mini()
    sizes = {"train_utterances", "eval_utterances", "eval_batch_size", "resample_lobes", "words_low", "words_high"}
    assert {key for key in vars(reference.data) if getattr(reference.data, key) != getattr(small.data, key)} <= sizes
    kept = ("beta1", "beta2", "epsilon", "weight_decay", "clip_norm")
    assert all(getattr(small.optimizer, key) == getattr(reference.optimizer, key) for key in kept)
    assert small.schedule.minimum == reference.schedule.minimum


@pytest.mark.parametrize(("change", "says"), [
    ("global_batch_size=15", "divisible by processes x accumulation_steps = 2"),
    ("global_batch_size=4000000", "at most the training utterances"),
    ("ema_factor=1", "ema_factor"), ("model.encoder_width=0", "model.encoder_width of at least 1"),
    ("model.joint_dropout=1", "model.joint_dropout in"), ("schedule.gamma=0", "schedule.gamma"),
    ("data.train_utterances=100,200", "one of data.train_utterances for each"), ("data.buckets=0", "data.buckets"),
    ("data.speed_low=1.2", "data.speed_low <= data.speed_high"), ("data.window=513", "data.window"),
    ("data.frequency_mask_high=81", "data.frequency_mask_high"), ("data.time_mask_high=1.5", "data.time_mask_high"),
    ("data.words_low=9", "data.words_low"), ("optimizer.clip_norm=-1", "clip_norm"), ("model.vocabulary=70000", "model.vocabulary")])
def test_validation_refuses(change, says):
    with pytest.raises(InvalidConfiguration, match=says):
        validate(override(mini(), [change]), processes=2)


def test_generated_speech_is_published_as_librispeech_is(tmp_path):
    config = override(smoke().data, ["train_utterances=3,2,1", "eval_utterances=2"])
    first = write_published(config, tmp_path / "a", 9)
    assert write_published(config, tmp_path / "b", 9) == first != write_published(config, tmp_path / "c", 10)
    names = sorted(str(path.relative_to(tmp_path / "a")) for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert names[:2] == ["dev-clean/4000/104000/4000-104000-0000.flac", "dev-clean/4000/104000/4000-104000-0001.flac"]
    assert len(names) == 8 + 4
    made = drawn(config, 9, 0)
    path = tmp_path / "a" / "train-clean-100" / "1000" / "101000" / "1000-101000-0000.flac"
    assert np.array_equal(read_audio(path, 16000), made.samples)
    assert path.with_name("1000-101000.trans.txt").read_text().splitlines()[0] == f"1000-101000-0000 {made.text}"


def test_numbers_of_evaluation_are_never_said_in_training():
    config = override(smoke().data, ["train_utterances=150,0,0", "eval_utterances=50", "words_low=2", "words_high=2"])
    texts = [drawn(config, 1, index).text for index in range(200)]
    assert not set(texts[:150]) & set(texts[150:])
