"""Data: published files of a few samples through the whole pipeline, damage named, generation the same every time."""

import io
import json
import shutil

import numpy as np
import pytest
import torch

from laptime.config import override
from laptime.errors import DataProblem, DataTouchedTooEarly
from laptime.suite.stable_diffusion import published
from laptime.suite.stable_diffusion.config import mini, smoke
from laptime.suite.stable_diffusion.data import generate, prepare, recipe, sizes, write_published
from laptime.suite.stable_diffusion.judging import FOLDER, MAKERS, shipped
from laptime.suite.stable_diffusion.pictures import LABEL_COUNTS, learnt_merges, picture, words
from laptime.suite.stable_diffusion.reader import Evaluated, TrainBatches, sample_keys
from laptime.suite.stable_diffusion.text import BytePairs, cleaned, save_merges, split
from laptime.training.data.store import MANIFEST, Manifest, Store, problems
from laptime.training.data.tar_shards import TarSample, tar_samples, write_tar
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
FEW = override(smoke(), ["global_batch_size=4", "data.train_samples=7", "data.eval_samples=5", "data.shards=2", "data.shuffle_buffer=3",
                         "data.statistics_samples=70", "data.uncaptioned=0.3"])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A source folder in the published layout."""
    source = tmp_path_factory.mktemp("source")
    write_published(FEW, source, 3)
    return source


@pytest.fixture
def source(made, tmp_path):
    shutil.copytree(made, tmp_path / "source")
    return tmp_path / "source"


@pytest.fixture(scope="module")
def root(made, tmp_path_factory):
    found = tmp_path_factory.mktemp("prepared")
    prepare(FEW, made, found)
    return found


def opened(root):
    store = Store.open(root)
    store.unlock()
    return store


def batches(root, *, config=FEW, world=ALONE, epoch=1):
    return list(TrainBatches(opened(root), config, Seeds(5), world)(epoch))


def published_samples(source):
    return [sample for number in range(2) for sample in tar_samples(source / published.TRAIN / f"{number:05d}.tar")]


def test_every_published_moment_and_caption_arrives_unchanged(made, root):
    vocabulary = BytePairs(learnt_merges())
    wanted = {np.load(io.BytesIO(s.parts["npy"]))[0].tobytes(): vocabulary.encoded(s.parts["txt"].decode(), 12).tolist() for s in published_samples(made)}
    assert len(wanted) == 7
    found = {}
    for epoch in range(1, 8):
        for batch in batches(root, epoch=epoch):
            for moments, caption in zip(batch.micro[0].moments, batch.micro[0].captions, strict=True):
                found[moments.contiguous().numpy().tobytes()] = caption.tolist()
    assert found == wanted


def test_batches_have_the_declared_shapes(root):
    (batch,) = batches(root)
    micro = batch.micro[0]
    assert batch.global_size == 4
    assert [tuple(part.shape) for part in micro] == [(4, 8, 8, 8), (4, 12), (4,), (4,)]
    assert [part.dtype for part in micro] == [torch.float32, torch.int64, torch.int64, torch.int32]
    assert micro.levels.min() >= 0
    assert micro.levels.max() < 1000


def test_ranks_and_micro_batches_share_one_global_batch(root):
    whole = batches(root)[0].micro[0]
    by_rank = [batches(root, world=World(rank, 2, torch.device("cpu")))[0].micro[0] for rank in range(2)]
    parts = batches(root, config=override(FEW, ["parallel.accumulation_steps=2"]))[0].micro
    for one, two in (by_rank, parts):
        for field in range(4):
            assert torch.equal(whole[field], torch.cat([one[field], two[field]]))


def test_epochs_differ_and_a_seed_repeats(root):
    first, again, second = batches(root), batches(root), batches(root, epoch=2)
    assert torch.equal(first[0].micro[0].levels, again[0].micro[0].levels)
    assert not torch.equal(first[0].micro[0].keys, second[0].micro[0].keys)


def test_levels_of_many_samples_are_even():
    from laptime.training.data.sampler import Draws

    positions = np.arange(20000)
    levels = Draws.of(Seeds(1), "levels", 1).below(positions, 0, np.full(20000, 1000))
    assert levels.mean() == pytest.approx(499.5, abs=8)
    assert len(np.unique(levels)) == 1000
    assert len(np.unique(sample_keys(7, positions))) > 19990


def test_captions_of_other_pictures_is_what_the_fault_says(root):
    sound, broken = batches(root)[0].micro[0], batches(root, config=override(FEW, ["data.shuffle_captions=true"]))[0].micro[0]
    assert torch.equal(sound.moments, broken.moments)
    assert not torch.equal(sound.captions, broken.captions)


def test_evaluation_captions_are_shared_over_ranks(root, made):
    store = opened(root)
    whole = [(n, c) for numbers, captions in Evaluated(store, FEW, ALONE).batches() for n, c in zip(numbers, captions.tolist(), strict=True)]
    parts = [(n, c) for rank in range(2) for numbers, captions in Evaluated(store, FEW, World(rank, 2, torch.device("cpu"))).batches()
             for n, c in zip(numbers, captions.tolist(), strict=True)]
    lines = (made / published.CAPTIONS).read_text().splitlines()[1:]
    vocabulary = BytePairs(learnt_merges())
    assert whole == parts == [(i, vocabulary.encoded(line.split("\t")[2], 12).tolist()) for i, line in enumerate(lines)]


def test_statistics_are_those_of_the_file(root, made):
    real = Evaluated(opened(root), FEW, ALONE).real()
    with np.load(made / published.STATISTICS) as content:
        assert np.array_equal(real.mean.numpy(), content["mu"])
        assert np.array_equal(real.covariance.numpy(), content["sigma"])


def test_data_door_is_closed_before_the_clock_runs(root):
    with pytest.raises(DataTouchedTooEarly):
        next(TrainBatches(Store.open(root), FEW, Seeds(1), ALONE)(1))


def test_closed_batches_leave_no_thread(root):
    import threading

    before = threading.active_count()
    steps = TrainBatches(opened(root), FEW, Seeds(1), ALONE)(1)
    next(steps)
    steps.close()
    assert threading.active_count() == before


def test_interrupted_reformat_goes_on_after_its_last_whole_shard(source, tmp_path, root):
    last = source / published.TRAIN / "00001.tar"
    whole = last.read_bytes()
    last.write_bytes(whole[:600] + bytes(len(whole) - 600))
    with pytest.raises(DataProblem):
        prepare(FEW, source, tmp_path / "out")
    shard = tmp_path / "out" / "train-00000.shard"
    stamp = shard.stat().st_mtime_ns
    last.write_bytes(whole)
    prepare(FEW, source, tmp_path / "out")
    assert shard.stat().st_mtime_ns == stamp
    assert Manifest.load(tmp_path / "out").files == Manifest.load(root).files


# --- bad input ---


def remade(path, change):
    """A tar file with one sample changed."""
    samples = list(tar_samples(path))
    samples[1] = change(samples[1])
    write_tar(path, samples)


def with_npy(array):
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return lambda sample: TarSample(sample.key, {**sample.parts, "npy": content.getvalue()})


def with_npz(sample):
    content = io.BytesIO()
    np.savez(content, moments=np.zeros((1, 8, 8, 8), np.float32))
    return TarSample(sample.key, {**sample.parts, "npy": content.getvalue()})


def truncated(path):
    path.write_bytes(path.read_bytes()[:100])


FIRST = f"{published.TRAIN}/00000.tar"
DAMAGE = {
    "missing tar": (lambda s: (s / FIRST).unlink(), r"expected 2 files .* found 1; 00000\.tar is missing"),
    "one tar too many": (lambda s: shutil.copy(s / FIRST, s / published.TRAIN / "00002.tar"), "expected 2 files .* found 3"),
    "truncated tar": (lambda s: (s / FIRST).write_bytes((s / FIRST).read_bytes()[:2000]), r"00000\.tar, found a damaged one"),
    "wrong count": (lambda s: write_tar(s / FIRST, list(tar_samples(s / FIRST))[:2]), "expected 7 samples in the tar files .* found 6"),
    "sample without caption": (lambda s: remade(s / FIRST, lambda x: TarSample(x.key, {"npy": x.parts["npy"]})), "sample 000000001 of .* has no part 'txt'"),
    "moments of another shape": (lambda s: remade(s / FIRST, with_npy(np.zeros((1, 8, 4, 4), np.float32))), r"expected float32 moments of shape \(1, 8, 8, 8\)"),
    "moments of another type": (lambda s: remade(s / FIRST, with_npy(np.zeros((1, 8, 8, 8)))), "found float64"),
    "moments not finite": (lambda s: remade(s / FIRST, with_npy(np.full((1, 8, 8, 8), np.nan, np.float32))), "finite moments"),
    "moments in an archive": (lambda s: remade(s / FIRST, with_npz), "sample 000000001 of .* cannot be read"),
    "moments no array": (lambda s: remade(s / FIRST, lambda x: TarSample(x.key, {**x.parts, "npy": b"junk"})), "cannot be read"),
    "missing captions": (lambda s: (s / published.CAPTIONS).unlink(), "val2014_30k.tsv"),
    "too few captions": (lambda s: (s / published.CAPTIONS).write_text("image_id\tid\tcaption\n1\t1\ta cross\n"), "expected 5 captions .* found 1"),
    "captions without column": (lambda s: (s / published.CAPTIONS).write_text("a\tb\n1\t2\n"), "column 'caption'"),
    "missing statistics": (lambda s: (s / published.STATISTICS).unlink(), "val2014_30k_stats.npz"),
    "truncated statistics": (lambda s: (s / published.STATISTICS).write_bytes(b"PK"), "expected arrays mu and sigma"),
    "statistics cut short": (lambda s: truncated(s / published.STATISTICS), "expected arrays mu and sigma at .*val2014_30k_stats.npz"),
    "statistics of another network": (lambda s: np.savez(s / published.STATISTICS, mu=np.zeros(3), sigma=np.eye(3)), "statistics of 64 features"),
    "missing network": (lambda s: (s / published.CLIP).unlink(), "open_clip_pytorch_model.bin, found other"),
    "truncated network": (lambda s: (s / published.CLIP).write_bytes((s / published.CLIP).read_bytes()[:1000]), "open_clip_pytorch_model.bin, found other"),
    "another network": (lambda s: shutil.copy(s / published.CLIP, s / published.AUTOENCODER), "expected a tensor 'encoder.conv_in.weight'"),
    "missing merges": (lambda s: (s / published.MERGES).unlink(), "merges at"),
    "too few merges": (lambda s: save_merges(learnt_merges()[:10], s / published.MERGES), "expected 54 merges .* found 10"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_source_is_named_and_nothing_is_left_that_looks_whole(source, tmp_path, damage):
    change, says = DAMAGE[damage]
    change(source)
    with pytest.raises(DataProblem, match=says):
        prepare(FEW, source, tmp_path / "out")
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_published_checksum_is_compared(source, tmp_path):
    config = override(FEW, [f"data.checksums={published.FEATURE_NETWORK}=0123abcd"])
    with pytest.raises(DataProblem, match=r"begins with 0123abcd of .*pt_inception"):
        prepare(config, source, tmp_path / "out")


def test_changed_prepared_file_is_found_by_its_checksum(root, tmp_path):
    shutil.copytree(root, tmp_path / "copy")
    path = tmp_path / "copy" / "train-00000.shard"
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    path.write_bytes(bytes(content))
    manifest = Manifest.load(tmp_path / "copy")
    assert list(problems(tmp_path / "copy", manifest, full=False)) == []
    assert ["train-00000.shard" in line for line in problems(tmp_path / "copy", manifest, full=True)] == [True]


def test_truncated_prepared_shard_is_named(root, tmp_path):
    shutil.copytree(root, tmp_path / "copy")
    path = tmp_path / "copy" / "train-00000.shard"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataProblem, match="beyond the end of its shard"):
        [batches(tmp_path / "copy", epoch=epoch) for epoch in range(1, 9)]


def evaluation_of(root, config=FEW):
    data = Evaluated(opened(root), config, ALONE)
    return data.real(), list(data.batches())


def network_of(root):
    published.load_network(published.networks(FEW)["clip.pt"], Store.open(root).weights("clip.pt"))


@pytest.mark.parametrize(("damage", "read", "says"), [
    (lambda root: truncated(root / "clip.pt"), network_of, r"clip\.pt"),
    (lambda root: shutil.copy(root / "features.pt", root / "clip.pt"), network_of, r"clip\.pt"),
    (lambda root: (root / "clip.pt").unlink(), network_of, r"clip\.pt"),
    (lambda root: truncated(root / published.KEPT_STATISTICS), evaluation_of, r"statistics\.npz"),
    (lambda root: (root / published.KEPT_STATISTICS).unlink(), evaluation_of, r"statistics\.npz"),
    (lambda root: truncated(root / "eval-00000.shard"), evaluation_of, "eval"),
    (lambda root: (root / "eval-00000.shard").unlink(), evaluation_of, "eval"),
], ids=["truncated network", "another network", "missing network", "truncated statistics", "missing statistics",
        "truncated captions", "missing captions"])
def test_damaged_prepared_file_of_the_evaluation_is_named_with_what_to_do(root, tmp_path, damage, read, says):
    shutil.copytree(root, tmp_path / "copy")
    damage(tmp_path / "copy")
    with pytest.raises(DataProblem, match=says) as raised:
        read(tmp_path / "copy")
    assert "prepare" in raised.value.hint


def test_prepared_samples_of_another_size_are_named(root):
    longer = override(FEW, ["text.length=13"])
    with pytest.raises(DataProblem, match=r"expected a caption of 13 numbers at .*eval.*found 48 bytes"):
        evaluation_of(root, longer)
    with pytest.raises(DataProblem, match=r"bytes of .*train"):
        batches(root, config=longer)


@pytest.mark.parametrize(("change", "says"), [("data.train_samples=8", "data.train_samples=8"), ("data.eval_samples=9", "data.eval_samples=9"),
                                              ("text.length=14", "text.length=14"), ("data.side=64", "latent_side=16")])
def test_data_of_another_configuration_are_refused(root, change, says):
    with pytest.raises(DataProblem, match=says):
        sizes(override(FEW, [change]), Manifest.load(root))


def test_generated_data_of_another_recipe_are_refused(tmp_path):
    facts = {"train_samples": 7, "eval_samples": 5, "latent_side": 8, "length": 12}
    other = Manifest("laion-400m-filtered-generated", "another recipe", "", facts, {})
    with pytest.raises(DataProblem, match="another recipe"):
        sizes(FEW, other)
    assert sizes(FEW, Manifest("laion-400m-filtered-generated", recipe(FEW), "", facts, {})).samples_per_epoch == 4


# --- generation ---


def test_generation_is_the_same_every_time_and_another_seed_differs(tmp_path):
    for name, seed in (("one", 3), ("again", 3), ("other", 4)):
        generate(FEW, tmp_path / name, seed)
    one, again, other = (Manifest.load(tmp_path / name) for name in ("one", "again", "other"))
    assert one == again
    assert one.content_hash != other.content_hash


def test_some_training_pictures_have_no_caption_and_no_evaluation_picture(made):
    captions = [sample.parts["txt"].decode() for sample in published_samples(made)]
    assert "" in captions
    assert len(set(captions)) > 3
    assert all(line.split("\t")[2] for line in (made / published.CAPTIONS).read_text().splitlines())


def test_pictures_do_not_change():
    """The pictures that the repository's networks were trained on, to the last bit."""
    import hashlib

    digest = hashlib.blake2b(digest_size=8)
    for number in range(20):
        image, scene = picture(32, 11, number)
        digest.update(image.tobytes() + scene.caption.encode())
    assert digest.hexdigest() == "f3a6380062b0f87e"


def test_caption_says_what_the_labels_are():
    for number in range(60):
        _, scene = picture(32, 1, number)
        labels = scene.labels()
        assert len(labels) == len(LABEL_COUNTS)
        assert all(0 <= label < count for label, count in zip(labels, LABEL_COUNTS, strict=True))
        assert scene.caption.count("a ") == len(scene.things)
        assert all(f"a {thing.colour} {thing.shape}" in scene.caption for thing in scene.things)
        assert (labels[4] == 0) == (len(scene.things) == 1)


def test_mirrored_descriptions_of_one_picture_have_the_same_labels():
    from laptime.suite.stable_diffusion.pictures import Scene, Thing

    red, blue = Thing("red", "circle", 0.5, 0.3, 0.2), Thing("blue", "cross", 0.5, 0.7, 0.2)
    assert Scene((red, blue), "left of").labels() == Scene((blue, red), "right of").labels()
    assert Scene((red, blue), "left of").labels() != Scene((blue, red), "left of").labels()


# --- words ---


def test_every_word_of_the_captions_is_one_piece():
    vocabulary = BytePairs(learnt_merges())
    assert len(vocabulary) == mini().text.vocabulary
    for word in words():
        assert np.count_nonzero(vocabulary.encoded(word, 12)) == 3


def test_long_captions_keep_their_end():
    vocabulary = BytePairs(learnt_merges())
    found = vocabulary.encoded("red " * 30, 12)
    assert found[0] == vocabulary.start
    assert found[-1] == vocabulary.end
    assert vocabulary.encoded("", 4).tolist() == [vocabulary.start, vocabulary.end, 0, 0]


@pytest.mark.parametrize(("text", "expected"), [
    ("a dog's 2 balls!!", ["a", "dog", "'s", "2", "balls", "!!"]),
    ("it'll be 2021...", ["it", "'ll", "be", "2", "0", "2", "1", "..."]),
    ("na\u00efve caf\u00e9 \u4e2d\u6587", ["na\u00efve", "caf\u00e9", "\u4e2d\u6587"]),
    ("", []),
])
def test_words_are_found_as_the_published_pattern_says(text, expected):
    assert list(split(text)) == expected


def test_captions_are_cleaned():
    assert cleaned("  A &amp;amp; B\n\tC ") == "a & b c"


def test_pieces_equal_transformers_clip_tokenizer(tmp_path):
    from transformers import CLIPTokenizer

    merges = learnt_merges()
    ours = BytePairs(merges)
    entries = dict(ours._numbers) | {"<|startoftext|>": ours.start, "<|endoftext|>": ours.end}
    (tmp_path / "vocab.json").write_text(json.dumps(entries))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(pair) for pair in merges) + "\n")
    theirs = CLIPTokenizer.from_pretrained(str(tmp_path))
    for text in ("a red circle left of a blue square", "The Whitest tree's 12 crosses, above & below!", "squared circles reading", "\u00fcber rot"):
        wanted = theirs(text).input_ids
        assert ours.encoded(text, len(wanted)).tolist() == wanted, text


# --- the networks that define the target ---


def test_networks_of_the_repository_are_within_their_budget():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 1_000_000
    assert {path.stem for path in FOLDER.iterdir()} == set(MAKERS)


def test_networks_of_the_repository_know_pictures_from_others():
    """Real pairs are near, shuffled ones are not; real features are near real ones; the autoencoder keeps pictures."""
    config = mini()
    networks = published.networks(config)
    for name, module in networks.items():
        module.load_state_dict(shipped(name.removesuffix(".pt")))
    vocabulary = BytePairs(learnt_merges())
    made = [picture(32, 99, i) for i in range(64)]
    pictures = torch.from_numpy(np.stack([image for image, _ in made])).permute(0, 3, 1, 2).float() / 255
    numbers = torch.from_numpy(np.stack([vocabulary.encoded(scene.caption, 12) for _, scene in made])).long()
    labels = torch.tensor([scene.labels() for _, scene in made])
    with torch.no_grad():
        assert networks["clip.pt"].similarity(pictures, numbers).mean() > 0.85
        assert networks["clip.pt"].similarity(pictures, numbers.roll(1, 0)).mean() < 0.25
        scores = networks["features.pt"].scores(pictures)
        assert min(float((s.argmax(1) == labels[:, i]).float().mean()) for i, s in enumerate(scores)) > 0.9
        coder = networks["autoencoder.pt"]
        kept = coder.decoded(coder.moments(pictures).chunk(2, 1)[0] * coder.scale)
        assert (kept - pictures).square().mean() < 0.003


def test_missing_and_truncated_networks_of_the_repository_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr("laptime.suite.stable_diffusion.judging.FOLDER", tmp_path)
    with pytest.raises(DataProblem, match=r"clip\.npz"):
        shipped("clip")
    (tmp_path / "clip.npz").write_bytes((FOLDER / "clip.npz").read_bytes()[:100])
    with pytest.raises(DataProblem, match=r"clip\.npz"):
        shipped("clip")
