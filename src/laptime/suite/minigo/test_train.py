"""Sessions of Mini Go: what they log, play, train and judge; faults, gates and both metrics."""

from functools import reduce

import numpy as np
import pytest
import torch
from harness_runs import Quiet
from judged import errors

from laptime.benchmark import Context
from laptime.config import RunRequest, override
from laptime.errors import FINE, DataProblem, InvalidConfiguration
from laptime.events import Cadence, Checkpoint, Epoch, Evaluated, Evaluating, Note, Plan, Point, Progress
from laptime.harness.runset import run_set
from laptime.suite.minigo import published, train
from laptime.suite.minigo.config import FAULTS, PRESETS, full, mini, smoke, v0_5, v0_6, validate
from laptime.suite.minigo.examples import Destination, Generation, Window, micro_batches, order_of
from laptime.suite.minigo.selfplay import Played
from laptime.suite.minigo.start import generate
from laptime.training.data.sampler import Spread
from laptime.training.data.store import Manifest, Store
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds
from laptime.training.speed import can_compile

ALONE = World(0, 1, torch.device("cpu"))
TINY = override(smoke(), ["game.size=3", "game.move_limit=14", "game.pass_from=5", "search.readouts=4", "search.fast_readouts=2",
                          "search.fast_share=0.5", "data.games=4", "data.slots=4", "data.passes=1", "match.games=4",
                          "match.readouts=2", "match.opening_moves=1", "model.width=4", "model.value_hidden=4",
                          "global_batch_size=8", "norm_span=8"])


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("go")
    generate(TINY, folder, 3)
    return folder


def session_of(config, root, tmp_path, *, seed=1, generations=2, world=ALONE):
    store = Store.open(root) if root else Store(tmp_path, Manifest("none", "none", "", published.described(config), {}))
    store.unlock()
    plan = Plan(config.global_batch_size, Point(generations, "epochs"), Cadence("epochs", (1,), 1))
    return train.build(config, Context(world, store, Seeds(seed), plan, tmp_path / "scratch"))


def test_events_of_a_match_run_are_epochs_notes_and_checkpoints(root, tmp_path):
    session = session_of(TINY, root, tmp_path)
    events = list(session.train())
    assert [type(e) for e in events if not isinstance(e, Note | Progress)] == [Epoch, Checkpoint] * 2
    notes = [e.values for e in events if isinstance(e, Note)]
    assert notes[0]["actual_selfplay_games_per_generation"] == 4
    assert 0 < notes[0]["mean_moves"] <= 14
    assert notes[1]["train_loss"] > 0
    assert events[-1].at.samples == 8 * events[-1].at.step > 0


def test_checkpoints_hold_the_network_of_their_generation_and_are_judged_equally(root, tmp_path):
    session = session_of(TINY, root, tmp_path)
    saved = {}
    for event in session.train():
        if isinstance(event, Checkpoint):
            saved[event.path] = {name: value.clone() for name, value in session.model.state_dict().items()}
    paths = list(saved)
    assert len(paths) == 2
    restored = session._network(started=False)
    for path in paths:
        train._restore(restored, path)
        assert all(torch.equal(value, saved[path][name]) for name, value in restored.state_dict().items())
    assert any(not torch.equal(saved[paths[0]][name], saved[paths[1]][name]) for name in saved[paths[0]])
    assert session.evaluate(paths[0]) == session.evaluate(paths[0])
    assert 0 <= session.evaluate(paths[1])["eval_accuracy"] <= 1


@pytest.mark.parametrize(("name", "layout"), [("channels_last", torch.channels_last), ("contiguous", torch.contiguous_format)])
def test_planes_and_kernels_lie_in_memory_as_declared(root, tmp_path, name, layout):
    session = session_of(override(TINY, [f"speed.memory_format={name}"]), root, tmp_path)
    for micro in (next(iter(session.batches(1))).micro[0], next(iter(session.synthetic())).micro[0]):
        assert micro.planes.is_contiguous(memory_format=layout)
    assert session.model.blocks[0].first.conv.weight.is_contiguous(memory_format=layout)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch's own compiler
@pytest.mark.slow
@pytest.mark.skipif(not can_compile(), reason="no C compiler")
def test_a_compiled_step_is_the_same_step(tmp_path):
    """Losses, weights and running statistics over four steps, in float64, with two groups of batch norm."""
    def trained(*changes):
        config = override(TINY, ["speed.dtype=float64", "norm_span=4", "data.start=false", *changes])
        session = session_of(config, None, tmp_path)
        losses = [float(session.step(batch)) for _ in range(2) for batch in session.synthetic()]
        return losses, session.model.state_dict()

    (losses, weights), (compiled_losses, compiled_weights) = trained(), trained("speed.compile=step")
    assert compiled_losses == pytest.approx(losses, rel=1e-12)
    assert losses[0] != losses[2]
    assert all(torch.allclose(weights[name], compiled_weights[name], rtol=1e-11, atol=1e-13) for name in weights)


def test_a_run_begins_with_the_supplied_network_and_games(root, tmp_path):
    session = session_of(TINY, root, tmp_path)
    supplied = published.blank(TINY)
    published.load_network(supplied, root / published.START)
    assert all(torch.equal(a, b) for a, b in zip(supplied.state_dict().values(), session.model.state_dict().values(), strict=True))
    session.play(1)
    assert len(session.learner.window.generations) == TINY.data.window
    first = published.load_games(root / published.window_file(1))
    assert np.array_equal(session.learner.window.generations[0].bits, first.bits)


def test_games_before_the_data_door_is_open_are_refused(root, tmp_path):
    from laptime.errors import DataTouchedTooEarly

    session = session_of(TINY, root, tmp_path)
    session.ctx.store._locked = True
    with pytest.raises(DataTouchedTooEarly):
        session.play(1)


def test_hyperparameters_of_the_full_preset_are_the_reference_ones(tmp_path):
    with torch.device("meta"):
        session = session_of(full(), None, tmp_path, world=World(0, 1, torch.device("meta")))
    assert session.hyperparameters == {
        "global_batch_size": 4096, "gradient_accumulation_steps": 1, "learning_rates": [0.016, 0.16, 0.016, 0.0016],
        "learning_rate_boundaries": [128, 10000, 20000], "selfplay_games": 8192, "virtual_losses": 4}
    assert len(session.initialised) == 48


# The reference's values, row by row: v0.5, v0.6, v0.7 and later.
VALUES = {
    "global_batch_size": (16, 4096, 4096),
    "game.size": (9, 9, 19), "game.komi": (7.5, 7.5, 7.5), "game.superko": (False, True, True),
    "game.move_limit": (113, 162, 0), "game.pass_alive": (False, False, True), "game.pass_from": (0, 0, 0),
    "model.planes": ("agz", "agz", "mlperf07"), "model.width": (32, 32, 64), "model.blocks": (9, 9, 6),
    "model.value_hidden": (64, 64, 64), "model.convolution_bias": (True, False, False),
    "model.norm_momentum": (1 - 0.997, 1 - 0.95, 1 - 0.95), "model.norm_epsilon": (1e-5, 1e-5, 1e-5),
    "optimizer.momentum": (0.9, 0.9, 0.9), "optimizer.weight_decay": (1e-4, 1e-4, 1e-4),
    "optimizer.decay_beta": (True, False, False), "optimizer.value_cost": (1.0, 0.25, 0.5),
    "optimizer.rates": ((0.01, 0.001, 0.0001), (0.16, 0.016, 0.0016), (0.016, 0.16, 0.016, 0.0016)),
    "optimizer.boundaries": ((10**6, 2 * 10**6), (25000, 37500), (128, 10000, 20000)),
    "data.games": (2000, 4096, 8192), "data.examples": (6250 * 16, 0, 0), "data.share": (None, 0.5, 0.3),
    "data.window": (None, 10, 5), "data.window_examples": (2_000_000, 0, 0), "data.passes": (1, 1, 1),
    "data.holdout": (0.0, 0.03, 0.0), "data.generations": (1000, 50, 100), "data.start": (False, True, True),
    "data.evaluation": ("moves", "match", "match"),
    "gate.games": (100, 100, 0), "gate.readouts": (200, 240, None), "gate.rate": (0.55, 0.49, None),
    "match.games": (None, 100, 256), "match.readouts": (None, 240, 100), "match.opening_moves": (0, 0, 0),
    "moves.games": (4, None, None), "moves.readouts": (1000, None, None), "moves.leaves": (4, None, None),
    "moves.repeats": (2, None, None),
    "search.exploration": (1.38, 0.0, 0.0), "search.mask_priors": (False, True, True),
    "search.value_penalty": (0.0, 0.2, 0.2), "search.answer_pass": (True, True, False),
    "search.count_at_selection": (True, False, False), "search.readouts": (200, 240, 800),
    "search.fast_readouts": (None, None, 80), "search.fast_share": (0.0, 0.0, 0.75), "search.clear": (False, False, True),
    "search.leaves": (8, 8, 4), "search.noise_alpha": (0.03 * 361 / 81, 0.03 * 361 / 81, 0.03),
    "search.noise_share": (0.25, 0.25, 0.30), "search.noise_on_legal": (False, True, True),
    "search.soft_moves": (7, 6, 30), "search.soft_exponent": (1.0, 0.98, 0.98), "search.soft_pass": (True, True, False),
    "search.target_exponent": (0.95, 1.0, 1.0), "search.prune_targets": (False, False, True),
    "search.draw_pruned": (False, False, False), "search.resign_low": (-0.95, -0.99, -1.0),
    "search.resign_high": (-0.95, -0.99, -0.9), "search.resign_never": (0.05, 0.1, 0.0),
    "search.settle_after_passes": (0, 0, 4), "search.turned_inference": (True, True, True),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_of_the_three_variants_are_the_reference_s(name):
    for config, expected in zip((v0_5(), v0_6(), full()), VALUES[name], strict=True):
        found = reduce(getattr, name.split("."), config)
        assert expected is None or found == (pytest.approx(expected) if isinstance(expected, float) else expected)


def test_every_value_of_play_and_learning_is_compared_with_the_reference():
    ours = {"data.slots", "data.selfplay", "data.max_age", "search.batch"}  # how, not what
    faults = {f"data.{name}" for name in ("flip_values", "still_policy", "uniform_targets", "stale_players")}
    made = {f"data.{name}" for name in ("opponent", "start_generations", "start_low", "start_high")}
    groups = ("game", "search", "match", "gate", "moves", "model", "optimizer", "data")
    names = {f"{group}.{name}" for group in groups for name in vars(getattr(full(), group))}
    assert names - set(VALUES) == ours | faults | made


def test_the_oldest_variant_predicts_professional_moves_on_the_clock(tmp_path):
    config = override(v0_5(), ["model.width=4", "model.blocks=1", "model.value_hidden=4", "data.games=2", "data.examples=32",
                               "search.readouts=4", "search.batch=16", "moves.readouts=4", "gate.games=2", "gate.readouts=2",
                               "game.move_limit=12", "data.slots=4", "moves.games=1"])
    source, folder = tmp_path / "source", tmp_path / "data"
    (source / "sgf").mkdir(parents=True)
    (source / "sgf" / "pro.sgf").write_text("(;SZ[9];B[ee];W[gc];B[cc])")
    published.reformat(config, source, folder, name="x", generator="y", facts={})
    session = session_of(config, folder, tmp_path, generations=1)
    events = [e for e in session.train() if not isinstance(e, Note)]
    assert [type(e) for e in events] == [Epoch, Evaluating, Evaluated]
    assert events[-1].metrics["eval_accuracy"] in [i / 6 for i in range(7)]
    assert events[-1].at.step == 2


def test_a_new_generation_plays_only_after_it_has_won_the_gate(root, tmp_path):
    for rate, passes in ((0.0, True), (1.1, False)):
        session = session_of(override(TINY, ["gate.games=2", "gate.readouts=2", f"gate.rate={rate}"]), root, tmp_path, generations=1)
        list(session.train())
        pairs = zip(session.model.state_dict().values(), session.champion.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) is passes


# --- faults ---

@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_valid_and_change_something(fault):
    assert override(mini(), FAULTS[fault]) != mini()
    validate(override(smoke(), FAULTS[fault]), processes=1)


def test_planted_faults_do_what_they_say(root, tmp_path):
    def window(change):
        session = session_of(override(TINY, [change]), root, tmp_path)
        session.play(1)
        return session.learner.window.generations[-1]

    sound, uniform, flipped = (window(f"data.{change}") for change in
                               ("start=true", "uniform_targets=true", "flip_values=true"))
    assert np.allclose(uniform.policy, 0.1)
    assert not np.allclose(sound.policy, 0.1)
    assert (flipped.outcome == -sound.outcome).all()
    assert np.array_equal(flipped.bits, sound.bits)


def test_the_fault_of_still_moves_turns_boards_only(root, tmp_path):
    def first(*changes):
        session = session_of(override(TINY, changes), root, tmp_path)
        return next(iter(session.batches(1))).micro[0]

    sound, still = first(), first("data.still_policy=true")
    assert torch.equal(sound.planes, still.planes)
    assert not torch.equal(sound.policy, still.policy)
    assert torch.equal(sound.policy.sort().values, still.policy.sort().values)


# --- the window ---

def generation(count, value):
    return Generation(np.full((count, 15), value, np.uint8), np.full((count, 10), 0.1, np.float32), np.full(count, value, np.float32))


def test_a_window_keeps_the_latest_generations_and_finds_their_rows():
    window = Window(override(TINY, ["data.window=3"]))
    for value in range(5):
        window.add(generation(value + 1, value))
    assert len(window) == 3 + 4 + 5
    _, _, outcome = window.rows(np.array([0, 2, 3, 6, 7, 11, 5]))
    assert outcome.tolist() == [2, 2, 3, 3, 4, 4, 3]


def test_a_window_of_examples_drops_whole_generations_that_it_can_spare():
    window = Window(override(TINY, ["data.window=100", "data.window_examples=10"]))
    for value in range(6):
        window.add(generation(4, value))
    assert len(window) == 12


@pytest.mark.parametrize(("changes", "available", "count"), [
    (["data.share=0.3", "data.passes=1"], 100, 24), (["data.share=1.0", "data.passes=2"], 20, 32),
    (["data.examples=64", "data.passes=1"], 20, 64)])
def test_order_of_examples_is_whole_batches_without_repetition_within_a_pass(changes, available, count):
    data = override(TINY, changes).data
    order = order_of(data, available, 8, Seeds(1), 3)
    assert len(order) == count
    for part in np.split(order, data.passes):
        once = part[:available]
        assert len(set(once.tolist())) == len(once)
    assert not np.array_equal(order, order_of(data, available, 8, Seeds(1), 4))
    assert np.array_equal(order, order_of(data, available, 8, Seeds(1), 3))


def test_batches_do_not_depend_on_processes():
    window = Window(TINY)
    draw = np.random.default_rng(0)
    window.add(Generation.of(draw.integers(0, 2, (40, 13, 9)).astype(np.uint8), draw.random((40, 10)).astype(np.float32),
                             draw.choice([-1, 1], 40).astype(np.float32)))

    def batches(ranks, rank):
        return list(micro_batches(window, Seeds(2), 1, spread=Spread(8, ranks, rank, 1), to=Destination(ALONE, torch.float64)))

    whole, parts = batches(1, 0), [batches(2, rank) for rank in (0, 1)]
    assert len(whole) == 5
    for step, (one,) in enumerate(whole):
        for field in range(3):
            assert torch.equal(one[field], torch.cat([parts[rank][step][0][field] for rank in (0, 1)]))


def test_summary_counts_games():
    from laptime.suite.minigo.learner import summary

    empty = np.zeros((0, 13, 9), np.uint8), np.zeros((0, 10), np.float32)
    found = summary([Played(0, *empty, 1.0, [1, 2], False), Played(1, *empty, -1.0, [1, 2, 3, 4], True)])
    assert found == {"mean_moves": 3.0, "black_share": 0.5, "resigned_share": 0.5}


# --- continuous self-play, at the level of the metric ---

BESIDE = ("data.selfplay=continuous",)
PATIENT = (*BESIDE, "data.slots=12", "search.batch=64", "data.generations=20")  # few games at once; some runs need 12 or more


def one_run(round_name, folder, division, overrides):
    """The exit code of a run, and its log."""
    outcome = run_set(RunRequest("minigo", round=round_name, division=division, runs=1, out=folder / "out",
                                 data=folder / "data", system="box", threads=1, overrides=overrides), Quiet())
    return outcome.exit_code, next((folder / "out").rglob("result_0.txt"))


@pytest.mark.seconds
def test_smoke_reaches_its_target_with_continuous_self_play(tmp_path):
    code, log = one_run("smoke", tmp_path, "closed", BESIDE)
    assert code == FINE
    for level in ("rules", "official"):
        assert errors(log, round_name="smoke", level=level) == []


@pytest.mark.slow
def test_mini_reaches_its_target_with_continuous_self_play(tmp_path):
    code, log = one_run("mini", tmp_path, "open", PATIENT)
    assert code == FINE
    assert log.read_text().count("actual_selfplay_games_per_generation") == 20


# --- validation ---

@pytest.mark.parametrize(("change", "says"), [
    ("global_batch_size=15", "divisible by processes x accumulation_steps = 2"),
    ("game.size=1", "game.size from 2 to 25"),
    ("game.move_limit=-1", "move_limit and game.pass_from"),
    ("search.readouts=0", "search.readouts"),
    ("search.fast_share=1.0", "fast_share in"),
    ("search.batch=0", "search.batch"),
    ("match.games=0", "match.games"),
    ("match.opening_moves=8", "less than half a board"),
    ("search.noise_alpha=0", "noise_alpha > 0"),
    ("data.games=0", "data.games"),
    ("data.max_age=-1", "data.max_age"),
    ("data.share=0", "data.share in"),
    ("model.width=0", "model sizes"),
    ("optimizer.boundaries=3", "one more of optimizer.rates"),
    ("optimizer.momentum=1.0", "momentum in"),
])
def test_validation_refuses(change, says):
    with pytest.raises(InvalidConfiguration, match=says):
        validate(override(smoke(), [change]), processes=2)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_valid_on_one_process(name):
    validate(PRESETS[name](), processes=1)


def test_a_checkpoint_of_another_network_is_refused(root, tmp_path):
    session = session_of(TINY, root, tmp_path)
    with pytest.raises(DataProblem, match="saved state"):
        session.evaluate(root / "manifest.json")


