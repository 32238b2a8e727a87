"""Data of Llama 3.1 405B: published files through the whole pipeline, the starting checkpoint, refusals, generation."""

import struct
from itertools import pairwise

import numpy as np
import pytest
import torch

from laptime.config import override
from laptime.errors import DataProblem, DataTouchedTooEarly
from laptime.suite.llama31_405b.articles import ENDING, SPECIALS, generate, write_published, write_text
from laptime.suite.llama31_405b.config import smoke
from laptime.suite.llama31_405b.published import EVAL, START, TRAIN, prepare, sizes, start_of, token_set
from laptime.suite.llama31_405b.start import samples_of
from laptime.training.data.byte_pairs import learnt
from laptime.training.data.safetensors_files import INDEX, write_checkpoint
from laptime.training.data.sampler import Spread
from laptime.training.data.store import Manifest, Store, problems
from laptime.training.data.synth.corpus import texts
from laptime.training.data.token_batches import EvalTokens, TrainTokens
from laptime.training.data.token_files import TokenFile, pair
from laptime.training.distributed.world import World
from laptime.training.nn.llama import Llama, initialise
from laptime.training.nn.llama_checkpoint import load_weights, weights_of
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
TINY = override(smoke(), ["global_batch_size=2", "data.length=4", "data.eval_samples=3", "data.eval_batch_size=2", "data.tokens=100",
                          "model.vocabulary=200", "model.hidden=8", "model.heads=2", "model.key_value_heads=1", "model.head_size=4",
                          "model.intermediate=12"])
FIRST = [[11, 12, 13, 14, 15, 16], [21], [31, 32, 33]]
SECOND = [[41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51], [61, 62], [63, 64, 65]]
HELD_OUT = [[1, 2, 3], [4, 5, 6, 7, 8, 9, 10, 11], [12, 13, 14, 15]]


def published_file(folder, name, documents):
    """A pair in the published layout, field by field: the ids of a small vocabulary take two bytes."""
    index, content = pair(folder, name)
    content.write_bytes(b"".join(struct.pack("<H", token) for one in documents for token in one))
    starts = np.cumsum([0, *map(len, documents)])[:-1] * 2
    index.write_bytes(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, len(documents), len(documents) + 1)
                      + b"".join(struct.pack("<i", len(one)) for one in documents)
                      + b"".join(struct.pack("<q", start) for start in starts)
                      + b"".join(struct.pack("<q", i) for i in range(len(documents) + 1)))


def published_weights(folder, config=TINY):
    """Weights of the network as two files and an index; returns the network."""
    model = Llama(config.model).to(torch.bfloat16)
    initialise(model, Seeds(4))
    weights = weights_of(model, torch.bfloat16)
    names = list(weights)
    write_checkpoint(folder, [{name: weights[name] for name in names[:5]}, {name: weights[name] for name in names[5:]}])
    return model


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for name, documents in zip((*TRAIN, EVAL), (FIRST, SECOND, HELD_OUT), strict=True):
        published_file(folder, name, documents)
    published_weights(folder / START)
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
    assert dict(store.metadata.facts) == {"train_samples": 4, "train_tokens": 26, "eval_samples": 3, "vocabulary": 100, "length": 4}
    found = sizes(TINY, store.metadata)
    assert (found.train_samples, found.eval_samples, found.samples_per_epoch) == (4, 3, 4)
    batches = list(train_batches(TINY, store)(1))
    assert [batch.global_size for batch in batches] == [2, 2]
    first, second = ({token for one in part for token in one} for part in (FIRST, SECOND))
    for batch in batches:  # one sample of each file in turn
        tokens, labels = batch.micro[0]
        assert set(tokens[0].tolist()) <= first
        assert set(tokens[1].tolist()) <= second
        assert torch.equal(tokens[:, 1:], labels[:, :-1])
    evaluated = torch.cat([micro.tokens for micro in EvalTokens(store, token_set(TINY), ALONE, 2)])[:3]
    assert evaluated.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]


def test_samples_cross_the_borders_of_documents(source, tmp_path):
    """A sample ends one document and begins the next, without a mark between them."""
    prepare(TINY, source, tmp_path / "data")
    batches = [batch for epoch in (1, 2, 3) for batch in train_batches(TINY, opened(tmp_path / "data"))(epoch)]
    borders = {(one[-1], other[0]) for part in (FIRST, SECOND) for one in part for other in part}
    inside = {pair for one in (*FIRST, *SECOND) for pair in pairwise(one)}
    steps = {pair for batch in batches for micro in batch.micro for row in zip(micro.tokens, micro.labels, strict=True)
             for pair in zip(*(one.tolist() for one in row), strict=True)}
    assert steps <= inside | borders
    assert steps & borders


def test_order_depends_on_the_seed_and_the_pass(source, tmp_path):
    prepare(TINY, source, tmp_path / "data")
    store = opened(tmp_path / "data")

    def order(seed, epoch):
        return [micro.tokens.tolist() for batch in train_batches(TINY, store, seed)(epoch) for micro in batch.micro]

    assert order(1, 1) == order(1, 1)
    assert len({str(order(seed, epoch)) for seed in (1, 2) for epoch in (1, 2)}) == 4


def test_two_processes_see_the_samples_of_one(source, tmp_path):
    prepare(TINY, source, tmp_path / "data")
    store = opened(tmp_path / "data")
    whole = [micro.tokens for batch in train_batches(TINY, store)(1) for micro in batch.micro]
    parts = [[micro.tokens for batch in train_batches(TINY, store, world=World(rank, 2, torch.device("cpu")))(1) for micro in batch.micro]
             for rank in (0, 1)]
    assert len(whole) == 2
    assert all(torch.equal(torch.cat(both), one) for *both, one in zip(*parts, whole, strict=True))


def test_starting_checkpoint_opens_before_the_clock_and_tokens_do_not(source, tmp_path):
    prepare(TINY, source, tmp_path / "data")
    store = Store.open(tmp_path / "data")
    with pytest.raises(DataTouchedTooEarly):
        next(train_batches(TINY, store)(1))
    published, model = published_weights(tmp_path / "again"), Llama(TINY.model)
    load_weights(model, start_of(store))
    for (name, mine), theirs in zip(model.named_parameters(), published.parameters(), strict=True):
        assert mine.dtype == torch.float32
        assert torch.equal(mine, theirs.float()), name


@pytest.mark.parametrize("which", [*TRAIN, EVAL])
@pytest.mark.parametrize("end", [".idx", ".bin"])
def test_a_missing_or_truncated_token_file_is_named(source, tmp_path, which, end):
    path = source / f"{which}{end}"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataProblem, match=rf"{which}{end}, found"):
        prepare(TINY, source, tmp_path / "data")
    path.unlink()
    with pytest.raises(DataProblem, match=rf"cannot read .*{which}{end}"):
        prepare(TINY, source, tmp_path / "data")
    assert not (tmp_path / "data" / "manifest.json").exists()


@pytest.mark.parametrize("which", [*TRAIN, EVAL])
def test_an_index_of_another_count_is_refused(source, tmp_path, which):
    path = source / f"{which}.idx"
    content = bytearray(path.read_bytes())
    content[18:26] = struct.pack("<Q", struct.unpack("<Q", content[18:26])[0] + 1)  # sequences
    path.write_bytes(content)
    with pytest.raises(DataProblem, match=rf"{which}.idx, found"):
        prepare(TINY, source, tmp_path / "data")


def test_too_few_evaluation_samples_are_refused(source, tmp_path):
    with pytest.raises(DataProblem, match=r"expected 4 samples of 5 tokens in .*, found 3"):
        prepare(override(TINY, ["data.eval_samples=4"]), source, tmp_path / "data")


@pytest.mark.parametrize("name", [f"{TRAIN[1]}.bin", f"{EVAL}.idx", f"{START}/model-00001-of-00002.safetensors", f"{START}/{INDEX}"])
def test_a_prepared_file_of_another_checksum_is_named(source, tmp_path, name):
    prepare(TINY, source, tmp_path / "data")
    manifest, path = Manifest.load(tmp_path / "data"), tmp_path / "data" / name
    assert not list(problems(tmp_path / "data", manifest, full=True))
    content = path.read_bytes()
    path.unlink()  # the published file stays as it is
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (found,) = problems(tmp_path / "data", manifest, full=True)
    assert found.startswith(f"{path} has checksum")


def test_a_prepared_file_that_became_shorter_is_named_when_it_is_read(source, tmp_path):
    prepare(TINY, source, tmp_path / "data")
    content = tmp_path / "data" / f"{TRAIN[0]}.bin"
    content.unlink()
    content.write_bytes(b"1234")
    with pytest.raises(DataProblem, match=rf"expected 10 tokens of 2 bytes .*{TRAIN[0]}.bin, found 4 bytes"):
        next(train_batches(TINY, opened(tmp_path / "data"))(1))


def test_a_missing_or_truncated_file_of_weights_is_named(source, tmp_path):
    path = source / START / "model-00002-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataProblem, match=r"the header of .*model-00002-of-00002.safetensors makes no sense"):
        prepare(TINY, source, tmp_path / "data")
    path.unlink()
    with pytest.raises(DataProblem, match=r"cannot read .*model-00002-of-00002.safetensors"):
        prepare(TINY, source, tmp_path / "data")
    (source / START / INDEX).unlink()
    with pytest.raises(DataProblem, match=r"model.safetensors.index.json in .*checkpoint, found neither"):
        prepare(TINY, source, tmp_path / "data")


@pytest.mark.parametrize(("change", "says"), [
    ("model.layers=3", r"'model.layers.2.input_layernorm.weight' in the starting checkpoint, found None|layers.2.* found None"),
    ("model.vocabulary=300", r"expected shape \(300, 8\) of 'model.embed_tokens.weight' .* found \(200, 8\)")])
def test_weights_of_another_network_are_refused(source, tmp_path, change, says):
    with pytest.raises(DataProblem, match=says):
        prepare(override(TINY, [change]), source, tmp_path / "data")


def test_tokens_of_another_tokenizer_are_refused(source, tmp_path):
    with pytest.raises(DataProblem, match=rf"token ids 0 to 59 in .*{TRAIN[1]}.bin, found 65"):
        prepare(override(TINY, ["data.tokens=60"]), source, tmp_path / "data")


@pytest.mark.parametrize(("change", "says"), [
    ("data.eval_samples=2", "data.eval_samples=2 by the configuration, found 3"), ("data.length=3", "data.length=3"),
    ("data.tokens=99", "number of token ids=99"), ("global_batch_size=6", "global batch of 6 samples, found 4")])
def test_data_of_another_configuration_are_refused(source, tmp_path, change, says):
    prepare(TINY, source, tmp_path / "data")
    with pytest.raises(DataProblem, match=says):
        sizes(override(TINY, [change]), Manifest.load(tmp_path / "data"))


SMALL = override(smoke(), ["data.articles=120", "data.start_articles=60", "data.start_steps=1", "data.start_high=9", "data.eval_samples=4"])


def test_generated_data_are_the_same_again_and_other_with_another_seed(tmp_path):
    for folder, seed in (("one", 1), ("again", 1), ("other", 2)):
        generate(SMALL, tmp_path / folder, seed)
    one, again, other = (Manifest.load(tmp_path / folder) for folder in ("one", "again", "other"))
    assert one == again
    assert one.content_hash != other.content_hash
    assert sorted(name for name, entry in one.files.items() if entry.kind == "weights") == [
        f"{START}/{name}" for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", INDEX)]


def test_content_of_the_smoke_data_is_the_same_on_every_machine(tmp_path):
    """Of the tokens; the weights are equal within their window."""
    generate(override(smoke(), ["data.start_steps=1", "data.start_high=9"]), tmp_path, 11)
    assert Manifest.load(tmp_path).content_hash == "175f0a529c96fce75e83db59c474f90a"


def test_tokenizer_of_the_run_is_another_than_that_of_the_checkpoint(tmp_path):
    write_text(SMALL, tmp_path, 1)
    write_published(SMALL, tmp_path)
    ids, start = TokenFile.load(*pair(tmp_path, TRAIN[0])), learnt(texts(tmp_path / f"{START}{ENDING}"), 320)
    first = next(texts(tmp_path / f"{TRAIN[0]}{ENDING}"))
    assert ids.tokens.min() >= SPECIALS
    assert ids[0].tolist() != start(first)
    assert start.text(ids[0].tolist()) != first


def test_a_checkpoint_outside_its_window_is_refused(tmp_path):
    with pytest.raises(DataProblem, match=r"expected a starting checkpoint of log perplexity 1 to 1.1, found 5"):
        generate(override(SMALL, ["data.start_high=1.1"]), tmp_path, 1)


def test_samples_of_the_checkpoint_s_training_overlap_by_one():
    assert samples_of([[1, 2, 3], [4, 5, 6, 7, 8]], 3).tolist() == [[1, 2, 3, 4], [4, 5, 6, 7]]
