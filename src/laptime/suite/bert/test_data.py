"""Data: the published layout through the whole pipeline, generated articles, packed batches, and bad input."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from laptime.config import override
from laptime.errors import DataProblem, DataTouchedTooEarly
from laptime.suite.bert import published
from laptime.suite.bert.articles import numbered, picked, read_text, write_text
from laptime.suite.bert.config import full, mini, smoke
from laptime.suite.bert.data import (
    GENERATED,
    PUBLISHED,
    EvalBatches,
    Part,
    TrainBatches,
    prepare,
    sizes,
    synthetic_batches,
)
from laptime.suite.bert.instances import Instance, Vocabulary, instances
from laptime.suite.bert.model import Bert, initialise, reference_names, transposed
from laptime.suite.bert.published import features_of, instance_of
from laptime.suite.bert.samples import collated, columns_of, encoded, loss_weights, token_keys
from laptime.suite.bert.wordpiece import SPECIALS, WordPiece, learnt
from laptime.training.data import tf_checkpoint
from laptime.training.data.packing import Packing
from laptime.training.data.store import Manifest, Store
from laptime.training.data.synth.draw import Stream
from laptime.training.data.tfrecord import example, parse, write_records
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
CLS, SEP, MASK = 2, 3, 4
WORDS = Vocabulary(CLS, SEP, MASK, 40)
TINY = replace(override(smoke(), ["global_batch_size=2", "loss_span=2", "model.hidden=8", "model.intermediate=8", "model.vocabulary=40",
                                  "model.positions=16", "data.length=16", "data.predictions=3", "data.train_samples=6",
                                  "data.eval_samples=3"]))
SAMPLES = [
    Instance((CLS, 10, MASK, SEP, 12, 13, SEP), 4, (2,), (11,), False),
    Instance((CLS, MASK, SEP, 21, SEP), 3, (1, 3), (20, 21), True),
    Instance((CLS, 30, 31, 32, MASK, 34, 35, SEP, MASK, 37, 5, 39, 6, 7, 8, SEP), 8, (4, 8, 10), (33, 36, 38), True),
]


def publish(folder, config=TINY, samples=SAMPLES):
    """A source folder in the published layout: two training files, an evaluation file, a checkpoint, a vocabulary."""
    (folder / "tfrecord").mkdir(parents=True)
    contents = [example(features_of(config, one)) for one in samples]
    for i in range(2):
        write_records(folder / "tfrecord" / f"part-{i:05d}-of-00002", contents)
    write_records(folder / "eval_10k", contents)
    (folder / "vocab.txt").write_text("".join(f"{e}\n" for e in (*SPECIALS, *(f"w{i}" for i in range(35)))))
    model = network(config)
    tensors = {theirs: parameter.detach().numpy().T if transposed(theirs) else parameter.detach().numpy()
               for parameter, theirs in zip(model.parameters(), reference_names(model).values(), strict=True)}
    (folder / "tf1_ckpt").mkdir()
    tf_checkpoint.write(folder / "tf1_ckpt" / "model.ckpt-28252", {**tensors, "global_step": np.zeros(1, np.float32)})
    return folder


def network(config, seed=3):
    model = Bert(config.model)
    initialise(model, Seeds(seed).torch("init"), 0.02)
    return model


@pytest.fixture
def source(tmp_path):
    return publish(tmp_path / "source")


@pytest.fixture
def root(source, tmp_path):
    prepare(TINY, source, tmp_path / "root")
    return tmp_path / "root"


@pytest.fixture
def store(root):
    opened = Store.open(root)
    opened.unlock()
    return opened


# --- the published layout ---

def test_record_has_the_published_features():
    features = parse(example(features_of(full(), SAMPLES[0])))
    assert {name: len(value) for name, value in features.items()} == {
        "input_ids": 512, "input_mask": 512, "segment_ids": 512, "masked_lm_positions": 76, "masked_lm_ids": 76,
        "masked_lm_weights": 76, "next_sentence_labels": 1}
    assert features["input_ids"][:9].tolist() == [2, 10, 4, 3, 12, 13, 3, 0, 0]
    assert features["segment_ids"][:9].tolist() == [0, 0, 0, 0, 1, 1, 1, 0, 0]
    assert features["input_mask"].sum() == 7
    assert (features["masked_lm_positions"][0], features["masked_lm_ids"][0], features["masked_lm_weights"].sum()) == (2, 11, 1)
    assert features["masked_lm_weights"].dtype == np.float32


@pytest.mark.parametrize("sample", SAMPLES)
def test_published_record_survives_without_its_padding(sample):
    assert instance_of(TINY, example(features_of(TINY, sample))) == sample


def test_published_files_become_batches_of_the_same_samples(store):
    """Three samples in the published bytes, through checks, shards, index and packing."""
    (batch,) = EvalBatches(store, TINY, ALONE)
    shortest_first = sorted(SAMPLES, key=lambda one: len(one.tokens))
    assert batch.tokens.packing.lengths == (5, 7, 16)
    assert batch.tokens.numbers.tolist() == [token for one in shortest_first for token in one.tokens]
    assert batch.tokens.positions.tolist() == [*range(5), *range(7), *range(16)]
    assert batch.tokens.segments.tolist() == [0] * 3 + [1] * 2 + [0] * 4 + [1] * 3 + [0] * 8 + [1] * 8
    assert batch.tokens.bounds.tolist() == [0, 5, 12, 28]
    assert batch.masked.tolist() == [1, 3, 5 + 2, 12 + 4, 12 + 8, 12 + 10]
    assert batch.labels.tolist() == [20, 21, 11, 33, 36, 38]
    assert batch.next_labels.tolist() == [1, 0, 1]


def test_training_visits_every_sample_once_per_epoch_in_whole_batches(store):
    batches = TrainBatches(store, TINY, Seeds(1), ALONE)
    lengths = {epoch: [n for batch in batches(epoch) for n in batch.micro[0].tokens.packing.lengths] for epoch in (1, 2)}
    assert all(sorted(found) == [5, 5, 7, 7, 16, 16] for found in lengths.values())
    assert [batch.global_size for batch in batches(1)] == [2, 2, 2]


def test_ranks_and_micro_batches_share_a_batch(store):
    def words(config, world):
        return sorted(word for batch in TrainBatches(store, config, Seeds(1), world)(1) for micro in batch.micro
                      for word in micro.labels.tolist())

    whole = words(TINY, ALONE)
    ranks = [words(TINY, World(rank, 2, torch.device("cpu"))) for rank in range(2)]
    assert sorted(ranks[0] + ranks[1]) == whole
    assert words(override(TINY, ["parallel.accumulation_steps=2"]), ALONE) == whole


def test_evaluation_is_shared_by_ranks(store):
    parts = [[word for batch in EvalBatches(store, TINY, World(rank, 2, torch.device("cpu"))) for word in batch.labels.tolist()]
             for rank in range(2)]
    assert sorted(parts[0] + parts[1]) == [11, 20, 21, 33, 36, 38]
    assert min(map(len, parts)) > 0


def test_data_stays_locked_until_the_clock_runs_and_weights_do_not(root):
    locked = Store.open(root)
    assert locked.weights("start.pt").is_file()
    with pytest.raises(DataTouchedTooEarly):
        next(iter(EvalBatches(locked, TINY, ALONE)))


def test_starting_checkpoint_arrives_in_the_network(store):
    model = network(TINY, seed=99)
    published.load_start(model, store.weights("start.pt"))
    for found, expected in zip(model.parameters(), network(TINY).parameters(), strict=True):
        assert torch.equal(found, expected)


def test_manifest_says_what_the_configuration_asks(store):
    manifest = store.metadata
    found = sizes(TINY, manifest)
    assert (found.train_samples, found.eval_samples, found.samples_per_epoch, found.limit_samples) == (6, 3, 6, 240 * 2)
    with pytest.raises(DataProblem, match=r"data.length=20 by the configuration, found 16"):
        sizes(override(TINY, ["data.length=20"]), manifest)


def test_first_samples_of_training_are_evaluated_where_a_round_did_so(source, tmp_path):
    prepare(override(TINY, ["data.evaluate_training=true"]), source, tmp_path / "old")
    assert Manifest.load(tmp_path / "old").count("eval_samples") == 3


# --- bad input ---

def without(name):
    return lambda folder: (folder / name).unlink()


def cut(name):
    def damage(folder):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-7])
    return damage


def flipped(name, at):
    def damage(folder):
        data = bytearray((folder / name).read_bytes())
        data[at] ^= 1
        (folder / name).write_bytes(data)
    return damage


DAMAGES = {
    "vocabulary missing": (without("vocab.txt"), "expected a vocabulary at .*vocab.txt"),
    "vocabulary short": (lambda f: (f / "vocab.txt").write_text("a\nb\n"), "expected 40 different vocabulary entries in .*vocab.txt"),
    "vocabulary binary": (lambda f: (f / "vocab.txt").write_bytes(b"\xff\xfe"), "expected lines of text in .*vocab.txt"),
    "vocabulary without mask": (lambda f: (f / "vocab.txt").write_text("".join(f"w{i}\n" for i in range(40))), r"entry \[PAD\]"),
    "training file missing": (without("tfrecord/part-00001-of-00002"), "part-00001-of-00002 is missing"),
    "no training files": (lambda f: [p.unlink() for p in (f / "tfrecord").iterdir()], "found none"),
    "training file cut": (cut("tfrecord/part-00001-of-00002"), "record 2 of .*part-00001-of-00002 is cut short"),
    "training file changed": (flipped("tfrecord/part-00000-of-00002", 60), "record 0 of .*part-00000.* checksum"),
    "evaluation missing": (without("eval_10k"), "cannot read .*eval_10k"),
    "checkpoint index missing": (without("tf1_ckpt/model.ckpt-28252.index"), "cannot read the checkpoint .*index"),
    "checkpoint data cut": (cut("tf1_ckpt/model.ckpt-28252.data-00000-of-00001"), "bytes of tensor"),
    "checkpoint data changed": (flipped("tf1_ckpt/model.ckpt-28252.data-00000-of-00001", 5), "another checksum than the index says"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_source_is_refused_by_name(source, tmp_path, damage):
    make, says = DAMAGES[damage]
    make(source)
    with pytest.raises(DataProblem, match=says) as found:
        prepare(TINY, source, tmp_path / "root")
    assert found.value.hint
    assert not (tmp_path / "root" / "manifest.json").exists()


@pytest.mark.parametrize(("change", "says"), [
    ("data.train_samples=7", "expected 7 samples in the train files at .*, found 6"),
    ("data.eval_samples=4", "expected 4 samples in the eval files at .*, found 3"),
    ("data.length=15", "record 0 of .* is no sample: expected 15 numbers in 'input_ids', found 16"),
    ("model.hidden=6", "expected shape .* of 'bert/"),
    ("data.checksums=vocab.txt=123", "expected MD5 123 of .*vocab.txt"),
    ("data.checksums=absent=123", "cannot read .*absent")])
def test_source_of_other_counts_sizes_or_checksums_is_refused(source, tmp_path, change, says):
    with pytest.raises(DataProblem, match=says):
        prepare(override(TINY, [change]), source, tmp_path / "root")


@pytest.mark.parametrize(("feature", "value", "says"), [
    ("input_ids", np.full(16, 40), "token outside"), ("masked_lm_ids", np.full(3, -1), "masked word outside"),
    ("input_mask", np.eye(16, dtype=np.int64)[3], "input_mask"), ("segment_ids", np.eye(16, dtype=np.int64)[1], "segment_ids"),
    ("masked_lm_positions", np.full(3, 15), "masked positions"), ("masked_lm_weights", np.zeros(3, np.float32), "masked word")])
def test_record_that_makes_no_sense_is_refused(feature, value, says):
    features = features_of(TINY, SAMPLES[0]) | {feature: value}
    with pytest.raises(ValueError, match=says):
        instance_of(TINY, example(features))


def test_bytes_that_are_no_record_are_refused_by_number(source, tmp_path):
    write_records(source / "eval_10k", [b"\x0b\x0c"])
    with pytest.raises(DataProblem, match=r"record 0 of .*eval_10k is no sample"):
        prepare(TINY, source, tmp_path / "root")


def test_damaged_shards_and_start_are_refused(root):
    opened = Store.open(root)
    opened.unlock()
    path = root / "train-00000.shard"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(DataProblem, match="beyond the end of its shard"):
        Part(opened, "train").arrays(np.arange(3), np.ones(3), 0)
    (root / "start.pt").write_bytes(b"nothing")
    with pytest.raises(DataProblem, match=r"expected a saved state at .*start.pt"):
        published.load_start(network(TINY), root / "start.pt")


def test_start_of_another_network_is_refused(root):
    other = override(TINY, ["model.layers=3"])
    with pytest.raises(DataProblem, match="layer_2"):
        published.load_start(network(other), root / "start.pt")


# --- packing, weights, dropout keys ---

def test_loss_weights_average_spans_and_do_not_depend_on_the_cut():
    weights = loss_weights(np.array([1, 3, 2, 2]), 2)
    assert weights.tolist() == pytest.approx([0.5 / 4.00001] * 4)
    assert loss_weights(np.array([1, 3, 2, 6]), 2).tolist() == pytest.approx([0.5 / 4.00001] * 2 + [0.5 / 8.00001] * 2)
    assert loss_weights(np.array([1, 3, 2, 6]), 4).tolist() == pytest.approx([1 / 12.00001] * 4)


def test_dropout_keys_belong_to_sample_and_position():
    one = token_keys(5, np.array([8, 9]), Packing((2, 3)))
    other = token_keys(5, np.array([9, 8]), Packing((3, 2)))
    assert one.tolist() == [*other[3:], *other[:3]]
    assert len(set(one.tolist())) == 5
    assert token_keys(6, np.array([8, 9]), Packing((2, 3))).tolist() != one.tolist()


def test_packing_puts_equal_lengths_together():
    samples = [encoded(one) for one in (SAMPLES[2], SAMPLES[0], SAMPLES[1], SAMPLES[0])]
    columns = columns_of(samples)
    arrays = collated([one.data for one in samples], columns, np.arange(4), np.array([1.0, 2.0, 3.0, 4.0]), 0)
    assert [(group.count, group.length) for group in arrays.packing.groups] == [(1, 5), (2, 7), (1, 16)]
    assert arrays.weights.tolist() == [3, 3, 2, 4, 1, 1, 1]
    assert arrays.integers.shape == (4, 5 + 7 + 7 + 16)


def test_synthetic_batches_have_the_shapes_of_real_ones(store):
    (real, *_), (made, *_) = (next(iter(one)).micro for one in
                              (TrainBatches(store, TINY, Seeds(1), ALONE)(1), synthetic_batches(TINY, ALONE)))
    flat = [[*vars(one.tokens).values(), *one[1:]] for one in (real, made)]
    kinds = [[(x.dtype, x.ndim) for x in one if isinstance(x, torch.Tensor)] for one in flat]
    assert kinds[0] == kinds[1]


def test_synthetic_samples_are_as_long_as_the_published_ones():
    """Records of eval_10k have 25,382,591 / 10,000 bytes on average (fact of the data set); padding takes a byte per
    number, a word (entries 999 to 16,383 here; rarer ones take three bytes) takes two."""
    config, draw = full(), np.random.Generator(np.random.Philox(1))
    sizes_of = [len(example(features_of(config, of_length(draw, length)))) + 16 for length in PUBLISHED.spread(300, 512)]
    assert np.mean(sizes_of) == pytest.approx(2538.2591, rel=0.004)
    assert np.mean(PUBLISHED.spread(300, 512)) == pytest.approx(305, abs=2)
    assert max(PUBLISHED.spread(2, 512)) < 512  # the longer of two does not fill up on average


def of_length(draw, length):
    """A sample of ordinary words, masked as the published ones are."""
    count = min(76, max(1, round(0.15 * length)))
    tokens = draw.integers(999, 16384, length)
    tokens[[0, length // 2, -1]] = 101, 102, 102
    positions = np.sort(draw.choice(np.arange(1, length), count, replace=False))
    tokens[positions] = np.where(draw.random(count) < 0.8, 103, tokens[positions])
    return Instance(tuple(tokens.tolist()), length // 2, tuple(positions.tolist()),
                    tuple(draw.integers(999, 16384, count).tolist()), False)


def test_synthetic_samples_of_mini_are_as_long_as_the_generated_ones(tmp_path):
    config = override(mini(), ["data.articles=300"])
    write_text(config, tmp_path / "results", 5)
    articles = [one for path in sorted((tmp_path / "results").iterdir()) for one in read_text(path)]
    words = WordPiece(learnt((sentence for one in articles for sentence in one), config.model.vocabulary))
    made = instances([numbered(words, one) for one in articles], config.data, WORDS, Stream(1), length=64, copies=2)
    found, expected = np.array([len(one.tokens) for one in made]), GENERATED.spread(300, 64)
    assert found.mean() == pytest.approx(expected.mean(), rel=0.02)
    assert (found == 64).mean() == pytest.approx((expected == 64).mean(), abs=0.05)


def test_synthetic_sizes_differ_from_step_to_step():
    totals = [batch.micro[0].tokens.packing.tokens for batch in synthetic_batches(mini(), ALONE, steps=3)]
    assert len(set(totals)) == 3


@pytest.mark.parametrize(("change", "differs"), [("data.shuffle_labels=true", "labels"), ("data.keep_masks=false", "numbers")])
def test_planted_faults_of_the_data_change_what_they_say(store, change, differs):
    sound, faulty = (next(iter(TrainBatches(store, override(TINY, [*extra]), Seeds(1), ALONE)(1))).micro[0] for extra in ([], [change]))
    assert (not torch.equal(sound.labels, faulty.labels)) == (differs == "labels")
    assert (not torch.equal(sound.tokens.numbers, faulty.tokens.numbers)) == (differs == "numbers")
    if differs == "numbers":
        assert torch.equal(faulty.tokens.numbers[faulty.masked], faulty.labels.int())


# --- samples from text ---

def documents(count, sentences=6, seed=1):
    draw = np.random.Generator(np.random.Philox(seed))
    return [[draw.integers(5, 40, draw.integers(3, 9)).tolist() for _ in range(sentences)] for _ in range(count)]


def test_samples_obey_the_preparation_of_the_reference():
    config = replace(mini().data, predictions=5, masked=0.15)
    made = instances(documents(60), config, WORDS, Stream(1), length=24, copies=3)
    assert len({one.tokens for one in made}) > len(made) / 2
    for one in made:
        assert 5 <= len(one.tokens) <= 24
        assert one.tokens[0] == CLS
        assert one.tokens[one.second - 1] == one.tokens[-1] == SEP
        assert len(one.positions) == min(5, max(1, round(0.15 * len(one.tokens))))
        assert list(one.positions) == sorted(set(one.positions))
        assert not {0, one.second - 1, len(one.tokens) - 1} & set(one.positions)
    assert 0.4 < np.mean([one.random_next for one in made]) < 0.75  # one half, and all single sentences
    shown = [one.tokens[p] == MASK for one in made for p in one.positions]
    same = [one.tokens[p] == label for one in made for p, label in zip(one.positions, one.labels, strict=True)]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.05)
    assert np.mean(same) == pytest.approx(0.1, abs=0.04)


def test_second_segment_follows_unless_it_is_random():
    config = replace(mini().data, short_probability=0.0)
    text = documents(12)
    flat = [[token for sentence in one for token in sentence] for one in text]
    for one in instances(text, config, WORDS, Stream(2), length=30, copies=1):
        tokens = list(one.tokens)
        for position, label in zip(one.positions, one.labels, strict=True):
            tokens[position] = label
        first, second = tokens[1:one.second - 1], tokens[one.second:-1]
        joined = first + second
        follows = any(document[i:i + len(joined)] == joined for document in flat for i in range(len(document)))
        assert follows != one.random_next or len(joined) == 27  # a cut sample need not be in one piece


def test_samples_are_a_function_of_the_stream():
    made = [instances(documents(5), mini().data, WORDS, Stream(key), length=32, copies=2) for key in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_evaluation_takes_every_nth_sample():
    assert picked(list(range(10)), 3) == [0, 3, 6]
    with pytest.raises(DataProblem, match="expected 11 evaluation samples"):
        picked(list(range(10)), 11)


def test_text_files_have_the_published_layout(tmp_path):
    config = override(smoke(), ["data.articles=24"])
    write_text(config, tmp_path / "results", 5)
    names = sorted(path.name for path in (tmp_path / "results").iterdir())
    assert names == ["eval.txt", *(f"part-{i:05d}-of-00004" for i in range(4))]
    parts = [read_text(tmp_path / "results" / name) for name in names]
    assert sum(map(len, parts)) == 24
    assert all(sentence.endswith(".") for part in parts for one in part for sentence in one)


# --- WordPiece ---

def test_words_are_split_greedily_longest_first():
    pieces = WordPiece([*SPECIALS, "un", "##aff", "##able", "##a", "a", "."])
    assert [pieces.entries[i] for i in pieces("Unaffable a.")] == ["un", "##aff", "##able", "a", "."]
    assert pieces("xyz a") == [pieces.numbers["[UNK]"], pieces.numbers["a"]]


def test_learnt_vocabulary_has_its_size_specials_first_and_spells_its_text():
    lines = ["the cat and the hat", "the bat.", "that cat sat"]
    entries = learnt(lines, 25)
    assert len(entries) == len(set(entries)) == 25
    assert tuple(entries[:5]) == SPECIALS
    assert "the" in entries
    pieces = WordPiece(entries)
    assert pieces.numbers["[UNK]"] not in [i for line in lines for i in pieces(line)]
    assert learnt(lines, 25) == entries


@pytest.mark.parametrize("size", [8, 500])
def test_vocabulary_that_the_text_cannot_fill_is_refused(size):
    with pytest.raises(DataProblem, match=f"expected text that makes {size} vocabulary entries"):
        learnt(["the cat and the hat"], size)
