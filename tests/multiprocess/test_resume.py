"""Resuming from a checkpoint equals not having stopped, bit for bit, in every form; and what is no checkpoint."""

import json

import forms
import pytest
import tiny_decoder
import torch
from sessions import prepared

from laptime.errors import DataProblem
from laptime.suite import folders
from laptime.training.distributed.checkpoint import Saver, checkpoints, load
from laptime.training.distributed.world import World

pytestmark = pytest.mark.seconds
ALONE = World(0, 1, torch.device("cpu"))
RUNNABLE = [name for name, folder in folders().items() if (folder / "benchmark.py").is_file()]


def test_one_process_resumes_exactly(tmp_path):
    whole, resumed, stopped = forms.decoder_resumed(ALONE, [], tmp_path, 5, 2)
    assert whole == resumed != stopped


@pytest.mark.parametrize("form", ["data=2", "shard=2", "tensor=2", "pipeline=2 accumulation_steps=2", "context=2 shard=1"])
def test_two_processes_resume_exactly(pair, form, tmp_path):
    overrides = [f"parallel.{one}" for one in form.split()]
    for whole, resumed, stopped in pair.run("forms:decoder_resumed", overrides, str(tmp_path), 5, 2):
        assert whole == resumed != stopped


@pytest.mark.parametrize("form", ["data=2 shard=2", "tensor=2 shard=2", "shard=2 pipeline=2 accumulation_steps=2"])
def test_four_processes_resume_exactly(quad, form, tmp_path):
    overrides = [f"parallel.{one}" for one in form.split()]
    for whole, resumed, stopped in quad.run("forms:decoder_resumed", overrides, str(tmp_path), 5, 2):
        assert whole == resumed != stopped


def test_one_process_resumes_into_another_number_of_epochs_exactly(tmp_path):
    whole, resumed, _ = forms.decoder_resumed(ALONE, [], tmp_path, 6, 6)  # the last batch of an epoch
    assert whole == resumed


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNNABLE)
def test_benchmark_resumes_exactly_on_two_processes(pair, name, tmp_path):
    layout = json.loads((folders()[name] / "golden.json").read_text())["equal_spans"]
    prepared(name, layout["preset"], tmp_path / "data", layout["overrides"])
    answers = pair.run("forms:benchmark_resumed", name, layout["preset"], str(tmp_path / "data"), str(tmp_path / "kept"),
                       layout["overrides"])
    if answers[0] is None:
        pytest.skip("has a generator of its own, which starts anew")
    for told, again, whole, resumed in answers:
        assert told == again
        assert any(event.startswith(("Evaluated", "Checkpoint")) for event in told)
        assert whole == resumed


def test_only_the_last_whole_checkpoints_count(tmp_path):
    session, saver = tiny_decoder.session(tiny_decoder.Config(), ALONE), Saver(ALONE, tmp_path)
    for step in (1, 2, 10):
        saver.save(session.state(), step)
    saver.finish()
    (tmp_path / "step-11").mkdir()
    (tmp_path / "else").mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == ["step-2", "step-10"]


def test_what_is_no_checkpoint_is_one_line(tmp_path):
    state = tiny_decoder.session(tiny_decoder.Config(), ALONE).state()
    with pytest.raises(DataProblem, match="expected a checkpoint of this configuration") as error:
        load(state, tmp_path / "none", ALONE)
    assert "\n" not in str(error.value)


def test_checkpoint_of_another_model_is_refused(tmp_path):
    saver = Saver(ALONE, tmp_path)
    path = saver.save(tiny_decoder.session(tiny_decoder.Config(layers=2), ALONE).state(), 1)
    saver.finish()
    with pytest.raises(DataProblem, match="expected a checkpoint of this configuration"):
        load(tiny_decoder.session(tiny_decoder.Config(), ALONE).state(), path, ALONE)
