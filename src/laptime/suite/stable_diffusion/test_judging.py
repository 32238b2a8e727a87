"""The networks that define the mini target are what their command makes, or as good."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from laptime.suite.stable_diffusion import judging

MADE_WITH = ("2.13", "AVX512")  # torch and the instructions it used; others round differently, and training amplifies it
ELSEWHERE = not (torch.__version__.startswith(MADE_WITH[0])
                 and torch.backends.cpu.get_cpu_capability() == MADE_WITH[1])


def content(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def assert_equal(one, other):
    assert sorted(one) == sorted(other)
    assert [name for name in one if not np.array_equal(one[name], other[name])] == []


@pytest.fixture
def short(monkeypatch):
    """A few steps on a few pictures."""
    for name, value in {"PICTURES": 64, "HELD_OUT": 16, "FEATURE_STEPS": 2, "CLIP_STEPS": 2, "CODER_STEPS": 2}.items():
        monkeypatch.setattr(judging, name, value)


def made_again(name, folder):
    command = [sys.executable, "-m", "laptime.suite.stable_diffusion.judging", "--to", str(folder), name]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return content(folder / f"{name}.npz")


@pytest.mark.slow
@pytest.mark.skipif(ELSEWHERE, reason=f"the files were made with torch {MADE_WITH[0]} and {MADE_WITH[1]}")
@pytest.mark.parametrize("name", ["features", "clip"])
def test_judging_networks_of_the_repository_are_what_their_command_makes(name, tmp_path):
    assert_equal(made_again(name, tmp_path), content(judging.FOLDER / f"{name}.npz"))


@pytest.mark.slow
def test_the_autoencoder_made_again_is_as_good_as_that_of_the_repository(tmp_path):
    """Its committed file was trained with other settings, which are not known any more; the target rests on it."""
    pictures = judging.Examples(judging.mini(), judging.PICTURES, judging.HELD_OUT).pictures
    (ours, spread), (theirs, their_spread) = (
        quality(values, pictures) for values in (made_again("autoencoder", tmp_path), content(judging.FOLDER / "autoencoder.npz")))
    assert ours == pytest.approx(theirs, abs=0.3)
    assert spread == pytest.approx(their_spread, rel=0.1)


def quality(values, pictures):
    """(PSNR of pictures through an autoencoder, in dB; standard deviation of its latents)"""
    model = judging.Autoencoder(judging.mini().autoencoder)
    model.load_state_dict({name: torch.from_numpy(array.astype(np.float32)) for name, array in values.items()})
    with torch.no_grad():
        latents = model.moments(pictures).chunk(2, 1)[0]
        error = (model.decoded(latents * model.scale) - pictures).square().mean()
    return -10 * error.log10().item(), latents.std().item()


@pytest.mark.parametrize(("seed", "begun"), [(judging.SEED, True), (judging.SEED + 1, False)])
def test_committed_autoencoder_began_with_the_initial_weights_of_the_command(seed, begun):
    """So that what sets it apart from the one made again came in training."""
    torch.manual_seed(seed)
    first, kept = judging.Autoencoder(judging.mini().autoencoder).state_dict(), judging.shipped("autoencoder")
    large = [name for name, tensor in first.items() if tensor.dim() > 1 and tensor.numel() > 500]
    cosines = [torch.cosine_similarity(first[name].flatten(), kept[name].flatten(), dim=0).item() for name in large]
    assert (np.mean(cosines) > 0.5) == begun
    assert begun or abs(np.mean(cosines)) < 0.05


@pytest.mark.seconds
def test_a_network_is_the_same_whichever_were_made_before_it(short, tmp_path):
    judging.main(["--to", str(tmp_path / "all")])
    for name in judging.MAKERS:
        judging.main(["--to", str(tmp_path / name), name])
        assert_equal(content(tmp_path / "all" / f"{name}.npz"), content(tmp_path / name / f"{name}.npz"))


def test_variances_of_the_features_add_up_to_what_they_should(short, tmp_path):
    judging.main(["--to", str(tmp_path), "features"])
    model = judging.PictureFeatures(judging.mini().data.features)
    model.load_state_dict({name: torch.from_numpy(v.astype(np.float32)) for name, v in content(tmp_path / "features.npz").items()})
    with torch.no_grad():
        features = model(judging.Examples(judging.mini(), 0, judging.PICTURES).pictures)
    assert features.var(0).sum().item() == pytest.approx(judging.VARIANCE, rel=0.01)


def test_files_hold_eight_significant_bits():
    for name in judging.MAKERS:
        for values in content(judging.FOLDER / f"{name}.npz").values():
            assert not (np.atleast_1d(values).view(np.uint16) % (1 << judging.SPARED_BITS)).any()


def test_an_unknown_network_is_refused_by_name(capsys, tmp_path):
    with pytest.raises(SystemExit):
        judging.main(["--to", str(tmp_path), "inception"])
    assert "expected names out of features, clip, autoencoder, found 'inception'" in capsys.readouterr().err
