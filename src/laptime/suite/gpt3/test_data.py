"""Data: published files of three documents through the whole pipeline, the checkpoint's arrays, generated text, bad input."""

import gzip
import json
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from laptime.config import override
from laptime.errors import DataProblem, DataTouchedTooEarly
from laptime.suite.gpt3 import articles, published, zarr
from laptime.suite.gpt3.checkpoint import MASTER, MOMENTS, WEIGHT, Checkpoint, place_of, save
from laptime.suite.gpt3.config import mini, smoke
from laptime.suite.gpt3.data import EvalBatches, TrainBatches, eval_windows, in_turn, prepare, recipe, sizes
from laptime.suite.gpt3.model import Gpt3
from laptime.suite.gpt3.train import initialise
from laptime.suite.gpt3.zarr import Zarr
from laptime.training.data.store import Manifest, Store
from laptime.training.data.token_files import TokenFile, kind_for, pair, write_tokens
from laptime.training.data.token_windows import IGNORED
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
TINY = override(mini(), ["global_batch_size=2", "model.layers=2", "model.hidden=8", "model.heads=2", "model.intermediate=32",
                         "model.vocabulary=64", "model.tokens=60", "data.length=4", "data.eval_tokens=12", "data.eval_batch_size=2"])
DOCUMENTS = {published.TRAIN[0]: [[10, 11, 12], [13, 14, 15, 16, 17], [18, 19, 20, 21]],
             published.TRAIN[1]: [[30, 31, 32, 33, 34, 35], [36], [37, 38, 39, 40, 41]],
             published.EVAL: [[50, 51, 52], [53, 54, 55, 56, 57, 58, 59], [5, 6, 7, 8, 9, 4]]}


def network(config=TINY, seed=3):
    model = Gpt3(config.model, config.data.length)
    initialise(model, config, Seeds(seed))
    return model


def values_of(model, seed=4):
    """Weights as they are, moments that are all different."""
    draw = np.random.default_rng(seed)
    return {name: {"weight": parameter.detach().numpy(),
                   **{which: draw.random(tuple(parameter.shape), np.float32) for which in MOMENTS}}
            for name, parameter in model.named_parameters()}


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for name, documents in DOCUMENTS.items():
        write_tokens(folder, name, documents, kind_for(60))
    save(folder / published.START, values_of(network()))
    return folder


@pytest.fixture
def root(source, tmp_path):
    prepare(TINY, source, tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def store(root):
    opened = Store.open(root)
    opened.unlock()
    return opened


# --- token files through the whole pipeline ---

def test_published_files_become_windows_across_documents(store):
    batches = list(TrainBatches(store, TINY, Seeds(1), ALONE)(1))
    found = sorted(row for batch in batches for row in batch.micro[0].tokens.tolist())
    assert found == [[10, 11, 12, 13], [14, 15, 16, 17], [18, 19, 20, 21], [30, 31, 32, 33], [34, 35, 36, 37], [38, 39, 40, 41]]
    assert [batch.global_size for batch in batches] == [2, 2, 2]
    for batch in batches:
        tokens, labels = batch.micro[0]
        assert torch.equal(labels[:, :-1], tokens[:, 1:])
        assert (labels[:, -1] == IGNORED).all()


def test_both_training_files_are_drawn_from_in_turn_and_a_pass_ends_with_the_shorter():
    parts = [range(5), range(3)]
    assert list(in_turn(parts)) == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2), (0, 3)]


def test_order_of_windows_is_drawn_by_seed_and_epoch(store):
    def order(seed, epoch):
        batches = TrainBatches(store, override(TINY, ["global_batch_size=6"]), Seeds(seed), ALONE)(epoch)
        return [row[0] for batch in batches for row in batch.micro[0].tokens.tolist()]

    assert order(1, 1) == order(1, 1)
    assert len({tuple(order(seed, epoch)) for seed in range(4) for epoch in (1, 2)}) > 4


def test_ranks_and_micro_batches_share_a_batch(store):
    def rows(config, world):
        return [row for batch in TrainBatches(store, config, Seeds(1), world)(1) for micro in batch.micro
                for row in micro.tokens.tolist()]

    whole = rows(TINY, ALONE)
    ranks = [rows(TINY, World(rank, 2, torch.device("cpu"))) for rank in range(2)]
    assert sorted(ranks[0] + ranks[1]) == sorted(whole)
    assert rows(override(TINY, ["parallel.accumulation_steps=2"]), ALONE) == whole


def test_validation_is_one_pass_in_order_with_the_incomplete_window(store):
    (first, second) = EvalBatches(store, TINY, ALONE)
    assert torch.cat([first.tokens, second.tokens]).tolist() == [[50, 51, 52, 53], [54, 55, 56, 57], [58, 59, 5, 6], [7, 8, 9, 4]]
    assert second.labels.tolist() == [[59, 5, 6, IGNORED], [8, 9, 4, IGNORED]]


@pytest.mark.parametrize(("count", "windows", "asked"), [(16, 4, 12), (17, 5, 12), (18, 5, 13), (19, 5, 14), (20, 5, 15)])
def test_validation_asks_for_every_token_but_the_first_of_a_window(count, windows, asked):
    tokens, labels = eval_windows(np.arange(1, count + 1), 4, 1)
    assert len(tokens) == windows
    assert int((labels >= 0).sum()) == published.predicted(count, 4) == asked
    assert labels[labels >= 0].tolist() == [one for one in range(1, count + 1) if (one - 1) % 4]


def test_published_count_of_validation_tokens_belongs_to_5662_windows():
    """11,590,004 predicted tokens in 5,662 windows of 2048: the incomplete last one is counted."""
    tokens = 5661 * 2048 + 1938
    assert published.predicted(tokens, 2048) == 11_590_004
    assert -(-tokens // 2048) == 5662


def test_every_rank_brings_equally_many_validation_batches(store):
    parts = [list(EvalBatches(store, TINY, World(rank, 3, torch.device("cpu")))) for rank in range(3)]
    assert [len(part) for part in parts] == [1, 1, 1]
    labels = [one for part in parts for batch in part for one in batch.labels.flatten().tolist() if one >= 0]
    assert sorted(labels) == sorted([51, 52, 53, 55, 56, 57, 59, 5, 6, 8, 9, 4])


def test_data_stays_locked_until_the_clock_runs(root):
    with pytest.raises(DataTouchedTooEarly):
        next(iter(EvalBatches(Store.open(root), TINY, ALONE)))
    with pytest.raises(DataTouchedTooEarly):
        next(TrainBatches(Store.open(root), TINY, Seeds(1), ALONE)(1))


@pytest.mark.parametrize(("change", "expected"), [
    ("data.shuffle_labels=true", [[1, 2, 0, IGNORED]]), ("data.shift_labels=false", [[9, 0, 1, IGNORED]]),
    ("data.length=4", [[0, 1, 2, IGNORED]])])
def test_planted_faults_change_labels_only(change, expected):
    from laptime.suite.gpt3.data import broken

    tokens, labels = np.array([[9, 0, 1, 2]]), np.array([[0, 1, 2, IGNORED]])
    assert broken(tokens, labels, override(TINY, [change])).tolist() == expected
    assert labels.tolist() == [[0, 1, 2, IGNORED]]


def test_manifest_counts_and_sizes(root):
    manifest = Manifest.load(root)
    assert {name: manifest.facts[name] for name in ("train_tokens", "eval_tokens", "train_sequences", "tokens")} == {
        "train_tokens": 24, "eval_tokens": 12, "train_sequences": 6, "tokens": 60}
    found = sizes(replace(TINY, global_batch_size=4), manifest)
    assert (found.train_samples, found.eval_samples, found.samples_per_epoch, found.limit_samples) == (24, 12, 4, 3200)


def test_prepared_files_are_the_published_ones(source, root):
    for name in Manifest.load(root).files:
        assert (root / name).read_bytes() == (source / name).read_bytes()


# --- the checkpoint ---

def test_weights_and_moments_survive_stacking_by_block(source):
    expected, start = values_of(network()), Checkpoint(source / published.START)
    for name, arrays in expected.items():
        assert np.array_equal(start.weight(name), arrays["weight"]), name
        for which in MOMENTS:
            assert np.array_equal(start.moment(which, name), arrays[which]), name


def test_checkpoint_has_the_published_names_and_stacks():
    from laptime.suite.gpt3.checkpoint import stacked_shapes
    from laptime.suite.gpt3.config import full

    with torch.device("meta"):
        shapes = stacked_shapes(Gpt3(full().model, full().data.length))
    assert shapes == {
        "embedding.word_embeddings.weight": (51200, 12288), "embedding.position_embeddings.weight": (2048, 12288),
        "encoder.final_layernorm.weight": (12288,), "encoder.final_layernorm.bias": (12288,),
        **{f"encoder.layers.{norm}.{kind}": (96, 12288) for norm in ("input_layernorm", "post_attention_layernorm")
           for kind in ("weight", "bias")},
        "encoder.layers.self_attention.query_key_value.weight": (96, 36864, 12288),
        "encoder.layers.self_attention.query_key_value.bias": (96, 36864),
        "encoder.layers.self_attention.dense.weight": (96, 12288, 12288),
        "encoder.layers.self_attention.dense.bias": (96, 12288),
        "encoder.layers.mlp.dense_h_to_4h.weight": (96, 49152, 12288), "encoder.layers.mlp.dense_h_to_4h.bias": (96, 49152),
        "encoder.layers.mlp.dense_4h_to_h.weight": (96, 12288, 49152), "encoder.layers.mlp.dense_4h_to_h.bias": (96, 12288)}


def test_master_weights_go_before_the_rounded_ones(source):
    name, folder = "norm.bias", source / published.START
    zarr.write(folder / f"{MASTER}{place_of(name).name}", np.full(8, 7, np.float32), (4,))
    assert Checkpoint(folder).weight(name).tolist() == [7.0] * 8


CUBE = np.arange(3 * 5 * 4, dtype=np.float32).reshape(3, 5, 4)


def test_zarr_reads_whole_arrays_and_parts_of_uneven_chunks(tmp_path):
    zarr.write(tmp_path / "a", CUBE, (1, 2, 3))
    array = Zarr.open(tmp_path / "a")
    assert np.array_equal(array.read(), CUBE)
    assert np.array_equal(array.read(2), CUBE[2])
    assert np.array_equal(array.read(1, 4), CUBE[1, 4])
    assert len(list(array.files())) == 1 + 3 * 3 * 2


@pytest.mark.parametrize(("name", "pack"), [("zlib", zlib.compress), ("gzip", gzip.compress)])
def test_zarr_reads_packed_chunks_and_the_other_separator(tmp_path, name, pack):
    folder = tmp_path / "a"
    (folder / "0").mkdir(parents=True)
    (folder / "0" / "0").write_bytes(pack(CUBE[0].tobytes()))
    described(folder, shape=[5, 4], chunks=[5, 4], compressor={"id": name, "level": 1}, dimension_separator="/")
    assert np.array_equal(Zarr.open(folder).read(), CUBE[0])


def test_zarr_reads_bfloat16(tmp_path):
    folder, values = tmp_path / "a", torch.tensor([1.5, -2.0, 3e-5, 0.1], dtype=torch.bfloat16)
    folder.mkdir()
    (folder / "0").write_bytes(values.view(torch.int16).numpy().tobytes())
    described(folder, shape=[4], chunks=[4], dtype="bfloat16")
    assert np.array_equal(Zarr.open(folder).read(), values.float().numpy())


def described(folder, **changes):
    content = {"zarr_format": 2, "shape": [4], "chunks": [4], "dtype": "<f4", "compressor": None, "fill_value": None, "filters": None,
               "order": "C"}
    (folder / ".zarray").write_text(json.dumps({**content, **changes}))


@pytest.mark.parametrize(("changes", "says"), [
    ({"dtype": "<f8"}, "found dtype <f8"), ({"compressor": {"id": "blosc"}}, "compression 'blosc'"), ({"order": "F"}, "row-major"),
    ({"zarr_format": 3}, "zarr 2"), ({"chunks": [2, 2]}, "as many positive sizes"), ({"chunks": [0]}, "positive sizes"),
    ({"shape": "x"}, "description of a zarr array"), ({"dimension_separator": "|"}, "row-major")])
def test_zarr_refuses_what_it_does_not_read(tmp_path, changes, says):
    described(tmp_path, **changes)
    with pytest.raises(DataProblem, match=says):
        Zarr.open(tmp_path)


# --- bad input: which file, what to do ---

def cut_off(path):
    path.write_bytes(path.read_bytes()[:-3])


START_FILE = f"{published.START}/{WEIGHT}encoder.layers.mlp.dense_h_to_4h.weight"


@pytest.mark.parametrize(("break_it", "says"), [
    (lambda folder: pair(folder, published.TRAIN[1])[1].unlink(), "cannot read .*c4_en_7_c4_spm_text_document.bin"),
    (lambda folder: pair(folder, published.EVAL)[0].unlink(), "cannot read .*validation_subset_c4_spm_text_document.idx"),
    (lambda folder: cut_off(pair(folder, published.TRAIN[0])[1]), "expected 12 tokens .*c4_en_6_c4_spm_text_document.bin"),
    (lambda folder: cut_off(pair(folder, published.TRAIN[0])[0]), "bytes .*c4_en_6_c4_spm_text_document.idx"),
    (lambda folder: write_tokens(folder, published.EVAL, [[1, 2, 3, 4, 5, 6, 7, 8, 9]], kind_for(60)), "expected 12 tokens to predict"),
    (lambda folder: write_tokens(folder, published.TRAIN[0], [[1, 2, 3, 4, 60, 6, 7, 8]], kind_for(60)), "token ids 0 to 59"),
    (lambda folder: write_tokens(folder, published.TRAIN[0], [[1, 2, 3]], kind_for(60)), "at least two windows of 4 tokens"),
    (lambda folder: (folder / START_FILE / ".zarray").unlink(), "cannot read .*dense_h_to_4h.weight/.zarray"),
    (lambda folder: (folder / START_FILE / "1.1.0").unlink(), "dense_h_to_4h.weight/1.1.0 of 256 bytes, found no such file"),
    (lambda folder: cut_off(folder / START_FILE / "1.1.0"), "dense_h_to_4h.weight/1.1.0 of 256 bytes, found 253 bytes"),
    (lambda folder: described(folder / START_FILE, shape=[2, 32, 9], chunks=[1, 16, 4]), "expected shape .2, 32, 8. of"),
])
def test_damaged_source_is_named(source, tmp_path, break_it, says):
    break_it(source)
    with pytest.raises(DataProblem, match=says) as raised:
        prepare(TINY, source, tmp_path / "root")
    assert raised.value.hint
    assert not (tmp_path / "root" / "manifest.json").exists()


def test_chunk_that_changes_after_preparation_is_named(root):
    cut_off(root / START_FILE / "0.0.0")
    with pytest.raises(DataProblem, match=r"0\.0\.0, found 253"):
        Checkpoint(root / published.START).weight("blocks.0.mlp.up.weight")


@pytest.mark.parametrize(("change", "says"), [
    ("data.eval_tokens=13", "data.eval_tokens=13"), ("model.tokens=59", "model.tokens=59"),
    ("schedule.start_sequences=99", "schedule.start_sequences=99"), ("global_batch_size=7", "global batch of 7 sequences"),
])
def test_another_data_set_is_refused(root, change, says):
    with pytest.raises(DataProblem, match=says):
        sizes(override(TINY, [change]), Manifest.load(root))


# --- generated data ---

@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generated")
    articles.generate(SMALL, folder, 5)
    return folder


SMALL = override(smoke(), ["data.articles=500", "data.eval_tokens=900", "schedule.start_sequences=32", "data.start_low=0", "data.start_high=9"])


def test_generated_data_are_in_the_published_layout(generated):
    manifest = Manifest.load(generated)
    assert manifest.facts["eval_tokens"] == 900
    assert manifest.generator == recipe(SMALL)
    assert sizes(SMALL, manifest).samples_per_epoch > 0
    assert {entry.kind for name, entry in manifest.files.items() if name.startswith(published.START)} == {"weights"}
    assert not list(generated.glob(f"{articles.UNPACKED}*"))


def test_generated_text_is_what_the_articles_say(generated):
    from laptime.training.data.byte_pairs import learnt

    texts = [" ".join(articles.article(5, i).sentences) for i in range(500)]
    words = learnt(texts, SMALL.model.tokens, first=articles.SPECIAL)
    file = TokenFile.load(*pair(generated, published.EVAL))
    assert [words.text(file[i]) for i in range(2)] == [texts[0], texts[16]]
    assert texts[32].startswith(words.text(file[2]))  # cut off where enough is asked for
    train = {words.text(document) for name in published.TRAIN for document in TokenFile.load(*pair(generated, name))}
    assert train == {text for i, text in enumerate(texts) if i % 16 not in (*articles.HELD_OUT, *articles.FIRST)}


def test_same_seed_makes_the_same_files_and_another_does_not(generated, tmp_path):
    articles.generate(SMALL, tmp_path / "again", 5)
    articles.generate(SMALL, tmp_path / "other", 6)
    hashes = [Manifest.load(folder).content_hash for folder in (generated, tmp_path / "again", tmp_path / "other")]
    assert hashes[0] == hashes[1] != hashes[2]


def test_start_outside_its_window_is_refused(tmp_path):
    with pytest.raises(DataProblem, match=r"log perplexity 0 to 0\.1"):
        articles.generate(override(SMALL, ["data.start_high=0.1"]), tmp_path, 5)
    assert not (tmp_path / "manifest.json").exists()


def test_too_little_held_out_text_is_refused(tmp_path):
    with pytest.raises(DataProblem, match="tokens of held-out text"):
        articles.generate(override(SMALL, ["data.eval_tokens=90000"]), tmp_path, 5)


# --- what can be had without reading ---

def test_shortcuts_predict_what_the_network_is_asked_for(root):
    from laptime.suite.gpt3.shortcuts import windows

    store = Store.open(root)
    store.unlock()
    assert sum(len(one) - 1 for one in windows(store, 4)) == TINY.data.eval_tokens
