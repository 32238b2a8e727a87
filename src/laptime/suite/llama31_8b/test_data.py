"""Data of Llama 3.1 8B: published files through the whole pipeline, the order of samples, what is refused, generation."""


import struct
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from laptime.config import override
from laptime.errors import DataProblem, DataTouchedTooEarly
from laptime.suite.llama31_8b.articles import generate
from laptime.suite.llama31_8b.config import smoke
from laptime.suite.llama31_8b.published import EVAL, NAME, TRAIN, prepare, recipe, sizes, token_set
from laptime.training.data.sampler import Spread
from laptime.training.data.store import Manifest, Store
from laptime.training.data.token_batches import EvalTokens, TrainTokens
from laptime.training.data.token_files import TokenFile, pair
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
TINY = override(smoke(), ["global_batch_size=2", "data.length=4", "data.eval_samples=3", "data.eval_batch_size=2", "model.vocabulary=128256"])
DOCUMENTS = [[128000, 11, 12, 13, 14, 15], [21], [31, 32, 33], [41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51], [61, 62]]


def published_file(folder, name, documents):
    """A pair in the published layout, field by field: the ids of a large vocabulary take four bytes."""
    index, content = pair(folder, name)
    content.write_bytes(b"".join(struct.pack("<i", token) for one in documents for token in one))
    starts = np.cumsum([0, *map(len, documents)])[:-1] * 4
    index.write_bytes(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 4, len(documents), len(documents) + 1)
                      + b"".join(struct.pack("<i", len(one)) for one in documents)
                      + b"".join(struct.pack("<q", start) for start in starts)
                      + b"".join(struct.pack("<q", i) for i in range(len(documents) + 1)))


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    published_file(folder, TRAIN, DOCUMENTS)
    published_file(folder, EVAL, [[1, 2, 3], [4, 5, 6, 7, 8, 9, 10, 11], [12, 13, 14, 15]])
    return folder


def opened(root):
    store = Store.open(root)
    store.unlock()
    return store


def train_batches(config, store, seed=1, world=ALONE):
    return TrainTokens(store, token_set(config), Seeds(seed), world,
                       Spread(config.global_batch_size, world.size, world.rank, config.parallel.accumulation_steps))


def test_published_files_pass_through_the_whole_pipeline(source, tmp_path):
    prepare(TINY, source, tmp_path / "data")
    store = opened(tmp_path / "data")
    assert store.metadata.name == NAME
    assert dict(store.metadata.facts) == {"train_samples": 5, "train_tokens": 23, "eval_samples": 3, "vocabulary": 128256, "length": 4}
    found = sizes(TINY, store.metadata)
    assert (found.train_samples, found.eval_samples, found.samples_per_epoch) == (5, 3, 4)
    batches = list(train_batches(TINY, store)(1))
    assert [batch.global_size for batch in batches] == [2, 2]
    borders = {(one[-1], other[0]) for one in DOCUMENTS for other in DOCUMENTS}
    follows = {pair for one in DOCUMENTS for pair in pairwise(one)} | borders
    seen = [token for batch in batches for token in batch.micro[0].tokens.flatten().tolist()]
    assert len(set(seen)) == len(seen) == 16
    for batch in batches:
        tokens, labels = batch.micro[0]
        assert torch.equal(tokens[:, 1:], labels[:, :-1])
        assert set(zip(tokens.flatten().tolist(), labels.flatten().tolist(), strict=True)) <= follows


def test_samples_cross_the_borders_of_documents(source, tmp_path):
    prepare(TINY, source, tmp_path / "data")
    store = opened(tmp_path / "data")
    batches = EvalTokens(store, token_set(TINY), ALONE, 2)
    tokens = torch.cat([micro.tokens for micro in batches])[:3]
    assert tokens.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]


def test_order_depends_on_the_seed_and_the_pass(source, tmp_path):
    prepare(TINY, source, tmp_path / "data")
    store = opened(tmp_path / "data")

    def order(seed, epoch):
        return [micro.tokens.tolist() for batch in train_batches(TINY, store, seed)(epoch) for micro in batch.micro]

    assert order(1, 1) == order(1, 1)
    assert len({str(order(seed, epoch)) for seed in (1, 2) for epoch in (1, 2)}) == 4


def test_index_arrays_are_made_behind_the_data_door(source, tmp_path):
    prepare(TINY, source, tmp_path / "data")
    store = Store.open(tmp_path / "data")
    with pytest.raises(DataTouchedTooEarly):
        next(train_batches(TINY, store)(1))
    with pytest.raises(DataTouchedTooEarly):
        iter(EvalTokens(store, token_set(TINY), ALONE, 2))


def test_files_that_lie_in_place_already_stay(source):
    prepare(TINY, source, source)
    assert len(TokenFile.of(opened(source), TRAIN)) == 5


def test_two_processes_see_the_samples_of_one(source, tmp_path):
    prepare(TINY, source, tmp_path / "data")
    store, config = opened(tmp_path / "data"), TINY
    whole = [micro.tokens for batch in train_batches(config, store)(1) for micro in batch.micro]
    parts = [[micro.tokens for batch in train_batches(config, store, world=World(rank, 2, torch.device("cpu")))(1) for micro in batch.micro]
             for rank in (0, 1)]
    assert all(torch.equal(torch.cat(both), one) for *both, one in zip(*parts, whole, strict=True))


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_evaluation_sees_every_sample_once_and_fills_up_without_labels(source, tmp_path, processes):
    prepare(TINY, source, tmp_path / "data")
    store = opened(tmp_path / "data")
    made = [list(EvalTokens(store, token_set(TINY), World(rank, processes, torch.device("cpu")), 2)) for rank in range(processes)]
    assert len({len(batches) for batches in made}) == 1
    labels = torch.cat([micro.labels for batches in made for micro in batches])
    counted = labels[(labels >= 0).all(1)].tolist()
    assert sorted(counted) == [[2, 3, 4, 5], [6, 7, 8, 9], [10, 11, 12, 13]]
    assert (labels[3 - len(labels):] < 0).sum() == 4 * (len(labels) - 3)


@pytest.mark.parametrize("which", [TRAIN, EVAL])
@pytest.mark.parametrize("end", [".idx", ".bin"])
def test_a_missing_or_truncated_file_is_named(source, tmp_path, which, end):
    path = source / f"{which}{end}"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataProblem, match=rf"{which}{end}, found"):
        prepare(TINY, source, tmp_path / "data")
    path.unlink()
    with pytest.raises(DataProblem, match=rf"cannot read .*{which}{end}"):
        prepare(TINY, source, tmp_path / "data")
    assert not (tmp_path / "data" / "manifest.json").exists()


def test_tokens_of_another_tokenizer_are_refused(source, tmp_path):
    with pytest.raises(DataProblem, match=rf"token ids 0 to 127999 in .*{TRAIN}.bin, found 128000"):
        prepare(override(TINY, ["model.vocabulary=128000"]), source, tmp_path / "data")


def test_too_few_evaluation_samples_are_refused(source, tmp_path):
    with pytest.raises(DataProblem, match=r"expected 4 samples of 5 tokens in .*, found 3"):
        prepare(override(TINY, ["data.eval_samples=4"]), source, tmp_path / "data")


@pytest.mark.parametrize(("change", "says"), [
    ("data.eval_samples=2", "data.eval_samples=2 by the configuration, found 3"),
    ("data.length=3", "data.length=3"), ("model.vocabulary=200000", "number of token ids=200000"),
    ("global_batch_size=6", "global batch of 6 samples, found 5")])
def test_data_of_another_configuration_are_refused(source, tmp_path, change, says):
    prepare(TINY, source, tmp_path / "data")
    with pytest.raises(DataProblem, match=says):
        sizes(override(TINY, [change]), Manifest.load(tmp_path / "data"))


def test_a_damaged_file_of_a_prepared_set_is_named_when_it_is_read(source, tmp_path):
    prepare(TINY, source, tmp_path / "data")
    content = tmp_path / "data" / f"{TRAIN}.bin"
    content.unlink()
    content.write_bytes(b"1234")
    with pytest.raises(DataProblem, match=rf"expected 23 tokens of 4 bytes .*{TRAIN}.bin, found 4 bytes"):
        next(train_batches(TINY, opened(tmp_path / "data"))(1))


def test_generated_data_are_the_same_again_and_other_with_another_seed(tmp_path):
    config = override(smoke(), ["data.articles=80", "data.eval_samples=4"])
    for folder, seed in (("one", 1), ("again", 1), ("other", 2)):
        generate(config, tmp_path / folder, seed)
    one, again, other = (Manifest.load(tmp_path / folder) for folder in ("one", "again", "other"))
    assert one == again
    assert one.content_hash != other.content_hash
    assert one.generator == recipe(config)
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted([*one.files, "manifest.json"])


def test_content_of_the_smoke_data_is_the_same_on_every_machine(tmp_path):
    generate(smoke(), tmp_path, 11)
    assert Manifest.load(tmp_path).content_hash == "9e61543618b5ddf3eec5921b7ae6cdc4"


def test_generated_text_is_held_out_by_document(tmp_path):
    config = override(smoke(), ["data.articles=80", "data.eval_samples=4"])
    generate(config, tmp_path, 1)
    train, held_out = (TokenFile.load(*pair(tmp_path, name)) for name in (TRAIN, EVAL))
    assert (len(train), len(held_out)) == (75, 5)
    assert train.tokens.dtype == np.dtype("<u2")
    assert not {one.tobytes() for one in train} & {one.tobytes() for one in held_out}


def test_generated_data_of_another_recipe_are_refused(tmp_path):
    config = override(smoke(), ["data.articles=80", "data.eval_samples=4"])
    generate(config, tmp_path, 1)
    other = replace(config, data=replace(config.data, articles=90))
    with pytest.raises(DataProblem, match=r"expected data made by 'articles 1, llama31_8b 1, 90 articles"):
        sizes(other, Manifest.load(tmp_path))
