"""Continuous self-play: which games make a generation, how old they may be, and that no process outlives its learner."""

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from gang import Gang
from sessions import session_of

from laptime.config import override
from laptime.errors import DataTouchedTooEarly, RunFailed
from laptime.events import Note, Progress
from laptime.suite.minigo.beside import Companion
from laptime.suite.minigo.config import smoke
from laptime.suite.minigo.continuous import Continuous
from laptime.suite.minigo.examples import Generation, Window
from laptime.suite.minigo.player import Player
from laptime.suite.minigo.selfplay import Played, SelfPlay
from laptime.suite.minigo.start import generate, untrained
from laptime.training.distributed.world import World
from laptime.training.seeds import Seeds

CHANGES = ["game.size=3", "game.move_limit=14", "game.pass_from=5", "search.readouts=4", "search.fast_readouts=2",
           "search.fast_share=0.5", "data.games=4", "data.slots=3", "data.passes=1", "match.games=4", "match.readouts=2",
           "match.opening_moves=1", "model.width=4", "model.value_hidden=4", "global_batch_size=8", "norm_span=8"]
TINY = override(smoke(), CHANGES)
BESIDE = [*CHANGES, "data.selfplay=continuous"]
ALONE = World(0, 1, torch.device("cpu"))
MODULE = "laptime.suite.minigo.test_continuous"  # for processes that are given a function by name
SECONDS = 20  # for a process to end, on a busy machine


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("go")
    generate(TINY, folder, 3)
    return folder


def session(root, *, epochs=2, world=None, unlocked=True):
    return session_of("minigo", "smoke", root, BESIDE, unlocked=unlocked, epochs=epochs, world=world)[0]


def process_of(one):
    return one._continuous._companion._process


def told(events):
    """What is alike in every run: kinds of events with their generation."""
    return [(type(e).__name__, e.at.epoch) for e in events if not isinstance(e, Progress)]


# --- which games make a generation ---

class Scripted:
    """Stands for the process beside the learner, so that what ends when is known: hands out one list per call."""

    def __init__(self, *handed):
        self.handed = list(handed)

    def finished(self, patience_s):
        return self.handed.pop(0)


def game(number, network, *networks):
    """A game that network `network` ended, with one recorded position for each of `networks`."""
    count = len(networks)
    planes = np.full((count, 13, 9), number % 2, np.uint8)
    policy = np.full((count, 10), number, np.float32)
    return Played(number, planes, policy, 1.0, [0] * 5, False, network, np.array(networks, np.intp))


def collected(config, network, *handed):
    """(window, games of the generation, what is told) after one collection from the games handed out."""
    window, one = Window(config), Continuous(config, Seeds(1), ALONE)
    window.add(Generation.of(*(np.zeros((0, *shape), np.uint8) for shape in ((13, 9), (10,), ()))))
    one._companion, one.network = Scripted(*handed), network
    return window, *one.collect(window)


def numbers_in(generation):
    return generation.policy[:, 0].astype(int).tolist()


def test_a_generation_waits_for_games_that_the_newest_network_ended():
    handed = [game(0, 1, 1), game(1, 2, 1, 2)], [], [game(3, 2, 2, 2)], [game(2, 2, 2), game(4, 2, 2), game(5, 2, 2)]
    window, fresh, said = collected(TINY, 2, *handed)
    assert [one.number for one in fresh] == [1, 3, 2, 4, 5]
    assert numbers_in(window.generations[1]) == [1, 1, 2, 3, 3, 4, 5]
    assert window.generations[1].lengths.tolist() == [2, 1, 2, 1, 1]
    assert (said["actual_selfplay_games_per_generation"], said["late_games"]) == (5, 1)


def test_late_games_join_the_generation_before():
    window, _, _ = collected(TINY, 2, [game(9, 1, 1, 1), *(game(n, 2, 2) for n in range(4))])
    assert numbers_in(window.generations[0]) == [9, 9]


def test_positions_by_networks_that_are_too_old_are_left_out():
    config = override(TINY, ["data.max_age=2"])
    window, _, said = collected(config, 7, [game(0, 7, 3, 4, 5, 6, 7), *(game(n, 7, 7) for n in range(1, 4))])
    assert numbers_in(window.generations[1]) == [0, 0, 0, 1, 2, 3]
    assert (said["positions_of_older_networks"], said["positions_too_old"]) == (4, 2)


def test_held_games_are_not_trained_on_however_many_are_played():
    window, fresh, _ = collected(override(TINY, ["data.holdout=0.5"]), 1, [game(n, 1, 1) for n in range(12)])
    assert len(fresh) == 12
    assert numbers_in(window.generations[1]) == [2, 3, 6, 7, 10, 11]


def test_of_a_generation_with_more_games_than_asked_for_so_many_are_drawn_whole():
    window, _, _ = collected(TINY, 1, [game(n, 1, *[1] * (n % 3 + 1)) for n in range(10)])
    drawn = [window.rows(window.eligible(Seeds(seed).numpy("x")))[1][:, 0].astype(int).tolist() for seed in range(5)]
    for numbers in drawn:
        assert len(set(numbers)) == TINY.data.games
        assert all(numbers.count(number) == number % 3 + 1 for number in set(numbers))
    assert len({tuple(numbers) for numbers in drawn}) > 1


def test_all_of_a_lock_step_generation_is_eligible():
    window, _, _ = collected(TINY, 1, [game(n, 1, 1, 1) for n in range(4)])
    assert window.eligible(Seeds(1).numpy("x")).tolist() == list(range(8))


def test_a_network_given_in_between_goes_on_with_games_in_progress():
    seeds = Seeds(1)
    players = [Player(untrained(TINY, seeds, str(number)), 3, 8) for number in range(2)]
    play = SelfPlay(TINY, players[0], lambda number: seeds.numpy("game", number))
    games = []
    for round_, ended in enumerate(play.rounds(iter(range(6)), 3)):
        games += ended
        if round_ == 12:
            play.use(players[1], 1)
    assert sorted(one.number for one in games) == list(range(6))
    assert {one.network for one in games} >= {1}
    assert any(set(one.networks.tolist()) == {0, 1} for one in games)
    for one in games:
        assert len(one.networks) == len(one.planes)
        assert sorted(one.networks.tolist()) == one.networks.tolist()


# --- with the process ---

@pytest.mark.seconds
def test_events_are_those_of_lock_step_and_every_game_is_kept_once(root, monkeypatch):
    taken, finished = [], Companion.finished

    def noted(companion, patience_s):
        taken.extend(games := finished(companion, patience_s))
        return games

    monkeypatch.setattr(Companion, "finished", noted)
    one = session(root, epochs=4)
    one.learner.window.config = override(TINY, ["data.window=9"])  # nothing leaves it
    events = list(one.train())
    assert told(events) == [pair for n in range(1, 5) for pair in
                            (("Epoch", n), ("Note", n), ("Note", n), ("Checkpoint", n))]
    assert one._continuous._companion is None
    notes = [e.values for e in events if isinstance(e, Note) and "late_games" in e.values]
    assert all(values["actual_selfplay_games_per_generation"] >= 4 for values in notes)
    numbers = [one.number for one in taken]
    assert len(set(numbers)) == len(numbers)
    kept = sum(len(one.lengths) for one in one.learner.window.generations[TINY.data.window:])
    assert kept == sum(values["actual_selfplay_games_per_generation"] + values["late_games"] for values in notes)
    assert kept == len(numbers)
    assert sum(map(len, one.learner.window.generations[TINY.data.window:])) == sum(
        int((game.network - game.networks <= TINY.data.max_age).sum()) for game in taken)


@pytest.mark.seconds
@pytest.mark.parametrize("stop", [1, 3])
def test_closing_the_generator_early_ends_the_process(root, stop):
    one = session(root)
    one.warm_up()
    process, events = process_of(one), one.train()
    for _ in range(stop):
        next(events)
    assert process.poll() is None
    events.close()
    assert process.poll() is not None
    assert one._continuous._companion is None


@pytest.mark.seconds
def test_a_session_that_is_dropped_takes_its_process_with_it(root):
    one = session(root)
    one.warm_up()
    process = process_of(one)
    assert process.poll() is None
    del one
    gc.collect()
    assert process.poll() is not None


@pytest.mark.seconds
def test_a_process_that_is_gone_ends_the_run_with_its_code(root):
    one = session(root)
    events = one.train()
    one.warm_up()
    process = process_of(one)
    process.kill()
    process.wait()
    next(events)
    with pytest.raises(RunFailed, match="ended with code -9"):
        next(events)
    assert one._continuous._companion is None


KILLED = """
import sys, time
from pathlib import Path
from sessions import session_of
one = session_of("minigo", "smoke", Path(sys.argv[1]), sys.argv[2:], unlocked=True)[0]
one.warm_up()
one._continuous.use(one.model, 1)
print(one._continuous._companion._process.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.seconds
def test_a_learner_that_is_killed_leaves_no_process_behind(root):
    path = os.pathsep.join(part for part in sys.path if part)
    learner = subprocess.Popen([sys.executable, "-c", KILLED, str(root), *BESIDE], stdout=subprocess.PIPE, text=True,
                               env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"})
    beside = int(learner.stdout.readline())
    os.kill(beside, 0)
    learner.send_signal(signal.SIGKILL)
    learner.wait()
    learner.stdout.close()
    end = time.monotonic() + SECONDS
    while living(beside) and time.monotonic() < end:
        time.sleep(0.05)
    assert not living(beside)


def living(pid):
    """Whether there is a process of this number that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_nothing_is_played_before_the_data_door_is_open(root):
    one = session(root, unlocked=False)
    with pytest.raises(DataTouchedTooEarly):
        one.play(1)
    assert (one._continuous.network, one._continuous._companion) == (0, None)


def events_of(world, root):
    """Kinds of events, told games and weights of one of several processes."""
    one = session(Path(root), world=world, epochs=3)
    events = list(one.train())
    counts = [e.values[key] for e in events if isinstance(e, Note) and "late_games" in e.values
              for key in ("actual_selfplay_games_per_generation", "late_games", "positions_of_older_networks")]
    return told(events), counts, one.state().fingerprint(), len(one.learner.window)


@pytest.mark.seconds
@pytest.mark.xdist_group("processes")
def test_two_processes_see_the_same_events_games_and_weights(root):
    gang = Gang(2)
    try:
        first, second = gang.run(f"{MODULE}:events_of", str(root))
    finally:
        gang.close()
    assert first == second
    assert [kind for kind, _ in first[0]] == ["Epoch", "Note", "Note", "Checkpoint"] * 3
