"""Supplied files: published layout -> prepared data -> networks and games; what is wrong is said, with the file's name."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from laptime.config import override
from laptime.errors import DataProblem
from laptime.suite.minigo import data, published, start
from laptime.suite.minigo.config import full, mini, smoke, v0_5
from laptime.suite.minigo.examples import Generation
from laptime.suite.minigo.model import DualNetwork, initialise, reference_tensors, transposed
from laptime.training.data.store import Manifest, problems
from laptime.training.data.tf_checkpoint import Checkpoint
from laptime.training.data.tfrecord import example, write_records
from laptime.training.distributed.world import World

ALONE = World(0, 1, torch.device("cpu"))
SMALL = override(smoke(), ["game.size=3", "model.width=4", "model.value_hidden=4", "data.window=2"])


def network(seed, config=SMALL):
    model = DualNetwork(config.model, config.game.size, config.norm_span, ALONE)
    initialise(model, torch.Generator().manual_seed(seed))
    return model


def generation(count, seed=0):
    draw = np.random.default_rng(seed)
    policy = draw.random((count, 10)).astype(np.float32)
    return Generation.of(draw.integers(0, 2, (count, 13, 9)).astype(np.uint8), policy / policy.sum(axis=1, keepdims=True),
                         draw.choice([-1, 1], count).astype(np.float32))


@pytest.fixture
def source(tmp_path):
    """Everything that the reference supplies, at a small size."""
    folder = tmp_path / "source"
    published.write_network(network(1), folder / "checkpoint")
    published.write_network(network(2), folder / "target")
    for number in range(2):
        published.write_generation(SMALL, generation(3 + number, number), folder / "selfplay" / f"{number:06d}")
    return folder


def prepared(source, tmp_path, config=SMALL):
    data.prepare(config, source, tmp_path / "data")
    return tmp_path / "data"


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("bits", "policy", "outcome"))


def test_published_files_come_through_whole(source, tmp_path):
    root = prepared(source, tmp_path)
    manifest = Manifest.load(root)
    assert {entry.kind for name, entry in manifest.files.items() if name.endswith(".pt")} == {"weights"}
    assert list(problems(root, manifest, full=True)) == []
    for file, seed in ((published.START, 1), (published.OPPONENT, 2)):
        found = network(9)
        published.load_network(found, root / file)
        expected = network(seed)
        assert all(torch.equal(a, b) for a, b in zip(found.state_dict().values(), expected.state_dict().values(), strict=True))
    for number in range(2):
        assert same(published.load_games(root / published.window_file(number)), generation(3 + number, number))
    assert data.sizes(SMALL, manifest).limit_epochs == SMALL.data.generations


def test_a_checkpoint_has_the_reference_s_names_and_layouts(source):
    checkpoint = Checkpoint(source / "checkpoint" / "model.ckpt")
    expected = {name: tuple(transposed(tensor).shape) for name, tensor in reference_tensors(network(1)).items()}
    assert {name: entry.shape for name, entry in checkpoint.entries.items()} == expected
    assert np.array_equal(checkpoint["dense/kernel"], network(1).moves.weight.detach().numpy().T)


def test_records_hold_planes_with_the_channels_last(tmp_path):
    planes = np.zeros((1, 13, 9), np.uint8)
    planes[0, 5, 7] = 1
    published.write_generation(SMALL, Generation.of(planes, np.full((1, 10), 0.1, np.float32), np.ones(1, np.float32)), tmp_path)
    from laptime.training.data.tfrecord import parse, records

    (record,) = records(tmp_path / "games.tfrecord.zz", compressed=True)
    x = np.frombuffer(parse(record)["x"][0], np.uint8).reshape(3, 3, 13)
    assert np.argwhere(x).tolist() == [[2, 1, 5]]


def test_two_preparations_have_one_content_hash_and_other_content_another(source, tmp_path):
    first = Manifest.load(prepared(source, tmp_path)).content_hash
    assert Manifest.load(prepared(source, tmp_path)).content_hash == first
    published.write_network(network(3), source / "target")
    assert Manifest.load(prepared(source, tmp_path)).content_hash != first


def write_record(source, **features):
    good = {"x": [bytes(13 * 9)], "pi": [np.full(10, 0.1, "<f4").tobytes()], "outcome": np.array([1], np.float32)}
    write_records(source / "selfplay" / "000000" / "games.tfrecord.zz", [example(good), example(good | features)], compressed=True)


def remove(path):
    def edit(source):
        shutil.rmtree(source / path) if (source / path).is_dir() else (source / path).unlink()
    return edit


def cut(path):
    def edit(source):
        content = (source / path).read_bytes()
        (source / path).write_bytes(content[:len(content) // 2])
    return edit


def flip(path, place=-40):
    def edit(source):
        content = bytearray((source / path).read_bytes())
        content[place] ^= 1
        (source / path).write_bytes(bytes(content))
    return edit


GAMES, INDEX, VALUES = "selfplay/000000/games.tfrecord.zz", "checkpoint/model.ckpt.index", "checkpoint/model.ckpt.data-00000-of-00001"


@pytest.mark.parametrize(("edit", "says"), [
    (remove("checkpoint"), r"one checkpoint \(\*.index\) in .*checkpoint, found 0"),
    (remove("target"), r"one checkpoint .*target, found 0"),
    (remove(VALUES), "cannot read the checkpoint"),
    (cut(INDEX), "model.ckpt.index is damaged"),
    (cut(VALUES), "model.ckpt.data"),
    (flip(VALUES), "another checksum"),
    (remove("selfplay/000001"), "expected 2 folders of earlier games in .*selfplay, found 1"),
    (remove(GAMES), r"records \(\*.tfrecord.zz\) in .*000000, found none"),
    (cut(GAMES), "games.tfrecord.zz is no whole zlib stream"),
    (flip(GAMES, 20), "games.tfrecord.zz"),
    (lambda source: (source / GAMES).write_bytes(b"hello"), "no whole zlib stream"),
    (lambda source: write_record(source, x=[bytes(12)]), "record 1 of .*games.tfrecord.zz is no position"),
    (lambda source: write_record(source, pi=[bytes(8)]), "record 1 of .* is no position"),
    (lambda source: write_record(source, outcome=np.zeros(0, np.float32)), "record 1 of .* is no position"),
    (lambda source: write_record(source, outcome=np.array([0.5], np.float32)), "record 1 of .* impossible values"),
    (lambda source: write_record(source, x=[bytes([2]) * 13 * 9]), "impossible values"),
    (lambda source: write_record(source, pi=[np.full(10, np.nan, "<f4").tobytes()]), "impossible values"),
    (lambda source: write_record(source, x=np.zeros(1, np.int64)), "record 1 of .* is no position"),
    (lambda source: published.write_network(network(1, override(SMALL, ["model.width=5"])), source / "checkpoint"),
     "expected 'conv2d/kernel' of shape"),
])
def test_a_bad_source_is_refused_and_the_file_named(source, tmp_path, edit, says):
    edit(source)
    with pytest.raises(DataProblem, match=says) as problem:
        prepared(source, tmp_path)
    assert problem.value.hint
    assert not (tmp_path / "data" / "manifest.json").exists()


def test_prepared_files_that_are_damaged_are_refused(source, tmp_path):
    root = prepared(source, tmp_path)
    file = root / published.window_file(0)
    whole = file.read_bytes()
    for content in (b"no archive", b"", whole[:len(whole) // 2], whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]):
        file.write_bytes(content)
        with pytest.raises(DataProblem, match=r"window-0\.npz is missing or damaged") as problem:
            published.load_games(file)
        assert problem.value.hint
    with pytest.raises(DataProblem, match="missing or damaged"):
        published.load_games(root / "none.npz")
    with pytest.raises(DataProblem, match="'conv2d/kernel' of shape"):
        published.load_network(network(0, override(SMALL, ["model.width=5"])), root / published.START)
    np.savez(root / published.window_file(1), bits=np.zeros((2, 15), np.uint8), policy=np.zeros((1, 10)), outcome=np.zeros(2))
    with pytest.raises(DataProblem, match="different lengths"):
        published.load_games(root / published.window_file(1))


def test_a_data_set_of_another_configuration_is_refused(source, tmp_path):
    manifest = Manifest.load(prepared(source, tmp_path))
    for change in ("game.size=4", "model.width=8", "data.window=3"):
        with pytest.raises(DataProblem, match="by the configuration"):
            data.sizes(override(SMALL, [change]), manifest)


def test_generated_data_of_another_recipe_is_refused(tmp_path):
    config = override(SMALL, ["data.games=2", "data.slots=2", "game.move_limit=6", "search.readouts=2", "search.fast_readouts=2",
                              "data.start_generations=2", "match.games=2", "match.readouts=2", "match.opening_moves=0"])
    start.generate(config, tmp_path, 5)
    manifest = Manifest.load(tmp_path)
    assert data.sizes(config, manifest).eval_samples == 2
    with pytest.raises(DataProblem, match="data made by"):
        data.sizes(override(config, ["data.games=3"]), manifest)
    again = tmp_path / "again"
    start.generate(config, again, 5)
    assert Manifest.load(again).content_hash == manifest.content_hash
    with pytest.raises(DataProblem, match=r"expected a starting network that wins 0\.9 to 0\.95"):
        start.generate(override(config, ["data.start_low=0.9", "data.start_high=0.95"]), again, 5)


def test_professional_games_are_prepared(tmp_path):
    source, config = tmp_path / "source", v0_5()
    (source / "sgf").mkdir(parents=True)
    for name, moves in (("a", ";B[aa];W[bb]"), ("b", ";B[cc];W[];B[dd]"), ("c", ";B[ee]"), ("d", ";B[aa]")):
        (source / "sgf" / f"{name}.sgf").write_text(f"(;SZ[9]{moves})")
    root = prepared(source, tmp_path, config)
    assert published.load_moves(root / published.MOVES) == [[0, 10], [20, 81, 30], [40], [0]]
    (source / "sgf" / "d.sgf").unlink()
    with pytest.raises(DataProblem, match=r"expected 4 professional games \(\*.sgf\) in .*sgf, found 3"):
        prepared(source, tmp_path, config)


def test_the_opponent_of_mini_is_in_the_repository_and_small():
    files = list(start.OPPONENT_FOLDER.iterdir())
    assert sum(file.stat().st_size for file in files) < 1 << 20
    model = published.blank(mini())
    published.fill_network(model, mini(), start.OPPONENT_FOLDER)
    assert model.entry.norm.running_var.min() > 0
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 13_055


def test_the_full_preset_asks_for_what_the_reference_supplies():
    assert published.described(full()) == {"size": 19, "width": 64, "blocks": 6, "generations": 5}
    assert replace(full().data, start=False) != full().data
    assert data.sizes(full(), Manifest("x", "y", "", published.described(full()), {})).eval_samples == 256
