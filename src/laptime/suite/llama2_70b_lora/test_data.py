"""Data of Llama 2 LoRA: how samples are packed and masked, published files through the pipeline, what is refused."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from laptime.config import override
from laptime.errors import DataProblem, DataTouchedTooEarly, UserError
from laptime.suite.llama2_70b_lora import parquet, published
from laptime.suite.llama2_70b_lora.columns import COLUMNS, stacked
from laptime.suite.llama2_70b_lora.config import smoke
from laptime.suite.llama2_70b_lora.data import EvalBatches, TrainBatches, keys_of, moved
from laptime.suite.llama2_70b_lora.generated import generate
from laptime.suite.llama2_70b_lora.model import AdaptedLlama, is_adapter
from laptime.suite.llama2_70b_lora.packed import BEGIN, END, document, packed, prompt
from laptime.suite.llama2_70b_lora.parquet import parquet_rows, rows_of
from laptime.suite.llama2_70b_lora.published import (
    EVAL,
    FOLDER,
    NAME,
    TRAIN,
    WEIGHTS,
    prepare,
    recipe,
    sizes,
    weights_of,
)
from laptime.suite.llama2_70b_lora.reports import report
from laptime.suite.llama2_70b_lora.shortcuts import SHORTCUTS, mean_of_means
from laptime.suite.llama2_70b_lora.start import fused
from laptime.suite.llama2_70b_lora.weights import draw_frozen
from laptime.training.data.safetensors_files import write_checkpoint
from laptime.training.data.sampler import Spread
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
TINY = override(smoke(), ["global_batch_size=2", "data.length=6", "data.train_samples=5", "data.eval_samples=3", "data.eval_batch_size=2",
                          "model.vocabulary=32000", "model.layers=1", "model.hidden=8", "model.intermediate=12", "model.heads=2",
                          "model.key_value_heads=1", "model.head_size=4", "schedule.max_steps=160"])
FEW = override(smoke(), ["data.train_samples=20", "data.eval_samples=3", "data.reports=80", "data.articles=120", "data.start_steps=1",
                         "data.start_low=0", "data.start_high=9"])
IDS = np.arange(5 * 6).reshape(5, 6) + 31970
HELD_OUT = np.arange(3 * 6).reshape(3, 6) + 100
MASKED = np.where(np.arange(6) < 4, -100, HELD_OUT)
ROWS = {TRAIN: dict(zip(COLUMNS, (IDS.tolist(), IDS.tolist()), strict=True)),
        EVAL: dict(zip(COLUMNS, (HELD_OUT.tolist(), MASKED.tolist()), strict=True))}


class StandIn:
    """pyarrow's ParquetFile over rows in memory: the package need not be installed."""

    def __init__(self, rows):
        self.rows = rows

    def iter_batches(self, batch_size, columns):
        count = len(next(iter(self.rows.values())))
        for start in range(0, count, batch_size):
            part = {name: self.rows[name][start:start + batch_size] for name in columns}
            yield SimpleNamespace(to_pydict=lambda part=part: part)


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Published files of eight samples and a small network; what stands in for pyarrow reads them."""
    folder = tmp_path / "source"
    (folder / FOLDER).mkdir(parents=True)
    for part, rows in ROWS.items():
        (folder / FOLDER / f"{part}-00000-of-00001.parquet").write_text(json.dumps(rows))
    model = AdaptedLlama(TINY.model, TINY.adapter)
    draw_frozen(model, Seeds(3))
    weights = fused({name: p.detach().to(torch.bfloat16) for name, p in model.named_parameters() if not is_adapter(name)})
    names = list(weights)
    write_checkpoint(folder / WEIGHTS, [{name: weights[name] for name in names[:4]}, {name: weights[name] for name in names[4:]}])
    monkeypatch.setattr(parquet, "opened", lambda path: StandIn(json.loads(path.read_text())))
    monkeypatch.setattr(parquet, "TOGETHER", 2)
    return folder


def opened(root):
    store = Store.open(root)
    store.unlock()
    return store


def train_batches(config, store, seed=1, world=ALONE):
    return TrainBatches(store, config.data, Seeds(seed), world,
                        Spread(config.global_batch_size, world.size, world.rank, config.parallel.accumulation_steps))


# --- from texts to samples ---


def letters(text):
    """A tokenizer of letters."""
    return [3 + ord(one) for one in text]


def test_a_training_document_counts_whole():
    one = document(letters, "Long.", "Short.", whole=True)
    assert one.tokens == [BEGIN, *letters("### Summarize the following text:\n Long.\n ### Summary:\n Short."), END]
    assert one.labels == one.tokens


def test_an_evaluation_document_counts_its_summary_without_the_end():
    one = document(letters, "Long.", "Short.", whole=False)
    before = 1 + len(prompt("Long."))
    assert one.tokens == document(letters, "Long.", "Short.", whole=True).tokens
    assert list(one.labels) == [-100] * before + letters(" Short.") + [-100]


def test_documents_are_packed_across_samples_and_what_is_left_is_dropped():
    documents = [SimpleNamespace(tokens=list(range(10 * i, 10 * i + n)), labels=[-100] * n) for i, n in enumerate((3, 5, 9, 4))]
    (rows,) = packed(documents, 8)
    assert rows["input_ids"] == [[0, 1, 2, 10, 11, 12, 13, 14]]  # 9 are too long, 4 are left over
    assert rows["labels"] == [[-100] * 8]


def test_groups_of_documents_are_packed_apart(monkeypatch):
    monkeypatch.setattr("laptime.suite.llama2_70b_lora.packed.TOGETHER", 2)
    documents = [SimpleNamespace(tokens=[i] * 3, labels=[i] * 3) for i in range(4)]
    assert [rows["input_ids"] for rows in packed(documents, 4)] == [[[0, 0, 0, 1]], [[2, 2, 2, 3]]]


def test_every_fact_of_a_summary_is_told_in_its_report():
    frame = {"In", "A", "made", "and", "the", "only", "of", "from", "came", "in", "After", "bricks", "were", "left", "was"}
    for number in range(60):
        one = report(5, number)
        words = set(one.text.replace(".", " ").replace(",", " ").split())
        assert set(one.summary.replace(".", " ").replace(",", " ").split()) - frame <= words
    assert report(5, 1) == report(5, 1) != report(6, 1)


# --- published files ---


def test_published_files_pass_through_the_whole_pipeline(source, tmp_path):
    prepare(TINY, source, tmp_path / "data")
    store = opened(tmp_path / "data")
    assert store.metadata.name == NAME
    assert dict(store.metadata.facts) == {"train_samples": 5, "eval_samples": 3, "vocabulary": 32000, "length": 6}
    found = sizes(TINY, store.metadata)
    assert (found.train_samples, found.eval_samples, found.samples_per_epoch, found.limit_samples) == (5, 3, 4, 320)
    batches = list(train_batches(TINY, store)(1))
    assert [batch.global_size for batch in batches] == [2, 2]
    rows = torch.cat([batch.micro[0].tokens for batch in batches])
    assert len({tuple(row) for row in rows.tolist()} & {tuple(row) for row in IDS.tolist()}) == 4
    for batch in batches:
        tokens, labels, _ = batch.micro[0]
        assert torch.equal(labels[:, :-1], tokens[:, 1:])
        assert (labels[:, -1] == -100).all()
    tokens, labels, _ = next(iter(EvalBatches(store, TINY.data, ALONE)))
    assert tokens.tolist() == HELD_OUT[:2].tolist()
    assert labels.tolist() == [[-100, -100, -100, 104, 105, -100], [-100, -100, -100, 110, 111, -100]]
    assert weights_of(store).shape("model.layers.0.self_attn.qkv_proj.weight") == (16, 8)


def test_real_parquet_files_are_read(tmp_path):
    pyarrow, files = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "train-00000-of-00001.parquet"
    files.write_table(pyarrow.table(ROWS[TRAIN]), path)
    tokens, labels = stacked(parquet_rows([path], tmp_path), 6, 32000, TRAIN)
    assert (tokens == IDS).all()
    assert (labels == IDS).all()
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataProblem, match="expected a Parquet file at"):
        parquet_rows([path], tmp_path)


def test_without_pyarrow_the_message_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    path = tmp_path / "train-00000-of-00001.parquet"
    path.touch()
    with pytest.raises(UserError, match=r"expected the package pyarrow to read .*, found none") as found:
        parquet_rows([path], tmp_path)
    assert found.value.hint == "It is the extra parquet: pip install 'laptime[parquet]'"


def test_a_missing_file_is_named(source, tmp_path):
    (source / FOLDER / "validation-00000-of-00001.parquet").unlink()
    with pytest.raises(DataProblem, match=r"expected files .*validation-00000-of-00001.parquet, found none"):
        prepare(TINY, source, tmp_path / "data")
    assert not (tmp_path / "data" / "manifest.json").exists()


def test_a_damaged_file_is_named():
    class Damaged:
        def iter_batches(self, batch_size, columns):
            yield SimpleNamespace(to_pydict=lambda: dict(zip(COLUMNS, ([[1, 2]], [[1, 2]]), strict=True)))
            raise OSError("snappy: corrupt\nmore")

    rows = rows_of(Damaged(), "train.parquet")
    next(rows)
    with pytest.raises(DataProblem, match=r"train.parquet cannot be read: snappy: corrupt$"):
        next(rows)


@pytest.mark.parametrize(("rows", "says"), [
    ({"input_ids": [[1, 2, 3]]}, "expected a column 'labels' of train samples from 1 on, found input_ids"),
    ({"input_ids": [[1, 2]], "labels": [[1, 2, 3]]}, "expected 3 numbers in 'input_ids' of train samples from 1 on, found 2"),
    ({"input_ids": [[1, 2, 3]] * 2, "labels": [[1, 2, 3]]}, "found 1 and 2"),
    ({"input_ids": [[1, 2, 9]], "labels": [[1, 2, 9]]}, "ids 0 to 8, and labels that are ids or -100 in train sample 1"),
    ({"input_ids": [[1, 2, 3]], "labels": [[1, 2, 4]]}, "labels that are ids or -100 in train sample 1"),
    ({"input_ids": [[1, 2, 3]], "labels": [[1, -100, -100]]}, "a label to predict in train sample 1"),
])
def test_rows_that_are_no_samples_are_refused(rows, says):
    good = {"input_ids": [[1, 2, 3]], "labels": [[1, 2, 3]]}
    with pytest.raises(DataProblem, match=says):
        stacked([good, rows], 3, 9, TRAIN)
    assert stacked([good, good], 3, 9, TRAIN)[0].tolist() == [[1, 2, 3]] * 2


def test_no_rows_are_refused():
    with pytest.raises(DataProblem, match="expected validation samples, found none"):
        stacked([], 3, 9, EVAL)


@pytest.mark.parametrize(("change", "says"), [("data.train_samples=6", "expected 6 train samples, found 5"),
                                              ("data.eval_samples=2", "expected 2 validation samples, found 3"),
                                              ("model.hidden=16", "expected shape"), ("data.length=7", "expected 7 numbers in 'input_ids' of train samples from 0 on")])
def test_files_of_another_configuration_are_refused(source, tmp_path, change, says):
    with pytest.raises(DataProblem, match=says):
        prepare(override(TINY, [change]), source, tmp_path / "data")


@pytest.mark.parametrize(("change", "says"), [
    ("data.eval_samples=2", "data.eval_samples=2 by the configuration, found 3"), ("data.train_samples=7", "data.train_samples=7"),
    ("data.length=3", "data.length=3"), ("model.vocabulary=200000", "model.vocabulary=200000"),
    ("global_batch_size=6", "global batch of 6 samples, found 5")])
def test_data_of_another_configuration_are_refused(source, tmp_path, change, says):
    prepare(TINY, source, tmp_path / "data")
    with pytest.raises(DataProblem, match=says):
        sizes(override(TINY, [change]), Manifest.load(tmp_path / "data"))


# --- batches ---


def test_batches_are_made_behind_the_data_door(source, tmp_path):
    prepare(TINY, source, tmp_path / "data")
    store = Store.open(tmp_path / "data")
    with pytest.raises(DataTouchedTooEarly):
        next(train_batches(TINY, store)(1))
    with pytest.raises(DataTouchedTooEarly):
        iter(EvalBatches(store, TINY.data, ALONE))


def test_order_and_dropout_depend_on_the_seed_and_the_epoch(source, tmp_path):
    prepare(TINY, source, tmp_path / "data")
    store = opened(tmp_path / "data")

    def seen(seed, epoch):
        micros = [micro for batch in train_batches(TINY, store, seed)(epoch) for micro in batch.micro]
        return str([micro.tokens.tolist() for micro in micros]), str([micro.keys.tolist() for micro in micros])

    assert seen(1, 1) == seen(1, 1)
    assert len({seen(seed, epoch)[0] for seed in (1, 2, 3) for epoch in (1, 2)}) > 3
    assert len({seen(seed, epoch)[1] for seed in (1, 2, 3) for epoch in (1, 2)}) == 6


def test_keys_are_those_of_the_sample_wherever_it_is():
    together = keys_of(9, np.array([4, 7]), 5)
    assert together.dtype == np.int32
    assert (keys_of(9, np.array([7]), 5)[0] == together[1]).all()
    assert len(set(together.flatten().tolist())) == 10


def test_two_processes_see_the_samples_of_one(source, tmp_path):
    prepare(TINY, source, tmp_path / "data")
    store = opened(tmp_path / "data")
    whole = [micro for batch in train_batches(TINY, store)(1) for micro in batch.micro]
    parts = [[micro for batch in train_batches(TINY, store, world=World(rank, 2, torch.device("cpu")))(1) for micro in batch.micro]
             for rank in (0, 1)]
    for *both, one in zip(*parts, whole, strict=True):
        assert all(torch.equal(torch.cat(pieces), all_) for *pieces, all_ in zip(*both, one, strict=True))


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_evaluation_sees_every_sample_once_and_fills_up_without_labels(source, tmp_path, processes):
    prepare(TINY, source, tmp_path / "data")
    store = opened(tmp_path / "data")
    made = [list(EvalBatches(store, TINY.data, World(rank, processes, torch.device("cpu")))) for rank in range(processes)]
    assert len({len(batches) for batches in made}) == 1
    labels = torch.cat([micro.labels for batches in made for micro in batches])
    counted = labels[(labels >= 0).any(1)].tolist()
    assert sorted(counted) == moved(MASKED).tolist()


def test_a_damaged_file_of_a_prepared_set_is_named_when_it_is_read(source, tmp_path):
    prepare(TINY, source, tmp_path / "data")
    (tmp_path / "data" / "train.input_ids.npy").write_bytes(b"1234")
    with pytest.raises(DataProblem, match=r"train.input_ids.npy is missing or damaged"):
        next(train_batches(TINY, opened(tmp_path / "data"))(1))


# --- generated data ---


def test_generated_data_are_the_same_again_and_other_with_another_seed(tmp_path):
    for folder, seed in (("one", 1), ("again", 1), ("other", 2)):
        (tmp_path / folder / "published-left").mkdir(parents=True)  # by an interrupted call
        generate(FEW, tmp_path / folder, seed)
    one, again, other = (Manifest.load(tmp_path / folder) for folder in ("one", "again", "other"))
    assert one == again
    assert one.content_hash != other.content_hash
    assert one.generator == recipe(FEW)
    assert not list((tmp_path / "one").glob("published-*"))
    train, held_out = (np.load(tmp_path / "one" / published.array_name(part, "input_ids")) for part in (TRAIN, EVAL))
    assert (train.shape, held_out.shape, train.dtype) == ((20, 224), (3, 224), np.dtype("<i4"))


def test_content_of_the_smoke_data_is_the_same_on_every_machine(tmp_path):
    config = override(smoke(), ["data.start_steps=1", "data.start_low=0", "data.start_high=9"])  # only weights differ
    generate(config, tmp_path, 11)
    assert Manifest.load(tmp_path).content_hash == "8faae2d15509a5d6185da4a68285c4e2"


def test_too_few_reports_and_weights_outside_their_window_are_refused(tmp_path):
    with pytest.raises(DataProblem, match=r"expected 20 train samples, found \d+ in the generated reports"):
        generate(override(FEW, ["data.reports=16"]), tmp_path, 1)
    with pytest.raises(DataProblem, match=r"expected frozen weights of log perplexity 1 to 2, found [56]\."):
        generate(override(FEW, ["data.start_low=1", "data.start_high=2"]), tmp_path, 1)
    assert not (tmp_path / "manifest.json").exists()


def test_generated_data_of_another_recipe_are_refused(tmp_path):
    generate(FEW, tmp_path, 1)
    other = replace(FEW, data=replace(FEW.data, reports=90))
    with pytest.raises(DataProblem, match=r"expected data made by 'articles 1, reports 1, llama2_70b_lora 1, 90 reports"):
        sizes(other, Manifest.load(tmp_path))


# --- shortcuts ---


def test_metric_of_a_shortcut_is_the_mean_of_means_over_labelled_tokens(source, tmp_path):
    prepare(TINY, source, tmp_path / "data")
    store, asked = opened(tmp_path / "data"), []

    def probabilities(tokens):
        asked.append(tokens)
        return [0.0, 0.0, 0.0, 0.0, 0.5, 0.125]

    assert mean_of_means(store, probabilities) == pytest.approx(np.log([2, 8]).mean())
    assert asked == HELD_OUT.tolist()


def test_every_shortcut_can_be_measured_and_more_context_tells_more(source, tmp_path):
    prepare(TINY, source, tmp_path / "data")
    store = opened(tmp_path / "data")
    found = {name: measure(TINY, store) for name, measure in SHORTCUTS.items()}
    assert all(3.0 < value < 14.0 for value in found.values())  # nothing that was held out occurs in training
    assert found["random weights"] == pytest.approx(np.log(32000), abs=1.0)
    assert found["frozen weights alone"] != found["random weights"]
