"""Every way to spread a model gives the losses of one process, and the evaluation after them, on each process."""

import forms
import pytest
import torch

from laptime.training.distributed.world import World

pytestmark = pytest.mark.seconds
STEPS = 20
ALONE = World(0, 1, torch.device("cpu"))
TWO = ["data=2", "accumulation_steps=2", "shard=2", "shard=2 accumulation_steps=2 checkpointing=blocks", "tensor=2",
       "tensor=2 sequence=true", "context=2", "context=2 shard=1", "context=2 keys=ring", "pipeline=2 accumulation_steps=4",
       "pipeline=2 accumulation_steps=4 schedule=gpipe", "pipeline=2 checkpointing=blocks"]
FOUR = ["data=2 shard=2", "tensor=2 sequence=true context=2", "tensor=2 pipeline=2 accumulation_steps=4",
        "tensor=2 sequence=true pipeline=2 accumulation_steps=2",
        "shard=2 pipeline=2 accumulation_steps=4 checkpointing=blocks", "tensor=2 shard=2 accumulation_steps=2",
        "context=2 shard=2", "context=4 keys=ring", "context=2 tensor=2 keys=ring checkpointing=blocks",
        "context=2 pipeline=2 accumulation_steps=2", "data=2 pipeline=2 accumulation_steps=2",
        "pipeline=4 accumulation_steps=8", "pipeline=4 accumulation_steps=2"]
UNTIED = ["tied=false", "optimizer=adam", "meta=false"]


@pytest.fixture(scope="module")
def reference():
    """Losses of one process for some overrides, computed once."""
    torch.set_num_threads(1)
    known = {}

    def of(*overrides):
        if overrides not in known:
            known[overrides] = forms.decoder_losses(ALONE, list(overrides), STEPS)
        return known[overrides]

    return of


def worst(gang, expected, form, overrides=()):
    """Largest relative difference of any loss on any process."""
    answers = gang.run("forms:decoder_losses", [*overrides, *(f"parallel.{one}" for one in form.split())], STEPS)
    return max(abs(a - b) / abs(b) for found in answers for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("form", TWO)
def test_losses_of_two_processes_equal_those_of_one(pair, reference, form):
    assert worst(pair, reference(), form) <= 1e-10


@pytest.mark.parametrize("form", [*FOUR[:3], *(pytest.param(form, marks=pytest.mark.slow) for form in FOUR[3:])])
def test_losses_of_four_processes_equal_those_of_one(quad, reference, form):
    assert worst(quad, reference(), form) <= 1e-10


@pytest.mark.parametrize("form", ["shard=2", "tensor=2 sequence=true", "pipeline=2 accumulation_steps=2"])
def test_losses_with_separate_head_and_adam_equal_those_of_one(pair, reference, form):
    assert worst(pair, reference(*UNTIED), form, UNTIED) <= 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("form", TWO)
def test_losses_in_float32_equal_within_1e_5(pair, reference, form):
    single = ["speed.dtype=float32"]
    assert worst(pair, reference(*single), form, single) <= 1e-5


def test_losses_depend_on_what_was_learnt(reference):
    other = reference("optimizer=adam")
    assert max(abs(a - b) / b for a, b in zip(reference(), other, strict=True)) > 1e-4


@pytest.mark.parametrize("form", ["shard=2", "tensor=2", "pipeline=2 accumulation_steps=2", "data=2"])
def test_losses_in_bfloat16_stay_near_those_of_one(pair, reference, form):
    narrow = ["speed.dtype=bfloat16"]
    assert worst(pair, reference(*narrow), form, narrow) <= 1e-2
