"""What each process holds of a model, and that state, norms and counts are those of the whole."""

import forms
import pytest
import torch

from laptime.training.distributed.world import World

pytestmark = pytest.mark.seconds
ALONE = World(0, 1, torch.device("cpu"))
FORMS = ["parallel.shard=2", "parallel.tensor=2", "parallel.pipeline=2 tied=false", "parallel.pipeline=2"]


@pytest.mark.parametrize("form", FORMS)
def test_warm_up_is_undone_by_restore_on_every_process(pair, form):
    for changed, different, equal, names in pair.run("forms:decoder_warm_up", form.split()):
        assert changed
        assert different == []
        assert equal
        assert any(name.startswith("optimizer.") for name in names)


@pytest.mark.parametrize("form", FORMS)
def test_norms_and_sizes_are_those_of_the_whole_model(pair, form):
    overrides = form.split()
    whole = forms.decoder_weights(ALONE, [one for one in overrides if one.startswith("tied")])
    answers = pair.run("forms:decoder_weights", overrides)
    for answer in answers:
        assert all(abs(value - whole["norms"][name]) < 1e-12 for name, value in answer["norms"].items())
        assert answer["all"] == pytest.approx(whole["all"], rel=1e-12)
        assert answer["here"] < whole["here"]
    elements = [answer["elements"] for answer in answers]
    assert (sum(elements) if "pipeline" in form else elements[0]) == whole["elements"]
