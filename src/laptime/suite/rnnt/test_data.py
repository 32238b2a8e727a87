"""Reformatting and reading: published layouts, bad input of every reader, batches, epochs, the door."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import torch

from laptime.config import override
from laptime.errors import DataProblem, DataTouchedTooEarly
from laptime.suite.rnnt import data
from laptime.suite.rnnt.audio import read_audio, write_flac
from laptime.suite.rnnt.config import smoke
from laptime.suite.rnnt.data import EvalBatches, TrainBatches, generate, prepare, sizes, synthetic_batches
from laptime.suite.rnnt.reader import Utterances
from laptime.suite.rnnt.vocabulary import decode, train_tokenizer
from laptime.training.data.shards import Shards
from laptime.training.data.store import Manifest, Store, problems
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds

ALONE = World(0, 1, torch.device("cpu"))
TEXTS = {"train-clean-100": ["MISTER QUILTER IS THE APOSTLE", "AND WE ARE GLAD OF YOU"], "train-clean-360": ["TO WELCOME HIS GOSPEL"],
         "train-other-500": ["NOR IS HIS MANNER LESS INTERESTING"], "dev-clean": ["HE TELLS US THAT", "AT THIS SEASON", "OF THE YEAR"]}
CONFIG = override(smoke(), ["global_batch_size=2", "model.vocabulary=24", "data.train_utterances=2,1,1", "data.eval_utterances=3",
                            "data.max_duration=0.6", "data.eval_batch_size=2"])


def tone(length, seed):
    return np.random.Generator(np.random.Philox(seed)).integers(-9000, 9000, length, np.int16)


def samples_of():
    """(split, place) -> samples; the last training utterance is too long to keep."""
    return {(split, i): tone(9700 if split == "train-other-500" else 4000 + 900 * i + 100 * len(split), 7 * i + len(split))
            for split, texts in TEXTS.items() for i in range(len(texts))}


def publish(root, folder="LibriSpeech"):
    """LibriSpeech as OpenSLR 12 lays it out: capitals, one list of transcripts per chapter."""
    for split, texts in TEXTS.items():
        chapter = root / folder / split / "1272" / "128104"
        chapter.mkdir(parents=True)
        for i, _ in enumerate(texts):
            write_flac(chapter / f"1272-128104-{i:04d}.flac", samples_of()[split, i], 16000)
        (chapter / "1272-128104.trans.txt").write_text("".join(f"1272-128104-{i:04d} {text}\n" for i, text in enumerate(texts)))
    return root


def publish_wav(root):
    """The same as the reference's conversion leaves it: WAV files and a JSON list per split, small letters."""
    for split, texts in TEXTS.items():
        entries = []
        for i, text in enumerate(texts):
            name = f"{split}-wav/1272/128104/1272-128104-{i:04d}.wav"
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(root / name, samples_of()[split, i], 16000, subtype="PCM_16")
            entries.append({"transcript": text.lower(), "files": [{"fname": name, "speed": 1, "encoding": "Signed Integer PCM"}],
                            "original_duration": 1.0, "original_num_samples": 16000})
        (root / f"librispeech-{split}-wav.json").write_text(json.dumps(entries))
    return root


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def prepared(published, tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    prepare(CONFIG, published, root)
    return root


def opened(root):
    store = Store.open(root)
    store.unlock()
    return store


@pytest.fixture
def broken(published, tmp_path):
    """A copy of the published files, to be damaged."""
    return shutil.copytree(published, tmp_path / "broken")


def test_published_files_come_back_sample_by_sample_and_word_by_word(prepared):
    store = opened(prepared)
    pieces = store.metadata.facts["pieces"]
    expected = samples_of()
    for part, splits in (("train", ["train-clean-100", "train-clean-360"]), ("eval", ["dev-clean"])):
        utterances = Utterances(Shards(store, part), CONFIG.data)
        wanted = [(text.lower(), expected[split, i]) for split in splits for i, text in enumerate(TEXTS[split])]
        assert len(utterances) == len(wanted)
        for sample, (text, pcm) in enumerate(wanted):
            assert np.array_equal(utterances.samples(sample), pcm)
            said = decode(pieces, utterances.labels(sample).tolist())
            assert said == text


def test_long_training_utterances_are_left_out_and_counted(prepared):
    facts = Manifest.load(prepared).facts
    assert (facts["train_samples"], facts["eval_samples"], facts["vocabulary"]) == (3, 3, 24)
    assert facts["longest_train"] == max(len(pcm) for (split, _), pcm in samples_of().items() if "clean" in split and split != "dev-clean")
    assert not list(problems(prepared, Manifest.load(prepared), full=True))


def test_reference_s_wav_list_gives_the_same_data(prepared, tmp_path):
    prepare(CONFIG, publish_wav(tmp_path / "wav"), tmp_path / "out")
    ours, theirs = Manifest.load(prepared), Manifest.load(tmp_path / "out")
    assert {name: entry.checksum for name, entry in ours.files.items()} == {name: entry.checksum for name, entry in theirs.files.items()}
    assert ours.facts == theirs.facts


def test_splits_without_the_outer_folder_are_found(tmp_path):
    prepare(CONFIG, publish(tmp_path / "in", folder="."), tmp_path / "out")
    assert Manifest.load(tmp_path / "out").count("train_samples") == 3


def test_interrupted_reformat_goes_on_after_its_last_whole_shard(published, tmp_path, monkeypatch):
    prepare(CONFIG, published, tmp_path / "whole")

    def fails(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("laptime.suite.rnnt.published.join_index", fails)
        with pytest.raises(KeyboardInterrupt):
            prepare(CONFIG, published, tmp_path / "part")
    changed = (tmp_path / "part" / "train-00000.shard").stat().st_mtime_ns
    prepare(CONFIG, published, tmp_path / "part")
    assert (tmp_path / "part" / "train-00000.shard").stat().st_mtime_ns == changed
    assert Manifest.load(tmp_path / "part") == Manifest.load(tmp_path / "whole")


def chapter(root, split="dev-clean"):
    return root / "LibriSpeech" / split / "1272" / "128104"


def test_missing_split_is_named(broken, tmp_path):
    shutil.rmtree(broken / "LibriSpeech" / "dev-clean")
    with pytest.raises(DataProblem, match=r"dev-clean.*found neither"):
        prepare(CONFIG, broken, tmp_path / "out")


def test_missing_recording_is_named(broken, tmp_path):
    (chapter(broken) / "1272-128104-0001.flac").unlink()
    with pytest.raises(DataProblem, match=r"1272-128104-0001\.flac, found no such file"):
        prepare(CONFIG, broken, tmp_path / "out")


def test_truncated_recording_is_named(broken, tmp_path):
    path = chapter(broken) / "1272-128104-0001.flac"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataProblem, match=r"1272-128104-0001\.flac"):
        prepare(CONFIG, broken, tmp_path / "out")


def test_recording_that_is_no_audio_is_named(broken, tmp_path):
    (chapter(broken) / "1272-128104-0001.flac").write_bytes(b"not audio")
    with pytest.raises(DataProblem, match=r"cannot read the recording .*1272-128104-0001\.flac"):
        prepare(CONFIG, broken, tmp_path / "out")


def test_recording_whose_checksum_is_wrong_is_named(broken):
    path = chapter(broken) / "1272-128104-0001.flac"
    content = bytearray(path.read_bytes())
    content[30] ^= 1  # in the MD5 of its samples
    path.write_bytes(bytes(content))
    with pytest.raises(DataProblem, match=r"MD5 .*1272-128104-0001\.flac.*damaged"):
        read_audio(path, 16000)


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16000, 2)])
def test_recording_of_another_form_is_named(tmp_path, rate, channels):
    soundfile.write(tmp_path / "a.flac", np.zeros((100, channels), np.int16), rate)
    with pytest.raises(DataProblem, match=rf"one channel at 16000 Hz in .*a\.flac, found {channels} at {rate} Hz"):
        read_audio(tmp_path / "a.flac", 16000)


def test_wrong_number_of_utterances_is_said(published, tmp_path):
    with pytest.raises(DataProblem, match=r"expected 4 utterances of dev-clean .*found 3") as raised:
        prepare(override(CONFIG, ["data.eval_utterances=4"]), published, tmp_path / "out")
    assert "data.eval_utterances" in raised.value.hint


def test_line_without_transcript_is_named(broken, tmp_path):
    path = chapter(broken) / "1272-128104.trans.txt"
    path.write_text(path.read_text().replace(" AT THIS SEASON", ""))
    with pytest.raises(DataProblem, match=r"trans\.txt:2, found '1272-128104-0001'"):
        prepare(CONFIG, broken, tmp_path / "out")


@pytest.mark.parametrize("content", ["[{\"transcript\": \"a\"}]", "{", "[3]", "\x00"])
def test_list_of_another_form_is_named(tmp_path, content):
    publish_wav(tmp_path / "wav")
    (tmp_path / "wav" / "librispeech-dev-clean-wav.json").write_text(content)
    with pytest.raises(DataProblem, match=r"librispeech-dev-clean-wav\.json"):
        prepare(CONFIG, tmp_path / "wav", tmp_path / "out")


def test_vocabulary_that_cannot_be_made_is_said(published, tmp_path):
    with pytest.raises(DataProblem, match="give 500 pieces"):
        prepare(override(CONFIG, ["model.vocabulary=500"]), published, tmp_path / "out")


def test_pieces_decode_as_sentencepiece_does():
    sentencepiece = pytest.importorskip("sentencepiece")
    tokenizer = train_tokenizer([text.lower() for texts in TEXTS.values() for text in texts], 24)
    processor = sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)
    for text in ("he tells us that", "the gospel", "unknown q letters"):
        ids = tokenizer.encode(text)
        assert decode(tokenizer.pieces, ids) == processor.decode(ids)
    assert (processor.unk_id(), processor.bos_id(), processor.eos_id()) == (0, -1, -1)


def test_prepared_data_that_is_damaged_is_named(prepared, tmp_path):
    root = shutil.copytree(prepared, tmp_path / "damaged")
    shard = root / "train-00000.shard"
    shard.write_bytes(shard.read_bytes()[:-10])
    utterances = Utterances(Shards(opened(root), "train"), CONFIG.data)
    with pytest.raises(DataProblem, match=r"sample 2 .*train-00000\.shard"):
        utterances.samples(2)
    assert any("train-00000.shard has" in one for one in problems(root, Manifest.load(root), full=False))


def test_changed_prepared_data_has_another_checksum(prepared, tmp_path):
    root = shutil.copytree(prepared, tmp_path / "changed")
    shard = root / "eval-00000.shard"
    content = shard.read_bytes()
    shard.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    assert [one for one in problems(root, Manifest.load(root), full=True) if "eval-00000.shard has checksum" in one]


@pytest.mark.parametrize("content", ["one line\n", None])
def test_transcripts_of_another_number_are_said(prepared, tmp_path, content):
    root = shutil.copytree(prepared, tmp_path / "texts")
    path = root / "eval.transcripts.txt"
    path.write_text(content) if content else path.unlink()
    with pytest.raises(DataProblem, match=r"eval\.transcripts\.txt"):
        EvalBatches(opened(root), CONFIG, Seeds(1), ALONE).transcripts()


@pytest.mark.parametrize("change", ["data.eval_utterances=4", "model.vocabulary=30", "data.max_duration=9", "global_batch_size=8"])
def test_sizes_refuse_data_of_another_configuration(prepared, change):
    with pytest.raises(DataProblem, match="expected"):
        sizes(override(CONFIG, [change]), Manifest.load(prepared))


def test_sizes_count_whole_batches(prepared):
    found = sizes(CONFIG, Manifest.load(prepared))
    assert (found.train_samples, found.eval_samples, found.samples_per_epoch) == (2, 3, 2)


# --- batches ---

@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    root = tmp_path_factory.mktemp("generated")
    generate(smoke(), root, 5)
    return root


def batches_of(root, *changes, seed=3, world=ALONE):
    return TrainBatches(opened(root), override(smoke(), changes), Seeds(seed), world)


def test_batches_stay_shut_before_the_clock_runs(generated):
    store = Store.open(generated)
    with pytest.raises(DataTouchedTooEarly):
        next(TrainBatches(store, smoke(), Seeds(1), ALONE)(1))
    with pytest.raises(DataTouchedTooEarly):
        next(iter(EvalBatches(store, smoke(), Seeds(1), ALONE)))


def test_epoch_has_whole_batches_with_the_labels_of_their_utterances(generated):
    batches = batches_of(generated)
    found = list(batches(1))
    assert len(found) == 128 // 8
    assert {batch.global_size for batch in found} == {8}
    counts = sorted(int(count) for batch in found for count in batch.micro[0].cells.emits.new_zeros(8, dtype=torch.int64).index_add(
        0, batch.micro[0].cells.sequence, (batch.micro[0].cells.frame // 8 == 0).long()))
    assert counts == sorted((batches.utterances().label_counts + 1).tolist())
    for batch in found:
        (micro,) = batch.micro
        assert micro.features_TBF.shape[1:] == (8, 240)
        assert len(micro.features_TBF) == int(micro.frames_B.max())


def test_epochs_differ_and_repeat_with_the_seed(generated):
    def first(seed, epoch):
        return next(batches_of(generated, seed=seed)(epoch)).micro[0]

    assert torch.equal(first(3, 1).features_TBF, first(3, 1).features_TBF)
    assert first(3, 1).frames_B.tolist() != first(3, 2).frames_B.tolist()
    assert first(3, 1).frames_B.tolist() != first(4, 1).frames_B.tolist()


def test_two_ranks_and_two_micro_batches_see_the_utterances_of_one(generated):
    def seen(batch):
        return [(int(frames), micro.labels_UB[:2, b].tolist(), int(key)) for micro in batch.micro
                for b, (frames, key) in enumerate(zip(micro.frames_B, micro.keys_B, strict=True))]

    whole = seen(next(batches_of(generated)(1)))
    ranks = [seen(next(batches_of(generated, world=World(rank, 2, torch.device("cpu")))(1))) for rank in range(2)]
    parts = seen(next(batches_of(generated, "parallel.accumulation_steps=2")(1)))
    assert sorted(ranks[0] + ranks[1]) == sorted(parts) == sorted(whole)


def test_threads_do_not_change_the_order(generated):
    one, three = (list(batches_of(generated, f"parallel.data_workers={n}")(1)) for n in (1, 3))
    assert all(torch.equal(a.micro[0].features_TBF, b.micro[0].features_TBF) for a, b in zip(one, three, strict=True))


def test_shuffled_transcripts_change_labels_and_nothing_else(generated):
    sound, fault = (batches_of(generated, f"data.shuffle_transcripts={value}").utterances() for value in ("false", "true"))
    assert np.array_equal(sound.samples(3), fault.samples(3))
    assert sum(sound.labels(i).tolist() != fault.labels(i).tolist() for i in range(128)) > 90
    assert sorted(sound.labels(i).tolist() for i in range(128)) == sorted(fault.labels(i).tolist() for i in range(128))


def test_training_without_augmentation_hears_the_same_in_every_epoch(generated):
    batches = batches_of(generated, "data.augment=false", "data.dither=0")
    totals = [sorted(round(float(m.features_TBF[:, b].abs().sum()), 1) for batch in batches(epoch) for m in batch.micro for b in range(8))
              for epoch in (1, 2)]
    assert totals[0] == pytest.approx(totals[1], rel=1e-4)


def test_evaluation_sees_every_utterance_once_over_two_ranks_and_keeps_its_features(generated):
    seen = []
    for rank in range(2):
        batches = EvalBatches(opened(generated), override(smoke(), ["data.eval_batch_size=5"]), Seeds(1), World(rank, 2, torch.device("cpu")))
        first, again = list(batches), list(batches)
        assert all(one.features_TBF is other.features_TBF for one, other in zip(first, again, strict=True))
        seen += [sample for batch in first for sample in batch.samples]
    assert sorted(seen) == list(range(32))


def test_evaluation_beyond_the_cache_is_made_again(generated):
    batches = EvalBatches(opened(generated), override(smoke(), ["data.cache_bytes=0"]), Seeds(1), ALONE)
    first, again = list(batches), list(batches)
    assert first[0].features_TBF is not again[0].features_TBF
    assert torch.equal(first[0].features_TBF, again[0].features_TBF)


def test_synthetic_batches_are_at_least_as_long_as_real_ones(generated):
    manifest = Manifest.load(generated)
    longest = max(len(batch.micro[0].features_TBF) for batch in batches_of(generated)(1))
    first, second = synthetic_batches(smoke(), manifest, ALONE)
    assert len(first.micro[0].features_TBF) >= longest > len(second.micro[0].features_TBF) // 2
    assert first.global_size == 8


def test_another_recipe_of_generated_data_is_refused(generated):
    with pytest.raises(DataProblem, match="expected data made by"):
        sizes(override(smoke(), ["data.words_high=3"]), Manifest.load(generated))


def test_generation_forgets_what_an_interrupted_one_left(tmp_path):
    (tmp_path / "published-left").mkdir()
    small = override(smoke(), ["global_batch_size=4", "data.train_utterances=4,8,8", "data.eval_utterances=2", "model.vocabulary=20"])
    generate(small, tmp_path, 5)
    assert not list(tmp_path.glob(f"{data.UNPACKED}*"))
    assert Manifest.load(tmp_path).name == "librispeech-generated"
